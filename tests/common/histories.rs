//! Histories that travel: what the tests of copies and moves share.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use s3sweep::model::{Key, Kind, Version};
use s3sweep::sandbox::{Config, Effect, Faults, Seed, SeedItem};

use super::{BUCKET, World, mixed};

pub const DESTINATION: &str = "destination";

/// What a history tells, without what no copy can keep: oldest first, kind, bytes and ETag.
pub type Story = Vec<(Kind, u64, String)>;

pub fn etag(version: &Version) -> String {
    version.etag.as_ref().map(|etag| etag.as_str().trim_matches('"').to_owned()).unwrap_or_default()
}

pub fn stories(entries: &[Version]) -> BTreeMap<Key, Story> {
    let mut by_key: BTreeMap<Key, Story> = BTreeMap::new();
    for entry in entries.iter().rev() {
        by_key.entry(entry.key.clone()).or_default().push((entry.kind, entry.size, etag(entry)));
    }
    by_key
}

pub fn empty(bucket: &str) -> Seed {
    Seed { bucket: bucket.into(), keys: 0, ..Seed::default() }
}

/// A bucket with everything in it, some neighbours alike, and an empty one beside it.
pub fn world_of(keys: u64, faults: Faults) -> World {
    let source = Seed { same_data_share: 0.3, storage_classes: vec!["STANDARD".into()], ..mixed(keys) };
    World::with(Config { seeds: vec![source, empty(DESTINATION)], faults, ..Config::default() })
}

pub fn there(world: &World, bucket: &str) -> Vec<Version> {
    world.sandbox.store().versions(bucket).unwrap()
}

pub fn transfer(world: &World, action: &str, more: &str) -> PathBuf {
    transfer_where(world, action, "any", &format!("retry: {{ give_up_after: 1h }}\n{more}"))
}

/// The same, with a state to select and without settings of its own.
pub fn transfer_where(world: &World, action: &str, state: &str, more: &str) -> PathBuf {
    world.job(&format!(
        "confirm: false\n{more}\nrules:\n- {{ name: all, match: {{ state: {state} }}, action: {action} }}\n"
    ))
}

/// Entries that are named one by one, and an empty bucket beside them.
pub fn world_with(items: Vec<SeedItem>, faults: Faults) -> World {
    let source = Seed { items, real_etags: true, ..empty(BUCKET) };
    World::with(Config { seeds: vec![source, empty(DESTINATION)], faults, ..Config::default() })
}

pub fn item(key: &str, age_secs: f64, size_bytes: u64, part_bytes: u64) -> SeedItem {
    SeedItem { key: key.into(), age_secs, size_bytes, part_bytes, ..SeedItem::default() }
}

pub fn marker(key: &str, age_secs: f64) -> SeedItem {
    SeedItem { key: key.into(), age_secs, delete_marker: true, ..SeedItem::default() }
}

/// The data of every version of every key, oldest first, in a form that can be compared between servers.
pub fn contents(world: &World, bucket: &str) -> BTreeMap<Key, Vec<Option<String>>> {
    let mut by_key: BTreeMap<Key, Vec<Option<String>>> = BTreeMap::new();
    for entry in there(world, bucket).iter().rev() {
        let details = world.sandbox.store().details(bucket, entry.key.clone(), &entry.id);
        by_key.entry(entry.key.clone()).or_default().push(details.map(|details| details.data));
    }
    by_key
}

/// The codes of all lines of the audit that failed.
pub fn failures(world: &World) -> Vec<String> {
    let failed = |line: &s3sweep::report::AuditLine<'_>| line.outcome == "failed";
    world
        .audit()
        .iter()
        .filter(|line| failed(line))
        .map(|line| line.code.clone().unwrap().into_owned())
        .collect()
}

pub const MOVE: &str = "{ move: { bucket: destination } }";
pub const COPY: &str = "{ copy: { bucket: destination } }";

/// The keys whose stories differ, and how.
#[track_caller]
pub fn check_stories(found: &[Version], wanted: &[Version]) {
    let (found, wanted) = (stories(found), stories(wanted));
    let keys: BTreeSet<&Key> = found.keys().chain(wanted.keys()).collect();
    let differ = |key: &&Key| found.get(*key) != wanted.get(*key);
    let told = |key| format!("{key}: {:?} instead of {:?}", found.get(key), wanted.get(key));
    let different: Vec<String> = keys.into_iter().filter(differ).map(told).collect();
    assert!(different.is_empty(), "{} keys tell another story:\n{}", different.len(), different.join("\n"));
}

/// Everything stands at the destination as it stood at the source, key by key, and the audit says what
/// became which version.
#[track_caller]
pub fn check_moved(world: &World, before: &[Version]) {
    let after = there(world, DESTINATION);
    check_stories(&after, before);
    assert_eq!(world.entries(), [], "the source is empty");
    check_audit(world, before, &after);
    check_order_of_events(world, before);
}

/// One line for each version, and the mapping from source to destination is one to one and fits.
#[track_caller]
pub fn check_audit(world: &World, before: &[Version], after: &[Version]) {
    let lines = world.audit();
    assert_eq!(lines.len(), before.len(), "one line for each version");
    let source: BTreeMap<_, _> = before
        .iter()
        .map(|version| ((version.key.clone(), version.id.as_str().to_owned()), version))
        .collect();
    let copies: BTreeMap<_, _> = after
        .iter()
        .map(|version| ((version.key.clone(), version.id.as_str().to_owned()), version))
        .collect();
    let mut used = BTreeSet::new();
    for line in &lines {
        assert!(matches!(&*line.outcome, "done" | "gone"), "{line:?}");
        let version = source[&(line.key_bytes().unwrap(), line.version_id.to_string())];
        let copied = line.copied_to.as_ref().unwrap_or_else(|| panic!("no copy is named: {line:?}"));
        let name = (copied.key_bytes().unwrap(), copied.version_id.to_string());
        let copy = copies.get(&name).unwrap_or_else(|| panic!("{name:?} is not there"));
        assert_eq!((copy.kind, copy.size, etag(copy)), (version.kind, version.size, etag(version)));
        assert!(used.insert(name), "two versions became one: {line:?}");
    }
}

/// No source version went before all copies of its key were there.
#[track_caller]
pub fn check_order_of_events(world: &World, before: &[Version]) {
    let mut left: BTreeMap<Key, usize> = BTreeMap::new();
    for version in before {
        *left.entry(version.key.clone()).or_default() += 1;
    }
    for record in world.sandbox.oplog() {
        match (record.bucket.as_str(), record.effect) {
            (DESTINATION, Effect::Created | Effect::MarkerCreated) => {
                let left = left.get_mut(&record.key).unwrap();
                *left = left.checked_sub(1).unwrap_or_else(|| panic!("{} was copied too often", record.key));
            }
            (BUCKET, Effect::Deleted | Effect::MarkerDeleted) => {
                assert_eq!(left[&record.key], 0, "{} was deleted before its history had arrived", record.key);
            }
            _ => {}
        }
    }
}
