//! One attempt: sign, compare, send, read to the end, judge.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Url};

use crate::model::{Class, Key, Timestamp};

use super::client::{Client, no_credentials};
use super::clock::{local_now, parse_http_date};
use super::codes::{PERMANENT, Scope, StopKind, TRANSIENT, Verdict, of_request};
use super::credentials::Signer;
use super::endpoint::{Place, region_of_aws_host};
use super::error::{Context, S3Error};
use super::sign::{Unsigned, is_secret, sign};
use super::xml::{BadXml, ErrorBody, error_body};

/// Ten times a page of 1,000 versions with the longest keys.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What one attempt sends.
pub(super) struct Call<'a> {
    pub(super) context: Context<'a>,
    pub(super) scope: Scope,
    pub(super) method: Method,
    /// Encoded, parameters in the order in which they are sent.
    pub(super) query: String,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Headers whose names the caller brings: content headers and user metadata.
    pub(super) metadata: Option<&'a BTreeMap<String, String>>,
    pub(super) body: Bytes,
    /// The body's SHA-256 in hexadecimal, where it is known already.
    pub(super) body_sha256: Option<String>,
    /// Time for the whole attempt, where the client's is shorter.
    pub(super) timeout: Option<Duration>,
    /// The most bytes of an answer.
    pub(super) answer_bytes_max: usize,
    /// A good answer's body is an object's data, whatever it looks like.
    pub(super) is_data: bool,
    /// The answer decides whether the endpoint speaks S3 at all.
    pub(super) greeting: bool,
}

impl<'a> Call<'a> {
    /// Text of a server without the multi-factor token and the customer's keys that the request carried.
    pub(super) fn redact(&self, mut text: String) -> String {
        for (_, value) in self.headers.iter().filter(|(name, _)| is_secret(name)) {
            let secret = value.rsplit(' ').next().unwrap_or_default();
            if !secret.is_empty() && text.contains(secret) {
                text = text.replace(secret, "***");
            }
        }
        text
    }

    /// A question about the bucket.
    pub(super) fn ask(context: Context<'a>, method: Method, query: &str) -> Self {
        Self {
            context,
            scope: Scope::Bucket,
            method,
            query: query.into(),
            headers: Vec::new(),
            metadata: None,
            body: Bytes::new(),
            body_sha256: None,
            timeout: None,
            answer_bytes_max: BODY_BYTES_MAX,
            is_data: false,
            greeting: false,
        }
    }

    pub(super) fn changes_the_bucket(&self) -> bool {
        matches!(self.scope, Scope::Batch | Scope::Single | Scope::Write)
    }
}

