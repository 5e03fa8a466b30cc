//! Putting and reading objects.

use std::borrow::Cow;

use super::attributes;
use super::checksum;
use super::clock;
use super::conditions;
use super::data::digest_of;
use super::encryption::{self, Encryption, check_key};
use super::entry::{Checksum, Content, Entry, Extra, Lock, RetentionMode};
use super::oplog::Effect;
use super::ops::Context;
use super::refusal::Refusal;
use super::reply::{Reply, ReplyBody};
use super::request::Request;
use super::store::{Bucket, read, write};
use super::version_id::{VersionRef, scramble};
use crate::model::{Key, Kind, STORAGE_CLASSES, Timestamp, VersioningStatus};

/// The beginning of the headers with a customer's key.
pub(super) const CUSTOMER: &str = "x-amz-server-side-encryption-customer";

/// PutObject.
pub(super) fn put(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let key = request.key()?;
    context.check_rate(key)?;
    let class = attributes::storage_class(request)?;
    let mut bucket = write(&bucket);
    bucket.check_writable()?;
    let asked = attributes::asked(context, request, &bucket)?;
    if asked.lock != Lock::default() && !context.proof.is_there() {
        return Err(Refusal::of("InvalidRequest").saying(
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock \
             parameters",
        ));
    }
    if context.personality.refuses_put_if_match && request.header("if-match").is_some() {
        return Err(Refusal::of("PreconditionFailed").with("Condition", "If-Match"));
    }
    if !context.personality.ignores_put_conditions {
        conditions::check_destination(request, &bucket, key.as_bytes())?;
    }
    let sequence = context.store.next_sequence();
    let digest = shown_digest(asked.encryption.as_ref(), sequence, || checksum::md5(&request.body));
    let extra = Extra {
        data: Some(request.body.clone().into()),
        digest: Some(digest),
        checksum: context.proof.checksum(),
        ..asked
    };
    let content = Content {
        at: context.now,
        kind: Kind::Version,
        size: request.body.len() as u64,
        class,
        extra: Some(Box::new(extra)),
    };
    let reply = Reply::empty(200).header("ETag", format!("\"{}\"", hex::encode(digest)));
    insert(context, request, &mut bucket, (key, sequence), content, reply)
}

/// Makes a version, logs it, and adds the headers that all answers about a new version have.
pub(super) fn insert(
    context: &Context<'_>,
    request: &Request,
    bucket: &mut Bucket,
    (key, sequence): (&Key, u64),
    content: Content,
    mut reply: Reply,
) -> Result<Reply, Refusal> {
    let is_versioned = bucket.status != VersioningStatus::Unversioned;
    let entry = bucket.insert(key.as_bytes(), sequence, content);
    let id = entry.id();
    reply = encryption::show(entry.encryption(), reply);
    if let Some(checksum) = entry.extra.as_ref().and_then(|extra| extra.checksum.as_ref())
        && context.operation == super::operation::Operation::PutObject
    {
        reply = show_checksum(checksum, reply);
    }
    context.log(request.bucket()?, std::iter::once((key.clone(), Some(id.clone()), Effect::Created)))?;
    Ok(if is_versioned { reply.header("x-amz-version-id", id) } else { reply })
}

fn show_checksum(checksum: &Checksum, reply: Reply) -> Reply {
    reply.header(checksum.header, &*checksum.value).header("x-amz-checksum-type", checksum.kind())
}

/// What an ETag shows of data: its MD5, unless it is encrypted with a key of its own.
pub(super) fn shown_digest(
    encryption: Option<&Encryption>,
    sequence: u64,
    md5: impl FnOnce() -> [u8; 16],
) -> [u8; 16] {
    if encryption.is_none_or(Encryption::shows_md5) {
        return md5();
    }
    digest_of(scramble(sequence.rotate_left(32)), scramble(!sequence.rotate_left(32)))
}

/// The version that a request reads: the one it names, or the latest.
pub(super) fn find<'b>(bucket: &'b Bucket, request: &Request, key: &Key) -> Result<Cow<'b, Entry>, Refusal> {
    let named = named_version(request)?;
    find_version(bucket, key, named)
}

/// The version of a key that is named, or the latest.
pub(super) fn find_version<'b>(
    bucket: &'b Bucket,
    key: &Key,
    named: Option<(VersionRef, &str)>,
) -> Result<Cow<'b, Entry>, Refusal> {
    match named {
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

/// The version that a request is about besides its data; a delete marker is refused.
pub(super) fn find_data<'b>(
    bucket: &'b Bucket,
    request: &Request,
    key: &Key,
) -> Result<Cow<'b, Entry>, Refusal> {
    let entry = find(bucket, request, key)?;
    if entry.kind == Kind::Version {
        return Ok(entry);
    }
    Err(Refusal::of("MethodNotAllowed")
        .with("Method", &*request.method)
        .with("ResourceType", "DeleteMarker")
        .header("x-amz-delete-marker", "true")
        .header("x-amz-version-id", entry.id())
        .header("Last-Modified", clock::http_date(entry.at))
        .header("Allow", "DELETE"))
}

/// The version that a request names; what is no version id of this server's is InvalidArgument.
pub(super) fn named_version(request: &Request) -> Result<Option<(VersionRef, &str)>, Refusal> {
    request.argument("versionId").map(read_version_id).transpose()
}

