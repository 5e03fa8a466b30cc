//! An error answers three questions: what was being done, could it have taken effect, and is it
//! worth another try.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Class, Key, VersionId};

use super::codes::{StopKind, Tripwire, Verdict};

/// The operations of this client, by the names of the S3 API.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// Making the client: configuration, region, credentials.
    Configure,
    /// HEAD of the bucket.
    HeadBucket,
    /// GET ?versioning.
    GetBucketVersioning,
    /// GET ?object-lock.
    GetObjectLockConfiguration,
    /// GET ?versions.
    ListObjectVersions,
    /// POST ?delete.
    DeleteObjects,
    /// DELETE of one version, or without a version id to insert a marker.
    DeleteObject,
    /// PUT with `x-amz-copy-source`.
    CopyObject,
    /// PUT of an object.
    PutObject,
    /// POST ?uploads.
    CreateMultipartUpload,
    /// PUT ?partNumber.
    UploadPart,
    /// PUT ?partNumber with `x-amz-copy-source`.
    UploadPartCopy,
    /// POST ?uploadId.
    CompleteMultipartUpload,
    /// DELETE ?uploadId.
    AbortMultipartUpload,
    /// GET ?uploadId.
    ListParts,
    /// GET ?uploads.
    ListMultipartUploads,
    /// HEAD of a version.
    HeadObject,
    /// GET of a version.
    GetObject,
    /// GET ?tagging.
    GetObjectTagging,
    /// PUT ?tagging of one version.
    PutObjectTagging,
    /// GET ?acl.
    GetObjectAcl,
    /// PUT ?acl.
    PutObjectAcl,
    /// POST ?restore.
    RestoreObject,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Configure,
        Self::HeadBucket,
        Self::GetBucketVersioning,
        Self::GetObjectLockConfiguration,
        Self::ListObjectVersions,
        Self::DeleteObjects,
        Self::DeleteObject,
        Self::CopyObject,
        Self::PutObject,
        Self::CreateMultipartUpload,
        Self::UploadPart,
        Self::UploadPartCopy,
        Self::CompleteMultipartUpload,
        Self::AbortMultipartUpload,
        Self::ListParts,
        Self::ListMultipartUploads,
        Self::HeadObject,
        Self::GetObject,
        Self::GetObjectTagging,
        Self::PutObjectTagging,
        Self::GetObjectAcl,
        Self::PutObjectAcl,
        Self::RestoreObject,
    ];

    /// The name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configure => "Configure",
            Self::HeadBucket => "HeadBucket",
            Self::GetBucketVersioning => "GetBucketVersioning",
            Self::GetObjectLockConfiguration => "GetObjectLockConfiguration",
            Self::ListObjectVersions => "ListObjectVersions",
            Self::DeleteObjects => "DeleteObjects",
            Self::DeleteObject => "DeleteObject",
            Self::CopyObject => "CopyObject",
            Self::PutObject => "PutObject",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::UploadPart => "UploadPart",
            Self::UploadPartCopy => "UploadPartCopy",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::ListParts => "ListParts",
            Self::ListMultipartUploads => "ListMultipartUploads",
            Self::HeadObject => "HeadObject",
            Self::GetObject => "GetObject",
            Self::GetObjectTagging => "GetObjectTagging",
            Self::PutObjectTagging => "PutObjectTagging",
            Self::GetObjectAcl => "GetObjectAcl",
            Self::PutObjectAcl => "PutObjectAcl",
            Self::RestoreObject => "RestoreObject",
        }
    }
}

/// Everything that is known about a failed attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Details {
    /// What was attempted.
    pub operation: Operation,
    /// The bucket as the job names it.
    pub bucket: Box<str>,
    /// The key, where the request named one.
    pub key: Option<Key>,
    /// The version id, where the request named one.
    pub version_id: Option<VersionId>,
    /// HTTP status, where an answer came.
    pub status: Option<u16>,
    /// The server's code, empty where it gave none, or one of ours in the same style: `Transport`,
    /// `Timeout`, `MalformedAnswer`, `NotS3`, `UntrustedCertificate`, `UnaddressableKey`,
    /// `UnencodableKey`, `UnencodableMetadata`, `NoCredentials`, `InvalidConfiguration`, `InvalidCall`, or a tripwire's.
    pub code: Box<str>,
    /// The server's message or ours, without control characters.
    pub message: Box<str>,
    /// The server's name for the request.
    pub request_id: Option<Arc<str>>,
    /// The shortest wait before another try: `Retry-After`, `x-amz-retry-after`, or what the code
    /// asks for.
    pub retry_after: Option<Duration>,
    /// The request may have changed the bucket: it was sent, and its outcome is open.
    pub may_have_applied: bool,
    /// What it asks of the caller.
    pub class: Class,
    /// Why, where the class is [`Class::Stop`].
    pub stop: Option<StopKind>,
    /// How often the same error is worth another try; see [`Verdict::tries_max`].
    pub tries_max: Option<u32>,
    /// The region that the answer named as the bucket's.
    pub region: Option<Box<str>>,
}

/// Why an attempt failed. Its details are read through it: `error.class`, `error.code`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct S3Error(Box<Details>);

impl S3Error {
    /// The tripwire, where one was touched.
    pub fn tripwire(&self) -> Option<Tripwire> {
        match self.stop {
            Some(StopKind::Tripwire(wire)) => Some(wire),
            _ => None,
        }
    }

