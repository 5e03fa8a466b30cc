//! How fast the run may go: the user's ceilings, and below them the pace that the server grants. Each
//! attempt pays before it is sent, retries included; a waiting attempt holds nothing but its place in
//! the queue.

mod adaptive;
mod ceiling;
mod gate;
mod listing;
mod lowerable;
mod ranges;
mod reins;

use std::sync::Arc;
use std::time::Duration;

pub use adaptive::{Adaptive, Answer, Ask, Limit};
pub use ceiling::Ceiling;
pub use listing::{Listing, Refused};
pub use ranges::Ranges;
pub use reins::Reins;

use tokio::sync::Mutex as AsyncMutex;

use gate::Gate;
use lowerable::{Lowerable, Paid};

/// Longest wait that one Retry-After puts on everybody: a single proxy that names a day must not stop a
/// run. What was refused waits for as long as it was told.
const HOLD_MAX: Duration = Duration::from_secs(60);

/// What a user wants of the pace.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PaceSettings {
    /// Versions named in delete requests, per second, at most.
    pub versions_per_second: Option<u32>,
    /// Requests of any kind, per second, at most.
    pub requests_per_second: Option<u32>,
    /// Whether to find the server's limits and to stay below them.
    pub adaptive: bool,
    /// The part of the server's limits that may be used: above 0, at most 1.
    pub share: f64,
    /// Deletion requests in flight, at most.
    pub concurrency: u16,
    /// Listings in flight, at most.
    pub list_concurrency: u16,
    /// Bytes of objects' data that this program reads per second at most, and as many that it writes: what
    /// passes through it counts once on either side, with every attempt.
    pub bytes_per_second: Option<u64>,
}

/// What is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    /// A request that deletes so many versions. Versions are counted, because servers throttle by
    /// key: on AWS each key of a DeleteObjects call is one write.
    Write {
        /// How many.
        versions: usize,
        /// Its range is refused more than the rest: what is refused of it says nothing about the
        /// others.
        apart: bool,
    },
    /// A page of a listing.
    List,
    /// Anything else: it pays the ceiling of requests and no more.
    Other,
}

/// Bytes of an object's data that an attempt moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Data {
    /// None.
    Nothing,
    /// The answer brings so many.
    Read(u64),
    /// The request carries so many.
    Written(u64),
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// An answer; so many of the versions were refused for the rate.
    Answered {
        /// How many.
        throttled: usize,
    },
    /// Refused as a whole for the rate.
    Throttled {
        /// The server's wish to be left alone for so long.
        retry_after: Option<Duration>,
    },
    /// The connection broke or the time ran out.
    NoAnswer,
    /// Something that has nothing to do with the pace.
    Unrelated,
}

/// The ceiling of bytes of one direction.
#[derive(Debug)]
struct Bytes {
    kib: Ceiling,
    /// Held from before the payment until the request leaves: of what was paid for, one request waits at a
    /// time, so that those that a server's wish holds back do not leave together.
    turn: AsyncMutex<()>,
}

impl Bytes {
    async fn pay(&self, bytes: u64) {
        self.kib.pay(u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)).await;
    }
}

/// Ceilings and controllers, shared by all workers and listers. The default has none of them.
#[derive(Debug, Default)]
pub struct Pace {
    versions: Arc<Lowerable>,
    requests: Option<Arc<Ceiling>>,
    bytes_read: Option<Arc<Bytes>>,
    bytes_written: Option<Arc<Bytes>>,
    writes: Option<Gate<Adaptive>>,
    listings: Option<Gate<Listing>>,
    reins: Arc<Reins>,
}

impl Pace {
    /// The pace that a user wants.
    pub fn new(settings: &PaceSettings) -> Self {
        let ceiling = |per_second: Option<u32>| per_second.map(|rate| Arc::new(Ceiling::new(rate)));
        let kib =
            settings.bytes_per_second.map(|bytes| u32::try_from((bytes >> 10).max(1)).unwrap_or(u32::MAX));
        let bytes = || kib.map(|kib| Arc::new(Bytes { kib: Ceiling::new(kib), turn: AsyncMutex::new(()) }));
        Self {
            versions: Arc::new(Lowerable::new(settings.versions_per_second)),
            requests: ceiling(settings.requests_per_second),
            bytes_read: bytes(),
            bytes_written: bytes(),
            ..Self::finding(settings)
        }
    }

