//! The fold against the oracle, over random buckets, rules and page cuts.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::model::{ActionId, KeepReason, Key, Kind, Marker, Timestamp, Version, VersionId};

use super::oracle::{Judged, judge};
use super::*;

/// 2027-01-15T08:00:00.500Z: not at midnight, not at a whole second.
const BEGAN: Timestamp = Timestamp::from_millis(1_800_000_000_500);
const DAY_MILLIS: i64 = 86_400_000;
const KEYS: [&str; 6] = ["a", "a/1", "a/b/2.gz", "b.gz", "b/", "ü"];

/// Ages in milliseconds that lie at and around every bound the rules draw.
fn age_millis() -> impl Strategy<Value = i64> {
    let bases = vec![0, 500, 1_000, DAY_MILLIS, 2 * DAY_MILLIS, 3 * DAY_MILLIS, DAY_MILLIS + 28_800_500];
    (select(bases), -1_i64..=1, 0_i64..3).prop_map(|(base, off, days)| base + off + days * DAY_MILLIS)
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![3 => Just(Kind::Version), 2 => Just(Kind::DeleteMarker)]
}

fn entry() -> impl Strategy<Value = Version> {
    let class = option::of(select(vec!["STANDARD", "GLACIER"]));
    (kind(), age_millis(), 0..4_u64, class, any::<bool>()).prop_map(|(kind, age, size, class, null)| {
        let is_version = kind == Kind::Version;
        Version {
            key: Key::default(),
            id: VersionId::new(if null { "null" } else { "x" }).unwrap(),
            kind,
            is_latest: false,
            last_modified: Timestamp::from_millis(BEGAN.as_millis() - age),
            size: if is_version { size } else { 0 },
            etag: is_version.then(|| format!("\"e{size}\"").into()),
            storage_class: class.filter(|_| is_version).map(crate::model::Text::from),
        }
    })
}

/// A bucket in the server's order; `sorted`: times never rise within a key, `distinct`: they fall,
/// otherwise whole keys are often created within a few seconds.
fn bucket(sorted: bool, distinct: bool) -> impl Strategy<Value = Vec<Version>> {
    let key = (vec(entry(), 1..8), prop::bool::weighted(0.9), option::weighted(0.4, vec(1..5_u64, 8)));
    vec(key, KEYS.len()).prop_map(move |keys| {
        let mut all = Vec::new();
        for (name, (mut entries, has_latest, days)) in KEYS.iter().zip(keys) {
            for (entry, days) in entries.iter_mut().zip(days.into_iter().flatten()) {
                entry.last_modified = BEGAN.minus(Duration::from_secs(days * 86_400));
            }
            if sorted {
                entries.sort_by_key(|entry| std::cmp::Reverse(entry.last_modified));
            }
            let mut null_seen = false;
            for (at, mut entry) in entries.into_iter().enumerate() {
                if !entry.id.is_null() || null_seen {
                    entry.id = VersionId::new(format!("v{at}")).unwrap();
                }
                null_seen |= entry.id.is_null();
                entry.key = Key::from(*name);
                entry.is_latest = at == 0 && has_latest;
                if distinct {
                    let back = Duration::from_millis(7 * at as u64);
                    entry.last_modified = entry.last_modified.minus(back);
                }
                all.push(entry);
            }
        }
        all
    })
}

fn duration() -> impl Strategy<Value = Duration> {
    (0..5_u64).prop_map(|days| Duration::from_secs(days * 86_400))
}

