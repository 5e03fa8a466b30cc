//! What the program tells: before a run, while it works, when it was interrupted, and at its end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::histories::{COPY, DESTINATION, MOVE, empty, transfer, world_of};
use common::{BUCKET, JOB, World, mixed, plain, wait_until};
use s3sweep::model::VersioningStatus;
use s3sweep::sandbox::{Config, Faults, KeyErrors, Latency, Operation, ScriptedKey, Seed};

const EVERYTHING: &str = "rules:\n  - { name: all, match: { state: any }, action: delete }\n";

fn slow(operation: Operation, fixed_ms: u64) -> Faults {
    let latency = vec![Latency { operation: Some(operation), fixed_ms, per_key_us: 0, sigma: 0.0 }];
    Faults { latency, ..Faults::default() }
}

#[track_caller]
fn shows(ended: &common::Ended, words: &[&str]) {
    for word in words {
        assert!(ended.stdout.contains(word), "{word:?} is not in:\n{}", ended.stdout);
    }
}

fn check_live(world: &World, job: &std::path::Path) -> common::Ended {
    world.call(&["check", job.to_str().unwrap(), "--live"])
}

// Before a run.

#[test]
fn a_live_check_looks_at_the_buckets_that_copies_go_to() {
    let unversioned = Seed { versioning: VersioningStatus::Unversioned, ..empty("unversioned") };
    let seeds = vec![mixed(3), empty(DESTINATION), unversioned];
    let world = World::with(Config { seeds, ..Config::default() });
    let ended = check_live(&world, &transfer(&world, MOVE, "")).expect(0);
    let line =
        "rule all: bucket destination, where copies go, answers, region us-east-1, versioning is enabled";
    assert!(ended.stdout.contains(line), "{}", ended.stdout);
    assert_eq!(world.requests(Operation::CopyObject), 0);

    for (action, words) in [
        ("{ copy: { bucket: no-such-bucket } }", &["rule all: ", "no-such-bucket"][..]),
        ("{ copy: { bucket: unversioned } }", &["unversioned", "a history would be reduced to one version"]),
        ("{ copy: { bucket: destination, lock: copy } }", &["destination", "no Object Lock"]),
        (
            "{ copy: { bucket: destination, encryption: { customer_key: { env: NOT_SET_HERE } } } }",
            &["NOT_SET_HERE", "not set"],
        ),
    ] {
        let job = transfer(&world, action, "");
        check_live(&world, &job).expect(2).says(words);
        // The same end as that of a run, and before anything is listed.
        let lists = world.requests(Operation::ListObjectVersions);
        world.run(&job).expect(2);
        assert_eq!(world.requests(Operation::ListObjectVersions), lists, "{action}");
    }
}

#[test]
fn a_live_check_tells_every_refusal_and_what_is_well() {
    let world = world_of(3, Faults::default());
    let job = world.job(
        "rules:\n\
         - { name: a, match: { suffix: a }, action: { copy: { bucket: no-bucket-a } } }\n\
         - { name: b, match: { suffix: b }, action: { copy: { bucket: no-bucket-b } } }\n\
         - { name: c, match: { suffix: c }, action: { copy: { bucket: destination } } }\n",
    );
    let ended =
        check_live(&world, &job).expect(2).says(&["rule a: ", "no-bucket-a", "rule b: ", "no-bucket-b"]);
    assert!(ended.stdout.contains("rule c: bucket destination"), "{}", ended.stdout);
    let json = world.call(&["check", job.to_str().unwrap(), "--live", "--output", "json"]).expect(2).json();
    assert_eq!(json["live_refusals"].as_array().unwrap().len(), 2, "{json}");
}

#[test]
fn a_key_that_is_not_here_is_a_warning_for_who_only_reads_the_job() {
    let world = world_of(1, Faults::default());
    let action = "{ copy: { bucket: destination, source_customer_key: { file: no-such-file } } }";
    let job = transfer(&world, action, "");
    let ended = world.call(&["check", job.to_str().unwrap()]).expect(0);
    assert!(
        ended.stdout.contains("warning: rule all: the customer's key: the file no-such-file: "),
        "{}",
        ended.stdout
    );
}

