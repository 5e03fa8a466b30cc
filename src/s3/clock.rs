//! The server's clock, as its answers tell it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::model::Timestamp;

/// How far a `Date` may lie behind the clock and still be told by the same clock: it names whole seconds, and the
/// answer that bears it was under way.
const DATE_LAG: Duration = Duration::from_secs(60);

/// A time of the server, and when it was that here.
#[derive(Clone, Copy, Debug)]
struct Told {
    time: Timestamp,
    at: Instant,
}

impl Told {
    fn moved_on(self, to: Instant) -> Timestamp {
        self.time.plus(to.saturating_duration_since(self.at))
    }
}

/// The `Date` headers seen, moved on by this machine's monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The latest time and the last one.
    heard: Mutex<Option<(Told, Told)>>,
    /// Milliseconds that signing times are moved by.
    signing_offset_millis: AtomicI64,
}

impl Clock {
    /// Takes in a `Date` header; one that is no HTTP date is ignored.
    ///
    /// A `Date` and the clock so far are both no later than the server's true time, so the later of them is the
    /// nearer, and the clock does not jump back with every answer. Only a `Date` that is far behind is another
    /// clock's, and is believed.
    pub(super) fn hear(&self, date: &str, at: Instant) {
        let Some(time) = parse_http_date(date) else { return };
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let last = Told { time, at };
        let latest = heard.map_or(last, |(latest, _)| {
            let so_far = latest.moved_on(at);
            if time > so_far || time.plus(DATE_LAG) < so_far { last } else { latest }
        });
        *heard = Some((latest, last));
    }

    /// The server's time at the instant `at`; `local` before any answer.
    pub(super) fn server_now(&self, at: Instant, local: Timestamp) -> Timestamp {
        self.heard().map_or(local, |(latest, _)| latest.moved_on(at))
    }

    /// The server's time at the instant `at` by its last answer alone, never later than
    /// [`Clock::server_now`]; `local` before any answer.
    pub(super) fn last_told(&self, at: Instant, local: Timestamp) -> Timestamp {
        self.heard().map_or(local, |(_, last)| last.moved_on(at))
    }

    /// Whether the server has told its time.
    pub(super) fn has_heard(&self) -> bool {
        self.heard().is_some()
    }

    fn heard(&self) -> Option<(Told, Told)> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on signs by the server's clock: the answer to RequestTimeTooSkewed, which AWS gives
    /// where the clocks differ by more than 15 minutes.
    pub(super) fn adopt(&self, at: Instant, local: Timestamp) {
        let server = self.server_now(at, local);
        self.signing_offset_millis.store(server.as_millis() - local.as_millis(), Ordering::Relaxed);
    }

    /// The time to sign with, where this machine's clock shows `local`.
    pub(super) fn signing_time(&self, local: Timestamp) -> Timestamp {
        Timestamp::from_millis(local.as_millis() + self.signing_offset_millis.load(Ordering::Relaxed))
    }
}

/// This machine's clock.
pub(super) fn local_now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(0).plus(since_epoch)
}

/// A timestamp as the standard library's type, for the signer.
pub(super) fn system_time(time: Timestamp) -> SystemTime {
    let millis = u64::try_from(time.as_millis()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

/// Parses an HTTP date, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn parse_http_date(text: &str) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_clock_runs_on_between_answers() {
        let clock = Clock::default();
        let start = Instant::now();
        let local = Timestamp::from_millis(5);
        assert_eq!(clock.server_now(start, local), local);
        clock.hear("Sun, 06 Nov 1994 08:49:37 GMT", start);
        clock.hear("no date at all", start + Duration::from_secs(1));
        let later = clock.server_now(start + Duration::from_secs(3), local);
        assert_eq!(later.to_string(), "1994-11-06T08:49:40.000Z");
    }

    #[test]
    fn the_servers_clock_goes_back_only_for_another_clock() {
        let clock = Clock::default();
        let start = Instant::now();
        let local = Timestamp::from_millis(5);
        let shows = |millis: u64| clock.server_now(start + Duration::from_millis(millis), local).to_string();
        clock.hear("Sun, 06 Nov 1994 08:49:37 GMT", start);
        // Answers of the same second, and one that was long under way.
        clock.hear("Sun, 06 Nov 1994 08:49:37 GMT", start + Duration::from_millis(700));
        assert_eq!(shows(900), "1994-11-06T08:49:37.900Z");
        clock.hear("Sun, 06 Nov 1994 08:49:38 GMT", start + Duration::from_millis(30_000));
        assert_eq!(shows(30_000), "1994-11-06T08:50:07.000Z");
        let last = clock.last_told(start + Duration::from_millis(30_100), local).to_string();
        assert_eq!(last, "1994-11-06T08:49:38.100Z");
        // One that tells more than was known.
        clock.hear("Sun, 06 Nov 1994 08:50:08 GMT", start + Duration::from_millis(30_001));
        assert_eq!(shows(30_001), "1994-11-06T08:50:08.000Z");
        // A clock that was set back.
        clock.hear("Sun, 06 Nov 1994 08:40:00 GMT", start + Duration::from_millis(31_000));
        assert_eq!(shows(32_000), "1994-11-06T08:40:01.000Z");
    }

    #[test]
    fn signing_follows_the_server_once_told_to() {
        let clock = Clock::default();
        let start = Instant::now();
        let local = Timestamp::from_millis(1_000_000);
        clock.hear("Thu, 01 Jan 1970 01:00:00 GMT", start);
        assert_eq!(clock.signing_time(local), local);
        clock.adopt(start, local);
        assert_eq!(clock.signing_time(local), Timestamp::from_millis(3_600_000));
        assert_eq!(clock.signing_time(local.plus(Duration::from_secs(1))), Timestamp::from_millis(3_601_000));
    }
}
