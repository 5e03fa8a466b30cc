//! `/metrics` and `/healthz` over HTTP for Prometheus.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Format, Metrics};

/// Connections served at the same time; a scraper needs one.
const CONNECTIONS_MAX: usize = 32;

/// A listener that answers until it is dropped.
#[derive(Debug)]
pub struct Exporter {
    address: SocketAddr,
    /// Dropping the set ends the listener and its connections.
    _tasks: JoinSet<()>,
}

impl Exporter {
    /// Listens on `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// Those of binding, with the address named.
    pub async fn start(address: SocketAddr, metrics: Arc<Metrics>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, metrics));
        Ok(Self { address, _tasks: tasks })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, metrics: Arc<Metrics>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, say: the scrape is lost, the run goes on.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let metrics = Arc::clone(&metrics);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &metrics);
                async move { Ok::<_, Infallible>(answer) }
            });
            // A scraper that hangs up early is its own business.
            let _ended = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
            let format = Format::negotiate(accept);
            (StatusCode::OK, format.content_type(), metrics.render(format))
        }
        (&Method::GET, "/healthz") => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        (&Method::GET, _) => (StatusCode::NOT_FOUND, "text/plain", "try /metrics or /healthz\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::model::Timestamp;
    use crate::telemetry::{Event, PageCounts};

    async fn get(address: SocketAddr, target: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn serves_the_catalogue_and_nothing_else() {
        let metrics = Arc::new(Metrics::new("nightly", &[], Timestamp::default()).unwrap());
        let counts = PageCounts { listed: 3, ..PageCounts::default() };
        metrics.emit(&Event::PageCommitted { range: 1, at: Timestamp::default(), counts: &counts });
        let exporter = Exporter::start("127.0.0.1:0".parse().unwrap(), metrics).await.unwrap();
        let text = get(exporter.address(), "/metrics").await;
        assert!(
            text.starts_with("HTTP/1.1 200")
                && text.contains("s3sweep_listed_versions_total{sweep_job=\"nightly\"} 3")
        );
        assert!(get(exporter.address(), "/healthz").await.ends_with("ok\n"));
        assert!(get(exporter.address(), "/").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let metrics = Arc::new(Metrics::new("a", &[], Timestamp::default()).unwrap());
        let first = Exporter::start("127.0.0.1:0".parse().unwrap(), Arc::clone(&metrics)).await.unwrap();
        let second = Exporter::start(first.address(), metrics).await.unwrap_err();
        assert!(second.to_string().contains(&first.address().to_string()));
    }
}
