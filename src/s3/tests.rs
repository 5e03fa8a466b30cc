//! Whole attempts over a socket, against a server that answers from a script.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::model::{
    Class, DeleteOptions, Item, Key, Kind, Marker, Mfa, RuleId, Timestamp, VersionId, VersioningStatus,
};

use super::*;

mod reads;
mod writes;

/// What the server does with one request.
enum Step {
    /// Writes these bytes and closes.
    Write(Vec<u8>),
    /// Reads the request and closes without a word.
    Close,
    /// Reads the request and never answers.
    Hang,
}

/// A request as it came over the wire.
#[derive(Clone, Debug)]
struct Seen {
    /// Method and target.
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The headers, sorted, without those that differ from run to run.
    fn stable_headers(&self) -> Vec<String> {
        let volatile = ["authorization", "host", "x-amz-date", "user-agent"];
        let stable = self.headers.iter().filter(|(name, _)| !volatile.contains(&name.as_str()));
        let mut lines: Vec<String> = stable.map(|(name, value)| format!("{name}: {value}")).collect();
        lines.sort();
        lines
    }
}

/// Serves one step to each connection, in order; each answer closes its connection.
struct Script {
    endpoint: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: JoinHandle<()>,
}

impl Drop for Script {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Script {
    async fn new(steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let server = tokio::spawn(async move {
            for step in steps {
                let (mut socket, _) = listener.accept().await.expect("a connection");
                let request = read_request(&mut socket).await;
                log.lock().expect("log").push(request);
                match step {
                    Step::Write(bytes) => {
                        // The client may have closed already, having read enough.
                        let _ = socket.write_all(&bytes).await;
                        let _ = socket.shutdown().await;
                    }
                    Step::Close => {}
                    Step::Hang => std::future::pending::<()>().await,
                }
            }
        });
        Self { endpoint, seen, server }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("log").clone()
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new("logs");
        config.endpoint = Some(self.endpoint.clone());
        config.static_credentials = Some(StaticCredentials {
            access_key_id: "AKIDCANARY".into(),
            secret_access_key: "secret-canary".into(),
            session_token: Some("token-canary".into()),
        });
        config.connect_timeout = Duration::from_secs(5);
        config.attempt_timeout = Duration::from_secs(10);
        config
    }

    async fn client(&self) -> Client {
        Client::new(self.config()).await.expect("a client")
    }
}

async fn read_request(socket: &mut TcpStream) -> Seen {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        assert!(socket.read_buf(&mut bytes).await.expect("a request") > 0, "request cut");
    };
    let text = String::from_utf8(bytes[..head].to_vec()).expect("ASCII head");
    let mut lines = text.split("\r\n");
    let line = lines.next().expect("request line").trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").expect("header"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().expect("length"));
    let mut body = bytes[head + 4..].to_vec();
    while body.len() < length {
        assert!(socket.read_buf(&mut body).await.expect("a body") > 0, "body cut");
    }
    Seen { line, headers, body }
}

fn answer(status: &str, headers: &[&str], body: &str) -> Step {
    let mut text = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    Step::Write(format!("{text}\r\n{body}").into_bytes())
}

fn s3_answer(status: &str, body: &str) -> Step {
    answer(status, &["x-amz-request-id: TX1", "content-type: application/xml"], body)
}

fn s3_error(status: &str, code: &str) -> Step {
    s3_answer(status, &format!("<Error><Code>{code}</Code><Message>because</Message></Error>"))
}

const EMPTY_PAGE: &str =
    "<ListVersionsResult><Name>logs</Name><IsTruncated>false</IsTruncated></ListVersionsResult>";
const ENABLED: &str = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
const WHOLE_BUCKET: ListVersions<'static> =
    ListVersions { prefix: b"", from: None, page_size: 1000, wants_data: true };

