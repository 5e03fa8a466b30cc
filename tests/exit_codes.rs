//! Exit codes are an interface: each one is reached on the real binary, with its message, with
//! nothing lost, and with a next run that finishes where one is promised.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use common::checks::{check_bucket, check_identity, check_oplog};
use common::oracle::{Plan, Rule};
use common::{BUCKET, JOB, World, mixed, plain, ref_of, wait_until};
use s3sweep::model::{Kind, Version, VersioningStatus};
use s3sweep::sandbox::{
    Config, Effect, Faults, KeyErrors, KeyShape, Latency, Operation, Personality, RequestErrors, Resets,
    ScriptedKey, Seed, When,
};

const EVERYTHING: &str = "rules:\n  - { name: all, match: { state: any }, action: delete }\n";
const NONCURRENT: &str = "rules:\n  - { name: old, match: { state: noncurrent }, action: delete }\n";

fn everything() -> Plan {
    Plan::of(&[Rule { name: "all", state: &["any"], ..Rule::default() }])
}

fn deletions(world: &World) -> usize {
    let gone = |effect| matches!(effect, Effect::Deleted | Effect::MarkerDeleted);
    world.sandbox.oplog().iter().filter(|record| gone(record.effect)).count()
}

/// Nothing was asked for that could change the bucket.
#[track_caller]
fn untouched(world: &World, before: &[Version]) {
    assert_eq!(world.entries(), before);
    assert_eq!(world.requests(Operation::DeleteObjects) + world.requests(Operation::DeleteObject), 0);
}

fn slow(operation: Operation, fixed_ms: u64) -> Faults {
    let latency = vec![Latency { operation: Some(operation), fixed_ms, per_key_us: 0, sigma: 0.0 }];
    Faults { latency, ..Faults::default() }
}

// 0 and 1

#[test]
fn done_is_0() {
    let world = World::new(mixed(20));
    let ended = world.run(&world.job(EVERYTHING)).expect(0);
    assert_eq!(world.count(), 0);
    assert!(ended.stdout.contains("done"), "{}", ended.stdout);
    assert_eq!(world.call(&["--help"]).expect(0).stderr, "");
}

#[test]
fn failed_versions_are_1_and_their_latest_stays() {
    let before = World::new(mixed(30)).entries();
    let refused: Vec<&Version> = before.iter().filter(|entry| !entry.is_latest).step_by(17).take(4).collect();
    let keys: std::collections::BTreeSet<_> = refused.iter().map(|entry| entry.key.clone()).collect();
    let script = |key: &s3sweep::model::Key| ScriptedKey {
        key: key.as_str().unwrap().into(),
        code: "AccessDenied".into(),
        times: Some(1),
    };
    let scripted_keys = keys.iter().map(script).collect();
    let world = World::with_faults(mixed(30), Faults { scripted_keys, ..Faults::default() });
    let job = world.job(EVERYTHING);
    world.run(&job).expect(1).says(&["failed or were skipped"]);
    let status = world.status();
    check_identity(&status);
    assert_eq!(status["failed"], keys.len() as u64);
    assert_eq!(status["skipped"], keys.len() as u64, "the latest of each stays: {status}");
    let left = world.entries();
    assert_eq!(left.len(), 2 * keys.len(), "{left:?}");
    for key in &keys {
        assert!(left.iter().any(|entry| entry.key == *key && entry.is_latest), "{key}");
    }
    let report = world.call(&["report", JOB, "--output", "json"]).expect(0).json();
    let failures = report["failures"].as_array().unwrap();
    let of = |outcome: &str, code: &str| {
        failures.iter().filter(|line| line["outcome"] == outcome && line["code"] == code).count()
    };
    assert_eq!((of("failed", "AccessDenied"), of("skipped", "elder-remains")), (keys.len(), keys.len()));
    world.run(&job).expect(0);
    assert_eq!(world.count(), 0, "the next run takes them up again");
}

// 2

