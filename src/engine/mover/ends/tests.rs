use std::time::Duration;

use super::*;
use crate::model::{ActionId, CopyItem, Key, Kind, Phase, RuleId, VersionId};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

/// Two chains: places 0 to 2 of key a, 3 and 4 of key b.
fn batch() -> Batch {
    let item = |at: usize| Item {
        key: Key::from(if at < 3 { "a" } else { "b" }),
        version_id: VersionId::new(format!("s{at}")).unwrap(),
        kind: Kind::Version,
        is_latest: at == 0 || at == 3,
        size: 10,
        last_modified: Timestamp::from_millis(1),
        rule: RuleId(0),
        copy: Some(Box::new(CopyItem { etag: "\"e\"".into(), storage_class: "".into(), copied: None })),
    };
    Batch {
        id: 5,
        range: 1,
        phase: Phase::Elders,
        action: ActionId(0),
        attempts: 0,
        first_attempt: None,
        items: (0..5).map(item).collect(),
    }
}

fn copied(at: usize) -> Copied {
    Copied {
        key: Key::from("d"),
        version_id: VersionId::new(format!("d{at}")).unwrap(),
        etag: "\"e\"".into(),
    }
}

fn settled(batch: &Batch, removes_source: bool, ends: [ChainEnd; 2]) -> Settled {
    let [a, b] = ends;
    let patience = Patience { now: NOW, give_up_after: GIVE_UP_AFTER, rest: Duration::ZERO };
    let ends = vec![(0..3, a), (3..5, b)];
    let next = next_turn(batch, &ends, patience, &mut || 1.0);
    settle(batch, removes_source, ends, patience, next)
}

/// What became of each place, in words.
fn told(batch: &Batch, settled: &Settled) -> Vec<String> {
    let word = |item: &Item| {
        let is_it = |key: &Key, id: &VersionId| *key == item.key && *id == item.version_id;
        let settlement = &settled.settlement;
        let record = settlement.records.iter().find(|record| is_it(&record.key, &record.version_id));
        let moved = settlement.moved.iter().find(|moved| is_it(&moved.key, &moved.version_id));
        let remains = settlement.remaining.iter().any(|rest| is_it(&rest.key, &rest.version_id));
        let of = |copied: &Copied| format!(" as {}", copied.version_id.as_str());
        match (record, moved, remains) {
            (Some(record), None, false) => {
                let Fate::Settled { outcome, .. } = &record.fate else { return "kept".into() };
                let why = match outcome {
                    Outcome::Failed(failure) => format!(" {}", failure.code),
                    Outcome::Skipped(reason) => format!(" {}", reason.as_str()),
                    Outcome::Done | Outcome::Gone => String::new(),
                };
                let copy = record.copied.as_deref().map(of).unwrap_or_default();
                format!("{}{why}{copy}", outcome.as_str())
            }
            (None, Some(moved), false) => {
                let copy = moved.copy.as_ref().and_then(|copy| copy.copied.as_ref());
                format!("moved{}", copy.map(of).unwrap_or_default())
            }
            (None, None, true) => "remains".into(),
            other => format!("{other:?}"),
        }
    };
    batch.items.iter().map(word).collect()
}

/// Of the first chain.
fn put_off(at: usize) -> PutOff {
    let code = "InternalError".into();
    let copied = (at + 1..3).map(|place| (place, copied(place))).collect();
    PutOff { code, message: "".into(), retry_after: None, at, copied, has_advanced: false, upload: None }
}

fn whole(places: Range<usize>) -> ChainEnd {
    ChainEnd::Whole(places.map(copied).collect())
}

fn again() -> ChainEnd {
    ChainEnd::Again(put_off(2))
}