fn item(key: &str, id: &str) -> Item {
    Item {
        key: Key::from(key),
        version_id: VersionId::new(id).expect("not empty"),
        kind: Kind::Version,
        is_latest: false,
        size: 1,
        last_modified: Timestamp::default(),
        rule: RuleId(0),
        copy: None,
    }
}

async fn list(steps: Vec<Step>) -> Result<crate::model::Page, S3Error> {
    Script::new(steps).await.client().await.list_versions(&WHOLE_BUCKET).await
}

async fn delete(steps: Vec<Step>) -> Result<DeleteAnswer, S3Error> {
    let script = Script::new(steps).await;
    script.client().await.delete_versions(&[&item("a", "1")], &DeleteOptions::default()).await
}

#[tokio::test]
async fn a_listing_on_the_wire() {
    let script = Script::new(vec![s3_answer("200 OK", EMPTY_PAGE)]).await;
    let mut config = script.config();
    config.expected_owner = Some("123456789012".into());
    config.request_payer = true;
    let client = Client::new(config).await.expect("a client");
    let from = Marker { key: Key::from("lögs/a+b"), version_id: VersionId::new("v/1") };
    let request =
        ListVersions { prefix: "lögs/".as_bytes(), from: Some(&from), page_size: 10, wants_data: true };
    client.list_versions(&request).await.expect("a page");
    let [seen] = script.seen().try_into().expect("one request");
    assert_eq!(
        seen.line,
        "GET /logs?encoding-type=url&key-marker=l%C3%B6gs%2Fa%2Bb&max-keys=10&prefix=l%C3%B6gs%2F\
         &version-id-marker=v%2F1&versions="
    );
    assert_eq!(
        seen.stable_headers(),
        [
            "accept: */*",
            "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "x-amz-expected-bucket-owner: 123456789012",
            "x-amz-request-payer: requester",
            "x-amz-security-token: token-canary",
        ]
    );
    assert!(seen.header("user-agent").is_some_and(|agent| agent.starts_with("s3sweep/")));
    let authorization = seen.header("authorization").expect("signed");
    assert!(authorization.contains("/us-east-1/s3/aws4_request"), "{authorization}");
    assert!(
        authorization.contains(
            "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-expected-bucket-owner;\
             x-amz-request-payer;x-amz-security-token"
        ),
        "{authorization}"
    );
}

#[tokio::test]
async fn a_batch_on_the_wire_and_its_answer() {
    let body = "<DeleteResult><Deleted><Key>b</Key><VersionId>2</VersionId></Deleted>\
        <Error><Key>a&#13;</Key><VersionId>1</VersionId><Code>AccessDenied</Code>\
        <Message>no, AKIDCANARY</Message></Error></DeleteResult>";
    let script = Script::new(vec![s3_answer("200 OK", body)]).await;
    let mut config = script.config();
    config.checksum = Some(ChecksumAlgorithm::Crc32c);
    let client = Client::new(config).await.expect("a client");
    let options = DeleteOptions {
        bypass_governance_retention: true,
        mfa: Some(Mfa { serial: "serial".into(), token: "123456".into() }),
    };
    let items = [item("a\r", "1"), item("b", "2")];
    let got = client.delete_versions(&[&items[0], &items[1]], &options).await.expect("an answer");
    assert_eq!(got.request_id.as_deref(), Some("TX1"));
    let refused = ItemAnswer::Refused {
        class: Class::Permanent,
        tries_max: None,
        code: "AccessDenied".into(),
        message: "no, ***".into(),
    };
    assert_eq!(got.outcomes, [refused, ItemAnswer::Deleted]);
    let [seen] = script.seen().try_into().expect("one request");
    assert_eq!(seen.line, "POST /logs?delete=");
    let sent = String::from_utf8(seen.body.clone()).expect("UTF-8");
    assert!(sent.contains("<Object><Key>a&#13;</Key><VersionId>1</VersionId></Object>"), "{sent}");
    assert!(sent.ends_with("<Quiet>false</Quiet></Delete>"), "{sent}");
    assert_eq!(seen.header("content-md5"), Some(checksum::content_md5(&seen.body).as_str()));
    let crc = ChecksumAlgorithm::Crc32c.value(&seen.body);
    assert_eq!(seen.header("x-amz-checksum-crc32c"), Some(crc.as_str()));
    assert_eq!(seen.header("x-amz-bypass-governance-retention"), Some("true"));
    assert_eq!(seen.header("x-amz-mfa"), Some("serial 123456"));
}

