//! Pages cut anywhere lead to the same plan, and the plan keeps the latest entry last.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::checkpoint::{NewBatch, NewRange};
use crate::model::{Kind, Phase, VersionId};
use crate::rules::{Conditions, KeyOrder, NullVersions, Policy, Rule, State, Verdict};

mod chains;

const DAY_MS: i64 = 86_400_000;

fn rules(states: Vec<State>, beyond_newest: Option<u64>, allow_promotion: bool) -> Rules {
    let conditions = Conditions { state: states, beyond_newest, ..Conditions::default() };
    let policy = Policy {
        began: Timestamp::from_millis(1000 * DAY_MS),
        allow_promotion,
        null_versions: NullVersions::Refuse,
        suspended: false,
    };
    Rules {
        rules: vec![Rule { name: "r".into(), conditions, verdict: Verdict::Act(ActionId(0)) }],
        policy,
        histories: Vec::new(),
        lock_object: None,
    }
}

fn range(lo: Option<&str>, hi: Option<&str>) -> RangeRow {
    RangeRow::new(1, NewRange { prefix: Key::default(), lo: lo.map(Key::from), hi: hi.map(Key::from) })
}

/// A bucket in listing order: for each key the kinds of its entries, newest first.
fn bucket(keys: &[Vec<bool>]) -> Vec<Version> {
    let mut versions = Vec::new();
    for (number, entries) in keys.iter().enumerate() {
        for (age, is_marker) in entries.iter().enumerate() {
            versions.push(Version {
                key: Key::from(format!("key-{number:03}")),
                id: VersionId::new(format!("{number}.{age}")).unwrap(),
                kind: if *is_marker { Kind::DeleteMarker } else { Kind::Version },
                is_latest: age == 0,
                last_modified: Timestamp::from_millis((900 - age as i64) * DAY_MS),
                size: if *is_marker { 0 } else { 10 },
                etag: None,
                storage_class: None,
            });
        }
    }
    versions
}

const INTERLEAVED: Orders = Orders { pages: PageOrder::Interleaved, keys: KeyOrders::BYTES };

const OPTIONS: PageOptions = PageOptions {
    at: Timestamp::from_millis(0),
    audit_kept: true,
    samples_max: 3,
    limit_left: None,
    ends_at_hi: true,
};

/// What a whole listing commits.
#[derive(Default)]
struct Listed {
    batches: Vec<NewBatch>,
    kept: BTreeSet<String>,
    tallies: BTreeMap<Counter, Amount>,
}

impl Listed {
    fn planned(&self) -> BTreeSet<String> {
        self.batches.iter().flat_map(|batch| &batch.items).map(|item| item.version_id.to_string()).collect()
    }
}

/// Lists `versions` in pages of the sizes given, in turn; `checked` sees each page's marker.
fn list(
    versions: &[Version],
    sizes: &[usize],
    rules: &Rules,
    mut state: RangeRow,
    mut checked: impl FnMut(&PageCommit, Option<&Marker>),
) -> Listed {
    let (mut listed, mut order) = (Listed::default(), INTERLEAVED);
    let (mut at, mut sizes) = (0, sizes.iter().cycle());
    while !state.done {
        let end = (at + sizes.next().unwrap()).min(versions.len());
        let next = (end < versions.len()).then(|| Marker {
            key: versions[end - 1].key.clone(),
            version_id: Some(versions[end - 1].id.clone()),
        });
        let page = Page { versions: versions[at..end].to_vec(), next: next.clone() };
        let commit = plan_page(state, page, rules, &mut order, OPTIONS).unwrap();
        checked(&commit, next.as_ref());
        for (counter, amount) in &commit.tallies {
            *listed.tallies.entry(*counter).or_default() += *amount;
        }
        listed.kept.extend(commit.records.iter().map(|record| record.version_id.to_string()));
        listed.batches.extend(commit.batches.iter().cloned());
        state = commit.range;
        at = end;
        if at < versions.len() && versions[at].key != versions[at - 1].key {
            // A page may hold nothing and still move the marker, between two keys too.
            let between = Key::from(format!("{}~", versions[at - 1].key));
            let next = Some(Marker { key: between, version_id: VersionId::new("gone") });
            let empty = Page { versions: Vec::new(), next };
            let commit = plan_page(state, empty, rules, &mut order, OPTIONS).unwrap();
            listed.batches.extend(commit.batches.iter().cloned());
            state = commit.range;
        }
    }
    listed
}

