use super::*;
use crate::sandbox::RetentionMode;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn store(status: VersioningStatus) -> Store {
    let store = Store::new();
    assert!(store.create_bucket("b", at(0), status));
    store
}

/// Each entry as `key kind id latest`, with ids named by their order of creation.
fn shape(store: &Store, names: &[(&VersionId, &str)]) -> Vec<String> {
    let name = |id: &VersionId| {
        names
            .iter()
            .find(|(known, _)| *known == id)
            .map_or_else(|| id.to_string(), |(_, name)| (*name).into())
    };
    let versions = store.versions("b").unwrap();
    versions
        .iter()
        .map(|v| {
            let kind = if v.kind == Kind::Version { "version" } else { "marker" };
            let latest = if v.is_latest { " latest" } else { "" };
            format!("{} {kind} {}{latest}", v.key, name(&v.id))
        })
        .collect()
}

#[test]
fn versions_pile_up_and_the_newest_is_latest() {
    let store = store(VersioningStatus::Enabled);
    let one = store.put("b", "k", 10, at(1)).unwrap();
    let two = store.put("b", "k", 20, at(2)).unwrap();
    let three = store.insert_marker("b", "k", at(3)).unwrap();
    let names = [(&one, "1"), (&two, "2"), (&three, "3")];
    assert_eq!(shape(&store, &names), ["k marker 3 latest", "k version 2", "k version 1"]);
    let versions = store.versions("b").unwrap();
    assert_eq!((versions[0].size, versions[1].size), (0, 20));
    assert_eq!((versions[0].etag.is_some(), versions[1].etag.is_some()), (false, true));
}

#[test]
fn deleting_the_latest_promotes_the_next_older() {
    let store = store(VersioningStatus::Enabled);
    let one = store.put("b", "k", 10, at(1)).unwrap();
    let two = store.put("b", "k", 20, at(2)).unwrap();
    let marker = store.insert_marker("b", "k", at(3)).unwrap();
    let names = [(&one, "1"), (&two, "2")];
    assert!(store.delete_version("b", "k", &marker).unwrap());
    assert_eq!(shape(&store, &names), ["k version 2 latest", "k version 1"]);
    assert!(store.delete_version("b", "k", &two).unwrap());
    assert_eq!(shape(&store, &names), ["k version 1 latest"]);
    assert!(!store.delete_version("b", "k", &two).unwrap(), "it is gone already");
    assert!(store.delete_version("b", "k", &one).unwrap());
    assert_eq!(store.count("b"), Ok(0));
}

#[test]
fn a_bucket_that_was_never_versioned_has_one_null_version_of_a_key() {
    let store = store(VersioningStatus::Unversioned);
    assert!(store.put("b", "k", 10, at(1)).unwrap().is_null());
    store.put("b", "k", 20, at(2)).unwrap();
    assert_eq!(shape(&store, &[]), ["k version null latest"]);
    assert_eq!(store.versions("b").unwrap()[0].size, 20);
    store.insert_marker("b", "k", at(3)).unwrap();
    assert_eq!(store.count("b"), Ok(0));
}

#[test]
fn in_a_suspended_bucket_a_put_or_delete_replaces_only_the_null_version() {
    let store = store(VersioningStatus::Unversioned);
    store.put("b", "k", 1, at(1)).unwrap();
    store.set_status("b", VersioningStatus::Enabled).unwrap();
    let kept = store.put("b", "k", 2, at(2)).unwrap();
    let names = [(&kept, "kept")];
    assert_eq!(shape(&store, &names), ["k version kept latest", "k version null"]);
    store.set_status("b", VersioningStatus::Suspended).unwrap();
    store.put("b", "k", 3, at(3)).unwrap();
    assert_eq!(shape(&store, &names), ["k version null latest", "k version kept"]);
    assert_eq!(store.versions("b").unwrap()[0].size, 3, "the former null version is gone");
    assert!(store.insert_marker("b", "k", at(4)).unwrap().is_null());
    assert_eq!(shape(&store, &names), ["k marker null latest", "k version kept"]);
}

#[test]
fn the_place_of_a_deleted_null_version_is_remembered() {
    let store = store(VersioningStatus::Unversioned);
    store.put("b", "k", 1, at(1)).unwrap();
    store.set_status("b", VersioningStatus::Enabled).unwrap();
    store.put("b", "k", 2, at(2)).unwrap();
    let bucket = store.bucket("b").unwrap();
    let before = read(&bucket).sequence_of_null(b"k");
    assert!(before.is_some());
    let null = VersionId::new("null").unwrap();
    assert!(store.delete_version("b", "k", &null).unwrap());
    assert_eq!(read(&bucket).sequence_of_null(b"k"), before);
}

#[test]
fn locks_refuse_and_only_governance_can_be_passed_over() {
    let store = store(VersioningStatus::Enabled);
    let id = store.put("b", "k", 1, at(1)).unwrap();
    let wanted = VersionRef::parse(id.as_str()).unwrap();
    let delete = |now, bypass| {
        write(&store.bucket("b").unwrap()).delete_version(b"k", wanted, now, bypass) != Deleted::Locked
    };
    let until = at(100);
    let governance = Lock { retention: Some((RetentionMode::Governance, until)), legal_hold: false };
    store.set_lock("b", "k", &id, Lock { legal_hold: true, ..governance }).unwrap();
    assert!(!delete(at(200), true), "a legal hold holds for ever");
    store
        .set_lock(
            "b",
            "k",
            &id,
            Lock { retention: Some((RetentionMode::Compliance, until)), legal_hold: false },
        )
        .unwrap();
    assert!(!delete(at(99), true));
    store.set_lock("b", "k", &id, governance).unwrap();
    assert!(!delete(at(99), false));
    assert!(delete(at(99), true));
}

#[test]
fn a_seeded_version_costs_40_bytes() {
    assert_eq!(std::mem::size_of::<Entry>(), 40);
}

#[test]
fn snapshots_are_in_byte_order_of_keys() {
    let store = store(VersioningStatus::Enabled);
    for key in ["b", "a/", "a", "a\u{1}", "\u{1f600}", "\u{ff5e}"] {
        store.put("b", key, 0, at(0)).unwrap();
    }
    let keys: Vec<String> =
        store.versions("b").unwrap().iter().map(|v| v.key.as_str().unwrap().to_owned()).collect();
    assert_eq!(keys, ["a", "a\u{1}", "a/", "b", "\u{ff5e}", "\u{1f600}"]);
}
