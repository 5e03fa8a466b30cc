//! What copies, puts, parts and markers send, and what they make of the answers.

use std::collections::BTreeMap;
use std::future::Future;

use bytes::Bytes;

use crate::model::{ChecksumKind, CustomerKeyBytes, Encryption, Restore, RestoreTier, RetentionMode};

use super::*;

const NOTHING: Attributes<'static> = Attributes {
    storage_class: None,
    metadata: None,
    tags: None,
    acl: None,
    encryption: None,
    customer_key: None,
    retention: None,
    legal_hold: None,
    checksum: None,
    website_redirect: None,
};
/// As the S3 API reference shows it.
const COPIED: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <CopyObjectResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
    <LastModified>2009-10-12T17:50:30.000Z</LastModified>\
    <ETag>&quot;9b2cf535f27731c974343645a3985328&quot;</ETag>\
    <ChecksumType>FULL_OBJECT</ChecksumType><ChecksumCRC64NVME>AAAAAAAAAAE=</ChecksumCRC64NVME>\
    </CopyObjectResult>";
const PART_COPIED: &str = "<CopyPartResult><LastModified>2011-04-11T20:34:56.000Z</LastModified>\
    <ETag>&quot;9b2c&quot;</ETag></CopyPartResult>";
const COMPLETED: &str = "<CompleteMultipartUploadResult xmlns=\"u\"><Location>http://h/b/k</Location>\
    <Bucket>b</Bucket><Key>k</Key><ETag>&quot;3858-9&quot;</ETag></CompleteMultipartUploadResult>";

fn id(text: &str) -> VersionId {
    VersionId::new(text).expect("not empty")
}

