//! ListParts and ListMultipartUploads.

use super::written::ObjectChecksum;
use crate::model::Key;
use crate::s3::client::Client;
use crate::s3::codes::PERMANENT;
use crate::s3::error::{Operation, S3Error};

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
    /// All parts of an upload; `None` where there is no such upload.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn list_parts(&self, key: &Key, upload_id: &str) -> Result<Option<Vec<Part>>, S3Error> {
        let _ = (key, upload_id);
        Err(self.context(Operation::ListParts).error("NotImplemented", "", PERMANENT))
    }

    /// All unfinished uploads, with their ids, of keys that begin with `prefix`.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn list_uploads(&self, prefix: &Key) -> Result<Vec<(Key, Box<str>)>, S3Error> {
        let _ = (prefix,);
        Err(self.context(Operation::ListMultipartUploads).error("NotImplemented", "", PERMANENT))
    }
}
