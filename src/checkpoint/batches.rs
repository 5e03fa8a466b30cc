//! The life of a batch after it was planned: handed out, given back, settled.

use std::collections::{BTreeMap, HashMap, VecDeque};

use rusqlite::{OptionalExtension as _, Row, params};

use super::chains::{self, NewDeletions};
use super::commands::{READY, unblock};
use super::error::{CheckpointError, Fault, own_bug};
use super::rows::{self, Count};
use super::store::Store;
use super::turns;
use super::values::{Amount, ClaimedBatch, Claims, Counter, Moved, Retry, Settlement};
use crate::model::{ActionId, Batch, Fate, Item, Key, Kind, Outcome, Phase, Record, Timestamp, VersionId};

/// A batch that is handed out.
const CLAIMED: i64 = 1;

/// So many batches that are due are looked at for a claim.
const DUE_LOOKED_AT_MAX: usize = 512;

/// Which batches a claim is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// New ones, and those that are due for another try.
    All,
    /// Those that are due for another try.
    Retries,
}

pub(super) fn claim(
    store: &mut Store,
    max_batches: usize,
    now: Timestamp,
    wanted: Wanted,
    resting: &[i64],
) -> Result<Claims, Fault> {
    let mut batches = Vec::new();
    let found = match wanted {
        Wanted::All => take_by_turns(store, max_batches, now, resting, &mut batches),
        Wanted::Retries => take_due(store, max_batches, now, &mut batches),
    };
    if let Err(fault) = found {
        // One batch does not decode: the others must not stay marked as handed out.
        for claimed in &batches {
            set_batch_state(store, claimed.batch.id, READY)?;
            store.claimed.remove(&claimed.batch.id);
        }
        store.count_fresh()?;
        return Err(fault);
    }
    for claimed in &batches {
        let amount = Amount::of_all(&claimed.batch.items);
        store.totals.pending = store.totals.pending.less(amount);
        store.totals.in_flight += amount;
    }
    if !batches.is_empty() {
        store.touch();
    }
    // Fewer than were asked for: there is nothing fresh but that of resting ranges.
    let wanted = if resting.is_empty() || batches.len() >= max_batches { wanted } else { Wanted::Retries };
    Ok(Claims {
        next_ready: next_ready(store, now, wanted, resting)?,
        open: store.totals.open_batches,
        batches,
    })
}

/// Makes batches that were never tried due like those that were, where they are ready.
pub(super) fn bring_forward(store: &mut Store, ids: &[i64], now: Timestamp) -> Result<(), Fault> {
    let sql = "UPDATE batch SET not_before_ms = ?2 WHERE id = ?1 AND state = 0 AND not_before_ms IS NULL \
               RETURNING range_id";
    for id in ids {
        let range: Option<i64> =
            store.connection.prepare_cached(sql)?.query_row(params![id, now], |row| row.get(0)).optional()?;
        if let Some(range) = range {
            add_fresh(store, range, -1);
            store.touch();
        }
    }
    Ok(())
}

/// Batches that are due for another try, the longest due first.
fn take_due(
    store: &mut Store,
    max_batches: usize,
    now: Timestamp,
    batches: &mut Vec<ClaimedBatch>,
) -> Result<(), Fault> {
    let sql = "SELECT id FROM batch INDEXED BY batch_due \
               WHERE state = 0 AND not_before_ms IS NOT NULL AND not_before_ms <= ?1 \
               ORDER BY not_before_ms, id LIMIT 1";
    while batches.len() < max_batches {
        let id: Option<i64> =
            store.connection.prepare_cached(sql)?.query_row([now], |row| row.get(0)).optional()?;
        let Some(id) = id else { break };
        batches.push(hand_out(store, id)?);
    }
    Ok(())
}

