//! Canned answers of DeleteObjects, good and bad.

use crate::model::{Key, Mfa, RuleId, Timestamp, VersionId};

use super::*;

fn item(key: &str, id: &str, kind: Kind) -> Item {
    Item {
        key: Key::from(key),
        version_id: VersionId::new(id).expect("not empty"),
        kind,
        is_latest: false,
        size: 1,
        last_modified: Timestamp::default(),
        rule: RuleId(0),
        copy: None,
    }
}

fn versions(pairs: &[(&str, &str)]) -> Vec<Item> {
    pairs.iter().map(|(key, id)| item(key, id, Kind::Version)).collect()
}

fn read(items: &[Item], inner: &str) -> Result<Vec<ItemAnswer>, Fault> {
    let body = format!("<?xml version=\"1.0\"?>\n<DeleteResult xmlns=\"u\">{inner}</DeleteResult>");
    read_body(items, &body)
}

fn read_body(items: &[Item], body: &str) -> Result<Vec<ItemAnswer>, Fault> {
    let items: Vec<&Item> = items.iter().collect();
    let mut ledger = Ledger::new(&items);
    ledger.read(body.as_bytes())?;
    Ok(ledger.close())
}

fn deleted(key: &str, id: &str) -> String {
    format!("<Deleted><Key>{key}</Key><VersionId>{id}</VersionId></Deleted>")
}

fn error(key: &str, id: &str, code: &str) -> String {
    format!(
        "<Error><Key>{key}</Key><VersionId>{id}</VersionId><Code>{code}</Code><Message>m</Message></Error>"
    )
}

fn refused(class: Class, code: &str) -> ItemAnswer {
    ItemAnswer::Refused { class, tries_max: of_item(code).tries_max, code: code.into(), message: "m".into() }
}

fn wire_of(result: Result<Vec<ItemAnswer>, Fault>) -> Option<Tripwire> {
    match result {
        Err(Fault::Tripwire(wire, _)) => Some(wire),
        _ => None,
    }
}

#[test]
fn the_body_is_what_s3_expects() {
    let items = [item("a&b<\r\n\t>\"'ü", "v1", Kind::Version), item("  b ", "null", Kind::DeleteMarker)];
    let body = body_of(&items.iter().collect::<Vec<_>>());
    assert_eq!(
        std::str::from_utf8(&body).expect("UTF-8"),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Object><Key>a&amp;b&lt;&#13;&#10;&#9;&gt;&quot;&apos;ü</Key><VersionId>v1</VersionId></Object>\
         <Object><Key>  b </Key><VersionId>null</VersionId></Object><Quiet>false</Quiet></Delete>"
    );
    assert_eq!(body.len(), HEAD.len() + TAIL.len() + items.iter().map(item_len).sum::<usize>());
}

#[test]
fn headers_carry_what_the_job_asks_for() {
    assert_eq!(delete_headers(&DeleteOptions::default()), []);
    let options = DeleteOptions {
        bypass_governance_retention: true,
        mfa: Some(Mfa { serial: "arn:aws:iam::1:mfa/u".into(), token: "123456".into() }),
    };
    assert_eq!(
        delete_headers(&options),
        [
            ("x-amz-bypass-governance-retention", "true".to_owned()),
            ("x-amz-mfa", "arn:aws:iam::1:mfa/u 123456".to_owned())
        ]
    );
    let names: Vec<_> = body_headers(b"", Some(ChecksumAlgorithm::Crc32)).into_iter().collect();
    assert_eq!(
        names,
        [
            ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==".to_owned()),
            ("content-type", "application/xml".to_owned()),
            ("x-amz-checksum-crc32", "AAAAAA==".to_owned()),
            ("x-amz-sdk-checksum-algorithm", "CRC32".to_owned())
        ]
    );
}

fn all(items: &[Item]) -> Vec<Shape> {
    let of: Vec<usize> = (0..items.len()).collect();
    shape(items, &of)
}

