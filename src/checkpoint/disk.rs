//! What becomes of a run whose disk fills up. SQLite on a full disk cannot even delete: so a file of
//! allocated blocks lies beside the checkpoint and gives way before the last block is taken, and what
//! is in flight can still be settled. Listing, which makes the checkpoint grow, stops long before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tokio::sync::watch;

use super::error::CheckpointError;

/// Size of the ballast on a large disk: more than what is in flight can need.
const BALLAST_BYTES_MAX: u64 = 64 << 20;
/// Size of the ballast on the smallest disk.
const BALLAST_BYTES_MIN: u64 = 4 << 20;
/// Between the two it is the disk's size divided by this.
const BALLAST_PART: u64 = 20;
/// Listing stops where less is free than the ballast times this: on a large disk that is the ballast
/// and twice the WAL's limit.
const LOW_BALLASTS: u64 = 3;
/// The ballast gives way where less is free than a fourth of it: more than one transaction writes.
const FULL_PART: u64 = 4;
const BALLAST_FILE: &str = "ballast";

/// How much room there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Room {
    /// Enough to go on.
    #[default]
    Enough,
    /// What is planned can be carried out; nothing more should be planned.
    Low,
    /// The ballast is gone: what is in flight can be settled, and nothing should be begun.
    Full,
}

/// The size of a ballast for a disk of so many bytes.
const fn ballast_bytes(disk_bytes: u64) -> u64 {
    let part = disk_bytes / BALLAST_PART;
    if part > BALLAST_BYTES_MAX {
        BALLAST_BYTES_MAX
    } else if part < BALLAST_BYTES_MIN {
        BALLAST_BYTES_MIN
    } else {
        part
    }
}

/// Judges what is free beside a ballast.
const fn judge(free_bytes: u64, ballast_bytes: u64) -> Room {
    if free_bytes < ballast_bytes / FULL_PART {
        Room::Full
    } else if free_bytes < ballast_bytes * LOW_BALLASTS {
        Room::Low
    } else {
        Room::Enough
    }
}

/// Tells how many bytes are free, where that can be told.
type FreeBytes = Box<dyn Fn() -> Option<u64> + Send>;

/// Watches the disk of a checkpoint, and holds the ballast. Removes it when dropped.
pub struct DiskGuard {
    path: PathBuf,
    bytes: u64,
    free_bytes: FreeBytes,
    room: watch::Sender<Room>,
}

impl std::fmt::Debug for DiskGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskGuard")
            .field("path", &self.path)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl DiskGuard {
    /// Lays a ballast into a state directory: a twentieth of the disk, at least 4 and at most 64 MiB.
    /// One that an earlier process left is taken over.
    ///
    /// # Errors
    /// `NoBallast` where there is no room for it, `Io`.
    pub fn lay(directory: &Path) -> Result<Self, CheckpointError> {
        let failed = |error| CheckpointError::io("asking for the free space of", directory, error);
        let disk = statvfs(directory).map_err(|error| failed(error.into()))?;
        let bytes = ballast_bytes(disk.f_blocks.saturating_mul(disk.f_frsize));
        let directory_too = directory.to_owned();
        let free_bytes = move || {
            let disk = statvfs(&directory_too).ok()?;
            Some(disk.f_bavail.saturating_mul(disk.f_frsize))
        };
        Self::lay_with(directory, bytes, Box::new(free_bytes))
    }

    fn lay_with(directory: &Path, bytes: u64, free_bytes: FreeBytes) -> Result<Self, CheckpointError> {
        let path = directory.join(BALLAST_FILE);
        if let Err(error) = allocate(&path, bytes) {
            // Half a ballast would only be in the way.
            let _ = fs::remove_file(&path);
            return Err(no_ballast(path, bytes, free_bytes(), error));
        }
        Ok(Self { path, bytes, free_bytes, room: watch::Sender::new(Room::Enough) })
    }

    /// Who wants to know how much room there is.
    pub(super) fn subscribe(&self) -> watch::Receiver<Room> {
        self.room.subscribe()
    }

    /// Looks at the disk before something is written. A ballast that gave way is gone for good.
    pub(super) fn look(&self) {
        let was = *self.room.borrow();
        if was == Room::Full {
            return;
        }
        let Some(free_bytes) = (self.free_bytes)() else { return };
        let room = judge(free_bytes, self.bytes);
        if room == Room::Full {
            self.give_way();
        }
        self.room.send_if_modified(|known| std::mem::replace(known, room) != room);
    }

    fn give_way(&self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("the ballast {} stays: {error}", self.path.display());
        }
    }
}

