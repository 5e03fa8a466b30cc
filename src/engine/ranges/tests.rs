//! How fast many listers are together: a simulation in virtual time, where each request takes one
//! round, or a time by chance.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// Keys of the shapes that buckets have, in order, each with its number of versions.
pub(in crate::engine) mod shapes {
    use std::collections::BTreeMap;

    use fastrand::Rng;

    pub(in crate::engine) type Keys = BTreeMap<String, u32>;

    /// A shape by its name, with about so many versions.
    pub(in crate::engine) fn keys(shape: &str, versions: u64, seed: u64) -> Keys {
        let mut rng = Rng::with_seed(seed);
        let mut keys = Keys::new();
        let (mut total, mut index) = (0, 0_u64);
        while total < versions {
            let key = match shape {
                "hex" => format!("{:016x}", rng.u64(..)),
                "sequence" => format!("{index:012}"),
                "hive" => hive(index, 64),
                "hive-dense" => format!("t/{}", hive(index, 4)),
                "zipf" => zipf(&mut rng),
                "unicode" => unicode(&mut rng),
                "long-prefix" => {
                    format!("{}{:012x}", "common-prefix/abcdef0123456789".repeat(10), rng.u64(..) >> 16)
                }
                "huge-key" if index == versions / 20 => {
                    let count = u32::try_from(versions / 10).unwrap();
                    keys.insert(format!("{index:08}-huge"), count);
                    total += u64::from(count);
                    format!("{index:08}-small")
                }
                "huge-key" => format!("{index:08}"),
                "deep" if rng.f64() < 0.02 => {
                    format!("{}/{:05}", ["a", "logs", "z", "tmp"][rng.usize(..4)], rng.u32(..99999))
                }
                "deep" => format!("data/team/project/raw/2024/{:010}.json", rng.u32(..)),
                "uuid" => {
                    let (a, b) = (rng.u64(..), rng.u64(..));
                    format!(
                        "users/{:08x}-{:04x}-{:04x}-{:012x}/avatar.png",
                        a >> 32,
                        a & 0xffff,
                        b >> 48,
                        b & 0xffff_ffff_ffff
                    )
                }
                "base64" => (0..20)
                    .map(|_| {
                        char::from(
                            *rng.choice(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
                                .unwrap(),
                        )
                    })
                    .collect(),
                "dates" => format!(
                    "{}-{:02}-{:02}T{:02}:{:02}:{:02}.log",
                    2018 + index % 7,
                    rng.u32(1..13),
                    rng.u32(1..29),
                    rng.u32(..24),
                    rng.u32(..60),
                    rng.u32(..60)
                ),
                other => panic!("{other}"),
            };
            index += 1;
            let count = if matches!(shape, "hex" | "zipf" | "unicode") { rng.u32(1..9) } else { 1 };
            if keys.insert(key, count).is_none() {
                total += u64::from(count);
            }
        }
        keys
    }

    fn hive(index: u64, parts: u64) -> String {
        let (hour, part) = (index / parts, index % parts);
        let (day, month) = (hour / 24 % 28 + 1, hour / 24 / 28);
        let hash = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        format!(
            "table=events/year={}/month={:02}/day={day:02}/hour={:02}/part-{part:05}-{hash:08x}.parquet",
            2015 + month / 12,
            month % 12 + 1,
            hour % 24
        )
    }

    fn zipf(rng: &mut Rng) -> String {
        let rank = (rng.f64() * 9.0).exp() as u32;
        let tenant = rank.wrapping_mul(2_654_435_761) % 10_000;
        format!(
            "tenant={tenant}/year={}/month={:02}/{:08x}.json",
            2018 + rng.u32(..7),
            rng.u32(1..13),
            rng.u32(..)
        )
    }

    fn unicode(rng: &mut Rng) -> String {
        let mut key = String::new();
        for _ in 0..rng.usize(4..12) {
            key.push(match rng.u32(..4) {
                0 => rng.char('а'..='я'),
                1 => rng.char('一'..='鿿'),
                2 => rng.char('😀'..='🙏'),
                _ => rng.char('a'..='z'),
            });
        }
        key
    }
}

const PAGE: usize = 100;

/// A bucket that never changes: one element for each version, in order.
struct Bucket {
    keys: Vec<Key>,
    entries: Vec<usize>,
}

impl Bucket {
    fn new(keys: shapes::Keys) -> Self {
        let counts: Vec<u32> = keys.values().copied().collect();
        let entries = counts.iter().enumerate().flat_map(|(at, n)| std::iter::repeat_n(at, *n as usize));
        Self { entries: entries.collect(), keys: keys.into_keys().map(Key::from).collect() }
    }

