//! Whether to try again, and when: pure functions of the error's class, the attempt and the time.
//!
//! There are two layers. Inside one call a worker makes a few quick attempts, paid from a quota
//! that all calls share, which absorbs blips. What is still unconfirmed goes back to the
//! checkpoint with a not-before time; throttling and transient errors are bounded there by time,
//! not by a count, so that an outage of an hour costs no item its outcome.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::model::{Class, Timestamp};

/// Attempts inside one call, the first included.
pub const ATTEMPTS_IN_CALL_MAX: u32 = 3;
/// First ceiling of the jittered wait after a transient error.
const TRANSIENT_BASE: Duration = Duration::from_millis(50);
/// First ceiling of the jittered wait after a throttling answer.
const THROTTLED_BASE: Duration = Duration::from_secs(1);
/// Ceiling of a wait inside a call.
const IN_CALL_WAIT_MAX: Duration = Duration::from_secs(20);
/// First ceiling of the wait of an item that goes back to the checkpoint.
const DURABLE_BASE: Duration = Duration::from_secs(1);
/// Ceiling of the wait of an item that goes back to the checkpoint.
const DURABLE_WAIT_MAX: Duration = Duration::from_secs(300);

/// A source of randomness in `[0, 1)`, passed in so that decisions can be tested.
pub type Chance<'a> = &'a mut dyn FnMut() -> f64;

/// What to do after an attempt of a whole call failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InCall {
    /// Wait, pay the pace again, send again.
    Again(Duration),
    /// Leave the call; the caller decides by the class.
    Leave,
}

/// Decides after the failed attempt number `attempt` (from 1) of one call.
///
/// `retry_after` is the server's wish; it is a floor for the wait, never a reason for more attempts.
pub fn in_call(
    class: Class,
    attempt: u32,
    retry_after: Option<Duration>,
    quota: &Quota,
    chance: Chance<'_>,
) -> InCall {
    let base = match class {
        Class::Transient => TRANSIENT_BASE,
        Class::Throttled => THROTTLED_BASE,
        Class::Done
        | Class::Permanent
        | Class::Divide
        | Class::Credentials
        | Class::ClockSkew
        | Class::Unsupported
        | Class::Elsewhere
        | Class::Stop => return InCall::Leave,
    };
    let too_long = retry_after.is_some_and(|wish| wish > IN_CALL_WAIT_MAX);
    if attempt >= ATTEMPTS_IN_CALL_MAX || too_long || !quota.draw(class) {
        return InCall::Leave;
    }
    let wait = full_jitter(base, attempt - 1, IN_CALL_WAIT_MAX, chance);
    InCall::Again(wait.max(retry_after.unwrap_or_default()))
}

/// When items that came back unconfirmed may be handed out again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durable {
    /// Not before this time.
    NotBefore(Timestamp),
    /// They were tried for as long as the job allows.
    GiveUp,
}

/// Decides for items that are still unconfirmed after their batch was handed out `attempts` times
/// (from 1), first at `first_attempt`.
pub fn durable(
    attempts: u32,
    first_attempt: Timestamp,
    now: Timestamp,
    give_up_after: Duration,
    retry_after: Option<Duration>,
    chance: Chance<'_>,
) -> Durable {
    if now.since(first_attempt).is_some_and(|tried_for| tried_for >= give_up_after) {
        return Durable::GiveUp;
    }
    let wait = full_jitter(DURABLE_BASE, attempts.saturating_sub(1), DURABLE_WAIT_MAX, chance);
    Durable::NotBefore(now.plus(wait.max(retry_after.unwrap_or_default())))
}

/// A wait drawn evenly from zero to `base · 2^exponent`, at most `ceiling`.
pub fn full_jitter(base: Duration, exponent: u32, ceiling: Duration, chance: Chance<'_>) -> Duration {
    let top = base.saturating_mul(1 << exponent.min(20)).min(ceiling);
    top.mul_f64(chance().clamp(0.0, 1.0))
}

