//! Putting and reading objects.

use std::borrow::Cow;
use std::time::Instant;

use super::checksum;
use super::clock;
use super::oplog::Effect;
use super::ops::Context;
use super::refusal::Refusal;
use super::reply::{Reply, ReplyBody};
use super::request::Request;
use super::store::{
    Bucket, Content, Entry, Extra, Lock, RetentionMode, STORAGE_CLASSES, read, storage_class_index, write,
};
use super::version_id::VersionRef;
use super::xml_out::Xml;
use crate::model::{Key, Kind, VersioningStatus};

/// PutObject.
pub(super) fn put(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let key = request.key()?;
    if !context.chance.partition_takes(key.as_bytes(), Instant::now()) {
        return Err(Refusal::of("SlowDown"));
    }
    let class = request.header("x-amz-storage-class").unwrap_or("STANDARD");
    let class = storage_class_index(class)
        .ok_or_else(|| Refusal::of("InvalidStorageClass").with("StorageClassRequested", class))?;
    let md5 = checksum::md5(&request.body);
    let mut bucket = write(&bucket);
    bucket.check_writable()?;
    let extra = Extra {
        body: Some(request.body.clone()),
        md5: Some(md5),
        headers: kept_headers(request),
        checksum: context.proof.checksum.clone(),
        lock: lock_of(request, &bucket)?,
    };
    if request.header("if-none-match") == Some("*")
        && bucket.latest(key.as_bytes()).is_some_and(|latest| latest.kind == Kind::Version)
    {
        return Err(Refusal::of("PreconditionFailed").with("Condition", "If-None-Match"));
    }
    let content = Content {
        at: context.now,
        kind: Kind::Version,
        size: request.body.len() as u64,
        class,
        extra: Some(Box::new(extra)),
    };
    let is_versioned = bucket.status != VersioningStatus::Unversioned;
    let id = bucket.insert(key.as_bytes(), context.store.next_sequence(), content).id();
    context.log(request.bucket()?, std::iter::once((key.clone(), Some(id.clone()), Effect::Created)))?;
    let mut reply = Reply::empty(200).header("ETag", format!("\"{}\"", hex::encode(md5)));
    if is_versioned {
        reply = reply.header("x-amz-version-id", id);
    }
    if let Some((name, value)) = &context.proof.checksum {
        reply = reply.header(name, value).header("x-amz-checksum-type", "FULL_OBJECT");
    }
    Ok(reply)
}

/// The headers of an upload that come back with its data.
fn kept_headers(request: &Request) -> Vec<(String, String)> {
    let is_kept = |name: &str| {
        name.starts_with("x-amz-meta-")
            || matches!(name, "content-type" | "cache-control" | "content-disposition" | "content-language")
            || name == "content-encoding"
    };
    request
        .headers
        .iter()
        .filter(|(name, _)| is_kept(name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?)))
        .filter_map(|(name, value)| {
            // `aws-chunked` describes the way, not the data.
            let value = if name == "content-encoding" {
                value
                    .split(',')
                    .map(str::trim)
                    .filter(|part| *part != "aws-chunked")
                    .collect::<Vec<_>>()
                    .join(",")
            } else {
                value.to_owned()
            };
            (!value.is_empty()).then_some((name, value))
        })
        .collect()
}

/// The lock that an upload asks for.
fn lock_of(request: &Request, bucket: &Bucket) -> Result<Lock, Refusal> {
    let mode = match request.header("x-amz-object-lock-mode") {
        None => None,
        Some("GOVERNANCE") => Some(RetentionMode::Governance),
        Some("COMPLIANCE") => Some(RetentionMode::Compliance),
        Some(_) => return Err(Refusal::of("InvalidArgument").saying("Unknown wormMode directive.")),
    };
    let until = request.header("x-amz-object-lock-retain-until-date").map(|text| {
        clock::parse_rfc_3339(text).ok_or_else(|| {
            Refusal::of("InvalidArgument").saying("The retain until date must be provided in ISO 8601 format")
        })
    });
    let retention = match (mode, until.transpose()?) {
        (Some(mode), Some(until)) => Some((mode, until)),
        (None, None) => None,
        _ => {
            return Err(Refusal::of("InvalidArgument").saying(
                "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
            ));
        }
    };
    let legal_hold = request.header("x-amz-object-lock-legal-hold") == Some("ON");
    if (legal_hold || retention.is_some()) && !bucket.object_lock {
        return Err(Refusal::of("InvalidRequest").saying("Bucket is missing Object Lock Configuration"));
    }
    Ok(Lock { legal_hold, retention })
}

/// The version that a request reads: the one it names, or the latest.
fn find<'b>(bucket: &'b Bucket, request: &Request, key: &Key) -> Result<Cow<'b, Entry>, Refusal> {
    match named_version(request)? {
        Some((wanted, text)) => bucket
            .entry(key.as_bytes(), wanted)
            .ok_or_else(|| Refusal::of("NoSuchVersion").with("Key", key.to_string()).with("VersionId", text)),
        None => {
            let no_such_key = || Refusal::of("NoSuchKey").with("Key", key.as_str().unwrap_or_default());
            let latest = bucket.latest(key.as_bytes()).ok_or_else(no_such_key)?;
            if latest.kind == Kind::DeleteMarker {
                return Err(no_such_key()
                    .header("x-amz-delete-marker", "true")
                    .header("x-amz-version-id", latest.id()));
            }
            Ok(latest)
        }
    }
}

