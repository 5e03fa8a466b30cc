//! A job, checked: everything a run needs to know of what its user wants.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{ChecksumKind, CopySettings, DeleteOptions, Key, SecretPlace};
use crate::notice::Hook;
use crate::rules::{NullVersions, Rule};

use super::fingerprint::Fingerprint;
use super::problem::Problem;

/// A job file that was found free of problems.
#[derive(Clone, PartialEq, Debug)]
pub struct Job {
    /// Names the state directory, the reports and the metric label. At most 64 characters:
    /// letters, digits, `.`, `_`, `-`, the first a letter or digit, so that it is also a safe
    /// directory name.
    pub name: String,
    /// Where to work.
    pub bucket: BucketSpec,
    /// Which keys to list.
    pub scope: Scope,
    /// What becomes of each version; the first rule that matches decides. At most
    /// [`super::RULES_MAX`].
    pub rules: Vec<Rule>,
    /// What the rules' action ids stand for: `ActionId(n)` is `actions[n]`. Rules whose requests
    /// look alike share one.
    pub actions: Vec<Action>,
    /// Whether an older version may become current by this job.
    pub allow_promotion: bool,
    /// What to do with `null` versions where versioning is suspended.
    pub null_versions: NullVersions,
    /// Whether a run needs somebody to agree to the plan (or `--yes`).
    pub confirm: bool,
    /// Ceilings of speed.
    pub limits: Limits,
    /// Bounds after which a run ends.
    pub budget: Budget,
    /// How long to try.
    pub retry: Retry,
    /// What to write down.
    pub report: Report,
    /// Where to show figures.
    pub metrics: Metrics,
    /// The object that keeps other hosts from the job while one works on it; absent where only this host's
    /// lock does.
    pub lock: Option<LockSpec>,
    /// Who hears of the end of a command.
    pub notify: Vec<Hook>,
    /// What to fill the embedded server with; present if and only if the endpoint is
    /// [`Endpoint::Sandbox`].
    pub sandbox: Option<SandboxSpec>,
    /// What makes this job this job: a checkpoint of another fingerprint is not resumed.
    pub fingerprint: Fingerprint,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Problem>,
}

/// What a rule does with the versions it selects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// They are deleted.
    Delete(DeleteOptions),
    /// They are copied, and deleted where the action moves them.
    Transfer(Box<Transfer>),
}

/// A copy, or a move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// How the source versions are deleted once their copies are verified; absent where they stay.
    pub removes_source: Option<DeleteOptions>,
    /// The destination; everything that the job file leaves out is that of the job's own bucket.
    pub to: BucketSpec,
    /// Everything else.
    pub settings: CopySettings,
}

impl Action {
    /// How source versions are deleted; absent where they stay.
    pub const fn delete_options(&self) -> Option<&DeleteOptions> {
        match self {
            Self::Delete(options) => Some(options),
            Self::Transfer(transfer) => transfer.removes_source.as_ref(),
        }
    }

    /// The copy that the action makes, where it makes one.
    pub const fn transfer(&self) -> Option<&Transfer> {
        match self {
            Self::Delete(_) => None,
            Self::Transfer(transfer) => Some(transfer),
        }
    }
}

/// The bucket of a job and how to speak to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BucketSpec {
    /// Name, access point ARN or access point alias.
    pub name: String,
    /// Found out where left out.
    pub region: Option<String>,
    /// Who serves it.
    pub endpoint: Endpoint,
    /// How the bucket is named in requests.
    pub addressing: Addressing,
    /// A profile of the AWS configuration; left out = the standard credential chain.
    pub profile: Option<String>,
    /// Twelve digits, sent as `x-amz-expected-bucket-owner`.
    pub expected_owner: Option<String>,
    /// Sends `x-amz-request-payer: requester`.
    pub request_payer: bool,
    /// Allows an `http://` endpoint that is not this machine.
    pub allow_http: bool,
    /// PEM file of certificates to trust.
    pub ca_bundle: Option<PathBuf>,
    /// A checksum to send with DeleteObjects beside Content-MD5.
    pub checksum: Option<ChecksumKind>,
}

/// Who serves a bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// AWS, at the region's own endpoint.
    Aws,
    /// The server embedded in this program.
    Sandbox,
    /// Another server, by its URL; `http` or `https`, no user, no query, no fragment.
    Url(String),
}

impl Endpoint {
    /// Whether both are certainly one server, so that a bucket of one name is one bucket. Bucket names
    /// of AWS are the same at each of its regions' endpoints. One server under two names of hosts is
    /// not recognised.
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.server() == other.server()
    }

    fn server(&self) -> String {
        let Self::Url(url) = self else { return self.to_string() };
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let authority = authority.to_ascii_lowercase();
        let default_port = if scheme == "http" { ":80" } else { ":443" };
        let host = authority.strip_suffix(default_port).unwrap_or(&authority);
        if host.ends_with(".amazonaws.com") {
            Self::Aws.to_string()
        } else {
            format!("{scheme}://{host}/{path}")
        }
    }
}

/// For people and for the checkpoint: `aws`, `sandbox`, or the URL.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aws => "aws",
            Self::Sandbox => "sandbox",
            Self::Url(url) => url,
        })
    }
}

/// How a bucket is named in requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Addressing {
    /// Whatever suits the endpoint and the name.
    #[default]
    Auto,
    /// In the path.
    Path,
    /// In the host name.
    Virtual,
}

