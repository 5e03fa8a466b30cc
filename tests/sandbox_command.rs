//! `s3sweep sandbox` as a program: what it is told on the command line and what it tells at the end.

#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

fn sandbox(listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3sweep"));
    command.args(["sandbox", "--listen", listen]);
    command
}

/// Starts a sandbox with these files as procedural buckets, which it has to refuse.
fn refused(specs: &[&Path]) -> String {
    let mut command = sandbox("127.0.0.1:0");
    for spec in specs {
        command.arg("--procedural").arg(spec);
    }
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    told
}

#[test]
fn every_problem_of_every_procedural_bucket_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (values, misspelt, missing) =
        (dir.path().join("values.json"), dir.path().join("misspelt.json"), dir.path().join("missing.json"));
    fs::write(&values, r#"{"bucket": "B", "keys": 0, "marker_share": 7}"#).unwrap();
    fs::write(&misspelt, "{\"bucket\": \"big\",\n \"kyes\": 5}").unwrap();
    let told = refused(&[&values, &misspelt, &missing]);
    for wanted in
        ["values.json: bucket: ", "values.json: keys: ", "values.json: marker_share: ", "missing.json: "]
    {
        assert!(told.contains(wanted), "{wanted} in {told}");
    }
    assert!(told.contains("misspelt.json: unknown field `kyes`") && told.contains("line 2"), "{told}");
}

#[test]
fn two_procedural_buckets_of_one_name_are_a_mistake_of_usage() {
    let dir = tempfile::tempdir().unwrap();
    let spec = dir.path().join("spec.json");
    fs::write(&spec, r#"{"bucket": "big", "keys": 5}"#).unwrap();
    let told = refused(&[&spec, &spec]);
    assert!(told.contains("big is described or filled twice"), "{told}");
}

#[test]
fn the_end_tells_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (spec, stats) = (dir.path().join("spec.json"), dir.path().join("stats.json"));
    fs::write(&spec, r#"{"bucket": "big", "keys": 25000000, "versions_per_key": 3, "shape": "flat"}"#)
        .unwrap();
    let mut command = sandbox("127.0.0.1:0");
    command.arg("--procedural").arg(&spec).arg("--stats").arg(&stats).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("endpoint=http://127.0.0.1:"), "{line}");
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let told: serde_json::Value = serde_json::from_slice(&fs::read(&stats).unwrap()).unwrap();
    assert_eq!(told["operations"], serde_json::json!({}));
    assert_eq!(told["versions_left"]["big"], 75_000_000);
}
