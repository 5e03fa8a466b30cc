//! The sandbox over HTTP: requests and answers as they stand on the wire, without any client.

mod belongings;
mod copying;
mod parts;
mod procedural;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::model::{Kind, VersionId, VersioningStatus};

/// A sandbox that takes unsigned requests, with the enabled bucket `b`.
async fn sandbox(config: Config) -> Sandbox {
    let sandbox = Sandbox::start(Config { verify_signatures: false, ..config }).await.unwrap();
    sandbox.store().create_bucket("b", Timestamp::default(), VersioningStatus::Enabled);
    sandbox
}

fn faulty(faults: Faults) -> Config {
    Config { faults, ..Config::default() }
}

fn like(personality: Personality) -> Config {
    Config { personality, ..Config::default() }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The texts of all elements of this name, in document order.
    fn texts(&self, name: &str) -> Vec<&str> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        self.body.split(&open).skip(1).map(|rest| rest.split(&close).next().unwrap()).collect()
    }
}

/// Sends a request as it is written here; the error is that of a connection that was reset.
async fn send(sandbox: &Sandbox, line: &str, headers: &[(&str, &str)], body: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(sandbox.address()).await?;
    let mut text = format!("{line} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(text.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

async fn get(sandbox: &Sandbox, target: &str) -> Answer {
    send(sandbox, &format!("GET {target}"), &[], "").await.unwrap()
}

fn put(sandbox: &Sandbox, key: &str) -> VersionId {
    sandbox.store().put("b", key, 5, Timestamp::default()).unwrap()
}

fn delete_body(items: &[(&str, &str)]) -> String {
    let objects: String = items
        .iter()
        .map(|(key, id)| format!("<Object><Key>{key}</Key><VersionId>{id}</VersionId></Object>"))
        .collect();
    format!("<Delete>{objects}</Delete>")
}

async fn try_delete(sandbox: &Sandbox, items: &[(&str, &str)], more: &[(&str, &str)]) -> io::Result<Answer> {
    let body = delete_body(items);
    let md5 = BASE64.encode(checksum::md5(body.as_bytes()));
    let mut headers = vec![("content-md5", md5.as_str())];
    headers.extend(more);
    send(sandbox, "POST /b?delete", &headers, &body).await
}

async fn delete(sandbox: &Sandbox, items: &[(&str, &str)]) -> Answer {
    try_delete(sandbox, items, &[]).await.unwrap()
}

#[tokio::test]
async fn every_answer_carries_ids_and_errors_repeat_them() {
    let sandbox = sandbox(Config::default()).await;
    let missing = get(&sandbox, "/nowhere?versions").await;
    assert_eq!(missing.status, 404);
    assert_eq!(missing.texts("Code"), ["NoSuchBucket"]);
    assert_eq!(missing.texts("RequestId"), [missing.header("x-amz-request-id").unwrap()]);
    assert_eq!(missing.texts("HostId"), [missing.header("x-amz-id-2").unwrap()]);
    assert_eq!(missing.header("server"), Some("AmazonS3"));
    let found = get(&sandbox, "/b?versions").await;
    assert_ne!(found.header("x-amz-request-id"), missing.header("x-amz-request-id"));
    let head = send(&sandbox, "HEAD /nowhere", &[], "").await.unwrap();
    assert_eq!((head.status, head.body.as_str()), (404, ""));
    assert_eq!(get(&sandbox, "/b?acl").await.texts("Code"), ["NotImplemented"]);
    let patch = send(&sandbox, "PATCH /b", &[], "").await.unwrap();
    assert_eq!((patch.status, patch.texts("ResourceType")), (405, vec!["BUCKET"]));
}

#[tokio::test]
async fn without_a_signature_nothing_is_told_or_done() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    sandbox.store().create_bucket("b", Timestamp::default(), VersioningStatus::Enabled);
    let id = put(&sandbox, "k");
    assert_eq!(get(&sandbox, "/b?versions").await.texts("Code"), ["AccessDenied"]);
    assert_eq!(delete(&sandbox, &[("k", id.as_str())]).await.status, 403);
    assert_eq!(sandbox.store().count("b"), Ok(1));
    assert!(sandbox.oplog().is_empty());
}

#[tokio::test]
async fn a_listing_is_byte_for_byte_as_aws_writes_it() {
    let sandbox = sandbox(Config::default()).await;
    let at = Timestamp::from_millis(1_700_000_000_999);
    let version = sandbox.store().put("b", "a b+ü/", 5, at).unwrap();
    let marker = sandbox.store().insert_marker("b", "a b+ü/", at).unwrap();
    let listing = get(&sandbox, "/b?versions&encoding-type=url&prefix=a%20&max-keys=2").await;
    let owner = sigv4::sha256_hex(b"123456789012");
    let etag = sandbox.store().versions("b").unwrap()[1].etag.clone().unwrap().replace('"', "&quot;");
    assert_eq!(
        listing.body,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ListVersionsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>\
             <Prefix>a+</Prefix><KeyMarker/><VersionIdMarker/><MaxKeys>2</MaxKeys>\
             <EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>\
             <DeleteMarker><Key>a+b%2B%C3%BC/</Key><VersionId>{marker}</VersionId><IsLatest>true</IsLatest>\
             <LastModified>2023-11-14T22:13:20.000Z</LastModified><Owner><ID>{owner}</ID></Owner></DeleteMarker>\
             <Version><Key>a+b%2B%C3%BC/</Key><VersionId>{version}</VersionId><IsLatest>false</IsLatest>\
             <LastModified>2023-11-14T22:13:20.000Z</LastModified><ETag>{etag}</ETag><Size>5</Size>\
             <StorageClass>STANDARD</StorageClass><Owner><ID>{owner}</ID></Owner></Version>\
             </ListVersionsResult>"
        )
    );
}

