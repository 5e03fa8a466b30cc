//! The HTTP server: connections, the way of one request from its head to its answer, and the faults
//! that befall it on that way.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::chance::{Chance, Cut, Fate, LateError, mix};
use super::checksum;
use super::chunked;
use super::clock::{self, Clock};
use super::faults::When;
use super::operation::{self, Operation};
use super::oplog::Oplog;
use super::ops::{self, Context};
use super::personality::Personality;
use super::refusal::Refusal;
use super::reply::{Reply, ReplyBody};
use super::request::Request;
use super::sigv4::{self, Identity};
use super::store::Store;

/// The largest DeleteObjects body: 1,000 keys of 1,024 bytes that are all escapes, and their ids.
const DELETE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The largest upload: the data is kept in memory.
const UPLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The largest body of any other request: some settings in XML.
const SETTINGS_BYTES_MAX: usize = 64 * 1024;

/// What an answer that takes long sends first, to keep the connection open.
const WAITING: &[u8] = b"\n          \n";

/// The wait after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);

/// What all connections share.
pub(super) struct Shared {
    pub(super) access_key: String,
    pub(super) secret_key: String,
    pub(super) region: String,
    pub(super) owner: String,
    pub(super) domain: String,
    pub(super) restore_secs: u64,
    pub(super) verify_signatures: bool,
    pub(super) store: Arc<Store>,
    pub(super) chance: Chance,
    pub(super) personality: RwLock<Arc<Personality>>,
    pub(super) clock: Clock,
    pub(super) oplog: Oplog,
    pub(super) last_request: AtomicU64,
}

impl Shared {
    pub(super) fn personality(&self) -> Arc<Personality> {
        Arc::clone(&self.personality.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Accepts connections until told to stop, then drops those that are open.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&shared)));
                }
                // Too many open files, most likely: connections have to end first.
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = stop.changed() => break,
        }
    }
    connections.shutdown().await;
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    // Small answers must not wait for the acknowledgement of earlier ones. Where this fails the
    // connection is only slower.
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let socket = Socket { stream, reset: Arc::clone(&reset) };
    let service = service_fn(|request| {
        let (shared, reset) = (Arc::clone(&shared), Arc::clone(&reset));
        async move {
            let answer = answer(&shared, request).await;
            if answer.is_none() {
                reset.store(true, Ordering::Relaxed);
            }
            answer.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionReset))
        }
    });
    // How a connection ends is the client's business; there is nobody to tell.
    let _ = http1::Builder::new()
        // A client may think for as long as it likes between requests.
        .header_read_timeout(None)
        // A request whose client is gone is carried out all the same, as on a server far away.
        .half_close(true)
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

/// A connection that can be ended by a TCP reset instead of an orderly end.
struct Socket {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // Without it the client sees an early end of the connection: no less a fault.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// The two ids that every answer of S3 carries. They follow from the number of the request.
struct Ids {
    request: String,
    host: String,
}

impl Ids {
    fn of(number: u64) -> Self {
        let request = format!("{:016X}", mix(&[number, 1]));
        let words: Vec<u8> = (2..9).flat_map(|part| mix(&[number, part]).to_be_bytes()).collect();
        let host = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, words);
        Self { request, host }
    }
}

/// Answers a request; `None` where its connection is to be reset.
async fn answer(shared: &Shared, http: HttpRequest<Incoming>) -> Option<Response<ReplyBody>> {
    let ids = Ids::of(shared.last_request.fetch_add(1, Ordering::Relaxed) + 1);
    let is_head = http.method() == hyper::Method::HEAD;
    let (parts, body) = http.into_parts();
    let resource = parts.uri.path().to_owned();
    let handled = match Request::of_head(parts, &shared.domain) {
        Ok(request) => attempt(shared, request, body, &ids).await?,
        Err(refusal) => Err(refusal),
    };
    let reply = handled.unwrap_or_else(|refusal| refuse(&refusal, &resource, &ids, is_head));
    let now = shared.clock.now();
    let reply = reply
        .header("x-amz-request-id", &*ids.request)
        .header("x-amz-id-2", &*ids.host)
        .header("Date", clock::http_date(now))
        .header("Server", "AmazonS3");
    Some(reply.into_response(is_head))
}