    /// The pages that one lister asks for.
    fn pages(&self) -> f64 {
        self.entries.len().div_ceil(PAGE) as f64
    }

    /// The place of the first entry of a scope.
    fn keys_before(&self, scope: &Key) -> usize {
        self.entries.partition_point(|at| self.keys[*at] < *scope)
    }

    /// The place behind the last entry of a scope.
    fn scope_end(&self, scope: &Key) -> usize {
        let start = self.keys_before(scope);
        start + self.entries[start..].partition_point(|at| self.keys[*at].starts_with(scope.as_bytes()))
    }

    /// The place of the first entry behind a key.
    fn behind(&self, key: Option<&Key>) -> usize {
        let Some(key) = key else { return 0 };
        self.entries.partition_point(|at| self.keys[*at] <= *key)
    }

    /// What a probe finds, and where its page begins.
    fn found(&self, probe: &Probe) -> (usize, Found) {
        let (from, stop) = (self.behind(Some(&probe.at)), self.scope_end(&probe.scope));
        let first = (from < stop).then(|| self.key(from).clone());
        (from, Found { first, is_truncated: from + PAGE < stop })
    }

    fn key(&self, entry: usize) -> &Key {
        &self.keys[self.entries[entry]]
    }

    fn children(&self, prefix: &Key) -> (Vec<Key>, bool) {
        let (mut found, mut rows, mut at) = (Vec::new(), 0, 0);
        at += self.keys.partition_point(|key| key < prefix);
        while let Some(key) = self.keys.get(at).filter(|key| key.starts_with(prefix.as_bytes())) {
            if rows == 1000 {
                return (found, false);
            }
            rows += 1;
            let rest = &key.as_bytes()[prefix.as_bytes().len()..];
            match rest.iter().position(|byte| *byte == b'/') {
                Some(slash) => {
                    let child = key.as_bytes()[..=prefix.as_bytes().len() + slash].to_vec();
                    at += self.keys[at..].partition_point(|key| key.starts_with(&child));
                    found.push(Key::new(child));
                }
                None => at += 1,
            }
        }
        (found, true)
    }
}

#[derive(Debug)]
enum Doing {
    /// Lists a range, from an entry on.
    Range(i64, usize),
    Probe(Probe),
    Level(Level),
}

/// What a simulated listing took.
#[derive(Debug)]
struct Took {
    time: f64,
    requests: u64,
    splits: u64,
    levels: u64,
    in_vain: u64,
}

fn simulate(bucket: &Bucket, listers: usize, latency: impl FnMut() -> f64) -> Took {
    simulate_scopes(bucket, &[""], listers, latency)
}

fn open(scopes: &[&str]) -> Vec<Open> {
    let open = |(at, scope): (usize, &&str)| Open {
        id: i64::try_from(at).unwrap(),
        scope: Key::from(*scope),
        lo: None,
        hi: None,
        cursor: None,
    };
    scopes.iter().enumerate().map(open).collect()
}

fn simulate_scopes(
    bucket: &Bucket,
    scopes: &[&str],
    listers: usize,
    mut latency: impl FnMut() -> f64,
) -> Took {
    let open = open(scopes);
    let mut scope_of: BTreeMap<i64, Key> = open.iter().map(|range| (range.id, range.scope.clone())).collect();
    let mut ranges = Ranges::new(listers, open, 1_000_000);
    let mut seen = vec![0_u8; bucket.entries.len()];
    let mut events = BinaryHeap::new();
    let mut doing: Vec<Option<Doing>> = (0..listers).map(|_| None).collect();
    let (mut now, mut requests) = (0_u64, 0);
    loop {
        for (lister, doing) in doing.iter_mut().enumerate().filter(|(_, doing)| doing.is_none()) {
            *doing = match ranges.next_task() {
                Task::Adopt(id) => Some(Doing::Range(id, bucket.keys_before(&scope_of[&id]))),
                Task::Probe(probe) => Some(Doing::Probe(probe)),
                Task::Level(level) => Some(Doing::Level(level)),
                Task::Wait | Task::Done => break,
            };
            events.push(Reverse((now + (latency() * 1e6) as u64, lister)));
        }
        let Some(Reverse((at, lister))) = events.pop() else { break };
        (now, requests) = (at, requests + 1);
        let (id, from) = match doing[lister].take().unwrap() {
            Doing::Range(id, from) => (id, from),
            Doing::Level(level) => {
                let (children, is_whole) = bucket.children(&level.prefix);
                ranges.level(&level, children, is_whole);
                continue;
            }
            Doing::Probe(probe) => {
                let (from, found) = bucket.found(&probe);
                let victim = ranges.home(&probe.scope, &probe.at);
                match ranges.land(&probe, victim, &found) {
                    Some(new) => {
                        scope_of.insert(new.id, new.scope.clone());
                        (new.id, from)
                    }
                    None => continue,
                }
            }
        };
        let hi = ranges.hi(id);
        let stop = bucket.scope_end(&scope_of[&id]);
        let end = (from + PAGE).min(stop);
        let inside = (from..end).take_while(|at| hi.as_ref().is_none_or(|hi| bucket.key(*at) <= hi)).count();
        seen[from..from + inside].iter_mut().for_each(|n| *n += 1);
        let done = inside < end - from || end == stop;
        let keys: Vec<&Key> = (from..from + inside).map(|at| bucket.key(at)).collect();
        let cursor = keys.last().copied();
        ranges.page(id, &Seen::of(keys.iter().copied()), cursor, done);
        if !done {
            doing[lister] = Some(Doing::Range(id, end));
            events.push(Reverse((now + (latency() * 1e6) as u64, lister)));
        }
    }
    assert_eq!(ranges.next_task(), Task::Done);
    assert!(seen.iter().all(|n| *n == 1), "every version exactly once");
    Took {
        time: now as f64 / 1e6,
        requests,
        splits: ranges.splits(),
        levels: ranges.levels,
        in_vain: ranges.wasted,
    }
}

/// Latencies with a mean of 1, by chance.
fn lognormal(seed: u64) -> impl FnMut() -> f64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    move || {
        let sigma = 0.35;
        let normal = (-2.0 * rng.f64().max(1e-12).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
        (sigma * normal - sigma * sigma / 2.0).exp()
    }
}

const SHAPES: [&str; 12] = [
    "hex",
    "sequence",
    "hive",
    "hive-dense",
    "zipf",
    "unicode",
    "long-prefix",
    "deep",
    "huge-key",
    "uuid",
    "base64",
    "dates",
];

#[test]
fn sixteen_listers_are_nearly_sixteen_times_as_fast_for_few_requests_more() {
    let bucket = |shape| Bucket::new(shapes::keys(shape, 1000 * PAGE as u64, 1));
    for shape in ["hex", "sequence", "hive", "hive-dense", "unicode", "uuid", "long-prefix"] {
        let bucket = bucket(shape);
        for (name, took) in
            [("rounds", simulate(&bucket, 16, || 1.0)), ("by chance", simulate(&bucket, 16, lognormal(1)))]
        {
            let pages = bucket.pages();
            assert!(pages / took.time >= 0.75 * 16.0, "{shape}, {name}: {took:?}");
            assert!(took.requests as f64 <= 1.08 * pages, "{shape}, {name}: {took:?}");
        }
    }
}

#[test]
fn no_shape_leaves_the_listers_idle() {
    for shape in SHAPES {
        let bucket = Bucket::new(shapes::keys(shape, 300 * PAGE as u64, 2));
        let took = simulate(&bucket, 8, lognormal(2));
        let (pages, levels_max) = (bucket.pages(), 8);
        assert!(pages / took.time >= 4.0, "{shape}: {took:?}");
        assert!(took.requests as f64 <= 1.25 * pages && took.levels <= levels_max, "{shape}: {took:?}");
        assert!(took.splits >= 7 && took.in_vain <= took.requests / 5, "{shape}: {took:?}");
    }
}

#[test]
fn many_short_ranges_are_not_worth_looking_into() {
    let names: Vec<String> = (0..48).map(|part| format!("part-{part:02}/")).collect();
    let mut keys = shapes::Keys::new();
    for (at, key) in shapes::keys("hive", 48 * 2 * PAGE as u64, 1).into_keys().enumerate() {
        keys.insert(format!("{}{key}", names[at % 48]), 1);
    }
    let bucket = Bucket::new(keys);
    let scopes: Vec<&str> = names.iter().map(String::as_str).collect();
    let took = simulate_scopes(&bucket, &scopes, 16, lognormal(3));
    assert!(took.requests as f64 <= 1.05 * bucket.pages(), "{took:?}");
    // One that is long is.
    let mut keys = shapes::keys("hive-dense", 200 * PAGE as u64, 1);
    keys.extend((0..300).map(|n| (format!("short/{n:03}"), 1)));
    let bucket = Bucket::new(keys);
    let took = simulate_scopes(&bucket, &["short/", "t/"], 16, lognormal(3));
    assert!(bucket.pages() / took.time >= 9.0, "{took:?}");
}

#[test]
fn what_is_known_of_one_prefix_is_no_hint_for_another() {
    let scopes = ["logs/2024/application/", "tmp/"];
    let mut ranges = Ranges::new(8, open(&scopes), 100);
    let mut probes = Vec::new();
    for round in 0..40_u32 {
        match ranges.next_task() {
            Task::Level(level) => {
                let names = ["a/", "b/", "c/"].map(|name| Key::from(format!("{}{name}", level.prefix)));
                ranges.level(&level, names.to_vec(), true);
            }
            Task::Probe(probe) => probes.push(probe),
            Task::Adopt(_) | Task::Wait | Task::Done => {}
        }
        for (id, scope) in (0..).zip(scopes) {
            let keys: Vec<Key> =
                (0..9).map(|n| Key::from(format!("{scope}a/{:04}", 10 * round + n))).collect();
            ranges.page(id, &Seen::of(keys.iter()), keys.last(), false);
        }
    }
    assert!(probes.iter().all(|probe| probe.at.starts_with(probe.scope.as_bytes())), "{probes:?}");
    assert!(scopes.iter().all(|scope| probes.iter().any(|probe| probe.scope == Key::from(*scope))));
}

#[test]
fn a_key_beyond_the_jobs_own_bound_proves_nothing_where_the_order_may_not_be_that_of_bytes() {
    let probe =
        Probe { number: 0, scope: Key::default(), at: Key::from("z"), is_guess: true, is_opening: false };
    let found = Found { first: Some(Key::from("\u{1f600}")), is_truncated: true };
    for (hi, verdict) in [("\u{ff5e}", Verdict::Unproven), ("zz", Verdict::Empty)] {
        let range = Open { hi: Some(Key::from(hi)), ..open(&[""]).remove(0) };
        let ranges = Ranges::new(4, vec![range], 9);
        assert_eq!(ranges.verdict(&probe, Some(0), &found), verdict, "{hi}");
    }
}

#[test]
fn one_page_is_one_request() {
    let bucket = Bucket::new(shapes::keys("hive", PAGE as u64 - 1, 1));
    assert_eq!(simulate(&bucket, 16, || 1.0).requests, 1);
}

/// The table behind the assertions: `cargo test --release ranges -- --ignored --nocapture`.
#[test]
#[ignore = "prints figures, and takes minutes in a debug build"]
fn figures() {
    for (pages, listers) in [(1000_u64, 16), (1000, 64), (10_000, 64)] {
        for shape in SHAPES {
            let bucket = Bucket::new(shapes::keys(shape, pages * PAGE as u64, 1));
            for (name, took) in [
                ("rounds", simulate(&bucket, listers, || 1.0)),
                ("lognormal", simulate(&bucket, listers, lognormal(1))),
            ] {
                println!(
                    "{pages:6} {listers:3} {shape:12} {name:9} speed-up {:5.1} ({:.2})  extra {:4.1} %  {took:?}",
                    bucket.pages() / took.time,
                    bucket.pages() / took.time / listers as f64,
                    (took.requests as f64 / bucket.pages() - 1.0) * 100.0,
                );
            }
        }
    }
}

#[test]
fn pages_left_are_told_of_a_range_that_is_being_listed() {
    let mut ranges = Ranges::new(4, open(&[""]), 9);
    let keys: Vec<Key> = (0..256).map(|n| Key::from(format!("{n:02x}"))).collect();
    assert_eq!(ranges.pages_left(0), None, "nothing was listed yet");
    for (page, keys) in (1..).zip(keys.chunks(32)) {
        ranges.page(0, &Seen::of(keys.iter()), keys.last(), page == 8);
        let pages = ranges.pages_left(0);
        match page {
            // By the characters that were seen so far.
            1..=4 => assert!(pages.is_some_and(|pages| (1..=16).contains(&pages)), "{page}: {pages:?}"),
            5..=7 => assert!(pages.is_some_and(|pages| pages <= 4), "{page}: {pages:?}"),
            _ => assert_eq!(pages, None, "its end was reached"),
        }
    }
}
