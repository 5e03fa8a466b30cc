//! GetObjectTagging.

use std::collections::BTreeMap;

use crate::model::{Key, VersionId};
use crate::s3::client::Client;
use crate::s3::codes::PERMANENT;
use crate::s3::error::{Operation, S3Error};

impl Client {
    /// The tags of a version.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn tags(&self, key: &Key, version_id: &VersionId) -> Result<BTreeMap<String, String>, S3Error> {
        let _ = (key, version_id);
        Err(self.context(Operation::GetObjectTagging).error("NotImplemented", "", PERMANENT))
    }
}
