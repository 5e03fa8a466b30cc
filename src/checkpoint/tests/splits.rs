//! Ranges that are divided while they are listed.

use super::*;
use crate::model::Marker;

fn key(text: &str) -> Option<Key> {
    Some(Key::from(text))
}

/// A run whose only range has been listed up to the key `m`.
async fn listed_to_m(path: &Path) -> (Checkpoint, RangeRow) {
    let checkpoint = Checkpoint::create(path, &header(), None).unwrap();
    let range = checkpoint.add_ranges(vec![whole_bucket()]).await.unwrap().remove(0);
    let cursor = Some(Marker { key: Key::from("m"), version_id: VersionId::new("v") });
    let commit = page(&range, RangeRow { cursor, ..range.clone() }, vec![], &["a", "m"]);
    let range = commit.range.clone();
    checkpoint.commit_page(commit).await.unwrap();
    (checkpoint, range)
}

/// The first page of a part from `lo` on.
fn part(id: i64, lo: Option<Key>, hi: Option<Key>, kept: &[&str]) -> PageCommit {
    let new = RangeRow::new(id, NewRange { prefix: Key::default(), lo, hi });
    page(&new, new.clone(), vec![], kept)
}

async fn split(checkpoint: &Checkpoint, victim: i64, page: PageCommit) -> Result<(), CheckpointError> {
    checkpoint.reserve().await?.commit_split(Split { victim, page }).committed().await
}

#[tokio::test]
async fn a_split_shortens_one_range_and_adds_another_with_its_first_page() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let (checkpoint, old) = listed_to_m(&path).await;
    split(&checkpoint, old.id, part(7, key("s"), None, &["t"])).await.unwrap();
    split(&checkpoint, 7, part(9, key("x"), key("z"), &["y"])).await.unwrap();
    // A page that was decided before a split takes its turn behind it.
    let hi = checkpoint.ranges().await.unwrap().remove(0).hi;
    let next = page(&old, RangeRow { hi, done: true, cursor: None, ..old.clone() }, vec![], &["n"]);
    checkpoint.commit_page(next).await.unwrap();
    let bounds = |rows: &[RangeRow]| -> Vec<_> {
        rows.iter().map(|row| (row.id, row.lo.clone(), row.hi.clone(), row.listed, row.done)).collect()
    };
    let wanted = vec![
        (old.id, None, key("s"), 3, true),
        (7, key("s"), key("x"), 1, false),
        (9, key("x"), key("z"), 1, false),
    ];
    assert_eq!(bounds(&checkpoint.ranges().await.unwrap()), wanted);
    drop(checkpoint);
    let crashed = folder.path().join("crashed.sqlite");
    copy_as_after_a_crash(&path, &crashed, None);
    let checkpoint = Checkpoint::open(&crashed, None).unwrap();
    let rows = checkpoint.ranges().await.unwrap();
    assert_eq!(bounds(&rows), wanted);
    let totals = checkpoint.totals().await.unwrap();
    totals.check().unwrap();
    assert_eq!(totals.listed().versions, 5);
    // Ranges that are added later have ids of their own.
    assert_eq!(checkpoint.add_ranges(vec![whole_bucket()]).await.unwrap()[0].id, 10);
}

#[tokio::test]
async fn commands_take_their_turn_when_they_are_put_into_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, old) = listed_to_m(&folder.path().join("run.sqlite")).await;
    let (early, late) = (checkpoint.reserve().await.unwrap(), checkpoint.reserve().await.unwrap());
    let first = late.commit_split(Split { victim: old.id, page: part(2, key("s"), None, &["t"]) });
    let second = early.commit_split(Split { victim: 2, page: part(3, key("x"), None, &["y"]) });
    first.committed().await.unwrap();
    second.committed().await.unwrap();
    assert_eq!(checkpoint.ranges().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_split_that_would_lose_or_repeat_keys_is_refused_and_ends_the_run() {
    let cases: Vec<(&str, i64, PageCommit)> = vec![
        ("behind the cursor", 1, part(2, key("l"), None, &["n"])),
        ("an end beyond the victim's", 2, part(3, key("t"), None, &["u"])),
        ("outside the victim", 2, part(3, key("z"), key("zz"), &["zy"])),
        ("at the victim's beginning", 2, part(3, key("s"), key("x"), &["t"])),
        ("without a beginning", 1, part(3, None, None, &["n"])),
        ("a range that is there", 1, part(2, key("o"), None, &["p"])),
        ("no such victim", 5, part(3, key("t"), key("x"), &["u"])),
    ];
    for (what, victim, page) in cases {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.sqlite");
        let (checkpoint, old) = listed_to_m(&path).await;
        if what != "behind the cursor" {
            split(&checkpoint, old.id, part(2, key("s"), key("x"), &["t"])).await.unwrap();
        }
        let rows = checkpoint.ranges().await.unwrap();
        let refused = split(&checkpoint, victim, page).await;
        assert!(matches!(refused, Err(CheckpointError::Bug { .. })), "{what}: {refused:?}");
        assert!(checkpoint.totals().await.is_err(), "{what}: nothing is taken any more");
        drop(checkpoint);
        let reopened = Checkpoint::open(&path, None).unwrap();
        assert_eq!(reopened.ranges().await.unwrap(), rows, "{what}");
    }
}

#[tokio::test]
async fn a_split_whose_page_does_not_add_up_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let (checkpoint, old) = listed_to_m(&path).await;
    let mut page = part(2, key("s"), None, &["t"]);
    page.range.listed += 1;
    assert!(split(&checkpoint, old.id, page).await.is_err());
    drop(checkpoint);
    let checkpoint = Checkpoint::open(&path, None).unwrap();
    assert_eq!(checkpoint.ranges().await.unwrap(), [old]);
}
