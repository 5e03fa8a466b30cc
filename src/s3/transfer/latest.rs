//! What is current under a key, with its age: reading a small object without naming a version.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{DATE, LAST_MODIFIED};

use crate::model::{Key, VersionId};
use crate::s3::client::Client;
use crate::s3::clock::parse_http_date;
use crate::s3::codes::Scope;
use crate::s3::error::{Operation, S3Error};

/// The current version of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LatestObject {
    /// Its data.
    pub body: Bytes,
    /// As the server wrote it, with its quotes.
    pub etag: Box<str>,
    /// Absent on servers and in buckets without versions; `null` where versioning is suspended.
    pub version_id: Option<VersionId>,
    /// How long ago it was written: the answer's Date less its Last-Modified. Both are the server's, in
    /// whole seconds, so that it may be a second more or less.
    pub age: Duration,
}

impl Client {
    /// Reads what is current under a key; `None` where there is nothing, or a delete marker.
    ///
    /// # Errors
    /// Those of the attempt. `MalformedAnswer` where the answer lacks an ETag, a Date or a Last-Modified.
    pub async fn get_latest(&self, key: &Key) -> Result<Option<LatestObject>, S3Error> {
        let mut call = self.object_call(Operation::GetObject, Scope::Read, Method::GET, key, String::new());
        call.is_data = true;
        let answer = match self.attempt(&call).await {
            Ok(answer) => answer,
            Err(error) if error.is_absent() => return Ok(None),
            Err(error) => return Err(error),
        };
        let time = |name: &str| answer.header(name).and_then(parse_http_date);
        let etag = answer.header("etag").filter(|etag| !etag.is_empty());
        let (Some(etag), Some(date), Some(modified)) =
            (etag, time(DATE.as_str()), time(LAST_MODIFIED.as_str()))
        else {
            return Err(answer.malformed(&call, &"no ETag, Date or Last-Modified".into()));
        };
        Ok(Some(LatestObject {
            etag: etag.into(),
            version_id: answer.version_id(),
            age: date.since(modified).unwrap_or_default(),
            body: answer.body.clone(),
        }))
    }
}
