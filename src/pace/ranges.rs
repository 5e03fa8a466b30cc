//! Ranges that a server refuses more than the rest. Servers divide the key space into partitions, each
//! with a limit of its own: where one of them is full, its ranges get a pace of their own and the
//! others go on, instead of all being held to the pace of the slowest.
//!
//! A range stands apart only where others are hardly refused: where all are, the limit is that of the
//! bucket, and it is the common pace that must fall. Times and chance are passed in.

use std::collections::HashMap;
use std::time::Duration;

/// The memory of what was sent and refused halves in this time.
const HALF_LIFE_SECS: f64 = 15.0;
/// Keys of a range that must be remembered before anything is concluded from them.
const KEYS_MIN: f64 = 12_000.0;
/// Refused share of a range from which it may stand apart: a small one passes by itself when the common
/// pace falls, and a range that is slowed for no reason is the last to end.
const REFUSED_MIN: f64 = 0.2;
/// A range is clean beside another where its refused share is less by this factor.
const CLEANER_BY: f64 = 5.0;
/// Share of all keys that must belong to clean ranges for another to stand apart.
const CLEAN_SHARE_MIN: f64 = 0.2;
/// What is left of a range's pace after a refusal.
const CUT: f64 = 0.85;
/// Refusals of a range closer to each other are one.
const EPISODE: Duration = Duration::from_secs(1);
/// Growth of a range's pace in a second.
const GROWTH_PER_SEC: f64 = 0.03;
/// A range that was not refused for so long goes with the rest again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(20);
/// What was sent and refused just now halves in this time.
const RECENT_SECS: f64 = 0.7;
/// A range is in use where so many keys of it are remembered by that.
const IN_USE_KEYS_MIN: f64 = 10.0;
/// Refused share of a range just now from which it counts as refused.
const REFUSED_NOW: f64 = 0.05;
/// Refusals are local as long as the ranges that are refused just now have no more than this share of
/// what is sent.
const LOCAL_MAX: f64 = 0.5;
/// Rest of a range after a local refusal: the burst of a partition fills up by so much of a second.
const REST_SECS: f64 = 0.3;
/// Growth of the rest with every refusal that follows soon ...
const REST_GROWTH: f64 = 1.3;
/// ... within this time after the end of the last.
const REST_SOON: Duration = Duration::from_secs(2);
/// Longest rest.
const REST_SECS_MAX: f64 = 0.8;
/// So far ahead turns are given: a pace that has grown meanwhile is soon felt.
const RESERVED_MAX: Duration = Duration::from_secs(60);
/// Least pace of a range, in keys a second: a request of a thousand keys every half minute.
const PACE_MIN: f64 = 33.0;
/// A range of which so little is remembered is forgotten.
const FORGOTTEN_BELOW: f64 = 1.0;

/// What a refusal is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The whole bucket, as far as can be told.
    Bucket,
    /// A part of the key space: what is sent elsewhere is accepted.
    Part {
        /// So many ranges got something of late.
        ranges: usize,
    },
    /// A range that has a pace of its own.
    Apart,
}

#[derive(Clone, Copy, Debug, Default)]
struct Book {
    sent: f64,
    throttled: f64,
    at: Duration,
    /// Keys a second of its own, where it stands apart, as of `refused_at`.
    pace: Option<f64>,
    refused_at: Duration,
    rests_until: Duration,
    /// The same as `sent` and `throttled`, of a much shorter time.
    sent_now: f64,
    throttled_now: f64,
    /// Local refusals that followed each other soon.
    rests: i32,
}

impl Book {
    fn faded(mut self, now: Duration) -> Self {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        let left = 0.5_f64.powf(passed / HALF_LIFE_SECS);
        self.sent *= left;
        self.throttled *= left;
        let left = 0.5_f64.powf(passed / RECENT_SECS);
        self.sent_now *= left;
        self.throttled_now *= left;
        self.at = self.at.max(now);
        self
    }

    fn refused_share(&self) -> f64 {
        if self.sent > 0.0 { self.throttled / self.sent } else { 0.0 }
    }

    /// What was granted lately, in keys a second.
    fn granted_per_second(&self) -> f64 {
        (self.sent - self.throttled) * std::f64::consts::LN_2 / HALF_LIFE_SECS
    }

