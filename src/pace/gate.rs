//! A controller with a clock and a queue: whoever wants to send waits here, first come, first served.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::Instant;

use super::Ask;

/// A controller that all senders of one kind share.
pub(super) struct Gate<C> {
    controller: Mutex<C>,
    /// Times are counted from here.
    epoch: Instant,
    queue: AsyncMutex<()>,
    /// An answer came: whoever stands first asks again.
    answered: Notify,
}

impl<C: fmt::Debug> fmt::Debug for Gate<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("controller", &*self.lock()).finish_non_exhaustive()
    }
}

impl<C> Gate<C> {
    pub(super) fn new(controller: C) -> Self {
        Self {
            controller: Mutex::new(controller),
            epoch: Instant::now(),
            queue: AsyncMutex::new(()),
            answered: Notify::new(),
        }
    }

    /// The controller holds plain values: whoever panicked left nothing broken.
    pub(super) fn lock(&self) -> MutexGuard<'_, C> {
        self.controller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Waits until `ask` says that the request may leave; returns what had left before it.
    pub(super) async fn pass(&self, ask: impl Fn(&mut C, Duration) -> Ask) -> u64 {
        let _turn = self.queue.lock().await;
        loop {
            let asked = ask(&mut self.lock(), self.now());
            match asked {
                Ask::Go { before } => return before,
                Ask::Wait(wait) => tokio::time::sleep(wait).await,
                Ask::Full => self.answered.notified().await,
            }
        }
    }

    /// Tells the controller of an answer, and whoever stands first.
    pub(super) fn tell<T>(&self, what: impl FnOnce(&mut C, Duration) -> T) -> T {
        let told = what(&mut self.lock(), self.now());
        self.answered.notify_one();
        told
    }
}