/// A good answer, read to its end.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) status: u16,
    pub(super) signer: Signer,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub(super) fn request_id(&self) -> Option<Arc<str>> {
        request_id(&self.headers)
    }

    /// Adds what the answer says of itself to an error found in it.
    pub(super) fn blame(&self, mut error: S3Error, may_have_applied: bool) -> S3Error {
        let details = error.details_mut();
        details.status = Some(self.status);
        details.request_id = self.request_id();
        details.may_have_applied = may_have_applied;
        error
    }

    /// The error of a body that is not what was asked for: worth another try, for it may have been
    /// cut on the way.
    pub(super) fn malformed(&self, call: &Call<'_>, why: &BadXml) -> S3Error {
        let message = format!("the answer cannot be used: {}", why.0);
        self.blame(call.context.error("MalformedAnswer", &message, TRANSIENT), call.changes_the_bucket())
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn request_id(headers: &HeaderMap) -> Option<Arc<str>> {
    let id = header(headers, "x-amz-request-id")?;
    Some(super::error::clean(id, 128).into())
}

impl Client {
    /// Headers that every request carries because the job says so.
    pub(super) fn common_headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if let Some(owner) = &self.config.expected_owner {
            headers.push(("x-amz-expected-bucket-owner", owner.clone()));
        }
        if self.config.request_payer {
            headers.push(("x-amz-request-payer", "requester".to_owned()));
        }
        headers
    }

    /// Sends one request and reads its answer to the end. Only an answer of status 2xx whose body is
    /// no error comes back as one.
    pub(super) async fn attempt(&self, call: &Call<'_>) -> Result<Answer, S3Error> {
        let started = Instant::now();
        let result = self.attempt_unlogged(call).await;
        let (operation, elapsed_ms) = (call.context.operation.as_str(), started.elapsed().as_millis());
        let request_id = match &result {
            Ok(answer) => answer.header("x-amz-request-id"),
            Err(error) => error.request_id.as_deref(),
        };
        let span = tracing::Span::current();
        span.record("request_id", request_id);
        if let Err(error) = &result {
            span.record("code", &*error.code).record("otel.status_code", "ERROR");
        }
        match &result {
            Ok(answer) => tracing::debug!(
                operation,
                status = answer.status,
                elapsed_ms,
                bytes = answer.body.len(),
                request_id,
                "answered"
            ),
            Err(error) => {
                tracing::debug!(operation, elapsed_ms, request_id, class = ?error.class, %error, "failed")
            }
        }
        result
    }

    async fn attempt_unlogged(&self, call: &Call<'_>) -> Result<Answer, S3Error> {
        let signer = self.identities.get(self.server_now()).await;
        let signer = signer.map_err(|why| no_credentials(&call.context, &why))?;
        let request = self.prepare(call, &signer)?;
        let is_long = call.scope == Scope::Listing || call.is_data;
        let http = if is_long { &self.http_of_pages } else { &self.http };
        let response = http.execute(request).await;
        let response = response.map_err(|why| self.transport(call, &why))?;
        if let Some(date) = response.headers().get(DATE).and_then(|date| date.to_str().ok()) {
            self.clock.hear(date, Instant::now());
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = match self.read_body(response, call).await {
            Ok(body) => body,
            Err(mut error) => {
                let details = error.details_mut();
                details.status = Some(status);
                details.request_id = request_id(&headers);
                return Err(error);
            }
        };
        let answer = Answer { headers, body, status, signer };
        self.judge(call, answer).await
    }

    /// The request as it will be on the wire, signed.
    fn prepare(&self, call: &Call<'_>, signer: &Signer) -> Result<reqwest::Request, S3Error> {
        let place = self.place();
        let key = call.context.key.map(Key::as_bytes);
        if key.is_some_and(<[u8]>::is_empty) {
            // Its path would be the bucket's.
            return Err(call.context.error("UnaddressableKey", "no object has an empty key", PERMANENT));
        }
        let wire = format!("{}{}", place.origin, place.wire(key, &call.query));
        let url =
            faithful_url(&wire).map_err(|why| call.context.error("UnaddressableKey", &why, PERMANENT))?;
        let time = self.clock.signing_time(local_now());
        let headers = signed_headers(call, &place, &wire, signer, time)
            .map_err(|why| call.context.error("InvalidCall", &why, Verdict::stop(StopKind::Bug)))?;
        let mut request = reqwest::Request::new(call.method.clone(), url);
        *request.headers_mut() = headers;
        if !call.body.is_empty() {
            *request.body_mut() = Some(call.body.clone().into());
        } else if matches!(call.method, Method::PUT | Method::POST) {
            // AWS answers MissingContentLength without it.
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        *request.timeout_mut() = call.timeout.map(|timeout| timeout.max(self.config.attempt_timeout));
        Ok(request)
    }

    async fn read_body(&self, mut response: reqwest::Response, call: &Call<'_>) -> Result<Bytes, S3Error> {
        let open = call.changes_the_bucket();
        let bytes_max = call.answer_bytes_max;
        let announced =
            response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        // The answer to HEAD announces what it does not bring.
        let announced = announced.filter(|_| call.method != Method::HEAD).unwrap_or(0);
        let mut body = BytesMut::with_capacity(room_for(announced.min(bytes_max)));
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > bytes_max => {
                    let message = format!("the answer is longer than {bytes_max} bytes");
                    let mut error = call.context.error("MalformedAnswer", &message, TRANSIENT);
                    error.details_mut().may_have_applied = open;
                    return Err(error);
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body.freeze()),
                Err(why) => return Err(self.transport(call, &why)),
            }
        }
    }

    /// What went wrong between us and the server.
    fn transport(&self, call: &Call<'_>, why: &reqwest::Error) -> S3Error {
        let causes = Causes::of(why);
        let origin = &self.place().origin;
        if let Some(certificate) = causes.certificate {
            let message = format!("the server's certificate is not to be trusted: {certificate}");
            return call.context.error(
                "UntrustedCertificate",
                &message,
                Verdict::stop(StopKind::Certificate),
            );
        }
        if let Some(expected) = causes.speaks_no.filter(|_| self.is_greeting(call)) {
            let message = format!("the endpoint answered with something that is not {expected}");
            return call.context.error("NotS3", &message, Verdict::stop(StopKind::NotS3));
        }
        let (code, message) = if why.is_timeout() {
            let stage = if why.is_connect() { "no connection to" } else { "no answer from" };
            ("Timeout", format!("{stage} {origin} in time"))
        } else if why.is_dns() {
            ("Transport", format!("the host name of {origin} cannot be resolved: {}", causes.innermost))
        } else if why.is_connect() {
            ("Transport", format!("no connection to {origin}: {}", causes.innermost))
        } else {
            ("Transport", format!("the connection to {origin} broke: {}", causes.innermost))
        };
        let mut error = call.context.error(code, &message, TRANSIENT);
        error.details_mut().may_have_applied =
            call.changes_the_bucket() && !why.is_connect() && !why.is_builder();
        error
    }

    /// Whether the answer shows if the endpoint speaks S3 at all; nobody asks once it has.
    fn is_greeting(&self, call: &Call<'_>) -> bool {
        call.greeting && !self.accepted.load(Ordering::Relaxed)
    }

    async fn judge(&self, call: &Call<'_>, answer: Answer) -> Result<Answer, S3Error> {
        if self.is_greeting(call) && answer.status < 500 && !speaks_s3(&answer.headers, &answer.body) {
            let message = format!(
                "the endpoint answered with {}, which is not S3",
                header(&answer.headers, CONTENT_TYPE.as_str()).unwrap_or("no content type")
            );
            let error = call.context.error("NotS3", &message, Verdict::stop(StopKind::NotS3));
            return Err(answer.blame(error, false));
        }
        let is_good = (200..300).contains(&answer.status);
        let said = if is_good && call.is_data { None } else { error_body(&answer.body) };
        if is_good && said.is_none() {
            self.accepted.store(true, Ordering::Relaxed);
            return Ok(answer);
        }
        let error = self.refusal(call, &answer, said.unwrap_or_default());
        if error.class == Class::Credentials {
            self.identities.refuse(answer.signer.generation).await;
        }
        Err(error)
    }

    fn refusal(&self, call: &Call<'_>, answer: &Answer, said: ErrorBody) -> S3Error {
        let mut verdict = of_request(&said.code, answer.status, call.scope);
        // The first request of a run is signed with a fresh clock and a plain path: it is the secret.
        if said.code == "SignatureDoesNotMatch" && !self.accepted.load(Ordering::Relaxed) {
            verdict = Verdict::stop(StopKind::Credentials);
        }
        let message = match said.message.as_str() {
            "" => reason_of_status(answer.status).to_owned(),
            _ => call.redact(answer.signer.redact(said.message)),
        };
        let error = call.context.error(&said.code, &message, verdict);
        // A code that rules the request out says that nothing happened; a server in trouble does not.
        let open = leaves_open(&error.code, answer.status, call.scope);
        let mut error = answer.blame(error, call.changes_the_bucket() && open);
        let details = error.details_mut();
        if details.request_id.is_none() {
            details.request_id = said.request_id.map(|id| super::error::clean(&id, 128).into());
        }
        details.retry_after = details.retry_after.max(wish(&answer.headers));
        let region = answer.header("x-amz-bucket-region").map(str::to_owned).or(said.region);
        let region =
            region.or_else(|| said.endpoint.as_deref().and_then(region_of_aws_host).map(str::to_owned));
        details.region =
            region.filter(|region| !region.is_empty()).map(|region| super::error::clean(&region, 64).into());
        error
    }
}

