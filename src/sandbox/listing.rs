//! Pages of a listing: which keys, versions and common prefixes an answer holds, and where the
//! next one goes on.
//!
//! Every page starts at its marker by a range query and stops at its size, so its cost does not
//! grow with the bucket.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Arc, RwLock, RwLockReadGuard};

use super::entry::Entry;
use super::generated::Generated;
use super::personality::Personality;
use super::store::{Bucket, place_of, read};
use super::version_id::{self, VersionRef};
use crate::model::Kind;

/// The most rows that S3 puts on a page.
pub(super) const PAGE_SIZE_MAX: usize = 1000;

/// What a listing is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Query {
    pub(super) prefix: String,
    pub(super) delimiter: String,
    /// Exclusive; empty means from the beginning.
    pub(super) key_marker: String,
    /// The version of the marker's key after which to go on.
    pub(super) version_marker: Option<VersionRef>,
    /// At most [`PAGE_SIZE_MAX`].
    pub(super) rows_max: usize,
}

/// Where the entries of a bucket come from.
pub(super) enum Source<'b> {
    /// From memory, under the bucket's lock.
    Stored(RwLockReadGuard<'b, Bucket>),
    /// From a procedural bucket, which needs no lock to be read.
    Generated(Arc<Generated>),
}

impl<'b> Source<'b> {
    pub(super) fn of(bucket: &'b RwLock<Bucket>) -> Self {
        let bucket = read(bucket);
        match bucket.generated() {
            Some(generated) => Self::Generated(Arc::clone(generated)),
            None => Self::Stored(bucket),
        }
    }

    /// The place in the order of a version that may be gone.
    fn sequence_of(&self, key: &[u8], wanted: VersionRef) -> Option<u64> {
        match (self, wanted) {
            (_, VersionRef::Sequence(sequence)) => Some(sequence),
            (Self::Stored(bucket), VersionRef::Null) => bucket.sequence_of_null(key),
            (Self::Generated(_), VersionRef::Null) => None,
        }
    }
}

/// One row of a page.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'a> {
    /// A version or a delete marker.
    Entry { key: &'a [u8], entry: &'a Entry, is_latest: bool },
    /// Keys that the delimiter rolls up into one.
    CommonPrefix(&'a [u8]),
}

impl Row<'_> {
    /// The next markers where this is the last row of a page.
    fn marker(&self) -> Next {
        match self {
            Self::Entry { key, entry, .. } => Next { key: key.to_vec(), version_id: Some(entry.id()) },
            Self::CommonPrefix(prefix) => Next { key: prefix.to_vec(), version_id: None },
        }
    }
}

/// Where the next page goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Next {
    pub(super) key: Vec<u8>,
    pub(super) version_id: Option<String>,
}

/// A key and its entries, oldest first: those of a store, or computed for this page.
#[derive(Debug)]
struct Group<'a> {
    key: Cow<'a, [u8]>,
    entries: Cow<'a, [Entry]>,
}

/// Where a row of a page is found.
#[derive(Debug)]
enum Place {
    Entry { group: usize, entry: usize },
    CommonPrefix(Vec<u8>),
}

/// The rows of an answer.
#[derive(Debug, Default)]
pub(super) struct Page<'a> {
    groups: Vec<Group<'a>>,
    places: Vec<Place>,
    /// `None` where the listing ends here.
    pub(super) next: Option<Next>,
}

impl Page<'_> {
    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The rows in their order.
    pub(super) fn rows(&self) -> impl DoubleEndedIterator<Item = Row<'_>> {
        self.places.iter().map(|place| match place {
            Place::Entry { group, entry } => {
                let Group { key, entries } = &self.groups[*group];
                Row::Entry { key, entry: &entries[*entry], is_latest: entry + 1 == entries.len() }
            }
            Place::CommonPrefix(prefix) => Row::CommonPrefix(prefix),
        })
    }
}

/// A page of ListObjectVersions.
pub(super) fn versions<'a>(source: &'a Source<'_>, query: &Query, personality: &Personality) -> Page<'a> {
    let oldest_first = personality.oldest_first;
    let select = |key: &[u8], entries: &[Entry]| {
        if key == query.key_marker.as_bytes() {
            let Some(wanted) = query.version_marker else { return 0..entries.len() };
            return after_marker(source, key, entries, wanted, personality);
        }
        0..entries.len()
    };
    // With a version to go on from, the marker's own key has to be looked at.
    let inclusive = query.version_marker.is_some() || personality.inclusive_key_marker;
    walk_as(source, query, personality, inclusive, oldest_first, &select)
}

/// A page of ListObjects: the latest entry of each key, where it is a version.
pub(super) fn objects<'a>(source: &'a Source<'_>, query: &Query, personality: &Personality) -> Page<'a> {
    let select = |_: &[u8], entries: &[Entry]| match entries.last() {
        Some(latest) if latest.kind == Kind::Version => entries.len() - 1..entries.len(),
        _ => 0..0,
    };
    walk_as(source, query, personality, false, false, &select)
}

