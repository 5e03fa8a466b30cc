//! One key at a time: entries in, decisions out.

use crate::model::{KeepReason, Key, Kind, RuleId, Timestamp, Version};

use super::conditions::Facts;
use super::sequence::{Order, Sequenced};
use super::{Decided, Decision, OrderFault, Rules, Verdict};

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
}

/// What a rule set says of an entry, before the policy is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Matched(Option<(RuleId, Verdict)>);

impl KeyFold {
    /// A fold that goes on where an earlier one stood; `None` at the start of a range.
    pub const fn new(state: Option<KeyState>) -> Self {
        Self { state }
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
            Some(state) if version.key < state.key => {
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
        } else {
            self.judge_elder(rules, &version)
        };
        match decision {
            Decision::Keep(_) => _ = self.newest_survivor.get_or_insert(version.kind),
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

    /// Asks the rules for every place that the entry may have among its neighbours. It is selected
    /// only where all of them agree.
    fn judge_elder(&self, rules: &Rules, version: &Version) -> Decision {
        let ask = |(successor, newer_noncurrent): (Option<Timestamp>, u64)| {
            rules.first_match(&Facts { version, successor, newer_noncurrent, alone: false })
        };
        if let (None, Newer::Nothing | Newer::At(_)) = (&self.tie, self.newer) {
            let successor = if let Newer::At(at) = self.newer { Some(at) } else { None };
            return rules.settle_elder(version, ask((successor, self.noncurrent_versions)));
        }
        let places = self.places(rules, version.kind);
        let answers: Vec<Matched> = places.into_iter().map(ask).collect();
        let first = answers.first().copied().unwrap_or(Matched(None));
        if answers.iter().all(|answer| *answer == first) {
            return rules.settle_elder(version, first);
        }
        let selecting = answers.iter().find_map(|answer| match answer.0 {
            Some((rule, Verdict::Act(_))) => Some(rule),
            _ => None,
        });
        match selecting {
            Some(rule) => Decision::Keep(KeepReason::Ambiguous(rule)),
            None => rules.settle_elder(version, first),
        }
    }

    /// Every place that the next entry, of this kind, may have: when its successor was created,
    /// and how many noncurrent versions are newer.
    fn places(&self, rules: &Rules, kind: Kind) -> Vec<(Option<Timestamp>, u64)> {
        let exact = self.noncurrent_versions;
        let Some(tie) = &self.tie else {
            return product(&rules.successors(self.newer), exact..=exact);
        };
        let counts = if kind == Kind::Version { exact..=exact } else { tie.noncurrent_above..=exact };
        let Some(at) = tie.at else {
            return product(&rules.successors(Newer::Unknown), counts);
        };
        let is_first_of_kind =
            if kind == Kind::Version { exact == tie.noncurrent_above } else { !tie.has_marker };
        let mut places = Vec::new();
        if is_first_of_kind {
            // Above all others of the tie ...
            places.extend(product(&rules.successors(tie.above), tie.noncurrent_above..=tie.noncurrent_above));
        }
        // ... or below one of them. The first marker is then below a version at least.
        let below = if kind == Kind::DeleteMarker && is_first_of_kind {
            counts.start() + 1..=*counts.end()
        } else {
            counts
        };
        places.extend(product(&[Some(at)], below));
        places
    }

    fn decide_latest(&self, rules: &Rules, latest: &Version) -> Decision {
        if latest.last_modified >= rules.policy.cutoff() {
            return Decision::Keep(KeepReason::Cutoff);
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

fn product(
    successors: &[Option<Timestamp>],
    counts: std::ops::RangeInclusive<u64>,
) -> Vec<(Option<Timestamp>, u64)> {
    counts.flat_map(|count| successors.iter().map(move |successor| (*successor, count))).collect()
}

impl Rules {
    fn first_match(&self, facts: &Facts<'_>) -> Matched {
        let hit =
            self.rules.iter().zip(0u16..).find(|(rule, _)| rule.conditions.hold(facts, self.policy.began));
        Matched(hit.map(|(rule, index)| (RuleId(index), rule.verdict)))
    }

    fn settle_elder(&self, version: &Version, matched: Matched) -> Decision {
        self.settle(version, matched, false)
    }

    /// From what the rules say to what is done, `null` versions considered.
    fn settle(&self, version: &Version, matched: Matched, elders_selected: bool) -> Decision {
        match matched.0 {
            None => Decision::Keep(KeepReason::NoRule),
            Some((rule, Verdict::Keep)) => Decision::Keep(KeepReason::Rule(rule)),
            Some((rule, Verdict::Act(_))) if version.id.is_null() && self.policy.refuses_null() => {
                Decision::Keep(KeepReason::NullVersion(rule))
            }
            Some((rule, Verdict::Act(action))) => Decision::Act { rule, action, elders_selected },
        }
    }

    /// Creation times of a successor that stand for all possible ones: a rule tells two times
    /// apart only by the bound of its `noncurrent_for`.
    fn successors(&self, newer: Newer) -> Vec<Option<Timestamp>> {
        match newer {
            Newer::Nothing => vec![None],
            Newer::At(at) => vec![Some(at)],
            Newer::Unknown => {
                let bounds = self
                    .rules
                    .iter()
                    .filter_map(|rule| rule.conditions.noncurrent_since_at_most(self.policy.began));
                std::iter::once(None).chain(bounds.map(Some)).collect()
            }
        }
    }
}
