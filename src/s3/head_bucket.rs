//! HeadBucket, and the way to the bucket's region.

use reqwest::Method;

use crate::model::Timestamp;

use super::client::Client;
use super::error::{Operation, S3Error};
use super::send::Call;

/// What the first contact tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BucketHead {
    /// The bucket's region, where the server names it; AWS does.
    pub region: Option<String>,
    /// The server's time, by this answer.
    pub server_time: Timestamp,
}

impl Client {
    /// Whether the bucket is there. Where the answer names another region, signs for that one from
    /// then on ([`Client::region`] tells) and asks once more.
    ///
    /// Needs `s3:ListBucket` or `s3:GetBucketVersioning`.
    ///
    /// # Errors
    /// Those of the attempt; [`super::StopKind::NotS3`] where the endpoint speaks no S3.
    pub async fn head_bucket(&self) -> Result<BucketHead, S3Error> {
        match self.head_once().await {
            Err(error) if self.adopt_region(&error) => self.head_once().await,
            result => result,
        }
    }

    async fn head_once(&self) -> Result<BucketHead, S3Error> {
        let mut call = Call::ask(self.context(Operation::HeadBucket), Method::HEAD, "");
        call.headers = self.common_headers();
        call.greeting = true;
        match self.attempt(&call).await {
            Ok(answer) => {
                let region = answer.header("x-amz-bucket-region").map(str::to_owned);
                Ok(BucketHead { region, server_time: self.last_told_time() })
            }
            // The answer to HEAD has no body, so a refusal says nothing beside its status: the same
            // question with GET says why, or shows that only HEAD is not permitted.
            Err(error) if self.wants_words(&error) => {
                self.bucket_versioning().await?;
                let region = error.region.as_deref().map(str::to_owned);
                Ok(BucketHead { region, server_time: self.last_told_time() })
            }
            Err(error) => Err(error),
        }
    }

    fn wants_words(&self, error: &S3Error) -> bool {
        let elsewhere = error.region.as_deref().is_some_and(|region| region != self.place().region);
        error.code.is_empty()
            && matches!(error.status, Some(300..500))
            && error.status != Some(429)
            && !elsewhere
    }
}
