//! The live page over HTTP: the page, its events, and the way back.
//!
//! The page shows keys and takes orders, so it guards itself against other pages of the same browser:
//! it answers to addresses and known names only (a name that somebody points at this address is refused),
//! takes nothing from other hosts, and knows who steers by a token in a header, never by a cookie.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::{Body, Frame as HttpFrame, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use tokio::sync::watch;

use super::{Admission, Board, Frame, LISTENERS_MAX, Obeyed, Order, Page};

/// The paths of the page.
pub(in crate::telemetry) const PATHS: [&str; 5] = ["/live", "/live.css", "/live.js", "/events", "/control"];

/// What every answer of the listener carries.
type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("live.css");
const SCRIPT: &str = include_str!("live.js");
/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// An order is some tens of bytes.
const ORDER_BYTES_MAX: usize = 1024;
/// How long an order may take to arrive.
const ORDER_PATIENCE: Duration = Duration::from_secs(5);
/// A sign of life where nothing changes: proxies close what is silent.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a page waits before it asks again.
const RETRY_MS: u32 = 2_000;

/// An order as the page writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    action: Action,
    versions_per_second: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Pause,
    Resume,
    Pace,
}

impl Wish {
    fn order(self) -> Option<Order> {
        match (self.action, self.versions_per_second) {
            (Action::Pause, None) => Some(Order::Pause),
            (Action::Resume, None) => Some(Order::Resume),
            (Action::Pace, Some(0)) => None,
            (Action::Pace, wanted) => Some(Order::Pace(wanted)),
            (Action::Pause | Action::Resume, Some(_)) => None,
        }
    }
}

fn plain(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn refused(status: StatusCode, why: &str) -> Answer {
    plain(status, "text/plain; charset=utf-8", format!("{why}\n"))
}

/// Answers a request for one of [`PATHS`]; `None` where no page is offered.
pub(in crate::telemetry) async fn answer(
    request: Request<Incoming>,
    board: &Arc<Board>,
    peer: SocketAddr,
) -> Option<Answer> {
    let page = board.page.as_ref()?;
    let mut answer = if is_known(&request, &page.settings.hosts) {
        guarded(request, board, page, peer).await
    } else {
        refused(
            StatusCode::MISDIRECTED_REQUEST,
            "the live page is asked for by an address, by localhost, or by a name of metrics.live.hosts",
        )
    };
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    Some(answer)
}

async fn guarded(request: Request<Incoming>, board: &Arc<Board>, page: &Page, peer: SocketAddr) -> Answer {
    let is_control = request.uri().path() == "/control";
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if is_control != (request.method() == Method::POST) || !(is_control || is_read) {
        let allowed = if is_control { "POST" } else { "GET, HEAD" };
        let mut answer = refused(StatusCode::METHOD_NOT_ALLOWED, &format!("{allowed} only"));
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
        return answer;
    }
    match request.uri().path() {
        "/live" => plain(StatusCode::OK, "text/html; charset=utf-8", PAGE),
        "/live.css" => plain(StatusCode::OK, "text/css; charset=utf-8", STYLE),
        "/live.js" => plain(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT),
        "/events" if request.method() == Method::HEAD => {
            let mut answer = plain(StatusCode::OK, "text/event-stream", "");
            *answer.body_mut() = Empty::new().boxed_unsync();
            answer
        }
        "/events" => events(board, page),
        _ => control(request, page, peer).await,
    }
}

/// Whether the request names the listener as somebody would who means it.
fn is_known(request: &Request<Incoming>, hosts: &[String]) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    host.is_some_and(|host| is_known_host(host, hosts))
}

/// A page of another host reaches this listener under that host's own name, whatever address it points
/// at: so addresses are fine, and names only where they are known.
fn is_known_host(host: &str, hosts: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(inside) => inside.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether the browser says that another page sent the request.
fn is_foreign(request: &Request<Incoming>) -> bool {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => false,
        (Some(origin), host) => origin.split_once("://").map(|(_, host)| host) != host,
    }
}

