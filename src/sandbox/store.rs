//! The versioned store: buckets, keys in byte order, entries of a key in the order of creation.
//!
//! Everything a bucket does happens under its own lock; the sequence number of an entry is taken
//! under that lock, so the order of sequence numbers is the order of creation.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::entry::{Content, Entry, Lock, storage_class_index};
use super::generated::Generated;
use super::procedural::Procedural;
use super::uploads::Uploads;
use super::version_id::VersionRef;
use crate::model::{Key, Kind, STORAGE_CLASSES, Timestamp, Version, VersionId, VersioningStatus};

/// What a delete did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Deleted {
    /// A version or delete marker is gone for good.
    Removed {
        /// Which of the two it was.
        kind: Kind,
    },
    /// A delete marker with this id is the latest entry now.
    MarkerInserted {
        /// Its id.
        id: String,
    },
    /// The latest entry is the delete marker with this id, as it was before.
    MarkerKept {
        /// Its id.
        id: String,
    },
    /// There was nothing to delete, which S3 answers as a success.
    Absent,
    /// Object Lock protects the version.
    Locked,
}

/// One bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) created: Timestamp,
    pub(super) status: VersioningStatus,
    pub(super) mfa_delete: bool,
    pub(super) object_lock: bool,
    /// The entries of a key are in the order of their creation, oldest first, and never none.
    pub(super) keys: BTreeMap<Box<[u8]>, Vec<Entry>>,
    /// Where the `null` version of a key was before it was deleted, for as long as the key has
    /// other entries: a listing may have to go on from there.
    null_places: BTreeMap<Box<[u8]>, u64>,
    /// Multipart uploads under way.
    pub(super) uploads: Uploads,
    /// The content of a procedural bucket; `keys` stays empty in one.
    generated: Option<Arc<Generated>>,
}

impl Bucket {
    fn new(created: Timestamp, status: VersioningStatus) -> Self {
        Self {
            generated: None,
            created,
            status,
            mfa_delete: false,
            object_lock: false,
            keys: BTreeMap::new(),
            null_places: BTreeMap::new(),
            uploads: Uploads::default(),
        }
    }

    /// The content of a procedural bucket, where this is one.
    pub(super) fn generated(&self) -> Option<&Arc<Generated>> {
        self.generated.as_ref()
    }

    /// Whether it has no entries.
    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    fn count(&self) -> usize {
        match &self.generated {
            Some(generated) => usize::try_from(generated.left()).unwrap_or(usize::MAX),
            None => self.keys.values().map(Vec::len).sum(),
        }
    }