/// The version that a request names; what is no version id of this server's is InvalidArgument.
pub(super) fn named_version(request: &Request) -> Result<Option<(VersionRef, &str)>, Refusal> {
    match request.argument("versionId") {
        None => Ok(None),
        Some("") => Err(Refusal::argument("versionId", "", "Version id cannot be the empty string")),
        Some(text) => match VersionRef::parse(text) {
            Some(wanted) => Ok(Some((wanted, text))),
            None => Err(Refusal::argument("versionId", text, "Invalid version id specified")),
        },
    }
}

/// GetObject and HeadObject.
pub(super) fn get(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let key = request.key()?;
    let bucket = read(&bucket);
    let entry = find(&bucket, request, key)?;
    if entry.kind == Kind::DeleteMarker {
        return Err(Refusal::of("MethodNotAllowed")
            .with("Method", &*request.method)
            .with("ResourceType", "DeleteMarker")
            .header("x-amz-delete-marker", "true")
            .header("x-amz-version-id", entry.id())
            .header("Last-Modified", clock::http_date(entry.at))
            .header("Allow", "DELETE"));
    }
    let range = asked_range(request, entry.size)?;
    let (from, until) = range.unwrap_or((0, entry.size));
    let mut reply = Reply::empty(if range.is_some() { 206 } else { 200 })
        .header("Last-Modified", clock::http_date(entry.at))
        .header("ETag", format!("\"{}\"", entry.etag()))
        .header("Accept-Ranges", "bytes")
        .header("Content-Length", (until - from).to_string());
    if range.is_some() {
        let last = until.saturating_sub(1);
        reply = reply.header("Content-Range", format!("bytes {from}-{last}/{}", entry.size));
    }
    if bucket.status != VersioningStatus::Unversioned {
        reply = reply.header("x-amz-version-id", entry.id());
    }
    if entry.class != 0 {
        reply = reply.header("x-amz-storage-class", STORAGE_CLASSES[usize::from(entry.class)]);
    }
    reply = with_extra(reply, &entry, request, range.is_none());
    reply.body = data(&entry, from, until);
    Ok(reply)
}

/// What an upload left beside its data.
fn with_extra(mut reply: Reply, entry: &Entry, request: &Request, is_whole: bool) -> Reply {
    let headers = entry.extra.as_ref().map_or(&[][..], |extra| &extra.headers);
    if !headers.iter().any(|(name, _)| name == "content-type") {
        reply = reply.header("Content-Type", "binary/octet-stream");
    }
    for (name, value) in headers {
        reply = reply.header(name, value);
    }
    let wants_checksum = request.header("x-amz-checksum-mode").is_some_and(|mode| mode == "ENABLED");
    if let Some((name, value)) = entry.extra.as_ref().and_then(|extra| extra.checksum.as_ref())
        && wants_checksum
        && is_whole
    {
        reply = reply.header(name, value).header("x-amz-checksum-type", "FULL_OBJECT");
    }
    reply
}

fn data(entry: &Entry, from: u64, until: u64) -> ReplyBody {
    match entry.extra.as_ref().and_then(|extra| extra.body.as_ref()) {
        Some(body) => {
            let place = |offset| usize::try_from(offset).unwrap_or(body.len()).min(body.len());
            ReplyBody::Whole(body.slice(place(from)..place(until)))
        }
        None => ReplyBody::Filler { seed: entry.sequence, at: from, end: until },
    }
}

/// The part that a single `Range` asks for, its end exclusive. What is no such range is passed
/// over, as HTTP allows.
fn asked_range(request: &Request, size: u64) -> Result<Option<(u64, u64)>, Refusal> {
    let Some((first, last)) =
        request.header("range").and_then(|text| text.strip_prefix("bytes=")).and_then(|r| r.split_once('-'))
    else {
        return Ok(None);
    };
    let (first, last) = (first.trim(), last.trim());
    let (from, until) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(from), Ok(last)) if from <= last => (from, last.saturating_add(1).min(size)),
        (Ok(from), Err(_)) if last.is_empty() => (from, size),
        (Err(_), Ok(tail)) if first.is_empty() => (size.saturating_sub(tail), size),
        _ => return Ok(None),
    };
    if from >= until {
        return Err(Refusal::of("InvalidRange").with("ActualObjectSize", size.to_string()));
    }
    Ok(Some((from, until)))
}

fn lock_to_show(context: &Context<'_>, request: &Request) -> Result<Lock, Refusal> {
    let bucket = context.bucket(request)?;
    let bucket = read(&bucket);
    if !bucket.object_lock {
        return Err(Refusal::of("InvalidRequest").saying("Bucket is missing Object Lock Configuration"));
    }
    let entry = find(&bucket, request, request.key()?)?;
    if entry.kind == Kind::DeleteMarker {
        return Err(Refusal::of("MethodNotAllowed").header("x-amz-delete-marker", "true"));
    }
    Ok(entry.extra.as_ref().map(|extra| extra.lock).unwrap_or_default())
}

/// GetObjectRetention.
pub(super) fn retention(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let Some((mode, until)) = lock_to_show(context, request)?.retention else {
        return Err(Refusal::of("NoSuchObjectLockConfiguration"));
    };
    let mut xml = Xml::root("Retention");
    xml.leaf("Mode", if mode == RetentionMode::Governance { "GOVERNANCE" } else { "COMPLIANCE" });
    xml.leaf("RetainUntilDate", until.to_string());
    Ok(Reply::xml(xml.finish()))
}

/// GetObjectLegalHold.
pub(super) fn legal_hold(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let lock = lock_to_show(context, request)?;
    let mut xml = Xml::root("LegalHold");
    xml.leaf("Status", if lock.legal_hold { "ON" } else { "OFF" });
    Ok(Reply::xml(xml.finish()))
}
