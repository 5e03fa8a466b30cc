//! Items as bytes: columns of prefix-delta coded keys, version ids and varints, compressed by zstd
//! with its content checksum, so that a damaged payload is found before anybody acts on it.
//!
//! A version id of AWS is 32 characters of chance, worth 24 bytes; the rest of an item comes to
//! about one byte.

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

use super::error::CheckpointError;
use super::values::{HeldItem, Mode};
use crate::model::{ActionId, Arena, Copied, CopyItem, Item, Key, Kind, RuleId, Span, Timestamp, VersionId};

/// Compression level of a plan, which may lie on the disk for days. Most of an item is its version id,
/// which is chance: a higher level gains next to nothing and takes twice the time.
const LEVEL_OF_PLAN: i32 = 1;
/// Compression level of what the next commits replace: batches that are planned and settled within
/// seconds, and the items that wait for their batch to fill, which each page of a range writes anew.
const LEVEL_OF_PASSING: i32 = -5;
/// Uncompressed bytes of a payload at most: 1,000 items with keys and ids of 1,024 bytes are 2 MiB,
/// and a key's fold is small. Guards the memory against a damaged length.
const PLAIN_BYTES_MAX: usize = 64 << 20;

/// The parts of a range's state that only the engine reads.
#[derive(PartialEq, Eq, Default, Debug)]
pub(super) struct RangeState {
    pub(super) recent: Vec<VersionId>,
    pub(super) fold: Option<Box<[u8]>>,
    pub(super) held: Option<HeldItem>,
}

/// Encoder and decoder with their working memory.
pub(super) struct Codec {
    /// For batches.
    compressor: Compressor<'static>,
    /// For the rest.
    passing: Compressor<'static>,
    decompressor: Decompressor<'static>,
}

impl Codec {
    pub(super) fn new(mode: Mode) -> Result<Self, CheckpointError> {
        let level = match mode {
            Mode::Plan => LEVEL_OF_PLAN,
            Mode::Stream => LEVEL_OF_PASSING,
        };
        let broken = |error| CheckpointError::bug(format!("zstd cannot be set up: {error}"));
        let compressor = |level| {
            let mut compressor = Compressor::new(level).map_err(broken)?;
            compressor.set_parameter(CParameter::ChecksumFlag(true)).map_err(broken)?;
            Ok(compressor)
        };
        Ok(Self {
            compressor: compressor(level)?,
            passing: compressor(LEVEL_OF_PASSING)?,
            decompressor: Decompressor::new().map_err(broken)?,
        })
    }

    /// The payload of a batch.
    pub(super) fn encode_items(&mut self, items: &[Item]) -> Result<Vec<u8>, CheckpointError> {
        pack(&mut self.compressor, &plain_items(items))
    }

    /// The payload of a tail, which [`Codec::decode_items`] reads as well.
    pub(super) fn encode_tail(&mut self, items: &[Item]) -> Result<Vec<u8>, CheckpointError> {
        pack(&mut self.passing, &plain_items(items))
    }

    /// The items of a payload, which must be `count` many; `whose` names it in the error.
    pub(super) fn decode_items(
        &mut self,
        data: &[u8],
        count: u64,
        whose: impl Fn() -> String,
    ) -> Result<Vec<Item>, CheckpointError> {
        let plain = self.unpack(data, &whose)?;
        let mut reader = Reader(&plain);
        take_items(&mut reader)
            .filter(|items| reader.0.is_empty() && items.len() as u64 == count)
            .ok_or_else(|| CheckpointError::corrupt(format!("the items of {} do not decode", whose())))
    }

    pub(super) fn encode_state(&mut self, state: &RangeState) -> Result<Vec<u8>, CheckpointError> {
        let mut plain = Vec::new();
        put_varint(&mut plain, state.recent.len() as u64);
        for id in &state.recent {
            put_bytes(&mut plain, id.as_str().as_bytes());
        }
        plain.push(u8::from(state.fold.is_some()));
        if let Some(fold) = &state.fold {
            put_bytes(&mut plain, fold);
        }
        plain.push(u8::from(state.held.is_some()));
        if let Some(held) = &state.held {
            put_varint(&mut plain, u64::from(held.action.0));
            put_items(&mut plain, std::slice::from_ref(&held.item));
        }
        pack(&mut self.passing, &plain)
    }

