use super::*;
use crate::model::{Timestamp, VersionId, VersioningStatus};
use crate::sandbox::store::Store;

/// 12 keys, many of them below delimiters, with 1 to 5 entries each, some of them markers.
fn store() -> Store {
    let store = Store::new();
    store.create_bucket("b", Timestamp::default(), VersioningStatus::Enabled);
    let keys =
        ["a", "a/", "a/1", "a/2/x", "a/2/y", "a0", "b c", "b+c", "b/%2F", "z\u{ff5e}", "z\u{1f600}", "zz"];
    for (number, key) in keys.into_iter().enumerate() {
        for version in 0..=number % 5 {
            if version % 3 == 2 {
                store.insert_marker("b", key, Timestamp::default()).unwrap();
            } else {
                store.put("b", key, 7, Timestamp::default()).unwrap();
            }
        }
    }
    store
}

fn row_name(row: &Row<'_>) -> String {
    match row {
        Row::Entry { key, entry, is_latest } => {
            format!(
                "{} {}{}",
                String::from_utf8_lossy(key),
                entry.id(),
                if *is_latest { " latest" } else { "" }
            )
        }
        Row::CommonPrefix(prefix) => format!("{} (prefix)", String::from_utf8_lossy(prefix)),
    }
}

/// Follows the markers to the end; `between` acts after each page.
fn follow(
    store: &Store,
    mut query: Query,
    personality: &Personality,
    mut between: impl FnMut(&Next),
) -> Vec<String> {
    let mut rows = Vec::new();
    for _ in 0..10_000 {
        let bucket = store.bucket("b").unwrap();
        let next = {
            let source = Source::of(&bucket);
            let page = versions(&source, &query, personality);
            assert!(page.len() <= query.rows_max);
            rows.extend(page.rows().map(|row| row_name(&row)));
            page.next
        };
        let Some(next) = next else { return rows };
        query.key_marker = String::from_utf8(next.key.clone()).unwrap();
        query.version_marker = next.version_id.as_deref().and_then(VersionRef::parse);
        between(&next);
    }
    panic!("the listing does not end");
}

fn query(prefix: &str, delimiter: &str, rows_max: usize) -> Query {
    Query { prefix: prefix.into(), delimiter: delimiter.into(), rows_max, ..Query::default() }
}

#[test]
fn every_page_size_gives_the_same_rows() {
    let store = store();
    for (prefix, delimiter) in
        [("", ""), ("a/", ""), ("", "/"), ("a/", "/"), ("a", "/"), ("q", ""), ("", "c")]
    {
        for personality in [
            Personality::default(),
            Personality { short_pages: true, ..Personality::default() },
            Personality { oldest_first: true, ..Personality::default() },
            Personality { utf16_order: true, ..Personality::default() },
        ] {
            let whole = follow(&store, query(prefix, delimiter, 1000), &personality, |_| ());
            for rows_max in 1..=whole.len() + 1 {
                let paged = follow(&store, query(prefix, delimiter, rows_max), &personality, |_| ());
                assert_eq!(paged, whole, "{prefix:?} {delimiter:?} {rows_max} {personality:?}");
            }
        }
    }
}

#[test]
fn a_whole_listing_is_the_snapshot() {
    let store = store();
    let expected: Vec<String> = store
        .versions("b")
        .unwrap()
        .iter()
        .map(|v| format!("{} {}{}", v.key.as_str().unwrap(), v.id, if v.is_latest { " latest" } else { "" }))
        .collect();
    assert_eq!(follow(&store, query("", "", 1000), &Personality::default(), |_| ()), expected);
}

#[test]
fn a_delimiter_rolls_keys_up_once() {
    let rows = follow(&store(), query("a", "/", 1000), &Personality::default(), |_| ());
    let names: Vec<&str> = rows.iter().map(|row| row.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["a", "a/", "a0"]);
    assert!(rows[1].ends_with("(prefix)"));
}

/// What becomes of a walk that deletes every version it has listed, page by page.
fn list_and_delete(personality: &Personality) -> (usize, usize) {
    let store = Store::new();
    store.create_bucket("b", Timestamp::default(), VersioningStatus::Enabled);
    for _ in 0..20 {
        store.put("b", "k", 1, Timestamp::default()).unwrap();
    }
    for _ in 0..5 {
        store.put("b", "l", 1, Timestamp::default()).unwrap();
    }
    let mut listed = 0;
    let mut deleted = Vec::new();
    let rows = follow(&store, query("", "", 7), personality, |next| {
        // All rows up to the marker are gone before the next page is asked for.
        let last = VersionId::new(next.version_id.clone().unwrap()).unwrap();
        for version in store.versions("b").unwrap() {
            let is_last = version.id == last;
            store.delete_version("b", version.key.clone(), &version.id).unwrap();
            deleted.push(version.id.clone());
            if is_last {
                break;
            }
        }
    });
    listed += rows.len();
    (listed, store.count("b").unwrap())
}

