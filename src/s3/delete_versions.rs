//! DeleteObjects, always with version ids and always verbose.
//!
//! An answer counts only as a whole. Each item of the request is looked up in it by key and version
//! id: one that is confirmed is deleted, one that is refused carries its code, one that is in neither
//! list, or in both, is unaccounted and never assumed done. An element that was not asked for, or a
//! delete marker that appeared, is a tripwire.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use reqwest::Method;

use crate::model::{Class, DeleteOptions, Item, Key, Kind, VersionId};

use super::checksum::{ChecksumAlgorithm, content_md5};
use super::client::Client;
use super::codes::{Scope, StopKind, Tripwire, Verdict, of_item};
use super::error::{Operation, S3Error, clean_code, clean_message};
use super::plain_xml::read_xml;
use super::send::Call;
use super::xml::{BadXml, Elements, escape_into, escaped_len, put_once};

/// The most items that S3 takes in one call.
pub const ITEMS_MAX: usize = 1000;
/// Ceph RGW refuses a body above 1 MiB: 1,000 long keys are more.
pub const BODY_BYTES_MAX: usize = 900 * 1024;

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
const TAIL: &str = "<Quiet>false</Quiet></Delete>";
const ITEM_PARTS: [&str; 3] = ["<Object><Key>", "</Key><VersionId>", "</VersionId></Object>"];

const PARTS_BYTES: usize = ITEM_PARTS[0].len() + ITEM_PARTS[1].len() + ITEM_PARTS[2].len();

/// What became of one item of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ItemAnswer {
    /// The server confirmed that the version is not there any more.
    Deleted,
    /// The server named an error. Class [`Class::Done`] means that there was no such version.
    Refused {
        /// What the error asks of the caller.
        class: Class,
        /// How often the same error is worth another try; see [`Verdict::tries_max`].
        tries_max: Option<u32>,
        /// The server's code, empty where it gave none.
        code: Box<str>,
        /// The server's message, without control characters.
        message: Box<str>,
    },
    /// The answer does not say, or contradicts itself.
    Unaccounted,
}

/// What became of all items of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteAnswer {
    /// The server's name for the request.
    pub request_id: Option<Arc<str>>,
    /// One for each item of the request, in its order.
    pub outcomes: Vec<ItemAnswer>,
}

/// A call that deletes some of a list of items, by their indices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shape {
    /// One DeleteObjects.
    Many(Vec<usize>),
    /// One DeleteObject, since XML cannot hold the key.
    Single(usize),
}

/// Splits items into calls: at most [`ITEMS_MAX`] of them and [`BODY_BYTES_MAX`] of body each, keys
/// that XML cannot hold on their own. The order is kept within the calls of a kind.
///
/// `of` are the indices of the items that are wanted.
pub fn shape(items: &[Item], of: &[usize]) -> Vec<Shape> {
    let mut shapes = Vec::new();
    let mut many = Vec::with_capacity(of.len().min(ITEMS_MAX));
    let mut bytes = HEAD.len() + TAIL.len();
    let (mut singles, mut held) = (Vec::new(), None);
    // An escape is at most six bytes. Where even that would fit, nobody need look for escapes.
    let longest = |&index: &usize| items.get(index).map_or(0, |item| PARTS_BYTES + 6 * plain_len(item));
    let all_fit = bytes + of.iter().map(longest).sum::<usize>() <= BODY_BYTES_MAX;
    for (index, item) in of.iter().filter_map(|&index| Some((index, items.get(index)?))) {
        if !fits_xml(item, &mut held) {
            singles.push(Shape::Single(index));
            continue;
        }
        let more = if all_fit { 0 } else { item_len(item) };
        if many.len() == ITEMS_MAX || (bytes + more > BODY_BYTES_MAX && !many.is_empty()) {
            shapes.push(Shape::Many(std::mem::take(&mut many)));
            bytes = HEAD.len() + TAIL.len();
        }
        bytes += more;
        many.push(index);
    }
    if !many.is_empty() {
        shapes.push(Shape::Many(many));
    }
    shapes.append(&mut singles);
    shapes
}

/// Whether XML can hold an item. `held` is the last key of which that is known: most items have the key
/// of the item before.
fn fits_xml<'i>(item: &'i Item, held: &mut Option<&'i Key>) -> bool {
    if *held != Some(&item.key) {
        if !item.key.fits_xml() {
            return false;
        }
        *held = Some(&item.key);
    }
    is_printable(&item.version_id)
}

