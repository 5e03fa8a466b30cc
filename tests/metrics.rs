//! The metrics of whole runs, held against what else is known of them: the audit, the status, the server's
//! own count, the files on disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use common::histories::{DESTINATION, empty, there, transfer};
use common::scrape::{address_of, scrape};
use common::{BUCKET, JOB, Running, World, mixed, plain, wait_until};
use s3sweep::sandbox::{Config, Faults, KeyErrors, Latency, Operation, RequestErrors, Seed};
use s3sweep::telemetry::CATALOGUE;

const EVERYTHING: &str =
    "rules: [{ name: all, match: { state: any }, action: delete }]\nallow_promotion: true\n";

/// What was exposed at one moment, by series: the name with its labels, but that of the job.
struct Exposed(BTreeMap<String, f64>);

impl Exposed {
    fn parse(text: &str) -> Self {
        let job = format!("sweep_job=\"{JOB}\"");
        let lines = text.lines().filter(|line| line.contains("sweep_job="));
        Self(
            lines
                .map(|line| {
                    let (series, value) = line.rsplit_once(' ').unwrap();
                    let series =
                        series.replace(&job, "").replace(",}", "}").replace(",,", ",").replace("{}", "");
                    let name = series.split('{').next().unwrap();
                    let family = ["_bucket", "_sum", "_count"]
                        .iter()
                        .find_map(|suffix| name.strip_suffix(suffix))
                        .filter(|name| name.ends_with("duration_seconds"));
                    let name = family.unwrap_or(name);
                    assert!(CATALOGUE.iter().any(|spec| spec.name == name), "{name} is not in the catalogue");
                    (series, value.parse().unwrap())
                })
                .collect(),
        )
    }

    #[track_caller]
    fn of(&self, series: &str) -> f64 {
        let full = format!("s3sweep_{series}");
        *self.0.get(&full).unwrap_or_else(|| panic!("{full} is not in {:#?}", self.0))
    }

    fn has(&self, series: &str) -> bool {
        self.0.contains_key(&format!("s3sweep_{series}"))
    }

    /// The sum over all series of a metric.
    fn sum(&self, name: &str) -> f64 {
        let family = format!("s3sweep_{name}{{");
        self.0.iter().filter(|(series, _)| series.starts_with(&family)).map(|(_, value)| value).sum()
    }

    fn settled(&self, rule: &str, action: &str, outcome: &str) -> f64 {
        self.of(&format!(
            "settled_versions_total{{action=\"{action}\",outcome=\"{outcome}\",rule=\"{rule}\"}}"
        ))
    }
}

fn textfile(world: &World) -> PathBuf {
    world.dir.path().join("metrics.prom")
}

fn to_textfile(world: &World) -> String {
    format!("metrics: {{ listen: \"127.0.0.1:0\", textfile: \"{}\" }}\n", textfile(world).display())
}

fn left(world: &World) -> Exposed {
    Exposed::parse(&fs::read_to_string(textfile(world)).unwrap())
}

/// Scrapes a run until what is seen is what is waited for.
#[track_caller]
fn seen(running: &mut Running, what: &str, holds: impl Fn(&Exposed) -> bool) -> Exposed {
    wait_until("the address", || address_of(running).is_some() || running.has_ended());
    let address = address_of(running).expect("an address in the log");
    let mut found = None;
    wait_until(what, || {
        let all = scrape(&address).map(|text| Exposed::parse(&text));
        // Before the run is known there is nothing to see of it.
        found = all.filter(|all| all.has("listed_versions_total") && holds(all));
        found.is_some() || running.has_ended()
    });
    found.unwrap_or_else(|| panic!("the run ended before {what}: {}", running.stderr()))
}

