//! What goes into a checkpoint and what comes out of it.

use std::collections::BTreeMap;
use std::ops::{Add, AddAssign};
use std::sync::Arc;

use crate::model::{
    ActionId, Batch, Item, KeepReason, Key, Kind, Marker, Outcome, Phase, Record, RuleId, SkipReason,
    Timestamp, VersionId,
};

/// How a run treats its plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The plan is made in full, and carried out later by `apply`.
    Plan,
    /// Planning and carrying out go on side by side.
    Stream,
}

impl Mode {
    /// The word in the file and in outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Stream => "stream",
        }
    }
}

/// What a run is, fixed when it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunHeader {
    /// Names the run in every output.
    pub run_id: String,
    /// The job's name.
    pub job_name: String,
    /// Digest of `semantic_json`: a run goes on only under the same one.
    pub fingerprint: String,
    /// The part of the job that decides what happens to which version, as canonical JSON; holds no secret.
    pub semantic_json: String,
    /// The bucket.
    pub bucket: String,
    /// The endpoint, or the word for AWS.
    pub endpoint: String,
    /// The region that was found or given.
    pub region: String,
    /// The account that is expected to own the bucket.
    pub owner: Option<String>,
    /// The rules' names; a [`RuleId`] is an index into them.
    pub rule_names: Vec<String>,
    /// Whether the plan is carried out as it is made.
    pub mode: Mode,
    /// When the run began by the server's clock: nothing created later is touched.
    pub began: Timestamp,
    /// The file name of the audit, beside the checkpoint.
    pub audit_file: Option<String>,
    /// The version of the program that began the run.
    pub tool_version: String,
    /// The bucket's versioning status when the run began.
    pub versioning: String,
}

/// Where a run stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RunState {
    /// It lists and decides; nothing is sent.
    Planning,
    /// Its plan is complete and waits to be carried out.
    Planned,
    /// It changes the bucket.
    Running,
    /// It ended before its work, and can go on.
    Stopped,
    /// Every planned version has its outcome.
    Done,
    /// It was given up: its plan is never carried out.
    Abandoned,
}

impl RunState {
    /// All states, in the order of a run's life.
    pub const ALL: [Self; 6] =
        [Self::Planning, Self::Planned, Self::Running, Self::Stopped, Self::Done, Self::Abandoned];

    /// The word in the file and in outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Done => "done",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether there is nothing left to go on with.
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::Abandoned)
    }
}

/// A state with the story of how the run came to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateRow {
    /// Where the run stands.
    pub state: RunState,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// The exit code of the process that wrote it, where it ended.
    pub exit_code: Option<i32>,
    /// Since when.
    pub at: Timestamp,
}

/// A part of the key space to list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRange {
    /// Keys outside this prefix do not belong to it; empty for none.
    pub prefix: Key,
    /// Exclusive lower bound.
    pub lo: Option<Key>,
    /// Inclusive upper bound.
    pub hi: Option<Key>,
}

/// The last item of a page, held back until the next page has been committed: a server that looks
/// for its marker version by id must still find it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldItem {
    /// The item; it counts as planned.
    pub item: Item,
    /// What to do with it.
    pub action: ActionId,
}

/// A batch that is not full yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tail {
    /// First or second phase.
    pub phase: Phase,
    /// What to do with its items.
    pub action: ActionId,
    /// Its number within the range; the batch it becomes keeps it.
    pub seq: u64,
    /// Second phase: the highest number of an elder batch that holds items of its keys.
    pub after_seq: Option<u64>,
    /// Its items; they count as planned. Shared, since the range goes on while its state is written.
    pub items: Arc<Vec<Item>>,
}

/// The whole state of a range between two pages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeRow {
    /// Row id.
    pub id: i64,
    /// Keys outside this prefix do not belong to it.
    pub prefix: Key,
    /// Exclusive lower bound.
    pub lo: Option<Key>,
    /// Inclusive upper bound.
    pub hi: Option<Key>,
    /// Where the next page begins; `None` before the first.
    pub cursor: Option<Marker>,
    /// The version ids of the cursor's key that were seen on the last page: servers that repeat a
    /// key's versions are caught by them.
    pub recent: Vec<VersionId>,
    /// The state of the key that is still open, as the engine encodes it.
    pub fold: Option<Box<[u8]>>,
    /// The item held back.
    pub held: Option<HeldItem>,
    /// The batches that are not full yet.
    pub tails: Vec<Tail>,
    /// The number of the next batch.
    pub next_seq: u64,
    /// The highest number of an elder batch that holds items of the open key.
    pub key_seq: Option<u64>,
    /// Whether its end was proven.
    pub done: bool,
    /// Versions listed.
    pub listed: u64,
    /// Versions kept.
    pub kept: u64,
    /// Versions planned.
    pub planned: u64,
    /// Versions listed whose decision waits in `fold` for the end of their key.
    pub undecided: u64,
    /// Pages committed.
    pub pages: u64,
}