#[test]
fn items_are_split_by_count_by_bytes_and_by_what_xml_can_hold() {
    let many: Vec<Item> = (0..2500).map(|n| item(&format!("k{n}"), "v", Kind::Version)).collect();
    let lengths = |items: &[Item]| -> Vec<usize> {
        let length = |shape: Shape| match shape {
            Shape::Many(indices) => indices.len(),
            Shape::Single(_) => 1,
        };
        all(items).into_iter().map(length).collect()
    };
    assert_eq!(lengths(&many), [1000, 1000, 500]);
    assert_eq!(all(&[]), []);

    let long: Vec<Item> = (0..1000).map(|n| item(&format!("{n:0>1024}"), "v", Kind::Version)).collect();
    for shape in all(&long) {
        let Shape::Many(indices) = shape else { panic!("{shape:?}") };
        let items: Vec<&Item> = indices.iter().map(|&index| &long[index]).collect();
        assert!(body_of(&items).len() <= BODY_BYTES_MAX);
        assert!(indices.len() > 100);
    }

    let odd = versions(&[("a", "1"), ("b\u{1}", "2"), ("c", "3"), ("\u{ffff}", "4"), ("e\r", "5")]);
    assert_eq!(all(&odd), [Shape::Many(vec![0, 2, 4]), Shape::Single(1), Shape::Single(3)]);
    assert_eq!(shape(&odd, &[3, 2]), [Shape::Many(vec![2]), Shape::Single(3)]);
}

#[test]
fn each_item_gets_its_answer_whatever_the_order() {
    let items = versions(&[("a", "1"), ("a", "2"), ("b", "1"), ("c &", "1"), ("d\r", "1"), ("e", "1")]);
    let answer = read(
        &items,
        &[
            deleted("d&#13;", "1"),
            error("b", "1", "AccessDenied"),
            deleted("a", "1"),
            deleted("a", "2"),
            error("c &amp;", "1", "NoSuchVersion"),
        ]
        .concat(),
    );
    assert_eq!(
        answer,
        Ok(vec![
            ItemAnswer::Deleted,
            ItemAnswer::Deleted,
            refused(Class::Permanent, "AccessDenied"),
            refused(Class::Done, "NoSuchVersion"),
            ItemAnswer::Deleted,
            ItemAnswer::Unaccounted,
        ])
    );
}

#[test]
fn throttling_inside_a_success_is_seen() {
    let items = versions(&[("a", "1"), ("b", "1"), ("c", "1")]);
    let answer = read(
        &items,
        &[error("a", "1", "SlowDown"), error("b", "1", "InternalError"), error("c", "1", "")].concat(),
    );
    assert_eq!(
        answer,
        Ok(vec![
            refused(Class::Throttled, "SlowDown"),
            refused(Class::Transient, "InternalError"),
            refused(Class::Transient, ""),
        ])
    );
}

#[test]
fn a_contradiction_leaves_the_item_unaccounted() {
    let items = versions(&[("a", "1")]);
    let both = read(&items, &(deleted("a", "1") + &error("a", "1", "InternalError")));
    assert_eq!(both, Ok(vec![ItemAnswer::Unaccounted]));
    let twice = read(&items, &(error("a", "1", "SlowDown") + &error("a", "1", "AccessDenied")));
    assert_eq!(twice, Ok(vec![ItemAnswer::Unaccounted]));
    for consistent in [deleted("a", "1").repeat(2), deleted("a", "1") + &error("a", "1", "NoSuchVersion")] {
        assert_eq!(read(&items, &consistent), Ok(vec![ItemAnswer::Deleted]));
    }
    let same = read(&items, &error("a", "1", "SlowDown").repeat(2));
    assert_eq!(same, Ok(vec![refused(Class::Throttled, "SlowDown")]));
}

#[test]
fn a_quiet_or_empty_answer_proves_nothing() {
    let items = versions(&[("a", "1"), ("b", "1")]);
    assert_eq!(read(&items, ""), Ok(vec![ItemAnswer::Unaccounted; 2]));
    let nobody = "<Error><Code>InternalError</Code><Message>m</Message></Error>";
    assert_eq!(read(&items, nobody), Ok(vec![ItemAnswer::Unaccounted; 2]));
}

