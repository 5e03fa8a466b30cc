//! What travels leaves as a whole history, wherever the pages are cut.

use super::*;
use crate::engine::chains::CHAIN_ENTRIES_MAX;
use crate::model::History;
use crate::rules::Decided;

const DELETE: ActionId = ActionId(0);
const MOVE: ActionId = ActionId(1);
const COPY: ActionId = ActionId(2);
const MOVE_ALL: ActionId = ActionId(3);
const COPY_ALL: ActionId = ActionId(4);

const HISTORIES: [Option<History>; 5] =
    [None, Some(History::Selected), Some(History::Selected), Some(History::All), Some(History::All)];

fn verdict(action: ActionId) -> Verdict {
    if action == COPY || action == COPY_ALL { Verdict::Copy(action) } else { Verdict::Act(action) }
}

/// Rules of these states; the histories of actions that no rule names are left out.
fn rules_of(wanted: Vec<(Vec<State>, Option<u64>, Verdict)>, allow_promotion: bool) -> Rules {
    let mut rules = super::rules(vec![], None, allow_promotion);
    let is_named = |action: usize| {
        wanted.iter().any(|(.., verdict)| match verdict {
            Verdict::Keep => false,
            Verdict::Act(found) | Verdict::Copy(found) => usize::from(found.0) == action,
        })
    };
    rules.histories =
        HISTORIES.into_iter().enumerate().map(|(n, history)| history.filter(|_| is_named(n))).collect();
    rules.rules = wanted
        .into_iter()
        .map(|(state, beyond_newest, verdict)| Rule {
            name: "r".into(),
            conditions: Conditions { state, beyond_newest, ..Conditions::default() },
            verdict,
        })
        .collect();
    rules
}

/// As [`bucket`], with ETags.
fn tagged(keys: &[Vec<bool>]) -> Vec<Version> {
    let mut versions = bucket(keys);
    for version in versions.iter_mut().filter(|version| version.kind == Kind::Version) {
        version.etag = Some(format!("\"{}\"", version.id).into());
        version.storage_class = Some("GLACIER".into());
    }
    versions
}

/// What the rules say of each entry on its own, newest first: a key is folded at once.
fn folded(entries: &[Version], rules: &Rules) -> Vec<Decided> {
    let (mut fold, mut out) = (KeyFold::default(), Vec::new());
    for entry in entries {
        fold.push(rules, Sequenced::known(entry.clone()), &mut out).unwrap();
    }
    fold.finish(rules, &mut out);
    out.sort_by_key(|decided| entries.iter().position(|entry| entry.id == decided.version.id));
    out
}

/// A slow judge that sees a whole key: which rule selects each entry, or `None` where it stays.
fn judge(entries: &[Version], rules: &Rules) -> Vec<Option<RuleId>> {
    let base = folded(entries, rules);
    let acts = |rule: RuleId| match rules.rules[usize::from(rule.0)].verdict {
        Verdict::Act(action) | Verdict::Copy(action) => action,
        Verdict::Keep => unreachable!(),
    };
    let goes = |rule: RuleId| matches!(rules.rules[usize::from(rule.0)].verdict, Verdict::Act(_));
    // What each entry would get if the policy allowed everything, and whether that is by a rule's own say.
    let wish = |with: Option<RuleId>| -> Vec<Option<RuleId>> {
        let of = |decided: &Decided| match decided.decision {
            Decision::Act { rule, .. } | Decision::Copy { rule, .. } => Some(rule),
            Decision::Keep(KeepReason::Promotion(rule)) => Some(rule),
            Decision::Keep(KeepReason::NoRule) => with,
            Decision::Keep(_) => None,
        };
        let mut wish: Vec<_> = base.iter().map(of).collect();
        let survivor = (1..wish.len()).find(|at| !wish[*at].is_some_and(goes));
        let uncovers = survivor.is_some_and(|at| entries[at].kind == Kind::Version);
        if uncovers && !rules.policy.allow_promotion && wish[0].is_some_and(goes) {
            wish[0] = None;
        }
        wish
    };
    for (at, decided) in base.iter().enumerate() {
        let (rule, is_promoted) = match decided.decision {
            Decision::Act { rule, .. } | Decision::Copy { rule, .. } => (rule, false),
            Decision::Keep(KeepReason::Promotion(rule)) => (rule, true),
            Decision::Keep(_) => continue,
        };
        if rules.histories[usize::from(acts(rule).0)] != Some(History::All) {
            continue;
        }
        let answer = wish(Some(rule));
        if !is_promoted || answer[at].is_some() {
            return answer;
        }
    }
    wish(None)
}