#[tokio::test]
async fn personalities_encode_what_their_servers_encode() {
    let sandbox = sandbox(Config::default()).await;
    put(&sandbox, "a b");
    put(&sandbox, "a c");
    let target = "/b?versions&encoding-type=url&prefix=a%20&max-keys=1";
    let aws = get(&sandbox, target).await;
    assert_eq!(
        (aws.texts("Key"), aws.texts("NextKeyMarker"), aws.texts("Prefix")),
        (vec!["a+b"], vec!["a+b"], vec!["a+"])
    );
    sandbox.set_personality(Personality { encode_keys_not_markers: true, ..Personality::default() });
    let rgw = get(&sandbox, target).await;
    assert_eq!(
        (rgw.texts("Key"), rgw.texts("NextKeyMarker"), rgw.texts("Prefix")),
        (vec!["a+b"], vec!["a b"], vec!["a "])
    );
    sandbox.set_personality(Personality { ignore_encoding_type: true, ..Personality::default() });
    let plain = get(&sandbox, target).await;
    assert_eq!((plain.texts("Key"), plain.texts("EncodingType")), (vec!["a b"], vec![]));
}

#[tokio::test]
async fn grouped_pages_hold_the_same_entries_in_two_groups() {
    let sandbox = sandbox(Config::default()).await;
    for key in ["a", "b", "c"] {
        put(&sandbox, key);
        sandbox.store().insert_marker("b", key, Timestamp::default()).unwrap();
    }
    let target = "/b?versions&max-keys=5";
    let aws = get(&sandbox, target).await;
    assert_eq!(aws.texts("Key"), ["a", "a", "b", "b", "c"]);
    sandbox.set_personality(Personality { grouped_pages: true, ..Personality::default() });
    let grouped = get(&sandbox, target).await;
    assert_eq!(grouped.texts("Key"), ["a", "b", "a", "b", "c"]);
    assert!(grouped.body.find("<DeleteMarker>") > grouped.body.rfind("</Version>"));
    assert_eq!(grouped.texts("NextVersionIdMarker"), aws.texts("NextVersionIdMarker"));
}

