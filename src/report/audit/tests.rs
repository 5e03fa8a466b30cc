use super::*;
use crate::model::{Copied, Failure, KeepReason, Kind, RuleId, SkipReason, Timestamp, VersionId};

fn record(key: impl Into<Key>, fate: Fate) -> Record {
    Record {
        key: key.into(),
        version_id: VersionId::new("v\"1").unwrap(),
        kind: Kind::Version,
        size: 5,
        last_modified: Timestamp::from_millis(0),
        fate,
        at: Timestamp::from_millis(1_795_212_267_000),
        copied: None,
    }
}

fn settled(outcome: Outcome) -> Fate {
    Fate::Settled { rule: RuleId(1), outcome, request_id: Some("R1".into()), attempt: 2 }
}

fn names() -> Vec<String> {
    vec!["legal".into(), "old".into()]
}

fn lines(path: &Path, valid_bytes: Option<u64>) -> Vec<AuditLine<'static>> {
    read(path, valid_bytes).unwrap().collect::<io::Result<_>>().unwrap()
}

fn failure() -> Outcome {
    Outcome::Failed(Failure { code: "AccessDenied".into(), message: "Access Denied".into() })
}

#[test]
fn lines_say_what_became_of_each_version_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl.zst");
    let mut audit = AuditFile::open(&path, AuditLevel::Full, names()).unwrap();
    audit.rewind(0).unwrap();
    for record in [
        record("a\nb", settled(Outcome::Done)),
        record(vec![0xff, b'x'], settled(failure())),
        record("c", settled(Outcome::Skipped(SkipReason::ElderRemains))),
        record("d", Fate::Kept(KeepReason::Promotion(RuleId(0)))),
        record("e\u{1}\\\"ü", Fate::Kept(KeepReason::NoRule)),
    ] {
        audit.append(vec![record]).unwrap();
    }
    let length = audit.seal().unwrap();
    assert_eq!(length, std::fs::metadata(&path).unwrap().len());
    let plain = zstd::stream::decode_all(File::open(&path).unwrap()).unwrap();
    let head = r#""version_id":"v\"1","kind":"version","size":5,"last_modified":"1970-01-01T00:00:00.000Z""#;
    let tail = r#""at":"2026-11-20T22:04:27.000Z"}"#;
    let sent = r#""request_id":"R1","attempt":2"#;
    let expected = [
        format!(r#"{{"key":"a\nb",{head},"rule":"old","outcome":"done",{sent},{tail}"#),
        format!(
            r#"{{"key_base64":"/3g=",{head},"rule":"old","outcome":"failed","code":"AccessDenied","message":"Access Denied",{sent},{tail}"#
        ),
        format!(
            r#"{{"key":"c",{head},"rule":"old","outcome":"skipped","reason":"elder-remains",{sent},{tail}"#
        ),
        format!(r#"{{"key":"d",{head},"rule":"legal","outcome":"kept","reason":"promotion",{tail}"#),
        format!(r#"{{"key":"e\u0001\\\"ü",{head},"outcome":"kept","reason":"no-rule",{tail}"#),
    ];
    assert_eq!(String::from_utf8(plain).unwrap().lines().collect::<Vec<_>>(), expected);
    let keys: Vec<_> = lines(&path, None).iter().map(|line| line.key_bytes().unwrap()).collect();
    assert_eq!(keys[0], Key::from("a\nb"));
    assert_eq!(keys[1], Key::new(*b"\xffx"));
}

#[test]
fn a_line_says_where_the_copy_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let mut audit = AuditFile::open(&path, AuditLevel::Full, names()).unwrap();
    audit.rewind(0).unwrap();
    let copied = |key: Key, etag: &str| {
        let version_id = VersionId::new("w\\2").unwrap();
        Some(Box::new(Copied { key, version_id, etag: etag.into() }))
    };
    let moved = Record { copied: copied("new/a".into(), "\"e\""), ..record("a", settled(Outcome::Done)) };
    let odd = vec![0xff, b'x'];
    let marker = Record { copied: copied(odd.clone().into(), ""), ..record(odd, settled(Outcome::Gone)) };
    audit.append(vec![moved, marker]).unwrap();
    audit.seal().unwrap();
    let plain = zstd::stream::decode_all(File::open(&path).unwrap()).unwrap();
    let text = String::from_utf8(plain).unwrap();
    let tails: Vec<&str> =
        text.lines().filter_map(|line| line.split_once("attempt\":2,")).map(|at| at.1).collect();
    let at = r#""at":"2026-11-20T22:04:27.000Z"}"#;
    assert_eq!(
        tails,
        [
            format!(r#""copied_to":{{"key":"new/a","version_id":"w\\2","etag":"\"e\""}},{at}"#),
            format!(r#""copied_to":{{"key_base64":"/3g=","version_id":"w\\2"}},{at}"#),
        ]
    );
    let found: Vec<_> = lines(&path, None).into_iter().filter_map(|line| line.copied_to).collect();
    assert_eq!(
        found.iter().map(|to| to.key_bytes().unwrap()).collect::<Vec<_>>(),
        [Key::from("new/a"), Key::new(*b"\xffx"),]
    );
    assert_eq!((&*found[0].version_id, found[0].etag.as_deref()), ("w\\2", Some("\"e\"")));
    assert_eq!(found[1].etag, None);
}

#[test]
fn each_level_leaves_out_what_it_says() {
    let fates = [
        Fate::Kept(KeepReason::NoRule),
        settled(Outcome::Done),
        settled(Outcome::Gone),
        settled(failure()),
        settled(Outcome::Skipped(SkipReason::PlanAbandoned)),
    ];
    for (level, wanted) in [
        (AuditLevel::Full, vec!["kept", "done", "gone", "failed", "skipped"]),
        (AuditLevel::Changes, vec!["done", "gone", "failed", "skipped"]),
        (AuditLevel::Failures, vec!["failed", "skipped"]),
        (AuditLevel::None, vec![]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let mut audit = AuditFile::open(&path, level, names()).unwrap();
        audit.rewind(0).unwrap();
        for fate in &fates {
            audit.append(vec![record("k", fate.clone())]).unwrap();
        }
        let length = audit.seal().unwrap();
        let found = lines(&path, None);
        assert_eq!(found.iter().map(|line| &*line.outcome).collect::<Vec<_>>(), wanted);
        assert!(length > 0, "an audit without lines is one empty frame: the tools refuse a file of no bytes");
        assert_eq!(audit.seal().unwrap(), length, "a frame that says nothing must not be added");
    }
}

#[test]
fn rewind_cuts_sealed_and_open_lines_and_goes_on_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let mut audit = AuditFile::open(&path, AuditLevel::Full, names()).unwrap();
    audit.append(vec![record("1", settled(Outcome::Done))]).unwrap();
    let committed = audit.seal().unwrap();
    audit.append(vec![record("2", settled(Outcome::Done))]).unwrap();
    assert!(audit.seal().unwrap() > committed);
    audit.append(vec![record("3", settled(Outcome::Done))]).unwrap();
    assert_eq!(lines(&path, Some(committed)).len(), 1, "readers can be told how much is valid");
    drop(audit);

    let mut audit = AuditFile::open(&path, AuditLevel::Full, names()).unwrap();
    audit.rewind(committed).unwrap();
    assert_eq!(audit.seal().unwrap(), committed, "nothing was appended");
    audit.append(vec![record("4", settled(Outcome::Gone))]).unwrap();
    audit.seal().unwrap();
    let keys: Vec<_> = lines(&path, None).into_iter().filter_map(|line| line.key).collect();
    assert_eq!(keys, ["1", "4"]);
}

#[test]
fn a_file_shorter_than_committed_is_lost_data() {
    let folder = tempfile::tempdir().unwrap();
    let mut audit = AuditFile::open(&folder.path().join("audit"), AuditLevel::Full, names()).unwrap();
    assert_eq!(audit.rewind(1).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_torn_frame_is_an_error_not_a_shorter_audit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let mut audit = AuditFile::open(&path, AuditLevel::Full, names()).unwrap();
    audit.append(vec![record("1", settled(Outcome::Done))]).unwrap();
    let length = audit.seal().unwrap();
    let found: io::Result<Vec<_>> = read(&path, Some(length - 1)).unwrap().collect();
    assert!(found.is_err());
}

#[test]
fn a_commit_with_many_records_writes_bounded_frames() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let mut audit = AuditFile::open(&path, AuditLevel::Full, names()).unwrap();
    let many = 40_000;
    for n in 0..many {
        audit.append(vec![record(format!("key/{n}"), settled(Outcome::Done))]).unwrap();
    }
    audit.seal().unwrap();
    assert_eq!(lines(&path, None).len(), many);
    let (written, mut rest) = (std::fs::read(&path).unwrap(), 0);
    let mut frames = Vec::new();
    while rest < written.len() {
        let content = zstd::zstd_safe::get_frame_content_size(&written[rest..]).unwrap().unwrap();
        frames.push(usize::try_from(content).unwrap());
        rest += zstd::zstd_safe::find_frame_compressed_size(&written[rest..]).unwrap();
    }
    assert!(frames.len() > 2, "{frames:?}");
    assert!(frames.iter().all(|content| *content < super::frames::FRAME_BYTES_MAX + 1024), "{frames:?}");
}
