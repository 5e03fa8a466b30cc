//! Exit codes are an interface: whatever names them (help, README, docs, manifests) names the same ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use s3sweep::engine::Ending;

/// Every ending, by a match that does not compile when one is added and left out here.
fn following(ending: &Ending) -> Option<Ending> {
    let text = String::new;
    Some(match ending {
        Ending::Done => Ending::DoneWithFailures(1),
        Ending::DoneWithFailures(_) => Ending::Usage(text()),
        Ending::Usage(_) => Ending::Bug(text()),
        Ending::Bug(_) => Ending::Checkpoint(text()),
        Ending::Checkpoint(_) => Ending::Locked(text()),
        Ending::Locked(_) => Ending::LocalIo(text()),
        Ending::LocalIo(_) => Ending::Interrupted(text()),
        Ending::Interrupted(_) => Ending::Declined,
        Ending::Declined => Ending::Tripwire(text()),
        Ending::Tripwire(_) => Ending::Credentials(text()),
        Ending::Credentials(_) => Ending::Budget(text()),
        Ending::Budget(_) => Ending::Failures(text()),
        Ending::Failures(_) => return None,
    })
}

fn codes() -> BTreeSet<u8> {
    let endings = std::iter::successors(Some(Ending::Done), following);
    endings.map(|ending| ending.exit_code()).collect()
}

#[test]
fn the_words_of_the_endings_are_those_of_the_metrics() {
    let endings = std::iter::successors(Some(Ending::Done), following);
    let words: BTreeSet<&str> = endings.map(|ending| ending.word()).collect();
    assert_eq!(words, BTreeSet::from_iter(s3sweep::telemetry::ENDINGS.iter().copied()));
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The first column of a Markdown table whose header begins so.
fn table(text: &str, header: &str) -> Vec<u8> {
    let mut rows = text.lines().skip_while(|line| !line.starts_with(header)).skip(2);
    let mut found = Vec::new();
    while let Some(row) = rows.next().filter(|row| row.starts_with('|')) {
        let cell = row.split('|').nth(1).unwrap().trim();
        found.push(cell.parse().unwrap_or_else(|_| panic!("no exit code: {row}")));
    }
    found
}

#[track_caller]
fn each_once(found: &[u8], wanted: &BTreeSet<u8>, place: &str) {
    let set: BTreeSet<u8> = found.iter().copied().collect();
    assert_eq!(&set, wanted, "{place}");
    assert_eq!(found.len(), set.len(), "{place} names one twice: {found:?}");
}

#[test]
fn help_and_tables_name_each_exit_code_once() {
    let help = Command::new(env!("CARGO_BIN_EXE_s3sweep")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed: Vec<u8> = help
        .lines()
        .skip_while(|line| !line.starts_with("Exit codes:"))
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    each_once(&listed, &codes(), "--help");
    each_once(&table(&read("README.md"), "| exit code |"), &codes(), "README.md");
    each_once(&table(&read("docs/operations.md"), "| exit code |"), &codes(), "docs/operations.md");
}

#[test]
fn the_cron_job_says_what_becomes_of_each_failure() {
    let manifest = read("deploy/kubernetes/cronjob.yaml");
    let lists = manifest.lines().filter_map(|line| line.trim().strip_prefix("values: [")?.strip_suffix(']'));
    let found: Vec<u8> =
        lists.flat_map(|list| list.split(',')).map(|code| code.trim().parse().unwrap()).collect();
    let failures = codes().into_iter().filter(|code| *code != 0).collect();
    each_once(&found, &failures, "podFailurePolicy");
}

#[test]
fn the_unit_retries_what_goes_on_and_fails_for_what_needs_a_person() {
    let unit = read("deploy/systemd/s3sweep@.service");
    let setting = |name: &str| -> BTreeSet<u8> {
        let line = unit.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(|code| code.parse().unwrap()).collect()
    };
    let quiet = setting("SuccessExitStatus=");
    let again = setting("RestartForceExitStatus=");
    assert_eq!(again, BTreeSet::from([Ending::Interrupted(String::new()).exit_code()]));
    assert!(quiet.is_subset(&codes()) && quiet.is_disjoint(&again), "{quiet:?}");
    for ending in [
        Ending::Usage,
        Ending::Bug,
        Ending::Checkpoint,
        Ending::LocalIo,
        Ending::Tripwire,
        Ending::Credentials,
    ] {
        let code = ending(String::new()).exit_code();
        assert!(!quiet.contains(&code), "{code} needs a person");
    }
}
