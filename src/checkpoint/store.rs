//! The one owner of the connection: groups of commands become transactions here, and the books are
//! kept that prove that no version is lost or counted twice.
//!
//! A command checks everything it was given before it writes anything. What it finds is its own
//! fault and leaves the rest of its group alone. What fails after that makes the group worthless:
//! it is rolled back, nobody is told of success, and the checkpoint refuses every later call, since
//! what is in memory may be ahead of the file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use super::codec::Codec;
use super::disk::DiskGuard;
use super::error::{CheckpointError, Fault};
use super::rows::{self, Count, Places};
use super::schema;
use super::values::{Amount, Counter, RunHeader, Totals};
use crate::model::{Batch, Item, Journal, Phase, Record, RuleId, Timestamp};

/// Pages of a file that is left as it is at the end of its run: a megabyte.
const PAGES_LEFT_MAX: i64 = 256;
/// Most pages in use of a file that is written anew at the end of its run, which takes so much memory:
/// 16 megabytes.
const PAGES_ANEW_MAX: i64 = 4096;
/// How many batches are kept in memory between their planning and their being handed out.
pub(super) const FRESH_BATCHES_MAX: usize = 16;

/// What is remembered of each range, so that a page can be checked without reading its row.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct RangeBooks {
    pub(super) listed: u64,
    pub(super) kept: u64,
    pub(super) planned: u64,
    pub(super) undecided: u64,
    pub(super) waiting: Amount,
    pub(super) next_seq: u64,
    /// Numbers of the open elder tails.
    pub(super) elder_tails: Vec<u64>,
    pub(super) done: bool,
    /// Whether an item of the range failed or was skipped.
    pub(super) has_failures: bool,
    /// Batches that are ready and were never tried.
    pub(super) fresh: u64,
    /// Batches that wait for the elders of their items.
    pub(super) blocked: u64,
    /// Whether deletions of what was moved may be among those that wait.
    pub(super) has_moved: bool,
    /// Pages that are still to be listed, where an estimate was told.
    pub(super) pages_left: Option<u64>,
    /// See [`super::turns`].
    pub(super) points: i64,
    /// Turns the range has had.
    pub(super) turns: u64,
}

/// Connection, journal, books.
pub(super) struct Store {
    pub(super) connection: Connection,
    pub(super) codec: Codec,
    pub(super) path: PathBuf,
    pub(super) header: RunHeader,
    pub(super) epoch: u64,
    pub(super) totals: Totals,
    pub(super) ranges: HashMap<i64, RangeBooks>,
    pub(super) samples: BTreeMap<RuleId, u64>,
    /// The batches that are handed out, so that settling one need not decode it again.
    pub(super) claimed: HashMap<i64, Batch>,
    /// The items of batches that were planned just now, as many as [`FRESH_BATCHES_MAX`]: most are
    /// handed out at once, and need not be decoded.
    pub(super) fresh: HashMap<i64, Vec<Item>>,
    /// Watches the disk, where somebody asked for it.
    pub(super) guard: Option<DiskGuard>,
    journal: Option<Box<dyn Journal>>,
    journal_dirty: bool,
    audit_bytes: u64,
    dirty: bool,
    /// The latest page or answer of the transaction.
    pub(super) updated: Option<Timestamp>,
    dirty_amounts: BTreeSet<Counter>,
    dirty_requests: BTreeSet<String>,
}

impl Store {
    /// A new file for a new run.
    pub(super) fn create(
        path: &Path,
        header: &RunHeader,
        mut journal: Option<Box<dyn Journal>>,
    ) -> Result<Self, CheckpointError> {
        let codec = Codec::new(header.mode)?;
        let connection = schema::create(path, |connection| rows::insert_header(connection, header))?;
        if let Some(journal) = &mut journal {
            journal.rewind(0).map_err(|error| CheckpointError::audit(path, error))?;
        }
        Ok(Self {
            connection,
            codec,
            path: path.to_owned(),
            header: header.clone(),
            epoch: 1,
            totals: Totals::default(),
            ranges: HashMap::new(),
            samples: BTreeMap::new(),
            claimed: HashMap::new(),
            fresh: HashMap::new(),
            guard: None,
            journal,
            journal_dirty: false,
            audit_bytes: 0,
            dirty: false,
            updated: None,
            dirty_amounts: BTreeSet::new(),
            dirty_requests: BTreeSet::new(),
        })
    }

