//! The log as programs read it: every line of a real run is parsed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeSet;

use common::{Ended, JOB, World, mixed};
use s3sweep::sandbox::{Faults, Operation, RequestErrors};
use serde_json::{Map, Value};

const RULES: &str = "rules:\n  - { name: all, match: { state: any }, action: delete }\n";

fn lines(ended: &Ended) -> Vec<Map<String, Value>> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    ended.stderr.lines().map(parse).collect()
}

fn run_with(world: &World, level: &str) -> Ended {
    let job = world.job(RULES);
    world.call(&["run", job.to_str().unwrap(), "--yes", "--log-format", "json", "--log-level", level])
}

#[test]
fn every_line_says_where_in_the_run_it_belongs() {
    let world = World::new(mixed(300));
    let lines = lines(&run_with(&world, "debug").expect(0));
    let run = world.files().run_id;
    for line in &lines {
        for field in ["timestamp", "level", "target"] {
            assert!(line[field].is_string(), "{field} of {line:?}");
        }
        assert!(line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        assert!(!line.contains_key("span") && !line.contains_key("spans"), "{line:?}");
    }
    let answered = |operation: &str| {
        let of = |line: &&Map<String, Value>| {
            line.get("message").is_some_and(|message| message == "answered")
                && line.get("operation").is_some_and(|of| of == operation)
        };
        lines.iter().filter(of).collect::<Vec<_>>()
    };
    let (listed, deleted) = (answered("ListObjectVersions"), answered("DeleteObjects"));
    assert!(!listed.is_empty() && !deleted.is_empty());
    assert!(listed.iter().any(|line| line.get("range").is_some_and(Value::is_i64)), "{listed:?}");
    assert!(deleted.iter().all(|line| line["range"].is_i64()), "{deleted:?}");
    for line in listed.iter().chain(&deleted) {
        assert_eq!((&line["job"], &line["run_id"]), (&Value::from(JOB), &Value::from(run.as_str())));
        assert_eq!(line["attempt"], 1);
    }
    let batches: BTreeSet<i64> = deleted.iter().map(|line| line["batch"].as_i64().unwrap()).collect();
    assert!(batches.len() > 1 && batches.len() <= deleted.len(), "{batches:?}");
    let ids: BTreeSet<&str> =
        listed.iter().chain(&deleted).map(|line| line["request_id"].as_str().unwrap()).collect();
    let served: BTreeSet<String> =
        world.sandbox.oplog().iter().map(|record| record.request_id.clone()).collect();
    assert_eq!(ids.len(), listed.len() + deleted.len());
    assert!(deleted.iter().all(|line| served.contains(line["request_id"].as_str().unwrap())), "{served:?}");
}

#[test]
fn warnings_carry_them_at_the_default_level_too() {
    let errors = vec![RequestErrors {
        operation: Some(Operation::DeleteObjects),
        share: 0.7,
        code: "SlowDown".into(),
        retry_after_secs: None,
    }];
    let world = World::with_faults(mixed(60), Faults { request_errors: errors, ..Faults::default() });
    let lines = lines(&run_with(&world, "warn").expect(0));
    let put_off: Vec<_> = lines
        .iter()
        .filter(|line| line["message"].as_str().is_some_and(|message| message.starts_with("put off")))
        .collect();
    assert!(!put_off.is_empty(), "{lines:?}");
    for line in put_off {
        assert_eq!(line["run_id"], world.files().run_id.as_str());
        assert!(line["batch"].is_i64() && line["range"].is_i64(), "{line:?}");
        assert!(!line.contains_key("operation"), "the request is over: {line:?}");
    }
}

#[test]
fn the_last_words_of_a_command_are_a_line_like_any_other() {
    let world = World::new(mixed(1));
    let job = world.job_on("nosuch", &world.sandbox.endpoint(), RULES);
    let ended = world.call(&["run", job.to_str().unwrap(), "--yes", "--log-format", "json"]).expect(2);
    let lines = lines(&ended);
    let last = lines.last().unwrap();
    assert!(last["message"].as_str().unwrap().contains("NoSuchBucket"), "{last:?}");
    assert_eq!(last["timestamp"].as_str().unwrap().len(), "2026-01-01T03:00:07.123456Z".len(), "{last:?}");
    assert_eq!((&last["level"], &last["job"]), (&"ERROR".into(), &JOB.into()), "{last:?}");
    assert_eq!((&last["ending"], &last["exit_code"]), (&"refused".into(), &2.into()), "{last:?}");
    assert!(!last.contains_key("run_id"), "there was no run: {last:?}");
}

#[test]
fn the_end_of_a_command_is_one_line_with_its_run() {
    let world = World::new(mixed(30));
    let ends = |ended: &Ended| -> Vec<Map<String, Value>> {
        lines(ended).into_iter().filter(|line| line.contains_key("exit_code")).collect()
    };
    let job = world.job(&format!("budget: {{ max_versions: 20 }}\n{RULES}"));
    let args = |level| ["run", job.to_str().unwrap(), "--yes", "--log-format", "json", "--log-level", level];
    let ended = world.call(&args("off")).expect(78);
    assert_eq!(ended.stderr.lines().count(), 1, "a failure is said at each level: {}", ended.stderr);
    let last = &lines(&ended)[0];
    assert_eq!((&last["ending"], &last["exit_code"]), (&"budget".into(), &78.into()), "{last:?}");
    assert_eq!(last["run_id"], world.files().run_id.as_str(), "{last:?}");
    assert_eq!(last["hint"], "run the same command again to go on", "{last:?}");

    world.job(RULES);
    let ended = world.call(&args("info")).expect(0);
    let [last] = &*ends(&ended) else { panic!("one line: {}", ended.stderr) };
    assert_eq!((&last["ending"], &last["exit_code"]), (&"done".into(), &0.into()), "{last:?}");
    assert_eq!((&last["level"], &last["job"]), (&"INFO".into(), &JOB.into()), "{last:?}");
    assert_eq!(last["run_id"], world.files().run_id.as_str(), "{last:?}");
    assert_eq!(world.call(&args("warn")).expect(0).stderr, "", "a success has its level");
    let text = world.call(&["run", job.to_str().unwrap(), "--yes"]).expect(0).stderr;
    assert!(!text.contains("everything that was planned"), "a person sees the result: {text}");
}