/// The batches that are due for another try, the longest due first, by their ranges.
fn due_by_range(
    store: &Store,
    now: Timestamp,
    resting: &[i64],
) -> Result<BTreeMap<i64, VecDeque<i64>>, Fault> {
    let sql = "SELECT id, range_id FROM batch INDEXED BY batch_due \
               WHERE state = 0 AND not_before_ms IS NOT NULL AND not_before_ms <= ?1 \
               ORDER BY not_before_ms, id";
    let mut statement = store.connection.prepare_cached(sql)?;
    let mut rows = statement.query([now])?;
    let mut due: BTreeMap<i64, VecDeque<i64>> = BTreeMap::new();
    let mut count = 0;
    while let Some(row) = rows.next()?
        && count < DUE_LOOKED_AT_MAX
    {
        let range: i64 = row.get(1)?;
        if resting.binary_search(&range).is_err() {
            due.entry(range).or_default().push_back(row.get(0)?);
            count += 1;
        }
    }
    Ok(due)
}

/// Batches of ranges that do not rest, in the order of [`turns`]; in the turn of a range those that are
/// due for another try come first. They have no precedence over other ranges: what was refused for its
/// rate often lies where the server is fullest, and must not become all that is sent.
fn take_by_turns(
    store: &mut Store,
    max_batches: usize,
    now: Timestamp,
    resting: &[i64],
    batches: &mut Vec<ClaimedBatch>,
) -> Result<(), Fault> {
    let mut due = due_by_range(store, now, resting)?;
    while batches.len() < max_batches {
        let may_be_chosen =
            |id, fresh| due.contains_key(&id) || (fresh > 0 && resting.binary_search(&id).is_err());
        let ranges = store.ranges.iter_mut().map(|(id, books)| (*id, books));
        let Some(range) = turns::next_range(ranges, may_be_chosen) else { break };
        if let Some(ids) = due.get_mut(&range) {
            let id = ids.pop_front();
            if ids.is_empty() {
                due.remove(&range);
            }
            if let Some(id) = id {
                batches.push(hand_out(store, id)?);
            }
            continue;
        }
        match fresh_batch(store, range)? {
            Some(id) => {
                batches.push(hand_out(store, id)?);
                add_fresh(store, range, -1);
            }
            None => store.count_fresh()?,
        }
    }
    Ok(())
}

/// The batch of a range whose turn it is.
fn fresh_batch(store: &Store, range: i64) -> Result<Option<i64>, Fault> {
    // One query each: SQLite finds an end by the index only where it is all that is asked for.
    let sql = "SELECT (SELECT min(id) FROM batch INDEXED BY batch_fresh \
                       WHERE state = 0 AND not_before_ms IS NULL AND range_id = ?1), \
                      (SELECT max(id) FROM batch INDEXED BY batch_fresh \
                       WHERE state = 0 AND not_before_ms IS NULL AND range_id = ?1)";
    let ends = |row: &Row<'_>| Ok(row.get::<_, Option<i64>>(0)?.zip(row.get::<_, Option<i64>>(1)?));
    let ends = store.connection.prepare_cached(sql)?.query_row([range], ends)?;
    let Some((oldest, newest)) = ends else { return Ok(None) };
    let turn = store.ranges.get(&range).map_or(0, |books| books.turns);
    let from = oldest + ((newest - oldest) as f64 * turns::place(turn)) as i64;
    let sql = "SELECT min(id) FROM batch INDEXED BY batch_fresh \
               WHERE state = 0 AND not_before_ms IS NULL AND range_id = ?1 AND id >= ?2";
    let found: Option<i64> =
        store.connection.prepare_cached(sql)?.query_row([range, from], |row| row.get(0))?;
    Ok(found.or(Some(oldest)))
}

/// Notes that a range has more, or fewer, batches that are ready and were never tried.
pub(super) fn add_fresh(store: &mut Store, range: i64, more: i64) {
    if let Some(books) = store.ranges.get_mut(&range) {
        books.fresh = books.fresh.saturating_add_signed(more);
    }
}

