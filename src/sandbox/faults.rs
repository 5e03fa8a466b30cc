//! What can be made to go wrong, as data.
//!
//! Chance comes from one seed. Whether an item of DeleteObjects fails follows from the seed, its
//! key, its version id and how often it failed before, whatever order requests arrive in; whether a
//! request fails follows from the seed, its operation and its number among the requests for that
//! operation.

use serde::Deserialize;

use super::operation::Operation;
use super::store::Store;

/// Everything that can be made to go wrong. The default is nothing.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// What all chance follows from.
    pub seed: u64,
    /// Items of DeleteObjects that fail by chance.
    pub key_errors: Vec<KeyErrors>,
    /// Keys whose deletion fails by script.
    pub scripted_keys: Vec<ScriptedKey>,
    /// Requests that are answered with an error by chance, before they have an effect.
    pub request_errors: Vec<RequestErrors>,
    /// Requests that are answered with an error late, by chance.
    pub late_errors: Vec<LateErrors>,
    /// Share of UploadPart and UploadPartCopy whose part is not kept though the answer says so, 0 to
    /// 1.
    pub lost_parts: f64,
    /// Requests whose connection is reset by chance.
    pub resets: Vec<Resets>,
    /// Listings whose XML ends early by chance, while the HTTP answer looks whole.
    pub cut_listings: Option<CutListings>,
    /// What each operation takes.
    pub latency: Vec<Latency>,
    /// Each pair of access key and session token is good for so many requests; then ExpiredToken.
    pub expire_token_after: Option<u64>,
    /// Share of DeleteObjects items that are carried out but left out of the answer, 0 to 1.
    pub omit_items: f64,
    /// The next DeleteObjects answer also says that this key was deleted. Once.
    pub foreign_key: Option<String>,
    /// Version ids of deletes are ignored: delete markers are inserted instead.
    pub ignore_version_ids: bool,
    /// After so many requests versioning becomes suspended in every bucket.
    pub suspend_after: Option<u64>,
    /// All buckets live in this region: a request that is signed for another is answered with 301
    /// PermanentRedirect.
    pub redirect_to_region: Option<String>,
    /// How many keys a second each part of the key space takes.
    pub partition_limit: Option<PartitionLimit>,
    /// Faults of the nth request for an operation.
    pub scripted_requests: Vec<ScriptedRequest>,
}

/// Items that fail by chance.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyErrors {
    /// Share of items, 0 to 1. Drawn anew for each attempt at an item.
    pub share: f64,
    /// One of these codes, by chance.
    pub codes: Vec<String>,
    /// Only keys that begin so.
    #[serde(default)]
    pub prefix: String,
}

/// A key whose deletion fails.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedKey {
    /// The key.
    pub key: String,
    /// The code it is answered with.
    pub code: String,
    /// So many items fail, then no more; every one where left out.
    #[serde(default)]
    pub times: Option<u32>,
}

/// Requests that fail by chance.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestErrors {
    /// Only this operation; every one where left out.
    #[serde(default)]
    pub operation: Option<Operation>,
    /// Share of requests, 0 to 1.
    pub share: f64,
    /// `SlowDown` is 503, `InternalError` 500, `TooManyRequests` 429, and so on as on AWS.
    pub code: String,
    /// Sent as `Retry-After`.
    #[serde(default)]
    pub retry_after_secs: Option<u32>,
}

/// Errors that come late, by chance. CopyObject, UploadPartCopy and CompleteMultipartUpload send
/// them in the body of a 200, after white space; other operations as any error, so that one of them
/// after the effect is a 500 of something that was done.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LateErrors {
    /// Only this operation; those three where left out.
    #[serde(default)]
    pub operation: Option<Operation>,
    /// Share of requests, 0 to 1.
    pub share: f64,
    /// The code.
    pub code: String,
    /// Whether the request has its effect all the same.
    pub when: When,
}

/// Whether the request took effect before its connection was reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// It had no effect.
    BeforeApplying,
    /// It was carried out; only the answer is lost.
    AfterApplying,
}

/// Connections that are reset by chance.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resets {
    /// Only this operation; every one where left out.
    #[serde(default)]
    pub operation: Option<Operation>,
    /// Share of requests, 0 to 1.
    pub share: f64,
    /// Before or after.
    pub when: When,
}

/// Listings that end early. Content-Length is that of the shortened body, so that only the XML
/// tells.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutListings {
    /// Share of listings, 0 to 1.
    pub share: f64,
    /// Where to cut; anywhere by chance where left out.
    #[serde(default)]
    pub at_byte: Option<u64>,
}

/// What an operation takes, half of it before and half of it after it has its effect.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Only this operation; every one where left out. The first that fits counts.
    #[serde(default)]
    pub operation: Option<Operation>,
    /// For each request, in milliseconds.
    pub fixed_ms: u64,
    /// For each key in it besides, in microseconds.
    #[serde(default)]
    pub per_key_us: u64,
    /// The spread: each request takes a lognormal multiple of the above, whose logarithm has this
    /// standard deviation and whose median is 1. It follows from the seed, the operation, and the
    /// number of the request. 0 is no spread.
    #[serde(default)]
    pub sigma: f64,
}

/// The write rate of one part of the key space.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionLimit {
    /// Keys with the same first bytes, so many, share a partition; 0 makes the bucket one. Without
    /// meaning where there are `boundaries` or `partitions`.
    #[serde(default)]
    pub prefix_bytes: usize,
    /// The first key of each partition but the first, in byte order.
    #[serde(default)]
    pub boundaries: Vec<String>,
    /// So many partitions of equally many keys each, counted at the start in the first procedural
    /// bucket, else in the first bucket. Takes the place of `boundaries`.
    #[serde(default)]
    pub partitions: Option<u16>,
    /// Keys that a partition takes in a second. Those beyond are answered SlowDown.
    pub keys_per_second: f64,
    /// Keys that a partition takes at once after a rest.
    pub burst_keys: f64,
    /// Whether a DeleteObjects of which not one key is taken is answered 503 SlowDown as a whole,
    /// instead of 200 with an error for each key.
    #[serde(default)]
    pub whole_request: bool,
}

impl Faults {
    /// The same with `partitions` replaced by the boundaries that they have in this store.
    pub(super) fn settled(mut self, store: &Store) -> Self {
        if let Some(limit) = &mut self.partition_limit
            && let Some(partitions) = limit.partitions.take()
        {
            let text = |key: Vec<u8>| String::from_utf8_lossy(&key).into_owned();
            limit.boundaries = store.boundaries(u64::from(partitions)).into_iter().map(text).collect();
            limit.prefix_bytes = 0;
        }
        if let Some(limit) = &mut self.partition_limit {
            limit.boundaries.sort_unstable();
            limit.boundaries.dedup();
        }
        self
    }
}

/// What goes wrong with one request.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// An error answer with this code; the request has no effect.
    Error(String),
    /// An error that comes late; see [`LateErrors`].
    LateError {
        /// The code.
        code: String,
        /// Whether the request has its effect all the same.
        when: When,
    },
    /// The part that comes with the request is not kept, though the answer says so.
    LosePart,
    /// The first byte of the data that comes with the request is kept as another one.
    SpoilData,
    /// The connection is reset.
    Reset(When),
    /// The body ends at this byte, with a Content-Length to match.
    CutBody(u64),
}

/// A fault of one request.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedRequest {
    /// The operation whose requests are counted.
    pub operation: Operation,
    /// Which of them, from 1, counted since the faults were set.
    pub nth: u64,
    /// What goes wrong.
    pub kind: FaultKind,
}
