//! The checkpoint: pages that commit from eight listers at once, and outcomes from 32 workers, with
//! the full audit. What a version costs on disk is printed first.

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use s3sweep::checkpoint::{
    Amount, Checkpoint, Counter, Mode, NewBatch, NewRange, PageCommit, RangeRow, RunHeader, Settlement,
    Snapshot,
};
use s3sweep::model::{
    ActionId, Fate, Item, Journal, Key, Kind, Outcome, Phase, Record, RuleId, Timestamp, VersionId,
};
use s3sweep::report::{AuditFile, AuditLevel};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::version_id;

const PAGES: u64 = 160;
const ENTRIES: u64 = 1000;
const LISTERS: u64 = 8;
const WORKERS: usize = 32;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn commits(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    tell_sizes(&runtime);
    let mut group = criterion.benchmark_group("checkpoint");
    group.throughput(Throughput::Elements(PAGES * ENTRIES));
    group.sample_size(10);
    group.bench_function("pages of 1000", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| runtime.block_on(run()).planning).sum());
    });
    group.bench_function("outcomes of 1000, with the audit", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| runtime.block_on(run()).settling).sum());
    });
    group.finish();
}

fn tell_sizes(runtime: &Runtime) {
    let run = runtime.block_on(run());
    let each = |bytes: u64| bytes as f64 / (PAGES * ENTRIES) as f64;
    println!(
        "checkpoint: {:.1} bytes for each version planned, log included; audit: {:.1} bytes for each settled",
        each(run.planned_bytes),
        each(run.audit_bytes)
    );
}

/// What a run took.
struct Run {
    planning: Duration,
    planned_bytes: u64,
    settling: Duration,
    audit_bytes: u64,
}

/// Plans so many pages and settles all of them.
async fn run() -> Run {
    let folder = tempfile::tempdir().unwrap();
    let (path, audit) = (folder.path().join("run.sqlite"), folder.path().join("audit"));
    let checkpoint = Checkpoint::create(&path, &header(), Some(journal(&audit))).unwrap();
    let listers = (0..LISTERS).map(|lister| plan_of(&checkpoint, lister));
    let mut plans = Vec::new();
    for lister in listers {
        plans.push(lister.await);
    }
    let began = Instant::now();
    let mut set = JoinSet::new();
    for pages in plans {
        set.spawn(commit(checkpoint.clone(), pages));
    }
    set.join_all().await;
    let planning = began.elapsed();
    let size = Snapshot::open(&path).unwrap().file_sizes();
    let began = Instant::now();
    let mut set = JoinSet::new();
    for _ in 0..WORKERS {
        set.spawn(settle(checkpoint.clone()));
    }
    set.join_all().await;
    let settling = began.elapsed();
    checkpoint.close().await.unwrap();
    let settled = Snapshot::open(&path).unwrap().totals().unwrap().settled().versions;
    assert_eq!(settled, PAGES * ENTRIES);
    let audit_bytes = std::fs::metadata(&audit).unwrap().len();
    Run { planning, planned_bytes: size.main_bytes + size.wal_bytes, settling, audit_bytes }
}

async fn commit(checkpoint: Checkpoint, pages: Vec<PageCommit>) {
    for page in pages {
        checkpoint.commit_page(page).await.unwrap();
    }
}

async fn settle(checkpoint: Checkpoint) {
    while let Some(claimed) = checkpoint.claim(1, at(1)).await.unwrap().batches.pop() {
        checkpoint.settle(settlement(claimed.batch.id, &claimed.batch.items)).await.unwrap();
    }
}

fn header() -> RunHeader {
    RunHeader {
        run_id: "run-1".into(),
        job_name: "bench".into(),
        fingerprint: "f00d".into(),
        semantic_json: "{}".into(),
        bucket: "logs".into(),
        endpoint: "aws".into(),
        region: "eu-central-1".into(),
        owner: None,
        rule_names: vec!["old-versions".into()],
        mode: Mode::Stream,
        began: at(1000),
        audit_file: Some("audit".into()),
        tool_version: "0.1.0".into(),
        versioning: "enabled".into(),
    }
}

fn journal(path: &Path) -> Box<dyn Journal> {
    Box::new(AuditFile::open(path, AuditLevel::Full, vec!["old-versions".into()]).unwrap())
}

/// The pages of one lister, all of whose entries are selected.
async fn plan_of(checkpoint: &Checkpoint, lister: u64) -> Vec<PageCommit> {
    let whole = NewRange { prefix: Key::default(), lo: None, hi: None };
    let mut range = checkpoint.add_ranges(vec![whole]).await.unwrap().remove(0);
    let mut chance = fastrand::Rng::with_seed(lister);
    let mine = lister * PAGES / LISTERS..(lister + 1) * PAGES / LISTERS;
    let commit_of = |n: u64| {
        let page = page(&range, items(n * ENTRIES, &mut chance));
        range = page.range.clone();
        page
    };
    mine.map(commit_of).collect()
}

/// Items as a listing of dated logs gives them, four versions of a key.
fn items(first: u64, chance: &mut fastrand::Rng) -> Vec<Item> {
    let item = |n: u64| Item {
        key: Key::from(format!(
            "logs/2024/{:02}/service-{:03}/{:08}.json.gz",
            n / 80_000 % 12,
            n / 4000 % 20,
            n / 4
        )),
        version_id: VersionId::new(version_id(chance)).unwrap(),
        kind: if n % 4 == 3 { Kind::DeleteMarker } else { Kind::Version },
        is_latest: false,
        size: if n % 4 == 3 { 0 } else { chance.u64(500..200_000) },
        last_modified: at(1_700_000_000_000 + (n * 977 % 86_400) as i64 * 1000),
        rule: RuleId(0),
        copy: None,
    };
    (first..first + ENTRIES).map(item).collect()
}

fn page(range: &RangeRow, items: Vec<Item>) -> PageCommit {
    let mut new = range.clone();
    new.pages += 1;
    new.next_seq += 1;
    new.planned += ENTRIES;
    new.listed += ENTRIES;
    let amount = Amount { versions: ENTRIES, bytes: 0, keys: 0 };
    PageCommit {
        batches: vec![NewBatch {
            phase: Phase::Elders,
            action: ActionId(0),
            seq: range.next_seq,
            after_seq: None,
            items,
        }],
        range: new,
        tallies: vec![(Counter::Listed, amount), (Counter::Planned(RuleId(0)), amount)],
        samples: Vec::new(),
        records: Vec::new(),
        at: at(2000),
        requests: vec![("list_object_versions", 1)],
    }
}

fn settlement(batch: i64, items: &[Item]) -> Settlement {
    let record = |item: &Item| Record {
        key: item.key.clone(),
        version_id: item.version_id.clone(),
        kind: item.kind,
        size: item.size,
        last_modified: item.last_modified,
        fate: Fate::Settled {
            rule: RuleId(0),
            outcome: Outcome::Done,
            request_id: Some("7F3A9C1D2B4E6F80".into()),
            attempt: 1,
        },
        at: at(1_700_000_000_000),
        copied: None,
    };
    Settlement {
        batch,
        records: items.iter().map(record).collect(),
        remaining: Vec::new(),
        moved: Vec::new(),
        maybe_sent: 0,
        retry: None,
        requests: vec![("delete_objects", 1)],
        at: at(3000),
    }
}
