//! The order of a page's entries.
//!
//! AWS and Ceph RGW write versions and delete markers of a page as they follow one another: by
//! key, newest first. Servers built on typed SDK models (LocalStack and others) write all entries
//! of one kind and then all of the other: LocalStack the delete markers first, others the versions.
//! What such a page leaves open is marked, so that the fold can keep an entry whose fate depends on
//! it.

use std::cmp::Ordering;

use crate::model::{Key, Kind, Version};

use super::{KeyOrder, OrderFault};

/// How a server orders the entries of a page, as far as its pages have shown. Starts
/// undetermined; once known it stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PageOrder {
    /// No page has shown it yet: none changed its kind twice, or had keys that went back.
    #[default]
    Undetermined,
    /// Versions and markers follow one another as they were created.
    Interleaved,
    /// All entries of one kind come before all of the other.
    Grouped,
}

impl PageOrder {
    /// Adds what pages have shown that were read at the same time, somewhere behind `key`.
    ///
    /// # Errors
    /// One showed this order and another showed that.
    pub fn join(&mut self, shown: Self, key: &Key) -> Result<(), OrderFault> {
        match (*self, shown) {
            (_, Self::Undetermined) => {}
            (Self::Undetermined, shown) => *self = shown,
            (known, shown) if known == shown => {}
            _ => return Err(OrderFault::PageOrderChanged { key: key.clone() }),
        }
        Ok(())
    }
}

/// How certain an entry's place among its neighbours is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// It follows the entry before it.
    Known,
    /// It may stand anywhere among the neighbours of the other kind that were created at the same
    /// time. Those of its own kind are in order, and all versions come before all markers here.
    Tied,
    /// It may stand anywhere among the neighbours of the other kind. Those of its own kind are in
    /// order, and all versions come before all markers here.
    Open,
}

/// An entry in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sequenced {
    /// The entry.
    pub version: Version,
    /// How certain its place is.
    pub order: Order,
}

impl Sequenced {
    /// An entry whose place is certain.
    pub const fn known(version: Version) -> Self {
        Self { version, order: Order::Known }
    }
}

/// Puts the entries of one page, in document order, into the order of their keys, newest first.
///
/// A page that changes its kind twice or more shows that the server interleaves: document order is
/// kept. Otherwise the page is some entries of one kind and then some of the other, and unless the
/// server is known to interleave they are merged key by key, in the order `keys`: the latest entry first, then by time
/// of creation, each kind in its own order. Where two kinds were created at the same time, or where the page is
/// merged differently from its document order before it is known that the server groups, the
/// entries say so in [`Sequenced::order`].
///
/// # Errors
/// Keys that go back within one kind, or in a page of a server that interleaves; a page that
/// interleaves from a server that groups.
pub fn sequence(
    mut versions: Vec<Version>,
    order: &mut PageOrder,
    keys: KeyOrder,
) -> Result<Vec<Sequenced>, OrderFault> {
    let mut changes = versions.windows(2).enumerate().filter(|(_, pair)| pair[0].kind != pair[1].kind);
    let (first, second) = (changes.next().map(|(at, _)| at + 1), changes.next());
    if let Some((at, _)) = second {
        if *order == PageOrder::Grouped {
            return Err(OrderFault::PageOrderChanged { key: versions[at + 1].key.clone() });
        }
        *order = PageOrder::Interleaved;
    }
    let Some(change) = first.filter(|_| *order != PageOrder::Interleaved) else {
        check_ascending(&versions, keys)?;
        return Ok(versions.into_iter().map(Sequenced::known).collect());
    };
    let behind = versions.split_off(change);
    check_ascending(&versions, keys)?;
    check_ascending(&behind, keys)?;
    if shows_grouping(&versions, &behind, keys) {
        *order = PageOrder::Grouped;
    }
    let markers_lead = versions.first().is_some_and(is_marker);
    let (versions, markers) = if markers_lead { (behind, versions) } else { (versions, behind) };
    Ok(merge(versions, markers, Written { order: *order, keys, markers_lead }))
}

/// How the groups of a page were found in the document.
#[derive(Clone, Copy)]
struct Written {
    order: PageOrder,
    keys: KeyOrder,
    markers_lead: bool,
}