#[test]
fn a_bad_job_file_is_2_and_every_problem_is_placed() {
    let world = World::new(mixed(3));
    let before = world.entries();
    for (sections, words) in [
        ("rules: [", &["job.yaml:"][..]),
        (&format!("scpoe: {{ limit: 5 }}\n{EVERYTHING}"), &["job.yaml:4:", "scpoe", "scope"]),
        (&format!("{EVERYTHING}limits: {{ concurrency: none }}\nrules: []"), &["job.yaml:"]),
        (
            "rules:\n  - { name: a, match: { state: gone }, action: delete }\n  - { name: b, match: { state: any }, action: burn }",
            &["job.yaml:5:", "job.yaml:6:"],
        ),
    ] {
        let job = world.job(sections);
        for command in ["check", "plan", "run"] {
            let ended = world.call(&[command, job.to_str().unwrap(), "--yes"]).expect(2).says(words);
            assert_eq!(ended.stdout, "");
        }
    }
    world.call(&["run", "nowhere.yaml", "--yes"]).expect(2).says(&["nowhere.yaml"]);
    world.call(&["sweep-it"]).expect(2);
    untouched(&world, &before);
}

#[test]
fn without_a_terminal_nothing_is_deleted_unasked() {
    let world = World::new(mixed(3));
    let before = world.entries();
    let job = world.job(EVERYTHING);
    world.call(&["run", job.to_str().unwrap()]).expect(2).says(&["--yes", "confirm: false"]);
    untouched(&world, &before);
    let job = world.job(&format!("confirm: false\n{EVERYTHING}"));
    world.call(&["run", job.to_str().unwrap()]).expect(0);
    assert_eq!(world.count(), 0);
}

#[test]
fn a_bucket_that_is_missing_or_not_versioned_is_2() {
    let world =
        World::new(Seed { versioning: VersioningStatus::Unversioned, versions_per_key: 1, ..mixed(5) });
    let before = world.entries();
    world.run(&world.job(EVERYTHING)).expect(2).says(&[BUCKET, "never had versioning"]);
    let job = world.job_on("no-such-bucket", &world.sandbox.endpoint(), EVERYTHING);
    world.run(&job).expect(2).says(&["no-such-bucket"]);
    world.call(&["check", job.to_str().unwrap(), "--live"]).expect(2).says(&["no-such-bucket"]);
    untouched(&world, &before);
}

#[test]
fn an_endpoint_that_speaks_no_s3_is_2() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 8192];
            let _read = stream.read(&mut request).unwrap();
            let body = "<!DOCTYPE html><html><body>Welcome to the intranet</body></html>";
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length:";
            // A client that has read enough may be gone.
            let _sent = write!(stream, "{head} {}\r\n\r\n{body}", body.len());
        }
    });
    let world = World::new(mixed(1));
    let job = world.job_on(BUCKET, &endpoint, EVERYTHING);
    world.run(&job).expect(2).says(&["S3"]);
}

// 65

/// A run that was interrupted after some of its deletions.
fn interrupted(world: &World, job: &Path) {
    let mut running = world.start_run(job);
    wait_until("the first deletion", || deletions(world) > 0 || running.has_ended());
    running.signal("INT");
    running.wait().expect(75);
    assert!(world.count() > 0, "the run was over before it was interrupted");
}

/// Takes some seconds: the ceiling makes many small requests.
const SLOWLY: &str = "limits: { versions_per_second: 200, concurrency: 2 }\n";

#[test]
fn a_changed_job_is_65_and_says_what_changed() {
    let world = World::new(plain(150, 3));
    let job = world.job(&format!("{SLOWLY}{EVERYTHING}"));
    interrupted(&world, &job);
    let left = world.entries();
    let changed = world.job(&format!("{SLOWLY}{NONCURRENT}"));
    world.run(&changed).expect(65).says(&["rules", "--restart"]);
    assert_eq!(world.entries(), left);
    // Speed is not meaning.
    let job = world.job(&format!("limits: {{ concurrency: 8 }}\n{EVERYTHING}"));
    world.run(&job).expect(0);
    assert_eq!(world.count(), 0);
}

#[test]
fn a_changed_job_may_be_started_anew() {
    let world = World::new(plain(150, 3));
    interrupted(&world, &world.job(&format!("{SLOWLY}{EVERYTHING}")));
    let changed = world.job(NONCURRENT);
    world.call(&["run", changed.to_str().unwrap(), "--yes", "--restart"]).expect(0);
    assert!(world.entries().iter().all(|entry| entry.is_latest || entry.kind == Kind::DeleteMarker));
}

