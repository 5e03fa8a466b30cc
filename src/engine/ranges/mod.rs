//! The ranges that are being listed: who lists which, and where one is divided next.
//!
//! A range is the keys of a scope prefix behind `lo` and up to `hi`. It has one lister, which goes
//! from page to page; a lister without a range takes half of the range with the most left, by a probe:
//! a page that begins at the split point. What the probe finds decides. Where keys come before `hi`,
//! the range ends at the split point and the probe's page is the first of a new range. Where none
//! come, `hi` moves down to it. Several listers divide one range at once: each sees where the others'
//! probes are.
//!
//! This is the authority in the process on each range's `hi` and on how far it has been handed to the
//! checkpoint. It does no I/O and takes no time: what was asked and answered is passed in.
//!
//! Invariants:
//! - The live ranges of a scope are disjoint, and hold every key of it that is neither listed nor
//!   proven not to exist. `hi` only falls, to a point behind which nothing is or to one where another
//!   range begins.
//! - Emptiness needs proof: a listing that ended, or a key beyond the bound. A page that only looks
//!   empty proves nothing.
//! - A key is never divided: bounds are keys, and all versions of one lie in one range.
//! - What lies behind a split point in bytes lies behind it in UTF-16 code units too. A server with that
//!   order cannot hide keys between two ranges then: the range behind the point shows one that comes
//!   before it, or one that goes back, and that ends the run.
//! - Guesses decide how evenly the work is divided, and nothing else.

mod frame;
mod opening;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::Key;
use crate::rules::{begins_alike, ends_alike};

use frame::{Frame, between, shared};

/// A range is divided only where so many pages are estimated to be left: half of them must be worth
/// the request that the guess may cost.
const PAGES_LEFT_MIN: f64 = 2.5;
/// Pages of the past that the density of a range is judged by.
const MARKS_MAX: usize = 6;
/// Keys of a page that are looked at.
const SAMPLES_MAX: usize = 24;
/// Split points that a level may give, for each lister.
const HINTS_PER_LISTER: usize = 8;
/// Guesses at split points of one range that are made at once, before any has proved right.
const GUESSES_FIRST: usize = 8;
/// Once too much was asked for in vain, one probe is made at a time, and only where so many pages are
/// estimated to be left.
const PAGES_LEFT_MIN_LATE: f64 = 12.0;
/// Where there are several ranges from the start, one is opened up only once it has so many pages: it
/// may be as short as the others.
const OPENED_AFTER: u64 = 3;
/// The longest key that S3 knows, and so the longest marker that it takes.
const KEY_BYTES_MAX: usize = 1024;
/// Requests for levels, in all.
const LEVELS_MAX: u64 = 64;
/// Of so many pages one may have been asked for in vain.
const PAGES_PER_WASTE: u64 = 25;

/// A range to be listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Open {
    pub(super) id: i64,
    /// Its keys begin so.
    pub(super) scope: Key,
    /// Exclusive.
    pub(super) lo: Option<Key>,
    /// Inclusive.
    pub(super) hi: Option<Key>,
    /// Where its next page begins, if it had one already.
    pub(super) cursor: Option<Key>,
}

/// What a lister without a range is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Task {
    /// List this range to its end.
    Adopt(i64),
    /// Ask for a page that begins behind a key, and hand in what it shows by [`Ranges::land`].
    Probe(Probe),
    /// List a level by delimiter, and hand in what it shows by [`Ranges::level`].
    Level(Level),
    /// Nothing for now: ask again after the next change.
    Wait,
    /// Nothing any more.
    Done,
}

/// A page to ask for that may become the first of a new range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Probe {
    number: u64,
    /// The scope of the range that it divides.
    pub(super) scope: Key,
    /// The split point.
    pub(super) at: Key,
    is_opening: bool,
    /// Nothing but the frame says that something may be there.
    is_guess: bool,
}

/// A level of the key space to list by delimiter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Level {
    scope: Key,
    /// What the names of the level begin with; ends in the delimiter, or is the scope.
    pub(super) prefix: Key,
}

/// What a page shows of the key space.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Seen {
    /// Some of its keys, in order; the first and the last among them.
    pub(super) keys: Vec<Key>,
}

impl Seen {
    /// Looks at some of the keys of a page, which are in order; what is kept is copied, so that it does
    /// not hold the page in memory.
    pub(super) fn of<'k>(keys: impl ExactSizeIterator<Item = &'k Key>) -> Self {
        let len = keys.len();
        let step = len.div_ceil(SAMPLES_MAX).max(1);
        let chosen = keys.enumerate().filter(|(at, _)| at % step == 0 || at + 1 == len);
        Self { keys: chosen.map(|(_, key)| Key::new(key.as_bytes())).collect() }
    }
}

