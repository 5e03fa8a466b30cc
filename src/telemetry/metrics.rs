//! The catalogue of metrics. Labels come from closed lists: never a key, a prefix or an account.

use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::model::{Outcome, Timestamp};

/// The error codes that may become a label; every other code counts as `other`, so that a server
/// cannot grow the number of series.
const LABELLED_CODES: &[&str] = &[
    "AccessDenied",
    "ExpiredToken",
    "GaveUp",
    "InternalError",
    "InvalidRequest",
    "MalformedXML",
    "NoSuchVersion",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Transport",
    "BadResponse",
    "Unaccounted",
    "UnaddressableKey",
];

/// All metrics of a run, in a registry of their own.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    listed: IntCounter,
    kept: IntCounter,
    planned: IntCounter,
    settled: IntCounterVec,
    freed_bytes: IntCounter,
    requests: IntCounterVec,
    request_seconds: Histogram,
    retries: IntCounter,
    errors: IntCounterVec,
    throttled_versions: IntCounter,
    in_flight: IntGauge,
    planner_paused: IntGauge,
    live_ranges: IntGauge,
    range_splits: IntCounter,
    pace_versions: IntGauge,
    pace_listings: IntGauge,
    start_time: IntGauge,
    end_time: IntGauge,
    last_success: IntGauge,
    exit_code: IntGauge,
}

/// The figures that a person watching a run wants to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Versions and delete markers that were listed and decided.
    pub listed: u64,
    /// Of these, kept.
    pub kept: u64,
    /// Of these, selected.
    pub planned: u64,
    /// Confirmed deleted.
    pub done: u64,
    /// Found to be gone already.
    pub gone: u64,
    /// Failed for good.
    pub failed: u64,
    /// Left alone after planning.
    pub skipped: u64,
    /// Bytes of the deleted versions.
    pub freed_bytes: u64,
    /// Versions named by requests that wait for their answer.
    pub in_flight: u64,
}

impl Progress {
    /// Versions whose outcome is known.
    pub const fn settled(&self) -> u64 {
        self.done + self.gone + self.failed + self.skipped
    }
}