fn is_printable(id: &VersionId) -> bool {
    let odd = id.as_bytes().iter().fold(false, |odd, byte| odd | !matches!(byte, 0x20..=0x7e));
    !odd || !id.as_str().chars().any(char::is_control)
}

/// Bytes of an item's key and id as they are.
fn plain_len(item: &Item) -> usize {
    item.key.as_bytes().len() + item.version_id.as_bytes().len()
}

fn item_len(item: &Item) -> usize {
    PARTS_BYTES + escaped_len(item.key.as_bytes()) + escaped_len(item.version_id.as_bytes())
}

/// The body of the request that [`Client::delete_versions`] sends for these items. Keys must be such
/// as XML can hold, which [`shape`] sees to.
pub fn body_of(items: &[&Item]) -> Bytes {
    // Escapes are rare: what they add is no reason to look at all bytes twice.
    let length: usize = items.iter().map(|item| PARTS_BYTES + plain_len(item)).sum();
    let mut body = Vec::with_capacity(HEAD.len() + length + TAIL.len());
    body.extend_from_slice(HEAD.as_bytes());
    let [before, between, behind] = ITEM_PARTS;
    for item in items {
        body.extend_from_slice(before.as_bytes());
        escape_into(&mut body, item.key.as_bytes());
        body.extend_from_slice(between.as_bytes());
        escape_into(&mut body, item.version_id.as_bytes());
        body.extend_from_slice(behind.as_bytes());
    }
    body.extend_from_slice(TAIL.as_bytes());
    body.into()
}

/// Headers of a delete that the job's options ask for.
pub(super) fn delete_headers(options: &DeleteOptions) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    if options.bypass_governance_retention {
        headers.push(("x-amz-bypass-governance-retention", "true".to_owned()));
    }
    if let Some(mfa) = &options.mfa {
        headers.push(("x-amz-mfa", format!("{} {}", mfa.serial, mfa.token)));
    }
    headers
}

/// Whether an answer that speaks of a delete marker with this version id tells that the server
/// inserted one.
///
/// Where the id is the one that was sent, the marker is what was deleted.
pub(super) fn marker_appeared(item: &Item, marker_id: Option<&str>) -> bool {
    match marker_id.filter(|id| !id.is_empty()) {
        Some(id) => id.as_bytes() != item.version_id.as_bytes(),
        None => item.kind == Kind::Version,
    }
}

impl Client {
    /// Deletes up to [`ITEMS_MAX`] versions in one call; [`shape`] makes calls of any list.
    ///
    /// # Errors
    /// Those of the attempt. A body that is cut or is none is transient, and the call may have taken
    /// effect. A tripwire where the answer names what was not asked for, or a delete marker appeared.
    pub async fn delete_versions(
        &self,
        items: &[&Item],
        options: &DeleteOptions,
    ) -> Result<DeleteAnswer, S3Error> {
        let context = self.context(Operation::DeleteObjects);
        if items.is_empty() || items.len() > ITEMS_MAX {
            let message = format!("{} items in a call of 1 to {ITEMS_MAX}", items.len());
            return Err(context.error("InvalidCall", &message, Verdict::stop(StopKind::Bug)));
        }
        let mut held = None;
        if let Some(odd) = items.iter().find(|item| !fits_xml(item, &mut held)) {
            let message = format!("XML cannot hold the key \"{}\"", odd.key);
            return Err(context.error("UnencodableKey", &message, Verdict::of(Class::Divide)));
        }
        let mut call = Call::ask(context, Method::POST, "delete=");
        call.scope = Scope::Batch;
        call.body = body_of(items);
        call.headers = self.common_headers();
        call.headers.extend(delete_headers(options));
        call.headers.extend(body_headers(&call.body, self.config.checksum));
        let answer = self.attempt(&call).await?;
        let mut ledger = Ledger::new(items);
        match ledger.read(&answer.body) {
            Ok(()) => {}
            Err(Fault::Malformed(why)) => return Err(answer.malformed(&call, &why)),
            Err(Fault::Tripwire(wire, message)) => {
                return Err(answer.blame(context.tripwire(wire, &message), true));
            }
        }
        let mut outcomes = ledger.close();
        for outcome in &mut outcomes {
            if let ItemAnswer::Refused { message, .. } = outcome {
                *message = call.redact(answer.signer.redact(std::mem::take(message).into())).into();
            }
        }
        Ok(DeleteAnswer { request_id: answer.request_id(), outcomes })
    }
}

