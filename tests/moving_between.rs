//! Histories that go through the program, from one server to another: read, written, and compared.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use common::histories::{
    DESTINATION, check_audit, check_stories, contents, empty, failures, item, marker, there, transfer,
    transfer_where,
};
use common::{BUCKET, World, mixed, wait_until};
use s3sweep::model::{Key, Version};
use s3sweep::sandbox::{
    Config, FaultKind, Faults, LateErrors, Latency, Operation, Personality, RequestErrors, Resets,
    ScriptedRequest, Seed, SeedItem, When,
};

const MIB: u64 = 1 << 20;

/// Source and destination.
struct Worlds {
    from: World,
    to: World,
}

type Contents = BTreeMap<Key, Vec<Option<String>>>;

impl Worlds {
    fn of(source: Seed) -> Self {
        let source = Seed { storage_classes: vec!["STANDARD".into()], real_etags: true, ..source };
        let from = World::with(Config { seeds: vec![source], ..Config::default() });
        let to = World::with(Config { seeds: vec![empty(DESTINATION)], ..Config::default() });
        Self { from, to }
    }

    fn of_items(items: Vec<SeedItem>) -> Self {
        Self::of(Seed { items, ..empty(BUCKET) })
    }

    fn action(&self, word: &str, more: &str) -> String {
        let endpoint = self.to.sandbox.endpoint();
        format!("{{ {word}: {{ bucket: {DESTINATION}, endpoint: \"{endpoint}\"{more} }} }}")
    }

    fn before(&self) -> (Vec<Version>, Contents) {
        (self.from.entries(), contents(&self.from, BUCKET))
    }

    /// Everything went over, byte by byte, and the source is empty.
    #[track_caller]
    fn check_moved(&self, (entries, data): &(Vec<Version>, Contents)) {
        let after = there(&self.to, DESTINATION);
        check_stories(&after, entries);
        assert_eq!(contents(&self.to, DESTINATION), *data);
        assert_eq!(self.from.entries(), []);
        check_audit(&self.from, entries, &after);
    }

    /// One version of each key, and what is said of it in the audit.
    #[track_caller]
    fn check_stayed(&self, (entries, _): &(Vec<Version>, Contents), codes: &[&str]) {
        assert_eq!(self.from.entries(), *entries, "the source stays");
        assert_eq!(failures(&self.from), codes);
    }
}

fn scripted(operation: Operation, nth: u64, kind: FaultKind) -> Faults {
    Faults { scripted_requests: vec![ScriptedRequest { operation, nth, kind }], ..Faults::default() }
}

/// Histories in parts, alike, empty, hidden.
fn items() -> Vec<SeedItem> {
    let alike = |age| SeedItem { data_seed: Some(5), ..item("b", age, 6 * MIB, 5 * MIB) };
    let mut items = vec![
        item("a", 900.0, 12 * MIB, 5 * MIB),
        item("a", 800.0, 0, 0),
        item("a", 700.0, 0, 0),
        marker("a", 600.0),
        item("a", 500.0, 17 * MIB, 6 * MIB),
    ];
    items.extend([alike(900.0), alike(800.0), marker("b", 700.0), marker("b", 650.0), alike(600.0)]);
    items
}

#[test]
fn histories_tell_the_same_story_on_another_server() {
    let worlds = Worlds::of(Seed { same_data_share: 0.3, items: items(), ..mixed(40) });
    let before = worlds.before();
    worlds.from.run(&transfer(&worlds.from, &worlds.action("move", ""), "")).expect(0);
    worlds.check_moved(&before);
    assert_eq!(worlds.to.sandbox.store().uploads_under_way(DESTINATION), 0);
    assert_eq!(worlds.to.requests(Operation::CopyObject), 0);
}

