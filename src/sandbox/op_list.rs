//! ListObjectVersions and the two ListObjects.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::digits::push_time;
use super::entry::Entry;
use super::listing::{self, Next, PAGE_SIZE_MAX, Page, Query, Row, Source};
use super::ops::Context;
use super::refusal::Refusal;
use super::reply::Reply;
use super::request::Request;
use super::version_id::VersionRef;
use super::xml_out::{Xml, push_listing_encoded};
use crate::model::{Kind, STORAGE_CLASSES, Timestamp};

/// What a row takes with a key of some length: room that is made at once.
const ROW_BYTES: usize = 512;

/// How the text of a listing is written.
#[derive(Clone, Copy)]
pub(super) struct Encoding {
    /// `encoding-type=url` was asked for and is known.
    url: bool,
    /// It concerns the markers and the prefix too, as on AWS.
    markers: bool,
}

impl Encoding {
    pub(super) fn of(context: &Context<'_>, request: &Request) -> Result<Self, Refusal> {
        let url = match request.argument("encoding-type") {
            None | Some("") => false,
            Some("url") => !context.personality.ignore_encoding_type,
            Some(other) => {
                return Err(Refusal::argument(
                    "encoding-type",
                    other,
                    "Invalid Encoding Method specified in Request",
                ));
            }
        };
        Ok(Self { url, markers: url && !context.personality.encode_keys_not_markers })
    }

    pub(super) fn key(self, xml: &mut Xml, name: &'static str, text: &[u8]) {
        write_text(xml, name, text, self.url);
    }

    pub(super) fn marker(self, xml: &mut Xml, name: &'static str, text: &[u8]) {
        write_text(xml, name, text, self.markers);
    }

    pub(super) fn tell(self, xml: &mut Xml) {
        if self.url {
            xml.leaf("EncodingType", "url");
        }
    }
}

fn write_text(xml: &mut Xml, name: &'static str, text: &[u8], url: bool) {
    if url { xml.leaf_of(name, |out| push_listing_encoded(out, text)) } else { xml.leaf(name, text) }
}

fn rows_max(request: &Request) -> Result<usize, Refusal> {
    match request.argument("max-keys").filter(|text| !text.is_empty()) {
        None => Ok(PAGE_SIZE_MAX),
        Some(text) => match text.parse::<i32>().ok().and_then(|number| usize::try_from(number).ok()) {
            Some(number) => Ok(number.min(PAGE_SIZE_MAX)),
            None => Err(Refusal::argument(
                "max-keys",
                text,
                "Provided max-keys not an integer or within integer range",
            )),
        },
    }
}

fn argument_or_empty(request: &Request, name: &str) -> String {
    request.argument(name).unwrap_or("").to_owned()
}

/// The version to go on after. Alone, without a key, it is refused; so is one that is empty or that
/// this server cannot have given.
fn version_marker(context: &Context<'_>, request: &Request) -> Result<Option<VersionRef>, Refusal> {
    let Some(text) = request.argument("version-id-marker") else { return Ok(None) };
    let refuse = |why: &'static str| Err(Refusal::argument("version-id-marker", text, why));
    if request.argument("key-marker").is_none_or(str::is_empty) {
        // Ceph RGW, whose key markers include their key, passes over it.
        return if context.personality.inclusive_key_marker {
            Ok(None)
        } else {
            refuse("A version-id marker cannot be specified without a key marker.")
        };
    }
    if text.is_empty() {
        return refuse("A version-id marker cannot be empty.");
    }
    VersionRef::parse(text).map_or_else(|| refuse("Invalid version id specified"), |wanted| Ok(Some(wanted)))
}

