//! A ceiling that an operator may lower while the run goes on, and put back: never above the user's own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, watch};

use super::ceiling::Ceiling;

/// What came of an attempt to pay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Paid {
    /// All of it.
    Yes,
    /// The ceiling was lowered, and so much does not fit into one grant any more: to be divided.
    TooMuch,
}

/// What holds now.
#[derive(Clone, Debug)]
struct Now {
    per_second: Option<u32>,
    /// Below what the user set.
    is_lowered: bool,
    ceiling: Option<Arc<Ceiling>>,
}

/// A ceiling per second, or none, with room below it for another.
#[derive(Debug)]
pub(super) struct Lowerable {
    /// What the user set: nothing ever exceeds it.
    own: Option<u32>,
    now: Mutex<Now>,
    /// First come, first served, across changes.
    queue: AsyncMutex<()>,
    changed: watch::Sender<u64>,
}

impl Default for Lowerable {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Lowerable {
    pub(super) fn new(own: Option<u32>) -> Self {
        let now =
            Now { per_second: own, is_lowered: false, ceiling: own.map(|rate| Arc::new(Ceiling::new(rate))) };
        Self { own, now: Mutex::new(now), queue: AsyncMutex::new(()), changed: watch::Sender::new(0) }
    }

    /// Plain values: whoever panicked left nothing broken.
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the user set.
    pub(super) const fn own(&self) -> Option<u32> {
        self.own
    }

    /// What holds now.
    pub(super) fn per_second(&self) -> Option<u32> {
        self.lock().per_second
    }

    /// From now on at most so many a second, and never more than the user's own; `None` puts that back.
    /// Returns what holds.
    pub(super) fn lower(&self, wanted: Option<u32>) -> Option<u32> {
        let per_second = match (self.own, wanted) {
            (own, None) => own,
            (None, Some(wanted)) => Some(wanted.max(1)),
            (Some(own), Some(wanted)) => Some(wanted.clamp(1, own.max(1))),
        };
        let mut now = self.lock();
        if now.per_second != per_second {
            // The new bucket begins empty: what the former granted in this second and what the new one
            // grants in the rest of it are together no more than the higher of the two.
            let ceiling = per_second.map(|rate| Arc::new(Ceiling::empty(rate)));
            *now = Now { per_second, is_lowered: per_second != self.own, ceiling };
            self.changed.send_modify(|n| *n = n.wrapping_add(1));
        }
        per_second
    }

    /// The most that is granted in one piece now.
    pub(super) fn grant_max(&self) -> u32 {
        self.lock().ceiling.as_ref().map_or(u32::MAX, |ceiling| ceiling.grant_max())
    }

    /// Waits for `n` tokens, in the order of the calls.
    pub(super) async fn pay(&self, n: u32) -> Paid {
        let mut changed = self.changed.subscribe();
        let unlimited = self.lock().ceiling.is_none();
        if unlimited {
            return Paid::Yes;
        }
        let _turn = self.queue.lock().await;
        loop {
            changed.borrow_and_update();
            let Now { ceiling, is_lowered, .. } = self.lock().clone();
            let Some(ceiling) = ceiling else { return Paid::Yes };
            if is_lowered && n > ceiling.grant_max() {
                return Paid::TooMuch;
            }
            tokio::select! {
                biased;
                // What was drawn in part is lost: too little leaves then, never too much.
                _changed = changed.changed() => {}
                () = ceiling.pay(n) => return Paid::Yes,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn never_above_what_the_user_set() {
        let limited = Lowerable::new(Some(3_000));
        assert_eq!(limited.lower(Some(50_000)), Some(3_000));
        assert_eq!(limited.lower(Some(0)), Some(1));
        assert_eq!(limited.lower(Some(40)), Some(40));
        assert_eq!(limited.grant_max(), 4);
        assert_eq!((limited.lower(None), limited.own()), (Some(3_000), Some(3_000)));
        let free = Lowerable::new(None);
        assert_eq!((free.grant_max(), free.lower(Some(70))), (u32::MAX, Some(70)));
        assert_eq!(free.lower(None), None);
    }

    #[tokio::test]
    async fn whoever_waits_meets_the_new_ceiling() {
        let limited = Arc::new(Lowerable::new(Some(1_000)));
        assert_eq!(limited.pay(100).await, Paid::Yes);
        let waiting = {
            let limited = Arc::clone(&limited);
            tokio::spawn(async move { limited.pay(100).await })
        };
        limited.lower(Some(20));
        assert_eq!(waiting.await.unwrap(), Paid::TooMuch, "a request cut for the old ceiling leaves at once");
    }

    #[tokio::test]
    async fn a_change_gives_no_second_helping() {
        let limited = Lowerable::new(Some(1_000));
        let began = Instant::now();
        let mut granted = 0;
        // Each change would bring a full bucket of 50 with it.
        for turn in 0..40 {
            limited.lower((turn % 2 == 0).then_some(500));
            if tokio::time::timeout(Duration::from_millis(5), limited.pay(50)).await == Ok(Paid::Yes) {
                granted += 50;
            }
        }
        let most = 100.0 + 1_000.0 * began.elapsed().as_secs_f64();
        assert!(f64::from(granted) <= most, "{granted} of at most {most}");
    }
}
