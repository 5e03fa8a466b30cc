//! The sandbox inside this process: `endpoint: sandbox`.

use std::time::Duration;

use crate::engine::Ending;
use crate::job::{self, Action, Endpoint, Job, SandboxSpec};
use crate::model::VersioningStatus;
use crate::s3::StaticCredentials;
use crate::sandbox::{
    Config, CutListings, Faults, KeyErrors, KeyShape, Operation, Resets, Sandbox, Seed, When,
};

use super::client::StandIn;

/// The server of this process, where the job wants one.
pub(super) struct Embedded(Option<(Sandbox, StandIn)>);

impl Embedded {
    /// What the client needs to reach it.
    pub(super) fn stand_in(&self) -> Option<StandIn> {
        self.0.as_ref().map(|(_, stand_in)| StandIn {
            endpoint: stand_in.endpoint.clone(),
            credentials: stand_in.credentials.clone(),
        })
    }

    /// Ends the server, and everything in it.
    pub(super) async fn end(self) {
        if let Some((sandbox, _)) = self.0 {
            sandbox.shutdown().await;
        }
    }
}

/// Starts the server that the job asks for, filled as it says.
pub(super) async fn embed(job: &Job) -> Result<Embedded, Ending> {
    if job.bucket.endpoint != Endpoint::Sandbox {
        return Ok(Embedded(None));
    }
    let spec = job.sandbox.clone().unwrap_or_default();
    let credentials = StaticCredentials {
        access_key_id: format!("sandbox{:08x}", fastrand::u32(..)),
        secret_access_key: format!("{:032x}", fastrand::u128(..)),
        session_token: None,
    };
    let config = Config {
        listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
        access_key: credentials.access_key_id.clone(),
        secret_key: credentials.secret_access_key.clone(),
        region: job.bucket.region.clone().unwrap_or_else(|| "us-east-1".into()),
        seeds: vec![seed(job, &spec, job.actions.iter().any(|action| action.transfer().is_some()))],
        faults: faults(&spec),
        keep_oplog: false,
        ..Config::default()
    };
    tracing::info!(
        keys = spec.keys,
        versions_per_key = spec.versions_per_key,
        "filling the embedded sandbox"
    );
    let sandbox = Sandbox::start(config)
        .await
        .map_err(|error| Ending::LocalIo(format!("the embedded sandbox cannot start: {error}")))?;
    // Copies need versions at their destination; the job's own bucket is there already.
    for name in destinations(job) {
        sandbox.store().create_bucket(name, sandbox.now(), VersioningStatus::Enabled);
    }
    let stand_in = StandIn { endpoint: sandbox.endpoint(), credentials };
    Ok(Embedded(Some((sandbox, stand_in))))
}

/// The buckets of the embedded server that the job copies to.
fn destinations(job: &Job) -> impl Iterator<Item = &str> {
    let transfers = job.actions.iter().filter_map(Action::transfer);
    transfers.filter(|transfer| transfer.to.endpoint == Endpoint::Sandbox).map(|transfer| &*transfer.to.name)
}

/// The content that a job's `sandbox:` section describes. Where somebody may read it, its ETags are sums of
/// the data as on a real server, if that takes a moment and no more.
pub(super) fn seed(job: &Job, spec: &SandboxSpec, is_read: bool) -> Seed {
    let days = |age: Duration| age.as_secs_f64() / 86_400.0;
    Seed {
        bucket: job.bucket.name.clone(),
        seed: spec.seed,
        keys: spec.keys,
        versions_per_key: spec.versions_per_key,
        latest_marker_share: spec.marker_share,
        noncurrent_marker_share: spec.marker_share / 2.0,
        orphan_marker_share: spec.marker_share / 2.0,
        key_shape: match spec.key_shape {
            job::KeyShape::Hive => KeyShape::Hive,
            job::KeyShape::Flat => KeyShape::Flat,
            job::KeyShape::Unicode => KeyShape::Unicode,
            job::KeyShape::Odd => KeyShape::Odd,
        },
        prefixes: spec.prefixes.clone(),
        oldest_days: days(spec.oldest),
        newest_days: days(spec.newest),
        size_bytes_min: spec.size_bytes / 2,
        size_bytes_max: spec.size_bytes.saturating_add(spec.size_bytes / 2),
        real_etags: is_read && can_be_hashed(spec),
        ..Seed::default()
    }
}

fn can_be_hashed(spec: &SandboxSpec) -> bool {
    /// A second or so on one core.
    const HASHED_BYTES_MAX: u64 = 512 << 20;
    /// Each such version takes some hundred bytes of memory more.
    const HASHED_VERSIONS_MAX: u64 = 100_000;
    let versions = spec.keys.saturating_mul(u64::from(spec.versions_per_key));
    versions <= HASHED_VERSIONS_MAX && versions.saturating_mul(spec.size_bytes) <= HASHED_BYTES_MAX
}

/// The faults that a job's `sandbox:` section asks for.
pub(super) fn faults(spec: &SandboxSpec) -> Faults {
    let mut faults = Faults { seed: spec.seed, ..Faults::default() };
    let asked = spec.faults;
    if asked.key_error_share > 0.0 {
        faults.key_errors.push(KeyErrors {
            share: asked.key_error_share,
            codes: vec!["InternalError".into(), "SlowDown".into()],
            prefix: String::new(),
        });
    }
    if asked.reset_share > 0.0 {
        faults.resets.push(Resets {
            operation: Some(Operation::DeleteObjects),
            share: asked.reset_share,
            when: When::AfterApplying,
        });
    }
    if asked.truncated_share > 0.0 {
        faults.cut_listings = Some(CutListings { share: asked.truncated_share, at_byte: None });
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[tokio::test]
    async fn the_buckets_that_a_job_copies_to_are_there() {
        let text = "version: 1\nname: n\nbucket: { name: src, endpoint: sandbox }\nsandbox: { keys: 2 }\nrules:\n\
            - { name: a, match: { suffix: a }, action: { move: { bucket: dst } } }\n\
            - { name: b, match: { suffix: b }, action: { copy: { bucket: far, endpoint: 'https://x.example' } } }\n\
            - { name: c, match: { prefix: c }, action: { copy: { prefix: d/ } } }\n";
        let job = job::load(text, "job.yaml", &|_| None).unwrap();
        let embedded = embed(&job).await.unwrap();
        let store = embedded.0.as_ref().unwrap().0.store();
        assert_eq!(store.bucket_names(), ["dst", "src"]);
        // Only a bucket with versioning gives ids.
        let id = store.put("dst", "k", 1, Timestamp::from_millis(0)).unwrap();
        assert_ne!(id.as_str(), "null");
        embedded.end().await;
    }

    #[test]
    fn etags_are_sums_where_somebody_reads_and_they_take_a_moment() {
        let text = |keys: u32| {
            format!(
                "version: 1\nname: n\nbucket: {{ name: src, endpoint: sandbox }}\n\
                 sandbox: {{ keys: {keys}, versions_per_key: 4, size: 64KiB }}\n\
                 rules: [{{ name: a, match: {{ suffix: a }}, action: delete }}]\n"
            )
        };
        let is_hashed = |keys: u32, is_read: bool| {
            let job = job::load(&text(keys), "job.yaml", &|_| None).unwrap();
            seed(&job, job.sandbox.as_ref().unwrap(), is_read).real_etags
        };
        assert!(is_hashed(1000, true) && is_hashed(2048, true));
        assert!(!is_hashed(1000, false) && !is_hashed(2049, true));
    }
}
