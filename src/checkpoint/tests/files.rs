//! The state directory and the lock.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn everything_is_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::create(&folder.path().join("state/nightly")).unwrap();
    let files = state.files("run-1").unwrap();
    let checkpoint = Checkpoint::create(&files.checkpoint, &header(), None).unwrap();
    checkpoint.put_note("a", "b").await.unwrap();
    state.set_current("run-1").unwrap();
    let _lock = state.lock("run-1", at(0)).unwrap();
    assert_eq!(mode_of(state.path()), 0o700);
    let mut seen = 0;
    for entry in fs::read_dir(state.path()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode_of(&path), 0o600, "{path:?}");
        seen += 1;
    }
    assert_eq!(seen, 5, "checkpoint, WAL, shared memory, current, lock");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let error = StateDir::create(&folder.path().join("file/nightly")).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("creating the state directory") && text.contains("file/nightly"), "{text}");
    assert!(matches!(error, CheckpointError::Io { .. }));
}

#[test]
fn current_is_none_then_one_run_then_another() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::create(folder.path()).unwrap();
    assert_eq!(state.current().unwrap(), None);
    state.set_current("run-1").unwrap();
    state.set_current("run-2").unwrap();
    let files = state.current().unwrap().unwrap();
    assert_eq!(files, state.files("run-2").unwrap());
    assert_eq!(files.audit_file(), "run-2.audit.jsonl.zst");
    assert_eq!(files.audit, folder.path().join("run-2.audit.jsonl.zst"));
    for damage in ["", "../run-2\n", "a/b", ".hidden", "two\nlines"] {
        fs::write(folder.path().join("current"), damage).unwrap();
        assert!(matches!(state.current(), Err(CheckpointError::Corrupt { .. })), "{damage:?}");
    }
}

#[test]
fn run_ids_cannot_leave_the_directory() {
    let state = StateDir::existing(Path::new("state"));
    for bad in ["", "..", "../x", "a/b", "-x", "a b", "a\n", &"x".repeat(65)] {
        assert!(matches!(state.files(bad), Err(CheckpointError::Bug { .. })), "{bad:?}");
    }
    assert!(state.files(&"x".repeat(64)).is_ok());
}

#[test]
fn pruning_keeps_the_current_run_and_the_newest_others() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::create(folder.path()).unwrap();
    for n in 0..6_u64 {
        let files = state.files(&format!("run-{n}")).unwrap();
        for path in [&files.checkpoint, &files.audit, &folder.path().join(format!("run-{n}.sqlite-wal"))] {
            fs::write(path, "x").unwrap();
        }
        let when = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000 + n);
        fs::File::open(&files.checkpoint).unwrap().set_modified(when).unwrap();
    }
    fs::write(folder.path().join("mine.txt"), "x").unwrap();
    state.set_current("run-0").unwrap();
    assert_eq!(state.prune(2).unwrap(), ["run-1", "run-2", "run-3"]);
    let left: Vec<_> = state.runs().unwrap().into_iter().map(|files| files.run_id).collect();
    assert_eq!(left, ["run-0", "run-4", "run-5"]);
    let names = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 3 * 3 + 2, "three runs of three files, current, and what is not ours");
    assert_eq!(state.prune(2).unwrap(), Vec::<String>::new());
}

#[test]
fn a_second_run_hears_who_holds_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::create(folder.path()).unwrap();
    let mut lock = state.lock("starting", at(0)).unwrap();
    lock.name_run("run-1").unwrap();
    let Err(LockError::Held { holder, path }) = state.lock("run-2", at(0)) else { panic!("not held") };
    assert_eq!(path, folder.path().join("lock"));
    assert!(holder.starts_with(&format!("pid={} host=", std::process::id())), "{holder}");
    assert!(holder.ends_with(" run=run-1 since=1970-01-01T00:00:00.000Z"), "{holder}");
    assert!(state.is_locked().unwrap());
    drop(lock);
    assert!(!state.is_locked().unwrap());
    state.lock("run-2", at(0)).unwrap();
}