/// What a probe's page shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// The first key behind the split point.
    pub(super) first: Option<Key>,
    /// The listing goes on behind the page.
    pub(super) is_truncated: bool,
}

/// What a probe comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Its page begins a new range that ends at `hi`, where its victim ended.
    Split {
        /// The end.
        hi: Option<Key>,
    },
    /// Nothing lies between the split point and the end of the range.
    Empty,
    /// It shows nothing, and proves nothing.
    Unproven,
    /// The listing has passed the split point.
    Late,
}

/// A range without an end yet.
#[derive(Clone, Debug)]
struct Live {
    scope: Key,
    lo: Option<Key>,
    hi: Option<Key>,
    cursor: Option<Key>,
    /// The first key that was seen.
    first: Option<Key>,
    /// Former cursors, each with the number of pages before it.
    marks: VecDeque<(Key, u64)>,
    pages: u64,
    /// Probes in vain, less the pages since.
    in_vain: u32,
    /// Guesses that may be under way at once: more where they prove right, fewer where they do not.
    guesses_max: usize,
    /// Nothing is known yet of what is behind its first page.
    is_loose: bool,
}

/// All ranges of a run that are not done.
#[derive(Clone, Debug)]
pub(super) struct Ranges {
    listers: usize,
    /// Pages after which a range is worth the first requests.
    opened_after: u64,
    live: BTreeMap<i64, Live>,
    /// Without a lister.
    queue: VecDeque<i64>,
    /// Probes under way, by number.
    probes: BTreeMap<u64, Probe>,
    /// First requests of scopes that wait for a lister.
    errands: VecDeque<Task>,
    /// For each scope that is being opened up, the requests that have not come back.
    opening: BTreeMap<Key, usize>,
    hints: BTreeSet<Key>,
    frame: Frame,
    next_id: i64,
    next_probe: u64,
    pages: u64,
    wasted: u64,
    levels: u64,
    splits: u64,
}

fn text(key: &Key) -> &str {
    let bytes = key.as_bytes();
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// A part of a range between two points, with the pages it is estimated to have left.
struct Piece<'a> {
    pages: f64,
    live: &'a Live,
    low: &'a str,
    high: Option<&'a str>,
    /// Bytes that the frame of the positions leaves out.
    from: usize,
    positions: (f64, f64),
    may_guess: bool,
}

/// Where to divide.
struct Point {
    at: Key,
    is_guess: bool,
}

impl Ranges {
    /// For so many listers; ranges made by splits are numbered from `next_id`.
    pub(super) fn new(listers: usize, open: Vec<Open>, next_id: i64) -> Self {
        let queue: VecDeque<i64> = open.iter().map(|range| range.id).collect();
        let opened_after = if queue.len() > 1 { OPENED_AFTER } else { 1 };
        let live = open.into_iter().map(|range| {
            let Open { id, scope, lo, hi, cursor } = range;
            let is_loose = hi.is_none() || cursor.is_none();
            let live = Live {
                scope,
                lo,
                hi,
                marks: cursor.iter().map(|key| (key.clone(), 0)).collect(),
                first: cursor.clone(),
                cursor,
                pages: 0,
                in_vain: 0,
                guesses_max: GUESSES_FIRST,
                is_loose,
            };
            (id, live)
        });
        Self {
            listers,
            opened_after,
            live: live.collect(),
            queue,
            probes: BTreeMap::new(),
            errands: VecDeque::new(),
            opening: BTreeMap::new(),
            hints: BTreeSet::new(),
            frame: Frame::default(),
            next_id,
            next_probe: 0,
            pages: 0,
            wasted: 0,
            levels: 0,
            splits: 0,
        }
    }

    /// Ranges that are not done.
    pub(super) fn live(&self) -> usize {
        self.live.len()
    }

    /// How many pages a range is estimated to have left; `None` where that is not known yet.
    pub(super) fn pages_left(&self, id: i64) -> Option<u64> {
        let mut pieces = Vec::new();
        self.pieces(self.live.get(&id)?, &mut pieces);
        let pages: f64 = pieces.iter().map(|piece| piece.pages).sum();
        (!pieces.is_empty()).then_some(pages as u64)
    }

    /// Ranges that were divided.
    pub(super) fn splits(&self) -> u64 {
        self.splits
    }

