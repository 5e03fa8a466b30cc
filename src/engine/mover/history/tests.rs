use proptest::prelude::*;

use super::*;
use crate::model::{Key, Timestamp};

fn id(n: usize) -> VersionId {
    VersionId::new(format!("d{n}")).unwrap()
}

/// Entries as a listing shows them, from the oldest to the newest: kind and bytes; ids are their places.
fn listed(oldest_first: &[(Kind, u64)]) -> Vec<Sequenced> {
    let last = oldest_first.len().wrapping_sub(1);
    let entry = |(at, (kind, size)): (usize, &(Kind, u64))| {
        Sequenced::known(Version {
            key: Key::from("k"),
            id: id(at),
            kind: *kind,
            is_latest: at == last,
            last_modified: Timestamp::from_millis(1000 * at as i64),
            size: *size,
            etag: None,
            storage_class: None,
        })
    };
    oldest_first.iter().enumerate().map(entry).rev().collect()
}

fn written(n: usize) -> Written {
    Written { version_id: id(n), etag: "".into() }
}

fn base(newest: Option<usize>) -> ChainBase {
    ChainBase { key: Key::from("k"), entries: newest.map_or(0, |n| n as u64 + 1), newest: newest.map(id) }
}

const fn version(size: u64) -> Wanted<'static> {
    Wanted { kind: Kind::Version, size, etag: "\"e\"" }
}

#[test]
fn a_step_is_open_applied_or_foreign() {
    let there = listed(&[(Kind::Version, 5), (Kind::Version, 6)]);
    assert_eq!(place(&base(None), &[written(0), written(1)], Some(version(7)), &there), Place::Open);
    assert_eq!(place(&base(None), &[written(0)], Some(version(6)), &there), Place::Applied(written(1)));
    for (what, done, next) in [
        ("another size", vec![written(0)], Some(version(7))),
        ("nothing more is due", vec![written(0)], None),
        ("two more", vec![], Some(version(6))),
        ("a step is gone", vec![written(0), written(7)], Some(version(6))),
    ] {
        assert!(matches!(place(&base(None), &done, next, &there), Place::Foreign(_)), "{what}");
    }
    assert!(matches!(place(&base(Some(7)), &[], Some(version(6)), &there), Place::Foreign(_)), "no base");
}

#[test]
fn equal_neighbours_are_told_apart_by_their_number() {
    let twice = listed(&[(Kind::Version, 5), (Kind::Version, 5)]);
    assert_eq!(place(&base(None), &[written(0)], Some(version(5)), &twice), Place::Applied(written(1)));
    assert_eq!(place(&base(None), &[written(0)], Some(version(5)), &twice[1..]), Place::Open);
    assert_eq!(place(&base(None), &[written(0), written(1)], Some(version(5)), &twice), Place::Open);
}

#[test]
fn a_marker_upon_a_marker_may_be_the_one_that_was_there() {
    let there = listed(&[(Kind::Version, 5), (Kind::DeleteMarker, 0)]);
    let marker = Wanted { kind: Kind::DeleteMarker, size: 0, etag: "" };
    let (first, second) = (written(0), written(1));
    let history = [(version(5), &first), (marker, &second), (marker, &second)];
    assert_eq!(verify(&base(None), &history, &there), Ok(()));
    let before = listed(&[(Kind::DeleteMarker, 0)]);
    assert_eq!(verify(&base(Some(0)), &[(marker, &written(0))], &before), Ok(()));
}

#[test]
fn two_versions_never_have_one_copy_and_none_has_what_was_there_before() {
    let there = listed(&[(Kind::Version, 5)]);
    let one = written(0);
    assert_eq!(verify(&base(None), &[(version(5), &one)], &there), Ok(()));
    let twice = [(version(5), &one), (version(5), &one)];
    assert!(verify(&base(None), &twice, &there).is_err(), "the second has overwritten the first");
    assert!(verify(&base(Some(0)), &[(version(5), &one)], &there).is_err(), "it was there before");
}

