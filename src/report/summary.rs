//! The figures of a run, read back from its checkpoint: the same whoever asks, and whenever.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{
    CheckpointError, Counter, FailureCount, FailureRow, RunFiles, RunState, Sample, Snapshot, Totals,
};
use crate::model::{Kind, Outcome, RuleId, Timestamp};

use super::transfers::{TransferFigures, TransferRule, WRITE_USD_PER_THOUSAND, cost};

/// The note of the checkpoint that tells what each rule does: a JSON array of `keep`, `delete`, `move` and
/// `copy`, in the order of the rules. Runs without it delete.
pub const RULE_ACTIONS_NOTE: &str = "rule-actions";
/// The note of the checkpoint that tells which actions, by their numbers, move: a JSON array.
pub const MOVE_ACTIONS_NOTE: &str = "move-actions";
/// The note of the checkpoint that tells how long processes worked on the run: [`WorkTime`] in JSON.
pub const WORK_TIME_NOTE: &str = "work-time";
/// The named counter of versions whose copies were verified and written down, so that they can be deleted.
pub const MOVES_COPIED: &str = "moves_copied";
/// The named counter of their bytes.
pub const MOVES_COPIED_BYTES: &str = "moves_copied_bytes";
/// What a request takes at most.
const VERSIONS_PER_REQUEST: u64 = 1000;

/// A run in figures.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Summary {
    /// Names the run.
    pub run_id: String,
    /// The job's name.
    pub job: String,
    /// The bucket.
    pub bucket: String,
    /// The endpoint, `aws` for AWS.
    pub endpoint: String,
    /// Where the run stands.
    pub state: String,
    /// Why it stands there, where there is something to say.
    pub reason: Option<String>,
    /// Exit code of the process that ended last; absent while one works.
    pub exit_code: Option<i32>,
    /// When the run began, by the server's clock.
    pub began: String,
    /// When it was last changed.
    pub updated: String,
    /// Seconds between the two.
    pub seconds: f64,
    /// Of these, the seconds in which a process worked on the run: without the pauses between interruptions
    /// and their continuation, or between a plan and its execution.
    pub working_seconds: f64,
    /// The audit, where one is kept.
    pub audit: Option<PathBuf>,
    /// The checkpoint.
    pub checkpoint: PathBuf,
    /// Versions and delete markers listed.
    pub listed: u64,
    /// Of these, listed and waiting for the rest of their key.
    pub undecided: u64,
    /// Of these, kept.
    pub kept: u64,
    /// Of these, selected.
    pub planned: u64,
    /// Bytes of the selected.
    pub bytes_planned: u64,
    /// Deleted, moved or copied.
    pub done: u64,
    /// Found to be gone already.
    pub gone: u64,
    /// Failed for good.
    pub failed: u64,
    /// Left alone after planning.
    pub skipped: u64,
    /// Planned, without an outcome yet; those in flight included.
    pub pending: u64,
    /// Of the pending ones, those a request may be under way for.
    pub in_flight: u64,
    /// Of the pending ones, those that were copied to where they move and are not deleted yet.
    pub copied_not_deleted: u64,
    /// Bytes deleted, moved or copied.
    pub bytes_done: u64,
    /// Why versions failed or were skipped: the failed ones first, of each kind the most frequent first.
    pub reasons: Vec<ReasonCount>,
    /// Why versions are kept.
    pub kept_because: BTreeMap<String, u64>,
    /// By rule, in the job's order.
    pub rules: Vec<RuleSummary>,
    /// Key ranges listed to their end, and all of them.
    pub ranges_done: u64,
    /// All key ranges.
    pub ranges: u64,
    /// Named counters.
    pub requests: BTreeMap<String, u64>,
}

/// How long processes worked on a run, the one at work left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WorkTime {
    /// Milliseconds of the processes that have ended.
    pub worked_ms: u64,
    /// When the last process began, in milliseconds since 1970 by the server's clock.
    pub since_ms: i64,
}

impl WorkTime {
    /// All of it, where the run was last changed at this time.
    pub fn until(self, last: Timestamp) -> Duration {
        let of_last = last.since(Timestamp::from_millis(self.since_ms)).unwrap_or_default();
        Duration::from_millis(self.worked_ms) + of_last
    }
}

/// How many versions ended in one way that is not the planned one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ReasonCount {
    /// `failed` or `skipped`.
    pub outcome: &'static str,
    /// The error code, or why they were skipped.
    pub code: String,
    /// How many.
    pub versions: u64,
}