    /// An existing file, to go on with: what was handed out is ready again, the audit ends where
    /// the last commit says.
    pub(super) fn open(path: &Path, journal: Option<Box<dyn Journal>>) -> Result<Self, CheckpointError> {
        let connection = schema::open(path)?;
        Self::take_over(connection, path, journal).map_err(|fault| named(fault, path))
    }

    fn take_over(
        connection: Connection,
        path: &Path,
        mut journal: Option<Box<dyn Journal>>,
    ) -> Result<Self, Fault> {
        let header = rows::header(&connection)?;
        let mut codec = Codec::new(header.mode).map_err(Fault::Own)?;
        let (clean, epoch, audit): (bool, Count, Count) =
            connection.query_row("SELECT clean, epoch, audit_bytes FROM run", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        if !clean {
            schema::quick_check(&connection, path).map_err(Fault::Fatal)?;
        }
        let epoch = epoch.0 + 1;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        connection.execute("UPDATE run SET epoch = ?1, clean = 0", [Count(epoch)])?;
        // What may have been sent comes first, so that budgets know soon. The time that no process
        // worked counts for no item.
        let sql = "UPDATE batch INDEXED BY batch_claimed SET state = 0, epoch = ?1 WHERE state = 1";
        connection.execute(sql, [Count(epoch)])?;
        connection
            .execute("UPDATE batch SET not_before_ms = 0 WHERE granted > 0 AND not_before_ms IS NULL", [])?;
        let sql = "UPDATE batch SET first_attempt_ms = NULL WHERE first_attempt_ms IS NOT NULL";
        connection.execute(sql, [])?;
        let ranges = range_books(&connection, &mut codec)?;
        let totals = totals(&connection)?;
        totals.check().map_err(rows::damaged)?;
        if let Some(journal) = &mut journal {
            let failed = |error| Fault::Fatal(CheckpointError::audit(path, error));
            journal.rewind(audit.0).map_err(failed)?;
        }
        connection.execute_batch("COMMIT")?;
        let samples = samples_per_rule(&connection)?;
        let mut store = Self {
            connection,
            codec,
            path: path.to_owned(),
            header,
            epoch,
            totals,
            ranges,
            samples,
            claimed: HashMap::new(),
            fresh: HashMap::new(),
            guard: None,
            journal,
            journal_dirty: false,
            audit_bytes: audit.0,
            dirty: false,
            updated: None,
            dirty_amounts: BTreeSet::new(),
            dirty_requests: BTreeSet::new(),
        };
        store.count_fresh()?;
        Ok(store)
    }

    /// Notes how many pages ranges are estimated to have that are still to be listed.
    pub(super) fn note_pages_left(&mut self, pages_left: &HashMap<i64, u64>) {
        for (id, pages) in pages_left {
            if let Some(books) = self.ranges.get_mut(id) {
                books.pages_left = Some(*pages);
            }
        }
    }

    /// Counts the batches of each range that were never tried: those that are ready, and those that
    /// wait.
    pub(super) fn count_fresh(&mut self) -> Result<(), Fault> {
        self.ranges.values_mut().for_each(|books| (books.fresh, books.blocked) = (0, 0));
        let sql = "SELECT range_id, count(*) FROM batch INDEXED BY batch_fresh \
                   WHERE state = 0 AND not_before_ms IS NULL GROUP BY range_id";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (range, count): (i64, Count) = (row.get(0)?, row.get(1)?);
            if let Some(books) = self.ranges.get_mut(&range) {
                books.fresh = count.0;
            }
        }
        let sql =
            "SELECT range_id, count(*) FROM batch INDEXED BY batch_blocked WHERE state = 2 GROUP BY range_id";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (range, count): (i64, Count) = (row.get(0)?, row.get(1)?);
            if let Some(books) = self.ranges.get_mut(&range) {
                books.blocked = count.0;
            }
        }
        let sql = "SELECT DISTINCT range_id FROM batch INDEXED BY batch_blocked WHERE state = 2 AND EXISTS \
                   (SELECT 1 FROM batch elder INDEXED BY batch_elders WHERE elder.phase = 0 \
                   AND elder.range_id = batch.range_id AND elder.seq = batch.seq)";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(books) = self.ranges.get_mut(&row.get(0)?) {
                books.has_moved = true;
            }
        }
        Ok(())
    }

    /// Looks at the disk, begins a transaction, and makes sure that nobody else opened the file for writing since.
    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        if let Some(guard) = &self.guard {
            guard.look();
        }
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let found: Count =
            self.connection.prepare_cached("SELECT epoch FROM run")?.query_row([], |row| row.get(0))?;
        if found.0 != self.epoch {
            return Err(Fault::Fatal(CheckpointError::Superseded { ours: self.epoch, found: found.0 }));
        }
        Ok(())
    }

    /// Seals the audit, writes what was counted, commits. Tells whether anything was written.
    pub(super) fn commit(&mut self) -> Result<bool, Fault> {
        if std::mem::take(&mut self.journal_dirty)
            && let Some(journal) = &mut self.journal
        {
            let length = journal.seal().map_err(|error| audit_failed(&self.path, error))?;
            if length != self.audit_bytes {
                self.audit_bytes = length;
                self.connection
                    .prepare_cached("UPDATE run SET audit_bytes = ?1")?
                    .execute([Count(length)])?;
            }
        }
        if let Some(at) = self.updated.take() {
            self.connection.prepare_cached("UPDATE run SET updated_ms = ?1")?.execute([at])?;
        }
        self.write_totals()?;
        if cfg!(debug_assertions) && self.dirty {
            self.compare_books()?;
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(std::mem::take(&mut self.dirty))
    }

    /// Gives up the transaction. The audit keeps what it has: whether a commit that failed reached
    /// the disk is known only when the file is opened again, and the audit is cut to fit then.
    pub(super) fn roll_back(&mut self) {
        // A transaction that ended by itself needs no rollback; there is nobody to tell.
        let _ = self.connection.execute_batch("ROLLBACK");
    }

    /// Says that the transaction changes something.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    pub(super) fn add(&mut self, counter: Counter, amount: Amount) {
        if amount != Amount::default() {
            *self.totals.amounts.entry(counter).or_default() += amount;
            self.dirty_amounts.insert(counter);
        }
    }

    pub(super) fn add_requests(&mut self, requests: &[(&'static str, u64)]) {
        for (name, n) in requests.iter().filter(|(_, n)| *n > 0) {
            let counter = self.totals.requests.entry((*name).to_owned()).or_default();
            *counter = counter.saturating_add(*n);
            self.dirty_requests.insert((*name).to_owned());
        }
    }

    pub(super) fn append(&mut self, records: Vec<Record>) -> Result<(), Fault> {
        match &mut self.journal {
            Some(journal) if !records.is_empty() => {
                self.journal_dirty = true;
                journal.append(records).map_err(|error| audit_failed(&self.path, error))
            }
            _ => Ok(()),
        }
    }

    /// The name for an error that SQLite raised.
    pub(super) fn named(&self, fault: Fault) -> CheckpointError {
        named(fault, &self.path)
    }

    /// Marks the end as clean, folds the WAL into the file and closes it.
    pub(super) fn close(mut self) -> Result<(), CheckpointError> {
        let path = self.path.clone();
        let marked = self.begin().and_then(|()| {
            self.connection.execute("UPDATE run SET clean = 1", [])?;
            self.commit()
        });
        marked.map_err(|fault| named(fault, &path))?;
        let failed = |error| CheckpointError::sqlite(&path, error);
        if self.is_mostly_empty().map_err(failed)? {
            // Files of former runs are kept. One that cannot be made smaller, for want of room, is none
            // the worse.
            let _ = self.connection.execute_batch("VACUUM");
        }
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed)?;
        self.connection.close().map_err(|(_, error)| failed(error))
    }

    /// Whether most of the file was in use once and is not any more, and so little is left that it can
    /// be written anew in memory.
    fn is_mostly_empty(&self) -> rusqlite::Result<bool> {
        let number = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (free, all) = (number("freelist_count")?, number("page_count")?);
        Ok(all > PAGES_LEFT_MAX && free > all / 2 && all - free <= PAGES_ANEW_MAX)
    }

    fn write_totals(&mut self) -> Result<(), Fault> {
        for counter in std::mem::take(&mut self.dirty_amounts) {
            let amount = self.totals.amounts.get(&counter).copied().unwrap_or_default();
            let sql = "INSERT INTO total (name, rule, reason, versions, bytes, keys) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                       ON CONFLICT DO UPDATE SET versions = ?4, bytes = ?5, keys = ?6";
            self.connection.prepare_cached(sql)?.execute(params![
                counter.as_str(),
                counter.rule().map_or(-1, |rule| i64::from(rule.0)),
                counter.reason(),
                Count(amount.versions),
                Count(amount.bytes),
                Count(amount.keys),
            ])?;
        }
        for name in std::mem::take(&mut self.dirty_requests) {
            let n = self.totals.requests.get(&name).copied().unwrap_or_default();
            let sql = "INSERT INTO counter (name, n) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET n = ?2";
            self.connection.prepare_cached(sql)?.execute(params![name, Count(n)])?;
        }
        Ok(())
    }

    /// Compares the books with the rows: dear, so in debug builds only.
    fn compare_books(&self) -> Result<(), Fault> {
        let bug = |what| Fault::Fatal(CheckpointError::bug(what));
        self.totals.check().map_err(bug)?;
        let sql =
            "SELECT count(*) FROM batch INDEXED BY batch_fresh WHERE state = 0 AND not_before_ms IS NULL";
        let fresh: Count = self.connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        let booked: u64 = self.ranges.values().map(|books| books.fresh).sum();
        if fresh.0 != booked {
            return Err(bug(format!("{} batches were never tried, the books have {booked}", fresh.0)));
        }
        let (found, kept) = (rows::places(&self.connection)?, places_of(&self.totals));
        if found != kept {
            return Err(bug(format!("the rows hold {found:?}, the books {kept:?}")));
        }
        Ok(())
    }
}

