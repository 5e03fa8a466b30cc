//! A key's history at the destination, held against what was written there: pure.
//!
//! A chain is the only writer of its destination key while it runs. So the entries above the base, the
//! newest entry that was there before, are exactly the steps that were carried out. What a lost answer
//! or a crash left open shows in them: nothing more than the steps known means that the open one was not
//! carried out, one more that fits it means that it was, anything else is somebody else's work.

use std::collections::{HashMap, HashSet};

use crate::checkpoint::ChainBase;
use crate::model::{Copied, Item, Kind, Version, VersionId};
use crate::rules::{Order, Sequenced};
use crate::s3::Expect;

/// A version that is to be written, as its source was listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted<'a> {
    /// Object version or delete marker.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// The source's ETag; empty for a delete marker.
    pub etag: &'a str,
}

/// A step that was carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Written {
    /// The version id at the destination.
    pub version_id: VersionId,
    /// Its ETag there; empty for a delete marker, and where the server told none.
    pub etag: Box<str>,
}

/// What the destination shows of the step that comes next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// It was not carried out.
    Open,
    /// It was: this is the entry.
    Applied(Written),
    /// Somebody else wrote or removed entries of the key.
    Foreign(String),
}

/// The entries above the base, newest first.
fn fresh<'a>(base: &ChainBase, listed: &'a [Sequenced]) -> Result<&'a [Sequenced], String> {
    let Some(newest) = &base.newest else { return Ok(listed) };
    match listed.iter().position(|entry| entry.version.id == *newest) {
        Some(at) => Ok(&listed[..at]),
        None => Err(format!("version {newest}, the newest there before, is gone")),
    }
}

/// Whether an entry may be the copy of a version. ETags are compared where they can be: a copy may have
/// another one where its parts or its encryption differ, and its content is looked at then.
fn fits(entry: &Version, wanted: Wanted<'_>) -> bool {
    entry.kind == wanted.kind && (entry.kind == Kind::DeleteMarker || entry.size == wanted.size)
}

/// Whether the condition of a step can hold once more after it was carried out: at once, where what it writes is
/// like what the condition names, or further up, where the history comes back to that. A late attempt could then
/// come through beside its repetition. Of `history` all steps are needed, from the oldest.
pub(super) fn may_hold_again(history: &[Wanted<'_>], step: usize, expected: &Expect<'_>) -> bool {
    // By the size as well: one content has one ETag in parts and another in one piece, its copies have the same.
    let are_alike = |one: &Wanted<'_>, other: &Wanted<'_>| {
        other.kind == Kind::Version && (one.size == other.size || bare(one.etag) == bare(other.etag))
    };
    let Some((next, later)) = history.get(step..).and_then(<[_]>::split_first) else { return false };
    if next.kind == Kind::DeleteMarker {
        return true;
    }
    match expected {
        Expect::Anything => true,
        Expect::Absent => later.iter().any(|later| later.kind == Kind::DeleteMarker),
        Expect::Etag(etag) => {
            let before = step.checked_sub(1).and_then(|before| history.get(before));
            history[step..].iter().any(|later| {
                bare(etag) == bare(later.etag) || before.is_some_and(|before| are_alike(before, later))
            })
        }
    }
}

/// What became of the step behind `done`, which is to write `next`.
pub(super) fn place(
    base: &ChainBase,
    done: &[Written],
    next: Option<Wanted<'_>>,
    listed: &[Sequenced],
) -> Place {
    let fresh = match fresh(base, listed) {
        Ok(fresh) => fresh,
        Err(why) => return Place::Foreign(why),
    };
    if let Some(gone) = missing(base, done, fresh) {
        return Place::Foreign(format!("the copy {gone}, written before, is gone"));
    }
    let known: HashSet<&VersionId> = done.iter().map(|written| &written.version_id).collect();
    let mut extra = fresh.iter().map(|entry| &entry.version).filter(|entry| !known.contains(&entry.id));
    match (extra.next(), extra.next(), next) {
        (None, ..) => Place::Open,
        (Some(entry), None, Some(next)) if entry.is_latest && fits(entry, next) => Place::Applied(Written {
            version_id: entry.id.clone(),
            etag: entry.etag.as_ref().map(|etag| etag.as_str().into()).unwrap_or_default(),
        }),
        (Some(entry), ..) => Place::Foreign(format!("version {} was written by somebody else", entry.id)),
    }
}

/// Whether the copy of an item, verified before, is among the entries of its key still.
pub(super) fn holds(listed: &[Sequenced], item: &Item, copied: &Copied) -> bool {
    let wanted = Wanted { kind: item.kind, size: item.size, etag: "" };
    let is_it = |entry: &Version| {
        let etag = entry.etag.as_ref().map_or("", |etag| etag.as_str());
        let differs = !copied.etag.is_empty() && !etag.is_empty() && bare(etag) != bare(&copied.etag);
        entry.id == copied.version_id && fits(entry, wanted) && !differs
    };
    listed.iter().any(|entry| is_it(&entry.version))
}

/// A step that the destination does not show any more.
fn missing<'a>(base: &ChainBase, done: &'a [Written], fresh: &[Sequenced]) -> Option<&'a VersionId> {
    // A server that makes no second marker upon a marker names the one that stands there.
    let counts = |written: &&Written| base.newest.as_ref() != Some(&written.version_id);
    let ids: HashSet<&VersionId> = fresh.iter().map(|entry| &entry.version.id).collect();
    let is_there = |written: &&Written| ids.contains(&written.version_id);
    done.iter().filter(counts).find(|written| !is_there(written)).map(|written| &written.version_id)
}