fn pairs(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn origin<'a>(key: &'a Key, version_id: &'a VersionId) -> Origin<'a> {
    Origin { bucket: "source", key, version_id, etag: None, customer_key: None, expected_owner: None }
}

async fn only(script: &Script) -> Seen {
    let [seen] = script.seen().try_into().expect("one request");
    seen
}

async fn copy(step: Step) -> Result<Written, S3Error> {
    let script = Script::new(vec![step]).await;
    let (key, version_id) = (Key::from("k"), id("v1"));
    let copied = script.client().await;
    copied.copy_version(&origin(&key, &version_id), &key, &NOTHING, Expect::Anything).await
}

#[tokio::test]
async fn a_copy_on_the_wire_and_its_answer() {
    let headers = ["x-amz-request-id: TX1", "x-amz-version-id: new1", "x-amz-copy-source-version-id: v/1+"];
    let script = Script::new(vec![answer("200 OK", &headers, COPIED)]).await;
    let client = script.client().await;
    let (key, version_id) = (Key::from("a b/ü+?"), id("v/1+"));
    let from = Origin { etag: Some("\"e1\""), expected_owner: Some("1234"), ..origin(&key, &version_id) };
    let attributes = Attributes {
        storage_class: Some("GLACIER_IR"),
        checksum: Some(ChecksumKind::Crc64Nvme),
        ..Attributes::default()
    };
    let to = Key::from("to/a+b");
    let written = client.copy_version(&from, &to, &attributes, Expect::Absent).await.expect("copied");
    let checksum =
        ObjectChecksum { kind: ChecksumKind::Crc64Nvme, value: "AAAAAAAAAAE=".into(), is_full_object: true };
    let wanted = Written {
        version_id: Some(id("new1")),
        etag: Some("\"9b2cf535f27731c974343645a3985328\"".into()),
        checksum: Some(checksum),
        request_id: Some("TX1".into()),
    };
    assert_eq!(written, wanted);
    let seen = only(&script).await;
    assert_eq!(seen.line, "PUT /logs/to/a%2Bb");
    assert_eq!(
        seen.stable_headers(),
        [
            "accept: */*",
            "content-length: 0",
            "if-none-match: *",
            "x-amz-checksum-algorithm: CRC64NVME",
            "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "x-amz-copy-source-if-match: \"e1\"",
            "x-amz-copy-source: source/a%20b/%C3%BC%2B%3F?versionId=v%2F1%2B",
            "x-amz-metadata-directive: COPY",
            "x-amz-security-token: token-canary",
            "x-amz-source-expected-bucket-owner: 1234",
            "x-amz-storage-class: GLACIER_IR",
            "x-amz-tagging-directive: COPY",
        ]
    );
    let signed = seen.header("authorization").expect("signed");
    assert!(signed.contains("if-none-match;") && signed.contains("x-amz-copy-source;"), "{signed}");
}

#[tokio::test]
async fn everything_that_an_object_can_be_given_goes_out() {
    let script = Script::new(vec![s3_answer("200 OK", COPIED)]).await;
    let client = script.client().await;
    let metadata = pairs(&[("content-type", "text/plain"), ("x-amz-meta-a", "=?UTF-8?Q?=C3=BC?=")]);
    let tags = pairs(&[("a b", "x/y"), ("c&d", ""), ("e", "ü+")]);
    let encryption = Encryption::Kms {
        two_layers: true,
        key_id: Some("arn:aws:kms:r:1:key/k".into()),
        context: pairs(&[("c", "\"q\"")]),
        bucket_key: Some(true),
    };
    let attributes = Attributes {
        storage_class: None,
        metadata: Some(&metadata),
        tags: Some(&tags),
        acl: Some("bucket-owner-full-control"),
        encryption: Some(&encryption),
        customer_key: None,
        retention: Some((RetentionMode::Compliance, Timestamp::from_millis(1_700_000_000_123))),
        legal_hold: Some(true),
        checksum: None,
        website_redirect: Some("/elsewhere"),
    };
    let (key, version_id) = (Key::from("k"), id("null"));
    let point = "arn:aws:s3:eu-west-1:1234:accesspoint/sweep";
    let from = Origin { bucket: point, ..origin(&key, &version_id) };
    client.copy_version(&from, &key, &attributes, Expect::Etag("\"e\"")).await.expect("copied");
    assert_eq!(
        only(&script).await.stable_headers(),
        [
            "accept: */*",
            "content-length: 0",
            "content-type: text/plain",
            "if-match: \"e\"",
            "x-amz-acl: bucket-owner-full-control",
            "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "x-amz-copy-source: arn%3Aaws%3As3%3Aeu-west-1%3A1234%3Aaccesspoint/sweep/object/k?versionId=null",
            "x-amz-meta-a: =?UTF-8?Q?=C3=BC?=",
            "x-amz-metadata-directive: REPLACE",
            "x-amz-object-lock-legal-hold: ON",
            "x-amz-object-lock-mode: COMPLIANCE",
            "x-amz-object-lock-retain-until-date: 2023-11-14T22:13:20.123Z",
            "x-amz-security-token: token-canary",
            "x-amz-server-side-encryption-aws-kms-key-id: arn:aws:kms:r:1:key/k",
            "x-amz-server-side-encryption-bucket-key-enabled: true",
            "x-amz-server-side-encryption-context: eyJjIjoiXCJxXCIifQ==",
            "x-amz-server-side-encryption: aws:kms:dsse",
            "x-amz-tagging-directive: REPLACE",
            "x-amz-tagging: a%20b=x%2Fy&c%26d=&e=%C3%BC%2B",
            "x-amz-website-redirect-location: /elsewhere",
        ]
    );
}

#[tokio::test]
async fn a_copy_counts_only_where_the_whole_answer_says_so() {
    // As AWS sends it while it copies, as Ceph RGW does, and without what Ceph RGW leaves out.
    for body in [
        format!("  \n \n{COPIED}"),
        "<CopyObjectResult xmlns=\"u\"><Progress>4194304</Progress><Progress>8388608</Progress>\
         <LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>9b2c</ETag></CopyObjectResult>"
            .to_owned(),
        "<CopyObjectResult><LastModified>2024-01-01T00:00:00.000Z</LastModified></CopyObjectResult>"
            .to_owned(),
    ] {
        assert!(copy(s3_answer("200 OK", &body)).await.is_ok(), "{body}");
    }
    let cut = |at: usize| COPIED[..at].to_owned();
    for body in [
        String::new(),
        " \n ".to_owned(),
        cut(60),
        cut(COPIED.len() - 5),
        cut(COPIED.len() - "</CopyObjectResult>".len()),
        "<CopyObjectResult/>".to_owned(),
        "<CopyObjectResult><Progress>1</Progress><Error><Code>x</Code></Error></CopyObjectResult>".to_owned(),
        COMPLETED.to_owned(),
        "<html>200</html>".to_owned(),
        format!("{COPIED}<Error/>"),
    ] {
        let error = copy(s3_answer("200 OK", &body)).await.expect_err(&body);
        let told = (&*error.code, error.class, error.may_have_applied, error.status);
        assert_eq!(told, ("MalformedAnswer", Class::Transient, true, Some(200)), "{body}");
    }
}

#[tokio::test]
async fn an_error_in_a_success_is_an_error_and_leaves_the_outcome_open() {
    for (code, class) in [
        ("SlowDown", Class::Throttled),
        ("InternalError", Class::Transient),
        ("ServiceUnavailable", Class::Throttled),
        ("NeverHeardOf", Class::Transient),
        ("AccessDenied", Class::Permanent),
    ] {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\n  \n<Error><Code>{code}</Code><Message>m</Message></Error>"
        );
        let error = copy(s3_answer("200 OK", &body)).await.expect_err(code);
        assert_eq!((&*error.code, error.class, error.may_have_applied), (code, class, true));
    }
}

