use std::time::Duration;

use crate::model::{KeepReason, Kind, Marker};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn at(text: &str) -> Timestamp {
    Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn id(text: &str) -> VersionId {
    VersionId::new(text).unwrap()
}

fn version(key: &str, name: &str, created: Timestamp) -> Version {
    Version {
        key: Key::from(key),
        id: id(name),
        kind: Kind::Version,
        is_latest: false,
        last_modified: created,
        size: 10,
        etag: Some("\"e\"".into()),
        storage_class: None,
    }
}

fn marker(key: &str, name: &str, created: Timestamp) -> Version {
    Version { kind: Kind::DeleteMarker, size: 0, etag: None, ..version(key, name, created) }
}

fn latest(version: Version) -> Version {
    Version { is_latest: true, ..version }
}

fn began() -> Timestamp {
    at("2024-06-01T12:00:00.250Z")
}

fn days_ago(days: u32) -> Timestamp {
    began().minus(DAY * days)
}

fn rules_of(rules: Vec<(Conditions, Verdict)>) -> Rules {
    let rules = rules
        .into_iter()
        .map(|(conditions, verdict)| Rule { name: String::new(), conditions, verdict })
        .collect();
    let policy = Policy {
        began: began(),
        allow_promotion: false,
        null_versions: NullVersions::Refuse,
        suspended: false,
    };
    Rules { rules, policy, histories: Vec::new(), lock_object: None }
}

fn delete(conditions: Conditions) -> Rules {
    rules_of(vec![(conditions, Verdict::Act(ActionId(0)))])
}

fn state(state: State) -> Conditions {
    Conditions { state: vec![state], ..Conditions::default() }
}

/// The decisions in the order in which they come out, as (version id, word).
fn decide(rules: &Rules, entries: Vec<Version>) -> Vec<(String, &'static str)> {
    let (mut fold, mut out) = (KeyFold::default(), Vec::new());
    for entry in entries {
        fold.push(rules, Sequenced::known(entry), &mut out).unwrap();
    }
    fold.finish(rules, &mut out);
    out.iter().map(|one| (one.version.id.to_string(), word(one.decision))).collect()
}

fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Keep(reason) => reason.as_str(),
        Decision::Act { elders_selected: false, .. } => "act",
        Decision::Act { elders_selected: true, .. } => "act-after-elders",
        Decision::Copy { .. } => "copy",
    }
}

fn words(expected: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    expected.iter().map(|(id, word)| ((*id).to_owned(), *word)).collect()
}

fn pushed(entries: Vec<Version>) -> Result<(), OrderFault> {
    let rules = delete(state(State::Any));
    let (mut fold, mut out) = (KeyFold::default(), Vec::new());
    entries.into_iter().try_for_each(|entry| fold.push(&rules, Sequenced::known(entry), &mut out))
}

#[test]
fn the_latest_comes_out_when_its_key_ends() {
    let rules = delete(state(State::Any));
    let (mut fold, mut out) = (KeyFold::default(), Vec::new());
    fold.push(&rules, Sequenced::known(latest(version("a", "a1", days_ago(1)))), &mut out).unwrap();
    assert_eq!(out, []);
    fold.push(&rules, Sequenced::known(version("a", "a0", days_ago(2))), &mut out).unwrap();
    assert_eq!(out.len(), 1);
    fold.push(&rules, Sequenced::known(latest(version("b", "b0", days_ago(2)))), &mut out).unwrap();
    assert_eq!(word(out[1].decision), "act-after-elders");
    fold.finish(&rules, &mut out);
    assert_eq!((out.len(), word(out[2].decision), fold.state()), (3, "act", None));
}

#[test]
fn lock_objects_stay_whosever_they_are() {
    let rules = Rules { lock_object: Some(Key::from("own.lock")), ..delete(state(State::Any)) };
    for (key, decided) in [
        ("own.lock", "lock-object"),
        ("s3sweep/locks/another.json", "lock-object"),
        ("s3sweep/locks.json", "act"),
        ("own.locks", "act"),
    ] {
        let entries = vec![latest(version(key, "new", days_ago(1))), version(key, "old", days_ago(2))];
        let words: Vec<_> = decide(&rules, entries).into_iter().map(|(_, word)| word).collect();
        assert_eq!(words[0], decided, "{key}");
        assert!(words[1].starts_with(decided), "{key}: {words:?}");
    }
}

