//! What can go wrong with a checkpoint, and what it means for the run.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a checkpoint could not do what it was asked for.
///
/// Clones share their cause: after an error of the storage every later call gets the same one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CheckpointError {
    /// There is no file at this place.
    #[error("there is no checkpoint at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is a file already where a new run's would be created.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file in the way.
        path: PathBuf,
    },
    /// The file belongs to something else; it was not touched.
    #[error("{} is not a checkpoint of s3sweep", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer program; it was not touched.
    #[error("{} has schema {found}, this program knows schemas up to {known}: use the newer program", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The file's schema.
        found: i64,
        /// The newest schema this program knows.
        known: i64,
    },
    /// What the file or the audit holds contradicts itself. Nothing is guessed from it.
    #[error("the checkpoint is damaged: {what}")]
    Corrupt {
        /// The contradiction.
        what: String,
    },
    /// The disk, or the quota of the user, is full. What was acknowledged before is safe.
    #[error("no space left for {}", path.display())]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// There is no room for the ballast of a run.
    #[error(
        "no space left for {}: it takes {} MiB{}. It is the ballast, room that is kept while a run \
         works, so that what is in flight can be recorded when the disk fills up: free some space and run again",
        path.display(),
        needed_bytes.div_ceil(1 << 20),
        free_bytes.map_or_else(String::new, |bytes| format!(", and {} MiB are free", bytes >> 20))
    )]
    NoBallast {
        /// The ballast's file.
        path: PathBuf,
        /// Its size.
        needed_bytes: u64,
        /// What is free, where that can be told.
        free_bytes: Option<u64>,
    },
    /// A file or directory could not be read or written.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was tried, such as `creating`.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: Arc<io::Error>,
    },
    /// SQLite refused.
    #[error("the checkpoint {} failed: {source}", path.display())]
    Storage {
        /// The checkpoint's file.
        path: PathBuf,
        /// The cause.
        source: Arc<rusqlite::Error>,
    },
    /// The audit could not be written.
    #[error("writing the audit failed: {source}")]
    Audit {
        /// The cause.
        source: Arc<io::Error>,
    },
    /// Another process opened the checkpoint for writing since this one did.
    #[error("the checkpoint was taken over by another process (epoch {found}, ours is {ours})")]
    Superseded {
        /// The epoch this process writes in.
        ours: u64,
        /// The epoch found in the file.
        found: u64,
    },
    /// The checkpoint was closed, or its writer is gone.
    #[error("the checkpoint is closed")]
    Closed,
    /// A caller asked for what would break the accounting: a bug of this program.
    #[error("bug in s3sweep: {what}")]
    Bug {
        /// What does not add up.
        what: String,
    },
}

impl CheckpointError {
    pub(super) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }

    pub(super) fn bug(what: impl Into<String>) -> Self {
        Self::Bug { what: what.into() }
    }

    /// From an error of the file system; a full disk has its own kind.
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        if is_full(&source) {
            return Self::DiskFull { path: path.to_owned() };
        }
        Self::Io { doing, path: path.to_owned(), source: Arc::new(source) }
    }

    /// From an error of the audit: a file shorter than what was committed has lost records.
    pub(super) fn audit(path: &Path, source: io::Error) -> Self {
        if is_full(&source) {
            return Self::DiskFull { path: path.to_owned() };
        }
        if source.kind() == io::ErrorKind::UnexpectedEof {
            return Self::corrupt(format!("the audit is shorter than what was committed ({source})"));
        }
        Self::Audit { source: Arc::new(source) }
    }

    /// From an error of SQLite; a full disk and a damaged file have their own kinds.
    pub(super) fn sqlite(path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase};
        match source.sqlite_error_code() {
            Some(DiskFull) => Self::DiskFull { path: path.to_owned() },
            Some(DatabaseCorrupt | NotADatabase) => Self::corrupt(source.to_string()),
            Some(_) => Self::Storage { path: path.to_owned(), source: Arc::new(source) },
            // A row holds what the schema does not allow.
            None => Self::corrupt(source.to_string()),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// An error inside the writer, before it is known whom it concerns.
#[derive(Debug)]
pub(super) enum Fault {
    /// Found before anything was written: only this command fails.
    Own(CheckpointError),
    /// The transaction can no longer be trusted: the whole group fails, and every later call.
    Fatal(CheckpointError),
    /// As `Fatal`; the file's name is added by the writer.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// A command's own fault, found before it wrote anything.
pub(super) fn own_bug<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Own(CheckpointError::bug(what)))
}
