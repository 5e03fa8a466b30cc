//! The controller against a model of a server, in virtual time: partitions with a token bucket each,
//! latency with a spread, refused keys that come back.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::super::ranges::Ranges;
use super::{Adaptive, Answer, Ask};

/// Keys that one partition grants in a second.
const PER_PARTITION: f64 = 3_500.0;

#[derive(Clone, Copy)]
struct Partition {
    tokens: f64,
    at: f64,
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
struct Result {
    secs: f64,
    settled: usize,
    sent: usize,
    throttled: usize,
    requests: usize,
    /// What the server would have granted at best in that time.
    goodput: f64,
    others_done_secs: f64,
}

impl Result {
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
    others_done_secs: f64,
    partitions: Vec<Partition>,
    fresh: Vec<usize>,
    retries: BinaryHeap<Reverse<(u64, usize, usize)>>,
    turn: usize,
    wake_at: u64,
    rest_ends_at: u64,
    before: u64,
    events: BinaryHeap<Reverse<(u64, Happens)>>,
    chance: fastrand::Rng,
    busy: u32,
    settled: usize,
    throttled: usize,
    sent: usize,
    requests: usize,
    trace: VecDeque<String>,
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
            others_done_secs: 0.0,
            partitions: vec![Partition { tokens: scene.burst_keys, at: 0.0 }; scene.partitions],
            fresh: scene.ranges.iter().map(|(keys, _)| *keys).collect(),
            retries: BinaryHeap::new(),
            turn: 0,
            wake_at: 0,
            rest_ends_at: 0,
            before: 0,
            events: BinaryHeap::new(),
            chance: fastrand::Rng::with_seed(scene.seed),
            busy: 0,
            settled: 0,
            throttled: 0,
            sent: 0,
            requests: 0,
            trace: VecDeque::new(),
            scene,
        }
    }

    /// The next range with work, and how many keys of it at most.
    fn next_work(&mut self, now: u64, max: usize) -> Option<(usize, usize)> {
        if let Some(Reverse((at, range, keys))) = self.retries.peek().copied()
            && at <= now
        {
            self.retries.pop();
            let taken = keys.min(max);
            if keys > taken {
                self.retries.push(Reverse((at, range, keys - taken)));
            }
            return Some((range, taken));
        }
        for _ in 0..self.fresh.len() {
            self.turn = (self.turn + 1) % self.fresh.len();
            let taken = self.fresh[self.turn].min(max);
            if taken > 0 && !self.resting.contains(&(self.turn as i64)) {
                self.fresh[self.turn] -= taken;
                return Some((self.turn, taken));
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
            && self.partitions.len() < count
        {
            let at = now as f64 / 1e9;
            self.partitions = vec![Partition { tokens: 0.0, at }; count];
        }
        let place = self.scene.ranges[range].1;
        let index = ((place * self.partitions.len() as f64) as usize).min(self.partitions.len() - 1);
        let partition = &mut self.partitions[index];
        let now = now as f64 / 1e9;
        partition.tokens =
            (partition.tokens + (now - partition.at) * PER_PARTITION).min(self.scene.burst_keys);
        partition.at = now;
        let granted = (partition.tokens.max(0.0) as usize).min(keys);
        partition.tokens -= granted as f64;
        keys - granted
    }

    fn latency(&mut self, keys: usize) -> f64 {
        let (a, b) = (1.0 - self.chance.f64(), self.chance.f64());
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        (0.05 + 0.0002 * keys as f64) * (0.35 * normal).exp()
    }

    fn send_all(&mut self, now: u64) {
        let virtual_now = Duration::from_nanos(now);
        self.resting = self.ranges.resting(virtual_now);
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
            let Some((range, keys)) = self.next_work(now, max) else { return };
            let refused = self.refused(now, range, keys);
            let at = now + ns(self.latency(keys));
            self.events.push(Reverse((
                at,
                Happens::Answer { range, sent_ns: now, before: self.before, keys, refused },
            )));
            self.busy += 1;
            self.sent += keys;
            self.requests += 1;
        }
    }

    fn run(mut self) -> Result {
        let total: usize = self.scene.ranges.iter().map(|(keys, _)| keys).sum();
        let mut now = 0;
        let mut next_trace = 0;
        self.send_all(now);
        while self.settled < total {
            let Some(Reverse((at, happens))) = self.events.pop() else { panic!("nothing happens any more: {now} {} {:?} {:?} {:?} {:?}", self.busy, self.retries, self.fresh, self.resting, self.pace) };
            now = at;
            if now >= next_trace {
                next_trace = now + 200_000_000;
                self.trace.push_back(format!(
                    "{:.2} {:?} rate {:.0} n {} flight {} settled {} throttled {} p95 {:.3}",
                    now as f64 / 1e9,
                    self.pace.phase,
                    self.pace.rate,
                    self.pace.keys_per_request(),
                    self.busy,
                    self.settled,
                    self.throttled,
                    self.pace.latency_p95_secs
                ));
            }
            if let Happens::Answer { range, sent_ns, before, keys, refused } = happens {
                self.busy -= 1;
                self.settled += keys - refused;
                self.throttled += refused;
                let (virtual_now, sent) = (Duration::from_nanos(now), Duration::from_nanos(sent_ns));
                let chance = self.chance.f64();
                self.ranges.answered(virtual_now, range as i64, sent, keys, refused, chance);
                if self.scene.ranges[range].1 > 0.25 {
                    self.others_done_secs = now as f64 / 1e9;
                }
                if refused > 0 {
                    let rest = self.ranges.rests_until(Duration::from_nanos(now), range as i64);
                    let rest = rest.map_or(0.0, |until| until.as_secs_f64() - now as f64 / 1e9);
                    let wait = self.chance.f64().max(rest);
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
        if std::env::var_os("TRACE").is_some() {
            self.trace.iter().for_each(|line| println!("{line}"));
        }
        let goodput = self.settled as f64 / self.granted(secs);
        Result {
            secs,
            settled: self.settled,
            sent: self.sent,
            throttled: self.throttled,
            requests: self.requests,
            goodput,
            others_done_secs: self.others_done_secs,
        }
    }

    fn granted(&self, secs: f64) -> f64 {
        let partitions = self.scene.partitions as f64;
        partitions * (self.scene.burst_keys + PER_PARTITION * secs)
    }
}

#[test]
fn table() {
    for seed in [7, 8, 9, 10, 11, 12] {
        for workers in [64, 256] {
            for burst in [3_500.0, 100.0] {
                for partitions in [1, 4, 16] {
                    let mut scene = Scene::even(partitions, burst, workers);
                    scene.seed = seed;
                    let result = Run::new(scene).run();
                    println!(
                        "{workers} workers, burst {burst}, {partitions} partitions: goodput {:.1} % throttled {:.2} % {result:?}",
                        100.0 * result.goodput,
                        100.0 * result.throttled_share()
                    );
                }
            }
            let mut scene = Scene::even(4, 3_500.0, workers);
            scene.seed = seed;
            scene.split = Some((500_000, 8));
            let result = Run::new(scene).run();
            println!(
                "{workers} workers, 4 then 8 partitions: goodput {:.1} % throttled {:.2} % {result:?}",
                100.0 * (500_000.0 / 28_000.0 + 500_000.0 / 14_000.0 - 1.0) / result.secs,
                100.0 * result.throttled_share()
            );
            let mut scene = Scene::even(1, 1.0, workers);
            scene.seed = seed;
            scene.no_limit = true;
            let mut free = scene.clone();
            free.adaptive = false;
            let (paced, free) = (Run::new(scene).run(), Run::new(free).run());
            println!("{workers} workers, no limit: lost {:.2} s of {:.2}", paced.secs - free.secs, free.secs);
        }
    }
}

#[test]
fn lopsided() {
    for (inside, keys) in [(5, 125_000), (5, 60_000), (32, 20_000), (1, 125_000)] {
        let ranges = (0..inside)
            .map(|_| (keys, 0.1))
            .chain((1..4).map(|n| (keys, 0.1 + 0.25 * f64::from(n))))
            .collect();
        let mut scene = Scene::even(4, 3_500.0, 64);
        scene.ranges = ranges;
        let result = Run::new(scene).run();
        println!(
            "lopsided {inside} x {keys}: {result:?} throttled {:.2} % ideal {:.0} s, others {:.0} s",
            100.0 * result.throttled_share(),
            (inside * keys) as f64 / 3500.0,
            keys as f64 / 3500.0
        );
    }
}
