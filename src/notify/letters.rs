//! Notices that are not delivered yet, one file each: `undelivered/RUN-N.json` in the job's state directory.
//!
//! Neither a secret nor a URL is in them, only the name of the hook that they are for. Who sends a letter holds
//! its lock, so that two processes never send the same one at the same time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

use super::delivery::Parcel;

/// Older letters are given up: nobody reads last week's alarms.
const AGE_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Letters that are kept; the oldest goes for a new one.
const COUNT_MAX: usize = 100;
/// A letter is no longer than a job file's template with a notice in it.
const BYTES_MAX: u64 = 4 << 20;
/// The version of the form of letters.
const VERSION: u32 = 1;

/// A notice on its way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Letter {
    version: u32,
    /// The hook that it is for.
    pub(super) hook: String,
    /// The run that it is about.
    pub(super) run: Option<String>,
    /// When it was written, in milliseconds from 1970 by this machine's clock.
    written_ms: i64,
    /// Attempts of the last process that tried.
    attempts: u32,
    /// Why they failed.
    why: String,
    /// What goes out.
    pub(super) parcel: Parcel,
}

/// The letters of one job.
#[derive(Debug)]
pub(super) struct Letters {
    dir: PathBuf,
}

/// A letter that this process holds. The lock ends when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    file: File,
    path: PathBuf,
    letter: Letter,
}

impl Letters {
    /// Those below a job's state directory, which need not be there.
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("undelivered") }
    }

    /// Whether there is any letter.
    pub(super) fn are_there(&self) -> bool {
        fs::read_dir(&self.dir).is_ok_and(|mut dir| dir.next().is_some())
    }

    /// Writes a letter that is about to be sent.
    ///
    /// # Errors
    /// Why it cannot be written, in a sentence.
    pub(super) fn write(
        &self,
        run: Option<&str>,
        hook: &str,
        parcel: &Parcel,
        now: Timestamp,
    ) -> Result<Held, String> {
        let letter = Letter {
            version: VERSION,
            hook: hook.to_owned(),
            run: run.map(str::to_owned),
            written_ms: now.as_millis(),
            attempts: 0,
            why: "its process ended before it was delivered".into(),
            parcel: parcel.clone(),
        };
        let make = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
            let (file, path) = self.create(run.unwrap_or("no-run"))?;
            // Nobody else can know of it yet.
            file.try_lock().map_err(io::Error::from)?;
            let mut held = Held { file, path, letter };
            held.store()?;
            Ok(held)
        };
        make().map_err(|error: io::Error| format!("writing below {}: {error}", self.dir.display()))
    }

    /// The first free name of a run.
    fn create(&self, run: &str) -> io::Result<(File, PathBuf)> {
        for number in 1..=COUNT_MAX * 10 {
            let path = self.dir.join(format!("{run}-{number}.json"));
            match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(file) => return Ok((file, path)),
            }
        }
        Err(io::Error::other("too many letters of one run"))
    }

    /// The letters that nobody else is sending, the oldest first, and how many went because they were too old
    /// or too many.
    pub(super) fn waiting(&self, now: Timestamp) -> (Vec<(Held, Letter)>, usize) {
        let Ok(dir) = fs::read_dir(&self.dir) else { return (Vec::new(), 0) };
        let paths = dir.filter_map(|entry| Some(entry.ok()?.path()));
        let paths = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let mut held: Vec<Held> = paths.filter_map(Held::take).collect();
        held.sort_by_key(|held| held.letter.written_ms);
        let too_many = held.len().saturating_sub(COUNT_MAX);
        let mut waiting = Vec::new();
        let mut given_up = 0;
        for (at, held) in held.into_iter().enumerate() {
            let written = Timestamp::from_millis(held.letter.written_ms);
            if at < too_many || now.since(written).is_some_and(|age| age > AGE_MAX) {
                // One that cannot be deleted is met again by the next run.
                given_up += usize::from(held.delivered().is_ok());
                continue;
            }
            let letter = held.letter.clone();
            waiting.push((held, letter));
        }
        (waiting, given_up)
    }
}