fn audit_failed(path: &Path, error: std::io::Error) -> Fault {
    Fault::Fatal(CheckpointError::audit(path, error))
}

pub(super) fn named(fault: Fault, path: &Path) -> CheckpointError {
    match fault {
        Fault::Own(error) | Fault::Fatal(error) => error,
        Fault::Sqlite(error) => CheckpointError::sqlite(path, error),
    }
}

fn places_of(totals: &Totals) -> Places {
    Places {
        undecided: totals.undecided,
        waiting: totals.waiting,
        pending: totals.pending,
        in_flight: totals.in_flight,
        open_batches: totals.open_batches,
    }
}

/// The totals as the rows have them.
pub(super) fn totals(connection: &Connection) -> Result<Totals, Fault> {
    let places = rows::places(connection)?;
    Ok(Totals {
        amounts: rows::amounts(connection)?,
        undecided: places.undecided,
        waiting: places.waiting,
        pending: places.pending,
        in_flight: places.in_flight,
        open_batches: places.open_batches,
        requests: rows::counters(connection)?,
    })
}

fn range_books(connection: &Connection, codec: &mut Codec) -> Result<HashMap<i64, RangeBooks>, Fault> {
    let mut books = HashMap::new();
    let mut failed = connection
        .prepare("SELECT EXISTS (SELECT 1 FROM failure INDEXED BY failure_key WHERE range_id = ?1)")?;
    for row in rows::ranges(connection, codec)? {
        let elders = row.tails.iter().filter(|tail| tail.phase == Phase::Elders);
        let book = RangeBooks {
            listed: row.listed,
            kept: row.kept,
            planned: row.planned,
            undecided: row.undecided,
            waiting: row.waiting_amount(),
            next_seq: row.next_seq,
            elder_tails: elders.map(|tail| tail.seq).collect(),
            done: row.done,
            has_failures: failed.query_row([row.id], |row| row.get(0))?,
            ..RangeBooks::default()
        };
        books.insert(row.id, book);
    }
    Ok(books)
}

fn samples_per_rule(connection: &Connection) -> Result<BTreeMap<RuleId, u64>, Fault> {
    let mut statement = connection.prepare("SELECT rule, count(*) FROM sample GROUP BY rule")?;
    let rows = statement.query_map([], |row| Ok((RuleId(row.get(0)?), row.get::<_, Count>(1)?.0)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
