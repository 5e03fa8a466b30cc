//! Crashes: at every byte of the log, and at every call of the audit.

use super::*;

const PAGES: u64 = 6;

/// What a run does next in this small world: pages until all are listed, then batches until all are
/// settled. Every third item fails, every fourth batch comes back once.
async fn step(checkpoint: &Checkpoint, range: &mut RangeRow) -> Result<bool, CheckpointError> {
    if range.pages < PAGES {
        let n = range.pages;
        let tail = |seq| Tail {
            phase: Phase::Latest,
            action: ActionId(0),
            seq,
            after_seq: Some(seq - 1),
            items: items(&format!("tail-{n}"), 2).into(),
        };
        // Each page brings an elder batch, makes the tail a batch, and leaves a new tail but the last.
        let mut batches = vec![elders(2 * n, items(&format!("page-{n}"), 7))];
        batches.extend(range.tails.iter().map(|tail| latest(tail.seq, tail.after_seq, tail.items.to_vec())));
        let is_last = n + 1 == PAGES;
        let tails = if is_last { vec![] } else { vec![tail(2 * n + 1)] };
        let new = RangeRow { tails, next_seq: 2 * n + 2, done: is_last, ..range.clone() };
        let page = page(range, new, batches, &[&format!("kept-{n}")]);
        let next = page.range.clone();
        checkpoint.commit_page(page).await?;
        *range = next;
        return Ok(true);
    }
    let claims = checkpoint.claim(3, at(100)).await?;
    if claims.batches.is_empty() {
        assert_eq!((claims.open, claims.next_ready), (0, None), "nothing is left waiting");
        return Ok(false);
    }
    for claimed in claims.batches {
        let batch = claimed.batch;
        let outcome = |n: usize| if n % 3 == 2 { failed() } else { Outcome::Done };
        let mut records: Vec<_> =
            batch.items.iter().enumerate().map(|(n, item)| settled(item, outcome(n))).collect();
        let mut back = settlement(batch.id, Vec::new());
        if batch.id % 4 == 0 && batch.attempts == 0 {
            records.truncate(1);
            back.remaining = batch.items[1..].to_vec();
            back.retry = Some(Retry { not_before: at(90), first_attempt: at(80) });
        }
        back.records = records;
        checkpoint.settle(back).await?;
    }
    Ok(true)
}

/// Carries a run to its end, or to the first error. `after_step` sees every acknowledged step.
async fn drive(checkpoint: &Checkpoint, mut after_step: impl FnMut()) -> Result<(), CheckpointError> {
    let mut ranges = checkpoint.ranges().await?;
    if ranges.is_empty() {
        ranges = checkpoint.add_ranges(vec![whole_bucket()]).await?;
    }
    let mut range = ranges.remove(0);
    while step(checkpoint, &mut range).await? {
        after_step();
    }
    Ok(())
}

/// The audit as a set of names; a name that comes twice is a failure.
fn names(records: &[Record]) -> Vec<(Key, VersionId)> {
    let mut names: Vec<_> =
        records.iter().map(|record| (record.key.clone(), record.version_id.clone())).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "a version is in the audit twice");
    names
}

struct Truth {
    counts: [u64; 4],
    names: Vec<(Key, VersionId)>,
}

/// The end of a run that nothing disturbed.
async fn truth() -> Truth {
    let folder = tempfile::tempdir().unwrap();
    let journal = MemoryJournal::default();
    let checkpoint =
        Checkpoint::create(&folder.path().join("run.sqlite"), &header(), journal.boxed()).unwrap();
    drive(&checkpoint, || {}).await.unwrap();
    let truth = Truth { counts: counts(&checkpoint).await, names: names(&journal.sealed()) };
    assert_eq!(truth.counts[0], PAGES * 10 - 2);
    truth
}

async fn counts(checkpoint: &Checkpoint) -> [u64; 4] {
    let totals = checkpoint.totals().await.unwrap();
    totals.check().unwrap();
    [totals.listed(), totals.settled(), totals.done(), totals.failed()].map(|amount| amount.versions)
}