    /// The pace for another server of the same run: what that one grants is found anew, the user's ceilings
    /// hold for both together.
    #[must_use]
    pub fn beside(&self, settings: &PaceSettings) -> Self {
        Self {
            versions: Arc::clone(&self.versions),
            requests: self.requests.clone(),
            bytes_read: self.bytes_read.clone(),
            bytes_written: self.bytes_written.clone(),
            reins: Arc::clone(&self.reins),
            ..Self::finding(settings)
        }
    }

    /// The pace of the few requests that keep a run alive or guard it: the user's ceilings hold for them too,
    /// an operator's pause does not, or it would cost the run what they keep.
    #[must_use]
    pub fn for_upkeep(&self) -> Self {
        Self { versions: Arc::clone(&self.versions), requests: self.requests.clone(), ..Self::default() }
    }

    /// The controllers, without ceilings.
    fn finding(settings: &PaceSettings) -> Self {
        let PaceSettings { share, adaptive, .. } = *settings;
        let writes = adaptive.then(|| Adaptive::new(u32::from(settings.concurrency), share));
        let listings = adaptive.then(|| Listing::new(u32::from(settings.list_concurrency), share));
        Self { writes: writes.map(Gate::new), listings: listings.map(Gate::new), ..Self::default() }
    }

    /// How many versions one request may name now, so that the ceiling can grant it at once and
    /// little of it is refused where the server's limit is met. At least one.
    pub fn versions_per_request_max(&self) -> usize {
        let ceiling = self.versions.grant_max() as usize;
        let wanted = self.writes.as_ref().map_or(usize::MAX, |gate| gate.lock().keys_per_request());
        ceiling.min(wanted).max(1)
    }

    /// Whether the limit of writes was not met yet: `false` where it is not looked for.
    pub fn looks_for_limit(&self) -> bool {
        self.writes.as_ref().is_some_and(|gate| !gate.lock().limit_is_known())
    }

    /// How many deletion requests the pace has use for at a time now. Who prepares more of them lets
    /// them wait in a queue, and their order is no longer that of the ranges' turns.
    pub fn writes_in_flight_max(&self) -> usize {
        self.writes.as_ref().map_or(usize::MAX, |gate| gate.lock().in_flight_limit() as usize)
    }

    /// What an operator may do while the run goes on.
    pub fn reins(&self) -> &Arc<Reins> {
        &self.reins
    }

    /// From now on at most so many versions a second, and never more than the user set; `None` puts that
    /// back. Returns what holds.
    pub fn lower_versions(&self, per_second: Option<u32>) -> Option<u32> {
        self.versions.lower(per_second)
    }

    /// The ceiling of versions a second that holds now, and the one that the user set.
    pub fn versions_ceiling(&self) -> (Option<u32>, Option<u32>) {
        (self.versions.per_second(), self.versions.own())
    }

