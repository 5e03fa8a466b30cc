use super::*;
use crate::report::fidelity::tests::settings;

const MIB: u64 = 1 << 20;

fn rule(moves: bool, streams: bool, settings: CopySettings) -> TransferRule {
    TransferRule {
        rule: "archive".into(),
        moves,
        streams,
        carries_markers: true,
        looks_apart: true,
        settings,
    }
}

#[test]
fn the_server_copies_small_versions_in_a_request_each() {
    let f = rule(true, false, settings()).figures(1500, 200, 700 * MIB);
    let requests =
        (f.write_requests, f.part_requests_max, f.read_requests, f.list_requests, f.delete_requests);
    assert_eq!(requests, (1500, 0, 0, 400, 2));
    assert_eq!((f.requests(), f.bytes_through), (1902, 0));
    assert!((f.cost_usd - 0.0095).abs() < 1e-9, "{f:?}");
    assert!((f.cost_usd_max - f.cost_usd).abs() < 1e-12);
    let text = transfer_text(&f);
    let head = "  archive moves 1,500 versions of 200 keys, 700.00 MiB, by the server\n    \
                requests  at least 1,500 to write, 400 to list, 2 to delete\n    cost      at least 0.0095 USD\n    kept: ";
    assert!(text.starts_with(head), "{text}");
}

#[test]
fn parts_are_bounded_by_the_bytes() {
    // No distribution of these bytes over versions above 1 GiB takes more.
    let large = CopySettings { multipart_above_bytes: 1 << 30, ..settings() };
    let f = rule(false, false, large).figures(3, 3, 10 << 30);
    assert_eq!(f.part_requests_max, 20 + 3 * 10);
    assert_eq!(f.delete_requests, 0);
    assert!((f.cost_usd_max - f.cost_usd - 0.00025).abs() < 1e-9, "{f:?}");
    assert!(transfer_text(&f).contains("; up to 50 for parts\n"), "{}", transfer_text(&f));
    let asked = CopySettings { multipart_above_bytes: 1 << 30, part_bytes: Some(64 * MIB), ..settings() };
    assert_eq!(rule(false, false, asked).figures(3, 3, 10 << 30).part_requests_max, 160 + 30);
}

#[test]
fn what_passes_through_the_program_is_read_and_written() {
    let f = rule(false, true, settings()).figures(10, 5, 100 * MIB);
    // Tags and content.
    assert_eq!((f.read_requests, f.write_requests, f.list_requests), (20, 10, 10));
    assert_eq!(f.bytes_through, 100 * MIB);
    assert_eq!(f.part_requests_max, 6 + 18);
    let text = transfer_text(&f);
    assert!(text.contains("archive copies 10 versions") && text.contains("through this program\n"), "{text}");
    let no_tags = CopySettings { tags: TagSource::Replace([].into()), acl: AclSource::Copy, ..settings() };
    let f = rule(false, true, no_tags).figures(10, 5, 100);
    assert_eq!(
        (f.read_requests, f.write_requests),
        (20, 20),
        "a list is read and written, tags are not read"
    );
}

#[test]
fn keys_that_lie_together_are_looked_at_together() {
    let lists = |looks_apart, versions, keys| {
        let rule = TransferRule { looks_apart, ..rule(false, true, settings()) };
        rule.figures(versions, keys, MIB).list_requests
    };
    assert_eq!(lists(true, 1000, 600), 1200);
    assert_eq!(lists(false, 1000, 600), 8);
    assert_eq!(lists(false, 50_000, 1), 2);
}

#[test]
fn what_is_asked_for_beside_the_copy_is_counted() {
    let of = |settings| rule(false, false, settings).figures(10, 5, 20 * MIB);
    assert_eq!(of(CopySettings { lock: LockSource::Copy, ..settings() }).read_requests, 10);
    assert_eq!(of(CopySettings { require: vec![Requirement::Redirect], ..settings() }).read_requests, 10);
    let kms = Encryption::Kms { two_layers: false, key_id: None, context: [].into(), bucket_key: None };
    assert_eq!(of(CopySettings { encryption: kms, ..settings() }).read_requests, 20);
    let bytes = of(CopySettings { verify: Verify::Bytes, ..settings() });
    assert_eq!((bytes.read_requests, bytes.bytes_through), (20, 40 * MIB));
    let by_version = crate::model::KeyTemplate(vec![crate::model::KeyPart::VersionId]);
    assert_eq!(of(CopySettings { key: by_version, ..settings() }).list_requests, 20);
}
