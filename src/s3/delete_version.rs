//! DeleteObject, always with a version id: for keys that XML cannot hold, and for servers without
//! DeleteObjects.
//!
//! Deleting a named version is idempotent: AWS confirms what is not there.

use std::sync::Arc;

use reqwest::Method;

use crate::model::{DeleteOptions, Item};

use super::client::Client;
use super::codes::{Scope, Tripwire};
use super::delete_versions::{delete_headers, marker_appeared};
use super::encoding::query_value;
use super::error::{Operation, S3Error};
use super::send::{Answer, Call};

/// The server confirmed that the version is not there any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SingleDeleted {
    /// The server's name for the request.
    pub request_id: Option<Arc<str>>,
    /// The server said that there was no such version; AWS says so never.
    pub gone: bool,
}

impl Client {
    /// Deletes one version.
    ///
    /// # Errors
    /// Those of the attempt. `UnaddressableKey`, permanent and not sent, where the key's path would
    /// be changed on the way, as `a/../b` would. A tripwire where the server inserted a delete marker
    /// instead.
    pub async fn delete_version(
        &self,
        item: &Item,
        options: &DeleteOptions,
    ) -> Result<SingleDeleted, S3Error> {
        let mut context = self.context(Operation::DeleteObject);
        context.key = Some(&item.key);
        context.version_id = Some(&item.version_id);
        let mut call = Call::ask(context, Method::DELETE, "");
        call.scope = Scope::Single;
        call.query = format!("versionId={}", query_value(item.version_id.as_str().as_bytes()));
        call.headers = self.common_headers();
        call.headers.extend(delete_headers(options));
        match self.attempt(&call).await {
            Ok(answer) => check(&call, &answer, item),
            Err(error) if error.class == crate::model::Class::Done => {
                Ok(SingleDeleted { request_id: error.request_id.clone(), gone: true })
            }
            Err(error) => Err(error),
        }
    }
}

fn check(call: &Call<'_>, answer: &Answer, item: &Item) -> Result<SingleDeleted, S3Error> {
    let is_marker =
        answer.header("x-amz-delete-marker").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let id = answer.header("x-amz-version-id");
    if is_marker && marker_appeared(item, id) {
        let message = "a delete marker appeared: the server ignored the version id";
        let error = call.context.tripwire(Tripwire::VersionIdIgnored, message);
        return Err(answer.blame(error, true));
    }
    Ok(SingleDeleted { request_id: answer.request_id(), gone: false })
}
