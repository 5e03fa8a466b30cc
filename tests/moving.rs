//! Histories that travel: the destination tells the same story as the source did, whatever fails on the
//! way, and nothing is deleted before that is known.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::time::{Duration, SystemTime};

use common::histories::{
    COPY, DESTINATION, MOVE, check_audit, check_moved, empty, stories, there, transfer, world_of,
};
use common::{BUCKET, Ended, World, mixed, wait_until};
use s3sweep::model::{Key, Kind};
use s3sweep::sandbox::{
    Config, FaultKind, Faults, LateErrors, Latency, Operation, Personality, RequestErrors, Resets,
    ScriptedRequest, Seed, SeedItem, When,
};

#[test]
fn a_move_tells_the_same_story_elsewhere() {
    let world = world_of(120, Faults::default());
    let before = world.entries();
    let run = world.run(&transfer(&world, MOVE, ""));
    run.expect(0);
    check_moved(&world, &before);
}

#[test]
fn a_copy_leaves_the_source_alone_and_comes_only_once() {
    let world = world_of(40, Faults::default());
    let before = world.entries();
    world.run(&transfer(&world, COPY, "")).expect(0);
    assert_eq!(world.entries(), before);
    let after = there(&world, DESTINATION);
    assert_eq!(stories(&after), stories(&before));
    check_audit(&world, &before, &after);

    let again = world.run(&transfer(&world, COPY, ""));
    again.expect(1);
    assert!(world.audit().iter().any(|line| line.code.as_deref() == Some("DestinationExists")));
    assert_eq!(there(&world, DESTINATION), after, "what is there is not touched");

    let same = "{ copy: { bucket: destination, if_exists: skip_same } }";
    world.run(&transfer(&world, same, "")).expect(0);
    assert_eq!(there(&world, DESTINATION), after);
    check_audit(&world, &before, &after);

    let append = "{ copy: { bucket: destination, if_exists: append } }";
    world.run(&transfer(&world, append, "")).expect(0);
    let twice = there(&world, DESTINATION);
    for (key, story) in stories(&before) {
        assert_eq!(stories(&twice)[&key], [story.clone(), story].concat(), "{key}");
    }
}

/// A version that would be copied twice, or not at all, after any of these is found by its number.
fn faulty() -> Faults {
    let late = |operation, share, when| LateErrors {
        operation: Some(operation),
        share,
        code: "InternalError".into(),
        when,
    };
    let reset = |operation, when| Resets { operation: Some(operation), share: 0.05, when };
    Faults {
        late_errors: vec![
            late(Operation::CopyObject, 0.05, When::BeforeApplying),
            late(Operation::CopyObject, 0.05, When::AfterApplying),
        ],
        resets: vec![
            reset(Operation::CopyObject, When::BeforeApplying),
            reset(Operation::CopyObject, When::AfterApplying),
            reset(Operation::DeleteObject, When::AfterApplying),
            reset(Operation::DeleteObjects, When::AfterApplying),
            reset(Operation::ListObjectVersions, When::BeforeApplying),
        ],
        request_errors: vec![RequestErrors {
            operation: Some(Operation::CopyObject),
            share: 0.05,
            code: "SlowDown".into(),
            retry_after_secs: None,
        }],
        ..Faults::default()
    }
}

#[test]
fn faults_of_every_kind_double_and_lose_nothing() {
    let world = world_of(80, faulty());
    let before = world.entries();
    world.run(&transfer(&world, MOVE, "limits: { concurrency: 8 }")).expect(0);
    check_moved(&world, &before);
}

