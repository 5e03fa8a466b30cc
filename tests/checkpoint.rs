//! Checkpoint and audit together, and the files of former schemas.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

use s3sweep::checkpoint::{
    Amount, Checkpoint, Counter, Mode, NewBatch, NewRange, PageCommit, RangeRow, RunHeader, RunState,
    Settlement, Snapshot, StateDir,
};
use s3sweep::model::{
    ActionId, Failure, Fate, Item, Journal, KeepReason, Key, Kind, Outcome, Phase, Record, RuleId, Timestamp,
    VersionId,
};
use s3sweep::report::{AuditFile, AuditLevel, AuditLine, read_audit};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn header(audit_file: String) -> RunHeader {
    RunHeader {
        run_id: "run-1".into(),
        job_name: "nightly".into(),
        fingerprint: "f00d".into(),
        semantic_json: "{}".into(),
        bucket: "logs".into(),
        endpoint: "aws".into(),
        region: "eu-central-1".into(),
        owner: None,
        rule_names: vec!["old-versions".into()],
        mode: Mode::Stream,
        began: at(1000),
        audit_file: Some(audit_file),
        tool_version: "0.1.0".into(),
        versioning: "enabled".into(),
    }
}

fn journal(path: &Path) -> Option<Box<dyn Journal>> {
    Some(Box::new(AuditFile::open(path, AuditLevel::Full, vec!["old-versions".into()]).unwrap()))
}

/// Like AWS's: 32 characters of chance from 64.
fn version_id(chance: &mut fastrand::Rng) -> VersionId {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";
    let text: String = (0..32).map(|_| char::from(LETTERS[chance.usize(0..64)])).collect();
    VersionId::new(text).unwrap()
}

/// Items as a listing of dated logs gives them, four versions of a key.
fn items(first: u64, count: u64, chance: &mut fastrand::Rng) -> Vec<Item> {
    (first..first + count)
        .map(|n| Item {
            key: Key::from(format!(
                "logs/2024/{:02}/service-{:03}/{:08}.json.gz",
                n / 80_000 % 12,
                n / 4000 % 20,
                n / 4
            )),
            version_id: version_id(chance),
            kind: if n % 4 == 3 { Kind::DeleteMarker } else { Kind::Version },
            is_latest: false,
            size: if n % 4 == 3 { 0 } else { chance.u64(500..200_000) },
            last_modified: at(1_700_000_000_000 + (n * 977 % 86_400) as i64 * 1000),
            rule: RuleId(0),
            copy: None,
        })
        .collect()
}

fn page(range: &RangeRow, items: Vec<Item>, kept: Vec<Record>) -> PageCommit {
    let amount = |versions: usize| Amount { versions: versions as u64, bytes: 0, keys: 0 };
    let (planned, kept_count) = (items.len(), kept.len());
    let mut new = range.clone();
    new.pages += 1;
    new.next_seq += 1;
    new.planned += planned as u64;
    new.kept += kept_count as u64;
    new.listed += (planned + kept_count) as u64;
    PageCommit {
        batches: vec![NewBatch {
            phase: Phase::Elders,
            action: ActionId(0),
            seq: range.next_seq,
            after_seq: None,
            items,
        }],
        range: new,
        tallies: vec![
            (Counter::Listed, amount(planned + kept_count)),
            (Counter::Kept(KeepReason::NoRule), amount(kept_count)),
            (Counter::Planned(RuleId(0)), amount(planned)),
        ],
        samples: Vec::new(),
        records: kept,
        at: at(2000),
        requests: vec![("list_object_versions", 1)],
    }
}

fn record(item: &Item, fate: Fate) -> Record {
    Record {
        key: item.key.clone(),
        version_id: item.version_id.clone(),
        kind: item.kind,
        size: item.size,
        last_modified: item.last_modified,
        fate,
        at: at(1_700_000_000_000),
        copied: None,
    }
}

fn settlement(batch: i64, items: &[Item]) -> Settlement {
    let fate = |n: usize| Fate::Settled {
        rule: RuleId(0),
        outcome: match n % 50 {
            7 => Outcome::Failed(Failure { code: "AccessDenied".into(), message: "Access Denied".into() }),
            _ => Outcome::Done,
        },
        request_id: Some("7F3A9C1D2B4E6F80".into()),
        attempt: 1,
    };
    Settlement {
        batch,
        records: items.iter().enumerate().map(|(n, item)| record(item, fate(n))).collect(),
        remaining: Vec::new(),
        moved: Vec::new(),
        maybe_sent: 0,
        retry: None,
        requests: vec![("delete_objects", 1)],
        at: at(3000),
    }
}

async fn whole_bucket(checkpoint: &Checkpoint) -> RangeRow {
    let range = NewRange { prefix: Key::default(), lo: None, hi: None };
    checkpoint.add_ranges(vec![range]).await.unwrap().remove(0)
}