    /// Whether the server says that what the request names is not there: by its code, or by 404 alone, as
    /// the answer to HEAD does. A bucket that is not there is no such case.
    pub fn is_absent(&self) -> bool {
        match &*self.code {
            "NoSuchKey" | "NoSuchVersion" | "NoSuchUpload" => true,
            "" => self.status == Some(404),
            _ => false,
        }
    }

    /// Whether a request was refused without a word, as HEAD is, for a reason that words would tell: it may
    /// be one of the credentials.
    pub fn is_wordless(&self) -> bool {
        self.code.is_empty() && matches!(self.status, Some(400 | 403))
    }

    /// Whether a condition that the request carried was not met.
    pub fn is_precondition(&self) -> bool {
        &*self.code == "PreconditionFailed" || (self.code.is_empty() && self.status == Some(412))
    }

    /// An error of a class, for tests of what it leads to.
    #[cfg(test)]
    pub(crate) fn of_class(operation: Operation, code: &str, class: Class) -> Self {
        let context = Context { operation, bucket: "bucket", key: None, version_id: None };
        context.error(code, "", Verdict { class, stop: None, tries_max: None, wait_min: None })
    }

    pub(super) fn details_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

impl Deref for S3Error {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.0
    }
}

/// One line: what was attempted, what came of it, and the request id.
impl fmt::Display for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in bucket {}", self.operation.as_str(), self.bucket.escape_debug())?;
        if let Some(key) = &self.key {
            write!(f, ", key \"{key}\"")?;
        }
        if let Some(version_id) = &self.version_id {
            write!(f, ", version {version_id}")?;
        }
        f.write_str(":")?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            let comma = if self.status.is_some() || !self.code.is_empty() { "," } else { "" };
            write!(f, "{comma} {}", self.message)?;
        }
        if let Some(id) = &self.request_id {
            write!(f, " (request id {id})")?;
        }
        Ok(())
    }
}

impl std::error::Error for S3Error {}

/// What was being done, for the errors of one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) operation: Operation,
    pub(super) bucket: &'a str,
    pub(super) key: Option<&'a Key>,
    pub(super) version_id: Option<&'a VersionId>,
}

impl Context<'_> {
    /// An error of ours: nothing was answered, nothing was changed.
    pub(super) fn error(&self, code: &str, message: &str, verdict: Verdict) -> S3Error {
        S3Error(Box::new(Details {
            operation: self.operation,
            bucket: self.bucket.into(),
            key: self.key.cloned(),
            version_id: self.version_id.cloned(),
            status: None,
            code: clean(code, 64).into(),
            message: clean(message, MESSAGE_CHARS_MAX).into(),
            request_id: None,
            retry_after: verdict.wait_min,
            may_have_applied: false,
            class: verdict.class,
            stop: verdict.stop,
            tries_max: verdict.tries_max,
            region: None,
        }))
    }

    /// A promise of the protocol is broken.
    pub(super) fn tripwire(&self, wire: Tripwire, message: &str) -> S3Error {
        self.error(wire.as_str(), message, Verdict::tripwire(wire))
    }
}

/// Enough for every message of AWS.
const MESSAGE_CHARS_MAX: usize = 500;

/// Text of a server as it may be printed: on one line, without anything that steers a terminal.
pub(super) fn clean(text: &str, chars_max: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(chars_max));
    for (count, c) in text.trim().chars().enumerate() {
        if count == chars_max {
            clean.push('…');
            break;
        }
        let steers = c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        clean.push(if steers { ' ' } else { c });
    }
    clean
}

/// The message of an item's refusal, cleaned like any other.
pub(super) fn clean_message(text: &str) -> Box<str> {
    clean(text, MESSAGE_CHARS_MAX).into()
}

/// A code as it may be printed and counted.
pub(super) fn clean_code(text: &str) -> Box<str> {
    clean(text, 64).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::codes::{Scope, of_request};

    const CONTEXT: Context<'static> =
        Context { operation: Operation::DeleteObjects, bucket: "logs", key: None, version_id: None };

    #[test]
    fn one_line_says_what_was_attempted_and_what_came_of_it() {
        let mut error = CONTEXT.error(
            "SlowDown",
            "Please reduce\nyour\u{1b}[31m request rate.",
            of_request("SlowDown", 503, Scope::Batch),
        );
        error.details_mut().status = Some(503);
        error.details_mut().request_id = Some("TX1".into());
        assert_eq!(
            error.to_string(),
            "DeleteObjects in bucket logs: 503 SlowDown, Please reduce your [31m request rate. (request id TX1)"
        );
        assert_eq!(error.class, Class::Throttled);
    }

    #[test]
    fn the_wait_that_a_code_asks_for_is_in_the_error() {
        let error = CONTEXT.error("OperationAborted", "", of_request("OperationAborted", 409, Scope::Batch));
        assert_eq!(error.retry_after, Some(Duration::from_secs(1)));
        assert_eq!(error.to_string(), "DeleteObjects in bucket logs: OperationAborted");
    }

    #[test]
    fn a_tripwire_is_a_stop_with_its_name() {
        let error = CONTEXT.tripwire(Tripwire::ForeignKey, "key b");
        assert_eq!(error.tripwire(), Some(Tripwire::ForeignKey));
        assert_eq!(error.class, Class::Stop);
        assert_eq!(&*error.code, "ForeignKey");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(clean(&"x".repeat(9), 3), "xxx…");
        assert_eq!(clean("a\u{202e}b", 9), "a b");
    }
}
