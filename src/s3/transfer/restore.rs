//! RestoreObject.

use crate::model::{Key, Restore, VersionId};
use crate::s3::client::Client;
use crate::s3::codes::PERMANENT;
use crate::s3::error::{Operation, S3Error};

/// What came of asking for a restore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestoreAnswer {
    /// It has begun.
    Started,
    /// It had begun before.
    Ongoing,
    /// The version can be read.
    Restored,
}

impl Client {
    /// Asks for a readable copy of an archived version.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn restore_version(
        &self,
        key: &Key,
        version_id: &VersionId,
        restore: Restore,
    ) -> Result<RestoreAnswer, S3Error> {
        let _ = (key, version_id, restore);
        Err(self.context(Operation::RestoreObject).error("NotImplemented", "", PERMANENT))
    }
}
