//! What a new object is given beside its data, and the headers that say so.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};

use crate::model::{ChecksumKind, CustomerKeyBytes, Encryption, Key, RetentionMode, Timestamp, VersionId};

use crate::s3::checksum::content_md5;
use crate::s3::client::Client;
use crate::s3::codes::{PERMANENT, Scope, StopKind, Verdict};
use crate::s3::encoding::{path_of_key, query_value};
use crate::s3::error::{Context, Operation, S3Error};
use crate::s3::send::{Answer, Call};

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

/// The content headers that an object keeps, besides `x-amz-meta-*`.
pub(super) const CONTENT_HEADERS: [&str; 6] = [
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
];

/// How every user metadata header begins.
pub(super) const META: &str = "x-amz-meta-";

/// Copies, parts and their completion take the server minutes: it reads and writes all the bytes.
pub(super) const LONG: Duration = Duration::from_secs(15 * 60);

type Headers = Vec<(&'static str, String)>;

impl Expect<'_> {
    /// The header that says so.
    pub(super) fn add_to(self, headers: &mut Headers) {
        match self {
            Self::Anything => {}
            Self::Absent => headers.push(("if-none-match", "*".to_owned())),
            Self::Etag(etag) => headers.push(("if-match", etag.to_owned())),
        }
    }
}

impl<'a> Attributes<'a> {
    /// Puts everything that a new object is given into a call, but its checksum, which goes out
    /// differently with each operation.
    pub(super) fn add_to(&self, call: &mut Call<'a>) -> Result<(), S3Error> {
        let metadata = check_metadata(&call.context, self.metadata)?;
        call.metadata = metadata;
        let headers = &mut call.headers;
        let mut add = |name, value: Option<&str>| {
            if let Some(value) = value {
                headers.push((name, value.to_owned()));
            }
        };
        add("x-amz-storage-class", self.storage_class);
        add("x-amz-acl", self.acl);
        add("x-amz-website-redirect-location", self.website_redirect);
        add("x-amz-object-lock-mode", self.retention.map(|(mode, _)| mode.as_str()));
        let until = self.retention.map(|(_, until)| until.to_string());
        add("x-amz-object-lock-retain-until-date", until.as_deref());
        add("x-amz-object-lock-legal-hold", self.legal_hold.map(|held| if held { "ON" } else { "OFF" }));
        let tags = self.tags.filter(|tags| !tags.is_empty()).map(tagging);
        add("x-amz-tagging", tags.as_deref());
        self.add_encryption(call)
    }

    fn add_encryption(&self, call: &mut Call<'a>) -> Result<(), S3Error> {
        let headers = &mut call.headers;
        match (self.encryption, self.customer_key) {
            (None | Some(Encryption::Default | Encryption::Customer(_)), Some(key)) => {
                headers.extend(customer_key_headers(key));
            }
            (None | Some(Encryption::Default), None) => {}
            (Some(Encryption::S3), None) => {
                headers.push(("x-amz-server-side-encryption", "AES256".to_owned()));
            }
            (Some(Encryption::Kms { two_layers, key_id, context, bucket_key }), None) => {
                let kind = if *two_layers { "aws:kms:dsse" } else { "aws:kms" };
                headers.push(("x-amz-server-side-encryption", kind.to_owned()));
                if let Some(id) = key_id {
                    headers.push(("x-amz-server-side-encryption-aws-kms-key-id", id.clone()));
                }
                if !context.is_empty() {
                    let json = serde_json::json!(context).to_string();
                    headers.push(("x-amz-server-side-encryption-context", STANDARD.encode(json)));
                }
                if let Some(wanted) = bucket_key {
                    let name = "x-amz-server-side-encryption-bucket-key-enabled";
                    headers.push((name, wanted.to_string()));
                }
            }
            (Some(Encryption::Customer(_)), None) => {
                return Err(bug(&call.context, "a customer's key is to be used and none is given"));
            }
            (Some(Encryption::S3 | Encryption::Kms { .. }), Some(_)) => {
                return Err(bug(&call.context, "a customer's key is given beside another encryption"));
            }
        }
        Ok(())
    }
}

/// An error of the caller's.
pub(super) fn bug(context: &Context<'_>, why: &str) -> S3Error {
    context.error("InvalidCall", why, Verdict::stop(StopKind::Bug))
}

