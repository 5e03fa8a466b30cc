//! A slow judge that sees whole keys at once. Written from the job file's definitions and not from
//! the fold, so that a misunderstanding of one is not repeated by the other.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{KeepReason, Key, Kind, RuleId, Timestamp, Version, VersionId};

use super::{Conditions, Decision, NullVersions, Rules, State, Verdict};

pub(super) type Judged = BTreeMap<(Key, VersionId), Decision>;

/// What becomes of each entry of a bucket, given in the server's order.
pub(super) fn judge(rules: &Rules, bucket: &[Version]) -> Judged {
    let mut by_key: BTreeMap<Key, Vec<&Version>> = BTreeMap::new();
    for version in bucket {
        by_key.entry(version.key.clone()).or_default().push(version);
    }
    by_key.values().flat_map(|entries| judge_key(rules, entries)).collect()
}

fn judge_key(rules: &Rules, entries: &[&Version]) -> Judged {
    let mut judged = Judged::new();
    let elders: Vec<usize> = (0..entries.len()).filter(|at| !entries[*at].is_latest).collect();
    for at in &elders {
        judged.insert(name(entries[*at]), judge_entry(rules, entries, *at, false, false));
    }
    let survivors: Vec<&Version> = elders
        .iter()
        .map(|at| entries[*at])
        // What is copied stays where it is.
        .filter(|entry| matches!(judged[&name(entry)], Decision::Keep(_) | Decision::Copy { .. }))
        .collect();
    let any_goes = survivors.len() < elders.len();
    if let Some(at) = entries.iter().position(|entry| entry.is_latest) {
        let mut decision = judge_entry(rules, entries, at, survivors.is_empty(), any_goes);
        let resurrects = survivors.first().is_some_and(|newest| newest.kind == Kind::Version);
        if let Decision::Act { rule, .. } = decision
            && resurrects
            && !rules.policy.allow_promotion
        {
            decision = Decision::Keep(KeepReason::Promotion(rule));
        }
        judged.insert(name(entries[at]), decision);
    }
    judged
}

fn name(version: &Version) -> (Key, VersionId) {
    (version.key.clone(), version.id.clone())
}

fn judge_entry(
    rules: &Rules,
    entries: &[&Version],
    at: usize,
    nothing_else_left: bool,
    elders_selected: bool,
) -> Decision {
    let entry = entries[at];
    let began_second = rules.policy.began.as_millis().div_euclid(1000);
    if entry.last_modified.as_millis().div_euclid(1000) >= began_second {
        return Decision::Keep(KeepReason::Cutoff);
    }
    let hit = rules
        .rules
        .iter()
        .position(|rule| matches(&rule.conditions, rules.policy.began, entries, at, nothing_else_left));
    let Some(index) = hit else { return Decision::Keep(KeepReason::NoRule) };
    let rule = RuleId(u16::try_from(index).unwrap());
    let policy = rules.policy;
    match rules.rules[index].verdict {
        Verdict::Keep => Decision::Keep(KeepReason::Rule(rule)),
        Verdict::Act(_)
            if entry.id.as_str() == "null"
                && policy.suspended
                && policy.null_versions == NullVersions::Refuse =>
        {
            Decision::Keep(KeepReason::NullVersion(rule))
        }
        Verdict::Act(action) => Decision::Act { rule, action, elders_selected },
        Verdict::Copy(action) => Decision::Copy { rule, action },
    }
}

fn matches(c: &Conditions, began: Timestamp, entries: &[&Version], at: usize, alone: bool) -> bool {
    let entry = entries[at];
    let key = entry.key.as_bytes();
    let is_version = entry.kind == Kind::Version;
    let newer_noncurrent =
        entries[..at].iter().filter(|other| other.kind == Kind::Version && !other.is_latest).count();
    let mut all = Vec::new();
    if !c.prefix.is_empty() {
        all.push(
            c.prefix
                .iter()
                .any(|p| key.len() >= p.as_bytes().len() && &key[..p.as_bytes().len()] == p.as_bytes()),
        );
    }
    if !c.suffix.is_empty() {
        let tail = |length: usize| key.len().checked_sub(length).map(|start| &key[start..]);
        all.push(c.suffix.iter().any(|s| tail(s.as_bytes().len()) == Some(s.as_bytes())));
    }
    if !c.key_glob.is_empty() {
        all.push(c.key_glob.iter().any(|glob| glob.is_match(key)));
    }
    if !c.key_regex.is_empty() {
        all.push(c.key_regex.iter().any(|regex| regex.is_match(key)));
    }
    if !c.state.is_empty() {
        all.push(c.state.iter().any(|state| in_state(*state, entry, alone)));
    }
    if let Some(age) = c.older_than {
        all.push(began.since(entry.last_modified).is_some_and(|own| own >= age));
    }
    if let Some(age) = c.newer_than {
        all.push(began.since(entry.last_modified).is_none_or(|own| own < age));
    }
    if let Some(age) = c.noncurrent_for {
        all.push(at > 0 && has_been_for(entries[at - 1].last_modified, age, c.lifecycle_days, began));
    }
    if let Some(count) = c.beyond_newest {
        all.push(newer_noncurrent >= usize::try_from(count).unwrap());
    }
    if let Some(min) = c.min_size_bytes {
        all.push(is_version && entry.size >= min);
    }
    if let Some(max) = c.max_size_bytes {
        all.push(is_version && entry.size <= max);
    }
    if !c.storage_class.is_empty() {
        let class = entry.storage_class.as_deref().unwrap_or("STANDARD");
        all.push(is_version && c.storage_class.iter().any(|wanted| &**wanted == class));
    }
    if !c.etag.is_empty() {
        let etag = entry.etag.as_deref().unwrap_or("").replace('"', "");
        all.push(is_version && c.etag.iter().any(|wanted| wanted.replace('"', "") == etag));
    }
    if let Some(point) = c.created_before {
        all.push(entry.last_modified < point);
    }
    if let Some(point) = c.created_after {
        all.push(entry.last_modified >= point);
    }
    all.into_iter().all(|holds| holds)
}

fn in_state(state: State, entry: &Version, alone: bool) -> bool {
    let (marker, latest) = (entry.kind == Kind::DeleteMarker, entry.is_latest);
    match state {
        State::Current => !marker && latest,
        State::Noncurrent => !marker && !latest,
        State::DeleteMarker => marker,
        State::LatestMarker => marker && latest,
        State::NoncurrentMarker => marker && !latest,
        State::OrphanMarker => marker && latest && alone,
        State::Any => true,
    }
}

fn has_been_for(successor: Timestamp, age: Duration, lifecycle: bool, began: Timestamp) -> bool {
    if !lifecycle {
        return began.since(successor).is_some_and(|for_so_long| for_so_long >= age);
    }
    let day = 86_400_000;
    let sum = successor.plus(age).as_millis();
    let next_midnight = (sum.div_euclid(day) + 1) * day;
    next_midnight <= began.as_millis()
}