#[tokio::test]
async fn what_a_refusal_leaves_open() {
    for (status, code, class, open) in [
        ("500 Internal Server Error", "InternalError", Class::Transient, true),
        ("503 Slow Down", "SlowDown", Class::Throttled, true),
        ("400 Bad Request", "RequestTimeout", Class::Transient, true),
        ("409 Conflict", "ConditionalRequestConflict", Class::Transient, true),
        ("408 Request Timeout", "", Class::Transient, true),
        ("409 Conflict", "OperationAborted", Class::Transient, false),
        ("412 Precondition Failed", "PreconditionFailed", Class::Permanent, false),
        ("403 Forbidden", "InvalidObjectState", Class::Permanent, false),
        ("403 Forbidden", "AccessDenied", Class::Permanent, false),
        ("404 Not Found", "NoSuchVersion", Class::Permanent, false),
        ("404 Not Found", "NoSuchUpload", Class::Permanent, false),
        ("405 Method Not Allowed", "MethodNotAllowed", Class::Permanent, false),
        ("400 Bad Request", "EntityTooLarge", Class::Permanent, false),
        ("400 Bad Request", "InvalidRequest", Class::Permanent, false),
        ("400 Bad Request", "InvalidPart", Class::Permanent, false),
        ("400 Bad Request", "ExpiredToken", Class::Credentials, false),
        ("404 Not Found", "NoSuchBucket", Class::Stop, false),
    ] {
        let error = copy(s3_error(status, code)).await.expect_err(code);
        assert_eq!((error.class, error.may_have_applied), (class, open), "{status} {code}");
        assert_eq!(error.is_absent(), code.starts_with("NoSuch") && code != "NoSuchBucket", "{code}");
        assert_eq!(error.is_precondition(), code == "PreconditionFailed", "{code}");
    }
    let error = copy(Step::Close).await.expect_err("closed");
    assert_eq!((error.class, error.may_have_applied), (Class::Transient, true));
    let cut = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n   \r\n".to_vec();
    let error = copy(Step::Write(cut)).await.expect_err("cut");
    assert_eq!((error.class, error.may_have_applied), (Class::Transient, true));
}

#[tokio::test]
async fn a_copy_of_another_version_is_a_tripwire() {
    let headers = ["x-amz-request-id: 1", "x-amz-copy-source-version-id: v2"];
    let error = copy(answer("200 OK", &headers, COPIED)).await.expect_err("another version");
    assert_eq!((error.tripwire(), error.may_have_applied), (Some(Tripwire::VersionIdIgnored), true));
}

