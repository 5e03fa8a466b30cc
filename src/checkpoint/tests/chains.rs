//! Histories that travel: what is noted of them, and what becomes of them when they arrived.

use super::*;
use crate::model::{Copied, CopyItem, SkipReason};

/// An item that is to be copied.
pub(super) fn traveller(item: Item) -> Item {
    let copy = CopyItem { etag: "\"e\"".into(), storage_class: "".into(), copied: None };
    Item { copy: Some(Box::new(copy)), ..item }
}

/// The same with its verified copy.
pub(super) fn arrived(mut item: Item) -> Item {
    let copied = Copied {
        key: Key::from(format!("to/{}", item.key)),
        version_id: VersionId::new(format!("new-{}", item.version_id)).unwrap(),
        etag: "\"f\"".into(),
    };
    item.copy.as_mut().unwrap().copied = Some(copied);
    item
}

/// Two versions of a key, the newer one the latest.
fn pair(key: &str) -> Vec<Item> {
    let newest = Item { is_latest: true, ..item(key, "v2") };
    vec![traveller(newest), traveller(item(key, "v1"))]
}

fn base(key: &str, entries: u64, newest: Option<&str>) -> ChainBase {
    ChainBase { key: Key::from(key), entries, newest: newest.map(|id| VersionId::new(id).unwrap()) }
}

fn step(item: &Item, state: StepState) -> Step {
    Step { key: item.key.clone(), version_id: item.version_id.clone(), state }
}

fn copied(id: &str) -> StepState {
    StepState::Copied { version_id: VersionId::new(id).unwrap(), etag: "\"f\"".into() }
}

fn upload(id: &str) -> StepState {
    StepState::Upload { upload_id: id.into(), part_bytes: 5 << 20 }
}

fn is_bug<T: std::fmt::Debug>(result: Result<T, CheckpointError>) -> bool {
    matches!(result, Err(CheckpointError::Bug { .. }))
}

async fn begun(folder: &tempfile::TempDir) -> (Checkpoint, RangeRow) {
    let checkpoint = Checkpoint::create(&folder.path().join("run.sqlite"), &header(), None).unwrap();
    let range = checkpoint.add_ranges(vec![whole_bucket()]).await.unwrap().remove(0);
    (checkpoint, range)
}

#[tokio::test]
async fn what_is_noted_of_a_chain_survives_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, range) = begun(&folder).await;
    let items = pair("a");
    plan(&checkpoint, &range, vec![elders(0, items.clone()), elders(1, vec![item("x", "1")])]).await;
    assert!(is_bug(checkpoint.begin_chain(1, base("to/a", 0, None)).await), "it is not handed out");
    assert!(is_bug(checkpoint.put_step(1, step(&items[1], copied("c"))).await));
    assert_eq!(claim_ids(&checkpoint, 9, 1).await.len(), 2);
    assert!(is_bug(checkpoint.begin_chain(2, base("to/x", 0, None)).await), "it is no batch of chains");
    checkpoint.begin_chain(1, base("to/b", 7, Some("n"))).await.unwrap();
    checkpoint.begin_chain(1, base("to/a", 0, None)).await.unwrap();
    checkpoint.put_step(1, step(&items[1], upload("u"))).await.unwrap();
    checkpoint.put_step(1, step(&items[0], upload("w"))).await.unwrap();
    checkpoint.put_step(1, step(&items[1], copied("c"))).await.unwrap();
    let noted = (
        vec![base("to/a", 0, None), base("to/b", 7, Some("n"))],
        vec![step(&items[1], copied("c")), step(&items[0], upload("w"))],
    );
    assert_eq!(checkpoint.chains(1).await.unwrap(), noted);
    assert_eq!(checkpoint.chains(2).await.unwrap(), (vec![], vec![]));
    let crashed = folder.path().join("crashed.sqlite");
    copy_as_after_a_crash(&folder.path().join("run.sqlite"), &crashed, None);
    let checkpoint = Checkpoint::open(&crashed, None).unwrap();
    assert_eq!(checkpoint.chains(1).await.unwrap(), noted);
    assert_eq!(checkpoint.claim(9, at(1)).await.unwrap().batches[0].batch.items, items);
}

#[tokio::test]
async fn a_destination_key_is_one_batchs_until_that_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, range) = begun(&folder).await;
    let (a, b) = (pair("a"), pair("b"));
    plan(&checkpoint, &range, vec![elders(0, a.clone()), elders(1, b)]).await;
    let ids = claim_ids(&checkpoint, 9, 1).await;
    let reserve = |batch, key: &str| checkpoint.reserve_chain(batch, Key::from(key));
    assert!(reserve(ids[0], "to").await.unwrap());
    assert!(reserve(ids[0], "to").await.unwrap(), "its own is no obstacle");
    assert!(!reserve(ids[1], "to").await.unwrap());
    assert_eq!(checkpoint.chains(ids[0]).await.unwrap().0, [], "a reserved key has no base yet");
    checkpoint.begin_chain(ids[0], base("to", 3, None)).await.unwrap();
    assert!(reserve(ids[0], "to").await.unwrap());
    assert_eq!(checkpoint.chains(ids[0]).await.unwrap().0, [base("to", 3, None)], "and keeps the one it has");
    let mut settled = settlement(ids[0], vec![]);
    settled.moved = a.into_iter().map(arrived).collect();
    checkpoint.settle(settled).await.unwrap();
    assert!(reserve(ids[1], "to").await.unwrap());
}

