//! A picture of the key space: its ranges in key order, how far each is listed and settled. Bounded:
//! where there are many ranges, neighbours are shown as one.
//!
//! Pure: told of pages, splits and outcomes, it takes no part in them.

use std::collections::HashMap;

use crate::checkpoint::RangeRow;
use crate::model::Key;
use crate::telemetry::live::{RangeRow as Row, visible};

/// As many as fit side by side on a screen and can be told apart.
const PARTS_MAX: usize = 200;

/// One range, or neighbours.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Part {
    /// Stands for all its ranges.
    id: i64,
    prefix: Key,
    lo: Option<Key>,
    hi: Option<Key>,
    /// How far listing has come in the last range of it that was heard of.
    at: Option<Key>,
    ranges: u64,
    done: u64,
    listed: u64,
    planned: u64,
    settled: u64,
}

impl Part {
    fn is_done(&self) -> bool {
        self.done == self.ranges
    }

    fn state(&self) -> &'static str {
        match (self.is_done(), &self.at) {
            (true, _) => "done",
            (false, None) if self.done == 0 => "waiting",
            _ => "open",
        }
    }

    /// Takes over its neighbour to the right.
    fn absorb(&mut self, right: Self) {
        self.hi = right.hi;
        self.prefix = if self.prefix == right.prefix { right.prefix } else { Key::default() };
        self.at = right.at.or(self.at.take());
        self.ranges += right.ranges;
        self.done += right.done;
        self.listed += right.listed;
        self.planned += right.planned;
        self.settled += right.settled;
    }
}

/// The key space of a run.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    /// In key order.
    parts: Vec<Part>,
    /// Ranges that are shown as a part of another.
    shown_as: HashMap<i64, i64>,
}

impl Picture {
    /// Of the ranges that a run begins with, or goes on with; `pending` is what each has planned and not
    /// settled.
    pub(super) fn new(rows: &[RangeRow], pending: &HashMap<i64, u64>) -> Self {
        let mut parts: Vec<Part> = rows
            .iter()
            .map(|row| Part {
                id: row.id,
                // What begins at its prefix is told by it.
                lo: row
                    .lo
                    .clone()
                    .or_else(|| Some(row.prefix.clone()).filter(|key| !key.as_bytes().is_empty())),
                prefix: row.prefix.clone(),
                hi: row.hi.clone(),
                at: row.cursor.as_ref().map(|cursor| cursor.key.clone()),
                ranges: 1,
                done: u64::from(row.done),
                listed: row.listed,
                planned: row.planned,
                settled: row.planned.saturating_sub(pending.get(&row.id).copied().unwrap_or(0)),
            })
            .collect();
        parts.sort_by(|a, b| a.lo.cmp(&b.lo));
        let mut picture = Self { parts, shown_as: HashMap::new() };
        while picture.parts.len() > PARTS_MAX {
            picture.merge();
        }
        picture
    }

    /// Where a range is shown.
    fn place(&self, range: i64) -> Option<usize> {
        let mut id = range;
        while let Some(other) = self.shown_as.get(&id) {
            id = *other;
        }
        self.parts.iter().position(|part| part.id == id)
    }

    fn part(&mut self, range: i64) -> Option<&mut Part> {
        let place = self.place(range)?;
        self.parts.get_mut(place)
    }

    /// A page of a range was committed.
    pub(super) fn page(&mut self, range: i64, listed: u64, planned: u64, at: Option<Key>, done: bool) {
        if let Some(part) = self.part(range) {
            part.listed += listed;
            part.planned += planned;
            part.done += u64::from(done);
            part.at = at.or(part.at.take());
        }
    }

    /// A range was divided at a key: the new one lies behind it.
    pub(super) fn split(&mut self, victim: i64, new: i64, at: &Key) {
        let Some(place) = self.place(victim) else { return };
        let Some(part) = self.parts.get_mut(place) else { return };
        if part.ranges > 1 {
            part.ranges += 1;
            self.shown_as.insert(new, part.id);
            return;
        }
        let hi = part.hi.replace(at.clone());
        let right = Part {
            id: new,
            prefix: part.prefix.clone(),
            lo: Some(at.clone()),
            hi,
            ranges: 1,
            ..Part::default()
        };
        self.parts.insert(place + 1, right);
        if self.parts.len() > PARTS_MAX {
            self.merge();
        }
    }

    /// So many planned versions of a range have their outcome.
    pub(super) fn settled(&mut self, range: i64, versions: u64) {
        if let Some(part) = self.part(range) {
            part.settled += versions;
        }
    }

    /// Shows two neighbours as one: those that look alike, and of these the smallest.
    fn merge(&mut self) {
        let weight = |pair: &[Part]| match pair {
            [a, b] => (a.state() != b.state(), a.listed + b.listed),
            _ => (true, u64::MAX),
        };
        let Some(left) =
            (0..self.parts.len().saturating_sub(1)).min_by_key(|at| weight(&self.parts[*at..at + 2]))
        else {
            return;
        };
        let right = self.parts.remove(left + 1);
        self.shown_as.insert(right.id, self.parts[left].id);
        self.parts[left].absorb(right);
    }

