//! Uploads in parts: what is begun here is completed or given up, else its parts are paid for unseen.

use bytes::Bytes;
use reqwest::Method;

use crate::model::{ChecksumKind, Key};
use crate::s3::checksum::ChecksumAlgorithm;
use crate::s3::client::Client;
use crate::s3::codes::Scope;
use crate::s3::encoding::query_value;
use crate::s3::error::{Context, Operation, S3Error};
use crate::s3::xml::{BadXml, Elements as _, escape_into, once, read_document};

use super::attributes::{Attributes, Expect, LONG, bug, customer_key_headers};
use super::parts::Part;
use super::written::{ObjectChecksum, PartWritten, Written};

/// S3 takes no part with a higher number.
const PART_NUMBER_MAX: u32 = 10_000;

/// Whether S3 can only make a checksum of this kind from those of the parts; completing then has to name
/// them.
const fn is_of_parts(kind: ChecksumKind) -> bool {
    matches!(kind, ChecksumKind::Sha1 | ChecksumKind::Sha256)
}

/// The query that names an upload. Without an id a DELETE would reach the object itself.
pub(super) fn upload_query(context: &Context<'_>, upload_id: &str) -> Result<String, S3Error> {
    if upload_id.is_empty() {
        return Err(bug(context, "an empty upload id"));
    }
    Ok(format!("uploadId={}", query_value(upload_id.as_bytes())))
}

/// The query that names a part of an upload.
pub(super) fn part_query(context: &Context<'_>, upload_id: &str, number: u32) -> Result<String, S3Error> {
    if !(1..=PART_NUMBER_MAX).contains(&number) {
        return Err(bug(context, "a part's number is from 1 to 10,000"));
    }
    Ok(format!("partNumber={number}&{}", upload_query(context, upload_id)?))
}

impl Client {
    /// Begins an upload in parts and gives its id. Everything that the object is given beside its data is
    /// given here.
    ///
    /// A CRC is kept of the whole object, SHA-1 and SHA-256 of the parts' digests: S3 can do no other.
    ///
    /// # Errors
    /// Those of the attempt. After an open outcome there may be an upload without parts, which
    /// [`Client::list_uploads`] finds.
    pub async fn create_upload(&self, key: &Key, attributes: &Attributes<'_>) -> Result<Box<str>, S3Error> {
        let operation = Operation::CreateMultipartUpload;
        let mut call = self.object_call(operation, Scope::Write, Method::POST, key, "uploads=".to_owned());
        attributes.add_to(&mut call)?;
        if let Some(kind) = attributes.checksum {
            let name = ChecksumAlgorithm::from(kind).name();
            let extent = if is_of_parts(kind) { "COMPOSITE" } else { "FULL_OBJECT" };
            call.headers.push(("x-amz-checksum-algorithm", name.to_owned()));
            call.headers.push(("x-amz-checksum-type", extent.to_owned()));
        }
        let answer = self.attempt_guarded(&call).await?;
        parse_upload_id(&answer.body).map_err(|why| answer.malformed(&call, &why))
    }

    /// Writes a part, with Content-MD5. Of the attributes the checksum and the customer's key are needed, as
    /// the upload was begun with them.
    ///
    /// # Errors
    /// Those of the attempt. Writing the same part again replaces it.
    pub async fn upload_part(
        &self,
        key: &Key,
        upload_id: &str,
        number: u32,
        body: Bytes,
        attributes: &Attributes<'_>,
    ) -> Result<PartWritten, S3Error> {
        let operation = Operation::UploadPart;
        let mut call = self.object_call(operation, Scope::Write, Method::PUT, key, String::new());
        call.query = part_query(&call.context, upload_id, number)?;
        call.timeout = Some(LONG);
        if let Some(key) = attributes.customer_key {
            call.headers.extend(customer_key_headers(key));
        }
        call.carry(body, attributes.checksum.map(ChecksumAlgorithm::from)).await;
        let answer = self.attempt_guarded(&call).await?;
        let etag = answer.etag_of_put(&call)?;
        Ok(PartWritten { etag, checksum: ObjectChecksum::of_headers(&answer) })
    }

