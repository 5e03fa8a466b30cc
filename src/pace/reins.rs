//! What an operator may do to the pace of a run while it goes on: hold it, and let it go on.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Whether requests may leave. All servers of a run share one.
#[derive(Debug)]
pub struct Reins {
    paused: watch::Sender<bool>,
    /// When the last pause ended.
    resumed: Mutex<Option<Instant>>,
}

impl Default for Reins {
    fn default() -> Self {
        Self { paused: watch::Sender::new(false), resumed: Mutex::default() }
    }
}

impl Reins {
    /// From now on nothing leaves. `false` where that was so already.
    pub fn pause(&self) -> bool {
        self.paused.send_if_modified(|paused| !std::mem::replace(paused, true))
    }

    /// Requests may leave again. `false` where they might already.
    pub fn resume(&self) -> bool {
        self.paused.send_if_modified(|paused| {
            let was_paused = std::mem::replace(paused, false);
            if was_paused {
                *self.resumed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            }
            was_paused
        })
    }

    /// Whether nothing may leave.
    pub fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// How long requests have been allowed to leave without a pause between: zero during one, `None`
    /// where there was none. Whoever asks why nothing succeeds must not look further back.
    pub fn loose_for(&self) -> Option<Duration> {
        if self.is_paused() {
            return Some(Duration::ZERO);
        }
        let resumed = *self.resumed.lock().unwrap_or_else(PoisonError::into_inner);
        resumed.map(|at| at.elapsed())
    }

    /// Returns once requests may leave.
    pub(super) async fn loose(&self) {
        let mut paused = self.paused.subscribe();
        // The sender lives in self, so the channel cannot close while this waits.
        let _loose = paused.wait_for(|paused| !*paused).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pause_holds_until_it_ends() {
        let reins = Reins::default();
        reins.loose().await;
        assert_eq!(reins.loose_for(), None);
        assert!(reins.pause() && !reins.pause());
        assert_eq!(reins.loose_for(), Some(Duration::ZERO));
        assert!(tokio::time::timeout(Duration::from_millis(20), reins.loose()).await.is_err());
        assert!(reins.resume() && !reins.resume());
        reins.loose().await;
        assert!(reins.loose_for().is_some());
    }

    #[tokio::test]
    async fn a_pause_does_not_hold_those_who_watch() {
        let pace = crate::pace::Pace::default();
        let (watch, other) = (pace.unheld(), crate::pace::Load::Other);
        pace.reins().pause();
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, pace.pay(other, crate::pace::Data::Nothing)).await.is_err());
        assert!(tokio::time::timeout(soon, watch.pay(other, crate::pace::Data::Nothing)).await.is_ok());
    }
}