#[test]
fn servers_with_habits_of_their_own_get_the_same_story() {
    for (what, personality) in [
        ("Ceph RGW", rgw()),
        ("no conditional writes", Personality { refuses_copy_conditions: true, ..Personality::default() }),
        ("no version ids", Personality { copies_tell_no_version_id: true, ..Personality::default() }),
    ] {
        let source = Seed { same_data_share: 0.3, storage_classes: vec!["STANDARD".into()], ..mixed(25) };
        let piles_up = !personality.markers_do_not_pile_up;
        let config = Config { seeds: vec![source, empty(DESTINATION)], personality, ..Config::default() };
        let world = World::with(config);
        let before = world.entries();
        world.run(&transfer(&world, MOVE, "")).expect(0);
        assert_eq!(world.entries(), [], "{what}");
        if piles_up {
            assert_eq!(stories(&there(&world, DESTINATION)), stories(&before), "{what}");
        } else {
            let mut wanted = stories(&before);
            let is_twice =
                |a: &(Kind, u64, String), b: &(Kind, u64, String)| a.0 == Kind::DeleteMarker && a == b;
            wanted.values_mut().for_each(|story| story.dedup_by(|a, b| is_twice(a, b)));
            assert_eq!(stories(&there(&world, DESTINATION)), wanted, "{what}");
        }
    }
}

/// What Ceph RGW 16 does otherwise when it copies.
fn rgw() -> Personality {
    Personality {
        ignores_copy_conditions: true,
        copies_tell_no_version_id: true,
        markers_do_not_pile_up: true,
        ..Personality::default()
    }
}