#[test]
fn a_damaged_foreign_or_newer_checkpoint_is_65_and_stays_as_it_is() {
    let world = World::new(plain(150, 3));
    let job = world.job(&format!("{SLOWLY}{EVERYTHING}"));
    interrupted(&world, &job);
    let path = world.files().checkpoint;
    let (whole, left) = (fs::read(&path).unwrap(), world.entries());
    let newer = |mut bytes: Vec<u8>| {
        // SQLite's user_version, which holds the schema.
        bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
        bytes
    };
    let foreign = |mut bytes: Vec<u8>| {
        // SQLite's application_id.
        bytes[68..72].copy_from_slice(b"mine");
        bytes
    };
    let scribbled = |mut bytes: Vec<u8>| {
        for byte in bytes.iter_mut().skip(4096).step_by(3) {
            *byte ^= 0x5a;
        }
        bytes
    };
    for (bytes, words) in [
        (newer(whole.clone()), &["schema 99"][..]),
        (foreign(whole.clone()), &["not a checkpoint", "run JOB --restart` begins anew"]),
        (scribbled(whole.clone()), &["checkpoint", "--restart"]),
        (whole[..whole.len() / 2].to_vec(), &["checkpoint", "--restart"]),
        (b"not a database at all, though long enough to be looked at".repeat(20), &["checkpoint"]),
        (Vec::new(), &["checkpoint"]),
    ] {
        fs::write(&path, &bytes).unwrap();
        world.run(&job).expect(65).says(words);
        assert!(fs::read(&path).unwrap() == bytes, "{words:?}: the file was changed");
        assert_eq!(world.entries(), left, "{words:?}");
    }
    fs::write(&path, &whole).unwrap();
    world.run(&job).expect(0);
    assert_eq!(world.count(), 0);
}

#[test]
fn whatever_is_wrong_with_a_checkpoint_restart_begins_anew() {
    let damages: [fn(&World); 4] = [
        |world| fs::write(world.files().checkpoint, b"no database").unwrap(),
        |world| {
            let path = world.files().checkpoint;
            let whole = fs::read(&path).unwrap();
            fs::write(path, &whole[..whole.len() / 2]).unwrap();
        },
        |world| fs::write(world.state_dir().path().join("current"), "../nothing of ours\n").unwrap(),
        |world| fs::write(world.files().audit, b"").unwrap(),
    ];
    for (at, damage) in damages.into_iter().enumerate() {
        let world = World::new(plain(150, 3));
        let job = world.job(&format!("{SLOWLY}{EVERYTHING}"));
        interrupted(&world, &job);
        damage(&world);
        world.run(&job).expect(65).says(&["`s3sweep run JOB --restart` begins anew"]);
        let job = world.job(EVERYTHING);
        world.call(&["run", job.to_str().unwrap(), "--yes", "--restart"]).expect(0);
        assert_eq!(world.count(), 0, "damage {at}");
        assert_eq!(world.status()["state"], "done", "damage {at}");
    }
}

#[test]
fn a_lost_audit_is_65() {
    let world = World::new(plain(150, 3));
    let job = world.job(&format!("{SLOWLY}{EVERYTHING}"));
    interrupted(&world, &job);
    let audit = world.files().audit;
    let bytes = fs::read(&audit).unwrap();
    fs::write(&audit, &bytes[..bytes.len() - 1]).unwrap();
    world.run(&job).expect(65).says(&["audit"]);
    fs::write(&audit, &bytes).unwrap();
    world.run(&job).expect(0);
    assert_eq!(world.audit().len(), 450);
}

// 73

#[test]
fn a_second_run_at_once_is_73_and_names_the_first() {
    let world = World::new(plain(150, 3));
    let job = world.job(&format!("{SLOWLY}{EVERYTHING}"));
    let mut first = world.start_run(&job);
    wait_until("the first deletion", || deletions(&world) > 0 || first.has_ended());
    for command in ["run", "plan", "apply"] {
        let second = world.call(&[command, job.to_str().unwrap(), "--yes"]).expect(73);
        second.says(&[&format!("pid={}", first.pid())]);
    }
    // Looking is allowed.
    check_identity(&world.status());
    first.wait().expect(0);
    assert_eq!(world.count(), 0);
    assert_eq!(deletions(&world), 450);
}

// 74

#[test]
fn a_state_directory_that_is_none_is_74_before_the_first_request() {
    let world = World::new(mixed(5));
    let before = world.entries();
    fs::write(world.state_root(), "a file").unwrap();
    world.run(&world.job(EVERYTHING)).expect(74).says(&["state"]);
    untouched(&world, &before);
    fs::remove_file(world.state_root()).unwrap();
    world.run(&world.job(EVERYTHING)).expect(0);
}