#[tokio::test]
async fn a_single_delete_names_its_version_and_reads_the_headers() {
    let script = Script::new(vec![
        answer("204 No Content", &["x-amz-request-id: TX2", "x-amz-version-id: v+1"], ""),
        s3_error("404 Not Found", "NoSuchVersion"),
        answer("204 No Content", &["x-amz-delete-marker: true", "x-amz-version-id: new"], ""),
        s3_error("403 Forbidden", "AccessDenied"),
        answer("404 Not Found", &["content-type: text/html"], "<html>who?</html>"),
    ])
    .await;
    let client = script.client().await;
    let odd = item("a//\u{1} +ü", "v+1");
    let options = DeleteOptions::default();
    let done = client.delete_version(&odd, &options).await.expect("deleted");
    assert_eq!(done, SingleDeleted { request_id: Some("TX2".into()), gone: false });
    assert!(client.delete_version(&odd, &options).await.expect("gone").gone);
    let error = client.delete_version(&odd, &options).await.expect_err("a marker appeared");
    assert_eq!(error.tripwire(), Some(Tripwire::VersionIdIgnored));
    assert!(error.may_have_applied);
    let error = client.delete_version(&odd, &options).await.expect_err("locked");
    assert_eq!((error.class, error.may_have_applied), (Class::Permanent, false));
    assert_eq!(error.key, Some(odd.key.clone()));
    let error = client.delete_version(&odd, &options).await.expect_err("somebody else's 404");
    assert_ne!(error.class, Class::Done);
    assert_eq!(script.seen()[0].line, "DELETE /logs/a//%01%20%2B%C3%BC?versionId=v%2B1");
}

#[tokio::test]
async fn a_key_that_would_change_on_the_way_is_never_sent() {
    let script = Script::new(vec![s3_answer("200 OK", ENABLED)]).await;
    let client = script.client().await;
    for key in ["a/../b", "./a", "a/..", ".."] {
        let error = client.delete_version(&item(key, "1"), &DeleteOptions::default()).await;
        let error = error.expect_err(key);
        assert_eq!((&*error.code, error.class), ("UnaddressableKey", Class::Permanent));
        assert!(!error.may_have_applied);
    }
    assert!(script.seen().is_empty());
    // What XML cannot hold is not put into a batch.
    let odd = item("a\u{1}", "1");
    let error = client.delete_versions(&[&odd], &DeleteOptions::default()).await.expect_err("not sent");
    assert_eq!((&*error.code, error.class), ("UnencodableKey", Class::Divide));
    let error = client.delete_versions(&[], &DeleteOptions::default()).await.expect_err("not sent");
    assert_eq!(error.stop, Some(StopKind::Bug));
    assert!(script.seen().is_empty());
}

