//! HeadObject.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;

use crate::model::{CustomerKeyBytes, Key, RetentionMode, Timestamp, VersionId};
use crate::s3::client::Client;
use crate::s3::codes::Scope;
use crate::s3::error::{Operation, S3Error};
use crate::s3::send::{Answer, Call};
use crate::s3::xml::BadXml;

use super::attributes::{CONTENT_HEADERS, META, customer_key_headers};
use super::written::ObjectChecksum;

/// What a server tells of a version without its data.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ObjectHead {
    /// Bytes of the object; where a part was asked for, of that part.
    pub size: u64,
    /// As the server wrote it, with its quotes.
    pub etag: Option<Box<str>>,
    /// Absent on servers without versions.
    pub version_id: Option<VersionId>,
    /// Header name in lower case -> value: `content-type`, `cache-control`, `content-disposition`,
    /// `content-encoding`, `content-language`, `expires`, `x-amz-meta-*`.
    pub metadata: BTreeMap<String, String>,
    /// `x-amz-website-redirect-location`.
    pub website_redirect: Option<String>,
    /// Absent for STANDARD.
    pub storage_class: Option<Box<str>>,
    /// How many tags it has, where the server tells.
    pub tag_count: u32,
    /// How many parts it was written in; told only where a part was asked for.
    pub parts_count: Option<u32>,
    /// Present where a restore of an archived version was asked for.
    pub restore: Option<RestoreState>,
    /// Mode, and until when.
    pub retention: Option<(RetentionMode, Timestamp)>,
    /// Whether a legal hold is placed.
    pub legal_hold: bool,
    /// Told only where it was asked for.
    pub checksum: Option<ObjectChecksum>,
    /// `AES256`, `aws:kms`, ...
    pub encryption_kind: Option<Box<str>>,
    /// How many metadata entries no header can hold, so that they are not among `metadata`.
    pub missing_meta: u32,
}

/// How far a restore is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestoreState {
    /// Not there yet.
    Ongoing,
    /// A copy can be read.
    Restored,
}

/// What HeadObject is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadVersion<'a> {
    /// Its key.
    pub key: &'a Key,
    /// Its version id.
    pub version_id: &'a VersionId,
    /// Where given, only this part: S3 then tells how many there are.
    pub part: Option<u32>,
    /// The key that it is encrypted with, for SSE-C.
    pub customer_key: Option<&'a CustomerKeyBytes>,
    /// Whether the checksum that the server keeps is wanted.
    pub with_checksum: bool,
}

impl Client {
    /// What there is to know of a version, or of one of its parts, without reading it.
    ///
    /// # Errors
    /// Those of the attempt; [`S3Error::is_absent`] where the version is not there, status 405 where it is a
    /// delete marker; [`S3Error::is_wordless`] where [`Client::explain_head`] can tell why. A tripwire where
    /// the answer is about another version.
    pub async fn head_version(&self, ask: &HeadVersion<'_>) -> Result<ObjectHead, S3Error> {
        let call = self.head_call(Method::HEAD, ask, ask.part);
        let answer = self.attempt_guarded(&call).await?;
        answer.check_version(&call)?;
        ObjectHead::read(&answer, None).map_err(|why| answer.malformed(&call, &why))
    }

    fn head_call<'a>(&'a self, method: Method, ask: &HeadVersion<'a>, part: Option<u32>) -> Call<'a> {
        let what = part.map(|part| format!("partNumber={part}&")).unwrap_or_default();
        let version = (ask.key, ask.version_id);
        let mut call = self.version_call(Operation::HeadObject, Scope::Read, method, version, &what);
        call.headers.extend(ask.customer_key.into_iter().flat_map(customer_key_headers));
        if ask.with_checksum {
            call.headers.push(("x-amz-checksum-mode", "ENABLED".to_owned()));
        }
        call
    }

    /// Why a HEAD was refused: its answer has no body, so that a GET of the first byte asks again. Where that
    /// tells nothing either, the wordless error comes back.
    pub async fn explain_head(&self, ask: &HeadVersion<'_>, wordless: S3Error) -> S3Error {
        // A part and a range exclude each other.
        let mut call = self.head_call(Method::GET, ask, None);
        call.is_data = true;
        call.headers.push(("range", "bytes=0-0".to_owned()));
        match self.attempt_guarded(&call).await {
            Err(error) if error.status.is_some() && !error.code.is_empty() => error,
            _ => wordless,
        }
    }
}

