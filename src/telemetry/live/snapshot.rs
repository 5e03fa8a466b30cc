//! What the live page shows, once a second.

use serde::Serialize;

use super::estimate::Estimate;
use crate::model::Timestamp;

/// What a run is, fixed while it lasts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct About {
    /// The job's name.
    pub job: String,
    /// The bucket.
    pub bucket: String,
    /// The endpoint, `aws` for AWS.
    pub endpoint: String,
    /// What was asked for: `plan`, `apply` or `run`.
    pub command: &'static str,
    /// Whether the page has buttons.
    pub has_control: bool,
    /// The version of the program.
    pub version: &'static str,
}

/// Figures that cost nothing to read: for those who look often.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Vitals {
    /// Whether everything is listed.
    pub is_listed: bool,
    /// Whether what is planned is carried out.
    pub executes: bool,
    /// Whether an operator holds the run.
    pub is_paused: bool,
    /// Planned, without an outcome yet.
    pub pending: u64,
    /// Versions that are believed to be listed yet; `None` where nobody knows.
    pub to_list: Option<u64>,
    /// Versions a second that the server is believed to grant; `None` where that is not looked for.
    pub pace_per_second: Option<f64>,
    /// Whether the server has refused anything for its rate: before, its pace is not known.
    pub limit_is_met: bool,
    /// The ceiling of versions a second that holds now.
    pub ceiling_per_second: Option<u32>,
    /// The one that the job sets.
    pub job_ceiling_per_second: Option<u32>,
    /// Listings a second that the server is believed to grant.
    pub listings_per_second: Option<f64>,
    /// What the budget leaves.
    pub budget: BudgetLeft,
    /// When the deadline is, by the server's clock.
    pub deadline: Option<Timestamp>,
    /// The server's clock.
    pub now: Timestamp,
}

/// What the budget leaves, where there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct BudgetLeft {
    /// Versions.
    pub versions: Option<u64>,
    /// Of so many.
    pub versions_max: Option<u64>,
    /// Bytes.
    pub bytes: Option<u64>,
    /// Of so many.
    pub bytes_max: Option<u64>,
}

/// Everything that the page shows.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Snapshot {
    /// Where the run stands: `starting`, `planning`, `confirming`, `running`, `stopping` or `ended`.
    pub state: &'static str,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// How it ended, once it has.
    pub ending: Option<Ended>,
    /// What the run is.
    pub about: About,
    /// Names the run, once there is one.
    pub run_id: Option<String>,
    /// When the run began, in milliseconds since 1970 by the server's clock.
    pub began_ms: Option<i64>,
    /// The server's clock when the figures were read.
    pub now_ms: i64,
    /// Whether an operator holds the run.
    pub is_paused: bool,
    /// Whether listing waits for what is planned to be carried out.
    pub listing_waits: bool,
    /// Whether everything is listed.
    pub is_listed: bool,
    /// Versions by where they stand.
    pub counts: Counts,
    /// How fast it goes.
    pub rates: Rates,
    /// What holds it.
    pub pace: PaceFigures,
    /// Errors by code, the most frequent first.
    pub errors: Vec<ErrorRow>,
    /// By rule, in the job's order.
    pub rules: Vec<RuleRow>,
    /// What failed last, the latest first.
    pub failures: Vec<FailureRow>,
    /// What the budget leaves.
    pub budget: BudgetLeft,
    /// When the deadline is, in milliseconds since 1970 by the server's clock.
    pub deadline_ms: Option<i64>,
    /// Bytes of the checkpoint: the database and its log.
    pub checkpoint_bytes: [u64; 2],
    /// The key space in key order.
    pub ranges: Vec<RangeRow>,
    /// When it will end.
    pub estimate: Estimate,
    /// How much of the whole is done, from 0 to 1, where that can be told.
    pub share_done: Option<f64>,
}

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Ended {
    /// One word.
    pub word: &'static str,
    /// The exit code of the process.
    pub exit_code: u8,
    /// A sentence; empty where everything is done.
    pub message: String,
}