/// ListObjectVersions.
pub(super) fn versions(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let encoding = Encoding::of(context, request)?;
    let query = Query {
        prefix: argument_or_empty(request, "prefix"),
        delimiter: argument_or_empty(request, "delimiter"),
        key_marker: argument_or_empty(request, "key-marker"),
        version_marker: version_marker(context, request)?,
        rows_max: rows_max(request)?,
    };
    let source = Source::of(&bucket);
    let page = listing::versions(&source, &query, context.personality);
    let mut xml = Xml::root("ListVersionsResult");
    xml.leaf("Name", request.bucket()?);
    encoding.marker(&mut xml, "Prefix", query.prefix.as_bytes());
    encoding.marker(&mut xml, "KeyMarker", query.key_marker.as_bytes());
    xml.leaf("VersionIdMarker", request.argument("version-id-marker").unwrap_or(""));
    if let Some(Next { key, version_id }) = &page.next {
        encoding.marker(&mut xml, "NextKeyMarker", key);
        if let Some(version_id) = version_id {
            xml.leaf("NextVersionIdMarker", version_id);
        }
    }
    xml.number("MaxKeys", query.rows_max as u64);
    if !query.delimiter.is_empty() {
        encoding.marker(&mut xml, "Delimiter", query.delimiter.as_bytes());
    }
    encoding.tell(&mut xml);
    xml.flag("IsTruncated", page.next.is_some());
    let mut rows: Vec<Row<'_>> = page.rows().collect();
    if context.personality.grouped_pages {
        rows.sort_by_key(|row| matches!(row, Row::Entry { entry, .. } if entry.kind == Kind::DeleteMarker));
    }
    let owner = owner_element(context);
    let restores = asked_restores(context, request);
    xml.reserve(rows.len() * ROW_BYTES);
    for row in rows {
        if let Row::Entry { key, entry, is_latest } = row {
            write_version(&mut xml, encoding, key, entry, is_latest, &owner, restores);
        }
    }
    write_common_prefixes(&mut xml, encoding, &page);
    Ok(Reply::xml(xml.finish()).about(page.len()))
}

fn write_version(
    xml: &mut Xml,
    encoding: Encoding,
    key: &[u8],
    entry: &Entry,
    is_latest: bool,
    owner: &[u8],
    restores: Option<Timestamp>,
) {
    let is_version = entry.kind == Kind::Version;
    xml.open(if is_version { "Version" } else { "DeleteMarker" });
    encoding.key(xml, "Key", key);
    xml.leaf_of("VersionId", |out| entry.push_id(out));
    xml.flag("IsLatest", is_latest);
    xml.leaf_of("LastModified", |out| push_time(out, entry.at));
    if is_version {
        write_data(xml, entry, restores);
    }
    xml.elements(owner);
    xml.close();
}

/// The quotes around an ETag.
const QUOTE: &[u8] = b"&quot;";

/// What listings tell of a version's data.
fn write_data(xml: &mut Xml, entry: &Entry, restores: Option<Timestamp>) {
    xml.leaf_of("ETag", |out| {
        out.extend_from_slice(QUOTE);
        entry.push_etag(out);
        out.extend_from_slice(QUOTE);
    });
    if let Some(checksum) = entry.extra.as_ref().and_then(|extra| extra.checksum.as_ref())
        && let Some((_, algorithm)) = super::checksum::algorithm(checksum.header)
    {
        xml.leaf("ChecksumAlgorithm", algorithm);
        xml.leaf("ChecksumType", checksum.kind());
    }
    xml.number("Size", entry.size);
    xml.leaf("StorageClass", STORAGE_CLASSES[usize::from(entry.class)]);
    if let Some((now, restore)) = restores.and_then(|now| Some((now, entry.restore(now)?))) {
        xml.open("RestoreStatus");
        xml.flag("IsRestoreInProgress", now < restore.ready);
        if restore.ready <= now {
            xml.leaf_of("RestoreExpiryDate", |out| push_time(out, restore.expiry));
        }
        xml.close();
    }
}

/// The time at which restores are to be told, where they are asked for.
fn asked_restores(context: &Context<'_>, request: &Request) -> Option<Timestamp> {
    let asked = request.header("x-amz-optional-object-attributes")?;
    asked.split(',').any(|name| name.trim() == "RestoreStatus").then_some(context.now)
}

/// The element that names the owner of each entry.
fn owner_element(context: &Context<'_>) -> Vec<u8> {
    format!("<Owner><ID>{}</ID></Owner>", context.canonical_owner()).into_bytes()
}

fn write_common_prefixes(xml: &mut Xml, encoding: Encoding, page: &Page<'_>) {
    for row in page.rows() {
        if let Row::CommonPrefix(prefix) = row {
            xml.open("CommonPrefixes");
            encoding.key(xml, "Prefix", prefix);
            xml.close();
        }
    }
}