#[tokio::test]
async fn a_delete_needs_a_proof_of_its_body() {
    let sandbox = sandbox(Config::default()).await;
    let id = put(&sandbox, "k");
    let body = delete_body(&[("k", id.as_str())]);
    let bare = send(&sandbox, "POST /b?delete", &[], &body).await.unwrap();
    assert_eq!((bare.status, bare.texts("Code")), (400, vec!["InvalidRequest"]));
    let wrong = send(&sandbox, "POST /b?delete", &[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")], &body).await;
    assert_eq!(wrong.unwrap().texts("Code"), ["BadDigest"]);
    let crc = checksum::compute("x-amz-checksum-crc32c", body.as_bytes()).unwrap();
    let checksum = [("x-amz-checksum-crc32c", crc.as_str())];
    sandbox.set_personality(Personality { content_md5_required_only: true, ..Personality::default() });
    let refused = send(&sandbox, "POST /b?delete", &checksum, &body).await.unwrap();
    assert_eq!(refused.texts("Code"), ["InvalidRequest"]);
    assert_eq!(sandbox.store().count("b"), Ok(1));
    sandbox.set_personality(Personality::default());
    assert_eq!(send(&sandbox, "POST /b?delete", &checksum, &body).await.unwrap().status, 200);
    assert_eq!(sandbox.store().count("b"), Ok(0));
}

#[tokio::test]
async fn a_batch_that_xml_cannot_hold_has_no_effect() {
    let sandbox = sandbox(Config::default()).await;
    let id = put(&sandbox, "k");
    for bad in [("k\u{1}", "x"), ("&#1;", "x"), ("", "x")] {
        let answer = delete(&sandbox, &[("k", id.as_str()), bad]).await;
        assert_eq!((answer.status, answer.texts("Code")), (400, vec!["MalformedXML"]), "{bad:?}");
    }
    assert_eq!(sandbox.store().count("b"), Ok(1));
}

#[tokio::test]
async fn servers_differ_about_versions_that_are_gone() {
    let sandbox = sandbox(Config::default()).await;
    let id = put(&sandbox, "k");
    let items = [("k", id.as_str())];
    assert_eq!(delete(&sandbox, &items).await.texts("VersionId"), [id.as_str()]);
    assert_eq!(delete(&sandbox, &items).await.texts("Code"), [""; 0]);
    let effects: Vec<Effect> = sandbox.oplog().iter().map(|record| record.effect).collect();
    assert_eq!(effects, [Effect::Deleted, Effect::Absent]);
    sandbox.set_personality(Personality { missing_version_is_error: true, ..Personality::default() });
    assert_eq!(delete(&sandbox, &items).await.texts("Code"), ["NoSuchVersion"]);
    sandbox.set_personality(Personality { no_multi_delete: true, ..Personality::default() });
    assert_eq!(delete(&sandbox, &items).await.status, 501);
}

#[tokio::test]
async fn a_reset_comes_before_or_after_the_effect() {
    let script = |nth, when| ScriptedRequest {
        operation: Operation::DeleteObjects,
        nth,
        kind: FaultKind::Reset(when),
    };
    let scripted_requests = vec![script(1, When::BeforeApplying), script(2, When::AfterApplying)];
    let sandbox = sandbox(faulty(Faults { scripted_requests, ..Faults::default() })).await;
    let id = put(&sandbox, "k");
    let items = [("k", id.as_str())];
    assert!(try_delete(&sandbox, &items, &[]).await.is_err());
    assert_eq!(sandbox.store().count("b"), Ok(1));
    assert!(try_delete(&sandbox, &items, &[]).await.is_err());
    assert_eq!(sandbox.store().count("b"), Ok(0));
    assert_eq!(delete(&sandbox, &items).await.status, 200);
    let count = sandbox.counters()[&Operation::DeleteObjects];
    assert_eq!((count.requests, count.keys, count.refused), (3, 2, 2));
}

#[tokio::test]
async fn a_cut_listing_looks_whole_to_http() {
    let cut = CutListings { share: 1.0, at_byte: Some(200) };
    let sandbox = sandbox(faulty(Faults { cut_listings: Some(cut), ..Faults::default() })).await;
    put(&sandbox, "k");
    let listing = get(&sandbox, "/b?versions").await;
    assert_eq!((listing.status, listing.body.len()), (200, 200));
    assert_eq!(listing.header("content-length"), Some("200"));
    assert!(!listing.body.contains("</ListVersionsResult>"));
}

#[tokio::test]
async fn whole_requests_fail_before_they_have_an_effect() {
    let errors = |code: &str| RequestErrors {
        operation: Some(Operation::DeleteObjects),
        share: 1.0,
        code: code.into(),
        retry_after_secs: Some(7),
    };
    let sandbox = sandbox(Config::default()).await;
    let id = put(&sandbox, "k");
    for (code, status) in [("SlowDown", 503), ("InternalError", 500), ("TooManyRequests", 429)] {
        sandbox.set_faults(Faults { request_errors: vec![errors(code)], ..Faults::default() });
        let answer = delete(&sandbox, &[("k", id.as_str())]).await;
        assert_eq!((answer.status, answer.texts("Code")), (status, vec![code]));
        assert_eq!(answer.header("retry-after"), Some("7"));
        assert_eq!(get(&sandbox, "/b?versions").await.status, 200);
    }
    assert_eq!(sandbox.store().count("b"), Ok(1));
}

#[tokio::test]
async fn items_fail_are_left_out_or_are_invented() {
    let sandbox = sandbox(Config::default()).await;
    let (one, two) = (put(&sandbox, "one"), put(&sandbox, "two"));
    let items = [("one", one.as_str()), ("two", two.as_str())];
    let scripted = ScriptedKey { key: "one".into(), code: "SlowDown".into(), times: Some(1) };
    sandbox.set_faults(Faults {
        scripted_keys: vec![scripted],
        foreign_key: Some("stranger".into()),
        ..Faults::default()
    });
    let answer = delete(&sandbox, &items).await;
    assert_eq!(answer.texts("Code"), ["SlowDown"]);
    let mut deleted: Vec<_> =
        answer.texts("Deleted").iter().map(|d| d.contains("<Key>stranger</Key>")).collect();
    deleted.sort_unstable();
    assert_eq!(deleted, [false, true], "two and the stranger");
    assert_eq!(delete(&sandbox, &items[..1]).await.texts("Key"), ["one"]);
    let three = put(&sandbox, "three");
    sandbox.set_faults(Faults { omit_items: 1.0, ..Faults::default() });
    let answer = delete(&sandbox, &[("three", three.as_str())]).await;
    assert_eq!((answer.texts("Deleted").len(), answer.texts("Error").len()), (0, 0));
    assert_eq!(sandbox.store().count("b"), Ok(0));
}

#[tokio::test]
async fn a_server_that_ignores_version_ids_inserts_markers() {
    let sandbox = sandbox(faulty(Faults { ignore_version_ids: true, ..Faults::default() })).await;
    let id = put(&sandbox, "k");
    let answer = delete(&sandbox, &[("k", id.as_str())]).await;
    assert_eq!(answer.texts("DeleteMarker"), ["true"]);
    assert_ne!(answer.texts("DeleteMarkerVersionId"), [id.as_str()]);
    let single = send(&sandbox, &format!("DELETE /b/k?versionId={id}"), &[], "").await.unwrap();
    assert_eq!((single.status, single.header("x-amz-delete-marker")), (204, Some("true")));
    let kinds: Vec<Kind> = sandbox.store().versions("b").unwrap().iter().map(|v| v.kind).collect();
    assert_eq!(kinds, [Kind::DeleteMarker, Kind::DeleteMarker, Kind::Version]);
}

#[tokio::test]
async fn versioning_flips_after_so_many_requests() {
    let sandbox = sandbox(faulty(Faults { suspend_after: Some(1), ..Faults::default() })).await;
    assert_eq!(get(&sandbox, "/b?versioning").await.texts("Status"), ["Enabled"]);
    assert_eq!(get(&sandbox, "/b?versioning").await.texts("Status"), ["Suspended"]);
}

fn authorization(region: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=sandbox/20240101/{region}/s3/aws4_request, SignedHeaders=host, Signature=0"
    )
}

#[tokio::test]
async fn a_bucket_elsewhere_names_its_region() {
    let faults = Faults { redirect_to_region: Some("eu-west-3".into()), ..Faults::default() };
    let sandbox = sandbox(faulty(faults)).await;
    let ask = async |region: &str| {
        send(&sandbox, "GET /b?versions", &[("authorization", &authorization(region))], "").await.unwrap()
    };
    let redirect = ask("us-east-1").await;
    assert_eq!((redirect.status, redirect.texts("Code")), (301, vec!["PermanentRedirect"]));
    assert_eq!(redirect.header("x-amz-bucket-region"), Some("eu-west-3"));
    assert_eq!(redirect.header("location"), None);
    assert_eq!(ask("eu-west-3").await.status, 200);
}

#[tokio::test]
async fn expired_credentials_are_replaced_by_others() {
    let sandbox = sandbox(faulty(Faults { expire_token_after: Some(1), ..Faults::default() })).await;
    let authorization = authorization("us-east-1");
    let ask = async |token: &str| {
        let headers = [("authorization", authorization.as_str()), ("x-amz-security-token", token)];
        let answer = send(&sandbox, "GET /b?versions", &headers, "").await.unwrap();
        (answer.status, answer.texts("Code").first().map(|code| (*code).to_owned()))
    };
    assert_eq!(ask("first").await, (200, None));
    assert_eq!(ask("first").await, (400, Some("ExpiredToken".into())));
    assert_eq!(ask("second").await, (200, None));
}

#[tokio::test]
async fn mfa_delete_wants_a_token_for_versions() {
    let sandbox = sandbox(Config::default()).await;
    sandbox.store().set_guards("b", false, true).unwrap();
    let id = put(&sandbox, "k");
    let items = [("k", id.as_str())];
    assert_eq!(delete(&sandbox, &items).await.texts("Code"), ["AccessDenied"]);
    let with_token = try_delete(&sandbox, &items, &[("x-amz-mfa", "arn 123456")]).await.unwrap();
    assert_eq!(with_token.texts("VersionId"), [id.as_str()]);
}

#[tokio::test]
async fn the_clock_moves_dates_and_new_versions() {
    let sandbox = sandbox(Config::default()).await;
    sandbox.set_clock_offset(-30 * 86_400_000);
    let answer = send(&sandbox, "PUT /b/k", &[], "data").await.unwrap();
    assert_eq!(answer.status, 200);
    let date = clock::parse_date(answer.header("date").unwrap()).unwrap();
    assert!(sandbox.now().since(date).unwrap().as_secs() < 60);
    let made = sandbox.store().versions("b").unwrap()[0].last_modified;
    assert!(sandbox.now().since(made).unwrap().as_secs() < 60);
    sandbox.set_clock_offset(0);
    assert!(sandbox.now().since(made).unwrap().as_secs() > 29 * 86_400);
}

#[tokio::test]
async fn a_bare_path_is_not_tidied_up() {
    let sandbox = sandbox(Config::default()).await;
    for key in ["a/../b", "b", "//x", "x"] {
        put(&sandbox, key);
    }
    for target in ["/b/a/../b", "/b///x"] {
        assert_eq!(send(&sandbox, &format!("DELETE {target}"), &[], "").await.unwrap().status, 204);
    }
    let hidden: Vec<String> = sandbox
        .store()
        .versions("b")
        .unwrap()
        .iter()
        .filter(|v| v.kind == Kind::DeleteMarker)
        .map(|v| v.key.to_string())
        .collect();
    assert_eq!(hidden, ["//x", "a/../b"]);
}

#[tokio::test]
async fn effects_are_in_the_file_before_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("oplog");
    let sandbox =
        sandbox(Config { oplog_file: Some(path.clone()), keep_oplog: false, ..Config::default() }).await;
    let id = put(&sandbox, "k");
    let answer = delete(&sandbox, &[("k", id.as_str())]).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(line["version_id"], id.as_str());
    assert_eq!(line["operation"], "DeleteObjects");
    assert_eq!(line["request_id"], answer.header("x-amz-request-id").unwrap());
    assert!(sandbox.oplog().is_empty(), "it is kept in the file only");
    sandbox.shutdown().await;
}