#[tokio::test]
async fn a_put_on_the_wire_and_its_answer() {
    let headers = [
        "x-amz-request-id: TX2",
        "ETag: \"900150983cd24fb0d6963f7d28e17f72\"",
        "x-amz-version-id: n1",
        "x-amz-checksum-sha256: ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
        "x-amz-checksum-type: FULL_OBJECT",
    ];
    let script = Script::new(vec![answer("200 OK", &headers, ""), answer("200 OK", &headers[..1], "")]).await;
    let client = script.client().await;
    let key = Key::from("a//b");
    let raw = pairs(&[("x-amz-meta-raw", "grün  x")]);
    let attributes = Attributes { checksum: Some(ChecksumKind::Sha256), metadata: Some(&raw), ..NOTHING };
    let body = Bytes::from_static(b"abc");
    let written = client.put_version(&key, body, &attributes, Expect::Etag("\"old\"")).await;
    let written = written.expect("written");
    assert_eq!(written.version_id, Some(id("n1")));
    assert_eq!(written.etag.as_deref(), Some("\"900150983cd24fb0d6963f7d28e17f72\""));
    let checksum = written.checksum.expect("a checksum");
    assert_eq!((checksum.kind, checksum.is_full_object), (ChecksumKind::Sha256, true));
    let none = client.put_version(&key, Bytes::new(), &NOTHING, Expect::Anything).await;
    let error = none.expect_err("an answer without an ETag");
    assert_eq!((&*error.code, error.may_have_applied), ("MalformedAnswer", true));
    let seen = script.seen();
    assert_eq!((seen[0].line.as_str(), seen[0].body.as_slice()), ("PUT /logs/a//b", b"abc".as_slice()));
    assert_eq!(
        seen[0].stable_headers(),
        [
            "accept: */*",
            "content-length: 3",
            "content-md5: kAFQmDzST7DWlj99KOF/cg==",
            "if-match: \"old\"",
            "x-amz-checksum-sha256: ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
            "x-amz-content-sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "x-amz-meta-raw: grün  x",
            "x-amz-sdk-checksum-algorithm: SHA256",
            "x-amz-security-token: token-canary",
        ]
    );
    assert_eq!(seen[1].header("content-length"), Some("0"));
    assert_eq!(seen[1].header("content-md5"), Some("1B2M2Y8AsgTpgAmY7PhCfg=="));
}

#[tokio::test]
async fn an_upload_in_parts_on_the_wire() {
    let created = "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u+1</UploadId>\
        </InitiateMultipartUploadResult>";
    let part = ["x-amz-request-id: 1", "ETag: \"p1\"", "x-amz-checksum-sha1: qZk+NkcGgWq6PiVxeFDCbJzQ2J0="];
    let script = Script::new(vec![
        s3_answer("200 OK", created),
        answer("200 OK", &part, ""),
        s3_answer("200 OK", &format!("\n \n{PART_COPIED}")),
        answer("200 OK", &["x-amz-version-id: n1"], &format!("<?xml version=\"1.0\"?>\n  \n{COMPLETED}")),
        s3_error("404 Not Found", "NoSuchUpload"),
        s3_answer("204 No Content", ""),
    ])
    .await;
    let client = script.client().await;
    let key = Key::from("k+1");
    let attributes = Attributes {
        checksum: Some(ChecksumKind::Sha1),
        storage_class: Some("STANDARD_IA"),
        encryption: Some(&Encryption::S3),
        ..NOTHING
    };
    let upload = client.create_upload(&key, &attributes).await.expect("begun");
    assert_eq!(&*upload, "u+1");
    let first = client.upload_part(&key, &upload, 1, Bytes::from_static(b"abc"), &attributes).await;
    let first = first.expect("written");
    let version_id = id("v1");
    let from = origin(&key, &version_id);
    let second = client.upload_part_copy(&from, Some((5, 10)), &key, &upload, 2, &attributes).await;
    let second = second.expect("copied");
    assert_eq!((&*first.etag, &*second.etag), ("\"p1\"", "\"9b2c\""));
    let parts = [
        Part { number: 2, etag: second.etag, size: 5, checksum: second.checksum },
        Part { number: 1, etag: first.etag, size: 3, checksum: first.checksum },
    ];
    let written = client.complete_upload(&key, &upload, &parts, Expect::Absent).await.expect("completed");
    assert_eq!((written.version_id, written.etag.as_deref()), (Some(id("n1")), Some("\"3858-9\"")));
    client.abort_upload(&key, &upload).await.expect("there is none");
    client.abort_upload(&key, &upload).await.expect("given up");
    let seen = script.seen();
    let lines: Vec<&str> = seen.iter().map(|seen| seen.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "POST /logs/k%2B1?uploads=",
            "PUT /logs/k%2B1?partNumber=1&uploadId=u%2B1",
            "PUT /logs/k%2B1?partNumber=2&uploadId=u%2B1",
            "POST /logs/k%2B1?uploadId=u%2B1",
            "DELETE /logs/k%2B1?uploadId=u%2B1",
            "DELETE /logs/k%2B1?uploadId=u%2B1",
        ]
    );
    assert_eq!(seen[0].header("content-length"), Some("0"));
    assert_eq!(seen[0].header("x-amz-checksum-algorithm"), Some("SHA1"));
    assert_eq!(seen[0].header("x-amz-checksum-type"), Some("COMPOSITE"));
    assert_eq!(seen[0].header("x-amz-storage-class"), Some("STANDARD_IA"));
    assert_eq!(seen[0].header("x-amz-server-side-encryption"), Some("AES256"));
    assert_eq!(seen[1].header("content-md5"), Some("kAFQmDzST7DWlj99KOF/cg=="));
    assert_eq!(seen[1].header("x-amz-checksum-sha1"), Some("qZk+NkcGgWq6PiVxeFDCbJzQ2J0="));
    assert_eq!(seen[1].header("x-amz-storage-class"), None);
    assert_eq!(seen[2].header("x-amz-copy-source-range"), Some("bytes=5-9"));
    assert_eq!(seen[2].header("x-amz-metadata-directive"), None);
    assert_eq!(seen[3].header("if-none-match"), Some("*"));
    assert_eq!(
        String::from_utf8_lossy(&seen[3].body),
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Part>\
         <PartNumber>1</PartNumber><ETag>&quot;p1&quot;</ETag>\
         <ChecksumSHA1>qZk+NkcGgWq6PiVxeFDCbJzQ2J0=</ChecksumSHA1></Part><Part>\
         <PartNumber>2</PartNumber><ETag>&quot;9b2c&quot;</ETag></Part></CompleteMultipartUpload>"
    );
}