impl RangeRow {
    /// A range before its first page.
    pub fn new(id: i64, range: NewRange) -> Self {
        let NewRange { prefix, lo, hi } = range;
        Self {
            id,
            prefix,
            lo,
            hi,
            cursor: None,
            recent: Vec::new(),
            fold: None,
            held: None,
            tails: Vec::new(),
            next_seq: 0,
            key_seq: None,
            done: false,
            listed: 0,
            kept: 0,
            planned: 0,
            undecided: 0,
            pages: 0,
        }
    }

    /// Planned items that are not in a batch yet: those of the tails and the one held back.
    pub fn waiting(&self) -> u64 {
        self.waiting_items().count() as u64
    }

    pub(super) fn waiting_amount(&self) -> Amount {
        self.waiting_items().map(Amount::of).fold(Amount::default(), Add::add)
    }

    fn waiting_items(&self) -> impl Iterator<Item = &Item> {
        let held = self.held.iter().map(|held| &held.item);
        self.tails.iter().flat_map(|tail| tail.items.iter()).chain(held)
    }
}

/// A batch to be planned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewBatch {
    /// First or second phase.
    pub phase: Phase,
    /// What to do with its items.
    pub action: ActionId,
    /// Its number within the range.
    pub seq: u64,
    /// Second phase: it waits until every elder batch with a number up to this one is settled.
    pub after_seq: Option<u64>,
    /// 1 to [`BATCH_ITEMS_MAX`]; of whole chains as many as [`CHAIN_BATCH_ITEMS_MAX`].
    pub items: Vec<Item>,
}

impl NewBatch {
    /// How many items it may have.
    pub(super) fn items_max(&self) -> usize {
        let travels = self.items.first().is_some_and(|item| item.copy.is_some());
        if travels { CHAIN_BATCH_ITEMS_MAX } else { BATCH_ITEMS_MAX }
    }
}

/// Items in a batch at most: what DeleteObjects takes in one request.
pub const BATCH_ITEMS_MAX: usize = 1000;
/// Items in a batch of chains at most: a chain is never divided, so it is the longest chain that counts.
pub const CHAIN_BATCH_ITEMS_MAX: usize = 51_000;

/// What is counted. Values only grow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Counter {
    /// Versions that were listed.
    Listed,
    /// Listed and kept, by reason.
    Kept(KeepReason),
    /// Selected by the rule.
    Planned(RuleId),
    /// The server confirmed the deletion.
    Done(RuleId),
    /// The server said that the version does not exist.
    Gone(RuleId),
    /// They will not succeed in this run.
    Failed(RuleId),
    /// They were left alone.
    Skipped(RuleId, SkipReason),
}

impl Counter {
    /// The word in the file, in reports and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Kept(_) => "kept",
            Self::Planned(_) => "planned",
            Self::Done(_) => "done",
            Self::Gone(_) => "gone",
            Self::Failed(_) => "failed",
            Self::Skipped(..) => "skipped",
        }
    }

    /// The rule it counts for, where it counts for one.
    pub const fn rule(self) -> Option<RuleId> {
        match self {
            Self::Listed => None,
            Self::Kept(reason) => reason.rule(),
            Self::Planned(rule)
            | Self::Done(rule)
            | Self::Gone(rule)
            | Self::Failed(rule)
            | Self::Skipped(rule, _) => Some(rule),
        }
    }

    /// The reason's word, where it has one; empty otherwise.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Kept(reason) => reason.as_str(),
            Self::Skipped(_, reason) => reason.as_str(),
            _ => "",
        }
    }

    /// The counter for an outcome.
    pub const fn of_outcome(rule: RuleId, outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done(rule),
            Outcome::Gone => Self::Gone(rule),
            Outcome::Failed(_) => Self::Failed(rule),
            Outcome::Skipped(reason) => Self::Skipped(rule, *reason),
        }
    }

    const fn place(self) -> u8 {
        match self {
            Self::Listed => 0,
            Self::Kept(_) => 1,
            Self::Planned(_) => 2,
            Self::Done(_) => 3,
            Self::Gone(_) => 4,
            Self::Failed(_) => 5,
            Self::Skipped(..) => 6,
        }
    }
}

