//! Keys of which something travels: their decisions are held until the key has ended, so that a history
//! leaves as a whole. Pure.

use crate::model::{ActionId, CopyItem, History, KeepReason, Key, Kind, RuleId, Version};
use crate::rules::{Decided, Decision, Rules, Verdict};

/// Entries of one key that are held at most: what has more does not travel. Keeps the memory and the
/// checkpoint bounded.
pub(super) const CHAIN_ENTRIES_MAX: usize = 50_000;
/// Bytes of the ids and texts of one key's entries that are held at most.
const CHAIN_BYTES_MAX: usize = 16 << 20;

/// Which decisions are held until their key has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Holding {
    /// None: nothing travels.
    Nothing,
    /// Those for an action that copies or moves.
    Travellers,
    /// All: an entry that no rule decides may travel with the others.
    Everything,
}

impl Holding {
    /// What the actions of a job ask for.
    pub(super) fn of(rules: &Rules) -> Self {
        let histories = || rules.histories.iter().flatten();
        if histories().any(|history| *history == History::All) {
            Self::Everything
        } else if histories().next().is_some() {
            Self::Travellers
        } else {
            Self::Nothing
        }
    }

    /// Whether this decision is held.
    pub(super) fn wants(self, decision: &Decision, rules: &Rules) -> bool {
        match self {
            Self::Nothing => false,
            Self::Travellers => travels(decision, rules).is_some(),
            Self::Everything => true,
        }
    }
}

/// Decisions that wait for the end of their key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OpenKey {
    key: Key,
    held: Vec<Decided>,
    bytes: usize,
    is_too_long: bool,
}

impl OpenKey {
    /// A key of which nothing is held yet; of one that is too long nothing ever is.
    pub(super) const fn new(key: Key, is_too_long: bool) -> Self {
        Self { key, held: Vec::new(), bytes: 0, is_too_long }
    }

    /// The key.
    pub(super) const fn key(&self) -> &Key {
        &self.key
    }

    /// Newest first; none is of the latest entry, which ends the key.
    pub(super) fn held(&self) -> &[Decided] {
        &self.held
    }

    /// The same, taken out.
    pub(super) fn into_held(self) -> Vec<Decided> {
        self.held
    }

    /// Whether the key has more entries than can be held: nothing of it travels.
    pub(super) const fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// Holds one more. Where that is one too many, all come back.
    pub(super) fn hold(&mut self, decided: Decided) -> Vec<Decided> {
        self.bytes += bytes_of(&decided.version);
        self.held.push(decided);
        if self.held.len() <= CHAIN_ENTRIES_MAX && self.bytes <= CHAIN_BYTES_MAX {
            return Vec::new();
        }
        self.is_too_long = true;
        std::mem::take(&mut self.held)
    }
}

fn bytes_of(version: &Version) -> usize {
    let text = |text: &Option<crate::model::Text>| text.as_deref().map_or(0, str::len);
    version.id.as_str().len() + text(&version.etag) + text(&version.storage_class)
}

/// The rule and the action that selected an entry, where one did.
pub(super) const fn selected(decision: &Decision) -> Option<(RuleId, ActionId)> {
    match *decision {
        Decision::Keep(_) => None,
        Decision::Act { rule, action, .. } | Decision::Copy { rule, action } => Some((rule, action)),
    }
}

/// The rule and the action that let an entry travel, where one does.
pub(super) fn travels(decision: &Decision, rules: &Rules) -> Option<(RuleId, ActionId)> {
    selected(decision).filter(|(_, action)| rules.history(*action).is_some())
}

/// What the mover must know of an entry as it was listed.
pub(super) fn copy_item(version: &Version) -> Box<CopyItem> {
    let text = |text: &Option<crate::model::Text>| text.as_deref().unwrap_or_default().into();
    Box::new(CopyItem {
        etag: text(&version.etag),
        storage_class: text(&version.storage_class),
        copied: None,
    })
}

/// What becomes of an entry of a key that is too long to travel. The latest entry stays where what lies
/// beneath it does.
pub(super) fn too_long(mut decided: Decided, rules: &Rules) -> Decided {
    let held_by = match decided.decision {
        Decision::Keep(KeepReason::Promotion(rule)) => action_of(rule, rules).map(|action| (rule, action)),
        decision => selected(&decision),
    };
    match held_by {
        Some((rule, action)) if rules.history(action).is_some() => {
            decided.decision = Decision::Keep(KeepReason::ChainTooLong(rule));
        }
        Some((rule, _)) if decided.version.is_latest && !rules.policy.allow_promotion => {
            decided.decision = Decision::Keep(KeepReason::Promotion(rule));
        }
        _ => {}
    }
    decided
}

/// What becomes of an entry that was to travel, where the listing leaves its key before the end.
pub(super) fn unfinished(mut decided: Decided, rules: &Rules) -> Decided {
    if travels(&decided.decision, rules).is_some() {
        decided.decision = Decision::Keep(KeepReason::Unfinished);
    }
    decided
}

fn action_of(rule: RuleId, rules: &Rules) -> Option<ActionId> {
    match rules.rules.get(usize::from(rule.0))?.verdict {
        Verdict::Keep => None,
        Verdict::Act(action) | Verdict::Copy(action) => Some(action),
    }
}

/// All decisions of a key, newest first, where whole histories may travel: an entry that is selected for
/// such a history takes along those that no rule decides. Where several are, the newest one's action
/// counts. The latest entry, kept because an older version would have become current, is selected again
/// where none is left beneath it that could.
pub(super) fn resolve(decided: Vec<Decided>, rules: &Rules) -> Vec<Decided> {
    for trigger in &decided {
        let held_back = match trigger.decision {
            Decision::Keep(KeepReason::Promotion(rule)) => Some(rule),
            _ => None,
        };
        let found = match held_back {
            Some(rule) => action_of(rule, rules).map(|action| (rule, action)),
            None => selected(&trigger.decision),
        };
        let Some((rule, action)) = found else { continue };
        if rules.history(action) != Some(History::All) {
            continue;
        }
        let whole = with_history(decided.clone(), rule, rules);
        // Where it must stay all the same, nothing goes on its behalf.
        let goes = || whole.iter().any(|one| one.version.is_latest && selected(&one.decision).is_some());
        if held_back.is_none() || goes() {
            return whole;
        }
    }
    decided
}

/// The decisions of a key once `rule` decides what no rule did.
fn with_history(mut decided: Vec<Decided>, rule: RuleId, rules: &Rules) -> Vec<Decided> {
    for one in &mut decided {
        if one.decision == Decision::Keep(KeepReason::NoRule) {
            one.decision = rules.decide(&one.version, rule);
        }
    }
    let elders = || decided.iter().filter(|one| !one.version.is_latest);
    let survivor = elders().find(|one| !matches!(one.decision, Decision::Act { .. }));
    let brings_to_light = survivor.is_some_and(|one| one.version.kind == Kind::Version);
    let goes_first = elders().any(|one| matches!(one.decision, Decision::Act { .. }));
    for latest in decided.iter_mut().filter(|one| one.version.is_latest) {
        if let Decision::Keep(KeepReason::Promotion(rule)) = latest.decision {
            latest.decision = rules.decide(&latest.version, rule);
        }
        if let Decision::Act { rule, elders_selected, .. } = &mut latest.decision {
            *elders_selected = goes_first;
            if brings_to_light && !rules.policy.allow_promotion {
                latest.decision = Decision::Keep(KeepReason::Promotion(*rule));
            }
        }
    }
    decided
}
