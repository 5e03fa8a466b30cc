//! Whether the lock is still this process's, as everything that sends asks it.
//!
//! Tasks that look at a clock now and then are not enough: in a process that was stopped, all timers fire
//! at once when it goes on, and nobody knows which task runs first. So each request asks here, without
//! waiting for anybody, when nothing is left to do but to send it. Between that and the first byte on the
//! wire a process can still be stopped: no lock without a check at the server closes that gap.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::super::{Ending, Stop};
use super::state::{Standing, Terms};

/// A lock in the hands of this process, for those who work under it.
pub(in crate::engine) struct Hold {
    terms: Terms,
    /// For messages.
    place: String,
    stop: Arc<Stop>,
    clock: Clock,
    /// When the last write of the lock was sent that is known to have been carried out.
    sent_at: watch::Sender<Duration>,
}

impl Hold {
    /// A lock that was not written yet.
    pub(super) fn new(terms: Terms, place: String, stop: Arc<Stop>) -> Self {
        let sent_at = watch::Sender::new(Duration::ZERO);
        Self { terms, place, stop, clock: Clock::start(), sent_at }
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) const fn terms(&self) -> Terms {
        self.terms
    }

    /// A write that was sent at this time is known to have been carried out: the time to live counts from
    /// there.
    pub(super) fn confirmed(&self, sent_at: Duration) {
        self.sent_at.send_replace(sent_at);
    }

    pub(super) fn watch(&self) -> watch::Receiver<Duration> {
        self.sent_at.subscribe()
    }

    /// Whether a request may leave now; where none may, the run is told to end.
    pub(in crate::engine) fn allows(&self) -> bool {
        self.look() < Standing::Over
    }

    /// How the lock stands now. Where it wanes or is over, the run is told to stop.
    pub(super) fn look(&self) -> Standing {
        self.look_at(self.now())
    }

    fn look_at(&self, now: Duration) -> Standing {
        let silent_for = now.saturating_sub(*self.sent_at.borrow());
        let standing = self.terms.standing(silent_for);
        let reason = |what: &str| {
            let (place, secs) = (&self.place, silent_for.as_secs());
            Ending::Interrupted(format!(
                "the lock {place} could not be renewed for {secs} s, {what}; run again to go on"
            ))
        };
        match standing {
            Standing::Firm => {}
            Standing::Wanes => self.stop.drain(reason("stopped before another host may take it")),
            Standing::Over => self.stop.abort(reason("stopped at once before another host may take it")),
        }
        standing
    }
}

/// Time that goes on while the machine is suspended, where the system can tell.
struct Clock {
    #[cfg(target_os = "linux")]
    began: Duration,
    #[cfg(not(target_os = "linux"))]
    began: std::time::Instant,
}

#[cfg(target_os = "linux")]
impl Clock {
    fn start() -> Self {
        Self { began: Self::since_boot() }
    }

    fn elapsed(&self) -> Duration {
        Self::since_boot().saturating_sub(self.began)
    }

    /// CLOCK_MONOTONIC, which the standard library uses, stands still during a suspension.
    fn since_boot() -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let secs = u64::try_from(now.tv_sec).unwrap_or_default();
        Duration::new(secs, u32::try_from(now.tv_nsec).unwrap_or_default())
    }
}

#[cfg(not(target_os = "linux"))]
impl Clock {
    fn start() -> Self {
        Self { began: std::time::Instant::now() }
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Level;
    use super::*;

    fn hold(stop: &Arc<Stop>) -> Hold {
        let terms = Terms { ttl: Duration::from_secs(60) };
        Hold::new(terms, "object o in bucket b".into(), Arc::clone(stop))
    }

    #[test]
    fn whoever_asks_first_after_a_long_silence_ends_the_run() {
        let stop = Arc::new(Stop::default());
        let hold = hold(&stop);
        let at = Duration::from_secs;
        hold.confirmed(at(100));
        assert_eq!((hold.look_at(at(139)), stop.level()), (Standing::Firm, Level::Run));
        assert_eq!((hold.look_at(at(140)), stop.level()), (Standing::Wanes, Level::Drain));
        assert_eq!((hold.look_at(at(149)), stop.level()), (Standing::Wanes, Level::Drain));
        assert_eq!((hold.look_at(at(150)), stop.level()), (Standing::Over, Level::Abort));
        let told = stop.ending().unwrap().message();
        assert!(told.contains("object o in bucket b could not be renewed for 40 s"), "{told}");
    }

    #[test]
    fn a_renewal_counts_from_when_it_was_sent() {
        let stop = Arc::new(Stop::default());
        let hold = hold(&stop);
        let at = Duration::from_secs;
        hold.confirmed(at(100));
        hold.confirmed(at(130));
        assert_eq!(hold.look_at(at(160)), Standing::Firm);
        assert_eq!(hold.look_at(at(180)), Standing::Over);
        assert_eq!(stop.level(), Level::Abort);
    }
}
