//! Many listers, servers of every kind, deletions right behind the listing, crashes: every version is
//! decided exactly once. A simulation in virtual time of the protocol between the listers, the table of
//! ranges and the checkpoint, with the real table and the real planning of pages.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use fastrand::Rng;

use super::*;
use crate::engine::page::Orders;
use crate::engine::ranges::tests::shapes;
use crate::model::{ActionId, Kind, Timestamp, Version, VersionId};
use crate::rules::{Conditions, KeyOrders, NullVersions, Policy, Rule, Rules, State, Verdict as Wanted};

const DAY_MS: i64 = 86_400_000;

/// How a server lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Manners {
    /// A key marker alone starts with its key.
    inclusive: bool,
    /// A key whose marker version is gone starts again.
    restarts: bool,
    /// The rest of a key whose marker version is gone is left out.
    skips: bool,
    /// Pages hold fewer entries than asked for, or none at all, and go on.
    short: bool,
    /// A last page may say that the listing goes on.
    lazy: bool,
}

struct Server {
    /// In listing order; `None` once deleted.
    entries: Vec<(Version, bool)>,
    manners: Manners,
    page_size: usize,
}

impl Server {
    fn new(keys: &shapes::Keys, manners: Manners, page_size: usize, rng: &mut Rng) -> Self {
        let mut entries = Vec::new();
        for (key, count) in keys {
            for age in 0..*count {
                let kind = if rng.u8(..4) == 0 { Kind::DeleteMarker } else { Kind::Version };
                let version = Version {
                    key: Key::from(key.as_str()),
                    id: VersionId::new(format!("{}", entries.len())).unwrap(),
                    kind,
                    is_latest: age == 0,
                    last_modified: Timestamp::from_millis((900 - i64::from(age)) * DAY_MS),
                    size: 1,
                    etag: None,
                    storage_class: None,
                };
                entries.push((version, true));
            }
        }
        Self { entries, manners, page_size }
    }

    fn start(&self, from: Option<&Marker>) -> usize {
        let Some(from) = from else { return 0 };
        let first = self.entries.partition_point(|(entry, _)| entry.key < from.key);
        let behind = self.entries.partition_point(|(entry, _)| entry.key <= from.key);
        let Some(id) = &from.version_id else { return if self.manners.inclusive { first } else { behind } };
        let at = (first..behind).find(|at| self.entries[*at].0.id == *id).unwrap_or(behind);
        match (self.entries.get(at).is_some_and(|(_, is_there)| *is_there), self.manners) {
            (false, Manners { restarts: true, .. }) => first,
            (false, Manners { skips: true, .. }) => behind,
            _ => at + 1,
        }
    }

    fn list(&self, from: Option<&Marker>, rng: &mut Rng) -> Page {
        let start = self.start(from);
        let max = if self.manners.short { rng.usize(1..=self.page_size) } else { self.page_size };
        let mut rest = (start..self.entries.len()).filter(|at| self.entries[*at].1).peekable();
        let marker = |at: usize| {
            let entry = &self.entries[at].0;
            Some(Marker { key: entry.key.clone(), version_id: Some(entry.id.clone()) })
        };
        // What is gone still takes the server's time: it may answer with nothing, and go on behind it.
        if let Some(next) = rest.peek().filter(|next| self.manners.short && **next > start + 3) {
            return Page { versions: Vec::new(), next: marker(next - 1) };
        }
        let chosen: Vec<usize> = rest.by_ref().take(max).collect();
        let goes_on = rest.peek().is_some() || (self.manners.lazy && !chosen.is_empty());
        let next = chosen.last().filter(|_| goes_on).and_then(|last| marker(*last));
        Page { versions: chosen.iter().map(|at| self.entries[*at].0.clone()).collect(), next }
    }

