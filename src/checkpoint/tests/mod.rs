//! What the tests of the checkpoint share.

mod batches;
mod chains;
mod crash;
mod creation;
mod files;
mod group;
mod model;
mod refusals;
mod splits;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;
use crate::model::{
    ActionId, Failure, Fate, Item, Journal, KeepReason, Key, Kind, Outcome, Phase, Record, RuleId, Timestamp,
    VersionId,
};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn header() -> RunHeader {
    RunHeader {
        run_id: "20261120T220427-7f".into(),
        job_name: "nightly".into(),
        fingerprint: "f00d".into(),
        semantic_json: "{}".into(),
        bucket: "logs".into(),
        endpoint: "http://127.0.0.1:9000".into(),
        region: "eu-central-1".into(),
        owner: Some("123456789012".into()),
        rule_names: vec!["old \"versions\"".into(), "markers".into()],
        mode: Mode::Stream,
        began: at(1000),
        audit_file: Some("run.audit".into()),
        tool_version: "0.1.0".into(),
        versioning: "enabled".into(),
    }
}

fn item(key: &str, version: &str) -> Item {
    Item {
        key: Key::from(key),
        version_id: VersionId::new(version).unwrap(),
        kind: Kind::Version,
        is_latest: false,
        size: 10,
        last_modified: at(500),
        rule: RuleId(0),
        copy: None,
    }
}

fn items(key: &str, count: usize) -> Vec<Item> {
    (0..count).map(|n| item(&format!("{key}/{n:04}"), &format!("v{n}"))).collect()
}

fn whole_bucket() -> NewRange {
    NewRange { prefix: Key::default(), lo: None, hi: None }
}

fn elders(seq: u64, items: Vec<Item>) -> NewBatch {
    NewBatch { phase: Phase::Elders, action: ActionId(0), seq, after_seq: None, items }
}

fn latest(seq: u64, after_seq: Option<u64>, items: Vec<Item>) -> NewBatch {
    NewBatch { phase: Phase::Latest, action: ActionId(0), seq, after_seq, items }
}

fn kept_record(key: &str) -> Record {
    Record {
        key: Key::from(key),
        version_id: VersionId::new("k").unwrap(),
        kind: Kind::Version,
        size: 3,
        last_modified: at(1),
        fate: Fate::Kept(KeepReason::NoRule),
        at: at(2),
        copied: None,
    }
}

/// The page that leads from `old` to `new` and keeps these: its counters are filled in.
fn page(old: &RangeRow, mut new: RangeRow, batches: Vec<NewBatch>, kept: &[&str]) -> PageCommit {
    let batched: Vec<&Item> = batches.iter().flat_map(|batch| &batch.items).collect();
    let planned = batched.len() as u64 + new.waiting() - old.waiting();
    let kept_count = kept.len() as u64;
    new.planned = old.planned + planned;
    new.kept = old.kept + kept_count;
    new.listed = new.kept + new.planned + new.undecided;
    new.pages = old.pages + 1;
    let amount = |versions| Amount { versions, bytes: versions * 10, keys: 0 };
    PageCommit {
        tallies: vec![
            (Counter::Listed, amount(new.listed - old.listed)),
            (Counter::Kept(KeepReason::NoRule), amount(kept_count)),
            (Counter::Planned(RuleId(0)), amount(planned)),
        ],
        range: new,
        batches,
        samples: Vec::new(),
        records: kept.iter().map(|key| kept_record(key)).collect(),
        at: at(2000),
        requests: vec![("list_object_versions", 1)],
    }
}

/// Commits a page of these batches and returns the range's new state.
async fn plan(checkpoint: &Checkpoint, old: &RangeRow, batches: Vec<NewBatch>) -> RangeRow {
    let next_seq = batches.iter().map(|batch| batch.seq + 1).chain([old.next_seq]).max().unwrap();
    let page = page(old, RangeRow { next_seq, ..old.clone() }, batches, &[]);
    let new = page.range.clone();
    checkpoint.commit_page(page).await.unwrap();
    new
}

fn settled(item: &Item, outcome: Outcome) -> Record {
    Record {
        key: item.key.clone(),
        version_id: item.version_id.clone(),
        kind: item.kind,
        size: item.size,
        last_modified: item.last_modified,
        fate: Fate::Settled { rule: item.rule, outcome, request_id: Some("R".into()), attempt: 1 },
        at: at(3000),
        copied: None,
    }
}

fn failed() -> Outcome {
    Outcome::Failed(Failure { code: "AccessDenied".into(), message: "no".into() })
}

fn settlement(batch: i64, records: Vec<Record>) -> Settlement {
    Settlement {
        batch,
        records,
        remaining: Vec::new(),
        moved: Vec::new(),
        maybe_sent: 0,
        retry: None,
        requests: Vec::new(),
        at: at(3000),
    }
}

fn all_done(batch: &crate::model::Batch) -> Settlement {
    settlement(batch.id, batch.items.iter().map(|item| settled(item, Outcome::Done)).collect())
}

async fn claim_ids(checkpoint: &Checkpoint, max: usize, now: i64) -> Vec<i64> {
    let claims = checkpoint.claim(max, at(now)).await.unwrap();
    claims.batches.iter().map(|claimed| claimed.batch.id).collect()
}

/// A journal in memory: its length in bytes is the number of sealed records. It outlives its owner
/// as a file would, and fails when told to.
#[derive(Clone, Default)]
struct MemoryJournal(Arc<Mutex<MemoryFile>>);

#[derive(Default)]
struct MemoryFile {
    sealed: Vec<Record>,
    open: Vec<Record>,
    calls: u64,
    fail_at_call: Option<u64>,
}

impl MemoryJournal {
    fn sealed(&self) -> Vec<Record> {
        self.0.lock().unwrap().sealed.clone()
    }

    fn fail_at_call(&self, call: Option<u64>) {
        let mut file = self.0.lock().unwrap();
        (file.calls, file.fail_at_call) = (0, call);
    }

    fn boxed(&self) -> Option<Box<dyn Journal>> {
        Some(Box::new(self.clone()))
    }
}

impl MemoryFile {
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        if Some(self.calls) == self.fail_at_call { Err(io::Error::other("told to fail")) } else { Ok(()) }
    }
}

impl Journal for MemoryJournal {
    fn append(&mut self, records: Vec<Record>) -> io::Result<()> {
        let mut file = self.0.lock().unwrap();
        for record in records {
            file.call()?;
            file.open.push(record);
        }
        Ok(())
    }

    fn seal(&mut self) -> io::Result<u64> {
        let mut file = self.0.lock().unwrap();
        let open = std::mem::take(&mut file.open);
        file.sealed.extend(open);
        // As a sync that fails after the bytes were written.
        file.call()?;
        Ok(file.sealed.len() as u64)
    }

    fn rewind(&mut self, length_bytes: u64) -> io::Result<()> {
        let mut file = self.0.lock().unwrap();
        file.open.clear();
        let length = usize::try_from(length_bytes).unwrap();
        if file.sealed.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.sealed.truncate(length);
        Ok(())
    }
}

/// Copies a checkpoint as a crash would leave it: the file, and this much of its WAL.
fn copy_as_after_a_crash(from: &Path, to: &Path, wal_bytes: Option<u64>) {
    std::fs::copy(from, to).unwrap();
    let wal = |path: &Path| path.with_extension("sqlite-wal");
    if wal(from).exists() {
        std::fs::copy(wal(from), wal(to)).unwrap();
        if let Some(bytes) = wal_bytes {
            std::fs::OpenOptions::new().write(true).open(wal(to)).unwrap().set_len(bytes).unwrap();
        }
    }
}
