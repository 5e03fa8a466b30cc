//! One call: a few quick attempts, each paid for, before the caller hears of an error.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, watch};
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::checkpoint::Room;
use crate::model::{Class, Timestamp};
use crate::pace::{Data, Load, Pace, Ranges, Reply, Ticket};
use crate::retry::{self, InCall, Quota};
use crate::s3::{Client, HeadVersion, ObjectHead, Operation, S3Error};
use crate::telemetry::{Event, Fault, Metrics};

use super::context::locked;
use super::lease::{Hold, UnderWay};
use super::stop::{Level, Stop};

/// Which attempts may follow one another without a look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// All: carrying it out twice does no harm.
    Freely,
    /// Those that are known not to have been carried out.
    WhileNotApplied,
}

/// How long a server has time to say that it is well.
const HEALTH_PATIENCE: Duration = Duration::from_secs(20);

/// Whether a server grants anything.
#[derive(Clone, Copy)]
struct Health {
    /// When an attempt last ended otherwise than as those of a server that is out.
    well_at: Instant,
    /// When the first of the attempts began that have failed since.
    failing_since: Option<Instant>,
}

/// The lock across hosts may be another's.
struct NotOurs;

/// One request of a call.
#[derive(Clone, Copy)]
struct Ask {
    operation: Operation,
    load: Load,
    data: Data,
    repeat: Repeat,
}

/// What a call needs.
pub(super) struct Caller {
    pub(super) client: Arc<Client>,
    pub(super) pace: Pace,
    pub(super) metrics: Arc<Metrics>,
    quota: Quota,
    chance: Mutex<fastrand::Rng>,
    health: Mutex<Health>,
    /// One asks at a time whether the server is well.
    asking: AsyncMutex<()>,
    /// Ranges that are refused more than the rest; times are counted from `began`.
    ranges: Mutex<Ranges>,
    began: Instant,
    adaptive: bool,
    /// Batches that workers have.
    in_hand: AtomicUsize,
    /// How much room the disk of the checkpoint has.
    room: OnceLock<watch::Receiver<Room>>,
    /// The lock under which this is sent, where there is one.
    hold: OnceLock<Arc<Hold>>,
}

impl Caller {
    pub(super) fn new(client: Arc<Client>, pace: Pace, metrics: Arc<Metrics>, seed: u64) -> Self {
        let adaptive = pace.versions_per_second().is_some();
        Self {
            client,
            pace,
            metrics,
            quota: Quota::new(),
            chance: Mutex::new(fastrand::Rng::with_seed(seed)),
            health: Mutex::new(Health { well_at: Instant::now(), failing_since: None }),
            asking: AsyncMutex::default(),
            ranges: Mutex::default(),
            began: Instant::now(),
            adaptive,
            in_hand: AtomicUsize::new(0),
            room: OnceLock::new(),
            hold: OnceLock::new(),
        }
    }

    /// From now on nothing is sent any more once this lock may be another's.
    pub(super) fn work_under(&self, hold: &Arc<Hold>) {
        // A run has one lock at most.
        let _ = self.hold.set(Arc::clone(hold));
    }

    /// Whether something may be sent now, as far as the lock across hosts is concerned; where nothing may,
    /// the run is told to end.
    pub(super) fn holds_lock(&self) -> bool {
        self.hold.get().is_none_or(|hold| hold.allows())
    }

    /// From now on listings wait while the disk is short of room.
    pub(super) fn watch_room(&self, room: watch::Receiver<Room>) {
        // A second one is that of the same checkpoint.
        let _ = self.room.set(room);
    }

    /// How much room the disk of the checkpoint has, where that is watched.
    pub(super) fn room(&self) -> Option<watch::Receiver<Room>> {
        self.room.get().cloned()
    }

    /// What makes the checkpoint grow waits for room.
    async fn wait_for_room(&self, load: Load) {
        if let (Load::List, Some(mut room)) = (load, self.room()) {
            // Where the checkpoint is gone nobody will say so; the call fails elsewhere.
            let _ = room.wait_for(|room| *room == Room::Enough).await;
        }
    }

