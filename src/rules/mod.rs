//! What becomes of each version: pure decisions over a key's entries as they are listed.
//!
//! A page goes through three steps. [`sequence`] puts its entries into the order of their keys,
//! newest first. [`after_marker`] drops what an earlier page has already told. [`KeyFold`] takes
//! the entries one by one, remembers what it must of the key still open ([`KeyState`]), and hands
//! out a [`Decision`] for each. Nothing here does I/O or reads a clock: the point in time that ages
//! are measured from is [`Policy::began`].
//!
//! Invariants that the tests hold:
//! - Every entry that goes in comes out decided exactly once, wherever pages are cut.
//! - An entry that was created at or after the second in which the run began is never selected.
//! - The latest entry of a key is decided last, and is selected only where no version would become
//!   current by its removal (unless the policy allows that).
//! - Where the server's answer leaves the order of a key's entries open, an entry is selected only
//!   if every possible order selects it.

mod bounds;
mod conditions;
mod fold;
mod key_order;
mod pattern;
mod sequence;

pub use bounds::{Place, after_marker, within};
pub use conditions::{Conditions, State};
pub use fold::{KeyFold, KeyState, Newer, Tie};
pub use key_order::{KeyOrder, KeyOrders, begins_alike, ends_alike};
pub use pattern::{KeyPattern, PatternError};
pub use sequence::{Order, PageOrder, Sequenced, sequence};

use crate::model::{ActionId, History, KeepReason, Key, RuleId, Timestamp, Version, VersionId};

/// One rule of a job: which entries it is for, and what becomes of them.
#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    /// Its name in the job file, unique there.
    pub name: String,
    /// What an entry must fulfil; all of it.
    pub conditions: Conditions,
    /// What becomes of an entry that does.
    pub verdict: Verdict,
}

/// What a rule wants for the entries it matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// They stay, whatever the rules below say.
    Keep,
    /// They are selected for this action, which removes them from the bucket.
    Act(ActionId),
    /// They are selected for this action, which leaves them where they are.
    Copy(ActionId),
}

/// What to do with `null` versions that a rule selects while the bucket's versioning is suspended.
///
/// There a plain PUT or DELETE replaces the `null` version of its key, so that between listing and
/// deleting the same id may come to name something newer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NullVersions {
    /// They are kept.
    #[default]
    Refuse,
    /// They are treated like any other version.
    Allow,
}

/// What holds for all rules of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// When the run began, by the server's clock: all ages count from here, and nothing created
    /// since is touched.
    pub began: Timestamp,
    /// Whether a sweep may make an older version current, as an undelete job wants.
    pub allow_promotion: bool,
    /// What the job says of `null` versions.
    pub null_versions: NullVersions,
    /// Whether the bucket's versioning is suspended: only there are `null` versions refused.
    pub suspended: bool,
}

impl Policy {
    /// The first moment that lies behind the cut-off: the beginning of the second in which the run
    /// began. AWS tells LastModified in whole seconds, so that an entry of that very second may be
    /// newer than the run.
    pub const fn cutoff(&self) -> Timestamp {
        self.began.floor_to_second()
    }

    fn refuses_null(&self) -> bool {
        self.suspended && self.null_versions == NullVersions::Refuse
    }
}

/// Where the lock objects of jobs lie, unless a job names another key for its own. A job that selected the
/// lock of another would end that one's run.
pub const LOCKS_PREFIX: &str = "s3sweep/locks/";

/// The rules of a job, in the order of its file, with what holds for all of them.
#[derive(Clone, PartialEq, Debug)]
pub struct Rules {
    /// The first that matches decides. At most 65,535: [`RuleId`] is an index into this.
    pub rules: Vec<Rule>,
    /// What holds for all of them.
    pub policy: Policy,
    /// For each action, by its id, which versions of a key travel; absent where the action copies nothing.
    pub histories: Vec<Option<History>>,
    /// The key of the job's own lock object, where it lies in this bucket: none of its versions is ever
    /// selected, and nothing under [`LOCKS_PREFIX`].
    pub lock_object: Option<Key>,
}

impl Rules {
    /// Whether ETags and storage classes are asked for: by a rule, or by an action that copies.
    pub fn need_texts(&self) -> bool {
        let asks =
            |rule: &Rule| !rule.conditions.etag.is_empty() || !rule.conditions.storage_class.is_empty();
        self.rules.iter().any(asks) || self.histories.iter().any(Option::is_some)
    }

    /// Which versions of a key an action copies; `None` where it copies nothing.
    pub fn history(&self, action: ActionId) -> Option<History> {
        self.histories.get(usize::from(action.0)).copied().flatten()
    }

    /// Whether an entry belongs to a lock object: the job's own, or one at the place where locks lie unless a
    /// job names another.
    fn is_lock(&self, key: &Key) -> bool {
        key.as_bytes().starts_with(LOCKS_PREFIX.as_bytes())
            || self.lock_object.as_ref().is_some_and(|lock| lock == key)
    }

    /// Whether what a rule selects stays where it is.
    pub fn leaves_source(&self, rule: RuleId) -> bool {
        let verdict = self.rules.get(usize::from(rule.0)).map(|rule| rule.verdict);
        matches!(verdict, Some(Verdict::Copy(_)))
    }

    /// What becomes of an entry that is not the latest of its key if this rule is the first that matches
    /// it; a rule that is not there decides nothing.
    pub fn decide(&self, version: &Version, rule: RuleId) -> Decision {
        let verdict = self.rules.get(usize::from(rule.0)).map(|found| (rule, found.verdict));
        self.settle(version, verdict, false)
    }
}

/// An entry with what becomes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decided {
    /// The entry as it was listed.
    pub version: Version,
    /// What becomes of it.
    pub decision: Decision,
}

/// What becomes of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It stays.
    Keep(KeepReason),
    /// It is selected.
    Act {
        /// The rule that selected it.
        rule: RuleId,
        /// What that rule does.
        action: ActionId,
        /// Whether another entry of the key was selected before this one. Of use for the latest
        /// entry, which is decided last: where nothing else goes, it need not wait for anything.
        elders_selected: bool,
    },
    /// It is selected for an action that leaves it where it is.
    Copy {
        /// The rule that selected it.
        rule: RuleId,
        /// What that rule does.
        action: ActionId,
    },
}

/// The listing is not in the order that decisions rest on. Going on could select what the rules do
/// not mean, so the run has to end.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OrderFault {
    /// Keys must come in the order of their bytes.
    #[error("the listing is not in byte order: key {key} came after key {after}")]
    KeyWentBack {
        /// The key that came too late.
        key: Key,
        /// The key before it.
        after: Key,
    },
    /// Entries of a key must come newest first. Some gateways list the oldest first.
    #[error(
        "the listing is not newest first: {version_id}, the latest entry of key {key}, came after others"
    )]
    LatestNotFirst {
        /// The key.
        key: Key,
        /// Its latest entry.
        version_id: VersionId,
    },
    /// A key has one latest entry.
    #[error("key {key} was listed with two latest entries, {first} and {second}")]
    TwoLatest {
        /// The key.
        key: Key,
        /// The one that came first.
        first: VersionId,
        /// The one that came then.
        second: VersionId,
    },
    /// One page lists versions apart from markers, another among them.
    #[error("the server changed the way it orders a page at key {key}")]
    PageOrderChanged {
        /// The first marker of the page that differs.
        key: Key,
    },
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
