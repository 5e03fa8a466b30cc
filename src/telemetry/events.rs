//! What can happen in a run, each with its log line. [`super::Metrics::emit`] logs and counts an event in one
//! call, so that the log and the metrics cannot tell different stories.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use crate::model::{KeepReason, Outcome, RuleId, Timestamp};

use super::catalogue::{OUTCOMES, RUN_STATES};

/// What a process does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunState {
    /// It connects, and takes the lock.
    Starting,
    /// It lists and decides; nothing is sent.
    Planning,
    /// It waits for somebody to agree.
    Confirming,
    /// It carries out what is planned, and may list meanwhile.
    Running,
    /// It takes no new work and ends what is in flight.
    Stopping,
    /// Its work has ended.
    Ended,
}

impl RunState {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Planning, Self::Confirming, Self::Running, Self::Stopping, Self::Ended];

    /// The word in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        RUN_STATES[self as usize]
    }
}

/// How a planned version ends, without the details.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutcomeKind {
    /// The server confirmed it.
    Done,
    /// The version was not there any more.
    Gone,
    /// It will not succeed in this run.
    Failed,
    /// It was left alone.
    Skipped,
}

impl OutcomeKind {
    /// The kind of an outcome.
    pub const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            Outcome::Gone => Self::Gone,
            Outcome::Failed(_) => Self::Failed,
            Outcome::Skipped(_) => Self::Skipped,
        }
    }

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        OUTCOMES[self as usize]
    }
}

/// A part of the program beside the work, whose trouble the run survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The HTTP listener.
    Listener,
    /// Pushing to the Pushgateway.
    Pushgateway,
    /// Writing the textfile.
    Textfile,
    /// Notifying by webhook.
    Webhook,
    /// The lock in the bucket.
    Lock,
    /// The live page.
    Live,
    /// Traces to a collector.
    Traces,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Listener,
        Self::Pushgateway,
        Self::Textfile,
        Self::Webhook,
        Self::Lock,
        Self::Live,
        Self::Traces,
    ];

    /// The word in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        super::catalogue::PARTS[self as usize]
    }
}

/// Versions and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quantity {
    /// Versions and delete markers.
    pub versions: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Quantity {
    /// Takes one more in.
    pub fn add(&mut self, bytes: u64) {
        self.versions += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// What a page came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PageCounts {
    /// Versions listed. Those whose key has not ended yet are kept or planned with a later page.
    pub listed: u64,
    /// Versions kept, by reason.
    pub kept: Vec<(KeepReason, u64)>,
    /// Versions selected, by rule.
    pub planned: Vec<(RuleId, Quantity)>,
}

impl PageCounts {
    /// All versions kept.
    pub fn kept_versions(&self) -> u64 {
        self.kept.iter().map(|(_, versions)| versions).sum()
    }

    /// All versions selected.
    pub fn planned_versions(&self) -> u64 {
        self.planned.iter().map(|(_, quantity)| quantity.versions).sum()
    }
}

/// Versions of one batch, neighbours, of one rule and with one outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutcomeRun {
    /// The rule that selected them.
    pub rule: RuleId,
    /// How they ended.
    pub outcome: Outcome,
    /// How many.
    pub versions: u64,
    /// Their bytes at the source, where what is done leaves it; 0 where it stays there.
    pub source_bytes: u64,
}

/// What a batch came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BatchCounts {
    /// The outcomes that are known.
    pub outcomes: Vec<OutcomeRun>,
    /// Verified copies.
    pub copied: Quantity,
    /// Versions that the server put off for its rate.
    pub throttled: u64,
}

impl BatchCounts {
    /// Versions with an outcome.
    pub fn settled_versions(&self) -> u64 {
        self.outcomes.iter().map(|run| run.versions).sum()
    }
}

