//! Whose turn it is: which range a batch is handed out of next, and which of those never tried.
//!
//! Servers divide the key space into partitions and limit each. Neighbouring keys share a partition, so
//! what is sent at a time should lie all over the key space, and so that no partition is left over at
//! the end each should get as much as it has left. Ranges therefore take turns in proportion to their
//! batches, and within a range turns go to places that are far from one another.

use super::store::RangeBooks;

/// One turn of so many of a range goes to its oldest batch: batches of latest items wait for the oldest
/// of their elders.
const OLDEST_EVERY: u64 = 4;

/// So many pages are taken to be left of a range that is still listed, where there is no estimate. While
/// ranges are listed, what they have so far says little about what they hold: a region whose listing is
/// done must not get most of the turns only because the others are still being listed.
const UNLISTED: u64 = 64;

/// More than this a range is never taken to have left, so that sums stay far from overflow.
const LEFT_MAX: u64 = 1 << 40;

/// How many batches a range is taken to have left: those that wait for their elders are counted, and a
/// batch for each page that is still to be listed. The first ranges of a listing are of very different
/// sizes; without the estimate the small ones, which often are neighbours, would get most of the turns.
fn left(books: &RangeBooks) -> u64 {
    let unlisted = if books.done { 0 } else { books.pages_left.unwrap_or(UNLISTED) };
    books.fresh.saturating_add(books.blocked).saturating_add(unlisted).min(LEFT_MAX)
}

/// The range whose turn it is, and its books brought up to date. Each range that has batches and may be
/// chosen gains as many points as it has left; the one with the most loses what all gained. `None`
/// where no range may be chosen, of which it is asked by its id and its batches that were never tried.
pub(super) fn next_range<'a>(
    ranges: impl Iterator<Item = (i64, &'a mut RangeBooks)>,
    may_be_chosen: impl Fn(i64, u64) -> bool,
) -> Option<i64> {
    let mut all = 0;
    let mut best: Option<(i64, &mut RangeBooks)> = None;
    for (id, books) in ranges.filter(|(id, books)| may_be_chosen(*id, books.fresh)) {
        let gain = i64::try_from(left(books).max(1)).unwrap_or(i64::MAX);
        books.points = books.points.saturating_add(gain);
        all += gain;
        let is_better = best.as_ref().is_none_or(|(best_id, best)| {
            (books.points, std::cmp::Reverse(id)) > (best.points, std::cmp::Reverse(*best_id))
        });
        if is_better {
            best = Some((id, books));
        }
    }
    let (id, books) = best?;
    books.points = books.points.saturating_sub(all);
    books.turns += 1;
    Some(id)
}

/// Where, between the oldest batch (0) and the newest (1) of a range, turn number `turn` goes.
pub(super) fn place(turn: u64) -> f64 {
    if turn.is_multiple_of(OLDEST_EVERY) {
        return 0.0;
    }
    // The bits of a count in reverse, as a fraction: each place is far from those before it.
    let reversed = (turn as u32).reverse_bits();
    f64::from(reversed) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn books(fresh: &[(i64, u64)]) -> BTreeMap<i64, RangeBooks> {
        fresh
            .iter()
            .map(|(id, fresh)| (*id, RangeBooks { fresh: *fresh, done: true, ..RangeBooks::default() }))
            .collect()
    }

    #[test]
    fn ranges_have_turns_in_proportion_to_what_they_have_left_and_end_together() {
        let mut ranges = books(&[(1, 10), (2, 30), (3, 60), (4, 0)]);
        let mut turns = Vec::new();
        while let Some(id) =
            next_range(ranges.iter_mut().map(|(id, books)| (*id, books)), |_, fresh| fresh > 0)
        {
            ranges.get_mut(&id).unwrap().fresh -= 1;
            turns.push(id);
        }
        assert_eq!(turns.len(), 100);
        for (part, tenths) in turns.chunks(10).zip(1..) {
            for (id, share) in [(1, 1), (2, 3), (3, 6)] {
                let count = part.iter().filter(|turn| **turn == id).count();
                assert!(
                    count.abs_diff(share) <= 1,
                    "tenth {tenths}: range {id} had {count} turns: {turns:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_blocked_or_not_yet_listed_counts_too() {
        let mut ranges = books(&[(1, 64), (2, 4), (3, 4)]);
        ranges.get_mut(&2).unwrap().blocked = 60;
        let listed = ranges.get_mut(&3).unwrap();
        (listed.done, listed.fresh) = (false, 3);
        let mut turns = [0; 4];
        for _ in 0..9 {
            let id =
                next_range(ranges.iter_mut().map(|(id, books)| (*id, books)), |_, fresh| fresh > 0).unwrap();
            let books = ranges.get_mut(&id).unwrap();
            books.fresh -= 1;
            turns[id as usize] += 1;
        }
        assert_eq!(turns, [0, 3, 3, 3]);
    }

    #[test]
    fn a_range_of_which_much_is_still_to_be_listed_gets_more_turns_than_its_batches_tell() {
        let mut ranges = books(&[(1, 100), (2, 100)]);
        for (id, pages) in [(1, 0), (2, 300)] {
            let range = ranges.get_mut(&id).unwrap();
            (range.done, range.pages_left) = (false, Some(pages));
        }
        let mut turns = [0; 3];
        for _ in 0..20 {
            let next = next_range(ranges.iter_mut().map(|(id, books)| (*id, books)), |_, fresh| fresh > 0);
            turns[next.unwrap() as usize] += 1;
        }
        assert_eq!(turns, [0, 4, 16]);
        // What an estimate says of a range that is done is out of date, and none is too large.
        ranges.get_mut(&2).unwrap().done = true;
        assert_eq!(left(&ranges[&2]), 100);
        ranges.get_mut(&1).unwrap().pages_left = Some(u64::MAX);
        assert_eq!(left(&ranges[&1]), LEFT_MAX);
    }

    #[test]
    fn a_range_that_may_not_be_chosen_loses_its_turns() {
        let mut ranges = books(&[(1, 10), (2, 1)]);
        let mut next =
            |choose: i64| next_range(ranges.iter_mut().map(|(id, books)| (*id, books)), |id, _| id == choose);
        assert_eq!([next(2), next(2), next(3)], [Some(2), Some(2), None]);
    }

    #[test]
    fn places_spread_over_the_range_and_come_back_to_its_oldest() {
        let places: Vec<f64> = (1..=64).map(place).collect();
        assert!(places.iter().all(|place| (0.0..=1.0).contains(place)));
        assert_eq!(places.iter().filter(|place| **place == 0.0).count(), 16);
        for part in places.chunks(16) {
            let low = part.iter().filter(|place| **place > 0.0 && **place < 0.5).count();
            let high = part.iter().filter(|place| **place >= 0.5).count();
            assert!(low >= 3 && high >= 6, "{part:?}");
        }
    }
}
