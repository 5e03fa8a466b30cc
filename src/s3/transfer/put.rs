//! PutObject, and the DELETE that inserts a marker.

use bytes::Bytes;
use reqwest::Method;

use crate::model::Key;
use crate::s3::checksum::{ChecksumAlgorithm, Digests};
use crate::s3::client::Client;
use crate::s3::codes::{Scope, Tripwire};
use crate::s3::error::{Operation, S3Error};
use crate::s3::send::Call;

use super::attributes::{Attributes, Expect, LONG};
use super::written::{ObjectChecksum, Written};

impl Call<'_> {
    /// Gives the call a body, with Content-MD5 and the checksum that is wanted beside it.
    pub(super) async fn carry(&mut self, body: Bytes, checksum: Option<ChecksumAlgorithm>) {
        let digests = Digests::of(&body, checksum).await;
        self.headers.push(("content-md5", digests.md5));
        if let Some((algorithm, value)) = digests.checksum {
            self.headers.push((algorithm.header(), value));
            self.headers.push(("x-amz-sdk-checksum-algorithm", algorithm.name().to_owned()));
        }
        self.body_sha256 = Some(digests.sha256);
        self.body = body;
    }
}

impl Client {
    /// Writes an object in one request, with Content-MD5, so that the server compares what arrives.
    ///
    /// # Errors
    /// Those of the attempt. `PreconditionFailed` where the destination is not what was expected.
    pub async fn put_version(
        &self,
        key: &Key,
        body: Bytes,
        attributes: &Attributes<'_>,
        expect: Expect<'_>,
    ) -> Result<Written, S3Error> {
        let operation = Operation::PutObject;
        let mut call = self.object_call(operation, Scope::Write, Method::PUT, key, String::new());
        call.timeout = Some(LONG);
        expect.add_to(&mut call.headers);
        attributes.add_to(&mut call)?;
        call.carry(body, attributes.checksum.map(ChecksumAlgorithm::from)).await;
        let answer = self.attempt_guarded(&call).await?;
        let etag = Some(answer.etag_of_put(&call)?);
        let checksum = ObjectChecksum::of_headers(&answer);
        Ok(Written { version_id: answer.version_id(), etag, checksum, request_id: answer.request_id() })
    }

    /// Inserts a delete marker: the one request of this program that names no version. A bucket that keeps
    /// no versions must never get it, for there it deletes data.
    ///
    /// Ceph RGW inserts no second marker on top of one, and its answer then names a version that need not
    /// exist.
    ///
    /// # Errors
    /// Those of the attempt. A tripwire where the answer speaks neither of a marker nor of a version.
    pub async fn insert_marker(&self, key: &Key) -> Result<Written, S3Error> {
        let operation = Operation::DeleteObject;
        let call = self.object_call(operation, Scope::Write, Method::DELETE, key, String::new());
        let answer = self.attempt(&call).await?;
        let version_id = answer.version_id();
        let is_marker =
            answer.header("x-amz-delete-marker").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        if !is_marker && version_id.is_none() {
            let message = "no delete marker was inserted: does the bucket keep versions?";
            return Err(answer.blame(call.context.tripwire(Tripwire::NoMarkerMade, message), true));
        }
        Ok(Written { version_id, etag: None, checksum: None, request_id: answer.request_id() })
    }
}