#[tokio::test]
async fn seeded_data_is_made_while_it_is_read() {
    let sandbox = sandbox(Config::default()).await;
    let id = sandbox.store().put("b", "k", 100, Timestamp::default()).unwrap();
    let part = send(&sandbox, "HEAD /b/k", &[], "").await.unwrap();
    assert_eq!(
        (part.header("content-length"), part.header("x-amz-version-id")),
        (Some("100"), Some(id.as_str()))
    );
    let beyond = send(&sandbox, "GET /b/k", &[("range", "bytes=100-")], "").await.unwrap();
    assert_eq!((beyond.status, beyond.texts("ActualObjectSize")), (416, vec!["100"]));
}

#[tokio::test]
async fn a_body_without_end_is_refused() {
    let sandbox = sandbox(Config::default()).await;
    let long = "x".repeat(70_000);
    let answer = send(&sandbox, "PUT /b?versioning", &[], &long).await.unwrap();
    assert_eq!((answer.status, answer.texts("Code")), (400, vec!["MaxMessageLengthExceeded"]));
}

#[tokio::test]
async fn after_shutdown_nobody_listens() {
    let sandbox = sandbox(like(Personality::default())).await;
    let address = sandbox.address();
    sandbox.shutdown().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[test]
fn a_secret_does_not_show_in_debug() {
    let config = Config { secret_key: "wJalrXUtnFEMI".into(), ..Config::default() };
    assert!(!format!("{config:?}").contains("wJalrXUtnFEMI"));
}