fn hand_out(store: &mut Store, id: i64) -> Result<ClaimedBatch, Fault> {
    let batch = stored_batch(store, id)?.ok_or_else(|| rows::damaged(format!("batch {id} is not there")))?;
    let blocked = match batch.phase {
        Phase::Latest => with_failed_elder(store, &batch)?,
        Phase::Elders => Vec::new(),
    };
    set_batch_state(store, id, CLAIMED)?;
    store.claimed.insert(id, batch.clone());
    Ok(ClaimedBatch { batch, blocked })
}

/// The items whose key has an item that failed or was skipped. A batch of latest items holds one
/// item of a key, so that one is an elder.
fn with_failed_elder(store: &Store, batch: &Batch) -> Result<Vec<usize>, Fault> {
    if !store.ranges.get(&batch.range).is_some_and(|books| books.has_failures) {
        return Ok(Vec::new());
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM failure INDEXED BY failure_key \
               WHERE range_id = ?1 AND key = ?2 AND version_id <> ?3)";
    let mut statement = store.connection.prepare_cached(sql)?;
    let mut blocked = Vec::new();
    for (index, item) in batch.items.iter().enumerate() {
        let values = params![batch.range, item.key.as_bytes(), item.version_id.as_str()];
        if statement.query_row(values, |row| row.get(0))? {
            blocked.push(index);
        }
    }
    Ok(blocked)
}

fn next_ready(
    store: &Store,
    now: Timestamp,
    wanted: Wanted,
    resting: &[i64],
) -> Result<Option<Timestamp>, Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM batch INDEXED BY batch_fresh \
               WHERE state = 0 AND not_before_ms IS NULL)";
    if wanted == Wanted::All && store.connection.prepare_cached(sql)?.query_row([], |row| row.get(0))? {
        return Ok(Some(now));
    }
    let sql = "SELECT not_before_ms, range_id FROM batch INDEXED BY batch_due \
               WHERE state = 0 AND not_before_ms IS NOT NULL ORDER BY not_before_ms";
    let mut statement = store.connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if resting.binary_search(&row.get(1)?).is_err() {
            return Ok(Some(row.get::<_, Timestamp>(0)?.max(now)));
        }
    }
    Ok(None)
}

pub(super) fn release(store: &mut Store, batch_ids: &[i64]) -> Result<(), Fault> {
    let mut amount = Amount::default();
    for (index, id) in batch_ids.iter().enumerate() {
        let Some(stored) = claimed_amount(store, *id)? else {
            return own_bug(format!("batch {id} is given back and was not handed out"));
        };
        if batch_ids[..index].contains(id) {
            return own_bug(format!("batch {id} is given back twice"));
        }
        amount += stored;
    }
    for id in batch_ids {
        store.touch();
        set_batch_state(store, *id, READY)?;
        store.claimed.remove(id);
    }
    store.count_fresh()?;
    store.totals.in_flight = store.totals.in_flight.less(amount);
    store.totals.pending += amount;
    Ok(())
}

/// Notes that the first `granted` items of a batch that is handed out may be sent.
pub(super) fn note_granted(store: &mut Store, id: i64, granted: usize) -> Result<(), Fault> {
    if claimed_amount(store, id)?.is_none() {
        return own_bug(format!("batch {id} is granted and was not handed out"));
    }
    store.touch();
    let sql = "UPDATE batch SET granted = ?2 WHERE id = ?1";
    store.connection.prepare_cached(sql)?.execute(params![id, Count(granted as u64)])?;
    Ok(())
}

/// The number of the last batch that was written; none is given twice.
pub(super) fn last_batch(store: &Store) -> Result<i64, Fault> {
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'batch'";
    let found = store.connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(0))
}

