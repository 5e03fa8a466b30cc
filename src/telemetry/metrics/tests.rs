use super::*;
use crate::model::{Failure, KeepReason, Outcome, SkipReason};
use crate::telemetry::{CATALOGUE, OutcomeRun, Quantity};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const DELETES: RuleId = RuleId(1);

fn metrics() -> Metrics {
    let rule = |name: &str, action| RuleLabel { name: name.into(), action };
    let rules = [rule("legal", "keep"), rule("old", "delete"), rule("archive", "move")];
    Metrics::new("nightly", &rules, NOW).unwrap()
}

/// Of a run that has nothing behind it.
fn begun() -> Metrics {
    let metrics = metrics();
    metrics.emit(&Event::RunBegan(&began()));
    metrics
}

fn began() -> RunBegan<'static> {
    RunBegan {
        run_id: "r1",
        began: NOW,
        now: NOW,
        page: PageCounts::default(),
        settled: Vec::new(),
        failed: Vec::new(),
        freed_bytes: 0,
        copied: Quantity::default(),
        deadline: None,
        checkpoint: Path::new("/nonexistent/run.db"),
    }
}

fn failed(code: &str) -> Outcome {
    Outcome::Failed(Failure { code: code.into(), message: "".into() })
}

fn run(outcome: Outcome, versions: u64, source_bytes: u64) -> OutcomeRun {
    OutcomeRun { rule: DELETES, outcome, versions, source_bytes }
}

#[track_caller]
fn has(metrics: &Metrics, line: &str) {
    let text = metrics.render(Format::Text);
    assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
}

#[test]
fn progress_reads_back_what_events_counted() {
    let metrics = begun();
    let page = PageCounts {
        listed: 15,
        kept: vec![
            (KeepReason::NoRule, 2),
            (KeepReason::Rule(RuleId(0)), 1),
            (KeepReason::ChainTooLong(RuleId(0)), 3),
            (KeepReason::LockObject, 4),
        ],
        planned: vec![(DELETES, Quantity { versions: 4, bytes: 400 })],
    };
    metrics.emit(&Event::PageCommitted { range: 1, at: NOW, counts: &page });
    has(&metrics, "s3sweep_pending_versions{sweep_job=\"nightly\"} 4");
    let counts = BatchCounts {
        outcomes: vec![
            run(Outcome::Done, 1, 100),
            run(Outcome::Gone, 1, 50),
            run(failed("AccessDenied"), 1, 7),
            run(Outcome::Skipped(SkipReason::ElderRemains), 1, 7),
        ],
        copied: Quantity { versions: 2, bytes: 30 },
        throttled: 5,
    };
    let at = Timestamp::from_millis(1_700_000_007_500);
    metrics.emit(&Event::BatchSettled { batch: 1, at, counts: &counts });
    let progress = metrics.progress();
    assert_eq!((progress.listed, progress.kept, progress.planned), (15, 10, 4));
    assert_eq!((progress.done, progress.gone, progress.failed, progress.skipped), (1, 1, 1, 1));
    assert_eq!((progress.freed_bytes, progress.copied, progress.copied_bytes), (100, 2, 30));
    assert_eq!(progress.settled(), progress.planned);
    for line in [
        "s3sweep_kept_versions_total{reason=\"no-rule\",sweep_job=\"nightly\"} 2",
        "s3sweep_kept_versions_total{reason=\"chain-too-long\",sweep_job=\"nightly\"} 3",
        "s3sweep_kept_versions_total{reason=\"lock-object\",sweep_job=\"nightly\"} 4",
        "s3sweep_planned_bytes_total{action=\"delete\",rule=\"old\",sweep_job=\"nightly\"} 400",
        "s3sweep_settled_versions_total{action=\"delete\",outcome=\"gone\",rule=\"old\",sweep_job=\"nightly\"} 1",
        "s3sweep_settled_versions_total{action=\"move\",outcome=\"done\",rule=\"archive\",sweep_job=\"nightly\"} 0",
        "s3sweep_throttled_versions_total{sweep_job=\"nightly\"} 5",
        "s3sweep_pending_versions{sweep_job=\"nightly\"} 0",
        "s3sweep_last_progress_time_seconds{sweep_job=\"nightly\"} 1700000007.5",
        "s3sweep_troubles_total{part=\"webhook\",sweep_job=\"nightly\"} 0",
    ] {
        has(&metrics, line);
    }
}