#[test]
fn what_a_run_would_go_on_without_is_a_warning_of_check() {
    let mut world = world_of(1, Faults::default());
    let job = world.job(
        "rules:\n  - { name: all, match: { state: any }, action: delete }\n\
         metrics: { textfile: /nonexistent/s3sweep.prom }\n\
         notify:\n  - { url_env: HOOK_URL, secret_env: HOOK_SECRET }\n",
    );
    let job = job.to_str().unwrap();
    world.env.insert("HOOK_SECRET".into(), "canary".into());
    let on = "a run on this machine goes on";
    let warnings = [
        format!(
            "metrics.textfile: the directory /nonexistent: No such file or directory (os error 2): {on}, and \
             writes no textfile"
        ),
        format!(
            "notify[0].url_env: the environment variable HOOK_URL is not set: {on}, and what this receiver \
             should hear waits in the state directory"
        ),
    ];
    for live in [&[][..], &["--live"]] {
        let text = world.call(&[&["check", job], live].concat()).expect(0).stdout;
        let told: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
        assert_eq!(told, warnings, "{text}");
        let json = world.call(&[&["check", job, "--output", "json"], live].concat()).expect(0).json();
        assert_eq!(json["warnings"], serde_json::json!(warnings));
        assert_eq!(json["valid"], true);
    }
    world.call(&["run", job, "--yes"]).expect(0).says(&["/nonexistent/s3sweep.prom", "HOOK_URL is not set"]);
    assert_eq!(world.count(), 0, "and so it does");
}

#[test]
fn problems_of_a_job_file_are_json_where_json_is_asked_for() {
    let world = world_of(1, Faults::default());
    let job = world.job("rules:\n  - { name: a, match: { state: gone }, action: burn }\n");
    let call = |command: &str| world.call(&[command, job.to_str().unwrap(), "--output", "json"]).expect(2);
    let ended = call("check").says(&["the job file cannot be used", "rules[0].match.state cannot be"]);
    let json = ended.json();
    assert_eq!((&json["job"], &json["valid"]), (&serde_json::Value::Null, &false.into()), "{json}");
    let problems = json["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{json}");
    for problem in problems {
        let (line, column) = (problem["line"].as_u64().unwrap(), problem["column"].as_u64().unwrap());
        let message = problem["message"].as_str().unwrap();
        let said = format!("{}:{line}:{column}: {message}\n", job.display());
        assert!(ended.stderr.contains(&said), "{said} is not in {}", ended.stderr);
    }
    assert_eq!(world.call(&["check", job.to_str().unwrap()]).expect(2).stdout, "");
}

#[test]
fn the_help_says_what_the_program_is_for() {
    let help = World::new(mixed(1)).call(&["--help"]).expect(0);
    shows(&help, &["Deletes, copies and moves the versions of an S3 bucket", "deleted, copied or moved"]);
}

// While it works.

#[test]
fn progress_is_shown_without_a_terminal_where_it_is_asked_for() {
    let world = world_of(5, Faults::default());
    let job = transfer(&world, COPY, "");
    let ended = world.call(&["run", job.to_str().unwrap(), "--yes", "--progress", "always"]).expect(0);
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("progress ")).collect();
    assert!(lines.len() >= 2, "one at the beginning and one at the end: {}", ended.stderr);
    let last: std::collections::BTreeMap<&str, u64> = lines[lines.len() - 1]
        .split(' ')
        .skip(1)
        .map(|field| field.split_once('=').map(|(name, value)| (name, value.parse().unwrap())).unwrap())
        .collect();
    let status = world.status();
    for (field, of_status) in [
        ("listed", &status["listed"]),
        ("planned", &status["planned"]),
        ("done", &status["done"]),
        ("copied", &status["done"]),
        ("copied_bytes", &status["bytes_done"]),
    ] {
        assert_eq!(of_status, last[field], "{field} {last:?}");
    }
    assert_eq!(last["freed_bytes"], 0, "a copy frees nothing");
    for choice in ["auto", "never"] {
        let ended = world.call(&["run", job.to_str().unwrap(), "--yes", "--progress", choice]);
        assert!(!ended.stderr.contains("progress "), "{choice}: {}", ended.stderr);
    }
}

#[test]
fn etags_that_are_no_sums_are_told_of_once() {
    let world = world_of(6, Faults::default());
    let job = transfer(&world, "{ copy: { bucket: destination, route: stream } }", "");
    let ended = world.call(&["run", job.to_str().unwrap(), "--yes", "--log-level", "debug"]).expect(0);
    let told = |level: &str| {
        let is_told = |line: &&str| line.contains(level) && line.contains("is not the MD5 of its content");
        ended.stderr.lines().filter(is_told).count()
    };
    assert_eq!(told(" WARN "), 1, "{}", ended.stderr);
    assert!(told("DEBUG ") > 5, "{}", ended.stderr);
}

// Interrupted.

#[test]
fn a_run_that_was_killed_is_called_interrupted() {
    let world = World::with_faults(plain(200, 3), slow(Operation::DeleteObjects, 300));
    let job = world.job(&format!("limits: {{ concurrency: 1, versions_per_second: 100 }}\n{EVERYTHING}"));
    let mut running = world.start_run(&job);
    wait_until("a deletion", || world.requests(Operation::DeleteObjects) > 0 || running.has_ended());
    assert_eq!(world.status()["state"], "running");
    assert!(running.kill().was_killed());
    let status = world.status();
    assert_eq!(status["state"], "interrupted", "{status}");
    assert!(status["reason"].as_str().unwrap().contains("run the same command again"), "{status}");
    shows(&world.call(&["status", JOB]).expect(0), &[": interrupted\n"]);
    world.sandbox.set_faults(Faults::default());
    let job = world.job(EVERYTHING);
    world.run(&job).expect(0);
    assert_eq!(world.status()["state"], "done");
}

