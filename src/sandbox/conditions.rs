//! Conditions that requests put on what is there.

use super::clock;
use super::entry::Entry;
use super::refusal::Refusal;
use super::request::Request;
use super::store::Bucket;
use crate::model::Kind;

/// The names of four headers that belong together.
struct Names {
    matches: &'static str,
    none_match: &'static str,
    modified: &'static str,
    unmodified: &'static str,
}

const OF_READS: Names = Names {
    matches: "If-Match",
    none_match: "If-None-Match",
    modified: "If-Modified-Since",
    unmodified: "If-Unmodified-Since",
};
const OF_COPY_SOURCES: Names = Names {
    matches: "x-amz-copy-source-If-Match",
    none_match: "x-amz-copy-source-If-None-Match",
    modified: "x-amz-copy-source-If-Modified-Since",
    unmodified: "x-amz-copy-source-If-Unmodified-Since",
};

/// What came of the conditions on a version that is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    All,
    /// This one does not hold.
    Not(&'static str),
    /// The version is the one that the client has.
    Unchanged(&'static str),
}

fn names_etag(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|one| one == "*" || one.trim_matches('"') == etag)
}

/// Where an ETag condition is there and holds or fails, the date that goes with it says nothing.
fn held(request: &Request, entry: &Entry, names: &Names) -> Held {
    let header = |name: &str| request.header(&name.to_ascii_lowercase());
    let since = |name: &str| header(name).and_then(clock::parse_date);
    let (etag, at) = (entry.etag(), entry.at.floor_to_second());
    match header(names.matches) {
        Some(list) if !names_etag(list, &etag) => return Held::Not(names.matches),
        Some(_) => {}
        None if since(names.unmodified).is_some_and(|since| at > since) => {
            return Held::Not(names.unmodified);
        }
        None => {}
    }
    match header(names.none_match) {
        Some(list) if names_etag(list, &etag) => Held::Unchanged(names.none_match),
        Some(_) => Held::All,
        None if since(names.modified).is_some_and(|since| at <= since) => Held::Unchanged(names.modified),
        None => Held::All,
    }
}

fn failed(condition: &str) -> Refusal {
    Refusal::of("PreconditionFailed").with("Condition", condition)
}

/// The conditions on a version that is read.
pub(super) fn check_read(request: &Request, entry: &Entry) -> Result<(), Refusal> {
    match held(request, entry, &OF_READS) {
        Held::All => Ok(()),
        Held::Not(condition) => Err(failed(condition)),
        Held::Unchanged(_) => Err(Refusal::of("NotModified").header("ETag", format!("\"{}\"", entry.etag()))),
    }
}

/// The conditions on the source of a copy.
pub(super) fn check_source(request: &Request, entry: &Entry) -> Result<(), Refusal> {
    match held(request, entry, &OF_COPY_SOURCES) {
        Held::All => Ok(()),
        Held::Not(condition) | Held::Unchanged(condition) => Err(failed(condition)),
    }
}

/// The conditions on the key that a request writes.
pub(super) fn check_destination(request: &Request, bucket: &Bucket, key: &[u8]) -> Result<(), Refusal> {
    let latest = bucket.latest(key);
    let current = latest.as_deref().filter(|latest| latest.kind == Kind::Version);
    match (request.header("if-none-match"), request.header("if-match")) {
        (None, None) => Ok(()),
        (Some("*"), None) if current.is_none() => Ok(()),
        (Some("*"), None) => Err(failed("If-None-Match")),
        (None, Some(wanted)) => match current {
            None => Err(Refusal::of("NoSuchKey").with("Key", String::from_utf8_lossy(key))),
            Some(current) if names_etag(wanted, &current.etag()) => Ok(()),
            Some(_) => Err(failed("If-Match")),
        },
        (Some(_), _) => Err(Refusal::of("NotImplemented").with("Header", "If-None-Match").with(
            "additionalMessage",
            "We don't accept the provided value of If-None-Match header for this API",
        )),
    }
}
