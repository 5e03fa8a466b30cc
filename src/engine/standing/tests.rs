//! Which run a command is about, case by case.

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn standing(mode: Mode, state: RunState, age: Duration) -> Standing {
    Standing {
        header: RunHeader {
            run_id: "r1".into(),
            job_name: "j".into(),
            fingerprint: "same".into(),
            semantic_json: r#"{"bucket":"a"}"#.into(),
            bucket: "a".into(),
            endpoint: "aws".into(),
            region: "eu-central-1".into(),
            owner: None,
            rule_names: Vec::new(),
            mode,
            began: NOW.minus(age),
            audit_file: None,
            tool_version: "1".into(),
            versioning: "enabled".into(),
        },
        state,
        updated: NOW.minus(age),
    }
}

const PLAN: Command = Command::Plan { restart: false };
const RUN: Command = Command::Run { restart: false };
const APPLY: Command = Command::Apply { max_plan_age: DAY };

fn ask(command: &Command, current: Option<&Standing>, fingerprint: &str) -> Choice {
    choose(command, current, fingerprint, r#"{"bucket":"b"}"#, NOW)
}

fn refusal(choice: Choice) -> u8 {
    match choice {
        Choice::Refuse(ending) => ending.exit_code(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_interrupted_run_goes_on_under_the_same_job_only() {
    for state in [RunState::Running, RunState::Stopped] {
        let open = standing(Mode::Stream, state, Duration::from_secs(60));
        assert_eq!(ask(&RUN, Some(&open), "same"), Choice::GoOn);
        assert_eq!(refusal(ask(&RUN, Some(&open), "other")), 65);
        assert_eq!(refusal(ask(&PLAN, Some(&open), "same")), 2);
        assert!(matches!(ask(&Command::Run { restart: true }, Some(&open), "other"), Choice::Begin(Some(_))));
    }
}

#[test]
fn the_difference_is_named() {
    let open = standing(Mode::Stream, RunState::Stopped, DAY);
    match ask(&RUN, Some(&open), "other") {
        Choice::Refuse(ending) => assert!(ending.message().contains("bucket"), "{}", ending.message()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_ended_run_is_no_obstacle_and_no_plan() {
    for state in [RunState::Done, RunState::Abandoned] {
        let ended = standing(Mode::Stream, state, DAY);
        assert_eq!(ask(&RUN, Some(&ended), "other"), Choice::Begin(None));
        assert_eq!(refusal(ask(&APPLY, Some(&ended), "same")), 2);
    }
    assert_eq!(ask(&PLAN, None, "same"), Choice::Begin(None));
    assert_eq!(refusal(ask(&APPLY, None, "same")), 2);
}

#[test]
fn a_plan_is_applied_while_it_is_fresh_and_its_job_unchanged() {
    let fresh = standing(Mode::Plan, RunState::Planned, DAY);
    assert_eq!(ask(&APPLY, Some(&fresh), "same"), Choice::GoOn);
    assert_eq!(refusal(ask(&APPLY, Some(&fresh), "other")), 65);
    let old = standing(Mode::Plan, RunState::Planned, DAY + Duration::from_secs(1));
    assert_eq!(refusal(ask(&APPLY, Some(&old), "same")), 2);
    let begun = standing(Mode::Plan, RunState::Stopped, DAY * 3);
    assert_eq!(ask(&APPLY, Some(&begun), "same"), Choice::GoOn, "what was begun is finished");
    assert_eq!(ask(&RUN, Some(&begun), "same"), Choice::GoOn);
    let half = standing(Mode::Plan, RunState::Planning, DAY);
    assert_eq!(refusal(ask(&APPLY, Some(&half), "same")), 2);
    assert_eq!(ask(&PLAN, Some(&half), "same"), Choice::GoOn);
    let stream = standing(Mode::Stream, RunState::Stopped, DAY);
    assert_eq!(refusal(ask(&APPLY, Some(&stream), "same")), 2);
}

#[test]
fn the_age_of_a_plan_is_told_to_the_second() {
    let told = |age_secs, max_secs| {
        let old = standing(Mode::Plan, RunState::Planned, Duration::from_secs(age_secs));
        let apply = Command::Apply { max_plan_age: Duration::from_secs(max_secs) };
        match ask(&apply, Some(&old), "same") {
            Choice::Refuse(ending) => ending.message(),
            other => panic!("{other:?}"),
        }
    };
    assert!(
        told(12, 5).starts_with("the plan is 12 seconds old, more than --max-plan-age allows (5 seconds): ")
    );
    assert!(told(3_601, 3_600).contains("60 minutes and 1 seconds old"));
}

#[test]
fn a_plan_that_changed_nothing_makes_way() {
    let planned = standing(Mode::Plan, RunState::Planned, DAY);
    assert!(matches!(ask(&PLAN, Some(&planned), "other"), Choice::Begin(Some(_))));
    let Choice::Begin(Some(reason)) = ask(&RUN, Some(&planned), "other") else { panic!("it goes on") };
    assert!(reason.contains("`s3sweep apply`"), "what carries a plan out is named: {reason}");
}

#[test]
fn a_run_that_rested_too_long_is_planned_again() {
    let old = standing(Mode::Stream, RunState::Stopped, DAY * 8);
    assert!(matches!(ask(&RUN, Some(&old), "same"), Choice::Begin(Some(_))));
}
