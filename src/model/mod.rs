//! The words of the field as types: what a bucket lists, what a run decides, what became of it.
//!
//! Floor 0: the standard library only, no clock, no randomness, and no I/O but reading a secret where it is.

mod item;
mod journal;
mod key;
mod key_template;
mod outcome;
mod secret;
mod text;
mod time;
mod transfer;
mod version;

pub use item::{ActionId, Batch, DeleteOptions, Item, Mfa, Phase, RuleId};
pub use journal::{Fate, Journal, Record};
pub use key::Key;
pub use key_template::{KeyPart, KeyTemplate, TimePart};
pub use outcome::{Class, Failure, KeepReason, Outcome, SkipReason};
pub use secret::{SECRET_BYTES_MAX, SecretFault, SecretPlace};
pub use text::{Arena, Sealed, Span, Text, TextSpan};
pub use time::Timestamp;
pub use transfer::{
    AclSource, ChecksumKind, Copied, CopyItem, CopySettings, CustomerKeyBytes, Encryption, History, IfExists,
    LockSource, MetadataSource, Requirement, Restore, RestoreTier, RetentionMode, Route, TagSource, Verify,
};
pub use version::{Kind, Marker, Page, STORAGE_CLASSES, Version, VersionId, VersioningStatus};