fn audited(path: &Path, valid_bytes: u64) -> Vec<AuditLine<'static>> {
    read_audit(path, Some(valid_bytes)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn after_a_crash_the_audit_on_disk_fits_the_checkpoint_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::create(folder.path()).unwrap();
    let files = state.files("run-1").unwrap();
    let checkpoint =
        Checkpoint::create(&files.checkpoint, &header(files.audit_file()), journal(&files.audit)).unwrap();
    let mut chance = fastrand::Rng::with_seed(7);
    let mut range = whole_bucket(&checkpoint).await;
    for n in 0..4 {
        let kept = items(10_000 + n * 10, 3, &mut chance);
        let kept = kept.iter().map(|item| record(item, Fate::Kept(KeepReason::NoRule))).collect();
        let page = page(&range, items(n * 100, 100, &mut chance), kept);
        range = page.range.clone();
        checkpoint.commit_page(page).await.unwrap();
    }
    let claims = checkpoint.claim(2, at(1)).await.unwrap();
    for claimed in &claims.batches {
        checkpoint.settle(settlement(claimed.batch.id, &claimed.batch.items)).await.unwrap();
    }
    // The process dies here, with a record behind the last commit.
    let (crashed, wal) = (state.files("run-2").unwrap(), |path: &PathBuf| path.with_extension("sqlite-wal"));
    std::fs::copy(&files.checkpoint, &crashed.checkpoint).unwrap();
    std::fs::copy(wal(&files.checkpoint), wal(&crashed.checkpoint)).unwrap();
    let mut bytes = std::fs::read(&files.audit).unwrap();
    bytes.extend(b"torn");
    std::fs::write(&crashed.audit, bytes).unwrap();
    drop(checkpoint);

    let before = Snapshot::open(&crashed.checkpoint).unwrap();
    let seen = audited(&crashed.audit, before.audit_bytes().unwrap());
    assert_eq!(seen.len(), 4 * 3 + 200, "a report of the crashed run is exact before it goes on");
    drop(before);
    let checkpoint = Checkpoint::open(&crashed.checkpoint, journal(&crashed.audit)).unwrap();
    loop {
        let claims = checkpoint.claim(1, at(1)).await.unwrap();
        let Some(claimed) = claims.batches.first() else { break };
        checkpoint.settle(settlement(claimed.batch.id, &claimed.batch.items)).await.unwrap();
    }
    checkpoint.set_state(RunState::Done, None, Some(1), at(9)).await.unwrap();
    checkpoint.close().await.unwrap();

    let snapshot = Snapshot::open(&crashed.checkpoint).unwrap();
    snapshot.check().unwrap();
    let totals = snapshot.totals().unwrap();
    let lines = audited(&crashed.audit, u64::MAX);
    let count = |outcome: &str| lines.iter().filter(|line| line.outcome == outcome).count() as u64;
    assert_eq!(count("kept"), totals.kept().versions);
    assert_eq!(count("done"), totals.done().versions);
    assert_eq!(count("failed"), totals.failed().versions);
    assert_eq!(lines.len() as u64, totals.listed().versions);
    assert_eq!(snapshot.failures(100, 0).unwrap().len() as u64, totals.failed().versions);
    let mut names: Vec<_> = lines.iter().map(|line| (line.key_bytes().unwrap(), &line.version_id)).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), lines.len());
}

fn old_file(schema: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/checkpoint-v{schema}.sqlite"))
}

/// Files of former schemas are opened and gone on with. A new schema adds its own file here.
#[tokio::test]
async fn files_of_every_schema_are_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    std::fs::copy(old_file(1), &path).unwrap();
    let checkpoint = Checkpoint::open(&path, None).unwrap();
    assert_eq!(*checkpoint.header(), header("run-1.audit.jsonl.zst".into()));
    assert_eq!(checkpoint.epoch(), 2);
    let state = checkpoint.state().await.unwrap();
    assert_eq!((state.state, state.exit_code), (RunState::Stopped, Some(75)));
    let totals = checkpoint.totals().await.unwrap();
    assert_eq!((totals.listed().versions, totals.settled().versions, totals.pending.versions), (120, 60, 60));
    let claims = checkpoint.claim(9, at(1)).await.unwrap();
    let expected = items(60, 60, &mut fastrand::Rng::with_seed(2));
    assert_eq!(claims.batches.len(), 1);
    assert_eq!(claims.batches[0].batch.items, expected);
    assert_eq!(checkpoint.failures(9, 0).await.unwrap().len(), 2);
    checkpoint.settle(settlement(claims.batches[0].batch.id, &expected)).await.unwrap();
    checkpoint.close().await.unwrap();
}

/// Writes the file that the test above reads; run by hand when a schema is released, once.
#[tokio::test]
#[ignore = "writes into the source tree"]
async fn write_the_file_of_this_schema() {
    let path = old_file(1);
    let checkpoint = Checkpoint::create(&path, &header("run-1.audit.jsonl.zst".into()), None).unwrap();
    let range = whole_bucket(&checkpoint).await;
    let first = page(&range, items(0, 60, &mut fastrand::Rng::with_seed(1)), Vec::new());
    let range = first.range.clone();
    checkpoint.commit_page(first).await.unwrap();
    let claimed = checkpoint.claim(1, at(1)).await.unwrap().batches.remove(0).batch;
    checkpoint.settle(settlement(claimed.id, &claimed.items)).await.unwrap();
    let second = page(&range, items(60, 60, &mut fastrand::Rng::with_seed(2)), Vec::new());
    checkpoint.commit_page(second).await.unwrap();
    checkpoint.set_state(RunState::Stopped, Some("interrupted".into()), Some(75), at(9)).await.unwrap();
    checkpoint.close().await.unwrap();
}