/// Which keys of the bucket are listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// In byte order; none begins with another, so that no key is listed twice. Never empty: the
    /// whole bucket is one empty prefix.
    pub prefixes: Vec<Key>,
    /// Keys come after this one; itself not included, as a key marker is on AWS.
    pub from_key: Option<Key>,
    /// Keys come up to this one, itself included.
    pub to_key: Option<Key>,
    /// Entries to ask for in one page: 1 to 1,000.
    pub page_size: u16,
    /// Listing stops after so many entries.
    pub limit: Option<u64>,
    /// How the listing goes through the keys.
    pub listing: ListingMode,
}

/// How a listing goes through the keys of a prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ListingMode {
    /// Many places at once, on servers that list keys in the order of their bytes.
    #[default]
    Auto,
    /// From the first key to the last, page by page, on servers that list keys in the order of their
    /// bytes or in that of their UTF-16 code units.
    Sequential,
}

/// Bounds of speed. What is not given is not limited by the user.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// Versions sent for deletion in a second, every attempt counted.
    pub versions_per_second: Option<u32>,
    /// Requests of any kind in a second, every attempt counted.
    pub requests_per_second: Option<u32>,
    /// Deletion requests in flight: 1 to 1,024.
    pub concurrency: u16,
    /// Listing requests in flight: 1 to 1,024.
    pub list_concurrency: u16,
    /// Whether the run finds the server's limits and stays below them.
    pub adaptive: bool,
    /// The part of the server's limits that may be used: above 0, at most 1.
    pub share: f64,
    /// Bytes that pass through this program in a second, where it carries copies itself.
    pub bytes_per_second: Option<u64>,
    /// Bytes that parts in flight may hold together, where this program carries copies itself.
    pub stream_memory_bytes: u64,
}

/// Bounds after which a run ends, resumable.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Budget {
    /// Versions deleted, moved and copied.
    pub max_versions: Option<u64>,
    /// Bytes of the versions deleted, moved and copied.
    pub max_bytes: Option<u64>,
    /// Share of the listed versions that may be selected: above 0, at most 1.
    pub max_share: Option<f64>,
    /// Time from the start of the run.
    pub deadline: Option<Duration>,
    /// Too many failures.
    pub stop_on_failures: Option<StopOnFailures>,
}

/// When failures end a run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StopOnFailures {
    /// Not before so many versions are settled.
    pub after: u64,
    /// Share of the settled versions that failed: above 0, at most 1.
    pub share: f64,
}

/// How long to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// Time from the first attempt of an item after which it has failed.
    pub give_up_after: Duration,
}

/// What to write down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Which versions the audit names.
    pub audit: Audit,
}

/// Which versions the audit names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Audit {
    /// Every listed one, the kept ones too.
    #[default]
    Full,
    /// Every selected one.
    Changes,
    /// Those that failed or were skipped.
    Failures,
    /// None: no audit file is written.
    None,
}

/// An object in a bucket, held by conditional writes while a run works.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockSpec {
    /// Its bucket, on the server of the job's own.
    pub bucket: BucketSpec,
    /// Its key.
    pub key: Key,
    /// How long the lock holds after its holder was last heard of.
    pub ttl: Duration,
}

impl LockSpec {
    /// Its key, where it lies in this bucket.
    pub fn key_in(&self, bucket: &BucketSpec) -> Option<&Key> {
        (self.bucket.name == bucket.name).then_some(&self.key)
    }
}

/// Where to show figures.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metrics {
    /// Address of an HTTP server for Prometheus.
    pub listen: Option<SocketAddr>,
    /// File for the node exporter's textfile collector.
    pub textfile: Option<PathBuf>,
    /// Pushgateway to push to.
    pub pushgateway: Option<Pushgateway>,
    /// Whether the HTTP server shows a page for people, and to whom it listens.
    pub live: Option<LivePage>,
}

/// The page that shows a run while it goes on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LivePage {
    /// Where the token is that allows to steer the run; without one the page only shows.
    pub token: Option<SecretPlace>,
    /// Names beside `localhost` by which the page may be asked for.
    pub hosts: Vec<String>,
}

/// A Pushgateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pushgateway {
    /// Its URL, without a slash at its end: `http` or `https`, no user, no query, no fragment.
    pub url: String,
    /// How often to push while the run works; one second or more.
    pub interval: Duration,
    /// User for basic authentication.
    pub username: Option<String>,
    /// Where that user's password is; never without a user.
    pub password: Option<SecretPlace>,
}

/// What the embedded server is filled with before a run.
#[derive(Clone, PartialEq, Debug)]
pub struct SandboxSpec {
    /// Number of keys.
    pub keys: u64,
    /// Entries of each key, delete markers included.
    pub versions_per_key: u32,
    /// Share of the entries that are delete markers: 0 to 1.
    pub marker_share: f64,
    /// What the keys look like.
    pub key_shape: KeyShape,
    /// Keys begin with these in turn; empty = with nothing.
    pub prefixes: Vec<String>,
    /// Age of the oldest entries.
    pub oldest: Duration,
    /// Age of the newest entries; less than `oldest`.
    pub newest: Duration,
    /// Mean size of a version.
    pub size_bytes: u64,
    /// The same seed gives the same bucket.
    pub seed: u64,
    /// What the server does wrong.
    pub faults: SandboxFaults,
}

/// What keys look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KeyShape {
    /// `table=a/year=2024/month=03/...`
    #[default]
    Hive,
    /// No `/` at all.
    Flat,
    /// Letters of many scripts.
    Unicode,
    /// Whatever makes clients stumble: `//`, `..`, `%`, `+`, white space, controls.
    Odd,
}

/// What the embedded server does wrong: shares from 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct SandboxFaults {
    /// Keys of a DeleteObjects request that are answered with an error worth another try.
    pub key_error_share: f64,
    /// Requests whose connection is reset after they took effect.
    pub reset_share: f64,
    /// Listings that are cut off.
    pub truncated_share: f64,
}