fn body_headers(body: &[u8], checksum: Option<ChecksumAlgorithm>) -> Vec<(&'static str, String)> {
    let mut headers =
        vec![("content-md5", content_md5(body)), ("content-type", "application/xml".to_owned())];
    if let Some(algorithm) = checksum {
        headers.push((algorithm.header(), algorithm.value(body)));
        headers.push(("x-amz-sdk-checksum-algorithm", algorithm.name().to_owned()));
    }
    headers
}

/// Why an answer cannot be used.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Malformed(BadXml),
    Tripwire(Tripwire, String),
}

impl From<BadXml> for Fault {
    fn from(why: BadXml) -> Self {
        Self::Malformed(why)
    }
}

/// One `<Deleted>` or `<Error>`.
#[derive(Default)]
struct Element<'a> {
    key: Option<Cow<'a, str>>,
    version_id: Option<Cow<'a, str>>,
    delete_marker: Option<Cow<'a, str>>,
    marker_id: Option<Cow<'a, str>>,
    code: Option<Cow<'a, str>>,
    message: Option<Cow<'a, str>>,
}

impl<'a> Element<'a> {
    fn read(document: &mut impl Elements<'a>) -> Result<Self, BadXml> {
        let mut element = Self::default();
        let wanted = |name: &str| {
            matches!(
                name,
                "Key" | "VersionId" | "DeleteMarker" | "DeleteMarkerVersionId" | "Code" | "Message"
            )
        };
        document.leaves(wanted, |name, text| {
            let slot = match name {
                "Key" => &mut element.key,
                "VersionId" => &mut element.version_id,
                "DeleteMarker" => &mut element.delete_marker,
                "DeleteMarkerVersionId" => &mut element.marker_id,
                "Code" => &mut element.code,
                _ => &mut element.message,
            };
            put_once(slot, text.resolved()?)
        })?;
        Ok(element)
    }

    /// The version id, where one is given that is not empty.
    fn version_id(&self) -> Option<&str> {
        self.version_id.as_deref().filter(|id| !id.is_empty())
    }
}

/// All elements of an answer.
struct Told<'a> {
    deleted: Vec<Element<'a>>,
    refused: Vec<Element<'a>>,
}

impl<'a> Told<'a> {
    fn read(document: &mut impl Elements<'a>) -> Result<Self, BadXml> {
        if document.root() != "DeleteResult" {
            return Err("the root element is not DeleteResult".into());
        }
        let mut told = Self { deleted: Vec::with_capacity(ITEMS_MAX), refused: Vec::new() };
        while let Some(start) = document.child()? {
            match start.as_ref() {
                "Deleted" => told.deleted.push(Element::read(document)?),
                "Error" => told.refused.push(Element::read(document)?),
                _ => document.skip()?,
            }
        }
        Ok(told)
    }
}

/// What was asked for, and what the answer says of it.
struct Ledger<'i> {
    items: &'i [&'i Item],
    /// `None` where nothing was said yet.
    said: Vec<Option<ItemAnswer>>,
    /// The item behind the last one found: most servers answer in the order of the request.
    next: usize,
    /// Made when an element is out of order.
    by_name: Option<HashMap<Name<'i>, usize, BuildHasherDefault<NameHasher>>>,
}

/// A key and a version id, as bytes.
type Name<'i> = (&'i [u8], &'i [u8]);