#[test]
fn what_was_copied_and_still_stands_is_counted() {
    // No deletion is answered while this test looks on.
    let world = world_of(6, slow(Operation::DeleteObjects, 60_000));
    let planned = world.count() as u64;
    let mut running = world.start_run(&transfer(&world, MOVE, ""));
    wait_until("copies without a deletion", || {
        running.has_ended()
            || (world.requests(Operation::CopyObject) > 0
                && world.status()["copied_not_deleted"] == serde_json::json!(planned))
    });
    assert!(running.kill().was_killed());
    let status = world.status();
    assert_eq!(
        (status["pending"].as_u64(), status["copied_not_deleted"].as_u64()),
        (Some(planned), Some(planned))
    );
    shows(&world.call(&["status", JOB]).expect(0), &["copied, not yet deleted)"]);
    world.sandbox.set_faults(Faults::default());
    world.run(&transfer(&world, MOVE, "")).expect(0);
    let status = world.status();
    assert_eq!((status["done"].as_u64(), status["copied_not_deleted"].as_u64()), (Some(planned), Some(0)));
}

// At its end.

#[test]
fn pauses_are_no_time_of_work() {
    let world = World::new(mixed(5));
    let job = world.job(&format!("confirm: false\n{EVERYTHING}"));
    let path = job.to_str().unwrap();
    world.call(&["plan", path]).expect(0);
    let checkpoint = rusqlite::Connection::open(world.files().checkpoint).unwrap();
    // As if the plan had been made an hour ago.
    let hour_ms = 3_600_000;
    for sql in [
        "UPDATE run SET began_ms = began_ms - ?1, state_ms = state_ms - ?1, updated_ms = updated_ms - ?1",
        "UPDATE note SET text = json_set(text, '$.since_ms', json_extract(text, '$.since_ms') - ?1) \
         WHERE name = 'work-time'",
    ] {
        assert_eq!(checkpoint.execute(sql, [hour_ms]).unwrap(), 1, "{sql}");
    }
    drop(checkpoint);
    shows(&world.call(&["apply", path]).expect(0), &["of work, 60 minutes from the beginning"]);
    let status = world.status();
    assert!(status["seconds"].as_f64().unwrap() >= 3_600.0, "{status}");
    assert!(status["working_seconds"].as_f64().unwrap() < 120.0, "{status}");
}

#[test]
fn causes_are_counted_before_versions_are_named() {
    let key = World::new(mixed(30)).entries()[0].key.clone();
    let scripted_keys =
        vec![ScriptedKey { key: key.as_str().unwrap().into(), code: "InvalidArgument".into(), times: None }];
    let world = World::with_faults(mixed(30), Faults { scripted_keys, ..Faults::default() });
    world.run(&world.job(EVERYTHING)).expect(1);
    let report = world.call(&["report", JOB]).expect(0).stdout;
    let (causes, named) = (
        report.find("  causes:\n    failed InvalidArgument").unwrap(),
        report.find("failed and skipped").unwrap(),
    );
    assert!(causes < named, "{report}");
    let json = world.call(&["report", JOB, "--output", "json"]).expect(0).json();
    let reasons = json["summary"]["reasons"].as_array().unwrap();
    assert_eq!((&reasons[0]["outcome"], &reasons[0]["code"]), (&"failed".into(), &"InvalidArgument".into()));
    let outcomes: Vec<&str> =
        json["failures"].as_array().unwrap().iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert!(outcomes.is_sorted(), "failed before skipped: {outcomes:?}");
}

#[test]
fn too_many_failures_say_which_cause_and_what_to_do() {
    let key_errors = KeyErrors { share: 1.0, codes: vec!["InvalidArgument".into()], prefix: String::new() };
    let world = World::with_faults(mixed(30), Faults { key_errors: vec![key_errors], ..Faults::default() });
    let sections = format!("budget: {{ stop_on_failures: {{ after: 10, share: 20% }} }}\n{EVERYTHING}");
    world
        .run(&world.job(&sections))
        .expect(78)
        .says(&["with InvalidArgument", "raise budget.stop_on_failures"]);
}

#[test]
fn a_run_after_a_plan_says_what_becomes_of_the_plan() {
    let world = World::new(mixed(5));
    let job = world.job(EVERYTHING);
    world.call(&["plan", job.to_str().unwrap()]).expect(0);
    world.run(&job).expect(0).says(&[
        "the stored plan is dropped, nothing of it was carried out",
        "`s3sweep apply` is what carries out a plan",
    ]);
    assert_eq!(world.sandbox.store().count(BUCKET).unwrap(), 0);
}