fn is_marker(entry: &Version) -> bool {
    entry.kind == Kind::DeleteMarker
}

fn check_ascending(entries: &[Version], keys: KeyOrder) -> Result<(), OrderFault> {
    match entries.windows(2).find(|pair| keys.compare(&pair[1].key, &pair[0].key) == Ordering::Less) {
        Some(pair) => Err(OrderFault::KeyWentBack { key: pair[1].key.clone(), after: pair[0].key.clone() }),
        None => Ok(()),
    }
}

/// Whether these entries and then those of the other kind cannot be the order of their keys, newest
/// first: keys go back between the groups, or the latest entry of a key comes behind others.
fn shows_grouping(front: &[Version], behind: &[Version], keys: KeyOrder) -> bool {
    let (Some(last), Some(first)) = (front.last(), behind.first()) else { return false };
    let is_in_front =
        |entry: &Version| front.binary_search_by(|other| keys.compare(&other.key, &entry.key)).is_ok();
    keys.compare(&first.key, &last.key) == Ordering::Less
        || behind.iter().any(|entry| entry.is_latest && is_in_front(entry))
}

fn merge(versions: Vec<Version>, markers: Vec<Version>, written: Written) -> Vec<Sequenced> {
    let mut out = Vec::with_capacity(versions.len() + markers.len());
    let mut versions = versions.into_iter().peekable();
    let mut markers = markers.into_iter().peekable();
    loop {
        let key = match (versions.peek(), markers.peek()) {
            (Some(version), Some(marker)) => {
                let marker_first = written.keys.compare(&marker.key, &version.key) == Ordering::Less;
                if marker_first { marker.key.clone() } else { version.key.clone() }
            }
            (Some(only), None) | (None, Some(only)) => only.key.clone(),
            (None, None) => return out,
        };
        let mut of_key = [Vec::new(), Vec::new()];
        while let Some(version) = versions.next_if(|entry| entry.key == key) {
            of_key[0].push(version);
        }
        while let Some(marker) = markers.next_if(|entry| entry.key == key) {
            of_key[1].push(marker);
        }
        let [versions, markers] = of_key;
        merge_key(versions, markers, written, &mut out);
    }
}

/// Merges the versions and the markers of one key.
fn merge_key(
    mut versions: Vec<Version>,
    mut markers: Vec<Version>,
    written: Written,
    out: &mut Vec<Sequenced>,
) {
    for group in [&mut versions, &mut markers] {
        if group.first().is_some_and(|entry| entry.is_latest) {
            out.push(Sequenced::known(group.remove(0)));
        }
    }
    let (front, behind) = if written.markers_lead { (&markers, &versions) } else { (&versions, &markers) };
    let (Some(oldest_in_front), Some(newest_behind)) = (front.last(), behind.first()) else {
        out.extend(versions.into_iter().chain(markers).map(Sequenced::known));
        return;
    };
    let as_written = oldest_in_front.last_modified >= newest_behind.last_modified;
    let by_time = |group: &[Version]| group.is_sorted_by(|a, b| a.last_modified >= b.last_modified);
    let open = (written.order == PageOrder::Undetermined && !as_written)
        || !by_time(&versions)
        || !by_time(&markers);
    if open {
        let entries = versions.into_iter().chain(markers);
        out.extend(entries.map(|version| Sequenced { version, order: Order::Open }));
        return;
    }
    let (mut versions, mut markers) = (versions.into_iter().peekable(), markers.into_iter().peekable());
    while let Some(at) =
        versions.peek().into_iter().chain(markers.peek()).map(|next| next.last_modified).max()
    {
        let start = out.len();
        while let Some(version) = versions.next_if(|entry| entry.last_modified == at) {
            out.push(Sequenced::known(version));
        }
        let middle = out.len();
        while let Some(marker) = markers.next_if(|entry| entry.last_modified == at) {
            out.push(Sequenced::known(marker));
        }
        if start < middle && middle < out.len() {
            out[start..].iter_mut().for_each(|entry| entry.order = Order::Tied);
        }
    }
}
