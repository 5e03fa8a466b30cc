//! The content of a procedural bucket: entries that follow from their index, and one bit for each
//! that tells whether it was deleted.
//!
//! Indexes are in the order of a listing: keys ascend, and the entries of a key go from the newest to
//! the oldest. The sequence number of an entry, and with it its version id, is its index counted
//! backwards from a number that the seed gives: so newer entries have larger numbers, as stored ones
//! have, and an id leads back to its index by a subtraction. Bits are only ever set, so listings need
//! no lock against deletions: a page tells each key as it was at one moment.

use std::sync::atomic::{AtomicU64, Ordering};

use super::chance::mix;
use super::entry::Entry;
use super::ordered_key::KeySpace;
use super::procedural::Procedural;
use super::version_id::{VersionRef, scramble};
use crate::model::{Kind, Timestamp};

const MILLIS_A_DAY: f64 = 86_400_000.0;
/// Of different numbers of entries that keys have.
const STEPS_MAX: u64 = 1023;

/// How many entries each key has: a round of numbers that repeats.
#[derive(Debug)]
struct Counts {
    /// Entries before each key of a round, and at the end those of a whole round.
    before: Vec<u64>,
}

impl Counts {
    /// Numbers evenly spread about their mean, in an order that follows from the seed. A bucket of
    /// few keys has a smaller spread, so that it keeps the mean.
    fn of(spec: &Procedural) -> Self {
        let mean = u64::from(spec.versions_per_key).max(1);
        let spread = (mean - 1).min(spec.keys.saturating_sub(1) / 2).min(STEPS_MAX / 2);
        let mut counts: Vec<u64> = (mean - spread..=mean + spread).collect();
        counts.sort_by_key(|count| mix(&[spec.seed, 2, *count]));
        let mut sum = 0;
        let before = std::iter::once(0).chain(counts.into_iter().map(|count| {
            sum += count;
            sum
        }));
        Self { before: before.collect() }
    }

    fn keys_a_round(&self) -> u64 {
        (self.before.len() - 1) as u64
    }

    fn entries_a_round(&self) -> u64 {
        self.before[self.before.len() - 1]
    }

    /// The index of a key's first entry; for the number of keys, the number of entries.
    fn first_of(&self, key: u64) -> u64 {
        let (round, place) = (key / self.keys_a_round(), key % self.keys_a_round());
        round * self.entries_a_round() + self.before[usize::try_from(place).unwrap_or(0)]
    }

    /// The key that an entry belongs to.
    fn key_of(&self, index: u64) -> u64 {
        let (round, place) = (index / self.entries_a_round(), index % self.entries_a_round());
        let within = self.before.partition_point(|before| *before <= place) - 1;
        round * self.keys_a_round() + within as u64
    }
}

/// The content of a procedural bucket.
#[derive(Debug)]
pub(super) struct Generated {
    keys: KeySpace,
    counts: Counts,
    entries: u64,
    /// The sequence number of entry 0 is this and the number of entries.
    base: u64,
    salt: u64,
    /// An entry whose draw of 24 bits is below is a delete marker.
    markers_below: u64,
    size_bytes: u64,
    oldest: Timestamp,
    span_millis: f64,
    gone: Vec<AtomicU64>,
    gone_count: AtomicU64,
}

impl Generated {
    /// The content that the specification describes, whole.
    pub(super) fn of(spec: &Procedural, now: Timestamp) -> Self {
        let counts = Counts::of(spec);
        let entries = counts.first_of(spec.keys);
        let words = usize::try_from(entries.div_ceil(64)).unwrap_or(0);
        let oldest = now.as_millis().saturating_sub((spec.oldest_days * MILLIS_A_DAY) as i64);
        Self {
            keys: KeySpace::of(spec),
            counts,
            entries,
            base: mix(&[spec.seed, 3]) >> 20,
            salt: mix(&[spec.seed, 4]),
            markers_below: (spec.marker_share * f64::from(1 << 24)) as u64,
            size_bytes: spec.size_bytes,
            oldest: Timestamp::from_millis(oldest),
            span_millis: (spec.oldest_days - spec.newest_days) * MILLIS_A_DAY,
            gone: std::iter::repeat_with(|| AtomicU64::new(0)).take(words).collect(),
            gone_count: AtomicU64::new(0),
        }
    }

    /// When its oldest entry can have been created.
    pub(super) fn oldest(&self) -> Timestamp {
        self.oldest
    }

    /// Number of entries that are not deleted.
    pub(super) fn left(&self) -> u64 {
        self.entries - self.gone_count.load(Ordering::Relaxed)
    }

    /// Number of keys that it was made with.
    pub(super) fn key_count(&self) -> u64 {
        self.keys.count()
    }

    /// The key with this index.
    pub(super) fn key(&self, key: u64) -> Vec<u8> {
        self.keys.key(key)
    }