impl Drop for DiskGuard {
    fn drop(&mut self) {
        self.give_way();
    }
}

/// Why the ballast could not be laid.
fn no_ballast(path: PathBuf, needed_bytes: u64, free_bytes: Option<u64>, why: io::Error) -> CheckpointError {
    match CheckpointError::io("laying the ballast", &path, why) {
        CheckpointError::DiskFull { .. } => CheckpointError::NoBallast { path, needed_bytes, free_bytes },
        other => other,
    }
}

/// Makes a file of so many allocated bytes, for its owner only.
fn allocate(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_len(0)?;
    match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => {
            write_bytes(&mut file, bytes)
        }
        Err(error) => Err(error.into()),
    }
}

/// Where blocks cannot be asked for: bytes that no file system leaves out.
fn write_bytes(file: &mut File, bytes: u64) -> io::Result<()> {
    let block = [0xa5_u8; 64 << 10];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        file.write_all(&block[..part])?;
        left -= part as u64;
    }
    file.sync_all()
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A guard of a disk whose free space is what the test says.
    pub(in crate::checkpoint) fn guard_of(directory: &Path, free: &Arc<AtomicU64>) -> DiskGuard {
        let free = Arc::clone(free);
        let free_bytes = move || Some(free.load(Ordering::SeqCst));
        DiskGuard::lay_with(directory, BALLAST_BYTES_MIN, Box::new(free_bytes)).unwrap()
    }

    #[test]
    fn the_ballast_is_a_twentieth_of_the_disk_within_bounds() {
        assert_eq!(ballast_bytes(10 << 20), 4 << 20);
        assert_eq!(ballast_bytes(200 << 20), 10 << 20);
        assert_eq!(ballast_bytes(1 << 40), 64 << 20);
    }

    #[test]
    fn listing_stops_long_before_the_ballast_gives_way() {
        let mib = |n: u64| n << 20;
        assert_eq!(judge(mib(192), mib(64)), Room::Enough);
        assert_eq!(judge(mib(192) - 1, mib(64)), Room::Low);
        assert_eq!(judge(mib(16), mib(64)), Room::Low);
        assert_eq!(judge(mib(16) - 1, mib(64)), Room::Full);
    }

    #[test]
    fn a_ballast_has_blocks_is_private_and_gives_way_once() {
        let folder = tempfile::tempdir().unwrap();
        let free = Arc::new(AtomicU64::new(1 << 40));
        let guard = guard_of(folder.path(), &free);
        let made = fs::metadata(folder.path().join("ballast")).unwrap();
        assert_eq!((made.len(), made.permissions().mode() & 0o777), (4 << 20, 0o600));
        assert!(made.blocks() * 512 >= 4 << 20, "{} blocks", made.blocks());
        let room = guard.subscribe();
        for (bytes, expected, is_there) in [
            (1 << 40, Room::Enough, true),
            (5 << 20, Room::Low, true),
            (1 << 40, Room::Enough, true),
            (1000, Room::Full, false),
            (1 << 40, Room::Full, false),
        ] {
            free.store(bytes, Ordering::SeqCst);
            guard.look();
            assert_eq!((*room.borrow(), folder.path().join("ballast").exists()), (expected, is_there));
        }
    }

    #[test]
    fn who_has_no_room_for_the_ballast_hears_what_it_is_and_what_it_takes() {
        let told = |kind: io::ErrorKind, free_bytes| {
            no_ballast("s/ballast".into(), 4 << 20, free_bytes, io::Error::from(kind)).to_string()
        };
        let text = told(io::ErrorKind::StorageFull, Some((3 << 20) + 5));
        let begin =
            "no space left for s/ballast: it takes 4 MiB, and 3 MiB are free. It is the ballast, room";
        assert!(text.starts_with(begin), "{text}");
        assert!(told(io::ErrorKind::QuotaExceeded, None).contains("takes 4 MiB. It is"), "{text}");
        assert!(
            told(io::ErrorKind::PermissionDenied, Some(1000)).starts_with("laying the ballast s/ballast: ")
        );
    }

    #[test]
    fn the_next_start_makes_it_again_and_the_end_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ballast"), b"what a crash left").unwrap();
        let guard = DiskGuard::lay(folder.path()).unwrap();
        assert!(fs::metadata(folder.path().join("ballast")).unwrap().len() >= BALLAST_BYTES_MIN);
        drop(guard);
        assert!(!folder.path().join("ballast").exists());
    }

    #[test]
    fn bytes_do_where_blocks_cannot_be_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = File::create(folder.path().join("x")).unwrap();
        write_bytes(&mut file, 200_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 200_000);
    }
}