fn refuse(refusal: &Refusal, resource: &str, ids: &Ids, is_head: bool) -> Reply {
    let body = if is_head || refusal.status == 304 {
        Vec::new()
    } else {
        refusal.to_xml(resource, &ids.request, &ids.host)
    };
    let mut reply = Reply::xml(body);
    reply.status = refusal.status;
    for (name, value) in &refusal.headers {
        reply = reply.header(name, value);
    }
    reply
}

/// The way of a request whose head could be read, with whatever befalls it. The outer `None` is a
/// reset connection.
async fn attempt(
    shared: &Shared,
    mut request: Request,
    body: Incoming,
    ids: &Ids,
) -> Option<Result<Reply, Refusal>> {
    let operation = operation::route(
        &request.method,
        request.bucket.is_some(),
        request.key.is_some(),
        &request.query,
        request.headers.contains_key("x-amz-copy-source"),
    );
    let fate = shared.chance.of_request(operation);
    if fate.suspend_all {
        shared.store.suspend_all();
    }
    shared.oplog.count(operation, |count| count.requests += 1);
    let outcome = match read_body(body, operation, &request).await {
        Ok(bytes) => {
            request.body = bytes;
            pause(fate.latency.before()).await;
            let resets = fate.reset == Some(When::BeforeApplying);
            if resets { None } else { Some(apply(shared, request, operation, &fate, ids)) }
        }
        Err(refusal) => Some(Err(refusal)),
    };
    let keys = outcome.as_ref().and_then(|outcome| outcome.as_ref().ok()).map_or(0, |reply| reply.keys);
    let is_lost = outcome.is_none() || fate.reset == Some(When::AfterApplying);
    shared.oplog.count(operation, |count| match &outcome {
        Some(Ok(reply)) => {
            count.keys += reply.keys;
            count.keys_refused += reply.keys_refused;
            count.refused += u64::from(is_lost);
        }
        _ => count.refused += 1,
    });
    pause(fate.latency.after(keys)).await;
    let outcome = outcome.filter(|_| !is_lost)?;
    Some(outcome.map(|reply| match fate.cut {
        Some(cut) => cut_short(reply, cut),
        None => reply,
    }))
}