/// A run that this process begins or goes on with: what earlier processes achieved, and what is fixed.
#[derive(Clone, PartialEq, Debug)]
pub struct RunBegan<'a> {
    /// The run's id.
    pub run_id: &'a str,
    /// When it began.
    pub began: Timestamp,
    /// When this process took it up.
    pub now: Timestamp,
    /// What was listed and decided.
    pub page: PageCounts,
    /// What was settled, by rule.
    pub settled: Vec<(RuleId, OutcomeKind, u64)>,
    /// What failed, by code.
    pub failed: Vec<(Box<str>, u64)>,
    /// Bytes of the versions that were deleted.
    pub freed_bytes: u64,
    /// Verified copies.
    pub copied: Quantity,
    /// When the deadline ends it.
    pub deadline: Option<Timestamp>,
    /// Its checkpoint, whose size is shown.
    pub checkpoint: &'a Path,
}

/// Ceilings of speed; `None` where there is none.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Ceilings {
    /// Versions a second.
    pub versions_per_second: Option<f64>,
    /// Requests a second.
    pub requests_per_second: Option<f64>,
    /// Bytes a second through this program.
    pub bytes_per_second: Option<f64>,
}

/// Why an attempt failed.
#[derive(Clone, Copy)]
pub struct Fault<'a> {
    /// The code; empty where only the HTTP status is known.
    pub code: &'a str,
    /// The whole error.
    pub error: &'a (dyn Display + Sync),
}

/// Something that happened.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// A former process of this job succeeded at this time.
    SucceededBefore(Timestamp),
    /// The process does something else from now on.
    StateChanged(RunState),
    /// The run is known, and all locks are held: from now on the figures of this process are those of the job.
    RunBegan(&'a RunBegan<'a>),
    /// Ceilings were set.
    CeilingsSet(Ceilings),
    /// A page is durable.
    PageCommitted {
        /// Its range.
        range: i64,
        /// When.
        at: Timestamp,
        /// What it came to.
        counts: &'a PageCounts,
    },
    /// A page cannot be had now and is asked for again later.
    ListingWaits {
        /// Why.
        error: &'a (dyn Display + Sync),
    },
    /// How many ranges there are.
    RangesChanged {
        /// Ranges that are not done.
        open: u64,
        /// Ranges that are.
        done: u64,
    },
    /// A range was divided for another lister.
    RangeSplit {
        /// The range that ends earlier now.
        range: i64,
        /// The new one behind it.
        new: i64,
    },
    /// The last page of a range is on its way to the disk.
    RangeDone {
        /// The range.
        range: i64,
    },
    /// Listing waits for the work, or goes on.
    PlannerPaused(bool),
    /// An operator holds the run, or lets it go on.
    OperatorPaused(bool),
    /// An attempt has ended.
    AttemptEnded {
        /// The operation, by its name in the S3 API.
        operation: &'static str,
        /// Its number within its call, from 1.
        number: u32,
        /// From sending to the end of the answer.
        took: Duration,
        /// Why it failed, where it did.
        fault: Option<Fault<'a>>,
    },
    /// The pace of what changes a bucket, as far as it is known: versions a second that requests may name.
    PaceChanged(Option<f64>),
    /// The pace of listings, as far as it is known: requests a second.
    ListPaceChanged(Option<f64>),
    /// Bytes of a version came through this program.
    Streamed {
        /// How many.
        bytes: u64,
    },
    /// A version of a history arrived and that is durable. It counts as copied when its whole history is verified.
    StepCopied {
        /// Its bytes.
        bytes: u64,
        /// When.
        at: Timestamp,
    },
    /// The outcomes of a batch are durable.
    BatchSettled {
        /// The batch.
        batch: i64,
        /// When.
        at: Timestamp,
        /// What it came to.
        counts: &'a BatchCounts,
    },
    /// Versions are tried again later, because their request failed.
    PutOff {
        /// How many.
        versions: u64,
        /// Whether the server asked for less.
        throttled: bool,
        /// Why.
        error: &'a (dyn Display + Sync),
    },
    /// The history of a key is copied later, because a request of it failed.
    HistoryPutOff {
        /// The destination's key.
        key: &'a (dyn Display + Sync),
        /// Whether the server asked for less.
        throttled: bool,
        /// Why.
        error: &'a (dyn Display + Sync),
    },
    /// What the budget still allows; `None` where it sets no bound.
    BudgetLeft {
        /// Versions.
        versions: Option<u64>,
        /// Bytes.
        bytes: Option<u64>,
    },
    /// A part has trouble that the run survives.
    Trouble {
        /// The part.
        part: Part,
        /// Whether it was well before: the first of a row is told, the others are only counted.
        is_first: bool,
        /// What is wrong.
        text: &'a (dyn Display + Sync),
    },
    /// A part that had trouble is well again.
    TroubleOver {
        /// The part.
        part: Part,
        /// What goes on.
        text: &'a (dyn Display + Sync),
    },
    /// The process has ended its work.
    RunEnded {
        /// Its exit code.
        exit_code: u8,
        /// One word for how it ended.
        word: &'a str,
        /// When.
        at: Timestamp,
        /// Whether this is a success of the job: everything done, and not only planned.
        is_success: bool,
    },
}

