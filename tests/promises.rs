//! Promises that no figure of a finished run shows: the cut-off, the ceilings, the secrets, and
//! what can be seen while a run works and after it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::checks::{check_identity, check_sweep};
use common::oracle::{Plan, Rule};
use common::scrape::{address_of, scrape, value_of};
use common::{BUCKET, Ended, JOB, World, mixed, plain, ref_of, wait_until};
use s3sweep::model::{Timestamp, Version};
use s3sweep::sandbox::{
    Config, Effect, Faults, KeyErrors, Latency, OpRecord, Operation, RequestErrors, Seed, SeedItem,
};

const MINUTE_MILLIS: i64 = 60_000;

fn everything() -> Plan {
    Plan::of(&[Rule { name: "all", state: &["any"], ..Rule::default() }])
}

fn minutes_before(now: Timestamp, minutes: u64) -> Timestamp {
    now.minus(Duration::from_secs(60 * minutes))
}

// The cut-off

#[test]
fn ages_count_by_the_servers_clock() {
    // Beyond 15 minutes the server refuses the signature, and the client takes over its clock.
    for offset_minutes in [10, -10, 20, -20] {
        let world = World::new(Seed { bucket: BUCKET.into(), ..Seed::default() });
        world.sandbox.set_clock_offset(offset_minutes * MINUTE_MILLIS);
        let (store, now) = (world.sandbox.store(), world.sandbox.now());
        let put = |key: &str, minutes| {
            store.put(BUCKET, key, 1, minutes_before(now, minutes)).unwrap();
        };
        // By a clock that is 10 minutes off, each pair would be told apart wrongly.
        put("old", 65);
        put("young", 55);
        put("noncurrent-long", 300);
        put("noncurrent-long", 65);
        put("noncurrent-short", 300);
        put("noncurrent-short", 55);
        // Created in the server's future, so to say: newer than the run.
        store.put(BUCKET, "future", 1, now.plus(Duration::from_secs(30))).unwrap();
        let job = world.job(
            "report: { audit: full }\nrules:\n\
             \x20 - { name: replaced, match: { state: noncurrent, noncurrent_for: 1h }, action: delete }\n\
             \x20 - { name: old, match: { key_regex: \"^(old|young)$\", older_than: 1h }, action: delete }\n\
             \x20 - { name: new, match: { prefix: future }, action: delete }",
        );
        world.run(&job).expect(0);
        let left: Vec<String> = world.entries().iter().map(|entry| entry.key.to_string()).collect();
        let wanted = ["future", "noncurrent-long", "noncurrent-short", "noncurrent-short", "young"];
        assert_eq!(left, wanted, "{offset_minutes} minutes");
        let audit = world.audit();
        let future = audit.iter().find(|line| line.key.as_deref() == Some("future")).unwrap();
        assert_eq!(future.reason.as_deref(), Some("cutoff"));
        let off = world.began().as_millis() - now.as_millis();
        assert!(off.abs() < MINUTE_MILLIS, "{offset_minutes} minutes: the run began {off} ms off");
    }
}

