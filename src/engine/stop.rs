//! Stopping in steps: first no new work, then nothing at all.

use std::sync::Mutex;

use tokio::sync::watch;

use super::Ending;

/// How far the run has been told to stop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Go on.
    Run,
    /// Take no new work; finish and settle what is in flight.
    Drain,
    /// Stop where you are. What is in flight stays unsettled and is sent again by the next run.
    Abort,
}

/// The one switch that all parts of a run look at.
#[derive(Debug)]
pub struct Stop {
    level: watch::Sender<Level>,
    ending: Mutex<Option<Ending>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { level: watch::Sender::new(Level::Run), ending: Mutex::new(None) }
    }
}

impl Stop {
    /// Asks for an end in which what is in flight is finished. The first reason given is the one
    /// that is told.
    pub fn drain(&self, ending: Ending) {
        self.raise(Level::Drain, ending);
    }

    /// Asks for an end at once.
    pub fn abort(&self, ending: Ending) {
        self.raise(Level::Abort, ending);
    }

    /// A tripwire overrules a reason given before: the reader must hear of it.
    fn raise(&self, level: Level, ending: Ending) {
        {
            let mut slot = self.ending.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if slot.is_none() || matches!(ending, Ending::Tripwire(_) | Ending::Bug(_)) {
                *slot = Some(ending);
            }
        }
        self.level.send_if_modified(|now| {
            let rises = level > *now;
            *now = level.max(*now);
            rises
        });
    }

    /// The level now.
    pub fn level(&self) -> Level {
        *self.level.borrow()
    }

    /// The reason, once there is one.
    pub fn ending(&self) -> Option<Ending> {
        self.ending.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Returns once the level is at least `level`.
    pub async fn reached(&self, level: Level) {
        let mut watcher = self.level.subscribe();
        // The sender lives in self, so the channel cannot close while this waits.
        let _reached = watcher.wait_for(|now| *now >= level).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stands_and_a_tripwire_overrules_it() {
        let stop = Stop::default();
        stop.drain(Ending::Interrupted("SIGINT".into()));
        stop.drain(Ending::Budget("versions".into()));
        assert_eq!(stop.ending(), Some(Ending::Interrupted("SIGINT".into())));
        assert_eq!(stop.level(), Level::Drain);
        stop.abort(Ending::Tripwire("a delete marker appeared".into()));
        assert_eq!(stop.ending().unwrap().exit_code(), 76);
        stop.drain(Ending::Done);
        assert_eq!(stop.level(), Level::Abort, "the level never falls");
    }

    #[tokio::test]
    async fn waiting_ends_at_the_level_or_above() {
        let stop = Stop::default();
        stop.abort(Ending::Interrupted("SIGTERM".into()));
        stop.reached(Level::Drain).await;
        stop.reached(Level::Abort).await;
    }
}
