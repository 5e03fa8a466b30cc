//! RestoreObject.

use bytes::Bytes;
use reqwest::Method;

use crate::model::{Key, Restore, VersionId};
use crate::s3::client::Client;
use crate::s3::codes::Scope;
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
    /// Asks for a readable copy of an archived version. Asking twice does no harm. Without days (0) for
    /// Intelligent-Tiering, which takes none.
    ///
    /// # Errors
    /// Those of the attempt; [`S3Error::is_absent`] where the version is not there, `InvalidObjectState`
    /// where its storage class is no archive.
    pub async fn restore_version(
        &self,
        key: &Key,
        version_id: &VersionId,
        restore: Restore,
    ) -> Result<RestoreAnswer, S3Error> {
        let operation = Operation::RestoreObject;
        let version = (key, version_id);
        let mut call = self.version_call(operation, Scope::Write, Method::POST, version, "restore=&");
        call.headers.push(("content-type", "application/xml".to_owned()));
        call.carry(body_of(restore), None).await;
        match self.attempt(&call).await {
            // 202 where it begins, 200 where the copy is there already, and kept longer now.
            Ok(answer) if answer.status == 202 => Ok(RestoreAnswer::Started),
            Ok(_) => Ok(RestoreAnswer::Restored),
            Err(error) => match &*error.code {
                "RestoreAlreadyInProgress" => Ok(RestoreAnswer::Ongoing),
                "ObjectAlreadyInActiveTierError" => Ok(RestoreAnswer::Restored),
                _ => Err(error),
            },
        }
    }
}

fn body_of(restore: Restore) -> Bytes {
    let days = if restore.days > 0 { format!("<Days>{}</Days>", restore.days) } else { String::new() };
    let tier = restore.tier.as_str();
    format!(
        "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{days}\
         <GlacierJobParameters><Tier>{tier}</Tier></GlacierJobParameters></RestoreRequest>"
    )
    .into()
}