/// Whether the destination shows the whole history and nothing else above the base: every copy, of its
/// size and with the ETag that it was written with, in its order, the last one the latest.
///
/// # Errors
/// What is wrong, for people.
pub(super) fn verify(
    base: &ChainBase,
    history: &[(Wanted<'_>, &Written)],
    listed: &[Sequenced],
) -> Result<(), String> {
    let fresh = fresh(base, listed)?;
    let done: Vec<Written> = history.iter().map(|(_, written)| (*written).clone()).collect();
    if let Some(gone) = missing(base, &done, fresh) {
        return Err(format!("the copy {gone} is not there"));
    }
    // A destination that keeps no versions overwrites them, and names each `null`. Markers are no data:
    // where no second one is made upon a marker, one does for both.
    let mut place_of: HashMap<&VersionId, usize> = HashMap::with_capacity(history.len());
    for (at, (wanted, written)) in history.iter().enumerate() {
        let id = &written.version_id;
        let is_another = place_of.contains_key(id) || base.newest.as_ref() == Some(id);
        if wanted.kind == Kind::Version && is_another {
            return Err(format!("the copy {id} is no version of its own: does the bucket keep versions?"));
        }
        place_of.entry(id).or_insert(at);
    }
    if let Some(foreign) = fresh.iter().find(|entry| !place_of.contains_key(&entry.version.id)) {
        return Err(format!("version {} was written by somebody else", foreign.version.id));
    }
    let mut places = Vec::with_capacity(fresh.len());
    for entry in fresh {
        let Some(at) = place_of.get(&entry.version.id).copied() else { continue };
        let (wanted, written) = history[at];
        if !fits(&entry.version, wanted) {
            return Err(format!(
                "the copy {} has {} bytes, not {}",
                entry.version.id, entry.version.size, wanted.size
            ));
        }
        let etag = entry.version.etag.as_ref().map_or("", |etag| etag.as_str());
        if !written.etag.is_empty() && !etag.is_empty() && bare(etag) != bare(&written.etag) {
            return Err(format!("the copy {} has ETag {etag}, not {}", entry.version.id, written.etag));
        }
        places.push((at, entry.order));
    }
    let is_sorted = places
        .windows(2)
        .all(|pair| pair[0].0 > pair[1].0 || pair.iter().any(|(_, order)| *order != Order::Known));
    if !is_sorted {
        return Err("the copies are not in their order".into());
    }
    match (history.last(), listed.iter().find(|entry| entry.version.is_latest)) {
        (Some((_, last)), Some(latest)) if latest.version.id != last.version_id => {
            Err(format!("the latest entry is {}, not {}", latest.version.id, last.version_id))
        }
        (Some(_), None) => Err("the key has no latest entry".into()),
        _ => Ok(()),
    }
}

/// An ETag without its quotes.
pub(super) fn bare(etag: &str) -> &str {
    etag.trim_matches('"')
}

/// The MD5 of the content, where the ETag is one: a single part, not encrypted by KMS or a customer's
/// key. There is no telling from the text alone, so that equality says something and difference nothing.
pub(super) fn looks_like_md5(etag: &str) -> bool {
    let bare = bare(etag);
    bare.len() == 32 && bare.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