#[test]
fn a_listing_goes_on_after_its_marker_is_gone() {
    assert_eq!(list_and_delete(&Personality::default()), (25, 4), "the last page of 4 is not deleted");
}

#[test]
fn a_gone_marker_makes_rgw_skip_the_rest_of_its_key() {
    let rgw = Personality { marker_skips_key_when_gone: true, ..Personality::default() };
    let (listed, left) = list_and_delete(&rgw);
    assert_eq!((listed, left), (7 + 5, 13 + 5));
}

#[test]
fn a_gone_marker_makes_minio_start_its_key_again() {
    // Nothing is repeated here, since what was listed is gone; a marker that is gone alone shows it.
    let store = Store::new();
    store.create_bucket("b", Timestamp::default(), VersioningStatus::Enabled);
    for _ in 0..5 {
        store.put("b", "k", 1, Timestamp::default()).unwrap();
    }
    let minio = Personality { marker_restarts_key_when_gone: true, ..Personality::default() };
    let mut removed = false;
    let rows = follow(&store, query("", "", 3), &minio, |next| {
        if !std::mem::replace(&mut removed, true) {
            let id = VersionId::new(next.version_id.clone().unwrap()).unwrap();
            store.delete_version("b", "k", &id).unwrap();
        }
    });
    assert_eq!(rows.len(), 3 + 4, "two of five are listed twice");
}

#[test]
fn a_key_marker_alone_is_exclusive_and_on_rgw_inclusive() {
    let store = store();
    let bucket = store.bucket("b").unwrap();
    let source = Source::of(&bucket);
    let query = Query { key_marker: "a0".into(), ..query("", "", 1) };
    let first =
        |personality: &Personality| row_name(&versions(&source, &query, personality).rows().next().unwrap());
    assert!(first(&Personality::default()).starts_with("b c "));
    let rgw = Personality { inclusive_key_marker: true, ..Personality::default() };
    assert!(first(&rgw).starts_with("a0 "));
}

#[test]
fn a_marker_need_not_exist_and_may_lie_outside_of_the_prefix() {
    let store = store();
    let bucket = store.bucket("b").unwrap();
    let source = Source::of(&bucket);
    let first = |key_marker: &str, prefix: &str| {
        let query = Query { key_marker: key_marker.into(), ..query(prefix, "", 1) };
        versions(&source, &query, &Personality::default()).rows().next().map(|row| row_name(&row))
    };
    assert!(first("a/1zzz", "").unwrap().starts_with("a/2/x "));
    assert!(first("A", "b").unwrap().starts_with("b c "));
    assert_eq!(first("c", "b"), None);
    assert_eq!(first("\u{10ffff}", ""), None);
}

#[test]
fn no_rows_are_asked_for_and_none_are_given() {
    let store = store();
    let bucket = store.bucket("b").unwrap();
    let page = versions(&Source::of(&bucket), &query("", "", 0), &Personality::default()).next;
    assert_eq!(page, None);
}

#[test]
fn utf16_order_puts_emoji_first() {
    let personality = Personality { utf16_order: true, ..Personality::default() };
    let rows = follow(&store(), query("z", "", 1000), &personality, |_| ());
    let keys: Vec<char> = rows.iter().map(|row| row.chars().nth(1).unwrap()).collect();
    let first = |wanted| keys.iter().position(|c| *c == wanted).unwrap();
    assert!(first('z') < first('\u{1f600}') && first('\u{1f600}') < first('\u{ff5e}'), "{keys:?}");
}

#[test]
fn objects_are_the_latest_entries_that_are_versions() {
    let store = store();
    let bucket = store.bucket("b").unwrap();
    let source = Source::of(&bucket);
    let page = objects(&source, &query("", "", 1000), &Personality::default());
    let live = store.versions("b").unwrap().iter().filter(|v| v.is_latest && v.kind == Kind::Version).count();
    assert_eq!(page.len(), live);
    let rolled = objects(&source, &query("", "/", 1000), &Personality::default());
    assert_eq!(rolled.rows().filter(|row| matches!(row, Row::CommonPrefix(_))).count(), 2);
}