#[test]
fn what_is_created_during_a_run_stays() {
    let latency = vec![Latency {
        operation: Some(Operation::ListObjectVersions),
        fixed_ms: 40,
        per_key_us: 0,
        sigma: 0.0,
    }];
    let world = World::with_faults(mixed(60), Faults { latency, ..Faults::default() });
    let before = world.entries();
    let plan = Plan { page_size: Some(20), ..everything() };
    let mut running = world.start_run(&world.job(&plan.yaml()));
    let store = world.sandbox.store();
    let mut new = Vec::new();
    // On all keys at each of several moments: before, at and behind the lister.
    for pages in [2, 5, 8] {
        wait_until("a page", || {
            world.requests(Operation::ListObjectVersions) >= pages || running.has_ended()
        });
        assert!(!running.has_ended(), "the run was too fast for this test");
        let now = world.sandbox.now();
        for entry in before.iter().filter(|entry| entry.is_latest) {
            let id = match entry.size % 3 {
                0 => store.insert_marker(BUCKET, entry.key.clone(), now).unwrap(),
                _ => store.put(BUCKET, entry.key.clone(), 5, now).unwrap(),
            };
            new.push((entry.key.clone(), id));
        }
    }
    running.wait().expect(0);
    let mut left: Vec<_> = world.entries().iter().map(ref_of).collect();
    left.sort();
    new.sort();
    let lost: Vec<_> = new.iter().filter(|entry| left.binary_search(entry).is_err()).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let is_old = |record: &OpRecord| {
        let id = record.version_id.as_deref();
        before.iter().any(|entry| entry.key == record.key && Some(entry.id.as_str()) == id)
    };
    let oplog = world.sandbox.oplog();
    assert!(oplog.iter().all(is_old), "only what was there before the run was ever named");
    assert!(oplog.len() > before.len() / 2, "the run deleted what was there: {}", oplog.len());
    check_identity(&world.status());
}

// Ceilings

/// The most effects that any second of the log holds.
fn busiest_second(oplog: &[OpRecord]) -> usize {
    let times: Vec<i64> = oplog.iter().map(|record| record.at.as_millis()).collect();
    let within = |start: i64| times.iter().filter(|at| (start..start + 1000).contains(*at)).count();
    times.iter().map(|start| within(*start)).max().unwrap_or(0)
}

#[test]
fn versions_per_second_hold_in_every_second() {
    let world = World::new(plain(200, 3));
    let job = world
        .job(&format!("limits: {{ versions_per_second: 200, concurrency: 32 }}\n{}", everything().yaml()));
    let ended = world.run(&job).expect(0);
    let oplog = world.sandbox.oplog();
    assert_eq!(oplog.len(), 600);
    let busiest = busiest_second(&oplog);
    assert!(busiest <= 200, "{busiest} versions in one second");
    // And it is made use of.
    assert!(ended.took < Duration::from_secs(8), "{:?}", ended.took);
}

#[test]
fn attempts_count_against_the_ceiling_too() {
    let error = RequestErrors {
        operation: Some(Operation::DeleteObjects),
        share: 0.4,
        code: "InternalError".into(),
        retry_after_secs: None,
    };
    let faults = Faults { seed: 2, request_errors: vec![error], ..Faults::default() };
    let world = World::with_faults(plain(150, 3), faults);
    let job = world.job(&format!("limits: {{ versions_per_second: 200 }}\n{}", everything().yaml()));
    let ended = world.run(&job).expect(0);
    let requests = world.requests(Operation::DeleteObjects);
    assert!(requests > 27, "{requests} requests for 450 versions, none was refused");
    // Requests of a tenth of the ceiling: one may leave at once, the others at nine tenths of it. All
    // but the last of each phase are full.
    let versions = 20.0 * (requests as f64 - 3.0);
    let seconds_min = (versions - 20.0) / 180.0;
    assert!(ended.took.as_secs_f64() >= seconds_min, "{requests} requests in {:?}", ended.took);
}

#[test]
fn requests_per_second_hold() {
    let world = World::new(mixed(40));
    let before = world.entries();
    let plan = Plan { page_size: Some(4), ..everything() };
    let job = world.job(&format!("limits: {{ requests_per_second: 20 }}\n{}", plan.yaml()));
    let ended = world.run(&job).expect(0);
    let requests: u64 = world.sandbox.counters().values().map(|count| count.requests).sum();
    assert!(requests > 40, "{requests}");
    let seconds_min = (requests as f64 - 2.0) / 18.0;
    assert!(ended.took.as_secs_f64() >= seconds_min, "{requests} requests in {:?}", ended.took);
    check_sweep(&world, &before, &plan, false);
}

// Secrets

const SECRET: &str = "canary-secret-9f3b1c77d2";
const TOKEN: &str = "canary-session-token-51ae08c4";
const MFA_TOKEN: &str = "canary-mfa-token-0c7e";

