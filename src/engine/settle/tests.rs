//! Every item of a batch comes out once, with the outcome that its answer means.

use super::*;
use crate::model::{ActionId, Key, Kind, Phase, RuleId, VersionId};

fn batch(n: usize, attempts: u32, first_attempt: Option<i64>) -> Batch {
    let items = (0..n)
        .map(|at| Item {
            key: Key::from(format!("k{at}")),
            version_id: VersionId::new(format!("v{at}")).unwrap(),
            kind: Kind::Version,
            is_latest: false,
            size: 10,
            last_modified: Timestamp::from_millis(0),
            rule: RuleId(0),
            copy: None,
        })
        .collect();
    Batch {
        id: 7,
        range: 1,
        phase: Phase::Elders,
        action: ActionId(0),
        attempts,
        first_attempt: first_attempt.map(Timestamp::from_millis),
        items,
    }
}

const PATIENCE: Patience = Patience {
    now: Timestamp::from_millis(100_000),
    give_up_after: Duration::from_secs(60),
    rest: Duration::ZERO,
};

fn answered(answer: ItemAnswer) -> Sent {
    Sent::Answered { answer, request_id: Some("R1".into()) }
}

fn refused(class: Class, tries_max: Option<u32>) -> Sent {
    answered(ItemAnswer::Refused { class, tries_max, code: "Code".into(), message: "m".into() })
}

fn outcomes(settled: &Settled) -> Vec<&'static str> {
    settled
        .settlement
        .records
        .iter()
        .map(|record| match &record.fate {
            Fate::Settled { outcome, .. } => outcome.as_str(),
            Fate::Kept(_) => "kept",
        })
        .collect()
}

#[test]
fn each_answer_has_its_outcome_and_only_what_may_succeed_goes_back() {
    let sent = vec![
        answered(ItemAnswer::Deleted),
        refused(Class::Done, None),
        refused(Class::Permanent, None),
        refused(Class::Transient, None),
        refused(Class::Throttled, None),
        answered(ItemAnswer::Unaccounted),
        Sent::Not,
        Sent::Blocked,
        Sent::Open { code: "Timeout".into(), message: "".into(), retry_after: None },
    ];
    let settled = settle(batch(9, 0, None), sent, PATIENCE, &mut || 0.5);
    assert_eq!(outcomes(&settled), ["done", "gone", "failed", "skipped"]);
    let left: Vec<String> = settled.settlement.remaining.iter().map(|item| item.key.to_string()).collect();
    assert_eq!(left, ["k3", "k4", "k5", "k8", "k6"]);
    assert_eq!((settled.done.versions, settled.open.versions, settled.throttled), (1, 4, 1));
    assert_eq!(settled.settlement.maybe_sent, 4, "those come first");
    let retry = settled.settlement.retry.unwrap();
    assert_eq!(retry.first_attempt, PATIENCE.now);
    assert_eq!(retry.not_before.as_millis(), 100_500);
}

#[test]
fn what_was_not_sent_costs_no_attempt() {
    let settled = settle(batch(2, 3, None), vec![Sent::Not, Sent::Not], PATIENCE, &mut || 0.5);
    assert_eq!(settled.settlement.remaining.len(), 2);
    assert_eq!(settled.settlement.retry, None);
}

#[test]
fn time_ends_the_tries_not_their_number() {
    let sent = vec![refused(Class::Throttled, None), answered(ItemAnswer::Deleted), Sent::Not];
    let late = settle(batch(3, 2, Some(40_000)), sent.clone(), PATIENCE, &mut || 0.5);
    assert_eq!(outcomes(&late), ["failed", "done"]);
    match &late.settlement.records[0].fate {
        Fate::Settled { outcome: Outcome::Failed(failure), .. } => {
            assert_eq!(&*failure.code, "GaveUp");
            assert!(failure.message.contains("Code"), "{failure:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(late.settlement.remaining.len(), 1, "what was not sent may still be");
    let early = settle(batch(3, 500, Some(40_001)), sent, PATIENCE, &mut || 0.5);
    assert_eq!(outcomes(&early), ["done"]);
}

#[test]
fn a_batch_that_shrinks_waits_seconds_not_minutes() {
    let wait = |first: Sent| {
        let sent = vec![first, refused(Class::Transient, None)];
        let settled = settle(batch(2, 9, Some(90_000)), sent, PATIENCE, &mut || 1.0);
        settled.settlement.retry.unwrap().not_before.since(PATIENCE.now).unwrap()
    };
    assert_eq!(wait(answered(ItemAnswer::Deleted)), Duration::from_secs(4));
    assert_eq!(wait(refused(Class::Transient, None)), Duration::from_secs(300));
}

#[test]
fn a_counted_error_is_final_when_its_tries_are_used_up() {
    let sent = || vec![refused(Class::Transient, Some(5))];
    assert!(outcomes(&settle(batch(1, 3, Some(90_000)), sent(), PATIENCE, &mut || 0.0)).is_empty());
    assert_eq!(outcomes(&settle(batch(1, 4, Some(90_000)), sent(), PATIENCE, &mut || 0.0)), ["failed"]);
}

#[test]
fn what_was_only_throttled_is_tried_again_within_seconds() {
    let mut top = || 1.0;
    let not_before = |sent: Vec<Sent>, attempts, top: Chance<'_>| {
        let settled = settle(batch(sent.len(), attempts, Some(99_000)), sent, PATIENCE, top);
        settled.settlement.retry.unwrap().not_before.as_millis() - 100_000
    };
    let throttled = || refused(Class::Throttled, None);
    let shrinks = vec![answered(ItemAnswer::Deleted), throttled()];
    assert_eq!(not_before(shrinks, 9, &mut top), 1_000);
    assert_eq!(not_before(vec![throttled(); 2], 9, &mut top), 4_000);
    assert_eq!(not_before(vec![throttled(), refused(Class::Transient, None)], 9, &mut top), 300_000);
    let patience = Patience { rest: Duration::from_secs(12), ..PATIENCE };
    let settled = settle(batch(1, 9, Some(99_000)), vec![throttled()], patience, &mut top);
    assert_eq!(settled.settlement.retry.unwrap().not_before.as_millis(), 112_000, "its range rests");
}