/// A rule in figures.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RuleSummary {
    /// Its name.
    pub name: String,
    /// What it does: `keep`, `delete`, `move` or `copy`.
    pub action: String,
    /// Versions it selected.
    pub planned: u64,
    /// Keys it selected something of.
    pub keys: u64,
    /// Bytes it selected.
    pub bytes: u64,
    /// Deleted, moved or copied.
    pub done: u64,
    /// Bytes of these.
    pub bytes_done: u64,
    /// Found to be gone.
    pub gone: u64,
    /// Failed.
    pub failed: u64,
    /// Skipped.
    pub skipped: u64,
    /// Kept by it, or in spite of it.
    pub kept: u64,
    /// A few of the versions it selected.
    pub samples: Vec<SampleLine>,
}

/// A version that a rule selected.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SampleLine {
    /// Its key, escaped for people.
    pub key: String,
    /// Its version id.
    pub version_id: String,
    /// `version` or `delete-marker`.
    pub kind: &'static str,
    /// Bytes.
    pub size: u64,
    /// When it was created.
    pub last_modified: String,
}

/// An item that failed or was skipped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FailureLine {
    /// Its key, escaped for people.
    pub key: String,
    /// Its version id.
    pub version_id: String,
    /// The rule that selected it.
    pub rule: String,
    /// `failed` or `skipped`.
    pub outcome: &'static str,
    /// The error code, or why it was skipped.
    pub code: String,
    /// The server's message.
    pub message: String,
    /// The request that settled it.
    pub request_id: Option<String>,
    /// The attempt that settled it.
    pub attempt: u32,
    /// When.
    pub at: String,
}

/// The ceilings of a job, where it has any.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ceilings {
    /// Versions deleted and written in a second.
    pub versions_per_second: Option<u32>,
    /// Requests of any kind in a second.
    pub requests_per_second: Option<u32>,
    /// Bytes that pass through this program in a second.
    pub bytes_per_second: Option<u64>,
}

/// What carrying a plan out will take.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PlanFigures {
    /// DeleteObjects requests at least.
    pub delete_requests: u64,
    /// Requests that write copies, at least: one for each version that is copied or moved.
    pub copy_requests: u64,
    /// LIST requests made for the plan.
    pub list_requests: u64,
    /// Seconds that the job's own ceilings ask for; 0 where it has none.
    pub seconds_at_limits: f64,
    /// What AWS asks for the LIST requests. Other providers have other prices.
    pub list_cost_usd: f64,
    /// What AWS asks for the requests of copies and moves at least, without storage and traffic.
    pub copy_cost_usd: f64,
    /// Each rule that copies or moves, with all its requests and with what its copies keep.
    pub transfers: Vec<TransferFigures>,
}

/// What the rules of one action come to together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct ActionFigures {
    pub(super) rules: u64,
    pub(super) planned: u64,
    pub(super) bytes_planned: u64,
    pub(super) done: u64,
    pub(super) bytes_done: u64,
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Version => "version",
        Kind::DeleteMarker => "delete-marker",
    }
}