fn kills() -> u32 {
    std::env::var("S3SWEEP_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// Kills the run again and again while it works, then lets it end.
fn killed_again_and_again(world: &World, job: &std::path::Path, chance: &mut fastrand::Rng) -> (u32, Ended) {
    let mut killed = 0;
    for _ in 0..kills() {
        let mut running = world.start_run(job);
        let copies = world.requests(Operation::CopyObject) + world.requests(Operation::DeleteObjects);
        wait_until("work", || {
            running.has_ended()
                || world.requests(Operation::CopyObject) + world.requests(Operation::DeleteObjects) > copies
        });
        std::thread::sleep(Duration::from_millis(chance.u64(0..150)));
        let ended = running.kill();
        if !ended.was_killed() {
            return (killed, ended);
        }
        killed += 1;
    }
    (killed, world.run(job))
}

#[test]
fn kills_and_faults_together_double_and_lose_nothing() {
    let seed = std::env::var("S3SWEEP_SEED").ok().map_or_else(
        || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
        |text| text.parse().unwrap(),
    );
    println!("S3SWEEP_SEED={seed}");
    let latency =
        |operation, fixed_ms| Latency { operation: Some(operation), fixed_ms, per_key_us: 50, sigma: 0.3 };
    let faults = Faults {
        latency: vec![latency(Operation::CopyObject, 12), latency(Operation::DeleteObjects, 20)],
        seed,
        ..faulty()
    };
    let world = world_of(u64::from(60 + 12 * kills()), faults);
    let before = world.entries();
    let job = transfer(&world, MOVE, "limits: { concurrency: 6 }");
    let (killed, ended) = killed_again_and_again(&world, &job, &mut fastrand::Rng::with_seed(seed));
    ended.expect(0);
    assert!(killed > 0, "it was never killed at work");
    check_moved(&world, &before);
}

#[test]
fn a_history_that_breaks_keeps_its_source() {
    let world = world_of(6, Faults::default());
    let before = world.entries();
    let versions = |key: &Key| before.iter().filter(|entry| entry.key == *key).count();
    let broken = before.iter().map(|entry| &entry.key).find(|key| versions(key) > 2).unwrap().clone();
    world.sandbox.set_faults(Faults {
        scripted_requests: vec![ScriptedRequest {
            operation: Operation::CopyObject,
            nth: 2,
            kind: FaultKind::Error("AccessDenied".into()),
        }],
        ..Faults::default()
    });
    let run = world.run(&transfer(&world, MOVE, "limits: { concurrency: 1 }"));
    run.expect(1);
    let lines = world.audit();
    let failed: Vec<_> = lines.iter().filter(|line| line.outcome == "failed").collect();
    assert_eq!(failed.len(), 1, "{broken}");
    let key = failed[0].key_bytes().unwrap();
    let left: Vec<_> = world.entries();
    assert_eq!(left.len(), versions(&key), "all of the broken history is left, and nothing else");
    assert!(left.iter().all(|entry| entry.key == key));
    let skipped = lines.iter().filter(|line| line.reason.as_deref() == Some("chain-broken")).count();
    assert_eq!(skipped + 1, versions(&key));
}

#[test]
fn somebody_elses_version_at_the_destination_ends_the_history_and_keeps_its_source() {
    let item = |age_secs: f64| SeedItem { key: "k".into(), age_secs, size_bytes: 5, ..SeedItem::default() };
    let source = Seed { items: vec![item(300.0), item(200.0)], ..empty(BUCKET) };
    let theirs = Seed { items: vec![item(100.0)], ..empty(DESTINATION) };
    let world = World::with(Config { seeds: vec![source, theirs], ..Config::default() });
    world.run(&transfer(&world, MOVE, "")).expect(1);
    assert_eq!(world.count(), 2, "the source stays");
    assert_eq!(there(&world, DESTINATION).len(), 1);
    world.run(&transfer(&world, "{ move: { bucket: destination, if_exists: append } }", "")).expect(0);
    assert_eq!(world.count(), 0);
    assert_eq!(there(&world, DESTINATION).len(), 3);
}

#[test]
fn a_source_under_another_name_of_its_server_never_counts_as_its_own_copy() {
    let world = world_of(5, Faults::default());
    let before = world.entries();
    let alias = world.sandbox.endpoint().replace("127.0.0.1", "localhost");
    assert_ne!(alias, world.sandbox.endpoint());
    for (settings, code) in [("skip_same", "DestinationIsSource"), ("fail", "DestinationExists")] {
        let action =
            format!("{{ move: {{ bucket: {BUCKET}, endpoint: \"{alias}\", if_exists: {settings} }} }}");
        world.run(&transfer(&world, &action, "")).expect(1);
        assert_eq!(world.entries(), before, "{settings}");
        assert!(world.audit().iter().any(|line| line.code.as_deref() == Some(code)), "{settings}");
    }
}

/// Two rules that write to one key of the destination, from versions that look alike: neither takes a copy of
/// the other's for its own.
#[test]
fn two_rules_that_come_to_one_key_lose_nothing() {
    for (if_exists, all_travel) in [("append", true), ("fail", false)] {
        let source = Seed {
            keys: 60,
            versions_per_key: 2,
            same_data_share: 1.0,
            latest_marker_share: 0.0,
            noncurrent_marker_share: 0.0,
            orphan_marker_share: 0.0,
            storage_classes: vec!["STANDARD".into()],
            ..mixed(60)
        };
        let seeds = vec![source, empty(DESTINATION)];
        let world = World::with(Config { seeds, faults: faulty(), ..Config::default() });
        let before = world.entries();
        let rule = |name: &str, state: &str, class: &str| {
            format!(
                "- {{ name: {name}, match: {{ state: {state} }}, action: {{ move: {{ bucket: {DESTINATION}, \
                 if_exists: {if_exists}, storage_class: {class} }} }} }}\n"
            )
        };
        let rules = rule("now", "current", "STANDARD_IA") + &rule("then", "noncurrent", "STANDARD");
        let job = world.job(&format!(
            "confirm: false\nallow_promotion: true\nlimits: {{ adaptive: false, concurrency: 16 }}\nrules:\n{rules}"
        ));
        world.run(&job).expect(i32::from(!all_travel));
        let (left, there) = (world.entries().len(), there(&world, DESTINATION).len());
        // The latest of a key stays beside its copy where its elder could not travel.
        let lines = world.audit();
        let beside = lines.iter().filter(|line| line.reason.as_deref() == Some("elder-remains")).count();
        assert_eq!(left + there, before.len() + beside, "{if_exists}: a version is lost or doubled");
        assert!(beside == 0 || !all_travel, "{if_exists}");
        assert_eq!(left == 0, all_travel, "{if_exists}");
    }
}

/// A move whose copies are all verified, and which was killed before any source was deleted.
fn killed_before_its_deletions(keys: u64) -> (World, std::path::PathBuf) {
    let world = world_of(keys, Faults::default());
    let refused = RequestErrors {
        operation: Some(Operation::DeleteObjects),
        share: 1.0,
        code: "InternalError".into(),
        retry_after_secs: None,
    };
    world.sandbox.set_faults(Faults { request_errors: vec![refused], ..Faults::default() });
    let job = transfer(&world, MOVE, "");
    let entries = world.entries().len();
    let mut running = world.start_run(&job);
    wait_until("the deletions", || {
        running.has_ended()
            || (there(&world, DESTINATION).len() == entries
                && world.requests(Operation::DeleteObjects) > 0
                && world.status()["copied_not_deleted"] == entries)
    });
    assert!(running.kill().was_killed());
    world.sandbox.set_faults(Faults::default());
    (world, job)
}

#[test]
fn copies_that_went_while_nobody_worked_keep_their_sources() {
    let (world, job) = killed_before_its_deletions(30);
    let before = world.entries();
    let store = world.sandbox.store();
    // Of every third key all, of the others of every third the oldest, of the rest nothing.
    let mut removed = Vec::new();
    for (at, (key, _)) in stories(&before).iter().enumerate() {
        let of_key: Vec<_> =
            there(&world, DESTINATION).into_iter().filter(|entry| entry.key == *key).collect();
        let gone = match at % 3 {
            0 => &of_key[..],
            1 => &of_key[of_key.len() - 1..],
            _ => &[],
        };
        for entry in gone {
            assert!(store.delete_version(DESTINATION, entry.key.clone(), &entry.id).unwrap());
        }
        removed.push((key.clone(), gone.len(), of_key.len()));
    }
    world.run(&job).expect(1);
    let left = stories(&world.entries());
    for (key, gone, all) in removed {
        let stays = left.get(&key).map_or(0, Vec::len);
        // The latest stays where an elder does.
        let wanted = if gone == 0 || gone == all { gone } else { gone + 1 };
        assert_eq!(stays, wanted, "{key}: {gone} of {all} copies were removed");
    }
    let failed = |line: &s3sweep::report::AuditLine<'_>| line.outcome == "failed";
    let codes: Vec<_> =
        world.audit().iter().filter(|line| failed(line)).map(|line| line.code.clone().unwrap()).collect();
    assert!(!codes.is_empty() && codes.iter().all(|code| code == "VerificationFailed"), "{codes:?}");
}

#[test]
fn copies_that_are_there_still_are_not_made_again() {
    let (world, job) = killed_before_its_deletions(30);
    let (before, copies) = (world.entries(), world.requests(Operation::CopyObject));
    world.run(&job).expect(0);
    assert_eq!(world.requests(Operation::CopyObject), copies);
    check_moved(&world, &before);
}

#[test]
fn deletions_wait_for_a_destination_that_cannot_be_looked_at() {
    let (world, job) = killed_before_its_deletions(10);
    let before = world.entries();
    let refused = RequestErrors {
        operation: Some(Operation::ListObjectVersions),
        share: 1.0,
        code: "InternalError".into(),
        retry_after_secs: None,
    };
    world.sandbox.set_faults(Faults { request_errors: vec![refused], ..Faults::default() });
    let looks = world.requests(Operation::ListObjectVersions);
    let deletions = world.requests(Operation::DeleteObjects);
    let running = world.start_run(&job);
    wait_until("looks in vain", || world.requests(Operation::ListObjectVersions) > looks + 8);
    assert_eq!((world.entries(), world.requests(Operation::DeleteObjects)), (before.clone(), deletions));
    world.sandbox.set_faults(Faults::default());
    running.wait().expect(0);
    check_moved(&world, &before);
}
