//! What heads, ranges, tags and lists ask, and what they make of the answers.

use bytes::Bytes;

use crate::model::{ChecksumKind, RetentionMode};

use super::*;

fn id(text: &str) -> VersionId {
    VersionId::new(text).expect("not empty")
}

fn head_answer(status: &str, headers: &[&str]) -> Step {
    let mut text = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    Step::Write(format!("{text}\r\n").into_bytes())
}

#[tokio::test]
async fn a_head_on_the_wire_and_all_that_it_tells() {
    let headers = [
        "content-length: 5497558138880",
        "ETag: \"ab-3\"",
        "x-amz-version-id: v+1",
        "content-type: text/plain",
        "Cache-Control: no-cache",
        "x-amz-meta-Owner: =?UTF-8?Q?=C3=BC?=",
        "x-amz-meta-raw: grün",
        "x-amz-meta-two: a",
        "x-amz-meta-two: b",
        "x-amz-missing-meta: 2",
        "x-amz-storage-class: GLACIER",
        "x-amz-tagging-count: 4",
        "x-amz-mp-parts-count: 3",
        "x-amz-restore: ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\"",
        "x-amz-object-lock-mode: GOVERNANCE",
        "x-amz-object-lock-retain-until-date: 2030-01-01T00:00:00.000000001Z",
        "x-amz-object-lock-legal-hold: ON",
        "x-amz-checksum-crc32c: abcd==-3",
        "x-amz-server-side-encryption: aws:kms",
        "x-amz-website-redirect-location: /x",
    ];
    let script = Script::new(vec![head_answer("206 Partial Content", &headers)]).await;
    let client = script.client().await;
    let head = client.head_version(&head_of(&Key::from("a+b"), &id("v+1"))).await.expect("told");
    let metadata = [
        ("cache-control", "no-cache"),
        ("content-type", "text/plain"),
        ("x-amz-meta-owner", "=?UTF-8?Q?=C3=BC?="),
        ("x-amz-meta-raw", "grün"),
        ("x-amz-meta-two", "a,b"),
    ];
    let checksum =
        ObjectChecksum { kind: ChecksumKind::Crc32c, value: "abcd==-3".into(), is_full_object: false };
    let wanted = ObjectHead {
        size: 5_497_558_138_880,
        etag: Some("\"ab-3\"".into()),
        version_id: Some(id("v+1")),
        metadata: metadata.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        website_redirect: Some("/x".into()),
        storage_class: Some("GLACIER".into()),
        tag_count: 4,
        parts_count: Some(3),
        restore: Some(RestoreState::Restored),
        // A lock must not end sooner than the server said.
        retention: Some((RetentionMode::Governance, Timestamp::from_millis(1_893_456_000_001))),
        legal_hold: true,
        checksum: Some(checksum),
        encryption_kind: Some("aws:kms".into()),
        missing_meta: 2,
    };
    assert_eq!(head, wanted);
    let [seen] = script.seen().try_into().expect("one request");
    assert_eq!(seen.line, "HEAD /logs/a%2Bb?partNumber=1&versionId=v%2B1");
    assert_eq!(seen.header("x-amz-checksum-mode"), Some("ENABLED"));
}

fn head_of<'a>(key: &'a Key, version_id: &'a VersionId) -> HeadVersion<'a> {
    HeadVersion { key, version_id, part: Some(1), customer_key: None, with_checksum: true }
}

#[tokio::test]
async fn what_a_head_must_not_be_taken_for() {
    let ask = async |steps| {
        let script = Script::new(steps).await;
        let result = script.client().await.head_version(&head_of(&Key::from("k"), &id("v"))).await;
        (result, script.seen())
    };
    let (error, _) = ask(vec![head_answer("200 OK", &["content-length: 1", "x-amz-version-id: w"])]).await;
    let error = error.expect_err("another version");
    assert_eq!((error.tripwire(), error.may_have_applied), (Some(Tripwire::VersionIdIgnored), false));
    for (name, wrong) in [
        ("no length", vec!["x-amz-version-id: v"]),
        ("a lock of unknown mode", vec!["content-length: 1", "x-amz-object-lock-mode: MAYBE"]),
        (
            "a lock without an end",
            vec![
                "content-length: 1",
                "x-amz-object-lock-mode: COMPLIANCE",
                "x-amz-object-lock-retain-until-date: soon",
            ],
        ),
    ] {
        let (error, _) = ask(vec![head_answer("200 OK", &wrong)]).await;
        assert_eq!(&*error.expect_err(name).code, "MalformedAnswer");
    }
    let (error, seen) = ask(vec![head_answer("404 Not Found", &[])]).await;
    let error = error.expect_err("not there");
    assert!(error.is_absent());
    assert_eq!((error.class, seen.len()), (Class::Permanent, 1));
    let (error, _) = ask(vec![head_answer("503 Slow Down", &[])]).await;
    assert_eq!(error.expect_err("throttled").class, Class::Throttled);
    let (error, _) = ask(vec![head_answer("405 Method Not Allowed", &["x-amz-delete-marker: true"])]).await;
    assert_eq!(error.expect_err("a marker").class, Class::Permanent);
}

