//! When failures say that the run should not go on: pure counts, no clock.

use std::collections::BTreeMap;

/// Refusals for want of permission in a row, with no success between them, that end a run: the
/// permission is missing, not one version locked.
const DENIED_STREAK_MAX: u64 = 100;

/// Codes that are counted one by one.
const CAUSES_MAX: usize = 64;

/// `stop_on_failures` of a job.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct FailureLimit {
    /// Outcomes before the share is judged.
    pub after: u64,
    /// Failed outcomes among all, from 0 to 1.
    pub share: f64,
}

/// Why the breaker opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Tripped {
    /// More failures than the job allows.
    Failures(String),
    /// The permission to delete is missing.
    Denied(String),
}

/// Watches the outcomes of a process.
#[derive(Debug)]
pub(super) struct Breaker {
    limit: Option<FailureLimit>,
    /// Where versions can be locked, a streak of refusals says nothing about permissions.
    lockable: bool,
    settled: u64,
    failed: u64,
    /// How often each code was the cause: those of the server that come first, so that it cannot grow this.
    causes: BTreeMap<String, u64>,
    denied_streak: u64,
}

impl Breaker {
    /// `lockable` tells that the bucket has Object Lock.
    pub(super) const fn new(limit: Option<FailureLimit>, lockable: bool) -> Self {
        Self { limit, lockable, settled: 0, failed: 0, causes: BTreeMap::new(), denied_streak: 0 }
    }

    /// An item was deleted, or was gone.
    pub(super) const fn succeeded(&mut self) {
        self.settled += 1;
        self.denied_streak = 0;
    }

    /// An item failed for good with this code.
    pub(super) fn failed(&mut self, code: &str) -> Option<Tripped> {
        self.settled += 1;
        self.failed += 1;
        if self.causes.len() < CAUSES_MAX || self.causes.contains_key(code) {
            *self.causes.entry(code.to_owned()).or_default() += 1;
        }
        self.denied_streak = if code == "AccessDenied" { self.denied_streak + 1 } else { 0 };
        if !self.lockable && self.denied_streak >= DENIED_STREAK_MAX {
            return Some(Tripped::Denied(format!(
                "the last {DENIED_STREAK_MAX} versions were all refused with AccessDenied: the permission \
                 s3:DeleteObjectVersion is missing, or a bucket policy denies it"
            )));
        }
        let limit = self.limit.filter(|limit| self.settled >= limit.after)?;
        #[expect(clippy::cast_precision_loss, reason = "counts of versions stay far below 2^52")]
        let share = self.failed as f64 / self.settled as f64;
        (share > limit.share).then(|| {
            Tripped::Failures(format!(
                "budget.stop_on_failures: {} of {} versions failed, more than {}%{}",
                self.failed,
                self.settled,
                (limit.share * 100.0).round(),
                self.most_frequent()
                    .map(|(code, n)| format!("; {n} of them with {code}"))
                    .unwrap_or_default()
            ))
        })
    }
}

impl Breaker {
    /// The code that was the cause most often.
    fn most_frequent(&self) -> Option<(&str, u64)> {
        self.causes.iter().max_by_key(|(_, n)| **n).map(|(code, n)| (&**code, *n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_failures_ends_the_run_and_not_too_early() {
        let mut breaker = Breaker::new(Some(FailureLimit { after: 10, share: 0.2 }), false);
        for _ in 0..3 {
            assert_eq!(breaker.failed("InvalidArgument"), None);
        }
        for _ in 0..6 {
            breaker.succeeded();
        }
        let Some(Tripped::Failures(text)) = breaker.failed("InternalError") else { panic!("it goes on") };
        assert_eq!(
            text,
            "budget.stop_on_failures: 4 of 10 versions failed, more than 20%; 3 of them with InvalidArgument"
        );
    }

    #[test]
    fn a_streak_of_refusals_means_a_missing_permission() {
        let mut breaker = Breaker::new(None, false);
        for _ in 0..99 {
            assert_eq!(breaker.failed("AccessDenied"), None);
        }
        breaker.succeeded();
        for _ in 0..99 {
            assert_eq!(breaker.failed("AccessDenied"), None);
        }
        assert!(matches!(breaker.failed("AccessDenied"), Some(Tripped::Denied(_))));
    }

    #[test]
    fn locked_versions_are_no_missing_permission() {
        let mut breaker = Breaker::new(None, true);
        assert!((0..500).all(|_| breaker.failed("AccessDenied").is_none()));
    }
}
