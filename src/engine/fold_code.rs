//! The state of a key that is still open at the end of a page, as bytes for the checkpoint.

use serde::{Deserialize, Serialize};

use crate::model::{Key, Kind, RuleId, Text, Timestamp, Version, VersionId};
use crate::rules::{KeyState, Newer, Tie};

/// What is carried from one page of a range to the next.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Carried {
    /// The open key, as the rules see it.
    pub fold: Option<KeyState>,
    /// The rules that have selected something of the open key, so that keys are counted once.
    pub key_rules: Vec<RuleId>,
}

#[derive(Serialize, Deserialize)]
struct CarriedDto {
    fold: Option<StateDto>,
    key_rules: Vec<u16>,
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
        latest: state.latest.as_ref().map(|latest| VersionDto {
            id: latest.id.as_str().to_owned(),
            marker: is_marker(latest.kind),
            modified_ms: latest.last_modified.as_millis(),
            size: latest.size,
            etag: latest.etag.as_deref().map(str::to_owned),
            storage_class: latest.storage_class.as_deref().map(str::to_owned),
        }),
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
    Ok(Some(serde_json::to_vec(&CarriedDto { fold, key_rules })?.into()))
}

/// Decodes what [`encode`] wrote; `None` where the bytes are not of that form.
pub(super) fn decode(bytes: Option<&[u8]>) -> Option<Carried> {
    let Some(bytes) = bytes else { return Some(Carried::default()) };
    let dto: CarriedDto = serde_json::from_slice(bytes).ok()?;
    let fold = match dto.fold {
        Some(state) => Some(state_from(state)?),
        None => None,
    };
    Some(Carried { fold, key_rules: dto.key_rules.into_iter().map(RuleId).collect() })
}

fn state_from(state: StateDto) -> Option<KeyState> {
    let key = Key::from(state.key);
    let latest = match state.latest {
        Some(latest) => Some(Version {
            key: key.clone(),
            id: VersionId::new(latest.id)?,
            kind: kind(latest.marker),
            is_latest: true,
            last_modified: Timestamp::from_millis(latest.modified_ms),
            size: latest.size,
            etag: latest.etag.map(Text::from),
            storage_class: latest.storage_class.map(Text::from),
        }),
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
        };
        let bytes = encode(&carried).unwrap();
        assert_eq!(decode(bytes.as_deref()), Some(carried));
        assert_eq!(encode(&Carried::default()).unwrap(), None);
        assert_eq!(decode(None), Some(Carried::default()));
        assert_eq!(decode(Some(b"{")), None);
    }
}
