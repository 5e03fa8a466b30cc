//! Fills a bucket with content that follows from a few numbers.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use serde::{Deserialize, Deserializer};

use super::acl;
use super::chance::{fraction, mix};
use super::data::{Data, digest_of};
use super::entry::{Content, Extra, Lock, RetentionMode, storage_class_index};
use super::key_shape;
use super::store::{NoSuchBucket, Store, write};
use super::version_id::scramble;
use crate::model::{Kind, Timestamp, VersioningStatus};

const MILLIS_A_SECOND: i64 = 1000;
const SECONDS_A_DAY: f64 = 86_400.0;

/// What keys look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyShape {
    /// `table=events/year=2024/month=05/day=17/hour=03/part-00012-….parquet`
    #[default]
    Hive,
    /// Hexadecimal digits without any delimiter.
    Flat,
    /// Letters of many scripts, composed and decomposed, within and beyond 16 bits.
    Unicode,
    /// What breaks clients: `..`, `//`, `%2F`, `+`, blanks at both ends, quotes, line ends, control
    /// characters, 1,024 bytes.
    Odd,
}

/// A bucket and what is in it when the sandbox starts. The same seed gives the same keys, the same
/// version ids and the same ages.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seed {
    /// The bucket. Seeds of the same bucket add to each other.
    pub bucket: String,
    /// Its versioning status once it is filled. A bucket that is Suspended is filled as if it were
    /// Enabled.
    #[serde(deserialize_with = "versioning_status")]
    pub versioning: VersioningStatus,
    /// Whether Object Lock is on.
    pub object_lock: bool,
    /// Whether MFA Delete is on.
    pub mfa_delete: bool,
    /// What all chance follows from.
    pub seed: u64,
    /// Number of keys.
    pub keys: u64,
    /// Entries of each key, delete markers included. 1 in a bucket that is not versioned.
    pub versions_per_key: u32,
    /// Share of keys whose latest entry is a delete marker, 0 to 1.
    pub latest_marker_share: f64,
    /// Share of noncurrent entries that are delete markers, 0 to 1.
    pub noncurrent_marker_share: f64,
    /// Share of keys that have nothing but one delete marker, 0 to 1. They have one entry only.
    pub orphan_marker_share: f64,
    /// Share of versions under legal hold, 0 to 1. Needs `object_lock`.
    pub legal_hold_share: f64,
    /// What keys look like.
    pub key_shape: KeyShape,
    /// Keys begin with these in turn.
    pub prefixes: Vec<String>,
    /// Age of the oldest entry, in days before the start.
    pub oldest_days: f64,
    /// Age of the newest entry, in days before the start.
    pub newest_days: f64,
    /// The smallest version.
    pub size_bytes_min: u64,
    /// The largest version.
    pub size_bytes_max: u64,
    /// Versions are in these storage classes by chance; STANDARD where there are none.
    pub storage_classes: Vec<String>,
    /// Share of versions whose data is that of the version before it, 0 to 1: same size, same ETag.
    pub same_data_share: f64,
    /// Versions larger than this look as if they were uploaded in parts of so many bytes; 0 is never.
    pub part_bytes: u64,
    /// Whether ETags are the MD5 of the data instead of a number in its place. All of the data is
    /// made for it once: for small versions that are to be read and written again.
    pub real_etags: bool,
    /// Entries that are named one by one, in the order of their creation.
    pub items: Vec<SeedItem>,
}

impl Default for Seed {
    fn default() -> Self {
        Self {
            bucket: "sandbox".to_owned(),
            versioning: VersioningStatus::Enabled,
            object_lock: false,
            mfa_delete: false,
            seed: 0,
            keys: 0,
            versions_per_key: 1,
            latest_marker_share: 0.0,
            noncurrent_marker_share: 0.0,
            orphan_marker_share: 0.0,
            legal_hold_share: 0.0,
            key_shape: KeyShape::default(),
            prefixes: Vec::new(),
            oldest_days: 365.0,
            newest_days: 0.0,
            size_bytes_min: 0,
            size_bytes_max: 1024 * 1024,
            storage_classes: Vec::new(),
            same_data_share: 0.0,
            part_bytes: 0,
            real_etags: false,
            items: Vec::new(),
        }
    }
}