#[test]
fn an_unknown_code_cannot_make_a_series() {
    let metrics = begun();
    let outcomes = (0..50).map(|n| run(failed(&format!("Invented{n}")), 1, 0)).collect();
    let counts = BatchCounts { outcomes, ..BatchCounts::default() };
    metrics.emit(&Event::BatchSettled { batch: 1, at: NOW, counts: &counts });
    for code in ["AccessDenied", "Invented", ""] {
        metrics.attempt("DeleteObjects", 3, 1).ended(Some(Fault { code, error: &"refused" }));
    }
    metrics.attempt("InventedOperation", 3, 2).ended(None);
    has(&metrics, "s3sweep_failed_versions_total{code=\"other\",sweep_job=\"nightly\"} 50");
    for code in ["AccessDenied", "other", "none"] {
        has(
            &metrics,
            &format!(
                "s3sweep_request_errors_total{{code=\"{code}\",operation=\"DeleteObjects\",sweep_job=\"nightly\"}} 1"
            ),
        );
    }
    has(&metrics, "s3sweep_retries_total{operation=\"other\",sweep_job=\"nightly\"} 1");
    assert!(!metrics.render(Format::Text).contains("Invented"));
    assert_eq!(metrics.requests_of("DeleteObjects"), 3);
}

#[test]
fn an_attempt_that_is_given_up_is_not_in_flight_any_more() {
    let metrics = metrics();
    let attempt = metrics.attempt("DeleteObjects", 7, 1);
    has(&metrics, "s3sweep_in_flight_requests{sweep_job=\"nightly\"} 1");
    has(&metrics, "s3sweep_in_flight_versions{sweep_job=\"nightly\"} 7");
    drop(attempt);
    has(&metrics, "s3sweep_in_flight_requests{sweep_job=\"nightly\"} 0");
    has(&metrics, "s3sweep_in_flight_versions{sweep_job=\"nightly\"} 0");
    assert!(!metrics.render(Format::Text).contains("requests_total"), "it had no outcome");
}

#[test]
fn what_nobody_knows_is_absent() {
    let metrics = metrics();
    let absent = [
        "s3sweep_last_success_time_seconds",
        "s3sweep_budget_left_versions",
        "s3sweep_pace_versions_per_second",
        "s3sweep_ceiling_versions_per_second",
        "s3sweep_deadline_time_seconds",
        "s3sweep_checkpoint_bytes",
    ];
    let text = metrics.render(Format::OpenMetrics);
    assert!(absent.iter().all(|name| !text.contains(name)), "{text}");
    metrics.emit(&Event::SucceededBefore(NOW));
    metrics.emit(&Event::BudgetLeft { versions: Some(9), bytes: None });
    metrics.emit(&Event::PaceChanged(Some(3500.7)));
    metrics.emit(&Event::CeilingsSet(Ceilings { versions_per_second: Some(3000.0), ..Ceilings::default() }));
    has(&metrics, "s3sweep_last_success_time_seconds{sweep_job=\"nightly\"} 1700000000");
    has(&metrics, "s3sweep_budget_left_versions{sweep_job=\"nightly\"} 9");
    has(&metrics, "s3sweep_pace_versions_per_second{sweep_job=\"nightly\"} 3500");
    has(&metrics, "s3sweep_ceiling_versions_per_second{sweep_job=\"nightly\"} 3000");
    assert!(!metrics.render(Format::Text).contains("budget_left_bytes"));
}