#[test]
fn a_full_disk_is_74_and_a_run_with_more_room_finishes() {
    // Keys that do not compress, so that the checkpoint grows.
    let seed = || Seed { key_shape: KeyShape::Flat, ..plain(4000, 2) };
    let plan = everything();
    let mut reached = std::collections::BTreeSet::new();
    for kib in [16, 96, 160, 240, 400] {
        let world = World::new(seed());
        let before = world.entries();
        let job = world.job(&plan.yaml());
        // A file cannot grow beyond the limit; with the signal ignored, writing fails instead.
        let line = format!(
            "trap '' XFSZ; ulimit -f {}; exec \"$0\" run \"$1\" --yes --state-dir \"$2\" 2>\"$3\"",
            kib * 2
        );
        let mut command = Command::new("sh");
        command.args(["-c", &line, env!("CARGO_BIN_EXE_s3sweep")]).arg(&job).arg(world.state_root());
        let told = world.dir.path().join("told");
        command.arg(&told);
        world.prepare(&mut command);
        let ended = world.spawn(command).wait();
        let told = fs::read_to_string(&told).unwrap();
        assert!(matches!(ended.code(), Some(0 | 74)), "{kib} KiB: {:?} {told}", ended.code());
        reached.insert(ended.code().unwrap());
        if ended.code() == Some(74) {
            assert!(told.contains("s3sweep: "), "{told}");
            world.run(&job).expect(0);
        }
        let fates = plan.decide(&before, false, world.began());
        check_bucket(&world, &before, &fates);
        check_oplog(&world.sandbox.oplog(), &before, &fates, false);
        assert_eq!(world.audit().len(), before.len(), "{kib} KiB: the audit");
    }
    assert!(reached.contains(&74), "no limit was too small");
}

// 75

#[test]
fn a_signal_is_75_and_the_next_run_finishes() {
    for signal in ["INT", "TERM"] {
        let world = World::with_faults(plain(150, 3), slow(Operation::DeleteObjects, 60));
        let job = world.job(&format!("{SLOWLY}{EVERYTHING}report: {{ audit: full }}\n"));
        let mut running = world.start_run(&job);
        wait_until("the first deletion", || deletions(&world) > 0 || running.has_ended());
        running.signal(signal);
        let settled = format!("SIG{signal}: stopped after settling what was in flight");
        running.wait().expect(75).says(&[&settled, "run the same command again"]);
        let status = world.status();
        check_identity(&status);
        // What was in flight was settled: the books agree with the bucket.
        assert_eq!(status["in_flight"], 0, "{status}");
        assert_eq!(status["done"], deletions(&world) as u64, "{status}");
        assert_eq!(status["exit_code"], 75);
        assert!(world.count() > 0);
        world.run(&job).expect(0);
        assert_eq!((world.count(), world.audit().len()), (0, 450));
    }
}

#[test]
fn a_second_signal_ends_the_run_at_once() {
    let world = World::with_faults(plain(150, 3), slow(Operation::DeleteObjects, 8_000));
    let job = world.job(EVERYTHING);
    let mut running = world.start_run(&job);
    wait_until("a deletion under way", || {
        world.requests(Operation::DeleteObjects) > 0 || running.has_ended()
    });
    running.signal("INT");
    wait_until("the first signal is heard", || running.stderr().contains("once more to stop at once"));
    assert!(!running.has_ended(), "the first signal waits for what is in flight");
    running.signal("TERM");
    let ended = running.wait().expect(75).says(&["SIGTERM again"]);
    assert!(ended.took.as_secs() < 8, "{:?}", ended.took);
    let status = world.status();
    let cut = status["in_flight"].as_u64().unwrap();
    assert!(cut > 0, "{status}");
    let reason = status["reason"].as_str().unwrap();
    let words =
        format!("SIGINT: stopped; requests were cut off: for {cut} versions in flight no answer is known, ");
    assert!(reason.starts_with(&words) && reason.ends_with("and the next run sends them again"), "{status}");
    let ended = ended.says(&[reason]);
    assert!(!ended.stderr.contains("after settling"), "{}", ended.stderr);
    let text = world.call(&["status", JOB]).expect(0).stdout;
    assert!(text.contains(&format!(" ({cut} in flight)\n")), "{text}");
    world.sandbox.set_faults(Faults::default());
    world.run(&job).expect(0);
    assert_eq!(world.count(), 0);
}

