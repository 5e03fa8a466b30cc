//! A checkpoint as readers see it: through a connection of their own that cannot write, also while
//! a run is live.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::codec::Codec;
use super::error::{CheckpointError, Fault};
use super::rows::{self, Count};
use super::values::{FailureCount, FailureRow, RangeRow, RunHeader, Sample, StateRow, Totals};
use super::{schema, store};
use crate::model::Timestamp;

/// How long a reader waits for a writer that is in its way, which it hardly ever is.
const PATIENCE: Duration = Duration::from_secs(10);

/// One moment of a run. Everything read from it belongs to the same commit.
///
/// While it lives the run's WAL cannot be folded into the file, so let go of it soon.
pub struct Snapshot {
    connection: Connection,
    path: PathBuf,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot {{ path: {:?} }}", self.path)
    }
}

/// How far the listing is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// Ranges.
    pub ranges: u64,
    /// Ranges whose end was proven.
    pub done: u64,
    /// Pages committed.
    pub pages: u64,
}

/// Bytes on disk.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FileSizes {
    /// The checkpoint itself.
    pub main_bytes: u64,
    /// Its write-ahead log; 0 where there is none.
    pub wal_bytes: u64,
}

impl Snapshot {
    /// Opens the file for reading.
    ///
    /// # Errors
    /// `Missing`, `Foreign`, `Newer`, `Corrupt`, `Io`, `Storage`.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::open_within(path, PATIENCE)
    }

    /// As [`Snapshot::open`], but an error where that has to wait for somebody.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    pub fn glance(path: &Path) -> Result<Self, CheckpointError> {
        Self::open_within(path, Duration::ZERO)
    }

    fn open_within(path: &Path, patience: Duration) -> Result<Self, CheckpointError> {
        let connection = schema::open_read_only(path, patience)?;
        let snapshot = Self { connection, path: path.to_owned() };
        snapshot.read(|connection| Ok(connection.execute_batch("BEGIN; SELECT 1 FROM run")?))?;
        Ok(snapshot)
    }

    /// What the run is.
    ///
    /// # Errors
    /// Those of reading.
    pub fn header(&self) -> Result<RunHeader, CheckpointError> {
        self.read(rows::header)
    }

    /// Where the run stands.
    ///
    /// # Errors
    /// Those of reading.
    pub fn state(&self) -> Result<StateRow, CheckpointError> {
        self.read(rows::state)
    }

    /// When the last page or outcome was committed.
    ///
    /// # Errors
    /// Those of reading.
    pub fn updated(&self) -> Result<Timestamp, CheckpointError> {
        self.read(|c| Ok(c.query_row("SELECT updated_ms FROM run", [], |row| row.get(0))?))
    }

    /// How often the file was opened for writing.
    ///
    /// # Errors
    /// Those of reading.
    pub fn epoch(&self) -> Result<u64, CheckpointError> {
        self.count("SELECT epoch FROM run")
    }

    /// Whether the last writer closed the file; `false` while one is writing.
    ///
    /// # Errors
    /// Those of reading.
    pub fn is_clean(&self) -> Result<bool, CheckpointError> {
        self.read(|c| Ok(c.query_row("SELECT clean FROM run", [], |row| row.get(0))?))
    }

    /// The audit is valid up to this length: what is behind it was not committed.
    ///
    /// # Errors
    /// Those of reading.
    pub fn audit_bytes(&self) -> Result<u64, CheckpointError> {
        self.count("SELECT audit_bytes FROM run")
    }

    /// What was counted, and where the planned items are.
    ///
    /// # Errors
    /// Those of reading.
    pub fn totals(&self) -> Result<Totals, CheckpointError> {
        self.read(store::totals)
    }

    /// Whether every version is accounted for: see [`Totals::check`].
    ///
    /// # Errors
    /// The equation that does not hold, or why it could not be read.
    pub fn check(&self) -> Result<(), String> {
        let totals = self.totals().map_err(|error| error.to_string())?;
        totals.check()?;
        let sums = ["listed", "kept", "planned"]
            .map(|column| self.count(&format!("SELECT ifnull(sum({column}), 0) FROM range")));
        let counted = [totals.listed(), totals.kept(), totals.planned()];
        for ((sum, counted), what) in sums.into_iter().zip(counted).zip(["listed", "kept", "planned"]) {
            let sum = sum.map_err(|error| error.to_string())?;
            if sum != counted.versions {
                return Err(format!("the ranges {what} {sum}, the totals say {}", counted.versions));
            }
        }
        Ok(())
    }

    /// How far the listing is.
    ///
    /// # Errors
    /// Those of reading.
    pub fn progress(&self) -> Result<Progress, CheckpointError> {
        let sql = "SELECT count(*), ifnull(sum(done), 0), ifnull(sum(pages), 0) FROM range";
        self.read(|connection| {
            let progress = connection.query_row(sql, [], |row| {
                let [ranges, done, pages] = [row.get(0)?, row.get(1)?, row.get(2)?].map(|Count(n)| n);
                Ok(Progress { ranges, done, pages })
            });
            Ok(progress?)
        })
    }

    /// Versions of each range that are planned and have no outcome yet.
    ///
    /// # Errors
    /// Those of reading.
    pub fn pending_by_range(&self) -> Result<HashMap<i64, u64>, CheckpointError> {
        let sql = "SELECT range_id, sum(n) FROM \
            (SELECT range_id, n FROM batch UNION ALL SELECT range_id, n FROM tail UNION ALL SELECT id, held FROM range) \
            GROUP BY range_id";
        self.read(|connection| {
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, Count>(1)?.0)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// All ranges with everything in them.
    ///
    /// # Errors
    /// Those of reading.
    pub fn ranges(&self) -> Result<Vec<RangeRow>, CheckpointError> {
        let mut codec = Codec::new(self.header()?.mode)?;
        self.read(|connection| rows::ranges(connection, &mut codec))
    }

    /// Items that failed or were skipped: the failed ones first, of each kind in the order in which that was
    /// known.
    ///
    /// # Errors
    /// Those of reading.
    pub fn failures(&self, limit: u64, offset: u64) -> Result<Vec<FailureRow>, CheckpointError> {
        self.read(|connection| rows::failures(connection, limit, offset))
    }

    /// How many items failed or were skipped, by code: the failed ones first, of each kind the most frequent
    /// first.
    ///
    /// # Errors
    /// Those of reading.
    pub fn failure_counts(&self) -> Result<Vec<FailureCount>, CheckpointError> {
        self.read(rows::failure_counts)
    }

    /// Versions of histories under way whose copies are committed, by the number of their action.
    ///
    /// # Errors
    /// Those of reading.
    pub fn copied_steps(&self) -> Result<BTreeMap<u16, u64>, CheckpointError> {
        self.read(rows::copied_steps)
    }

    /// Examples of what each rule selected.
    ///
    /// # Errors
    /// Those of reading.
    pub fn samples(&self) -> Result<Vec<Sample>, CheckpointError> {
        self.read(rows::samples)
    }

    /// The text kept under a name.
    ///
    /// # Errors
    /// Those of reading.
    pub fn note(&self, name: &str) -> Result<Option<String>, CheckpointError> {
        self.read(|connection| rows::note(connection, name))
    }

    /// Bytes on disk.
    pub fn file_sizes(&self) -> FileSizes {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        FileSizes { main_bytes: size(&self.path), wal_bytes: size(Path::new(&wal)) }
    }

    fn count(&self, sql: &str) -> Result<u64, CheckpointError> {
        self.read(|connection| Ok(connection.query_row(sql, [], |row| row.get::<_, Count>(0))?.0))
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, CheckpointError> {
        work(&self.connection).map_err(|fault| store::named(fault, &self.path))
    }
}

#[cfg(test)]
impl Snapshot {
    /// Pages of the file, those in the WAL included.
    pub(super) fn count_pages(&self) -> u64 {
        self.count("SELECT page_count FROM pragma_page_count").unwrap()
    }
}