    /// The present end of a range; `None` where it has none, or is done.
    pub(super) fn hi(&self, id: i64) -> Option<Key> {
        self.live.get(&id)?.hi.clone()
    }

    /// What a lister without a range is to do now.
    pub(super) fn next_task(&mut self) -> Task {
        if let Some(id) = self.queue.pop_front() {
            return Task::Adopt(id);
        }
        if self.live.is_empty() {
            return Task::Done;
        }
        if self.listers < 2 {
            return Task::Done;
        }
        let allowance = self.listers.max(8) as u64 + self.pages / PAGES_PER_WASTE;
        let is_late = self.wasted >= allowance;
        if self.errands.is_empty() && !is_late {
            self.open_up();
        }
        if let Some(task) = self.next_errand() {
            return task;
        }
        if is_late && !self.probes.is_empty() {
            return Task::Wait;
        }
        let pages_min = if is_late { PAGES_LEFT_MIN_LATE } else { PAGES_LEFT_MIN };
        let Some((scope, point)) = self.split_point(pages_min) else { return Task::Wait };
        Task::Probe(self.probe(scope, point.at, false, point.is_guess))
    }

    fn probe(&mut self, scope: Key, at: Key, is_opening: bool, is_guess: bool) -> Probe {
        let probe = Probe { number: self.next_probe, scope, at, is_opening, is_guess };
        self.next_probe += 1;
        self.probes.insert(probe.number, probe.clone());
        probe
    }

    /// The next of the first requests that can still be of use.
    fn next_errand(&mut self) -> Option<Task> {
        while let Some(task) = self.errands.pop_front() {
            match task {
                Task::Probe(Probe { scope, at, .. }) => {
                    if self.home(&scope, &at).is_some() {
                        return Some(Task::Probe(self.probe(scope, at, true, false)));
                    }
                    self.opened(&scope);
                }
                task => return Some(task),
            }
        }
        None
    }

    /// Plans the first requests of a range that nothing is known of but its first page.
    fn open_up(&mut self) {
        let loose = self.live.values_mut().filter(|live| live.is_loose && live.pages >= self.opened_after);
        let Some(live) = loose.max_by_key(|live| live.pages) else { return };
        live.is_loose = false;
        let (Some(first), Some(cursor)) = (&live.first, &live.cursor) else { return };
        let opening = opening::opening(&self.frame, text(&live.scope), text(first), text(cursor));
        let scope = live.scope.clone();
        let room = usize::try_from(LEVELS_MAX.saturating_sub(self.levels)).unwrap_or(0);
        let levels = opening.levels.into_iter().take(room);
        let levels = levels.map(|prefix| Task::Level(Level { scope: scope.clone(), prefix: prefix.into() }));
        let rungs = opening.rungs.into_iter().map(Key::from).filter(begins_alike).map(|at| {
            Task::Probe(Probe { number: 0, scope: scope.clone(), at, is_opening: true, is_guess: false })
        });
        let before = self.errands.len();
        self.errands.extend(levels.chain(rungs));
        let added = self.errands.len() - before;
        if added > 0 {
            *self.opening.entry(scope).or_default() += added;
        }
    }

    fn opened(&mut self, scope: &Key) {
        if let Some(left) = self.opening.get_mut(scope) {
            *left -= 1;
            if *left == 0 {
                self.opening.remove(scope);
            }
        }
    }

    /// The live range that a split point lies in, ahead of what was listed.
    pub(super) fn home(&self, scope: &Key, at: &Key) -> Option<i64> {
        let holds = |live: &Live| {
            live.scope == *scope
                && live.lo.as_ref().is_none_or(|lo| lo < at)
                && live.hi.as_ref().is_none_or(|hi| at < hi)
                && live.cursor.as_ref().is_none_or(|cursor| cursor <= at)
        };
        self.live.iter().find(|(_, live)| holds(live)).map(|(id, _)| *id)
    }

    /// A page of a range was handed to the checkpoint.
    pub(super) fn page(&mut self, id: i64, seen: &Seen, cursor: Option<&Key>, done: bool) {
        self.pages += 1;
        self.frame.learn(seen.keys.iter().map(text));
        if done {
            self.live.remove(&id);
            return;
        }
        let Some(live) = self.live.get_mut(&id) else { return };
        if live.first.is_none() {
            live.first = seen.keys.first().cloned();
            live.marks.extend(live.first.clone().map(|first| (first, 0)));
        }
        live.pages += 1;
        live.in_vain = live.in_vain.saturating_sub(1);
        if let Some(cursor) = cursor {
            live.cursor = Some(cursor.clone());
            live.marks.push_back((cursor.clone(), live.pages));
            if live.marks.len() > MARKS_MAX {
                live.marks.pop_front();
            }
        }
    }

