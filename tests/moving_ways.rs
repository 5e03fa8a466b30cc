//! Ways that histories take: out of archives, within a bucket, to keys made by templates; and runs that are
//! stopped, cut by a budget or a deadline, or planned first.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeMap;

use common::histories::{
    COPY, DESTINATION, MOVE, check_moved, contents, empty, failures, item, marker, stories, there, transfer,
    transfer_where, world_of, world_with,
};
use common::{BUCKET, World, mixed, wait_until};
use s3sweep::model::{Key, Version, VersioningStatus};
use s3sweep::sandbox::{Config, Effect, Faults, Latency, Operation, Seed, SeedItem};

fn slow(operation: Operation, fixed_ms: u64) -> Faults {
    let latency = Latency { operation: Some(operation), fixed_ms, ..Latency::default() };
    Faults { latency: vec![latency], ..Faults::default() }
}

// Archives

fn archived(key: &str, age_secs: f64, size_bytes: u64) -> SeedItem {
    SeedItem { storage_class: Some("GLACIER".into()), ..item(key, age_secs, size_bytes, 0) }
}

/// For each version, oldest first: why it was skipped.
fn reasons(world: &World) -> Vec<(String, String)> {
    let mut reasons: Vec<_> = world
        .audit()
        .iter()
        .filter(|line| line.outcome == "skipped")
        .map(|line| {
            (line.key_bytes().unwrap().to_string(), line.reason.clone().unwrap_or_default().into_owned())
        })
        .collect();
    reasons.sort();
    reasons
}

#[test]
fn archived_versions_are_asked_for_once_and_go_when_they_are_there() {
    let items = vec![
        item("a", 500.0, 5, 0),
        archived("a", 400.0, 6),
        item("a", 300.0, 7, 0),
        archived("a", 200.0, 8),
        item("b", 500.0, 5, 0),
    ];
    let source = Seed { items, ..empty(BUCKET) };
    let seeds = vec![source, empty(DESTINATION)];
    let world = World::with(Config { seeds, restore_secs: 60, ..Config::default() });
    let before = world.entries();
    let histories_of_a: Vec<Version> = before.iter().filter(|v| v.key == Key::from("a")).cloned().collect();
    let wanted = stories(&before);
    let reason = |text: &str| ("a".to_owned(), text.to_owned());
    let parked =
        [reason("chain-broken"), reason("chain-broken"), reason("needs-restore"), reason("needs-restore")];

    world.run(&transfer(&world, MOVE, "")).expect(1);
    assert_eq!(reasons(&world), parked, "those that are archived are named");
    assert_eq!((world.entries(), world.requests(Operation::RestoreObject)), (histories_of_a.clone(), 0));
    assert_eq!(there(&world, DESTINATION).len(), 1);

    let action = "{ move: { bucket: destination, restore: { days: 2, tier: bulk } } }";
    for _ in 0..2 {
        world.run(&transfer(&world, action, "")).expect(1);
        assert_eq!(reasons(&world), parked);
        assert_eq!(world.entries(), histories_of_a);
        assert_eq!(world.requests(Operation::RestoreObject), 2, "each is asked for once");
    }
    world.sandbox.set_clock_offset(70_000);
    world.run(&transfer(&world, action, "")).expect(0);
    assert_eq!(world.requests(Operation::RestoreObject), 2);
    assert_eq!(stories(&there(&world, DESTINATION)), wanted);
    assert_eq!(world.entries(), []);
}

// Within a bucket

#[test]
fn a_prefix_is_renamed() {
    let world = World::new(Seed { storage_classes: vec!["STANDARD".into()], ..mixed(60) });
    let before = world.entries();
    let action = "{ move: { key: \"moved/{key_without_prefix}\" } }";
    let job = transfer(&world, action, "scope: { prefixes: [data/] }");
    world.run(&job).expect(0);
    let renamed = |key: &Key| match key.as_str().unwrap().strip_prefix("data/") {
        Some(rest) => Key::from(&*format!("moved/{rest}")),
        None => key.clone(),
    };
    let wanted: BTreeMap<_, _> =
        stories(&before).into_iter().map(|(key, story)| (renamed(&key), story)).collect();
    assert_eq!(stories(&world.entries()), wanted);
    world.run(&job).expect(0);
    assert_eq!(stories(&world.entries()), wanted, "a second run finds nothing");
}

const TO_IA: &str = "storage_class: STANDARD_IA";

fn classes(world: &World) -> Vec<(u64, String)> {
    let class = |entry: &Version| entry.storage_class.as_deref().unwrap_or("STANDARD").to_owned();
    world.entries().iter().map(|entry| (entry.size, class(entry))).collect()
}