#[test]
fn what_lies_beside_the_data_goes_over_too() {
    let mut whole = item("whole", 300.0, 100, 0);
    let mut parts = item("parts", 300.0, 6 * MIB, 5 * MIB);
    for item in [&mut whole, &mut parts] {
        item.headers = [("content-type", "text/x"), ("x-amz-meta-a", "ü b")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        item.tags = [("one".to_owned(), "1 2".to_owned())].into();
    }
    let worlds = Worlds::of_items(vec![whole, parts]);
    let before = worlds.before();
    let details = |world: &World, bucket: &str| {
        let of = |version: &Version| {
            let all = world.sandbox.store().details(bucket, version.key.clone(), &version.id).unwrap();
            (all.headers, all.tags, all.data)
        };
        there(world, bucket).iter().map(of).collect::<Vec<_>>()
    };
    let wanted = details(&worlds.from, BUCKET);
    worlds.from.run(&transfer(&worlds.from, &worlds.action("move", ""), "")).expect(0);
    worlds.check_moved(&before);
    assert_eq!(details(&worlds.to, DESTINATION), wanted);
}

/// The most memory that a process ever had, in MiB.
fn peak_mib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

#[test]
fn a_large_version_goes_through_little_memory() {
    let worlds = Worlds::of_items(vec![item("k", 300.0, 200 * MIB, 8 * MIB)]);
    let before = worlds.before();
    let job = transfer(&worlds.from, &worlds.action("move", ""), "limits: { stream_memory: 32MiB }");
    let mut running = worlds.from.start_run(&job);
    let mut peak = 0;
    wait_until("its end", || {
        peak = peak.max(peak_mib(running.pid()).unwrap_or(0));
        running.has_ended()
    });
    running.wait().expect(0);
    worlds.check_moved(&before);
    println!("peak {peak} MiB");
    assert!((10..150).contains(&peak), "{peak} MiB");
}

#[test]
fn many_histories_share_a_memory_of_one_part() {
    let mut items = Vec::new();
    for n in 0..24 {
        items.push(item(&format!("k{n:02}"), 300.0, 17 * MIB + n, 0));
        items.push(item(&format!("k{n:02}"), 200.0, 16, 0));
    }
    let worlds = Worlds::of_items(items);
    let data = contents(&worlds.from, BUCKET);
    let limits = "limits: { stream_memory: 16MiB, concurrency: 64 }";
    let action = worlds.action("move", ", part_size: 16MiB, verify: bytes");
    worlds.from.run(&transfer(&worlds.from, &action, limits)).expect(0);
    assert_eq!(contents(&worlds.to, DESTINATION), data);
    assert_eq!(worlds.from.count(), 0);
}

/// Five of a hundred of each kind, of each of these requests.
fn faulty(seed: u64, operations: &[Operation]) -> Faults {
    let whens = [When::BeforeApplying, When::AfterApplying];
    let all = |when: When| operations.iter().map(move |of| (*of, when));
    let code = || "InternalError".to_owned();
    Faults {
        seed,
        lost_parts: 0.05,
        late_errors: whens
            .into_iter()
            .flat_map(all)
            .map(|(of, when)| LateErrors { operation: Some(of), share: 0.05, code: code(), when })
            .collect(),
        resets: whens
            .into_iter()
            .flat_map(all)
            .map(|(of, when)| Resets { operation: Some(of), share: 0.05, when })
            .collect(),
        request_errors: operations
            .iter()
            .map(|of| RequestErrors {
                operation: Some(*of),
                share: 0.05,
                code: "SlowDown".into(),
                retry_after_secs: None,
            })
            .collect(),
        ..Faults::default()
    }
}

#[test]
fn faults_on_both_sides_and_kills_double_and_lose_nothing() {
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut listed = items();
    for n in 0..8 {
        listed.push(item(&format!("more/{n}"), 500.0, 21 * MIB + n, 5 * MIB));
        listed.push(item(&format!("more/{n}"), 400.0, 100, 0));
    }
    let worlds = Worlds::of(Seed { same_data_share: 0.3, items: listed, ..mixed(60) });
    let before = worlds.before();
    worlds
        .from
        .sandbox
        .set_faults(faulty(seed, &[Operation::GetObject, Operation::HeadObject, Operation::DeleteObjects]));
    let writes = [
        Operation::PutObject,
        Operation::UploadPart,
        Operation::CompleteMultipartUpload,
        Operation::ListObjectVersions,
        Operation::DeleteObject,
    ];
    let slow = |operation| Latency { operation: Some(operation), fixed_ms: 10, ..Latency::default() };
    let latency = vec![slow(Operation::PutObject), slow(Operation::UploadPart)];
    worlds.to.sandbox.set_faults(Faults { latency, ..faulty(seed + 1, &writes) });
    // The pace would take one refusal in twenty for the server's limit, and wait for it.
    let job =
        transfer(&worlds.from, &worlds.action("move", ""), "limits: { concurrency: 6, adaptive: false }");
    let sent = || worlds.to.requests(Operation::PutObject) + worlds.to.requests(Operation::UploadPart);
    let mut killed = 0;
    for _ in 0..6 {
        let mut running = worlds.from.start_run(&job);
        let until = sent() + chance.u64(1..30);
        wait_until("work", || running.has_ended() || sent() > until);
        killed += u32::from(running.kill().was_killed());
    }
    worlds.from.run(&job).expect(0);
    assert!(killed > 2, "it was killed {killed} times only");
    worlds.check_moved(&before);
}

#[test]
fn a_kill_among_the_parts_costs_only_those_under_way() {
    let worlds = Worlds::of_items(vec![item("k", 300.0, 200 * MIB, 5 * MIB)]);
    let before = worlds.before();
    let slow = Latency { operation: Some(Operation::UploadPart), fixed_ms: 60, ..Latency::default() };
    worlds.to.sandbox.set_faults(Faults { latency: vec![slow], ..Faults::default() });
    let job = transfer(&worlds.from, &worlds.action("move", ""), "");
    let running = worlds.from.start_run(&job);
    wait_until("parts", || worlds.to.requests(Operation::UploadPart) > 16);
    assert!(running.kill().was_killed());
    worlds.from.run(&job).expect(0);
    worlds.check_moved(&before);
    let parts = worlds.to.requests(Operation::UploadPart);
    assert!((40..=40 + 8).contains(&parts), "{parts} parts were sent for 40");
    assert_eq!(worlds.to.requests(Operation::CreateMultipartUpload), 1);
    assert_eq!(worlds.to.sandbox.store().uploads_under_way(DESTINATION), 0);
}

#[test]
fn a_body_that_ends_early_is_read_again() {
    for items in [vec![item("k", 300.0, 1000, 0)], vec![item("k", 300.0, 12 * MIB, 5 * MIB)]] {
        let worlds = Worlds::of_items(items);
        let before = worlds.before();
        worlds.from.sandbox.set_faults(scripted(Operation::GetObject, 1, FaultKind::CutBody(500)));
        worlds.from.run(&transfer(&worlds.from, &worlds.action("move", ""), "")).expect(0);
        worlds.check_moved(&before);
    }
}

#[test]
fn data_that_arrived_otherwise_is_found_and_the_source_stays() {
    let small = || vec![item("k", 300.0, 1000, 0)];
    let large = || vec![item("k", 300.0, 12 * MIB, 5 * MIB)];
    for (items, operation, more) in [
        (small(), Operation::PutObject, ""),
        (large(), Operation::UploadPart, ""),
        (small(), Operation::PutObject, ", verify: bytes"),
    ] {
        let worlds = Worlds::of_items(items);
        let before = worlds.before();
        worlds.to.sandbox.set_faults(scripted(operation, 1, FaultKind::SpoilData));
        worlds.from.run(&transfer(&worlds.from, &worlds.action("move", more), "")).expect(1);
        worlds.check_stayed(&before, &["ContentDiffers"]);
    }
}

#[test]
fn a_source_that_changes_under_way_is_not_taken_for_what_was_listed() {
    let null = SeedItem { null: true, ..item("k", 300.0, 12 * MIB, 5 * MIB) };
    let source =
        Seed { items: vec![null], versioning: s3sweep::model::VersioningStatus::Suspended, ..empty(BUCKET) };
    let worlds = Worlds::of(source);
    let slow = Latency { operation: Some(Operation::UploadPart), fixed_ms: 1500, ..Latency::default() };
    worlds.to.sandbox.set_faults(Faults { latency: vec![slow], ..Faults::default() });
    let slow = Latency { operation: Some(Operation::GetObject), fixed_ms: 300, ..Latency::default() };
    worlds.from.sandbox.set_faults(Faults { latency: vec![slow], ..Faults::default() });
    let job = transfer(&worlds.from, &worlds.action("copy", ""), "null_versions: allow");
    let running = worlds.from.start_run(&job);
    wait_until("a part", || worlds.from.requests(Operation::GetObject) >= 1);
    let now = worlds.from.sandbox.now();
    worlds.from.sandbox.store().put(BUCKET, "k", 9, now).unwrap();
    let newer = worlds.from.entries();
    running.wait().expect(1);
    assert_eq!(worlds.from.entries(), newer, "what was written meanwhile stays");
    assert_eq!(failures(&worlds.from), ["SourceChanged"]);
    assert_eq!(there(&worlds.to, DESTINATION), []);
    assert_eq!(worlds.to.sandbox.store().uploads_under_way(DESTINATION), 0);
}

#[test]
fn a_destination_that_is_out_for_a_while_is_waited_for() {
    let worlds = Worlds::of(Seed { items: items(), ..mixed(10) });
    let before = worlds.before();
    let refused = RequestErrors {
        operation: None,
        share: 1.0,
        code: "ServiceUnavailable".into(),
        retry_after_secs: None,
    };
    let job = transfer(&worlds.from, &worlds.action("move", ""), "");
    let slow = Latency { operation: Some(Operation::PutObject), fixed_ms: 20, ..Latency::default() };
    worlds.to.sandbox.set_faults(Faults { latency: vec![slow], ..Faults::default() });
    let running = worlds.from.start_run(&job);
    wait_until("work", || worlds.to.requests(Operation::PutObject) > 3);
    worlds.to.sandbox.set_faults(Faults { request_errors: vec![refused], ..Faults::default() });
    // So many that what was under way has been put off, and taken up in vain.
    let looks = || worlds.to.requests(Operation::ListObjectVersions);
    let until = looks() + 20;
    wait_until("vain attempts", || looks() > until);
    worlds.to.sandbox.set_faults(Faults::default());
    running.wait().expect(0);
    worlds.check_moved(&before);
}

#[test]
fn a_destination_that_stays_out_is_given_up_and_the_source_stays() {
    let worlds = Worlds::of_items(vec![item("a", 300.0, 10, 0), item("b", 300.0, 12 * MIB, 5 * MIB)]);
    let before = worlds.before();
    let refused = |operation| RequestErrors {
        operation: Some(operation),
        share: 1.0,
        code: "ServiceUnavailable".into(),
        retry_after_secs: None,
    };
    let request_errors = vec![refused(Operation::PutObject), refused(Operation::UploadPart)];
    worlds.to.sandbox.set_faults(Faults { request_errors, ..Faults::default() });
    let more = "retry: { give_up_after: 2s }";
    worlds.from.run(&transfer_where(&worlds.from, &worlds.action("move", ""), "any", more)).expect(1);
    worlds.check_stayed(&before, &["GaveUp", "GaveUp"]);
    assert_eq!(there(&worlds.to, DESTINATION), []);
    assert_eq!(worlds.to.sandbox.store().uploads_under_way(DESTINATION), 0);
}

/// A version of each of so many keys.
fn single(keys: usize, size: u64) -> Worlds {
    Worlds::of_items((0..keys).map(|n| item(&format!("k{n:02}"), 300.0, size, 0)).collect())
}

#[test]
fn keys_that_lie_together_share_their_looks_and_are_read_in_one_request() {
    let worlds = single(60, 1000);
    let before = worlds.before();
    worlds.from.run(&transfer(&worlds.from, &worlds.action("move", ""), "")).expect(0);
    worlds.check_moved(&before);
    let asked = |operation| worlds.from.requests(operation);
    assert_eq!((asked(Operation::GetObject), asked(Operation::HeadObject)), (60, 0));
    let looks = worlds.to.requests(Operation::ListObjectVersions);
    assert!((2..8).contains(&looks), "{looks} looks at 60 keys");
}

/// Moves the versions of 20 keys one after the other, slowly; `meddle` is called once the first is there.
fn moved_slowly(meddle: impl Fn(&Worlds)) -> Worlds {
    slowly_moved(single(20, 1000), "", meddle)
}

fn slowly_moved(worlds: Worlds, settings: &str, meddle: impl Fn(&Worlds)) -> Worlds {
    let slow = Latency { operation: Some(Operation::PutObject), fixed_ms: 50, ..Latency::default() };
    worlds.to.sandbox.set_faults(Faults { latency: vec![slow], ..Faults::default() });
    let job = transfer(&worlds.from, &worlds.action("move", settings), "limits: { concurrency: 1 }");
    let running = worlds.from.start_run(&job);
    wait_until("copies", || worlds.to.requests(Operation::PutObject) >= 3);
    meddle(&worlds);
    running.wait().expect(1);
    worlds
}

const THEIRS_BYTES: u64 = 9;

fn write_theirs(worlds: &Worlds, key: &Key) {
    let key = key.as_str().unwrap();
    worlds.to.sandbox.store().put(DESTINATION, key, THEIRS_BYTES, worlds.to.sandbox.now()).unwrap();
}

#[test]
fn what_is_written_after_a_common_look_is_not_covered_up() {
    let worlds = moved_slowly(|worlds| {
        for version in worlds.from.entries() {
            if there(&worlds.to, DESTINATION).iter().all(|copy| copy.key != version.key) {
                write_theirs(worlds, &version.key);
            }
        }
    });
    let after = there(&worlds.to, DESTINATION);
    assert_eq!(after.len(), 20, "nothing lies upon what somebody else wrote");
    let theirs: Vec<_> =
        after.into_iter().filter(|copy| copy.size == THEIRS_BYTES).map(|copy| copy.key).collect();
    let left: Vec<_> = worlds.from.entries().into_iter().map(|version| version.key).collect();
    assert!(theirs.len() > 10, "{theirs:?}");
    assert_eq!(left, theirs, "those stay, the others have moved");
    assert_eq!(failures(&worlds.from), vec!["DestinationConflict"; theirs.len()]);
}

#[test]
fn what_somebody_else_wrote_is_not_taken_for_a_copy_however_like_one_it_is() {
    let theirs = Mutex::new(Vec::new());
    let worlds = moved_slowly(|worlds| {
        let (store, now) = (worlds.to.sandbox.store(), worlds.to.sandbox.now());
        for version in worlds.from.entries() {
            if there(&worlds.to, DESTINATION).iter().all(|copy| copy.key != version.key) {
                let key = version.key.as_str().unwrap();
                theirs.lock().unwrap().push(store.put(DESTINATION, key, version.size, now).unwrap());
            }
        }
    });
    let theirs = theirs.into_inner().unwrap();
    assert!(theirs.len() > 10, "{theirs:?}");
    assert_eq!(worlds.from.count(), theirs.len());
    assert_eq!(failures(&worlds.from), vec!["DestinationConflict"; theirs.len()]);
    assert_eq!(there(&worlds.to, DESTINATION).len(), 20);
}

#[test]
fn what_is_written_upon_a_marker_after_a_common_look_is_not_covered_up() {
    let worlds = single(20, 1000);
    let (store, now) = (worlds.to.sandbox.store(), worlds.to.sandbox.now());
    for version in worlds.from.entries() {
        store.insert_marker(DESTINATION, version.key, now).unwrap();
    }
    let worlds = slowly_moved(worlds, ", if_exists: append", |worlds| {
        for version in worlds.from.entries() {
            let count =
                there(&worlds.to, DESTINATION).iter().filter(|entry| entry.key == version.key).count();
            if count == 1 {
                write_theirs(worlds, &version.key);
            }
        }
    });
    let theirs: Vec<_> = latest_theirs(&worlds.to);
    assert!(theirs.len() > 10, "{theirs:?}");
    assert_eq!(there(&worlds.to, DESTINATION).len(), 40, "nothing lies upon what somebody else wrote");
    assert_eq!(worlds.from.entries().into_iter().map(|version| version.key).collect::<Vec<_>>(), theirs);
    assert_eq!(failures(&worlds.from), vec!["DestinationConflict"; theirs.len()]);
}

/// Keys whose latest entry at the destination is what somebody else wrote.
fn latest_theirs(world: &World) -> Vec<Key> {
    let entries = there(world, DESTINATION).into_iter();
    entries.filter(|entry| entry.is_latest && entry.size == THEIRS_BYTES).map(|entry| entry.key).collect()
}

#[test]
fn a_server_that_refuses_conditions_is_looked_at_before_a_copy_goes_without_them() {
    let items: Vec<_> = (0..20).map(|n| item(&format!("k{n:02}"), 300.0, 1000, 0)).collect();
    let slow = Latency { operation: Some(Operation::CopyObject), fixed_ms: 2_000, ..Latency::default() };
    let world = World::with(Config {
        seeds: vec![Seed { items, real_etags: true, ..empty(BUCKET) }, empty(DESTINATION)],
        faults: Faults { latency: vec![slow], ..Faults::default() },
        personality: Personality { refuses_copy_conditions: true, ..Personality::default() },
        ..Config::default()
    });
    let limits = "limits: { concurrency: 20, adaptive: false }";
    let running =
        world.start_run(&transfer(&world, &format!("{{ move: {{ bucket: {DESTINATION} }} }}"), limits));
    wait_until("copies", || world.requests(Operation::CopyObject) >= 20);
    for version in world.entries() {
        let key = version.key.as_str().unwrap();
        world.sandbox.store().put(DESTINATION, key, THEIRS_BYTES, world.sandbox.now()).unwrap();
    }
    running.wait().expect(1);
    assert_eq!((world.count(), there(&world, DESTINATION).len()), (20, 20));
    assert_eq!(latest_theirs(&world).len(), 20);
}

#[test]
fn what_is_written_upon_a_copy_before_the_common_comparison_is_found() {
    let worlds = moved_slowly(|worlds| write_theirs(worlds, &there(&worlds.to, DESTINATION)[0].key));
    let after = there(&worlds.to, DESTINATION);
    let key = after.iter().find(|copy| copy.size == THEIRS_BYTES).unwrap().key.clone();
    let left: Vec<_> = worlds.from.entries().into_iter().map(|version| version.key).collect();
    assert_eq!(left, [key], "its source stays");
    assert_eq!(failures(&worlds.from), ["VerificationFailed"]);
}

#[test]
fn what_is_read_or_written_again_is_paid_for_again() {
    let (size, per_second) = (512 << 10, MIB);
    for operation in [Operation::GetObject, Operation::PutObject] {
        let worlds = single(8, size);
        let before = worlds.before();
        let world = if operation == Operation::GetObject { &worlds.from } else { &worlds.to };
        let kind = FaultKind::Reset(When::BeforeApplying);
        let scripted_requests =
            [1, 3, 5, 7].map(|nth| ScriptedRequest { operation, nth, kind: kind.clone() }).into();
        world.sandbox.set_faults(Faults { scripted_requests, ..Faults::default() });
        let limits = "limits: { bytes_per_second: 1MiB, adaptive: false }";
        let job = transfer(&worlds.from, &worlds.action("move", ""), limits);
        let began = Instant::now();
        worlds.from.run(&job).expect(0);
        let seconds = began.elapsed().as_secs_f64();
        worlds.check_moved(&before);
        let bytes = world.requests(operation) * size;
        assert!(bytes >= 12 * size, "{operation:?}: {bytes} bytes");
        // A tenth of a second's bytes may leave at once.
        #[expect(clippy::cast_precision_loss, reason = "few bytes")]
        let least = (bytes as f64 / per_second as f64 - 0.1) * 0.98;
        assert!(seconds >= least, "{operation:?}: {bytes} bytes in {seconds} s");
    }
}

#[test]
fn an_outage_of_the_destination_alone_gives_no_version_up() {
    let worlds = Worlds::of(mixed(20));
    let before = worlds.before();
    let limits = "limits: { versions_per_second: 10 }\nretry: { give_up_after: 3s }\n";
    let job = transfer_where(&worlds.from, &worlds.action("move", ""), "any", limits);
    let mut running = worlds.from.start_run(&job);
    let copied = || there(&worlds.to, DESTINATION).len();
    wait_until("the first copies", || copied() > 5 || running.has_ended());
    let resets = vec![Resets { operation: None, share: 1.0, when: When::BeforeApplying }];
    worlds.to.sandbox.set_faults(Faults { resets, ..Faults::default() });
    running.wait().expect(75).says(&["no request to bucket", DESTINATION, "has succeeded for"]);
    let status = worlds.from.status();
    assert_eq!(status["failed"], 0, "{status}");
    worlds.to.sandbox.set_faults(Faults::default());
    worlds.from.run(&job).expect(0);
    worlds.check_moved(&before);
}