#[test]
fn no_version_comes_to_light_that_was_not_current() {
    let current_only = delete(state(State::Current));
    let key = || vec![latest(version("k", "new", days_ago(1))), version("k", "old", days_ago(2))];
    assert_eq!(decide(&current_only, key()), words(&[("old", "no-rule"), ("new", "promotion")]));

    let mut undelete = delete(state(State::LatestMarker));
    let hidden = || vec![latest(marker("k", "m", days_ago(1))), version("k", "v", days_ago(2))];
    assert_eq!(decide(&undelete, hidden()), words(&[("v", "no-rule"), ("m", "promotion")]));
    undelete.policy.allow_promotion = true;
    assert_eq!(decide(&undelete, hidden()), words(&[("v", "no-rule"), ("m", "act")]));
}

#[test]
fn a_surviving_marker_hides_what_is_under_it() {
    let current_only = delete(state(State::Current));
    let key = vec![
        latest(version("k", "new", days_ago(1))),
        marker("k", "m", days_ago(2)),
        version("k", "old", days_ago(3)),
    ];
    assert_eq!(decide(&current_only, key), words(&[("m", "no-rule"), ("old", "no-rule"), ("new", "act")]));
}

#[test]
fn a_marker_is_orphaned_by_the_jobs_own_decisions() {
    let rules = rules_of(vec![
        (Conditions { older_than: Some(5 * DAY), ..state(State::Noncurrent) }, Verdict::Act(ActionId(0))),
        (state(State::NoncurrentMarker), Verdict::Act(ActionId(0))),
        (state(State::OrphanMarker), Verdict::Act(ActionId(1))),
    ]);
    let key = |age| {
        vec![
            latest(marker("k", "top", days_ago(1))),
            version("k", "v", days_ago(age)),
            marker("k", "m", days_ago(9)),
        ]
    };
    let orphaned = [("v", "act"), ("m", "act"), ("top", "act-after-elders")];
    assert_eq!(decide(&rules, key(6)), words(&orphaned));
    assert_eq!(decide(&rules, key(4)), words(&[("v", "no-rule"), ("m", "act"), ("top", "no-rule")]));
    let current = vec![latest(version("k", "v", days_ago(9)))];
    assert_eq!(decide(&rules, current), words(&[("v", "no-rule")]));
}

#[test]
fn noncurrent_age_runs_from_the_successor_marker_or_version() {
    let rules = delete(Conditions { noncurrent_for: Some(30 * DAY), ..Conditions::default() });
    let key = vec![
        latest(version("k", "top", days_ago(29))),
        version("k", "a", days_ago(30)),
        marker("k", "m", days_ago(31)),
        version("k", "b", days_ago(400)),
    ];
    let expected = [("a", "no-rule"), ("m", "act"), ("b", "act"), ("top", "no-rule")];
    assert_eq!(decide(&rules, key), words(&expected));
}

#[test]
fn an_exact_age_holds_and_a_millisecond_less_does_not() {
    let created = began().minus(30 * DAY);
    let later = created.plus(Duration::from_millis(1));
    let older = delete(Conditions { older_than: Some(30 * DAY), ..Conditions::default() });
    let newer = delete(Conditions { newer_than: Some(30 * DAY), ..Conditions::default() });
    for (rules, exact, less) in [(older, "act", "no-rule"), (newer, "no-rule", "act")] {
        assert_eq!(decide(&rules, vec![latest(version("k", "v", created))]), words(&[("v", exact)]));
        assert_eq!(decide(&rules, vec![latest(version("k", "v", later))]), words(&[("v", less)]));
    }
}

