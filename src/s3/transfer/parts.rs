//! ListParts and ListMultipartUploads: what an interrupted upload has left.
//!
//! Every page is read whole. A list that goes on without saying where, or does not advance, is no answer.

use std::borrow::Cow;

use reqwest::Method;

use crate::model::Key;
use crate::s3::client::Client;
use crate::s3::codes::Scope;
use crate::s3::encoding::{Plus, decode, query_value};
use crate::s3::error::{Operation, S3Error};
use crate::s3::send::Call;
use crate::s3::xml::{BadXml, Document, Elements as _, once, read_document};

use super::multipart::upload_query;
use super::written::{ObjectChecksum, ToldXml};

/// A part of an upload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// From 1 to 10,000.
    pub number: u32,
    /// As the server wrote it, with its quotes.
    pub etag: Box<str>,
    /// Bytes.
    pub size: u64,
    /// As in [`PartWritten`](super::PartWritten).
    pub checksum: Option<ObjectChecksum>,
}

impl Client {
    /// Up to a thousand parts of an upload, by number, behind the number `after` (0 for the first page);
    /// `None` where there is no such upload.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn list_parts(
        &self,
        key: &Key,
        upload_id: &str,
        after: u32,
    ) -> Result<Option<PartsPage>, S3Error> {
        let operation = Operation::ListParts;
        let mut call = self.object_call(operation, Scope::Read, Method::GET, key, String::new());
        let upload = upload_query(&call.context, upload_id)?;
        let marker = if after > 0 { format!("&part-number-marker={after}") } else { String::new() };
        call.query = format!("max-parts=1000{marker}&{upload}");
        let answer = match self.attempt(&call).await {
            Ok(answer) => answer,
            Err(error) if &*error.code == "NoSuchUpload" => return Ok(None),
            Err(error) => return Err(error),
        };
        parse_parts(&answer.body, after).map(Some).map_err(|why| answer.malformed(&call, &why))
    }

    /// All unfinished uploads, with their ids, of keys that begin with `prefix`; one request for each
    /// thousand.
    ///
    /// # Errors
    /// Those of the attempts.
    pub async fn list_uploads(&self, prefix: &Key) -> Result<Vec<(Key, Box<str>)>, S3Error> {
        let mut uploads = Vec::new();
        let mut after: Option<(Key, Box<str>)> = None;
        loop {
            let mut query = String::from("encoding-type=url");
            if let Some((key, _)) = &after {
                query.push_str(&format!("&key-marker={}", query_value(key.as_bytes())));
            }
            query.push_str("&max-uploads=1000");
            if !prefix.as_bytes().is_empty() {
                query.push_str(&format!("&prefix={}", query_value(prefix.as_bytes())));
            }
            if let Some((_, id)) = after.as_ref().filter(|(_, id)| !id.is_empty()) {
                query.push_str(&format!("&upload-id-marker={}", query_value(id.as_bytes())));
            }
            query.push_str("&uploads=");
            let mut call = Call::ask(self.context(Operation::ListMultipartUploads), Method::GET, &query);
            call.scope = Scope::Listing;
            call.headers = self.common_headers();
            let answer = self.attempt(&call).await?;
            let plus = self.plus.get().copied().unwrap_or(Plus::Space);
            let page = parse_uploads(&answer.body, plus).map_err(|why| answer.malformed(&call, &why))?;
            uploads.extend(page.uploads.into_iter().filter(|(key, _)| key.starts_with(prefix.as_bytes())));
            match page.next {
                // Uploads of a key come by their age, not by their ids.
                Some(next) if after.as_ref().is_none_or(|last| last.0 <= next.0 && *last != next) => {
                    after = Some(next);
                }
                Some(_) => return Err(answer.malformed(&call, &"a list that does not advance".into())),
                None => return Ok(uploads),
            }
        }
    }
}

/// A page of parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartsPage {
    /// By number.
    pub parts: Vec<Part>,
    /// The number to go on behind; absent on the last page.
    pub next: Option<u32>,
}

fn number<T: std::str::FromStr>(text: Option<&str>, why: &'static str) -> Result<T, BadXml> {
    text.and_then(|text| text.trim().parse().ok()).ok_or(BadXml::from(why))
}

