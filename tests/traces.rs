//! Traces of a real run, taken by a collector that reads as much protobuf as it must.

#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{World, mixed};

const RULES: &str = "rules:\n  - { name: all, match: { state: any }, action: delete }\n";

/// Fields of a protobuf message: their number, and the bytes of those that have a length.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(message: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = message[0];
            *message = &message[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let length = match tag & 7 {
            0 => {
                varint(&mut message);
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)).unwrap(),
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (bytes, rest) = message.split_at(length);
        found.push((tag >> 3, bytes));
        message = rest;
    }
    found
}

fn inner(message: &[u8], number: u64) -> Vec<&[u8]> {
    fields(message).into_iter().filter(|(of, _)| *of == number).map(|(_, bytes)| bytes).collect()
}

fn text(message: &[u8], number: u64) -> String {
    String::from_utf8(inner(message, number).first().copied().unwrap_or_default().to_vec()).unwrap()
}

#[derive(Debug)]
struct Span {
    name: String,
    id: Vec<u8>,
    parent: Vec<u8>,
    /// Texts as they are; of other values only the names.
    attributes: BTreeMap<String, String>,
}

/// ExportTraceServiceRequest → ResourceSpans → ScopeSpans → Span.
fn spans(request: &[u8]) -> Vec<Span> {
    let scopes = inner(request, 1).into_iter().flat_map(|resource| inner(resource, 2));
    let spans = scopes.flat_map(|scope| inner(scope, 2));
    let read = |span: &[u8]| Span {
        name: text(span, 5),
        id: inner(span, 2)[0].to_vec(),
        parent: inner(span, 4).first().copied().unwrap_or_default().to_vec(),
        attributes: inner(span, 9)
            .into_iter()
            .map(|pair| (text(pair, 1), inner(pair, 2).first().map_or(String::new(), |value| text(value, 1))))
            .collect(),
    };
    spans.map(read).collect()
}

/// Requests as they came: the target and the body.
type Requests = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

fn collector() -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let requests = Requests::default();
    let to = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            loop {
                let (mut target, mut length) = (String::new(), 0);
                if reader.read_line(&mut target).unwrap_or(0) == 0 {
                    break;
                }
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    match line.trim_end().to_ascii_lowercase().split_once(": ") {
                        Some(("content-length", value)) => length = value.parse().unwrap(),
                        Some(_) => {}
                        None => break,
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                to.lock().unwrap().push((target.trim_end().to_owned(), body));
                reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
        }
    });
    (endpoint, requests)
}

#[test]
fn a_run_is_a_tree_of_spans_without_a_key_in_it() {
    let (endpoint, requests) = collector();
    let mut world = World::new(mixed(300));
    world.env.insert("OTEL_EXPORTER_OTLP_ENDPOINT".into(), endpoint);
    let keys: BTreeSet<String> = world.entries().iter().map(|entry| entry.key.to_string()).collect();
    world.run(&world.job(RULES)).expect(0);
    let requests = requests.lock().unwrap();
    assert!(!requests.is_empty() && requests.iter().all(|(target, _)| target == "POST /v1/traces HTTP/1.1"));
    let spans: Vec<Span> = requests.iter().flat_map(|(_, body)| spans(body)).collect();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let [run] = &*named("run") else { panic!("{spans:?}") };
    assert_eq!(run.attributes["s3sweep.run_id"], world.files().run_id);
    assert_eq!(run.attributes["s3sweep.ending"], "done");
    let (lists, batches) = (named("list"), named("batch"));
    assert!(!lists.is_empty() && !batches.is_empty(), "{spans:?}");
    assert!(lists.iter().chain(&batches).all(|span| span.parent == run.id));
    assert!(lists.iter().all(|span| span.attributes.contains_key("s3sweep.range")));
    let deletions: Vec<_> = named("request")
        .into_iter()
        .filter(|span| span.attributes["rpc.method"] == "DeleteObjects")
        .collect();
    assert!(deletions.len() >= batches.len(), "each batch is sent in one request or more");
    for span in deletions {
        assert!(batches.iter().any(|batch| batch.id == span.parent));
        assert!(!span.attributes["aws.request_id"].is_empty() && span.attributes["rpc.system"] == "aws-api");
    }
    for (_, body) in &*requests {
        let body = String::from_utf8_lossy(body);
        assert!(keys.iter().all(|key| !body.contains(key.as_str())));
        assert!(!body.contains(&world.env["AWS_SECRET_ACCESS_KEY"]));
    }
}

#[test]
fn a_collector_that_is_away_or_hangs_does_no_harm() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [silent.local_addr().unwrap(), gone] {
        let mut world = World::new(mixed(20));
        world.env.insert("OTEL_EXPORTER_OTLP_ENDPOINT".into(), format!("http://canary:canary@{address}"));
        world.env.insert("OTEL_EXPORTER_OTLP_HEADERS".into(), "authorization=canary".into());
        let ended = world.run(&world.job(RULES)).expect(0);
        assert!(ended.took < Duration::from_secs(20), "{:?}", ended.took);
        assert!(!ended.stderr.contains("canary"), "{}", ended.stderr);
    }
}