fn seconds_now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn a_sweep_is_told_by_rule_action_outcome_reason_and_operation() {
    let denied = KeyErrors { share: 1.0, codes: vec!["AccessDenied".into()], prefix: "logs/".into() };
    let slow_down = RequestErrors {
        operation: Some(Operation::ListObjectVersions),
        share: 0.2,
        code: "SlowDown".into(),
        retry_after_secs: None,
    };
    let faults = Faults { key_errors: vec![denied], request_errors: vec![slow_down], ..Faults::default() };
    let world = World::with_faults(mixed(60), faults);
    let rules = "rules:\n  - { name: keep-tmp, match: { prefix: tmp/ }, action: keep }\n  \
                 - { name: old, match: { state: noncurrent }, action: delete }\n  \
                 - { name: orphans, match: { state: [noncurrent-marker, orphan-marker] }, action: delete }\n";
    let budget = "budget: { max_versions: 100000, deadline: 1h }\nscope: { page_size: 50 }\n\
                  limits: { versions_per_second: 100000 }\n";
    let job = world.job(&format!("{}{budget}{rules}", to_textfile(&world)));
    let began = seconds_now();
    let ended = world.run(&job).expect(1);
    let (all, status) = (left(&world), world.status());
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    assert_eq!(all.of("listed_versions_total"), number(&status["listed"]));
    assert_eq!(all.sum("kept_versions_total"), number(&status["kept"]));
    for (reason, versions) in status["kept_because"].as_object().unwrap() {
        assert_eq!(
            all.of(&format!("kept_versions_total{{reason=\"{reason}\"}}")),
            number(versions),
            "{reason}"
        );
    }
    let mut failed = 0.0;
    for rule in status["rules"].as_array().unwrap().iter().filter(|rule| rule["action"] == "delete") {
        let name = rule["name"].as_str().unwrap();
        let labels = format!("{{action=\"delete\",rule=\"{name}\"}}");
        assert_eq!(all.of(&format!("planned_versions_total{labels}")), number(&rule["planned"]), "{name}");
        assert_eq!(all.of(&format!("planned_bytes_total{labels}")), number(&rule["bytes"]), "{name}");
        for outcome in ["done", "gone", "failed", "skipped"] {
            assert_eq!(all.settled(name, "delete", outcome), number(&rule[outcome]), "{name} {outcome}");
        }
        failed += number(&rule["failed"]);
    }
    assert!(failed > 0.0 && all.settled("old", "delete", "done") > 0.0, "{status:#}");
    assert!(!all.has("planned_versions_total{action=\"keep\",rule=\"keep-tmp\"}"));
    assert_eq!(all.of("failed_versions_total{code=\"AccessDenied\"}"), failed);
    assert_eq!(all.of("freed_bytes_total"), number(&status["bytes_done"]));
    for (name, operation) in
        [("ListObjectVersions", Operation::ListObjectVersions), ("DeleteObjects", Operation::DeleteObjects)]
    {
        let sent = world.requests(operation) as f64;
        assert_eq!(all.of(&format!("requests_total{{operation=\"{name}\"}}")), sent, "{name}");
        assert_eq!(
            all.of(&format!("request_duration_seconds_count{{operation=\"{name}\"}}")),
            sent,
            "{name}"
        );
    }
    let refused = all.of("request_errors_total{code=\"SlowDown\",operation=\"ListObjectVersions\"}");
    assert!(refused > 0.0);
    assert!(all.of("retries_total{operation=\"ListObjectVersions\"}") <= refused);
    // How it stands at the end.
    assert_eq!(all.of("run_exit_code"), 1.0);
    assert_eq!((all.of("run_state{state=\"ended\"}"), all.sum("run_state")), (1.0, 1.0));
    assert_eq!((all.of("ranges{state=\"open\"}"), all.of("pending_versions")), (0.0, 0.0));
    assert_eq!(all.of("ranges{state=\"done\"}"), f64::from(world.ranges()));
    assert_eq!(all.of("range_splits_total"), f64::from(world.ranges()) - 1.0, "it began with one");
    assert_eq!((all.of("in_flight_requests"), all.of("in_flight_versions")), (0.0, 0.0));
    assert_eq!(all.of("ceiling_versions_per_second"), 100_000.0);
    assert!(!all.has("ceiling_requests_per_second") && !all.has("budget_left_bytes"));
    assert_eq!(all.of("budget_left_versions"), 100_000.0 - number(&status["done"]));
    let file = fs::metadata(world.files().checkpoint).unwrap().len() as f64;
    assert_eq!(
        (all.of("checkpoint_bytes{part=\"main\"}"), all.of("checkpoint_bytes{part=\"wal\"}")),
        (file, 0.0)
    );
    assert!(!all.has("last_success_time_seconds"), "it was no success");
    let [start, progress, end] = ["start", "progress", "end"].map(|moment| match moment {
        "progress" => all.of("last_progress_time_seconds"),
        moment => all.of(&format!("run_{moment}_time_seconds")),
    });
    // The server tells whole seconds.
    let times = (began, start, progress, end, seconds_now());
    assert!(began - 2.0 < start && start <= progress && progress <= end && end < times.4 + 2.0, "{times:?}");
    assert!(!ended.stderr.contains("textfile"));
    assert!(all.0.keys().all(|series| !series.starts_with("process_")), "node_exporter has those itself");
}

