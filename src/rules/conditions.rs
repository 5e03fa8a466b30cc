//! What an entry must fulfil for a rule to match.

use std::time::Duration;

use crate::model::{Key, Kind, Timestamp, Version};

use super::pattern::KeyPattern;

/// The class that a version without a told storage class has.
const STORAGE_CLASS_DEFAULT: &str = "STANDARD";
const DAY: Duration = Duration::from_secs(86_400);

/// What an entry is among the entries of its key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// The latest entry, where it is a version.
    Current,
    /// A version that is not the latest entry.
    Noncurrent,
    /// Any delete marker.
    DeleteMarker,
    /// A delete marker that is the latest entry.
    LatestMarker,
    /// A delete marker that is not the latest entry.
    NoncurrentMarker,
    /// A latest marker beneath which nothing is left once the job's other decisions are carried out.
    OrphanMarker,
    /// Every entry.
    Any,
}

impl State {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::Current,
        Self::Noncurrent,
        Self::DeleteMarker,
        Self::LatestMarker,
        Self::NoncurrentMarker,
        Self::OrphanMarker,
        Self::Any,
    ];

    /// The word used in a job file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Noncurrent => "noncurrent",
            Self::DeleteMarker => "delete-marker",
            Self::LatestMarker => "latest-marker",
            Self::NoncurrentMarker => "noncurrent-marker",
            Self::OrphanMarker => "orphan-marker",
            Self::Any => "any",
        }
    }

    fn holds(self, facts: &Facts<'_>) -> bool {
        let latest = facts.version.is_latest;
        match (self, facts.version.kind) {
            (Self::Any, _) | (Self::DeleteMarker, Kind::DeleteMarker) => true,
            (Self::Current, Kind::Version) | (Self::LatestMarker, Kind::DeleteMarker) => latest,
            (Self::Noncurrent, Kind::Version) | (Self::NoncurrentMarker, Kind::DeleteMarker) => !latest,
            (Self::OrphanMarker, Kind::DeleteMarker) => latest && facts.alone,
            _ => false,
        }
    }
}

/// Conditions on an entry. All that are given must hold; a list means any of; an empty list and
/// `None` are not given.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Conditions {
    /// The key begins with one of these.
    pub prefix: Vec<Key>,
    /// The key ends with one of these.
    pub suffix: Vec<Key>,
    /// The whole key matches one of these globs.
    pub key_glob: Vec<KeyPattern>,
    /// The key matches one of these regular expressions.
    pub key_regex: Vec<KeyPattern>,
    /// The entry is in one of these states.
    pub state: Vec<State>,
    /// It was created at least so long before the run began.
    pub older_than: Option<Duration>,
    /// It was created less than so long before the run began.
    pub newer_than: Option<Duration>,
    /// The next newer entry of its key was created at least so long before the run began. Never
    /// holds for an entry without one.
    pub noncurrent_for: Option<Duration>,
    /// `noncurrent_for` counts as S3 Lifecycle does: the successor's time and the days, then the
    /// next midnight UTC. A sum that is midnight already goes on to the following one, as AWS's
    /// text has it ("rounding up to the next day midnight") and MinIO computes it.
    pub lifecycle_days: bool,
    /// At least so many noncurrent versions of its key are newer; delete markers do not count.
    pub beyond_newest: Option<u64>,
    /// It has at least so many bytes. Never holds for a delete marker, which has no size.
    pub min_size_bytes: Option<u64>,
    /// It has at most so many bytes. Never holds for a delete marker.
    pub max_size_bytes: Option<u64>,
    /// Its storage class is one of these; one that the server does not tell is `STANDARD`. Never
    /// holds for a delete marker.
    pub storage_class: Vec<Box<str>>,
    /// Its ETag is one of these, compared without quotes. Never holds for a delete marker.
    pub etag: Vec<Box<str>>,
    /// It was created before this point.
    pub created_before: Option<Timestamp>,
    /// It was created at this point or later.
    pub created_after: Option<Timestamp>,
}