impl Summary {
    /// Reads a run's figures.
    ///
    /// # Errors
    /// Those of the checkpoint.
    pub fn read(files: &RunFiles) -> Result<Self, CheckpointError> {
        let snapshot = Snapshot::open(&files.checkpoint)?;
        let header = snapshot.header()?;
        let state = snapshot.state()?;
        let totals = snapshot.totals()?;
        let progress = snapshot.progress()?;
        let updated = snapshot.updated()?.max(state.at);
        let mut kept_because = BTreeMap::new();
        for (counter, amount) in &totals.amounts {
            if let Counter::Kept(reason) = counter {
                *kept_because.entry(reason.as_str().to_owned()).or_default() += amount.versions;
            }
        }
        let settled = totals.settled().versions;
        let pending = totals.planned().versions.saturating_sub(settled);
        let actions = snapshot.note(RULE_ACTIONS_NOTE)?.and_then(|text| serde_json::from_str(&text).ok());
        let actions: Vec<String> = actions.unwrap_or_default();
        let mut requests = totals.requests.clone();
        let moved = requests.remove(MOVES_COPIED).unwrap_or_default();
        requests.remove(MOVES_COPIED_BYTES);
        let total = updated.since(header.began).unwrap_or_default();
        let work: Option<WorkTime> =
            snapshot.note(WORK_TIME_NOTE)?.and_then(|text| serde_json::from_str(&text).ok());
        let worked = work.map_or(total, |work| work.until(updated).min(total));
        let copied_not_deleted = copied_not_deleted(&snapshot, &totals, &actions, moved)?.min(pending);
        Ok(Self {
            run_id: header.run_id,
            job: header.job_name,
            bucket: header.bucket,
            endpoint: header.endpoint,
            state: state.state.as_str().to_owned(),
            reason: state.reason,
            exit_code: state.exit_code,
            began: header.began.to_string(),
            updated: updated.to_string(),
            seconds: total.as_secs_f64(),
            working_seconds: worked.as_secs_f64(),
            audit: header.audit_file.map(|_| files.audit.clone()).filter(|audit| audit.exists()),
            checkpoint: files.checkpoint.clone(),
            listed: totals.listed().versions,
            undecided: totals.undecided,
            kept: totals.kept().versions,
            planned: totals.planned().versions,
            bytes_planned: totals.planned().bytes,
            done: totals.done().versions,
            gone: totals.gone().versions,
            failed: totals.failed().versions,
            skipped: totals.skipped().versions,
            pending,
            in_flight: totals.in_flight.versions,
            copied_not_deleted,
            bytes_done: totals.done().bytes,
            reasons: snapshot.failure_counts()?.into_iter().map(ReasonCount::new).collect(),
            kept_because,
            rules: rules(&header.rule_names, &actions, &totals, &snapshot.samples()?),
            ranges_done: progress.done,
            ranges: progress.ranges,
            requests,
        })
    }

    /// Whether the checkpoint calls the run under way. Where no process holds the job's lock, the last one
    /// ended without a word.
    pub fn is_under_way(&self) -> bool {
        [RunState::Planning, RunState::Running].iter().any(|state| state.as_str() == self.state)
    }

    /// Says of a run that is called under way that nobody works on it.
    pub fn interrupt(&mut self) {
        self.state = "interrupted".into();
        let killed = || "its process ended without a word: run the same command again to go on".to_owned();
        self.reason.get_or_insert_with(killed);
    }

    /// What carrying the plan out will take, under the job's ceilings.
    pub fn plan_figures(&self, ceilings: Ceilings, transfers: &[TransferRule]) -> PlanFigures {
        let transfers: Vec<TransferFigures> = transfers
            .iter()
            .filter_map(|transfer| {
                let rule = self.rules.iter().find(|rule| rule.name == transfer.rule)?;
                Some(transfer.figures(rule.planned, rule.keys, rule.bytes))
            })
            .collect();
        let deletes = self.of_action("delete").planned + self.of_action("move").planned;
        let copy_requests = self.of_action("copy").planned + self.of_action("move").planned;
        let delete_requests = deletes.div_ceil(VERSIONS_PER_REQUEST);
        let list_requests = self.requests.get("list_pages").copied().unwrap_or(0);
        let of_deletes = self.of_action("delete").planned.div_ceil(VERSIONS_PER_REQUEST);
        let requests = of_deletes + transfers.iter().map(TransferFigures::requests).sum::<u64>();
        let through = transfers.iter().map(|transfer| transfer.bytes_through).sum();
        #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
        let seconds = |amount: u64, rate: Option<u64>| rate.map_or(0.0, |rate| amount as f64 / rate as f64);
        PlanFigures {
            delete_requests,
            copy_requests,
            list_requests,
            seconds_at_limits: seconds(deletes + copy_requests, ceilings.versions_per_second.map(u64::from))
                .max(seconds(requests, ceilings.requests_per_second.map(u64::from)))
                .max(seconds(through, ceilings.bytes_per_second)),
            list_cost_usd: cost(list_requests, WRITE_USD_PER_THOUSAND),
            copy_cost_usd: transfers.iter().map(|transfer| transfer.cost_usd).sum(),
            transfers,
        }
    }

    /// The figures of all rules that do this together.
    pub(super) fn of_action(&self, action: &str) -> ActionFigures {
        let mut figures = ActionFigures::default();
        for rule in self.rules.iter().filter(|rule| rule.action == action) {
            figures.rules += 1;
            figures.planned += rule.planned;
            figures.bytes_planned += rule.bytes;
            figures.done += rule.done;
            figures.bytes_done += rule.bytes_done;
        }
        figures
    }

    /// The time from the beginning of the run to its last change.
    pub fn elapsed(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or_default()
    }