#[test]
fn what_was_not_asked_for_is_a_tripwire() {
    let items = versions(&[("a", "1"), ("b", "1")]);
    for foreign in [deleted("c", "1"), deleted("a", "2"), error("c", "1", "AccessDenied"), deleted(" a", "1")]
    {
        assert_eq!(wire_of(read(&items, &foreign)), Some(Tripwire::ForeignKey), "{foreign}");
    }
}

fn marker_result(key: &str, version: &str, marker: &str) -> String {
    format!("<Deleted><Key>{key}</Key>{version}<DeleteMarker>true</DeleteMarker>{marker}</Deleted>")
}

#[test]
fn a_deleted_marker_is_told_from_one_that_appeared() {
    let marker_id = |id: &str| format!("<DeleteMarkerVersionId>{id}</DeleteMarkerVersionId>");
    let version_id = |id: &str| format!("<VersionId>{id}</VersionId>");
    let marker = [item("a", "m", Kind::DeleteMarker)];
    let version = [item("a", "v", Kind::Version)];
    // AWS and Ceph RGW: the marker that was named is the one that is gone. LocalStack leaves out an id.
    for answer in [
        marker_result("a", &version_id("m"), &marker_id("m")),
        marker_result("a", "", &marker_id("m")),
        marker_result("a", &version_id("m"), ""),
    ] {
        assert_eq!(read(&marker, &answer), Ok(vec![ItemAnswer::Deleted]), "{answer}");
    }
    // A server that ignores version ids inserts a marker under a new id.
    for answer in [
        marker_result("a", "", &marker_id("new")),
        marker_result("a", &version_id("v"), &marker_id("new")),
        marker_result("a", &version_id("v"), ""),
        marker_result("a", "", ""),
    ] {
        assert_eq!(wire_of(read(&version, &answer)), Some(Tripwire::VersionIdIgnored), "{answer}");
    }
    let answer = marker_result("a", &version_id("m"), &marker_id("new"));
    assert_eq!(wire_of(read(&marker, &answer)), Some(Tripwire::VersionIdIgnored));
}

#[test]
fn an_answer_without_version_ids_is_taken_only_where_it_is_clear() {
    let answer = "<Deleted><Key>a</Key></Deleted>";
    assert_eq!(read(&versions(&[("a", "1")]), answer), Ok(vec![ItemAnswer::Deleted]));
    let two = versions(&[("a", "1"), ("a", "2")]);
    assert_eq!(read(&two, answer), Ok(vec![ItemAnswer::Unaccounted; 2]));
    let empty = "<Deleted><Key>a</Key><VersionId/></Deleted>";
    assert_eq!(read(&versions(&[("a", "null")]), empty), Ok(vec![ItemAnswer::Deleted]));
}

#[test]
fn an_answer_cut_at_any_byte_is_none() {
    let items = versions(&[("a", "1"), ("ü", "2")]);
    let body = format!(
        "<?xml version=\"1.0\"?><DeleteResult>{}{}</DeleteResult>",
        deleted("a", "1"),
        error("ü", "2", "SlowDown")
    );
    for cut in 0..body.len() {
        if let Some(text) = body.get(..cut) {
            assert!(matches!(read_body(&items, text), Err(Fault::Malformed(_))), "{cut}");
        }
    }
    assert!(read_body(&items, &body).is_ok());
    for other in ["<Deleted/>", "<html/>", "", "x", "<!DOCTYPE a><DeleteResult/>"] {
        assert!(matches!(read_body(&items, other), Err(Fault::Malformed(_))), "{other}");
    }
    let keyless = "<DeleteResult><Deleted><VersionId>1</VersionId></Deleted></DeleteResult>";
    assert!(matches!(read_body(&items, keyless), Err(Fault::Malformed(_))));
}