/// What may have been sent of each batch without its outcome being known, by the batch's id.
pub(super) fn maybe_sent(store: &mut Store) -> Result<Vec<(i64, Amount)>, Fault> {
    let mut ids: Vec<(i64, Count)> = Vec::new();
    {
        let mut statement =
            store.connection.prepare_cached("SELECT id, granted FROM batch WHERE granted > 0")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            ids.push((row.get(0)?, row.get(1)?));
        }
    }
    let mut found = Vec::with_capacity(ids.len());
    for (id, granted) in ids {
        if let Some(batch) = stored_batch(store, id)? {
            let count = usize::try_from(granted.0).unwrap_or(usize::MAX).min(batch.items.len());
            found.push((id, Amount::of_all(&batch.items[..count])));
        }
    }
    Ok(found)
}

fn claimed_amount(store: &Store, id: i64) -> Result<Option<Amount>, Fault> {
    let sql = "SELECT n, bytes FROM batch WHERE id = ?1 AND state = 1";
    let found = store.connection.prepare_cached(sql)?.query_row([id], |row| {
        Ok(Amount { versions: row.get::<_, Count>(0)?.0, bytes: row.get::<_, Count>(1)?.0, keys: 0 })
    });
    Ok(found.optional()?)
}

pub(super) fn settle(store: &mut Store, settlement: Settlement) -> Result<Moved, Fault> {
    let id = settlement.batch;
    let Some(stored) = store.claimed.remove(&id) else {
        return own_bug(format!("batch {id} is settled and was not handed out"));
    };
    let checked = check_settlement(&stored, &settlement).and_then(|failures| {
        let rest = match settlement.remaining.as_slice() {
            [] => None,
            items => Some(store.codec.encode_items(items).map_err(Fault::Own)?),
        };
        let deletions = NewDeletions::of(store, &stored, &settlement.moved)?;
        Ok((failures, rest, deletions))
    });
    let (failures, rest, deletions) = match checked {
        Ok(checked) => checked,
        Err(fault) => {
            store.claimed.insert(id, stored);
            return Err(fault);
        }
    };

    store.touch();
    for (item, record) in &failures {
        insert_failure(store, stored.range, item, record)?;
    }
    if chains::is_to_copy(&stored.items) {
        chains::forget(store, &settlement)?;
    }
    let moved = deletions.insert(store, stored.range)?;
    match rest {
        Some(payload) => {
            if keep_rest(store, &settlement, &payload)? {
                add_fresh(store, stored.range, 1);
            }
        }
        None => delete_batch(store, id)?,
    }
    store.updated = store.updated.max(Some(settlement.at));

    store.totals.in_flight = store.totals.in_flight.less(Amount::of_all(&stored.items));
    store.totals.pending += Amount::of_all(&settlement.remaining) + Amount::of_all(&settlement.moved);
    if !failures.is_empty()
        && let Some(books) = store.ranges.get_mut(&stored.range)
    {
        books.has_failures = true;
    }
    if settlement.remaining.is_empty() {
        store.totals.open_batches = store.totals.open_batches.saturating_sub(1);
    }
    if stored.phase == Phase::Elders && (settlement.remaining.is_empty() || moved != Moved::default()) {
        // What was moved stands in the place of its chains already, under their number.
        unblock(store, stored.range)?;
    }
    for (counter, amount) in tallied(&settlement.records) {
        store.add(counter, amount);
    }
    store.add_requests(&settlement.requests);
    store.append(settlement.records)?;
    Ok(moved)
}

/// Outcomes by what they count for. Neighbours mostly share it.
fn tallied(records: &[Record]) -> Vec<(Counter, Amount)> {
    let mut tallies: Vec<(Counter, Amount)> = Vec::new();
    for record in records {
        let Fate::Settled { rule, outcome, .. } = &record.fate else { continue };
        let counter = Counter::of_outcome(*rule, outcome);
        let amount = Amount { versions: 1, bytes: record.size, keys: 0 };
        match tallies.last_mut().filter(|(last, _)| *last == counter) {
            Some((_, sum)) => *sum += amount,
            None => tallies.push((counter, amount)),
        }
    }
    tallies
}