#[test]
fn a_run_shows_itself_while_it_works_and_says_when_it_last_succeeded() {
    let world = World::new(plain(300, 3));
    let slowly = "limits: { versions_per_second: 300, requests_per_second: 500, bytes_per_second: 1MiB }\n\
                  budget: { deadline: 1h, max_bytes: 1TiB }\n";
    let job = world.job(&format!("{slowly}{}{EVERYTHING}", to_textfile(&world)));
    let mut first = world.start_run(&job);
    let all = seen(&mut first, "deletions", |all| all.settled("all", "delete", "done") > 0.0);
    assert_eq!((all.of("run_state{state=\"running\"}"), all.of("run_exit_code")), (1.0, -1.0));
    assert_eq!(all.of("run_end_time_seconds"), 0.0);
    let deadline = all.of("deadline_time_seconds");
    assert_eq!(deadline, all.of("run_start_time_seconds") + 3600.0);
    assert!(all.of("pending_versions") > 0.0 && all.of("checkpoint_bytes{part=\"main\"}") > 0.0);
    assert!(all.of("pace_versions_per_second") > 0.0);
    assert_eq!(
        (all.of("ceiling_versions_per_second"), all.of("ceiling_requests_per_second")),
        (300.0, 500.0)
    );
    assert_eq!(all.of("ceiling_bytes_per_second"), 1_048_576.0);
    let freed = all.of("freed_bytes_total");
    // A batch may have been settled between the two figures.
    assert!(all.of("budget_left_bytes") <= (1_u64 << 40) as f64 - freed && freed > 0.0);
    assert!(*all.0.get("process_resident_memory_bytes").unwrap() > 1e6);
    assert!(*all.0.get("process_open_fds").unwrap() > 3.0);
    // The textfile says so too, from the beginning of the work.
    assert_eq!(left(&world).of("run_exit_code"), -1.0);
    first.wait().expect(0);
    let success = left(&world).of("last_success_time_seconds");
    assert_eq!(success, left(&world).of("run_end_time_seconds"));
    // A plan leaves the record of the last run alone.
    let before = fs::read_to_string(textfile(&world)).unwrap();
    world.call(&["plan", job.to_str().unwrap()]).expect(0);
    assert!(fs::read_to_string(textfile(&world)).unwrap() == before);
    // A failure is no success, and does not forget the last one.
    let elsewhere =
        world.job_on("missing", &world.sandbox.endpoint(), &format!("{}{EVERYTHING}", to_textfile(&world)));
    world.run(&elsewhere).expect(2);
    let all = left(&world);
    assert_eq!((all.of("last_success_time_seconds"), all.of("run_exit_code")), (success, 2.0));
    assert!(all.of("run_end_time_seconds") >= success && all.of("run_state{state=\"ended\"}") == 1.0);
}

#[test]
fn states_and_what_is_in_flight_follow_the_run() {
    let slow = |operation, fixed_ms| Latency { operation: Some(operation), fixed_ms, ..Latency::default() };
    let latency = vec![slow(Operation::ListObjectVersions, 60), slow(Operation::DeleteObjects, 300)];
    let world = World::with_faults(plain(1000, 3), Faults { latency, ..Faults::default() });
    let small = "scope: { page_size: 100 }\nlimits: { concurrency: 2 }\n";
    let job = world.job(&format!("{}{small}{EVERYTHING}", to_textfile(&world)));
    let job = job.to_str().unwrap();
    let mut planning = world.start(&["plan", job]);
    let all = seen(&mut planning, "a listing under way", |all| {
        all.of("ranges{state=\"open\"}") > 0.0 && all.of("in_flight_requests") > 0.0
    });
    assert_eq!((all.of("run_state{state=\"planning\"}"), all.of("in_flight_versions")), (1.0, 0.0));
    planning.wait().expect(0);
    assert!(!textfile(&world).exists(), "a plan is no run");
    let mut applying = world.start(&["apply", job, "--yes"]);
    let all = seen(&mut applying, "deletions under way", |all| all.of("in_flight_versions") > 0.0);
    assert!(all.of("in_flight_requests") > 0.0 && all.of("run_state{state=\"running\"}") == 1.0);
    applying.signal("INT");
    seen(&mut applying, "the drain", |all| all.of("run_state{state=\"stopping\"}") == 1.0);
    applying.wait().expect(75);
    let all = left(&world);
    assert_eq!((all.of("run_exit_code"), all.of("in_flight_versions")), (75.0, 0.0));
    assert_eq!(all.of("pending_versions"), world.count() as f64, "what is left waits for the next command");
}

#[test]
fn a_run_that_may_not_begin_leaves_the_figures_of_the_one_that_works() {
    let world = World::new(plain(300, 3));
    let job =
        world.job(&format!("limits: {{ versions_per_second: 200 }}\n{}{EVERYTHING}", to_textfile(&world)));
    let mut first = world.start_run(&job);
    seen(&mut first, "deletions", |all| all.settled("all", "delete", "done") > 0.0);
    assert_eq!(left(&world).of("run_exit_code"), -1.0);
    world.run(&job).expect(73);
    assert_eq!(left(&world).of("run_exit_code"), -1.0, "the second run is not the one to tell of");
    // This one fails before it asks for the lock: there is nobody to ask.
    let unasked = ["run", job.to_str().unwrap()];
    world.call(&unasked).expect(2);
    assert_eq!(left(&world).of("run_exit_code"), -1.0);
    first.wait().expect(0);
    assert_eq!(left(&world).of("run_exit_code"), 0.0);
    // With nobody at work it does tell.
    world.call(&unasked).expect(2);
    assert_eq!(left(&world).of("run_exit_code"), 2.0);
}

