//! What it means to copy or to move versions: where to, in what form, and what came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{KeyTemplate, SecretPlace, VersionId};

/// Which versions of a key travel, once a rule has selected one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum History {
    /// Those that the rule selected.
    #[default]
    Selected,
    /// Also those of the same key that no rule decides.
    All,
    /// Nothing but the current version; the rule selects no other.
    Current,
}

/// What to do where the destination's key has entries before its history is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IfExists {
    /// The key's history does not travel: its versions fail.
    #[default]
    Fail,
    /// Where its newest entries are the history already, nothing is written and the versions count as
    /// copied; anything else fails.
    SkipSame,
    /// The history is written on top.
    Append,
}

/// Where user metadata and content headers come from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum MetadataSource {
    /// The source version.
    #[default]
    Copy,
    /// The job: header names in lower case (`content-type`, `cache-control`, `x-amz-meta-...`).
    Replace(BTreeMap<String, String>),
}

/// Where tags come from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum TagSource {
    /// The source version; needs `s3:GetObjectVersionTagging`.
    #[default]
    Copy,
    /// The job; empty for none.
    Replace(BTreeMap<String, String>),
}

/// What becomes of access control lists.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum AclSource {
    /// The destination's default: nothing is sent.
    #[default]
    Default,
    /// That of the source version: one request to read it and one to write it.
    Copy,
    /// A canned one, such as `bucket-owner-full-control`.
    Canned(String),
}

/// How the destination encrypts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Encryption {
    /// The destination bucket's default: nothing is sent.
    #[default]
    Default,
    /// Keys of S3: `AES256`.
    S3,
    /// Keys of KMS.
    Kms {
        /// `aws:kms:dsse` rather than `aws:kms`.
        two_layers: bool,
        /// Key id or ARN; the account's default key where absent.
        key_id: Option<String>,
        /// Encryption context, by name.
        context: BTreeMap<String, String>,
        /// Whether to use a bucket key; the bucket's setting where absent.
        bucket_key: Option<bool>,
    },
    /// A key of the customer's own (SSE-C): 32 bytes, plain or in Base64, read when they are needed.
    Customer(SecretPlace),
}

/// A customer's key for SSE-C, read.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomerKeyBytes(pub [u8; 32]);

/// Nothing of the key shows.
impl fmt::Debug for CustomerKeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerKeyBytes(***)")
    }
}

/// Mode of a retention.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetentionMode {
    /// May be bypassed with a permission.
    Governance,
    /// May be bypassed by nobody.
    Compliance,
}

impl RetentionMode {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

/// Where retention and legal hold come from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum LockSource {
    /// The destination bucket's default: nothing is sent.
    #[default]
    Default,
    /// The source version.
    Copy,
    /// The job.
    Set {
        /// Mode, and how long from the time of copying.
        retention: Option<(RetentionMode, Duration)>,
        /// Whether a legal hold is placed.
        legal_hold: bool,
    },
}

/// A checksum algorithm of S3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChecksumKind {
    /// CRC-32.
    Crc32,
    /// CRC-32C.
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// How much a copy is looked at before it is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verify {
    /// Size, and the ETag where it can be compared, else the server's checksum of the whole object.
    #[default]
    Fingerprint,
    /// Every byte of source and destination is read and compared.
    Bytes,
}

/// Who carries the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Route {
    /// The server where source and destination have one endpoint and one identity, else this program.
    #[default]
    Auto,
    /// The server.
    Server,
    /// This program: it reads from the source and writes to the destination.
    Stream,
}

/// What restoring an archived version asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestoreTier {
    /// Minutes.
    Expedited,
    /// Hours.
    Standard,
    /// Half a day, the cheapest.
    Bulk,
}

impl RestoreTier {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expedited => "Expedited",
            Self::Standard => "Standard",
            Self::Bulk => "Bulk",
        }
    }
}

/// A restore to ask for where an archived version is met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Restore {
    /// How many days the restored copy is kept.
    pub days: u32,
    /// How quickly it should be there.
    pub tier: RestoreTier,
}

/// Something that the user will not do without: the run does not start where it would be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Requirement {
    /// Access control lists.
    Acl,
    /// Tags.
    Tags,
    /// Retention and legal hold.
    Lock,
    /// User metadata and content headers.
    Metadata,
    /// ETags that stay the same.
    Etag,
    /// The redirect of a website, which no server copies by itself: each version is asked for it.
    Redirect,
}

/// Everything about a copy but the bucket it goes to. Two rules that agree in all of it share an action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopySettings {
    /// From a source key and version to the destination's key.
    pub key: KeyTemplate,
    /// Which versions travel.
    pub history: History,
    /// What to do where the destination's key has entries.
    pub if_exists: IfExists,
    /// Storage class of the copies; that of each source version where absent.
    pub storage_class: Option<String>,
    /// User metadata and content headers.
    pub metadata: MetadataSource,
    /// Tags.
    pub tags: TagSource,
    /// Access control lists.
    pub acl: AclSource,
    /// Encryption at the destination.
    pub encryption: Encryption,
    /// The customer's key that the source versions are encrypted with, where they are.
    pub source_key: Option<SecretPlace>,
    /// Retention and legal hold.
    pub lock: LockSource,
    /// A checksum that the destination should keep of each copy.
    pub checksum: Option<ChecksumKind>,
    /// How much a copy is looked at.
    pub verify: Verify,
    /// Who carries the bytes.
    pub route: Route,
    /// Objects above this size are copied in parts: at most 5 GiB.
    pub multipart_above_bytes: u64,
    /// Size of a part; chosen by the program where absent.
    pub part_bytes: Option<u64>,
    /// The restore to ask for where an archived version is met; nothing is asked where absent.
    pub restore: Option<Restore>,
    /// What must not be lost.
    pub require: Vec<Requirement>,
}

/// What an item needs in order to be copied, and what came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyItem {
    /// ETag of the source version as listed, quotes included; empty for a delete marker.
    pub etag: Box<str>,
    /// Storage class of the source version as listed; empty where the listing told none.
    pub storage_class: Box<str>,
    /// The verified copy: present once the source version may go.
    pub copied: Option<Copied>,
}

/// A verified copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copied {
    /// The key at the destination.
    pub key: super::Key,
    /// Its version id there; `null` where the destination keeps no versions.
    pub version_id: VersionId,
    /// Its ETag there, quotes included; empty for a delete marker.
    pub etag: Box<str>,
}
