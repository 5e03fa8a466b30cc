//! A run that somebody steers from the live page.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{Running, World, plain, wait_until};
use s3sweep::model::VersioningStatus;
use s3sweep::sandbox::{Config, Effect, Faults, KeyErrors, Latency, Operation, RequestErrors};
use serde_json::Value;

const TOKEN: &str = "a-token-for-the-live-page";
const EVERYTHING: &str =
    "rules: [{ name: all, match: { state: any }, action: delete }]\nallow_promotion: true\n";

/// A bucket of so many keys with two versions each, on a server that takes its time.
fn world(keys: u64) -> World {
    let latency =
        |operation, fixed_ms| Latency { operation: Some(operation), fixed_ms, ..Latency::default() };
    let faults = Faults {
        latency: vec![latency(Operation::DeleteObjects, 20), latency(Operation::ListObjectVersions, 20)],
        ..Faults::default()
    };
    let config = Config { seeds: vec![plain(keys, 2)], faults, keep_oplog: true, ..Config::default() };
    World::with(config)
}

fn job(world: &World, limits: &str) -> PathBuf {
    let token = world.dir.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let live =
        format!("metrics: {{ listen: \"127.0.0.1:0\", live: {{ token_file: \"{}\" }} }}\n", token.display());
    world.job(&format!("{EVERYTHING}limits: {limits}\n{live}"))
}

/// A run with the address of its listener.
struct Steered {
    run: Running,
    address: String,
}

impl Steered {
    fn start(world: &World, limits: &str) -> Self {
        let run = world.start_run(&job(world, limits));
        let mut address = None;
        wait_until("the listener", || {
            let said = run.stderr();
            let found = said.lines().find_map(|line| line.split_once("live page on http://"));
            address = found.and_then(|(_, rest)| rest.strip_suffix("/live")).map(str::to_owned);
            address.is_some()
        });
        Self { run, address: address.unwrap() }
    }

