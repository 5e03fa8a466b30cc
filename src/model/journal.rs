//! The audit as the checkpoint sees it: a file whose valid length commits with the outcomes.

use std::io;
use std::sync::Arc;

use super::{Copied, KeepReason, Key, Kind, Outcome, RuleId, Timestamp, VersionId};

/// What the audit says of a version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It was listed and kept.
    Kept(KeepReason),
    /// It was planned and settled.
    Settled {
        /// The rule that selected it.
        rule: RuleId,
        /// What became of it.
        outcome: Outcome,
        /// The request id of the answer that settled it, where the server gave one.
        request_id: Option<Arc<str>>,
        /// The attempt that settled it, from 1; 0 where none was made.
        attempt: u32,
    },
}

/// One line of the audit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The version's key.
    pub key: Key,
    /// Its version id.
    pub version_id: VersionId,
    /// Object version or delete marker.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// When the version was created.
    pub last_modified: Timestamp,
    /// What became of it.
    pub fate: Fate,
    /// When that was known, by the server's clock.
    pub at: Timestamp,
    /// The verified copy, where one was made.
    pub copied: Option<Box<Copied>>,
}

/// An append-only file of records that is exact after a crash.
///
/// The owner of the checkpoint calls [`Journal::append`] for each record of a transaction, then
/// [`Journal::seal`], then commits the length it got together with the outcomes. After a crash it
/// calls [`Journal::rewind`] with the last committed length: what lies behind belongs to outcomes
/// that were not committed and will come again. So no record is missing, doubled or torn.
pub trait Journal: Send {
    /// Adds records to the open part. A journal may leave out kinds of records that its user does
    /// not want. It may write later: [`Journal::seal`] then brings the error.
    ///
    /// # Errors
    /// Those of writing.
    fn append(&mut self, records: Vec<Record>) -> io::Result<()>;

    /// Closes the open part so that it can be read on its own, makes it durable, and returns the
    /// length in bytes of everything sealed so far.
    ///
    /// # Errors
    /// Those of writing and of syncing.
    fn seal(&mut self) -> io::Result<u64>;

    /// Forgets what is behind `length_bytes`, and whatever was appended but not sealed.
    ///
    /// # Errors
    /// Those of truncating; `UnexpectedEof` where less than that is there, which means that
    /// committed records were lost.
    fn rewind(&mut self, length_bytes: u64) -> io::Result<()>;
}