#[tokio::test]
async fn a_broken_connection_leaves_the_outcome_open() {
    let error = delete(vec![Step::Close]).await.expect_err("closed");
    assert_eq!((&*error.code, error.class, error.may_have_applied), ("Transport", Class::Transient, true));
    let cut =
        b"HTTP/1.1 200 OK\r\nx-amz-request-id: TX1\r\ncontent-length: 500\r\n\r\n<DeleteResult/>".to_vec();
    let error = delete(vec![Step::Write(cut)]).await.expect_err("cut");
    assert_eq!((error.status, error.class, error.may_have_applied), (Some(200), Class::Transient, true));
    assert_eq!(error.request_id.as_deref(), Some("TX1"));
    let cut = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nf\r\n<DeleteResult/>\r\n".to_vec();
    let error = delete(vec![Step::Write(cut)]).await.expect_err("cut");
    assert_eq!((error.class, error.may_have_applied), (Class::Transient, true));
    let garbage = s3_answer("200 OK", "<DeleteResult><Deleted><Key>a</Key>");
    let error = delete(vec![garbage]).await.expect_err("cut inside");
    assert_eq!(
        (&*error.code, error.class, error.may_have_applied),
        ("MalformedAnswer", Class::Transient, true)
    );
    let error = list(vec![Step::Close]).await.expect_err("closed");
    assert_eq!((error.class, error.may_have_applied), (Class::Transient, false));
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_after_the_time_out() {
    let script = Script::new(vec![Step::Hang]).await;
    let mut config = script.config();
    config.attempt_timeout = Duration::from_millis(200);
    let client = Client::new(config).await.expect("a client");
    let error = client.delete_versions(&[&item("a", "1")], &DeleteOptions::default()).await;
    let error = error.expect_err("timed out");
    assert_eq!((&*error.code, error.class, error.may_have_applied), ("Timeout", Class::Transient, true));
}

#[tokio::test]
async fn nobody_there_means_nothing_happened() {
    let script = Script::new(vec![]).await;
    let client = script.client().await;
    script.server.abort();
    while TcpStream::connect(script.endpoint.trim_start_matches("http://")).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let error = client.delete_versions(&[&item("a", "1")], &DeleteOptions::default()).await;
    let error = error.expect_err("refused");
    assert_eq!((error.class, error.may_have_applied), (Class::Transient, false));
    assert!(error.to_string().to_lowercase().contains("refused"), "{error}");
    assert!(error.to_string().contains(&script.endpoint), "{error}");
    assert!(!error.to_string().contains("/logs"), "{error}");
}

#[tokio::test]
async fn refusals_carry_code_class_request_id_and_the_servers_wish() {
    let slow =
        "<Error><Code>SlowDown</Code><Message>Reduce your\nrate.</Message><RequestId>B1</RequestId></Error>";
    let error =
        delete(vec![answer("503 Slow Down", &["retry-after: 9"], slow)]).await.expect_err("throttled");
    assert_eq!(error.class, Class::Throttled);
    assert_eq!(error.retry_after, Some(Duration::from_secs(9)));
    assert_eq!(
        error.to_string(),
        "DeleteObjects in bucket logs: 503 SlowDown, Reduce your rate. (request id B1)"
    );
    let inside = delete(vec![s3_error("200 OK", "InternalError")]).await.expect_err("an error in a success");
    assert_eq!((inside.class, inside.may_have_applied), (Class::Transient, true));
    let divided = delete(vec![s3_error("400 Bad Request", "MalformedXML")]).await.expect_err("refused");
    assert_eq!((divided.class, divided.may_have_applied), (Class::Divide, false));
    let bare = list(vec![s3_answer("404 Not Found", "")]).await.expect_err("refused");
    assert_eq!((bare.class, bare.tries_max), (Class::Transient, Some(3)));
    let html = list(vec![answer("502 Bad Gateway", &["content-type: text/html"], "<html>x</html>")]).await;
    assert_eq!(html.expect_err("a proxy").class, Class::Transient);
    let missing = list(vec![s3_error("404 Not Found", "NoSuchBucket")]).await.expect_err("refused");
    assert_eq!(missing.stop, Some(StopKind::Target));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let headers = ["location: http://127.0.0.1:1/elsewhere", "x-amz-bucket-region: eu-west-3"];
    let error = list(vec![answer("301 Moved Permanently", &headers, "")]).await.expect_err("redirected");
    assert_eq!((error.class, error.region.as_deref()), (Class::Elsewhere, Some("eu-west-3")));
}

#[tokio::test]
async fn an_endless_answer_is_left() {
    let body = "x".repeat(17 * 1024 * 1024);
    let error = list(vec![s3_answer("200 OK", &body)]).await.expect_err("too long");
    assert_eq!((&*error.code, error.class), ("MalformedAnswer", Class::Transient));
}

#[tokio::test]
async fn the_bucket_is_found_in_another_region() {
    let script = Script::new(vec![
        answer("400 Bad Request", &["x-amz-request-id: 1", "x-amz-bucket-region: eu-west-3"], ""),
        answer("200 OK", &["x-amz-request-id: 2", "x-amz-bucket-region: eu-west-3"], ""),
    ])
    .await;
    let client = script.client().await;
    let head = client.head_bucket().await.expect("found");
    assert_eq!(head.region.as_deref(), Some("eu-west-3"));
    assert_eq!(client.region(), "eu-west-3");
    let seen = script.seen();
    let scope =
        |seen: &Seen, region: &str| seen.header("authorization").is_some_and(|text| text.contains(region));
    assert_eq!(seen[0].line, "HEAD /logs");
    assert!(scope(&seen[0], "/us-east-1/s3/") && scope(&seen[1], "/eu-west-3/s3/"));
}

#[tokio::test]
async fn a_region_that_does_not_help_is_not_tried_for_ever() {
    let wrong = |region: &str| {
        answer("400 Bad Request", &["x-amz-request-id: 1", &format!("x-amz-bucket-region: {region}")], "")
    };
    let script = Script::new(vec![wrong("eu-west-3"), wrong("eu-west-4")]).await;
    let error = script.client().await.head_bucket().await.expect_err("still elsewhere");
    assert_eq!(error.region.as_deref(), Some("eu-west-4"));
    assert_eq!(script.seen().len(), 2);
}

#[tokio::test]
async fn a_refusal_without_words_is_asked_again_with_get() {
    let bare = || answer("403 Forbidden", &["x-amz-request-id: 1"], "");
    // HEAD needs a permission that listing versions does not.
    let script = Script::new(vec![bare(), s3_answer("200 OK", ENABLED)]).await;
    script.client().await.head_bucket().await.expect("good enough");
    assert_eq!(script.seen()[1].line, "GET /logs?versioning=");
    let script = Script::new(vec![bare(), s3_error("403 Forbidden", "InvalidAccessKeyId")]).await;
    let error = script.client().await.head_bucket().await.expect_err("refused");
    assert_eq!((&*error.code, error.class), ("InvalidAccessKeyId", Class::Credentials));
    let lost = answer("404 Not Found", &["x-amz-request-id: 1"], "");
    let script = Script::new(vec![lost, s3_error("404 Not Found", "NoSuchBucket")]).await;
    let error = script.client().await.head_bucket().await.expect_err("no bucket");
    assert_eq!((&*error.code, error.stop), ("NoSuchBucket", Some(StopKind::Target)));
    // The region can stand in the words only.
    let body = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>";
    let bare = answer("400 Bad Request", &["x-amz-request-id: 1"], "");
    let good = answer("200 OK", &["x-amz-request-id: 1"], "");
    let script = Script::new(vec![bare, s3_answer("400 Bad Request", body), good]).await;
    let client = script.client().await;
    client.head_bucket().await.expect("found");
    assert_eq!(client.region(), "eu-west-3");
}

#[tokio::test]
async fn an_endpoint_that_speaks_no_s3_is_recognised() {
    let html = || answer("200 OK", &["content-type: text/html"], "<html>hello</html>");
    for (steps, words) in [
        (vec![html()], "text/html"),
        (vec![answer("404 Not Found", &["content-type: application/json"], "{}")], "application/json"),
        (vec![answer("404 Not Found", &[], "")], "no content type"),
        (vec![Step::Write(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())], "not HTTP"),
    ] {
        let script = Script::new(steps).await;
        let error = script.client().await.bucket_versioning().await.expect_err(words);
        assert_eq!(error.stop, Some(StopKind::NotS3), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let script = Script::new(vec![html()]).await;
    let error = script.client().await.head_bucket().await.expect_err("HTML");
    assert_eq!(error.stop, Some(StopKind::NotS3), "{error}");
    // A gateway in trouble says nothing about what is behind it.
    let gateway = answer("503 Service Unavailable", &["content-type: text/html"], "<html>x</html>");
    let script = Script::new(vec![gateway]).await;
    let error = script.client().await.bucket_versioning().await.expect_err("in trouble");
    assert_eq!(error.class, Class::Throttled);
}

#[tokio::test]
async fn an_endpoint_that_speaks_no_tls_is_recognised() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut hello = vec![0; 1024];
        let _ = socket.read(&mut hello).await;
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    });
    let script = Script::new(vec![]).await;
    let mut config = script.config();
    config.endpoint = Some(format!("https://{address}"));
    let client = Client::new(config).await.expect("a client");
    let error = client.bucket_versioning().await.expect_err("plain HTTP");
    assert_eq!(error.stop, Some(StopKind::NotS3), "{error}");
    assert!(error.to_string().contains("not TLS"), "{error}");
    server.abort();
}

