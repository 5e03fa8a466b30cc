//! The sandbox's clock, and the shapes in which S3 writes time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// Real time and a settable offset, so that a test can make server and client disagree.
#[derive(Debug, Default)]
pub(super) struct Clock {
    offset_millis: AtomicI64,
}

impl Clock {
    /// Now, as this server tells it.
    pub(super) fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(millis.saturating_add(self.offset_millis.load(Ordering::Relaxed)))
    }

    pub(super) fn set_offset(&self, millis: i64) {
        self.offset_millis.store(millis, Ordering::Relaxed);
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the form of the `Date` and `Last-Modified` headers.
pub(super) fn http_date(at: Timestamp) -> String {
    format_as(at, "%a, %d %b %Y %H:%M:%S GMT")
}

/// `20130524T000000Z`, the form of `x-amz-date`.
pub(super) fn amz_date(at: Timestamp) -> String {
    format_as(at, "%Y%m%dT%H%M%SZ")
}

/// Reads `x-amz-date`, or what a `Date` header holds.
pub(super) fn parse_date(text: &str) -> Option<Timestamp> {
    let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text)
        .or_else(|_| jiff::civil::DateTime::strptime("%a, %d %b %Y %H:%M:%S GMT", text))
        .ok()?;
    let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
}

/// Reads an RFC 3339 time, the form of `x-amz-object-lock-retain-until-date`.
pub(super) fn parse_rfc_3339(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp::from_millis(at.as_millisecond()))
}

fn format_as(at: Timestamp, format: &str) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default().strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_and_read_in_the_forms_of_http_and_of_signatures() {
        let at = Timestamp::from_millis(1_369_353_600_000);
        assert_eq!(http_date(at), "Fri, 24 May 2013 00:00:00 GMT");
        assert_eq!(amz_date(at), "20130524T000000Z");
        assert_eq!(parse_date("20130524T000000Z"), Some(at));
        assert_eq!(parse_date("Fri, 24 May 2013 00:00:00 GMT"), Some(at));
        assert_eq!(parse_date("yesterday"), None);
        assert_eq!(parse_rfc_3339("2013-05-24T00:00:00Z"), Some(at));
    }

    #[test]
    fn the_offset_moves_the_clock() {
        let clock = Clock::default();
        let before = clock.now();
        clock.set_offset(3_600_000);
        let moved = clock.now().since(before).unwrap();
        assert!(moved.as_secs() >= 3600 && moved.as_secs() < 3700, "{moved:?}");
    }
}