/// Each planned item with its batch.
fn placed(batches: &[NewBatch]) -> impl Iterator<Item = (&NewBatch, &Item)> {
    batches.iter().flat_map(|batch| batch.items.iter().map(move |item| (batch, item)))
}

/// What was planned is what the judge says, and it is told how it is to be copied.
fn check_decisions(listed: &Listed, versions: &[Version], rules: &Rules) {
    let mut expected = BTreeMap::new();
    for entries in versions.chunk_by(|a, b| a.key == b.key) {
        for (entry, rule) in entries.iter().zip(judge(entries, rules)) {
            let Some(rule) = rule else { continue };
            let (Verdict::Act(action) | Verdict::Copy(action)) = rules.rules[usize::from(rule.0)].verdict
            else {
                panic!("a rule that keeps selects")
            };
            let etag = rules.history(action).map(|_| entry.etag.as_deref().unwrap_or_default().to_owned());
            expected.insert(entry.id.to_string(), (rule, action, etag));
        }
    }
    let found: BTreeMap<_, _> = placed(&listed.batches)
        .map(|(batch, item)| {
            let etag = item.copy.as_ref().map(|copy| copy.etag.to_string());
            (item.version_id.to_string(), (item.rule, batch.action, etag))
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(listed.kept.len() + found.len(), versions.len());
}

/// A chain stands in one batch, in one piece, newest first.
fn check_chains(batches: &[NewBatch], versions: &[Version]) {
    let mut seen = BTreeSet::new();
    for batch in batches.iter().filter(|batch| HISTORIES[usize::from(batch.action.0)].is_some()) {
        assert_eq!(batch.phase, Phase::Elders);
        for chain in batch.items.chunk_by(|a, b| a.key == b.key) {
            assert!(seen.insert((batch.action, chain[0].key.clone())), "{} is divided", chain[0].key);
            let place = |item: &Item| versions.iter().position(|entry| entry.id == item.version_id);
            assert!(chain.is_sorted_by_key(place), "{chain:?}");
        }
    }
}

/// Whatever removes the latest entry of a key waits for whatever removes the others.
fn check_latest_last(batches: &[NewBatch], rules: &Rules) {
    let removes = |rule: RuleId| matches!(rules.rules[usize::from(rule.0)].verdict, Verdict::Act(_));
    for (batch, latest) in placed(batches).filter(|(_, item)| item.is_latest && removes(item.rule)) {
        let elders = placed(batches).filter(|(_, item)| item.key == latest.key && !item.is_latest);
        for (other, elder) in elders.filter(|(_, elder)| removes(elder.rule)) {
            // Of a chain, the latest items become a batch of their own that waits for both numbers.
            let covered = match latest.copy {
                Some(_) => batch.after_seq.max(Some(batch.seq)),
                None if batch.phase == Phase::Latest => batch.after_seq,
                None => None,
            };
            assert!(covered >= Some(other.seq), "{latest:?} of {batch:?} does not wait for {elder:?}");
        }
    }
}

fn wanted() -> impl Strategy<Value = Vec<(Vec<State>, Option<u64>, Verdict)>> {
    let states = prop::sample::select(vec![
        vec![],
        vec![State::Current],
        vec![State::Noncurrent],
        vec![State::Current, State::DeleteMarker],
        vec![State::NoncurrentMarker],
        vec![State::LatestMarker],
        vec![State::OrphanMarker],
    ]);
    let verdict = prop::sample::select(vec![
        Verdict::Keep,
        verdict(DELETE),
        verdict(MOVE),
        verdict(COPY),
        verdict(MOVE_ALL),
        verdict(COPY_ALL),
    ]);
    prop::collection::vec((states, prop::option::weighted(0.3, 0u64..3), verdict), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn histories_leave_whole_wherever_pages_are_cut(
        keys in prop::collection::vec(prop::collection::vec(any::<bool>(), 1..7), 1..10),
        sizes in prop::collection::vec(1usize..9, 1..5),
        wanted in wanted(),
        promotion in any::<bool>(),
    ) {
        let versions = tagged(&keys);
        let rules = rules_of(wanted, promotion);
        let checked = |commit: &PageCommit, marker: Option<&Marker>| {
            marker_is_not_released(commit, marker);
            let range = &commit.range;
            assert_eq!(range.listed, range.kept + range.planned + range.undecided);
        };
        let whole = list(&versions, &[usize::MAX / 2], &rules, range(None, None), checked);
        let paged = list(&versions, &sizes, &rules, range(None, None), checked);
        prop_assert_eq!(&whole.kept, &paged.kept);
        prop_assert_eq!(&whole.tallies, &paged.tallies);
        for listed in [&whole, &paged] {
            check_decisions(listed, &versions, &rules);
            check_chains(&listed.batches, &versions);
            check_latest_last(&listed.batches, &rules);
        }
    }
}

/// The batches of one page that is all there is, and why the others are kept.
fn planned(versions: Vec<Version>, rules: &Rules) -> (Vec<NewBatch>, Vec<KeepReason>) {
    let page = Page { versions, next: None };
    let commit = plan_page(range(None, None), page, rules, &mut INTERLEAVED.clone(), OPTIONS).unwrap();
    assert!(commit.range.done);
    let reasons = commit.records.iter().map(|record| match record.fate {
        Fate::Kept(reason) => reason,
        Fate::Settled { .. } => panic!("a page settles nothing"),
    });
    (commit.batches, reasons.collect())
}

#[test]
fn a_batch_of_chains_closes_when_it_is_full_and_divides_none() {
    let rules = rules_of(vec![(vec![], None, verdict(MOVE))], false);
    let many = tagged(&vec![vec![false; 100]; 7]);
    let counts: Vec<usize> = planned(many, &rules).0.iter().map(|batch| batch.items.len()).collect();
    assert_eq!(counts, [300, 300, 100]);
    let mut heavy = tagged(&vec![vec![false; 2]; 5]);
    heavy.iter_mut().for_each(|version| version.size = 5 << 30);
    let counts: Vec<usize> = planned(heavy, &rules).0.iter().map(|batch| batch.items.len()).collect();
    assert_eq!(counts, [4, 4, 2]);
    let (long, _) = planned(tagged(&[vec![false; 3000]]), &rules);
    assert_eq!(long.iter().map(|batch| batch.items.len()).collect::<Vec<_>>(), [3000]);
}

#[test]
fn an_entry_that_is_moved_takes_its_history_along() {
    let rules = rules_of(vec![(vec![State::Current], None, verdict(MOVE_ALL))], false);
    let (batches, kept) = planned(tagged(&[vec![false, true, false]]), &rules);
    let ids: Vec<&str> = batches[0].items.iter().map(|item| item.version_id.as_str()).collect();
    assert_eq!((ids, kept), (vec!["0.0", "0.1", "0.2"], vec![]));
    // Another rule keeps one of them, which would come to light: nothing goes.
    let keep = (vec![State::Noncurrent], Some(1), Verdict::Keep);
    let rules = rules_of(vec![keep, (vec![State::Current], None, verdict(MOVE_ALL))], false);
    let (batches, kept) = planned(tagged(&[vec![false, false, false]]), &rules);
    let expected = [KeepReason::Promotion(RuleId(1)), KeepReason::NoRule, KeepReason::Rule(RuleId(0))];
    assert_eq!((batches.len(), kept.len()), (0, 3));
    assert!(expected.iter().all(|reason| kept.contains(reason)), "{kept:?}");
}

#[test]
fn a_null_version_that_may_be_replaced_is_not_taken_along() {
    let mut rules = rules_of(vec![(vec![State::Current], None, verdict(MOVE_ALL))], true);
    rules.policy.suspended = true;
    let mut versions = tagged(&[vec![false, false]]);
    versions[1].id = VersionId::new("null").unwrap();
    let (batches, kept) = planned(versions, &rules);
    assert_eq!((batches[0].items.len(), kept), (1, vec![KeepReason::NullVersion(RuleId(0))]));
}

#[test]
fn a_history_whose_end_was_not_seen_stays() {
    let rules = rules_of(vec![(vec![], None, verdict(MOVE))], false);
    let versions = tagged(&[vec![false; 2], vec![false; 5]]);
    let options = PageOptions { limit_left: Some(5), ..OPTIONS };
    let page = Page { versions, next: None };
    let commit = plan_page(range(None, None), page, &rules, &mut INTERLEAVED.clone(), options).unwrap();
    assert_eq!((commit.range.planned, commit.range.kept, commit.range.done), (2, 3, true));
    assert!(commit.records.iter().all(|record| record.fate == Fate::Kept(KeepReason::Unfinished)));
}

#[test]
fn a_key_with_too_many_entries_does_not_travel() {
    let rest = 30;
    let entries = CHAIN_ENTRIES_MAX + 2 + rest;
    for action in [MOVE, MOVE_ALL, COPY] {
        let mut wanted = vec![(vec![State::NoncurrentMarker], None, verdict(DELETE))];
        wanted.push((vec![], None, verdict(action)));
        let rules = rules_of(wanted, false);
        let mut kinds = vec![false; entries];
        (kinds[7], kinds[entries - 7]) = (true, true);
        let versions = tagged(&[kinds, vec![false; 3]]);
        let sizes = [CHAIN_ENTRIES_MAX - 5, 4, 3, 9];
        let undecided_max = std::cell::Cell::new(0);
        let listed = list(&versions, &sizes, &rules, range(None, None), |commit, _| {
            undecided_max.set(undecided_max.get().max(commit.range.undecided));
        });
        assert!(undecided_max.get() <= CHAIN_ENTRIES_MAX as u64 + 1, "{undecided_max:?}");
        let of = |counter| listed.tallies.get(&counter).map_or(0, |amount| amount.versions);
        assert_eq!(of(Counter::Kept(KeepReason::ChainTooLong(RuleId(1)))), entries as u64 - 2, "{action:?}");
        assert_eq!((of(Counter::Planned(RuleId(0))), of(Counter::Planned(RuleId(1)))), (2, 3));
    }
}

#[test]
fn the_latest_of_a_key_that_is_too_long_stays() {
    // It is deleted, and what lies beneath it would have been moved.
    let rules =
        rules_of(vec![(vec![State::Current], None, verdict(DELETE)), (vec![], None, verdict(MOVE))], false);
    let versions = tagged(&[vec![false; CHAIN_ENTRIES_MAX + 2]]);
    let (batches, kept) = planned(versions.clone(), &rules);
    assert_eq!((batches.len(), kept.len()), (0, versions.len()));
    assert_eq!(kept.last(), Some(&KeepReason::Promotion(RuleId(0))));
    // One less fits.
    let (batches, kept) = planned(versions[..=CHAIN_ENTRIES_MAX].to_vec(), &rules);
    assert_eq!((batches.len(), kept.len()), (2, 0));
}
