use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn fill(seed: &Seed) -> Store {
    let store = Store::new();
    seed.apply(&store, NOW).unwrap();
    store
}

#[test]
fn the_same_seed_gives_the_same_bucket() {
    let seed = Seed { keys: 50, versions_per_key: 3, latest_marker_share: 0.3, seed: 9, ..Seed::default() };
    let first = fill(&seed).versions("sandbox").unwrap();
    assert_eq!(first.len(), 150);
    assert_eq!(first, fill(&seed).versions("sandbox").unwrap());
    assert_ne!(first, fill(&Seed { seed: 10, ..seed }).versions("sandbox").unwrap());
}

#[test]
fn ages_lie_in_their_span_and_grow_with_the_order() {
    let seed = Seed {
        keys: 40,
        versions_per_key: 5,
        oldest_days: 100.0,
        newest_days: 10.0,
        size_bytes_min: 10,
        size_bytes_max: 20,
        storage_classes: vec!["STANDARD".into(), "GLACIER".into()],
        ..Seed::default()
    };
    let versions = fill(&seed).versions("sandbox").unwrap();
    for version in &versions {
        let days = NOW.since(version.last_modified).unwrap().as_secs_f64() / SECONDS_A_DAY;
        assert!((9.99..100.01).contains(&days), "{days}");
        assert!((10..=20).contains(&version.size), "{}", version.size);
    }
    for pair in versions.windows(2).filter(|pair| pair[0].key == pair[1].key) {
        assert!(pair[0].last_modified > pair[1].last_modified, "{pair:?}");
    }
    let in_glacier = versions.iter().filter(|v| v.storage_class.as_deref() == Some("GLACIER")).count();
    assert!((60..140).contains(&in_glacier), "{in_glacier}");
}

#[test]
fn shares_of_markers_come_out_about_right() {
    let seed = Seed {
        keys: 400,
        versions_per_key: 4,
        latest_marker_share: 0.25,
        orphan_marker_share: 0.25,
        ..Seed::default()
    };
    let versions = fill(&seed).versions("sandbox").unwrap();
    let markers = versions.iter().filter(|v| v.kind == Kind::DeleteMarker);
    assert!(markers.clone().all(|v| v.is_latest));
    let keys = versions.iter().filter(|v| v.is_latest).count();
    let orphans = (keys * 4 - versions.len()) / 3;
    assert!((60..140).contains(&orphans), "{orphans}");
    assert!((120..220).contains(&markers.count()));
}

#[test]
fn an_unversioned_bucket_has_null_versions_only() {
    let seed = Seed {
        versioning: VersioningStatus::Unversioned,
        keys: 20,
        versions_per_key: 4,
        latest_marker_share: 1.0,
        noncurrent_marker_share: 1.0,
        ..Seed::default()
    };
    let versions = fill(&seed).versions("sandbox").unwrap();
    assert_eq!(versions.len(), 20);
    assert!(versions.iter().all(|v| v.id.is_null() && v.kind == Kind::Version && v.is_latest));
}

#[test]
fn items_are_made_as_they_are_named() {
    let item = |key: &str, age_secs| SeedItem { key: key.into(), age_secs, ..SeedItem::default() };
    let seed = Seed {
        versioning: VersioningStatus::Suspended,
        items: vec![
            item("k", 30.0),
            SeedItem { null: true, size_bytes: 5, ..item("k", 20.0) },
            SeedItem { delete_marker: true, ..item("k", 10.0) },
        ],
        ..Seed::default()
    };
    let store = fill(&seed);
    assert_eq!(store.status("sandbox"), Ok(VersioningStatus::Suspended));
    let versions = store.versions("sandbox").unwrap();
    let seen: Vec<_> = versions
        .iter()
        .map(|v| (v.kind, v.id.is_null(), NOW.since(v.last_modified).unwrap().as_secs()))
        .collect();
    assert_eq!(
        seen,
        [(Kind::DeleteMarker, false, 10), (Kind::Version, true, 20), (Kind::Version, false, 30)]
    );
}

#[test]
fn a_seed_is_read_from_a_file_and_knows_its_words_only() {
    let seed: Seed =
        serde_json::from_str(r#"{"bucket": "x", "keys": 3, "key_shape": "odd", "versioning": "suspended"}"#)
            .unwrap();
    assert_eq!((seed.keys, seed.key_shape, seed.versioning), (3, KeyShape::Odd, VersioningStatus::Suspended));
    assert!(serde_json::from_str::<Seed>(r#"{"bukket": "x"}"#).is_err());
}