/// Versions and delete markers by where they stand; bytes with them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    /// Listed.
    pub listed: u64,
    /// Listed, and waiting for the rest of their key.
    pub undecided: u64,
    /// Kept.
    pub kept: u64,
    /// Planned.
    pub planned: u64,
    /// Bytes of these.
    pub planned_bytes: u64,
    /// Deleted, moved or copied.
    pub done: u64,
    /// Found to be gone already.
    pub gone: u64,
    /// Failed for good.
    pub failed: u64,
    /// Left alone after planning.
    pub skipped: u64,
    /// Planned, without an outcome yet.
    pub pending: u64,
    /// Named by requests that wait for their answer.
    pub in_flight: u64,
    /// Bytes that the source is rid of.
    pub freed_bytes: u64,
    /// Bytes that were copied or moved.
    pub moved_bytes: u64,
}

/// How fast it goes.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Rates {
    /// Versions listed in a second, over the last quarter of a minute.
    pub listed_per_second: f64,
    /// Outcomes in a second, over the same time.
    pub settled_per_second: f64,
    /// Seconds between two points of the history.
    pub history_step_seconds: u32,
    /// Versions listed in a second, the oldest first.
    pub listed_history: Vec<u32>,
    /// Outcomes in a second, the oldest first.
    pub settled_history: Vec<u32>,
}

/// What holds the run.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct PaceFigures {
    /// Versions a second that the server is believed to grant.
    pub versions_per_second: Option<u64>,
    /// Whether the server has refused anything for its rate: before, its pace is not known.
    pub limit_is_met: bool,
    /// Listings a second that the server is believed to grant.
    pub listings_per_second: Option<u64>,
    /// The ceiling of versions a second that holds now.
    pub ceiling_per_second: Option<u32>,
    /// The one that the job sets.
    pub job_ceiling_per_second: Option<u32>,
    /// Versions that the server put off.
    pub throttled: u64,
    /// Their share of all that were answered, from 0 to 1.
    pub throttled_share: f64,
}

/// Errors of one code.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ErrorRow {
    /// The code.
    pub code: String,
    /// Requests that failed so, repeated attempts included.
    pub attempts: u64,
    /// Versions that failed so for good.
    pub failed: u64,
}

/// A rule in figures.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct RuleRow {
    /// Its name.
    pub name: String,
    /// What it does: `keep`, `delete`, `move` or `copy`.
    pub action: &'static str,
    /// Versions it kept.
    pub kept: u64,
    /// Versions it selected.
    pub planned: u64,
    /// Bytes of these.
    pub planned_bytes: u64,
    /// Deleted, moved or copied.
    pub done: u64,
    /// Found to be gone.
    pub gone: u64,
    /// Failed.
    pub failed: u64,
    /// Skipped.
    pub skipped: u64,
}

/// A version that failed. All texts are escaped for people.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct FailureRow {
    /// Its key.
    pub key: String,
    /// Its version id.
    pub version_id: String,
    /// The rule that selected it.
    pub rule: String,
    /// The error code, or why it was skipped.
    pub code: String,
    /// The server's message.
    pub message: String,
    /// When, in milliseconds since 1970 by the server's clock.
    pub at_ms: i64,
}

/// Neighbouring ranges of the key space, shown as one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct RangeRow {
    /// Where it begins, escaped for people: behind this key, or with this prefix.
    pub from: String,
    /// Where it ends; `None` where it goes on to the end of its prefix.
    pub to: Option<String>,
    /// How far its listing has come.
    pub at: Option<String>,
    /// `done`, `open` or `waiting`.
    pub state: &'static str,
    /// How many ranges.
    pub ranges: u64,
    /// Versions listed.
    pub listed: u64,
    /// Versions that are believed to be listed yet; `None` where nobody knows.
    pub to_list: Option<u64>,
    /// Versions planned.
    pub planned: u64,
    /// Of these, with an outcome.
    pub settled: u64,
}