    /// The newest entry of a key.
    pub(super) fn latest(&self, key: &[u8]) -> Option<Cow<'_, Entry>> {
        match &self.generated {
            Some(generated) => generated.latest(key).map(Cow::Owned),
            None => self.keys.get(key)?.last().map(Cow::Borrowed),
        }
    }

    /// The entry that a request names.
    pub(super) fn entry(&self, key: &[u8], wanted: VersionRef) -> Option<Cow<'_, Entry>> {
        if let Some(generated) = &self.generated {
            return generated.entry(key, wanted).map(Cow::Owned);
        }
        let entries = self.keys.get(key)?;
        place_of(entries, wanted).map(|place| Cow::Borrowed(&entries[place]))
    }

    /// The place in the order of the `null` version of a key, which may be gone.
    pub(super) fn sequence_of_null(&self, key: &[u8]) -> Option<u64> {
        self.entry(key, VersionRef::Null)
            .map(|entry| entry.sequence)
            .or_else(|| self.null_places.get(key).copied())
    }

    /// Refuses what would make an entry in a procedural bucket.
    pub(super) fn check_writable(&self) -> Result<(), TakesNoWrites> {
        if self.generated.is_some() { Err(TakesNoWrites) } else { Ok(()) }
    }

    /// Makes an entry as the versioning status wants it: with an id of its own where versioning is
    /// enabled, else as the `null` version, in whose favour the former `null` version goes.
    pub(super) fn insert(&mut self, key: &[u8], sequence: u64, content: Content) -> &Entry {
        let as_null = self.status != VersioningStatus::Enabled;
        self.insert_as(key, sequence, content, as_null)
    }

    /// Makes an entry that is or is not the `null` version, whatever the status.
    pub(super) fn insert_as(&mut self, key: &[u8], sequence: u64, content: Content, as_null: bool) -> &Entry {
        let Content { at, kind, size, class, extra } = content;
        let entries = self.keys.entry(key.into()).or_default();
        if as_null {
            entries.retain(|entry| !entry.is_null);
            self.null_places.remove(key);
        }
        let place = entries.partition_point(|entry| entry.sequence < sequence);
        entries.insert(place, Entry { sequence, at, size, extra, kind, is_null: as_null, class });
        &entries[place]
    }

    /// Puts a changed entry in the place of the one that has its sequence number.
    pub(super) fn replace(&mut self, key: &[u8], changed: Entry) {
        let entries = self.keys.get_mut(key);
        if let Some(entry) = entries.and_then(|all| all.iter_mut().find(|e| e.sequence == changed.sequence)) {
            *entry = changed;
        }
    }

    /// A DELETE that names no version.
    pub(super) fn delete_latest(&mut self, key: &[u8], sequence: u64, at: Timestamp) -> Deleted {
        if self.status == VersioningStatus::Unversioned {
            return self.delete_version(key, VersionRef::Null, at, false);
        }
        let marker = self.insert(key, sequence, Content::marker(at));
        Deleted::MarkerInserted { id: marker.id() }
    }

    /// A DELETE that names a version: it is gone for good, and the next older one becomes current.
    pub(super) fn delete_version(
        &mut self,
        key: &[u8],
        wanted: VersionRef,
        now: Timestamp,
        bypass_governance: bool,
    ) -> Deleted {
        if let Some(generated) = &self.generated {
            return generated.delete(key, wanted).map_or(Deleted::Absent, |kind| Deleted::Removed { kind });
        }
        let Some(entries) = self.keys.get_mut(key) else { return Deleted::Absent };
        let Some(place) = place_of(entries, wanted) else { return Deleted::Absent };
        if entries[place].refuses_deletion(now, bypass_governance) {
            return Deleted::Locked;
        }
        let gone = entries.remove(place);
        if entries.is_empty() {
            self.keys.remove(key);
            self.null_places.remove(key);
        } else if gone.is_null {
            self.null_places.insert(key.into(), gone.sequence);
        }
        Deleted::Removed { kind: gone.kind }
    }

    /// Every entry as a listing would show it, in the listing's order.
    pub(super) fn snapshot(&self) -> Vec<Version> {
        if let Some(generated) = &self.generated {
            return snapshot_of(generated.keys_from(b"", false));
        }
        snapshot_of(self.keys.iter().map(|(key, entries)| (key, entries.as_slice())))
    }

    /// Keys that divide the bucket into so many parts of equally many keys, less the first one.
    pub(super) fn boundaries(&self, parts: u64) -> Vec<Vec<u8>> {
        let parts = parts.max(1);
        if let Some(generated) = &self.generated {
            let place = |part| u128::from(generated.key_count()) * u128::from(part) / u128::from(parts);
            return (1..parts).map(|part| generated.key(place(part) as u64)).collect();
        }
        let keys: Vec<&[u8]> = self.keys.keys().map(|key| &**key).collect();
        let place = |part| (keys.len() as u128 * u128::from(part) / u128::from(parts)) as usize;
        (1..parts).filter_map(|part| keys.get(place(part))).map(|key| key.to_vec()).collect()
    }
}

fn snapshot_of<K: AsRef<[u8]>, E: AsRef<[Entry]>>(keys: impl Iterator<Item = (K, E)>) -> Vec<Version> {
    let mut versions = Vec::new();
    for (key, entries) in keys {
        for (age, entry) in entries.as_ref().iter().rev().enumerate() {
            let Some(id) = VersionId::new(entry.id()) else { continue };
            let is_version = entry.kind == Kind::Version;
            versions.push(Version {
                key: Key::new(key.as_ref()),
                id,
                kind: entry.kind,
                is_latest: age == 0,
                last_modified: entry.at.floor_to_second(),
                size: entry.size,
                etag: is_version.then(|| format!("\"{}\"", entry.etag()).into()),
                storage_class: is_version.then(|| STORAGE_CLASSES[usize::from(entry.class)].into()),
            });
        }
    }
    versions
}

pub(super) fn place_of(entries: &[Entry], wanted: VersionRef) -> Option<usize> {
    match wanted {
        VersionRef::Null => entries.iter().position(|entry| entry.is(wanted)),
        VersionRef::Sequence(sequence) => {
            let place = entries.partition_point(|entry| entry.sequence < sequence);
            entries.get(place).is_some_and(|entry| entry.is(wanted)).then_some(place)
        }
    }
}

/// A procedural bucket takes no uploads and no new delete markers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TakesNoWrites;

/// For those who fill the store directly, a bucket that takes nothing is as good as none.
impl From<TakesNoWrites> for NoSuchBucket {
    fn from(_: TakesNoWrites) -> Self {
        Self
    }
}

/// A procedural bucket that cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadProcedural {
    /// What [`Procedural::problems`] tells.
    #[error("the procedural bucket cannot be made: {}", .0.join("; "))]
    Problems(Vec<String>),
    /// Another bucket has its name.
    #[error("there is another bucket with the name of the procedural bucket {0}")]
    Exists(String),
}

