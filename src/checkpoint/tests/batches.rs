//! The life of pages and batches, by example.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::disk::tests::guard_of;
use super::*;
use crate::model::{Marker, SkipReason};

/// A page that uses every field there is.
fn rich_page(range: &RangeRow) -> PageCommit {
    let held = HeldItem { item: item("z", "v9"), action: ActionId(1) };
    let tail = Tail {
        phase: Phase::Latest,
        action: ActionId(0),
        seq: 1,
        after_seq: Some(0),
        items: vec![item("a/0000", "latest")].into(),
    };
    let new = RangeRow {
        cursor: Some(Marker { key: "z".into(), version_id: VersionId::new("null") }),
        recent: vec![VersionId::new("v9").unwrap()],
        fold: Some(Box::from(*b"open key")),
        held: Some(held),
        tails: vec![tail],
        next_seq: 2,
        key_seq: Some(0),
        undecided: 1,
        ..range.clone()
    };
    let mut page = page(range, new, vec![elders(0, items("a", 3))], &["k1", "k2"]);
    page.samples = vec![Sample {
        rule: RuleId(0),
        key: "a/0000".into(),
        version_id: VersionId::new("v0").unwrap(),
        kind: Kind::Version,
        size: 10,
        last_modified: at(500),
    }];
    page
}

#[tokio::test]
async fn a_run_goes_from_page_to_batch_to_outcome_and_its_snapshot_tells_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let journal = MemoryJournal::default();
    let checkpoint = Checkpoint::create(&path, &header(), journal.boxed()).unwrap();
    assert_eq!(checkpoint.state().await.unwrap().state, RunState::Running);
    let mut changes = checkpoint.changed();

    let range = checkpoint.add_ranges(vec![whole_bucket()]).await.unwrap().remove(0);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let page = rich_page(&range);
    let expected = page.range.clone();
    let samples = page.samples.clone();
    checkpoint.commit_page(page).await.unwrap();
    assert_eq!(checkpoint.ranges().await.unwrap(), std::slice::from_ref(&expected));

    let claims = checkpoint.claim(5, at(3000)).await.unwrap();
    assert_eq!(claims.batches.len(), 1);
    assert_eq!(claims.batches[0].batch.items, items("a", 3));
    assert_eq!((claims.next_ready, claims.open), (None, 1));
    let outcomes = [Outcome::Done, Outcome::Gone, failed()];
    let records: Vec<_> =
        claims.batches[0].batch.items.iter().zip(outcomes).map(|(item, o)| settled(item, o)).collect();
    let mut settlement = settlement(claims.batches[0].batch.id, records.clone());
    settlement.requests = vec![("delete_objects", 1)];
    checkpoint.settle(settlement).await.unwrap();

    checkpoint.put_note("window", "{\"x\":1}").await.unwrap();
    checkpoint.set_state(RunState::Stopped, Some("interrupted".into()), Some(75), at(9)).await.unwrap();
    let totals = checkpoint.totals().await.unwrap();
    assert_eq!(totals.listed().versions, 8);
    assert_eq!((totals.kept().versions, totals.planned().versions, totals.undecided), (2, 5, 1));
    let one = Amount { versions: 1, bytes: 10, keys: 0 };
    assert_eq!((totals.done(), totals.gone(), totals.failed()), (one, one, one));
    assert_eq!((totals.waiting.versions, totals.pending.versions, totals.in_flight.versions), (2, 0, 0));
    assert_eq!(totals.requests["delete_objects"], 1);
    let audit: Vec<_> = [kept_record("k1"), kept_record("k2")].into_iter().chain(records).collect();
    assert_eq!(journal.sealed(), audit);

    let live = Snapshot::open(&path).unwrap();
    assert!(!live.is_clean().unwrap());
    assert_eq!(live.totals().unwrap(), totals);
    drop(live);
    checkpoint.close().await.unwrap();

    compare(&Snapshot::open(&path).unwrap(), &totals, expected, &samples);
}