    /// Begins a request under the lock, where there is one.
    fn begin(&self, operation: Operation) -> Result<Option<UnderWay<'_>>, NotOurs> {
        let begun = self.hold.get().map(|hold| hold.begin(changes(operation)).ok_or(NotOurs));
        begun.transpose()
    }

    /// The server's time.
    pub(super) fn now(&self) -> Timestamp {
        self.client.server_now()
    }

    /// A random number in `[0, 1)`.
    pub(super) fn chance(&self) -> f64 {
        locked(&self.chance).f64()
    }

    /// Whether what is refused of a range says nothing about the others.
    pub(super) fn is_apart(&self, range: i64) -> bool {
        self.adaptive && locked(&self.ranges).is_apart(self.began.elapsed(), range)
    }

    /// Takes note of an answer about a range: of `versions` versions `throttled` were refused for the
    /// rate.
    pub(super) fn note_range(&self, range: i64, versions: usize, throttled: usize) {
        if self.adaptive {
            locked(&self.ranges).answered(self.began.elapsed(), range, versions, throttled);
        }
    }

    /// Whether the pace has use for one batch more. The workers that have one are counted.
    pub(super) fn has_use_for_another(&self) -> bool {
        self.in_hand.load(Ordering::Acquire) < self.pace.writes_in_flight_max()
    }

    /// Whether no worker has a batch.
    pub(super) fn is_idle(&self) -> bool {
        self.in_hand.load(Ordering::Acquire) == 0
    }

    /// A worker gets a batch.
    pub(super) fn takes_batch(&self) {
        self.in_hand.fetch_add(1, Ordering::AcqRel);
    }

    /// A worker is done with its batch.
    pub(super) fn gives_batch_back(&self) {
        self.in_hand.fetch_sub(1, Ordering::AcqRel);
    }

    /// Reserves the turn of so many versions of a range; how long they have to wait for it.
    pub(super) fn reserve(&self, range: i64, versions: usize) -> Duration {
        let chance = self.chance();
        locked(&self.ranges).reserve(self.began.elapsed(), range, versions, chance)
    }

    /// The ranges of which nothing new should be sent now.
    pub(super) fn resting(&self) -> Vec<i64> {
        locked(&self.ranges).resting(self.began.elapsed())
    }

    /// Nothing but ranges that rest is left to do: theirs is the common pace from now on.
    pub(super) fn forgive_ranges(&self) {
        locked(&self.ranges).forgive_all();
    }

    /// When the first of the resting ranges ends its rest.
    pub(super) fn next_rest_ends_in(&self) -> Option<Duration> {
        let now = self.began.elapsed();
        locked(&self.ranges).next_end(now).map(|until| until - now)
    }

    /// Takes note of an attempt. A server that says no is well: it is out where it does not answer, or answers
    /// that it cannot now.
    fn note_health(&self, began: Instant, error: Option<&S3Error>) {
        let fails = error.is_some_and(|error| matches!(error.class, Class::Transient | Class::Throttled));
        let mut health = locked(&self.health);
        if fails {
            health.failing_since = Some(health.failing_since.unwrap_or(began.max(health.well_at)));
        } else {
            *health = Health { well_at: Instant::now(), failing_since: None };
        }
    }

    /// How long every attempt has failed, from the first that did, pauses left out; `None` where the last one
    /// did not.
    pub(super) fn failing_for(&self) -> Option<Duration> {
        let failing_for = locked(&self.health).failing_since?.elapsed();
        Some(self.pace.reins().loose_for().map_or(failing_for, |loose_for| failing_for.min(loose_for)))
    }

    /// Asks for something that has no part in the job: where that is answered, the server is well, and
    /// [`Caller::failing_for`] says so. One of many that ask at a time does it for all.
    pub(super) async fn ask_health(&self, stop: &Stop) {
        let seen = locked(&self.health).failing_since;
        let _asking = self.asking.lock().await;
        if seen.is_some() && locked(&self.health).failing_since == seen {
            let asked = self.call_other(Operation::HeadBucket, stop, || self.client.head_bucket());
            // What came of it was noted.
            let _answer = tokio::time::timeout(HEALTH_PATIENCE, asked).await;
        }
    }

    /// Sends `attempt` until it succeeds or another try is not this layer's to make. Every attempt
    /// pays the pace for one request that names `versions` versions; a waiting one holds nothing.
    /// Expired credentials are refreshed, and a clock that is off is corrected, once per call.
    ///
    /// Once `stop` says that no new work is wanted, no attempt is begun any more: `None` where none
    /// was made, the error of the last one otherwise. So it is where the ceiling was lowered below what
    /// the request names, and where the lock across hosts may be another's.
    pub(super) async fn call<T, F, Fut>(
        &self,
        operation: Operation,
        versions: usize,
        stop: Option<&Stop>,
        attempt: F,
    ) -> Result<Option<T>, S3Error>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, S3Error>>,
    {
        let load = match operation {
            Operation::DeleteObjects | Operation::DeleteObject => Load::Write { versions, apart: false },
            Operation::ListObjectVersions => Load::List,
            _ => Load::Other,
        };
        self.call_weighed(operation, load, stop, |_| 0, attempt).await
    }

    /// As [`Caller::call`], for requests that change nothing, or that may be repeated.
    pub(super) async fn call_other<T, F, Fut>(
        &self,
        operation: Operation,
        stop: &Stop,
        attempt: F,
    ) -> Result<Option<T>, S3Error>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, S3Error>>,
    {
        self.call_weighed(operation, Load::Other, Some(stop), |_| 0, attempt).await
    }

    /// As [`Caller::call`], for writes that must not be repeated blindly: an attempt whose outcome is open
    /// is the last one.
    pub(super) async fn call_carefully<T, F, Fut>(
        &self,
        operation: Operation,
        (load, data): (Load, Data),
        stop: &Stop,
        attempt: F,
    ) -> Result<Option<T>, S3Error>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, S3Error>>,
    {
        let ask = Ask { operation, load, data, repeat: Repeat::WhileNotApplied };
        self.repeat(ask, Some(stop), |_| 0, attempt).await
    }

    /// As [`Caller::call`], for requests that move an object's data and may be repeated: every attempt pays
    /// for its bytes.
    pub(super) async fn call_moving<T, F, Fut>(
        &self,
        operation: Operation,
        (load, data): (Load, Data),
        stop: &Stop,
        attempt: F,
    ) -> Result<Option<T>, S3Error>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, S3Error>>,
    {
        let ask = Ask { operation, load, data, repeat: Repeat::Freely };
        self.repeat(ask, Some(stop), |_| 0, attempt).await
    }

    /// HeadObject, repeated as by [`Caller::call`]. Where the server refuses it without a word, the request
    /// that asks why pays like any other.
    pub(super) async fn head(
        &self,
        ask: &HeadVersion<'_>,
        stop: &Stop,
    ) -> Result<Option<ObjectHead>, S3Error> {
        self.call_other(Operation::HeadObject, stop, || async {
            match self.client.head_version(ask).await {
                Err(error) if error.is_wordless() => {
                    let Some(ticket) = self.pace.pay(Load::Other, Data::Nothing).await else {
                        return Err(error);
                    };
                    if !self.holds_lock() {
                        return Err(error);
                    }
                    let error = self.client.explain_head(ask, error).await;
                    ticket.close(reply_of(&error));
                    Err(error)
                }
                answer => answer,
            }
        })
        .await
    }

    /// As [`Caller::call`], for requests that a server can refuse in part: `throttled` counts what it
    /// refused of an answer for the rate.
    pub(super) async fn call_weighed<T, F, Fut>(
        &self,
        operation: Operation,
        load: Load,
        stop: Option<&Stop>,
        throttled: impl Fn(&T) -> usize,
        attempt: F,
    ) -> Result<Option<T>, S3Error>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, S3Error>>,
    {
        let ask = Ask { operation, load, data: Data::Nothing, repeat: Repeat::Freely };
        self.repeat(ask, stop, throttled, attempt).await
    }

    async fn repeat<T, F, Fut>(
        &self,
        Ask { operation, load, data, repeat }: Ask,
        stop: Option<&Stop>,
        throttled: impl Fn(&T) -> usize,
        attempt: F,
    ) -> Result<Option<T>, S3Error>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, S3Error>>,
    {
        let (mut refreshed, mut corrected) = (false, false);
        let mut last: Option<S3Error> = None;
        let mut wait = Duration::ZERO;
        for number in 1.. {
            let may_leave = async {
                tokio::time::sleep(wait).await;
                self.wait_for_room(load).await;
                self.pace.pay(load, data).await
            };
            let ticket = tokio::select! {
                biased;
                () = stopped(stop) => return last.map_or(Ok(None), Err),
                ticket = may_leave => ticket,
            };
            let Some(ticket) = ticket else { return last.map_or(Ok(None), Err) };
            // Nothing is waited for between here and the request.
            let Ok(under_way) = self.begin(operation) else { return last.map_or(Ok(None), Err) };
            let answer = self.attempt(operation, ticket, load, number, &throttled, &attempt).await;
            if let Some(under_way) = under_way {
                under_way.ended();
            }
            let error = match answer {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) => error,
            };
            wait = Duration::ZERO;
            if repeat == Repeat::WhileNotApplied && error.may_have_applied {
                return Err(error);
            }
            match error.class {
                Class::Credentials if !refreshed => {
                    refreshed = true;
                    self.client.refresh_credentials().await?;
                }
                Class::ClockSkew if !corrected => {
                    corrected = true;
                    self.client.adopt_clock();
                }
                class => {
                    let mut chance = || self.chance();
                    match retry::in_call(class, number, error.retry_after, &self.quota, &mut chance) {
                        InCall::Again(pause) => wait = pause,
                        InCall::Leave => return Err(error),
                    }
                }
            }
            last = Some(error);
        }
        last.map_or(Ok(None), Err)
    }

    async fn attempt<T, F, Fut>(
        &self,
        operation: Operation,
        ticket: Ticket<'_>,
        load: Load,
        number: u32,
        throttled: &impl Fn(&T) -> usize,
        attempt: &F,
    ) -> Result<T, S3Error>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, S3Error>>,
    {
        let versions = match load {
            Load::Write { versions, .. } => versions,
            Load::List | Load::Other => 0,
        };
        let under_way = self.metrics.attempt(operation.as_str(), versions, number);
        let span = tracing::error_span!(
            "request",
            otel.kind = "client",
            otel.status_code = Empty,
            operation = operation.as_str(),
            attempt = number,
            request_id = Empty,
            code = Empty,
        );
        let began = Instant::now();
        let answer = attempt().instrument(span.clone()).await;
        let fault = answer.as_ref().err().map(|error| Fault { code: &error.code, error });
        span.in_scope(|| under_way.ended(fault));
        ticket.close(match &answer {
            Ok(answer) => Reply::Answered { throttled: throttled(answer) },
            Err(error) => reply_of(error),
        });
        match load {
            Load::Write { .. } => self.metrics.emit(&Event::PaceChanged(self.pace.versions_per_second())),
            Load::List => self.metrics.emit(&Event::ListPaceChanged(self.pace.listings_per_second())),
            Load::Other => {}
        }
        self.note_health(began, answer.as_ref().err());
        if answer.is_ok() {
            self.quota.refund();
        }
        answer
    }
}

/// Whether another host may find what this operation does, should it be carried out late. Uploads that are
/// not complete belong to the process that began them.
const fn changes(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::DeleteObjects
            | Operation::DeleteObject
            | Operation::CopyObject
            | Operation::PutObject
            | Operation::CompleteMultipartUpload
            | Operation::PutObjectTagging
            | Operation::PutObjectAcl
            | Operation::RestoreObject
    )
}

/// What an error tells the pace.
fn reply_of(error: &S3Error) -> Reply {
    match error.class {
        Class::Throttled => Reply::Throttled { retry_after: error.retry_after },
        // Without a status no answer came: the way to the server, or the server, is full.
        Class::Transient if error.status.is_none() => Reply::NoAnswer,
        _ => Reply::Unrelated,
    }
}

/// Returns once no new work is wanted; never where nobody can say so.
async fn stopped(stop: Option<&Stop>) {
    match stop {
        Some(stop) => stop.reached(Level::Drain).await,
        None => std::future::pending().await,
    }
}
