//! An entry of a key: a version with everything that belongs to it, or a delete marker.

use super::acl::Grant;
use super::data::{Data, digest_of};
use super::digits::{push_hex, push_number};
use super::encryption::Encryption;
use super::version_id::{self, VersionRef};
use crate::model::{Kind, STORAGE_CLASSES, Timestamp};

/// Place of a storage class in [`STORAGE_CLASSES`]; a PUT with another is InvalidStorageClass.
pub(super) fn storage_class_index(name: &str) -> Option<u8> {
    STORAGE_CLASSES.iter().position(|known| *known == name).and_then(|index| u8::try_from(index).ok())
}

/// How a version's retention may be ended before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RetentionMode {
    /// By a request with `x-amz-bypass-governance-retention: true`.
    Governance,
    /// By nobody.
    Compliance,
}

/// Object Lock of one version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lock {
    /// Holds until it is lifted.
    pub legal_hold: bool,
    /// Holds until this time.
    pub retention: Option<(RetentionMode, Timestamp)>,
}

impl Lock {
    fn refuses(&self, now: Timestamp, bypass_governance: bool) -> bool {
        self.legal_hold
            || self.retention.is_some_and(|(mode, until)| {
                now < until && !(mode == RetentionMode::Governance && bypass_governance)
            })
    }
}

/// A checksum of the data that its versions show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Checksum {
    /// The name of its header.
    pub(super) header: &'static str,
    /// In base64; that of a composite one ends in the number of parts.
    pub(super) value: String,
    /// Whether it is the checksum of the parts' checksums.
    pub(super) is_composite: bool,
}

impl Checksum {
    /// `FULL_OBJECT` or `COMPOSITE`.
    pub(super) fn kind(&self) -> &'static str {
        if self.is_composite { "COMPOSITE" } else { "FULL_OBJECT" }
    }
}

/// The data of an archived version that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Restore {
    /// From when on it can be read.
    pub(super) ready: Timestamp,
    /// Until when.
    pub(super) expiry: Timestamp,
}

/// What only some versions have: kept apart so that a seeded version costs 40 bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    /// The data; seeded versions have none and are filled when read.
    pub(super) data: Option<Data>,
    /// What the ETag shows: the MD5 of the data, that of the parts' MD5s, or neither where the data
    /// is encrypted with a key.
    pub(super) digest: Option<[u8; 16]>,
    /// The bytes of each part; none where the data came in one request.
    pub(super) parts: Vec<u64>,
    /// `Content-Type`, its like, and `x-amz-meta-*` as they came.
    pub(super) headers: Vec<(String, String)>,
    /// A checksum that was verified or asked for.
    pub(super) checksum: Option<Checksum>,
    /// Object Lock.
    pub(super) lock: Lock,
    /// Tags in their order.
    pub(super) tags: Vec<(String, String)>,
    /// How it is encrypted, where that was said.
    pub(super) encryption: Option<Encryption>,
    /// `x-amz-website-redirect-location`.
    pub(super) redirect: Option<String>,
    /// Who may do what; `None` is `private`.
    pub(super) grants: Option<Vec<Grant>>,
    /// The last restore that was asked for.
    pub(super) restore: Option<Restore>,
}

/// A version or a delete marker.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Grows with every entry made; newest first means descending.
    pub(super) sequence: u64,
    /// When it was created.
    pub(super) at: Timestamp,
    /// Bytes of the data.
    pub(super) size: u64,
    /// See [`Extra`].
    pub(super) extra: Option<Box<Extra>>,
    /// Version or delete marker.
    pub(super) kind: Kind,
    /// Whether its id is `null`.
    pub(super) is_null: bool,
    /// Place in [`STORAGE_CLASSES`].
    pub(super) class: u8,
}

impl Entry {
    /// The id that listings and headers show.
    pub(super) fn id(&self) -> String {
        if self.is_null { "null".to_owned() } else { version_id::encode(self.sequence) }
    }

    /// Adds the id that listings show.
    pub(super) fn push_id(&self, out: &mut Vec<u8>) {
        if self.is_null { out.extend_from_slice(b"null") } else { version_id::push(out, self.sequence) }
    }

    /// The ETag without quotes. A seeded version's is made from its sequence number.
    pub(super) fn etag(&self) -> String {
        let mut text = Vec::with_capacity(32);
        self.push_etag(&mut text);
        text.into_iter().map(char::from).collect()
    }

    /// Adds the ETag without quotes.
    pub(super) fn push_etag(&self, out: &mut Vec<u8>) {
        let digest = u128::from_be_bytes(self.digest());
        push_hex(out, (digest >> 64) as u64, 16);
        push_hex(out, digest as u64, 16);
        let parts = self.parts().len();
        if parts > 0 {
            out.push(b'-');
            push_number(out, parts as u64);
        }
    }

    /// What the ETag shows in front of the number of parts.
    pub(super) fn digest(&self) -> [u8; 16] {
        let made = || digest_of(version_id::scramble(self.sequence), version_id::scramble(!self.sequence));
        self.extra.as_ref().and_then(|extra| extra.digest).unwrap_or_else(made)
    }

    /// The bytes of each part; none where the data came in one request.
    pub(super) fn parts(&self) -> &[u64] {
        self.extra.as_ref().map_or(&[], |extra| &extra.parts)
    }

    /// The data.
    pub(super) fn data(&self) -> Data {
        let given = self.extra.as_ref().and_then(|extra| extra.data.clone());
        given.unwrap_or_else(|| Data::filler(self.sequence, self.size, false))
    }

    /// How it is encrypted, where that was said.
    pub(super) fn encryption(&self) -> Option<&Encryption> {
        self.extra.as_ref()?.encryption.as_ref()
    }

    /// Its tags.
    pub(super) fn tags(&self) -> &[(String, String)] {
        self.extra.as_ref().map_or(&[], |extra| &extra.tags)
    }

    /// Its lock.
    pub(super) fn lock(&self) -> Lock {
        self.extra.as_ref().map(|extra| extra.lock).unwrap_or_default()
    }

    /// The restore that counts: one that has not expired.
    pub(super) fn restore(&self, now: Timestamp) -> Option<Restore> {
        self.extra.as_ref()?.restore.filter(|restore| now < restore.expiry)
    }

    /// Whether it is in an archive, restored or not.
    pub(super) fn is_archived(&self) -> bool {
        matches!(STORAGE_CLASSES[usize::from(self.class)], "GLACIER" | "DEEP_ARCHIVE")
    }

    /// Whether its data cannot be read before a restore.
    pub(super) fn needs_restore(&self, now: Timestamp) -> bool {
        self.is_archived() && self.restore(now).is_none_or(|restore| now < restore.ready)
    }

    pub(super) fn is(&self, wanted: VersionRef) -> bool {
        match wanted {
            VersionRef::Null => self.is_null,
            VersionRef::Sequence(sequence) => !self.is_null && self.sequence == sequence,
        }
    }

    pub(super) fn refuses_deletion(&self, now: Timestamp, bypass_governance: bool) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.lock.refuses(now, bypass_governance))
    }
}

/// The content of an entry to be made.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) at: Timestamp,
    pub(super) kind: Kind,
    pub(super) size: u64,
    pub(super) class: u8,
    pub(super) extra: Option<Box<Extra>>,
}

impl Content {
    pub(super) fn marker(at: Timestamp) -> Self {
        Self { at, kind: Kind::DeleteMarker, size: 0, class: 0, extra: None }
    }

    pub(super) fn version(at: Timestamp, size: u64) -> Self {
        Self { at, kind: Kind::Version, size, class: 0, extra: None }
    }
}
