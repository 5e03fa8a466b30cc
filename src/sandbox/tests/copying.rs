//! CopyObject over HTTP.

use super::*;

const FIVE_GIB: u64 = 5 * 1024 * 1024 * 1024;

/// A sandbox with `b` filled from items, and the enabled bucket `to`.
async fn with_items(items: Vec<SeedItem>, config: Config) -> Sandbox {
    let seed = Seed { bucket: "b".into(), object_lock: true, items, ..Seed::default() };
    let sandbox = sandbox(Config { seeds: vec![seed], ..config }).await;
    sandbox.store().create_bucket("to", Timestamp::default(), VersioningStatus::Enabled);
    sandbox
}

fn item(key: &str, size_bytes: u64) -> SeedItem {
    SeedItem { key: key.into(), size_bytes, ..SeedItem::default() }
}

/// Tags, headers, a redirect, an access control list and a lock: all that a copy can lose.
fn rich() -> SeedItem {
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    SeedItem {
        headers: pairs(&[("content-type", "text/x"), ("x-amz-meta-colour", "blue")]),
        tags: pairs(&[("team", "a b"), ("cost", "1")]),
        redirect: Some("/elsewhere".into()),
        acl: Some("public-read".into()),
        storage_class: Some("STANDARD_IA".into()),
        legal_hold: true,
        ..item("k", 100)
    }
}

fn ids(sandbox: &Sandbox, bucket: &str) -> Vec<VersionId> {
    sandbox.store().versions(bucket).unwrap().into_iter().map(|version| version.id).collect()
}

async fn copy(sandbox: &Sandbox, source: &str, more: &[(&str, &str)]) -> Answer {
    let mut headers = vec![("x-amz-copy-source", source)];
    headers.extend(more);
    send(sandbox, "PUT /to/k", &headers, "").await.unwrap()
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.texts("Code").first().copied().unwrap_or(""))
}

#[tokio::test]
async fn a_copy_carries_what_aws_carries_and_loses_what_aws_loses() {
    let sandbox = with_items(vec![rich()], Config::default()).await;
    let source = ids(&sandbox, "b").remove(0);
    let before = sandbox.store().details("b", "k", &source).unwrap();
    let answer = copy(&sandbox, &format!("b/k?versionId={source}"), &[]).await;
    assert_eq!((answer.status, answer.header("x-amz-copy-source-version-id")), (200, Some(source.as_str())));
    let made = sandbox.store().versions("to").unwrap().remove(0);
    assert_eq!(answer.header("x-amz-version-id"), Some(made.id.as_str()));
    assert_eq!(answer.texts("ETag")[0].replace("&quot;", "\""), **made.etag.as_ref().unwrap());
    assert_eq!(made.etag, sandbox.store().versions("b").unwrap()[0].etag);
    assert_eq!(made.storage_class.as_deref(), Some("STANDARD"));
    let after = sandbox.store().details("to", "k", &made.id).unwrap();
    assert_eq!((&after.data, &after.headers, &after.tags), (&before.data, &before.headers, &before.tags));
    assert_eq!((after.redirect, after.grants.len(), after.lock), (None, 0, Lock::default()));
    let record = sandbox.oplog().pop().unwrap();
    assert_eq!((record.operation, record.effect), (Operation::CopyObject, Effect::Created));
    assert_eq!((record.bucket.as_str(), record.version_id.as_deref()), ("to", Some(made.id.as_str())));
}

