//! How far the histories of a batch are that travel: what their destinations held at first, and each
//! version that is under way or has arrived.

use rusqlite::params;

use super::batches::add_fresh;
use super::commands::{insert_batch, is_blocked};
use super::error::{Fault, own_bug};
use super::rows::{self, Count};
use super::store::Store;
use super::values::{ChainBase, Moved, NewBatch, Settlement, Step, StepState};
use crate::model::{Batch, CopyItem, Item, Key, Phase, VersionId};

/// Whether the batch is to be copied, and not to be deleted.
pub(super) fn is_to_copy(items: &[Item]) -> bool {
    items.first().and_then(|item| item.copy.as_ref()).is_some_and(|copy| copy.copied.is_none())
}

/// Whether `moved` is this planned item with its verified copy.
pub(super) fn is_moved(planned: &Item, moved: &Item) -> bool {
    let (Some(before), Some(after)) = (&planned.copy, &moved.copy) else { return false };
    // Every field is named, so that one more cannot be forgotten here.
    let Item { key, version_id, kind, is_latest, size, last_modified, rule, copy: _ } = planned;
    let CopyItem { etag, storage_class, copied } = &**before;
    (key, version_id, kind, is_latest) == (&moved.key, &moved.version_id, &moved.kind, &moved.is_latest)
        && (size, last_modified, rule) == (&moved.size, &moved.last_modified, &moved.rule)
        && (etag, storage_class) == (&after.etag, &after.storage_class)
        && copied.is_none()
        && after.copied.is_some()
}

/// The batches of deletions that follow from moved items: made before anything is written, since making
/// them can fail.
pub(super) struct NewDeletions(Vec<(NewBatch, Vec<u8>)>);

