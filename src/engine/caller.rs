//! One call: a few quick attempts, each paid for, before the caller hears of an error.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::model::{Class, Timestamp};
use crate::pace::Pace;
use crate::retry::{self, InCall, Quota};
use crate::s3::{Client, Operation, S3Error};
use crate::telemetry::Metrics;

use super::context::locked;
use super::stop::{Level, Stop};

/// What a call needs.
pub(super) struct Caller {
    pub(super) client: Arc<Client>,
    pub(super) pace: Pace,
    pub(super) metrics: Arc<Metrics>,
    quota: Quota,
    chance: Mutex<fastrand::Rng>,
    last_success: Mutex<Instant>,
}

impl Caller {
    pub(super) fn new(client: Arc<Client>, pace: Pace, metrics: Arc<Metrics>, seed: u64) -> Self {
        Self {
            client,
            pace,
            metrics,
            quota: Quota::new(),
            chance: Mutex::new(fastrand::Rng::with_seed(seed)),
            last_success: Mutex::new(Instant::now()),
        }
    }

    /// The server's time.
    pub(super) fn now(&self) -> Timestamp {
        self.client.server_now()
    }

    /// A random number in `[0, 1)`.
    pub(super) fn chance(&self) -> f64 {
        locked(&self.chance).f64()
    }

    /// How long no attempt has succeeded.
    pub(super) fn silent_for(&self) -> Duration {
        locked(&self.last_success).elapsed()
    }

    /// Sends `attempt` until it succeeds or another try is not this layer's to make. Every attempt
    /// pays the pace for one request that names `versions` versions; a waiting one holds nothing.
    /// Expired credentials are refreshed, and a clock that is off is corrected, once per call.
    ///
    /// Once `stop` says that no new work is wanted, no attempt is begun any more: `None` where none
    /// was made, the error of the last one otherwise.
    pub(super) async fn call<T, F, Fut>(
        &self,
        operation: Operation,
        versions: usize,
        stop: Option<&Stop>,
        attempt: F,
    ) -> Result<Option<T>, S3Error>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, S3Error>>,
    {
        let (mut refreshed, mut corrected) = (false, false);
        let mut last: Option<S3Error> = None;
        let mut wait = Duration::ZERO;
        for number in 1.. {
            let may_leave = async {
                tokio::time::sleep(wait).await;
                self.pace.pay(versions).await;
            };
            tokio::select! {
                biased;
                () = stopped(stop) => return last.map_or(Ok(None), Err),
                () = may_leave => {}
            }
            let error = match self.attempt(operation, versions, number, &attempt).await {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) => error,
            };
            wait = Duration::ZERO;
            match error.class {
                Class::Credentials if !refreshed => {
                    refreshed = true;
                    self.client.refresh_credentials().await?;
                }
                Class::ClockSkew if !corrected => {
                    corrected = true;
                    self.client.adopt_clock();
                }
                class => {
                    let mut chance = || self.chance();
                    match retry::in_call(class, number, error.retry_after, &self.quota, &mut chance) {
                        InCall::Again(pause) => wait = pause,
                        InCall::Leave => return Err(error),
                    }
                }
            }
            last = Some(error);
        }
        last.map_or(Ok(None), Err)
    }

    async fn attempt<T, F, Fut>(
        &self,
        operation: Operation,
        versions: usize,
        number: u32,
        attempt: &F,
    ) -> Result<T, S3Error>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, S3Error>>,
    {
        let sent = Instant::now();
        self.metrics.departs(versions);
        let answer = attempt().await;
        self.metrics.arrives(versions);
        self.metrics.attempt(operation.as_str(), number, sent.elapsed());
        match &answer {
            Ok(_) => {
                *locked(&self.last_success) = Instant::now();
                self.quota.refund();
            }
            Err(error) => {
                self.metrics.error(&error.code);
                tracing::debug!(attempt = number, "{error}");
            }
        }
        answer
    }
}

/// Returns once no new work is wanted; never where nobody can say so.
async fn stopped(stop: Option<&Stop>) {
    match stop {
        Some(stop) => stop.reached(Level::Drain).await,
        None => std::future::pending().await,
    }
}
