//! The series of requests.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::super::catalogue::{CODES, NO_CODE, OPERATIONS, word_of};
use super::super::events::Fault;
use super::super::registry::Builder;

/// The series of requests. Those of an operation appear with its first attempt.
#[derive(Debug)]
pub(super) struct Requests {
    sent: IntCounterVec,
    errors: IntCounterVec,
    retries: IntCounterVec,
    durations: HistogramVec,
    /// By the place of the operation in its list.
    known: [OnceLock<OfOperation>; OPERATIONS.len()],
}

#[derive(Debug)]
pub(super) struct OfOperation {
    pub(super) sent: IntCounter,
    retries: IntCounter,
    duration: Histogram,
}

impl Requests {
    pub(super) fn new(make: &mut Builder) -> prometheus::Result<Self> {
        Ok(Self {
            sent: make.counters("s3sweep_requests_total")?,
            errors: make.counters("s3sweep_request_errors_total")?,
            retries: make.counters("s3sweep_retries_total")?,
            durations: make.latencies("s3sweep_request_duration_seconds")?,
            known: std::array::from_fn(|_| OnceLock::new()),
        })
    }

    pub(super) fn of(&self, operation: &str) -> &OfOperation {
        let last = OPERATIONS.len() - 1;
        let place = OPERATIONS.iter().position(|known| *known == operation).unwrap_or(last);
        self.known[place].get_or_init(|| {
            let labels = [OPERATIONS[place]];
            OfOperation {
                sent: self.sent.with_label_values(&labels),
                retries: self.retries.with_label_values(&labels),
                duration: self.durations.with_label_values(&labels),
            }
        })
    }

    pub(super) fn ended(
        &self,
        operation: &'static str,
        number: u32,
        took: Duration,
        fault: Option<Fault<'_>>,
    ) {
        let of = self.of(operation);
        of.sent.inc();
        of.duration.observe(took.as_secs_f64());
        if number > 1 {
            of.retries.inc();
        }
        if let Some(fault) = fault {
            let labels = [word_of(OPERATIONS, operation), code_of(fault.code)];
            self.errors.with_label_values(&labels).inc();
        }
    }
}

/// The label of a code.
pub(super) fn code_of(code: &str) -> &'static str {
    word_of(CODES, if code.is_empty() { NO_CODE } else { code })
}
