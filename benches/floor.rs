//! The floor of the comparison: a client that moves the same bytes as a sweep and looks at none of
//! them.
//!
//! What it will ask is prepared before the clock starts: it lists the bucket of a first server, which
//! has no latency, and makes of each page the request that listed it and the request that deletes what
//! was on it, signed for a second server that holds the same data. Then so many connections send the
//! listings, and each page's delete as soon as that page has been read. Of an answer only the status
//! and the length are read. One thread does it all: there is nothing to compute.
//!
//! It prints one line of JSON, of the timed part alone.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use base64::Engine as _;
use clap::Parser;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

type Fault = Box<dyn Error + Send + Sync>;

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Read at once: more than an answer of 1,000 entries, so that most come in few reads.
const BUFFER_BYTES: usize = 512 * 1024;

/// Moves the bytes of a sweep and looks at none of them.
#[derive(Parser, Debug)]
struct Arguments {
    /// HOST:PORT of the server whose bucket is listed to prepare the requests
    #[arg(long)]
    prepare_from: String,
    /// HOST:PORT of the server that the timed requests go to; it holds the same data
    #[arg(long)]
    server: String,
    /// The bucket on both
    #[arg(long)]
    bucket: String,
    /// Requests in flight
    #[arg(long)]
    in_flight: usize,
    /// Listings only, nothing is deleted
    #[arg(long)]
    list_only: bool,
    /// The access key id of both servers
    #[arg(long, default_value = "sandbox")]
    access_key: String,
    /// The secret access key of both servers
    #[arg(long, default_value = "sandboxsecret")]
    secret_key: String,
    /// The region of both servers
    #[arg(long, default_value = "us-east-1")]
    region: String,
}

fn main() -> Result<(), Fault> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let line = runtime.block_on(measure(&arguments))?;
    println!("{line}");
    Ok(())
}

async fn measure(arguments: &Arguments) -> Result<serde_json::Value, Fault> {
    let signer = Signer::new(arguments)?;
    let pages = prepare(arguments, &signer).await?;
    let cpu_secs_before = cpu_secs()?;
    let began = Instant::now();
    let moved = replay(arguments, pages).await?;
    Ok(serde_json::json!({
        "wall_secs": began.elapsed().as_secs_f64(),
        "cpu_secs": cpu_secs()? - cpu_secs_before,
        "bytes_sent": moved.sent,
        "bytes_received": moved.received,
        "requests": moved.requests,
    }))
}

/// CPU time of this thread so far, which does all the work.
fn cpu_secs() -> Result<f64, Fault> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos: f64 = text.split_ascii_whitespace().next().ok_or("an empty schedstat")?.parse()?;
    Ok(nanos / 1e9)
}

/// The two requests that a page stands for.
struct PageRequests {
    list: Vec<u8>,
    delete: Vec<u8>,
}

/// Lists the bucket of the first server and writes the requests for the second.
async fn prepare(arguments: &Arguments, signer: &Signer) -> Result<Vec<PageRequests>, Fault> {
    let mut connection = Connection::open(&arguments.prepare_from).await?;
    let mut pages = Vec::new();
    let mut marker: Option<(String, String)> = None;
    loop {
        let query = list_query(marker.as_ref());
        connection.exchange(&signer.request("GET", &arguments.prepare_from, &query, b"")).await?;
        let page = std::str::from_utf8(connection.body())?;
        let body = delete_body(page)?;
        pages.push(PageRequests {
            list: signer.request("GET", &arguments.server, &query, b""),
            delete: signer.request("POST", &arguments.server, "delete=", body.as_bytes()),
        });
        if between(page, "IsTruncated") != Some("true") {
            return Ok(pages);
        }
        let next = between(page, "NextKeyMarker").ok_or("a truncated page without a next key marker")?;
        let id =
            between(page, "NextVersionIdMarker").ok_or("a truncated page without a version id marker")?;
        marker = Some((decoded(next)?, id.to_owned()));
    }
}

/// The parameters in the order of their names, which is the order that is signed.
fn list_query(marker: Option<&(String, String)>) -> String {
    let mut query = String::from("encoding-type=url");
    if let Some((key, _)) = marker {
        query.push_str("&key-marker=");
        query.push_str(&escaped(key));
    }
    query.push_str("&max-keys=1000");
    if let Some((_, id)) = marker {
        query.push_str("&version-id-marker=");
        query.push_str(&escaped(id));
    }
    query.push_str("&versions=");
    query
}

/// Names every entry of a page. The keys of the benchmarks need no escapes in XML.
fn delete_body(page: &str) -> Result<String, Fault> {
    let mut body = String::from("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for entry in page.split("<Key>").skip(1) {
        let key = entry.split("</Key>").next().unwrap_or_default();
        let id = between(entry, "VersionId").ok_or("an entry without a version id")?;
        write!(body, "<Object><Key>{}</Key><VersionId>{id}</VersionId></Object>", decoded(key)?)?;
    }
    body.push_str("</Delete>");
    Ok(body)
}

fn between<'a>(text: &'a str, element: &str) -> Option<&'a str> {
    let after = text.split_once(&format!("<{element}>"))?.1;
    Some(after.split_once(&format!("</{element}>"))?.0)
}