    /// Waits until a request may leave. What it returns must be told what came of the request. `None`
    /// where the request names more versions than a ceiling that was lowered meanwhile grants at once.
    pub async fn pay(&self, load: Load, data: Data) -> Option<Ticket<'_>> {
        let (bytes, amount) = match data {
            Data::Nothing => (None, 0),
            Data::Read(amount) => (self.bytes_read.as_ref(), amount),
            Data::Written(amount) => (self.bytes_written.as_ref(), amount),
        };
        let _turn = match bytes {
            Some(bytes) => Some(bytes.turn.lock().await),
            None => None,
        };
        loop {
            self.reins.loose().await;
            // Before the gate, where a waiting one would hold a place.
            if let Some(bytes) = bytes {
                bytes.pay(amount).await;
            }
            let ticket = self.pay_once(load).await?;
            // What was paid for when a pause began is paid again after it: all that waited would leave
            // together at its end.
            if !self.reins.is_paused() {
                return Some(ticket);
            }
        }
    }

    async fn pay_once(&self, load: Load) -> Option<Ticket<'_>> {
        let mut ticket = Ticket { pace: self, load, sent: Duration::ZERO, before: 0, is_open: false };
        let versions = match load {
            Load::Write { versions, .. } => versions,
            Load::List | Load::Other => 0,
        };
        match (load, &self.writes, &self.listings) {
            (Load::Write { .. }, Some(gate), _) => {
                ticket.before = gate.pass(|writes, now| writes.ask(now, versions)).await;
                ticket.is_open = true;
            }
            (Load::List, _, Some(gate)) => {
                gate.pass(Listing::ask).await;
                ticket.is_open = true;
            }
            _ => {}
        }
        // The ceilings last, that of the versions behind that of the requests: what was paid for must
        // not wait again, or several would leave together.
        if let Some(ceiling) = &self.requests {
            ceiling.pay(1).await;
        }
        if versions > 0
            && self.versions.pay(u32::try_from(versions).unwrap_or(u32::MAX)).await == Paid::TooMuch
        {
            return None;
        }
        ticket.sent = self.now(load);
        Some(ticket)
    }

    /// Versions a second that writes may name now; `None` where nothing but the ceilings holds them.
    pub fn versions_per_second(&self) -> Option<f64> {
        self.writes.as_ref().map(|gate| gate.lock().keys_per_second())
    }

    /// Listings a second that may be sent now; `None` where nothing but the ceilings holds them.
    pub fn listings_per_second(&self) -> Option<f64> {
        self.listings.as_ref().map(|gate| gate.lock().requests_per_second())
    }

    fn now(&self, load: Load) -> Duration {
        match load {
            Load::Write { .. } => self.writes.as_ref().map_or(Duration::ZERO, Gate::now),
            Load::List => self.listings.as_ref().map_or(Duration::ZERO, Gate::now),
            Load::Other => Duration::ZERO,
        }
    }
}

/// What is said of a limit of writes that is known otherwise than before.
const fn limit_told(before: Limit, after: Limit) -> Option<&'static str> {
    match (before, after) {
        (Limit::Unmet, Limit::Silence) => Some(
            "the server answers too slowly or not at all: requests got no answer, and fewer versions are sent from \
             here on",
        ),
        (Limit::Unmet | Limit::Silence, Limit::Refusals) => {
            Some("the server refuses writes for their rate: its limit was met, the pace goes on from here")
        }
        _ => None,
    }
}

/// A request that was let go. Dropped without a word it counts as one that tells nothing.
#[derive(Debug)]
#[must_use = "the pace must be told what came of the request"]
pub struct Ticket<'a> {
    pace: &'a Pace,
    load: Load,
    sent: Duration,
    before: u64,
    is_open: bool,
}