#[test]
fn the_end_says_how_and_nothing_is_under_way_any_more() {
    let metrics = metrics();
    metrics.emit(&Event::StateChanged(RunState::Running));
    has(&metrics, "s3sweep_run_state{state=\"running\",sweep_job=\"nightly\"} 1");
    has(&metrics, "s3sweep_run_exit_code{sweep_job=\"nightly\"} -1");
    metrics.emit(&Event::PlannerPaused(true));
    metrics.emit(&Event::PaceChanged(Some(1.0)));
    metrics.emit(&Event::ListPaceChanged(Some(1.0)));
    std::mem::forget(metrics.attempt("DeleteObjects", 7, 1));
    assert!(!metrics.render_to_keep().contains("s3sweep_run_ending"), "it works");
    metrics.emit(&Event::RunEnded { exit_code: 1, word: "done-with-failures", at: NOW, is_success: false });
    let text = metrics.render_to_keep();
    assert!(
        !text.contains("last_success") && !text.contains("pace_") && !text.contains("\nprocess_"),
        "{text}"
    );
    for line in [
        "s3sweep_run_exit_code{sweep_job=\"nightly\"} 1",
        "s3sweep_run_ending{ending=\"done-with-failures\",sweep_job=\"nightly\"} 1",
        "s3sweep_process_start_time_seconds{sweep_job=\"nightly\"} 1700000000",
        "s3sweep_run_end_time_seconds{sweep_job=\"nightly\"} 1700000000",
        "s3sweep_run_state{state=\"running\",sweep_job=\"nightly\"} 0",
        "s3sweep_run_state{state=\"ended\",sweep_job=\"nightly\"} 1",
        "s3sweep_in_flight_requests{sweep_job=\"nightly\"} 0",
        "s3sweep_in_flight_versions{sweep_job=\"nightly\"} 0",
        "s3sweep_planner_paused{sweep_job=\"nightly\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
    metrics.emit(&Event::RunEnded { exit_code: 0, word: "done", at: NOW, is_success: true });
    has(&metrics, "s3sweep_last_success_time_seconds{sweep_job=\"nightly\"} 1700000000");
}

#[test]
fn a_run_that_goes_on_begins_with_what_was_achieved() {
    let metrics = metrics();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [0; 77]).unwrap();
    metrics.emit(&Event::RunBegan(&RunBegan {
        run_id: "r1",
        began: Timestamp::from_millis(1_600_000_000_000),
        now: NOW,
        page: PageCounts {
            listed: 100,
            kept: vec![(KeepReason::Cutoff, 40)],
            planned: vec![(DELETES, Quantity { versions: 60, bytes: 600 })],
        },
        settled: vec![(DELETES, OutcomeKind::Done, 20), (DELETES, OutcomeKind::Failed, 2)],
        failed: vec![("AccessDenied".into(), 2)],
        freed_bytes: 200,
        copied: Quantity { versions: 3, bytes: 33 },
        deadline: Some(NOW),
        checkpoint: file.path(),
    }));
    for line in [
        "s3sweep_pending_versions{sweep_job=\"nightly\"} 38",
        "s3sweep_failed_versions_total{code=\"AccessDenied\",sweep_job=\"nightly\"} 2",
        "s3sweep_copied_bytes_total{sweep_job=\"nightly\"} 33",
        "s3sweep_run_start_time_seconds{sweep_job=\"nightly\"} 1600000000",
        "s3sweep_process_start_time_seconds{sweep_job=\"nightly\"} 1700000000",
        "s3sweep_last_progress_time_seconds{sweep_job=\"nightly\"} 1700000000",
        "s3sweep_deadline_time_seconds{sweep_job=\"nightly\"} 1700000000",
        "s3sweep_checkpoint_bytes{part=\"main\",sweep_job=\"nightly\"} 77",
        "s3sweep_checkpoint_bytes{part=\"wal\",sweep_job=\"nightly\"} 0",
    ] {
        has(&metrics, line);
    }
}

#[test]
fn openmetrics_names_families_without_total_and_ends_with_eof() {
    let metrics = begun();
    metrics.attempt("DeleteObjects", 1, 1).ended(None);
    let text = metrics.render(Format::OpenMetrics);
    for line in [
        "# TYPE s3sweep_freed_bytes counter",
        "# UNIT s3sweep_freed_bytes bytes",
        "s3sweep_freed_bytes_total{sweep_job=\"nightly\"} 0",
        "# UNIT s3sweep_request_duration_seconds seconds",
        "s3sweep_request_duration_seconds_bucket{operation=\"DeleteObjects\",sweep_job=\"nightly\",le=\"60.0\"} 1",
        "s3sweep_request_duration_seconds_bucket{operation=\"DeleteObjects\",sweep_job=\"nightly\",le=\"+Inf\"} 1",
        "# TYPE s3sweep_run_exit_code gauge",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n") && !text.contains("# UNIT s3sweep_run_exit_code"));
    let text = metrics.render(Format::Text);
    assert!(text.contains("# TYPE s3sweep_freed_bytes_total counter") && !text.contains("EOF"));
}

#[test]
fn what_a_run_has_behind_it_is_not_0_before_it_is_known() {
    let of_run = CATALOGUE.iter().filter(|spec| spec.presence == Presence::OfRun);
    let names: Vec<&str> = of_run.map(|spec| spec.name).collect();
    let metrics = metrics();
    let counts = |metrics: &Metrics| {
        let text = metrics.render(Format::Text) + &metrics.render_to_keep();
        names.iter().filter(|name| text.contains(&format!("\n{name}{{"))).count()
    };
    assert_eq!(counts(&metrics), 0);
    metrics.emit(&Event::RunBegan(&RunBegan { failed: vec![("AccessDenied".into(), 2)], ..began() }));
    assert_eq!(counts(&metrics), names.len());
    assert!(names.len() > 5 && names.contains(&"s3sweep_listed_versions_total"), "{names:?}");
    let ended = self::metrics();
    ended.emit(&Event::RunEnded { exit_code: 77, word: "x", at: NOW, is_success: false });
    assert_eq!(counts(&ended), 0, "a process that never knew its run does not say that it was empty");
    has(&ended, "s3sweep_run_exit_code{sweep_job=\"nightly\"} 77");
}

#[test]
fn trouble_with_traces_is_counted_whenever_it_began() {
    crate::telemetry::logging::trouble_with_traces("no collector");
    let metrics = metrics();
    let before = crate::telemetry::logging::traces_troubles();
    has(&metrics, &format!("s3sweep_troubles_total{{part=\"traces\",sweep_job=\"nightly\"}} {before}"));
    crate::telemetry::logging::trouble_with_traces("no collector");
    has(&metrics, &format!("s3sweep_troubles_total{{part=\"traces\",sweep_job=\"nightly\"}} {}", before + 1));
}
