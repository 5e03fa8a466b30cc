//! HeadObject.

use std::collections::BTreeMap;

use super::written::ObjectChecksum;
use crate::model::{CustomerKeyBytes, Key, RetentionMode, Timestamp, VersionId};
use crate::s3::client::Client;
use crate::s3::codes::PERMANENT;
use crate::s3::error::{Operation, S3Error};

/// What a server tells of a version without its data.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ObjectHead {
    /// Bytes of the object; where a part was asked for, of that part.
    pub size: u64,
    /// As the server wrote it, with its quotes.
    pub etag: Option<Box<str>>,
    /// Absent on servers without versions.
    pub version_id: Option<VersionId>,
    /// Header name in lower case -> value: `content-type`, `cache-control`, `content-disposition`,
    /// `content-encoding`, `content-language`, `expires`, `x-amz-meta-*`.
    pub metadata: BTreeMap<String, String>,
    /// `x-amz-website-redirect-location`.
    pub website_redirect: Option<String>,
    /// Absent for STANDARD.
    pub storage_class: Option<Box<str>>,
    /// How many tags it has, where the server tells.
    pub tag_count: u32,
    /// How many parts it was written in; told only where a part was asked for.
    pub parts_count: Option<u32>,
    /// Present where a restore of an archived version was asked for.
    pub restore: Option<RestoreState>,
    /// Mode, and until when.
    pub retention: Option<(RetentionMode, Timestamp)>,
    /// Whether a legal hold is placed.
    pub legal_hold: bool,
    /// Told only where it was asked for.
    pub checksum: Option<ObjectChecksum>,
    /// `AES256`, `aws:kms`, ...
    pub encryption_kind: Option<Box<str>>,
    /// How many metadata entries no header can hold, so that they are not among `metadata`.
    pub missing_meta: u32,
}

/// How far a restore is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestoreState {
    /// Not there yet.
    Ongoing,
    /// A copy can be read.
    Restored,
}

impl Client {
    /// What there is to know of a version without reading it.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn head_version(
        &self,
        key: &Key,
        version_id: &VersionId,
        part: Option<u32>,
        customer_key: Option<&CustomerKeyBytes>,
        with_checksum: bool,
    ) -> Result<ObjectHead, S3Error> {
        let _ = (key, version_id, part, customer_key, with_checksum);
        Err(self.context(Operation::HeadObject).error("NotImplemented", "", PERMANENT))
    }
}
