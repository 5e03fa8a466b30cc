//! A procedural bucket answers as a stored one with the same entries does.

use proptest::prelude::*;

use crate::model::{Kind, Timestamp, VersionId, VersioningStatus};
use crate::sandbox::chance::mix;
use crate::sandbox::entry::Content;
use crate::sandbox::listing::{self, Page, Query, Row, Source};
use crate::sandbox::personality::Personality;
use crate::sandbox::procedural::{OrderedShape, Procedural};
use crate::sandbox::store::{Deleted, Store, write};
use crate::sandbox::version_id::{self, VersionRef};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn spec(shape: OrderedShape, keys: u64, versions_per_key: u32, seed: u64) -> Procedural {
    Procedural {
        bucket: "made".into(),
        keys,
        versions_per_key,
        marker_share: 0.3,
        shape,
        prefix: "p/".into(),
        seed,
        newest_days: 1.5,
        size_bytes: 1000,
        ..Procedural::default()
    }
}

/// The procedural bucket `made` and the stored bucket `kept` with the same entries.
fn twins(spec: &Procedural) -> Store {
    let store = Store::new();
    store.create_procedural(spec, NOW).unwrap();
    store.create_bucket("kept", Timestamp::default(), VersioningStatus::Enabled);
    let kept = store.bucket("kept").unwrap();
    for version in store.versions("made").unwrap().into_iter().rev() {
        let at = version.last_modified;
        let content = match version.kind {
            Kind::Version => Content::version(at, version.size),
            Kind::DeleteMarker => Content::marker(at),
        };
        let sequence = version_id::decode(version.id.as_str()).unwrap();
        write(&kept).insert_as(version.key.as_bytes(), sequence, content, false);
    }
    store
}

/// All that an answer tells of a page.
fn told(page: &Page<'_>) -> Vec<String> {
    let row = |row: Row<'_>| match row {
        Row::CommonPrefix(prefix) => format!("{prefix:?}"),
        Row::Entry { key, entry, is_latest } => format!(
            "{key:?} {} {:?} {is_latest} {} {} {}",
            entry.id(),
            entry.kind,
            entry.at.floor_to_second(),
            entry.size,
            entry.etag()
        ),
    };
    page.rows().map(row).chain(std::iter::once(format!("{:?}", page.next))).collect()
}

fn page_of(
    store: &Store,
    bucket: &str,
    query: &Query,
    personality: &Personality,
    objects: bool,
) -> Vec<String> {
    let bucket = store.bucket(bucket).unwrap();
    let source = Source::of(&bucket);
    let page = if objects {
        listing::objects(&source, query, personality)
    } else {
        listing::versions(&source, query, personality)
    };
    told(&page)
}

fn delete(store: &Store, bucket: &str, key: &[u8], wanted: VersionRef) -> Deleted {
    write(&store.bucket(bucket).unwrap()).delete_version(key, wanted, NOW, false)
}

fn personality(number: u64) -> Personality {
    Personality {
        inclusive_key_marker: number & 1 == 1,
        marker_skips_key_when_gone: number & 6 == 2,
        marker_restarts_key_when_gone: number & 6 == 4,
        short_pages: number & 24 == 8,
        oldest_first: number & 24 == 16,
        utf16_order: number & 96 == 32,
        ..Personality::default()
    }
}