#[tokio::test]
async fn completing_and_copying_parts_believe_whole_answers_only() {
    let key = Key::from("k");
    let version_id = id("v");
    let parts = [Part { number: 1, etag: "\"a\"".into(), size: 1, checksum: None }];
    let complete = async |step| {
        let script = Script::new(vec![step]).await;
        script.client().await.complete_upload(&key, "u", &parts, Expect::Anything).await
    };
    let part = async |step| {
        let script = Script::new(vec![step]).await;
        let client = script.client().await;
        client.upload_part_copy(&origin(&key, &version_id), None, &key, "u", 1, &NOTHING).await
    };
    // Ceph RGW tells no ETag.
    let quiet = COMPLETED.replace("&quot;3858-9&quot;", "");
    assert_eq!(complete(s3_answer("200 OK", &quiet)).await.expect("completed").etag, None);
    for body in [COPIED, "", &COMPLETED[..COMPLETED.len() - 1], "<CompleteMultipartUploadResult/>"] {
        let error = complete(s3_answer("200 OK", body)).await.expect_err(body);
        assert_eq!((&*error.code, error.may_have_applied), ("MalformedAnswer", true), "{body}");
    }
    let error = complete(s3_error("200 OK", "InternalError")).await.expect_err("an error in a success");
    assert_eq!((error.class, error.may_have_applied), (Class::Transient, true));
    let nameless = PART_COPIED.replace("&quot;9b2c&quot;", "");
    for body in [COPIED, "", &PART_COPIED[..PART_COPIED.len() - 1], &nameless] {
        let error = part(s3_answer("200 OK", body)).await.expect_err(body);
        assert_eq!((&*error.code, error.may_have_applied), ("MalformedAnswer", true), "{body}");
    }
    let error = part(s3_error("200 OK", "SlowDown")).await.expect_err("an error in a success");
    assert_eq!((error.class, error.may_have_applied), (Class::Throttled, true));
}

/// An answer that would be taken, were the request sent.
async fn refused<T: std::fmt::Debug>(call: impl Future<Output = Result<T, S3Error>>, code: &str) -> S3Error {
    let error = call.await.expect_err("refused before it is sent");
    assert_eq!((&*error.code, error.may_have_applied, error.status), (code, false, None));
    error
}

