//! GetObject.

use super::head::ObjectHead;
use crate::model::{CustomerKeyBytes, Key, VersionId};
use crate::s3::client::Client;
use crate::s3::codes::PERMANENT;
use crate::s3::error::{Operation, S3Error};
use bytes::Bytes;

/// The longest range that one call reads.
pub const RANGE_BYTES_MAX: u64 = 256 * 1024 * 1024;

impl Client {
    /// Reads a range of a version (first byte, byte behind the last), or all of it.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn get_version(
        &self,
        key: &Key,
        version_id: &VersionId,
        etag: Option<&str>,
        range: Option<(u64, u64)>,
        customer_key: Option<&CustomerKeyBytes>,
    ) -> Result<(ObjectHead, Bytes), S3Error> {
        let _ = (key, version_id, etag, range, customer_key);
        Err(self.context(Operation::GetObject).error("NotImplemented", "", PERMANENT))
    }
}
