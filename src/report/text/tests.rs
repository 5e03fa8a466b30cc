use super::*;
use crate::report::fidelity::tests::settings;
use crate::report::{Ceilings, ReasonCount, RuleSummary, TransferRule, WorkTime};

fn transfers() -> Vec<TransferRule> {
    let rule = |name: &str, moves| TransferRule {
        rule: name.into(),
        moves,
        streams: false,
        carries_markers: true,
        looks_apart: true,
        settings: settings(),
    };
    vec![rule("archive", true), rule("mirror", false)]
}

fn ceilings(versions: Option<u32>, requests: Option<u32>) -> Ceilings {
    Ceilings { versions_per_second: versions, requests_per_second: requests, bytes_per_second: None }
}

fn rule(name: &str, action: &str, planned: u64, done: u64) -> RuleSummary {
    RuleSummary {
        name: name.into(),
        action: action.into(),
        planned,
        keys: planned,
        bytes: planned * 1024,
        done,
        bytes_done: done * 1024,
        gone: 0,
        failed: 0,
        skipped: 0,
        kept: 1,
        samples: Vec::new(),
    }
}

fn summary(rules: Vec<RuleSummary>) -> Summary {
    let sum = |of: fn(&RuleSummary) -> u64| rules.iter().map(of).sum();
    Summary {
        run_id: "R".into(),
        job: "j".into(),
        bucket: "b".into(),
        endpoint: "aws".into(),
        state: "done".into(),
        reason: None,
        exit_code: Some(0),
        began: "1970-01-01T00:00:00.000Z".into(),
        updated: "1970-01-01T00:00:01.000Z".into(),
        seconds: 1.0,
        working_seconds: 1.0,
        audit: None,
        checkpoint: "c".into(),
        listed: 5000,
        undecided: 0,
        kept: 3,
        planned: sum(|rule| rule.planned),
        bytes_planned: sum(|rule| rule.bytes),
        done: sum(|rule| rule.done),
        gone: 0,
        failed: 0,
        skipped: 0,
        pending: 0,
        in_flight: 0,
        copied_not_deleted: 0,
        bytes_done: sum(|rule| rule.bytes_done),
        reasons: Vec::new(),
        kept_because: std::collections::BTreeMap::new(),
        ranges_done: 1,
        ranges: 1,
        requests: std::collections::BTreeMap::from([("list_pages".into(), 5)]),
        rules,
    }
}

fn mixed() -> Summary {
    summary(vec![
        rule("legal", "keep", 0, 0),
        rule("old", "delete", 1500, 1400),
        rule("archive", "move", 700, 650),
        rule("mirror", "copy", 300, 250),
    ])
}

#[test]
fn a_run_that_only_deletes_says_so() {
    let summary = summary(vec![rule("legal", "keep", 0, 0), rule("old", "delete", 1500, 1400)]);
    let text = summary_text(&summary);
    assert!(text.contains("\n  deleted  1,400 (1.37 MiB freed)\n"), "{text}");
    assert!(text.contains("rule   planned  deleted  gone"), "{text}");
    assert!(!text.contains("copied") && !text.contains("moved"), "{text}");
    let figures = summary.plan_figures(ceilings(Some(100), None), &[]);
    assert_eq!((figures.delete_requests, figures.copy_requests, figures.copy_cost_usd), (2, 0, 0.0));
    let plan = plan_text(&summary, &figures);
    assert!(
        plan.starts_with("plan R of job j: 1,500 of 5,000 listed versions would be deleted, 1.46 MiB\n"),
        "{plan}"
    );
    assert!(plan.contains("  requests  2 to delete, 5 made to list\n"), "{plan}");
}