impl Ticket<'_> {
    /// Tells the pace what came of the request.
    pub fn close(mut self, reply: Reply) {
        if std::mem::take(&mut self.is_open) {
            match self.load {
                Load::Write { versions, apart } => self.close_write(versions, apart, reply),
                Load::List => self.close_listing(reply),
                Load::Other => {}
            }
        }
    }

    fn close_write(&self, versions: usize, apart: bool, reply: Reply) {
        let Some(gate) = &self.pace.writes else { return };
        let mut answer = Answer { sent: self.sent, before: self.before, ..Answer::default() };
        match reply {
            Reply::Answered { throttled } => {
                answer.throttled = throttled.min(versions);
                answer.accepted = versions - answer.throttled;
            }
            Reply::Throttled { retry_after } => {
                answer.throttled = versions;
                answer.retry_after = retry_after;
            }
            Reply::NoAnswer => answer.lost = versions,
            Reply::Unrelated => return gate.tell(|writes, _| writes.forget()),
        }
        if apart {
            answer.throttled = 0;
        }
        let found = gate.tell(|writes, now| {
            let before = writes.limit();
            writes.answered(now, answer);
            limit_told(before, writes.limit()).map(|told| (told, writes.keys_per_second()))
        });
        if let Some((told, rate)) = found {
            tracing::info!(versions_per_second = rate.round(), "{told}");
        }
    }

    fn close_listing(&self, reply: Reply) {
        let Some(gate) = &self.pace.listings else { return };
        let refused = match reply {
            Reply::Answered { .. } => Refused::No,
            Reply::Throttled { retry_after } => Refused::Throttled { retry_after },
            Reply::NoAnswer => Refused::NoAnswer,
            Reply::Unrelated => return gate.tell(|listing, _| listing.forget()),
        };
        let found = gate.tell(|listing, now| {
            let was_known = listing.limit_is_known();
            listing.answered(now, self.sent, refused);
            (!was_known && listing.limit_is_known()).then(|| listing.in_flight_limit())
        });
        if let Some(in_flight) = found {
            tracing::info!(in_flight, "the server refuses listings for their rate: fewer are sent at a time");
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if std::mem::take(&mut self.is_open) {
            match (self.load, &self.pace.writes, &self.pace.listings) {
                (Load::Write { .. }, Some(gate), _) => gate.tell(|writes, _| writes.forget()),
                (Load::List, _, Some(gate)) => gate.tell(|listing, _| listing.forget()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn data_that_was_held_back_does_not_leave_together() {
        const KIB: u64 = 1024;
        let pace = Arc::new(Pace::new(&PaceSettings {
            versions_per_second: Some(10_000),
            requests_per_second: None,
            adaptive: false,
            share: 1.0,
            concurrency: 16,
            list_concurrency: 1,
            bytes_per_second: Some(1_000 * KIB),
        }));
        pace.lower_versions(Some(1));
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let pace = Arc::clone(&pace);
            writers.spawn(async move {
                let load = Load::Write { versions: 1, apart: false };
                drop(pace.pay(load, Data::Written(100 * KIB)).await.unwrap());
                std::time::Instant::now()
            });
        }
        // As long as all of them would take to pay for their bytes.
        tokio::time::sleep(Duration::from_millis(1_800)).await;
        pace.lower_versions(None);
        let mut left: Vec<_> = writers.join_all().await;
        left.sort();
        let in_half_a_second = |from: &std::time::Instant| {
            left.iter().filter(|at| *at >= from && **at < *from + Duration::from_millis(500)).count()
        };
        // Five by the ceiling, one that was paid for before, and one by what is held for once.
        let most = left.iter().map(in_half_a_second).max().unwrap();
        assert!(most <= 7, "{most} of 16");
    }

    /// What is said of the limit when one request after the other ends so.
    async fn told_of(replies: impl IntoIterator<Item = Reply>) -> Vec<&'static str> {
        let pace = Pace::new(&PaceSettings {
            versions_per_second: None,
            requests_per_second: None,
            adaptive: true,
            share: 1.0,
            concurrency: 16,
            list_concurrency: 1,
            bytes_per_second: None,
        });
        let limit = || pace.writes.as_ref().unwrap().lock().limit();
        let mut told = Vec::new();
        for reply in replies {
            let before = limit();
            pace.pay(Load::Write { versions: 1, apart: false }, Data::Nothing).await.unwrap().close(reply);
            told.extend(limit_told(before, limit()));
        }
        told
    }

    #[tokio::test]
    async fn a_server_that_is_silent_is_not_said_to_refuse() {
        let [silent] = *told_of([Reply::NoAnswer; 3]).await else { panic!("once") };
        assert!(silent.contains("too slowly or not at all") && !silent.contains("refuses"), "{silent}");
        let refusal = Reply::Throttled { retry_after: None };
        let [refused] = *told_of([refusal; 3]).await else { panic!("once") };
        assert!(refused.contains("refuses writes for their rate"), "{refused}");
        // Refused once it answers again: that is told, too.
        let [first, second] = *told_of([Reply::NoAnswer, refusal, refusal]).await else { panic!("both") };
        assert_eq!((first, second), (silent, refused));
        assert!(told_of([Reply::Answered { throttled: 0 }; 3]).await.is_empty());
    }
}
