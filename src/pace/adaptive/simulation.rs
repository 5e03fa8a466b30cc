//! The controller against a model of a server, in virtual time: partitions with a token bucket each,
//! latency with a spread, refused keys that come back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::super::ranges::Ranges;
use super::{Adaptive, Answer, Ask, CUT_LITTLE, Phase, RATE_START};

/// Keys that one partition grants in a second.
const PER_PARTITION: f64 = 3_500.0;

#[derive(Clone, Copy)]
struct Partition {
    tokens: f64,
    at: f64,
}

/// Partitions of equal parts of the key space, and the time that answers take.
struct Server {
    partitions: Vec<Partition>,
    burst_keys: f64,
    chance: fastrand::Rng,
}

impl Server {
    fn new(partitions: usize, burst_keys: f64, seed: u64) -> Self {
        let partitions = vec![Partition { tokens: burst_keys, at: 0.0 }; partitions];
        Self { partitions, burst_keys, chance: fastrand::Rng::with_seed(seed) }
    }

    /// From now on there are so many partitions, all of them used up.
    fn divide(&mut self, at: f64, count: usize) {
        self.partitions = vec![Partition { tokens: 0.0, at }; count];
    }

    /// How many of these keys, at a place from 0 to 1 of the key space, are refused.
    fn refused(&mut self, at: f64, place: f64, keys: usize) -> usize {
        let index = ((place * self.partitions.len() as f64) as usize).min(self.partitions.len() - 1);
        let partition = &mut self.partitions[index];
        partition.tokens = (partition.tokens + (at - partition.at) * PER_PARTITION).min(self.burst_keys);
        partition.at = at;
        let granted = (partition.tokens.max(0.0) as usize).min(keys);
        partition.tokens -= granted as f64;
        keys - granted
    }

    /// About so many seconds.
    fn spread(&mut self, secs: f64) -> f64 {
        let (a, b) = (1.0 - self.chance.f64(), self.chance.f64());
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        secs * (0.35 * normal).exp()
    }

    /// What a deletion takes.
    fn latency(&mut self, keys: usize) -> f64 {
        self.spread(0.05 + 0.0002 * keys as f64)
    }
}

/// A server, and the work there is.
#[derive(Clone)]
struct Scene {
    partitions: usize,
    /// From so many settled keys on, there are so many partitions.
    split: Option<(usize, usize)>,
    burst_keys: f64,
    /// Keys of each range, and the share of the key space where they lie, from 0 to 1.
    ranges: Vec<(usize, f64)>,
    workers: u32,
    no_limit: bool,
    adaptive: bool,
    seed: u64,
}

impl Scene {
    /// A million keys in ranges that are spread evenly.
    fn even(partitions: usize, burst_keys: f64, workers: u32) -> Self {
        let ranges = (0..64)
            .map(|n| (1_000_000 / 64, (f64::from((n as u8).reverse_bits() >> 2) + 0.5) / 64.0))
            .collect();
        Self {
            partitions,
            split: None,
            burst_keys,
            ranges,
            workers,
            no_limit: false,
            adaptive: true,
            seed: 7,
        }
    }
}

#[derive(Debug)]
struct Outcome {
    secs: f64,
    settled: usize,
    throttled: usize,
    /// What the server would have granted at best in that time.
    goodput: f64,
}

impl Outcome {
    fn throttled_share(&self) -> f64 {
        self.throttled as f64 / self.settled as f64
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Answer { range: usize, sent_ns: u64, before: u64, keys: usize, refused: usize },
    Wake,
}

struct Run {
    scene: Scene,
    pace: Adaptive,
    ranges: Ranges,
    resting: Vec<i64>,
    server: Server,
    fresh: Vec<usize>,
    retries: BinaryHeap<Reverse<(u64, usize, usize)>>,
    turn: usize,
    wake_at: u64,
    rest_ends_at: u64,
    before: u64,
    events: BinaryHeap<Reverse<(u64, Happens)>>,
    busy: u32,
    settled: usize,
    throttled: usize,
}

const fn ns(secs: f64) -> u64 {
    (secs * 1e9) as u64
}

impl Run {
    fn new(scene: Scene) -> Self {
        Self {
            pace: Adaptive::new(scene.workers, 1.0),
            ranges: Ranges::default(),
            resting: Vec::new(),
            server: Server::new(scene.partitions, scene.burst_keys, scene.seed),
            fresh: scene.ranges.iter().map(|(keys, _)| *keys).collect(),
            retries: BinaryHeap::new(),
            turn: 0,
            wake_at: 0,
            rest_ends_at: 0,
            before: 0,
            events: BinaryHeap::new(),
            busy: 0,
            settled: 0,
            throttled: 0,
            scene,
        }
    }

