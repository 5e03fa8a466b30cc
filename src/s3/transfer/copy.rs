//! CopyObject and UploadPartCopy.

use super::attributes::{Attributes, Expect, Origin};
use super::written::{PartWritten, Written};
use crate::model::Key;
use crate::s3::client::Client;
use crate::s3::codes::PERMANENT;
use crate::s3::error::{Operation, S3Error};

impl Client {
    /// Copies one version.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn copy_version(
        &self,
        origin: &Origin<'_>,
        key: &Key,
        attributes: &Attributes<'_>,
        expect: Expect<'_>,
    ) -> Result<Written, S3Error> {
        let _ = (origin, key, attributes, expect);
        Err(self.context(Operation::CopyObject).error("NotImplemented", "", PERMANENT))
    }

    /// Copies a range of a version (first byte, byte behind the last) into a part.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn upload_part_copy(
        &self,
        origin: &Origin<'_>,
        range: Option<(u64, u64)>,
        key: &Key,
        upload_id: &str,
        number: u32,
        attributes: &Attributes<'_>,
    ) -> Result<PartWritten, S3Error> {
        let _ = (origin, range, key, upload_id, number, attributes);
        Err(self.context(Operation::UploadPartCopy).error("NotImplemented", "", PERMANENT))
    }
}