/// What the file of that run says when it is closed.
fn compare(snapshot: &Snapshot, totals: &Totals, range: RangeRow, samples: &[Sample]) {
    snapshot.check().unwrap();
    assert_eq!(snapshot.header().unwrap(), header());
    assert_eq!(&snapshot.totals().unwrap(), totals);
    assert_eq!(snapshot.ranges().unwrap(), [range]);
    assert_eq!(snapshot.samples().unwrap(), samples);
    assert_eq!(snapshot.note("window").unwrap().as_deref(), Some("{\"x\":1}"));
    assert_eq!(snapshot.note("none").unwrap(), None);
    assert_eq!(snapshot.progress().unwrap(), Progress { ranges: 1, done: 0, pages: 1 });
    assert_eq!((snapshot.epoch().unwrap(), snapshot.audit_bytes().unwrap()), (1, 5));
    assert_eq!(snapshot.updated().unwrap(), at(3000));
    assert!(snapshot.is_clean().unwrap());
    assert_eq!(snapshot.file_sizes().wal_bytes, 0);
    let stopped = StateRow {
        state: RunState::Stopped,
        reason: Some("interrupted".into()),
        exit_code: Some(75),
        at: at(9),
    };
    assert_eq!(snapshot.state().unwrap(), stopped);
    let failures = snapshot.failures(10, 0).unwrap();
    assert_eq!(failures.len(), 1);
    assert_eq!((&failures[0].item, &failures[0].outcome), (&items("a", 3)[2], &failed()));
    assert_eq!((failures[0].request_id.as_deref(), failures[0].attempt), (Some("R"), 1));
    assert_eq!(snapshot.failures(10, 1).unwrap(), []);
}

#[tokio::test]
async fn failures_come_before_what_was_skipped_and_are_counted_by_cause() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let checkpoint = Checkpoint::create(&path, &header(), None).unwrap();
    let range = checkpoint.add_ranges(vec![whole_bucket()]).await.unwrap().remove(0);
    plan(&checkpoint, &range, vec![elders(0, items("a", 6))]).await;
    let claims = checkpoint.claim(1, at(1)).await.unwrap();
    let batch = &claims.batches[0].batch;
    let because = |code: &str| Outcome::Failed(Failure { code: code.into(), message: "".into() });
    let skipped = || Outcome::Skipped(SkipReason::ElderRemains);
    let outcomes = [skipped(), because("Rare"), because("Often"), skipped(), because("Often"), Outcome::Done];
    let records = batch.items.iter().zip(outcomes).map(|(item, outcome)| settled(item, outcome)).collect();
    checkpoint.settle(settlement(batch.id, records)).await.unwrap();
    checkpoint.close().await.unwrap();
    let snapshot = Snapshot::open(&path).unwrap();
    let found: Vec<_> = snapshot.failures(9, 0).unwrap().into_iter().map(|row| row.outcome).collect();
    assert_eq!(found, [because("Rare"), because("Often"), because("Often"), skipped(), skipped()]);
    let counts: Vec<_> = snapshot
        .failure_counts()
        .unwrap()
        .into_iter()
        .map(|count| (count.is_failed, count.code, count.versions))
        .collect();
    let wanted = [(true, "Often", 2), (true, "Rare", 1), (false, "elder-remains", 2)];
    assert_eq!(counts, wanted.map(|(is_failed, code, n)| (is_failed, code.to_owned(), n)));
}

async fn started(path: &std::path::Path) -> (Checkpoint, RangeRow) {
    let checkpoint = Checkpoint::create(path, &header(), None).unwrap();
    let range = checkpoint.add_ranges(vec![whole_bucket()]).await.unwrap().remove(0);
    (checkpoint, range)
}