fn parse_parts(body: &[u8], after: u32) -> Result<PartsPage, BadXml> {
    let (mut parts, mut truncated, mut next) = (Vec::<Part>::new(), None, None);
    read_document(body, "ListPartsResult", |document| {
        while let Some(start) = document.child()? {
            match start.as_ref() {
                "Part" => parts.push(parse_part(document)?),
                "IsTruncated" => once(&mut truncated, document)?,
                "NextPartNumberMarker" => once(&mut next, document)?,
                _ => document.skip()?,
            }
        }
        Ok(())
    })?;
    let mut last = after;
    for part in &parts {
        if part.number <= last {
            return Err("parts out of order".into());
        }
        last = part.number;
    }
    let next = match truncated.as_deref() {
        Some("false") => None,
        Some("true") => {
            let next = number(next.as_deref(), "a list that goes on, but says not where")?;
            if next <= after || next < last {
                return Err("a list that does not advance".into());
            }
            Some(next)
        }
        _ => return Err("no IsTruncated".into()),
    };
    Ok(PartsPage { parts, next })
}

fn parse_part(document: &mut Document<'_>) -> Result<Part, BadXml> {
    let (mut told, mut part_number, mut size) = (ToldXml::default(), None, None);
    while let Some(start) = document.child()? {
        match start.as_ref() {
            "PartNumber" => once(&mut part_number, document)?,
            "Size" => once(&mut size, document)?,
            name => told.take(name, document)?,
        }
    }
    Ok(Part {
        number: number(part_number.as_deref(), "a part without a number")?,
        etag: told.etag().ok_or(BadXml::from("a part without an ETag"))?,
        size: number(size.as_deref(), "a part without a size")?,
        checksum: told.checksum(),
    })
}

/// A page of uploads.
#[derive(Debug, PartialEq, Eq)]
struct UploadsPage {
    uploads: Vec<(Key, Box<str>)>,
    /// The upload to go on behind.
    next: Option<(Key, Box<str>)>,
}

fn parse_uploads(body: &[u8], plus: Plus) -> Result<UploadsPage, BadXml> {
    let (mut raw, mut truncated, mut encoding) = (Vec::new(), None, None);
    let (mut next_key, mut next_id) = (None, None);
    read_document(body, "ListMultipartUploadsResult", |document| {
        while let Some(start) = document.child()? {
            match start.as_ref() {
                "Upload" => raw.push(parse_upload(document)?),
                "IsTruncated" => once(&mut truncated, document)?,
                "EncodingType" => once(&mut encoding, document)?,
                "NextKeyMarker" => once(&mut next_key, document)?,
                "NextUploadIdMarker" => once(&mut next_id, document)?,
                _ => document.skip()?,
            }
        }
        Ok(())
    })?;
    let is_encoded = encoding.as_deref() == Some("url");
    let key_of =
        |text: &str| Key::new(if is_encoded { decode(text, plus) } else { text.as_bytes().to_vec() });
    let uploads: Vec<(Key, Box<str>)> =
        raw.iter().map(|(key, id)| (key_of(key), id.as_ref().into())).collect();
    let next = match (truncated.as_deref(), next_key) {
        (Some("false"), _) => None,
        (Some("true"), Some(key)) => {
            let id = next_id.unwrap_or_default();
            // Ceph RGW encodes the keys, but not the markers.
            let last = uploads.last().filter(|(_, last)| **last == *id).map(|(key, _)| key.clone());
            Some((last.unwrap_or_else(|| key_of(&key)), id.as_ref().into()))
        }
        (Some("true"), None) => return Err("a list that goes on, but says not where".into()),
        _ => return Err("no IsTruncated".into()),
    };
    Ok(UploadsPage { uploads, next })
}

fn parse_upload<'a>(document: &mut Document<'a>) -> Result<(Cow<'a, str>, Cow<'a, str>), BadXml> {
    let (mut key, mut id) = (None, None);
    while let Some(start) = document.child()? {
        match start.as_ref() {
            "Key" => once(&mut key, document)?,
            "UploadId" => once(&mut id, document)?,
            _ => document.skip()?,
        }
    }
    match (key, id.filter(|id| !id.is_empty())) {
        (Some(key), Some(id)) => Ok((key, id)),
        _ => Err("an upload without a key or an id".into()),
    }
}

#[cfg(test)]
mod tests;