#[test]
fn the_current_version_changes_its_class_in_place() {
    for (word, wanted) in [
        ("move", vec![(6, "STANDARD_IA"), (5, "STANDARD")]),
        ("copy", vec![(6, "STANDARD_IA"), (6, "STANDARD"), (5, "STANDARD")]),
    ] {
        let world = world_with(vec![item("k", 300.0, 5, 0), item("k", 200.0, 6, 0)], Faults::default());
        let action = format!("{{ {word}: {{ {TO_IA} }} }}");
        let job = transfer_where(&world, &action, "current", "allow_promotion: true");
        world.run(&job).expect(0);
        let wanted: Vec<_> = wanted.into_iter().map(|(size, class)| (size, class.to_owned())).collect();
        assert_eq!(classes(&world), wanted, "{word}");
    }
}

#[test]
fn a_version_written_meanwhile_is_not_hidden_by_a_copy_in_place() {
    // Between the plan and the copy, and between the look and the copy.
    for is_late in [false, true] {
        let world = world_with(vec![item("k", 300.0, 5, 0), item("l", 300.0, 5, 0)], Faults::default());
        let job = transfer_where(&world, &format!("{{ move: {{ {TO_IA} }} }}"), "current", "");
        let job = job.to_str().unwrap();
        world.call(&["plan", job]).expect(0);
        let write = || {
            let now = world.sandbox.now();
            world.sandbox.store().put(BUCKET, "k", 9, now).unwrap()
        };
        let newest = if is_late {
            world.sandbox.set_faults(slow(Operation::CopyObject, 800));
            let running = world.start(&["apply", job, "--yes"]);
            // Its effect comes in the middle.
            wait_until("copies", || world.requests(Operation::CopyObject) >= 2);
            let newest = write();
            running.wait().expect(1);
            newest
        } else {
            let newest = write();
            world.call(&["apply", job, "--yes"]).expect(1);
            newest
        };
        let entries = world.entries();
        assert_eq!((entries.len(), &entries[0].id), (3, &newest), "{is_late} {entries:?}");
        assert!(entries[0].is_latest);
        assert_eq!(failures(&world), [if is_late { "DestinationConflict" } else { "SourceChanged" }]);
        assert_eq!(classes(&world)[2], (5, "STANDARD_IA".to_owned()), "the other key is done");
    }
}

// Keys

#[test]
fn templates_make_a_key_of_each_version_or_of_each_month() {
    let day = 86_400.0;
    let ages = [200.0, 199.9, 100.0, 40.0, 39.9];
    let items: Vec<_> =
        ages.iter().enumerate().map(|(n, age)| item("k/a b", age * day, 5 + n as u64, 0)).collect();
    let world = world_with(items, Faults::default());
    let before = world.entries();
    let states = "[current, noncurrent]";
    let by_version = "{ copy: { bucket: destination, key: \"v/{version_id}/{key}\" } }";
    world.run(&transfer_where(&world, by_version, states, "")).expect(0);
    let wanted: BTreeMap<Key, Vec<u64>> = before
        .iter()
        .map(|version| (Key::from(&*format!("v/{}/k/a b", version.id)), vec![version.size]))
        .collect();
    let sizes = |prefix: &str| -> BTreeMap<Key, Vec<u64>> {
        let story =
            |story: Vec<(s3sweep::model::Kind, u64, String)>| story.iter().map(|entry| entry.1).collect();
        let stories = stories(&there(&world, DESTINATION)).into_iter();
        stories
            .filter(|(key, _)| key.as_str().unwrap().starts_with(prefix))
            .map(|(key, entries)| (key, story(entries)))
            .collect()
    };
    assert_eq!(sizes("v/"), wanted);

    let by_month = "{ copy: { bucket: destination, key: \"m/{last_modified:%Y-%m}/{key}\" } }";
    world.run(&transfer_where(&world, by_month, states, "")).expect(0);
    let mut wanted: BTreeMap<Key, Vec<u64>> = BTreeMap::new();
    for version in before.iter().rev() {
        let month = version.last_modified.to_string()[..7].to_owned();
        wanted.entry(Key::from(&*format!("m/{month}/k/a b"))).or_default().push(version.size);
    }
    assert!(wanted.len() > 2, "{wanted:?}");
    assert_eq!(sizes("m/"), wanted);
}

#[test]
fn a_key_that_grows_too_long_fails_and_keeps_its_source() {
    let (short, long) = ("s".to_owned(), "l".repeat(100));
    let items = vec![item(&short, 300.0, 5, 0), item(&long, 300.0, 5, 0), marker(&long, 200.0)];
    let world = world_with(items, Faults::default());
    let action = format!("{{ move: {{ bucket: destination, prefix: \"{}/\" }} }}", "p".repeat(999));
    world.run(&transfer(&world, &action, "")).expect(1);
    assert_eq!(world.count(), 2, "both entries of the long key");
    assert_eq!(there(&world, DESTINATION).len(), 1);
    assert_eq!(failures(&world).len(), 1);
}

