//! One key at a time: entries in, decisions out.

use std::cmp::Ordering;

use crate::model::{KeepReason, Key, Kind, RuleId, Timestamp, Version};

use super::conditions::Facts;
use super::sequence::{Order, Sequenced};
use super::{Decided, Decision, KeyOrder, OrderFault, Rules, Verdict};

/// What is known of the creation of the entry above the next one of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Newer {
    /// The listing told no newer entry.
    Nothing,
    /// It was created then.
    At(Timestamp),
    /// There is one, but the server's answer leaves open which.
    Unknown,
}

/// Entries of a key whose order the server's answer leaves open, as far as they were read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tie {
    /// When all of them were created; `None` where not even that is what they have in common.
    pub at: Option<Timestamp>,
    /// What stands above them.
    pub above: Newer,
    /// Noncurrent versions above them.
    pub noncurrent_above: u64,
    /// Whether a marker was among them.
    pub has_marker: bool,
}

/// Everything that must be known of a key to go on with its next entry, in another page or after
/// a restart. Its size does not depend on how many entries the key has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyState {
    /// The key.
    pub key: Key,
    /// Its latest entry, not decided yet: what lies beneath it has a say. `None` where the first
    /// entry that was listed was not the latest.
    pub latest: Option<Version>,
    /// The entry above the next one.
    pub newer: Newer,
    /// The entries of open order that were read last, where the last one was such.
    pub tie: Option<Tie>,
    /// Noncurrent versions so far.
    pub noncurrent_versions: u64,
    /// The kind of the newest entry beneath the latest that stays.
    pub newest_survivor: Option<Kind>,
    /// Whether an entry beneath the latest was selected.
    pub elders_selected: bool,
}

/// Decides the entries of a listing one by one.
///
/// An entry that is not the latest of its key is decided at once, the latest entry when its key
/// ends. Entries must come in the order of their keys, newest first, each once: what a page repeats
/// is dropped by [`super::after_marker`] before it comes here.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyFold {
    state: Option<KeyState>,
    keys: KeyOrder,
}

/// What the first rule that matches wants, before the policy is asked.
type Matched = Option<(RuleId, Verdict)>;

/// Where an entry stands among the entries of its key.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    /// When the next newer entry was created, where there is one.
    successor: Option<Timestamp>,
    /// How many noncurrent versions are newer.
    newer_noncurrent: u64,
}

impl KeyFold {
    /// A fold that goes on where an earlier one stood; `None` at the start of a range.
    pub const fn new(state: Option<KeyState>) -> Self {
        Self { state, keys: KeyOrder::Bytes }
    }

    /// The same, for keys that follow one another in this order.
    #[must_use]
    pub fn ordered(self, keys: KeyOrder) -> Self {
        Self { keys, ..self }
    }

    /// What must be kept to go on later; `None` before the first entry and after the end.
    pub const fn state(&self) -> Option<&KeyState> {
        self.state.as_ref()
    }

    /// Takes the next entry. Decisions are appended to `out`: one for the latest entry of the key
    /// before, where this entry begins another key, and one for this entry, unless it is the
    /// latest of its key.
    ///
    /// # Errors
    /// An entry out of order. The fold is of no use afterwards: the run has to end.
    pub fn push(
        &mut self,
        rules: &Rules,
        entry: Sequenced,
        out: &mut Vec<Decided>,
    ) -> Result<(), OrderFault> {
        let version = &entry.version;
        match &self.state {
            Some(state) if state.key == version.key => {
                if version.is_latest {
                    return Err(latest_again(state, version));
                }
            }
            Some(state) if self.keys.compare(&version.key, &state.key) == Ordering::Less => {
                return Err(OrderFault::KeyWentBack { key: version.key.clone(), after: state.key.clone() });
            }
            _ => self.finish(rules, out),
        }
        let state = match &mut self.state {
            Some(state) => state,
            none if version.is_latest => {
                *none = Some(KeyState::new(version.key.clone(), Some(entry.version)));
                return Ok(());
            }
            none => none.insert(KeyState::new(version.key.clone(), None)),
        };
        out.push(state.decide_elder(rules, entry));
        Ok(())
    }

    /// Ends the key still open: its latest entry is decided. To be called when the range is done.
    pub fn finish(&mut self, rules: &Rules, out: &mut Vec<Decided>) {
        if let Some(mut state) = self.state.take()
            && let Some(latest) = state.latest.take()
        {
            let decision = state.decide_latest(rules, &latest);
            out.push(Decided { version: latest, decision });
        }
    }
}

fn latest_again(state: &KeyState, version: &Version) -> OrderFault {
    match &state.latest {
        Some(first) => OrderFault::TwoLatest {
            key: version.key.clone(),
            first: first.id.clone(),
            second: version.id.clone(),
        },
        None => OrderFault::LatestNotFirst { key: version.key.clone(), version_id: version.id.clone() },
    }
}

impl KeyState {
    fn new(key: Key, latest: Option<Version>) -> Self {
        let newer = latest.as_ref().map_or(Newer::Nothing, |latest| Newer::At(latest.last_modified));
        Self {
            key,
            latest,
            newer,
            tie: None,
            noncurrent_versions: 0,
            newest_survivor: None,
            elders_selected: false,
        }
    }

