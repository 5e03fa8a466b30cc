//! The state of a key that is still open at the end of a page, as bytes for the checkpoint.

use serde::{Deserialize, Serialize};

use crate::model::{ActionId, KeepReason, Key, Kind, RuleId, Text, Timestamp, Version, VersionId};
use crate::rules::{Decided, Decision, KeyState, Newer, Tie};

use super::chains::OpenKey;

/// What is carried from one page of a range to the next.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Carried {
    /// The open key, as the rules see it.
    pub fold: Option<KeyState>,
    /// The rules that have selected something of the open key, so that keys are counted once.
    pub key_rules: Vec<RuleId>,
    /// The decisions that wait for the end of the open key.
    pub open: Option<OpenKey>,
}

#[derive(Serialize, Deserialize)]
struct CarriedDto {
    fold: Option<StateDto>,
    key_rules: Vec<u16>,
    /// Left out where nothing travels, as in checkpoints of versions that could not copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open: Option<OpenDto>,
}

#[derive(Serialize, Deserialize)]
struct OpenDto {
    key: Vec<u8>,
    held: Vec<(VersionDto, DecisionDto)>,
    is_too_long: bool,
}

#[derive(Serialize, Deserialize)]
enum DecisionDto {
    NoRule,
    Rule(u16),
    Cutoff,
    Promotion(u16),
    NullVersion(u16),
    Ambiguous(u16),
    Unfinished,
    ChainTooLong(u16),
    LockObject,
    Act { rule: u16, action: u16, elders_selected: bool },
    Copy { rule: u16, action: u16 },
}

impl From<Decision> for DecisionDto {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Keep(KeepReason::NoRule) => Self::NoRule,
            Decision::Keep(KeepReason::Rule(rule)) => Self::Rule(rule.0),
            Decision::Keep(KeepReason::Cutoff) => Self::Cutoff,
            Decision::Keep(KeepReason::Promotion(rule)) => Self::Promotion(rule.0),
            Decision::Keep(KeepReason::NullVersion(rule)) => Self::NullVersion(rule.0),
            Decision::Keep(KeepReason::Ambiguous(rule)) => Self::Ambiguous(rule.0),
            Decision::Keep(KeepReason::Unfinished) => Self::Unfinished,
            Decision::Keep(KeepReason::ChainTooLong(rule)) => Self::ChainTooLong(rule.0),
            Decision::Keep(KeepReason::LockObject) => Self::LockObject,
            Decision::Act { rule, action, elders_selected } => {
                Self::Act { rule: rule.0, action: action.0, elders_selected }
            }
            Decision::Copy { rule, action } => Self::Copy { rule: rule.0, action: action.0 },
        }
    }
}

impl From<DecisionDto> for Decision {
    fn from(decision: DecisionDto) -> Self {
        Self::Keep(match decision {
            DecisionDto::NoRule => KeepReason::NoRule,
            DecisionDto::Rule(rule) => KeepReason::Rule(RuleId(rule)),
            DecisionDto::Cutoff => KeepReason::Cutoff,
            DecisionDto::Promotion(rule) => KeepReason::Promotion(RuleId(rule)),
            DecisionDto::NullVersion(rule) => KeepReason::NullVersion(RuleId(rule)),
            DecisionDto::Ambiguous(rule) => KeepReason::Ambiguous(RuleId(rule)),
            DecisionDto::Unfinished => KeepReason::Unfinished,
            DecisionDto::ChainTooLong(rule) => KeepReason::ChainTooLong(RuleId(rule)),
            DecisionDto::LockObject => KeepReason::LockObject,
            DecisionDto::Act { rule, action, elders_selected } => {
                return Self::Act { rule: RuleId(rule), action: ActionId(action), elders_selected };
            }
            DecisionDto::Copy { rule, action } => {
                return Self::Copy { rule: RuleId(rule), action: ActionId(action) };
            }
        })
    }
}

#[derive(Serialize, Deserialize)]
struct StateDto {
    key: Vec<u8>,
    latest: Option<VersionDto>,
    newer: NewerDto,
    tie: Option<TieDto>,
    noncurrent_versions: u64,
    survivor_is_marker: Option<bool>,
    elders_selected: bool,
}

