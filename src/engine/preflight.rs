//! What must be known of a bucket before its first version is listed.

use std::sync::Arc;

use crate::job::{Action, Job, Transfer};
use crate::model::{History, IfExists, LockSource, Timestamp, VersioningStatus};
use crate::pace::Pace;
use crate::rules::NullVersions;
use crate::s3::{Client, Operation, S3Error};
use crate::telemetry::Metrics;

use super::Ending;
use super::caller::Caller;
use super::errors::ending_of_s3;

/// The bucket as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BucketFacts {
    /// The server's time: the run begins now.
    pub now: Timestamp,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether versions are kept.
    pub versioning: VersioningStatus,
    /// Whether deleting a version needs a multi-factor token.
    pub mfa_delete: bool,
    /// Whether versions can be locked.
    pub object_lock: bool,
}

/// The bucket that copies go to, as it was found fit for them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DestinationFacts {
    /// The region that requests are signed for.
    pub region: String,
    /// Whether versions are kept.
    pub versioning: VersioningStatus,
    /// Whether versions can be locked; `false` where the job sets no locks and nobody asked.
    pub object_lock: bool,
}

/// The word for the checkpoint.
pub const fn word(versioning: VersioningStatus) -> &'static str {
    match versioning {
        VersioningStatus::Unversioned => "unversioned",
        VersioningStatus::Enabled => "enabled",
        VersioningStatus::Suspended => "suspended",
    }
}

/// Asks the server, changes nothing.
///
/// # Errors
/// The end of the run: wrong credentials, a missing bucket, an endpoint that speaks no S3, a bucket
/// without versions, an outage.
pub async fn look(client: Arc<Client>, metrics: Arc<Metrics>) -> Result<BucketFacts, Ending> {
    look_with(&Caller::new(client, Pace::default(), metrics, fastrand::u64(..))).await
}

/// As [`look`], with a caller that exists already.
pub(super) async fn look_with(caller: &Caller) -> Result<BucketFacts, Ending> {
    let client = &caller.client;
    let head = ask(caller.call(Operation::HeadBucket, 0, None, || client.head_bucket())).await?;
    let versioning =
        ask(caller.call(Operation::GetBucketVersioning, 0, None, || client.bucket_versioning())).await?;
    if versioning.status == VersioningStatus::Unversioned {
        return Err(Ending::Usage(format!(
            "bucket {} has never had versioning: it holds no old versions, and deleting what it holds would \
             delete live data. Nothing was done",
            client.bucket()
        )));
    }
    if !client.knows_server_time() {
        return Err(Ending::Usage(
            "the server sends no Date header: what is newer than the run cannot be told. Nothing was done"
                .into(),
        ));
    }
    let object_lock =
        match caller.call(Operation::GetObjectLockConfiguration, 0, None, || client.object_lock()).await {
            Ok(enabled) => enabled.unwrap_or_default(),
            // Only a hint for reading refusals; its absence must not end a run.
            Err(error) => {
                tracing::debug!("whether the bucket has Object Lock is not known: {error}");
                false
            }
        };
    Ok(BucketFacts {
        now: head.server_time,
        region: client.region(),
        versioning: versioning.status,
        mfa_delete: versioning.mfa_delete,
        object_lock,
    })
}

/// Looks at the bucket that copies go to as a run does before its first copy, for those who want to know it
/// beforehand.
///
/// # Errors
/// The end that a run would have: no answer, no permission, no such bucket, one that cannot hold what comes.
pub async fn look_for_copies(
    client: Arc<Client>,
    metrics: Arc<Metrics>,
    transfer: &Transfer,
) -> Result<DestinationFacts, Ending> {
    look_at_destination(&Caller::new(client, Pace::default(), metrics, fastrand::u64(..)), transfer).await
}

/// Looks at the bucket that copies go to, and refuses one that cannot hold them.
///
/// # Errors
/// The end of the run.
pub(super) async fn look_at_destination(
    caller: &Caller,
    transfer: &Transfer,
) -> Result<DestinationFacts, Ending> {
    let client = &caller.client;
    ask(caller.call(Operation::HeadBucket, 0, None, || client.head_bucket())).await?;
    let versioning =
        ask(caller.call(Operation::GetBucketVersioning, 0, None, || client.bucket_versioning())).await?;
    let needs_lock = transfer.settings.lock != LockSource::Default;
    let object_lock = if needs_lock {
        ask(caller.call(Operation::GetObjectLockConfiguration, 0, None, || client.object_lock())).await?
    } else {
        false
    };
    check_destination(client.bucket(), versioning.status, object_lock, transfer)?;
    Ok(DestinationFacts { region: client.region(), versioning: versioning.status, object_lock })
}

/// Whether a bucket can hold the histories that come to it.
///
/// # Errors
/// Why it cannot.
pub(super) fn check_destination(
    bucket: &str,
    versioning: VersioningStatus,
    object_lock: bool,
    transfer: &Transfer,
) -> Result<(), Ending> {
    let settings = &transfer.settings;
    let is_single = settings.history == History::Current || settings.key.is_by_version();
    let refuse =
        |why: &str| Err(Ending::Usage(format!("bucket {bucket}, where copies go: {why}. Nothing was done")));
    if versioning != VersioningStatus::Enabled && !is_single {
        return refuse(&format!(
            "its versioning is {}, and a history would be reduced to one version; enable versioning there, or \
             copy with `history: current`",
            word(versioning)
        ));
    }
    if versioning != VersioningStatus::Enabled && settings.if_exists == IfExists::Append {
        return refuse(&format!(
            "its versioning is {}, and `if_exists: append` would overwrite what is there",
            word(versioning)
        ));
    }
    if settings.lock != LockSource::Default && !object_lock {
        return refuse("it has no Object Lock, and the job sets locks");
    }
    Ok(())
}

/// Whether the versions of a bucket can be moved without losing one that is written meanwhile.
///
/// # Errors
/// Why they cannot: a `null` version of a suspended bucket is replaced by the next write to its key, and a
/// deletion names nothing but key and id. What was copied could be another than what is deleted.
pub fn check_moves(job: &Job, versioning: VersioningStatus) -> Result<(), Ending> {
    let moves = job.actions.iter().filter_map(Action::transfer).any(|to| to.removes_source.is_some());
    if moves && versioning == VersioningStatus::Suspended && job.null_versions == NullVersions::Allow {
        return Err(Ending::Usage(format!(
            "bucket {}: its versioning is suspended, so a `null` version can be replaced between its copy and \
             its deletion. Leave `null_versions: allow` out of a job that moves, copy instead, or enable \
             versioning. Nothing was done",
            job.bucket.name
        )));
    }
    Ok(())
}

/// An answer without which nothing can begin.
pub(super) async fn ask<T>(answer: impl Future<Output = Result<Option<T>, S3Error>>) -> Result<T, Ending> {
    match answer.await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(Ending::Interrupted("stopped before the first answer".into())),
        Err(error) => Err(ending_of_s3(&error)),
    }
}
