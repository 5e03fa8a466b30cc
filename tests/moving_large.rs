//! Large versions travel in parts: nothing is lost or doubled, whatever befalls a part, and no upload stays
//! behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::histories::{
    DESTINATION, MOVE, check_moved, contents, empty, failures, item, marker, stories, there, transfer,
    transfer_where, world_with,
};
use common::{BUCKET, World, wait_until};
use s3sweep::sandbox::{
    Config, FaultKind, Faults, LateErrors, Latency, Operation, Personality, RequestErrors, Resets,
    ScriptedRequest, Seed, SeedItem, When,
};

const MIB: u64 = 1 << 20;
const IN_PARTS: &str = "{ move: { bucket: destination, multipart_above: 5MiB, part_size: 5MiB } }";

/// Histories of large and small versions, neighbours alike and markers among them.
fn histories() -> Vec<SeedItem> {
    let alike = |age| SeedItem { data_seed: Some(5), ..item("b", age, 11 * MIB, 5 * MIB) };
    let mut items = vec![
        item("a", 900.0, 12 * MIB, 5 * MIB),
        item("a", 800.0, 10, 0),
        marker("a", 700.0),
        item("a", 600.0, 21 * MIB, 5 * MIB),
    ];
    items.extend([alike(900.0), alike(800.0), marker("b", 700.0), alike(600.0)]);
    items.extend([item("c", 900.0, 5 * MIB + 1, 5 * MIB), marker("c", 800.0), marker("c", 700.0)]);
    items
}

fn scripted(operation: Operation, nth: u64, kind: FaultKind) -> ScriptedRequest {
    ScriptedRequest { operation, nth, kind }
}

fn world_of_scripts(items: Vec<SeedItem>, scripts: &[ScriptedRequest]) -> World {
    world_with(items, Faults { scripted_requests: scripts.to_vec(), ..Faults::default() })
}

#[test]
fn six_gib_travel_in_the_parts_that_they_came_in_and_keep_their_etag() {
    let big = SeedItem {
        tags: [("t".to_owned(), "1".to_owned())].into(),
        ..item("big", 300.0, 6 << 30, 512 * MIB)
    };
    let odd = item("odd", 300.0, (5 << 30) + 1, 1 << 30);
    let exact = item("exact", 300.0, 5 << 30, 0);
    let items = vec![item("big", 400.0, 5, 0), big, marker("big", 200.0), odd, exact];
    let source = Seed { items, ..empty(BUCKET) };
    let world = World::with(Config { seeds: vec![source, empty(DESTINATION)], ..Config::default() });
    let before = world.entries();
    let data = contents(&world, BUCKET);
    world.run(&transfer(&world, MOVE, "")).expect(0);
    check_moved(&world, &before);
    assert_eq!(contents(&world, DESTINATION), data);
    assert_eq!(world.requests(Operation::UploadPartCopy), 12 + 6, "5 GiB go in one request");
    let after = there(&world, DESTINATION);
    let copy = after.iter().find(|entry| entry.size == 6 << 30).unwrap();
    let details = world.sandbox.store().details(DESTINATION, "big", &copy.id).unwrap();
    assert_eq!((details.parts.len(), details.tags["t"].as_str()), (12, "1"));
}

#[test]
fn a_free_layout_is_verified_by_its_bytes() {
    let world = world_with(vec![item("k", 300.0, 12 * MIB, 0)], Faults::default());
    let data = contents(&world, BUCKET);
    world.run(&transfer(&world, IN_PARTS, "")).expect(0);
    assert_eq!(contents(&world, DESTINATION), data);
    assert_eq!((world.count(), world.requests(Operation::UploadPartCopy)), (0, 3));
    assert!(world.requests(Operation::GetObject) > 0, "its ETag says nothing");
}

#[test]
fn histories_in_parts_tell_the_same_story() {
    let world = world_with(histories(), Faults::default());
    let before = world.entries();
    world.run(&transfer(&world, IN_PARTS, "")).expect(0);
    check_moved(&world, &before);
    assert_eq!(world.sandbox.store().uploads_under_way(DESTINATION), 0);
}

#[test]
fn parts_that_the_server_lost_are_sent_again() {
    let lose = |nth| scripted(Operation::UploadPartCopy, nth, FaultKind::LosePart);
    let world = world_of_scripts(vec![item("k", 300.0, 24 * MIB, 5 * MIB)], &[lose(2), lose(5), lose(6)]);
    let before = world.entries();
    world.run(&transfer(&world, IN_PARTS, "")).expect(0);
    check_moved(&world, &before);
    assert_eq!(world.requests(Operation::UploadPartCopy), 5 + 2 + 1, "nothing but what was lost");
    assert_eq!(world.requests(Operation::CreateMultipartUpload), 1);
    assert_eq!(world.sandbox.store().uploads_under_way(DESTINATION), 0);
}

