use super::*;
use crate::model::{History, IfExists, KeyTemplate, RetentionMode, Route, SecretPlace, Verify};

pub(in crate::report) fn settings() -> CopySettings {
    CopySettings {
        key: KeyTemplate::identity(),
        history: History::Selected,
        if_exists: IfExists::Fail,
        storage_class: None,
        metadata: MetadataSource::Copy,
        tags: TagSource::Copy,
        acl: AclSource::Default,
        encryption: Encryption::Default,
        source_key: None,
        lock: LockSource::Default,
        checksum: None,
        verify: Verify::Fingerprint,
        route: Route::Auto,
        multipart_above_bytes: 5 << 30,
        part_bytes: None,
        restore: None,
        require: Vec::new(),
    }
}

const WAYS: [Way; 3] = [Way::OneCall, Way::Parts, Way::Stream];

fn how(settings: &CopySettings, way: Way, what: &str) -> How {
    let lines = fidelity_by(settings, way);
    lines.iter().find(|line| line.what == what).unwrap_or_else(|| panic!("no line {what}")).how
}

#[track_caller]
fn check(settings: &CopySettings, what: &str, wanted: [How; 3]) {
    assert_eq!(WAYS.map(|way| how(settings, way, what)), wanted, "{what}");
}

#[test]
fn what_settings_decide() {
    use How::{Anew, Kept, Lost};
    let default = settings();
    for what in
        ["body", "size", "order of versions", "delete markers", "user metadata", "tags", "storage class"]
    {
        check(&default, what, [Kept; 3]);
    }
    for what in ["access control list", "retention", "legal hold", "version id", "replication status"] {
        check(&default, what, [Lost; 3]);
    }
    for what in ["encryption", "time of creation", "owner"] {
        check(&default, what, [Anew; 3]);
    }
    check(&default, "website redirect", [Lost, Kept, Kept]);
    check(&default, "checksum", [Kept, Lost, Kept]);
    check(&default, "ETag of one part", [Kept, Anew, Kept]);
    check(&default, "ETag of several parts", [Anew, Kept, Kept]);

    let locks = CopySettings { lock: LockSource::Copy, acl: AclSource::Copy, ..settings() };
    for what in ["retention", "legal hold", "access control list", "website redirect"] {
        check(&locks, what, [Kept; 3]);
    }
    let set = LockSource::Set { retention: None, legal_hold: true };
    check(&CopySettings { lock: set.clone(), ..settings() }, "retention", [Lost; 3]);
    check(&CopySettings { lock: set, ..settings() }, "legal hold", [Anew; 3]);
    let day = std::time::Duration::from_secs(86_400);
    let set = LockSource::Set { retention: Some((RetentionMode::Governance, day)), legal_hold: false };
    check(&CopySettings { lock: set, ..settings() }, "retention", [Anew; 3]);

    let required = CopySettings { require: vec![Requirement::Etag, Requirement::Redirect], ..settings() };
    for what in ["ETag of one part", "ETag of several parts", "website redirect"] {
        check(&required, what, [Kept; 3]);
    }
    let key = SecretPlace::Environment("K".into());
    let keyed = CopySettings { encryption: Encryption::Customer(key), ..settings() };
    check(&keyed, "ETag of one part", [Anew; 3]);
    let replaced = CopySettings {
        metadata: MetadataSource::Replace([].into()),
        tags: TagSource::Replace([].into()),
        storage_class: Some("GLACIER".into()),
        checksum: Some(crate::model::ChecksumKind::Crc32),
        ..settings()
    };
    check(&replaced, "content headers", [Anew; 3]);
    check(&replaced, "tags", [Lost; 3]);
    check(&replaced, "storage class", [Anew; 3]);
    check(&replaced, "checksum", [Anew; 3]);
}

#[test]
fn where_size_decides_both_are_told() {
    let lines = fidelity(&settings(), false);
    let redirect: Vec<_> = lines.iter().filter(|line| line.what == "website redirect").collect();
    assert_eq!(redirect.len(), 2);
    assert_eq!((redirect[0].how, redirect[1].how), (How::Lost, How::Kept));
    assert_eq!(redirect[1].note, "above 5.00 GiB");
    assert_eq!(fidelity(&settings(), true), fidelity_by(&settings(), Way::Stream));
    let text = fidelity_text(&lines);
    assert!(text[0].starts_with("kept: body, size, order of versions, "), "{text:?}");
    assert!(text[0].contains("website redirect (above 5.00 GiB)"), "{text:?}");
    assert!(text.contains(&"lost: access control list (say acl: copy to keep it)".to_owned()), "{text:?}");
    let json = serde_json::to_value(&lines[0]).unwrap();
    assert_eq!(json, serde_json::json!({ "what": "body", "how": "kept", "note": "" }));
}
