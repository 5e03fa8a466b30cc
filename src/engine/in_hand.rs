//! Answers that a worker has in its hand: they are settled soon, however long what is still to be sent of their
//! batch has to wait for its turn. Figures, and what would be sent again after a crash, follow the server so.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::model::Class;
use crate::pace::Reins;
use crate::s3::S3Error;

/// How long a batch may be sent without a wait before what was answered of it is settled: a settlement writes
/// anew what remains of its batch.
const SETTLE_AFTER: Duration = Duration::from_secs(5);
/// How long answers are kept while the next request waits for its turn, and a request that failed for its next
/// attempt.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The answers of one batch that are not settled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InHand {
    /// When the first of them came.
    since: Option<Instant>,
}

impl InHand {
    /// An answer came.
    pub(super) fn answered(&mut self) {
        self.since = self.since.or_else(|| Some(Instant::now()));
    }

    /// Whether they are settled before anything else is sent.
    pub(super) fn is_due(self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= SETTLE_AFTER)
    }
}

/// A call that is given up where it waits too long for its turn. What has left is always waited for.
#[derive(Debug)]
pub(super) struct Turn {
    /// An attempt is under way, or follows at once.
    is_out: watch::Sender<bool>,
    failed: Mutex<Option<Failed>>,
}

/// The last attempt that failed in a way that waits before the next.
#[derive(Debug)]
struct Failed {
    at: Instant,
    error: S3Error,
}

impl Turn {
    pub(super) fn new() -> Self {
        Self { is_out: watch::Sender::new(false), failed: Mutex::default() }
    }

    /// Makes an attempt of the call.
    pub(super) async fn attempt<T>(
        &self,
        attempt: impl Future<Output = Result<T, S3Error>>,
    ) -> Result<T, S3Error> {
        self.is_out.send_replace(true);
        let answer = attempt.await;
        // What fails otherwise the call mends, or hands back at once.
        if let Err(error) = &answer
            && matches!(error.class, Class::Transient | Class::Throttled)
        {
            let failed = Failed { at: Instant::now(), error: error.clone() };
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
            self.is_out.send_replace(false);
        }
        answer
    }

    /// Waits for `call`, all attempts of which are made by [`Turn::attempt`]. Where it waits for its turn for so
    /// long that what is `in_hand` must be settled, or a pause begins meanwhile, it is given up: `None` where no
    /// attempt was made, the error of the last one otherwise.
    pub(super) async fn unless_due<T>(
        &self,
        in_hand: InHand,
        reins: &Reins,
        call: impl Future<Output = Result<Option<T>, S3Error>>,
    ) -> Result<Option<T>, S3Error> {
        let Some(since) = in_hand.since else { return call.await };
        tokio::select! {
            // Asked first: what can leave at once leaves.
            biased;
            answer = call => answer,
            () = self.due(since, reins) => {
                let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
                failed.map_or(Ok(None), |failed| Err(failed.error))
            }
        }
    }

    /// Returns when the call is to be given up.
    async fn due(&self, since: Instant, reins: &Reins) {
        let mut is_out = self.is_out.subscribe();
        loop {
            // The sender lives in self, so the channel cannot close while this waits.
            let _waits = is_out.wait_for(|is_out| !is_out).await.is_ok();
            let failed_at =
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|failed| failed.at);
            tokio::select! {
                biased;
                _left = is_out.wait_for(|is_out| *is_out) => {}
                () = reins.held() => return,
                () = sleep_until(failed_at.map_or(since, |at| since.max(at)) + WAIT_MAX) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;
    use crate::s3::Operation;

    const SOON: Duration = Duration::from_millis(20);

    fn error(class: Class) -> S3Error {
        S3Error::of_class(Operation::DeleteObjects, "Busy", class)
    }

    fn since(ago: Duration) -> InHand {
        InHand { since: Instant::now().checked_sub(ago) }
    }

    /// A call that waits for its turn for ever.
    async fn waits() -> Result<Option<()>, S3Error> {
        pending().await
    }

    #[tokio::test]
    async fn answers_wait_a_second_at_most_and_no_call_is_given_up_without_any() {
        let (turn, reins) = (Turn::new(), Reins::default());
        let given_up = |in_hand| timeout(SOON, turn.unless_due(in_hand, &reins, waits()));
        assert!(given_up(InHand::default()).await.is_err());
        assert!(given_up(since(Duration::ZERO)).await.is_err());
        assert_eq!(given_up(since(WAIT_MAX)).await.unwrap(), Ok(None));
        let leaves = turn.unless_due(since(WAIT_MAX), &reins, turn.attempt(async { Ok(Some(1)) }));
        assert_eq!(leaves.await, Ok(Some(1)), "what need not wait leaves");
        let mut in_hand = since(SETTLE_AFTER);
        in_hand.answered();
        assert!(in_hand.is_due(), "the first answer counts");
        assert!(!since(WAIT_MAX).is_due() && !InHand::default().is_due());
    }

    #[tokio::test]
    async fn a_pause_settles_at_once_what_was_answered() {
        let (turn, reins) = (Turn::new(), Arc::new(Reins::default()));
        let pausing = Arc::clone(&reins);
        tokio::spawn(async move { pausing.pause() });
        let given_up = turn.unless_due(since(Duration::ZERO), &reins, waits());
        assert_eq!(timeout(WAIT_MAX / 2, given_up).await.unwrap(), Ok(None));
        let without = turn.unless_due(InHand::default(), &reins, waits());
        assert!(timeout(SOON, without).await.is_err(), "with nothing to settle it waits for its end");
    }

    #[tokio::test]
    async fn what_has_left_is_waited_for() {
        let (turn, reins) = (Turn::new(), Reins::default());
        reins.pause();
        let (answer, answered) = oneshot::channel();
        let call = turn.attempt(async { Ok(answered.await.ok()) });
        let mut call = Box::pin(turn.unless_due(since(WAIT_MAX), &reins, call));
        assert!(timeout(SOON, &mut call).await.is_err());
        answer.send(7).unwrap();
        assert_eq!(call.await, Ok(Some(7)));
    }

    #[tokio::test]
    async fn an_attempt_that_failed_is_told_and_has_a_second_for_its_next() {
        let (turn, reins) = (Turn::new(), Reins::default());
        let retried = async {
            turn.attempt(async { Err::<(), _>(error(Class::Throttled)) }).await.unwrap_err();
            pending().await
        };
        let mut call = Box::pin(turn.unless_due::<()>(since(WAIT_MAX), &reins, retried));
        assert!(timeout(SOON, &mut call).await.is_err());
        reins.pause();
        assert_eq!(timeout(SOON, call).await.unwrap(), Err(error(Class::Throttled)));
        // A call that fetches new credentials is not cut off, which would end the run.
        let turn = Turn::new();
        let mended = async {
            turn.attempt(async { Err::<(), _>(error(Class::Credentials)) }).await.unwrap_err();
            pending().await
        };
        let mut call = Box::pin(turn.unless_due::<()>(since(WAIT_MAX), &reins, mended));
        assert!(timeout(SOON, &mut call).await.is_err());
    }
}
