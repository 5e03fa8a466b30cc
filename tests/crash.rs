//! SIGKILL at any instant, then the same command again: the bucket, the audit and the books end as
//! if nothing had happened.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::checks::{check_bucket, check_oplog, check_status, check_sweep};
use common::oracle::{Plan, Rule};
use common::{BUCKET, World, mixed, plain, ref_of, wait_until};
use s3sweep::checkpoint::{Snapshot, StateDir};
use s3sweep::report::AuditLine;
use s3sweep::sandbox::{
    Config, CutListings, Effect, Faults, KeyErrors, Latency, Operation, Resets, Seed, When,
};

/// Rounds in which the program is killed; `S3SWEEP_KILLS` in the environment asks for more.
fn kills() -> u32 {
    std::env::var("S3SWEEP_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

/// `S3SWEEP_SEED` repeats a run of these tests.
fn chance(test: &str) -> fastrand::Rng {
    let fresh = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = std::env::var("S3SWEEP_SEED").ok().map_or_else(fresh, |text| text.parse().unwrap());
    println!("{test}: S3SWEEP_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Every server operation takes a while, so that a kill finds requests under way.
fn slow() -> Faults {
    let latency =
        |operation, fixed_ms| Latency { operation: Some(operation), fixed_ms, per_key_us: 50, sigma: 0.0 };
    Faults {
        latency: vec![latency(Operation::ListObjectVersions, 12), latency(Operation::DeleteObjects, 25)],
        ..Faults::default()
    }
}

/// Enough for `rounds` processes, and small batches: many prefixes, and a ceiling that divides them.
fn bucket(rounds: u32) -> Seed {
    let prefixes = (0..24).map(|number| format!("part-{number:02}/")).collect();
    Seed { prefixes, ..mixed(u64::from(60 + 26 * rounds)) }
}

fn plan() -> Plan {
    let prefixes = (0..24).map(|number| format!("part-{number:02}/")).collect();
    Plan {
        prefixes,
        page_size: Some(10),
        ..Plan::of(&[
            Rule { name: "old", state: &["noncurrent"], beyond_newest: Some(1), ..Rule::default() },
            Rule { name: "markers", state: &["noncurrent-marker"], ..Rule::default() },
            Rule {
                name: "hidden",
                state: &["noncurrent"],
                suffix: &["1.parquet", "2.parquet", "3.parquet", "a.parquet", "b.parquet", "c.parquet"],
                ..Rule::default()
            },
            Rule { name: "orphans", state: &["orphan-marker"], ..Rule::default() },
        ])
    }
}

const LIMITS: &str = "limits: { versions_per_second: 400, concurrency: 4, list_concurrency: 2 }\n";

/// The lines of an audit without what differs from run to run: times, request ids and attempts. A
/// version that was deleted by a request whose answer was lost may be found gone.
fn comparable(audit: &[AuditLine<'_>]) -> BTreeSet<String> {
    let lines = audit.iter().map(|line| {
        let outcome = if line.outcome == "gone" { "done" } else { &*line.outcome };
        format!(
            "{:?} {} {} {} {:?} {outcome} {:?} {:?} {:?}",
            line.key_bytes(),
            line.version_id,
            line.kind,
            line.size,
            line.rule,
            line.reason,
            line.code,
            line.message
        )
    });
    lines.collect()
}

/// Starts the command and kills it, again and again, then lets it end. The number of kills that
/// found it alive.
fn killed_again_and_again(world: &World, job: &Path, rounds: u32, chance: &mut fastrand::Rng) -> u32 {
    let mut killed = 0;
    for _ in 0..rounds {
        let mut running = world.start_run(job);
        // Half of the kills at any time, half of them where the work is.
        if chance.bool() {
            let (lists, deletes) =
                (world.requests(Operation::ListObjectVersions), world.requests(Operation::DeleteObjects));
            wait_until("work", || {
                running.has_ended()
                    || world.requests(Operation::ListObjectVersions) > lists
                    || world.requests(Operation::DeleteObjects) > deletes
            });
            std::thread::sleep(Duration::from_millis(chance.u64(0..120)));
        } else {
            std::thread::sleep(Duration::from_millis(chance.u64(0..400)));
        }
        let ended = running.kill();
        if !ended.was_killed() {
            assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
            break;
        }
        killed += 1;
    }
    world.run(job).expect(0);
    killed
}

/// The same bucket swept without and with kills.
fn compare(test: &str, faults: &Faults) {
    compare_as(test, faults, &plan(), LIMITS);
}

/// Returns the number of ranges that were listed.
fn compare_as(test: &str, faults: &Faults, plan: &Plan, limits: &str) -> u32 {
    let (rounds, mut chance) = (kills(), chance(test));
    let job_of = |world: &World| world.job(&format!("{limits}{}", plan.yaml()));
    let undisturbed = World::new(bucket(rounds));
    undisturbed.run(&job_of(&undisturbed)).expect(0);
    let world = World::with_faults(bucket(rounds), faults.clone());
    let before = world.entries();
    let runs = killed_again_and_again(&world, &job_of(&world), rounds, &mut chance);
    println!("{test}: killed {runs} times in {rounds} rounds");
    assert!(runs * 2 >= rounds, "only {runs} of {rounds} kills found the program at work");
    let left = |world: &World| world.entries().iter().map(ref_of).collect::<Vec<_>>();
    assert_eq!(left(&world), left(&undisturbed));
    let (audit, wanted) = (world.audit(), undisturbed.audit());
    assert_eq!(audit.len(), wanted.len(), "lines of the audit");
    assert_eq!(comparable(&audit), comparable(&wanted));
    // Entry by entry, with the times of this very bucket, and every delete within the plan.
    check_sweep(&world, &before, plan, false);
    // Every command went on with the same run. One that was killed before its run was made the
    // current one leaves a checkpoint without any work in it.
    let current = world.files().run_id;
    for other in world.state_dir().runs().unwrap().iter().filter(|files| files.run_id != current) {
        let totals = Snapshot::open(&other.checkpoint).unwrap().totals().unwrap();
        assert_eq!(totals.listed().versions, 0, "{other:?}");
    }
    world.ranges()
}

#[test]
fn killed_at_random_instants_a_run_ends_as_if_nothing_had_happened() {
    compare("kills", &slow());
}

#[test]
fn killed_while_many_listers_divide_their_ranges_a_run_ends_as_if_nothing_had_happened() {
    let limits = "limits: { versions_per_second: 400, concurrency: 4, list_concurrency: 12 }\n";
    let plan = Plan { prefixes: Vec::new(), page_size: Some(7), ..plan() };
    let ranges = compare_as("kills and splits", &trouble(), &plan, limits);
    assert!(ranges > 10, "{ranges} ranges");
}

fn trouble() -> Faults {
    let codes = vec!["InternalError".into(), "SlowDown".into()];
    Faults {
        seed: 42,
        key_errors: vec![KeyErrors { share: 0.05, codes, prefix: String::new() }],
        resets: vec![Resets { operation: None, share: 0.02, when: When::AfterApplying }],
        cut_listings: Some(CutListings { share: 0.01, at_byte: None }),
        ..slow()
    }
}

#[test]
fn the_same_with_a_server_in_trouble() {
    compare("kills and faults", &trouble());
}

#[test]
fn a_server_in_trouble_leaves_nothing_wrong_and_nothing_behind() {
    let world = World::with_faults(bucket(20), Faults { latency: Vec::new(), ..trouble() });
    let before = world.entries();
    world.run(&world.job(&plan().yaml())).expect(0);
    let fates = check_sweep(&world, &before, &plan(), false);
    assert!(fates.len() > 2000);
    let refused = world.sandbox.counters()[&Operation::DeleteObjects].keys_refused;
    assert!(refused > 20, "{refused} items failed for a while");
}

#[test]
fn an_applied_plan_may_be_killed_too() {
    let mut chance = chance("apply");
    let world = World::with_faults(bucket(4), slow());
    let before = world.entries();
    let job = world.job(&format!("{LIMITS}{}", plan().yaml()));
    let job = job.to_str().unwrap();
    // Killed while it plans: the next plan finishes it or replaces it.
    let planning = world.start(&["plan", job]);
    wait_until("a page", || world.requests(Operation::ListObjectVersions) > 2);
    planning.kill();
    world.call(&["plan", job]).expect(0);
    for _ in 0..3 {
        let deleted = world.requests(Operation::DeleteObjects);
        let mut applying = world.start(&["apply", job, "--yes"]);
        wait_until("a deletion", || {
            applying.has_ended() || world.requests(Operation::DeleteObjects) > deleted
        });
        std::thread::sleep(Duration::from_millis(chance.u64(0..100)));
        assert!(applying.kill().was_killed());
    }
    world.call(&["apply", job, "--yes"]).expect(0);
    let fates = plan().decide(&before, false, world.began());
    check_bucket(&world, &before, &fates);
    check_status(&world, &fates);
    check_oplog(&world.sandbox.oplog(), &before, &fates, false);
}

#[test]
fn a_checkpoint_that_was_not_finished_is_begun_anew_and_a_damaged_one_refused() {
    let world = World::new(plain(5, 2));
    let job = world.job(&plan().yaml());
    let dir = StateDir::create(world.state_dir().path()).unwrap();
    // Killed while it made its first checkpoint, and while it made that checkpoint the current one.
    let killed = dir.files("killed").unwrap();
    fs::write(&killed.audit, "").unwrap();
    fs::write(dir.path().join("killed.sqlite.next"), "SQLite format 3\0").unwrap();
    fs::write(dir.path().join("current.next"), "kil").unwrap();
    world.run(&job).expect(0);
    assert_eq!(dir.runs().unwrap(), [world.files()]);
    assert!(!killed.audit.exists() && !dir.path().join("killed.sqlite.next").exists());
    // A file is refused where a run has it for its checkpoint, and stays as it is.
    let current = world.files().checkpoint;
    for damage in ["", "SQLite format 3\0", &"notes ".repeat(100)] {
        fs::write(&current, damage).unwrap();
        world.run(&job).expect(65);
        assert_eq!(fs::read_to_string(&current).unwrap(), damage);
    }
}

#[test]
fn a_budget_holds_across_a_kill() {
    // The first range is long, so that the batches of the others leave before its own; their
    // answers come late, so that the kill finds them carried out and not confirmed.
    let part = |prefix: &str, keys| Seed { prefixes: vec![prefix.into()], ..plain(keys, 2) };
    let latency =
        |operation, fixed_ms| Latency { operation: Some(operation), fixed_ms, per_key_us: 0, sigma: 0.0 };
    let faults = Faults {
        latency: vec![latency(Operation::DeleteObjects, 3_000), latency(Operation::ListObjectVersions, 10)],
        ..Faults::default()
    };
    let seeds = vec![part("a/", 150), part("b/", 50), part("c/", 50)];
    let world = World::with(Config { seeds, faults, ..Config::default() });
    let job = world.job(
        "scope: { prefixes: [a/, b/, c/], page_size: 20 }\nbudget: { max_versions: 200 }\n\
         rules:\n  - { name: all, match: { state: any }, action: delete }",
    );
    let deleted = || {
        let oplog = world.sandbox.oplog();
        oplog.iter().filter(|record| record.effect == Effect::Deleted).count()
    };
    let mut running = world.start_run(&job);
    wait_until("the deletions", || deleted() == 100 + 50 || deleted() == 200 || running.has_ended());
    assert!(running.kill().was_killed());
    world.sandbox.set_faults(Faults::default());
    world.run(&job).expect(78);
    assert_eq!(deleted(), 200, "of {} left", world.sandbox.store().count(BUCKET).unwrap());
}