#[tokio::test]
async fn what_would_reach_something_else_is_never_sent() {
    let script = Script::new(vec![]).await;
    let client = script.client().await;
    let (key, version_id) = (Key::from("k"), id("v"));
    let from = origin(&key, &version_id);
    let head = HeadVersion {
        key: &key,
        version_id: &version_id,
        part: None,
        customer_key: None,
        with_checksum: false,
    };
    for odd in ["a/../b", "..", "./a", ""] {
        let odd = Key::from(odd);
        let code = "UnaddressableKey";
        refused(client.copy_version(&from, &odd, &NOTHING, Expect::Anything), code).await;
        refused(client.put_version(&odd, Bytes::new(), &NOTHING, Expect::Anything), code).await;
        refused(client.create_upload(&odd, &NOTHING), code).await;
        refused(client.abort_upload(&odd, "u"), code).await;
        refused(client.head_version(&HeadVersion { key: &odd, ..head }), code).await;
        let error = refused(client.insert_marker(&odd), code).await;
        assert_eq!(error.class, Class::Permanent);
    }
    let code = "InvalidCall";
    refused(client.abort_upload(&key, ""), code).await;
    refused(client.list_parts(&key, "", 0), code).await;
    refused(client.complete_upload(&key, "u", &[], Expect::Anything), code).await;
    refused(client.upload_part(&key, "u", 0, Bytes::new(), &NOTHING), code).await;
    refused(client.upload_part(&key, "u", 10_001, Bytes::new(), &NOTHING), code).await;
    refused(client.upload_part_copy(&from, Some((3, 3)), &key, "u", 1, &NOTHING), code).await;
    refused(client.get_version(&key, &version_id, None, Some((3, 3)), None), code).await;
    refused(client.get_version(&key, &version_id, None, Some((0, RANGE_BYTES_MAX + 1)), None), code).await;
    for (name, value) in [
        ("authorization", "x"),
        ("x-amz-meta-", "x"),
        ("x-amz-acl", "x"),
        ("Content-Type", "x"),
        ("x-amz-meta-a", "x\r\nx-amz-acl: public-read"),
        ("x-amz-meta-a b", "x"),
    ] {
        let metadata = pairs(&[(name, value)]);
        let attributes = Attributes { metadata: Some(&metadata), ..NOTHING };
        let error = refused(client.create_upload(&key, &attributes), "UnencodableMetadata").await;
        assert_eq!(error.class, Class::Permanent);
    }
    assert!(script.seen().is_empty());
}

#[tokio::test]
async fn a_customers_key_goes_over_https_or_to_this_machine_and_shows_nowhere() {
    let secret = CustomerKeyBytes([7; 32]);
    let text = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let body = format!("<Error><Code>InvalidArgument</Code><Message>bad key {text}</Message></Error>");
    let script = Script::new(vec![s3_answer("400 Bad Request", &body)]).await;
    let client = script.client().await;
    let (key, version_id) = (Key::from("k"), id("v"));
    let from = Origin { customer_key: Some(&secret), ..origin(&key, &version_id) };
    let attributes = Attributes { customer_key: Some(&secret), ..NOTHING };
    let error = client.copy_version(&from, &key, &attributes, Expect::Anything).await.expect_err("refused");
    assert_eq!(&*error.message, "bad key ***");
    assert!(!format!("{error:?} {attributes:?} {from:?}").contains(text));
    let seen = only(&script).await;
    let sent: Vec<String> =
        seen.stable_headers().into_iter().filter(|line| line.contains("customer")).collect();
    let md5 = checksum::content_md5(&secret.0);
    let mut wanted = Vec::new();
    for prefix in ["x-amz-copy-source-server-side-encryption", "x-amz-server-side-encryption"] {
        wanted.push(format!("{prefix}-customer-algorithm: AES256"));
        wanted.push(format!("{prefix}-customer-key-md5: {md5}"));
        wanted.push(format!("{prefix}-customer-key: {text}"));
    }
    wanted.sort();
    assert_eq!(sent, wanted);
    let mut config = script.config();
    config.endpoint = Some("http://s3.example.invalid".into());
    config.allow_http = true;
    let client = Client::new(config).await.expect("a client");
    for from in [from, origin(&key, &version_id)] {
        let attributes = if from.customer_key.is_some() { NOTHING } else { attributes };
        let copied = client.copy_version(&from, &key, &attributes, Expect::Anything);
        assert_eq!(refused(copied, "InvalidConfiguration").await.stop, Some(StopKind::Config));
    }
    let (part, customer_key) = (None, Some(&secret));
    let head = HeadVersion { key: &key, version_id: &version_id, part, customer_key, with_checksum: false };
    refused(client.head_version(&head), "InvalidConfiguration").await;
}