    /// The next range with work, and how many keys of it at most.
    fn next_work(&mut self, now: u64, max: usize) -> Option<(usize, usize, bool)> {
        if let Some(Reverse((at, range, keys))) = self.retries.peek().copied()
            && at <= now
        {
            self.retries.pop();
            let taken = keys.min(max);
            if keys > taken {
                self.retries.push(Reverse((at, range, keys - taken)));
            }
            return Some((range, taken, false));
        }
        for _ in 0..self.fresh.len() {
            self.turn = (self.turn + 1) % self.fresh.len();
            let taken = self.fresh[self.turn].min(max);
            if taken > 0 && !self.resting.contains(&(self.turn as i64)) {
                self.fresh[self.turn] -= taken;
                return Some((self.turn, taken, true));
            }
        }
        None
    }

    fn has_work(&self, now: u64) -> bool {
        let is_ready = |(range, keys): (usize, &usize)| *keys > 0 && !self.resting.contains(&(range as i64));
        self.fresh.iter().enumerate().any(is_ready)
            || self.retries.peek().is_some_and(|Reverse((at, ..))| *at <= now)
    }

    /// How many of these keys the server refuses.
    fn refused(&mut self, now: u64, range: usize, keys: usize) -> usize {
        if self.scene.no_limit {
            return 0;
        }
        if let Some((from, count)) = self.scene.split
            && self.settled >= from
            && self.server.partitions.len() < count
        {
            self.server.divide(now as f64 / 1e9, count);
        }
        self.server.refused(now as f64 / 1e9, self.scene.ranges[range].1, keys)
    }

    fn send_all(&mut self, now: u64) {
        let virtual_now = Duration::from_nanos(now);
        self.resting = self.ranges.resting(virtual_now);
        if !self.resting.is_empty() && !self.has_work(now) {
            self.ranges.forgive_all();
            self.resting.clear();
        }
        if let Some(end) = self.ranges.next_end(virtual_now).map(|end| end.as_nanos() as u64)
            && end != self.rest_ends_at
        {
            self.rest_ends_at = end;
            self.events.push(Reverse((end, Happens::Wake)));
        }
        while self.busy < self.scene.workers && self.has_work(now) {
            let max = if self.scene.adaptive { self.pace.keys_per_request() } else { 1000 };
            let asked = if self.scene.adaptive {
                self.pace.ask(Duration::from_nanos(now), max)
            } else {
                Ask::Go { before: 0 }
            };
            match asked {
                Ask::Go { before } => self.before = before,
                Ask::Wait(wait) => {
                    let at = now + (wait.as_nanos() as u64).max(1000);
                    if at < self.wake_at || self.wake_at <= now {
                        self.wake_at = at;
                        self.events.push(Reverse((at, Happens::Wake)));
                    }
                    return;
                }
                Ask::Full => return,
            }
            let Some((range, keys, is_fresh)) = self.next_work(now, max) else { return };
            if is_fresh {
                self.ranges.reserve(virtual_now, range as i64, keys, 0.5);
            }
            self.resting = self.ranges.resting(virtual_now);
            let refused = self.refused(now, range, keys);
            let at = now + ns(self.server.latency(keys));
            self.events.push(Reverse((
                at,
                Happens::Answer { range, sent_ns: now, before: self.before, keys, refused },
            )));
            self.busy += 1;
        }
    }

