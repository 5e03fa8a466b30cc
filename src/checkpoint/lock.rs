//! One process at a time works on a job.
//!
//! The lock is the operating system's lock on a file, so it ends with its process however that
//! ends. What is written inside serves people only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::Timestamp;

/// Bytes of a holder's line that are shown at most.
const LINE_BYTES_MAX: u64 = 512;

/// Why the lock was not given.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process works on the job.
    #[error("another run holds {}: {holder}", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What that process wrote about itself: pid, host, run and since when.
        holder: String,
    },
    /// The lock file could not be opened, locked or written.
    #[error("locking {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// The right to work on a job; given back when dropped.
#[derive(Debug)]
pub struct RunLock {
    file: File,
    path: PathBuf,
    since: Timestamp,
}

impl RunLock {
    /// Takes the lock, or says who has it. `run_id` is for people; see [`RunLock::name_run`].
    ///
    /// # Errors
    /// `Held` where another process has it, `Io` otherwise.
    pub fn take(path: &Path, run_id: &str, since: Timestamp) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        match lock_soon(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut line = Vec::new();
                // The lock counts, not what is written about it.
                let _ = (&mut file).take(LINE_BYTES_MAX).read_to_end(&mut line);
                let line = String::from_utf8_lossy(&line);
                let clean: String = line.trim().chars().filter(|c| !c.is_control()).collect();
                let holder = if clean.is_empty() { "its owner wrote nothing".to_owned() } else { clean };
                return Err(LockError::Held { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut lock = Self { file, path: path.to_owned(), since };
        lock.name_run(run_id)?;
        Ok(lock)
    }

    /// Writes inside which run the lock is for.
    ///
    /// # Errors
    /// `Io` where the file cannot be written.
    pub fn name_run(&mut self, run_id: &str) -> Result<(), LockError> {
        let line =
            format!("pid={} host={} run={run_id} since={}\n", std::process::id(), host_name(), self.since);
        self.write(line.as_bytes()).map_err(|source| LockError::Io { path: self.path.clone(), source })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(line)
    }
}

/// Who only looks whether a lock is held has it for a moment, so the first refusal is not the last word.
fn lock_soon(file: &File) -> Result<(), TryLockError> {
    const TRIES: u32 = 5;
    const BETWEEN: Duration = Duration::from_millis(20);
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN),
            answer => return answer,
        }
    }
    file.try_lock()
}

/// Whether a process holds the lock now. Looking changes nothing, and creates nothing.
///
/// # Errors
/// Those of opening the file and of asking for the lock, but that it is not there: nobody holds it then.
pub(super) fn is_held(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        // Given back when the file is closed, here.
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The name of this machine, for people. Asked of the kernel: a hardened service need not see /proc/sys.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().trim().to_owned();
    if name.is_empty() { "unknown".to_owned() } else { name }
}
