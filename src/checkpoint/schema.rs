//! The tables, how they came to be, and how a file is told from a foreign one without touching it.
//!
//! Migrations are append-only: a released one is never edited. A file is made whole under another name
//! and gets its own when it is on the disk, its schema and the run's description in the main file: under
//! the name of a checkpoint there is never one that was begun and not finished, and the main file tells
//! whose it is whatever became of the WAL beside it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::CheckpointError;

/// `S3SW` in ASCII, in the file's header.
pub(super) const APPLICATION_ID: i32 = 0x5333_5357;
/// The first bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Where SQLite's file format holds the user version and the application id, big-endian.
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;
/// Prepared statements kept: more than there are.
const STATEMENTS_KEPT: usize = 64;

/// The WAL is folded into the file when it has grown to this.
const WAL_BYTES: i64 = 16 << 20;

/// Migration `n` leads from schema `n` to schema `n + 1`.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql"), include_str!("schema_2.sql")];

/// The newest schema this program knows.
pub(super) fn newest() -> i64 {
    MIGRATIONS.len() as i64
}

/// What the name of a file has at its end while it is being made.
pub(super) const UNFINISHED_SUFFIX: &str = ".next";

/// Creates the file, readable by its owner only, with the newest schema and what `fill` puts in. It is
/// there as a whole or not at all, whenever the process ends. To be called under the job's lock: nobody
/// else may make the same file meanwhile.
pub(super) fn create(
    path: &Path,
    fill: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<Connection, CheckpointError> {
    match fs::symlink_metadata(path) {
        Ok(_) => return Err(CheckpointError::Exists { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(CheckpointError::io("creating", path, error)),
    }
    let unfinished = with_suffix(path, UNFINISHED_SUFFIX);
    let made = make(&unfinished, fill).and_then(|()| {
        put_in_place(&unfinished, path).map_err(|error| CheckpointError::io("creating", path, error))
    });
    if let Err(error) = made {
        // What is left of it is in nobody's way: the first error is the one to tell.
        let _ = remove(&unfinished);
        return Err(error);
    }
    let failed = |error| CheckpointError::sqlite(path, error);
    let connection = connect(path).map_err(failed)?;
    configure(&connection).map_err(failed)?;
    Ok(connection)
}

/// Writes a whole file, not yet synced, in place of what another process left under this name.
fn make(path: &Path, fill: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<(), CheckpointError> {
    remove(path).map_err(|error| CheckpointError::io("deleting", path, error))?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| CheckpointError::io("creating", path, error))?;
    let write = || {
        let mut connection = connect(path)?;
        // Nobody goes on with an unfinished file, so it is synced only once, as a whole.
        connection.pragma_update(None, "journal_mode", "MEMORY")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        migrate(&mut connection, 0)?;
        fill(&connection)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.close().map_err(|(_, error)| error)
    };
    write().map_err(|error| CheckpointError::sqlite(path, error))
}

/// Syncs a file that is whole and gives it its name, which is on the disk when this returns.
fn put_in_place(unfinished: &Path, path: &Path) -> io::Result<()> {
    File::open(unfinished)?.sync_all()?;
    fs::rename(unfinished, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Deletes a file of SQLite and what lies beside it, as far as they are there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    // The file itself last: while it is there, it is found again.
    for suffix in ["-wal", "-shm", "-journal", ""] {
        match fs::remove_file(with_suffix(path, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Opens an existing file for writing. A foreign or newer one is refused before SQLite sees it.
pub(super) fn open(path: &Path) -> Result<Connection, CheckpointError> {
    look_at_header(path)?;
    let failed = |error| CheckpointError::sqlite(path, error);
    let mut connection = connect(path).map_err(failed)?;
    // Until the schema is known the WAL must stay as it is, also when this connection ends.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    let found = known_schema(&connection, path)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(failed)?;
    configure(&connection).map_err(failed)?;
    migrate(&mut connection, found).map_err(failed)?;
    Ok(connection)
}

/// Opens an existing file for reading, also while a run writes to it.
pub(super) fn open_read_only(path: &Path, patience: Duration) -> Result<Connection, CheckpointError> {
    look_at_header(path)?;
    let failed = |error| CheckpointError::sqlite(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(patience).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    known_schema(&connection, path)?;
    Ok(connection)
}

/// Finds a damaged structure; run after an end that was not clean.
pub(super) fn quick_check(connection: &Connection, path: &Path) -> Result<(), CheckpointError> {
    let failed = |error| CheckpointError::sqlite(path, error);
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if verdict == "ok" { Ok(()) } else { Err(CheckpointError::corrupt(verdict)) }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(connection)
}

/// FULL, because an acknowledged outcome or intent must survive a power cut; WAL, because readers
/// look on while the run writes.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let page_bytes: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_BYTES / page_bytes.max(512))?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

fn migrate(connection: &mut Connection, found: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(found).unwrap_or(0);
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", index as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Reads whose file it is from its first 100 bytes.
fn look_at_header(path: &Path) -> Result<(), CheckpointError> {
    let mut header = [0_u8; 100];
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(CheckpointError::Missing { path: path.to_owned() });
        }
        Err(error) => return Err(CheckpointError::io("opening", path, error)),
    };
    let foreign = || CheckpointError::Foreign { path: path.to_owned() };
    match file.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(foreign()),
        Err(error) => return Err(CheckpointError::io("reading", path, error)),
    }
    let word = |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if !header.starts_with(MAGIC) || word(APPLICATION_ID_AT) != APPLICATION_ID {
        return Err(foreign());
    }
    refuse_newer(path, i64::from(word(USER_VERSION_AT)))
}

/// The schema as SQLite sees it, WAL included.
fn known_schema(connection: &Connection, path: &Path) -> Result<i64, CheckpointError> {
    let failed = |error| CheckpointError::sqlite(path, error);
    let found: i64 = connection
        .query_row("SELECT user_version FROM pragma_user_version", [], |r| r.get(0))
        .map_err(failed)?;
    refuse_newer(path, found)?;
    if found < 1 {
        return Err(CheckpointError::corrupt("the file has no schema"));
    }
    Ok(found)
}

fn refuse_newer(path: &Path, found: i64) -> Result<(), CheckpointError> {
    let known = newest();
    if found > known {
        return Err(CheckpointError::Newer { path: path.to_owned(), found, known });
    }
    Ok(())
}