// Verification

#[test]
fn what_became_of_the_copies_is_looked_at_before_the_source_goes() {
    for is_removed in [true, false] {
        let world = world_with(vec![item("k", 300.0, 5, 0)], slow(Operation::CopyObject, 1000));
        let before = world.entries();
        let job = transfer(&world, MOVE, "");
        let running = world.start_run(&job);
        // It is there before the answer leaves.
        wait_until("a copy", || !there(&world, DESTINATION).is_empty());
        let copy = there(&world, DESTINATION)[0].id.clone();
        let store = world.sandbox.store();
        if is_removed {
            store.delete_version(DESTINATION, "k", &copy).unwrap();
        } else {
            store.put(DESTINATION, "k", 5, world.sandbox.now()).unwrap();
        }
        running.wait().expect(1);
        assert_eq!(world.entries(), before, "the source stays");
        assert_eq!(failures(&world), ["VerificationFailed"]);
    }
}

// Stops

/// How many entries came into being, and how many went.
fn done(world: &World) -> (usize, usize) {
    let log = world.sandbox.oplog();
    let count = |of: &[Effect]| log.iter().filter(|record| of.contains(&record.effect)).count();
    (count(&[Effect::Created, Effect::MarkerCreated]), count(&[Effect::Deleted, Effect::MarkerDeleted]))
}

#[test]
fn an_interrupt_ends_soon_and_the_next_run_goes_on() {
    let world = world_of(60, slow(Operation::CopyObject, 150));
    let before = world.entries();
    let job = transfer(&world, MOVE, "limits: { concurrency: 8 }");
    let running = world.start_run(&job);
    wait_until("copies", || done(&world).0 > 20);
    running.signal("INT");
    let since = std::time::Instant::now();
    running.wait().expect(75);
    assert!(since.elapsed().as_secs() < 5, "{:?}", since.elapsed());
    assert!(world.count() > 0, "it was not done");
    world.run(&job).expect(0);
    check_moved(&world, &before);
}

#[test]
fn a_budget_lets_whole_histories_go_and_never_more_than_it_says() {
    let mut items = Vec::new();
    for n in 0..9 {
        let key = format!("k{n}");
        items.extend([
            item(&key, 400.0, 5, 0),
            item(&key, 300.0, 5, 0),
            marker(&key, 200.0),
            item(&key, 100.0, 6, 0),
        ]);
    }
    for (action, moves) in [(MOVE, true), (COPY, false)] {
        let world = world_with(items.clone(), Faults::default());
        let before = world.entries();
        let job = transfer(&world, action, "budget: { max_versions: 10 }");
        let mut so_far = (0, 0);
        let mut runs = 0;
        loop {
            runs += 1;
            let ended = world.run(&job);
            let now = done(&world);
            assert_eq!((now.0 - so_far.0) % 4, 0, "whole histories");
            assert!(now.0 - so_far.0 <= 10 && now.1 - so_far.1 <= 10, "{so_far:?} {now:?}");
            assert_eq!(now.1, if moves { now.0 } else { 0 }, "what was copied is removed in the same window");
            so_far = now;
            if ended.code() != Some(78) {
                ended.expect(0);
                break;
            }
        }
        assert_eq!(runs, 5, "two histories at a time");
        assert_eq!(stories(&there(&world, DESTINATION)), stories(&before));
        assert_eq!(world.count(), if moves { 0 } else { before.len() });
    }
}

#[test]
fn a_history_beyond_the_budget_is_named() {
    let items = (0..5).map(|n| item("long", 500.0 - f64::from(n), 5, 0)).collect();
    let world = world_with(items, Faults::default());
    world
        .run(&transfer(&world, MOVE, "budget: { max_versions: 4 }"))
        .expect(78)
        .says(&["long", "5 versions"]);
    assert_eq!(done(&world), (0, 0));
}

#[test]
fn a_deadline_ends_a_move_and_the_next_run_goes_on() {
    // Nothing in them that has to be waited for when it is taken up: no markers, no neighbours alike.
    let items = (0..60).flat_map(|n| {
        let key = format!("k{n:02}");
        [item(&key, 300.0, 500 + n, 0), item(&key, 200.0, 600 + n, 0)]
    });
    let world = world_with(items.collect(), slow(Operation::CopyObject, 120));
    let before = world.entries();
    let job = transfer(&world, MOVE, "limits: { concurrency: 4 }\nbudget: { deadline: 1s }");
    let mut late = 0;
    loop {
        let ended = world.run(&job);
        if ended.code() != Some(78) {
            ended.expect(0);
            break;
        }
        late += 1;
        assert!(late < 60, "it does not come to an end");
    }
    assert!(late > 0);
    check_moved(&world, &before);
}

