//! The metrics of a program at work, as Prometheus would read them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::Running;

/// Where a run serves its metrics, once its log says so.
pub fn address_of(running: &Running) -> Option<String> {
    let log = running.stderr();
    let (_, rest) = log.split_once("metrics on http://")?;
    Some(rest.split("/metrics").next()?.to_owned())
}

/// The answer to `GET /metrics`, with its head; `None` where nobody answers (any more).
pub fn scrape(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.starts_with("HTTP/1.1 200").then_some(text)
}

/// The value of a series, its labels included in `series`.
pub fn value_of(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}
