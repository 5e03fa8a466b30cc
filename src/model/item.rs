//! What a run means to do: an item for each selected version, a batch for each request.

use std::fmt;

use super::text::Arena;
use super::{CopyItem, Key, Kind, Timestamp, VersionId};

/// Index of a rule in its job, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RuleId(pub u16);

/// Index of an action in its job, from 0. Rules whose requests look alike share one, so that their
/// items may travel in one batch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ActionId(pub u16);

/// The multi-factor token of a bucket with MFA Delete.
#[derive(Clone, PartialEq, Eq)]
pub struct Mfa {
    /// Serial number or ARN of the device.
    pub serial: String,
    /// The token: a secret for the minute it is valid.
    pub token: String,
}

/// The token stays out of every output.
impl fmt::Debug for Mfa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mfa {{ serial: {:?}, token: *** }}", self.serial)
    }
}

/// What a delete request carries beside its items.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeleteOptions {
    /// Sends `x-amz-bypass-governance-retention: true`.
    pub bypass_governance_retention: bool,
    /// Sends `x-amz-mfa`.
    pub mfa: Option<Mfa>,
}

/// One version that a rule selected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// Its key.
    pub key: Key,
    /// Its version id: a delete without one would insert a delete marker.
    pub version_id: VersionId,
    /// Object version or delete marker.
    pub kind: Kind,
    /// Whether it was the latest entry of its key when it was listed.
    pub is_latest: bool,
    /// Bytes; 0 for a delete marker.
    pub size: u64,
    /// When it was created.
    pub last_modified: Timestamp,
    /// The rule that selected it.
    pub rule: RuleId,
    /// What copying it needs, and then the copy; absent where it is deleted and nothing else.
    pub copy: Option<Box<CopyItem>>,
}

impl Item {
    /// Moves the keys and ids of items out of the arenas of their pages into one that holds nothing
    /// else, so that a page does not stay in memory for one item of it.
    pub fn detach(items: &mut [Self]) {
        let length =
            items.iter().map(|item| item.key.as_bytes().len() + item.version_id.as_bytes().len()).sum();
        let mut arena = Arena::with_capacity(length);
        let mut key = super::Span::default();
        let spans: Vec<_> = items
            .iter()
            .map(|item| {
                key = arena.put_again(item.key.as_bytes(), key);
                (key, arena.put_str(item.version_id.as_str()))
            })
            .collect();
        let arena = arena.seal();
        for (item, (key, id)) in items.iter_mut().zip(spans) {
            item.key = Key::at(&arena, key);
            if let Some(id) = VersionId::at(&arena, id) {
                item.version_id = id;
            }
        }
    }
}

/// When a batch may be sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// At once: its items are not the latest of their key, or nothing else of that key is selected.
    Elders,
    /// After the batches that hold the elder items of its keys are settled.
    Latest,
}

/// Items that go out in one request, as the checkpoint handed them out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Row id in the checkpoint.
    pub id: i64,
    /// The range it was planned from.
    pub range: i64,
    /// First or second phase.
    pub phase: Phase,
    /// What to do with its items.
    pub action: ActionId,
    /// How often it was handed out and came back unsettled.
    pub attempts: u32,
    /// When it was first found unsettled after an attempt; `give_up_after` counts from here.
    pub first_attempt: Option<Timestamp>,
    /// At most 1,000.
    pub items: Vec<Item>,
}

impl Batch {
    /// Bytes of all items.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detached_items_are_the_same_items() {
        let item = |key: &str, id: &str| Item {
            key: Key::from(key),
            version_id: VersionId::new(id).unwrap(),
            kind: Kind::Version,
            is_latest: false,
            size: 1,
            last_modified: Timestamp::from_millis(2),
            rule: RuleId(0),
            copy: None,
        };
        let items = [item("a", "1"), item("a", "2"), item("", "3"), item("b", "1")];
        let mut moved = items.clone();
        Item::detach(&mut moved);
        assert_eq!(moved, items);
    }

    #[test]
    fn a_token_does_not_show_in_debug() {
        let mfa = Mfa { serial: "arn:mfa".into(), token: "918273".into() };
        assert!(!format!("{mfa:?}").contains("918273"));
    }
}
