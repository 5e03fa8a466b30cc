//! DeleteObject and DeleteObjects.

use std::borrow::Cow;
use std::time::Instant;

use super::chance::{ItemFate, ItemFates, mix};
use super::op_object::named_version;
use super::oplog::Effect;
use super::ops::{Context, bypasses_governance, check_mfa};
use super::refusal::{Refusal, message_of};
use super::reply::Reply;
use super::request::Request;
use super::store::{Bucket, Deleted, write};
use super::version_id::{self, VersionRef};
use super::xml_in::{self, Element};
use super::xml_out::Xml;
use crate::model::{Key, Kind};

/// The most items that one DeleteObjects takes.
const ITEMS_MAX: usize = 1000;

/// What an item takes in an answer besides its key: room that is made at once.
const ITEM_BYTES: usize = 128;

const LOCKED: &str = "Access Denied because object protected by object lock.";

/// What an effect on the store is called in the log, and the version it concerns.
fn effect_of(deleted: &Deleted, named: Option<&str>) -> Option<(Option<String>, Effect)> {
    let named = named.map(str::to_owned);
    match deleted {
        Deleted::Removed { kind: Kind::Version } => Some((named.or(Some("null".into())), Effect::Deleted)),
        Deleted::Removed { kind: Kind::DeleteMarker } => {
            Some((named.or(Some("null".into())), Effect::MarkerDeleted))
        }
        Deleted::MarkerInserted { id } => Some((Some(id.clone()), Effect::MarkerCreated)),
        Deleted::Absent => Some((named, Effect::Absent)),
        Deleted::MarkerKept { .. } | Deleted::Locked => None,
    }
}

/// A delete that names no version. Some servers make no marker on top of a marker: they name the one
/// that is there.
fn hide(context: &Context<'_>, bucket: &mut Bucket, key: &[u8]) -> Deleted {
    if context.personality.markers_do_not_pile_up
        && let Some(latest) = bucket.latest(key)
        && latest.kind == Kind::DeleteMarker
    {
        return Deleted::MarkerKept { id: latest.id() };
    }
    bucket.delete_latest(key, context.store.next_sequence(), context.now)
}

/// DeleteObject.
pub(super) fn one(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let key = request.key()?;
    context.check_rate(key)?;
    let named = named_version(request)?.filter(|_| !context.chance.ignores_version_ids());
    let mut bucket = write(&bucket);
    let bypass = bypasses_governance(request, &bucket)?;
    check_mfa(request, &bucket, named.is_some())?;
    let text = named.map(|(_, text)| text);
    if let Some((wanted, text)) = named
        && context.personality.missing_version_is_error
        && bucket.entry(key.as_bytes(), wanted).is_none()
    {
        return Err(Refusal::of("NoSuchVersion").with("VersionId", text));
    }
    let deleted = match named {
        Some((wanted, _)) => bucket.delete_version(key.as_bytes(), wanted, context.now, bypass),
        None => {
            bucket.check_writable()?;
            hide(context, &mut bucket, key.as_bytes())
        }
    };
    let effect = effect_of(&deleted, text).map(|(id, effect)| (key.clone(), id, effect));
    context.log(request.bucket()?, effect.into_iter())?;
    let reply = Reply::empty(204);
    Ok(match (&deleted, text) {
        (Deleted::Locked, _) => return Err(Refusal::of("AccessDenied").saying(LOCKED)),
        (Deleted::MarkerInserted { id } | Deleted::MarkerKept { id }, _) => {
            reply.header("x-amz-delete-marker", "true").header("x-amz-version-id", id)
        }
        (Deleted::Removed { kind: Kind::DeleteMarker }, Some(text)) => {
            reply.header("x-amz-delete-marker", "true").header("x-amz-version-id", text)
        }
        (_, Some(text)) => reply.header("x-amz-version-id", text),
        (_, None) => reply,
    })
}

/// One `<Object>` of a request.
struct Item<'d> {
    key: Cow<'d, str>,
    version_id: Option<Cow<'d, str>>,
    /// ETag, LastModifiedTime or Size is given.
    has_conditions: bool,
}

/// What became of an item.
enum Outcome {
    Done(Deleted),
    Failed { code: Cow<'static, str>, message: Cow<'static, str> },
}

impl Outcome {
    /// With the message that AWS gives the code.
    fn failed(code: impl Into<Cow<'static, str>>) -> Self {
        let code = code.into();
        let message = message_of(&code);
        Self::Failed { code, message }
    }
}

/// DeleteObjects.
pub(super) fn many(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    if context.personality.no_multi_delete {
        return Err(Refusal::of("NotImplemented"));
    }
    let bucket = context.bucket(request)?;
    context.check_integrity()?;
    let (items, is_quiet) = read_items(&request.body)?;
    let fates = context
        .chance
        .of_items(items.iter().map(|item| (&*item.key, item.version_id.as_deref())), Instant::now());
    if fates == ItemFates::SlowDown {
        return Err(Refusal::of("SlowDown"));
    }
    let outcomes = {
        let mut bucket = write(&bucket);
        let bypass = bypasses_governance(request, &bucket)?;
        check_mfa(request, &bucket, items.iter().any(|item| item.version_id.is_some()))?;
        let how = How { bypass_governance: bypass, ignore_version_ids: context.chance.ignores_version_ids() };
        let outcomes: Vec<Outcome> = items
            .iter()
            .enumerate()
            .map(|(place, item)| apply(context, &mut bucket, item, fates.of(place), how))
            .collect();
        let effects = items.iter().zip(&outcomes).filter_map(|(item, outcome)| match outcome {
            Outcome::Done(deleted) => effect_of(deleted, item.version_id.as_deref())
                .map(|(id, effect)| (Key::from(&*item.key), id, effect)),
            Outcome::Failed { .. } => None,
        });
        context.log(request.bucket()?, effects)?;
        outcomes
    };
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Failed { .. })).count();
    let omitted = |place: usize| *fates.of(place) == ItemFate::Omitted;
    let mut reply =
        Reply::xml(write_answer(context, &items, &outcomes, omitted, is_quiet)).about(items.len());
    reply.keys_refused = refused as u64;
    Ok(reply)
}

