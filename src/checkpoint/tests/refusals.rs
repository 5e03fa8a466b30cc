//! What is refused, and that refusing leaves everything as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;

use super::*;

/// Names and bytes of everything in a directory; a WAL's shared memory holds no data.
fn bytes_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let lasting = paths.filter(|path| !path.to_string_lossy().ends_with("-shm"));
    lasting.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

async fn closed_run(path: &Path, batches: Vec<NewBatch>) {
    let checkpoint = Checkpoint::create(path, &header(), None).unwrap();
    let range = checkpoint.add_ranges(vec![whole_bucket()]).await.unwrap().remove(0);
    plan(&checkpoint, &range, batches).await;
    checkpoint.close().await.unwrap();
}

fn refusal(path: &Path) -> CheckpointError {
    let error = Checkpoint::open(path, None).unwrap_err();
    let read_only = Snapshot::open(path).unwrap_err();
    assert_eq!(error.to_string(), read_only.to_string());
    error
}

#[tokio::test]
async fn a_newer_schema_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    closed_run(&path, vec![]).await;
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let before = bytes_of(folder.path());
    let error = refusal(&path);
    assert!(matches!(error, CheckpointError::Newer { found: 99, known: 2, .. }), "{error}");
    assert_eq!(bytes_of(folder.path()), before);
}

#[tokio::test]
async fn a_newer_schema_that_only_the_wal_knows_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let (live, path) = (folder.path().join("live.sqlite"), folder.path().join("crashed/run.sqlite"));
    fs::create_dir(folder.path().join("crashed")).unwrap();
    closed_run(&live, vec![]).await;
    let newer = Connection::open(&live).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    copy_as_after_a_crash(&live, &path, None);
    let before = bytes_of(&folder.path().join("crashed"));
    assert_eq!(before.len(), 2, "there is a WAL");
    let error = Checkpoint::open(&path, None).unwrap_err();
    assert!(matches!(error, CheckpointError::Newer { found: 99, .. }), "{error}");
    assert_eq!(bytes_of(&folder.path().join("crashed")), before);
}

#[test]
fn foreign_files_are_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    fs::write(folder.path().join("text"), "notes ".repeat(100)).unwrap();
    Connection::open(folder.path().join("other")).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let before = bytes_of(folder.path());
    for name in ["empty", "text", "other"] {
        let error = refusal(&folder.path().join(name));
        assert!(matches!(error, CheckpointError::Foreign { .. }), "{name}: {error}");
        let created = Checkpoint::create(&folder.path().join(name), &header(), None).unwrap_err();
        assert!(matches!(created, CheckpointError::Exists { .. }), "{name}: {created}");
    }
    assert!(matches!(refusal(&folder.path().join("nothing")), CheckpointError::Missing { .. }));
    assert_eq!(bytes_of(folder.path()), before);
}

#[tokio::test]
async fn a_damaged_payload_is_found_before_it_is_handed_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    closed_run(&path, vec![elders(0, items("a", 9)), elders(1, items("b", 9))]).await;
    let sql = "UPDATE payload SET data = CAST(substr(data, 1, 20) || x'00' || substr(data, 22) AS BLOB) \
               WHERE batch_id = 2";
    Connection::open(&path).unwrap().execute(sql, []).unwrap();
    let checkpoint = Checkpoint::open(&path, None).unwrap();
    let error = checkpoint.claim(2, at(1)).await.unwrap_err();
    assert!(matches!(error, CheckpointError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("batch 2"), "{error}");
    let totals = checkpoint.totals().await.unwrap();
    assert_eq!((totals.pending.versions, totals.in_flight.versions), (18, 0));
    assert_eq!(claim_ids(&checkpoint, 1, 1).await, [1], "the other one is sound");
    checkpoint.close().await.unwrap();
}

#[tokio::test]
async fn rows_that_contradict_each_other_are_corrupt() {
    for sql in [
        "UPDATE total SET versions = versions + 1 WHERE name = 'planned'",
        "DELETE FROM batch WHERE id = 1",
        "UPDATE range SET undecided = 1",
        "UPDATE total SET name = 'invented' WHERE name = 'listed'",
        "UPDATE total SET versions = -1 WHERE name = 'listed'",
        "UPDATE run SET rule_names = 'x'",
        "DELETE FROM run",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.sqlite");
        closed_run(&path, vec![elders(0, items("a", 9))]).await;
        let outside = Connection::open(&path).unwrap();
        outside.pragma_update(None, "foreign_keys", false).unwrap();
        outside.execute(sql, []).unwrap();
        drop(outside);
        let error = Checkpoint::open(&path, None).unwrap_err();
        assert!(matches!(error, CheckpointError::Corrupt { .. }), "{sql}: {error}");
    }
}