    fn ask(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn order(&self, body: &str) {
        let answer = self.ask(&format!(
            "POST /control HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn metric(&self, name: &str) -> f64 {
        let text = self.ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let of = text.lines().filter(|line| line.split('{').next() == Some(name));
        of.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Pauses, and waits for what was in flight.
    fn pause(&self) {
        self.order(r#"{"action":"pause"}"#);
        wait_until("what was in flight", || self.metric("s3sweep_in_flight_requests") == 0.0);
    }
}

/// Requests of any kind that the server got.
fn requests(world: &World) -> u64 {
    world.sandbox.counters().values().map(|count| count.requests).sum()
}

#[test]
fn nothing_leaves_during_a_pause_and_all_of_it_after() {
    let world = world(6_000);
    let steered = Steered::start(&world, "{ versions_per_second: 4000 }");
    wait_until("the first deletions", || world.count() < 11_500);
    steered.pause();
    let (before, count) = (requests(&world), world.count());
    assert!(count > 0, "it is not over yet");
    let since = Instant::now();
    wait_until("a pause of a second", || since.elapsed() > Duration::from_secs(1));
    assert_eq!((requests(&world), world.count()), (before, count));
    assert_eq!(steered.metric("s3sweep_paused"), 1.0);
    let resumed = millis_now();
    steered.order(r#"{"action":"resume"}"#);
    steered.run.wait().expect(0).says(&["an operator holds the run", "an operator lets the run go on"]);
    assert_eq!(world.count(), 0);
    // What waited for the end of the pause did not leave at once.
    let at: Vec<i64> = deleted_at(&world).into_iter().filter(|at| *at >= resumed).collect();
    assert_eq!(at.len(), count, "{resumed}");
    check_pace(&at, resumed, 400, 4_000);
}

#[test]
fn what_was_answered_when_a_pause_begins_is_settled_during_it() {
    let world = world(6_000);
    // Slow enough that a batch takes many seconds; small slices of several are in hand at any time.
    let steered = Steered::start(&world, "{ versions_per_second: 600, concurrency: 8 }");
    wait_until("the first deletions", || world.count() < 11_000);
    steered.pause();
    let (paused, deleted) = (Instant::now(), 12_000.0 - world.count() as f64);
    wait_until("what the server deleted is settled", || {
        assert!(paused.elapsed() < Duration::from_secs(5), "the figures are frozen");
        steered.metric("s3sweep_settled_versions_total") == deleted
    });
    assert_eq!(steered.metric("s3sweep_paused"), 1.0);
    assert_eq!(12_000.0 - world.count() as f64, deleted);
    steered.run.signal("INT");
    steered.run.wait().expect(75);
}

#[test]
fn figures_follow_the_server_under_a_low_ceiling() {
    let world = world(600);
    // Each worker waits for more than a second between two slices.
    let steered = Steered::start(&world, "{ versions_per_second: 100, concurrency: 16 }");
    wait_until("what must have been settled by now", || world.count() < 900);
    let mut deleted: Vec<(Instant, f64)> = Vec::new();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(7) {
        deleted.push((Instant::now(), 1_200.0 - world.count() as f64));
        let settled = steered.metric("s3sweep_settled_versions_total");
        // A second is the aim; a busy machine has two more.
        let old = deleted.iter().rfind(|(at, _)| at.elapsed() > Duration::from_secs(3));
        if let Some((at, deleted)) = old {
            assert!(settled >= *deleted, "{settled} of {deleted}, {:?} ago", at.elapsed());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    steered.run.signal("INT");
    steered.run.wait().expect(75);
}

#[test]
fn a_pause_does_not_use_up_how_long_a_version_may_be_tried() {
    let world = world(300);
    let error = KeyErrors { share: 1.0, codes: vec!["SlowDown".into()], prefix: String::new() };
    world.sandbox.set_faults(Faults { key_errors: vec![error], ..Faults::default() });
    let mut steered =
        Steered::start(&world, "{ concurrency: 2, adaptive: false }\nretry: { give_up_after: 6s }");
    wait_until("the first refusals", || steered.metric("s3sweep_throttled_versions_total") > 0.0);
    steered.pause();
    let before = world.requests(Operation::DeleteObjects);
    let since = Instant::now();
    wait_until("a long pause", || since.elapsed() > Duration::from_secs(7));
    steered.order(r#"{"action":"resume"}"#);
    // Tried in vain once more, which is when it would be given up.
    wait_until("the next refusals", || {
        world.requests(Operation::DeleteObjects) > before + 1 || steered.run.has_ended()
    });
    world.sandbox.set_faults(Faults::default());
    steered.run.wait().expect(0);
    assert_eq!(world.count(), 0);
}

#[test]
fn a_paused_run_obeys_signals() {
    let world = world(6_000);
    let steered = Steered::start(&world, "{ versions_per_second: 2000 }");
    wait_until("the first deletions", || world.count() < 11_500);
    steered.pause();
    let before = world.requests(Operation::DeleteObjects);
    steered.run.signal("INT");
    let ended = steered.run.wait().expect(75);
    assert!(ended.took < Duration::from_secs(60), "{:?}", ended.took);
    assert_eq!(world.requests(Operation::DeleteObjects), before, "what was not begun is not begun any more");
    let again = Steered::start(&world, "{ versions_per_second: 2000 }");
    let events = events(&again);
    again.run.wait().expect(0);
    assert_eq!(world.count(), 0, "and the next run finishes it");
    let (_, last) = events.join().unwrap();
    assert_eq!(in_picture(&last), (12_000, 12_000), "the picture knows what the first run did");
}

#[test]
fn a_run_is_not_resumed_upon_versioning_that_changed_during_its_pause() {
    let world = world(6_000);
    let steered = Steered::start(&world, "{ versions_per_second: 2000 }");
    wait_until("the first deletions", || world.count() < 11_500);
    steered.pause();
    let before = world.requests(Operation::DeleteObjects);
    world.sandbox.store().set_status(common::BUCKET, VersioningStatus::Suspended).unwrap();
    steered.order(r#"{"action":"resume"}"#);
    steered.run.wait().expect(76).says(&["versioning was enabled", "suspended now"]);
    assert_eq!(world.requests(Operation::DeleteObjects), before, "nothing left before the look");
}

#[test]
fn a_run_stays_held_where_its_versioning_cannot_be_read() {
    let world = world(6_000);
    let steered = Steered::start(&world, "{ versions_per_second: 2000 }");
    wait_until("the first deletions", || world.count() < 11_500);
    steered.pause();
    let unreadable = RequestErrors {
        operation: Some(Operation::GetBucketVersioning),
        share: 1.0,
        code: "InternalError".into(),
        retry_after_secs: None,
    };
    world.sandbox.set_faults(Faults { request_errors: vec![unreadable], ..Faults::default() });
    let before = world.requests(Operation::DeleteObjects);
    steered.order(r#"{"action":"resume"}"#);
    assert_eq!(steered.metric("s3sweep_paused"), 1.0);
    assert_eq!(world.requests(Operation::DeleteObjects), before);
    world.sandbox.set_faults(Faults::default());
    steered.order(r#"{"action":"resume"}"#);
    steered.run.wait().expect(0).says(&["the run stays held"]);
    assert_eq!(world.count(), 0);
}

#[test]
fn a_pause_does_not_cost_the_lock_across_hosts() {
    let world = world(6_000);
    let steered = Steered::start(&world, "{ versions_per_second: 4000 }\nlock: { ttl: 10s }");
    wait_until("the first deletions", || world.count() < 11_500);
    steered.pause();
    let renewals = world.requests(Operation::PutObject);
    wait_until("more renewals than the lock outlives", || {
        world.requests(Operation::PutObject) >= renewals + 4
    });
    steered.order(r#"{"action":"resume"}"#);
    steered.run.wait().expect(0);
}

fn millis_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// When each deletion took place, in milliseconds.
fn deleted_at(world: &World) -> Vec<i64> {
    let log = world.sandbox.oplog();
    log.iter().filter(|record| record.effect == Effect::Deleted).map(|record| record.at.as_millis()).collect()
}

/// That so many a second hold from a moment on, above what may leave at once: on a busy machine requests arrive
/// late and together, but none arrives before its time.
#[track_caller]
fn check_pace(at: &[i64], from: i64, at_once: i64, per_second: i64) {
    let early =
        at.iter().zip(1..).find(|(at, nth)| nth * 1_000 > at_once * 1_000 + (*at - from) * per_second);
    assert_eq!(early, None, "from {from} on, of {}", at.len());
}

#[test]
fn a_lowered_pace_holds_and_is_put_back() {
    let (world, began) = (world(8_000), millis_now());
    let steered = Steered::start(&world, "{ versions_per_second: 5000, concurrency: 16 }");
    wait_until("the first deletions", || world.count() < 15_500);
    steered.order(r#"{"action":"pace","versions_per_second":300}"#);
    assert_eq!(steered.metric("s3sweep_ceiling_versions_per_second"), 300.0);
    // What had left before arrives within its latency.
    wait_until("what was in flight", || steered.metric("s3sweep_in_flight_versions") <= 60.0);
    let (lowered, since, from) = (deleted_at(&world).len(), Instant::now(), millis_now());
    wait_until("three slow seconds", || since.elapsed() > Duration::from_secs(3));
    let slow = deleted_at(&world)[lowered..].to_vec();
    let put_back = millis_now();
    steered.order(r#"{"action":"pace","versions_per_second":1000000}"#);
    assert_eq!(steered.metric("s3sweep_ceiling_versions_per_second"), 5_000.0, "never above the job's own");
    steered.run.wait().expect(0);
    assert_eq!(world.count(), 0);
    assert!(slow.len() > 500, "it goes on slowly: {}", slow.len());
    // What was in flight beside what may leave at once.
    check_pace(&slow, from, 60 + 30, 300);
    let all = deleted_at(&world);
    check_pace(&all, began, 500, 5_000);
    check_pace(&all[lowered + slow.len()..], put_back, 600, 5_000);
}

/// Listens to a run until it ends: all that was told, and the last snapshot.
fn events(steered: &Steered) -> JoinHandle<(String, Value)> {
    let address = steered.address.clone();
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let last = text.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap();
        let last = serde_json::from_str(last).unwrap();
        (text, last)
    })
}

/// Versions listed and settled in all ranges of a snapshot.
fn in_picture(snapshot: &Value) -> (u64, u64) {
    let ranges = snapshot["ranges"].as_array().unwrap();
    let sum = |name: &str| ranges.iter().map(|range| range[name].as_u64().unwrap()).sum::<u64>();
    (sum("listed"), sum("settled"))
}

#[test]
fn a_page_is_told_how_the_run_ended() {
    let world = world(1_000);
    let steered = Steered::start(&world, "{ versions_per_second: 2000 }");
    let events = events(&steered);
    steered.run.wait().expect(0);
    let (text, last) = events.join().unwrap();
    assert!(text.contains("event: snapshot") && text.contains("event: end"), "{text}");
    assert_eq!(last["ending"]["word"], "done");
    assert_eq!((&last["counts"]["done"], &last["counts"]["pending"]), (&2_000.into(), &0.into()));
    assert_eq!(in_picture(&last), (2_000, 2_000), "the picture is complete");
    assert!(last["ranges"].as_array().unwrap().iter().all(|range| range["state"] == "done"));
    assert_eq!(last["rules"][0]["done"], 2_000);
}

#[test]
fn a_token_that_cannot_be_had_costs_the_control_and_not_the_run() {
    for (live, word) in [
        ("{ token_env: NOT_THERE }", "NOT_THERE"),
        ("{ token_file: /nonexistent/token }", "/nonexistent/token"),
        ("{ token_env: PATH_LIKE }", "no token"),
    ] {
        let world = world(10);
        let textfile = world.dir.path().join("metrics.prom");
        let metrics = format!(
            "metrics: {{ listen: \"127.0.0.1:0\", textfile: \"{}\", live: {live} }}\n",
            textfile.display()
        );
        let job = world.job(&format!("{EVERYTHING}{metrics}"));
        let mut command = world.command(&["run", job.to_str().unwrap(), "--yes"]);
        command.env("PATH_LIKE", "has spaces in it, and is long");
        world.spawn(command).wait().expect(0).says(&[word, "part=\"live\"", "live page on http://"]);
        assert_eq!(world.count(), 0, "{word}");
        let text = std::fs::read_to_string(textfile).unwrap();
        let trouble = text.lines().find(|line| line.contains("part=\"live\"")).unwrap();
        assert!(trouble.ends_with(" 1"), "{trouble}");
    }
}
