//! What copying and moving versions need: one request each, and what its answer must satisfy before
//! anybody may act on it.
//!
//! None of the requests that write is idempotent. Whoever repeats one after an error whose
//! `may_have_applied` is set must look at the destination first.

mod acl;
mod attributes;
mod copy;
mod get;
mod head;
mod latest;
mod multipart;
mod parts;
mod put;
mod restore;
mod tags;
mod written;

pub use acl::{AclText, Grant, Grantee};
pub use attributes::{Attributes, Expect, Origin};
pub use get::RANGE_BYTES_MAX;
pub use head::{HeadVersion, ObjectHead, RestoreState};
pub use latest::LatestObject;
pub use parts::{Part, PartsPage};
pub use restore::RestoreAnswer;
pub use written::{ObjectChecksum, PartWritten, Written};