#[tokio::test]
async fn what_was_moved_is_deleted_the_latest_last() {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, range) = begun(&folder).await;
    let (a, b) = (pair("a"), pair("b"));
    let both = [a.clone(), b.clone()].concat();
    // A deletion with a higher number holds an elder of `a`: the chain knows.
    let mut chain = elders(0, both);
    chain.after_seq = Some(1);
    plan(&checkpoint, &range, vec![chain, elders(1, vec![item("a", "v0")])]).await;
    let ids = claim_ids(&checkpoint, 9, 1).await;
    for (key, items) in [("to/a", &a), ("to/b", &b)] {
        checkpoint.begin_chain(ids[0], base(key, 0, None)).await.unwrap();
        checkpoint.put_step(ids[0], step(&items[1], copied("c"))).await.unwrap();
    }
    let copied_steps = || Snapshot::open(&folder.path().join("run.sqlite")).unwrap().copied_steps().unwrap();
    assert_eq!(copied_steps(), std::collections::BTreeMap::from([(0, 2)]));
    let mut first = settlement(ids[0], vec![]);
    first.moved = a.iter().cloned().map(arrived).collect();
    first.remaining = b.clone();
    let moved = checkpoint.settle(first).await.unwrap();
    let noted = checkpoint.chains(ids[0]).await.unwrap();
    assert_eq!(noted, (vec![base("to/b", 0, None)], vec![step(&b[1], copied("c"))]), "that of `a` is done");
    assert_eq!(copied_steps(), std::collections::BTreeMap::from([(0, 1)]));
    let totals = checkpoint.totals().await.unwrap();
    assert_eq!((totals.pending.versions, totals.in_flight.versions, totals.open_batches), (4, 1, 4));

    // The elder is ready at once; the latest waits for it, for the rest of its batch, and for batch 1.
    let (elder, latest) = (moved.elders.unwrap(), moved.latest.unwrap());
    let claims = checkpoint.claim(9, at(1)).await.unwrap();
    let mut found: Vec<_> = claims.batches.iter().map(|claimed| claimed.batch.id).collect();
    found.sort_unstable();
    assert_eq!(found, [ids[0], elder]);
    let deletion = claims.batches.iter().find(|claimed| claimed.batch.id == elder).unwrap();
    assert_eq!(deletion.batch.items, [arrived(a[1].clone())]);
    assert_eq!(deletion.batch.action, ActionId(0));
    assert!(is_bug(checkpoint.begin_chain(elder, base("to/a", 0, None)).await), "it is copied already");
    checkpoint.settle(all_done(&deletion.batch)).await.unwrap();
    let broken = b.iter().map(|item| settled(item, Outcome::Skipped(SkipReason::ChainBroken))).collect();
    assert_eq!(checkpoint.settle(settlement(ids[0], broken)).await.unwrap(), Moved::default());
    assert_eq!(checkpoint.chains(ids[0]).await.unwrap(), (vec![], vec![]));
    assert_eq!(claim_ids(&checkpoint, 9, 1).await, Vec::<i64>::new(), "batch 1 holds an elder");
    checkpoint.settle(settlement(ids[1], vec![settled(&item("a", "v0"), Outcome::Done)])).await.unwrap();
    let claims = checkpoint.claim(9, at(1)).await.unwrap();
    assert_eq!(claims.batches[0].batch.id, latest);
    assert_eq!(
        (&*claims.batches[0].batch.items, &*claims.batches[0].blocked),
        (&[arrived(a[0].clone())][..], &[][..])
    );
    checkpoint.settle(all_done(&claims.batches[0].batch)).await.unwrap();
    assert_eq!(checkpoint.failures(9, 0).await.unwrap().len(), 2);
    assert_eq!(checkpoint.totals().await.unwrap().open_batches, 0);
}

#[tokio::test]
async fn only_a_verified_copy_of_the_very_item_is_moved() {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, range) = begun(&folder).await;
    plan(&checkpoint, &range, vec![elders(0, pair("a")), elders(1, vec![item("x", "1")])]).await;
    let ids = claim_ids(&checkpoint, 9, 1).await;
    let good: Vec<Item> = pair("a").into_iter().map(arrived).collect();
    let mut other = good.clone();
    other[1].copy.as_mut().unwrap().etag = "\"another\"".into();
    let mut plain = good.clone();
    plain[0].copy = None;
    for moved in [pair("a"), good[..1].to_vec(), [good.clone(), good.clone()].concat(), other, plain] {
        let wrong = Settlement { moved, ..settlement(ids[0], vec![]) };
        assert!(is_bug(checkpoint.settle(wrong).await));
    }
    let stranger = vec![arrived(traveller(item("x", "1")))];
    assert!(is_bug(checkpoint.settle(Settlement { moved: stranger, ..settlement(ids[1], vec![]) }).await));
    checkpoint.settle(Settlement { moved: good, ..settlement(ids[0], vec![]) }).await.unwrap();
}