#[test]
fn an_outage_is_75() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let world = World::new(mixed(1));
    let job = world.job_on(BUCKET, &format!("http://{free}"), EVERYTHING);
    world.run(&job).expect(75).says(&["run the same command again"]);
}

// 76

#[test]
fn a_server_that_ignores_version_ids_is_76() {
    let faults = Faults { ignore_version_ids: true, ..Faults::default() };
    let world = World::with_faults(plain(400, 4), faults);
    let before = world.entries();
    let job = world.job(&format!("limits: {{ concurrency: 1, versions_per_second: 500 }}\n{EVERYTHING}"));
    world.run(&job).expect(76);
    let damage = world.count() - before.len();
    assert!(damage > 0 && damage <= 1000, "{damage} markers: more than one batch was sent");
    let left: Vec<_> = world.entries().iter().map(ref_of).collect();
    assert!(before.iter().all(|entry| left.contains(&ref_of(entry))), "no version is lost");
}

#[test]
fn the_same_holds_for_single_deletes() {
    let faults = Faults { ignore_version_ids: true, ..Faults::default() };
    let personality = Personality { no_multi_delete: true, ..Personality::default() };
    let world = World::with(Config { seeds: vec![plain(40, 4)], faults, personality, ..Config::default() });
    world.run(&world.job(&format!("limits: {{ concurrency: 1 }}\n{EVERYTHING}"))).expect(76);
    assert_eq!(world.count(), 161, "one marker tells enough");
}

#[test]
fn an_answer_about_a_foreign_key_is_76_and_the_next_run_finishes() {
    let faults = Faults { foreign_key: Some("somebody-elses".into()), ..Faults::default() };
    let world = World::with_faults(plain(40, 4), faults);
    let job = world.job(EVERYTHING);
    world.run(&job).expect(76).says(&["somebody-elses"]);
    world.run(&job).expect(0);
    assert_eq!(world.count(), 0);
}

#[test]
fn a_listing_out_of_order_is_76_and_nothing_is_deleted() {
    let unicode = Seed { key_shape: KeyShape::Unicode, ..plain(60, 3) };
    let aws = Personality::default;
    for (seed, personality) in [
        (plain(60, 3), Personality { oldest_first: true, ..aws() }),
        (unicode, Personality { utf16_order: true, ..aws() }),
    ] {
        let world = World::with(Config { seeds: vec![seed], personality, ..Config::default() });
        let before = world.entries();
        world.run(&world.job(EVERYTHING)).expect(76).says(&["the listing is not"]);
        untouched(&world, &before);
    }
}

#[test]
fn keys_in_the_order_of_utf16_are_76_with_the_way_out() {
    let seed = Seed { key_shape: KeyShape::Unicode, ..plain(60, 3) };
    let personality = Personality { utf16_order: true, ..Personality::default() };
    for page_size in [4, 1000] {
        let seeds = vec![seed.clone()];
        let world = World::with(Config { seeds, personality: personality.clone(), ..Config::default() });
        let job = world.job(&format!("scope: {{ page_size: {page_size} }}\n{EVERYTHING}"));
        world.run(&job).expect(76).says(&["UTF-16", "listing: sequential"]);
        // In the order of bytes some of these pages are as they should be; the job named keys of them.
        assert!(world.count() > 0);
        let job =
            world.job(&format!("scope: {{ page_size: {page_size}, listing: sequential }}\n{EVERYTHING}"));
        world.run(&job).expect(65).says(&["scope.listing"]);
        world.call(&["run", job.to_str().unwrap(), "--yes", "--restart"]).expect(0);
        assert_eq!(world.count(), 0);
    }
}

#[test]
fn versioning_that_was_suspended_meanwhile_is_76() {
    let world = World::new(plain(150, 3));
    let job = world.job(&format!("{SLOWLY}{EVERYTHING}"));
    interrupted(&world, &job);
    let left = world.entries();
    world.sandbox.store().set_status(BUCKET, VersioningStatus::Suspended).unwrap();
    world.run(&job).expect(76).says(&["versioning was enabled", "suspended now"]);
    assert_eq!(world.entries(), left);
    world.sandbox.store().set_status(BUCKET, VersioningStatus::Enabled).unwrap();
    world.run(&job).expect(0);
    assert_eq!(world.count(), 0);
}

