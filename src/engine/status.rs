//! The watch over the bucket's versioning status: a change of it changes what deleting means.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Class, VersioningStatus};
use crate::s3::Operation;

use super::Ending;
use super::caller::Caller;
use super::context::Context;
use super::preflight;

/// How often the status is read again.
const INTERVAL: Duration = Duration::from_secs(180);

/// The status that a run began with, and a way to the server that a pause does not hold.
pub(super) struct StatusWatch {
    caller: Caller,
    began_with: VersioningStatus,
}

impl StatusWatch {
    /// Of a run whose requests `caller` sends.
    pub(super) fn new(caller: &Caller, began_with: VersioningStatus) -> Self {
        let (client, metrics) = (Arc::clone(&caller.client), Arc::clone(&caller.metrics));
        Self { caller: Caller::new(client, caller.pace.for_upkeep(), metrics, fastrand::u64(..)), began_with }
    }

    /// Reads the status, and aborts the run where it changed. Whether it is known to be what it was.
    pub(super) async fn holds(&self, ctx: &Context) -> bool {
        let client = &self.caller.client;
        match self.caller.call(Operation::GetBucketVersioning, 0, None, || client.bucket_versioning()).await {
            Ok(Some(now)) if now.status != self.began_with => {
                ctx.stop.abort(Ending::Tripwire(format!(
                    "the bucket's versioning was {} when the run began and is {} now",
                    preflight::word(self.began_with),
                    preflight::word(now.status)
                )));
                false
            }
            Ok(now) => now.is_some(),
            Err(error) => {
                if error.class == Class::Stop {
                    ctx.end_by(&error);
                } else {
                    tracing::warn!("the versioning status could not be read: {error}");
                }
                false
            }
        }
    }
}

/// Looks again and again, also during a pause; never ends by itself.
pub(super) async fn watch(ctx: Arc<Context>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        ctx.status.holds(&ctx).await;
    }
}