impl ObjectHead {
    /// Reads the headers of an answer about an object of `size` bytes, or of as many as Content-Length says.
    pub(super) fn read(answer: &Answer, size: Option<u64>) -> Result<Self, BadXml> {
        let text = |name| answer.header(name).filter(|text| !text.is_empty());
        let number = |name| text(name).and_then(|text| text.trim().parse().ok());
        let announced = text("content-length").and_then(|text| text.trim().parse().ok());
        let (metadata, unreadable) = metadata_of(answer);
        Ok(Self {
            size: size.or(announced).ok_or(BadXml::from("no Content-Length"))?,
            etag: text("etag").map(Into::into),
            version_id: answer.version_id(),
            metadata,
            website_redirect: text("x-amz-website-redirect-location").map(str::to_owned),
            storage_class: text("x-amz-storage-class").map(Into::into),
            tag_count: number("x-amz-tagging-count").unwrap_or(0),
            parts_count: number("x-amz-mp-parts-count"),
            restore: text("x-amz-restore").map(restore_state),
            retention: retention_of(answer)?,
            legal_hold: text("x-amz-object-lock-legal-hold") == Some("ON"),
            checksum: ObjectChecksum::of_headers(answer),
            encryption_kind: text("x-amz-server-side-encryption").map(Into::into),
            missing_meta: number("x-amz-missing-meta").unwrap_or(0) + unreadable,
        })
    }
}

/// Content headers and user metadata, and how many entries are not text in UTF-8.
fn metadata_of(answer: &Answer) -> (BTreeMap<String, String>, u32) {
    let (mut metadata, mut unreadable) = (BTreeMap::<String, String>::new(), 0);
    for (name, value) in &answer.headers {
        let name = name.as_str();
        if !(name.starts_with(META) || CONTENT_HEADERS.contains(&name)) {
            continue;
        }
        let Ok(value) = std::str::from_utf8(value.as_bytes()) else {
            unreadable += 1;
            continue;
        };
        // What was sent twice is one value with a comma in HTTP.
        metadata
            .entry(name.to_owned())
            .and_modify(|text| {
                text.push(',');
                text.push_str(value);
            })
            .or_insert_with(|| value.to_owned());
    }
    (metadata, unreadable)
}

/// Reads `ongoing-request="false", expiry-date="..."`.
fn restore_state(text: &str) -> RestoreState {
    if text.contains("ongoing-request=\"false\"") { RestoreState::Restored } else { RestoreState::Ongoing }
}

/// A retention that cannot be understood must not be taken for none.
fn retention_of(answer: &Answer) -> Result<Option<(RetentionMode, Timestamp)>, BadXml> {
    let Some(mode) = answer.header("x-amz-object-lock-mode").filter(|mode| !mode.is_empty()) else {
        return Ok(None);
    };
    let modes = [RetentionMode::Governance, RetentionMode::Compliance];
    let mode = modes.into_iter().find(|known| known.as_str() == mode);
    let until = answer.header("x-amz-object-lock-retain-until-date").and_then(until_of);
    match (mode, until) {
        (Some(mode), Some(until)) => Ok(Some((mode, until))),
        _ => Err("a retention that cannot be understood".into()),
    }
}

/// Ceph RGW writes nine digits of a second's fraction; a millisecond more keeps the lock whole.
fn until_of(text: &str) -> Option<Timestamp> {
    if let Some(time) = Timestamp::from_rfc3339_utc(text.as_bytes()) {
        return Some(time);
    }
    let (head, fraction) = text.strip_suffix('Z')?.split_once('.')?;
    let is_long = fraction.len() > 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let (millis, rest) = fraction.split_at_checked(3).filter(|_| is_long)?;
    let time = Timestamp::from_rfc3339_utc(format!("{head}.{millis}Z").as_bytes())?;
    let is_whole = rest.bytes().all(|digit| digit == b'0');
    Some(if is_whole { time } else { time.plus(Duration::from_millis(1)) })
}