// 77

#[test]
fn wrong_or_missing_credentials_are_77() {
    let mut world = World::new(mixed(5));
    let before = world.entries();
    let job = world.job(EVERYTHING);
    world.env.insert("AWS_SECRET_ACCESS_KEY".into(), "wrong-secret".into());
    let ended = world.run(&job).expect(77);
    assert!(!ended.stderr.contains("wrong-secret"), "{}", ended.stderr);
    world.env.insert("AWS_ACCESS_KEY_ID".into(), "unknown".into());
    world.run(&job).expect(77);
    world.env.remove("AWS_ACCESS_KEY_ID");
    world.env.remove("AWS_SECRET_ACCESS_KEY");
    world.run(&job).expect(77).says(&["credentials"]);
    untouched(&world, &before);
}

#[test]
fn a_missing_permission_is_77() {
    let all = || vec![KeyErrors { share: 1.0, codes: vec!["AccessDenied".into()], prefix: String::new() }];
    let world = World::with_faults(plain(300, 3), Faults { key_errors: all(), ..Faults::default() });
    let before = world.entries();
    let job = world.job(&format!("limits: {{ concurrency: 1, versions_per_second: 2000 }}\n{EVERYTHING}"));
    world.run(&job).expect(77).says(&["s3:DeleteObjectVersion"]);
    assert_eq!(world.entries(), before);
    let refused = |operation| {
        let errors = RequestErrors {
            operation: Some(operation),
            share: 1.0,
            code: "AccessDenied".into(),
            retry_after_secs: None,
        };
        Faults { request_errors: vec![errors], ..Faults::default() }
    };
    for operation in [Operation::ListObjectVersions, Operation::DeleteObjects] {
        let world = World::with_faults(plain(10, 3), refused(operation));
        let job = world.job(EVERYTHING);
        world.run(&job).expect(77).says(&["AccessDenied", operation.as_str()]);
        assert_eq!(world.count(), 30);
        world.sandbox.set_faults(Faults::default());
        world.run(&job).expect(0);
        assert_eq!(world.count(), 0, "{operation:?}: the next run finishes");
    }
}

// 78

#[test]
fn a_budget_of_versions_is_met_exactly_and_the_next_runs_finish() {
    let world = World::new(plain(700, 4));
    let job =
        world.job(&format!("limits: {{ concurrency: 64 }}\nbudget: {{ max_versions: 1234 }}\n{EVERYTHING}"));
    for gone in [1234, 2468] {
        world.run(&job).expect(78).says(&["max_versions", "run the same command again"]);
        assert_eq!(deletions(&world), gone);
        check_identity(&world.status());
    }
    world.run(&job).expect(0);
    assert_eq!((world.count(), deletions(&world)), (0, 2800));
}

#[test]
fn a_budget_holds_where_the_server_fails_items_and_answers_get_lost() {
    let codes = vec!["InternalError".into(), "SlowDown".into()];
    let faults = Faults {
        seed: 11,
        key_errors: vec![KeyErrors { share: 0.1, codes, prefix: String::new() }],
        resets: vec![Resets {
            operation: Some(Operation::DeleteObjects),
            share: 0.2,
            when: When::AfterApplying,
        }],
        ..Faults::default()
    };
    let world = World::with_faults(plain(700, 4), faults);
    let job = world.job(&format!(
        "limits: {{ concurrency: 64, versions_per_second: 4000 }}\nbudget: {{ max_versions: 2000 }}\n{EVERYTHING}"
    ));
    world.run(&job).expect(78);
    assert_eq!(deletions(&world), 2000);
    world.run(&job).expect(0);
    assert_eq!((world.count(), deletions(&world)), (0, 2800));
}

#[test]
fn budgets_of_bytes_and_of_the_share_hold() {
    let seed = Seed { size_bytes_min: 100, size_bytes_max: 100, ..plain(300, 4) };
    let world = World::new(seed.clone());
    let job = world.job(&format!("budget: {{ max_bytes: 50050B }}\n{EVERYTHING}"));
    world.run(&job).expect(78).says(&["max_bytes"]);
    assert_eq!(deletions(&world), 500);
    let world = World::new(seed);
    let job = world.job(&format!("budget: {{ max_share: 25% }}\n{EVERYTHING}"));
    world.run(&job).expect(78).says(&["max_share"]);
    assert_eq!(deletions(&world), 300);
}