    fn decide_elder(&mut self, rules: &Rules, entry: Sequenced) -> Decided {
        let Sequenced { version, order } = entry;
        self.enter_tie(&version, order);
        let decision = if version.last_modified >= rules.policy.cutoff() {
            Decision::Keep(KeepReason::Cutoff)
        } else if rules.is_lock(&version.key) {
            Decision::Keep(KeepReason::LockObject)
        } else {
            self.judge_elder(rules, &version)
        };
        match decision {
            Decision::Keep(_) | Decision::Copy { .. } => {
                _ = self.newest_survivor.get_or_insert(version.kind);
            }
            Decision::Act { .. } => self.elders_selected = true,
        }
        self.pass(&version, order);
        Decided { version, decision }
    }

    /// Opens a tie at its first entry, closes one that the entry does not belong to.
    fn enter_tie(&mut self, version: &Version, order: Order) {
        let at = match order {
            Order::Known => return self.tie = None,
            Order::Tied => Some(version.last_modified),
            Order::Open => None,
        };
        if self.tie.as_ref().is_none_or(|tie| tie.at != at) {
            self.tie = Some(Tie {
                at,
                above: self.newer,
                noncurrent_above: self.noncurrent_versions,
                has_marker: false,
            });
        }
    }

    /// Moves on below an entry.
    fn pass(&mut self, version: &Version, order: Order) {
        let is_marker = version.kind == Kind::DeleteMarker;
        if let Some(tie) = &mut self.tie {
            tie.has_marker |= is_marker;
        }
        self.newer = if order == Order::Open { Newer::Unknown } else { Newer::At(version.last_modified) };
        self.noncurrent_versions += u64::from(!is_marker);
    }

    /// Asks the rules for the newest and for the oldest place that the entry may have among its
    /// neighbours. Every condition that depends on the place holds from some place on downwards, so
    /// where the two agree, all places between agree with them. Else the entry stays.
    fn judge_elder(&self, rules: &Rules, version: &Version) -> Decision {
        let ask = |place: Place| {
            let Place { successor, newer_noncurrent } = place;
            rules.first_match(&Facts { version, successor, newer_noncurrent, alone: false })
        };
        let (newest, oldest) = self.places(version.kind);
        let first = ask(newest);
        if newest == oldest {
            return rules.settle(version, first, false);
        }
        let second = ask(oldest);
        let acts = |matched: &Matched| matches!(matched, Some((_, Verdict::Act(_) | Verdict::Copy(_))));
        let said = if acts(&second) && !acts(&first) { second } else { first };
        match rules.settle(version, said, false) {
            Decision::Act { rule, .. } | Decision::Copy { rule, .. } if first != second => {
                Decision::Keep(KeepReason::Ambiguous(rule))
            }
            decision => decision,
        }
    }

    /// The newest and the oldest place that the next entry, of this kind, may have.
    fn places(&self, kind: Kind) -> (Place, Place) {
        let exact = self.noncurrent_versions;
        let at = |newer: Newer, newer_noncurrent| {
            let (newest, oldest) = match newer {
                Newer::Nothing => (None, None),
                Newer::At(at) => (Some(at), Some(at)),
                Newer::Unknown => (None, Some(Timestamp::from_millis(i64::MIN))),
            };
            (Place { successor: newest, newer_noncurrent }, Place { successor: oldest, newer_noncurrent })
        };
        let Some(tie) = &self.tie else { return at(self.newer, exact) };
        // The versions of a tie are in order, and all of them were read before its markers.
        let (above, is_first_of_kind) = match kind {
            Kind::Version => (exact, exact == tie.noncurrent_above),
            Kind::DeleteMarker => (tie.noncurrent_above, !tie.has_marker),
        };
        let within = tie.at.map_or(Newer::Unknown, Newer::At);
        let newest = if is_first_of_kind && tie.at.is_some() { tie.above } else { within };
        (at(newest, above).0, at(within, exact).1)
    }

    fn decide_latest(&self, rules: &Rules, latest: &Version) -> Decision {
        if latest.last_modified >= rules.policy.cutoff() {
            return Decision::Keep(KeepReason::Cutoff);
        }
        if rules.is_lock(&latest.key) {
            return Decision::Keep(KeepReason::LockObject);
        }
        let alone = self.newest_survivor.is_none();
        let facts = Facts { version: latest, successor: None, newer_noncurrent: 0, alone };
        match rules.settle(latest, rules.first_match(&facts), self.elders_selected) {
            Decision::Act { rule, .. }
                if self.newest_survivor == Some(Kind::Version) && !rules.policy.allow_promotion =>
            {
                Decision::Keep(KeepReason::Promotion(rule))
            }
            decision => decision,
        }
    }
}

impl Rules {
    fn first_match(&self, facts: &Facts<'_>) -> Matched {
        let hit =
            self.rules.iter().zip(0u16..).find(|(rule, _)| rule.conditions.hold(facts, self.policy.began));
        hit.map(|(rule, index)| (RuleId(index), rule.verdict))
    }

    /// From what the rules say to what is done, `null` versions considered.
    pub(super) fn settle(&self, version: &Version, matched: Matched, elders_selected: bool) -> Decision {
        match matched {
            None => Decision::Keep(KeepReason::NoRule),
            Some((rule, Verdict::Keep)) => Decision::Keep(KeepReason::Rule(rule)),
            Some((rule, Verdict::Act(_))) if version.id.is_null() && self.policy.refuses_null() => {
                Decision::Keep(KeepReason::NullVersion(rule))
            }
            Some((rule, Verdict::Act(action))) => Decision::Act { rule, action, elders_selected },
            // What the copy is made of is pinned by its ETag, so a `null` version may travel.
            Some((rule, Verdict::Copy(action))) => Decision::Copy { rule, action },
        }
    }
}
