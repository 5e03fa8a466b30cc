//! What ListObjectVersions tells.

use std::fmt;

use super::text::{Sealed, Slice, Text, TextSpan};
use super::{Key, Timestamp};

/// The storage classes of AWS, as its listings name them. Other servers have names of their own beside these.
pub const STORAGE_CLASSES: [&str; 12] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "OUTPOSTS",
    "GLACIER_IR",
    "SNOW",
    "EXPRESS_ONEZONE",
    "FSX_OPENZFS",
];

/// A version id. Never empty; `null` is one like any other, and the only mutable one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(Slice);

impl VersionId {
    /// `None` where the text is empty: a request with an empty version id would not name a version.
    pub fn new(text: impl AsRef<str>) -> Option<Self> {
        let text = text.as_ref();
        (!text.is_empty()).then(|| Self(Slice::own(text.as_bytes())))
    }

    /// The id that lies there in an arena; `None` where it is empty.
    pub fn at(arena: &Sealed, span: TextSpan) -> Option<Self> {
        (!span.is_empty()).then(|| Self(arena.slice(span.into())))
    }

    /// The same id without the arena of its page.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Slice::own(self.as_bytes()))
    }

    /// The bytes of the id, which are UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The id as the server wrote it.
    pub fn as_str(&self) -> &str {
        // Only text is ever put in.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Whether this is the literal `null`, which a plain PUT or DELETE may replace in a bucket
    /// whose versioning is suspended.
    pub fn is_null(&self) -> bool {
        self.as_bytes() == b"null"
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_str().escape_debug())
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
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
    pub etag: Option<Text>,
    /// Absent for a delete marker and on servers that do not tell.
    pub storage_class: Option<Text>,
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

impl Marker {
    /// The same place without the arena of its page.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { key: self.key.detached(), version_id: self.version_id.as_ref().map(VersionId::detached) }
    }
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