#[tokio::test]
async fn latest_items_wait_for_every_elder_batch_and_open_tail_before_them() {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, range) = started(&folder.path().join("run.sqlite")).await;
    // Elders 0 and 2 are batches, elders 1 are a tail; three batches of latest items wait for each.
    let tail = Tail {
        phase: Phase::Elders,
        action: ActionId(0),
        seq: 1,
        after_seq: None,
        items: items("t", 1).into(),
    };
    let batches = vec![
        elders(0, items("a", 2)),
        elders(2, items("c", 2)),
        latest(3, Some(0), items("la", 1)),
        latest(4, Some(1), items("lb", 1)),
        latest(5, Some(2), items("lc", 1)),
        latest(6, None, items("free", 1)),
    ];
    let new = RangeRow { tails: vec![tail.clone()], next_seq: 7, ..range.clone() };
    let first = page(&range, new, batches, &[]);
    let range = first.range.clone();
    checkpoint.commit_page(first).await.unwrap();

    let claims = checkpoint.claim(10, at(1)).await.unwrap();
    let mut first: Vec<_> = claims.batches.into_iter().map(|claimed| claimed.batch).collect();
    first.sort_by_key(|batch| batch.id);
    let ids: Vec<_> = first.iter().map(|batch| batch.id).collect();
    assert_eq!(ids, [1, 2, 6], "the elders, and the latest items without any");
    assert_eq!((claims.next_ready, claims.open), (None, 6));
    // The second elder batch is settled first: the first still stands before everything.
    checkpoint.settle(all_done(&first[1])).await.unwrap();
    assert!(claim_ids(&checkpoint, 10, 1).await.is_empty());
    // A retry leaves the batch unsettled.
    let elder = &first[0];
    let mut again = settlement(elder.id, vec![settled(&elder.items[0], Outcome::Done)]);
    again.remaining = elder.items[1..].to_vec();
    again.retry = Some(Retry { not_before: at(1), first_attempt: at(1) });
    checkpoint.settle(again).await.unwrap();
    let claims = checkpoint.claim(10, at(1)).await.unwrap();
    assert_eq!(claims.batches.len(), 1);
    checkpoint.settle(all_done(&claims.batches[0].batch)).await.unwrap();
    assert_eq!(claim_ids(&checkpoint, 10, 1).await, [3], "the open tail holds back the others");
    // The tail becomes a batch under its number, and is settled.
    let closed =
        page(&range, RangeRow { tails: vec![], ..range.clone() }, vec![elders(1, tail.items.to_vec())], &[]);
    checkpoint.commit_page(closed).await.unwrap();
    let claims = checkpoint.claim(10, at(1)).await.unwrap();
    assert_eq!(claims.batches.iter().map(|claimed| claimed.batch.id).collect::<Vec<_>>(), [7]);
    checkpoint.settle(all_done(&claims.batches[0].batch)).await.unwrap();
    let mut rest = claim_ids(&checkpoint, 10, 1).await;
    rest.sort_unstable();
    assert_eq!(rest, [4, 5]);
}

#[tokio::test]
async fn items_whose_elder_failed_are_named_when_their_batch_is_handed_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let (checkpoint, range) = started(&path).await;
    let lasts: Vec<_> = ["a", "b", "c"].map(|key| Item { is_latest: true, ..item(key, "v9") }).into();
    let olds: Vec<_> = ["a", "b", "c"].map(|key| item(key, "v1")).into();
    plan(&checkpoint, &range, vec![elders(0, olds), latest(1, Some(0), lasts)]).await;
    let elder = checkpoint.claim(1, at(1)).await.unwrap().batches.remove(0).batch;
    let outcomes = [failed(), Outcome::Done, Outcome::Skipped(SkipReason::PlanAbandoned)];
    let records = elder.items.iter().zip(outcomes).map(|(item, outcome)| settled(item, outcome)).collect();
    checkpoint.settle(settlement(elder.id, records)).await.unwrap();
    let claimed = checkpoint.claim(1, at(1)).await.unwrap().batches.remove(0);
    assert_eq!(claimed.blocked, [0, 2]);
    drop(checkpoint);

    // Also after the run went on in another process.
    let checkpoint = Checkpoint::open(&path, None).unwrap();
    let claimed = checkpoint.claim(1, at(1)).await.unwrap().batches.remove(0);
    assert_eq!((claimed.batch.id, claimed.blocked), (2, vec![0, 2]));
}

