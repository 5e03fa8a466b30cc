//! What the writer does inside a transaction: each command checks first and writes afterwards.

use rusqlite::{OptionalExtension as _, params};

use super::codec::RangeState;
use super::error::{CheckpointError, Fault, own_bug};
use super::rows::{Count, phase_number};
use super::store::{FRESH_BATCHES_MAX, RangeBooks, Store};
use super::values::{
    Amount, Counter, Mode, NewBatch, NewRange, PageCommit, RangeRow, SAMPLES_PER_RULE_MAX, Sample, Split,
    StateRow,
};
use crate::model::{Item, Key, Kind, Phase, VersionId};

use super::batches::add_fresh;
pub(super) use super::batches::{
    Wanted, bring_forward, claim, last_batch, maybe_sent, note_granted, release, settle,
};

/// A batch that may be handed out.
pub(super) const READY: i64 = 0;
/// A batch of latest items whose elders are not settled.
const BLOCKED: i64 = 2;

pub(super) fn set_state(store: &mut Store, row: &StateRow) -> Result<(), Fault> {
    store.touch();
    let sql = "UPDATE run SET state = ?1, reason = ?2, exit_code = ?3, state_ms = ?4";
    let values = params![row.state.as_str(), row.reason, row.exit_code, row.at];
    store.connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

pub(super) fn put_note(store: &mut Store, name: &str, text: &str) -> Result<(), Fault> {
    store.touch();
    let sql = "INSERT INTO note (name, text) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET text = ?2";
    store.connection.prepare_cached(sql)?.execute([name, text])?;
    Ok(())
}

pub(super) fn add_ranges(store: &mut Store, ranges: Vec<NewRange>) -> Result<Vec<RangeRow>, Fault> {
    if let Some(range) = ranges.iter().find(|new| new.hi.is_some() && new.lo >= new.hi) {
        return own_bug(format!("the range ({:?}, {:?}] is empty", range.lo, range.hi));
    }
    store.touch();
    let mut added = Vec::with_capacity(ranges.len());
    for NewRange { prefix, lo, hi } in ranges {
        let sql = "INSERT INTO range (prefix, lo, hi) VALUES (?1, ?2, ?3)";
        let values = params![prefix.as_bytes(), bytes(lo.as_ref()), bytes(hi.as_ref())];
        let id = store.connection.prepare_cached(sql)?.insert(values)?;
        store.ranges.insert(id, RangeBooks::default());
        added.push(RangeRow::new(id, NewRange { prefix, lo, hi }));
    }
    Ok(added)
}

pub(super) fn commit_page(store: &mut Store, page: PageCommit) -> Result<(), Fault> {
    let books = check_page(store, &page)?;
    let encoded = EncodedPage::of(store, &page).map_err(Fault::Own)?;
    write_page(store, page, books, encoded)
}

/// A split that cannot be committed spoils everything behind it: pages of the victim that end at the
/// cut would leave out what lies behind.
pub(super) fn commit_split(store: &mut Store, split: Split) -> Result<(), Fault> {
    try_split(store, split).map_err(|fault| match fault {
        Fault::Own(error) => Fault::Fatal(error),
        other => other,
    })
}

fn try_split(store: &mut Store, split: Split) -> Result<(), Fault> {
    let Split { victim, page } = split;
    let cut = check_split(store, victim, &page.range)?;
    let id = page.range.id;
    store.ranges.insert(id, RangeBooks::default());
    let books = check_page(store, &page)?;
    let encoded = EncodedPage::of(store, &page).map_err(Fault::Own)?;
    store.touch();
    let sql = "UPDATE range SET hi = ?2 WHERE id = ?1";
    store.connection.prepare_cached(sql)?.execute(params![victim, cut.as_bytes()])?;
    let sql = "INSERT INTO range (id, prefix) VALUES (?1, ?2)";
    store.connection.prepare_cached(sql)?.execute(params![id, page.range.prefix.as_bytes()])?;
    write_page(store, page, books, encoded)
}

/// Checks that the new range is the part of the victim behind the cut, and that the victim has not
/// gone past it.
fn check_split(store: &Store, victim: i64, new: &RangeRow) -> Result<Key, Fault> {
    let fault = |what: &str| own_bug(format!("range {victim} is not divided: {what}"));
    if store.ranges.get(&victim).is_none_or(|books| books.done) {
        return fault("it is done, or is not there");
    }
    if store.ranges.contains_key(&new.id) {
        return fault(&format!("there is a range {} already", new.id));
    }
    let Some(cut) = new.lo.clone() else { return fault("the new range has no beginning") };
    let sql = "SELECT prefix, lo, hi, cursor_key FROM range WHERE id = ?1";
    let mut statement = store.connection.prepare_cached(sql)?;
    let mut found = statement.query([victim])?;
    let Some(row) = found.next()? else { return fault("its row is gone") };
    let prefix: Vec<u8> = row.get(0)?;
    let key = |at| row.get::<_, Option<Vec<u8>>>(at);
    let (lo, hi, cursor) = (key(1)?, key(2)?, key(3)?);
    let at = cut.as_bytes();
    if prefix != new.prefix.as_bytes()
        || lo.is_some_and(|lo| *lo >= *at)
        || hi.as_ref().is_some_and(|hi| **hi <= *at)
        || cursor.is_some_and(|cursor| *cursor > *at)
    {
        return fault("the cut is not ahead of its cursor and within it");
    }
    if hi.is_some_and(|hi| new.hi.as_ref().is_none_or(|new| *new.as_bytes() > *hi)) {
        return fault("the new range goes beyond it");
    }
    Ok(cut)
}

fn write_page(
    store: &mut Store,
    page: PageCommit,
    books: RangeBooks,
    mut encoded: EncodedPage,
) -> Result<(), Fault> {
    store.touch();
    write_range(store, &page.range, &encoded.state)?;
    write_tails(store, &page.range, &encoded.tails)?;
    let mut ids = Vec::with_capacity(page.batches.len());
    for (batch, payload) in page.batches.iter().zip(encoded.batches.drain(..)) {
        ids.push(insert_batch(store, page.range.id, batch, &payload)?);
    }
    write_samples(store, &page.samples)?;
    store.updated = store.updated.max(Some(page.at));

    let waiting_before = store.ranges.get(&page.range.id).map(|old| old.waiting).unwrap_or_default();
    let undecided_before = store.ranges.get(&page.range.id).map_or(0, |old| old.undecided);
    store.totals.waiting = store.totals.waiting.less(waiting_before) + books.waiting;
    store.totals.undecided = store.totals.undecided.saturating_sub(undecided_before) + books.undecided;
    for batch in &page.batches {
        store.totals.pending += Amount::of_all(&batch.items);
        store.totals.open_batches += 1;
    }
    store.ranges.insert(page.range.id, books);
    unblock(store, page.range.id)?;
    for (counter, amount) in &page.tallies {
        store.add(*counter, *amount);
    }
    store.add_requests(&page.requests);
    for (id, mut batch) in ids.into_iter().zip(page.batches) {
        if store.header.mode == Mode::Stream && store.fresh.len() < FRESH_BATCHES_MAX {
            // Until it is settled it must not keep its page in memory.
            Item::detach(&mut batch.items);
            store.fresh.insert(id, batch.items);
        }
    }
    store.append(page.records)
}

/// Checks that a page adds up, and returns the range's new books.
fn check_page(store: &Store, page: &PageCommit) -> Result<RangeBooks, Fault> {
    let range = &page.range;
    let Some(old) = store.ranges.get(&range.id) else {
        return own_bug(format!("there is no range {}", range.id));
    };
    let fault = |what: &str| own_bug(format!("range {}: {what}", range.id));
    if old.done {
        return fault("a page after its end");
    }
    if range.done && (range.waiting() > 0 || range.undecided > 0 || range.fold.is_some()) {
        return fault("it ends with items or a key still open");
    }
    if let Some(batch) = page.batches.iter().find(|new| !(1..=new.items_max()).contains(&new.items.len())) {
        return fault(&format!("a batch of {} items", batch.items.len()));
    }
    if let Err(what) = check_sequence(old, page) {
        return fault(&what);
    }

    let tallied = |wanted: fn(&Counter) -> bool| -> u64 {
        let chosen = page.tallies.iter().filter(|(counter, _)| wanted(counter));
        chosen.map(|(_, amount)| amount.versions).sum()
    };
    let listed = tallied(|counter| *counter == Counter::Listed);
    let kept = tallied(|counter| matches!(counter, Counter::Kept(_)));
    let planned = tallied(|counter| matches!(counter, Counter::Planned(_)));
    if tallied(|_| true) != listed + kept + planned {
        return fault("a page counts outcomes");
    }
    for (what, now, before, counted) in [
        ("listed", range.listed, old.listed, listed),
        ("kept", range.kept, old.kept, kept),
        ("planned", range.planned, old.planned, planned),
    ] {
        if now.checked_sub(before) != Some(counted) {
            return fault(&format!("{what} went from {before} to {now}, the tallies say {counted}"));
        }
    }
    if range.listed != range.kept + range.planned + range.undecided {
        return fault(&format!(
            "listed {} is not kept {} + planned {} + undecided {}",
            range.listed, range.kept, range.planned, range.undecided
        ));
    }
    let waiting = range.waiting_amount();
    let batched: u64 = page.batches.iter().map(|new| new.items.len() as u64).sum();
    if old.waiting.versions + planned != waiting.versions + batched {
        return fault(&format!(
            "{} items waited and {planned} were planned, {} wait and {batched} are in batches",
            old.waiting.versions, waiting.versions
        ));
    }
    let elders = range.tails.iter().filter(|tail| tail.phase == Phase::Elders);
    Ok(RangeBooks {
        listed: range.listed,
        kept: range.kept,
        planned: range.planned,
        undecided: range.undecided,
        waiting,
        next_seq: range.next_seq,
        elder_tails: elders.map(|tail| tail.seq).collect(),
        done: range.done,
        fresh: old.fresh + page.batches.iter().filter(|batch| !is_blocked(batch)).count() as u64,
        blocked: old.blocked + page.batches.iter().filter(|batch| is_blocked(batch)).count() as u64,
        ..old.clone()
    })
}

/// An elder batch that appears under a number which latest items were already allowed to pass would
/// break their order: its number must be that of a tail that was open, or a new one.
fn check_sequence(old: &RangeBooks, page: &PageCommit) -> Result<(), String> {
    let next = page.range.next_seq;
    if next < old.next_seq {
        return Err(format!("the next number went back from {} to {next}", old.next_seq));
    }
    let batches = page.batches.iter().map(|new| (new.phase, new.seq, new.after_seq));
    let tails = page.range.tails.iter().map(|tail| (tail.phase, tail.seq, tail.after_seq));
    for (phase, seq, after_seq) in batches.chain(tails) {
        let is_known = seq >= old.next_seq || old.elder_tails.contains(&seq);
        if seq >= next || (phase == Phase::Elders && !is_known) {
            return Err(format!("a batch has number {seq}, the next one was {}, is {next}", old.next_seq));
        }
        if after_seq.is_some_and(|after| after >= next) {
            return Err(format!("a batch waits for number {after_seq:?}, the next one is {next}"));
        }
    }
    Ok(())
}

/// The payloads of a page: made before anything is written, since making them can fail.
struct EncodedPage {
    state: Vec<u8>,
    tails: Vec<Vec<u8>>,
    batches: Vec<Vec<u8>>,
}

impl EncodedPage {
    fn of(store: &mut Store, page: &PageCommit) -> Result<Self, CheckpointError> {
        let range = &page.range;
        let state =
            RangeState { recent: range.recent.clone(), fold: range.fold.clone(), held: range.held.clone() };
        let codec = &mut store.codec;
        Ok(Self {
            state: codec.encode_state(&state)?,
            tails: range.tails.iter().map(|tail| codec.encode_tail(&tail.items)).collect::<Result<_, _>>()?,
            batches: page
                .batches
                .iter()
                .map(|new| codec.encode_items(&new.items))
                .collect::<Result<_, _>>()?,
        })
    }
}

fn write_range(store: &Store, range: &RangeRow, state: &[u8]) -> Result<(), Fault> {
    let sql = "UPDATE range SET prefix = ?2, lo = ?3, hi = ?4, cursor_key = ?5, cursor_version = ?6, state = ?7, \
               held = ?8, held_bytes = ?9, next_seq = ?10, key_seq = ?11, done = ?12, listed = ?13, kept = ?14, \
               planned = ?15, undecided = ?16, pages = ?17 WHERE id = ?1";
    let cursor = range.cursor.as_ref();
    let values = params![
        range.id,
        range.prefix.as_bytes(),
        bytes(range.lo.as_ref()),
        bytes(range.hi.as_ref()),
        bytes(cursor.map(|cursor| &cursor.key)),
        cursor.and_then(|cursor| cursor.version_id.as_ref()).map(VersionId::as_str),
        state,
        range.held.is_some(),
        Count(range.held.as_ref().map_or(0, |held| held.item.size)),
        Count(range.next_seq),
        range.key_seq.map(Count),
        range.done,
        Count(range.listed),
        Count(range.kept),
        Count(range.planned),
        Count(range.undecided),
        Count(range.pages),
    ];
    store.connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn write_tails(store: &Store, range: &RangeRow, payloads: &[Vec<u8>]) -> Result<(), Fault> {
    let sql = "DELETE FROM tail WHERE range_id = ?1 AND place >= ?2";
    store.connection.prepare_cached(sql)?.execute(params![range.id, Count(range.tails.len() as u64)])?;
    let sql = "INSERT OR REPLACE INTO tail (range_id, place, phase, action, seq, after_seq, n, bytes, payload) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let mut statement = store.connection.prepare_cached(sql)?;
    for (place, (tail, payload)) in range.tails.iter().zip(payloads).enumerate() {
        let amount = Amount::of_all(&tail.items);
        statement.execute(params![
            range.id,
            Count(place as u64),
            phase_number(tail.phase),
            tail.action.0,
            Count(tail.seq),
            tail.after_seq.map(Count),
            Count(amount.versions),
            Count(amount.bytes),
            payload,
        ])?;
    }
    Ok(())
}

/// Whether a new batch must wait for its elders.
pub(super) const fn is_blocked(batch: &NewBatch) -> bool {
    matches!((batch.phase, batch.after_seq), (Phase::Latest, Some(_)))
}

/// Every new batch of latest items begins blocked; [`unblock`] follows in the same transaction.
pub(super) fn insert_batch(
    store: &Store,
    range: i64,
    batch: &NewBatch,
    payload: &[u8],
) -> Result<i64, Fault> {
    let amount = Amount::of_all(&batch.items);
    let state = if is_blocked(batch) { BLOCKED } else { READY };
    let sql = "INSERT INTO batch (range_id, phase, action, seq, after_seq, n, bytes, state, epoch) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let id = store.connection.prepare_cached(sql)?.insert(params![
        range,
        phase_number(batch.phase),
        batch.action.0,
        Count(batch.seq),
        batch.after_seq.map(Count),
        Count(amount.versions),
        Count(amount.bytes),
        state,
        Count(store.epoch),
    ])?;
    let sql = "INSERT INTO payload (batch_id, data) VALUES (?1, ?2)";
    store.connection.prepare_cached(sql)?.execute(params![id, payload])?;
    Ok(id)
}

