//! How other servers than AWS answer.

use serde::Deserialize;

/// Deviations from AWS that were seen on other servers. All `false` is AWS.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each deviation is there or is not, apart from all others")]
pub struct Personality {
    /// `key-marker` alone starts with all versions of that key; on AWS it starts after them. Ceph
    /// RGW, Swift.
    pub inclusive_key_marker: bool,
    /// Where the version that `version-id-marker` names is gone, the rest of its key is skipped.
    /// Ceph RGW.
    pub marker_skips_key_when_gone: bool,
    /// Where the version that `version-id-marker` names is gone, its key starts again. MinIO,
    /// rustfs.
    pub marker_restarts_key_when_gone: bool,
    /// A page holds all its Version elements and then all its DeleteMarker elements. LocalStack,
    /// and whatever stands on typed SDK models.
    pub grouped_pages: bool,
    /// With `encoding-type=url`, Key and CommonPrefixes are encoded, but KeyMarker, NextKeyMarker,
    /// Prefix and Delimiter are not. Ceph RGW.
    pub encode_keys_not_markers: bool,
    /// `encoding-type` is not known: nothing is encoded, and the answer does not name it.
    pub ignore_encoding_type: bool,
    /// Truncated pages hold fewer rows than asked for. Ceph RGW.
    pub short_pages: bool,
    /// Deleting a version that does not exist is a per-key NoSuchVersion; on AWS it is a success.
    /// LocalStack.
    pub missing_version_is_error: bool,
    /// DeleteObjects is 501 NotImplemented. Google Cloud Storage.
    pub no_multi_delete: bool,
    /// The versions of a key are listed oldest first. Hitachi Content Platform.
    pub oldest_first: bool,
    /// Keys are listed in the order of their UTF-16 code units instead of their bytes. Sorted anew
    /// for each page: for small buckets.
    pub utf16_order: bool,
    /// DeleteObjects takes Content-MD5 and nothing in its place. Older MinIO, OVH.
    pub content_md5_required_only: bool,
    /// CopyObject and CompleteMultipartUpload pass over all conditions, on the source and on what
    /// they write. Ceph RGW 16.
    pub ignores_copy_conditions: bool,
    /// PutObject passes over all conditions. Ceph RGW 16 does over `If-None-Match: *`.
    pub ignores_put_conditions: bool,
    /// PutObject with `If-Match` is refused, whatever the ETag. Ceph RGW 16, where it is written with
    /// quotes.
    pub refuses_put_if_match: bool,
    /// CopyObject and CompleteMultipartUpload with a condition on what they write are 501
    /// NotImplemented.
    pub refuses_copy_conditions: bool,
    /// The answer to CopyObject has no `x-amz-version-id`. Ceph RGW.
    pub copies_tell_no_version_id: bool,
    /// A DELETE without a version id of a key whose latest entry is a delete marker makes no second
    /// one: the answer names the one that is there.
    pub markers_do_not_pile_up: bool,
}