#[test]
fn a_move_is_planned_and_then_applied() {
    let world = world_of(30, Faults::default());
    let before = world.entries();
    let job = transfer(&world, MOVE, "");
    let job = job.to_str().unwrap();
    let planned = world.call(&["plan", job, "--output", "json"]).expect(0).json();
    assert_eq!(planned["plan"]["planned"], before.len() as u64, "{planned}");
    assert_eq!(done(&world), (0, 0));
    world.call(&["apply", job, "--yes"]).expect(0);
    check_moved(&world, &before);
}

#[test]
fn a_copy_that_was_there_is_adopted_also_after_a_kill() {
    let items: Vec<_> = (0..40)
        .flat_map(|n| {
            let key = format!("k{n:02}");
            [item(&key, 300.0, 5 + n, 0), marker(&key, 200.0), item(&key, 100.0, 6 + n, 0)]
        })
        .collect();
    let world = world_with(items, Faults::default());
    let before = world.entries();
    world.run(&transfer(&world, COPY, "")).expect(0);
    let after = there(&world, DESTINATION);
    let data = contents(&world, DESTINATION);
    let action = "{ move: { bucket: destination, if_exists: skip_same } }";
    let job = transfer(&world, action, "limits: { concurrency: 2 }");
    for round in 0..6 {
        let looks = world.requests(Operation::ListObjectVersions) + 8 + 5 * round;
        let mut running = world.start_run(&job);
        wait_until("looks", || running.has_ended() || world.requests(Operation::ListObjectVersions) > looks);
        if !running.kill().was_killed() {
            break;
        }
    }
    if world.count() > 0 {
        world.run(&job).expect(0);
    }
    assert_eq!(there(&world, DESTINATION), after, "nothing was written");
    assert_eq!(contents(&world, DESTINATION), data);
    assert_eq!((world.count(), world.audit().len()), (0, before.len()));
}

// What must not be moved

#[test]
fn nothing_is_appended_to_the_source_under_another_name_of_its_bucket() {
    let items = vec![item("a", 500.0, 5, 0), item("a", 400.0, 6, 0), item("a", 300.0, 7, 0)];
    let world = world_with(items, Faults::default());
    let before = world.entries();
    let other_name = world.sandbox.endpoint().replace("127.0.0.1", "localhost");
    for word in ["move", "copy"] {
        let action =
            format!("{{ {word}: {{ bucket: {BUCKET}, endpoint: \"{other_name}\", if_exists: append }} }}");
        world.run(&transfer_where(&world, &action, "[noncurrent, noncurrent-marker]", "")).expect(1);
        assert_eq!(world.entries(), before, "{word}");
        assert_eq!(failures(&world), ["DestinationIsSource"], "{word}");
    }
}

#[test]
fn null_versions_that_can_be_replaced_are_not_moved() {
    let null = SeedItem { null: true, ..item("a", 500.0, 5, 0) };
    let source = Seed { items: vec![null], versioning: VersioningStatus::Suspended, ..empty(BUCKET) };
    let world = World::with(Config { seeds: vec![source, empty(DESTINATION)], ..Config::default() });
    let before = world.entries();
    let why = ["its versioning is suspended", "between its copy and its deletion", "copy instead"];
    world.run(&transfer(&world, MOVE, "null_versions: allow")).expect(2).says(&why);
    assert_eq!((world.entries(), there(&world, DESTINATION)), (before.clone(), vec![]));
    world.run(&transfer(&world, COPY, "null_versions: allow")).expect(0);
    assert_eq!((world.entries(), there(&world, DESTINATION).len()), (before, 1));
}

#[test]
fn a_destination_that_stops_keeping_versions_ends_the_run_and_every_source_stays() {
    let source =
        [900.0, 800.0, 700.0, 600.0, 500.0, 400.0, 300.0, 200.0].map(|age| item("a", age, 5, 0)).to_vec();
    let world = world_with(source, slow(Operation::CopyObject, 300));
    let before = world.entries();
    let running = world.start_run(&transfer(&world, MOVE, ""));
    wait_until("the first copy", || !there(&world, DESTINATION).is_empty());
    world.sandbox.store().set_status(DESTINATION, VersioningStatus::Suspended).unwrap();
    running.wait().expect(76).says(&["kept versions when the run began"]);
    assert_eq!(world.entries(), before);
}
