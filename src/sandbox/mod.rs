//! The embedded S3 server: versioned, in memory, strict where AWS is strict.
//!
//! It speaks HTTP and XML by hand and shares no parser and no writer with the client of this crate,
//! so that one misunderstanding cannot hide on both sides. What AWS is known to answer it answers
//! byte for byte: order, encodings, markers, ids, codes and messages. [`Personality`] makes it answer
//! as other servers do, [`Faults`] make it fail, the operation log tells what it did.
//!
//! A request goes this way: `server` reads it and decides with `chance` what befalls it,
//! `sigv4` and `chunked` and `checksum` verify it, `ops` hands it to the operation, which
//! changes or reads the `store` under the bucket's lock and writes the `oplog`. A [`Procedural`]
//! bucket has no entries in the store: `generated` computes them, and `listing` reads both alike.

mod acl;
mod attributes;
mod chance;
mod checksum;
mod chunked;
mod clock;
mod conditions;
mod data;
mod details;
mod digits;
mod encryption;
mod entry;
mod faults;
mod generated;
mod key_shape;
mod listing;
mod op_acl;
mod op_bucket;
mod op_copy;
mod op_delete;
mod op_list;
mod op_lock;
mod op_multipart;
mod op_object;
mod op_parts;
mod op_restore;
mod op_tagging;
mod operation;
mod oplog;
mod ops;
mod ordered_key;
mod personality;
mod procedural;
mod refusal;
mod reply;
mod request;
mod seed;
mod server;
mod sigv4;
mod store;
mod tags;
mod uploads;
mod version_id;
mod xml_in;
mod xml_out;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use details::Details;
pub use entry::{Lock, RetentionMode};
pub use faults::{
    CutListings, FaultKind, Faults, KeyErrors, LateErrors, Latency, PartitionLimit, RequestErrors, Resets,
    ScriptedKey, ScriptedRequest, When,
};
pub use operation::Operation;
pub use oplog::{Count, Counters, Effect, OpRecord};
pub use personality::Personality;
pub use procedural::{OrderedShape, Procedural};
pub use seed::{KeyShape, Seed, SeedItem};
pub use store::{BadProcedural, NoSuchBucket, Store};

use crate::model::Timestamp;

/// How a sandbox is set up.
#[derive(Clone)]
pub struct Config {
    /// Where to listen. Port 0 takes any that is free.
    pub listen: SocketAddr,
    /// The one access key that is known.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// The region of all buckets, which signatures have to name.
    pub region: String,
    /// The name under which buckets are hosts: `bucket.localhost`.
    pub domain: String,
    /// The account that owns all buckets, compared with `x-amz-expected-bucket-owner`.
    pub owner: String,
    /// How long a restore from an archive takes, in seconds. 0 is at once.
    pub restore_secs: u64,
    /// Whether requests without a right signature are refused.
    pub verify_signatures: bool,
    /// What is in it at the start.
    pub seeds: Vec<Seed>,
    /// Buckets whose listing is computed instead of stored.
    pub procedural: Vec<Procedural>,
    /// What goes wrong.
    pub faults: Faults,
    /// Whom it takes after.
    pub personality: Personality,
    /// Where to append the operation log, a line of JSON for each effect.
    pub oplog_file: Option<PathBuf>,
    /// Whether to keep the operation log in memory, for [`Sandbox::oplog`].
    pub keep_oplog: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            access_key: "sandbox".to_owned(),
            secret_key: "sandbox-secret".to_owned(),
            region: "us-east-1".to_owned(),
            domain: "localhost".to_owned(),
            owner: "123456789012".to_owned(),
            restore_secs: 0,
            verify_signatures: true,
            seeds: Vec::new(),
            procedural: Vec::new(),
            faults: Faults::default(),
            personality: Personality::default(),
            oplog_file: None,
            keep_oplog: true,
        }
    }
}

/// The secret stays out of every output.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("access_key", &self.access_key)
            .field("secret_key", &"***")
            .field("region", &self.region)
            .field("domain", &self.domain)
            .field("owner", &self.owner)
            .field("restore_secs", &self.restore_secs)
            .field("verify_signatures", &self.verify_signatures)
            .field("seeds", &self.seeds)
            .field("procedural", &self.procedural)
            .field("faults", &self.faults)
            .field("personality", &self.personality)
            .field("oplog_file", &self.oplog_file)
            .field("keep_oplog", &self.keep_oplog)
            .finish()
    }
}

/// A running sandbox. Dropping it ends it at once.
pub struct Sandbox {
    address: SocketAddr,
    shared: Arc<server::Shared>,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Sandbox {
    /// Fills the store and starts to listen, on the tokio runtime that this is called on.
    ///
    /// # Errors
    /// Those of listening and of opening the operation log, and a procedural bucket that is not as
    /// [`Procedural::problems`] expects or has the name of another.
    pub async fn start(config: Config) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let oplog = oplog::Oplog::open(config.keep_oplog, config.oplog_file.as_deref())?;
        let store = Arc::new(Store::new());
        let clock = clock::Clock::default();
        let now = clock.now();
        for seed in &config.seeds {
            seed.apply(&store, now).map_err(io::Error::other)?;
        }
        for procedural in &config.procedural {
            store.create_procedural(procedural, now).map_err(io::Error::other)?;
        }
        let faults = config.faults.settled(&store);
        let shared = Arc::new(server::Shared {
            access_key: config.access_key,
            secret_key: config.secret_key,
            region: config.region,
            owner: config.owner,
            domain: config.domain,
            restore_secs: config.restore_secs,
            verify_signatures: config.verify_signatures,
            store,
            chance: chance::Chance::new(faults),
            personality: RwLock::new(Arc::new(config.personality)),
            clock,
            oplog,
            last_request: AtomicU64::new(0),
        });
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(server::serve(listener, Arc::clone(&shared), stopped));
        Ok(Self { address, shared, stop, running })
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The store, to be changed and looked at without HTTP.
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.shared.store)
    }

    /// Puts other faults in force. What they count and draw starts again.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.chance.set(faults.settled(&self.shared.store));
    }

    /// Takes after another server from the next request on.
    pub fn set_personality(&self, personality: Personality) {
        *self.shared.personality.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(personality);
    }

    /// Sets how far its clock is ahead of this machine's, in milliseconds; negative is behind.
    pub fn set_clock_offset(&self, millis: i64) {
        self.shared.clock.set_offset(millis);
    }

    /// Now, by its clock.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The operation log so far; empty where [`Config::keep_oplog`] is off.
    pub fn oplog(&self) -> Vec<OpRecord> {
        self.shared.oplog.records()
    }

    /// What was asked for so far.
    pub fn counters(&self) -> Counters {
        self.shared.oplog.counters()
    }

    /// What was asked for and what is left, as JSON:
    /// `{"operations": {"DeleteObjects": {"requests": 1, "keys": 1000, "refused": 0,
    /// "keys_refused": 0}}, "versions_left": {"bucket": 0}}`.
    pub fn stats(&self) -> serde_json::Value {
        let store = &self.shared.store;
        let left = store.bucket_names().into_iter().filter_map(|name| {
            let left = store.count(&name).ok()?;
            Some((name, serde_json::Value::from(left)))
        });
        serde_json::json!({
            "operations": self.counters(),
            "versions_left": left.collect::<serde_json::Map<_, _>>(),
        })
    }

    /// Stops listening, ends open connections, and waits until that is done.
    pub async fn shutdown(mut self) {
        // The receiver is gone only where the server has ended already.
        let _ = self.stop.send(true);
        // A panic of the server's ends it too.
        let _ = (&mut self.running).await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