/// One entry of a bucket.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SeedItem {
    /// The key.
    pub key: String,
    /// Whether it is a delete marker.
    pub delete_marker: bool,
    /// Whether its version id is `null`, whatever the bucket's status.
    pub null: bool,
    /// Seconds before the start.
    pub age_secs: f64,
    /// Bytes.
    pub size_bytes: u64,
    /// STANDARD where left out.
    pub storage_class: Option<String>,
    /// Whether it is under legal hold.
    pub legal_hold: bool,
    /// How it is retained.
    pub retention: Option<RetentionMode>,
    /// For how long from the start, in seconds.
    pub retained_secs: f64,
    /// What the data follows from: the same number and size is the same data. Data of its own where
    /// left out.
    pub data_seed: Option<u64>,
    /// It looks as if it was uploaded in parts of so many bytes; 0 is in one request.
    pub part_bytes: u64,
    /// `content-type` and its like, and `x-amz-meta-*`, in lower case.
    pub headers: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// `x-amz-website-redirect-location`.
    pub redirect: Option<String>,
    /// A canned access control list; one that is not known is `private`.
    pub acl: Option<String>,
}

fn versioning_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VersioningStatus, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        Unversioned,
        Enabled,
        Suspended,
    }
    Ok(match Word::deserialize(deserializer)? {
        Word::Unversioned => VersioningStatus::Unversioned,
        Word::Enabled => VersioningStatus::Enabled,
        Word::Suspended => VersioningStatus::Suspended,
    })
}

/// What a draw is for.
#[derive(Clone, Copy)]
enum Draw {
    Orphan = 1,
    LatestMarker,
    NoncurrentMarker,
    Age,
    Size,
    Class,
    LegalHold,
    SameData,
}

fn earlier(now: Timestamp, seconds: f64) -> Timestamp {
    Timestamp::from_millis(now.as_millis().saturating_sub((seconds * MILLIS_A_SECOND as f64) as i64))
}

impl Seed {
    /// Makes the bucket where it is missing, and fills it.
    ///
    /// # Errors
    /// [`NoSuchBucket`] where the bucket is removed at the same time.
    pub fn apply(&self, store: &Store, now: Timestamp) -> Result<(), NoSuchBucket> {
        let while_filling = match self.versioning {
            VersioningStatus::Unversioned => VersioningStatus::Unversioned,
            VersioningStatus::Enabled | VersioningStatus::Suspended => VersioningStatus::Enabled,
        };
        store.create_bucket(&self.bucket, earlier(now, self.oldest_days * SECONDS_A_DAY), while_filling);
        store.set_status(&self.bucket, while_filling)?;
        store.set_guards(&self.bucket, self.object_lock, self.mfa_delete)?;
        for index in 0..self.keys {
            self.fill_key(store, index, now)?;
        }
        for item in &self.items {
            self.fill_item(store, item, now)?;
        }
        store.set_status(&self.bucket, self.versioning)
    }

    fn bits(&self, draw: Draw, key: u64, entry: u32) -> u64 {
        mix(&[self.seed, draw as u64, key, u64::from(entry)])
    }

    fn happens(&self, share: f64, draw: Draw, key: u64, entry: u32) -> bool {
        fraction(self.bits(draw, key, entry)) < share
    }

    fn fill_key(&self, store: &Store, index: u64, now: Timestamp) -> Result<(), NoSuchBucket> {
        let prefix = match self.prefixes.len() {
            0 => "",
            count => &self.prefixes[usize::try_from(index % count as u64).unwrap_or(0)],
        };
        let key = key_shape::key(self.key_shape, prefix, self.seed, index);
        let is_orphan = self.happens(self.orphan_marker_share, Draw::Orphan, index, 0);
        let entries = if is_orphan || self.versioning == VersioningStatus::Unversioned {
            1
        } else {
            self.versions_per_key
        };
        let hidden = self.happens(self.latest_marker_share, Draw::LatestMarker, index, 0);
        let bucket = store.bucket(&self.bucket)?;
        let mut bucket = write(&bucket);
        let as_null = self.versioning == VersioningStatus::Unversioned;
        let mut before = None;
        for entry in 0..entries {
            let is_latest = entry + 1 == entries;
            let is_marker = !as_null
                && (is_orphan
                    || if is_latest {
                        hidden && entries > 1
                    } else {
                        self.happens(self.noncurrent_marker_share, Draw::NoncurrentMarker, index, entry)
                    });
            let at = self.at(index, entry, entries, now);
            let sequence = store.next_sequence();
            let content = if is_marker {
                Content::marker(at)
            } else {
                let is_same = self.happens(self.same_data_share, Draw::SameData, index, entry);
                let (data_seed, size) =
                    before.filter(|_| is_same).unwrap_or((sequence, self.size(index, entry)));
                before = Some((data_seed, size));
                self.version(index, entry, at, (sequence, data_seed, size))
            };
            bucket.insert_as(key.as_bytes(), sequence, content, as_null);
        }
        if let Some(made) = bucket.keys.get_mut(key.as_bytes()) {
            made.shrink_to_fit();
        }
        Ok(())
    }