#[test]
fn a_history_is_verified_entry_by_entry() {
    let there = listed(&[(Kind::Version, 5), (Kind::DeleteMarker, 0), (Kind::Version, 6)]);
    let marker = Wanted { kind: Kind::DeleteMarker, size: 0, etag: "" };
    let (a, b, c, d) = (written(0), written(1), written(2), written(3));
    let check = |history: &[(Wanted<'_>, &Written)]| verify(&base(None), history, &there);
    assert_eq!(check(&[(version(5), &a), (marker, &b), (version(6), &c)]), Ok(()));
    for (what, history) in [
        ("an entry too few", vec![(version(5), &a), (marker, &b)]),
        ("an entry too many", vec![(version(5), &a), (marker, &b), (version(6), &c), (version(6), &d)]),
        ("a size", vec![(version(5), &a), (marker, &b), (version(7), &c)]),
        ("a kind", vec![(version(5), &a), (version(0), &b), (version(6), &c)]),
        ("the order", vec![(marker, &b), (version(5), &a), (version(6), &c)]),
        ("the latest", vec![(version(6), &c), (version(5), &a), (marker, &b)]),
    ] {
        assert!(check(&history).is_err(), "{what}");
    }
    let odd = Written { version_id: id(2), etag: "\"x\"".into() };
    let mut with_etags = there.clone();
    with_etags[0].version.etag = Some("\"y\"".into());
    let history = [(version(5), &a), (marker, &b), (version(6), &odd)];
    assert!(verify(&base(None), &history, &with_etags).is_err(), "another ETag than it was written with");
}

proptest! {
    /// Whatever is there before, and wherever the writing stops: the destination tells exactly how far it
    /// came, and never more than one step is taken for done that was not committed.
    #[test]
    fn the_destination_tells_how_far_a_chain_came(
        before in prop::collection::vec((any::<bool>(), 0u64..3), 0..4),
        chain in prop::collection::vec((any::<bool>(), 0u64..3), 1..6),
        applied in 0usize..6, behind in 0usize..2,
    ) {
        let kind = |marker: bool, size: u64| if marker { (Kind::DeleteMarker, 0) } else { (Kind::Version, size) };
        let chain: Vec<_> = chain.into_iter().map(|(marker, size)| kind(marker, size)).collect();
        let before: Vec<_> = before.into_iter().map(|(marker, size)| kind(marker, size)).collect();
        let applied = applied.min(chain.len());
        let committed = applied.saturating_sub(behind);
        let mut all = before.clone();
        all.extend(&chain[..applied]);
        let done: Vec<Written> = (0..committed).map(|at| written(before.len() + at)).collect();
        let next = chain.get(committed).map(|(kind, size)| Wanted { kind: *kind, size: *size, etag: "" });
        let place = place(&base(before.len().checked_sub(1)), &done, next, &listed(&all));
        if applied == committed {
            prop_assert_eq!(place, Place::Open);
        } else {
            prop_assert_eq!(place, Place::Applied(written(before.len() + committed)));
        }
    }
}

#[test]
fn a_condition_that_comes_back_further_up_may_let_a_late_attempt_through() {
    let of = |etag, size| Wanted { kind: Kind::Version, size, etag };
    let marker = Wanted { kind: Kind::DeleteMarker, size: 0, etag: "" };
    let (a, b, c) = (of("\"a\"", 1), of("\"b\"", 2), of("\"c\"", 3));
    let etag = Expect::Etag("\"a\"");
    assert!(!may_hold_again(&[a, b, c], 1, &etag), "it names what never comes back");
    assert!(may_hold_again(&[a, b, a], 1, &etag), "behind the last copy it names what is there");
    assert!(may_hold_again(&[a, a, b], 1, &etag), "at once");
    assert!(may_hold_again(&[a, of("\"x-2\"", 1)], 1, &etag), "one content in parts and in one piece");
    assert!(may_hold_again(&[b, c, a], 0, &etag), "what was there before comes back");
    assert!(!may_hold_again(&[b, c], 0, &etag));
    assert!(!may_hold_again(&[a, marker, b, c], 2, &Expect::Absent));
    assert!(may_hold_again(&[a, marker, b, marker], 2, &Expect::Absent), "a marker counts as no object");
    assert!(may_hold_again(&[a, marker], 1, &etag), "a marker has no condition");
    assert!(may_hold_again(&[a, b], 1, &Expect::Anything));
    assert!(!may_hold_again(&[a], 1, &etag), "nothing is left to be done");
}

#[test]
fn a_copy_is_there_by_its_id_its_size_and_its_etag() {
    let mut there = listed(&[(Kind::Version, 5), (Kind::DeleteMarker, 0)]);
    there[1].version.etag = Some("\"e\"".into());
    let item = |kind, size| Item {
        key: Key::from("source"),
        version_id: id(70),
        kind,
        is_latest: false,
        size,
        last_modified: Timestamp::from_millis(1),
        rule: crate::model::RuleId(0),
        copy: None,
    };
    let copied = |at, etag: &str| Copied { key: Key::from("k"), version_id: id(at), etag: etag.into() };
    assert!(holds(&there, &item(Kind::Version, 5), &copied(0, "\"e\"")));
    assert!(holds(&there, &item(Kind::Version, 5), &copied(0, "")), "no ETag was told");
    assert!(holds(&there, &item(Kind::DeleteMarker, 0), &copied(1, "")));
    assert!(!holds(&there, &item(Kind::Version, 5), &copied(0, "\"f\"")));
    assert!(!holds(&there, &item(Kind::Version, 6), &copied(0, "\"e\"")));
    assert!(!holds(&there, &item(Kind::Version, 5), &copied(2, "\"e\"")));
    assert!(!holds(&there, &item(Kind::Version, 0), &copied(1, "")), "a marker is no copy of data");
}