    fn pace(&self, now: Duration) -> Option<f64> {
        let since = now.saturating_sub(self.refused_at);
        let grown = 1.0 + GROWTH_PER_SEC * since.as_secs_f64();
        self.pace.filter(|_| since < FORGIVEN_AFTER).map(|pace| pace * grown)
    }
}

/// What is known of each range that something was sent of lately.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    books: HashMap<i64, Book>,
}

impl Ranges {
    /// Reserves the time that so many keys of a range take at its own pace, and returns how long they
    /// have to wait for their turn: not at all, and nothing is reserved, where it goes with the rest.
    /// `chance`, in `[0, 1)`, spreads the turns.
    pub fn reserve(&mut self, now: Duration, range: i64, keys: usize, chance: f64) -> Duration {
        let Some(book) = self.books.get_mut(&range) else { return Duration::ZERO };
        let Some(pace) = book.pace(now) else { return book.rests_until.saturating_sub(now) };
        let turn = book.rests_until.max(now);
        let spread = 0.9 + 0.2 * chance.clamp(0.0, 1.0);
        let takes = Duration::from_secs_f64(spread * keys as f64 / pace);
        book.rests_until = (turn + takes).min(now + RESERVED_MAX);
        turn - now
    }

    /// Takes an answer into account: of `keys` keys of a range, `throttled` were refused for their
    /// rate. Returns what the refusal is about. A range rests a little where it is about a part of the
    /// key space; `chance`, in `[0, 1)`, spreads the rests. Parts are told from the bucket while the limit is
    /// searched for (`searching`): later what rests would only shift its load to the others.
    pub fn answered(
        &mut self,
        now: Duration,
        range: i64,
        keys: usize,
        throttled: usize,
        chance: f64,
        searching: bool,
    ) -> Scope {
        let book = self.books.entry(range).or_default();
        *book = book.faded(now);
        book.sent_now += keys as f64;
        book.throttled_now += throttled as f64;
        let is_local = searching && throttled > 0 && self.is_local(now);
        if throttled > 0 && !is_local {
            // The common pace falls. What was refused before says nothing about what comes then.
            self.books.values_mut().for_each(|book| book.throttled_now = 0.0);
        }
        self.note(now, range, keys, throttled);
        if is_local
            && let Some(book) = self.books.get_mut(&range)
            && book.rests_until <= now
        {
            let is_soon = now < book.rests_until + REST_SOON && book.rests_until > Duration::ZERO;
            book.rests = if is_soon { book.rests + 1 } else { 0 };
            let rest = (REST_SECS * REST_GROWTH.powi(book.rests)).min(REST_SECS_MAX);
            book.rests_until = now + Duration::from_secs_f64(rest * (0.75 + 0.5 * chance.clamp(0.0, 1.0)));
        }
        match (self.is_apart(now, range), is_local) {
            (true, _) => Scope::Apart,
            (false, true) => Scope::Part { ranges: self.in_use(now) },
            (false, false) => Scope::Bucket,
        }
    }

    /// Ranges that got something of late.
    fn in_use(&self, now: Duration) -> usize {
        self.books.values().filter(|book| book.faded(now).sent_now >= IN_USE_KEYS_MIN).count()
    }

    /// Whether the ranges that are refused just now are the lesser part.
    fn is_local(&self, now: Duration) -> bool {
        let (mut all, mut refused) = (0.0, 0.0);
        for book in self.books.values().map(|book| book.faded(now)) {
            all += book.sent_now;
            if book.throttled_now > REFUSED_NOW * book.sent_now {
                refused += book.sent_now;
            }
        }
        refused <= LOCAL_MAX * all
    }

    fn note(&mut self, now: Duration, range: i64, keys: usize, throttled: usize) {
        let mut book = self.books.get(&range).copied().unwrap_or_default().faded(now);
        book.sent += keys as f64;
        book.throttled += throttled as f64;
        self.books.insert(range, book);
        if throttled == 0 || (book.pace.is_some() && now.saturating_sub(book.refused_at) < EPISODE) {
            return;
        }
        let pace = match book.pace(now) {
            Some(pace) => pace * CUT,
            None if self.stands_out(now, &book) => book.granted_per_second() * CUT,
            None => return,
        };
        book.pace = Some(pace.max(PACE_MIN));
        book.refused_at = now;
        self.books.insert(range, book);
    }

