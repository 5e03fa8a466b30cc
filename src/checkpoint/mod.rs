//! The run's memory on disk: what is listed, planned, in flight and settled.
//!
//! One SQLite file per run, one thread that owns it ([`Checkpoint`] is the handle), one transaction
//! for everything that must stand or fall together:
//!
//! - a page's decisions, the key that is still open, and the place where the next page begins;
//! - a batch's outcomes, the audit's valid length, and what is to be tried again.
//!
//! **What a caller may rely on.** Whatever was acknowledged survives `kill -9` and a power cut. A
//! batch is in the file before it is handed out, so a request that was sent is known, and its items
//! are in exactly one place or have exactly one outcome: listed = kept + planned + undecided, and
//! planned = settled + waiting + pending + in flight, at every commit. What breaks that is refused
//! as [`CheckpointError::Bug`] before it is written.
//!
//! **Order of latest items.** Every elder batch of a range has a number. A batch of latest items
//! waits until no unsettled elder batch and no open elder tail of its range has a number up to its
//! own `after_seq`; the latest items of a move do not wait for what is left of the batch of chains that
//! they come from, which is that of other keys. Numbers only grow, so a batch that became ready stays ready.
//!
//! **Size.** The unit of the file is the unit of the wire: a batch of up to 1,000 items in one
//! compressed payload. A settled batch leaves counters, and its failures.

mod batches;
mod chains;
mod codec;
mod commands;
mod disk;
mod error;
mod lock;
mod rows;
mod schema;
mod snapshot;
mod state_dir;
mod store;
mod turns;
mod values;
mod writer;

#[cfg(test)]
mod tests;

pub use disk::{DiskGuard, Room};
pub use error::CheckpointError;
pub use lock::{LockError, RunLock, host_name};
pub use snapshot::{FileSizes, Progress, Snapshot};
pub use state_dir::{RunFiles, StateDir};
pub use values::{
    Amount, BATCH_ITEMS_MAX, CHAIN_BATCH_ITEMS_MAX, ChainBase, ClaimedBatch, Claims, Counter, FailureCount,
    FailureRow, HeldItem, Mode, Moved, NewBatch, NewRange, PageCommit, RangeRow, Retry, RunHeader, RunState,
    SAMPLES_PER_RULE_MAX, Sample, Settlement, Split, StateRow, Step, StepState, Tail, Totals,
};
pub use writer::{Checkpoint, Receipt, Slot};