#[test]
fn lifecycle_days_end_at_the_next_midnight() {
    let conditions =
        Conditions { noncurrent_for: Some(3 * DAY), lifecycle_days: true, ..state(State::Noncurrent) };
    let selected_at = |successor: &str, began: &str| {
        let mut rules = delete(conditions.clone());
        rules.policy.began = at(began);
        let key =
            vec![latest(version("k", "top", at(successor))), version("k", "old", at("2013-01-01T00:00:00Z"))];
        decide(&rules, key)[0].1 == "act"
    };
    // AWS's own example: 15 January 10:30 and 3 days give 19 January 00:00.
    assert!(!selected_at("2014-01-15T10:30:00Z", "2014-01-18T23:59:59.999Z"));
    assert!(selected_at("2014-01-15T10:30:00Z", "2014-01-19T00:00:00Z"));
    // A sum that is midnight goes on to the next one.
    assert!(!selected_at("2014-01-15T00:00:00Z", "2014-01-18T23:59:59.999Z"));
    assert!(selected_at("2014-01-15T00:00:00Z", "2014-01-19T00:00:00Z"));
    assert!(!selected_at("2014-01-16T00:00:00Z", "2014-01-19T12:00:00Z"));
}

#[test]
fn beyond_newest_counts_noncurrent_versions_and_no_markers() {
    let rules = delete(Conditions { beyond_newest: Some(2), ..Conditions::default() });
    let key = vec![
        latest(version("k", "top", days_ago(1))),
        version("k", "n1", days_ago(2)),
        marker("k", "m1", days_ago(3)),
        version("k", "n2", days_ago(4)),
        marker("k", "m2", days_ago(5)),
        version("k", "n3", days_ago(6)),
    ];
    let expected = [
        ("n1", "no-rule"),
        ("m1", "no-rule"),
        ("n2", "no-rule"),
        ("m2", "act"),
        ("n3", "act"),
        ("top", "no-rule"),
    ];
    assert_eq!(decide(&rules, key), words(&expected));
}

#[test]
fn nothing_of_the_second_in_which_the_run_began_is_touched() {
    let rules = delete(state(State::Any));
    let second = at("2024-06-01T12:00:00Z");
    let before = second.minus(Duration::from_millis(1));
    let key = vec![latest(version("k", "new", second)), version("k", "old", before)];
    assert_eq!(decide(&rules, key), words(&[("old", "act"), ("new", "cutoff")]));
    let elder = vec![
        latest(version("k", "newer", second.plus(DAY))),
        version("k", "new", second),
        version("k", "old", before),
    ];
    assert_eq!(decide(&rules, elder), words(&[("new", "cutoff"), ("old", "act"), ("newer", "cutoff")]));
}

#[test]
fn null_versions_of_a_suspended_bucket_are_refused_unless_allowed() {
    let mut rules = delete(state(State::Any));
    let key = || vec![latest(version("k", "null", days_ago(1))), version("k", "v", days_ago(2))];
    assert_eq!(decide(&rules, key())[1].1, "act-after-elders");
    rules.policy.suspended = true;
    assert_eq!(decide(&rules, key()), words(&[("v", "act"), ("null", "null-version")]));
    rules.policy.null_versions = NullVersions::Allow;
    assert_eq!(decide(&rules, key())[1].1, "act-after-elders");
}

#[test]
fn the_first_rule_decides_and_keep_is_a_decision() {
    let rules = rules_of(vec![
        (Conditions { prefix: vec![Key::from("legal/")], ..Conditions::default() }, Verdict::Keep),
        (state(State::Any), Verdict::Act(ActionId(3))),
        (state(State::Any), Verdict::Act(ActionId(4))),
    ]);
    let (mut fold, mut out) = (KeyFold::default(), Vec::new());
    for key in ["legal/x", "other"] {
        fold.push(&rules, Sequenced::known(latest(version(key, "v", days_ago(1)))), &mut out).unwrap();
    }
    fold.finish(&rules, &mut out);
    assert_eq!(out[0].decision, Decision::Keep(KeepReason::Rule(RuleId(0))));
    let expected = Decision::Act { rule: RuleId(1), action: ActionId(3), elders_selected: false };
    assert_eq!(out[1].decision, expected);
}