fn read_items(body: &[u8]) -> Result<(Vec<Item<'_>>, bool), Refusal> {
    let malformed = || Refusal::of("MalformedXML");
    let root = xml_in::parse(body).map_err(|_| malformed())?;
    let is_quiet = match root.child_text("Quiet").map(str::trim) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(malformed()),
    };
    let mut items = Vec::with_capacity(root.children.len());
    for child in root.children {
        match child.name {
            "Object" => items.push(read_item(child).ok_or_else(malformed)?),
            "Quiet" => {}
            _ => return Err(malformed()),
        }
    }
    if root.name != "Delete" || items.is_empty() || items.len() > ITEMS_MAX {
        return Err(malformed());
    }
    Ok((items, is_quiet))
}

fn read_item(object: Element<'_>) -> Option<Item<'_>> {
    let (mut key, mut version_id, mut has_conditions) = (None, None, false);
    for child in object.children {
        match child.name {
            "Key" => key = Some(child.text),
            "VersionId" => version_id = Some(child.text),
            "ETag" | "LastModifiedTime" | "Size" => has_conditions = true,
            _ => return None,
        }
    }
    // An empty version id names no version: the latest is hidden by a delete marker.
    let version_id = version_id.filter(|id| !id.is_empty());
    Some(Item { key: key.filter(|key| !key.is_empty())?, version_id, has_conditions })
}

/// What holds for all items of a request.
#[derive(Clone, Copy)]
struct How {
    bypass_governance: bool,
    ignore_version_ids: bool,
}

fn apply(context: &Context<'_>, bucket: &mut Bucket, item: &Item<'_>, fate: &ItemFate, how: How) -> Outcome {
    if let ItemFate::Error(code) = fate {
        return Outcome::failed(code.clone());
    }
    if item.key.len() > 1024 {
        return Outcome::failed("KeyTooLongError");
    }
    if item.has_conditions {
        return Outcome::failed("NotImplemented");
    }
    let key = item.key.as_bytes();
    let named = item.version_id.as_deref().filter(|_| !how.ignore_version_ids);
    let deleted = match named.map(VersionRef::parse) {
        None if bucket.check_writable().is_err() => {
            return Outcome::failed("NotImplemented");
        }
        None => hide(context, bucket, key),
        Some(None) => return Outcome::failed("NoSuchVersion"),
        Some(Some(wanted)) => bucket.delete_version(key, wanted, context.now, how.bypass_governance),
    };
    match deleted {
        Deleted::Locked => {
            Outcome::Failed { code: Cow::Borrowed("AccessDenied"), message: Cow::Borrowed(LOCKED) }
        }
        Deleted::Absent if named.is_some() && context.personality.missing_version_is_error => {
            Outcome::failed("NoSuchVersion")
        }
        done => Outcome::Done(done),
    }
}

/// The answer names the items in an order of its own, as AWS's does.
fn write_answer(
    context: &Context<'_>,
    items: &[Item<'_>],
    outcomes: &[Outcome],
    omitted: impl Fn(usize) -> bool,
    is_quiet: bool,
) -> Vec<u8> {
    let mut xml = Xml::root("DeleteResult");
    if !is_quiet {
        xml.reserve(items.iter().map(|item| item.key.len() + ITEM_BYTES).sum());
    }
    let start = context.request_id.bytes().fold(0, |hash, byte| mix(&[hash, u64::from(byte)]));
    let start = usize::try_from(start % items.len().max(1) as u64).unwrap_or(0);
    for place in (start..items.len()).chain(0..start) {
        let (item, outcome) = (&items[place], &outcomes[place]);
        match outcome {
            Outcome::Done(_) if is_quiet || omitted(place) => {}
            Outcome::Done(deleted) => write_deleted(&mut xml, item, deleted),
            Outcome::Failed { code, message } => write_error(&mut xml, item, code, message),
        }
    }
    if let Some(foreign) = context.chance.take_foreign_key() {
        xml.open("Deleted");
        xml.leaf("Key", foreign);
        xml.leaf("VersionId", version_id::encode(u64::MAX));
        xml.close();
    }
    xml.finish()
}

fn write_deleted(xml: &mut Xml, item: &Item<'_>, deleted: &Deleted) {
    xml.open("Deleted");
    xml.leaf("Key", item.key.as_bytes());
    match (deleted, &item.version_id) {
        (Deleted::MarkerInserted { id } | Deleted::MarkerKept { id }, _) => {
            xml.flag("DeleteMarker", true);
            xml.leaf("DeleteMarkerVersionId", id);
        }
        (Deleted::Removed { kind: Kind::DeleteMarker }, Some(id)) => {
            xml.leaf("VersionId", id.as_bytes());
            xml.flag("DeleteMarker", true);
            xml.leaf("DeleteMarkerVersionId", id.as_bytes());
        }
        (_, Some(id)) => xml.leaf("VersionId", id.as_bytes()),
        (_, None) => {}
    }
    xml.close();
}

fn write_error(xml: &mut Xml, item: &Item<'_>, code: &str, message: &str) {
    xml.open("Error");
    xml.leaf("Key", item.key.as_bytes());
    if let Some(id) = &item.version_id {
        xml.leaf("VersionId", id.as_bytes());
    }
    xml.leaf("Code", code);
    xml.leaf("Message", message);
    xml.close();
}