    /// What a probe that found this comes to, were it to land now; `victim` is the range that holds its
    /// split point, as [`Ranges::home`] says, and that nobody else changes meanwhile.
    pub(super) fn verdict(&self, probe: &Probe, victim: Option<i64>, found: &Found) -> Verdict {
        let home = self.home(&probe.scope, &probe.at);
        let live = home.filter(|_| home == victim).and_then(|id| self.live.get(&id));
        let Some(live) = live else { return Verdict::Late };
        match &found.first {
            Some(first) if live.hi.as_ref().is_some_and(|hi| first > hi) => {
                // In an order that is not that of bytes, keys before the end may follow one behind it.
                if live.hi.as_ref().is_some_and(ends_alike) { Verdict::Empty } else { Verdict::Unproven }
            }
            Some(_) => Verdict::Split { hi: live.hi.clone() },
            None if found.is_truncated => Verdict::Unproven,
            None => Verdict::Empty,
        }
    }

    /// A probe came back. Where a new range is returned, the victim ends at the split point now: the
    /// probe's page is to be handed to the checkpoint together with that end, and to [`Ranges::page`].
    /// Whoever asked lists the new range.
    pub(super) fn land(&mut self, probe: &Probe, victim: Option<i64>, found: &Found) -> Option<Open> {
        let verdict = self.verdict(probe, victim, found);
        self.give_up(probe);
        let Some(live) = victim.and_then(|id| self.live.get_mut(&id)).filter(|_| verdict != Verdict::Late)
        else {
            self.wasted += 1;
            return None;
        };
        if !matches!(verdict, Verdict::Split { .. }) {
            live.in_vain += 1;
            live.guesses_max = (live.guesses_max / 4).max(1);
            self.wasted += 1;
            if verdict == Verdict::Empty {
                live.hi = Some(probe.at.clone());
                self.frame.refute(text(&probe.at));
            }
            return None;
        }
        live.in_vain = 0;
        if probe.is_guess {
            live.guesses_max = live.guesses_max.saturating_mul(2);
        }
        let guesses_max = live.guesses_max;
        let hi = live.hi.replace(probe.at.clone());
        let (scope, lo) = (live.scope.clone(), Some(probe.at.clone()));
        let new =
            Open { id: self.next_id, scope: scope.clone(), lo: lo.clone(), hi: hi.clone(), cursor: None };
        self.next_id += 1;
        self.splits += 1;
        let live = Live {
            scope,
            lo,
            hi,
            cursor: None,
            first: None,
            marks: VecDeque::new(),
            pages: 0,
            in_vain: 0,
            guesses_max,
            is_loose: false,
        };
        self.live.insert(new.id, live);
        Some(new)
    }

    /// A probe will not come back.
    pub(super) fn give_up(&mut self, probe: &Probe) {
        if self.probes.remove(&probe.number).is_some() && probe.is_opening {
            self.opened(&probe.scope);
        }
    }

    /// A level came back: the common prefixes below it, in order, and whether these are all. Nothing
    /// is concluded from it but where a split may be worth while.
    pub(super) fn level(&mut self, level: &Level, children: Vec<Key>, is_whole: bool) {
        self.levels += 1;
        self.wasted += 1;
        self.opened(&level.scope);
        self.frame.learn(children.iter().map(text));
        if is_whole && !children.is_empty() {
            let names = children.iter().map(|child| text(child).to_owned()).collect();
            self.frame.learn_level(text(&level.prefix), names);
        }
        self.hints.extend(opening::thinned(children, HINTS_PER_LISTER * self.listers));
    }

    /// Where to divide next: in the middle of the piece with the most left.
    fn split_point(&self, pages_min: f64) -> Option<(Key, Point)> {
        let mut pieces: Vec<Piece<'_>> = Vec::new();
        for live in self.live.values().filter(|live| !self.opening.contains_key(&live.scope)) {
            self.pieces(live, &mut pieces);
        }
        pieces.retain(|piece| piece.pages >= pages_min);
        pieces.sort_by(|a, b| b.pages.total_cmp(&a.pages));
        pieces.iter().find_map(|piece| Some((piece.live.scope.clone(), self.middle(piece)?)))
    }