/// By kind, rule and reason, so that outputs have one order.
impl Ord for Counter {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.place(), self.rule(), self.reason()).cmp(&(other.place(), other.rule(), other.reason()))
    }
}

impl PartialOrd for Counter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// How much of something.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Amount {
    /// Versions and delete markers.
    pub versions: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Keys concerned. Counted where a page is decided; 0 for outcomes, whose batches cut keys apart.
    pub keys: u64,
}

impl Amount {
    /// One item.
    pub const fn of(item: &Item) -> Self {
        Self { versions: 1, bytes: item.size, keys: 0 }
    }

    pub(super) fn of_all(items: &[Item]) -> Self {
        items.iter().map(Self::of).fold(Self::default(), Add::add)
    }

    pub(super) fn less(self, other: Self) -> Self {
        Self {
            versions: self.versions.saturating_sub(other.versions),
            bytes: self.bytes.saturating_sub(other.bytes),
            keys: self.keys.saturating_sub(other.keys),
        }
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            versions: self.versions.saturating_add(other.versions),
            bytes: self.bytes.saturating_add(other.bytes),
            keys: self.keys.saturating_add(other.keys),
        }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// An example of what a rule selected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// The rule.
    pub rule: RuleId,
    /// The version's key.
    pub key: Key,
    /// Its version id.
    pub version_id: VersionId,
    /// Object version or delete marker.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// When it was created.
    pub last_modified: Timestamp,
}

/// Samples kept for each rule; further ones are dropped.
pub const SAMPLES_PER_RULE_MAX: u64 = 20;

/// A page's decisions: they commit together with the place where the next page begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageCommit {
    /// The complete new state of the range, its counters included.
    pub range: RangeRow,
    /// Batches that became full.
    pub batches: Vec<NewBatch>,
    /// What was listed, kept and planned since the last page of the range.
    pub tallies: Vec<(Counter, Amount)>,
    /// Examples for the plan.
    pub samples: Vec<Sample>,
    /// The audit of kept versions.
    pub records: Vec<Record>,
    /// When the page was answered.
    pub at: Timestamp,
    /// Named counters to be increased, such as requests by operation.
    pub requests: Vec<(&'static str, u64)>,
}

/// The first page of a range that was a part of another: it commits with the other's new end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Split {
    /// The range that ends at `page.range.lo` from now on.
    pub victim: i64,
    /// The first page of the new range. Its `lo` lies within the victim and not before its cursor, its
    /// `hi` is the end that the victim had, or one behind which nothing was found. Its id is new.
    pub page: PageCommit,
}

/// A batch handed out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimedBatch {
    /// The batch.
    pub batch: Batch,
    /// Second phase: the indices of items whose key has an elder item in the same range that failed
    /// or was skipped. They must be skipped too.
    pub blocked: Vec<usize>,
}

/// The answer to a claim.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Claims {
    /// At most as many as asked for.
    pub batches: Vec<ClaimedBatch>,
    /// When the next batch that is not handed out may be; never before the time of the claim.
    /// Batches that wait for their elders are not counted.
    pub next_ready: Option<Timestamp>,
    /// Batches that are not settled, those handed out included.
    pub open: u64,
}

/// When to try the rest of a batch again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// Not before this time.
    pub not_before: Timestamp,
    /// When it was first found unsettled after an attempt.
    pub first_attempt: Timestamp,
}

/// What became of a batch that was handed out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settlement {
    /// The batch's row id.
    pub batch: i64,
    /// One for each settled item, each with a settled fate.
    pub records: Vec<Record>,
    /// The items that have no outcome yet.
    pub remaining: Vec<Item>,
    /// Items of a move whose copies are verified, each with its `copied`: they become ordinary batches
    /// of deletions in the same transaction, the latest entries behind the others.
    pub moved: Vec<Item>,
    /// So many of the remaining items, from the first, may have been applied all the same.
    pub maybe_sent: usize,
    /// When to try them again; `None` gives them back without counting an attempt.
    pub retry: Option<Retry>,
    /// Named counters to be increased.
    pub requests: Vec<(&'static str, u64)>,
    /// When the answer came.
    pub at: Timestamp,
}

/// The batches of deletions that a settlement made of its moved items.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Moved {
    /// Of the entries that are not the latest of their keys.
    pub elders: Option<i64>,
    /// Of the latest ones; it waits for the others.
    pub latest: Option<i64>,
}

/// A destination key as it was before the first copy of its chain was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChainBase {
    /// The key at the destination.
    pub key: Key,
    /// How many versions and delete markers it had.
    pub entries: u64,
    /// The newest of them, where there was one.
    pub newest: Option<VersionId>,
}