#[derive(Serialize, Deserialize)]
struct VersionDto {
    id: String,
    marker: bool,
    modified_ms: i64,
    size: u64,
    etag: Option<String>,
    storage_class: Option<String>,
}

impl From<&Version> for VersionDto {
    fn from(version: &Version) -> Self {
        Self {
            id: version.id.as_str().to_owned(),
            marker: is_marker(version.kind),
            modified_ms: version.last_modified.as_millis(),
            size: version.size,
            etag: version.etag.as_deref().map(str::to_owned),
            storage_class: version.storage_class.as_deref().map(str::to_owned),
        }
    }
}

impl VersionDto {
    /// The entry of this key; `None` where its id is none.
    fn named(self, key: &Key, is_latest: bool) -> Option<Version> {
        Some(Version {
            key: key.clone(),
            id: VersionId::new(self.id)?,
            kind: kind(self.marker),
            is_latest,
            last_modified: Timestamp::from_millis(self.modified_ms),
            size: self.size,
            etag: self.etag.map(Text::from),
            storage_class: self.storage_class.map(Text::from),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct TieDto {
    at_ms: Option<i64>,
    above: NewerDto,
    noncurrent_above: u64,
    has_marker: bool,
}

#[derive(Serialize, Deserialize)]
enum NewerDto {
    Nothing,
    At(i64),
    Unknown,
}

impl From<Newer> for NewerDto {
    fn from(newer: Newer) -> Self {
        match newer {
            Newer::Nothing => Self::Nothing,
            Newer::At(at) => Self::At(at.as_millis()),
            Newer::Unknown => Self::Unknown,
        }
    }
}

impl From<NewerDto> for Newer {
    fn from(newer: NewerDto) -> Self {
        match newer {
            NewerDto::Nothing => Self::Nothing,
            NewerDto::At(at) => Self::At(Timestamp::from_millis(at)),
            NewerDto::Unknown => Self::Unknown,
        }
    }
}

const fn is_marker(kind: Kind) -> bool {
    matches!(kind, Kind::DeleteMarker)
}

const fn kind(is_marker: bool) -> Kind {
    if is_marker { Kind::DeleteMarker } else { Kind::Version }
}

/// Encodes; `None` where nothing is carried.
///
/// # Errors
/// Those of the JSON writer, which none of these types can cause.
pub(super) fn encode(carried: &Carried) -> Result<Option<Box<[u8]>>, serde_json::Error> {
    if *carried == Carried::default() {
        return Ok(None);
    }
    let fold = carried.fold.as_ref().map(|state| StateDto {
        key: state.key.as_bytes().to_vec(),
        latest: state.latest.as_ref().map(VersionDto::from),
        newer: state.newer.into(),
        tie: state.tie.as_ref().map(|tie| TieDto {
            at_ms: tie.at.map(Timestamp::as_millis),
            above: tie.above.into(),
            noncurrent_above: tie.noncurrent_above,
            has_marker: tie.has_marker,
        }),
        noncurrent_versions: state.noncurrent_versions,
        survivor_is_marker: state.newest_survivor.map(is_marker),
        elders_selected: state.elders_selected,
    });
    let key_rules = carried.key_rules.iter().map(|rule| rule.0).collect();
    let open = carried.open.as_ref().map(|open| OpenDto {
        key: open.key().as_bytes().to_vec(),
        held: open.held().iter().map(|one| (VersionDto::from(&one.version), one.decision.into())).collect(),
        is_too_long: open.is_too_long(),
    });
    Ok(Some(serde_json::to_vec(&CarriedDto { fold, key_rules, open })?.into()))
}

/// Decodes what [`encode`] wrote; `None` where the bytes are not of that form.
pub(super) fn decode(bytes: Option<&[u8]>) -> Option<Carried> {
    let Some(bytes) = bytes else { return Some(Carried::default()) };
    let dto: CarriedDto = serde_json::from_slice(bytes).ok()?;
    let fold = match dto.fold {
        Some(state) => Some(state_from(state)?),
        None => None,
    };
    let open = match dto.open {
        Some(open) => Some(open_from(open)?),
        None => None,
    };
    Some(Carried { fold, key_rules: dto.key_rules.into_iter().map(RuleId).collect(), open })
}

fn open_from(open: OpenDto) -> Option<OpenKey> {
    let key = Key::from(open.key);
    let mut held = OpenKey::new(key.clone(), open.is_too_long);
    for (version, decision) in open.held {
        let version = version.named(&key, false)?;
        // As many were held before.
        if !held.hold(Decided { version, decision: decision.into() }).is_empty() {
            return None;
        }
    }
    Some(held)
}

fn state_from(state: StateDto) -> Option<KeyState> {
    let key = Key::from(state.key);
    let latest = match state.latest {
        Some(latest) => Some(latest.named(&key, true)?),
        None => None,
    };
    Some(KeyState {
        key,
        latest,
        newer: state.newer.into(),
        tie: state.tie.map(|tie| Tie {
            at: tie.at_ms.map(Timestamp::from_millis),
            above: tie.above.into(),
            noncurrent_above: tie.noncurrent_above,
            has_marker: tie.has_marker,
        }),
        noncurrent_versions: state.noncurrent_versions,
        newest_survivor: state.survivor_is_marker.map(kind),
        elders_selected: state.elders_selected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_the_end_of_its_key_comes_back_whole() {
        let key = Key::new(*b"\xff/k");
        let (rule, action) = (RuleId(3), ActionId(4));
        let reasons = [
            KeepReason::NoRule,
            KeepReason::Rule(rule),
            KeepReason::Cutoff,
            KeepReason::Promotion(rule),
            KeepReason::NullVersion(rule),
            KeepReason::Ambiguous(rule),
            KeepReason::Unfinished,
            KeepReason::ChainTooLong(rule),
            KeepReason::LockObject,
        ];
        let selected =
            [Decision::Act { rule, action, elders_selected: true }, Decision::Copy { rule, action }];
        let decisions = reasons.into_iter().map(Decision::Keep).chain(selected);
        let mut open = OpenKey::new(key.clone(), false);
        for (n, decision) in decisions.enumerate() {
            let version = Version {
                key: key.clone(),
                id: VersionId::new(format!("v{n}")).unwrap(),
                kind: kind(n % 2 == 1),
                is_latest: false,
                last_modified: Timestamp::from_millis(n as i64),
                size: 7,
                etag: Some("\"e\"".into()),
                storage_class: Some("GLACIER".into()),
            };
            assert!(open.hold(Decided { version, decision }).is_empty());
        }
        for open in [open, OpenKey::new(key, true)] {
            let carried = Carried { open: Some(open), ..Carried::default() };
            let bytes = encode(&carried).unwrap();
            assert_eq!(decode(bytes.as_deref()), Some(carried));
        }
    }

    #[test]
    fn what_was_written_before_anything_could_travel_is_read() {
        let written = br#"{"fold":null,"key_rules":[2]}"#;
        let carried = Carried { key_rules: vec![RuleId(2)], ..Carried::default() };
        assert_eq!(decode(Some(written)), Some(carried.clone()));
        assert_eq!(encode(&carried).unwrap().as_deref(), Some(written.as_slice()));
    }

    #[test]
    fn what_is_carried_comes_back_whole() {
        let key = Key::new(*b"a\x00\xff/b");
        let carried = Carried {
            fold: Some(KeyState {
                key: key.clone(),
                latest: Some(Version {
                    key,
                    id: VersionId::new("null").unwrap(),
                    kind: Kind::DeleteMarker,
                    is_latest: true,
                    last_modified: Timestamp::from_millis(-5),
                    size: u64::MAX,
                    etag: Some("\"e\"".into()),
                    storage_class: None,
                }),
                newer: Newer::At(Timestamp::from_millis(7)),
                tie: Some(Tie { at: None, above: Newer::Unknown, noncurrent_above: 3, has_marker: true }),
                noncurrent_versions: 9,
                newest_survivor: Some(Kind::Version),
                elders_selected: true,
            }),
            key_rules: vec![RuleId(2)],
            open: None,
        };
        let bytes = encode(&carried).unwrap();
        assert_eq!(decode(bytes.as_deref()), Some(carried));
        assert_eq!(encode(&Carried::default()).unwrap(), None);
        assert_eq!(decode(None), Some(Carried::default()));
        assert_eq!(decode(Some(b"{")), None);
    }
}
