//! What all parts of a run share.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{RwLock, watch};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::job::Job;
use crate::model::Timestamp;
use crate::rules::Rules;
use crate::s3::S3Error;
use crate::telemetry::live::{Board, Phase};
use crate::telemetry::{Event, RunState};

use super::Ending;
use super::breaker::{Breaker, Tripped};
use super::budget::{Budget, Listing};
use super::caller::Caller;
use super::errors;
use super::live::Monitor;
use super::mover::Mover;
use super::page::Orders;
use super::status::StatusWatch;
use super::stop::{Level, Stop};

/// Planned versions without an outcome at which listing pauses; it goes on at half of it. Keeps the
/// checkpoint of a streaming run at some tens of MB whatever the size of the bucket.
pub(super) const PENDING_HIGH_WATER: u64 = 1_000_000;
/// How long every attempt may fail before the run ends as an outage.
const OUTAGE_MAX: Duration = Duration::from_secs(3600);

/// One run in one process.
pub(super) struct Context {
    pub(super) job: Job,
    pub(super) rules: Rules,
    pub(super) caller: Caller,
    /// What the bucket's versioning was when the run began.
    pub(super) status: StatusWatch,
    pub(super) mover: Mover,
    pub(super) checkpoint: Checkpoint,
    pub(super) stop: Arc<Stop>,
    pub(super) budget: Mutex<Budget>,
    /// Held for reading from the settlement that makes batches of moved items until their reservation is
    /// theirs; for writing while batches are claimed.
    pub(super) hand_over: RwLock<()>,
    pub(super) breaker: Mutex<Breaker>,
    pub(super) orders: Mutex<Orders>,
    /// The server has no DeleteObjects: every version is deleted by a request of its own.
    pub(super) single_deletes: AtomicBool,
    /// Requests in a row, without one that succeeded between them, that failed in a way that is worth
    /// a few tries only: a digest that never fits is a broken middlebox or a bug of ours.
    pub(super) in_vain: AtomicU32,
    /// Versions planned and not settled.
    pub(super) pending: AtomicU64,
    /// Versions listed by the run.
    pub(super) listed: AtomicU64,
    /// Pages that ranges under way are estimated to have left.
    pub(super) pages_left: Mutex<HashMap<i64, u64>>,
    /// Listing is complete.
    pub(super) listing_done: AtomicBool,
    /// Listers that wait for deletions.
    pub(super) planners_paused: AtomicU64,
    /// Nothing that is planned can be handed out, nothing is in hand, and nothing will be due later.
    pub(super) starved: AtomicBool,
    /// Whether what is planned is carried out.
    pub(super) executes: bool,
    /// When the budget's deadline is.
    pub(super) deadline: Option<Timestamp>,
    /// What the run shows to those who look.
    pub(super) board: Arc<Board>,
    /// What is remembered for the live page, where one is wanted.
    pub(super) monitor: Option<Monitor>,
    /// Batches with numbers up to this one are of earlier processes.
    pub(super) batches_before: i64,
    /// Bumped whenever a page or a settlement is committed, or listing ends.
    pub(super) moved: watch::Sender<u64>,
}

/// A lock whose holder cannot have left it broken: what is inside is plain values.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    /// The server's time.
    pub(super) fn now(&self) -> Timestamp {
        self.caller.now()
    }

    /// Tells what the process does from now on.
    pub(super) fn tell(&self, state: RunState) {
        self.caller.metrics.emit(&Event::StateChanged(state));
        self.board.enter(match state {
            RunState::Planning => Phase::Planning,
            RunState::Confirming => Phase::Confirming,
            RunState::Running => Phase::Running,
            RunState::Stopping => {
                Phase::Stopping(self.stop.ending().map(|ending| ending.message()).unwrap_or_default())
            }
            // Told by those who begin and end it.
            RunState::Starting | RunState::Ended => return,
        });
    }

    /// Tells those who wait that something was committed.
    pub(super) fn bump(&self) {
        self.moved.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Whether something new may be begun: nobody asked for an end, and the lock across hosts is held.
    pub(super) fn goes_on(&self) -> bool {
        self.caller.holds_lock() && self.stop.level() == Level::Run
    }

    /// What the budget must know of the listing.
    pub(super) fn listing(&self) -> Listing {
        Listing {
            listed: self.listed.load(Ordering::Acquire),
            stands_still: self.listing_done.load(Ordering::Acquire)
                || self.planners_paused.load(Ordering::Acquire) > 0,
        }
    }

    /// Calls failed in all their attempts: ends the run where that has lasted too long. `asked` are those that
    /// the error may have come from.
    pub(super) async fn check_outage(&self, asked: &[&Caller], error: &(dyn Display + Sync)) {
        for caller in asked {
            if self.is_out(caller) && self.stop.level() == Level::Run {
                // It may be one request that gets no answer, such as a body that a proxy cuts off.
                caller.ask_health(&self.stop).await;
            }
            if self.is_out(caller) {
                self.stop.drain(Ending::Interrupted(format!(
                    "no request to bucket {:?} has succeeded for {} s, last error: {error}",
                    caller.client.bucket(),
                    caller.failing_for().unwrap_or_default().as_secs()
                )));
            }
        }
    }

    /// Whether everything that a server was asked has failed for as long as a version may be tried, or for
    /// an hour: that is an outage, and says nothing about the versions that were to be sent meanwhile.
    fn is_out(&self, caller: &Caller) -> bool {
        let patience = self.job.retry.give_up_after.min(OUTAGE_MAX);
        caller.failing_for().is_some_and(|failing_for| failing_for >= patience)
    }

    /// How long a version may be tried that `asked` are asked about. Pauses do not count.
    pub(super) fn give_up_after(&self, asked: &[&Caller]) -> Duration {
        if asked.iter().any(|caller| self.is_out(caller)) {
            return Duration::MAX;
        }
        self.job.retry.give_up_after.saturating_add(self.caller.pace.reins().held_for())
    }

    /// An error that ends the run. After a tripwire nothing more is sent, not even what was begun.
    pub(super) fn end_by(&self, error: &S3Error) {
        match errors::ending_of_s3(error) {
            tripwire @ Ending::Tripwire(_) => self.stop.abort(tripwire),
            ending => self.stop.drain(ending),
        }
    }

    /// The checkpoint refused: nothing more can be recorded, so nothing more may be done.
    pub(super) fn checkpoint_failed(&self, error: &CheckpointError) {
        self.stop.abort(errors::ending_of_checkpoint(error));
    }

    /// The breaker opened.
    pub(super) fn tripped(&self, tripped: Tripped) {
        self.stop.drain(match tripped {
            Tripped::Failures(text) => Ending::Failures(text),
            Tripped::Denied(text) => Ending::Credentials(text),
        });
    }
}