#[test]
fn markers_fulfil_no_condition_on_data() {
    for conditions in [
        Conditions { min_size_bytes: Some(0), ..Conditions::default() },
        Conditions { max_size_bytes: Some(9), ..Conditions::default() },
        Conditions { storage_class: vec!["STANDARD".into()], ..Conditions::default() },
        Conditions { etag: vec!["".into()], ..Conditions::default() },
    ] {
        assert_eq!(decide(&delete(conditions), vec![latest(marker("k", "m", days_ago(1)))])[0].1, "no-rule");
    }
}

#[test]
fn a_version_without_a_class_is_standard_and_etags_need_no_quotes() {
    let of = |conditions| decide(&delete(conditions), vec![latest(version("k", "v", days_ago(1)))])[0].1;
    assert_eq!(of(Conditions { storage_class: vec!["STANDARD".into()], ..Conditions::default() }), "act");
    assert_eq!(of(Conditions { storage_class: vec!["GLACIER".into()], ..Conditions::default() }), "no-rule");
    assert_eq!(of(Conditions { etag: vec!["e".into()], ..Conditions::default() }), "act");
    assert_eq!(of(Conditions { etag: vec!["\"e\"".into()], ..Conditions::default() }), "act");
}

#[test]
fn a_key_whose_latest_was_not_listed_has_elders_only() {
    let rules = rules_of(vec![(
        Conditions { noncurrent_for: Some(Duration::ZERO), ..state(State::Noncurrent) },
        Verdict::Act(ActionId(0)),
    )]);
    let key = vec![version("k", "a", days_ago(8)), version("k", "b", days_ago(9))];
    assert_eq!(decide(&rules, key), words(&[("a", "no-rule"), ("b", "act")]));
}

#[test]
fn entries_out_of_order_are_faults() {
    let old_first = vec![version("k", "old", days_ago(2)), latest(version("k", "new", days_ago(1)))];
    assert_eq!(
        pushed(old_first).unwrap_err().to_string(),
        "the listing is not newest first: new, the latest entry of key k, came after others"
    );
    let twice = vec![latest(version("k", "b", days_ago(1))), latest(version("k", "a", days_ago(2)))];
    assert!(matches!(pushed(twice), Err(OrderFault::TwoLatest { .. })));
    let back = vec![latest(version("b", "b", days_ago(1))), latest(version("a", "a", days_ago(2)))];
    assert!(matches!(pushed(back), Err(OrderFault::KeyWentBack { .. })));
    let to_a_prefix = vec![latest(version("ab", "b", days_ago(1))), version("a", "a", days_ago(2))];
    assert!(matches!(pushed(to_a_prefix), Err(OrderFault::KeyWentBack { .. })));
}

#[test]
fn a_kind_that_changes_twice_shows_that_pages_interleave() {
    let mut order = PageOrder::default();
    let page = || vec![latest(marker("a", "m", days_ago(1))), version("a", "v", days_ago(1))];
    assert!(
        sequence(page(), &mut order, KeyOrder::Bytes)
            .unwrap()
            .iter()
            .all(|entry| entry.order == Order::Known)
    );
    assert_eq!(order, PageOrder::Undetermined, "a server that writes markers first shows the same");
    let page = [page(), vec![marker("a", "n", days_ago(1))]].concat();
    assert!(
        sequence(page, &mut order, KeyOrder::Bytes).unwrap().iter().all(|entry| entry.order == Order::Known)
    );
    assert_eq!(order, PageOrder::Interleaved);
    // From then on keys that go back are a fault, not a group.
    let page = vec![latest(version("b", "v", days_ago(1))), latest(marker("a", "m", days_ago(1)))];
    assert!(matches!(sequence(page, &mut order, KeyOrder::Bytes), Err(OrderFault::KeyWentBack { .. })));
}

