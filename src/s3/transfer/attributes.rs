//! What a new object is given beside its data, and the headers that say so.

use std::collections::BTreeMap;

use crate::model::{ChecksumKind, CustomerKeyBytes, Encryption, Key, RetentionMode, Timestamp, VersionId};

/// What the destination's key must be for the request to be carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect<'a> {
    /// No condition is sent.
    Anything,
    /// No object, or a delete marker, is current there: `If-None-Match: *`.
    Absent,
    /// The current object has this ETag: `If-Match`.
    Etag(&'a str),
}

/// Everything that a new object is given beside its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attributes<'a> {
    /// Storage class; the server's default where absent.
    pub storage_class: Option<&'a str>,
    /// Header name in lower case -> value: `content-type`, `cache-control`, `content-disposition`,
    /// `content-encoding`, `content-language`, `expires`, `x-amz-meta-*`. Where absent, CopyObject copies
    /// those of the source (directive COPY), and anything else sends none.
    pub metadata: Option<&'a BTreeMap<String, String>>,
    /// Where absent, CopyObject copies those of the source (directive COPY), and anything else sends none.
    pub tags: Option<&'a BTreeMap<String, String>>,
    /// A canned access control list.
    pub acl: Option<&'a str>,
    /// Encryption at the destination; nothing is sent for `None` and [`Encryption::Default`].
    pub encryption: Option<&'a Encryption>,
    /// The destination's key for SSE-C.
    pub customer_key: Option<&'a CustomerKeyBytes>,
    /// Mode, and until when.
    pub retention: Option<(RetentionMode, Timestamp)>,
    /// Whether a legal hold is placed; nothing is sent where absent.
    pub legal_hold: Option<bool>,
    /// The checksum that the server should keep.
    pub checksum: Option<ChecksumKind>,
    /// `x-amz-website-redirect-location`.
    pub website_redirect: Option<&'a str>,
}

/// The version that a copy is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin<'a> {
    /// The bucket as [`Client::bucket`](crate::s3::Client::bucket) of the source gives it.
    pub bucket: &'a str,
    /// Its key.
    pub key: &'a Key,
    /// Its version id.
    pub version_id: &'a VersionId,
    /// The ETag that it must have: `x-amz-copy-source-if-match`.
    pub etag: Option<&'a str>,
    /// The key that it is encrypted with, for SSE-C.
    pub customer_key: Option<&'a CustomerKeyBytes>,
    /// The account that the source bucket must belong to: `x-amz-source-expected-bucket-owner`.
    pub expected_owner: Option<&'a str>,
}