#[tokio::test]
async fn a_file_damaged_while_it_was_not_closed_is_corrupt_or_whole_but_never_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let batches = (0..40).map(|n| elders(n, items(&format!("b{n}"), 200))).collect();
    closed_run(&path, batches).await;
    Connection::open(&path).unwrap().execute("UPDATE run SET clean = 0", []).unwrap();
    let sound = fs::read(&path).unwrap();
    let page_bytes = usize::from(u16::from_be_bytes([sound[16], sound[17]]));
    let (mut refused, pages) = (0, sound.len() / page_bytes);
    for number in 1..pages {
        let mut damaged = sound.clone();
        damaged[number * page_bytes..number * page_bytes + 64].fill(0xa5);
        let copy = folder.path().join(format!("copy-{number}.sqlite"));
        fs::write(&copy, damaged).unwrap();
        let verdict = match Checkpoint::open(&copy, None) {
            Ok(checkpoint) => checkpoint.claim(99, at(1)).await.map(|claims| claims.batches.len()),
            Err(error) => Err(error),
        };
        match verdict {
            Ok(batches) => assert_eq!(batches, 40, "page {number}"),
            Err(CheckpointError::Corrupt { .. }) => refused += 1,
            Err(other) => panic!("page {number}: {other}"),
        }
    }
    assert!(refused > pages / 2, "{refused} of {pages}");
}

#[tokio::test]
async fn a_full_disk_has_its_own_error_and_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let journal = MemoryJournal::default();
    let checkpoint = Checkpoint::create(&path, &header(), journal.boxed()).unwrap();
    let mut range = checkpoint.add_ranges(vec![whole_bucket()]).await.unwrap().remove(0);
    let limit = "PRAGMA max_page_count = 80";
    checkpoint.tamper(move |store| store.connection.execute_batch(limit).unwrap()).await;
    let error = loop {
        let seq = range.next_seq;
        let new = RangeRow { next_seq: seq + 1, ..range.clone() };
        let page = page(&range, new, vec![elders(seq, items(&format!("p{seq}"), 1000))], &["kept"]);
        let next = page.range.clone();
        match checkpoint.commit_page(page).await {
            Ok(()) => range = next,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, CheckpointError::DiskFull { .. }), "{error}");
    assert!(range.pages > 3);
    let later = checkpoint.claim(1, at(1)).await.unwrap_err();
    assert!(matches!(later, CheckpointError::DiskFull { .. }), "{later}");
    drop(checkpoint);

    let checkpoint = Checkpoint::open(&path, journal.boxed()).unwrap();
    assert_eq!(checkpoint.ranges().await.unwrap(), [range.clone()]);
    assert_eq!(journal.sealed().len() as u64, range.pages);
    assert_eq!(checkpoint.totals().await.unwrap().pending.versions, range.pages * 1000);
}