/// How far a version is on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StepState {
    /// It is copied in parts, which the server keeps under this upload.
    Upload {
        /// The upload's id.
        upload_id: Box<str>,
        /// Size of each part but the last.
        part_bytes: u64,
    },
    /// It stands at the destination.
    Copied {
        /// Its version id there; `null` where the destination keeps no versions.
        version_id: VersionId,
        /// Its ETag there, quotes included; empty for a delete marker.
        etag: Box<str>,
    },
}

/// A version of a chain with how far it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Its key at the source.
    pub key: Key,
    /// Its version id at the source.
    pub version_id: VersionId,
    /// How far it is.
    pub state: StepState,
}

/// What was counted, and where the planned items are.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// By counter.
    pub amounts: BTreeMap<Counter, Amount>,
    /// Listed versions whose key has not ended yet.
    pub undecided: u64,
    /// Planned items in batches that are not full, and those held back.
    pub waiting: Amount,
    /// Planned items in batches, not handed out.
    pub pending: Amount,
    /// Planned items in batches that are handed out.
    pub in_flight: Amount,
    /// Batches that are not settled, those handed out included.
    pub open_batches: u64,
    /// The named counters.
    pub requests: BTreeMap<String, u64>,
}

impl Totals {
    /// Sum over the counters that `wanted` accepts.
    pub fn sum(&self, wanted: impl Fn(Counter) -> bool) -> Amount {
        let chosen = self.amounts.iter().filter(|(counter, _)| wanted(**counter));
        chosen.fold(Amount::default(), |sum, (_, amount)| sum + *amount)
    }

    /// Everything listed.
    pub fn listed(&self) -> Amount {
        self.sum(|counter| counter == Counter::Listed)
    }

    /// Everything kept.
    pub fn kept(&self) -> Amount {
        self.sum(|counter| matches!(counter, Counter::Kept(_)))
    }

    /// Everything planned.
    pub fn planned(&self) -> Amount {
        self.sum(|counter| matches!(counter, Counter::Planned(_)))
    }

    /// Everything the server confirmed as deleted.
    pub fn done(&self) -> Amount {
        self.sum(|counter| matches!(counter, Counter::Done(_)))
    }

    /// Everything the server did not have any more.
    pub fn gone(&self) -> Amount {
        self.sum(|counter| matches!(counter, Counter::Gone(_)))
    }

    /// Everything that failed.
    pub fn failed(&self) -> Amount {
        self.sum(|counter| matches!(counter, Counter::Failed(_)))
    }

    /// Everything that was left alone after it was planned.
    pub fn skipped(&self) -> Amount {
        self.sum(|counter| matches!(counter, Counter::Skipped(..)))
    }

    /// Everything planned that has its outcome.
    pub fn settled(&self) -> Amount {
        self.done() + self.gone() + self.failed() + self.skipped()
    }

    /// Whether every listed version is kept, planned or waiting for the end of its key, and every
    /// planned one is in exactly one place or has exactly one outcome.
    ///
    /// # Errors
    /// The equation that does not hold, with its figures.
    pub fn check(&self) -> Result<(), String> {
        let [listed, kept, planned] = [self.listed(), self.kept(), self.planned()].map(|sum| sum.versions);
        if listed != kept + planned + self.undecided {
            return Err(format!(
                "listed {listed} is not kept {kept} + planned {planned} + undecided {}",
                self.undecided
            ));
        }
        let settled = self.settled().versions;
        let (waiting, pending, in_flight) =
            (self.waiting.versions, self.pending.versions, self.in_flight.versions);
        if planned != settled + waiting + pending + in_flight {
            return Err(format!(
                "planned {planned} is not settled {settled} + waiting {waiting} + pending {pending} + in flight {in_flight}"
            ));
        }
        Ok(())
    }
}

/// How many items ended in one way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailureCount {
    /// Whether they failed; else they were skipped.
    pub is_failed: bool,
    /// The failure's code, or the reason they were skipped for.
    pub code: String,
    /// How many.
    pub versions: u64,
}

/// An item that failed or was skipped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailureRow {
    /// The range it was planned from.
    pub range: i64,
    /// The item.
    pub item: Item,
    /// How it ended: failed or skipped.
    pub outcome: Outcome,
    /// The request id of the answer that settled it.
    pub request_id: Option<Box<str>>,
    /// The attempt that settled it, from 1; 0 where none was made.
    pub attempt: u32,
    /// When that was known.
    pub at: Timestamp,
}