#[tokio::test]
async fn a_log_cut_at_any_place_is_a_state_between_two_commits_and_the_run_ends_the_same() {
    let truth = truth().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let journal = MemoryJournal::default();
    let checkpoint = Checkpoint::create(&path, &header(), journal.boxed()).unwrap();
    let wal = path.with_extension("sqlite-wal");
    let wal_bytes = || std::fs::metadata(&wal).map_or(0, |metadata| metadata.len());
    let mut acknowledged = vec![wal_bytes()];
    drive(&checkpoint, || acknowledged.push(wal_bytes())).await.unwrap();
    let whole = journal.sealed();
    let end = wal_bytes();
    let mut cuts: Vec<u64> = acknowledged.clone();
    // Inside frames too: a log that was being written.
    cuts.extend((0..40).map(|n| n * end / 40 + n));
    for (number, cut) in cuts.into_iter().enumerate() {
        let copy = folder.path().join(format!("copy-{number}.sqlite"));
        copy_as_after_a_crash(&path, &copy, Some(cut));
        let audit = MemoryJournal::default();
        audit.0.lock().unwrap().sealed = whole.clone();
        let resumed = Checkpoint::open(&copy, audit.boxed()).unwrap();
        let totals = resumed.totals().await.unwrap();
        totals.check().unwrap();
        assert_eq!(totals.in_flight, Amount::default(), "nothing stays handed out");
        let audited = totals.kept().versions + totals.settled().versions;
        assert_eq!(audit.sealed().len() as u64, audited, "cut at {cut}: the audit fits the outcomes");
        drive(&resumed, || {}).await.unwrap();
        assert_eq!(counts(&resumed).await, truth.counts, "cut at {cut}");
        assert_eq!(names(&audit.sealed()), truth.names, "cut at {cut}");
        resumed.close().await.unwrap();
        Snapshot::open(&copy).unwrap().check().unwrap();
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_in_the_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let checkpoint = Checkpoint::create(&path, &header(), None).unwrap();
    let mut range = checkpoint.add_ranges(vec![whole_bucket()]).await.unwrap().remove(0);
    let mut number = 0;
    while step(&checkpoint, &mut range).await.unwrap() {
        number += 1;
        let copy = folder.path().join(format!("copy-{number}.sqlite"));
        copy_as_after_a_crash(&path, &copy, None);
        let resumed = Checkpoint::open(&copy, None).unwrap();
        assert_eq!(counts(&resumed).await, counts(&checkpoint).await, "after step {number}");
        assert_eq!(resumed.ranges().await.unwrap(), [range.clone()]);
    }
}

#[tokio::test]
async fn an_audit_that_fails_at_any_call_costs_nothing_but_a_new_start() {
    let truth = truth().await;
    let mut call = 1;
    loop {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.sqlite");
        let journal = MemoryJournal::default();
        let checkpoint = Checkpoint::create(&path, &header(), journal.boxed()).unwrap();
        journal.fail_at_call(Some(call));
        let ended = drive(&checkpoint, || {}).await;
        drop(checkpoint);
        if ended.is_ok() {
            break;
        }
        assert!(matches!(ended, Err(CheckpointError::Audit { .. })), "{ended:?}");
        journal.fail_at_call(None);
        let resumed = Checkpoint::open(&path, journal.boxed()).unwrap();
        drive(&resumed, || {}).await.unwrap();
        assert_eq!(counts(&resumed).await, truth.counts, "failed at call {call}");
        assert_eq!(names(&journal.sealed()), truth.names, "failed at call {call}");
        call += 1;
    }
    assert!(call > truth.counts[0], "every append and every seal had its turn: {call}");
}

#[tokio::test]
async fn an_audit_that_lost_committed_records_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let journal = MemoryJournal::default();
    let checkpoint = Checkpoint::create(&path, &header(), journal.boxed()).unwrap();
    drive(&checkpoint, || {}).await.unwrap();
    checkpoint.close().await.unwrap();
    journal.0.lock().unwrap().sealed.pop();
    let error = Checkpoint::open(&path, journal.boxed()).unwrap_err();
    assert!(matches!(error, CheckpointError::Corrupt { .. }), "{error}");
}
