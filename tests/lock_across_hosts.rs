//! One run of a job at a time, on one host and on many: real processes against one server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::checks::check_identity;
use common::{BUCKET, Ended, JOB, Running, World, plain, wait_until};
use s3sweep::model::{KeepReason, Key, Timestamp, Version, VersioningStatus};
use s3sweep::sandbox::{Config, Effect, Faults, Latency, Operation, Personality, RequestErrors, Seed};

const EVERYTHING: &str = "rules:\n  - { name: all, match: { state: any }, action: delete }\n";
/// Takes some seconds: the ceiling makes many small requests.
const SLOWLY: &str = "limits: { versions_per_second: 200, concurrency: 2 }\n";
const LOCKS: &str = "locks";
const OBJECT: &str = "s3sweep/locks/sweep.json";

fn locked(lock: &str) -> String {
    format!("{SLOWLY}lock: {{ {lock} }}\n{EVERYTHING}")
}

/// A bucket to sweep, and one for locks.
fn world_with(versioning: VersioningStatus, personality: Personality) -> World {
    let locks = Seed { bucket: LOCKS.into(), versioning, keys: 0, ..Seed::default() };
    World::with(Config { seeds: vec![plain(300, 3), locks], personality, ..Config::default() })
}

fn world() -> World {
    world_with(VersioningStatus::Enabled, Personality::default())
}

/// The same command on another host: another state directory.
fn elsewhere(world: &World, host: &str, job: &Path) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3sweep"));
    command.arg("run").arg(job).arg("--yes").arg("--state-dir").arg(world.dir.path().join(host));
    world.prepare(&mut command);
    world.spawn(command)
}

fn run_elsewhere(world: &World, host: &str, job: &Path) -> Ended {
    elsewhere(world, host, job).wait()
}

/// Every version of the lock object, with what was done to it: in which bucket it lies does not matter.
fn effects(world: &World, effect: Effect) -> Vec<String> {
    let of_lock = |key: &Key| *key == Key::from(OBJECT);
    let records = world.sandbox.oplog();
    let found = records.iter().filter(|record| of_lock(&record.key) && record.effect == effect);
    found.map(|record| record.version_id.clone().unwrap()).collect()
}

fn locks_left(world: &World, bucket: &str) -> Vec<Version> {
    let versions = world.sandbox.store().versions(bucket).unwrap();
    versions.into_iter().filter(|version| version.key == Key::from(OBJECT)).collect()
}

fn deletions(world: &World) -> usize {
    let is_deletion = |effect| matches!(effect, Effect::Deleted | Effect::MarkerDeleted);
    let records = world.sandbox.oplog();
    records.iter().filter(|record| is_deletion(record.effect) && record.key != Key::from(OBJECT)).count()
}

fn wait_for_deletions(world: &World, running: &mut Running) {
    wait_until("the first deletion", || deletions(world) > 0 || running.has_ended());
    assert!(!running.has_ended(), "the run was over too early: {}", running.stderr());
}

