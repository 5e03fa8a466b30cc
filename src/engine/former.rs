//! What a run has behind it when a process takes it up: the metrics begin with that.

use std::path::Path;

use crate::checkpoint::{Amount, Checkpoint, CheckpointError, Counter, Totals};
use crate::job::Job;
use crate::model::{RuleId, Timestamp};
use crate::report::{MOVES_COPIED, MOVES_COPIED_BYTES};
use crate::rules::Rules;
use crate::telemetry::{Ceilings, Event, Metrics, OutcomeKind, Quantity, RunBegan};

use super::budget::Budget;
use super::planner::page_counts;

/// A run as it is taken up.
pub(super) struct Told<'a> {
    pub(super) totals: &'a Totals,
    pub(super) rules: &'a Rules,
    pub(super) began: Timestamp,
    pub(super) now: Timestamp,
    pub(super) deadline: Option<Timestamp>,
    pub(super) file: &'a Path,
}

impl Told<'_> {
    /// Tells it to the metrics.
    ///
    /// # Errors
    /// Those of the checkpoint.
    pub(super) async fn tell(
        &self,
        checkpoint: &Checkpoint,
        metrics: &Metrics,
    ) -> Result<(), CheckpointError> {
        let amounts = self.totals.amounts.iter();
        metrics.emit(&Event::RunBegan(&RunBegan {
            run_id: &checkpoint.header().run_id,
            began: self.began,
            now: self.now,
            page: page_counts(amounts.map(|(counter, amount)| (*counter, *amount))),
            settled: settled(self.totals),
            failed: checkpoint
                .failure_counts()
                .await?
                .into_iter()
                .filter(|count| count.is_failed)
                .map(|count| (count.code.into(), count.versions))
                .collect(),
            freed_bytes: freed_bytes(self.totals, self.rules),
            copied: copied(self.totals, self.rules),
            deadline: self.deadline,
            checkpoint: self.file,
        }));
        Ok(())
    }
}

/// The ceilings that the job sets.
#[expect(clippy::cast_precision_loss, reason = "figures for people and graphs")]
pub(super) fn ceilings(job: &Job) -> Ceilings {
    Ceilings {
        versions_per_second: job.limits.versions_per_second.map(f64::from),
        requests_per_second: job.limits.requests_per_second.map(f64::from),
        bytes_per_second: job.limits.bytes_per_second.map(|bytes| bytes as f64),
    }
}

/// Tells the bounds of the job to the metrics.
pub(super) fn tell_limits(metrics: &Metrics, job: &Job, budget: &Budget) {
    metrics.emit(&Event::CeilingsSet(ceilings(job)));
    let (versions, bytes) = budget.left();
    metrics.emit(&Event::BudgetLeft { versions, bytes });
}

/// What was settled, by rule.
fn settled(totals: &Totals) -> Vec<(RuleId, OutcomeKind, u64)> {
    let of = |(counter, amount): (&Counter, &Amount)| {
        let (rule, kind) = match *counter {
            Counter::Done(rule) => (rule, OutcomeKind::Done),
            Counter::Gone(rule) => (rule, OutcomeKind::Gone),
            Counter::Failed(rule) => (rule, OutcomeKind::Failed),
            Counter::Skipped(rule, _) => (rule, OutcomeKind::Skipped),
            Counter::Listed | Counter::Kept(_) | Counter::Planned(_) => return None,
        };
        Some((rule, kind, amount.versions))
    };
    totals.amounts.iter().filter_map(of).collect()
}

fn freed_bytes(totals: &Totals, rules: &Rules) -> u64 {
    totals.sum(|counter| matches!(counter, Counter::Done(rule) if !rules.leaves_source(rule))).bytes
}

/// Verified copies: those of copies by their outcome, those of moves by a count of their own, since their
/// sources are deleted later.
fn copied(totals: &Totals, rules: &Rules) -> Quantity {
    let counted = |name| totals.requests.get(name).copied().unwrap_or(0);
    let copies = totals.sum(|counter| matches!(counter, Counter::Done(rule) if rules.leaves_source(rule)));
    Quantity {
        versions: copies.versions + counted(MOVES_COPIED),
        bytes: copies.bytes.saturating_add(counted(MOVES_COPIED_BYTES)),
    }
}