#[test]
fn a_run_that_goes_on_counts_on() {
    let refused = KeyErrors { share: 1.0, codes: vec!["InvalidObjectState".into()], prefix: "tmp/".into() };
    let faults = Faults { key_errors: vec![refused], ..Faults::default() };
    let world = World::with_faults(mixed(300), faults);
    let slowly = "limits: { versions_per_second: 400, concurrency: 2 }\nscope: { page_size: 20 }\n";
    let job = world.job(&format!("{slowly}{}{EVERYTHING}", to_textfile(&world)));
    let mut first = world.start_run(&job);
    seen(&mut first, "deletions and failures", |all| {
        all.settled("all", "delete", "done") > 100.0 && all.settled("all", "delete", "failed") > 0.0
    });
    assert!(first.kill().was_killed());
    let job = world.job(&format!("{}{EVERYTHING}", to_textfile(&world)));
    world.run(&job).expect(1).says(&["goes on with an interrupted run"]);
    let (all, status) = (left(&world), world.status());
    let number = |name: &str| status[name].as_f64().unwrap();
    assert_eq!(all.of("listed_versions_total"), number("listed"));
    assert_eq!(all.of("planned_versions_total{action=\"delete\",rule=\"all\"}"), number("planned"));
    for outcome in ["done", "gone", "failed", "skipped"] {
        assert_eq!(all.settled("all", "delete", outcome), number(outcome), "{outcome}");
    }
    assert_eq!(all.sum("failed_versions_total"), number("failed"), "codes of the first process count too");
    assert_eq!(all.of("freed_bytes_total"), number("bytes_done"));
    assert_eq!(all.of("pending_versions"), 0.0);
}

#[test]
fn copies_count_when_they_are_verified_and_moves_by_their_deletion() {
    for (word, leaves) in [("copy", true), ("move", false)] {
        for route in ["server", "stream"] {
            let source = Seed { latest_marker_share: 0.0, orphan_marker_share: 0.0, ..mixed(20) };
            let source = Seed { storage_classes: vec!["STANDARD".into()], ..source };
            let world = World::with(Config { seeds: vec![source, empty(DESTINATION)], ..Config::default() });
            let before = world.entries();
            let more = format!(", route: {route}");
            let action = format!("{{ {word}: {{ bucket: {DESTINATION}{more} }} }}");
            let job = transfer(&world, &action, &to_textfile(&world));
            world.run(&job).expect(0);
            assert_eq!(world.count() > 0, leaves, "{word} {route}");
            let copies = there(&world, DESTINATION);
            let bytes = before.iter().map(|version| version.size).sum::<u64>() as f64;
            let all = left(&world);
            assert_eq!(all.of("copied_versions_total"), copies.len() as f64, "{word} {route}");
            assert_eq!(all.of("copied_bytes_total"), bytes, "{word} {route}");
            assert_eq!(all.of("freed_bytes_total"), if leaves { 0.0 } else { bytes }, "{word} {route}");
            assert_eq!(all.settled("all", word, "done"), before.len() as f64, "{word} {route}");
            let streamed = all.of("streamed_bytes_total");
            assert_eq!(streamed >= bytes, route == "stream", "{word} {route}: {streamed} of {bytes}");
            assert_eq!(world.status()["requests"].get("moves_copied_bytes"), None, "no request");
        }
    }
}

#[test]
fn trouble_with_the_outputs_is_said_once_and_never_the_runs() {
    let world = World::new(plain(40, 3));
    let nobody = {
        // A port where nobody listens.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let outputs = format!(
        "metrics: {{ listen: \"{}\", textfile: /nonexistent/x.prom, \
         pushgateway: {{ url: \"http://{nobody}\", interval: 1s }} }}\n\
         limits: {{ versions_per_second: 40 }}\n",
        taken.local_addr().unwrap()
    );
    let ended = world.run(&world.job(&format!("{outputs}{EVERYTHING}"))).expect(0);
    for part in ["part=\"listener\"", "part=\"textfile\"", "part=\"pushgateway\""] {
        let said = ended.stderr.lines().filter(|line| line.contains(part) && line.contains("WARN")).count();
        assert_eq!(said, 1, "{part} in {}", ended.stderr);
    }
    assert_eq!(world.count(), 0);
    assert_eq!(world.sandbox.store().count(BUCKET).unwrap(), 0);
}