fn write_objects(
    xml: &mut Xml,
    encoding: Encoding,
    page: &Page<'_>,
    owner: Option<&[u8]>,
    restores: Option<Timestamp>,
) {
    for row in page.rows() {
        if let Row::Entry { key, entry, .. } = row {
            xml.open("Contents");
            encoding.key(xml, "Key", key);
            xml.leaf_of("LastModified", |out| push_time(out, entry.at));
            write_data(xml, entry, restores);
            if let Some(owner) = owner {
                xml.elements(owner);
            }
            xml.close();
        }
    }
    write_common_prefixes(xml, encoding, page);
}

/// ListObjects: NextMarker is told only where there is a delimiter.
pub(super) fn objects_v1(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let encoding = Encoding::of(context, request)?;
    let query = Query {
        prefix: argument_or_empty(request, "prefix"),
        delimiter: argument_or_empty(request, "delimiter"),
        key_marker: argument_or_empty(request, "marker"),
        version_marker: None,
        rows_max: rows_max(request)?,
    };
    let source = Source::of(&bucket);
    let page = listing::objects(&source, &query, context.personality);
    let mut xml = Xml::root("ListBucketResult");
    xml.leaf("Name", request.bucket()?);
    encoding.marker(&mut xml, "Prefix", query.prefix.as_bytes());
    encoding.marker(&mut xml, "Marker", query.key_marker.as_bytes());
    xml.number("MaxKeys", query.rows_max as u64);
    if !query.delimiter.is_empty() {
        encoding.marker(&mut xml, "Delimiter", query.delimiter.as_bytes());
        if let Some(next) = &page.next {
            encoding.marker(&mut xml, "NextMarker", &next.key);
        }
    }
    encoding.tell(&mut xml);
    xml.flag("IsTruncated", page.next.is_some());
    write_objects(&mut xml, encoding, &page, Some(&owner_element(context)), asked_restores(context, request));
    Ok(Reply::xml(xml.finish()).about(page.len()))
}

/// ListObjectsV2: the continuation token is opaque to clients; here it is the key in base64.
pub(super) fn objects_v2(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let encoding = Encoding::of(context, request)?;
    let token = request.argument("continuation-token");
    let key_marker = match token {
        None => argument_or_empty(request, "start-after"),
        Some(token) => {
            BASE64.decode(token).ok().and_then(|key| String::from_utf8(key).ok()).ok_or_else(|| {
                Refusal::argument("continuation-token", token, "The continuation token provided is incorrect")
            })?
        }
    };
    let query = Query {
        prefix: argument_or_empty(request, "prefix"),
        delimiter: argument_or_empty(request, "delimiter"),
        key_marker,
        version_marker: None,
        rows_max: rows_max(request)?,
    };
    let source = Source::of(&bucket);
    let page = listing::objects(&source, &query, context.personality);
    let mut xml = Xml::root("ListBucketResult");
    xml.leaf("Name", request.bucket()?);
    encoding.marker(&mut xml, "Prefix", query.prefix.as_bytes());
    if let Some(token) = token {
        xml.leaf("ContinuationToken", token);
    }
    if let Some(next) = &page.next {
        xml.leaf("NextContinuationToken", BASE64.encode(&next.key));
    }
    if let Some(start) = request.argument("start-after") {
        encoding.marker(&mut xml, "StartAfter", start.as_bytes());
    }
    xml.number("KeyCount", page.len() as u64);
    xml.number("MaxKeys", query.rows_max as u64);
    if !query.delimiter.is_empty() {
        encoding.marker(&mut xml, "Delimiter", query.delimiter.as_bytes());
    }
    encoding.tell(&mut xml);
    xml.flag("IsTruncated", page.next.is_some());
    let owner = owner_element(context);
    let wants_owner = request.argument("fetch-owner") == Some("true");
    let owner = wants_owner.then_some(owner.as_slice());
    write_objects(&mut xml, encoding, &page, owner, asked_restores(context, request));
    Ok(Reply::xml(xml.finish()).about(page.len()))
}