/// Reads a version id.
pub(super) fn read_version_id(text: &str) -> Result<(VersionRef, &str), Refusal> {
    if text.is_empty() {
        return Err(Refusal::argument("versionId", "", "Version id cannot be the empty string"));
    }
    match VersionRef::parse(text) {
        Some(wanted) => Ok((wanted, text)),
        None => Err(Refusal::argument("versionId", text, "Invalid version id specified")),
    }
}

/// Refuses to read data that is in an archive and not restored.
pub(super) fn check_restored(entry: &Entry, now: Timestamp) -> Result<(), Refusal> {
    if entry.needs_restore(now) {
        return Err(
            Refusal::of("InvalidObjectState").with("StorageClass", STORAGE_CLASSES[usize::from(entry.class)])
        );
    }
    Ok(())
}

/// GetObject and HeadObject.
pub(super) fn get(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let key = request.key()?;
    let bucket = read(&bucket);
    let entry = find_data(&bucket, request, key)?;
    check_key(entry.encryption(), request, CUSTOMER)?;
    conditions::check_read(request, &entry)?;
    if request.method != "HEAD" {
        check_restored(&entry, context.now)?;
    }
    let part = asked_part(request, &entry)?;
    let range = match part {
        Some(range) => Some(range),
        None => asked_range(request, entry.size)?,
    };
    let (from, until) = range.unwrap_or((0, entry.size));
    let mut reply = Reply::empty(if range.is_some() { 206 } else { 200 })
        .header("Last-Modified", clock::http_date(entry.at))
        .header("ETag", format!("\"{}\"", entry.etag()))
        .header("Accept-Ranges", "bytes")
        .header("Content-Length", (until - from).to_string());
    if range.is_some() && until > from {
        reply = reply.header("Content-Range", format!("bytes {from}-{}/{}", until - 1, entry.size));
    }
    if part.is_some() && !entry.parts().is_empty() {
        reply = reply.header("x-amz-mp-parts-count", entry.parts().len().to_string());
    }
    if bucket.status != VersioningStatus::Unversioned {
        reply = reply.header("x-amz-version-id", entry.id());
    }
    if entry.class != 0 {
        reply = reply.header("x-amz-storage-class", STORAGE_CLASSES[usize::from(entry.class)]);
    }
    reply = with_extra(reply, &entry, request, range.is_none(), context.now);
    reply.body = ReplyBody::Data(entry.data().slice(from, until));
    Ok(reply)
}

/// What belongs to a version beside its data.
fn with_extra(mut reply: Reply, entry: &Entry, request: &Request, is_whole: bool, now: Timestamp) -> Reply {
    let headers = entry.extra.as_ref().map_or(&[][..], |extra| &extra.headers);
    if !headers.iter().any(|(name, _)| name == "content-type") {
        reply = reply.header("Content-Type", "binary/octet-stream");
    }
    for (name, value) in headers {
        reply = reply.header(name, value);
    }
    let Some(extra) = &entry.extra else { return reply };
    if !extra.tags.is_empty() {
        reply = reply.header("x-amz-tagging-count", extra.tags.len().to_string());
    }
    if let Some((mode, until)) = extra.lock.retention {
        let mode = if mode == RetentionMode::Governance { "GOVERNANCE" } else { "COMPLIANCE" };
        reply = reply
            .header("x-amz-object-lock-mode", mode)
            .header("x-amz-object-lock-retain-until-date", until.to_string());
    }
    if extra.lock.legal_hold {
        reply = reply.header("x-amz-object-lock-legal-hold", "ON");
    }
    if let Some(to) = &extra.redirect {
        reply = reply.header("x-amz-website-redirect-location", to);
    }
    if let Some(restore) = entry.restore(now) {
        reply = reply.header(
            "x-amz-restore",
            if now < restore.ready {
                "ongoing-request=\"true\"".to_owned()
            } else {
                format!("ongoing-request=\"false\", expiry-date=\"{}\"", clock::http_date(restore.expiry))
            },
        );
    }
    let wants_checksum = request.header("x-amz-checksum-mode").is_some_and(|mode| mode == "ENABLED");
    if let Some(checksum) = extra.checksum.as_ref().filter(|_| wants_checksum && is_whole) {
        reply = show_checksum(checksum, reply);
    }
    encryption::show(entry.encryption(), reply)
}

/// The range of the part that `partNumber` asks for, its end exclusive. Data that came in one
/// request is part 1.
fn asked_part(request: &Request, entry: &Entry) -> Result<Option<(u64, u64)>, Refusal> {
    let Some(text) = request.argument("partNumber") else { return Ok(None) };
    if request.header("range").is_some() {
        return Err(Refusal::of("InvalidRequest")
            .saying("Cannot specify both Range header and partNumber query parameter"));
    }
    let number = part_number(text)?;
    let whole = [entry.size];
    let parts = if entry.parts().is_empty() { &whole } else { entry.parts() };
    let place = usize::from(number) - 1;
    let Some(length) = parts.get(place) else {
        return Err(Refusal::of("InvalidPartNumber")
            .with("PartNumberRequested", text)
            .with("ActualPartCount", parts.len().to_string()));
    };
    let from = parts[..place].iter().sum();
    Ok(Some((from, from + length)))
}

/// Reads the number of a part.
pub(super) fn part_number(text: &str) -> Result<u16, Refusal> {
    text.parse().ok().filter(|number| (1..=10_000).contains(number)).ok_or_else(|| {
        Refusal::argument("partNumber", text, "Part number must be an integer between 1 and 10000, inclusive")
    })
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