/// Longer bodies are given an allocation of their own by the system, and give it back at once.
const MAPPED_BYTES_MIN: usize = 2 << 20;
/// The allocator of glibc maps whatever is larger than this, and keeps the pages of what is smaller in its
/// heaps once it has seen such sizes, so that they add up to much more than is in use.
const MAPPED_CAPACITY: usize = 33 << 20;

/// The capacity for a body of so many bytes. Pages that are not written to take no memory.
const fn room_for(bytes: usize) -> usize {
    if bytes >= MAPPED_BYTES_MIN && bytes < MAPPED_CAPACITY { MAPPED_CAPACITY } else { bytes }
}

/// Whether a refusal leaves open if the request took effect.
fn leaves_open(code: &str, status: u16, scope: Scope) -> bool {
    if !(300..500).contains(&status) {
        return true;
    }
    // The server gave up waiting, or something else happened to the key at the same time. Deleting a named
    // version a second time does no harm, writing does.
    let unclear = ["RequestTimeout", "RequestTimeoutException", "ConditionalRequestConflict"].contains(&code);
    scope == Scope::Write && (status == 408 || unclear)
}

fn signed_headers(
    call: &Call<'_>,
    place: &Place,
    wire: &str,
    signer: &Signer,
    time: Timestamp,
) -> Result<HeaderMap, String> {
    let own = call.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let brought = call.metadata.into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()));
    let headers: Vec<(&str, &str)> = own.chain(brought).collect();
    let request = Unsigned {
        method: call.method.as_str(),
        url: wire,
        headers: &headers,
        body: &call.body,
        body_sha256: call.body_sha256.as_deref(),
    };
    sign(&request, &signer.identity, &place.region, time)
}