/// The item named by the marker must stay until the next page is there.
fn marker_is_not_released(commit: &PageCommit, marker: Option<&Marker>) {
    let Some(marker) = marker else { return };
    let released = commit.batches.iter().flat_map(|batch| &batch.items);
    let waiting = commit.range.tails.iter().flat_map(|tail| tail.items.iter());
    for item in released.chain(waiting) {
        let is_marker = item.key == marker.key && Some(&item.version_id) == marker.version_id.as_ref();
        assert!(!is_marker || commit.range.done, "{item:?} was released while it is the marker");
    }
}

/// A latest item comes after every other selected entry of its key.
fn latest_comes_last(batches: &[NewBatch]) {
    for latest in batches.iter().flat_map(|batch| batch.items.iter().map(move |item| (batch, item))) {
        let (batch, item) = latest;
        if !item.is_latest {
            assert_eq!(batch.phase, Phase::Elders);
            continue;
        }
        for other in batches {
            for elder in other.items.iter().filter(|other| other.key == item.key && !other.is_latest) {
                assert_eq!(batch.phase, Phase::Latest, "{item:?} does not wait for {elder:?}");
                assert_eq!(other.phase, Phase::Elders);
                assert!(batch.after_seq.is_some_and(|after| other.seq <= after), "{item:?} waits too short");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_paging_leads_to_the_same_plan(
        keys in prop::collection::vec(prop::collection::vec(any::<bool>(), 1..7), 1..12),
        sizes in prop::collection::vec(1usize..9, 1..5),
        beyond in prop::option::of(0u64..3),
        promotion in any::<bool>(),
        states in prop::sample::select(vec![vec![], vec![State::Noncurrent], vec![State::DeleteMarker],
            vec![State::OrphanMarker, State::Noncurrent], vec![State::Current, State::NoncurrentMarker]]),
    ) {
        let versions = bucket(&keys);
        let rules = rules(states, beyond, promotion);
        let whole = list(&versions, &[usize::MAX / 2], &rules, range(None, None), |_, _| {});
        let paged = list(&versions, &sizes, &rules, range(None, None), marker_is_not_released);
        prop_assert_eq!(whole.planned(), paged.planned());
        prop_assert_eq!(&whole.kept, &paged.kept);
        prop_assert_eq!(&whole.tallies, &paged.tallies);
        prop_assert_eq!(whole.kept.len() + whole.planned().len(), versions.len());
        latest_comes_last(&whole.batches);
        latest_comes_last(&paged.batches);
    }
}

#[test]
fn bounds_are_exclusive_below_and_inclusive_above() {
    let versions = bucket(&vec![vec![false]; 9]);
    let rules = rules(vec![], None, true);
    let bounds = || range(Some("key-002"), Some("key-005"));
    // Some servers begin with the marker's key.
    for first in [2, 3] {
        let listed = list(&versions[first..], &[2], &rules, bounds(), |_, _| {});
        let expected: BTreeSet<String> = ["3.0", "4.0", "5.0"].iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(listed.planned(), expected);
    }
    // None begins before it.
    let page = Page { versions: versions[1..].to_vec(), next: None };
    let fault = plan_page(bounds(), page, &rules, &mut INTERLEAVED.clone(), OPTIONS).unwrap_err();
    assert!(matches!(fault, PageFault::Order(OrderFault::KeyWentBack { .. })), "{fault}");
}

#[test]
fn a_bound_that_is_no_end_only_says_which_keys_belong() {
    let mut versions = bucket(&vec![vec![false]; 4]);
    let (low, astral) = (Key::from("\u{ff5e}"), Key::from("\u{1f600}"));
    (versions[1].key, versions[2].key, versions[3].key) =
        (astral.clone(), low.clone(), Key::from("\u{ff5f}"));
    let rules = rules(vec![], None, true);
    let mut orders = Orders { pages: PageOrder::Interleaved, keys: KeyOrders::EITHER };
    let options = PageOptions { ends_at_hi: false, ..OPTIONS };
    let next = Some(Marker { key: versions[3].key.clone(), version_id: Some(versions[3].id.clone()) });
    let page = Page { versions, next };
    let commit = plan_page(range(None, Some("\u{ff5e}")), page, &rules, &mut orders, options).unwrap();
    assert!(!commit.range.done, "a key behind the bound came, and then one before it");
    assert_eq!((commit.range.listed, orders.keys.in_force()), (2, KeyOrder::Utf16));
    assert_eq!(start_of(&range(Some("\u{ff5e}"), None)), None, "a marker that would leave some out");
    assert!(start_of(&range(Some("\u{1f600}"), None)).is_some());
}

#[test]
fn a_limit_in_the_middle_of_a_key_keeps_its_latest() {
    let versions = bucket(&[vec![true, false, false, false]]);
    let options = PageOptions { limit_left: Some(3), ..OPTIONS };
    let page = Page { versions, next: None };
    let rules = rules(vec![], None, true);
    let commit = plan_page(range(None, None), page, &rules, &mut INTERLEAVED.clone(), options).unwrap();
    assert!(commit.range.done);
    assert_eq!((commit.range.listed, commit.range.kept, commit.range.planned), (3, 1, 2));
    assert_eq!(commit.records[0].fate, Fate::Kept(KeepReason::Unfinished));
    assert_eq!(commit.range.undecided, 0);
}

#[test]
fn a_key_that_the_marker_leaves_behind_is_not_judged_by_what_was_seen_of_it() {
    let versions = bucket(&[vec![true, false, false], vec![false]]);
    let marker = Marker { key: versions[0].key.clone(), version_id: None };
    let page = Page { versions: versions[..2].to_vec(), next: Some(marker) };
    let rules = rules(vec![State::OrphanMarker, State::Noncurrent], None, false);
    let mut order = INTERLEAVED;
    let commit = plan_page(range(None, None), page, &rules, &mut order, OPTIONS).unwrap();
    assert_eq!(commit.records[0].fate, Fate::Kept(KeepReason::Unfinished));
    let rest = Page { versions: versions[3..].to_vec(), next: None };
    let commit = plan_page(commit.range, rest, &rules, &mut order, OPTIONS).unwrap();
    assert_eq!((commit.range.listed, commit.range.kept, commit.range.planned), (3, 2, 1));
}

#[test]
fn an_elder_batch_that_fills_slowly_does_not_hold_back_the_latest_for_ever() {
    let mut state = range(None, None);
    let item = |n: usize, is_latest| Item {
        key: Key::from(format!("k{n}")),
        version_id: VersionId::new(format!("{n}.{is_latest}")).unwrap(),
        kind: Kind::Version,
        is_latest,
        size: 1,
        last_modified: Timestamp::from_millis(0),
        rule: RuleId(0),
        copy: None,
    };
    let mut slow = None;
    for page in 0..200 {
        let mut batcher = Batcher::new(&mut state);
        if page == 0 {
            batcher.elder(item(0, false), ActionId(1));
        }
        for n in 0..1000 {
            batcher.elder(item(1 + page * 1000 + n, false), ActionId(0));
            batcher.key_ended();
        }
        let (batches, _) = batcher.into_parts();
        slow = slow.or(batches.iter().find(|batch| batch.action == ActionId(1)).map(|_| page));
    }
    assert!(slow.is_some_and(|page| page < 100), "{slow:?}");
}

#[test]
fn a_repeated_key_is_not_planned_twice() {
    // The marker's version is gone and the server starts its key again.
    let versions = bucket(&[vec![false; 6]]);
    let rules = rules(vec![State::Noncurrent], None, false);
    let marker =
        |at: usize| Marker { key: versions[at].key.clone(), version_id: Some(versions[at].id.clone()) };
    let first = Page { versions: versions[..4].to_vec(), next: Some(marker(3)) };
    let mut order = INTERLEAVED;
    let commit = plan_page(range(None, None), first, &rules, &mut order, OPTIONS).unwrap();
    let again = Page { versions: versions.clone(), next: None };
    let commit = plan_page(commit.range, again, &rules, &mut order, OPTIONS).unwrap();
    assert_eq!((commit.range.listed, commit.range.kept, commit.range.planned), (6, 1, 5));
    assert!(commit.range.done);
}
