//! `docs/metrics.md` is written from the catalogue. `S3SWEEP_WRITE_DOCS=1 cargo test --test metrics_page`
//! writes it anew.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use s3sweep::s3::Operation;
use s3sweep::telemetry::{CATALOGUE, CODES, JOB_LABEL, LabelValues, MetricSpec, OPERATIONS, Presence};

const HEAD: &str = "# Metrics

This page is written from the program's catalogue (`src/telemetry/catalogue.rs`); a test compares the two.

Every series carries the label `sweep_job` with the job's name. It is not called `job`, which is Prometheus's own:
the same series looks the same whether it was scraped, pushed or read from a textfile. The other labels have the
values listed here, or the names of the job's rules; keys and prefixes never appear.

| where | how | what |
|---|---|---|
| listener | `metrics: { listen: \"127.0.0.1:9464\" }`, then `GET /metrics` | everything, until the work has ended; not how it ended, as a rule |
| textfile | `metrics: { textfile: /var/lib/node_exporter/s3sweep.prom }` | replaced when the run is known, every 15 s, and at the end |
| Pushgateway | `metrics: { pushgateway: \"http://pushgateway:9091\" }` | the group `/metrics/job/<job name>`, replaced when the run is known, every 15 s, and at the end |

`/metrics` answers in OpenMetrics 1.0 where the request asks for it, as Prometheus does, and in Prometheus's text
format 0.0.4 otherwise. The names are the same in both.

The Pushgateway can be described in full: `pushgateway: { url: ..., interval: 15s, username: ..., password_env: NAME }`,
or `password_file`. Plain `http://` is allowed: metrics hold no keys, and a gateway stands in a private network as a
rule. With a password and without `https://`, `check` warns. It also warns where this machine has no such password, and
where the textfile's directory is not there or cannot be written to.

Trouble with any of these never concerns the run: it is said once in the log, counted in `s3sweep_troubles_total`, and
said again when it is over. The last figures are written first of all at the end, beside the notifications, and once
more where one of these could not be delivered: five seconds at most, and three.

**Which process speaks for a job.** Textfile and gateway are written by the process that holds all of the job's locks,
from when its run is known until it exits. A run that ends with 73, because another one is at work, on this host or on
another, leaves that one's figures alone. A run that fails before (exit code 2 for the bucket, 74, 77) writes its exit
code and its end where no other process of this host is at work. A `plan` writes neither textfile nor gateway, so that
the record of the last run stays; the listener shows it. A job file that cannot be read tells nothing: it is not known
where to.

**Counters and interruptions.** What counts versions and bytes begins with the totals of the run when an interrupted
run is gone on with; what counts requests, streamed bytes, splits and troubles begins at 0 with each process. A new run
begins at 0. Prometheus takes both for what they are: a counter that goes on, or one that was reset. Until the run is
known, what counts for the whole run is absent, on the listener too: a counter that began at 0 would leap.

";

fn answer(page: &mut String, spec: &MetricSpec) {
    let name = spec.name;
    writeln!(page, "### {name}\n").unwrap();
    writeln!(page, "{}", spec.help).unwrap();
    writeln!(page, "{}\n", spec.answers).unwrap();
    let unit = if spec.unit.is_empty() { "a state".to_owned() } else { spec.unit.replace('_', " ") };
    write!(page, "{}, {unit}", spec.kind.as_str()).unwrap();
    for label in spec.labels {
        let values = match label.values {
            LabelValues::Rules => "the rules of the job".to_owned(),
            LabelValues::Version => "the program's version".to_owned(),
            LabelValues::Closed(OPERATIONS) => "see [operations](#operations)".to_owned(),
            LabelValues::Closed(CODES) => "see [codes](#codes)".to_owned(),
            LabelValues::Closed(values) => values.join(", "),
        };
        write!(page, "; `{}`: {values}", label.name).unwrap();
    }
    let presence = match spec.presence {
        Presence::Stays => "Stays after the end.",
        Presence::OfRun => "Absent until the run is known; stays after the end.",
        Presence::ZeroAtEnd => "0 after the end.",
        Presence::WhileRunning => "Absent after the end.",
        Presence::ListenerOnly => {
            "On the listener only: node_exporter and the Pushgateway have metrics of this name themselves."
        }
    };
    writeln!(page, ". {presence}\n").unwrap();
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("## What remains\n\n");
    page.push_str("When the process has ended, textfile and gateway answer whether it ran, how it ended, and how much it did:\n\n");
    page.push_str("| metric | after the end |\n|---|---|\n");
    for spec in CATALOGUE.iter().filter(|spec| spec.presence != Presence::ListenerOnly) {
        let after = match spec.presence {
            Presence::Stays | Presence::OfRun => "its last value",
            Presence::ZeroAtEnd => "0",
            Presence::WhileRunning | Presence::ListenerOnly => "absent",
        };
        writeln!(page, "| `{}` | {after} |", spec.name).unwrap();
    }
    page.push_str("\n## All metrics\n\n");
    CATALOGUE.iter().for_each(|spec| answer(&mut page, spec));
    for (title, words, more) in [
        (
            "Operations",
            OPERATIONS,
            "By the names of the S3 API. Deleting one version and inserting a delete marker are both `DeleteObject`.",
        ),
        (
            "Codes",
            CODES,
            "The server's codes and those of s3sweep itself, such as `Unaccounted` (the answer does not name the version) and `GaveUp` (tried for `retry.give_up_after`). `none` is an error of which only the HTTP status is known; every code that is not listed is `other`.",
        ),
    ] {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        writeln!(page, "## {title}\n\n{more}\n\n{}\n", words.join(", ")).unwrap();
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

#[test]
fn the_page_is_that_of_the_catalogue() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    if std::env::var_os("S3SWEEP_WRITE_DOCS").is_some() {
        fs::write(&path, page()).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page(), "docs/metrics.md is not that of the catalogue; {}", module_path!());
}

#[test]
fn every_code_that_the_engine_gives_has_its_word() {
    fn sources(folder: &Path, found: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if !path.ends_with("tests.rs") {
                found.push_str(fs::read_to_string(&path).unwrap().split("#[cfg(test)]").next().unwrap());
            }
        }
    }
    let mut text = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine"), &mut text);
    let given = regex::Regex::new(r#"(?:Halt::failed\(|Halt::Again\(|Self::failed\(|code: )\s*"([A-Z]\w+)""#)
        .unwrap();
    let codes: Vec<&str> = given.captures_iter(&text).map(|found| found.get(1).unwrap().as_str()).collect();
    assert!(
        codes.contains(&"GaveUp") && codes.contains(&"SourceChanged"),
        "the search finds them: {codes:?}"
    );
    for code in codes {
        assert!(CODES.contains(&code), "{code}");
    }
}

#[test]
fn every_operation_of_the_client_has_its_word_and_label_names_are_no_ones_else() {
    for operation in Operation::ALL {
        assert!(OPERATIONS.contains(&operation.as_str()), "{}", operation.as_str());
    }
    assert_eq!(OPERATIONS.len(), Operation::ALL.len() + 1, "and `other`");
    for spec in CATALOGUE {
        for label in spec.labels {
            assert!(![JOB_LABEL, "job", "instance", "le"].contains(&label.name), "{}", spec.name);
        }
    }
}
