//! ListObjectVersions: a page, or the reason why there is none.
//!
//! A page counts only if its root element closed with nothing but white space behind: S3 writes
//! IsTruncated before the versions, so a cut page otherwise parses as a shorter, last one. Versions
//! and delete markers stay in document order, which is the server's. Every key must begin with the
//! prefix sent, echoes must be what was sent, and the next marker must lie behind the last one.
//! Whether keys ascend from entry to entry is the caller's to check.
//!
//! Keys are asked for percent-encoded, since XML cannot hold all of them, and are decoded only where
//! the answer says EncodingType `url`. Servers differ in what they encode. Ceph RGW encodes the keys
//! but not the markers, so the next key marker is taken from the entry that it names. AWS and MinIO
//! write a space as `+` and a plus as `%2B`; servers that encode as for a path leave the plus and write
//! `%20`. A bare `+` is therefore read by what else the page shows, and where it shows nothing, by what
//! the server makes of a prefix that holds both: one more request in the life of a client, and none on
//! AWS.

use std::borrow::Cow;
use std::cmp::Ordering;

use reqwest::Method;

use crate::model::{Arena, Class, Key, Kind, Marker, Page, Span, TextSpan, Timestamp, Version, VersionId};
use crate::rules::KeyOrder;

use super::client::Client;
use super::codes::{Scope, Tripwire};
use super::encoding::{Plus, decode, decode_into, query_value};
use super::error::{Operation, S3Error};
use super::plain_xml::read_xml;
use super::send::{Answer, Call};
use super::xml::{BadXml, Elements, RawText, once, put_once};

/// The largest version that is believed: twenty times what S3 takes, and far from any overflow of a
/// sum over all versions of a bucket.
const SIZE_MAX: u64 = 1 << 50;
/// The most entries that S3 puts into a page.
const ENTRIES_MAX: u16 = 1000;

/// Which page is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListVersions<'a> {
    /// Only keys that begin so; may be empty.
    pub prefix: &'a [u8],
    /// Where the page before ended, or any key to start behind.
    pub from: Option<&'a Marker>,
    /// How many entries the page may have, 1 to 1,000; what lies outside is moved to the limit.
    pub page_size: u16,
    /// Whether ETag and storage class are wanted. A page without them takes a fifth less memory.
    pub wants_data: bool,
}

impl ListVersions<'_> {
    fn page_size(&self) -> u16 {
        self.page_size.clamp(1, ENTRIES_MAX)
    }

    /// The query, its parameters in the order of their names. A version id marker never goes alone:
    /// AWS answers InvalidArgument to it.
    fn query(&self) -> String {
        let mut query = String::from("encoding-type=url");
        if let Some(from) = self.from.filter(|from| !from.key.as_bytes().is_empty()) {
            query.push_str("&key-marker=");
            query.push_str(&query_value(from.key.as_bytes()));
        }
        query.push_str(&format!("&max-keys={}", self.page_size()));
        if !self.prefix.is_empty() {
            query.push_str("&prefix=");
            query.push_str(&query_value(self.prefix));
        }
        if let Some(from) = self.from.filter(|from| !from.key.as_bytes().is_empty())
            && let Some(id) = &from.version_id
        {
            query.push_str("&version-id-marker=");
            query.push_str(&query_value(id.as_str().as_bytes()));
        }
        query.push_str("&versions=");
        query
    }
}

impl Client {
    /// Fetches a page.
    ///
    /// # Errors
    /// Those of the attempt. A body that is cut, or is no page, is transient. A tripwire where the
    /// server broke a promise that deletion relies on.
    pub async fn list_versions(&self, request: &ListVersions<'_>) -> Result<Page, S3Error> {
        let call = self.list_call(request);
        let answer = self.attempt(&call).await?;
        let asked = Asked { bucket: self.bucket.echoed_name(), request };
        let mut result = parse(&answer.body, &asked, self.plus.get().copied());
        if matches!(result, Err(Fault::UnclearPlus)) {
            let plus = self.probe_plus(request).await?;
            result = parse(&answer.body, &asked, Some(plus));
        }
        result.map_err(|fault| match fault {
            Fault::Malformed(why) => answer.malformed(&call, &why),
            Fault::Tripwire(wire, message) => answer.blame(call.context.tripwire(wire, &message), false),
            Fault::UnclearPlus => answer.malformed(&call, &"a plus of unclear meaning".into()),
        })
    }