/// The entries of the marker's key that come after the marker; entries are oldest first.
fn after_marker(
    source: &Source<'_>,
    key: &[u8],
    entries: &[Entry],
    wanted: VersionRef,
    personality: &Personality,
) -> Range<usize> {
    if let Some(at) = place_of(entries, wanted) {
        return if personality.oldest_first { at + 1..entries.len() } else { 0..at };
    }
    if personality.marker_skips_key_when_gone {
        return 0..0;
    }
    if personality.marker_restarts_key_when_gone {
        return 0..entries.len();
    }
    let Some(sequence) = source.sequence_of(key, wanted) else { return 0..0 };
    let at = entries.partition_point(|entry| entry.sequence < sequence);
    if personality.oldest_first { at..entries.len() } else { 0..at }
}

/// Which entries of a key are rows.
type Select<'s> = &'s dyn Fn(&[u8], &[Entry]) -> Range<usize>;

fn walk_as<'a>(
    source: &'a Source<'_>,
    query: &Query,
    personality: &Personality,
    inclusive: bool,
    oldest_first: bool,
    select: Select<'_>,
) -> Page<'a> {
    let rows_max = rows_max(query, personality);
    let mut walk = Walk { query, rows_max, oldest_first, page: Page::default() };
    walk.page.places.reserve(rows_max);
    match source {
        Source::Stored(bucket) if personality.utf16_order => {
            walk.run(&Utf16Order::of(bucket), first_seek(query, inclusive, utf16_rank), select);
        }
        Source::Stored(bucket) => {
            walk.run(&ByteOrder(&bucket.keys), first_seek(query, inclusive, <[u8]>::to_vec), select);
        }
        // Its keys are ASCII behind one prefix: both orders are the same.
        Source::Generated(generated) => {
            walk.run(&IndexOrder(generated), first_seek(query, inclusive, <[u8]>::to_vec), select);
        }
    }
    walk.page
}

/// The number of rows to give. A server with short pages gives fewer than it was asked for; how
/// many follows from the marker, so that the same request gets the same page.
fn rows_max(query: &Query, personality: &Personality) -> usize {
    let asked = query.rows_max.min(PAGE_SIZE_MAX);
    if !personality.short_pages || asked < 2 {
        return asked;
    }
    let mut hash = query.key_marker.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    if let Some(VersionRef::Sequence(sequence)) = query.version_marker {
        hash ^= sequence;
    }
    1 + usize::try_from(version_id::scramble(hash) % asked as u64).unwrap_or(0)
}

/// A place in the order of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Seek {
    /// This key or the next after it.
    From(Vec<u8>),
    /// The next key after this one.
    After(Vec<u8>),
    /// The next key that does not begin so.
    AfterPrefix(Vec<u8>),
}

/// Where a listing starts: at its marker, or at its prefix where that comes later. `rank` gives the
/// order of keys.
fn first_seek(query: &Query, inclusive: bool, rank: fn(&[u8]) -> Vec<u8>) -> Seek {
    let (marker, prefix) = (query.key_marker.as_bytes(), query.prefix.as_bytes());
    if marker.is_empty() || rank(marker) < rank(prefix) {
        return Seek::From(prefix.to_vec());
    }
    // A marker that is itself a common prefix of this listing stands for everything beneath it.
    if let Some(rolled) = common_prefix(query, marker)
        && rolled.len() == marker.len()
        && query.version_marker.is_none()
    {
        return Seek::AfterPrefix(marker.to_vec());
    }
    if inclusive { Seek::From(marker.to_vec()) } else { Seek::After(marker.to_vec()) }
}

/// What the delimiter rolls a key up into.
fn common_prefix<'k>(query: &Query, key: &'k [u8]) -> Option<&'k [u8]> {
    let (prefix, delimiter) = (query.prefix.as_bytes(), query.delimiter.as_bytes());
    if delimiter.is_empty() {
        return None;
    }
    let behind = key.strip_prefix(prefix)?;
    let at = behind.windows(delimiter.len()).position(|window| window == delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

/// Keys in some order, to be walked from any place.
trait Keys<'a> {
    fn walk_from(&self, seek: &Seek) -> impl Iterator<Item = Group<'a>>;
}

struct ByteOrder<'a>(&'a BTreeMap<Box<[u8]>, Vec<Entry>>);

impl<'a> Keys<'a> for ByteOrder<'a> {
    fn walk_from(&self, seek: &Seek) -> impl Iterator<Item = Group<'a>> {
        let successor;
        let lower = match seek {
            Seek::From(key) => Bound::Included(key.as_slice()),
            Seek::After(key) => Bound::Excluded(key.as_slice()),
            Seek::AfterPrefix(prefix) => {
                successor = behind_prefix(prefix);
                Bound::Included(successor.as_slice())
            }
        };
        self.0
            .range::<[u8], _>((lower, Bound::Unbounded))
            .map(|(key, entries)| Group { key: Cow::Borrowed(key), entries: Cow::Borrowed(entries) })
    }
}