#[tokio::test]
async fn pages_that_do_not_add_up_are_refused_before_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::create(&folder.path().join("run.sqlite"), &header(), None).unwrap();
    let empty = NewRange { prefix: Key::default(), lo: Some("b".into()), hi: Some("b".into()) };
    assert!(matches!(checkpoint.add_ranges(vec![empty]).await, Err(CheckpointError::Bug { .. })));
    let range = checkpoint.add_ranges(vec![whole_bucket()]).await.unwrap().remove(0);
    let good = || {
        let new = RangeRow { next_seq: 2, ..range.clone() };
        page(&range, new, vec![elders(0, items("a", 2)), latest(1, Some(0), items("l", 1))], &["k"])
    };
    type Spoil = fn(&mut PageCommit);
    let spoils: [(&str, Spoil); 12] = [
        ("there is no range", |page| page.range.id = 9),
        ("listed went from", |page| page.range.listed += 1),
        ("planned went from", |page| page.tallies.retain(|(c, _)| *c != Counter::Planned(RuleId(0)))),
        ("items waited", |page| page.batches[0].items.truncate(1)),
        ("a batch of 0 items", |page| page.batches[0].items.clear()),
        ("a batch of 1001 items", |page| page.batches[0].items = items("x", 1001)),
        ("a page counts outcomes", |page| {
            page.tallies.push((Counter::Done(RuleId(0)), Amount { versions: 1, bytes: 0, keys: 0 }));
        }),
        ("is not kept", |page| page.range.undecided = 1),
        ("a batch has number 2", |page| page.batches[0].seq = 2),
        ("a batch waits for number", |page| page.batches[1].after_seq = Some(2)),
        ("it ends with items", |page| {
            page.range.done = true;
            page.range.fold = Some(Box::default());
        }),
        ("the next number went back", |page| page.range.next_seq = 0),
    ];
    for (expected, spoil) in spoils {
        let mut page = good();
        spoil(&mut page);
        if expected.contains("went back") {
            let mut ahead = good();
            ahead.range.next_seq = 5;
            let other = checkpoint.add_ranges(vec![whole_bucket()]).await.unwrap().remove(0);
            (ahead.range.id, page.range.id) = (other.id, other.id);
            checkpoint.commit_page(ahead).await.unwrap();
        }
        let error = checkpoint.commit_page(page).await.unwrap_err();
        assert!(matches!(error, CheckpointError::Bug { .. }), "{error}");
        assert!(error.to_string().contains(expected), "`{expected}` is not in `{error}`");
    }
    assert_eq!(checkpoint.ranges().await.unwrap()[0], range);

    let mut end = good();
    end.range.done = true;
    let mut late = end.clone();
    checkpoint.commit_page(end).await.unwrap();
    late.range.next_seq = 9;
    let error = checkpoint.commit_page(late).await.unwrap_err();
    assert!(error.to_string().contains("a page after its end"), "{error}");
    // An elder batch under a number that latest items may have passed already.
    let other = checkpoint.add_ranges(vec![whole_bucket()]).await.unwrap().remove(0);
    let other = plan(&checkpoint, &other, vec![elders(0, items("x", 1))]).await;
    let again = page(&other, other.clone(), vec![elders(0, items("y", 1))], &[]);
    let error = checkpoint.commit_page(again).await.unwrap_err();
    assert!(error.to_string().contains("a batch has number 0"), "{error}");
}

#[tokio::test]
async fn settlements_that_do_not_match_their_batch_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::create(&folder.path().join("run.sqlite"), &header(), None).unwrap();
    let range = checkpoint.add_ranges(vec![whole_bucket()]).await.unwrap().remove(0);
    plan(&checkpoint, &range, vec![elders(0, items("a", 3)), elders(1, items("b", 3))]).await;
    let batch = checkpoint.claim(1, at(1)).await.unwrap().batches.remove(0).batch;
    type Spoil = fn(&mut Settlement);
    let spoils: [(&str, Spoil); 8] = [
        ("was not handed out", |it| it.batch = 2),
        ("was not handed out", |it| it.batch = 77),
        ("3 items, 2 of them", |it| drop(it.records.pop())),
        ("is settled and not in it", |it| it.records[0].version_id = VersionId::new("other").unwrap()),
        ("is settled and not in it", |it| it.records[0] = it.records[1].clone()),
        ("is not settled as it was planned", |it| it.records[0].size += 1),
        ("is settled as kept", |it| it.records[0].fate = Fate::Kept(KeepReason::NoRule)),
        ("remains and is not in it", |it| it.remaining = items("a", 1)),
    ];
    for (expected, spoil) in spoils {
        let mut settlement = all_done(&batch);
        spoil(&mut settlement);
        let error = checkpoint.settle(settlement).await.unwrap_err();
        assert!(matches!(error, CheckpointError::Bug { .. }), "{error}");
        assert!(error.to_string().contains(expected), "`{expected}` is not in `{error}`");
    }
    assert!(checkpoint.release(vec![1, 1]).await.is_err());
    checkpoint.settle(all_done(&batch)).await.unwrap();
    let twice = checkpoint.settle(all_done(&batch)).await.unwrap_err();
    assert!(twice.to_string().contains("was not handed out"), "{twice}");
}
