//! Rules that are allowed but can do nothing.

use std::time::Duration;

use crate::model::Key;
use crate::rules::{Conditions, KeyPattern, State};

const CURRENT: u8 = 1;
const NONCURRENT: u8 = 1 << 1;
const ORPHAN: u8 = 1 << 2;
const OTHER_LATEST_MARKER: u8 = 1 << 3;
const NONCURRENT_MARKER: u8 = 1 << 4;
const ALL: u8 = CURRENT | NONCURRENT | ORPHAN | OTHER_LATEST_MARKER | NONCURRENT_MARKER;
const VERSIONS: u8 = CURRENT | NONCURRENT;
const ELDERS: u8 = NONCURRENT | NONCURRENT_MARKER;

/// Kinds of entries of a key, as bits that do not overlap.
fn bits(state: State) -> u8 {
    match state {
        State::Current => CURRENT,
        State::Noncurrent => NONCURRENT,
        State::DeleteMarker => ORPHAN | OTHER_LATEST_MARKER | NONCURRENT_MARKER,
        State::LatestMarker => ORPHAN | OTHER_LATEST_MARKER,
        State::NoncurrentMarker => NONCURRENT_MARKER,
        State::OrphanMarker => ORPHAN,
        State::Any => ALL,
    }
}

fn wanted(conditions: &Conditions) -> u8 {
    if conditions.state.is_empty() {
        return ALL;
    }
    conditions.state.iter().fold(0, |all, state| all | bits(*state))
}

/// The kinds of entries that can fulfil the conditions.
fn possible(conditions: &Conditions) -> u8 {
    let mut kinds = wanted(conditions);
    if conditions.needs_data() {
        kinds &= VERSIONS;
    }
    if needs_newer(conditions) {
        kinds &= ELDERS;
    }
    kinds
}

/// Whether a delete marker can fulfil the conditions.
pub fn may_select_markers(conditions: &Conditions) -> bool {
    possible(conditions) & !VERSIONS != 0
}

/// Whether one key may fulfil what both ask of keys. Patterns are not looked into.
pub(super) fn may_share_keys(a: &Conditions, b: &Conditions) -> bool {
    fn meet(a: &[Key], b: &[Key], contains: fn(&[u8], &[u8]) -> bool) -> bool {
        let alike =
            |a: &Key, b: &Key| contains(a.as_bytes(), b.as_bytes()) || contains(b.as_bytes(), a.as_bytes());
        a.is_empty() || b.is_empty() || a.iter().any(|a| b.iter().any(|b| alike(a, b)))
    }
    meet(&a.prefix, &b.prefix, <[u8]>::starts_with) && meet(&a.suffix, &b.suffix, <[u8]>::ends_with)
}

/// Whether a condition is given that the latest entry of a key cannot fulfil.
fn needs_newer(conditions: &Conditions) -> bool {
    conditions.noncurrent_for.is_some() || conditions.beyond_newest.is_some_and(|count| count > 0)
}

/// Why no entry can fulfil the conditions, where that is certain.
pub(super) fn never_matches(conditions: &Conditions, scope_prefixes: &[Key]) -> Option<&'static str> {
    let c = conditions;
    if wanted(c) & ELDERS == 0 && needs_newer(c) {
        return Some("noncurrent_for and beyond_newest are for entries that have a newer one");
    }
    if possible(c) == 0 {
        return Some("delete markers have no size, no storage class and no ETag");
    }
    if let (Some(min), Some(max)) = (c.min_size_bytes, c.max_size_bytes)
        && min > max
    {
        return Some("min_size is above max_size");
    }
    if let (Some(older), Some(newer)) = (c.older_than, c.newer_than)
        && older >= newer
    {
        return Some("older_than is not less than newer_than");
    }
    if let (Some(before), Some(after)) = (c.created_before, c.created_after)
        && before <= after
    {
        return Some("created_before is not later than created_after");
    }
    let meets_scope = |prefix: &Key| {
        scope_prefixes
            .iter()
            .any(|scope| scope.starts_with(prefix.as_bytes()) || prefix.starts_with(scope.as_bytes()))
    };
    if !c.prefix.is_empty() && !c.prefix.iter().any(meets_scope) {
        return Some("its prefix lies outside scope.prefixes");
    }
    None
}

/// Whether every entry that fulfils `lower` certainly fulfils `upper` too.
pub(super) fn covers(upper: &Conditions, lower: &Conditions) -> bool {
    possible(lower) & !wanted(upper) == 0
        && (upper.prefix.is_empty()
            || each(&lower.prefix, |key| upper.prefix.iter().any(|p| key.starts_with(p.as_bytes()))))
        && (upper.suffix.is_empty()
            || each(&lower.suffix, |key| upper.suffix.iter().any(|s| key.as_bytes().ends_with(s.as_bytes()))))
        && covers_patterns(&upper.key_glob, &lower.key_glob)
        && covers_patterns(&upper.key_regex, &lower.key_regex)
        && (upper.storage_class.is_empty()
            || each(&lower.storage_class, |class| upper.storage_class.contains(class)))
        && (upper.etag.is_empty() || each(&lower.etag, |etag| upper.etag.contains(etag)))
        && at_least(upper.older_than, lower.older_than)
        && at_most(upper.newer_than, lower.newer_than)
        && covers_noncurrent(upper, lower)
        && at_least(upper.beyond_newest, lower.beyond_newest)
        && at_least(upper.min_size_bytes, lower.min_size_bytes)
        && at_most(upper.max_size_bytes, lower.max_size_bytes)
        && at_most(upper.created_before, lower.created_before)
        && at_least(upper.created_after, lower.created_after)
}

/// Whether something is given and all of it holds.
fn each<T>(given: &[T], holds: impl Fn(&T) -> bool) -> bool {
    !given.is_empty() && given.iter().all(holds)
}

fn covers_patterns(upper: &[KeyPattern], lower: &[KeyPattern]) -> bool {
    upper.is_empty() || each(lower, |pattern| upper.contains(pattern))
}

fn at_least<T: PartialOrd>(upper: Option<T>, lower: Option<T>) -> bool {
    upper.is_none_or(|bound| lower.is_some_and(|value| value >= bound))
}

fn at_most<T: PartialOrd>(upper: Option<T>, lower: Option<T>) -> bool {
    upper.is_none_or(|bound| lower.is_some_and(|value| value <= bound))
}

/// Rounding as S3 Lifecycle does waits up to a day longer.
fn covers_noncurrent(upper: &Conditions, lower: &Conditions) -> bool {
    const ROUNDING: Duration = Duration::from_secs(86_400 + 1);
    let rounding = if upper.lifecycle_days && !lower.lifecycle_days { ROUNDING } else { Duration::ZERO };
    at_least(upper.noncurrent_for.map(|duration| duration + rounding), lower.noncurrent_for)
}