/// Checks that every item of the batch is either settled, remains or is moved, once, and as it was planned.
/// Returns the items that failed or were skipped.
fn check_settlement<'a>(
    batch: &'a Batch,
    settlement: &'a Settlement,
) -> Result<Vec<(&'a Item, &'a Record)>, Fault> {
    let fault = |what: String| own_bug(format!("batch {}: {what}", batch.id));
    let mut planned = Planned::new(&batch.items);
    let mut failures = Vec::new();
    for record in &settlement.records {
        let Fate::Settled { rule, outcome, .. } = &record.fate else {
            return fault(format!("{:?} {:?} is settled as kept", record.key, record.version_id));
        };
        let Some(item) = planned.take(&record.key, &record.version_id) else {
            return fault(format!("{:?} {:?} is settled and not in it", record.key, record.version_id));
        };
        if (item.rule, item.size, item.kind) != (*rule, record.size, record.kind) {
            return fault(format!(
                "{:?} {:?} is not settled as it was planned",
                record.key, record.version_id
            ));
        }
        if matches!(outcome, Outcome::Failed(_) | Outcome::Skipped(_)) {
            failures.push((item, record));
        }
    }
    planned.next = 0;
    for item in &settlement.remaining {
        if planned.take(&item.key, &item.version_id) != Some(item) {
            return fault(format!("{:?} {:?} remains and is not in it", item.key, item.version_id));
        }
    }
    planned.next = 0;
    for item in &settlement.moved {
        let planned = planned.take(&item.key, &item.version_id);
        if !planned.is_some_and(|planned| chains::is_moved(planned, item)) {
            return fault(format!("{:?} {:?} is moved and not a copy of it", item.key, item.version_id));
        }
    }
    let answered = settlement.records.len() + settlement.remaining.len() + settlement.moved.len();
    if answered != batch.items.len() {
        return fault(format!("{} items, {answered} of them accounted for", batch.items.len()));
    }
    Ok(failures)
}

/// The items of a batch, each to be taken once by its name.
struct Planned<'a> {
    items: &'a [Item],
    taken: Vec<bool>,
    /// The item behind the last one taken: a settlement keeps the order of its batch.
    next: usize,
    /// Made when an item is named out of order.
    by_name: Option<HashMap<(&'a Key, &'a VersionId), Vec<usize>>>,
}

impl<'a> Planned<'a> {
    fn new(items: &'a [Item]) -> Self {
        Self { items, taken: vec![false; items.len()], next: 0, by_name: None }
    }

    fn take(&mut self, key: &Key, version_id: &VersionId) -> Option<&'a Item> {
        let is_it = |item: &Item| item.version_id == *version_id && item.key == *key;
        let in_order = (self.next..self.items.len()).find(|at| !self.taken[*at]);
        let index = match in_order.filter(|at| is_it(&self.items[*at])) {
            Some(index) => index,
            None => {
                let by_name = self.by_name.get_or_insert_with(|| {
                    let mut by_name: HashMap<_, Vec<usize>> = HashMap::new();
                    for (index, item) in self.items.iter().enumerate() {
                        by_name.entry((&item.key, &item.version_id)).or_default().push(index);
                    }
                    by_name
                });
                let named = by_name.get(&(key, version_id))?;
                named.iter().copied().find(|at| !self.taken[*at])?
            }
        };
        self.taken[index] = true;
        self.next = index + 1;
        Some(&self.items[index])
    }
}