    fn list_call(&self, request: &ListVersions<'_>) -> Call<'_> {
        let mut call = Call::ask(self.context(Operation::ListObjectVersions), Method::GET, &request.query());
        call.scope = Scope::Listing;
        call.headers = self.common_headers();
        call
    }

    /// Asks for a prefix that ends in a plus and a space, and reads the echo.
    async fn probe_plus(&self, request: &ListVersions<'_>) -> Result<Plus, S3Error> {
        let mut prefix = request.prefix.to_vec();
        prefix.extend_from_slice(b"+ ");
        let probe = ListVersions { prefix: &prefix, from: None, page_size: 1, wants_data: false };
        let plus = match self.attempt(&self.list_call(&probe)).await {
            Ok(answer) => plus_of_echo(&answer),
            // A policy can bind listing to the job's own prefix.
            Err(error) if error.class == Class::Stop => Plus::Space,
            Err(error) => return Err(error),
        };
        tracing::debug!(meaning = ?plus, "found out what a bare + in an encoded key means");
        Ok(*self.plus.get_or_init(|| plus))
    }
}

/// A server that writes the plus as it is, means it; what AWS documents holds otherwise.
fn plus_of_echo(answer: &Answer) -> Plus {
    let echo = Raw::of(&answer.body, false).ok().and_then(|raw| raw.prefix).unwrap_or_default();
    if echo.ends_with("+%20") { Plus::Literal } else { Plus::Space }
}

/// Why an answer cannot be used.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Malformed(BadXml),
    Tripwire(Tripwire, String),
    /// A key holds a bare `+`, and nothing on the page tells what it means.
    UnclearPlus,
}

impl From<BadXml> for Fault {
    fn from(why: BadXml) -> Self {
        Self::Malformed(why)
    }
}

impl From<&'static str> for Fault {
    fn from(why: &'static str) -> Self {
        Self::Malformed(why.into())
    }
}

/// What an answer is held against.
struct Asked<'a> {
    /// What `Name` must echo; `None` for access points.
    bucket: Option<&'a str>,
    request: &'a ListVersions<'a>,
}

/// An entry as it stands in the document.
struct RawEntry<'a> {
    kind: Kind,
    key: Cow<'a, str>,
    id: Cow<'a, str>,
    is_latest: bool,
    last_modified: Timestamp,
    size: u64,
    etag: Option<RawText<'a>>,
    storage_class: Option<Cow<'a, str>>,
}

/// A page as it stands in the document: EncodingType may come behind the keys it speaks of.
#[derive(Default)]
struct Raw<'a> {
    name: Option<Cow<'a, str>>,
    prefix: Option<Cow<'a, str>>,
    key_marker: Option<Cow<'a, str>>,
    next_key_marker: Option<Cow<'a, str>>,
    next_version_id_marker: Option<Cow<'a, str>>,
    is_truncated: Option<Cow<'a, str>>,
    encoding_type: Option<Cow<'a, str>>,
    entries: Vec<RawEntry<'a>>,
}

impl<'a> Raw<'a> {
    fn of(body: &'a [u8], wants_data: bool) -> Result<Self, BadXml> {
        read_xml(
            body,
            |document| Self::read(document, wants_data),
            |document| Self::read(document, wants_data),
        )
    }

    fn read(document: &mut impl Elements<'a>, wants_data: bool) -> Result<Self, BadXml> {
        if document.root() != "ListVersionsResult" {
            return Err("the root element is not ListVersionsResult".into());
        }
        let mut raw = Self { entries: Vec::with_capacity(ENTRIES_MAX.into()), ..Self::default() };
        while let Some(start) = document.child()? {
            let slot = match start.as_ref() {
                name @ ("Version" | "DeleteMarker") => {
                    let kind = if name == "Version" { Kind::Version } else { Kind::DeleteMarker };
                    if raw.entries.len() == usize::from(ENTRIES_MAX) {
                        return Err("more than 1,000 entries".into());
                    }
                    raw.entries.push(RawEntry::read(document, kind, wants_data)?);
                    continue;
                }
                // Keys would hide behind it, and no delimiter was sent.
                "CommonPrefixes" => return Err("a common prefix that was not asked for".into()),
                "Name" => &mut raw.name,
                "Prefix" => &mut raw.prefix,
                "KeyMarker" => &mut raw.key_marker,
                "NextKeyMarker" => &mut raw.next_key_marker,
                "NextVersionIdMarker" => &mut raw.next_version_id_marker,
                "IsTruncated" => &mut raw.is_truncated,
                "EncodingType" => &mut raw.encoding_type,
                _ => {
                    document.skip()?;
                    continue;
                }
            };
            once(slot, document)?;
        }
        Ok(raw)
    }

