//! What an operator may do to the pace of a run while it goes on: hold it, and let it go on.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Whether requests may leave. All servers of a run share one.
#[derive(Debug)]
pub struct Reins {
    paused: watch::Sender<bool>,
    pauses: Mutex<Pauses>,
}

/// What the pauses of a run came to.
#[derive(Debug, Default)]
struct Pauses {
    /// When the present one began.
    began: Option<Instant>,
    /// When the last one ended.
    ended: Option<Instant>,
    /// How long those took that have ended.
    total: Duration,
}

impl Default for Reins {
    fn default() -> Self {
        Self { paused: watch::Sender::new(false), pauses: Mutex::default() }
    }
}

impl Reins {
    /// From now on nothing leaves. `false` where that was so already.
    pub fn pause(&self) -> bool {
        self.paused.send_if_modified(|paused| {
            let was_loose = !std::mem::replace(paused, true);
            if was_loose {
                self.pauses().began = Some(Instant::now());
            }
            was_loose
        })
    }

    /// Requests may leave again. `false` where they might already.
    pub fn resume(&self) -> bool {
        self.paused.send_if_modified(|paused| {
            let was_paused = std::mem::replace(paused, false);
            if was_paused {
                let (mut pauses, now) = (self.pauses(), Instant::now());
                let began = pauses.began.take();
                pauses.total += began.map_or(Duration::ZERO, |began| now - began);
                pauses.ended = Some(now);
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
        let ended = self.pauses().ended;
        ended.map(|at| at.elapsed())
    }

    /// How long nothing was allowed to leave, in all pauses so far. Whoever counts how long something was
    /// tried must leave that out.
    pub fn held_for(&self) -> Duration {
        let pauses = self.pauses();
        pauses.total + pauses.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    fn pauses(&self) -> MutexGuard<'_, Pauses> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once nothing may leave.
    pub async fn held(&self) {
        let mut paused = self.paused.subscribe();
        // The sender lives in self, so the channel cannot close while this waits.
        let _held = paused.wait_for(|paused| *paused).await;
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
        assert_eq!((reins.loose_for(), reins.held_for()), (None, Duration::ZERO));
        assert!(reins.pause() && !reins.pause());
        assert_eq!(reins.loose_for(), Some(Duration::ZERO));
        assert!(tokio::time::timeout(Duration::from_millis(20), reins.loose()).await.is_err());
        assert!(reins.resume() && !reins.resume());
        reins.loose().await;
        assert!(reins.loose_for().is_some());
        let held = reins.held_for();
        assert!(held >= Duration::from_millis(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(reins.held_for(), held, "it counts during pauses only");
        reins.pause();
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(reins.held_for() > held, "and during all of them");
    }

    #[tokio::test]
    async fn a_pause_does_not_hold_those_who_keep_the_run() {
        let pace = crate::pace::Pace::default();
        let (watch, other) = (pace.for_upkeep(), crate::pace::Load::Other);
        pace.reins().pause();
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, pace.pay(other, crate::pace::Data::Nothing)).await.is_err());
        assert!(tokio::time::timeout(soon, watch.pay(other, crate::pace::Data::Nothing)).await.is_ok());
    }
}
