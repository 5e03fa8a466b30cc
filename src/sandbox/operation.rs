//! The operations that the sandbox knows, by the names that AWS gives them.

use serde::{Deserialize, Serialize};

/// An operation of S3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the names are those of the S3 API reference, which says what each does")]
pub enum Operation {
    ListBuckets,
    CreateBucket,
    HeadBucket,
    DeleteBucket,
    GetBucketLocation,
    GetBucketVersioning,
    PutBucketVersioning,
    GetObjectLockConfiguration,
    ListObjectVersions,
    ListObjects,
    ListObjectsV2,
    PutObject,
    GetObject,
    HeadObject,
    DeleteObject,
    DeleteObjects,
    GetObjectRetention,
    GetObjectLegalHold,
    CopyObject,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    ListMultipartUploads,
    GetObjectTagging,
    PutObjectTagging,
    DeleteObjectTagging,
    PutObjectRetention,
    PutObjectLegalHold,
    GetObjectAcl,
    PutObjectAcl,
    RestoreObject,
    /// Whatever else S3 can do: answered with NotImplemented or MethodNotAllowed.
    Other,
}

impl Operation {
    /// AWS's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ListBuckets => "ListBuckets",
            Self::CreateBucket => "CreateBucket",
            Self::HeadBucket => "HeadBucket",
            Self::DeleteBucket => "DeleteBucket",
            Self::GetBucketLocation => "GetBucketLocation",
            Self::GetBucketVersioning => "GetBucketVersioning",
            Self::PutBucketVersioning => "PutBucketVersioning",
            Self::GetObjectLockConfiguration => "GetObjectLockConfiguration",
            Self::ListObjectVersions => "ListObjectVersions",
            Self::ListObjects => "ListObjects",
            Self::ListObjectsV2 => "ListObjectsV2",
            Self::PutObject => "PutObject",
            Self::GetObject => "GetObject",
            Self::HeadObject => "HeadObject",
            Self::DeleteObject => "DeleteObject",
            Self::DeleteObjects => "DeleteObjects",
            Self::GetObjectRetention => "GetObjectRetention",
            Self::GetObjectLegalHold => "GetObjectLegalHold",
            Self::CopyObject => "CopyObject",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::UploadPart => "UploadPart",
            Self::UploadPartCopy => "UploadPartCopy",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::ListParts => "ListParts",
            Self::ListMultipartUploads => "ListMultipartUploads",
            Self::GetObjectTagging => "GetObjectTagging",
            Self::PutObjectTagging => "PutObjectTagging",
            Self::DeleteObjectTagging => "DeleteObjectTagging",
            Self::PutObjectRetention => "PutObjectRetention",
            Self::PutObjectLegalHold => "PutObjectLegalHold",
            Self::GetObjectAcl => "GetObjectAcl",
            Self::PutObjectAcl => "PutObjectAcl",
            Self::RestoreObject => "RestoreObject",
            Self::Other => "Other",
        }
    }

    /// Whether a success is told at once and its answer may still turn out to be an error, because
    /// the work takes so long that the connection has to be kept open.
    pub const fn answers_early(self) -> bool {
        matches!(self, Self::CopyObject | Self::UploadPartCopy | Self::CompleteMultipartUpload)
    }

    /// Whether the body is data.
    pub(super) const fn is_upload(self) -> bool {
        matches!(self, Self::PutObject | Self::UploadPart)
    }

    /// Whether the operation lists, which is what a cut answer hurts most.
    pub const fn is_listing(self) -> bool {
        matches!(self, Self::ListObjectVersions | Self::ListObjects | Self::ListObjectsV2)
    }
}

/// Parameters of a query that pick no operation of their own: they are arguments, or stand for the
/// object's answer headers, or tell SDKs apart.
const ARGUMENTS: [&str; 26] = [
    "allow-unordered",
    "bucket-region",
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "list-type",
    "marker",
    "max-buckets",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "partNumber",
    "prefix",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "start-after",
    "upload-id-marker",
    "version-id-marker",
    "versionId",
];