/// A text to ask for: a key that is there, a beginning of one, one with something behind it.
fn some_text(keys: &[Vec<u8>], bits: u64) -> String {
    let pick = |bits: u64, count: usize| usize::try_from(bits % count.max(1) as u64).unwrap();
    let Some(key) = keys.get(pick(bits >> 8, keys.len())) else { return String::new() };
    let text = String::from_utf8(key.clone()).unwrap();
    match bits % 5 {
        0 => String::new(),
        1 => text,
        2 => format!("{text}!"),
        3 => text[..pick(bits >> 32, text.len() + 1)].to_owned(),
        _ => format!("{}~", &text[..pick(bits >> 32, text.len())]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_procedural_listing_is_that_of_a_stored_bucket(
        shape in prop::sample::select(vec![OrderedShape::Hive, OrderedShape::Flat, OrderedShape::Sequence]),
        keys in 1_u64..120,
        versions_per_key in 1_u32..6,
        seed in any::<u64>(),
    ) {
        let spec = spec(shape, keys, versions_per_key, seed);
        let store = twins(&spec);
        let all = store.versions("made").unwrap();
        let names: Vec<Vec<u8>> = (0..keys).map(|key| {
            super::KeySpace::of(&spec).key(key)
        }).collect();
        for step in 0..120_u64 {
            let bits = |which| mix(&[seed, step, which]);
            let version = &all[usize::try_from(bits(1) % all.len() as u64).unwrap()];
            let wanted = VersionRef::parse(version.id.as_str()).unwrap();
            // Of two keys one is deleted from, of the other one a version is named that it lacks.
            let key = if bits(2) % 8 == 0 { &names[0][..] } else { version.key.as_bytes() };
            prop_assert_eq!(delete(&store, "made", key, wanted), delete(&store, "kept", key, wanted));
            prop_assert_eq!(store.count("made"), store.count("kept"));
            let with_version = bits(3) % 2 == 0;
            let query = Query {
                prefix: some_text(&names, bits(4)),
                delimiter: ["", "", "/", "a", "=00"][(bits(5) % 5) as usize].to_owned(),
                key_marker: if with_version {
                    version.key.as_str().unwrap().to_owned()
                } else {
                    some_text(&names, bits(6))
                },
                version_marker: match bits(7) % 8 {
                    _ if !with_version => None,
                    0 => Some(VersionRef::Null),
                    _ => Some(wanted),
                },
                rows_max: [1, 2, 3, 7, 1000][(bits(8) % 5) as usize],
            };
            let personality = personality(bits(9));
            let objects = bits(10) % 4 == 0;
            prop_assert_eq!(
                page_of(&store, "made", &query, &personality, objects),
                page_of(&store, "kept", &query, &personality, objects),
                "{:?} {:?}", query, personality
            );
        }
        prop_assert_eq!(store.versions("made"), store.versions("kept"));
    }
}

#[test]
fn pages_follow_each_other_while_all_before_them_is_deleted() {
    let store = twins(&spec(OrderedShape::Hive, 300, 4, 9));
    let whole = store.versions("made").unwrap();
    let mut query = Query { rows_max: 7, ..Query::default() };
    let mut listed = Vec::new();
    loop {
        let bucket = store.bucket("made").unwrap();
        let source = Source::of(&bucket);
        let page = listing::versions(&source, &query, &Personality::default());
        for row in page.rows() {
            let Row::Entry { key, entry, .. } = row else { panic!("no delimiter was given") };
            listed.push((key.to_vec(), entry.id()));
            let wanted = VersionRef::Sequence(entry.sequence);
            assert_eq!(
                delete(&store, "made", key, wanted),
                Deleted::Removed { kind: entry.kind },
                "each is there once"
            );
        }
        let Some(next) = page.next else { break };
        query.key_marker = String::from_utf8(next.key).unwrap();
        query.version_marker = next.version_id.as_deref().and_then(VersionRef::parse);
    }
    let expected: Vec<_> =
        whole.iter().map(|v| (v.key.as_bytes().to_vec(), v.id.as_str().to_owned())).collect();
    assert_eq!(listed, expected);
    assert_eq!(store.count("made"), Ok(0));
}

#[test]
fn numbers_are_as_specified() {
    let store = Store::new();
    let spec = Procedural { oldest_days: 10.0, ..spec(OrderedShape::Flat, 7 * 300, 4, 3) };
    store.create_procedural(&spec, NOW).unwrap();
    let all = store.versions("made").unwrap();
    assert_eq!(all.len(), 7 * 300 * 4, "the mean is exact over whole rounds");
    let mut counts: Vec<usize> = all.chunk_by(|a, b| a.key == b.key).take(7).map(<[_]>::len).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7]);
    let markers = all.iter().filter(|v| v.kind == Kind::DeleteMarker).count();
    assert!((markers as f64 / all.len() as f64 - 0.3).abs() < 0.03, "{markers}");
    for pair in all.windows(2).filter(|pair| pair[0].key == pair[1].key) {
        assert!(pair[0].last_modified >= pair[1].last_modified && !pair[1].is_latest);
    }
    let days = |at: Timestamp| NOW.since(at).unwrap().as_secs_f64() / 86_400.0;
    assert!(all.iter().all(|v| (1.49..10.01).contains(&days(v.last_modified))));
    let sizes = all.iter().filter(|v| v.kind == Kind::Version).map(|v| v.size);
    assert!(sizes.clone().all(|size| (500..1500).contains(&size)) && sizes.max() > Some(1400));
}