#[tokio::test]
async fn a_refusal_without_words_may_be_one_of_the_credentials() {
    let explained = async |status, step| {
        let script = Script::new(vec![head_answer(status, &[]), step]).await;
        let (client, key, version_id) = (script.client().await, Key::from("k"), id("v"));
        let wordless = client.head_version(&head_of(&key, &version_id)).await.expect_err("refused");
        assert!(wordless.is_wordless());
        (client.explain_head(&head_of(&key, &version_id), wordless).await, script.seen())
    };
    let (error, seen) = explained("400 Bad Request", s3_error("400 Bad Request", "ExpiredToken")).await;
    assert_eq!((&*error.code, error.class), ("ExpiredToken", Class::Credentials));
    assert_eq!(
        (seen[1].line.as_str(), seen[1].header("range")),
        ("GET /logs/k?versionId=v", Some("bytes=0-0"))
    );
    let part = answer("206 Partial Content", &["content-range: bytes 0-0/9"], "x");
    let (error, _) = explained("403 Forbidden", part).await;
    assert_eq!((&*error.code, error.status, error.class), ("", Some(403), Class::Permanent));
}

async fn get(
    step: Step,
    etag: Option<&str>,
    range: Option<(u64, u64)>,
) -> Result<(ObjectHead, Bytes), S3Error> {
    let script = Script::new(vec![step]).await;
    script.client().await.get_version(&Key::from("k"), &id("v"), etag, range, None).await
}

#[tokio::test]
async fn a_range_on_the_wire_and_its_bytes() {
    let headers =
        ["content-range: bytes 5-9/1000", "ETag: \"e\"", "x-amz-version-id: v", "content-encoding: gzip"];
    let script = Script::new(vec![answer("206 Partial Content", &headers, "<Err>")]).await;
    let client = script.client().await;
    let (head, bytes) = client
        .get_version(&Key::from("k"), &id("v"), Some("\"e\""), Some((5, 10)), None)
        .await
        .expect("read");
    assert_eq!((head.size, bytes), (1000, Bytes::from_static(b"<Err>")));
    assert_eq!(head.metadata["content-encoding"], "gzip");
    let [seen] = script.seen().try_into().expect("one request");
    assert_eq!(seen.line, "GET /logs/k?versionId=v");
    assert_eq!((seen.header("range"), seen.header("if-match")), (Some("bytes=5-9"), Some("\"e\"")));
}

#[tokio::test]
async fn data_that_looks_like_an_error_is_data() {
    let data = "<Error><Code>SlowDown</Code></Error>";
    let (head, bytes) = get(s3_answer("200 OK", data), None, None).await.expect("read");
    assert_eq!((head.size, bytes), (data.len() as u64, Bytes::from(data)));
    let error = get(s3_error("404 Not Found", "NoSuchVersion"), None, Some((0, 5))).await.expect_err("gone");
    assert!(error.is_absent());
    // A refusal may be longer than the range.
    assert_eq!((&*error.code, error.class), ("NoSuchVersion", Class::Permanent));
}

#[tokio::test]
async fn a_range_comes_whole_or_not_at_all() {
    let wanted = Some((5, 10));
    let ranged =
        |range: &str, body: &str| answer("206 Partial Content", &[&format!("content-range: {range}")], body);
    for (name, step, range) in [
        ("the whole object instead", answer("200 OK", &[], "0123456789"), wanted),
        ("another range", ranged("bytes 0-4/10", "01234"), wanted),
        ("a shorter range", ranged("bytes 5-8/9", "5678"), wanted),
        ("fewer bytes than it says", ranged("bytes 5-9/10", "5678"), wanted),
        ("more bytes than it says", ranged("bytes 5-9/10", "567890"), wanted),
        ("a range beyond the end", ranged("bytes 5-9/9", "56789"), wanted),
        ("no range named", answer("206 Partial Content", &[], "56789"), wanted),
        ("an unknown size", ranged("bytes 5-9/*", "56789"), wanted),
        ("a part of the whole", ranged("bytes 0-4/10", "01234"), None),
    ] {
        let error = get(step, None, range).await.expect_err(name);
        let told = (&*error.code, error.class, error.may_have_applied);
        assert_eq!(told, ("MalformedAnswer", Class::Transient, false), "{name}");
    }
    let cut = b"HTTP/1.1 206 Partial Content\r\ncontent-length: 5\r\ncontent-range: bytes 5-9/10\r\n\r\n567"
        .to_vec();
    let error = get(Step::Write(cut), None, wanted).await.expect_err("cut");
    assert_eq!((&*error.code, error.class), ("Transport", Class::Transient));
    let whole =
        get(answer("200 OK", &[], "0123456789"), None, Some((0, 10))).await.expect("the whole object");
    assert_eq!(whole.0.size, 10);
    let other = answer("200 OK", &["ETag: \"f\""], "x");
    let error = get(other, Some("\"e\""), None).await.expect_err("another ETag");
    assert!(error.is_precondition());
    assert!(get(answer("200 OK", &["ETag: e"], "x"), Some("\"e\""), None).await.is_ok());
    let other = answer("200 OK", &["x-amz-version-id: w"], "x");
    let error = get(other, None, None).await.expect_err("another version");
    assert_eq!(error.tripwire(), Some(Tripwire::VersionIdIgnored));
}

