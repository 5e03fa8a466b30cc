//! Notices that are not delivered yet, one file each: `undelivered/RUN-N.json` in the job's state directory.
//!
//! Neither a secret nor a URL is in them, only the name of the hook that they are for. Who sends a letter holds
//! its lock, so that two processes never send the same one at the same time. A letter has its name only once it
//! is complete and locked; what a process that was killed left of one, `RUN-N.tmp`, goes after an hour.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

use super::delivery::Parcel;

/// Older letters are given up: nobody reads last week's alarms.
const AGE_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Letters that are kept; the oldest goes for a new one.
const COUNT_MAX: usize = 100;
/// Writing a letter takes no longer than this by far.
const WRITING_MAX: Duration = Duration::from_secs(3600);
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
    /// Open because that is what holds the lock.
    _lock: File,
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
            let Draft { path, temporary, file } = self.draft(run.unwrap_or("no-run"))?;
            let stored = store(&letter, file, &temporary, &path);
            stored.map(|lock| Held { _lock: lock, path, letter })
        };
        make().map_err(|error: io::Error| format!("writing below {}: {error}", self.dir.display()))
    }

    /// The first free name of a run. Whoever wants a name first has its temporary one, so that nobody can take
    /// it between the look at it and the rename.
    fn draft(&self, run: &str) -> io::Result<Draft> {
        for number in 1..=COUNT_MAX * 10 {
            let path = self.dir.join(format!("{run}-{number}.json"));
            let temporary = path.with_extension(TEMPORARY);
            match create().create_new(true).open(&temporary) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(_) if path.exists() => fs::remove_file(&temporary)?,
                Ok(file) => return Ok(Draft { path, temporary, file }),
            }
        }
        Err(io::Error::other("too many letters of one run"))
    }

    /// Deletes what processes left that were killed while they wrote.
    fn tidy(&self, now: Timestamp) {
        let Ok(dir) = fs::read_dir(&self.dir) else { return };
        for entry in dir.filter_map(Result::ok) {
            let path = entry.path();
            let is_left = path.extension().is_some_and(|extension| extension == TEMPORARY)
                && age_of(&path, now).is_some_and(|age| age > WRITING_MAX);
            if is_left && let Err(error) = fs::remove_file(&path) {
                tracing::debug!("{} cannot be deleted: {error}", path.display());
            }
        }
    }

    /// The letters that nobody else is sending, the oldest first, and how many went because they were too old
    /// or too many.
    pub(super) fn waiting(&self, now: Timestamp) -> (Vec<(Held, Letter)>, usize) {
        self.tidy(now);
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
        // Whoever held it before may have delivered it meanwhile, or put a newer one in its place.
        let is_it = is_at(&file, &path).unwrap_or(false);
        (letter.version == VERSION && is_it).then_some(Self { _lock: file, path, letter })
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
        self.replace().map_err(|error| format!("writing {}: {error}", self.path.display()))?;
        Ok(self.path)
    }

    /// Puts what is known of the letter now in its place. Its lock is held until then.
    fn replace(&self) -> io::Result<File> {
        // Nobody else uses this name while the letter is locked.
        let temporary = self.path.with_added_extension(TEMPORARY);
        store(&self.letter, create().create(true).truncate(true).open(&temporary)?, &temporary, &self.path)
    }
}

/// The extension of what is being written.
const TEMPORARY: &str = "tmp";

/// A letter that is about to be written.
struct Draft {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
}

/// How letters are opened for writing: for their owner.
fn create() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Writes a letter into the empty file `temporary`, and has it at `path` once it is complete. Returns the file,
/// locked.
fn store(letter: &Letter, mut file: File, temporary: &Path, path: &Path) -> io::Result<File> {
    let mut write = || {
        file.try_lock()?;
        file.write_all(&serde_json::to_vec(letter)?)?;
        file.sync_all()?;
        fs::rename(temporary, path)
    };
    if let Err(error) = write() {
        // The disk may be full: what it took is given back. What cannot be deleted goes later.
        let _deleted = fs::remove_file(temporary);
        return Err(error);
    }
    Ok(file)
}

/// Whether an open file is the one at `path`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (open, there) = (file.metadata()?, fs::metadata(path)?);
    Ok((open.dev(), open.ino()) == (there.dev(), there.ino()))
}

/// How long ago a file was written.
fn age_of(path: &Path, now: Timestamp) -> Option<Duration> {
    let written = fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    now.since(Timestamp::from_millis(i64::try_from(written.as_millis()).ok()?))
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
            assert_eq!(fs::metadata(&held.path).unwrap().permissions().mode() & 0o777, 0o600);
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

    #[test]
    fn a_letter_has_its_name_once_it_is_complete_and_what_was_left_of_others_goes() {
        let dir = tempfile::tempdir().unwrap();
        let letters = Letters::new(dir.path());
        // Somebody is writing, or was killed while he did.
        fs::create_dir(&letters.dir).unwrap();
        let left = letters.draft("r").unwrap();
        assert!(fs::metadata(&left.temporary).unwrap().len() == 0 && !left.path.exists());
        let now = crate::notify::local_now();
        assert!(letters.waiting(now).0.is_empty() && left.temporary.exists());
        let held = letters.write(Some("r"), "h", &parcel("a"), now).unwrap();
        assert_eq!(
            held.path,
            letters.dir.join("r-2.json"),
            "a name that may be taken any moment is not taken"
        );
        held.keep(1, "away").unwrap();
        let held = letters.write(Some("r"), "h", &parcel("b"), now).unwrap();
        assert_eq!(held.path, letters.dir.join("r-3.json"));
        held.keep(1, "away").unwrap();
        let hours = Timestamp::from_millis(now.as_millis() + 2 * 3_600_000);
        assert_eq!(letters.waiting(hours).0.len(), 2);
        assert!(!left.temporary.exists(), "what nobody will complete is gone");
        let held = letters.write(Some("r"), "h", &parcel("c"), hours).unwrap();
        assert_eq!(held.path, left.path);
        assert_eq!(fs::read_dir(&letters.dir).unwrap().count(), 3);
    }

    #[test]
    fn nobody_takes_what_was_in_the_place_of_a_letter_before() {
        let dir = tempfile::tempdir().unwrap();
        let letters = Letters::new(dir.path());
        let path = letters.write(None, "h", &parcel("a"), at(1)).unwrap().keep(1, "away").unwrap();
        let before = File::open(&path).unwrap();
        assert!(is_at(&before, &path).unwrap());
        let held = Held::take(path.clone()).unwrap();
        let kept = held.replace().unwrap();
        assert!(!is_at(&before, &path).unwrap() && is_at(&kept, &path).unwrap());
        drop(held);
        assert!(Held::take(path.clone()).is_none(), "the new one is locked from the beginning");
        drop(kept);
        assert!(Held::take(path).is_some());
    }
}