    /// The time of creation: a key's span of ages is divided among its entries, oldest first, each
    /// somewhere in its part.
    fn at(&self, index: u64, entry: u32, entries: u32, now: Timestamp) -> Timestamp {
        let span = (self.oldest_days - self.newest_days).max(0.0);
        let place = (f64::from(entry) + fraction(self.bits(Draw::Age, index, entry))) / f64::from(entries);
        earlier(now, (self.oldest_days - span * place) * SECONDS_A_DAY)
    }

    fn size(&self, index: u64, entry: u32) -> u64 {
        let range = self.size_bytes_max.saturating_sub(self.size_bytes_min).saturating_add(1);
        self.size_bytes_min + self.bits(Draw::Size, index, entry) % range.max(1)
    }

    /// A version of some size with the data of a seed. One that is like any other costs no memory
    /// besides its entry.
    fn version(
        &self,
        index: u64,
        entry: u32,
        at: Timestamp,
        (sequence, data_seed, size): (u64, u64, u64),
    ) -> Content {
        let class = match self.storage_classes.len() {
            0 => 0,
            count => {
                let which = self.bits(Draw::Class, index, entry) % count as u64;
                let name = &self.storage_classes[usize::try_from(which).unwrap_or(0)];
                storage_class_index(name).unwrap_or(0)
            }
        };
        let held = self.object_lock && self.happens(self.legal_hold_share, Draw::LegalHold, index, entry);
        let lock = Lock { legal_hold: held, retention: None };
        let is_plain = data_seed == sequence && !self.real_etags && !(1..size).contains(&self.part_bytes);
        let extra = (held || !is_plain).then(|| {
            let data = if is_plain { Extra::default() } else { self.data(data_seed, size, self.part_bytes) };
            Box::new(Extra { lock, ..data })
        });
        Content { class, extra, ..Content::version(at, size) }
    }

    /// Data with the ETag that belongs to it, uploaded in parts of so many bytes where that is more
    /// than one.
    fn data(&self, seed: u64, size: u64, part_bytes: u64) -> Extra {
        let data = Data::filler(seed, size, self.real_etags);
        if !(1..size).contains(&part_bytes) {
            let made = || digest_of(scramble(seed), scramble(!seed));
            let digest = if self.real_etags { data.md5() } else { made() };
            return Extra { data: Some(data), digest: Some(digest), ..Extra::default() };
        }
        let mut parts = Vec::new();
        let mut md5s = Md5::new();
        let mut from = 0;
        while from < size {
            let until = size.min(from.saturating_add(part_bytes));
            md5s.update(data.slice(from, until).md5());
            parts.push(until - from);
            from = until;
        }
        Extra { data: Some(data), digest: Some(md5s.finalize().into()), parts, ..Extra::default() }
    }

    fn fill_item(&self, store: &Store, item: &SeedItem, now: Timestamp) -> Result<(), NoSuchBucket> {
        let at = earlier(now, item.age_secs);
        let retention = item.retention.map(|mode| (mode, earlier(now, -item.retained_secs)));
        let lock = Lock { legal_hold: item.legal_hold, retention };
        let sequence = store.next_sequence();
        let seed = item.data_seed.map_or(sequence, |seed| mix(&[seed, item.size_bytes]));
        let grants = item.acl.as_deref().and_then(acl::canned);
        let extra = Extra {
            lock,
            headers: item.headers.clone().into_iter().collect(),
            tags: item.tags.clone().into_iter().collect(),
            redirect: item.redirect.clone(),
            grants,
            ..self.data(seed, item.size_bytes, item.part_bytes)
        };
        let extra = Some(Box::new(extra));
        let class = item.storage_class.as_deref().and_then(storage_class_index).unwrap_or(0);
        let content = if item.delete_marker {
            Content::marker(at)
        } else {
            Content { at, kind: Kind::Version, size: item.size_bytes, class, extra }
        };
        let as_null = item.null || self.versioning == VersioningStatus::Unversioned;
        let bucket = store.bucket(&self.bucket)?;
        write(&bucket).insert_as(item.key.as_bytes(), sequence, content, as_null);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
