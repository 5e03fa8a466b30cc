//! PutObject, and the DELETE that inserts a marker.

use super::attributes::{Attributes, Expect};
use super::written::Written;
use crate::model::Key;
use crate::s3::client::Client;
use crate::s3::codes::PERMANENT;
use crate::s3::error::{Operation, S3Error};
use bytes::Bytes;

impl Client {
    /// Writes an object.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn put_version(
        &self,
        key: &Key,
        body: Bytes,
        attributes: &Attributes<'_>,
        expect: Expect<'_>,
    ) -> Result<Written, S3Error> {
        let _ = (key, body, attributes, expect);
        Err(self.context(Operation::PutObject).error("NotImplemented", "", PERMANENT))
    }

    /// Inserts a delete marker.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn insert_marker(&self, key: &Key) -> Result<Written, S3Error> {
        let _ = (key,);
        Err(self.context(Operation::DeleteObject).error("NotImplemented", "", PERMANENT))
    }
}