/// No bucket has this name, or it is a procedural one and takes no writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the sandbox has no bucket of this name that takes this")]
pub struct NoSuchBucket;

pub(super) type SharedBucket = Arc<RwLock<Bucket>>;

/// A bucket's lock for reading. A panic of another thread leaves the data whole: every change is
/// made of steps that cannot panic half-way.
pub(super) fn read(bucket: &RwLock<Bucket>) -> RwLockReadGuard<'_, Bucket> {
    bucket.read().unwrap_or_else(PoisonError::into_inner)
}

/// A bucket's lock for writing; see [`read`].
pub(super) fn write(bucket: &RwLock<Bucket>) -> RwLockWriteGuard<'_, Bucket> {
    bucket.write().unwrap_or_else(PoisonError::into_inner)
}

/// All buckets of a sandbox. Its methods act at once, without HTTP, signature, fault or operation
/// log: for seeding, and as the oracle of a test.
#[derive(Debug, Default)]
pub struct Store {
    buckets: RwLock<BTreeMap<String, SharedBucket>>,
    last_sequence: AtomicU64,
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next number in the order of creation.
    pub(super) fn next_sequence(&self) -> u64 {
        self.last_sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Makes a bucket; `false` where one of this name exists already, which stays as it is.
    pub fn create_bucket(&self, name: &str, created: Timestamp, status: VersioningStatus) -> bool {
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        if buckets.contains_key(name) {
            return false;
        }
        buckets.insert(name.to_owned(), Arc::new(RwLock::new(Bucket::new(created, status))));
        true
    }

    /// Makes a bucket whose listing is computed.
    ///
    /// # Errors
    /// What is wrong with the specification, or that a bucket of its name exists.
    pub fn create_procedural(&self, spec: &Procedural, now: Timestamp) -> Result<(), BadProcedural> {
        let problems = spec.problems();
        if !problems.is_empty() {
            return Err(BadProcedural::Problems(problems));
        }
        let generated = Generated::of(spec, now);
        if !self.create_bucket(&spec.bucket, generated.oldest(), VersioningStatus::Enabled) {
            return Err(BadProcedural::Exists(spec.bucket.clone()));
        }
        if let Ok(bucket) = self.bucket(&spec.bucket) {
            write(&bucket).generated = Some(Arc::new(generated));
        }
        Ok(())
    }

    /// Keys that divide a bucket into so many parts of equally many keys, less the first: of the
    /// first procedural bucket, else of the first bucket.
    pub(super) fn boundaries(&self, parts: u64) -> Vec<Vec<u8>> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        let procedural = buckets.values().find(|bucket| read(bucket).generated.is_some());
        procedural
            .or_else(|| buckets.values().next())
            .map_or_else(Vec::new, |bucket| read(bucket).boundaries(parts))
    }

    /// Removes a bucket with everything in it; `false` where there is none.
    pub fn remove_bucket(&self, name: &str) -> bool {
        self.buckets.write().unwrap_or_else(PoisonError::into_inner).remove(name).is_some()
    }

    pub(super) fn bucket(&self, name: &str) -> Result<SharedBucket, NoSuchBucket> {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned().ok_or(NoSuchBucket)
    }

