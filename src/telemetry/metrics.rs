//! The metrics of a process: counted by events, rendered for whoever asks.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, Registry};
use tokio::sync::watch;

use crate::model::{Outcome, RuleId, Timestamp};

use super::catalogue::{ENDINGS, KEEP_REASONS, MetricSpec, Presence};
use super::events::{BatchCounts, Ceilings, Event, Fault, OutcomeKind, PageCounts, Part, RunBegan, RunState};
use super::exposition::{self, Format};
use super::logging::traces_troubles;
use super::process::{ProcessFigures, ProcessGauges};
use super::registry::Builder;

use requests::{Requests, code_of};

/// A rule as its series are labelled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleLabel {
    /// Its name in the job file.
    pub name: String,
    /// What it does: `keep`, `delete`, `copy` or `move`.
    pub action: &'static str,
}

/// All metrics of a process, in a registry of their own.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    job: String,
    listed: IntCounter,
    /// By the place of the reason in its list.
    kept: [IntCounter; KEEP_REASONS.len()],
    /// By rule id; absent for rules that keep.
    rules: Vec<Option<OfRule>>,
    freed_bytes: IntCounter,
    copied_versions: IntCounter,
    copied_bytes: IntCounter,
    streamed_bytes: IntCounter,
    failed: IntCounterVec,
    requests: Requests,
    throttled_versions: IntCounter,
    range_splits: IntCounter,
    troubles: IntCounterVec,
    in_flight: InFlight,
    in_flight_requests: Gauge,
    in_flight_versions: Gauge,
    pending: IntGauge,
    pace_versions: Gauge,
    pace_listings: Gauge,
    ceiling_versions: Gauge,
    ceiling_requests: Gauge,
    ceiling_bytes: Gauge,
    ranges_open: Gauge,
    ranges_done: Gauge,
    planner_paused: Gauge,
    paused: Gauge,
    checkpoint_bytes: GaugeVec,
    budget_versions: Gauge,
    budget_bytes: Gauge,
    deadline: Gauge,
    states: [Gauge; RunState::ALL.len()],
    start_time: Gauge,
    end_time: Gauge,
    exit_code: Gauge,
    ending: GaugeVec,
    process_start: Gauge,
    last_success: Gauge,
    last_progress: Gauge,
    process: ProcessGauges,
    checkpoint: OnceLock<PathBuf>,
    has_ended: AtomicBool,
    /// Whether the run is known, with what it has behind it.
    has_run: watch::Sender<bool>,
    /// Held while figures are read that nobody announces.
    sampling: Mutex<()>,
}

/// The series of a rule.
#[derive(Debug)]
struct OfRule {
    planned_versions: IntCounter,
    planned_bytes: IntCounter,
    settled: [IntCounter; 4],
}

/// What waits for an answer.
#[derive(Debug, Default)]
struct InFlight {
    requests: AtomicU64,
    versions: AtomicU64,
}

/// The figures that a person watching a run wants to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Versions and delete markers that were listed.
    pub listed: u64,
    /// Of these, kept.
    pub kept: u64,
    /// Of these, selected.
    pub planned: u64,
    /// Confirmed deleted, or copied where that is all that is wanted.
    pub done: u64,
    /// Found to be gone already.
    pub gone: u64,
    /// Failed for good.
    pub failed: u64,
    /// Left alone after planning.
    pub skipped: u64,
    /// Bytes of the deleted versions.
    pub freed_bytes: u64,
    /// Versions whose copies were verified.
    pub copied: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Versions that the server put off for its rate.
    pub throttled: u64,
    /// Versions named by requests that wait for their answer.
    pub in_flight: u64,
}

impl Progress {
    /// Versions whose outcome is known.
    pub const fn settled(&self) -> u64 {
        self.done + self.gone + self.failed + self.skipped
    }
}

/// An attempt under way: it is in flight until this is dropped, however it ends.
#[derive(Debug)]
pub struct Attempt<'a> {
    metrics: &'a Metrics,
    operation: &'static str,
    versions: u64,
    number: u32,
    since: Instant,
}