#[test]
fn a_deadline_is_78_and_the_next_run_goes_on() {
    let world = World::new(plain(200, 3));
    let limits = "limits: { versions_per_second: 150 }\n";
    let job = world.job(&format!("{limits}budget: {{ deadline: 2s }}\n{EVERYTHING}"));
    let ended = world.run(&job).expect(78).says(&["deadline"]);
    assert!(ended.took.as_secs_f64() < 4.0, "{:?}", ended.took);
    let first = deletions(&world);
    assert!(first > 0 && first < 600, "{first}");
    for _ in 0..10 {
        let ended = world.run(&job);
        check_identity(&world.status());
        if ended.code() == Some(0) {
            break;
        }
        ended.expect(78);
    }
    assert_eq!((world.count(), deletions(&world)), (0, 600));
}

#[test]
fn too_many_failures_are_78() {
    let key_errors =
        vec![KeyErrors { share: 0.5, codes: vec!["InvalidArgument".into()], prefix: String::new() }];
    let world = World::with_faults(plain(400, 2), Faults { key_errors, ..Faults::default() });
    let job = world.job(&format!(
        "limits: {{ concurrency: 1, versions_per_second: 500 }}\n\
         budget: {{ stop_on_failures: {{ after: 100, share: 20% }} }}\n{EVERYTHING}"
    ));
    world.run(&job).expect(78).says(&["stop_on_failures"]);
    assert!(world.count() > 400, "it stopped early");
    check_identity(&world.status());
}

#[test]
fn a_digest_that_never_fits_ends_with_75_and_not_after_hours() {
    let errors = RequestErrors {
        operation: Some(Operation::DeleteObjects),
        share: 1.0,
        code: "BadDigest".into(),
        retry_after_secs: None,
    };
    let faults = Faults { request_errors: vec![errors], ..Faults::default() };
    let world = World::with(Config { seeds: vec![mixed(20)], faults, ..Config::default() });
    let job = world.job(&format!("{EVERYTHING}retry: {{ give_up_after: 1m }}\n"));
    let began = std::time::Instant::now();
    let ended = world.run(&job).expect(75);
    assert!(ended.stderr.contains("BadDigest"), "{}", ended.stderr);
    assert!(began.elapsed().as_secs() < 50, "it must not wait for give_up_after");
    assert_eq!(deletions(&world), 0);
    world.sandbox.set_faults(Faults::default());
    world.run(&job).expect(0);
    assert_eq!(world.count(), 0);
}

#[test]
fn one_request_that_gets_no_answer_is_no_outage() {
    let resets =
        vec![Resets { operation: Some(Operation::DeleteObjects), share: 1.0, when: When::BeforeApplying }];
    let faults = Faults { resets, ..Faults::default() };
    let world = World::with(Config { seeds: vec![plain(20, 2)], faults, ..Config::default() });
    let job = world.job(&format!("{EVERYTHING}retry: {{ give_up_after: 3s }}\n"));
    world.run(&job).expect(1);
    let status = world.status();
    assert_eq!(status["reasons"][0]["code"], "GaveUp", "{status}");
    assert_eq!((&status["failed"], &status["skipped"]), (&20.into(), &20.into()), "{status}");
    assert_eq!(world.count(), 40);
}

#[test]
fn an_outage_after_the_listing_gives_no_version_up() {
    let world = World::new(plain(3000, 2));
    let job = world.job(&format!(
        "{EVERYTHING}limits: {{ versions_per_second: 1000 }}\nretry: {{ give_up_after: 3s }}\n"
    ));
    let mut running = world.start_run(&job);
    wait_until("the first deletions", || world.count() < 5500 || running.has_ended());
    let resets = vec![Resets { operation: None, share: 1.0, when: When::BeforeApplying }];
    world.sandbox.set_faults(Faults { resets, ..Faults::default() });
    running.wait().expect(75).says(&["has succeeded for"]);
    let status = world.status();
    assert_eq!(status["failed"], 0, "{status}");
    check_identity(&status);
    world.sandbox.set_faults(Faults::default());
    world.run(&job).expect(0);
    assert_eq!(world.count(), 0);
}
