//! Uploads in parts.

use super::attributes::{Attributes, Expect};
use super::parts::Part;
use super::written::{PartWritten, Written};
use crate::model::Key;
use crate::s3::client::Client;
use crate::s3::codes::PERMANENT;
use crate::s3::error::{Operation, S3Error};
use bytes::Bytes;

impl Client {
    /// Begins an upload in parts and gives its id.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn create_upload(&self, key: &Key, attributes: &Attributes<'_>) -> Result<Box<str>, S3Error> {
        let _ = (key, attributes);
        Err(self.context(Operation::CreateMultipartUpload).error("NotImplemented", "", PERMANENT))
    }

    /// Writes a part.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn upload_part(
        &self,
        key: &Key,
        upload_id: &str,
        number: u32,
        body: Bytes,
        attributes: &Attributes<'_>,
    ) -> Result<PartWritten, S3Error> {
        let _ = (key, upload_id, number, body, attributes);
        Err(self.context(Operation::UploadPart).error("NotImplemented", "", PERMANENT))
    }

    /// Makes an object of the parts.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn complete_upload(
        &self,
        key: &Key,
        upload_id: &str,
        parts: &[Part],
        expect: Expect<'_>,
    ) -> Result<Written, S3Error> {
        let _ = (key, upload_id, parts, expect);
        Err(self.context(Operation::CompleteMultipartUpload).error("NotImplemented", "", PERMANENT))
    }

    /// Gives an upload up; one that is not there counts as given up.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn abort_upload(&self, key: &Key, upload_id: &str) -> Result<(), S3Error> {
        let _ = (key, upload_id);
        Err(self.context(Operation::AbortMultipartUpload).error("NotImplemented", "", PERMANENT))
    }
}
