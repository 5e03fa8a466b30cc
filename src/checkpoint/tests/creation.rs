//! A process that ends while it makes a checkpoint.

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;

use super::*;
use crate::checkpoint::schema;

const RUN: &str = "run-1";

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// Writes what a kill left.
type Leave = fn(&Path);

/// What a kill can leave under the name of an unfinished file, as a way to write it there.
fn halves() -> Vec<(&'static str, Leave)> {
    fn half(path: &Path, sql: &str) {
        let made = Connection::open(path).unwrap();
        made.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
        made.execute_batch(sql).unwrap();
    }
    vec![
        ("nothing", |_| {}),
        ("an empty file", |path| fs::write(path, "").unwrap()),
        ("a piece of a header", |path| fs::write(path, "SQLite format 3").unwrap()),
        ("no schema", |path| half(path, "")),
        ("a piece of a schema", |path| half(path, "CREATE TABLE run (x); PRAGMA user_version = 1")),
        ("a journal of another file", |path| {
            fs::write(path, "").unwrap();
            let other = tempfile::tempdir().unwrap();
            let other = other.path().join("other");
            let open = Connection::open(&other).unwrap();
            open.execute_batch(
                "PRAGMA cache_size = 1; CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(9999))",
            )
            .unwrap();
            open.execute_batch("BEGIN; UPDATE t SET x = zeroblob(99999); INSERT INTO t SELECT x FROM t")
                .unwrap();
            fs::copy(beside(&other, "-journal"), beside(path, "-journal")).unwrap();
        }),
        ("a whole file and its log", |path| {
            half(path, "PRAGMA journal_mode = WAL; CREATE TABLE run (x)");
            fs::write(beside(path, "-wal"), "x").unwrap();
            fs::write(beside(path, "-shm"), "x").unwrap();
        }),
    ]
}

#[test]
fn a_file_has_the_name_of_a_checkpoint_only_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::create(folder.path()).unwrap();
    let path = state.files(RUN).unwrap().checkpoint;
    let made = schema::create(&path, |connection| {
        assert_eq!(state.runs().unwrap(), [], "not before it is described");
        rows::insert_header(connection, &header())
    });
    assert_eq!(state.runs().unwrap().len(), 1);
    // Nothing of it is in the log only.
    let copy = folder.path().join("copy.sqlite");
    fs::copy(&path, &copy).unwrap();
    drop(made.unwrap());
    assert_eq!(Snapshot::open(&copy).unwrap().header().unwrap(), header());
}

#[test]
fn a_file_that_cannot_be_finished_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let full = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
    let error = schema::create(&path, |_| Err(full)).unwrap_err();
    assert!(matches!(error, CheckpointError::DiskFull { .. }), "{error}");
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_kill_left_of_a_file_is_in_nobodys_way() {
    for (what, leave) in halves() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        let path = state.files(RUN).unwrap().checkpoint;
        leave(&beside(&path, schema::UNFINISHED_SUFFIX));
        assert_eq!(state.runs().unwrap(), [], "{what}");
        let missing = Snapshot::open(&path).unwrap_err();
        assert!(matches!(missing, CheckpointError::Missing { .. }), "{what}: {missing}");
        let checkpoint = Checkpoint::create(&path, &header(), None).unwrap();
        checkpoint.add_ranges(vec![whole_bucket()]).await.unwrap();
        checkpoint.close().await.unwrap();
        assert_eq!(names(folder.path()), ["run-1.sqlite"], "{what}");
        Snapshot::open(&path).unwrap().check().unwrap();
    }
}

#[test]
fn pruning_deletes_what_kills_left_and_nothing_that_says_something() {
    for (what, leave) in halves() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        let (left, other) = (state.files(RUN).unwrap(), state.files("run-2").unwrap());
        leave(&beside(&left.checkpoint, schema::UNFINISHED_SUFFIX));
        fs::write(&left.audit, "").unwrap();
        drop(Checkpoint::create(&other.checkpoint, &header(), None).unwrap());
        fs::write(&other.audit, "").unwrap();
        let kept = ["notes.next", "run-3.audit.jsonl.zst", "run-4.sqlite.next.txt"];
        kept.iter().for_each(|name| fs::write(folder.path().join(name), "x").unwrap());
        assert_eq!(state.prune(9).unwrap(), Vec::<String>::new());
        let mut names = names(folder.path());
        names.retain(|name| !name.ends_with("-wal") && !name.ends_with("-shm"));
        let [notes, audit, text] = kept;
        assert_eq!(names, [notes, "run-2.audit.jsonl.zst", "run-2.sqlite", audit, text], "{what}");
    }
}