    pub(super) fn decode_state(&mut self, data: &[u8], range: i64) -> Result<RangeState, CheckpointError> {
        let plain = self.unpack(data, &|| format!("range {range}"))?;
        let mut reader = Reader(&plain);
        take_state(&mut reader)
            .filter(|_| reader.0.is_empty())
            .ok_or_else(|| CheckpointError::corrupt(format!("the state of range {range} does not decode")))
    }

    fn unpack(&mut self, data: &[u8], whose: &dyn Fn() -> String) -> Result<Vec<u8>, CheckpointError> {
        self.decompressor
            .decompress(data, PLAIN_BYTES_MAX)
            .map_err(|error| CheckpointError::corrupt(format!("the payload of {}: {error}", whose())))
    }
}

fn plain_items(items: &[Item]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(64 + items.len() * 80);
    put_items(&mut plain, items);
    plain
}

fn pack(compressor: &mut Compressor<'_>, plain: &[u8]) -> Result<Vec<u8>, CheckpointError> {
    if plain.len() > PLAIN_BYTES_MAX {
        return Err(CheckpointError::bug(format!("a payload of {} bytes", plain.len())));
    }
    compressor.compress(plain).map_err(|error| CheckpointError::bug(format!("zstd cannot compress: {error}")))
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Small numbers of either sign become small numbers.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Columns one after another: like stands beside like, which is what zstd is good at.
fn put_items(out: &mut Vec<u8>, items: &[Item]) {
    put_varint(out, items.len() as u64);
    let mut last: &[u8] = &[];
    for item in items {
        let key = item.key.as_bytes();
        let shared = if key == last { key.len() } else { common_prefix(key, last) };
        put_varint(out, shared as u64);
        put_bytes(out, &key[shared..]);
        last = key;
    }
    for item in items {
        put_bytes(out, item.version_id.as_bytes());
    }
    for item in items {
        let marker = u64::from(item.kind == Kind::DeleteMarker);
        let latest = u64::from(item.is_latest);
        put_varint(out, u64::from(item.rule.0) << 2 | latest << 1 | marker);
    }
    for item in items {
        put_varint(out, item.size);
    }
    let mut last = 0_i64;
    for item in items {
        let millis = item.last_modified.as_millis();
        put_varint(out, zigzag(millis.wrapping_sub(last)));
        last = millis;
    }
    if items.iter().any(|item| item.copy.is_some()) {
        put_copies(out, items);
    }
}

/// What an item carries of its copy.
const NO_COPY: u8 = 0;
const TO_COPY: u8 = 1;
const COPIED: u8 = 2;

/// Further columns of items that travel. Where none does they are left out, which costs deletions nothing.
fn put_copies(out: &mut Vec<u8>, items: &[Item]) {
    out.extend(items.iter().map(|item| match &item.copy {
        None => NO_COPY,
        Some(copy) if copy.copied.is_none() => TO_COPY,
        Some(_) => COPIED,
    }));
    let copies = || items.iter().filter_map(|item| item.copy.as_deref());
    copies().for_each(|copy| put_bytes(out, copy.etag.as_bytes()));
    copies().for_each(|copy| put_bytes(out, copy.storage_class.as_bytes()));
    let copied = || copies().filter_map(|copy| copy.copied.as_ref());
    let mut last: &[u8] = &[];
    for copied in copied() {
        let key = copied.key.as_bytes();
        let shared = common_prefix(key, last);
        put_varint(out, shared as u64);
        put_bytes(out, &key[shared..]);
        last = key;
    }
    copied().for_each(|copied| put_bytes(out, copied.version_id.as_bytes()));
    copied().for_each(|copied| put_bytes(out, copied.etag.as_bytes()));
}

/// How many first bytes two keys share: eight at a time as long as all eight do.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let whole = 8 * a.chunks_exact(8).zip(b.chunks_exact(8)).take_while(|(a, b)| a == b).count();
    whole + a[whole..].iter().zip(&b[whole..]).take_while(|(a, b)| a == b).count()
}