    /// Whether the range has a pace of its own: what is refused of it says nothing about the others.
    pub fn is_apart(&self, now: Duration, range: i64) -> bool {
        self.books.get(&range).is_some_and(|book| book.pace(now).is_some())
    }

    /// Whether nothing should be sent of a range now.
    pub fn rests(&self, now: Duration, range: i64) -> bool {
        self.books.get(&range).is_some_and(|book| book.rests_until > now)
    }

    /// Whether a range is refused while a good part of what is sent elsewhere is not.
    fn stands_out(&self, now: Duration, own: &Book) -> bool {
        if own.sent < KEYS_MIN || own.refused_share() < REFUSED_MIN {
            return false;
        }
        let (mut all, mut clean) = (0.0, 0.0);
        for book in self.books.values().map(|book| book.faded(now)) {
            all += book.sent;
            if book.refused_share() * CLEANER_BY < own.refused_share() {
                clean += book.sent;
            }
        }
        clean >= CLEAN_SHARE_MIN * all
    }

    /// The ranges of which nothing should be handed out now; forgets those that were long silent.
    pub fn resting(&mut self, now: Duration) -> Vec<i64> {
        self.books.retain(|_, book| book.rests_until > now || book.faded(now).sent >= FORGOTTEN_BELOW);
        let resting = self.books.iter().filter(|(_, book)| book.rests_until > now);
        resting.map(|(range, _)| *range).collect()
    }

    /// Forgets everything: where only ranges that rest are left to do, theirs is the common pace.
    pub fn forgive_all(&mut self) {
        self.books.clear();
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

    /// Two thousand keys of each range every 100 ms for ten seconds, of which so many of a hundred were
    /// refused.
    fn told(shares: &[usize]) -> Ranges {
        let mut ranges = Ranges::default();
        for ms in (0..=10_000).step_by(100) {
            for (range, share) in shares.iter().enumerate() {
                ranges.answered(at(ms), range as i64, 2000, 20 * share, 0.5, false);
            }
        }
        ranges
    }

    #[test]
    fn a_refused_range_goes_slower_while_the_others_go_on() {
        let mut ranges = told(&[30, 0, 0, 0]);
        let now = at(10_000);
        assert!(ranges.is_apart(now, 0));
        (0..4).for_each(|range| assert_eq!(ranges.reserve(now, range, 1000, 0.5), Duration::ZERO));
        assert_eq!(ranges.resting(now), [0]);
        let end = ranges.next_end(now).unwrap();
        // Ten cuts of what was granted in the first second.
        assert!(end - now > at(300) && end - now < at(20_001), "{end:?}");
        assert_eq!(ranges.reserve(now, 0, 1000, 0.5), end - now, "the next turn");
        let end = ranges.next_end(now).unwrap();
        assert_eq!(ranges.resting(end), [] as [i64; 0]);
    }

    #[test]
    fn none_stands_apart_where_all_are_refused() {
        for shares in [&[30, 20, 25, 30][..], &[30][..]] {
            let ranges = told(shares);
            assert!(!(0..4).any(|range| ranges.is_apart(at(10_000), range)), "{shares:?}");
        }
    }

    #[test]
    fn a_pace_falls_with_refusals_grows_meanwhile_and_is_forgiven() {
        let mut ranges = told(&[30, 0, 0, 0]);
        let pace = |ranges: &Ranges, now| ranges.books[&0].pace(now);
        let before = pace(&ranges, at(11_500)).unwrap();
        ranges.answered(at(11_500), 0, 1000, 1000, 0.5, false);
        assert_eq!(pace(&ranges, at(11_500)), Some(before * CUT));
        ranges.answered(at(11_600), 0, 1000, 1000, 0.5, false);
        assert_eq!(pace(&ranges, at(12_500)), Some(before * CUT * 1.03), "one refusal, one cut");
        assert_eq!(pace(&ranges, at(32_000)), None);
    }

    #[test]
    fn what_was_long_silent_is_forgotten() {
        let mut ranges = told(&[30, 0, 0]);
        ranges.resting(at(3_600_000));
        assert!(ranges.books.is_empty());
    }
}