/// What a request is about: the operation follows from the method, from whether a bucket and a key
/// are named, and from the subresource in the query.
pub(super) fn route(
    method: &str,
    has_bucket: bool,
    has_key: bool,
    query: &[(String, String)],
    is_copy: bool,
) -> Operation {
    let mut subresources = query
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| *name != "x-id" && !ARGUMENTS.contains(name));
    let subresource = subresources.next();
    if subresources.next().is_some() {
        return Operation::Other;
    }
    let list_v2 = query.iter().any(|(name, value)| name == "list-type" && value == "2");
    let has_part_number = query.iter().any(|(name, _)| name == "partNumber");
    match (method, has_bucket, has_key, subresource) {
        ("GET", false, false, None) => Operation::ListBuckets,
        ("GET", true, false, None) if list_v2 => Operation::ListObjectsV2,
        ("GET", true, false, None) => Operation::ListObjects,
        ("GET", true, false, Some("versions")) => Operation::ListObjectVersions,
        ("GET", true, false, Some("location")) => Operation::GetBucketLocation,
        ("GET", true, false, Some("versioning")) => Operation::GetBucketVersioning,
        ("GET", true, false, Some("object-lock")) => Operation::GetObjectLockConfiguration,
        ("PUT", true, false, None) => Operation::CreateBucket,
        ("PUT", true, false, Some("versioning")) => Operation::PutBucketVersioning,
        ("HEAD", true, false, None) => Operation::HeadBucket,
        ("DELETE", true, false, None) => Operation::DeleteBucket,
        ("POST", true, false, Some("delete")) => Operation::DeleteObjects,
        ("GET", true, true, None) => Operation::GetObject,
        ("GET", true, true, Some("retention")) => Operation::GetObjectRetention,
        ("GET", true, true, Some("legal-hold")) => Operation::GetObjectLegalHold,
        ("HEAD", true, true, None) => Operation::HeadObject,
        ("PUT", true, true, None) if has_part_number => Operation::Other,
        ("PUT", true, true, None) if is_copy => Operation::CopyObject,
        ("PUT", true, true, None) => Operation::PutObject,
        ("GET", true, false, Some("uploads")) => Operation::ListMultipartUploads,
        ("POST", true, true, Some("uploads")) => Operation::CreateMultipartUpload,
        ("PUT", true, true, Some("uploadId")) if !has_part_number => Operation::Other,
        ("PUT", true, true, Some("uploadId")) if is_copy => Operation::UploadPartCopy,
        ("PUT", true, true, Some("uploadId")) => Operation::UploadPart,
        ("POST", true, true, Some("uploadId")) => Operation::CompleteMultipartUpload,
        ("DELETE", true, true, Some("uploadId")) => Operation::AbortMultipartUpload,
        ("GET", true, true, Some("uploadId")) => Operation::ListParts,
        ("GET", true, true, Some("tagging")) => Operation::GetObjectTagging,
        ("PUT", true, true, Some("tagging")) => Operation::PutObjectTagging,
        ("DELETE", true, true, Some("tagging")) => Operation::DeleteObjectTagging,
        ("PUT", true, true, Some("retention")) => Operation::PutObjectRetention,
        ("PUT", true, true, Some("legal-hold")) => Operation::PutObjectLegalHold,
        ("GET", true, true, Some("acl")) => Operation::GetObjectAcl,
        ("PUT", true, true, Some("acl")) => Operation::PutObjectAcl,
        ("POST", true, true, Some("restore")) => Operation::RestoreObject,
        ("DELETE", true, true, None) => Operation::DeleteObject,
        _ => Operation::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(names: &[&str]) -> Vec<(String, String)> {
        names
            .iter()
            .map(|text| text.split_once('=').unwrap_or((text, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn the_subresource_picks_the_operation_and_arguments_do_not() {
        let listing = query(&["prefix=a", "versions", "max-keys=7", "encoding-type=url"]);
        assert_eq!(route("GET", true, false, &listing, false), Operation::ListObjectVersions);
        let v2 = query(&["list-type=2", "fetch-owner=true"]);
        assert_eq!(route("GET", true, false, &v2, false), Operation::ListObjectsV2);
        let get = query(&["versionId=x", "x-id=GetObject"]);
        assert_eq!(route("GET", true, true, &get, false), Operation::GetObject);
        assert_eq!(route("POST", true, false, &query(&["delete"]), false), Operation::DeleteObjects);
    }

    #[test]
    fn what_is_not_known_never_becomes_something_else() {
        for (method, key, names) in [
            ("DELETE", false, ["lifecycle"]),
            ("DELETE", true, ["torrent"]),
            ("GET", true, ["attributes"]),
            ("PUT", true, ["uploadId=7"]),
            ("PUT", true, ["partNumber=7"]),
            ("GET", false, ["acl"]),
            ("PATCH", true, ["versionId=1"]),
        ] {
            assert_eq!(
                route(method, true, key, &query(&names), false),
                Operation::Other,
                "{method} {names:?}"
            );
        }
        assert_eq!(route("PUT", true, true, &[], true), Operation::CopyObject, "a copy is not an upload");
        let part = query(&["partNumber=7", "uploadId=u"]);
        assert_eq!(route("PUT", true, true, &part, true), Operation::UploadPartCopy);
        assert_eq!(route("PUT", true, true, &part, false), Operation::UploadPart);
    }
}
