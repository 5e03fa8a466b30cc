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
            Self::Other => "Other",
        }
    }

    /// Whether the operation lists, which is what a cut answer hurts most.
    pub const fn is_listing(self) -> bool {
        matches!(self, Self::ListObjectVersions | Self::ListObjects | Self::ListObjectsV2)
    }
}

/// Parameters of a query that pick no operation of their own: they are arguments, or stand for the
/// object's answer headers, or tell SDKs apart.
const ARGUMENTS: [&str; 21] = [
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
    "prefix",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "start-after",
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
        ("PUT", true, true, None) if !is_copy => Operation::PutObject,
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
            ("DELETE", true, ["tagging"]),
            ("GET", true, ["acl"]),
            ("PUT", true, ["uploadId=7"]),
            ("PATCH", true, ["versionId=1"]),
        ] {
            assert_eq!(
                route(method, true, key, &query(&names), false),
                Operation::Other,
                "{method} {names:?}"
            );
        }
        assert_eq!(route("PUT", true, true, &[], true), Operation::Other, "a copy is not an upload");
    }
}