    fn is_encoded(&self) -> bool {
        self.encoding_type.as_deref() == Some("url")
    }
}

impl<'a> RawEntry<'a> {
    fn read(document: &mut impl Elements<'a>, kind: Kind, wants_data: bool) -> Result<Self, BadXml> {
        let (mut key, mut id, mut is_latest, mut last_modified) = (None, None, None, None);
        let (mut size, mut etag, mut storage_class) = (None, None, None);
        let wanted = |name: &str| match name {
            "Key" | "VersionId" | "IsLatest" | "LastModified" | "Size" => true,
            "StorageClass" | "ETag" => wants_data,
            _ => false,
        };
        document.leaves(wanted, |name, text| {
            let slot = match name {
                "Key" => &mut key,
                "VersionId" => &mut id,
                "IsLatest" => &mut is_latest,
                "LastModified" => &mut last_modified,
                "Size" => &mut size,
                "StorageClass" => &mut storage_class,
                _ => return put_once(&mut etag, text),
            };
            put_once(slot, text.resolved()?)
        })?;
        let size = match (kind, size) {
            (Kind::Version, size) => {
                size.as_deref().and_then(|text| text.parse().ok()).filter(|size| *size <= SIZE_MAX)
            }
            (Kind::DeleteMarker, _) => Some(0),
        };
        let is_version = kind == Kind::Version;
        Ok(Self {
            kind,
            key: key.filter(|key| !key.is_empty()).ok_or(BadXml::from("an entry without Key"))?,
            id: id.filter(|id| !id.is_empty()).ok_or(BadXml::from("an entry without VersionId"))?,
            is_latest: is_latest
                .and_then(|text| flag(&text))
                .ok_or(BadXml::from("an entry without IsLatest"))?,
            last_modified: last_modified
                .and_then(|text| timestamp(&text))
                .ok_or(BadXml::from("an entry without LastModified"))?,
            size: size.ok_or(BadXml::from("a version without Size"))?,
            etag: etag.filter(|etag: &RawText<'_>| is_version && !etag.text.is_empty()),
            storage_class: storage_class.filter(|class| is_version && !class.is_empty()),
        })
    }
}

/// The entries with their texts in one arena: entries of one key share its bytes.
fn decoded(entries: &[RawEntry<'_>], encoding: Encoding) -> Result<Vec<Version>, BadXml> {
    let length = |entry: &RawEntry<'_>| {
        let etag = entry.etag.as_ref().map_or(0, |etag| etag.text.len());
        entry.key.len() + entry.id.len() + etag
    };
    let mut arena = Arena::with_capacity(entries.iter().map(length).sum());
    let mut spans = Vec::with_capacity(entries.len());
    let (mut last_key, mut last_class) = ((Span::default(), ""), (TextSpan::default(), ""));
    for entry in entries {
        if *entry.key != *last_key.1 {
            last_key = (arena.put_with(|out| encoding.append(&entry.key, out)), &*entry.key);
        }
        let id = arena.put_str(&entry.id);
        let etag = match &entry.etag {
            Some(etag) => Some(arena.put_text(|out| etag.append_to(out))?),
            None => None,
        };
        let class = entry.storage_class.as_deref();
        if let Some(class) = class.filter(|class| *class != last_class.1) {
            last_class = (arena.put_str(class), class);
        }
        spans.push((last_key.0, id, etag, class.map(|_| last_class.0)));
    }
    let arena = arena.seal();
    let version = |(entry, (key, id, etag, class)): (&RawEntry<'_>, (Span, _, Option<_>, Option<_>))| {
        Some(Version {
            key: Key::at(&arena, key),
            id: VersionId::at(&arena, id)?,
            kind: entry.kind,
            is_latest: entry.is_latest,
            last_modified: entry.last_modified,
            size: entry.size,
            etag: etag.map(|etag| arena.text(etag)),
            storage_class: class.map(|class| arena.text(class)),
        })
    };
    let versions: Option<Vec<Version>> = entries.iter().zip(spans).map(version).collect();
    versions.ok_or_else(|| "an entry without VersionId".into())
}

fn flag(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn timestamp(text: &str) -> Option<Timestamp> {
    if let Some(quick) = Timestamp::from_rfc3339_utc(text.as_bytes()) {
        return Some(quick);
    }
    let parsed: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_millis(parsed.as_millisecond()))
}

/// How the keys of a page are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Encoding {
    Plain,
    Url(Plus),
}