async fn control(request: Request<Incoming>, page: &Page, peer: SocketAddr) -> Answer {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if is_foreign(&request) {
        return refused(StatusCode::FORBIDDEN, "orders are taken from the live page itself only");
    }
    let is_json = text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
    let token = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    match page.admits(token.map(str::as_bytes)) {
        Admission::Yes => {}
        Admission::No => {
            tracing::warn!(peer = %peer.ip(), "the live page was given no token, or a wrong one");
            let mut answer = refused(StatusCode::UNAUTHORIZED, "that is not the token");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return answer;
        }
        Admission::TooOften => {
            let mut answer = refused(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens: wait a little");
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            return answer;
        }
        Admission::NoControl => {
            return refused(StatusCode::FORBIDDEN, "the job gives the live page no token: it only shows");
        }
    }
    if !is_json {
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/json only");
    }
    let body = Limited::new(request.into_body(), ORDER_BYTES_MAX).collect();
    let body = match tokio::time::timeout(ORDER_PATIENCE, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return refused(StatusCode::PAYLOAD_TOO_LARGE, "an order is shorter"),
        Err(_) => return refused(StatusCode::REQUEST_TIMEOUT, "the order did not arrive"),
    };
    let Some(order) = serde_json::from_slice::<Wish>(&body).ok().and_then(Wish::order) else {
        return refused(
            StatusCode::BAD_REQUEST,
            r#"expected {"action": "pause"}, "resume" or "pace" with "versions_per_second" (absent: the job's)"#,
        );
    };
    tracing::info!(peer = %peer.ip(), ?order, "an order from the live page");
    match page.order(order).await {
        Some(Obeyed { is_paused, ceiling_per_second }) => {
            let body =
                serde_json::json!({ "is_paused": is_paused, "ceiling_per_second": ceiling_per_second });
            plain(StatusCode::OK, "application/json", body.to_string())
        }
        None => refused(StatusCode::CONFLICT, "the run takes no orders now"),
    }
}

fn events(board: &Arc<Board>, page: &Page) -> Answer {
    if !page.join() {
        let why = format!("{LISTENERS_MAX} pages are open already: close one");
        return refused(StatusCode::SERVICE_UNAVAILABLE, &why);
    }
    let seat = Seat(Arc::clone(board));
    let stream = Stream { _seat: seat, frames: page.frame.subscribe(), has_begun: false, is_over: false };
    let events = Events { next: Some(Box::pin(stream.next())) };
    let mut answer = Response::new(events.boxed_unsync());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // A proxy that collects answers before it hands them on would show nothing.
    answer.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    answer
}

/// A place among those who look; given back when dropped.
struct Seat(Arc<Board>);

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(page) = &self.0.page {
            page.leave();
        }
    }
}

/// What one page is sent.
struct Stream {
    /// Given back with the stream.
    _seat: Seat,
    frames: watch::Receiver<Arc<Frame>>,
    has_begun: bool,
    is_over: bool,
}

impl Stream {
    /// The next piece; a page that is slow misses what was shown meanwhile and sees the latest.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.is_over {
            return None;
        }
        let mut text = String::new();
        if self.has_begun {
            tokio::select! {
                changed = self.frames.changed() => changed.ok()?,
                () = tokio::time::sleep(HEARTBEAT) => return Some((Bytes::from_static(b":\n\n"), self)),
            }
        } else {
            text = format!("retry: {RETRY_MS}\n\n");
        }
        self.has_begun = true;
        let frame = Arc::clone(&self.frames.borrow_and_update());
        self.is_over = frame.is_last;
        let event = if frame.is_last { "end" } else { "snapshot" };
        // JSON on one line: line ends inside of texts are escaped.
        text.push_str(&format!("event: {event}\ndata: {}\n\n", frame.json));
        Some((Bytes::from(text), self))
    }
}

type Step = Pin<Box<dyn Future<Output = Option<(Bytes, Stream)>> + Send>>;

/// A stream as a body.
struct Events {
    next: Option<Step>,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<HttpFrame<Bytes>, Infallible>>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        match next.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.next = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some((bytes, stream))) => {
                self.next = Some(Box::pin(stream.next()));
                Poll::Ready(Some(Ok(HttpFrame::data(bytes))))
            }
        }
    }
}