#[tokio::test]
async fn retries_wait_for_their_time_count_attempts_and_come_before_new_batches() {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, range) = started(&folder.path().join("run.sqlite")).await;
    plan(&checkpoint, &range, vec![elders(0, items("a", 2)), elders(1, items("b", 2))]).await;
    let first = checkpoint.claim(1, at(10)).await.unwrap();
    assert_eq!(first.next_ready, Some(at(10)), "there is another one, at once");
    let batch = &first.batches[0].batch;
    let mut rest = settlement(batch.id, vec![settled(&batch.items[1], Outcome::Gone)]);
    rest.remaining = batch.items[..1].to_vec();
    rest.retry = Some(Retry { not_before: at(50), first_attempt: at(10) });
    checkpoint.settle(rest).await.unwrap();

    let second = checkpoint.claim(5, at(49)).await.unwrap();
    assert_eq!(second.batches.iter().map(|claimed| claimed.batch.id).collect::<Vec<_>>(), [2]);
    assert_eq!((second.next_ready, second.open), (Some(at(50)), 2));
    checkpoint.release(vec![2]).await.unwrap();
    let early = checkpoint.claim_retries(5, at(49), vec![]).await.unwrap();
    assert_eq!((early.batches.len(), early.next_ready, early.open), (0, Some(at(50)), 2), "no new batches");
    let due = checkpoint.claim_retries(5, at(60), vec![]).await.unwrap();
    assert_eq!(due.batches.iter().map(|claimed| claimed.batch.id).collect::<Vec<_>>(), [1]);
    checkpoint.release(vec![1]).await.unwrap();
    let third = checkpoint.claim(5, at(60)).await.unwrap();
    let [retried, fresh] = third.batches.as_slice() else { panic!("{third:?}") };
    assert_eq!((retried.batch.id, retried.batch.attempts, retried.batch.first_attempt), (1, 1, Some(at(10))));
    assert_eq!(retried.batch.items, items("a", 1));
    assert_eq!((fresh.batch.id, fresh.batch.attempts, fresh.batch.first_attempt), (2, 0, None));
    // Given back without an attempt: the count and the time stand.
    let mut back = settlement(1, Vec::new());
    back.remaining = retried.batch.items.clone();
    checkpoint.settle(back).await.unwrap();
    let fourth = checkpoint.claim(5, at(60)).await.unwrap();
    assert_eq!((fourth.batches[0].batch.attempts, fourth.batches[0].batch.first_attempt), (1, Some(at(10))));
}

#[tokio::test]
async fn ranges_take_turns_and_every_batch_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::create(&folder.path().join("run.sqlite"), &header(), None).unwrap();
    let ranges = checkpoint.add_ranges(vec![whole_bucket(), whole_bucket(), whole_bucket()]).await.unwrap();
    for range in &ranges {
        plan(&checkpoint, range, vec![elders(0, items("a", 1)), elders(1, items("b", 1))]).await;
    }
    let mut seen = Vec::new();
    for _ in 0..2 {
        let claims = checkpoint.claim(3, at(1)).await.unwrap();
        let mut of: Vec<_> = claims.batches.iter().map(|claimed| claimed.batch.range).collect();
        of.sort_unstable();
        assert_eq!(of, ranges.iter().map(|range| range.id).collect::<Vec<_>>(), "each has one turn");
        seen.extend(claims.batches.iter().map(|claimed| claimed.batch.id));
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_settled_run_leaves_a_small_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let (checkpoint, mut range) = started(&path).await;
    let mut largest = 0;
    for round in 0..40 {
        range = plan(&checkpoint, &range, vec![elders(round, items(&format!("round-{round}"), 1000))]).await;
        let claimed = checkpoint.claim(1, at(1)).await.unwrap().batches.remove(0);
        checkpoint.settle(all_done(&claimed.batch)).await.unwrap();
        if round == 3 {
            largest = Snapshot::open(&path).unwrap().count_pages();
        }
    }
    assert!(Snapshot::open(&path).unwrap().count_pages() <= largest + 2);
    checkpoint.close().await.unwrap();
}