#[tokio::test]
async fn a_bad_signature_means_the_secret_at_first_and_the_clock_later() {
    let bad = || s3_error("403 Forbidden", "SignatureDoesNotMatch");
    let script = Script::new(vec![bad(), s3_answer("200 OK", EMPTY_PAGE), bad()]).await;
    let client = script.client().await;
    let first = client.list_versions(&WHOLE_BUCKET).await.expect_err("refused");
    assert_eq!(first.stop, Some(StopKind::Credentials));
    client.list_versions(&WHOLE_BUCKET).await.expect("a page");
    let later = client.list_versions(&WHOLE_BUCKET).await.expect_err("refused");
    assert_eq!(later.class, Class::ClockSkew);
}

#[tokio::test]
async fn the_servers_clock_is_kept_and_signed_by_when_told_to() {
    let dated = |status: &str, body: &str| {
        answer(status, &["date: Thu, 01 Jan 2015 00:00:00 GMT", "x-amz-request-id: 1"], body)
    };
    let skewed = "<Error><Code>RequestTimeTooSkewed</Code></Error>";
    let script = Script::new(vec![dated("403 Forbidden", skewed), dated("200 OK", EMPTY_PAGE)]).await;
    let client = script.client().await;
    let local = client.server_now();
    assert!(local.to_string().as_str() > "2025");
    let error = client.list_versions(&WHOLE_BUCKET).await.expect_err("skewed");
    assert_eq!(error.class, Class::ClockSkew);
    assert!(client.server_now().to_string().starts_with("2015-01-01T00:0"));
    client.adopt_clock();
    client.list_versions(&WHOLE_BUCKET).await.expect("a page");
    let dates: Vec<String> =
        script.seen().iter().map(|seen| seen.header("x-amz-date").expect("a date").to_owned()).collect();
    assert!(!dates[0].starts_with("2015"), "{dates:?}");
    assert!(dates[1].starts_with("20150101T000"), "{dates:?}");
}