/// Puts the items that have no outcome yet in the place of the batch's items. Tells whether the batch
/// counts as never tried.
fn keep_rest(store: &Store, settlement: &Settlement, payload: &[u8]) -> Result<bool, Fault> {
    let amount = Amount::of_all(&settlement.remaining);
    let (id, epoch) = (settlement.batch, Count(store.epoch));
    let (versions, bytes) = (Count(amount.versions), Count(amount.bytes));
    match settlement.retry {
        Some(Retry { not_before, first_attempt }) => {
            let sql = "UPDATE batch SET n = ?2, bytes = ?3, state = 0, epoch = ?4, attempts = attempts + 1, \
                       granted = min(granted, ?7), not_before_ms = ?5, first_attempt_ms = ?6 WHERE id = ?1";
            let maybe_sent = Count(settlement.maybe_sent as u64);
            let values = params![id, versions, bytes, epoch, not_before, first_attempt, maybe_sent];
            store.connection.prepare_cached(sql)?.execute(values)?;
        }
        None => {
            let sql = "UPDATE batch SET n = ?2, bytes = ?3, state = 0, epoch = ?4, \
                       granted = CASE WHEN attempts > 0 THEN min(granted, ?2) ELSE 0 END WHERE id = ?1";
            store.connection.prepare_cached(sql)?.execute(params![id, versions, bytes, epoch])?;
        }
    }
    let sql = "UPDATE payload SET data = ?2 WHERE batch_id = ?1";
    store.connection.prepare_cached(sql)?.execute(params![id, payload])?;
    let sql = "SELECT not_before_ms IS NULL FROM batch WHERE id = ?1";
    Ok(store.connection.prepare_cached(sql)?.query_row([id], |row| row.get(0))?)
}

fn delete_batch(store: &Store, id: i64) -> Result<(), Fault> {
    store.connection.prepare_cached("DELETE FROM payload WHERE batch_id = ?1")?.execute([id])?;
    store.connection.prepare_cached("DELETE FROM batch WHERE id = ?1")?.execute([id])?;
    Ok(())
}

fn insert_failure(store: &Store, range: i64, item: &Item, record: &Record) -> Result<(), Fault> {
    let Fate::Settled { outcome, request_id, attempt, .. } = &record.fate else { return Ok(()) };
    let (code, message) = match outcome {
        Outcome::Failed(failure) => (&*failure.code, &*failure.message),
        Outcome::Skipped(reason) => (reason.as_str(), ""),
        Outcome::Done | Outcome::Gone => return Ok(()),
    };
    let sql = "INSERT INTO failure (range_id, key, version_id, marker, latest, size, last_modified_ms, rule, \
               outcome, code, message, request_id, attempt, at_ms) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
    store.connection.prepare_cached(sql)?.execute(params![
        range,
        item.key.as_bytes(),
        item.version_id.as_str(),
        item.kind == Kind::DeleteMarker,
        item.is_latest,
        Count(item.size),
        item.last_modified,
        item.rule.0,
        outcome.as_str(),
        code,
        message,
        request_id,
        attempt,
        record.at,
    ])?;
    Ok(())
}

fn set_batch_state(store: &Store, id: i64, state: i64) -> Result<(), Fault> {
    let sql = "UPDATE batch SET state = ?2, epoch = ?3 WHERE id = ?1";
    store.connection.prepare_cached(sql)?.execute(params![id, state, Count(store.epoch)])?;
    Ok(())
}

fn stored_batch(store: &mut Store, id: i64) -> Result<Option<Batch>, Fault> {
    let sql = "SELECT range_id, phase, action, n, attempts, first_attempt_ms, data \
               FROM batch LEFT JOIN payload ON batch_id = id WHERE id = ?1";
    let mut statement = store.connection.prepare_cached(sql)?;
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let count: Count = row.get(3)?;
    let items = match store.fresh.remove(&id).filter(|items| items.len() as u64 == count.0) {
        Some(items) => items,
        None => {
            let Some(data) = row.get_ref(6)?.as_blob_or_null().map_err(rusqlite::Error::from)? else {
                return Err(Fault::Own(CheckpointError::corrupt(format!("batch {id} has no items"))));
            };
            store.codec.decode_items(data, count.0, || format!("batch {id}")).map_err(Fault::Own)?
        }
    };
    Ok(Some(Batch {
        id,
        range: row.get(0)?,
        phase: rows::phase_of(row.get(1)?)?,
        action: ActionId(row.get(2)?),
        attempts: row.get(4)?,
        first_attempt: row.get(5)?,
        items,
    }))
}