impl Event<'_> {
    /// Writes the event's log line, where its level is wanted.
    pub(super) fn log(&self) {
        match *self {
            Self::SucceededBefore(at) => tracing::debug!(%at, "the job succeeded before"),
            Self::StateChanged(state) => tracing::debug!(state = state.as_str(), "the state changes"),
            Self::RunBegan(run) => tracing::debug!(run = run.run_id, began = %run.began, "the run is known"),
            Self::CeilingsSet(ceilings) => tracing::debug!(?ceilings, "ceilings are set"),
            Self::PageCommitted { range, counts, .. } => tracing::debug!(
                range,
                listed = counts.listed,
                kept = counts.kept_versions(),
                planned = counts.planned_versions(),
                "a page is committed"
            ),
            Self::ListingWaits { error } => tracing::warn!("listing waits: {error}"),
            Self::RangesChanged { open, done } => tracing::trace!(open, done, "ranges"),
            Self::RangeSplit { range, new } => tracing::debug!(range, new, "a range is divided"),
            Self::RangeDone { range } => tracing::debug!(range, "a range is listed"),
            Self::PlannerPaused(true) => tracing::debug!("listing waits for deletions to catch up"),
            Self::PlannerPaused(false) => tracing::debug!("listing goes on"),
            Self::OperatorPaused(true) => tracing::warn!("an operator holds the run"),
            Self::OperatorPaused(false) => tracing::warn!("an operator lets the run go on"),
            Self::AttemptEnded { number, fault: Some(Fault { error, .. }), .. } => {
                tracing::debug!(attempt = number, "{error}");
            }
            Self::AttemptEnded { operation, number, took, fault: None } => {
                tracing::trace!(operation, attempt = number, ?took, "answered");
            }
            Self::PaceChanged(versions_per_second) => tracing::trace!(versions_per_second, "pace"),
            Self::ListPaceChanged(requests_per_second) => {
                tracing::trace!(requests_per_second, "pace of listings")
            }
            Self::Streamed { bytes } => tracing::trace!(bytes, "streamed"),
            Self::StepCopied { bytes, .. } => tracing::debug!(bytes, "a version is copied"),
            Self::BatchSettled { batch, counts, .. } => tracing::debug!(
                batch,
                settled = counts.settled_versions(),
                copied = counts.copied.versions,
                throttled = counts.throttled,
                "a batch is settled"
            ),
            Self::PutOff { versions, error, .. } => tracing::warn!(versions, "put off: {error}"),
            Self::HistoryPutOff { key, error, .. } => {
                tracing::warn!(key = %key, "a history is put off: {error}");
            }
            Self::BudgetLeft { versions, bytes } => tracing::trace!(versions, bytes, "budget left"),
            Self::Trouble { part, is_first: true, text } => tracing::warn!(part = part.as_str(), "{text}"),
            Self::Trouble { part, is_first: false, text } => tracing::debug!(part = part.as_str(), "{text}"),
            Self::TroubleOver { part, text } => tracing::info!(part = part.as_str(), "{text}"),
            Self::RunEnded { exit_code, word, .. } => tracing::debug!(exit_code, "the command ends: {word}"),
        }
    }
}