#[test]
fn an_upload_that_is_said_to_be_gone_is_looked_at_before_another_is_begun() {
    for operation in [Operation::UploadPartCopy, Operation::CompleteMultipartUpload] {
        let gone = scripted(operation, 1, FaultKind::Error("NoSuchUpload".into()));
        let world = world_of_scripts(vec![item("k", 300.0, 12 * MIB, 5 * MIB)], &[gone]);
        let before = world.entries();
        world.run(&transfer(&world, IN_PARTS, "")).expect(0);
        check_moved(&world, &before);
        assert_eq!(world.requests(Operation::CreateMultipartUpload), 1, "{operation:?}");
        assert_eq!(world.sandbox.store().uploads_under_way(DESTINATION), 0);
    }
}

#[test]
fn each_fault_of_each_request_of_an_upload_is_lived_through() {
    use FaultKind::{Error, LateError, Reset};
    let late = |when| LateError { code: "InternalError".into(), when };
    let kinds = [
        late(When::BeforeApplying),
        late(When::AfterApplying),
        Reset(When::BeforeApplying),
        Reset(When::AfterApplying),
        Error("SlowDown".into()),
        Error("InternalError".into()),
    ];
    let operations = [
        Operation::CreateMultipartUpload,
        Operation::UploadPartCopy,
        Operation::CompleteMultipartUpload,
        Operation::ListObjectVersions,
    ];
    for operation in operations {
        for kind in &kinds {
            let alike = |age| SeedItem { data_seed: Some(1), ..item("k", age, 6 * MIB, 5 * MIB) };
            let script = scripted(operation, 2, kind.clone());
            let world = world_of_scripts(vec![alike(300.0), alike(200.0), alike(100.0)], &[script]);
            let before = world.entries();
            let ended = world.run(&transfer(&world, IN_PARTS, ""));
            assert_eq!(ended.code(), Some(0), "{operation:?} {kind:?}: {}", ended.stderr);
            check_moved(&world, &before);
            let lost_answer =
                matches!(kind, LateError { when: When::AfterApplying, .. } | Reset(When::AfterApplying));
            if !(operation == Operation::CreateMultipartUpload && lost_answer) {
                let left = world.sandbox.store().uploads_under_way(DESTINATION);
                assert_eq!(left, 0, "{operation:?} {kind:?}");
            }
        }
    }
}

/// Five of a hundred of each kind, of each request that an upload is made of.
fn faulty(seed: u64) -> Faults {
    let parts = [Operation::UploadPartCopy, Operation::CompleteMultipartUpload];
    let late = |operation: Operation, when| LateErrors {
        operation: Some(operation),
        share: 0.05,
        code: "InternalError".into(),
        when,
    };
    let reset = |operation: Operation, when| Resets { operation: Some(operation), share: 0.05, when };
    let slow = |operation: Operation| RequestErrors {
        operation: Some(operation),
        share: 0.05,
        code: "SlowDown".into(),
        retry_after_secs: None,
    };
    let whens = [When::BeforeApplying, When::AfterApplying];
    Faults {
        seed,
        lost_parts: 0.05,
        late_errors: parts.iter().flat_map(|of| whens.map(|when| late(*of, when))).collect(),
        resets: parts.iter().flat_map(|of| whens.map(|when| reset(*of, when))).collect(),
        request_errors: parts.map(slow).to_vec(),
        ..Faults::default()
    }
}

#[test]
fn parts_under_faults_and_kills_double_and_lose_nothing() {
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let latency = Latency { operation: Some(Operation::UploadPartCopy), fixed_ms: 15, ..Latency::default() };
    let mut items = histories();
    for n in 0..12 {
        let key = format!("more/{n}");
        items.push(item(&key, 500.0, 60 * MIB, 5 * MIB));
        items.push(item(&key, 400.0, 6 * MIB + n, 5 * MIB));
    }
    let source = Seed { items, ..empty(BUCKET) };
    let faults = Faults { latency: vec![latency], ..faulty(seed) };
    let seeds = vec![source, empty(DESTINATION)];
    let world = World::with(Config { seeds, faults, ..Config::default() });
    let before = world.entries();
    let job = transfer(&world, IN_PARTS, "limits: { concurrency: 4 }");
    let mut killed = 0;
    for _ in 0..6 {
        let mut running = world.start_run(&job);
        let parts = world.requests(Operation::UploadPartCopy) + chance.u64(1..40);
        wait_until("parts", || running.has_ended() || world.requests(Operation::UploadPartCopy) > parts);
        killed += u32::from(running.kill().was_killed());
    }
    world.run(&job).expect(0);
    assert!(killed > 2, "it was killed {killed} times only");
    check_moved(&world, &before);
}

fn slow(operation: Operation, fixed_ms: u64) -> Faults {
    let latency = Latency { operation: Some(operation), fixed_ms, ..Latency::default() };
    Faults { latency: vec![latency], ..Faults::default() }
}

