use super::*;
use crate::model::{Kind, Timestamp, Version, VersionId};

fn keys<const N: usize>(names: [&str; N]) -> BTreeSet<Key> {
    names.into_iter().map(Key::from).collect()
}

fn entry(key: &str, id: &str, kind: Kind, is_latest: bool, millis: i64) -> Version {
    Version {
        key: Key::from(key),
        id: VersionId::new(id).unwrap(),
        kind,
        is_latest,
        last_modified: Timestamp::from_millis(millis),
        size: 1,
        etag: None,
        storage_class: None,
    }
}

fn version(key: &str, id: &str) -> Version {
    entry(key, id, Kind::Version, true, 1)
}

fn page(versions: Vec<Version>, next: Option<(&str, &str)>) -> Page {
    let next = next.map(|(key, id)| Marker { key: Key::from(key), version_id: VersionId::new(id) });
    Page { versions, next }
}

/// What is covered after these pages, with the ids seen of it.
fn seen(wanted: &BTreeSet<Key>, from: Option<&str>, pages: Vec<Page>) -> Result<Vec<String>, OrderFault> {
    let (mut survey, mut order) = (Survey::new(), PageOrder::Undetermined);
    let mut from = from.map(|key| Marker { key: Key::from(key), version_id: None });
    for page in pages {
        let next = page.next.clone();
        survey.take(wanted, from.as_ref(), page, &mut order)?;
        from = next;
    }
    let covered = survey.covered.clone();
    let told = |key: &Key| {
        let entries = survey.entries_of(key).unwrap();
        let ids: Vec<_> = entries.iter().map(|entry| entry.version.id.to_string()).collect();
        format!("{key}:{}", ids.join(","))
    };
    Ok(covered.iter().map(told).collect())
}

#[test]
fn a_listing_to_the_end_tells_of_all_keys() {
    let found = seen(
        &keys(["b", "c", "e"]),
        Some("a~"),
        vec![page(vec![version("b", "1"), version("d", "2"), version("e", "3")], None)],
    );
    assert_eq!(
        found.unwrap(),
        ["b:1", "c:", "e:3"],
        "what is not listed has no entries, others do not count"
    );
}

#[test]
fn a_key_that_may_go_on_over_the_end_of_a_page_is_not_covered() {
    let first = page(vec![version("b", "1"), version("c", "2")], Some(("c", "2")));
    let second = page(vec![entry("c", "3", Kind::Version, false, 1), version("d", "4")], Some(("d", "4")));
    let wanted = keys(["b", "c", "d", "e"]);
    assert_eq!(seen(&wanted, None, vec![first.clone()]).unwrap(), ["b:1"]);
    assert_eq!(seen(&wanted, None, vec![first.clone(), second.clone()]).unwrap(), ["b:1"]);
    let found = seen(&wanted, None, vec![first, second, page(vec![version("e", "5")], None)]);
    assert_eq!(found.unwrap(), ["b:1", "e:5"]);
    let one = page(vec![entry("b", "1", Kind::Version, true, 2)], Some(("b", "1")));
    let within = page(vec![entry("b", "2", Kind::Version, false, 1)], Some(("b", "2")));
    assert_eq!(seen(&wanted, None, vec![one, within]).unwrap(), [] as [&str; 0], "a page within one key");
}

#[test]
fn pages_that_break_the_order_tell_nothing() {
    let wanted = keys(["b", "c"]);
    let back = page(vec![version("c", "1"), version("b", "2")], None);
    assert!(seen(&wanted, None, vec![back]).is_err());
    let ignored = page(vec![version("a", "1"), version("b", "2")], None);
    assert!(seen(&wanted, Some("a~"), vec![ignored]).is_err(), "the marker was ignored");
}

#[test]
fn entries_of_a_server_that_groups_are_put_into_their_order() {
    let grouped = page(
        vec![
            entry("b", "m", Kind::DeleteMarker, true, 5),
            entry("c", "n", Kind::DeleteMarker, false, 3),
            entry("b", "1", Kind::Version, false, 4),
            entry("c", "2", Kind::Version, true, 6),
        ],
        None,
    );
    assert_eq!(seen(&keys(["b", "c"]), None, vec![grouped]).unwrap(), ["b:m,1", "c:2,n"]);
}

#[test]
fn a_listing_begins_a_little_before_the_first_key() {
    for (key, prefix, begins) in [
        ("logs/a7", "logs/", Some("logs/a6~")),
        ("logs/a", "logs/a", None),
        ("logs/ü", "logs/", Some("logs/")),
        ("ü!", "", Some("ü")),
        ("a", "", Some("`~")),
        ("ü", "", None),
    ] {
        let key = Key::from(key);
        let found = before(&key, prefix.as_bytes());
        assert_eq!(found.as_ref().map(|marker| marker.key.to_string()), begins.map(str::to_owned));
        assert!(found.is_none_or(|marker| marker.key < key));
    }
}

#[test]
fn a_prefix_ends_with_a_character() {
    let (a, b) = (Key::from("x/ä1"), Key::from("x/ö1"));
    assert_eq!(common_prefix(&a, &b), b"x/");
    assert_eq!(common_prefix(&a, &a), a.as_bytes());
    assert_eq!(common_prefix(&Key::from("a"), &Key::from("ab")), b"a");
}

#[test]
fn keys_whose_place_hangs_on_the_server_are_left_out() {
    assert!(is_surveyable(&Key::from("a/ü€")));
    assert!(!is_surveyable(&Key::from("a/\u{e000}")));
    assert!(!is_surveyable(&Key::from("a/😀")));
    assert!(!is_surveyable(&Key::from(vec![b'a', 0xc3])), "no text");
}

#[test]
fn it_must_be_worth_its_pages() {
    let mut survey = Survey::new();
    survey.pages = 2;
    survey.covered = (0..15).map(|n| Key::from(format!("{n:02}"))).collect();
    assert!(!survey.is_worth_it());
    survey.covered.insert(Key::from("x"));
    assert!(survey.is_worth_it());
}
