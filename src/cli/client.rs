//! From a job to the client of its bucket, its state directory, and its job file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::{Destination, Ending, ending_of_s3};
use crate::job::{self, BucketSpec, Endpoint, Job, Problems};
use crate::model::ChecksumKind;
use crate::s3::{Addressing, ChecksumAlgorithm, Client, ClientConfig, StaticCredentials};

use super::args::Common;

/// A server of this process that stands in for the bucket's.
pub(super) struct StandIn {
    pub(super) endpoint: String,
    pub(super) credentials: StaticCredentials,
}

/// Reads and checks a job file.
pub(super) fn load(path: &Path) -> Result<Job, Ending> {
    read(path)?.map_err(|problems| unusable(&problems))
}

/// The end of a command whose job file has problems.
pub(super) fn unusable(problems: &Problems) -> Ending {
    Ending::Usage(format!("the job file cannot be used\n{problems}"))
}

/// Reads a job file: the job, or the problems of the file where it could be read.
pub(super) fn read(path: &Path) -> Result<Result<Job, Problems>, Ending> {
    let name = path.display().to_string();
    let too_large = || Ending::Usage(format!("{name}: the job file is larger than 256 KiB"));
    let size = fs::metadata(path).map_err(|error| Ending::Usage(format!("{name}: {error}")))?.len();
    if size > job::FILE_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let bytes = fs::read(path).map_err(|error| Ending::Usage(format!("{name}: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        Ending::Usage(format!("{name}: not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
    })?;
    Ok(job::load(&text, &name, &|variable| std::env::var(variable).ok()))
}

/// The client for a job's bucket.
pub(super) async fn connect(job: &Job, stand_in: Option<StandIn>) -> Result<Arc<Client>, Ending> {
    connect_to(&job.bucket, stand_in).await
}

/// The client for the bucket of a job's lock; absent where the job has none.
pub(super) async fn lock_client(
    job: &Job,
    own: &Arc<Client>,
    stand_in: impl Fn() -> Option<StandIn>,
) -> Result<Option<Arc<Client>>, Ending> {
    match &job.lock {
        None => Ok(None),
        Some(lock) if lock.bucket == job.bucket => Ok(Some(Arc::clone(own))),
        Some(lock) => connect_to(&lock.bucket, stand_in()).await.map(Some),
    }
}

/// Where each action of a job copies to.
pub(super) async fn destinations(
    job: &Job,
    stand_in: impl Fn() -> Option<StandIn>,
) -> Result<Vec<Option<Destination>>, Ending> {
    let mut known: Vec<(&BucketSpec, Arc<Client>)> = Vec::new();
    let mut found = Vec::with_capacity(job.actions.len());
    for action in &job.actions {
        let Some(transfer) = action.transfer() else {
            found.push(None);
            continue;
        };
        let (from, to) = (&job.bucket, &transfer.to);
        let server_can_copy = transfer.server_can_copy(from);
        let client = if from == to {
            None
        } else if let Some((_, client)) = known.iter().find(|(spec, _)| *spec == to) {
            Some(Arc::clone(client))
        } else {
            let client = connect_to(to, stand_in()).await?;
            known.push((to, Arc::clone(&client)));
            Some(client)
        };
        found.push(Some(Destination { client, server_can_copy }));
    }
    Ok(found)
}

pub(super) async fn connect_to(spec: &BucketSpec, stand_in: Option<StandIn>) -> Result<Arc<Client>, Ending> {
    let mut config = ClientConfig::new(spec.name.clone());
    config.region = spec.region.clone();
    config.addressing = match spec.addressing {
        job::Addressing::Auto => Addressing::Auto,
        job::Addressing::Path => Addressing::Path,
        job::Addressing::Virtual => Addressing::Virtual,
    };
    config.allow_http = spec.allow_http;
    config.profile = spec.profile.clone();
    config.expected_owner = spec.expected_owner.clone();
    config.request_payer = spec.request_payer;
    config.ca_bundle = spec.ca_bundle.clone();
    config.checksum = spec.checksum.map(|checksum| match checksum {
        ChecksumKind::Crc32 => ChecksumAlgorithm::Crc32,
        ChecksumKind::Crc32c => ChecksumAlgorithm::Crc32c,
        ChecksumKind::Crc64Nvme => ChecksumAlgorithm::Crc64Nvme,
        ChecksumKind::Sha1 => ChecksumAlgorithm::Sha1,
        ChecksumKind::Sha256 => ChecksumAlgorithm::Sha256,
    });
    match (&spec.endpoint, stand_in) {
        (Endpoint::Url(url), _) => config.endpoint = Some(url.clone()),
        (Endpoint::Aws, _) => {}
        (Endpoint::Sandbox, Some(stand_in)) => {
            config.endpoint = Some(stand_in.endpoint);
            config.static_credentials = Some(stand_in.credentials);
            config.region = config.region.or_else(|| Some("us-east-1".into()));
        }
        (Endpoint::Sandbox, None) => {
            return Err(Ending::Usage("`endpoint: sandbox` needs the cargo feature `sandbox`".into()));
        }
    }
    Client::new(config).await.map(Arc::new).map_err(|error| ending_of_s3(&error))
}

/// The directory above the state directories of all jobs.
pub(super) fn state_root(common: &Common) -> Result<PathBuf, Ending> {
    if let Some(dir) = &common.state_dir {
        return Ok(dir.clone());
    }
    dirs::state_dir().or_else(dirs::data_local_dir).map(|dir| dir.join("s3sweep")).ok_or_else(|| {
        Ending::Usage("no home directory is known: name a state directory with --state-dir".into())
    })
}