impl Attempt<'_> {
    /// It had an outcome.
    pub fn ended(self, fault: Option<Fault<'_>>) {
        let took = self.since.elapsed();
        self.metrics.emit(&Event::AttemptEnded {
            operation: self.operation,
            number: self.number,
            took,
            fault,
        });
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.requests.fetch_sub(1, Ordering::Relaxed);
        self.metrics.in_flight.versions.fetch_sub(self.versions, Ordering::Relaxed);
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people and graphs")]
fn float(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 stay far below 2^52")]
fn seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1000.0
}

impl Metrics {
    /// The metrics of a process that works on a job, which begins now.
    ///
    /// # Errors
    /// Those of the registry, which the catalogue and the code must agree on.
    pub fn new(job: &str, rules: &[RuleLabel], now: Timestamp) -> prometheus::Result<Self> {
        let mut make = Builder::new(job)?;
        let ranges = make.gauges("s3sweep_ranges")?;
        let states = make.gauges("s3sweep_run_state")?;
        let kept = make.counters("s3sweep_kept_versions_total")?;
        let metrics = Self {
            job: job.to_owned(),
            listed: make.counter("s3sweep_listed_versions_total")?,
            kept: std::array::from_fn(|place| kept.with_label_values(&[KEEP_REASONS[place]])),
            rules: of_rules(&mut make, rules)?,
            freed_bytes: make.counter("s3sweep_freed_bytes_total")?,
            copied_versions: make.counter("s3sweep_copied_versions_total")?,
            copied_bytes: make.counter("s3sweep_copied_bytes_total")?,
            streamed_bytes: make.counter("s3sweep_streamed_bytes_total")?,
            failed: make.counters("s3sweep_failed_versions_total")?,
            requests: Requests::new(&mut make)?,
            throttled_versions: make.counter("s3sweep_throttled_versions_total")?,
            range_splits: make.counter("s3sweep_range_splits_total")?,
            troubles: make.counters("s3sweep_troubles_total")?,
            in_flight: InFlight::default(),
            in_flight_requests: make.gauge("s3sweep_in_flight_requests")?,
            in_flight_versions: make.gauge("s3sweep_in_flight_versions")?,
            pending: make.level("s3sweep_pending_versions")?,
            pace_versions: make.gauge("s3sweep_pace_versions_per_second")?,
            pace_listings: make.gauge("s3sweep_pace_list_requests_per_second")?,
            ceiling_versions: make.gauge("s3sweep_ceiling_versions_per_second")?,
            ceiling_requests: make.gauge("s3sweep_ceiling_requests_per_second")?,
            ceiling_bytes: make.gauge("s3sweep_ceiling_bytes_per_second")?,
            ranges_open: ranges.with_label_values(&["open"]),
            ranges_done: ranges.with_label_values(&["done"]),
            planner_paused: make.gauge("s3sweep_planner_paused")?,
            paused: make.gauge("s3sweep_paused")?,
            checkpoint_bytes: make.gauges("s3sweep_checkpoint_bytes")?,
            budget_versions: make.gauge("s3sweep_budget_left_versions")?,
            budget_bytes: make.gauge("s3sweep_budget_left_bytes")?,
            deadline: make.gauge("s3sweep_deadline_time_seconds")?,
            states: RunState::ALL.map(|state| states.with_label_values(&[state.as_str()])),
            start_time: make.gauge("s3sweep_run_start_time_seconds")?,
            end_time: make.gauge("s3sweep_run_end_time_seconds")?,
            exit_code: make.gauge("s3sweep_run_exit_code")?,
            ending: make.gauges("s3sweep_run_ending")?,
            process_start: make.gauge("s3sweep_process_start_time_seconds")?,
            last_success: make.gauge("s3sweep_last_success_time_seconds")?,
            last_progress: make.gauge("s3sweep_last_progress_time_seconds")?,
            process: ProcessGauges::new(&mut make)?,
            checkpoint: OnceLock::new(),
            has_ended: AtomicBool::new(false),
            has_run: watch::Sender::new(false),
            sampling: Mutex::new(()),
            registry: {
                make.gauges("s3sweep_build_info")?.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
                make.finish()?
            },
        };
        for part in Part::ALL {
            metrics.troubles.with_label_values(&[part.as_str()]);
        }
        metrics.planner_paused.set(0.0);
        metrics.paused.set(0.0);
        metrics.process_start.set(seconds(now));
        metrics.start_time.set(seconds(now));
        metrics.last_progress.set(seconds(now));
        metrics.end_time.set(0.0);
        metrics.exit_code.set(-1.0);
        metrics.in_state(RunState::Starting);
        Ok(metrics)
    }

    /// The job's name.
    pub fn job(&self) -> &str {
        &self.job
    }

    /// Whether the process has ended its work: what is rendered from now on is what stays.
    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Returns once the run is known, which it is when all its locks are held. Before, another process may be at
    /// work, whose figures in a textfile or at the Pushgateway must stay.
    pub async fn run_is_known(&self) {
        // The sender lives in self, so the channel cannot close while this waits.
        let mut watcher = self.has_run.subscribe();
        let _known = watcher.wait_for(|known| *known).await;
    }

    /// Troubles so far of all parts of the run; traces belong to the process, which goes on behind it.
    pub fn troubles(&self) -> u64 {
        let parts = Part::ALL.iter().filter(|part| **part != Part::Traces);
        parts.map(|part| self.troubles.with_label_values(&[part.as_str()]).get()).sum()
    }

    /// Logs an event and counts it.
    pub fn emit(&self, event: &Event<'_>) {
        event.log();
        match *event {
            Event::SucceededBefore(at) => self.last_success.set(seconds(at)),
            Event::StateChanged(state) => self.in_state(state),
            Event::RunBegan(run) => self.run_began(run),
            Event::CeilingsSet(ceilings) => self.set_ceilings(ceilings),
            Event::PageCommitted { at, counts, .. } => {
                self.page(counts);
                self.last_progress.set(seconds(at));
            }
            Event::RangesChanged { open, done } => {
                self.ranges_open.set(float(open));
                self.ranges_done.set(float(done));
            }
            Event::RangeSplit { .. } => self.range_splits.inc(),
            Event::PlannerPaused(paused) => self.planner_paused.set(f64::from(u8::from(paused))),
            Event::OperatorPaused(paused) => self.paused.set(f64::from(u8::from(paused))),
            Event::AttemptEnded { operation, number, took, fault } => {
                self.requests.ended(operation, number, took, fault);
            }
            Event::PaceChanged(rate) => self.pace_versions.set(rate.map_or(f64::NAN, f64::floor)),
            Event::ListPaceChanged(rate) => self.pace_listings.set(rate.map_or(f64::NAN, f64::floor)),
            Event::Streamed { bytes } => self.streamed_bytes.inc_by(bytes),
            Event::StepCopied { at, .. } => self.last_progress.set(seconds(at)),
            Event::BatchSettled { at, counts, .. } => {
                self.settled(counts);
                self.last_progress.set(seconds(at));
            }
            Event::PutOff { versions, throttled: true, .. } => self.throttled_versions.inc_by(versions),
            Event::HistoryPutOff { throttled: true, .. } => self.throttled_versions.inc(),
            // Their figures are those of the attempts, of the ranges and of the trouble before.
            Event::ListingWaits { .. }
            | Event::RangeDone { .. }
            | Event::PutOff { .. }
            | Event::HistoryPutOff { .. }
            | Event::TroubleOver { .. } => {}
            Event::BudgetLeft { versions, bytes } => {
                self.budget_versions.set(versions.map_or(f64::NAN, float));
                self.budget_bytes.set(bytes.map_or(f64::NAN, float));
            }
            Event::Trouble { part, .. } => self.troubles.with_label_values(&[part.as_str()]).inc(),
            Event::RunEnded { exit_code, word, at, is_success } => {
                self.ended((exit_code, word), at, is_success);
            }
        }
    }

    /// An attempt leaves that names `versions` versions; it is the `number`th of its call.
    pub fn attempt(&self, operation: &'static str, versions: usize, number: u32) -> Attempt<'_> {
        let versions = versions as u64;
        self.in_flight.requests.fetch_add(1, Ordering::Relaxed);
        self.in_flight.versions.fetch_add(versions, Ordering::Relaxed);
        Attempt { metrics: self, operation, versions, number, since: Instant::now() }
    }

    fn in_state(&self, state: RunState) {
        for (place, gauge) in self.states.iter().enumerate() {
            gauge.set(f64::from(u8::from(place == state as usize)));
        }
    }

    fn of_rule(&self, rule: RuleId) -> Option<&OfRule> {
        self.rules.get(usize::from(rule.0))?.as_ref()
    }

    fn run_began(&self, run: &RunBegan<'_>) {
        self.page(&run.page);
        for (rule, outcome, versions) in &run.settled {
            self.outcome(*rule, *outcome, *versions);
        }
        for (code, versions) in &run.failed {
            self.failed.with_label_values(&[code_of(code)]).inc_by(*versions);
        }
        self.freed_bytes.inc_by(run.freed_bytes);
        self.copied_versions.inc_by(run.copied.versions);
        self.copied_bytes.inc_by(run.copied.bytes);
        self.start_time.set(seconds(run.began));
        self.last_progress.set(seconds(run.now));
        self.deadline.set(run.deadline.map_or(f64::NAN, seconds));
        // A process works on one run.
        let _ = self.checkpoint.set(run.checkpoint.to_owned());
        self.has_run.send_replace(true);
    }

    fn set_ceilings(&self, ceilings: Ceilings) {
        let Ceilings { versions_per_second, requests_per_second, bytes_per_second } = ceilings;
        self.ceiling_versions.set(versions_per_second.unwrap_or(f64::NAN));
        self.ceiling_requests.set(requests_per_second.unwrap_or(f64::NAN));
        self.ceiling_bytes.set(bytes_per_second.unwrap_or(f64::NAN));
    }

    fn page(&self, counts: &PageCounts) {
        self.listed.inc_by(counts.listed);
        for (reason, versions) in &counts.kept {
            self.kept[reason.place()].inc_by(*versions);
        }
        for (rule, quantity) in &counts.planned {
            self.pending.add(signed(quantity.versions));
            if let Some(of_rule) = self.of_rule(*rule) {
                of_rule.planned_versions.inc_by(quantity.versions);
                of_rule.planned_bytes.inc_by(quantity.bytes);
            }
        }
    }

    fn outcome(&self, rule: RuleId, outcome: OutcomeKind, versions: u64) {
        self.pending.sub(signed(versions));
        if let Some(of_rule) = self.of_rule(rule) {
            of_rule.settled[outcome as usize].inc_by(versions);
        }
    }

    fn settled(&self, counts: &BatchCounts) {
        for run in &counts.outcomes {
            let kind = OutcomeKind::of(&run.outcome);
            self.outcome(run.rule, kind, run.versions);
            match &run.outcome {
                Outcome::Done => self.freed_bytes.inc_by(run.source_bytes),
                Outcome::Failed(failure) => {
                    self.failed.with_label_values(&[code_of(&failure.code)]).inc_by(run.versions);
                }
                Outcome::Gone | Outcome::Skipped(_) => {}
            }
        }
        self.copied_versions.inc_by(counts.copied.versions);
        self.copied_bytes.inc_by(counts.copied.bytes);
        self.throttled_versions.inc_by(counts.throttled);
    }

    fn ended(&self, (exit_code, word): (u8, &str), at: Timestamp, is_success: bool) {
        self.exit_code.set(f64::from(exit_code));
        if ENDINGS.contains(&word) {
            self.ending.with_label_values(&[word]).set(1.0);
        }
        self.end_time.set(seconds(at));
        if is_success {
            self.last_success.set(seconds(at));
        }
        self.planner_paused.set(0.0);
        self.paused.set(0.0);
        self.pace_versions.set(f64::NAN);
        self.pace_listings.set(f64::NAN);
        self.deadline.set(f64::NAN);
        self.in_state(RunState::Ended);
        self.has_ended.store(true, Ordering::Release);
    }

    /// Attempts of an operation so far.
    pub fn requests_of(&self, operation: &str) -> u64 {
        self.requests.of(operation).sent.get()
    }

    /// The figures for a progress view.
    pub fn progress(&self) -> Progress {
        let rules = || self.rules.iter().flatten();
        let settled = |kind: OutcomeKind| rules().map(|rule| rule.settled[kind as usize].get()).sum();
        Progress {
            listed: self.listed.get(),
            kept: self.kept.iter().map(|counter| counter.get()).sum(),
            planned: rules().map(|rule| rule.planned_versions.get()).sum(),
            done: settled(OutcomeKind::Done),
            gone: settled(OutcomeKind::Gone),
            failed: settled(OutcomeKind::Failed),
            skipped: settled(OutcomeKind::Skipped),
            freed_bytes: self.freed_bytes.get(),
            copied: self.copied_versions.get(),
            copied_bytes: self.copied_bytes.get(),
            throttled: self.throttled_versions.get(),
            in_flight: self.in_flight.versions.load(Ordering::Relaxed),
        }
    }

    /// Sums of a counter family over all its labels but one; one sum where `label` is none of its labels.
    pub fn sums_by(&self, family: &str, label: &str) -> Vec<(String, u64)> {
        let mut sums = std::collections::BTreeMap::<String, u64>::new();
        for family in self.registry.gather().iter().filter(|found| found.name() == family) {
            for metric in family.get_metric() {
                let of = metric.get_label().iter().find(|pair| pair.name() == label);
                let name = of.map(|pair| pair.value().to_owned()).unwrap_or_default();
                #[expect(clippy::cast_sign_loss, reason = "counters do not fall below zero")]
                let value = metric.get_counter().get_value() as u64;
                *sums.entry(name).or_default() += value;
            }
        }
        sums.into_iter().collect()
    }

    /// All series, for who scrapes this process.
    pub fn render(&self, format: Format) -> String {
        self.render_where(format, |_| true)
    }

    /// The series for who keeps them when this process has ended: in Prometheus's text format, and without
    /// those that node_exporter and the Pushgateway have themselves.
    pub fn render_to_keep(&self) -> String {
        self.render_where(Format::Text, |spec| spec.presence != Presence::ListenerOnly)
    }

    fn render_where(&self, format: Format, wanted: impl Fn(&MetricSpec) -> bool) -> String {
        let _alone = self.sampling.lock().unwrap_or_else(PoisonError::into_inner);
        self.sample();
        // What is not known yet is not 0: a counter that began there would leap to what the run has behind it.
        let has_run = *self.has_run.borrow();
        let is_known = |spec: &MetricSpec| has_run || spec.presence != Presence::OfRun;
        exposition::render(&self.registry.gather(), format, |spec| is_known(spec) && wanted(spec))
    }

    /// Reads the figures that nobody announces.
    fn sample(&self) {
        // An attempt that was cut off at the end may take its time to go.
        let now = |count: &AtomicU64| if self.has_ended() { 0 } else { count.load(Ordering::Relaxed) };
        self.in_flight_requests.set(float(now(&self.in_flight.requests)));
        self.in_flight_versions.set(float(now(&self.in_flight.versions)));
        if let Some(main) = self.checkpoint.get() {
            let mut wal = main.clone().into_os_string();
            wal.push("-wal");
            for (part, file) in [("main", main.as_path()), ("wal", Path::new(&wal))] {
                let bytes = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
                self.checkpoint_bytes.with_label_values(&[part]).set(float(bytes));
            }
        }
        let of_traces = self.troubles.with_label_values(&[Part::Traces.as_str()]);
        of_traces.inc_by(traces_troubles().saturating_sub(of_traces.get()));
        if let Some(figures) = ProcessFigures::read() {
            self.process.set(&figures);
        }
    }
}

fn of_rules(make: &mut Builder, rules: &[RuleLabel]) -> prometheus::Result<Vec<Option<OfRule>>> {
    let planned_versions = make.counters("s3sweep_planned_versions_total")?;
    let planned_bytes = make.counters("s3sweep_planned_bytes_total")?;
    let settled = make.counters("s3sweep_settled_versions_total")?;
    let of_rule = |rule: &RuleLabel| {
        let labels = [rule.name.as_str(), rule.action];
        let outcome = |kind: OutcomeKind| settled.with_label_values(&[labels[0], labels[1], kind.as_str()]);
        (rule.action != "keep").then(|| OfRule {
            planned_versions: planned_versions.with_label_values(&labels),
            planned_bytes: planned_bytes.with_label_values(&labels),
            settled: [OutcomeKind::Done, OutcomeKind::Gone, OutcomeKind::Failed, OutcomeKind::Skipped]
                .map(outcome),
        })
    };
    Ok(rules.iter().map(of_rule).collect())
}

mod requests;

#[cfg(test)]
mod tests;