    fn run(mut self) -> Outcome {
        let total: usize = self.scene.ranges.iter().map(|(keys, _)| keys).sum();
        let mut now = 0;
        self.send_all(now);
        while self.settled < total {
            let Some(Reverse((at, happens))) = self.events.pop() else {
                panic!(
                    "nothing happens any more: {now} {} {:?} {:?} {:?} {:?}",
                    self.busy, self.retries, self.fresh, self.resting, self.pace
                )
            };
            now = at;
            if let Happens::Answer { range, sent_ns, before, keys, refused } = happens {
                self.busy -= 1;
                self.settled += keys - refused;
                self.throttled += refused;
                let virtual_now = Duration::from_nanos(now);
                self.ranges.answered(virtual_now, range as i64, keys, refused);
                if refused > 0 {
                    let rest = self.ranges.reserve(virtual_now, range as i64, refused, 0.5).as_secs_f64();
                    let wait = self.server.chance.f64().max(rest);
                    self.retries.push(Reverse((now + ns(wait), range, refused)));
                    self.events.push(Reverse((now + ns(wait), Happens::Wake)));
                }
                let apart = self.ranges.is_apart(Duration::from_nanos(now), range as i64);
                let answer = Answer {
                    sent: Duration::from_nanos(sent_ns),
                    before,
                    accepted: keys - refused,
                    throttled: if apart { 0 } else { refused },
                    ..Answer::default()
                };
                self.pace.answered(Duration::from_nanos(now), answer);
            }
            self.send_all(now);
        }
        let secs = now as f64 / 1e9;
        let goodput = self.settled as f64 / self.granted(secs);
        Outcome { secs, settled: self.settled, throttled: self.throttled, goodput }
    }