    /// Makes an object of the parts, in the order of their numbers.
    ///
    /// # Errors
    /// Those of the attempt. `NoSuchUpload` also where an earlier request, whose answer was lost, has
    /// completed it: the destination tells.
    pub async fn complete_upload(
        &self,
        key: &Key,
        upload_id: &str,
        parts: &[Part],
        expect: Expect<'_>,
    ) -> Result<Written, S3Error> {
        let operation = Operation::CompleteMultipartUpload;
        let mut call = self.object_call(operation, Scope::Write, Method::POST, key, String::new());
        call.query = upload_query(&call.context, upload_id)?;
        if parts.is_empty() {
            return Err(bug(&call.context, "an upload without parts"));
        }
        call.timeout = Some(LONG);
        call.body = completion(parts);
        // A checksum header would be taken for the object's own.
        call.headers.push(("content-type", "application/xml".to_owned()));
        expect.add_to(&mut call.headers);
        let answer = self.attempt(&call).await?;
        answer.written(&call, "CompleteMultipartUploadResult")
    }

    /// Gives an upload up, and frees its parts. One that is not there counts as given up.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn abort_upload(&self, key: &Key, upload_id: &str) -> Result<(), S3Error> {
        let operation = Operation::AbortMultipartUpload;
        let mut call = self.object_call(operation, Scope::Write, Method::DELETE, key, String::new());
        call.query = upload_query(&call.context, upload_id)?;
        match self.attempt(&call).await {
            Ok(_) => Ok(()),
            Err(error) if &*error.code == "NoSuchUpload" => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn parse_upload_id(body: &[u8]) -> Result<Box<str>, BadXml> {
    read_document(body, "InitiateMultipartUploadResult", |document| {
        let mut id = None;
        while let Some(start) = document.child()? {
            match start.as_ref() {
                "UploadId" => once(&mut id, document)?,
                _ => document.skip()?,
            }
        }
        id.filter(|id| !id.is_empty()).map(|id| id.as_ref().into()).ok_or(BadXml::from("no UploadId"))
    })
}

/// The body that names the parts.
fn completion(parts: &[Part]) -> Bytes {
    let mut parts: Vec<&Part> = parts.iter().collect();
    parts.sort_by_key(|part| part.number);
    let mut body = b"<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_vec();
    for part in parts {
        body.extend_from_slice(b"<Part><PartNumber>");
        body.extend_from_slice(part.number.to_string().as_bytes());
        body.extend_from_slice(b"</PartNumber><ETag>");
        escape_into(&mut body, part.etag.as_bytes());
        body.extend_from_slice(b"</ETag>");
        // Where the upload was begun without one, naming one is an error.
        if let Some(checksum) = part.checksum.as_ref().filter(|checksum| is_of_parts(checksum.kind)) {
            let element = checksum.element();
            body.extend_from_slice(format!("<{element}>").as_bytes());
            escape_into(&mut body, checksum.value.as_bytes());
            body.extend_from_slice(format!("</{element}>").as_bytes());
        }
        body.extend_from_slice(b"</Part>");
    }
    body.extend_from_slice(b"</CompleteMultipartUpload>");
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u32, etag: &str, checksum: Option<ChecksumKind>) -> Part {
        let checksum =
            checksum.map(|kind| ObjectChecksum { kind, value: "x/+=".into(), is_full_object: true });
        Part { number, etag: etag.into(), size: 1, checksum }
    }

    #[test]
    fn parts_are_named_in_order_with_their_quotes_escaped() {
        let parts =
            [part(2, "plain", Some(ChecksumKind::Crc32)), part(1, "\"a-1\"", Some(ChecksumKind::Sha256))];
        assert_eq!(
            String::from_utf8_lossy(&completion(&parts)),
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Part><PartNumber>1</PartNumber><ETag>&quot;a-1&quot;</ETag>\
             <ChecksumSHA256>x/+=</ChecksumSHA256></Part>\
             <Part><PartNumber>2</PartNumber><ETag>plain</ETag></Part></CompleteMultipartUpload>"
        );
    }

    #[test]
    fn an_upload_id_is_whole_or_none() {
        let whole = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<InitiateMultipartUploadResult xmlns=\"u\">\
            <Bucket>b</Bucket><Key>k</Key><UploadId>2~a/b</UploadId></InitiateMultipartUploadResult>";
        assert_eq!(parse_upload_id(whole.as_bytes()).as_deref(), Ok("2~a/b"));
        for cut in 0..whole.len() {
            assert!(parse_upload_id(&whole.as_bytes()[..cut]).is_err(), "{cut}");
        }
        let empty = "<InitiateMultipartUploadResult><UploadId/></InitiateMultipartUploadResult>";
        assert!(parse_upload_id(empty.as_bytes()).is_err());
        assert!(parse_upload_id(b"<Other><UploadId>1</UploadId></Other>").is_err());
    }
}