#[tokio::test]
async fn a_marker_is_the_one_request_that_names_no_version() {
    let script = Script::new(vec![
        answer(
            "204 No Content",
            &["x-amz-request-id: 1", "x-amz-delete-marker: true", "x-amz-version-id: m1"],
            "",
        ),
        answer("204 No Content", &["x-amz-request-id: 2", "x-amz-version-id: m1"], ""),
        answer("204 No Content", &["x-amz-request-id: 3"], ""),
        answer("204 No Content", &["x-amz-delete-marker: false"], ""),
    ])
    .await;
    let client = script.client().await;
    let key = Key::from("a+b");
    for _ in 0..2 {
        let marker = client.insert_marker(&key).await.expect("a marker");
        assert_eq!((marker.version_id, marker.etag), (Some(id("m1")), None));
    }
    for _ in 0..2 {
        let error = client.insert_marker(&key).await.expect_err("no marker");
        assert_eq!((error.tripwire(), error.may_have_applied), (Some(Tripwire::NoMarkerMade), true));
    }
    assert_eq!(script.seen()[0].line, "DELETE /logs/a%2Bb");
}

#[tokio::test]
async fn restores_and_access_control_lists_on_the_wire() {
    let script = Script::new(vec![
        s3_answer("202 Accepted", ""),
        s3_answer("200 OK", ""),
        s3_error("409 Conflict", "RestoreAlreadyInProgress"),
        s3_error("403 Forbidden", "ObjectAlreadyInActiveTierError"),
        s3_error("403 Forbidden", "InvalidObjectState"),
        s3_answer("200 OK", ""),
        s3_error("400 Bad Request", "AccessControlListNotSupported"),
    ])
    .await;
    let client = script.client().await;
    let (key, version_id) = (Key::from("k"), id("v+1"));
    for (days, wanted) in [
        (3, RestoreAnswer::Started),
        (3, RestoreAnswer::Restored),
        (0, RestoreAnswer::Ongoing),
        (3, RestoreAnswer::Restored),
    ] {
        let restore = Restore { days, tier: RestoreTier::Bulk };
        assert_eq!(client.restore_version(&key, &version_id, restore).await, Ok(wanted));
    }
    let restore = Restore { days: 1, tier: RestoreTier::Bulk };
    let error = client.restore_version(&key, &version_id, restore).await.expect_err("no archive");
    assert_eq!((&*error.code, error.class), ("InvalidObjectState", Class::Permanent));
    let acl = AclText { text: "<AccessControlPolicy/>".into(), owner_id: "o".into(), grants: Vec::new() };
    client.put_acl(&key, &version_id, &acl).await.expect("replaced");
    let error = client.put_acl(&key, &version_id, &acl).await.expect_err("not supported");
    assert_eq!((error.class, error.may_have_applied), (Class::Permanent, false));
    let seen = script.seen();
    assert_eq!(seen[0].line, "POST /logs/k?restore=&versionId=v%2B1");
    let body = "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Days>3</Days>\
        <GlacierJobParameters><Tier>Bulk</Tier></GlacierJobParameters></RestoreRequest>";
    assert_eq!(String::from_utf8_lossy(&seen[0].body), body);
    assert!(!String::from_utf8_lossy(&seen[2].body).contains("Days"));
    assert_eq!(seen[0].header("content-md5"), Some(checksum::content_md5(body.as_bytes()).as_str()));
    assert_eq!(seen[5].line, "PUT /logs/k?acl=&versionId=v%2B1");
    assert_eq!(seen[5].body, acl.text.as_bytes());
}

#[tokio::test]
async fn a_copy_is_given_more_time_than_other_requests() {
    let script = Script::new(vec![Step::Hang, Step::Hang]).await;
    let mut config = script.config();
    config.attempt_timeout = Duration::from_millis(200);
    let client = Client::new(config).await.expect("a client");
    let (key, version_id) = (Key::from("k"), id("v"));
    let from = origin(&key, &version_id);
    let copied = client.copy_version(&from, &key, &NOTHING, Expect::Anything);
    let marked = async {
        // The copy comes first, and is still waited for when the marker is given up.
        while script.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        client.insert_marker(&key).await
    };
    tokio::select! {
        biased;
        early = copied => panic!("{early:?}"),
        marked = marked => {
            let error = marked.expect_err("timed out");
            assert_eq!((&*error.code, error.may_have_applied), ("Timeout", true));
        }
    }
}