/// Refuses metadata under names that are no metadata, or with values that no header can hold.
fn check_metadata<'a>(
    context: &Context<'_>,
    metadata: Option<&'a BTreeMap<String, String>>,
) -> Result<Option<&'a BTreeMap<String, String>>, S3Error> {
    for (name, value) in metadata.into_iter().flatten() {
        let user = name.strip_prefix(META).is_some_and(|rest| !rest.is_empty());
        let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
        let fits = HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(value).is_ok();
        if !(is_lower && fits && (user || CONTENT_HEADERS.contains(&name.as_str()))) {
            let message = format!("no request can carry the metadata {name:?} with its value");
            return Err(context.error("UnencodableMetadata", &message, PERMANENT));
        }
    }
    Ok(metadata)
}

/// Tags as a URL's query.
fn tagging(tags: &BTreeMap<String, String>) -> String {
    let encode = |text: &String| query_value(text.as_bytes());
    let pairs: Vec<String> =
        tags.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

/// The Base64 of a customer's key and of its MD5.
fn key_texts(key: &CustomerKeyBytes) -> (String, String) {
    (STANDARD.encode(key.0), content_md5(&key.0))
}

/// The headers that hand a customer's key over for the object that the request names.
pub(super) fn customer_key_headers(key: &CustomerKeyBytes) -> Headers {
    let (key, md5) = key_texts(key);
    vec![
        ("x-amz-server-side-encryption-customer-algorithm", "AES256".to_owned()),
        ("x-amz-server-side-encryption-customer-key", key),
        ("x-amz-server-side-encryption-customer-key-md5", md5),
    ]
}

impl Origin<'_> {
    /// The headers that name the source.
    pub(super) fn headers(&self) -> Headers {
        let mut headers = vec![("x-amz-copy-source", self.text())];
        if let Some(etag) = self.etag {
            headers.push(("x-amz-copy-source-if-match", etag.to_owned()));
        }
        if let Some(key) = self.customer_key {
            let (key, md5) = key_texts(key);
            headers.extend([
                ("x-amz-copy-source-server-side-encryption-customer-algorithm", "AES256".to_owned()),
                ("x-amz-copy-source-server-side-encryption-customer-key", key),
                ("x-amz-copy-source-server-side-encryption-customer-key-md5", md5),
            ]);
        }
        if let Some(owner) = self.expected_owner {
            headers.push(("x-amz-source-expected-bucket-owner", owner.to_owned()));
        }
        headers
    }

    /// Bucket and key percent-encoded, then a literal `?versionId=` and the encoded id.
    fn text(&self) -> String {
        let between = if self.bucket.starts_with("arn:") { "/object/" } else { "/" };
        let mut text = path_of_key(self.bucket.as_bytes());
        text.push_str(between);
        text.push_str(&path_of_key(self.key.as_bytes()));
        text.push_str("?versionId=");
        text.push_str(&query_value(self.version_id.as_bytes()));
        text
    }
}

impl Client {
    /// A request about one key.
    pub(super) fn object_call<'a>(
        &'a self,
        operation: Operation,
        scope: Scope,
        method: Method,
        key: &'a Key,
        query: String,
    ) -> Call<'a> {
        let mut context = self.context(operation);
        context.key = Some(key);
        let mut call = Call::ask(context, method, "");
        call.scope = scope;
        call.query = query;
        call.headers = self.common_headers();
        call
    }

    /// A request about one version. `what` is the query's parameter before the version id, if any.
    pub(super) fn version_call<'a>(
        &'a self,
        operation: Operation,
        scope: Scope,
        method: Method,
        (key, version_id): (&'a Key, &'a VersionId),
        what: &str,
    ) -> Call<'a> {
        let query = format!("{what}versionId={}", query_value(version_id.as_bytes()));
        let mut call = self.object_call(operation, scope, method, key, query);
        call.context.version_id = Some(version_id);
        call
    }

    /// Sends a request that may carry a customer's key, which no network may see.
    pub(super) async fn attempt_guarded(&self, call: &Call<'_>) -> Result<Answer, S3Error> {
        let place = self.place();
        let is_safe = place.origin.starts_with("https://") || place.is_loopback;
        if !is_safe && call.headers.iter().any(|(name, _)| name.ends_with("customer-key")) {
            let message = "a customer's key is sent over https:// only";
            let verdict = Verdict::stop(StopKind::Config);
            return Err(call.context.error("InvalidConfiguration", message, verdict));
        }
        self.attempt(call).await
    }
}
