//! Ranges that a server refuses more than the rest. Servers divide the key space into partitions, each
//! with a limit of its own: where one of them is full, its ranges rest for a while and the others go
//! on, instead of all being held to the pace of the slowest.
//!
//! A range stands apart only where others are hardly refused: where all are, the limit is that of the
//! bucket, and it is the common pace that must fall. Times are passed in, and so is chance.

use std::collections::HashMap;
use std::time::Duration;

/// The memory of what was refused halves in this time.
const HALF_LIFE_SECS: f64 = 15.0;
/// Keys of a range that must be remembered before anything is concluded from them.
const KEYS_MIN: f64 = 2_000.0;
/// Refused share of a range from which it may stand apart.
const REFUSED_MIN: f64 = 0.04;
/// A range is clean beside another where its refused share is less by this factor.
const CLEANER_BY: f64 = 5.0;
/// Share of all keys that must belong to clean ranges for another to stand apart.
const CLEAN_SHARE_MIN: f64 = 0.2;
/// First rest; each one after another refusal is twice as long.
const REST: Duration = Duration::from_millis(700);
/// Longest rest.
const REST_MAX: Duration = Duration::from_secs(30);
/// A range of which so little is remembered is forgotten.
const FORGOTTEN_BELOW: f64 = 1.0;

#[derive(Clone, Copy, Debug)]
struct Book {
    sent: f64,
    throttled: f64,
    at: Duration,
    /// Refusals in a row since the last clean answer.
    streak: u32,
    rests_from: Duration,
    rests_until: Duration,
}

impl Book {
    fn fade(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        let left = 0.5_f64.powf(passed / HALF_LIFE_SECS);
        self.sent *= left;
        self.throttled *= left;
        self.at = self.at.max(now);
    }

    fn refused_share(&self) -> f64 {
        if self.sent > 0.0 { self.throttled / self.sent } else { 0.0 }
    }
}

/// What is known of each range that something was sent of lately.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    books: HashMap<i64, Book>,
}

impl Ranges {
    /// Takes an answer into account: of `keys` keys of a request that left at `sent`, `throttled` were
    /// refused for their rate. `chance`, in `[0, 1)`, spreads the ends of rests.
    pub fn answered(
        &mut self,
        now: Duration,
        range: i64,
        sent: Duration,
        keys: usize,
        throttled: usize,
        chance: f64,
    ) {
        let fresh = Book {
            sent: 0.0,
            throttled: 0.0,
            at: now,
            streak: 0,
            rests_from: Duration::ZERO,
            rests_until: Duration::ZERO,
        };
        let book = self.books.entry(range).or_insert(fresh);
        book.fade(now);
        book.sent += keys as f64;
        book.throttled += throttled as f64;
        if throttled == 0 {
            if sent >= book.rests_until {
                book.streak = 0;
            }
            return;
        }
        // What left before the rest began was refused for the same reason.
        let is_news = sent >= book.rests_from;
        if is_news
            && self.is_apart(now, range)
            && let Some(book) = self.books.get_mut(&range)
        {
            let rest = REST.saturating_mul(1 << book.streak.min(10)).min(REST_MAX);
            book.streak += 1;
            book.rests_from = now;
            book.rests_until = now + rest.mul_f64(0.75 + 0.5 * chance.clamp(0.0, 1.0));
        }
    }

    /// Whether the range is refused while a good part of what is sent elsewhere is not.
    pub fn is_apart(&self, now: Duration, range: i64) -> bool {
        let faded = |book: &Book| {
            let mut book = *book;
            book.fade(now);
            book
        };
        let Some(own) = self.books.get(&range).map(faded) else { return false };
        if own.sent < KEYS_MIN || own.refused_share() < REFUSED_MIN {
            return false;
        }
        let (mut all, mut clean) = (0.0, 0.0);
        for book in self.books.values().map(faded) {
            all += book.sent;
            if book.refused_share() * CLEANER_BY < own.refused_share() {
                clean += book.sent;
            }
        }
        clean >= CLEAN_SHARE_MIN * all
    }

    /// The ranges of which nothing should be sent now; forgets those that were long silent.
    pub fn resting(&mut self, now: Duration) -> Vec<i64> {
        self.books.retain(|_, book| {
            let passed = now.saturating_sub(book.at).as_secs_f64();
            book.rests_until > now || book.sent * 0.5_f64.powf(passed / HALF_LIFE_SECS) >= FORGOTTEN_BELOW
        });
        let resting = self.books.iter().filter(|(_, book)| book.rests_until > now);
        resting.map(|(range, _)| *range).collect()
    }

    /// When the rest of a range ends, where it rests.
    pub fn rests_until(&self, now: Duration, range: i64) -> Option<Duration> {
        self.books.get(&range).map(|book| book.rests_until).filter(|until| *until > now)
    }

    /// When the next rest ends.
    pub fn next_end(&self, now: Duration) -> Option<Duration> {
        self.books.values().map(|book| book.rests_until).filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Ten thousand keys of each range, of which so many of a hundred were refused.
    fn told(shares: &[usize]) -> Ranges {
        let mut ranges = Ranges::default();
        for round in 0..100 {
            for (range, share) in shares.iter().enumerate() {
                ranges.answered(at(round), range as i64, at(round), 100, *share, 0.5);
            }
        }
        ranges
    }

    #[test]
    fn a_range_rests_while_the_others_go_on() {
        let mut ranges = told(&[30, 0, 0, 1]);
        assert_eq!(ranges.resting(at(100)), [0]);
        let end = ranges.next_end(at(100)).unwrap();
        assert!(end > at(500) && end < at(40_000), "{end:?}");
        assert_eq!(ranges.rests_until(at(100), 0), Some(end));
        assert_eq!(ranges.resting(end), [] as [i64; 0]);
    }

    #[test]
    fn none_rests_where_all_are_refused() {
        let mut ranges = told(&[30, 20, 25, 30]);
        assert_eq!(ranges.resting(at(100)), [] as [i64; 0]);
        assert_eq!(told(&[30]).resting(at(100)), [] as [i64; 0], "alone");
    }

    #[test]
    fn rests_grow_up_to_a_bound_and_begin_anew_after_a_clean_answer() {
        let mut ranges = told(&[0, 0, 10]);
        let mut rest = |now: u64, refused| {
            ranges.answered(at(now - 1), 0, at(now - 1), 10_000, 0, 0.5);
            ranges.answered(at(now), 2, at(now), 100, refused, 0.5);
            ranges.rests_until(at(now), 2).map(|until| (until - at(now)).as_millis())
        };
        let first = rest(100_000, 100);
        assert!(first > Some(700), "{first:?}");
        assert_eq!(rest(200_000, 100).zip(first).map(|(b, a)| b.min(30_000) >= a), Some(true));
        for n in 3..12 {
            rest(n * 100_000, 100);
        }
        assert_eq!(rest(1_300_000, 100), Some(30_000));
        assert_eq!(rest(1_400_000, 0), None);
        assert_eq!(rest(1_400_100, 100), Some(700));
    }

    #[test]
    fn what_was_long_silent_is_forgotten() {
        let mut ranges = told(&[30, 0, 0]);
        ranges.resting(at(3_600_000));
        assert!(ranges.books.is_empty());
    }
}