#[test]
fn keys_that_go_back_between_the_kinds_show_that_pages_are_grouped() {
    let mut order = PageOrder::default();
    let page = || vec![latest(version("b", "v", days_ago(1))), latest(marker("a", "m", days_ago(1)))];
    let ids: Vec<String> = sequence(page(), &mut order, KeyOrder::Bytes)
        .unwrap()
        .iter()
        .map(|entry| entry.version.id.to_string())
        .collect();
    assert_eq!((ids, order), (vec!["m".to_owned(), "v".to_owned()], PageOrder::Grouped));
    let mixed = vec![
        latest(marker("a", "m", days_ago(1))),
        latest(version("b", "v", days_ago(1))),
        latest(marker("c", "m", days_ago(1))),
    ];
    assert!(matches!(sequence(mixed, &mut order, KeyOrder::Bytes), Err(OrderFault::PageOrderChanged { .. })));
    for within in [
        vec![version("b", "x", days_ago(1)), version("a", "y", days_ago(1)), marker("a", "m", days_ago(1))],
        vec![version("a", "y", days_ago(1)), marker("b", "m", days_ago(1)), marker("a", "n", days_ago(1))],
    ] {
        assert!(matches!(sequence(within, &mut order, KeyOrder::Bytes), Err(OrderFault::KeyWentBack { .. })));
    }
}

#[test]
fn pages_may_be_grouped_with_the_markers_first() {
    let mut order = PageOrder::default();
    let page = vec![
        marker("a", "am", days_ago(2)),
        latest(marker("b", "bm", days_ago(1))),
        latest(version("a", "a2", days_ago(1))),
        version("a", "a1", days_ago(3)),
        version("b", "b1", days_ago(2)),
    ];
    let merged = sequence(page, &mut order, KeyOrder::Bytes).unwrap();
    let ids: Vec<&str> = merged.iter().map(|entry| entry.version.id.as_str()).collect();
    assert_eq!((ids, order), (vec!["a2", "am", "a1", "bm", "b1"], PageOrder::Grouped));
    assert!(merged.iter().all(|entry| entry.order == Order::Known));
}

#[test]
fn a_latest_marker_behind_versions_shows_that_pages_are_grouped() {
    let mut order = PageOrder::default();
    let page = vec![version("a", "v", days_ago(2)), latest(marker("a", "m", days_ago(1)))];
    let first = sequence(page, &mut order, KeyOrder::Bytes).unwrap().remove(0);
    assert_eq!((first.version.id, first.order, order), (id("m"), Order::Known, PageOrder::Grouped));
}

#[test]
fn before_a_server_has_shown_its_order_both_orders_must_agree() {
    let rules = delete(Conditions { noncurrent_for: Some(5 * DAY), ..state(State::Noncurrent) });
    // Either the version follows the latest entry (2 days ago), or the marker (6 days ago).
    let page = || {
        vec![
            latest(version("k", "top", days_ago(2))),
            version("k", "v", days_ago(7)),
            marker("k", "m", days_ago(6)),
        ]
    };
    let ask = |mut order: PageOrder| {
        let (mut fold, mut out) = (KeyFold::default(), Vec::new());
        for entry in sequence(page(), &mut order, KeyOrder::Bytes).unwrap() {
            fold.push(&rules, entry, &mut out).unwrap();
        }
        out.into_iter().find(|one| one.version.id == id("v")).map(|one| word(one.decision))
    };
    assert_eq!(ask(PageOrder::Undetermined), Some("ambiguous"));
    assert_eq!(ask(PageOrder::Grouped), Some("act"));
    assert_eq!(ask(PageOrder::Interleaved), Some("no-rule"));
}

#[test]
fn times_that_rise_leave_a_grouped_page_open_and_the_next_one_too() {
    let rules = delete(Conditions { noncurrent_for: Some(5 * DAY), ..state(State::Noncurrent) });
    let pages = [
        vec![
            latest(version("k", "top", days_ago(1))),
            version("k", "early", days_ago(9)),
            version("k", "late", days_ago(6)),
            marker("k", "m", days_ago(7)),
        ],
        vec![version("k", "next", days_ago(20)), version("k", "last", days_ago(30))],
    ];
    let (mut fold, mut out) = (KeyFold::default(), Vec::new());
    for page in pages {
        for entry in sequence(page, &mut PageOrder::Grouped.clone(), KeyOrder::Bytes).unwrap() {
            fold.push(&rules, entry, &mut out).unwrap();
        }
        fold = KeyFold::new(fold.state().cloned());
    }
    fold.finish(&rules, &mut out);
    let told: Vec<(String, &str)> =
        out.iter().map(|one| (one.version.id.to_string(), word(one.decision))).collect();
    let expected = [
        ("early", "ambiguous"),
        ("late", "ambiguous"),
        ("m", "no-rule"),
        ("next", "ambiguous"),
        ("last", "act"),
        ("top", "no-rule"),
    ];
    assert_eq!(told, words(&expected));
}

