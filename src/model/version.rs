//! What ListObjectVersions tells.

use std::fmt;

use super::{Key, Timestamp};

/// A version id. Never empty; `null` is one like any other, and the only mutable one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(Box<str>);

impl VersionId {
    /// `None` where the text is empty: a request with an empty version id would not name a version.
    pub fn new(text: impl Into<Box<str>>) -> Option<Self> {
        let text = text.into();
        (!text.is_empty()).then_some(Self(text))
    }

    /// The id as the server wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the literal `null`, which a plain PUT or DELETE may replace in a bucket
    /// whose versioning is suspended.
    pub fn is_null(&self) -> bool {
        &*self.0 == "null"
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_debug())
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Whether an entry of a key holds data or hides it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// An object version.
    Version,
    /// A delete marker: no data, no size, no ETag.
    DeleteMarker,
}

/// One entry of a listing: an object version or a delete marker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// Its key.
    pub key: Key,
    /// Its version id.
    pub id: VersionId,
    /// Object version or delete marker.
    pub kind: Kind,
    /// The server's word on what is current: authoritative.
    pub is_latest: bool,
    /// When it was created; AWS tells whole seconds only.
    pub last_modified: Timestamp,
    /// Bytes; 0 for a delete marker.
    pub size: u64,
    /// With the quotes that the server wrote; absent for a delete marker.
    pub etag: Option<Box<str>>,
    /// Absent for a delete marker and on servers that do not tell.
    pub storage_class: Option<Box<str>>,
}

/// A place in a listing, to go on from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Marker {
    /// Goes out as `key-marker`.
    pub key: Key,
    /// Goes out as `version-id-marker`; without it AWS starts after all versions of the key, and
    /// other servers with the first of them.
    pub version_id: Option<VersionId>,
}

/// One answer of ListObjectVersions whose root element closed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// The entries in document order, which is the server's order.
    pub versions: Vec<Version>,
    /// Where to go on; `None` if and only if the server said IsTruncated=false.
    pub next: Option<Marker>,
}

/// What GetBucketVersioning answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VersioningStatus {
    /// Never versioned: every entry's id is `null`, and deleting it deletes live data.
    Unversioned,
    /// Versions are kept.
    Enabled,
    /// Old versions are still there; a new PUT or DELETE replaces the `null` version of its key.
    Suspended,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_version_id_cannot_be_made() {
        assert_eq!(VersionId::new(""), None);
        assert!(VersionId::new("null").is_some_and(|id| id.is_null()));
    }
}