impl Encoding {
    fn bytes(self, text: &str) -> Vec<u8> {
        match self {
            Self::Plain => text.as_bytes().to_vec(),
            Self::Url(plus) => decode(text, plus),
        }
    }

    fn append(self, text: &str, out: &mut Vec<u8>) {
        match self {
            Self::Url(plus) => decode_into(text, plus, out),
            Self::Plain => out.extend_from_slice(text.as_bytes()),
        }
    }
}

impl ListVersions<'_> {
    /// Reads a page out of the body of an answer to this request, as [`Client::list_versions`] does,
    /// for a body that came by another way: one on file, or one whose reading is measured.
    ///
    /// # Errors
    /// Why the body cannot be used. One of the reasons is a key with a bare `+`, of which only the
    /// server could tell what it means.
    pub fn read_answer(&self, body: &[u8]) -> Result<Page, String> {
        parse(body, &Asked { bucket: None, request: self }, None).map_err(|fault| match fault {
            Fault::Malformed(why) => why.0.into_owned(),
            Fault::Tripwire(_, message) => message,
            Fault::UnclearPlus => "a plus of unclear meaning".to_owned(),
        })
    }
}

/// Reads a page and holds it against the request. `plus` is what is known of the server.
fn parse(body: &[u8], asked: &Asked<'_>, plus: Option<Plus>) -> Result<Page, Fault> {
    let mut raw = Raw::of(body, asked.request.wants_data)?;
    let encoding = encoding_of(body, &raw, asked, plus)?;
    check_echoes(&raw, asked)?;
    let truncated = raw.is_truncated.as_deref().and_then(flag).ok_or("IsTruncated is missing")?;
    let entries = std::mem::take(&mut raw.entries);
    let versions = decoded(&entries, encoding)?;
    let prefix = asked.request.prefix;
    if let Some(stray) = versions.iter().find(|version| !version.key.starts_with(prefix)) {
        let message =
            format!("key \"{}\" does not begin with the prefix \"{}\"", stray.key, Key::new(prefix));
        return Err(Fault::Tripwire(Tripwire::PrefixIgnored, message));
    }
    let next = if truncated { Some(next_marker(&raw, &versions, encoding, asked)?) } else { None };
    Ok(Page { versions, next })
}

/// What the page's keys are written in, from what is known, what was echoed, and what else the keys
/// show.
fn encoding_of(
    body: &[u8],
    raw: &Raw<'_>,
    asked: &Asked<'_>,
    known: Option<Plus>,
) -> Result<Encoding, Fault> {
    if !raw.is_encoded() {
        return Ok(Encoding::Plain);
    }
    if let Some(plus) = known {
        return Ok(Encoding::Url(plus));
    }
    let keys = || raw.entries.iter().map(|entry| &*entry.key);
    // Most pages hold none at all, and one look at the whole is quicker than one at each key. A page may
    // write its plus as an entity.
    let may_hold_plus = memchr::memchr(b'+', body).is_some() || memchr::memmem::find(body, b"&#").is_some();
    if !may_hold_plus || !keys().any(|key| key.contains('+')) {
        return Ok(Encoding::Url(Plus::Space));
    }
    let sent_marker = asked.request.from.map(|from| from.key.as_bytes()).unwrap_or_default();
    for (echo, sent) in [(&raw.prefix, asked.request.prefix), (&raw.key_marker, sent_marker)] {
        // An echo that is not encoded shows nothing.
        let Some(echo) = echo.as_deref().filter(|echo| echo.as_bytes() != sent) else { continue };
        match (decode(echo, Plus::Space) == sent, decode(echo, Plus::Literal) == sent) {
            (true, false) => return Ok(Encoding::Url(Plus::Space)),
            (false, true) => return Ok(Encoding::Url(Plus::Literal)),
            _ => {}
        }
    }
    let spaces = keys().any(|key| key.contains("%20"));
    let pluses = keys().any(|key| key.contains("%2B") || key.contains("%2b"));
    match (spaces, pluses) {
        (true, false) => Ok(Encoding::Url(Plus::Literal)),
        (false, true) => Ok(Encoding::Url(Plus::Space)),
        _ => Err(Fault::UnclearPlus),
    }
}