/// Whether some file beneath a directory, or its name, holds the text.
fn files_with(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "zst") && !bytes.is_empty() {
            bytes = zstd::decode_all(&*bytes).unwrap();
        }
        if bytes.windows(text.len()).any(|part| part == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn no_secret_reaches_any_output() {
    for format in ["text", "json"] {
        let codes = vec!["InternalError".into(), "AccessDenied".into()];
        let errors = |code: &str| RequestErrors {
            operation: None,
            share: 0.1,
            code: code.into(),
            retry_after_secs: None,
        };
        let mut world = World::with(Config {
            secret_key: SECRET.into(),
            seeds: vec![Seed { mfa_delete: true, ..mixed(30) }],
            faults: Faults {
                key_errors: vec![KeyErrors { share: 0.05, codes, prefix: String::new() }],
                request_errors: vec![errors("InternalError"), errors("SlowDown")],
                ..Faults::default()
            },
            ..Config::default()
        });
        world.env.insert("AWS_SESSION_TOKEN".into(), TOKEN.into());
        world.env.insert("MFA_TOKEN".into(), MFA_TOKEN.into());
        let textfile = world.dir.path().join("metrics.prom");
        let job = world.job(&format!(
            "metrics: {{ textfile: {} }}\nrules:\n  - name: old-canary\n    match: {{ state: any }}\n    \
             action: {{ delete: {{ mfa: {{ serial: arn:aws:iam::123456789012:mfa/me, token: \"${{env:MFA_TOKEN}}\" }} }} }}\n",
            textfile.display()
        ));
        let job = job.to_str().unwrap();
        let traced = |args: &[&str]| -> Ended {
            let mut args = args.to_vec();
            args.extend(["--log-format", format, "--log-level", "trace", "--progress", "always"]);
            world.call(&args)
        };
        traced(&["check", job, "--live"]).expect(0);
        traced(&["plan", job]).expect(0);
        let ended = traced(&["apply", job, "--yes"]);
        assert!(matches!(ended.code(), Some(0 | 1)), "{}", ended.stderr);
        assert!(ended.stderr.len() > 2_000, "the trace says too little: {}", ended.stderr);
        traced(&["status", JOB]).expect(0);
        traced(&["report", JOB]).expect(0);
        // Errors print most: a wrong signature, an unknown token.
        world.env.insert("AWS_ACCESS_KEY_ID".into(), "unknown".into());
        world
            .call(&["run", job, "--yes", "--restart", "--log-level", "trace", "--log-format", format])
            .expect(77);
        for (what, text) in [("secret key", SECRET), ("session token", TOKEN), ("MFA token", MFA_TOKEN)] {
            assert_eq!(files_with(world.dir.path(), text), Vec::<String>::new(), "the {what}");
        }
        // The search finds what is there.
        assert!(!files_with(world.dir.path(), "old-canary").is_empty());
        assert_eq!(files_with(world.dir.path(), "AWS4-HMAC-SHA256"), Vec::<String>::new(), "a signature");
    }
}

#[test]
fn state_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new(mixed(5));
    world.run(&world.job(&everything().yaml())).expect(0);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let directory = world.state_root().join(JOB);
    assert_eq!(mode(&directory), 0o700);
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
}

// What can be seen