#[test]
fn what_is_copied_or_moved_is_not_called_deleted() {
    let text = summary_text(&mixed());
    for line in ["deleted  1,400 (1.37 MiB)", "moved    650 (650.00 KiB)", "copied   250 (250.00 KiB)"] {
        assert!(text.contains(&format!("\n  {line}\n")), "{text}");
    }
    let row = text.lines().find(|line| line.contains("mirror")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().take(4).collect();
    assert_eq!(cells, ["mirror", "300", "copy", "250"]);
    let copies_only = summary_text(&summary(vec![rule("mirror", "copy", 3, 2)]));
    assert!(!copies_only.contains("deleted") && !copies_only.contains("freed"), "{copies_only}");
}

#[test]
fn a_plan_has_figures_for_each_kind() {
    let figures = mixed().plan_figures(ceilings(None, Some(100)), &transfers());
    assert_eq!((figures.delete_requests, figures.copy_requests), (3, 1000));
    // 2 to delete; of the 1,000 versions a write each and two looks at each of as many keys; 1 to delete.
    assert!((figures.seconds_at_limits - 30.03).abs() < 1e-9, "{figures:?}");
    assert!((figures.copy_cost_usd - 0.015).abs() < 1e-9, "{figures:?}");
    let bytes = Ceilings { bytes_per_second: Some(1024), ..Ceilings::default() };
    let streamed = TransferRule { streams: true, ..transfers().remove(1) };
    let slow = mixed().plan_figures(bytes, &[streamed]);
    assert!((slow.seconds_at_limits - 300.0).abs() < 1e-9, "{slow:?}");
    let plan = plan_text(&mixed(), &figures);
    let head = "plan R of job j: 2,500 of 5,000 listed versions are selected, 2.44 MiB\n  \
                1,500 would be deleted, 1.46 MiB\n  700 would be moved, 700.00 KiB\n  300 would be copied, 300.00 KiB\n";
    assert!(plan.starts_with(head), "{plan}");
    assert!(plan.contains("  requests  1,000 to copy at least, 3 to delete, 5 made to list\n"), "{plan}");
    assert!(plan.contains("\n  archive moves 700 versions of 700 keys, "), "{plan}");
    assert!(plan.contains("\n    lost: access control list (say acl: copy to keep it)\n"), "{plan}");
    let copies = summary(vec![rule("mirror", "copy", 3, 0)]);
    let plan = plan_text(&copies, &copies.plan_figures(Ceilings::default(), &transfers()));
    assert!(
        plan.starts_with("plan R of job j: 3 of 5,000 listed versions would be copied, 3.00 KiB\n"),
        "{plan}"
    );
}

fn reason(outcome: &'static str, code: &str, versions: u64) -> ReasonCount {
    ReasonCount { outcome, code: code.into(), versions }
}

#[test]
fn the_most_frequent_cause_is_named_and_all_are_counted() {
    let failed = Summary {
        failed: 1_300,
        skipped: 7,
        reasons: vec![
            reason("failed", "AccessDenied", 1_200),
            reason("failed", "GaveUp", 100),
            reason("skipped", "elder-remains", 7),
        ],
        ..mixed()
    };
    let text = summary_text(&failed);
    assert!(
        text.contains("\n  failed   1,300 (1,200 AccessDenied, the most frequent of 2 causes)\n"),
        "{text}"
    );
    assert!(text.contains("\n  skipped  7 (elder-remains)\n"), "{text}");
    let line = FailureLine {
        key: "a".into(),
        version_id: "v".into(),
        rule: "old".into(),
        outcome: "failed",
        code: "AccessDenied".into(),
        message: "no".into(),
        request_id: None,
        attempt: 1,
        at: String::new(),
    };
    let report = report_text(&failed, &[line]);
    let causes = "  causes:\n    failed AccessDenied    1,200\n    failed GaveUp            100\n    \
                  skipped elder-remains      7\n  failed and skipped versions:\n    a v rule old: failed";
    assert!(report.contains(causes), "{report}");
}

#[test]
fn what_was_copied_and_still_stands_is_told_where_there_is_any() {
    let waiting = Summary { pending: 50, copied_not_deleted: 20, ..mixed() };
    assert!(summary_text(&waiting).contains("\n  pending  50 (20 copied, not yet deleted)\n"));
    let cut = Summary { in_flight: 1030, pending: 1050, ..waiting };
    assert!(
        summary_text(&cut).contains("\n  pending  1,050 (1,030 in flight; 20 copied, not yet deleted)\n")
    );
    let cut = Summary { copied_not_deleted: 0, ..cut };
    assert!(summary_text(&cut).contains("\n  pending  1,050 (1,030 in flight)\n"));
    let none = Summary { pending: 50, ..mixed() };
    assert!(summary_text(&none).contains("\n  pending  50\n"));
}

#[test]
fn the_time_of_work_is_told_apart_where_there_were_pauses() {
    let paused = Summary { seconds: 7_200.0, working_seconds: 180.0, ..mixed() };
    let text = summary_text(&paused);
    assert!(
        text.contains("  time     3 minutes of work, 2 hours from the beginning with all pauses\n"),
        "{text}"
    );
    let through = Summary { seconds: 180.0, working_seconds: 179.0, ..mixed() };
    assert!(summary_text(&through).contains("  time     3 minutes\n"));
}

#[test]
fn work_is_what_processes_did() {
    let work = WorkTime { worked_ms: 1_500, since_ms: 10_000 };
    let at = crate::model::Timestamp::from_millis;
    assert_eq!(work.until(at(12_000)), Duration::from_millis(3_500));
    assert_eq!(work.until(at(9_000)), Duration::from_millis(1_500), "nothing was written since it began");
}