    /// What to show. `pages_left` is what ranges under way are estimated to have left.
    pub(super) fn rows(&self, pages_left: &HashMap<i64, u64>, page_size: u64) -> Vec<Row> {
        let mut known: HashMap<usize, (u64, u64)> = HashMap::new();
        for (range, pages) in pages_left {
            if let Some(place) = self.place(*range) {
                let (ranges, sum) = known.entry(place).or_default();
                *ranges += 1;
                *sum += pages;
            }
        }
        let parts = self.parts.iter().enumerate();
        let row = |(place, part): (usize, &Part)| {
            let (known, pages) = known.get(&place).copied().unwrap_or_default();
            let is_known = known + part.done >= part.ranges;
            Row {
                from: part.lo.as_ref().map(|key| visible(key.as_bytes())).unwrap_or_default(),
                to: part.hi.as_ref().map(|key| visible(key.as_bytes())),
                at: part.at.as_ref().filter(|_| !part.is_done()).map(|key| visible(key.as_bytes())),
                state: part.state(),
                ranges: part.ranges,
                listed: part.listed,
                to_list: if part.is_done() { Some(0) } else { is_known.then_some(pages * page_size) },
                planned: part.planned,
                settled: part.settled,
            }
        };
        parts.map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::NewRange;

    fn whole() -> Picture {
        let range = NewRange { prefix: Key::default(), lo: None, hi: None };
        Picture::new(&[RangeRow::new(1, range)], &HashMap::new())
    }

    fn key(text: &str) -> Key {
        Key::from(text)
    }

    #[test]
    fn ranges_stand_in_key_order_and_fill() {
        let mut picture = whole();
        assert_eq!(picture.rows(&HashMap::new(), 1000)[0].state, "waiting");
        picture.page(1, 1000, 400, Some(key("b")), false);
        picture.split(1, 2, &key("m"));
        picture.split(1, 3, &key("f"));
        picture.page(2, 10, 10, Some(key("n")), true);
        picture.settled(1, 100);
        let rows = picture.rows(&HashMap::from([(1, 7)]), 1000);
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (&*row.from, row.to.as_deref(), row.state, row.listed, row.settled))
            .collect();
        assert_eq!(
            seen,
            [
                ("", Some("f"), "open", 1000, 100),
                ("f", Some("m"), "waiting", 0, 0),
                ("m", None, "done", 10, 0),
            ]
        );
        let to_list: Vec<_> = rows.iter().map(|row| row.to_list).collect();
        assert_eq!(to_list, [Some(7_000), None, Some(0)], "nothing is made up for what nobody looked at");
        assert_eq!((rows[0].at.as_deref(), rows[2].at.as_deref()), (Some("b"), None));
    }

    #[test]
    fn many_ranges_are_shown_as_few_and_none_is_lost() {
        let mut picture = whole();
        for n in 2..3_000_i64 {
            let at = key(&format!("{:06}", (n * 7_919) % 1_000_003));
            let victim = picture
                .parts
                .iter()
                .rev()
                .find(|part| part.lo.as_ref().is_none_or(|lo| *lo < at))
                .map(|part| part.id)
                .unwrap();
            picture.split(victim, n, &at);
            picture.page(n, 100, 50, Some(at), n % 3 != 0);
            picture.settled(n, 20);
        }
        let rows = picture.rows(&HashMap::new(), 1000);
        assert!(rows.len() <= PARTS_MAX && rows.len() > PARTS_MAX / 2, "{}", rows.len());
        let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
        assert_eq!(sum(|row| row.ranges), 2_999);
        assert_eq!((sum(|row| row.listed), sum(|row| row.settled)), (2_998 * 100, 2_998 * 20));
        assert!(rows.windows(2).all(|pair| pair[0].to.as_deref() == Some(&*pair[1].from)));
        assert!(rows.windows(2).all(|pair| pair[0].from < pair[1].from));
    }

    #[test]
    fn a_run_that_goes_on_shows_what_was_done() {
        let row = |id, lo: Option<&str>, done, planned| {
            let range = NewRange { prefix: key("p/"), lo: lo.map(key), hi: None };
            RangeRow { done, planned, listed: 2 * planned, ..RangeRow::new(id, range) }
        };
        let rows = [row(5, Some("p/x"), false, 70), row(4, None, true, 30)];
        let picture = Picture::new(&rows, &HashMap::from([(5, 20)]));
        let shown = picture.rows(&HashMap::new(), 1000);
        assert_eq!((&*shown[0].from, shown[0].settled, shown[0].state), ("p/", 30, "done"));
        assert_eq!((&*shown[1].from, shown[1].settled, shown[1].listed), ("p/x", 50, 140));
    }
}
