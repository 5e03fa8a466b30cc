//! CopyObject and UploadPartCopy.
//!
//! The server sends the status before it has copied, and white space while it copies: only a whole document
//! with the right root says that something was written. Where the answer names the source's version, it must
//! be the one that was asked for.

use reqwest::Method;

use crate::model::Key;
use crate::s3::checksum::ChecksumAlgorithm;
use crate::s3::client::Client;
use crate::s3::codes::Scope;
use crate::s3::error::{Operation, S3Error};
use crate::s3::send::Call;

use super::attributes::{Attributes, Expect, LONG, Origin, bug, customer_key_headers};
use super::multipart::part_query;
use super::written::{PartWritten, ToldXml, Written};

const SOURCE_VERSION: &str = "x-amz-copy-source-version-id";

impl Client {
    /// Copies one version of up to 5 GB in one request.
    ///
    /// # Errors
    /// Those of the attempt. `PreconditionFailed` where the destination is not what was expected, or the
    /// source has another ETag; [`S3Error::is_absent`] where the source is not there. A tripwire where the
    /// server copied another version.
    pub async fn copy_version(
        &self,
        origin: &Origin<'_>,
        key: &Key,
        attributes: &Attributes<'_>,
        expect: Expect<'_>,
    ) -> Result<Written, S3Error> {
        let call = self.copy_call(origin, key, attributes, expect)?;
        let answer = self.attempt_guarded(&call).await?;
        answer.check_id(&call, SOURCE_VERSION, Some(origin.version_id.as_str()))?;
        answer.written(&call, "CopyObjectResult")
    }

    /// The request of [`Client::copy_version`].
    pub(super) fn copy_call<'a>(
        &'a self,
        origin: &Origin<'_>,
        key: &'a Key,
        attributes: &Attributes<'a>,
        expect: Expect<'_>,
    ) -> Result<Call<'a>, S3Error> {
        let operation = Operation::CopyObject;
        let mut call = self.object_call(operation, Scope::Write, Method::PUT, key, String::new());
        call.timeout = Some(LONG);
        call.headers.extend(origin.headers());
        let directive = |replaces: bool| if replaces { "REPLACE" } else { "COPY" }.to_owned();
        call.headers.push(("x-amz-metadata-directive", directive(attributes.metadata.is_some())));
        call.headers.push(("x-amz-tagging-directive", directive(attributes.tags.is_some())));
        if let Some(kind) = attributes.checksum {
            let name = ChecksumAlgorithm::from(kind).name();
            call.headers.push(("x-amz-checksum-algorithm", name.to_owned()));
        }
        expect.add_to(&mut call.headers);
        attributes.add_to(&mut call)?;
        Ok(call)
    }

    /// Copies a range of a version (its first byte, and the byte behind its last), or all of it, into a part
    /// of up to 5 GiB. Of the attributes only the customer's key is needed.
    ///
    /// # Errors
    /// Those of the attempt; see [`Client::copy_version`].
    pub async fn upload_part_copy(
        &self,
        origin: &Origin<'_>,
        range: Option<(u64, u64)>,
        key: &Key,
        upload_id: &str,
        number: u32,
        attributes: &Attributes<'_>,
    ) -> Result<PartWritten, S3Error> {
        let operation = Operation::UploadPartCopy;
        let mut call = self.object_call(operation, Scope::Write, Method::PUT, key, String::new());
        call.query = part_query(&call.context, upload_id, number)?;
        call.timeout = Some(LONG);
        call.headers.extend(origin.headers());
        if let Some((from, to)) = range {
            if from >= to {
                return Err(bug(&call.context, "an empty range of a version"));
            }
            call.headers.push(("x-amz-copy-source-range", format!("bytes={from}-{}", to - 1)));
        }
        if let Some(key) = attributes.customer_key {
            call.headers.extend(customer_key_headers(key));
        }
        let answer = self.attempt_guarded(&call).await?;
        answer.check_id(&call, SOURCE_VERSION, Some(origin.version_id.as_str()))?;
        let told =
            ToldXml::read(&answer.body, "CopyPartResult").map_err(|why| answer.malformed(&call, &why))?;
        let Some(etag) = told.etag() else { return Err(answer.malformed(&call, &"no ETag".into())) };
        Ok(PartWritten { etag, checksum: told.checksum() })
    }
}