fn decoded(text: &str) -> Result<String, Fault> {
    Ok(percent_decode_str(text).decode_utf8()?.into_owned())
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Writes whole requests with their signatures. They are good for 15 minutes.
struct Signer {
    access_key: String,
    bucket: String,
    scope: String,
    time: String,
    key: Vec<u8>,
}

impl Signer {
    fn new(arguments: &Arguments) -> Result<Self, Fault> {
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let date = time.get(..8).ok_or("a time without a date")?;
        let scope = format!("{date}/{}/s3/aws4_request", arguments.region);
        let first = format!("AWS4{}", arguments.secret_key).into_bytes();
        let key = [date, arguments.region.as_str(), "s3", "aws4_request"]
            .iter()
            .try_fold(first, |key, part| hmac(&key, part.as_bytes()))?;
        Ok(Self {
            access_key: arguments.access_key.clone(),
            bucket: arguments.bucket.clone(),
            scope,
            time,
            key,
        })
    }

    fn request(&self, method: &str, host: &str, query: &str, body: &[u8]) -> Vec<u8> {
        let Self { access_key, bucket, scope, time, key } = self;
        let payload = hex::encode(Sha256::digest(body));
        let md5 = base64::engine::general_purpose::STANDARD.encode(Md5::digest(body));
        let headers =
            format!("content-md5:{md5}\nhost:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{time}\n");
        let names = "content-md5;host;x-amz-content-sha256;x-amz-date";
        let canonical = format!("{method}\n/{bucket}\n{query}\n{headers}\n{names}\n{payload}");
        let digest = hex::encode(Sha256::digest(canonical));
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
        let signature = hex::encode(hmac(key, to_sign.as_bytes()).unwrap_or_default());
        let mut request = format!("{method} /{bucket}?{query} HTTP/1.1\r\n");
        for line in headers.lines() {
            request.push_str(line);
            request.push_str("\r\n");
        }
        request.push_str(&format!(
            "authorization: AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, \
             Signature={signature}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        ));
        let mut request = request.into_bytes();
        request.extend_from_slice(body);
        request
    }
}

fn hmac(key: &[u8], text: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)?;
    mac.update(text);
    Ok(mac.finalize().into_bytes().to_vec())
}

/// What went over the wire in the timed part.
#[derive(Default)]
struct Moved {
    sent: u64,
    received: u64,
    requests: u64,
}

/// What the connections share.
struct Work {
    pages: Vec<PageRequests>,
    /// The next page to list.
    next: AtomicUsize,
    /// Pages that were listed and wait to be deleted.
    listed: Mutex<UnboundedReceiver<usize>>,
    deletes: bool,
}

/// Sends everything over so many connections.
async fn replay(arguments: &Arguments, pages: Vec<PageRequests>) -> Result<Moved, Fault> {
    // Holds no more than there are pages.
    let (tell, listed) = unbounded_channel();
    let work = Arc::new(Work {
        pages,
        next: AtomicUsize::new(0),
        listed: Mutex::new(listed),
        deletes: !arguments.list_only,
    });
    let mut connections = JoinSet::new();
    for _ in 0..arguments.in_flight {
        connections.spawn(one_connection(arguments.server.clone(), Arc::clone(&work), tell.clone()));
    }
    drop(tell);
    let mut moved = Moved::default();
    while let Some(ended) = connections.join_next().await {
        let one = ended??;
        moved.sent += one.sent;
        moved.received += one.received;
        moved.requests += one.requests;
    }
    Ok(moved)
}

/// Listings first, each as soon as a connection is free; then deletes, each once its page was read.
async fn one_connection(
    server: String,
    work: Arc<Work>,
    tell: UnboundedSender<usize>,
) -> Result<Moved, Fault> {
    let mut connection = Connection::open(&server).await?;
    loop {
        let place = work.next.fetch_add(1, Ordering::Relaxed);
        let Some(page) = work.pages.get(place) else { break };
        connection.exchange(&page.list).await?;
        if work.deletes {
            tell.send(place)?;
        }
    }
    drop(tell);
    loop {
        let place = work.listed.lock().await.recv().await;
        let Some(page) = place.and_then(|place| work.pages.get(place)) else { break };
        connection.exchange(&page.delete).await?;
    }
    Ok(connection.moved)
}

/// A connection that is kept open, and the last answer on it.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    head_bytes: usize,
    answer_bytes: usize,
    moved: Moved,
}

impl Connection {
    async fn open(server: &str) -> Result<Self, Fault> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let buffer = vec![0; BUFFER_BYTES];
        Ok(Self { stream, buffer, head_bytes: 0, answer_bytes: 0, moved: Moved::default() })
    }

    /// Sends a request and reads its answer to the end.
    async fn exchange(&mut self, request: &[u8]) -> Result<(), Fault> {
        self.stream.write_all(request).await?;
        (self.head_bytes, self.answer_bytes) = (0, usize::MAX);
        let mut filled = 0;
        while filled < self.answer_bytes {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err("the server closed a connection".into());
            }
            filled += read;
            if self.head_bytes == 0 {
                self.read_head(filled)?;
            }
        }
        self.moved.sent += request.len() as u64;
        self.moved.received += filled as u64;
        self.moved.requests += 1;
        Ok(())
    }

    /// Reads status and length once the head is there, and makes room for the body.
    fn read_head(&mut self, filled: usize) -> Result<(), Fault> {
        let there = &self.buffer[..filled.min(HEAD_BYTES_MAX)];
        let Some(end) = there.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if there.len() == HEAD_BYTES_MAX { Err("a head without an end".into()) } else { Ok(()) };
        };
        let head = std::str::from_utf8(&there[..end])?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("an answer that is not 200:\n{head}").into());
        }
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .ok_or("an answer without Content-Length")?;
        self.head_bytes = end + 4;
        self.answer_bytes = self.head_bytes + length.1.trim().parse::<usize>()?;
        if self.answer_bytes > self.buffer.len() {
            self.buffer.resize(self.answer_bytes, 0);
        }
        Ok(())
    }

    fn body(&self) -> &[u8] {
        &self.buffer[self.head_bytes..self.answer_bytes]
    }
}