#[tokio::test]
async fn what_the_headers_ask_for_takes_the_place_of_what_is_carried() {
    let sandbox = with_items(vec![rich()], Config::default()).await;
    sandbox.store().set_guards("to", true, false).unwrap();
    let asked = [
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-meta-shape", "round"),
        ("x-amz-tagging-directive", "REPLACE"),
        ("x-amz-tagging", "x=y"),
        ("x-amz-storage-class", "GLACIER_IR"),
        ("x-amz-acl", "authenticated-read"),
        ("x-amz-website-redirect-location", "/there"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-retain-until-date", "2999-01-01T00:00:00Z"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "key-1"),
        ("x-amz-checksum-algorithm", "SHA256"),
    ];
    let answer = copy(&sandbox, "b/k", &asked).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("x-amz-server-side-encryption-aws-kms-key-id"), Some("key-1"));
    let made = sandbox.store().versions("to").unwrap().remove(0);
    assert_ne!(made.etag, sandbox.store().versions("b").unwrap()[0].etag, "under KMS it is no MD5");
    assert_eq!(made.storage_class.as_deref(), Some("GLACIER_IR"));
    let details = sandbox.store().details("to", "k", &made.id).unwrap();
    assert_eq!(details.headers, [("x-amz-meta-shape".to_owned(), "round".to_owned())].into());
    assert_eq!(details.tags, [("x".to_owned(), "y".to_owned())].into());
    assert_eq!(details.encryption.as_deref(), Some("aws:kms key-1"));
    assert_eq!(
        details.checksum.map(|(_, value)| value),
        answer.texts("ChecksumSHA256").pop().map(str::to_owned)
    );
    let head = send(&sandbox, "HEAD /to/k", &[], "").await.unwrap();
    for (name, value) in [
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-retain-until-date", "2999-01-01T00:00:00.000Z"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-website-redirect-location", "/there"),
        ("x-amz-tagging-count", "1"),
        ("x-amz-server-side-encryption", "aws:kms"),
    ] {
        assert_eq!(head.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_source_that_is_not_there_or_is_a_marker_has_the_code_of_aws() {
    let sandbox = with_items(vec![item("k", 5), item("hidden", 5)], Config::default()).await;
    let id = ids(&sandbox, "b").pop().unwrap();
    let marker = sandbox.store().insert_marker("b", "hidden", Timestamp::default()).unwrap();
    for (source, expected) in [
        ("none/k".into(), (404, "NoSuchBucket")),
        ("b/none".into(), (404, "NoSuchKey")),
        ("b/hidden".into(), (404, "NoSuchKey")),
        (format!("b/hidden?versionId={marker}"), (400, "InvalidRequest")),
        (format!("b/hidden?versionId={id}"), (404, "NoSuchVersion")),
        ("b/k?versionId=made-up".into(), (400, "InvalidArgument")),
        ("b/k?versionId=".into(), (400, "InvalidArgument")),
        ("k".into(), (400, "InvalidArgument")),
    ] {
        let source: String = source;
        assert_eq!(code(&copy(&sandbox, &source, &[]).await), expected, "{source}");
    }
    assert_eq!(sandbox.store().count("to"), Ok(0));
}

#[tokio::test]
async fn conditions_guard_the_source_and_the_destination() {
    let sandbox = with_items(vec![item("k", 5)], Config::default()).await;
    let etag = sandbox.store().versions("b").unwrap()[0].etag.clone().unwrap();
    let failed = (412, "PreconditionFailed");
    for (name, value, expected) in [
        ("if-match", "\"x\"", (404, "NoSuchKey")),
        ("x-amz-copy-source-if-match", "\"x\"", failed),
        ("x-amz-copy-source-if-none-match", &*etag, failed),
        ("x-amz-copy-source-if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT", failed),
        ("x-amz-copy-source-if-modified-since", "Sat, 06 Nov 2094 08:49:37 GMT", failed),
        ("x-amz-copy-source-if-match", &*etag, (200, "")),
        ("if-none-match", "*", failed),
        ("if-match", "\"x\"", failed),
        ("if-none-match", &*etag, (501, "NotImplemented")),
        ("if-match", &*etag, (200, "")),
    ] {
        let answer = copy(&sandbox, "b/k", &[(name, value)]).await;
        assert_eq!(code(&answer), expected, "{name}: {value}");
        if answer.status == 412 {
            assert!(answer.texts("Condition")[0].eq_ignore_ascii_case(name), "{name}");
        }
    }
    sandbox.store().insert_marker("to", "k", Timestamp::default()).unwrap();
    assert_eq!(code(&copy(&sandbox, "b/k", &[("if-match", &etag)]).await), (404, "NoSuchKey"));
    assert_eq!(code(&copy(&sandbox, "b/k", &[("if-none-match", "*")]).await), (200, ""));
    assert_eq!(sandbox.store().count("to"), Ok(4));
}

#[tokio::test]
async fn personalities_differ_about_copies() {
    let sandbox = with_items(vec![item("k", 5)], Config::default()).await;
    sandbox.set_personality(Personality { refuses_copy_conditions: true, ..Personality::default() });
    assert_eq!(code(&copy(&sandbox, "b/k", &[("if-none-match", "*")]).await), (501, "NotImplemented"));
    sandbox.set_personality(Personality {
        ignores_copy_conditions: true,
        copies_tell_no_version_id: true,
        markers_do_not_pile_up: true,
        ..Personality::default()
    });
    for _ in 0..2 {
        let all = [("if-none-match", "*"), ("x-amz-copy-source-if-match", "\"x\"")];
        let answer = copy(&sandbox, "b/k", &all).await;
        assert_eq!((answer.status, answer.header("x-amz-version-id")), (200, None));
    }
    assert_eq!(sandbox.store().count("to"), Ok(2));
    let first = send(&sandbox, "DELETE /to/k", &[], "").await.unwrap();
    let second = send(&sandbox, "DELETE /to/k", &[], "").await.unwrap();
    assert_eq!(first.header("x-amz-version-id"), second.header("x-amz-version-id"));
    assert_eq!(sandbox.store().count("to"), Ok(3));
    sandbox.set_personality(Personality::default());
    let third = send(&sandbox, "DELETE /to/k", &[], "").await.unwrap();
    assert_ne!(third.header("x-amz-version-id"), second.header("x-amz-version-id"));
    assert_eq!(sandbox.store().count("to"), Ok(4));
}

#[tokio::test]
async fn five_gigabytes_are_copied_at_once_and_not_a_byte_more() {
    let items = vec![item("fits", FIVE_GIB), item("large", FIVE_GIB + 1)];
    let sandbox = with_items(items, Config::default()).await;
    assert_eq!(copy(&sandbox, "b/fits", &[]).await.status, 200);
    assert_eq!(code(&copy(&sandbox, "b/large", &[]).await), (400, "InvalidRequest"));
    assert_eq!(sandbox.store().versions("to").unwrap()[0].size, FIVE_GIB);
}

#[tokio::test]
async fn a_copy_onto_itself_has_to_change_something() {
    let sandbox = with_items(vec![item("k", 5), item("k", 6)], Config::default()).await;
    let all = ids(&sandbox, "b");
    let onto_itself = async |source: &str, more: &[(&str, &str)]| {
        let mut headers = vec![("x-amz-copy-source", source)];
        headers.extend(more);
        send(&sandbox, "PUT /b/k", &headers, "").await.unwrap()
    };
    assert_eq!(code(&onto_itself("b/k", &[]).await), (400, "InvalidRequest"));
    assert_eq!(code(&onto_itself(&format!("b/k?versionId={}", all[0]), &[]).await), (400, "InvalidRequest"));
    assert_eq!(onto_itself("b/k", &[("x-amz-storage-class", "STANDARD_IA")]).await.status, 200);
    assert_eq!(onto_itself(&format!("b/k?versionId={}", all[1]), &[]).await.status, 200);
    assert_eq!(sandbox.store().versions("b").unwrap()[0].size, 5, "an older version is current again");
}

#[tokio::test]
async fn a_multipart_source_copied_at_once_gets_another_etag() {
    let mib = 1024 * 1024;
    let items = vec![SeedItem { part_bytes: 8 * mib, ..item("k", 20 * mib) }];
    let sandbox = with_items(items, Config::default()).await;
    let source = sandbox.store().versions("b").unwrap().remove(0);
    assert!(source.etag.as_ref().unwrap().ends_with("-3\""), "{source:?}");
    copy(&sandbox, "b/k", &[]).await;
    let made = sandbox.store().versions("to").unwrap().remove(0);
    assert!(!made.etag.as_ref().unwrap().contains('-'), "{made:?}");
    let head = send(&sandbox, "HEAD /b/k?partNumber=3", &[], "").await.unwrap();
    assert_eq!(
        (head.status, head.header("x-amz-mp-parts-count"), head.header("content-length")),
        (206, Some("3"), Some("4194304"))
    );
    assert_eq!(head.header("content-range"), Some("bytes 16777216-20971519/20971520"));
    assert_eq!(get(&sandbox, "/b/k?partNumber=4").await.texts("Code"), ["InvalidPartNumber"]);
}

#[tokio::test]
async fn an_archived_version_is_read_after_its_restore_only() {
    let archived = |class: &str| SeedItem { storage_class: Some(class.into()), ..item("k", 5) };
    let config = Config { restore_secs: 3600, ..Config::default() };
    let sandbox = with_items(vec![archived("DEEP_ARCHIVE")], config).await;
    let body = "<RestoreRequest><Days>2</Days><GlacierJobParameters><Tier>Bulk</Tier></GlacierJobParameters>\
                </RestoreRequest>";
    let restore = async || send(&sandbox, "POST /b/k?restore", &[], body).await.unwrap();
    let listed = async || {
        let wanted = [("x-amz-optional-object-attributes", "RestoreStatus")];
        send(&sandbox, "GET /b?versions", &wanted, "").await.unwrap()
    };
    let head = async || send(&sandbox, "HEAD /b/k", &[], "").await.unwrap();
    assert_eq!(code(&copy(&sandbox, "b/k", &[]).await), (403, "InvalidObjectState"));
    assert_eq!(get(&sandbox, "/b/k").await.texts("StorageClass"), ["DEEP_ARCHIVE"]);
    assert_eq!(head().await.header("x-amz-restore"), None);
    assert_eq!(restore().await.status, 202);
    assert_eq!(code(&restore().await), (409, "RestoreAlreadyInProgress"));
    assert_eq!(head().await.header("x-amz-restore"), Some("ongoing-request=\"true\""));
    assert_eq!(listed().await.texts("IsRestoreInProgress"), ["true"]);
    assert_eq!(copy(&sandbox, "b/k", &[]).await.status, 403);
    sandbox.set_clock_offset(2 * 3_600_000);
    assert!(
        head().await.header("x-amz-restore").unwrap().starts_with("ongoing-request=\"false\", expiry-date=")
    );
    assert_eq!(listed().await.texts("RestoreExpiryDate").len(), 1);
    assert_eq!(get(&sandbox, "/b?versions").await.texts("RestoreStatus").len(), 0);
    assert_eq!(copy(&sandbox, "b/k", &[]).await.status, 200);
    assert_eq!(restore().await.status, 200, "it is there for longer");
    sandbox.set_clock_offset(5 * 86_400_000);
    assert_eq!(copy(&sandbox, "b/k", &[]).await.status, 403, "and is archived again");
}

#[tokio::test]
async fn late_errors_are_told_in_a_success_with_an_effect_or_without() {
    let script = |nth, when| ScriptedRequest {
        operation: Operation::CopyObject,
        nth,
        kind: FaultKind::LateError { code: "InternalError".into(), when },
    };
    let scripted_requests = vec![script(1, When::BeforeApplying), script(2, When::AfterApplying)];
    let faults = Faults { scripted_requests, ..Faults::default() };
    let sandbox = with_items(vec![item("k", 5)], faulty(faults)).await;
    for count in [0, 1] {
        let answer = copy(&sandbox, "b/k", &[]).await;
        assert_eq!(code(&answer), (200, "InternalError"));
        let declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
        let rest = answer.body.strip_prefix(declaration).unwrap();
        assert!(rest.starts_with(char::is_whitespace) && rest.trim_start().starts_with("<Error>"), "{rest}");
        assert_eq!(sandbox.store().count("to"), Ok(count));
    }
    let late = LateErrors { operation: None, share: 1.0, code: "SlowDown".into(), when: When::AfterApplying };
    sandbox.set_faults(Faults { late_errors: vec![late], ..Faults::default() });
    assert_eq!(code(&copy(&sandbox, "b/k", &[]).await), (200, "SlowDown"));
    assert_eq!(send(&sandbox, "DELETE /to/k", &[], "").await.unwrap().status, 204, "only where it can be");
    let late = LateErrors {
        operation: Some(Operation::DeleteObject),
        share: 1.0,
        code: "InternalError".into(),
        when: When::AfterApplying,
    };
    sandbox.set_faults(Faults { late_errors: vec![late], ..Faults::default() });
    assert_eq!(code(&send(&sandbox, "DELETE /to/k", &[], "").await.unwrap()), (500, "InternalError"));
    assert_eq!(sandbox.store().count("to"), Ok(4), "two copies and two markers");
}