/// The keys of a procedural bucket, which are computed on the way.
struct IndexOrder<'a>(&'a Generated);

impl<'a> Keys<'a> for IndexOrder<'a> {
    fn walk_from(&self, seek: &Seek) -> impl Iterator<Item = Group<'a>> {
        let (text, after_equal) = match seek {
            Seek::From(key) => (Cow::Borrowed(key), false),
            Seek::After(key) => (Cow::Borrowed(key), true),
            Seek::AfterPrefix(prefix) => (Cow::Owned(behind_prefix(prefix)), false),
        };
        let keys = self.0.keys_from(&text, after_equal);
        keys.map(|(key, entries)| Group { key: Cow::Owned(key), entries: Cow::Owned(entries) })
    }
}

/// The first byte string behind all that begin with this prefix.
fn behind_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut successor = prefix.to_vec();
    while successor.last() == Some(&0xff) {
        successor.pop();
    }
    match successor.last_mut() {
        Some(last) => *last += 1,
        // Keys are UTF-8, in which this byte does not occur.
        None => successor.push(0xff),
    }
    successor
}

/// The keys of a bucket in the order of UTF-16 code units, sorted for each request: for small
/// buckets.
struct Utf16Order<'a>(BTreeMap<Vec<u8>, (&'a [u8], &'a [Entry])>);

impl<'a> Utf16Order<'a> {
    fn of(bucket: &'a Bucket) -> Self {
        Self(bucket.keys.iter().map(|(key, entries)| (utf16_rank(key), (&**key, &**entries))).collect())
    }
}

/// Bytes whose order is that of the UTF-16 code units: U+E000 to U+FFFF, whose first bytes are EE
/// and EF, come behind the surrogates of U+10000 and above, whose first bytes are F0 to F4.
fn utf16_rank(key: &[u8]) -> Vec<u8> {
    key.iter().map(|byte| if matches!(byte, 0xee | 0xef) { byte + 8 } else { *byte }).collect()
}

impl<'a> Keys<'a> for Utf16Order<'a> {
    fn walk_from(&self, seek: &Seek) -> impl Iterator<Item = Group<'a>> {
        let lower = match seek {
            Seek::From(key) => Bound::Included(utf16_rank(key)),
            Seek::After(key) => Bound::Excluded(utf16_rank(key)),
            Seek::AfterPrefix(prefix) => Bound::Included(behind_prefix(&utf16_rank(prefix))),
        };
        self.0
            .range((lower, Bound::Unbounded))
            .map(|(_, (key, entries))| Group { key: Cow::Borrowed(key), entries: Cow::Borrowed(entries) })
    }
}

struct Walk<'q, 'a> {
    query: &'q Query,
    rows_max: usize,
    oldest_first: bool,
    page: Page<'a>,
}

impl<'a> Walk<'_, 'a> {
    fn run(&mut self, keys: &impl Keys<'a>, mut seek: Seek, select: Select<'_>) {
        if self.rows_max == 0 {
            return;
        }
        while let Some(further) = self.run_to_prefix(keys, &seek, select) {
            seek = further;
        }
    }

    /// Walks until the page is full, the prefix is left, or a common prefix has to be jumped over:
    /// then the place behind it is returned.
    fn run_to_prefix(&mut self, keys: &impl Keys<'a>, seek: &Seek, select: Select<'_>) -> Option<Seek> {
        for group in keys.walk_from(seek) {
            if !group.key.starts_with(self.query.prefix.as_bytes()) {
                return None;
            }
            let selected = select(&group.key, &group.entries);
            if selected.is_empty() {
                continue;
            }
            if let Some(rolled) = common_prefix(self.query, &group.key) {
                let rolled = rolled.to_vec();
                return self.push(Place::CommonPrefix(rolled.clone())).then_some(Seek::AfterPrefix(rolled));
            }
            if !self.push_entries(group, selected) {
                return None;
            }
        }
        None
    }

    fn push_entries(&mut self, group: Group<'a>, selected: Range<usize>) -> bool {
        self.page.groups.push(group);
        let group = self.page.groups.len() - 1;
        let oldest_first = self.oldest_first;
        let mut push = |entry: usize| self.push(Place::Entry { group, entry });
        if oldest_first { selected.into_iter().all(&mut push) } else { selected.rev().all(&mut push) }
    }

    /// Adds a row; `false` where the page is full, which makes it a truncated one.
    fn push(&mut self, place: Place) -> bool {
        if self.page.len() == self.rows_max {
            let next = self.page.rows().next_back().map(|row| row.marker());
            self.page.next = next;
            return false;
        }
        self.page.places.push(place);
        true
    }
}

#[cfg(test)]
mod tests;