impl NewDeletions {
    /// They keep the number of the batch that they come from, so that whatever waits for that one waits
    /// for them. The latest entries wait for the others, and for the elders of their keys in other batches.
    pub(super) fn of(store: &mut Store, from: &Batch, moved: &[Item]) -> Result<Self, Fault> {
        if moved.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let sql = "SELECT seq, after_seq FROM batch WHERE id = ?1";
        let (Count(seq), after): (Count, Option<Count>) = store
            .connection
            .prepare_cached(sql)?
            .query_row([from.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (latest, elders): (Vec<Item>, Vec<Item>) = moved.iter().cloned().partition(|item| item.is_latest);
        // Without elders of their own there is nothing to wait for under this number.
        let own = if elders.is_empty() { seq.checked_sub(1) } else { Some(seq) };
        let after_seq = own.max(after.map(|after| after.0).filter(|after| *after > seq));
        let action = from.action;
        let batches = [
            NewBatch { phase: Phase::Elders, action, seq, after_seq: None, items: elders },
            NewBatch { phase: Phase::Latest, action, seq, after_seq, items: latest },
        ];
        let mut made = Vec::new();
        for batch in batches.into_iter().filter(|batch| !batch.items.is_empty()) {
            let payload = store.codec.encode_items(&batch.items).map_err(Fault::Own)?;
            made.push((batch, payload));
        }
        Ok(Self(made))
    }

    /// Writes them. The caller takes care that [`super::commands::unblock`] follows.
    pub(super) fn insert(self, store: &mut Store, range: i64) -> Result<Moved, Fault> {
        let mut moved = Moved::default();
        if let Some(books) = store.ranges.get_mut(&range).filter(|_| !self.0.is_empty()) {
            books.has_moved = true;
        }
        for (batch, payload) in self.0 {
            let id = insert_batch(store, range, &batch, &payload)?;
            store.totals.open_batches += 1;
            if !is_blocked(&batch) {
                add_fresh(store, range, 1);
            } else if let Some(books) = store.ranges.get_mut(&range) {
                books.blocked += 1;
            }
            match batch.phase {
                Phase::Elders => moved.elders = Some(id),
                Phase::Latest => moved.latest = Some(id),
            }
        }
        Ok(moved)
    }
}

/// Drops what was noted of versions that are settled or moved, and of the destinations of their copies.
/// With the last item of a batch everything noted of it goes.
pub(super) fn forget(store: &Store, settlement: &Settlement) -> Result<(), Fault> {
    let batch = settlement.batch;
    if settlement.remaining.is_empty() {
        store.connection.prepare_cached("DELETE FROM step WHERE batch_id = ?1")?.execute([batch])?;
        store.connection.prepare_cached("DELETE FROM chain WHERE batch_id = ?1")?.execute([batch])?;
        return Ok(());
    }
    let settled = settlement.records.iter().map(|record| (&record.key, &record.version_id));
    let moved = settlement.moved.iter().map(|item| (&item.key, &item.version_id));
    let sql = "DELETE FROM step WHERE batch_id = ?1 AND key = ?2 AND version_id = ?3";
    let mut statement = store.connection.prepare_cached(sql)?;
    for (key, version_id) in settled.chain(moved) {
        statement.execute(params![batch, key.as_bytes(), version_id.as_str()])?;
    }
    let settled = settlement.records.iter().filter_map(|record| record.copied.as_deref());
    let moved = settlement.moved.iter().filter_map(|item| item.copy.as_ref()?.copied.as_ref());
    let mut destinations: Vec<&Key> = settled.chain(moved).map(|copied| &copied.key).collect();
    destinations.dedup();
    let mut statement =
        store.connection.prepare_cached("DELETE FROM chain WHERE batch_id = ?1 AND key = ?2")?;
    for key in destinations {
        statement.execute(params![batch, key.as_bytes()])?;
    }
    Ok(())
}

/// Notes what a destination key holds before its first copy.
pub(super) fn begin(store: &mut Store, batch: i64, base: &ChainBase) -> Result<(), Fault> {
    require_claimed(store, batch)?;
    store.touch();
    let sql = "INSERT OR REPLACE INTO chain (batch_id, key, entries, newest) VALUES (?1, ?2, ?3, ?4)";
    let newest = base.newest.as_ref().map(VersionId::as_str);
    let values = params![batch, base.key.as_bytes(), Count(base.entries), newest];
    store.connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Reserves a destination key for a chain of this batch; `false` where one of another batch has it.
pub(super) fn reserve(store: &mut Store, batch: i64, key: &Key) -> Result<bool, Fault> {
    require_claimed(store, batch)?;
    let sql = "SELECT EXISTS (SELECT 1 FROM chain INDEXED BY chain_key WHERE key = ?1 AND batch_id <> ?2)";
    let values = params![key.as_bytes(), batch];
    if store.connection.prepare_cached(sql)?.query_row(values, |row| row.get(0))? {
        return Ok(false);
    }
    store.touch();
    let sql = "INSERT OR IGNORE INTO chain (batch_id, key) VALUES (?1, ?2)";
    store.connection.prepare_cached(sql)?.execute(params![batch, key.as_bytes()])?;
    Ok(true)
}

/// Notes how far a version is.
pub(super) fn put_step(store: &mut Store, batch: i64, step: &Step) -> Result<(), Fault> {
    require_claimed(store, batch)?;
    store.touch();
    let (copied, etag, upload, part_bytes) = match &step.state {
        StepState::Copied { version_id, etag } => (Some(version_id.as_str()), Some(&**etag), None, None),
        StepState::Upload { upload_id, part_bytes } => {
            (None, None, Some(&**upload_id), Some(Count(*part_bytes)))
        }
    };
    let sql = "INSERT OR REPLACE INTO step (batch_id, key, version_id, copied_version_id, copied_etag, upload_id, \
               part_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let values =
        params![batch, step.key.as_bytes(), step.version_id.as_str(), copied, etag, upload, part_bytes];
    store.connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn require_claimed(store: &Store, batch: i64) -> Result<(), Fault> {
    match store.claimed.get(&batch) {
        Some(found) if is_to_copy(&found.items) => Ok(()),
        Some(_) => own_bug(format!("batch {batch} has no chains")),
        None => own_bug(format!("a chain of batch {batch}, which was not handed out")),
    }
}

/// Everything noted of a batch.
pub(super) fn read(store: &mut Store, batch: i64) -> Result<(Vec<ChainBase>, Vec<Step>), Fault> {
    let mut bases = Vec::new();
    let sql = "SELECT key, entries, newest FROM chain WHERE batch_id = ?1 AND entries IS NOT NULL \
               ORDER BY key";
    let mut statement = store.connection.prepare_cached(sql)?;
    let mut found = statement.query([batch])?;
    while let Some(row) = found.next()? {
        let newest = row.get::<_, Option<Box<str>>>(2)?.map(version_id).transpose()?;
        bases.push(ChainBase { key: rows::key(row, 0)?, entries: rows::count(row, 1)?, newest });
    }
    let mut steps = Vec::new();
    let sql = "SELECT key, version_id, copied_version_id, copied_etag, upload_id, part_bytes FROM step \
               WHERE batch_id = ?1 ORDER BY key, version_id";
    let mut statement = store.connection.prepare_cached(sql)?;
    let mut found = statement.query([batch])?;
    while let Some(row) = found.next()? {
        let copied: Option<Box<str>> = row.get(2)?;
        let state = match copied {
            Some(id) => StepState::Copied {
                version_id: version_id(id)?,
                etag: row.get::<_, Option<Box<str>>>(3)?.unwrap_or_default(),
            },
            None => StepState::Upload { upload_id: row.get(4)?, part_bytes: rows::count(row, 5)? },
        };
        steps.push(Step { key: rows::key(row, 0)?, version_id: version_id(row.get(1)?)?, state });
    }
    Ok((bases, steps))
}

fn version_id(text: Box<str>) -> Result<VersionId, Fault> {
    VersionId::new(text).ok_or_else(|| rows::damaged("an empty version id"))
}