/// The latest entries of a move have the number of the batch of chains that they come from. Under this
/// number only the elders of their own keys concern them, the batch that was made just before theirs: what
/// is left of the chains is that of other keys, and may wait for long, for the room in a budget that the
/// deletions are to make.
const UNBLOCK_MOVED: &str = "UPDATE batch INDEXED BY batch_blocked SET state = 0 \
    WHERE state = 2 AND range_id = ?1 AND seq = ?2 AND after_seq < ?3 AND NOT EXISTS \
    (SELECT 1 FROM batch elder INDEXED BY batch_elders WHERE elder.phase = 0 AND elder.range_id = ?1 \
    AND elder.seq <= batch.after_seq AND (elder.seq <> ?2 OR elder.id = batch.id - 1))";

/// Makes the batches of latest items ready whose elders are all settled. A number once passed never
/// comes back, so each batch is touched here once.
pub(super) fn unblock(store: &mut Store, range: i64) -> Result<(), Fault> {
    let sql = "SELECT seq FROM batch INDEXED BY batch_elders WHERE phase = 0 AND range_id = ?1 \
               ORDER BY seq LIMIT 1";
    let stored: Option<Count> =
        store.connection.prepare_cached(sql)?.query_row([range], |row| row.get(0)).optional()?;
    let tails = store.ranges.get(&range).into_iter().flat_map(|books| &books.elder_tails);
    let first_open = stored.map(|seq| seq.0).into_iter().chain(tails.copied()).min();
    let sql = "UPDATE batch INDEXED BY batch_blocked SET state = 0 \
               WHERE state = 2 AND range_id = ?1 AND after_seq < ?2";
    let limit = first_open.map_or(Count(u64::MAX), Count);
    let mut unblocked = store.connection.prepare_cached(sql)?.execute(params![range, limit])?;
    let has_moved = store.ranges.get(&range).is_some_and(|books| books.has_moved);
    if let Some(first) = stored.filter(|_| has_moved) {
        let first_tail = store.ranges.get(&range).and_then(|books| books.elder_tails.iter().min());
        let limit = first_tail.map_or(Count(u64::MAX), |seq| Count(*seq));
        unblocked += store.connection.prepare_cached(UNBLOCK_MOVED)?.execute(params![range, first, limit])?;
    }
    add_fresh(store, range, unblocked.cast_signed() as i64);
    if let Some(books) = store.ranges.get_mut(&range) {
        books.blocked = books.blocked.saturating_sub(unblocked as u64);
    }
    Ok(())
}

fn write_samples(store: &mut Store, samples: &[Sample]) -> Result<(), Fault> {
    for sample in samples {
        let held = store.samples.entry(sample.rule).or_default();
        if *held >= SAMPLES_PER_RULE_MAX {
            continue;
        }
        *held += 1;
        let sql = "INSERT INTO sample (rule, key, version_id, marker, size, last_modified_ms) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        store.connection.prepare_cached(sql)?.execute(params![
            sample.rule.0,
            sample.key.as_bytes(),
            sample.version_id.as_str(),
            sample.kind == Kind::DeleteMarker,
            Count(sample.size),
            sample.last_modified,
        ])?;
    }
    Ok(())
}

fn bytes(key: Option<&Key>) -> Option<&[u8]> {
    key.map(Key::as_bytes)
}