impl Held {
    /// Takes a letter; `None` where another process has it, or where it is no letter of this version.
    fn take(path: PathBuf) -> Option<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(&path).ok()?;
        file.try_lock().ok()?;
        let mut text = String::new();
        (&mut file).take(BYTES_MAX).read_to_string(&mut text).ok()?;
        let letter: Letter = serde_json::from_str(&text).ok()?;
        // Whoever held it before may have delivered it meanwhile.
        (letter.version == VERSION && path.exists()).then_some(Self { file, path, letter })
    }

    fn store(&mut self) -> io::Result<()> {
        let text = serde_json::to_vec(&self.letter)?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(&text)?;
        self.file.sync_all()
    }

    /// It is no longer needed.
    ///
    /// # Errors
    /// Why it stays, in a sentence.
    pub(super) fn delivered(self) -> Result<(), String> {
        fs::remove_file(&self.path).map_err(|error| format!("deleting {}: {error}", self.path.display()))
    }

    /// It stays for the next run. Returns where.
    ///
    /// # Errors
    /// Why what was learned of it could not be added, in a sentence.
    pub(super) fn keep(mut self, attempts: u32, why: &str) -> Result<PathBuf, String> {
        self.letter.attempts = attempts;
        why.clone_into(&mut self.letter.why);
        self.store().map_err(|error| format!("writing {}: {error}", self.path.display()))?;
        Ok(self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(delivery: &str) -> Parcel {
        Parcel {
            delivery: delivery.into(),
            event: "end".into(),
            content_type: "application/json".into(),
            body: "{}".into(),
        }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn a_letter_stays_until_it_is_delivered_and_only_one_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let letters = Letters::new(dir.path());
        assert!(!letters.are_there() && letters.waiting(at(0)).0.is_empty());
        let first = letters.write(Some("r"), "h", &parcel("a"), at(10)).unwrap();
        let second = letters.write(Some("r"), "h", &parcel("b"), at(5)).unwrap();
        assert!(letters.waiting(at(20)).0.is_empty(), "both are held");
        let kept = first.keep(3, "away").unwrap();
        assert_eq!(kept, dir.path().join("undelivered/r-1.json"));
        second.keep(3, "away").unwrap();
        let (waiting, _) = letters.waiting(at(20));
        let order: Vec<_> = waiting.iter().map(|(_, letter)| letter.parcel.delivery.as_str()).collect();
        assert_eq!(order, ["b", "a"], "the oldest first");
        assert_eq!((waiting[0].1.attempts, waiting[0].1.why.as_str()), (3, "away"));
        waiting.into_iter().for_each(|(held, _)| held.delivered().unwrap());
        assert!(!letters.are_there());
    }

    #[test]
    fn letters_are_for_their_owner_and_bounded_in_age_and_number() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let letters = Letters::new(dir.path());
        for number in 0..COUNT_MAX as i64 + 3 {
            let held = letters.write(None, "h", &parcel("x"), at(number)).unwrap();
            assert_eq!(held.file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        let (waiting, given_up) = letters.waiting(at(200));
        assert_eq!((waiting.len(), waiting[0].1.written_ms, given_up), (COUNT_MAX, 3000, 3));
        drop(waiting);
        let (waiting, given_up) = letters.waiting(at(7 * 86_400 + 50));
        assert_eq!((waiting[0].1.written_ms, given_up), (50_000, 47));
    }

    #[test]
    fn what_is_no_letter_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let letters = Letters::new(dir.path());
        fs::create_dir(&letters.dir).unwrap();
        fs::write(letters.dir.join("x-1.json"), "{\"version\": 1, ").unwrap();
        fs::write(letters.dir.join("notes.txt"), "mine").unwrap();
        assert!(letters.waiting(at(0)).0.is_empty());
        assert_eq!(fs::read_dir(&letters.dir).unwrap().count(), 2);
    }
}