fn take_items(reader: &mut Reader<'_>) -> Option<Vec<Item>> {
    let count = usize::try_from(reader.varint()?).ok()?;
    // Each item takes at least five bytes, so a damaged count cannot ask for much.
    if count > reader.0.len() {
        return None;
    }
    let mut arena = Arena::with_capacity(2 * reader.0.len());
    let mut keys = Vec::with_capacity(count);
    let mut last: Vec<u8> = Vec::new();
    let mut span = Span::default();
    for index in 0..count {
        let shared = usize::try_from(reader.varint()?).ok()?;
        let rest = reader.bytes()?;
        if shared > last.len() {
            return None;
        }
        // The key of the item before is not put in again.
        if index == 0 || !rest.is_empty() || shared < last.len() {
            last.truncate(shared);
            last.extend_from_slice(rest);
            span = arena.put(&last);
        }
        keys.push(span);
    }
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        ids.push(arena.put_str(std::str::from_utf8(reader.bytes()?).ok()?));
    }
    let arena = arena.seal();
    let mut tags = Vec::with_capacity(count);
    for _ in 0..count {
        tags.push(reader.varint()?);
    }
    let mut sizes = Vec::with_capacity(count);
    for _ in 0..count {
        sizes.push(reader.varint()?);
    }
    let mut items = Vec::with_capacity(count);
    let mut millis = 0_i64;
    for (((key, id), tag), size) in keys.into_iter().zip(ids).zip(tags).zip(sizes) {
        millis = millis.wrapping_add(unzigzag(reader.varint()?));
        items.push(Item {
            key: Key::at(&arena, key),
            version_id: VersionId::at(&arena, id)?,
            kind: if tag & 1 == 1 { Kind::DeleteMarker } else { Kind::Version },
            is_latest: tag & 2 == 2,
            size,
            last_modified: Timestamp::from_millis(millis),
            rule: RuleId(u16::try_from(tag >> 2).ok()?),
            copy: None,
        });
    }
    // The items are the last of whatever they are in.
    if !reader.0.is_empty() {
        take_copies(reader, &mut items)?;
    }
    Some(items)
}

fn take_copies(reader: &mut Reader<'_>, items: &mut [Item]) -> Option<()> {
    let (tags, rest) = reader.0.split_at_checked(items.len())?;
    reader.0 = rest;
    if tags.iter().any(|tag| *tag > COPIED) {
        return None;
    }
    let of = |wanted: fn(u8) -> bool| (0..tags.len()).filter(move |at| wanted(tags[*at]));
    for at in of(|tag| tag != NO_COPY) {
        let copy = CopyItem { etag: reader.text()?, storage_class: "".into(), copied: None };
        items[at].copy = Some(Box::new(copy));
    }
    for at in of(|tag| tag != NO_COPY) {
        items[at].copy.as_mut()?.storage_class = reader.text()?;
    }
    let mut keys = Vec::new();
    let mut last: Vec<u8> = Vec::new();
    for _ in of(|tag| tag == COPIED) {
        let shared = usize::try_from(reader.varint()?).ok()?;
        let rest = reader.bytes()?;
        if shared > last.len() {
            return None;
        }
        last.truncate(shared);
        last.extend_from_slice(rest);
        keys.push(Key::new(last.as_slice()));
    }
    for (at, key) in of(|tag| tag == COPIED).zip(keys) {
        let version_id = reader.version_id()?;
        items[at].copy.as_mut()?.copied = Some(Copied { key, version_id, etag: "".into() });
    }
    for at in of(|tag| tag == COPIED) {
        items[at].copy.as_mut()?.copied.as_mut()?.etag = reader.text()?;
    }
    Some(())
}

fn take_state(reader: &mut Reader<'_>) -> Option<RangeState> {
    let count = usize::try_from(reader.varint()?).ok()?;
    let mut recent = Vec::new();
    for _ in 0..count {
        recent.push(reader.version_id()?);
    }
    let fold = if reader.flag()? { Some(reader.bytes()?.into()) } else { None };
    let held = if reader.flag()? {
        let action = ActionId(u16::try_from(reader.varint()?).ok()?);
        let mut items = take_items(reader)?;
        let item = items.pop().filter(|_| items.is_empty())?;
        Some(HeldItem { item, action })
    } else {
        None
    };
    Some(RangeState { recent, fold, held })
}

/// Takes values from the front; `None` where they do not fit.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return None;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<Box<str>> {
        std::str::from_utf8(self.bytes()?).ok().map(Box::from)
    }

    fn version_id(&mut self) -> Option<VersionId> {
        VersionId::new(std::str::from_utf8(self.bytes()?).ok()?)
    }
}

#[cfg(test)]
mod tests;
