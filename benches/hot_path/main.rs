//! What s3sweep computes between the requests of a sweep: reading a page, the rules over its entries,
//! the body that deletes them, and the commits that make it durable. `cargo bench`.

#![allow(clippy::unwrap_used, missing_docs)]

mod checkpoint;

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use s3sweep::job;
use s3sweep::model::{Item, Page, RuleId, Timestamp};
use s3sweep::rules::{KeyFold, KeyOrder, PageOrder, Policy, Rules, sequence};
use s3sweep::s3::{ListVersions, delete_body};

/// Entries of a page, as many as S3 gives at most.
const ENTRIES: u64 = 1000;
const VERSIONS_PER_KEY: u64 = 4;
/// Noon of 1 January 2025.
const BEGAN: Timestamp = Timestamp::from_millis(1_735_732_800_000);

const REQUEST: ListVersions<'static> =
    ListVersions { prefix: b"", from: None, page_size: 1000, wants_data: false };

/// Rules of the kind that people write: something stays, old versions and markers go.
const JOB: &str = "
version: 1
name: bench
bucket: { name: logs }
rules:
  - { name: legal, match: { prefix: legal/ }, action: keep }
  - { name: tables, match: { key_glob: ['**/_SUCCESS', '**/*.crc'] }, action: keep }
  - { name: old, match: { state: noncurrent, noncurrent_for: 30d, beyond_newest: 1 }, action: delete }
  - { name: markers, match: { state: noncurrent-marker, noncurrent_for: 30d }, action: delete }
  - { name: orphans, match: { state: orphan-marker }, action: delete }
";

/// Like AWS's: 32 characters of chance.
fn version_id(chance: &mut fastrand::Rng) -> String {
    (0..32).map(|_| chance.alphanumeric()).collect()
}

/// A page as AWS writes it, of keys as data lakes have them.
fn page_body() -> String {
    let mut chance = fastrand::Rng::with_seed(7);
    let mut body = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <ListVersionsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>logs</Name>\
         <Prefix></Prefix><KeyMarker></KeyMarker><VersionIdMarker></VersionIdMarker>\
         <MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>",
    );
    for n in 0..ENTRIES {
        let (key, place) = (n / VERSIONS_PER_KEY, n % VERSIONS_PER_KEY);
        let is_marker = place == 2 && key % 5 == 0;
        let kind = if is_marker { "DeleteMarker" } else { "Version" };
        write!(
            body,
            "<{kind}><Key>logs/tenant%3D0042/year%3D2024/month%3D{:02}/day%3D{:02}/part-{key:05}.parquet</Key>\
             <VersionId>{}</VersionId><IsLatest>{}</IsLatest>\
             <LastModified>2024-{:02}-{:02}T03:04:05.000Z</LastModified>",
            key / 100 + 1,
            key % 100 / 5 + 1,
            version_id(&mut chance),
            place == 0,
            12 - place,
            key % 28 + 1
        )
        .unwrap();
        if !is_marker {
            write!(
                body,
                "<ETag>&quot;{:032x}&quot;</ETag><Size>{}</Size><StorageClass>STANDARD</StorageClass>",
                chance.u128(..),
                chance.u64(500..200_000)
            )
            .unwrap();
        }
        write!(
            body,
            "<Owner><ID>75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a</ID></Owner></{kind}>"
        )
        .unwrap();
    }
    body.push_str("</ListVersionsResult>");
    body
}

fn page() -> Page {
    REQUEST.read_answer(page_body().as_bytes()).unwrap()
}

fn rules() -> Rules {
    let job = job::load(JOB, "bench.yaml", &|_| None).unwrap();
    let policy =
        Policy { began: BEGAN, allow_promotion: false, null_versions: job.null_versions, suspended: false };
    Rules { rules: job.rules, policy, histories: Vec::new(), lock_object: None }
}

/// The items of a batch that deletes a whole page.
fn items() -> Vec<Item> {
    let item = |version: s3sweep::model::Version| Item {
        key: version.key,
        version_id: version.id,
        kind: version.kind,
        is_latest: version.is_latest,
        size: version.size,
        last_modified: version.last_modified,
        rule: RuleId(0),
        copy: None,
    };
    page().versions.into_iter().map(item).collect()
}

fn a_page(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("page of 1000");
    group.throughput(Throughput::Elements(ENTRIES));

    let body = page_body();
    group.bench_function("read", |bencher| {
        bencher.iter(|| REQUEST.read_answer(black_box(body.as_bytes())).unwrap());
    });

    let (rules, page) = (rules(), page());
    let selected = decide(&rules, page.clone());
    assert!(selected > 100 && selected < 900, "{selected} of a page: some should go and some stay");
    group.bench_function("rules", |bencher| {
        bencher.iter_batched(|| page.clone(), |page| decide(&rules, page), BatchSize::SmallInput);
    });

    let items = items();
    let items: Vec<&Item> = items.iter().collect();
    group.bench_function("delete body", |bencher| bencher.iter(|| delete_body(black_box(&items))));
    group.finish();
}

/// How many of a page's entries the rules select.
fn decide(rules: &Rules, page: Page) -> usize {
    let (mut fold, mut decided) = (KeyFold::default(), Vec::with_capacity(page.versions.len()));
    for entry in sequence(page.versions, &mut PageOrder::Interleaved, KeyOrder::Bytes).unwrap() {
        fold.push(rules, entry, &mut decided).unwrap();
    }
    fold.finish(rules, &mut decided);
    decided.iter().filter(|one| matches!(one.decision, s3sweep::rules::Decision::Act { .. })).count()
}

criterion_group!(hot_path, a_page, checkpoint::commits);
criterion_main!(hot_path);
