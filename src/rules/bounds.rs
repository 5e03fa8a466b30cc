//! Which entries of a page belong to a range, and which were told before.

use std::cmp::Ordering;

use crate::model::{Key, Marker, VersionId};

use super::key_order::KeyOrder;
use super::sequence::Sequenced;

/// Where a key lies relative to a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Before it: skip the entry.
    Before,
    /// In it.
    Inside,
    /// Behind it: the range is done.
    Beyond,
}

/// Where `key` lies relative to the range of the keys that begin with `prefix`, come after `lo`
/// (itself not included, as a key marker is on AWS) and not after `hi` (itself included).
pub fn within(key: &Key, prefix: &Key, lo: Option<&Key>, hi: Option<&Key>) -> Place {
    if hi.is_some_and(|hi| key > hi) {
        return Place::Beyond;
    }
    if lo.is_some_and(|lo| key <= lo) {
        return Place::Before;
    }
    if key.starts_with(prefix.as_bytes()) {
        return Place::Inside;
    }
    if key < prefix { Place::Before } else { Place::Beyond }
}

/// Drops what was told before this page, which was asked for from the marker `from`.
///
/// - A marker without a version id starts after all entries of its key on AWS; Ceph RGW and others
///   start with them. Every entry up to and including that key is dropped.
/// - A marker with a version id starts after that entry on AWS. MinIO and others start with the
///   key again where the entry is gone. `recent` are the ids that were told for the marker's key
///   on the page before (the last 1,000 suffice): the entries of the key up to the last one that
///   is the marker's or among them are dropped. What stands before such an entry and is not among
///   them came into being after the listing had passed, so it is newer than the run.
///
/// Takes the page as [`super::sequence`] returns it.
pub fn after_marker(
    mut page: Vec<Sequenced>,
    from: &Marker,
    recent: &[VersionId],
    keys: KeyOrder,
) -> Vec<Sequenced> {
    let told = |id: &VersionId| from.version_id.as_ref() == Some(id) || recent.contains(id);
    let mut drop_until = 0;
    for (at, entry) in page.iter().enumerate() {
        let replayed = match keys.compare(&entry.version.key, &from.key) {
            Ordering::Less => true,
            Ordering::Equal => from.version_id.is_none() || told(&entry.version.id),
            Ordering::Greater => break,
        };
        if replayed {
            drop_until = at + 1;
        }
    }
    page.drain(..drop_until);
    page
}