#[test]
fn metrics_are_served_during_a_run_and_left_in_the_textfile_after_it() {
    let world = World::new(plain(150, 3));
    let textfile = world.dir.path().join("s3sweep.prom");
    let job = world.job(&format!(
        "limits: {{ versions_per_second: 200 }}\nmetrics: {{ listen: \"127.0.0.1:0\", textfile: {} }}\n{}",
        textfile.display(),
        everything().yaml()
    ));
    let mut running = world.start_run(&job);
    wait_until("the address", || address_of(&running).is_some() || running.has_ended());
    let address = address_of(&running).expect("an address in the log");
    let done = format!(
        "s3sweep_settled_versions_total{{action=\"delete\",outcome=\"done\",rule=\"all\",sweep_job=\"{JOB}\"}}"
    );
    let mut seen = Vec::new();
    wait_until("deletions in the metrics", || {
        seen.extend(scrape(&address).as_deref().and_then(|text| value_of(text, &done)));
        seen.last().is_some_and(|done| *done > 0.0) || running.has_ended()
    });
    assert!(seen.last().is_some_and(|done| *done > 0.0 && *done < 450.0), "{seen:?}");
    running.wait().expect(0);
    let text = fs::read_to_string(&textfile).unwrap();
    let of = |name: &str| value_of(&text, name).unwrap_or_else(|| panic!("{name} in\n{text}"));
    let label = format!("{{sweep_job=\"{JOB}\"}}");
    assert_eq!(of(&format!("s3sweep_listed_versions_total{label}")), 450.0);
    assert_eq!(of(&done), 450.0);
    assert_eq!(of(&format!("s3sweep_run_exit_code{label}")), 0.0);
    assert!(!text.contains("table="), "no keys in metrics");
}

#[test]
fn results_go_to_stdout_and_everything_else_to_stderr() {
    let world = World::new(mixed(10));
    let job = world.job(&everything().yaml());
    let ended = world
        .call(&["run", job.to_str().unwrap(), "--yes", "--output", "json", "--log-level", "debug"])
        .expect(0);
    let summary = ended.json();
    check_identity(&summary);
    assert_eq!(summary["done"], summary["planned"]);
    let logged = world.call(&["plan", job.to_str().unwrap(), "--log-format", "json", "--log-level", "trace"]);
    for line in logged.expect(0).stderr.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[test]
fn keys_cannot_forge_log_lines_or_results() {
    let evil = "evil\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J";
    let item = |age_secs| SeedItem { key: evil.into(), age_secs, ..SeedItem::default() };
    let seed = Seed { items: vec![item(9000.0), item(8000.0)], bucket: BUCKET.into(), ..Seed::default() };
    let key_errors =
        vec![KeyErrors { share: 1.0, codes: vec!["InvalidArgument".into()], prefix: String::new() }];
    let world = World::with_faults(seed, Faults { key_errors, ..Faults::default() });
    let job = world.job(&everything().yaml());
    let planned = world.call(&["plan", job.to_str().unwrap(), "--log-level", "trace"]).expect(0);
    // The key holds a control character, so it goes by a single DELETE, which does not fail here.
    let ended = world.call(&["apply", job.to_str().unwrap(), "--yes", "--log-level", "trace"]).expect(0);
    let report = world.call(&["report", JOB]).expect(0);
    for text in [&planned.stdout, &planned.stderr, &ended.stdout, &ended.stderr, &report.stdout] {
        assert!(
            !text.contains('\u{1b}') && !text.lines().any(|line| line.starts_with("2026-01-01")),
            "{text}"
        );
    }
    assert_eq!(world.count(), 0);
    assert!(world.sandbox.oplog().iter().all(|record| record.key.as_str() == Some(evil)));
}

#[test]
fn a_settled_run_leaves_a_small_checkpoint() {
    let sizes = [1_500, 6_000].map(|keys| {
        let world = World::new(plain(keys, 4));
        let before: Vec<Version> = world.entries();
        world.run(&world.job("rules:\n  - { name: all, match: { state: any }, action: delete }")).expect(0);
        let gone = world.sandbox.oplog().iter().filter(|record| record.effect == Effect::Deleted).count();
        assert_eq!((gone, world.count()), (before.len(), 0));
        fs::metadata(world.files().checkpoint).unwrap().len()
    });
    // What was settled leaves counters only: four times the versions, no more than the pages that
    // were in use at once.
    assert!(sizes.iter().all(|bytes| *bytes < 1 << 20), "{sizes:?}");
}
