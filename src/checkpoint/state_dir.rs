//! Where the files of a job lie.
//!
//! A directory per job, for its owner only: `lock`, `current` with the id of the run to go on with,
//! and for each run its checkpoint and its audit.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::CheckpointError;
use super::lock::{self, LockError, RunLock};
use super::schema;
use crate::model::Timestamp;

const CHECKPOINT_SUFFIX: &str = ".sqlite";
/// The name of the file that keeps the time of the last success, in milliseconds of Unix time.
const LAST_SUCCESS: &str = "last_success";
const AUDIT_SUFFIX: &str = ".audit.jsonl.zst";
/// Characters of a run id at most.
const RUN_ID_CHARS_MAX: usize = 64;

/// The directory of one job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateDir {
    path: PathBuf,
}

/// The files of one run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunFiles {
    /// The run.
    pub run_id: String,
    /// Its checkpoint.
    pub checkpoint: PathBuf,
    /// Its audit.
    pub audit: PathBuf,
}

impl RunFiles {
    /// The name of the audit without its directory, as the run's header keeps it.
    pub fn audit_file(&self) -> String {
        format!("{}{AUDIT_SUFFIX}", self.run_id)
    }
}

impl StateDir {
    /// The directory of a job, made where it is missing, for its owner only, and tried for writing.
    ///
    /// # Errors
    /// `Io` or `DiskFull`, with the directory named.
    pub fn create(path: &Path) -> Result<Self, CheckpointError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| CheckpointError::io("creating the state directory", path, error))?;
        let probe = path.join(".probe");
        let tried = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&probe);
        tried
            .and_then(|mut file| file.write_all(b"s3sweep"))
            .and_then(|()| fs::remove_file(&probe))
            .map_err(|error| CheckpointError::io("writing to the state directory", path, error))?;
        Ok(Self { path: path.to_owned() })
    }

    /// The directory of a job for readers, who create nothing.
    pub fn existing(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the job's lock: see [`RunLock::take`].
    ///
    /// # Errors
    /// `Held` where another process has it, `Io` otherwise.
    pub fn lock(&self, run_id: &str, since: Timestamp) -> Result<RunLock, LockError> {
        RunLock::take(&self.path.join("lock"), run_id, since)
    }

    /// Whether a process works on the job now. Looking changes nothing.
    ///
    /// # Errors
    /// `Io`.
    pub fn is_locked(&self) -> Result<bool, CheckpointError> {
        let path = self.path.join("lock");
        lock::is_held(&path).map_err(|error| CheckpointError::io("looking at the lock", &path, error))
    }

    /// The files of a run.
    ///
    /// # Errors
    /// `Bug` where the id is not one to 64 letters, digits, dots, dashes and underscores that begin
    /// with a letter or digit.
    pub fn files(&self, run_id: &str) -> Result<RunFiles, CheckpointError> {
        if !is_run_id(run_id) {
            return Err(CheckpointError::bug(format!("`{}` is no run id", run_id.escape_debug())));
        }
        Ok(RunFiles {
            run_id: run_id.to_owned(),
            checkpoint: self.path.join(format!("{run_id}{CHECKPOINT_SUFFIX}")),
            audit: self.path.join(format!("{run_id}{AUDIT_SUFFIX}")),
        })
    }

    /// The run to go on with or to report on; `None` where there was none yet.
    ///
    /// # Errors
    /// `Io`; `Corrupt` where the file holds no run id.
    pub fn current(&self) -> Result<Option<RunFiles>, CheckpointError> {
        let path = self.path.join("current");
        match fs::read_to_string(&path) {
            Ok(text) if is_run_id(text.trim_end()) => self.files(text.trim_end()).map(Some),
            Ok(_) => Err(CheckpointError::corrupt(format!("{} holds no run id", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(CheckpointError::corrupt(format!("{} holds no run id", path.display())))
            }
            Err(error) => Err(CheckpointError::io("reading", &path, error)),
        }
    }

    /// Makes a run the current one: after a crash it is this run or the one before, never neither.
    ///
    /// # Errors
    /// `Io`, `DiskFull`; `Bug` as for [`StateDir::files`].
    pub fn set_current(&self, run_id: &str) -> Result<(), CheckpointError> {
        self.files(run_id)?;
        self.replace("current", run_id)
    }

    /// Replaces a file of one line: after a crash it is the old one or the new one.
    fn replace(&self, name: &str, line: &str) -> Result<(), CheckpointError> {
        let (next, path) = (self.path.join(format!("{name}.next")), self.path.join(name));
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
            file.write_all(line.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&next, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|error| CheckpointError::io("writing", &path, error))
    }

    /// When a run of the job last ended with everything done; `None` where that is not known.
    pub fn last_success(&self) -> Option<Timestamp> {
        let text = fs::read_to_string(self.path.join(LAST_SUCCESS)).ok()?;
        text.trim_end().parse().ok().map(Timestamp::from_millis)
    }

    /// Notes that a run of the job ended with everything done. To be called under the lock.
    ///
    /// # Errors
    /// `Io`, `DiskFull`.
    pub fn note_success(&self, at: Timestamp) -> Result<(), CheckpointError> {
        self.replace(LAST_SUCCESS, &at.as_millis().to_string())
    }

    /// The runs whose checkpoint is there, the newest last, by the time of their last change.
    ///
    /// # Errors
    /// `Io`.
    pub fn runs(&self) -> Result<Vec<RunFiles>, CheckpointError> {
        let failed = |error| CheckpointError::io("reading the state directory", &self.path, error);
        let mut found: Vec<(SystemTime, String)> = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let run_id = name.to_str().and_then(|name| name.strip_suffix(CHECKPOINT_SUFFIX));
            if let Some(run_id) = run_id.filter(|run_id| is_run_id(run_id)) {
                let changed = entry.metadata().and_then(|metadata| metadata.modified()).map_err(failed)?;
                found.push((changed, run_id.to_owned()));
            }
        }
        found.sort();
        found.iter().map(|(_, run_id)| self.files(run_id)).collect()
    }

    /// Deletes the files of all runs but the current one and the `keep` newest others, which no
    /// command can go on with any more, and what processes left that were killed while they made the
    /// files of a run. Returns the runs that went. To be called under the lock, and not while a run is
    /// begun.
    ///
    /// # Errors
    /// `Io`.
    pub fn prune(&self, keep: usize) -> Result<Vec<String>, CheckpointError> {
        let current = self.current()?.map(|files| files.run_id);
        let mut others = self.runs()?;
        others.retain(|files| Some(&files.run_id) != current.as_ref());
        others.truncate(others.len().saturating_sub(keep));
        for files in &others {
            // The checkpoint last: while it is there, the run is found again.
            delete(&files.audit)?;
            schema::remove(&files.checkpoint)
                .map_err(|error| CheckpointError::io("deleting", &files.checkpoint, error))?;
        }
        self.delete_unfinished()?;
        Ok(others.into_iter().map(|files| files.run_id).collect())
    }

    /// Deletes checkpoints that were not finished, and audits without a line that have no checkpoint.
    fn delete_unfinished(&self) -> Result<(), CheckpointError> {
        let failed = |error| CheckpointError::io("reading the state directory", &self.path, error);
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, name) = (entry.path(), entry.file_name());
            let Some(name) = name.to_str() else { continue };
            let run_of = |name: Option<&str>, suffix| {
                name.and_then(|name| name.strip_suffix(suffix))
                    .filter(|run_id| is_run_id(run_id))
                    .map(str::to_owned)
            };
            let unfinished = name.strip_suffix(schema::UNFINISHED_SUFFIX);
            if run_of(unfinished, CHECKPOINT_SUFFIX).is_some() {
                schema::remove(&path).map_err(|error| CheckpointError::io("deleting", &path, error))?;
            } else if let Some(run_id) = run_of(Some(name), AUDIT_SUFFIX)
                && entry.metadata().map_err(failed)?.len() == 0
                && is_missing(&self.files(&run_id)?.checkpoint)
            {
                delete(&path)?;
            }
        }
        Ok(())
    }
}

fn delete(path: &Path) -> Result<(), CheckpointError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CheckpointError::io("deleting", path, error))
        }
        _ => Ok(()),
    }
}

fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn is_run_id(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.len() <= RUN_ID_CHARS_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(allowed)
}