/// The URL that will be on the wire, if it is the one that is signed.
///
/// The `url` crate removes dot segments, even percent-encoded ones, and would address another key.
/// Bytes that are not UTF-8 cannot be signed in a query: the signer decodes it as text.
fn faithful_url(wire: &str) -> Result<Url, String> {
    let url = Url::parse(wire).map_err(|why| format!("no URL can name it: {why}"))?;
    if url.as_str() != wire {
        return Err("its dot segments would be removed on the way, and another key be addressed".into());
    }
    let query = url.query().unwrap_or_default();
    if percent_encoding::percent_decode_str(query).decode_utf8().is_err() {
        return Err("a query can only hold text in UTF-8".into());
    }
    Ok(url)
}

/// Whether an answer comes from something that speaks S3: every such server known puts a request id
/// into the header, or at least XML into the body.
fn speaks_s3(headers: &HeaderMap, body: &[u8]) -> bool {
    if headers.contains_key("x-amz-request-id") || headers.contains_key("x-amz-id-2") {
        return true;
    }
    let media = header(headers, CONTENT_TYPE.as_str()).unwrap_or_default();
    if media.contains("html") || media.contains("json") {
        return false;
    }
    let start = body.trim_ascii_start();
    if start.is_empty() {
        return media.contains("xml");
    }
    let start = start[..start.len().min(9)].to_ascii_lowercase();
    start.starts_with(b"<") && !start.starts_with(b"<html") && !start.starts_with(b"<!doctype")
}

/// The wait that the server asks for.
fn wish(headers: &HeaderMap) -> Option<Duration> {
    // Of AWS's newer services, in milliseconds.
    let millis = header(headers, "x-amz-retry-after").and_then(|text| text.trim().parse().ok());
    if let Some(millis) = millis {
        return Some(Duration::from_millis(millis));
    }
    let text = header(headers, RETRY_AFTER.as_str())?.trim();
    if let Ok(secs) = text.parse() {
        return Some(Duration::from_secs(secs));
    }
    let now = parse_http_date(header(headers, DATE.as_str())?)?;
    parse_http_date(text)?.since(now)
}

const fn reason_of_status(status: u16) -> &'static str {
    match status {
        301 | 308 => "the bucket is to be addressed elsewhere",
        400 => "the server found the request bad and did not say why",
        401 | 403 => "access denied",
        404 => "not found",
        405 => "the method is not allowed",
        429 => "too many requests",
        500..=599 => "the server is in trouble",
        _ => "the server did not say why",
    }
}

/// What an error chain holds. The outermost error is left out, for it may print the URL.
struct Causes {
    innermost: String,
    certificate: Option<String>,
    /// The protocol that the other side does not speak.
    speaks_no: Option<&'static str>,
}

impl Causes {
    fn of(why: &reqwest::Error) -> Self {
        let mut causes = Self { innermost: "no details".into(), certificate: None, speaks_no: None };
        let mut next = why.source();
        while let Some(cause) = next {
            causes.innermost = cause.to_string();
            if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
                causes.speaks_no = Some("HTTP");
            }
            // It spoke before it was asked, as servers of other protocols do.
            if causes.innermost == "received unexpected message from connection" {
                causes.speaks_no = Some("HTTP");
            }
            match tls_error(cause) {
                Some(rustls::Error::InvalidCertificate(why)) => causes.certificate = Some(why.to_string()),
                Some(rustls::Error::InvalidMessage(_)) => causes.speaks_no = Some("TLS"),
                _ => {}
            }
            next = cause.source();
        }
        causes
    }
}

/// The TLS error inside a cause. `io::Error` does not name what it wraps as its source.
fn tls_error<'e>(mut cause: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    loop {
        if let Some(tls) = cause.downcast_ref() {
            return Some(tls);
        }
        cause = cause.downcast_ref::<std::io::Error>()?.get_ref()?;
    }
}

#[cfg(test)]
mod tests;