/// The value of a series in a textfile.
#[track_caller]
fn told(textfile: &Path, series: &str) -> f64 {
    let text = std::fs::read_to_string(textfile).unwrap();
    let line = text.lines().find(|line| line.starts_with(series)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[track_caller]
fn done_once(world: &World) {
    assert_eq!(world.sandbox.store().versions(BUCKET).unwrap().len(), locks_left(world, BUCKET).len());
    assert_eq!(deletions(world), 900, "each version once");
}

#[test]
fn on_one_host_the_second_run_is_73_and_says_who_since_when_and_how_far() {
    let world = World::new(plain(1200, 3));
    let job = world.job(&format!("limits: {{ versions_per_second: 900, concurrency: 1 }}\n{EVERYTHING}"));
    let mut first = world.start_run(&job);
    wait_for_deletions(&world, &mut first);
    wait_until("the first outcome", || world.status()["done"].as_u64().unwrap() > 0);
    let run = format!("run={}", world.files().run_id);
    let pid = format!("pid={}", first.pid());
    let words = [&pid, "host=", &run, "since=", "so far 3600 listed, 3600 planned, "];
    let second = world.run(&job).expect(73).says(&words);
    let settled = second.stderr.split("planned, ").nth(1).unwrap().split(' ').next().unwrap();
    assert!((1..3600).contains(&settled.parse::<u32>().unwrap()), "{}", second.stderr);
    assert!(second.took < Duration::from_secs(5), "it waits for nobody: {:?}", second.took);
    first.wait().expect(0);
    assert_eq!((world.count(), deletions(&world)), (0, 3600));
}

#[test]
fn on_another_host_it_is_73_too_and_the_lock_leaves_nothing_behind() {
    for versioning in [VersioningStatus::Enabled, VersioningStatus::Suspended, VersioningStatus::Unversioned]
    {
        let world = world_with(versioning, Personality::default());
        let textfile = world.dir.path().join("metrics.prom");
        let outputs = format!("metrics: {{ textfile: \"{}\" }}\n", textfile.display());
        let job = world.job(&format!("{outputs}{}", locked("bucket: locks, ttl: 10s").replace("200", "400")));
        let mut first = world.start_run(&job);
        wait_for_deletions(&world, &mut first);
        wait_until("its figures", || textfile.exists());
        let figures = std::fs::read_to_string(&textfile).unwrap();
        let run = format!("run={}", world.files().run_id);
        let words =
            [&format!("pid={}", first.pid()), &run, "since=", "listed", "settled", OBJECT, "bucket locks"];
        run_elsewhere(&world, "b", &job).expect(73).says(&words);
        assert!(std::fs::read_to_string(&textfile).unwrap() == figures, "it does not speak for the job");
        first.wait().expect(0);
        assert_eq!(told(&textfile, "s3sweep_run_exit_code{"), 0.0);
        // Made, tried out by two writes that must be refused and one that must not, and given back.
        assert!(told(&textfile, "s3sweep_requests_total{operation=\"PutObject\"") >= 4.0);
        let figures = std::fs::read_to_string(&textfile).unwrap();
        assert!(
            !figures.contains("PreconditionFailed"),
            "what was meant to be refused is no error: {figures}"
        );
        done_once(&world);
        let left = locks_left(&world, LOCKS);
        let expected = usize::from(versioning != VersioningStatus::Enabled);
        assert_eq!(left.len(), expected, "{versioning:?}: {left:?}");
        run_elsewhere(&world, "b", &job).expect(0).says(&["holds the lock"]);
        let mut made = effects(&world, Effect::Created);
        let mut gone = effects(&world, Effect::Deleted);
        made.sort();
        gone.sort();
        if expected == 0 {
            assert_eq!(made, gone, "its own versions, each once, and nothing else");
        } else {
            assert_eq!(gone, Vec::<String>::new(), "`null` may come to name somebody else's");
        }
    }
}

#[test]
fn of_many_that_start_together_one_works() {
    let world = world();
    let job = world.job(&locked("bucket: locks"));
    let hosts = ["a", "b", "c", "d"];
    let running: Vec<Running> = hosts.iter().map(|host| elsewhere(&world, host, &job)).collect();
    let mut codes: Vec<_> = running.into_iter().map(|running| running.wait().code().unwrap()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 73, 73, 73]);
    done_once(&world);
}

#[test]
fn a_dead_holder_is_taken_over_when_the_server_says_that_it_was_silent_for_long_enough() {
    // By this machine's clock all of it happens within seconds, and three hours before the server's.
    const AHEAD_MS: i64 = 3 * 3_600_000;
    let world = world();
    world.sandbox.set_clock_offset(AHEAD_MS);
    let job = world.job(&locked("ttl: 2m"));
    let mut first = world.start_run(&job);
    wait_for_deletions(&world, &mut first);
    assert!(first.kill().was_killed());
    let orphan = locks_left(&world, BUCKET);
    let orphan = orphan.iter().find(|version| version.is_latest).unwrap().clone();
    for host in ["b", "c"] {
        run_elsewhere(&world, host, &job).expect(73).says(&["last heard of"]);
    }
    assert_eq!(locks_left(&world, BUCKET).len(), 1, "who stays away writes nothing");
    world.sandbox.set_clock_offset(AHEAD_MS + 123_000);
    let ended = run_elsewhere(&world, "b", &job).expect(0);
    ended.says(&["takes over the lock"]);
    done_once(&world);
    let left = locks_left(&world, BUCKET);
    assert!(
        left.iter().any(|version| version.id == orphan.id),
        "another's version is never deleted: {left:?}"
    );
    assert_eq!(left.len(), 2, "beside it the note that the lock was given back: {left:?}");
    // The job's own rules match it; it is kept all the same, and the reason told.
    let state = s3sweep::checkpoint::StateDir::existing(&world.dir.path().join("b").join(JOB));
    let audit = state.current().unwrap().unwrap().audit;
    let lines: Vec<_> = s3sweep::report::read_audit(&audit, None).unwrap().map(Result::unwrap).collect();
    let line = lines.iter().map(|line| format!("{line:?}")).find(|line| line.contains(OBJECT)).unwrap();
    assert!(line.contains(KeepReason::LockObject.as_str()), "{line}");
    world.run(&job).expect(0);
    done_once(&world);
}

#[test]
fn a_run_that_cannot_renew_ends_before_another_may_begin() {
    let world = world();
    let textfile = world.dir.path().join("metrics.prom");
    let outputs = format!("metrics: {{ textfile: \"{}\" }}\n", textfile.display());
    let job = world.job(&format!("{outputs}{}", locked("bucket: locks, ttl: 10s").replace("200", "50")));
    let mut first = world.start_run(&job);
    wait_for_deletions(&world, &mut first);
    let errors = RequestErrors {
        operation: Some(Operation::PutObject),
        share: 1.0,
        code: "AccessDenied".into(),
        retry_after_secs: None,
    };
    world.sandbox.set_faults(Faults { request_errors: vec![errors], ..Faults::default() });
    let ended = first.wait().expect(75).says(&["could not be renewed", "run again to go on", "AccessDenied"]);
    let warned = |line: &&str| line.contains(" WARN ") && line.contains("was not renewed");
    assert_eq!(ended.stderr.lines().filter(warned).count(), 1, "the first of a row: {}", ended.stderr);
    assert!(told(&textfile, "s3sweep_troubles_total{part=\"lock\"") > 1.0, "each is counted");
    let log = world.sandbox.oplog();
    let last_beat =
        log.iter().rfind(|record| record.bucket == LOCKS && record.effect == Effect::Created).unwrap().at;
    let last_deletion = log.iter().rfind(|record| record.bucket == BUCKET).unwrap().at;
    let silent = last_deletion.since(last_beat).unwrap();
    assert!(silent < Duration::from_secs(9), "the lock may be another's from 10 s on: {silent:?}");
    assert!(silent > Duration::from_secs(3), "it went on while the lock was good: {silent:?}");
    check_identity(&world.status());
    world.sandbox.set_faults(Faults::default());
    world.sandbox.set_clock_offset(13_000);
    let rest = world.job(&locked("bucket: locks, ttl: 10s"));
    world.run(&rest).expect(0);
    done_once(&world);
}

/// Requests that reached the job's bucket, and their effects there.
fn arrived(world: &World) -> (u64, usize) {
    let requests = [Operation::DeleteObjects, Operation::ListObjectVersions, Operation::GetBucketVersioning];
    let in_bucket = world.sandbox.oplog().iter().filter(|record| record.bucket == BUCKET).count();
    (requests.into_iter().map(|operation| world.requests(operation)).sum(), in_bucket)
}

#[test]
fn a_run_that_slept_through_its_lock_sends_nothing_when_it_wakes() {
    let prefixes: Vec<String> = (0..24).map(|number| format!("part-{number:02}/")).collect();
    let locks = Seed { bucket: LOCKS.into(), keys: 0, ..Seed::default() };
    let bucket = Seed { prefixes: prefixes.clone(), ..plain(300, 3) };
    let world = World::with(Config { seeds: vec![bucket, locks], ..Config::default() });
    // A batch for each prefix: many requests wait for their turn when it falls asleep, and all turns come
    // while it sleeps.
    let slow = SLOWLY.replace("200", "20").replace("concurrency: 2", "concurrency: 64, adaptive: false");
    let sleepy = format!(
        "{slow}scope: {{ prefixes: {prefixes:?} }}\nlock: {{ bucket: locks, ttl: 10s }}\n{EVERYTHING}"
    );
    let job = world.job(&sleepy);
    let mut first = world.start_run(&job);
    wait_for_deletions(&world, &mut first);
    first.signal("STOP");
    let other = world.job(&locked("bucket: locks, ttl: 10s").replace("200", "2000"));
    let mut tries = 0;
    wait_until("the lock of the sleeper", || {
        tries += 1;
        run_elsewhere(&world, "b", &other).code() == Some(0)
    });
    assert!(tries > 3, "its lock held for its time");
    assert_eq!(world.sandbox.store().count(BUCKET).unwrap(), 0);
    let before = arrived(&world);
    first.signal("CONT");
    first.wait().expect(75).says(&["could not be renewed", "another host may take it", "run again to go on"]);
    assert_eq!(arrived(&world), before, "nothing of the sleeper arrives any more");
}

#[test]
fn a_lock_that_somebody_overwrites_or_deletes_ends_the_run() {
    for by_hand in ["overwritten", "gone"] {
        let world = world();
        let job = world.job(&locked("bucket: locks, ttl: 10s").replace("200", "50"));
        let mut first = world.start_run(&job);
        wait_for_deletions(&world, &mut first);
        let store = world.sandbox.store();
        if by_hand == "gone" {
            store.insert_marker(LOCKS, OBJECT, world.sandbox.now()).unwrap();
        } else {
            store.put(LOCKS, OBJECT, 5, world.sandbox.now()).unwrap();
        }
        first.wait().expect(75).says(&["was lost, nothing more was sent", by_hand]);
    }
}

#[test]
fn a_server_that_keeps_no_conditions_is_found_out_before_anything_is_done() {
    let aws = Personality::default;
    for (personality, words) in [
        (Personality { ignores_put_conditions: true, ..aws() }, "does not keep the condition If-None-Match"),
        (
            Personality { refuses_put_if_match: true, ..aws() },
            "refuses a write whose condition If-Match holds",
        ),
    ] {
        let world = world_with(VersioningStatus::Enabled, personality);
        let before = world.sandbox.store().versions(BUCKET).unwrap();
        for bucket in [LOCKS, BUCKET] {
            let job = world.job(&locked(&format!("bucket: {bucket}")));
            world.run(&job).expect(2).says(&[words, "leave `lock` out"]);
            assert_eq!(locks_left(&world, bucket), [], "what it wrote is gone again");
        }
        assert_eq!(world.sandbox.store().versions(BUCKET).unwrap(), before);
        assert_eq!(world.requests(Operation::ListObjectVersions), 0);
    }
}

#[test]
fn what_is_no_lock_is_left_alone() {
    let world = world();
    let at = Timestamp::from_millis(world.sandbox.now().as_millis() - 86_400_000);
    world.sandbox.store().put(LOCKS, OBJECT, 77, at).unwrap();
    let job = world.job(&locked("bucket: locks"));
    world.run(&job).expect(2).says(&[OBJECT, "is no lock"]);
    let other = world.job(&locked("bucket: locks, object: s3sweep/locks/other.json"));
    let mut first = world.start_run(&other);
    wait_for_deletions(&world, &mut first);
    let text = std::fs::read_to_string(&other).unwrap().replace("name: sweep", "name: another");
    let another = world.dir.path().join("another.yaml");
    std::fs::write(&another, text).unwrap();
    run_elsewhere(&world, "b", &another).expect(2).says(&["is the lock of job sweep"]);
    first.wait().expect(0);
    let job = world.job(&locked("bucket: no-such-bucket"));
    world.run(&job).expect(2).says(&["no-such-bucket"]);
}

#[test]
fn lost_answers_and_a_slow_server_lose_no_lock() {
    let world = world();
    let faults = Faults {
        seed: 5,
        resets: vec![s3sweep::sandbox::Resets {
            operation: Some(Operation::PutObject),
            share: 0.5,
            when: s3sweep::sandbox::When::AfterApplying,
        }],
        ..Faults::default()
    };
    world.sandbox.set_faults(faults);
    let job = world.job(&locked("bucket: locks, ttl: 10s").replace("200", "100"));
    world.run(&job).expect(0);
    done_once(&world);
}

#[test]
fn a_low_ceiling_of_requests_does_not_cost_the_lock() {
    let locks = Seed { bucket: LOCKS.into(), keys: 0, ..Seed::default() };
    let world = World::with(Config { seeds: vec![plain(60, 3), locks], ..Config::default() });
    let limits = "limits: { requests_per_second: 2, versions_per_second: 100, concurrency: 16 }";
    let job = world.job(&format!("{limits}\nlock: {{ bucket: locks, ttl: 10s }}\n{EVERYTHING}"));
    let ended = world.run(&job).expect(0);
    assert!(ended.took > Duration::from_secs(8), "it outlived its first renewals: {:?}", ended.took);
    assert!(effects(&world, Effect::Created).len() > 3, "it was renewed meanwhile");
    assert_eq!(deletions(&world), 180);
}

#[test]
fn an_interrupted_run_gives_the_lock_back_and_a_plan_needs_none() {
    let world = world();
    let job = world.job(&locked("bucket: locks"));
    let mut first = world.start_run(&job);
    wait_for_deletions(&world, &mut first);
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3sweep"));
    command.arg("plan").arg(&job).arg("--state-dir").arg(world.dir.path().join("planner"));
    world.prepare(&mut command);
    world.spawn(command).wait().expect(0);
    first.signal("TERM");
    first.wait().expect(75);
    assert_eq!(locks_left(&world, LOCKS), []);
    run_elsewhere(&world, "b", &job).expect(0);
    done_once(&world);
}

#[test]
fn a_run_that_left_a_request_behind_does_not_give_the_lock_back() {
    let world = world();
    let latency =
        Latency { operation: Some(Operation::DeleteObjects), fixed_ms: 4000, per_key_us: 0, sigma: 0.0 };
    world.sandbox.set_faults(Faults { latency: vec![latency], ..Faults::default() });
    let job = world.job(&locked("bucket: locks, ttl: 10s"));
    let mut first = world.start_run(&job);
    wait_until("a request under way", || world.requests(Operation::DeleteObjects) > 0 || first.has_ended());
    first.signal("TERM");
    wait_until("the first signal", || first.stderr().contains("SIGTERM") || first.has_ended());
    first.signal("TERM");
    first.wait().expect(75).says(&["is not given back", "a request may still be carried out"]);
    run_elsewhere(&world, "b", &job).expect(73).says(&["last heard of"]);
    world.sandbox.set_faults(Faults::default());
    world.sandbox.set_clock_offset(13_000);
    run_elsewhere(&world, "b", &job).expect(0).says(&["takes over the lock"]);
    assert_eq!(world.sandbox.store().count(BUCKET).unwrap(), 0);
}

#[test]
fn a_plan_from_before_the_lock_is_refused_where_it_may_name_it() {
    let world = world();
    let plain_job = format!("{SLOWLY}{EVERYTHING}").replace("200", "2000");
    let with = |lock: &str| world.job(&format!("lock: {{ {lock} }}\n{plain_job}"));
    let call = |args: &[&str], job: &Path| world.call(&[args, &[job.to_str().unwrap()]].concat());
    call(&["plan"], &world.job(&plain_job)).expect(0);
    let job = with("object: own.lock");
    call(&["apply", "--yes"], &job).expect(2).says(&["own.lock was not the job's lock.object", "--restart"]);
    assert_eq!(world.requests(Operation::DeleteObjects), 0);
    call(&["plan", "--restart"], &job).expect(0);
    call(&["apply", "--yes"], &with("object: other.lock")).expect(2).says(&["other.lock was not"]);
    call(&["apply", "--yes"], &with("object: own.lock")).expect(0);
    assert_eq!(world.count(), 0);
    // Nothing where locks lie by default is ever planned.
    call(&["plan"], &world.job(&plain_job)).expect(0);
    call(&["apply", "--yes"], &with("ttl: 10s")).expect(0);
}