#[test]
fn a_kill_among_the_parts_costs_only_those_under_way() {
    let source = Seed { items: vec![item("k", 300.0, 300 * MIB, 5 * MIB)], ..empty(BUCKET) };
    let faults = slow(Operation::UploadPartCopy, 80);
    let seeds = vec![source, empty(DESTINATION)];
    let world = World::with(Config { seeds, faults, ..Config::default() });
    let before = world.entries();
    let job = transfer(&world, IN_PARTS, "");
    let running = world.start_run(&job);
    wait_until("parts", || world.requests(Operation::UploadPartCopy) > 24);
    assert!(running.kill().was_killed());
    assert_eq!(world.sandbox.store().uploads_under_way(DESTINATION), 1);
    world.run(&job).expect(0);
    check_moved(&world, &before);
    let parts = world.requests(Operation::UploadPartCopy);
    assert!((60..=60 + 16).contains(&parts), "{parts} parts were sent for 60");
    assert_eq!(world.requests(Operation::CreateMultipartUpload), 1);
    assert_eq!(world.sandbox.store().uploads_under_way(DESTINATION), 0);
}

#[test]
fn an_upload_that_was_completed_before_a_kill_is_not_made_again() {
    let alike = |age| SeedItem { data_seed: Some(1), ..item("k", age, 6 * MIB, 5 * MIB) };
    let world = world_with(vec![alike(300.0), alike(200.0)], slow(Operation::CompleteMultipartUpload, 600));
    let before = world.entries();
    let job = transfer(&world, IN_PARTS, "");
    for count in [1, 2] {
        let running = world.start_run(&job);
        // It is there before the answer leaves.
        wait_until("a copy", || there(&world, DESTINATION).len() == count);
        assert!(running.kill().was_killed());
    }
    world.run(&job).expect(0);
    check_moved(&world, &before);
    assert_eq!(world.requests(Operation::CompleteMultipartUpload), 2);
    assert_eq!(world.sandbox.store().uploads_under_way(DESTINATION), 0);
}

#[test]
fn what_fails_for_good_ends_its_upload_and_keeps_its_source() {
    for operation in [Operation::UploadPartCopy, Operation::CompleteMultipartUpload] {
        let denied = scripted(operation, 1, FaultKind::Error("AccessDenied".into()));
        let items = vec![item("k", 300.0, 60 * MIB, 5 * MIB), item("k", 200.0, 7, 0)];
        let world = world_of_scripts(items, &[denied]);
        let before = world.entries();
        world.run(&transfer(&world, IN_PARTS, "")).expect(1);
        assert_eq!(world.entries(), before, "{operation:?}");
        assert_eq!(there(&world, DESTINATION), []);
        assert_eq!(world.sandbox.store().uploads_under_way(DESTINATION), 0, "{operation:?}");
        assert_eq!(failures(&world), ["AccessDenied"]);
    }
}

#[test]
fn what_is_given_up_ends_its_upload_and_keeps_its_source() {
    let items = vec![item("k", 300.0, 7, 0), item("k", 200.0, 12 * MIB, 5 * MIB)];
    let refused = RequestErrors {
        operation: Some(Operation::UploadPartCopy),
        share: 1.0,
        code: "InternalError".into(),
        retry_after_secs: None,
    };
    let world = world_with(items, Faults { request_errors: vec![refused], ..Faults::default() });
    let before = world.entries();
    let job = transfer_where(&world, IN_PARTS, "any", "retry: { give_up_after: 2s }");
    world.run(&job).expect(1);
    assert_eq!(world.entries(), before);
    assert_eq!(world.sandbox.store().uploads_under_way(DESTINATION), 0);
    assert_eq!(failures(&world), ["GaveUp"]);
    let lines = world.audit();
    let copied: Vec<_> = lines.iter().filter(|line| line.copied_to.is_some()).collect();
    assert_eq!(
        (copied.len(), there(&world, DESTINATION).len()),
        (1, 1),
        "the audit says what was left there"
    );
    assert_eq!(copied[0].reason.as_deref(), Some("chain-broken"));
}

#[test]
fn servers_without_conditions_take_parts_as_well() {
    for personality in [
        Personality {
            ignores_copy_conditions: true,
            copies_tell_no_version_id: true,
            ..Personality::default()
        },
        Personality { refuses_copy_conditions: true, ..Personality::default() },
    ] {
        let source = Seed { items: histories(), ..empty(BUCKET) };
        let seeds = vec![source, empty(DESTINATION)];
        let config = Config { seeds, personality, faults: faulty(3), ..Config::default() };
        let world = World::with(config);
        let before = world.entries();
        world.run(&transfer(&world, IN_PARTS, "")).expect(0);
        assert_eq!(world.entries(), []);
        assert_eq!(stories(&there(&world, DESTINATION)), stories(&before));
    }
}