#[tokio::test]
async fn tags_and_access_control_lists_are_asked_for_by_version() {
    let acl = "<AccessControlPolicy><Owner><ID>o</ID></Owner><AccessControlList/></AccessControlPolicy>";
    let script = Script::new(vec![
        s3_answer("200 OK", "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"),
        s3_error("404 Not Found", "NoSuchTagSet"),
        s3_error("403 Forbidden", "AccessDenied"),
        s3_answer("200 OK", acl),
    ])
    .await;
    let client = script.client().await;
    let (key, version_id) = (Key::from("k"), id("v+1"));
    assert_eq!(client.tags(&key, &version_id).await.expect("tags")["a"], "b");
    assert!(client.tags(&key, &version_id).await.expect("none").is_empty());
    let error = client.tags(&key, &version_id).await.expect_err("denied");
    assert_eq!(error.class, Class::Permanent);
    assert_eq!(&*client.acl(&key, &version_id).await.expect("a list").text, acl);
    let seen = script.seen();
    assert_eq!(seen[0].line, "GET /logs/k?tagging=&versionId=v%2B1");
    assert_eq!(seen[3].line, "GET /logs/k?acl=&versionId=v%2B1");
}

#[tokio::test]
async fn parts_are_listed_page_by_page() {
    let page = |number: u32, rest: &str| {
        format!(
            "<ListPartsResult><Bucket>b</Bucket>{rest}<Part><PartNumber>{number}</PartNumber>\
             <LastModified>x</LastModified><ETag>&quot;p{number}&quot;</ETag><Size>5</Size></Part></ListPartsResult>"
        )
    };
    let more = "<PartNumberMarker>0</PartNumberMarker><NextPartNumberMarker>7</NextPartNumberMarker>\
        <IsTruncated>true</IsTruncated>";
    let script = Script::new(vec![
        s3_answer("200 OK", &page(7, more)),
        s3_answer("200 OK", &page(9, "<IsTruncated>false</IsTruncated>")),
        s3_error("404 Not Found", "NoSuchUpload"),
    ])
    .await;
    let client = script.client().await;
    let part = |number: u32| Part { number, etag: format!("\"p{number}\"").into(), size: 5, checksum: None };
    for (after, page) in [
        (0, PartsPage { parts: vec![part(7)], next: Some(7) }),
        (7, PartsPage { parts: vec![part(9)], next: None }),
    ] {
        assert_eq!(client.list_parts(&Key::from("k"), "u+1", after).await, Ok(Some(page)));
    }
    assert_eq!(client.list_parts(&Key::from("k"), "u", 0).await, Ok(None));
    let seen = script.seen();
    assert_eq!(seen[0].line, "GET /logs/k?max-parts=1000&uploadId=u%2B1");
    assert_eq!(seen[1].line, "GET /logs/k?max-parts=1000&part-number-marker=7&uploadId=u%2B1");
}

#[tokio::test]
async fn uploads_are_listed_page_by_page() {
    let page = |key: &str, id: &str, rest: &str| {
        format!(
            "<ListMultipartUploadsResult><EncodingType>url</EncodingType>{rest}<Upload><Key>{key}</Key>\
             <UploadId>{id}</UploadId><Initiated>x</Initiated></Upload></ListMultipartUploadsResult>"
        )
    };
    let more = |key: &str, id: &str| {
        format!(
            "<NextKeyMarker>{key}</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker>\
             <IsTruncated>true</IsTruncated>"
        )
    };
    let script = Script::new(vec![
        // Ceph RGW's markers are not encoded.
        s3_answer("200 OK", &page("a%2Fb%25", "2~x", &more("a/b%", "2~x"))),
        s3_answer("200 OK", &page("b", "2~y", "<IsTruncated>false</IsTruncated>")),
        s3_answer("200 OK", &page("a", "1", &more("a", "1"))),
        s3_answer("200 OK", &page("a", "1", &more("a", "1"))),
    ])
    .await;
    let client = script.client().await;
    let uploads = client.list_uploads(&Key::from("a/")).await.expect("uploads");
    // The other key does not begin with the prefix.
    assert_eq!(uploads, [(Key::from("a/b%"), "2~x".into())]);
    let error = client.list_uploads(&Key::from("")).await.expect_err("a list that stays where it is");
    assert_eq!((&*error.code, error.class), ("MalformedAnswer", Class::Transient));
    let seen = script.seen();
    assert_eq!(seen[0].line, "GET /logs?encoding-type=url&max-uploads=1000&prefix=a%2F&uploads=");
    assert_eq!(
        seen[1].line,
        "GET /logs?encoding-type=url&key-marker=a%2Fb%25&max-uploads=1000&prefix=a%2F\
         &upload-id-marker=2~x&uploads="
    );
}