    fn children(&self, prefix: &[u8]) -> Vec<Key> {
        let keys = self.entries.iter().filter(|(_, is_there)| *is_there).map(|(entry, _)| &entry.key);
        let child = |key: &Key| {
            let slash = key.as_bytes().strip_prefix(prefix)?.iter().position(|byte| *byte == b'/')?;
            Some(Key::new(&key.as_bytes()[..=prefix.len() + slash]))
        };
        keys.filter_map(child).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn rules() -> Rules {
    let conditions = Conditions { state: vec![State::Noncurrent], ..Conditions::default() };
    let policy = Policy {
        began: Timestamp::from_millis(1000 * DAY_MS),
        allow_promotion: false,
        null_versions: NullVersions::Refuse,
        suspended: false,
    };
    Rules {
        rules: vec![Rule { name: "r".into(), conditions, verdict: Wanted::Act(ActionId(0)) }],
        policy,
        histories: Vec::new(),
        lock_object: None,
    }
}

/// What the checkpoint holds: what was committed, in the order in which it was handed over.
#[derive(Default)]
struct Model {
    rows: BTreeMap<i64, RangeRow>,
    decided: BTreeMap<VersionId, u32>,
}

impl Model {
    /// Takes a commit; returns what may be deleted from now on.
    fn take(&mut self, victim: Option<i64>, commit: PageCommit) -> Vec<VersionId> {
        if let Some(victim) = victim {
            let victim = self.rows.get_mut(&victim).unwrap();
            let (cut, hi) = (commit.range.lo.clone().unwrap(), &commit.range.hi);
            assert!(victim.lo.as_ref().is_none_or(|lo| *lo < cut), "a cut within its range");
            assert!(
                victim.hi.as_ref().is_none_or(|old| cut < *old && hi.as_ref().is_some_and(|hi| hi <= old))
            );
            assert!(
                victim.cursor.as_ref().is_none_or(|cursor| cursor.key <= cut),
                "a cut ahead of the cursor"
            );
            victim.hi = Some(cut);
        } else {
            assert!(!self.rows[&commit.range.id].done, "a page after the end");
        }
        let released: Vec<_> = commit
            .batches
            .iter()
            .flat_map(|batch| &batch.items)
            .map(|item| item.version_id.clone())
            .collect();
        let kept = commit.records.into_iter().map(|record| record.version_id);
        for id in kept.chain(released.iter().cloned()) {
            *self.decided.entry(id).or_default() += 1;
        }
        self.rows.insert(commit.range.id, commit.range);
        released
    }
}

enum Doing {
    Range(Box<RangeRow>),
    Probe(Probe),
    Level(KeyLevel),
}

struct Simulation {
    rng: Rng,
    server: Server,
    rules: Rules,
    model: Model,
    /// Handed to the checkpoint and not durable yet.
    handed: VecDeque<(Option<i64>, PageCommit)>,
    ranges: Ranges,
    order: Orders,
    doing: Vec<Option<(Doing, Option<Page>)>>,
    events: BinaryHeap<Reverse<(u64, usize)>>,
    now: u64,
    splits: u64,
    crashes: u32,
}

fn opened(model: &Model, listers: usize) -> Ranges {
    let listing = Listing::new(model.rows.values().cloned().collect(), listers, false);
    listing.ranges.into_inner().unwrap()
}

impl Simulation {
    fn new(server: Server, listers: usize, rng: Rng) -> Self {
        let mut model = Model::default();
        let all = NewRange { prefix: Key::default(), lo: None, hi: None };
        model.rows.insert(1, RangeRow::new(1, all));
        Self {
            rng,
            server,
            rules: rules(),
            ranges: opened(&model, listers),
            model,
            handed: VecDeque::new(),
            order: Orders::new(KeyOrders::BYTES),
            doing: (0..listers).map(|_| None).collect(),
            events: BinaryHeap::new(),
            now: 0,
            splits: 0,
            crashes: 0,
        }
    }

    fn asks(&mut self, lister: usize, doing: Doing) {
        // The server reads its bucket when the request arrives, or when its answer leaves.
        let page = self.rng.bool().then(|| self.answer(&doing)).flatten();
        self.doing[lister] = Some((doing, page));
        self.events.push(Reverse((self.now + self.rng.u64(50..400), lister)));
    }

    fn answer(&mut self, doing: &Doing) -> Option<Page> {
        match doing {
            Doing::Range(range) => Some(self.server.list(start_of(range).as_ref(), &mut self.rng)),
            Doing::Probe(probe) => {
                let from = Marker { key: probe.at.clone(), version_id: None };
                Some(self.server.list(Some(&from), &mut self.rng))
            }
            Doing::Level(_) => None,
        }
    }

    fn hand_out(&mut self) {
        for lister in 0..self.doing.len() {
            if self.doing[lister].is_some() {
                continue;
            }
            let doing = match self.ranges.next_task() {
                Task::Adopt(id) => Doing::Range(Box::new(self.model.rows[&id].clone())),
                Task::Probe(probe) => Doing::Probe(probe),
                Task::Level(level) => Doing::Level(level),
                Task::Wait | Task::Done => return,
            };
            self.asks(lister, doing);
        }
    }

    /// Makes some of what was handed over durable, and deletes most of what that allows.
    fn commit_some(&mut self, most: usize) {
        for _ in 0..most {
            let Some((victim, commit)) = self.handed.pop_front() else { return };
            let released: BTreeSet<_> = self.model.take(victim, commit).into_iter().collect();
            for (entry, is_there) in &mut self.server.entries {
                if released.contains(&entry.id) && self.rng.u8(..10) > 0 {
                    *is_there = false;
                }
            }
        }
    }

    /// Loses everything but a part of what was handed over, and begins anew.
    fn crash(&mut self) {
        let durable = self.rng.usize(..=self.handed.len());
        self.commit_some(durable);
        self.handed.clear();
        self.events.clear();
        self.doing.iter_mut().for_each(|doing| *doing = None);
        self.splits += self.ranges.splits();
        self.ranges = opened(&self.model, self.doing.len());
        self.crashes += 1;
    }

    fn plan(&mut self, range: RangeRow, page: Page) -> PageCommit {
        let at = Timestamp::from_millis(0);
        let options =
            PageOptions { at, audit_kept: true, samples_max: 0, limit_left: None, ends_at_hi: true };
        plan_page(range, page, &self.rules, &mut self.order, options).unwrap()
    }

    fn answered(&mut self, lister: usize) {
        let (doing, page) = self.doing[lister].take().unwrap();
        if self.rng.u8(..20) == 0 {
            return self.asks(lister, doing);
        }
        let page = page.or_else(|| self.answer(&doing)).unwrap_or_default();
        let seen = seen_of(&page);
        let (victim, commit) = match doing {
            Doing::Level(level) => {
                let children = self.server.children(level.prefix.as_bytes());
                return self.ranges.level(&level, children, self.rng.bool());
            }
            Doing::Range(mut range) => {
                range.hi = self.ranges.hi(range.id);
                (None, self.plan(*range, page))
            }
            Doing::Probe(probe) => {
                let keys = page.versions.iter().map(|version| &version.key);
                let first = keys.filter(|key| **key > probe.at).min().cloned();
                let found = Found { first, is_truncated: page.next.is_some() };
                let home = self.ranges.home(&probe.scope, &probe.at);
                let Some(new) = self.ranges.land(&probe, home, &found) else { return };
                let part = NewRange { prefix: new.scope, lo: new.lo, hi: new.hi };
                (home, self.plan(RangeRow::new(new.id, part), page))
            }
        };
        let handed = Handed::of(&commit);
        self.ranges.page(handed.id, &seen, handed.cursor.as_ref(), handed.done);
        let range = commit.range.clone();
        self.handed.push_back((victim, commit));
        if !range.done {
            self.asks(lister, Doing::Range(Box::new(range)));
        }
    }

    fn run(&mut self, crashes: bool) {
        loop {
            self.hand_out();
            let Some(Reverse((at, lister))) = self.events.pop() else { break };
            self.now = at;
            self.answered(lister);
            let most = self.rng.usize(..4);
            self.commit_some(most);
            if crashes && self.rng.u8(..) < 4 {
                self.crash();
            }
        }
        self.commit_some(usize::MAX);
        self.splits += self.ranges.splits();
    }
}

#[test]
fn every_version_is_decided_exactly_once() {
    let manners = [
        Manners::default(),
        Manners { inclusive: true, skips: true, ..Manners::default() },
        Manners { restarts: true, ..Manners::default() },
        Manners { short: true, lazy: true, ..Manners::default() },
        Manners { inclusive: true, short: true, restarts: true, ..Manners::default() },
    ];
    let shapes = [
        "hex",
        "sequence",
        "hive-dense",
        "zipf",
        "unicode",
        "long-prefix",
        "deep",
        "huge-key",
        "uuid",
        "dates",
    ];
    let (mut splits, mut crashes, mut decided) = (0, 0, 0);
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let shape = shapes[usize::try_from(seed).unwrap() % shapes.len()];
        let manners = manners[usize::try_from(seed).unwrap() / shapes.len() % manners.len()];
        let mut keys = shapes::keys(shape, rng.u64(300..1500), seed);
        keys.values_mut().for_each(|count| *count += rng.u32(..5));
        let (page_size, listers) = (rng.usize(3..40), rng.usize(2..24));
        let server = Server::new(&keys, manners, page_size, &mut rng);
        let all: Vec<_> = server.entries.iter().map(|(entry, _)| entry.id.clone()).collect();
        let mut simulation = Simulation::new(server, listers, rng);
        simulation.run(seed % 2 == 1);
        let what = format!("seed {seed}, {shape}, {manners:?}");
        assert!(simulation.model.rows.values().all(|row| row.done), "{what}: a range is not done");
        for id in &all {
            assert_eq!(simulation.model.decided.get(id), Some(&1), "{what}: version {id}");
        }
        assert_eq!(simulation.model.decided.len(), all.len(), "{what}");
        (splits, crashes) = (splits + simulation.splits, crashes + simulation.crashes);
        decided += all.len();
    }
    println!("{decided} versions, {splits} splits, {crashes} crashes");
    assert!(splits > 2_000 && crashes > 100, "{splits} splits, {crashes} crashes: this says little");
}

#[test]
fn listing_pauses_at_the_mark_unless_nothing_else_can_go_on() {
    let half = PENDING_HIGH_WATER / 2;
    assert!(must_wait(half + 1, false) && !must_wait(half, false));
    assert!(!must_wait(PENDING_HIGH_WATER, true), "only more listing releases what waits");
}