#[test]
fn what_was_told_before_is_dropped() {
    let page = || -> Vec<Sequenced> {
        ["v5", "v4", "v3", "v2"]
            .iter()
            .map(|name| version("k", name, days_ago(1)))
            .chain([version("l", "v4", days_ago(1))])
            .map(Sequenced::known)
            .collect()
    };
    let left = |key: &str, version_id: Option<&str>, recent: &[&str]| -> Vec<String> {
        let from = Marker { key: Key::from(key), version_id: version_id.map(id) };
        let recent: Vec<VersionId> = recent.iter().map(|name| id(name)).collect();
        after_marker(page(), &from, &recent, KeyOrder::Bytes)
            .iter()
            .map(|entry| entry.version.id.to_string())
            .collect()
    };
    assert_eq!(left("k", None, &[]), ["v4"]);
    assert_eq!(left("k", Some("v3"), &["v4", "v3"]), ["v2", "v4"]);
    // The marker's version is gone and the server starts its key again, a newcomer first.
    assert_eq!(left("k", Some("v1"), &["v4", "v3", "v1"]), ["v2", "v4"]);
    assert_eq!(left("a", Some("v9"), &["v5"]).len(), 5);
    assert_eq!(left("k/", Some("v4"), &["v4"]), ["v4"]);
}

#[test]
fn a_range_excludes_its_start_and_includes_its_end() {
    let place = |key: &str| {
        within(&Key::from(key), &Key::from("p/"), Some(&Key::from("p/b")), Some(&Key::from("p/d")))
    };
    assert_eq!([place("o"), place("p/a"), place("p/b")], [Place::Before; 3]);
    assert_eq!([place("p/b\0"), place("p/c"), place("p/d")], [Place::Inside; 3]);
    assert_eq!([place("p/d\0"), place("q")], [Place::Beyond; 2]);
    let open = |key: &str| within(&Key::from(key), &Key::from("p/"), None, None);
    assert_eq!([open("p"), open("p/"), open("p0")], [Place::Before, Place::Inside, Place::Beyond]);
}

#[test]
fn what_is_copied_stays_and_counts_as_what_lies_beneath() {
    let copy = (state(State::Noncurrent), Verdict::Copy(ActionId(1)));
    let delete_current = (state(State::Current), Verdict::Act(ActionId(0)));
    let rules = rules_of(vec![copy, delete_current]);
    let key = || vec![latest(version("k", "new", days_ago(1))), version("k", "old", days_ago(2))];
    assert_eq!(decide(&rules, key()), words(&[("old", "copy"), ("new", "promotion")]));
    let orphans = rules_of(vec![
        (state(State::Noncurrent), Verdict::Copy(ActionId(1))),
        (state(State::OrphanMarker), Verdict::Act(ActionId(0))),
    ]);
    let hidden = vec![latest(marker("k", "m", days_ago(1))), version("k", "v", days_ago(2))];
    assert_eq!(decide(&orphans, hidden), words(&[("v", "copy"), ("m", "no-rule")]));
}

#[test]
fn a_copied_latest_brings_nothing_to_light() {
    let rules = rules_of(vec![(state(State::Current), Verdict::Copy(ActionId(0)))]);
    let key = vec![latest(version("k", "new", days_ago(1))), version("k", "old", days_ago(2))];
    assert_eq!(decide(&rules, key), words(&[("old", "no-rule"), ("new", "copy")]));
}

#[test]
fn texts_are_asked_for_where_something_is_copied() {
    let mut rules = rules_of(vec![(state(State::Current), Verdict::Copy(ActionId(1)))]);
    rules.histories = vec![None, None];
    assert!(!rules.need_texts());
    rules.histories[1] = Some(crate::model::History::Selected);
    assert!(rules.need_texts());
    assert_eq!(rules.history(ActionId(1)), Some(crate::model::History::Selected));
    assert_eq!((rules.history(ActionId(0)), rules.history(ActionId(9))), (None, None));
}