    /// Cuts a range where probes are under way.
    fn pieces<'a>(&'a self, live: &'a Live, pieces: &mut Vec<Piece<'a>>) {
        let (Some(cursor), Some((anchor, pages_before))) = (&live.cursor, live.marks.front()) else { return };
        if live.hi.as_ref().is_some_and(|hi| hi <= cursor) {
            return;
        }
        let (low, anchor, high) = (text(cursor), text(anchor), live.hi.as_ref().map(text));
        let from = high.map_or(0, |high| shared(anchor, high)).max(live.scope.as_bytes().len());
        let Some(common) = anchor.get(..from) else { return };
        let from = self.frame.aligned(common);
        let common = &common[..from];
        let position = |key: &str| if key.starts_with(common) { self.frame.position(key, from) } else { 1.0 };
        let (at, end) = (position(low), high.map_or(1.0, position));
        let moved = at - position(anchor);
        let pages = (live.pages - pages_before) as f64;
        let left = if moved > 0.0 { pages * (end - at) / moved } else { 4.0 + live.pages as f64 };
        let left = left * 0.5_f64.powi(i32::try_from(live.in_vain).unwrap_or(i32::MAX));
        let under_way = self
            .probes
            .values()
            .filter(|probe| probe.scope == live.scope && probe.at > *cursor)
            .filter(|probe| live.hi.as_ref().is_none_or(|hi| probe.at < *hi));
        let may_guess = under_way.clone().filter(|probe| probe.is_guess).count() < live.guesses_max;
        let mut cuts: Vec<&Key> = under_way.map(|probe| &probe.at).collect();
        cuts.sort_unstable();
        let ends = cuts.iter().map(|cut| Some(text(cut))).chain([high]);
        let (mut low, mut low_at) = (low, at);
        for high in ends {
            let high_at = high.map_or(1.0, position);
            let share = if end > at { (high_at - low_at) / (end - at) } else { 1.0 };
            let positions = (low_at, high_at);
            pieces.push(Piece { pages: left * share, live, low, high, from, positions, may_guess });
            (low, low_at) = (high.unwrap_or(low), high_at);
        }
    }

    /// A key in the middle of a piece.
    fn middle(&self, piece: &Piece<'_>) -> Option<Point> {
        let Piece { live, low, high, from, positions: (low_at, high_at), .. } = *piece;
        let fits = |at: &str| {
            let at = Key::from(at);
            let ahead =
                live.cursor.as_ref().is_none_or(|cursor| *cursor <= at) && at.as_bytes() >= low.as_bytes();
            let inside = high.is_none_or(|high| at.as_bytes() < high.as_bytes())
                && live.hi.as_ref().is_none_or(|hi| at < *hi)
                && at.starts_with(live.scope.as_bytes())
                && at.as_bytes().len() <= KEY_BYTES_MAX
                && begins_alike(&at);
            let is_taken = self.probes.values().any(|probe| probe.scope == live.scope && probe.at == at);
            (ahead && inside && !is_taken).then_some(at)
        };
        if live.marks.front().is_some_and(|(anchor, _)| Some(anchor) == live.cursor.as_ref()) {
            // One key fills page after page: what comes behind it is listed by others.
            if let Some(at) = fits(low) {
                return Some(Point { at, is_guess: false });
            }
        }
        let (span, target) = (high_at - low_at, f64::midpoint(low_at, high_at));
        if let Some(hint) = self.hint(piece, target, span / 4.0)
            && let Some(at) = fits(hint)
        {
            return Some(Point { at, is_guess: false });
        }
        if !piece.may_guess {
            return None;
        }
        let ahead = |at: Key| (at.as_bytes() > low.as_bytes()).then_some(Point { at, is_guess: true });
        let point = (span > 0.0).then(|| self.frame.point(&low[..from], target, span / 8.0));
        if let Some(point) = point.and_then(|point| fits(&point)).and_then(ahead) {
            return Some(point);
        }
        fits(&between(low, high?)?).and_then(ahead)
    }

    /// The known boundary nearest to a position.
    fn hint<'a>(&'a self, piece: &Piece<'a>, target: f64, tolerance: f64) -> Option<&'a str> {
        let low = Key::from(piece.low);
        // Hints of other prefixes lie behind, too.
        let common = &piece.low[..piece.from];
        let inside = self
            .hints
            .range(low..)
            .map(text)
            .take_while(|hint| hint.starts_with(common))
            .skip_while(|hint| *hint == piece.low)
            .take_while(|hint| piece.high.is_none_or(|high| *hint < high));
        let off = |hint: &str| (self.frame.position(hint, piece.from) - target).abs();
        inside
            .map(|hint| (off(hint), hint))
            .filter(|(off, _)| *off <= tolerance)
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, hint)| hint)
    }
}

#[cfg(test)]
pub(super) mod tests;
