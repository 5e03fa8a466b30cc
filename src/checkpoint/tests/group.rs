//! Many commands, one transaction: what one of them does to the others.

use std::sync::mpsc;

use super::*;

/// Keeps the writer busy until the sender is dropped, so that what is asked meanwhile forms a group.
async fn hold(checkpoint: &Checkpoint) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    checkpoint.tamper(move |_| assert!(held.recv().is_err(), "nothing is ever sent")).await;
    release
}

async fn queued(checkpoint: &Checkpoint, count: usize) {
    while checkpoint.commands_waiting() < count {
        tokio::task::yield_now().await;
    }
}

async fn with_two_claimed(path: &std::path::Path, journal: &MemoryJournal) -> (Checkpoint, Claims) {
    let checkpoint = Checkpoint::create(path, &header(), journal.boxed()).unwrap();
    let range = checkpoint.add_ranges(vec![whole_bucket()]).await.unwrap().remove(0);
    plan(&checkpoint, &range, vec![elders(0, items("a", 2)), elders(1, items("b", 2))]).await;
    let claims = checkpoint.claim(2, at(1)).await.unwrap();
    assert_eq!(claims.batches.len(), 2);
    (checkpoint, claims)
}

#[tokio::test]
async fn a_group_is_one_commit_and_a_command_at_fault_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, claims) =
        with_two_claimed(&folder.path().join("run.sqlite"), &MemoryJournal::default()).await;
    let before = *checkpoint.changed().borrow();
    let release = hold(&checkpoint).await;
    let good = all_done(&claims.batches[0].batch);
    let mut short = all_done(&claims.batches[1].batch);
    short.records.pop();
    let (good, unknown, short, waited, ()) = tokio::join!(
        checkpoint.settle(good),
        checkpoint.release(vec![99]),
        checkpoint.settle(short),
        checkpoint.put_note("a", "b"),
        async {
            queued(&checkpoint, 4).await;
            drop(release);
        },
    );
    good.unwrap();
    waited.unwrap();
    let bug = |result: Result<(), CheckpointError>| match result {
        Err(CheckpointError::Bug { what }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(bug(unknown), "batch 99 is given back and was not handed out");
    assert_eq!(bug(short.map(drop)), "batch 2: 2 items, 1 of them accounted for");
    assert_eq!(*checkpoint.changed().borrow(), before + 1, "one commit for all");
    checkpoint.settle(all_done(&claims.batches[1].batch)).await.unwrap();
    checkpoint.totals().await.unwrap().check().unwrap();
    assert_eq!(checkpoint.totals().await.unwrap().done().versions, 4);
}

#[tokio::test]
async fn an_audit_that_fails_fails_the_whole_group_and_everything_after() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let journal = MemoryJournal::default();
    let (checkpoint, claims) = with_two_claimed(&path, &journal).await;
    let release = hold(&checkpoint).await;
    journal.fail_at_call(Some(4));
    let (first, second, ()) = tokio::join!(
        checkpoint.settle(all_done(&claims.batches[0].batch)),
        checkpoint.settle(all_done(&claims.batches[1].batch)),
        async {
            queued(&checkpoint, 2).await;
            drop(release);
        },
    );
    assert!(matches!(first, Err(CheckpointError::Audit { .. })), "{first:?}");
    assert!(matches!(second, Err(CheckpointError::Audit { .. })), "{second:?}");
    assert!(matches!(checkpoint.totals().await, Err(CheckpointError::Audit { .. })));
    assert!(matches!(checkpoint.close().await, Err(CheckpointError::Audit { .. })));

    journal.fail_at_call(None);
    let checkpoint = Checkpoint::open(&path, journal.boxed()).unwrap();
    assert_eq!(checkpoint.epoch(), 2);
    assert_eq!(journal.sealed(), []);
    let totals = checkpoint.totals().await.unwrap();
    assert_eq!((totals.settled().versions, totals.pending.versions), (0, 4));
}

#[tokio::test]
async fn clones_of_a_closed_checkpoint_and_those_that_come_late_hear_so() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::create(&folder.path().join("run.sqlite"), &header(), None).unwrap();
    let other = checkpoint.clone();
    checkpoint.close().await.unwrap();
    assert!(matches!(other.state().await, Err(CheckpointError::Closed)));
    assert!(matches!(other.close().await, Err(CheckpointError::Closed)));
}

#[tokio::test]
async fn a_writer_that_was_taken_over_writes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let old = Checkpoint::create(&path, &header(), None).unwrap();
    let new = Checkpoint::open(&path, None).unwrap();
    let refused = old.put_note("who", "old").await;
    assert!(matches!(refused, Err(CheckpointError::Superseded { ours: 1, found: 2 })), "{refused:?}");
    new.put_note("who", "new").await.unwrap();
    assert_eq!(new.note("who").await.unwrap().as_deref(), Some("new"));
}