    fn is_gone(&self, index: u64) -> bool {
        let word = usize::try_from(index / 64).unwrap_or(usize::MAX);
        self.gone.get(word).is_none_or(|word| word.load(Ordering::Relaxed) >> (index % 64) & 1 == 1)
    }

    /// The first entry that is not deleted, from this index on.
    fn next_left(&self, from: u64) -> Option<u64> {
        let first = usize::try_from(from / 64).ok()?;
        let mut ignored = !(u64::MAX << (from % 64));
        for (place, word) in self.gone.iter().enumerate().skip(first) {
            let gone = word.load(Ordering::Relaxed) | ignored;
            ignored = 0;
            if gone != u64::MAX {
                let index = place as u64 * 64 + u64::from(gone.trailing_ones());
                return (index < self.entries).then_some(index);
            }
        }
        None
    }

    /// The index of the entry that a request names, deleted or not; `None` where the key never had
    /// such a version.
    fn index_of(&self, key: &[u8], wanted: VersionRef) -> Option<u64> {
        let VersionRef::Sequence(sequence) = wanted else { return None };
        let index = (self.base + self.entries).checked_sub(sequence)?;
        (index < self.entries && self.keys.key(self.counts.key_of(index)) == key).then_some(index)
    }

    /// The entry that a request names, where it is not deleted.
    pub(super) fn entry(&self, key: &[u8], wanted: VersionRef) -> Option<Entry> {
        let index = self.index_of(key, wanted).filter(|index| !self.is_gone(*index))?;
        let first = self.counts.first_of(self.counts.key_of(index));
        Some(self.entry_at(index, first, self.counts.first_of(self.counts.key_of(index) + 1)))
    }

    /// The newest entry of a key that is not deleted.
    pub(super) fn latest(&self, key: &[u8]) -> Option<Entry> {
        let place = self.keys.before(key, false);
        if place == self.keys.count() || self.keys.key(place) != key {
            return None;
        }
        let (first, end) = (self.counts.first_of(place), self.counts.first_of(place + 1));
        let index = self.next_left(first).filter(|index| *index < end)?;
        Some(self.entry_at(index, first, end))
    }

    /// Deletes the entry that a request names; `None` where there is none (any more).
    pub(super) fn delete(&self, key: &[u8], wanted: VersionRef) -> Option<Kind> {
        let index = self.index_of(key, wanted)?;
        let word = self.gone.get(usize::try_from(index / 64).ok()?)?;
        let bit = 1 << (index % 64);
        // Of two requests at the same time, one finds it.
        if word.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return None;
        }
        self.gone_count.fetch_add(1, Ordering::Relaxed);
        Some(self.kind(self.draw(index)))
    }

    fn draw(&self, index: u64) -> u64 {
        scramble(index ^ self.salt)
    }

    fn kind(&self, draw: u64) -> Kind {
        if draw >> 40 < self.markers_below { Kind::DeleteMarker } else { Kind::Version }
    }

    /// The entry with this index; `first` and `end` bound those of its key. The span of ages is
    /// divided among the entries of a key, each is somewhere in its part.
    fn entry_at(&self, index: u64, first: u64, end: u64) -> Entry {
        let draw = self.draw(index);
        let (age, size) = (draw >> 20 & 0xf_ffff, draw & 0xf_ffff);
        let place = (end - 1 - index) as f64 + age as f64 / f64::from(1 << 20);
        let since_oldest = self.span_millis * place / (end - first) as f64;
        let kind = self.kind(draw);
        let varied = (u128::from(self.size_bytes) * u128::from(size)) >> 20;
        let size = if kind == Kind::Version { self.size_bytes / 2 + varied as u64 } else { 0 };
        Entry {
            sequence: self.base + self.entries - index,
            at: Timestamp::from_millis(self.oldest.as_millis() + since_oldest as i64),
            size,
            extra: None,
            kind,
            is_null: false,
            class: 0,
        }
    }

    /// The keys that have entries left, from a text on, each with those entries, oldest first.
    pub(super) fn keys_from<'s>(
        &'s self,
        text: &[u8],
        after_equal: bool,
    ) -> impl Iterator<Item = (Vec<u8>, Vec<Entry>)> + use<'s> {
        let mut key = self.keys.before(text, after_equal);
        let mut first = self.counts.first_of(key);
        std::iter::from_fn(move || {
            loop {
                let left = self.next_left(first)?;
                let mut end = self.counts.first_of(key + 1);
                if left >= end {
                    // Others may be deleted at this moment, but none comes back.
                    key = self.counts.key_of(left);
                    first = self.counts.first_of(key);
                    end = self.counts.first_of(key + 1);
                }
                let entries: Vec<Entry> = (left..end)
                    .rev()
                    .filter(|index| !self.is_gone(*index))
                    .map(|index| self.entry_at(index, first, end))
                    .collect();
                let name = self.keys.key(key);
                (key, first) = (key + 1, end);
                if !entries.is_empty() {
                    return Some((name, entries));
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