#[test]
fn a_copy_is_done_and_a_move_goes_on_to_its_deletion() {
    let batch = batch();
    let copy = settled(&batch, false, [whole(0..3), whole(3..5)]);
    assert_eq!(told(&batch, &copy), ["done as d0", "done as d1", "done as d2", "done as d3", "done as d4"]);
    assert_eq!((copy.done.versions, copy.done.bytes), (5, 50));
    let moved = settled(&batch, true, [whole(0..3), ChainEnd::Untouched]);
    assert_eq!(told(&batch, &moved), ["moved as d0", "moved as d1", "moved as d2", "remains", "remains"]);
    assert_eq!(moved.done.versions, 0, "nothing is deleted yet");
    assert_eq!(moved.settlement.retry, None, "what was not begun has no attempt behind it");
}

#[test]
fn a_broken_chain_fails_where_it_broke_and_nothing_of_it_is_deleted() {
    let batch = batch();
    let failure = Failure { code: "AccessDenied".into(), message: "no".into() };
    let broken = ChainEnd::Broken { at: 1, failure, request_id: None, copied: vec![(2, copied(2))] };
    let settled = settled(&batch, true, [broken, whole(3..5)]);
    assert_eq!(
        told(&batch, &settled),
        [
            "skipped chain-broken",
            "failed AccessDenied",
            "skipped chain-broken as d2",
            "moved as d3",
            "moved as d4"
        ]
    );
}

#[test]
fn what_is_archived_is_told_apart_from_what_waits_for_it() {
    let batch = batch();
    let settled = settled(&batch, true, [ChainEnd::Parked(vec![1]), whole(3..5)]);
    let told = told(&batch, &settled);
    assert_eq!(told[..3], ["skipped chain-broken", "skipped needs-restore", "skipped chain-broken"]);
}

#[test]
fn an_open_chain_comes_again_and_is_given_up_by_time() {
    let mut batch = batch();
    let settled_now =
        settled(&batch, true, [ChainEnd::Untouched, ChainEnd::Again(PutOff { at: 4, ..put_off(2) })]);
    assert_eq!(told(&batch, &settled_now), ["remains"; 5]);
    assert_eq!(settled_now.settlement.maybe_sent, 2);
    assert_eq!(
        settled_now.settlement.remaining[0].key,
        Key::from("b"),
        "what may have been sent comes first"
    );
    assert!(settled_now.settlement.retry.is_some_and(|retry| retry.first_attempt == NOW));
    batch.first_attempt = Some(NOW.minus(GIVE_UP_AFTER));
    let given_up = settled(&batch, true, [again(), whole(3..5)]);
    let told = told(&batch, &given_up);
    assert_eq!(
        told[..3],
        ["skipped chain-broken", "skipped chain-broken", "failed GaveUp"],
        "the oldest is named"
    );
}

#[test]
fn a_chain_that_goes_forward_is_not_given_up_and_a_given_up_one_tells_its_copies() {
    let mut batch = batch();
    batch.first_attempt = Some(NOW.minus(GIVE_UP_AFTER));
    let given_up = settled(&batch, true, [ChainEnd::Again(put_off(1)), whole(3..5)]);
    assert_eq!(
        told(&batch, &given_up)[..3],
        ["skipped chain-broken", "failed GaveUp", "skipped chain-broken as d2"],
        "the one that could not be copied, and what was"
    );
    let forward = ChainEnd::Again(PutOff { has_advanced: true, ..put_off(1) });
    let goes_on = settled(&batch, true, [forward, whole(3..5)]);
    assert_eq!(told(&batch, &goes_on)[..3], ["remains"; 3]);
    assert!(goes_on.settlement.retry.is_some_and(|retry| retry.first_attempt == NOW));
}

/// A template by version makes a chain of each version of a key.
#[test]
fn no_version_of_a_key_goes_while_another_is_still_to_be_copied() {
    let mut batch = batch();
    batch.items.iter_mut().for_each(|item| item.key = Key::from("a"));
    for open in [again(), ChainEnd::Untouched] {
        let moved = settled(&batch, true, [whole(0..3), open.clone()]);
        assert_eq!(told(&batch, &moved), ["remains"; 5]);
        let copied = settled(&batch, false, [whole(0..3), open]);
        assert_eq!(told(&batch, &copied)[..3], ["done as d0", "done as d1", "done as d2"]);
    }
}