    fn granted(&self, secs: f64) -> f64 {
        let partitions = self.scene.partitions as f64;
        partitions * (self.scene.burst_keys + PER_PARTITION * secs)
    }
}

const BURST_OF_A_SECOND: f64 = 3_500.0;
const WORKERS: [u32; 2] = [64, 256];

/// The same scene by several seeds.
fn by_seeds(scene: &Scene) -> impl Iterator<Item = Outcome> {
    (7..10).map(move |seed| {
        let outcome = Run::new(Scene { seed, ..scene.clone() }).run();
        println!("seed {seed}: {outcome:?}");
        outcome
    })
}

/// At least so much of what the server grants, at most two hundredths refused.
fn assert_pace(scene: &Scene, goodput_min: f64) {
    for outcome in by_seeds(scene) {
        assert!(outcome.goodput >= goodput_min, "{outcome:?}");
        assert!(outcome.throttled_share() <= 0.02, "{outcome:?}");
    }
}

#[test]
fn one_partition() {
    WORKERS.iter().for_each(|workers| assert_pace(&Scene::even(1, BURST_OF_A_SECOND, *workers), 0.95));
}

#[test]
fn four_partitions() {
    WORKERS.iter().for_each(|workers| assert_pace(&Scene::even(4, BURST_OF_A_SECOND, *workers), 0.95));
}

#[test]
fn sixteen_partitions() {
    WORKERS.iter().for_each(|workers| assert_pace(&Scene::even(16, BURST_OF_A_SECOND, *workers), 0.9));
}

#[test]
fn a_server_that_lets_only_small_bursts_pass() {
    assert_pace(&Scene::even(1, 100.0, 64), 0.89);
    assert_pace(&Scene::even(4, 100.0, 64), 0.89);
    // 28 ms of a partition's rate: here even the spread of the requests over the partitions is felt.
    assert_pace(&Scene::even(16, 100.0, 256), 0.6);
}

#[test]
fn four_partitions_that_become_eight_at_half_time() {
    for workers in WORKERS {
        let mut scene = Scene::even(4, BURST_OF_A_SECOND, workers);
        scene.split = Some((500_000, 8));
        let best_secs = 500_000.0 / (4.0 * PER_PARTITION) + 500_000.0 / (8.0 * PER_PARTITION) - 1.0;
        for outcome in by_seeds(&scene) {
            assert!(best_secs / outcome.secs >= 0.85, "{outcome:?}");
            assert!(outcome.throttled_share() <= 0.025, "{outcome:?}");
        }
    }
}

#[test]
fn all_load_on_one_of_four() {
    let mut scene = Scene::even(4, BURST_OF_A_SECOND, 64);
    scene.ranges = (0..16).map(|n| (20_000, f64::from(n) / 64.0)).collect();
    for outcome in by_seeds(&scene) {
        assert!(320_000.0 / (PER_PARTITION * (outcome.secs + 1.0)) >= 0.95, "{outcome:?}");
        assert!(outcome.throttled_share() <= 0.02, "{outcome:?}");
    }
}

#[test]
fn most_load_on_one_of_four() {
    let mut scene = Scene::even(4, BURST_OF_A_SECOND, 64);
    let crowded = (0..5).map(|_| (125_000, 0.1));
    scene.ranges = crowded.chain([0.3, 0.6, 0.9].map(|place| (125_000, place))).collect();
    for outcome in by_seeds(&scene) {
        assert!(625_000.0 / (PER_PARTITION * (outcome.secs + 1.0)) >= 0.95, "{outcome:?}");
        assert!(outcome.throttled_share() <= 0.02, "{outcome:?}");
    }
}

#[test]
fn a_server_without_a_limit_loses_less_than_a_second_to_slow_start() {
    let mut scene = Scene::even(1, 1.0, 64);
    scene.no_limit = true;
    let mut unpaced = scene.clone();
    unpaced.adaptive = false;
    for (paced, unpaced) in by_seeds(&scene).zip(by_seeds(&unpaced)) {
        assert!(paced.secs - unpaced.secs <= 1.0, "{} s of {} s", paced.secs, unpaced.secs);
    }
}

#[test]
fn refusals_that_have_nothing_to_do_with_the_rate_do_not_stop_the_run() {
    let mut pace = Adaptive::new(16, 1.0);
    let mut now = Duration::ZERO;
    let mut keys = 0;
    while now < Duration::from_secs(60) {
        match pace.ask(now, 50) {
            Ask::Go { before } => {
                let sent = now;
                now += Duration::from_millis(5);
                keys += 50;
                let answer = Answer { sent, before, accepted: 45, throttled: 5, ..Answer::default() };
                pace.answered(now, answer);
            }
            Ask::Wait(wait) => now += wait.max(Duration::from_micros(1)),
            Ask::Full => panic!("one at a time is never too many"),
        }
    }
    assert!(keys > 60_000, "{keys}");
}

#[test]
fn a_share_is_taken_of_the_limit_once_it_is_known() {
    let mut pace = Adaptive::new(16, 0.5);
    assert_eq!(pace.keys_per_second(), 3_500.0);
    let Ask::Go { before } = pace.ask(Duration::ZERO, 100) else { panic!("the first goes") };
    let answer = Answer { before, accepted: 90, throttled: 10, ..Answer::default() };
    pace.answered(Duration::from_millis(50), answer);
    assert!(pace.limit_is_known());
    assert_eq!(pace.keys_per_second(), 0.5 * pace.rate);
}

#[test]
fn a_wish_to_be_left_alone_is_granted() {
    let mut pace = Adaptive::new(16, 1.0);
    assert!(matches!(pace.ask(Duration::ZERO, 100), Ask::Go { .. }));
    let wish = Some(Duration::from_secs(7));
    let answer = Answer { throttled: 100, retry_after: wish, ..Answer::default() };
    pace.answered(Duration::from_secs(1), answer);
    assert_eq!(pace.ask(Duration::from_secs(2), 1), Ask::Wait(Duration::from_secs(6)));
    assert!(!matches!(pace.ask(Duration::from_secs(8), 1), Ask::Wait(wait) if wait > Duration::from_secs(1)));
    // A day is not: one proxy must not stop a run.
    let day = Some(Duration::from_secs(86_400));
    pace.answered(Duration::from_secs(9), Answer { throttled: 1, retry_after: day, ..Answer::default() });
    assert_eq!(pace.ask(Duration::from_secs(9), 1), Ask::Wait(Duration::from_secs(60)));
}

#[test]
fn requests_that_get_no_answer_count_half() {
    let mut pace = Adaptive::new(16, 1.0);
    pace.phase = Phase::Steady;
    for n in 0..21 {
        let now = Duration::from_millis(n * 50);
        pace.ask(now, 100);
        let lost = if n % 10 == 5 { 100 } else { 0 };
        pace.answered(now, Answer { sent: now, accepted: 100 - lost, lost, ..Answer::default() });
    }
    // A twentieth refused, not a tenth: one small cut, after a second.
    assert_eq!(pace.rate, RATE_START * CUT_LITTLE);
}

mod opening;