fn point() -> impl Strategy<Value = Timestamp> {
    age_millis().prop_map(|age| Timestamp::from_millis(BEGAN.as_millis() - age))
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let keys = (
        subsequence(vec!["a", "b", "a/", "ü"], 0..2),
        subsequence(vec![".gz", "1", ""], 0..2),
        subsequence(vec!["*.gz", "**/*.gz", "a*", "?"], 0..2),
        subsequence(vec!["[12]", "^a"], 0..2),
    );
    let times = (
        option::weighted(0.3, duration()),
        option::weighted(0.2, duration()),
        option::weighted(0.4, duration()),
        any::<bool>(),
        option::weighted(0.1, point()),
        option::weighted(0.1, point()),
    );
    let data = (
        option::weighted(0.1, 0..4_u64),
        option::weighted(0.1, 0..4_u64),
        subsequence(vec!["STANDARD", "GLACIER"], 0..2),
        subsequence(vec!["e1", "\"e2\""], 0..2),
    );
    let state = subsequence(State::ALL.to_vec(), 0..3);
    let place =
        (state, option::weighted(0.4, 1..4_u64), prop::bool::weighted(0.7), prop::bool::weighted(0.7));
    (keys, times, data, place).prop_map(|(keys, times, data, (state, beyond_newest, any_key, any_data))| {
        let texts = |texts: Vec<&str>| texts.into_iter().map(Box::from).collect();
        let mut conditions = Conditions {
            state,
            beyond_newest,
            older_than: times.0,
            newer_than: times.1,
            noncurrent_for: times.2,
            lifecycle_days: times.3,
            created_before: times.4,
            created_after: times.5,
            ..Conditions::default()
        };
        if !any_key {
            conditions.prefix = keys.0.into_iter().map(Key::from).collect();
            conditions.suffix = keys.1.into_iter().map(Key::from).collect();
            conditions.key_glob = keys.2.into_iter().map(|glob| KeyPattern::glob(glob).unwrap()).collect();
            conditions.key_regex =
                keys.3.into_iter().map(|regex| KeyPattern::regex(regex).unwrap()).collect();
        }
        if !any_data {
            conditions.min_size_bytes = data.0;
            conditions.max_size_bytes = data.1;
            conditions.storage_class = texts(data.2);
            conditions.etag = texts(data.3);
        }
        conditions
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let verdict = prop_oneof![
        1 => Just(Verdict::Keep),
        3 => (0..2_u16).prop_map(|action| Verdict::Act(ActionId(action))),
        1 => (2..4_u16).prop_map(|action| Verdict::Copy(ActionId(action))),
    ];
    let rule = (conditions(), verdict).prop_map(|(conditions, verdict)| Rule {
        name: String::new(),
        conditions,
        verdict,
    });
    let policy = (prop::bool::weighted(0.2), any::<bool>(), any::<bool>());
    (vec(rule, 0..5), policy).prop_map(|(rules, (allow_promotion, refuse, suspended))| {
        let null_versions = if refuse { NullVersions::Refuse } else { NullVersions::Allow };
        let policy = Policy { began: BEGAN, allow_promotion, null_versions, suspended };
        Rules { rules, policy, histories: Vec::new(), lock_object: None }
    })
}

/// Decides pages as the planner does: each page starts from what the checkpoint would hold.
fn decide(rules: &Rules, pages: Vec<Vec<Version>>, order: &mut PageOrder) -> Vec<Decided> {
    let (mut state, mut out) = (None, Vec::new());
    for page in pages {
        let mut fold = KeyFold::new(state);
        for entry in sequence(page, order, KeyOrder::Bytes).unwrap() {
            fold.push(rules, entry, &mut out).unwrap();
        }
        state = fold.state().cloned();
    }
    KeyFold::new(state).finish(rules, &mut out);
    out
}

fn as_map(decided: Vec<Decided>) -> Judged {
    let count = decided.len();
    let map: Judged =
        decided.into_iter().map(|d| ((d.version.key, d.version.id), without_hint(d.decision))).collect();
    assert_eq!(map.len(), count, "an entry was decided twice");
    map
}

/// The hint about elders is of use, and defined, for the latest entry only.
fn without_hint(decision: Decision) -> Decision {
    match decision {
        Decision::Act { rule, action, .. } => Decision::Act { rule, action, elders_selected: false },
        keep => keep,
    }
}

fn pages_of(bucket: &[Version], size: usize) -> Vec<Vec<Version>> {
    bucket.chunks(size).map(<[Version]>::to_vec).collect()
}

/// A page as a server writes it that groups: some write the markers first, others the versions.
fn grouped(page: &[Version], markers_lead: bool) -> Vec<Version> {
    let of = |kind| page.iter().filter(move |entry| entry.kind == kind).cloned();
    if markers_lead {
        of(Kind::DeleteMarker).chain(of(Kind::Version)).collect()
    } else {
        of(Kind::Version).chain(of(Kind::DeleteMarker)).collect()
    }
}

/// All orders that the versions and the markers of a key may have had, by what a page tells: each
/// kind in its order, the latest first, times never rising.
fn interleavings(versions: &[Version], markers: &[Version]) -> Vec<Vec<Version>> {
    let (Some(version), Some(marker)) = (versions.first(), markers.first()) else {
        return vec![[versions, markers].concat()];
    };
    let mut all = Vec::new();
    let mut begin = |with: &Version, versions: &[Version], markers: &[Version]| {
        for mut rest in interleavings(versions, markers) {
            rest.insert(0, with.clone());
            all.push(rest);
        }
    };
    if version.is_latest || (!marker.is_latest && version.last_modified >= marker.last_modified) {
        begin(version, &versions[1..], markers);
    }
    if marker.is_latest || (!version.is_latest && marker.last_modified >= version.last_modified) {
        begin(marker, versions, &markers[1..]);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn pages_of_every_size_are_decided_as_whole_keys_are(rules in rules(), bucket in bucket(false, false)) {
        let expected = judge(&rules, &bucket);
        for size in 1..=bucket.len() {
            let decided = decide(&rules, pages_of(&bucket, size), &mut PageOrder::Interleaved);
            for one in decided.iter().filter(|one| one.version.is_latest) {
                prop_assert_eq!(one.decision, expected[&(one.version.key.clone(), one.version.id.clone())]);
            }
            let expected: Judged = expected.iter().map(|(k, d)| (k.clone(), without_hint(*d))).collect();
            prop_assert_eq!(as_map(decided), expected, "page size {}", size);
        }
    }

    #[test]
    fn repeated_entries_are_dropped_and_nothing_else(
        rules in rules(), bucket in bucket(false, false), size in 1..9_usize, servers in vec(0..4_u8, 64),
    ) {
        let (mut fold, mut out) = (KeyFold::default(), Vec::new());
        let (mut at, mut pages) = (0, servers.into_iter().cycle());
        let mut last_page: Vec<Version> = Vec::new();
        while at < bucket.len() {
            let end = (at + size).min(bucket.len());
            let mut start = at;
            let mut from = None;
            if let Some(last) = last_page.last() {
                let key_start = bucket.iter().position(|entry| entry.key == last.key).unwrap();
                let next_is_new_key = bucket[at].key != last.key;
                // The server goes on after the marker, or with it, or starts its key again; or we
                // ask from the key alone, where it is done, and the server includes it.
                let server = pages.next().unwrap();
                start = match server { 0 => at, 1 => at - 1, _ => key_start };
                let by_key = server == 3 && next_is_new_key;
                from = Some(Marker { key: last.key.clone(), version_id: (!by_key).then(|| last.id.clone()) });
            }
            let mut page = sequence(bucket[start..end].to_vec(), &mut PageOrder::Interleaved.clone(), KeyOrder::Bytes).unwrap();
            if let Some(from) = &from {
                let told = last_page.iter().filter(|entry| entry.key == from.key);
                page = after_marker(page, from, &told.map(|entry| entry.id.clone()).collect::<Vec<_>>(), KeyOrder::Bytes);
            }
            prop_assert_eq!(page.len(), end - at);
            for entry in page {
                fold.push(&rules, entry, &mut out).unwrap();
            }
            last_page = bucket[at..end].to_vec();
            at = end;
        }
        fold.finish(&rules, &mut out);
        let expected: Judged = judge(&rules, &bucket).into_iter().map(|(k, d)| (k, without_hint(d))).collect();
        prop_assert_eq!(as_map(out), expected);
    }

    #[test]
    fn a_grouped_page_is_put_back_in_order(
        bucket in bucket(true, true), size in 1..20_usize, markers_lead in any::<bool>(),
    ) {
        for page in pages_of(&bucket, size) {
            let merged = sequence(grouped(&page, markers_lead), &mut PageOrder::Grouped.clone(), KeyOrder::Bytes).unwrap();
            let expected: Vec<Sequenced> = page.into_iter().map(Sequenced::known).collect();
            prop_assert_eq!(merged, expected);
        }
    }

    #[test]
    fn a_tie_keeps_an_entry_exactly_where_it_decides(
        rules in rules(), bucket in bucket(true, false), markers_lead in any::<bool>(),
    ) {
        let decided = as_map(decide(&rules, vec![grouped(&bucket, markers_lead)], &mut PageOrder::Grouped.clone()));
        for name in KEYS {
            let of_key = |kind: Kind| -> Vec<Version> {
                bucket.iter().filter(|e| e.key == Key::from(name) && e.kind == kind).cloned().collect()
            };
            let orders = interleavings(&of_key(Kind::Version), &of_key(Kind::DeleteMarker));
            let answers: Vec<Judged> = orders.iter().map(|order| judge(&rules, order)).collect();
            for entry in orders[0].iter().filter(|entry| !entry.is_latest) {
                let id = (entry.key.clone(), entry.id.clone());
                let same = answers.iter().all(|answer| answer[&id] == answers[0][&id]);
                let selecting = answers.iter().any(|answer| !matches!(answer[&id], Decision::Keep(_)));
                let is_ambiguous = matches!(decided[&id], Decision::Keep(KeepReason::Ambiguous(_)));
                if same {
                    prop_assert_eq!(decided[&id], answers[0][&id]);
                } else {
                    prop_assert!(matches!(decided[&id], Decision::Keep(_)), "{:?}", decided[&id]);
                    prop_assert!(selecting || !is_ambiguous, "{:?}", decided[&id]);
                }
            }
        }
    }

    #[test]
    fn whatever_a_server_groups_nothing_wrong_is_selected(
        rules in rules(), bucket in bucket(false, false), size in 1..20_usize, starts_known in any::<bool>(),
        groups in any::<bool>(), markers_lead in any::<bool>(),
    ) {
        // Times may rise within a key here, as they do where LastModified is the start of an upload.
        let pages = pages_of(&bucket, size);
        let shown: Vec<Vec<Version>> =
            if groups { pages.iter().map(|page| grouped(page, markers_lead)).collect() } else { pages };
        let mut order =
            if starts_known && !groups { PageOrder::Interleaved } else { PageOrder::Undetermined };
        let (mut fold, mut out) = (KeyFold::default(), Vec::new());
        let mut is_trusted = !groups;
        for page in shown {
            let Ok(page) = sequence(page, &mut order, KeyOrder::Bytes) else { return Ok(()) };
            // A server that groups and whose times rise cannot be put in order by anybody.
            is_trusted &= order != PageOrder::Grouped;
            for entry in page {
                if fold.push(&rules, entry, &mut out).is_err() { return Ok(()) }
            }
        }
        fold.finish(&rules, &mut out);
        let truth = judge(&rules, &bucket);
        let decided = as_map(out.clone());
        for one in out {
            if matches!(one.decision, Decision::Keep(_)) { continue }
            let id = (one.version.key.clone(), one.version.id.clone());
            if one.version.is_latest && matches!(one.decision, Decision::Copy { .. }) {
                continue; // It stays, so nothing comes to light.
            } else if one.version.is_latest {
                let survivor = bucket.iter().find(|e| {
                    e.key == one.version.key && !e.is_latest
                        && !matches!(decided[&(e.key.clone(), e.id.clone())], Decision::Act { .. })
                });
                if is_trusted && !rules.policy.allow_promotion {
                    prop_assert!(survivor.is_none_or(|survivor| survivor.kind == Kind::DeleteMarker));
                }
            } else if is_trusted {
                prop_assert_eq!(without_hint(one.decision), without_hint(truth[&id]));
            }
        }
    }
}
