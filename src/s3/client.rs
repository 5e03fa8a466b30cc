//! The client: what all attempts share.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Certificate;

use crate::http::client_builder;
use crate::model::Timestamp;

use super::bucket::Bucket;
use super::clock::{Clock, local_now};
use super::codes::{StopKind, Verdict};
use super::config::ClientConfig;
use super::credentials::{Identities, NoCredentials, configured_region};
use super::encoding::Plus;
use super::endpoint::{Place, check_region};
use super::error::{Context, Operation, S3Error};

/// Signs where nothing names a region: what AWS's global names and most other servers take.
const REGION_DEFAULT: &str = "us-east-1";
/// As many connections as the engine may have requests in flight.
const IDLE_CONNECTIONS_MAX: usize = 2048;
/// AWS closes idle connections after about 20 seconds; one that it just closed costs a reset.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// A bucket, the way to it, and the connections that lead there.
pub struct Client {
    pub(super) config: ClientConfig,
    pub(super) bucket: Bucket,
    pub(super) http: reqwest::Client,
    /// Pages have connections of their own: a connection keeps a buffer of the size of the largest
    /// answers that came over it.
    pub(super) http_of_pages: reqwest::Client,
    pub(super) identities: Identities,
    pub(super) clock: Clock,
    place: Mutex<Arc<Place>>,
    /// Whether any request was answered well: from then on a bad signature is no bad secret.
    pub(super) accepted: AtomicBool,
    /// What this server means by a bare `+`, once it is known.
    pub(super) plus: OnceLock<Plus>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("bucket", &self.bucket).field("place", &self.place()).finish()
    }
}

impl Client {
    /// Checks the configuration, finds the region (configuration, then environment and profile) and
    /// the credentials provider. Sends nothing to S3; where no region is known, the first
    /// [`Client::head_bucket`] finds it.
    ///
    /// # Errors
    /// [`StopKind::Config`], with the reason.
    pub async fn new(config: ClientConfig) -> Result<Self, S3Error> {
        let name = config.bucket.clone();
        let context = Context { operation: Operation::Configure, bucket: &name, key: None, version_id: None };
        let refuse =
            |why: String| context.error("InvalidConfiguration", &why, Verdict::stop(StopKind::Config));
        let bucket = Bucket::parse(&config.bucket).map_err(refuse)?;
        let region = match (&config.region, &config.static_credentials) {
            (Some(region), _) => region.clone(),
            (None, Some(_)) => REGION_DEFAULT.to_owned(),
            (None, None) => {
                let region = configured_region(config.profile.as_deref()).await;
                region.unwrap_or_else(|| REGION_DEFAULT.to_owned())
            }
        };
        let place =
            Place::find(&bucket, &region, config.endpoint.as_deref(), config.addressing, config.allow_http)
                .map_err(refuse)?;
        let ca_pem = read_ca_bundle(config.ca_bundle.as_deref()).map_err(refuse)?;
        let http = http_client(&config, &place, ca_pem.as_deref()).map_err(refuse)?;
        let http_of_pages = http_client(&config, &place, ca_pem.as_deref()).map_err(refuse)?;
        let identities = match &config.static_credentials {
            Some(fixed) => Identities::fixed(fixed.clone()),
            None => {
                Identities::chain(config.profile.clone(), &place.region, ca_pem.as_deref()).map_err(refuse)?
            }
        };
        let plus = OnceLock::new();
        if place.is_aws {
            let _ = plus.set(Plus::Space);
        }
        let place = Mutex::new(Arc::new(place));
        let clock = Clock::default();
        let accepted = AtomicBool::new(false);
        Ok(Self { config, bucket, http, http_of_pages, identities, clock, place, accepted, plus })
    }

    /// The bucket, as the job names it.
    pub fn bucket(&self) -> &str {
        &self.config.bucket
    }

    /// The region that requests are signed for now.
    pub fn region(&self) -> String {
        self.place().region.clone()
    }

    /// The server's time: the last `Date` header moved on by the monotonic clock. Before any answer
    /// this machine's clock.
    pub fn server_now(&self) -> Timestamp {
        self.clock.server_now(Instant::now(), local_now())
    }

    /// The server's time by its last answer alone: never later than [`Client::server_now`], where answers of
    /// several machines of one service, or late ones, differ. For decisions that must not take a version that
    /// is new for an old one.
    pub(super) fn last_told_time(&self) -> Timestamp {
        self.clock.last_told(Instant::now(), local_now())
    }

    /// Whether any answer has told the server's time, so that [`Client::server_now`] is not a guess.
    pub fn knows_server_time(&self) -> bool {
        self.clock.has_heard()
    }

    /// From now on signs by the server's clock, as RequestTimeTooSkewed asks.
    pub fn adopt_clock(&self) {
        self.clock.adopt(Instant::now(), local_now());
    }

    /// Asks the provider for credentials again where the server has refused those held. Any number
    /// of workers may call it for one refusal: the provider is asked once.
    ///
    /// # Errors
    /// That the provider has none, or could not be reached.
    pub async fn refresh_credentials(&self) -> Result<(), S3Error> {
        let context = self.context(Operation::Configure);
        self.identities.refresh().await.map_err(|why| no_credentials(&context, &why))
    }

    pub(super) fn place(&self) -> Arc<Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn context(&self, operation: Operation) -> Context<'_> {
        Context { operation, bucket: &self.config.bucket, key: None, version_id: None }
    }

    /// Signs from now on for the region that an error named, and on AWS sends there. `false` where it
    /// named none, the same, or one that cannot be.
    pub(super) fn adopt_region(&self, error: &S3Error) -> bool {
        let Some(region) = error.region.as_deref() else { return false };
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.region == region || check_region(region).is_err() {
            return false;
        }
        let ClientConfig { endpoint, addressing, allow_http, .. } = &self.config;
        match Place::find(&self.bucket, region, endpoint.as_deref(), *addressing, *allow_http) {
            Ok(found) if found != **place => {
                tracing::info!(was = place.region, now = region, "the bucket lives in another region");
                *place = Arc::new(found);
                true
            }
            _ => false,
        }
    }
}

pub(super) fn no_credentials(context: &Context<'_>, why: &NoCredentials) -> S3Error {
    context.error("NoCredentials", &why.message, why.verdict)
}

fn read_ca_bundle(configured: Option<&Path>) -> Result<Option<Vec<u8>>, String> {
    let from_environment =
        || std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let Some(path) = configured.map(Path::to_path_buf).or_else(from_environment) else { return Ok(None) };
    let pem = std::fs::read(&path).map_err(|why| format!("the CA bundle {}: {why}", path.display()))?;
    // The parser takes any file for an empty bundle.
    if !pem.windows(27).any(|window| window == b"-----BEGIN CERTIFICATE-----") {
        return Err(format!("the CA bundle {} holds no PEM certificate", path.display()));
    }
    Ok(Some(pem))
}

fn http_client(
    config: &ClientConfig,
    place: &Place,
    ca_pem: Option<&[u8]>,
) -> Result<reqwest::Client, String> {
    let mut builder = client_builder(place.is_loopback)
        .tcp_nodelay(true)
        .connect_timeout(config.connect_timeout)
        .timeout(config.attempt_timeout)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .pool_idle_timeout(IDLE_TIMEOUT);
    if let Some(pem) = ca_pem {
        let certificates =
            Certificate::from_pem_bundle(pem).map_err(|why| format!("the CA bundle: {why}"))?;
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(|why| format!("the HTTP client: {why}"))
}
