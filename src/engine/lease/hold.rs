//! Whether the lock is still this process's, as everything that sends asks it.
//!
//! Tasks that look at a clock now and then are not enough: in a process that was stopped, all timers fire
//! at once when it goes on, and nobody knows which task runs first. So each request asks here, without
//! waiting for anybody, when nothing is left to do but to send it. Between that and the first byte on the
//! wire a process can still be stopped: no lock without a check at the server closes that gap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    /// Changes that were begun and whose end is not known.
    under_way: AtomicUsize,
    /// The end of a change was not waited for: it may still be carried out.
    was_cut_off: AtomicBool,
    /// The run has ended.
    is_closed: AtomicBool,
}

/// A request that has left, or leaves now.
pub(in crate::engine) struct UnderWay<'a> {
    hold: &'a Hold,
    changes: bool,
    has_ended: bool,
}

impl UnderWay<'_> {
    /// Nobody waits for its answer any more, because it came, or because its connection is gone.
    pub(in crate::engine) fn ended(mut self) {
        self.has_ended = true;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.changes {
            if !self.has_ended {
                self.hold.was_cut_off.store(true, Ordering::SeqCst);
            }
            self.hold.under_way.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Hold {
    /// A lock that was not written yet.
    pub(super) fn new(terms: Terms, place: String, stop: Arc<Stop>) -> Self {
        let sent_at = watch::Sender::new(Duration::ZERO);
        Self {
            terms,
            place,
            stop,
            clock: Clock::start(),
            sent_at,
            under_way: AtomicUsize::new(0),
            was_cut_off: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        }
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
    /// there. Returns what it counted from before.
    pub(super) fn confirmed(&self, sent_at: Duration) -> Duration {
        self.sent_at.send_replace(sent_at)
    }

    pub(super) fn watch(&self) -> watch::Receiver<Duration> {
        self.sent_at.subscribe()
    }

    /// Whether a request may leave now; where none may, the run is told to end.
    pub(in crate::engine) fn allows(&self) -> bool {
        !self.is_closed.load(Ordering::SeqCst) && self.look() < Standing::Over
    }

    /// Begins a request, where one may leave now; whether it `changes` something that another host would
    /// find changed under its feet.
    pub(in crate::engine) fn begin(&self, changes: bool) -> Option<UnderWay<'_>> {
        // Counted before the question: at the end the answer is changed first, and then the count is read.
        if changes {
            self.under_way.fetch_add(1, Ordering::SeqCst);
        }
        let under_way = UnderWay { hold: self, changes, has_ended: false };
        if self.allows() {
            return Some(under_way);
        }
        under_way.ended();
        None
    }

    /// The run has ended, nothing leaves any more. Whether nothing of it can still be carried out.
    pub(super) fn close(&self) -> bool {
        self.is_closed.store(true, Ordering::SeqCst);
        self.under_way.load(Ordering::SeqCst) == 0 && !self.was_cut_off.load(Ordering::SeqCst)
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
    use crate::pace::Pace;
    use crate::s3::{Client, ClientConfig, Operation, StaticCredentials};
    use crate::telemetry::Metrics;

    use super::super::super::Level;
    use super::super::super::caller::Caller;
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

    #[test]
    fn what_was_begun_and_not_waited_for_may_still_be_carried_out() {
        let stop = Arc::new(Stop::default());
        let to_its_end = hold(&stop);
        to_its_end.begin(true).unwrap().ended();
        drop(to_its_end.begin(false).unwrap());
        assert!(to_its_end.close());
        assert!(to_its_end.begin(true).is_none(), "nothing leaves after the end");
        assert!(to_its_end.close(), "what did not leave is not under way");
        let cut_off = hold(&stop);
        drop(cut_off.begin(true).unwrap());
        assert!(!cut_off.close());
        let under_way = hold(&stop);
        let request = under_way.begin(true).unwrap();
        assert!(!under_way.close());
        request.ended();
        assert_eq!(stop.level(), Level::Run);
    }

    /// One who sends under this lock, to a server that is not there.
    async fn caller(hold: &Arc<Hold>) -> Caller {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut config = ClientConfig::new("bucket");
        config.endpoint = Some(format!("http://{nobody}"));
        config.region = Some("us-east-1".into());
        config.static_credentials = Some(StaticCredentials {
            access_key_id: "A".into(),
            secret_access_key: "B".into(),
            session_token: None,
        });
        let client = Arc::new(Client::new(config).await.unwrap());
        let metrics = Arc::new(Metrics::new("job", &[], client.server_now()).unwrap());
        let caller = Caller::new(client, Pace::default(), metrics, 1);
        caller.work_under(hold);
        caller
    }

    /// Calls, and counts the attempts; the lock is given back during the `last`.
    async fn attempts(caller: &Caller, hold: &Hold, last: usize) -> (usize, bool) {
        let sent = AtomicUsize::new(0);
        let answer = caller
            .call(Operation::HeadBucket, 0, None, || async {
                if sent.fetch_add(1, Ordering::SeqCst) + 1 == last {
                    hold.close();
                }
                caller.client.head_bucket().await
            })
            .await;
        (sent.load(Ordering::SeqCst), answer.is_err())
    }

    #[tokio::test]
    async fn no_attempt_leaves_without_the_lock() {
        let stop = Arc::new(Stop::default());
        let held = Arc::new(hold(&stop));
        held.confirmed(held.now());
        let caller_of_held = caller(&held).await;
        assert_eq!(attempts(&caller_of_held, &held, 9).await, (3, true), "with it all of them leave");
        assert_eq!(attempts(&caller_of_held, &held, 2).await, (2, true), "the third asked, and was told no");
        assert_eq!(attempts(&caller_of_held, &held, 9).await, (0, false));
        assert_eq!(stop.level(), Level::Run, "who gave it back needs no telling");
    }

    #[tokio::test]
    async fn an_attempt_that_waited_too_long_asks_before_it_leaves() {
        let stop = Arc::new(Stop::default());
        let terms = Terms { ttl: Duration::from_millis(60) };
        let short = Arc::new(Hold::new(terms, "object o in bucket b".into(), Arc::clone(&stop)));
        short.confirmed(short.now());
        let caller = caller(&short).await;
        caller.pace.reins().pause();
        let goes_on = async {
            while short.now() < Duration::from_millis(100) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(stop.level(), Level::Run, "nobody has looked");
            caller.pace.reins().resume();
        };
        let (sent, ()) = tokio::join!(attempts(&caller, &short, 9), goes_on);
        assert_eq!((sent, stop.level()), ((0, false), Level::Abort));
    }
}