#[test]
fn one_key_keeps_the_mean() {
    let store = Store::new();
    store.create_procedural(&spec(OrderedShape::Sequence, 1, 5000, 3), NOW).unwrap();
    assert_eq!(store.count("made"), Ok(5000));
}

#[test]
fn a_hundred_million_versions_need_a_bit_each_and_any_place_is_found_at_once() {
    let store = Store::new();
    store.create_procedural(&spec(OrderedShape::Hive, 25_000_000, 4, 1), NOW).unwrap();
    let left = store.count("made").unwrap();
    assert!((99_999_990..100_000_010).contains(&left), "{left}");
    let personality = Personality::default();
    let query = Query {
        key_marker: "p/logs/tenant=1234/year=2023".into(),
        delimiter: "/".into(),
        prefix: "p/logs/".into(),
        rows_max: 1000,
        ..Query::default()
    };
    let bucket = store.bucket("made").unwrap();
    let source = Source::of(&bucket);
    let page = listing::versions(&source, &query, &personality);
    let first = page.rows().next().map(|row| match row {
        Row::CommonPrefix(prefix) => String::from_utf8(prefix.to_vec()).unwrap(),
        Row::Entry { .. } => panic!("all keys roll up"),
    });
    assert_eq!(first.as_deref(), Some("p/logs/tenant=1234/"));
    assert_eq!(page.len(), 1551 - 1234);
    assert_eq!(page.next, None);
}

#[test]
fn what_is_not_this_key_s_version_is_not_deleted() {
    let store = Store::new();
    store.create_procedural(&spec(OrderedShape::Sequence, 10, 2, 3), NOW).unwrap();
    let all = store.versions("made").unwrap();
    let (first, last) = (&all[0], &all[all.len() - 1]);
    let id = |version: &crate::model::Version| VersionRef::parse(version.id.as_str()).unwrap();
    for (key, wanted) in [
        (last.key.as_bytes(), id(first)),
        (first.key.as_bytes(), VersionRef::Null),
        (first.key.as_bytes(), VersionRef::Sequence(7)),
        (first.key.as_bytes(), VersionRef::Sequence(u64::MAX)),
        (b"nothing", id(first)),
    ] {
        assert_eq!(delete(&store, "made", key, wanted), Deleted::Absent);
    }
    assert_eq!(
        delete(&store, "made", first.key.as_bytes(), id(first)),
        Deleted::Removed { kind: first.kind }
    );
    assert_eq!(delete(&store, "made", first.key.as_bytes(), id(first)), Deleted::Absent);
    assert_eq!(store.count("made"), Ok(all.len() - 1));
    assert!(store.put("made", "new", 1, NOW).is_err());
    assert!(store.insert_marker("made", "new", NOW).is_err());
    assert_eq!(store.count("made"), Ok(all.len() - 1));
    let made_up = VersionId::new("x".repeat(32)).unwrap();
    assert_eq!(store.delete_version("made", "k", &made_up), Ok(false));
}

#[test]
fn boundaries_part_a_bucket_evenly() {
    let store = twins(&spec(OrderedShape::Flat, 160, 1, 3));
    let keys: Vec<Vec<u8>> =
        store.versions("kept").unwrap().iter().map(|v| v.key.as_bytes().to_vec()).collect();
    let expected: Vec<Vec<u8>> = (1..16).map(|part| keys[part * 10].clone()).collect();
    assert_eq!(store.boundaries(16), expected, "those of the procedural bucket, though it comes second");
    assert_eq!(crate::sandbox::store::read(&store.bucket("kept").unwrap()).boundaries(16), expected);
    assert!(store.boundaries(1).is_empty());
}