#[tokio::test]
async fn ranges_that_rest_lose_their_turn_and_do_not_keep_the_caller_awake() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::create(&folder.path().join("run.sqlite"), &header(), None).unwrap();
    let bounds = [(None, Some("h")), (Some("h"), Some("p")), (Some("p"), None)];
    let new =
        bounds.map(|(lo, hi)| NewRange { prefix: "".into(), lo: lo.map(Key::from), hi: hi.map(Key::from) });
    let ranges = checkpoint.add_ranges(new.to_vec()).await.unwrap();
    for (range, prefix) in ranges.iter().zip(["a", "k", "x"]) {
        let batches = (0..2).map(|seq| elders(seq, items(&format!("{prefix}{seq}"), 2))).collect();
        let new = RangeRow { next_seq: 2, ..range.clone() };
        checkpoint.commit_page(page(range, new, batches, &[])).await.unwrap();
    }
    let [first, second, third] = [ranges[0].id, ranges[1].id, ranges[2].id];
    let of = |claims: &Claims| {
        let mut ranges: Vec<i64> = claims.batches.iter().map(|claimed| claimed.batch.range).collect();
        ranges.sort_unstable();
        ranges
    };
    let claims = checkpoint.claim_beside(3, at(1), vec![third, first], HashMap::new()).await.unwrap();
    assert_eq!(of(&claims), [second, second]);
    assert_eq!((claims.next_ready, claims.open), (None, 6), "what rests is not ready");
    let claims = checkpoint.claim_beside(2, at(1), vec![second], HashMap::new()).await.unwrap();
    assert_eq!(of(&claims), [first, third]);
    assert_eq!(claims.next_ready, Some(at(1)));
    let claims = checkpoint.claim_beside(9, at(1), vec![first, second, third], HashMap::new()).await.unwrap();
    assert_eq!((of(&claims), claims.next_ready), (vec![], None));
    let claims = checkpoint.claim(9, at(1)).await.unwrap();
    assert_eq!(of(&claims), [first, third]);
}

#[tokio::test]
async fn a_disk_that_fills_up_is_noticed_before_the_write_and_what_is_in_flight_is_still_settled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let free = Arc::new(AtomicU64::new(1 << 40));
    let checkpoint = Checkpoint::create(&path, &header(), None).unwrap();
    let guard = guard_of(folder.path(), &free);
    let room = checkpoint.guard_disk(guard).await.unwrap();
    let range = checkpoint.add_ranges(vec![whole_bucket()]).await.unwrap().remove(0);
    checkpoint.commit_page(rich_page(&range)).await.unwrap();
    assert_eq!(*room.borrow(), Room::Enough);
    let claims = checkpoint.claim(5, at(3000)).await.unwrap();
    free.store(1000, Ordering::SeqCst);
    let items = &claims.batches[0].batch.items;
    let records = items.iter().map(|item| settled(item, Outcome::Done)).collect();
    checkpoint.settle(settlement(claims.batches[0].batch.id, records)).await.unwrap();
    assert_eq!(*room.borrow(), Room::Full);
    assert!(!folder.path().join("ballast").exists(), "it gave way");
    assert_eq!(checkpoint.totals().await.unwrap().done().versions, 3);
    checkpoint.close().await.unwrap();
    let again = Checkpoint::open(&path, None).unwrap();
    assert_eq!(again.totals().await.unwrap().done().versions, 3);
    again.close().await.unwrap();
}