#[tokio::test]
async fn refused_credentials_are_asked_for_again_once() {
    let script =
        Script::new(vec![s3_error("400 Bad Request", "ExpiredToken"), s3_answer("200 OK", EMPTY_PAGE)]).await;
    let client = script.client().await;
    let error = client.list_versions(&WHOLE_BUCKET).await.expect_err("expired");
    assert_eq!(error.class, Class::Credentials);
    client.refresh_credentials().await.expect("refreshed");
    client.list_versions(&WHOLE_BUCKET).await.expect("a page");
}

#[tokio::test]
async fn an_unclear_plus_is_asked_about_once() {
    let page = |keys: &str| {
        let entry = format!(
            "<Version><Key>{keys}</Key><VersionId>1</VersionId><IsLatest>true</IsLatest>\
             <LastModified>2024-01-01T00:00:00Z</LastModified><Size>1</Size></Version>"
        );
        s3_answer(
            "200 OK",
            &format!(
                "<ListVersionsResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{entry}</ListVersionsResult>"
            ),
        )
    };
    let echo = |prefix: &str| {
        s3_answer(
            "200 OK",
            &format!(
                "<ListVersionsResult><Prefix>{prefix}</Prefix><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated></ListVersionsResult>"
            ),
        )
    };
    let denied = || s3_error("403 Forbidden", "AccessDenied");
    for (probe, key) in [(echo("+%20"), "a+b"), (echo("%2B+"), "a b"), (echo("+ "), "a b"), (denied(), "a b")]
    {
        let script = Script::new(vec![page("a+b"), probe, page("a+b")]).await;
        let client = script.client().await;
        for _ in 0..2 {
            let page = client.list_versions(&WHOLE_BUCKET).await.expect("a page");
            assert_eq!(page.versions[0].key, Key::from(key));
        }
        let lines: Vec<String> = script.seen().into_iter().map(|seen| seen.line).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1], "GET /logs?encoding-type=url&max-keys=1&prefix=%2B%20&versions=");
    }
}