    /// The names of all buckets, in order.
    pub fn bucket_names(&self) -> Vec<String> {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Makes a version without data: a read of it gives filler bytes.
    ///
    /// # Errors
    /// [`NoSuchBucket`].
    pub fn put(
        &self,
        bucket: &str,
        key: impl Into<Key>,
        size_bytes: u64,
        at: Timestamp,
    ) -> Result<VersionId, NoSuchBucket> {
        self.make(bucket, &key.into(), Content::version(at, size_bytes))
    }

    /// Makes a version without data in a storage class; an unknown class is taken for STANDARD.
    ///
    /// # Errors
    /// [`NoSuchBucket`].
    pub fn put_in_class(
        &self,
        bucket: &str,
        key: impl Into<Key>,
        size_bytes: u64,
        at: Timestamp,
        storage_class: &str,
    ) -> Result<VersionId, NoSuchBucket> {
        let class = storage_class_index(storage_class).unwrap_or(0);
        self.make(bucket, &key.into(), Content { class, ..Content::version(at, size_bytes) })
    }

    /// Makes a delete marker, as a DELETE without a version id does. In a bucket that was never
    /// versioned it removes the version, and the id is `null`.
    ///
    /// # Errors
    /// [`NoSuchBucket`].
    pub fn insert_marker(
        &self,
        bucket: &str,
        key: impl Into<Key>,
        at: Timestamp,
    ) -> Result<VersionId, NoSuchBucket> {
        let (bucket, key) = (self.bucket(bucket)?, key.into());
        let mut bucket = write(&bucket);
        bucket.check_writable()?;
        let sequence = self.next_sequence();
        let id = match bucket.delete_latest(key.as_bytes(), sequence, at) {
            Deleted::MarkerInserted { id } => id,
            _ => "null".to_owned(),
        };
        VersionId::new(id).ok_or(NoSuchBucket)
    }

    fn make(&self, bucket: &str, key: &Key, content: Content) -> Result<VersionId, NoSuchBucket> {
        let bucket = self.bucket(bucket)?;
        let mut bucket = write(&bucket);
        bucket.check_writable()?;
        let sequence = self.next_sequence();
        VersionId::new(bucket.insert(key.as_bytes(), sequence, content).id()).ok_or(NoSuchBucket)
    }

    /// Deletes a version for good, whatever lock it has; `false` where it does not exist.
    ///
    /// # Errors
    /// [`NoSuchBucket`].
    pub fn delete_version(
        &self,
        bucket: &str,
        key: impl Into<Key>,
        id: &VersionId,
    ) -> Result<bool, NoSuchBucket> {
        let (bucket, key) = (self.bucket(bucket)?, key.into());
        let Some(wanted) = VersionRef::parse(id.as_str()) else { return Ok(false) };
        self.set_lock_of(&bucket, key.as_bytes(), wanted, Lock::default());
        let end_of_time = Timestamp::from_millis(i64::MAX);
        let deleted = write(&bucket).delete_version(key.as_bytes(), wanted, end_of_time, true);
        Ok(matches!(deleted, Deleted::Removed { .. }))
    }

    /// Puts a version under Object Lock, or lifts it; `false` where it does not exist.
    ///
    /// # Errors
    /// [`NoSuchBucket`].
    pub fn set_lock(
        &self,
        bucket: &str,
        key: impl Into<Key>,
        id: &VersionId,
        lock: Lock,
    ) -> Result<bool, NoSuchBucket> {
        let (bucket, key) = (self.bucket(bucket)?, key.into());
        let Some(wanted) = VersionRef::parse(id.as_str()) else { return Ok(false) };
        Ok(self.set_lock_of(&bucket, key.as_bytes(), wanted, lock))
    }

    fn set_lock_of(&self, bucket: &SharedBucket, key: &[u8], wanted: VersionRef, lock: Lock) -> bool {
        let mut bucket = write(bucket);
        let Some(entries) = bucket.keys.get_mut(key) else { return false };
        let Some(place) = place_of(entries, wanted) else { return false };
        let entry = &mut entries[place];
        if lock != Lock::default() || entry.extra.is_some() {
            entry.extra.get_or_insert_default().lock = lock;
        }
        true
    }

    /// Every entry of a bucket in the order of a listing: keys in byte order, then newest first.
    ///
    /// # Errors
    /// [`NoSuchBucket`].
    pub fn versions(&self, bucket: &str) -> Result<Vec<Version>, NoSuchBucket> {
        Ok(read(&*self.bucket(bucket)?).snapshot())
    }

    /// Number of entries in a bucket, delete markers included.
    ///
    /// # Errors
    /// [`NoSuchBucket`].
    pub fn count(&self, bucket: &str) -> Result<usize, NoSuchBucket> {
        Ok(read(&*self.bucket(bucket)?).count())
    }

    /// The versioning status of a bucket.
    ///
    /// # Errors
    /// [`NoSuchBucket`].
    pub fn status(&self, bucket: &str) -> Result<VersioningStatus, NoSuchBucket> {
        Ok(read(&*self.bucket(bucket)?).status)
    }

    /// Changes the versioning status of a bucket.
    ///
    /// # Errors
    /// [`NoSuchBucket`].
    pub fn set_status(&self, bucket: &str, status: VersioningStatus) -> Result<(), NoSuchBucket> {
        write(&*self.bucket(bucket)?).status = status;
        Ok(())
    }

    /// Switches Object Lock and MFA Delete of a bucket on or off.
    ///
    /// # Errors
    /// [`NoSuchBucket`].
    pub fn set_guards(&self, bucket: &str, object_lock: bool, mfa_delete: bool) -> Result<(), NoSuchBucket> {
        let bucket = self.bucket(bucket)?;
        let mut bucket = write(&bucket);
        bucket.object_lock = object_lock;
        bucket.mfa_delete = mfa_delete;
        Ok(())
    }

    /// Suspends versioning in every bucket that has it enabled.
    pub(super) fn suspend_all(&self) {
        for bucket in self.buckets.read().unwrap_or_else(PoisonError::into_inner).values() {
            let mut bucket = write(bucket);
            if bucket.status == VersioningStatus::Enabled {
                bucket.status = VersioningStatus::Suspended;
            }
        }
    }
}

#[cfg(test)]
mod tests;