/// Mixes eight bytes at a time. The names are the request's own and a thousand at most, so nobody gains
/// by making them collide, and an answer that is out of order asks for every one of them.
#[derive(Default)]
struct NameHasher(u64);

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
        let mut word = [0; 8];
        word[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        self.write_u64(u64::from_le_bytes(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(26) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

impl<'i> Ledger<'i> {
    fn new(items: &'i [&'i Item]) -> Self {
        Self { items, said: vec![None; items.len()], next: 0, by_name: None }
    }

    fn read(&mut self, body: &[u8]) -> Result<(), Fault> {
        let Told { deleted, refused } = read_xml(body, Told::read, Told::read)?;
        for element in &deleted {
            self.confirm(element)?;
        }
        for element in &refused {
            self.refuse(element)?;
        }
        Ok(())
    }

    fn confirm(&mut self, element: &Element<'_>) -> Result<(), Fault> {
        let is_marker =
            element.delete_marker.as_deref().is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let marker_id = element.marker_id.as_deref().filter(|id| !id.is_empty());
        // Without a version id the marker's tells which item it was, if it was one.
        let named = element.version_id().or(marker_id.filter(|_| is_marker));
        let found = self.find(element, named);
        if let Ok(Some(index)) = found
            && is_marker
            && marker_appeared(self.items[index], marker_id)
        {
            return Err(marker_fault(element));
        }
        let index = match found {
            Ok(Some(index)) => index,
            Ok(None) => return Ok(()),
            Err(_) if is_marker && element.version_id().is_none() => return Err(marker_fault(element)),
            Err(fault) => return Err(fault),
        };
        self.said[index] = Some(match self.said[index].take() {
            None | Some(ItemAnswer::Deleted) => ItemAnswer::Deleted,
            Some(_) => ItemAnswer::Unaccounted,
        });
        Ok(())
    }

    fn refuse(&mut self, element: &Element<'_>) -> Result<(), Fault> {
        // An error without a key is about none of them: they stay unaccounted.
        if element.key.as_deref().is_none_or(str::is_empty) {
            return Ok(());
        }
        let Some(index) = self.find(element, element.version_id())? else { return Ok(()) };
        let code = element.code.as_deref().unwrap_or_default();
        let verdict = of_item(code);
        let refusal = ItemAnswer::Refused {
            class: verdict.class,
            tries_max: verdict.tries_max,
            code: clean_code(code),
            message: clean_message(element.message.as_deref().unwrap_or_default()),
        };
        self.said[index] = Some(match self.said[index].take() {
            None => refusal,
            // "Deleted" and "there was none" agree.
            Some(ItemAnswer::Deleted) if verdict.class == Class::Done => ItemAnswer::Deleted,
            Some(same) if same == refusal => same,
            Some(_) => ItemAnswer::Unaccounted,
        });
        Ok(())
    }

    /// The item that an element speaks of. `None` where it leaves out the version id and several
    /// items have its key: nothing can be concluded from it.
    fn find(&mut self, element: &Element<'_>, version_id: Option<&str>) -> Result<Option<usize>, Fault> {
        let Some(key) = element.key.as_deref() else {
            return Err(BadXml::from("an element without Key").into());
        };
        if let Some(item) = self.items.get(self.next)
            && item.key.as_bytes() == key.as_bytes()
            && Some(item.version_id.as_bytes()) == version_id.map(str::as_bytes)
        {
            self.next += 1;
            return Ok(Some(self.next - 1));
        }
        let found = match version_id {
            Some(id) => {
                let items = self.items;
                let by_name = self.by_name.get_or_insert_with(|| {
                    let name = |item: &&'i Item| (item.key.as_bytes(), item.version_id.as_bytes());
                    items.iter().enumerate().rev().map(|(index, item)| (name(item), index)).collect()
                });
                by_name.get(&(key.as_bytes(), id.as_bytes())).copied()
            }
            None => {
                let mut same_key =
                    (0..self.items.len()).filter(|index| self.items[*index].key.as_bytes() == key.as_bytes());
                match (same_key.next(), same_key.next()) {
                    (only, None) => only,
                    _ => return Ok(None),
                }
            }
        };
        match found {
            Some(index) => {
                self.next = index + 1;
                Ok(Some(index))
            }
            None => Err(Fault::Tripwire(Tripwire::ForeignKey, foreign(key, version_id))),
        }
    }

    fn close(self) -> Vec<ItemAnswer> {
        self.said.into_iter().map(|said| said.unwrap_or(ItemAnswer::Unaccounted)).collect()
    }
}

fn foreign(key: &str, version_id: Option<&str>) -> String {
    let version = version_id.map(|id| format!(", version {}", id.escape_debug())).unwrap_or_default();
    format!("the answer names key \"{}\"{version}, which was not asked for", key.escape_debug())
}

fn marker_fault(element: &Element<'_>) -> Fault {
    let key = element.key.as_deref().unwrap_or_default().escape_debug();
    let message = format!("a delete marker appeared on key \"{key}\": the server ignored the version id");
    Fault::Tripwire(Tripwire::VersionIdIgnored, message)
}

#[cfg(test)]
mod tests;