    /// The part of it in which a process worked on the run.
    pub fn worked(&self) -> Duration {
        Duration::try_from_secs_f64(self.working_seconds).unwrap_or_default()
    }
}

impl ReasonCount {
    fn new(count: FailureCount) -> Self {
        let FailureCount { is_failed, code, versions } = count;
        Self { outcome: if is_failed { "failed" } else { "skipped" }, code, versions }
    }
}

/// Versions of moves whose copies are committed and whose sources were not deleted yet: those of histories
/// that are whole at their destination, and of histories under way.
fn copied_not_deleted(
    snapshot: &Snapshot,
    totals: &Totals,
    actions: &[String],
    copied: u64,
) -> Result<u64, CheckpointError> {
    let moves: Option<Vec<u16>> =
        snapshot.note(MOVE_ACTIONS_NOTE)?.and_then(|text| serde_json::from_str(&text).ok());
    let moves = moves.unwrap_or_default();
    let under_way: u64 =
        snapshot.copied_steps()?.iter().filter(|(action, _)| moves.contains(action)).map(|(_, n)| n).sum();
    let is_move = |counter: Counter| {
        let rule = counter.rule().map(|rule| usize::from(rule.0));
        rule.and_then(|rule| actions.get(rule)).is_some_and(|action| action == "move")
    };
    let left = totals
        .sum(|counter| matches!(counter, Counter::Done(_) | Counter::Gone(_)) && is_move(counter))
        .versions;
    Ok(copied.saturating_sub(left) + under_way)
}

fn rules(names: &[String], actions: &[String], totals: &Totals, samples: &[Sample]) -> Vec<RuleSummary> {
    let of = |index: usize, wanted: fn(Counter) -> bool| {
        totals
            .sum(|counter| counter.rule().is_some_and(|rule| usize::from(rule.0) == index) && wanted(counter))
    };
    names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let planned = of(index, |counter| matches!(counter, Counter::Planned(_)));
            let done = of(index, |counter| matches!(counter, Counter::Done(_)));
            RuleSummary {
                name: name.clone(),
                action: actions.get(index).cloned().unwrap_or_else(|| "delete".to_owned()),
                planned: planned.versions,
                keys: planned.keys,
                bytes: planned.bytes,
                done: done.versions,
                bytes_done: done.bytes,
                gone: of(index, |counter| matches!(counter, Counter::Gone(_))).versions,
                failed: of(index, |counter| matches!(counter, Counter::Failed(_))).versions,
                skipped: of(index, |counter| matches!(counter, Counter::Skipped(..))).versions,
                kept: of(index, |counter| matches!(counter, Counter::Kept(_))).versions,
                samples: samples_of(index, samples),
            }
        })
        .collect()
}

fn samples_of(index: usize, samples: &[Sample]) -> Vec<SampleLine> {
    let of_rule = samples.iter().filter(|sample| usize::from(sample.rule.0) == index);
    of_rule
        .take(5)
        .map(|sample| SampleLine {
            key: sample.key.to_string(),
            version_id: sample.version_id.to_string(),
            kind: kind(sample.kind),
            size: sample.size,
            last_modified: sample.last_modified.to_string(),
        })
        .collect()
}

impl FailureLine {
    /// From a row of the checkpoint.
    pub fn new(row: &FailureRow, rule_names: &[String]) -> Self {
        let RuleId(rule) = row.item.rule;
        let (code, message) = match &row.outcome {
            Outcome::Failed(failure) => (failure.code.to_string(), failure.message.to_string()),
            Outcome::Skipped(reason) => (reason.as_str().to_owned(), String::new()),
            Outcome::Done | Outcome::Gone => (String::new(), String::new()),
        };
        Self {
            key: row.item.key.to_string(),
            version_id: row.item.version_id.to_string(),
            rule: rule_names.get(usize::from(rule)).cloned().unwrap_or_else(|| format!("rule {rule}")),
            outcome: row.outcome.as_str(),
            code,
            message,
            request_id: row.request_id.as_deref().map(str::to_owned),
            attempt: row.attempt,
            at: row.at.to_string(),
        }
    }

    /// The first `limit` failures of a run.
    ///
    /// # Errors
    /// Those of the checkpoint.
    pub fn read(checkpoint: &Path, limit: u64) -> Result<Vec<Self>, CheckpointError> {
        let snapshot = Snapshot::open(checkpoint)?;
        let names = snapshot.header()?.rule_names;
        Ok(snapshot.failures(limit, 0)?.iter().map(|row| Self::new(row, &names)).collect())
    }
}