/// An echo is good in any of the forms that servers write it in, and where it is left out.
fn check_echoes(raw: &Raw<'_>, asked: &Asked<'_>) -> Result<(), Fault> {
    let differs = |what: &str, echo: &str| {
        let message = format!("the answer is about another {what}: \"{}\"", echo.escape_debug());
        Err(Fault::Tripwire(Tripwire::EchoDiffers, message))
    };
    if let (Some(echo), Some(name)) = (raw.name.as_deref(), asked.bucket)
        && !echo.is_empty()
        && echo != name
    {
        return differs("bucket", echo);
    }
    let marker = asked.request.from.map(|from| from.key.as_bytes()).unwrap_or_default();
    for (what, echo, sent) in
        [("prefix", &raw.prefix, asked.request.prefix), ("key marker", &raw.key_marker, marker)]
    {
        let Some(echo) = echo.as_deref().filter(|echo| !echo.is_empty()) else { continue };
        let equal = echo.as_bytes() == sent
            || raw.is_encoded()
                && [Plus::Space, Plus::Literal].iter().any(|plus| decode(echo, *plus) == sent);
        if !equal {
            return differs(what, echo);
        }
    }
    Ok(())
}

/// Where to go on: the entry that NextVersionIdMarker names. NextKeyMarker, which some servers write
/// encoded and some do not, tells entries of the same id apart, and stands alone where there is none.
fn next_marker(
    raw: &Raw<'_>,
    versions: &[Version],
    encoding: Encoding,
    asked: &Asked<'_>,
) -> Result<Marker, Fault> {
    let named = raw.next_key_marker.as_deref().filter(|key| !key.is_empty());
    let id = raw.next_version_id_marker.as_deref().and_then(VersionId::new);
    let forms = named.map(|key| [encoding.bytes(key), key.as_bytes().to_vec()]);
    let is_named = |version: &Version| {
        forms.as_ref().is_some_and(|forms| forms.iter().any(|form| form == version.key.as_bytes()))
    };
    // `null` is the id of many entries. Pages that write all versions before all markers end with
    // another entry than the last in order, so the greatest key counts, not the last line.
    let of_id = versions.iter().filter(|version| Some(&version.id) == id.as_ref());
    let entry = of_id.max_by_key(|version| (is_named(version), &version.key));
    let key = match (entry, named, &forms) {
        (Some(entry), ..) => entry.key.clone(),
        (None, Some(_), Some([decoded, plain])) => {
            let shown = |form: &[u8]| versions.iter().any(|version| version.key.as_bytes() == form);
            Key::new(if shown(plain) && !shown(decoded) { plain.clone() } else { decoded.clone() })
        }
        _ => {
            let message = "the listing goes on, but the answer does not say where".to_owned();
            return Err(Fault::Tripwire(Tripwire::TruncatedWithoutMarker, message));
        }
    };
    let next = Marker { key, version_id: id };
    match asked.request.from {
        // Which order the keys are in is the caller's to judge: a step back in bytes may be one forward.
        Some(from) if next == *from || is_before(&next.key, &from.key) => {
            let message = format!("the next page would begin at \"{}\" again", next.key);
            Err(Fault::Tripwire(Tripwire::NoProgress, message))
        }
        _ => Ok(next),
    }
}

/// Whether a key comes before another whatever the order: in bytes, and in UTF-16 code units.
fn is_before(key: &Key, other: &Key) -> bool {
    [KeyOrder::Bytes, KeyOrder::Utf16].iter().all(|order| order.compare(key, other) == Ordering::Less)
}

#[cfg(test)]
mod tests;
