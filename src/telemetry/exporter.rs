//! The HTTP listener of a run: metrics for Prometheus, probes, and the live page.
//!
//! Whoever asks may be slow, greedy or hostile: heads, bodies, writes and connections are bounded, and
//! nothing here waits for the run, nor the run for it.

mod patient;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::live::{self, Board};
use super::{Format, Metrics};
use patient::Patient;

/// Connections served at the same time: a scraper, probes, and the pages that may be open.
const CONNECTIONS_MAX: usize = 32;
/// How long a request's head may take, and how long a connection may rest between two requests.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// The longest head, the token and a browser's headers included.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// How long a client may refuse to take what it asked for.
const WRITE_PATIENCE: Duration = Duration::from_secs(20);

/// What is answered from.
struct Sources {
    metrics: Arc<Metrics>,
    board: Arc<Board>,
}

/// A listener that answers until it is dropped.
#[derive(Debug)]
pub struct Exporter {
    address: SocketAddr,
    /// Told once no more is to be answered.
    closing: watch::Sender<bool>,
    /// Dropping the set ends the listener and its connections.
    tasks: JoinSet<()>,
}

impl Exporter {
    /// Listens on `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// Those of binding, with the address named.
    pub async fn start(address: SocketAddr, metrics: Arc<Metrics>, board: Arc<Board>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        let closing = watch::Sender::new(false);
        tasks.spawn(accept(listener, Arc::new(Sources { metrics, board }), closing.subscribe()));
        Ok(Self { address, closing, tasks })
    }

    /// Takes no more requests, and ends when what is being answered has left, or after `patience`.
    pub async fn close(mut self, patience: Duration) {
        self.closing.send_replace(true);
        let all_left = async { while self.tasks.join_next().await.is_some() {} };
        let _left = tokio::time::timeout(patience, all_left).await;
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Returns once no more is to be answered.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // Where the sender is gone, so is the listener.
    let _closed = closing.wait_for(|closing| *closing).await;
}

async fn accept(listener: TcpListener, sources: Arc<Sources>, mut closing: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            while connections.len() >= CONNECTIONS_MAX {
                connections.join_next().await;
            }
            listener.accept().await
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = closed(&mut closing) => break,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of descriptors, say: the scrape is lost, the run goes on.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        connections.spawn(serve(stream, peer, Arc::clone(&sources), closing.clone()));
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    sources: Arc<Sources>,
    mut closing: watch::Receiver<bool>,
) {
    let service = service_fn(move |request| {
        let sources = Arc::clone(&sources);
        async move { Ok::<_, Infallible>(answer(request, &sources, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream, WRITE_PATIENCE)), service);
    let mut connection = pin!(connection);
    // A client that hangs up early is its own business.
    let _ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closed(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What there is, for those who ask for something else.
fn directory(sources: &Sources) -> String {
    let live = if sources.board.has_page() { ", /live" } else { "" };
    format!("there is /metrics, /healthz, /readyz{live}\n")
}

async fn answer(request: Request<Incoming>, sources: &Sources, peer: SocketAddr) -> Answer {
    const TEXT: &str = "text/plain; charset=utf-8";
    let path = request.uri().path();
    if live::PATHS.contains(&path) {
        return match live::answer(request, &sources.board, peer).await {
            Some(answer) => answer,
            None => whole(StatusCode::NOT_FOUND, TEXT, directory(sources)),
        };
    }
    let (status, kind, body) = match path {
        "/metrics" | "/healthz" | "/readyz" if !matches!(*request.method(), Method::GET | Method::HEAD) => {
            let mut answer = whole(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET and HEAD only\n".into());
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        "/metrics" => {
            let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
            let format = Format::negotiate(accept);
            (StatusCode::OK, format.content_type(), sources.metrics.render(format))
        }
        "/healthz" => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" => match sources.board.obstacle() {
            None => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            Some(obstacle) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{obstacle}\n")),
        },
        _ => (StatusCode::NOT_FOUND, TEXT, directory(sources)),
    };
    whole(status, kind, body)
}

fn whole(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

#[cfg(test)]
mod tests;