/// What is known of an entry when a rule looks at it.
pub(super) struct Facts<'a> {
    pub(super) version: &'a Version,
    /// When the next newer entry of the key was created, where there is one.
    pub(super) successor: Option<Timestamp>,
    /// How many noncurrent versions of the key are newer.
    pub(super) newer_noncurrent: u64,
    /// Whether nothing of the key is left beside this entry. Known for the latest entry only.
    pub(super) alone: bool,
}

impl Conditions {
    /// Whether all conditions hold.
    pub(super) fn hold(&self, facts: &Facts<'_>, began: Timestamp) -> bool {
        let version = facts.version;
        (self.state.is_empty() || self.state.iter().any(|state| state.holds(facts)))
            && self.age_holds(version.last_modified, began)
            && self.beyond_newest.is_none_or(|count| facts.newer_noncurrent >= count)
            && self
                .noncurrent_since_at_most(began)
                .is_none_or(|bound| facts.successor.is_some_and(|at| at <= bound))
            && self.data_holds(version)
            && self.key_holds(&version.key)
    }

    /// The latest creation of a successor with which `noncurrent_for` holds; `None` where it is
    /// not given.
    fn noncurrent_since_at_most(&self, began: Timestamp) -> Option<Timestamp> {
        let duration = self.noncurrent_for?;
        Some(if self.lifecycle_days {
            // floor_to_day(at + D) + 1 day <= began, solved for `at`.
            floor_to_day(began).minus(duration).minus(Duration::from_millis(1))
        } else {
            began.minus(duration)
        })
    }

    fn age_holds(&self, created: Timestamp, began: Timestamp) -> bool {
        self.older_than.is_none_or(|age| created <= began.minus(age))
            && self.newer_than.is_none_or(|age| created > began.minus(age))
            && self.created_before.is_none_or(|point| created < point)
            && self.created_after.is_none_or(|point| created >= point)
    }

    fn data_holds(&self, version: &Version) -> bool {
        if version.kind == Kind::DeleteMarker {
            return !self.needs_data();
        }
        let class = version.storage_class.as_deref().unwrap_or(STORAGE_CLASS_DEFAULT);
        self.min_size_bytes.is_none_or(|min| version.size >= min)
            && self.max_size_bytes.is_none_or(|max| version.size <= max)
            && (self.storage_class.is_empty() || self.storage_class.iter().any(|wanted| **wanted == *class))
            && (self.etag.is_empty()
                || version
                    .etag
                    .as_deref()
                    .is_some_and(|etag| self.etag.iter().any(|wanted| unquoted(wanted) == unquoted(etag))))
    }

    /// Whether a condition is given that only a version can fulfil.
    pub fn needs_data(&self) -> bool {
        self.min_size_bytes.is_some()
            || self.max_size_bytes.is_some()
            || !self.storage_class.is_empty()
            || !self.etag.is_empty()
    }

    fn key_holds(&self, key: &Key) -> bool {
        fn any<T>(wanted: &[T], holds: impl Fn(&T) -> bool) -> bool {
            wanted.is_empty() || wanted.iter().any(holds)
        }
        let bytes = key.as_bytes();
        any(&self.prefix, |prefix| bytes.starts_with(prefix.as_bytes()))
            && any(&self.suffix, |suffix| bytes.ends_with(suffix.as_bytes()))
            && any(&self.key_glob, |glob| glob.is_match(bytes))
            && any(&self.key_regex, |regex| regex.is_match(bytes))
    }
}

fn unquoted(etag: &str) -> &str {
    etag.trim_matches('"')
}

fn floor_to_day(at: Timestamp) -> Timestamp {
    let day_millis = i64::try_from(DAY.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(at.as_millis().div_euclid(day_millis).saturating_mul(day_millis))
}