/// The retries that all calls of a process may still make: a server in trouble is not sent three
/// times its load. The figures are those of the AWS SDKs' retry quota.
#[derive(Debug)]
pub struct Quota(AtomicI64);

impl Quota {
    const CAPACITY: i64 = 500;
    const COST_TRANSIENT: i64 = 14;
    const COST_THROTTLED: i64 = 5;
    const REFUND_SUCCESS: i64 = 1;

    /// A full quota.
    pub const fn new() -> Self {
        Self(AtomicI64::new(Self::CAPACITY))
    }

    /// Pays for one retry; `false` where the quota is used up.
    pub fn draw(&self, class: Class) -> bool {
        let cost = if class == Class::Throttled { Self::COST_THROTTLED } else { Self::COST_TRANSIENT };
        self.0
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |left| (left >= cost).then_some(left - cost))
            .is_ok()
    }

    /// Gives back a little after an attempt that succeeded.
    pub fn refund(&self) {
        self.0.update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (left + Self::REFUND_SUCCESS).min(Self::CAPACITY)
        });
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALWAYS_TOP: fn() -> f64 = || 1.0;

    #[test]
    fn a_call_makes_three_attempts_and_waits_longer_after_throttling() {
        let quota = Quota::new();
        let wait = |class, attempt| in_call(class, attempt, None, &quota, &mut ALWAYS_TOP.clone());
        assert_eq!(wait(Class::Transient, 1), InCall::Again(Duration::from_millis(50)));
        assert_eq!(wait(Class::Transient, 2), InCall::Again(Duration::from_millis(100)));
        assert_eq!(wait(Class::Transient, 3), InCall::Leave);
        assert_eq!(wait(Class::Throttled, 1), InCall::Again(Duration::from_secs(1)));
        assert_eq!(wait(Class::Permanent, 1), InCall::Leave);
        assert_eq!(wait(Class::Stop, 1), InCall::Leave);
    }

    #[test]
    fn retry_after_is_a_floor_and_a_long_one_ends_the_call() {
        let quota = Quota::new();
        let wait = |secs| {
            in_call(Class::Throttled, 1, Some(Duration::from_secs(secs)), &quota, &mut ALWAYS_TOP.clone())
        };
        assert_eq!(wait(7), InCall::Again(Duration::from_secs(7)));
        assert_eq!(wait(60), InCall::Leave);
    }

    #[test]
    fn the_quota_runs_dry_and_fills_again() {
        let quota = Quota::new();
        let drawn = (0..1000).take_while(|_| quota.draw(Class::Transient)).count();
        assert_eq!(drawn, 35);
        for _ in 0..14 {
            quota.refund();
        }
        assert!(quota.draw(Class::Transient));
        for _ in 0..10_000 {
            quota.refund();
        }
        assert_eq!((0..1000).take_while(|_| quota.draw(Class::Throttled)).count(), 100);
    }

    #[test]
    fn durable_retries_end_by_time_not_by_count() {
        let start = Timestamp::from_millis(0);
        let decide = |attempts, now| {
            durable(attempts, start, now, Duration::from_secs(100), None, &mut ALWAYS_TOP.clone())
        };
        let at = |secs| start.plus(Duration::from_secs(secs));
        assert_eq!(decide(1, at(0)), Durable::NotBefore(at(1)));
        assert_eq!(decide(4, at(10)), Durable::NotBefore(at(18)));
        assert_eq!(decide(1000, at(99)), Durable::NotBefore(at(399)));
        assert_eq!(decide(1, at(100)), Durable::GiveUp);
    }

    #[test]
    fn jitter_spreads_over_the_whole_interval() {
        let wait = |x: f64| full_jitter(Duration::from_secs(1), 3, DURABLE_WAIT_MAX, &mut || x);
        assert_eq!(wait(0.0), Duration::ZERO);
        assert_eq!(wait(0.5), Duration::from_secs(4));
    }
}