#[tokio::test]
async fn versioning_and_lock_are_read() {
    let lock =
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
    let script = Script::new(vec![
        s3_answer("200 OK", ENABLED),
        s3_answer("200 OK", lock),
        s3_error("404 Not Found", "ObjectLockConfigurationNotFoundError"),
        s3_error("501 Not Implemented", "NotImplemented"),
        s3_error("404 Not Found", "NoSuchBucket"),
        s3_error("403 Forbidden", "AccessDenied"),
    ])
    .await;
    let client = script.client().await;
    let versioning = client.bucket_versioning().await.expect("versioning");
    assert_eq!((versioning.status, versioning.mfa_delete), (VersioningStatus::Enabled, false));
    assert!(client.object_lock().await.expect("a lock"));
    assert!(!client.object_lock().await.expect("no lock"));
    assert!(!client.object_lock().await.expect("no such thing"));
    assert_eq!(client.object_lock().await.expect_err("no bucket").stop, Some(StopKind::Target));
    assert_eq!(client.object_lock().await.expect_err("denied").stop, Some(StopKind::Credentials));
    assert_eq!(script.seen()[1].line, "GET /logs?object-lock=");
}

#[tokio::test]
async fn secrets_that_a_server_repeats_are_not_passed_on() {
    let body = "<Error><Code>SignatureDoesNotMatch</Code><Message>AKIDCANARY secret-canary token-canary</Message>\
        <AWSAccessKeyId>AKIDCANARY</AWSAccessKeyId></Error>";
    let error = list(vec![s3_answer("403 Forbidden", body)]).await.expect_err("refused");
    assert!(!format!("{error} {error:?}").to_lowercase().contains("canary"), "{error:?}");
    let script = Script::new(vec![]).await;
    assert!(!format!("{:?}", script.client().await).to_lowercase().contains("canary"));
}

#[tokio::test]
async fn an_impossible_configuration_is_refused_before_anything_is_sent() {
    let script = Script::new(vec![]).await;
    let refuse = |change: fn(&mut ClientConfig)| {
        let mut config = script.config();
        change(&mut config);
        async move { Client::new(config).await.expect_err("refused") }
    };
    for (error, words) in [
        (refuse(|config| config.bucket = "logs--use1-az4--x-s3".into()).await, "directory bucket"),
        (refuse(|config| config.endpoint = Some("http://s3.example.com".into())).await, "allow_http"),
        (refuse(|config| config.region = Some("eu west".into())).await, "no region"),
        (refuse(|config| config.ca_bundle = Some("/nonexistent/ca.pem".into())).await, "CA bundle"),
        (refuse(|config| config.ca_bundle = Some("Cargo.toml".into())).await, "no PEM certificate"),
    ] {
        assert_eq!(error.stop, Some(StopKind::Config));
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(script.seen().is_empty());
}