fn registered<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> prometheus::Result<C> {
    let collector = made?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

impl Metrics {
    /// A fresh catalogue whose series all carry the label `job`.
    ///
    /// # Errors
    /// Those of the registry: two metrics of one name, or a bad name.
    pub fn new(job: &str) -> prometheus::Result<Self> {
        let labels = [("job".to_owned(), job.to_owned())].into_iter().collect();
        let registry = Registry::new_custom(Some("s3sweep".to_owned()), Some(labels))?;
        let r = &registry;
        let counter = |name, help| registered(r, IntCounter::new(name, help));
        let gauge = |name, help| registered(r, IntGauge::new(name, help));
        let labelled = |name, help, label| registered(r, IntCounterVec::new(Opts::new(name, help), &[label]));
        Ok(Self {
            listed: counter("listed_versions_total", "Versions and delete markers listed and decided.")?,
            kept: counter("kept_versions_total", "Listed versions that are kept.")?,
            planned: counter("planned_versions_total", "Listed versions that a rule selected.")?,
            settled: labelled(
                "settled_versions_total",
                "Planned versions whose outcome is known.",
                "outcome",
            )?,
            freed_bytes: counter("freed_bytes_total", "Bytes of the versions that were deleted.")?,
            requests: labelled("requests_total", "Attempts sent, by operation.", "operation")?,
            request_seconds: registered(
                r,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "request_duration_seconds",
                        "Time from sending an attempt to its outcome.",
                    )
                    .buckets(vec![0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0]),
                ),
            )?,
            retries: counter("retries_total", "Attempts beyond the first.")?,
            errors: labelled("errors_total", "Errors of attempts and of items, by code.", "code")?,
            throttled_versions: counter("throttled_versions_total", "Versions that the server put off.")?,
            in_flight: gauge("in_flight_versions", "Versions named by requests that wait for their answer.")?,
            planner_paused: gauge("planner_paused", "1 while listing waits for deletions to catch up.")?,
            live_ranges: gauge("live_ranges", "Ranges of keys that are being listed or wait to be.")?,
            range_splits: counter("range_splits_total", "Ranges that were divided for another lister.")?,
            pace_versions: gauge(
                "pace_versions_per_second",
                "Versions a second that deletions may name now; 0 where only the ceilings hold.",
            )?,
            pace_listings: gauge(
                "pace_list_requests_per_second",
                "Listings a second that may be sent now; 0 where only the ceilings hold.",
            )?,
            start_time: gauge("start_time_seconds", "When this run began, by the server's clock.")?,
            end_time: gauge("end_time_seconds", "When this process ended its work; 0 before.")?,
            last_success: gauge("last_success_time_seconds", "When a run last ended with exit code 0.")?,
            exit_code: gauge("exit_code", "Exit code of this process; -1 before it ends.")?,
            registry,
        })
    }

    /// Takes over what earlier processes of the same run achieved.
    pub fn resume(&self, progress: &Progress, began: Timestamp) {
        self.listed.inc_by(progress.listed);
        self.kept.inc_by(progress.kept);
        self.planned.inc_by(progress.planned);
        for (outcome, n) in [
            ("done", progress.done),
            ("gone", progress.gone),
            ("failed", progress.failed),
            ("skipped", progress.skipped),
        ] {
            self.settled.with_label_values(&[outcome]).inc_by(n);
        }
        self.freed_bytes.inc_by(progress.freed_bytes);
        self.start_time.set(began.as_millis() / 1000);
        self.exit_code.set(-1);
    }

    /// A page was committed.
    pub fn page(&self, kept: u64, planned: u64) {
        self.listed.inc_by(kept + planned);
        self.kept.inc_by(kept);
        self.planned.inc_by(planned);
    }

    /// The outcome of so many items, of so many bytes together, was committed.
    pub fn settled(&self, outcome: &Outcome, versions: u64, size_bytes: u64) {
        self.settled.with_label_values(&[outcome.as_str()]).inc_by(versions);
        match outcome {
            Outcome::Done => self.freed_bytes.inc_by(size_bytes),
            Outcome::Failed(failure) => (0..versions).for_each(|_| self.error(&failure.code)),
            Outcome::Gone | Outcome::Skipped(_) => {}
        }
    }

    /// An attempt had an outcome.
    pub fn attempt(&self, operation: &str, attempt: u32, took: Duration) {
        self.requests.with_label_values(&[operation]).inc();
        self.request_seconds.observe(took.as_secs_f64());
        if attempt > 1 {
            self.retries.inc();
        }
    }

    /// An error was seen, of an attempt or of an item.
    pub fn error(&self, code: &str) {
        let label = LABELLED_CODES.iter().find(|known| **known == code).copied().unwrap_or("other");
        self.errors.with_label_values(&[label]).inc();
    }

    /// The server put this many versions off.
    pub fn throttled(&self, versions: u64) {
        self.throttled_versions.inc_by(versions);
    }

    /// A request that names `versions` versions leaves.
    pub fn departs(&self, versions: usize) {
        self.in_flight.add(i64::try_from(versions).unwrap_or(i64::MAX));
    }

    /// Its answer, or its failure, arrived.
    pub fn arrives(&self, versions: usize) {
        self.in_flight.sub(i64::try_from(versions).unwrap_or(i64::MAX));
    }

    /// Listing waits, or goes on.
    pub fn planner_paused(&self, paused: bool) {
        self.planner_paused.set(i64::from(paused));
    }

    /// The state of the listing: ranges not done, and those divided in this process so far.
    pub fn ranges(&self, live: usize, splits: u64) {
        self.live_ranges.set(i64::try_from(live).unwrap_or(i64::MAX));
        self.range_splits.inc_by(splits.saturating_sub(self.range_splits.get()));
    }

    /// The pace that the server grants, as far as it is known: versions deleted and pages listed per
    /// second.
    pub fn pace(&self, versions_per_second: Option<f64>, listings_per_second: Option<f64>) {
        self.pace_versions.set(versions_per_second.unwrap_or_default() as i64);
        self.pace_listings.set(listings_per_second.unwrap_or_default() as i64);
    }

    /// The process ends its work.
    pub fn ended(&self, exit_code: u8, at: Timestamp) {
        self.exit_code.set(i64::from(exit_code));
        self.end_time.set(at.as_millis() / 1000);
        if exit_code == 0 {
            self.last_success.set(at.as_millis() / 1000);
        }
    }

    /// Attempts so far, all operations.
    pub fn requests_of(&self, operation: &str) -> u64 {
        self.requests.with_label_values(&[operation]).get()
    }

    /// The figures for a progress view.
    pub fn progress(&self) -> Progress {
        let settled = |outcome| self.settled.with_label_values(&[outcome]).get();
        Progress {
            listed: self.listed.get(),
            kept: self.kept.get(),
            planned: self.planned.get(),
            done: settled("done"),
            gone: settled("gone"),
            failed: settled("failed"),
            skipped: settled("skipped"),
            freed_bytes: self.freed_bytes.get(),
            in_flight: u64::try_from(self.in_flight.get()).unwrap_or(0),
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

    /// All series in Prometheus's text format.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn render(&self) -> prometheus::Result<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Failure, SkipReason};

    #[test]
    fn progress_reads_back_what_events_counted() {
        let metrics = Metrics::new("nightly").unwrap();
        metrics.page(3, 4);
        metrics.settled(&Outcome::Done, 1, 100);
        metrics.settled(&Outcome::Gone, 1, 50);
        metrics.settled(&Outcome::Failed(Failure { code: "AccessDenied".into(), message: "".into() }), 1, 7);
        metrics.settled(&Outcome::Skipped(SkipReason::ElderRemains), 1, 7);
        let progress = metrics.progress();
        assert_eq!((progress.listed, progress.kept, progress.planned), (7, 3, 4));
        assert_eq!((progress.done, progress.gone, progress.failed, progress.skipped), (1, 1, 1, 1));
        assert_eq!(progress.freed_bytes, 100);
        assert_eq!(progress.settled(), progress.planned);
    }

    #[test]
    fn an_unknown_code_cannot_make_a_series() {
        let metrics = Metrics::new("nightly").unwrap();
        metrics.error("AccessDenied");
        for n in 0..50 {
            metrics.error(&format!("Invented{n}"));
        }
        let text = metrics.render().unwrap();
        assert!(text.contains("s3sweep_errors_total{code=\"other\",job=\"nightly\"} 50"), "{text}");
        assert!(text.contains("s3sweep_errors_total{code=\"AccessDenied\",job=\"nightly\"} 1"));
        assert!(!text.contains("Invented"));
    }
}