async fn pause(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

/// Authenticates a request, checks its body, and does what it asks for.
fn apply(
    shared: &Shared,
    mut request: Request,
    operation: Operation,
    fate: &Fate,
    ids: &Ids,
) -> Result<Reply, Refusal> {
    let now = shared.clock.now();
    let signed = authenticate(shared, &request, now)?;
    if let Some((code, retry_after_secs)) = &fate.error {
        let refusal = Refusal::of(code.clone());
        return Err(match retry_after_secs {
            Some(secs) => refusal.header("Retry-After", secs.to_string()),
            None => refusal,
        });
    }
    if let Some(late) = fate.late_error.as_ref().filter(|late| late.when == When::BeforeApplying) {
        return late_answer(late, operation, &request, ids);
    }
    let payload = chunked::payload(&request, signed.as_ref())?;
    let proof = if operation == Operation::CompleteMultipartUpload {
        // The checksum in its header is that of the data, not of the list of parts.
        checksum::Proof::default()
    } else {
        checksum::verify(&request.headers, payload.trailer.as_ref(), &payload.bytes)?
    };
    request.body = if fate.spoils_data { spoilt(&payload.bytes) } else { payload.bytes };
    let personality = shared.personality();
    let context = Context {
        store: &shared.store,
        chance: &shared.chance,
        oplog: &shared.oplog,
        personality: &personality,
        region: &shared.region,
        owner: &shared.owner,
        operation,
        request_id: &ids.request,
        now,
        proof,
        restore_secs: shared.restore_secs,
        loses_part: fate.loses_part,
    };
    let handled = ops::handle(&context, &request)?;
    Ok(match &fate.late_error {
        Some(late) if late.when == When::AfterApplying => late_answer(late, operation, &request, ids)?,
        _ => handled,
    })
}

/// Other data of the same length.
fn spoilt(data: &Bytes) -> Bytes {
    let mut data = data.to_vec();
    if let Some(first) = data.first_mut() {
        *first ^= 1;
    }
    data.into()
}

/// The answer of an error that comes late: in the body of a 200 after white space, where the
/// operation answers early; else as any error.
fn late_answer(
    late: &LateError,
    operation: Operation,
    request: &Request,
    ids: &Ids,
) -> Result<Reply, Refusal> {
    let refusal = Refusal::of(late.code.clone());
    if !operation.answers_early() {
        return Err(refusal);
    }
    let mut document = refusal.to_xml(&request.raw_path, &ids.request, &ids.host);
    let end_of_declaration = document.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    document.splice(end_of_declaration..end_of_declaration, WAITING.iter().copied());
    let mut reply = Reply::xml(document);
    reply.keys_refused = 1;
    Ok(reply)
}

/// Verifies the signature where that is wanted, and tells who is in the wrong region or holds
/// expired credentials in any case.
fn authenticate(
    shared: &Shared,
    request: &Request,
    now: crate::model::Timestamp,
) -> Result<Option<sigv4::Signed>, Refusal> {
    let claim = match sigv4::read_claim(request) {
        Ok(claim) => claim,
        Err(_) if !shared.verify_signatures => return Ok(None),
        Err(refusal) => return Err(refusal),
    };
    let region = shared.chance.redirect_to_region();
    if let (Some(region), Some(bucket)) = (&region, &request.bucket)
        && claim.region != *region
    {
        return Err(Refusal::of("PermanentRedirect")
            .with("Endpoint", request.header("host").unwrap_or_default())
            .with("Bucket", bucket)
            .header("x-amz-bucket-region", region));
    }
    let token = request.header("x-amz-security-token").unwrap_or("");
    if shared.chance.credentials_expired(&claim.access_key, token) {
        return Err(Refusal::of("ExpiredToken"));
    }
    if !shared.verify_signatures {
        return Ok(None);
    }
    let region = region.filter(|_| request.bucket.is_some()).unwrap_or_else(|| shared.region.clone());
    let identity =
        Identity { access_key: &shared.access_key, secret_key: &shared.secret_key, region: &region };
    sigv4::verify(request, &claim, identity, now).map(Some)
}

async fn read_body(body: Incoming, operation: Operation, request: &Request) -> Result<Bytes, Refusal> {
    let (bytes_max, too_large) = match operation {
        Operation::DeleteObjects => (DELETE_BYTES_MAX, "MaxMessageLengthExceeded"),
        Operation::PutObject | Operation::UploadPart => (UPLOAD_BYTES_MAX, "EntityTooLarge"),
        Operation::CompleteMultipartUpload => (DELETE_BYTES_MAX, "MaxMessageLengthExceeded"),
        _ => (SETTINGS_BYTES_MAX, "MaxMessageLengthExceeded"),
    };
    if operation.is_upload()
        && request.header("content-length").is_none()
        && request.header("x-amz-decoded-content-length").is_none()
    {
        return Err(Refusal::of("MissingContentLength"));
    }
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Refusal::of(too_large).with("MaxSizeAllowed", bytes_max.to_string()))
        }
        Err(_) => Err(Refusal::of("IncompleteBody")),
    }
}

fn cut_short(mut reply: Reply, cut: Cut) -> Reply {
    if let ReplyBody::Whole(bytes) = &mut reply.body {
        let length = cut.length(bytes.len());
        bytes.truncate(length);
    }
    reply
}
