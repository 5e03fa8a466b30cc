//! What the server says of an object, or of a part of one, that it has just written.

use std::sync::Arc;

use crate::model::{ChecksumKind, VersionId};

/// An object that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Absent where the server does not tell: Ceph RGW for copies, and any server without versions.
    pub version_id: Option<VersionId>,
    /// As the server wrote it, with its quotes; absent where it is empty, and for a delete marker.
    pub etag: Option<Box<str>>,
    /// Absent where the server keeps none.
    pub checksum: Option<ObjectChecksum>,
    /// The server's name for the request.
    pub request_id: Option<Arc<str>>,
}

/// A checksum that the server keeps of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectChecksum {
    /// The algorithm.
    pub kind: ChecksumKind,
    /// As the server wrote it: Base64, and `-` with the number of parts where it is one of parts.
    pub value: Box<str>,
    /// Whether it is of the object's bytes, not of its parts' checksums.
    pub is_full_object: bool,
}

/// A part that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartWritten {
    /// As the server wrote it, with its quotes.
    pub etag: Box<str>,
    /// Of the part's bytes. Completing an upload whose checksum is one of parts (SHA-1, SHA-256) has to
    /// name it.
    pub checksum: Option<ObjectChecksum>,
}
