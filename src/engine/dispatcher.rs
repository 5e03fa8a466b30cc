//! Hands planned batches to the workers: claims them, reserves their budget, and knows when
//! nothing is left to do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::checkpoint::{ClaimedBatch, Claims};
use crate::model::Batch;

use super::Ending;
use super::budget::Grant;
use super::context::{Context, locked};
use super::stop::Level;

/// Batches claimed at a time: enough that a worker rarely waits for the checkpoint.
const CLAIM_MAX: usize = 16;
/// Longest wait for a not-before time, so that a clock that was corrected is noticed.
const NAP_MAX: Duration = Duration::from_secs(5);

/// A batch with what may be sent of it.
pub(super) struct Work {
    pub(super) batch: Batch,
    /// Indices of items that must be skipped: an elder of their key remains.
    pub(super) blocked: Vec<usize>,
    /// So many of the other items, from the first, are paid for by the budget.
    pub(super) granted: usize,
}

/// What a claimed batch asks of the budget: the sizes of the items that would be sent.
fn wanted(claimed: &ClaimedBatch) -> Vec<u64> {
    let items = claimed.batch.items.iter().enumerate();
    items.filter(|(at, _)| !claimed.blocked.contains(at)).map(|(_, item)| item.size).collect()
}

/// Runs until everything is settled or the run is told to stop.
pub(super) async fn dispatch(ctx: Arc<Context>, workers: mpsc::Sender<Work>) {
    let mut moved = ctx.moved.subscribe();
    while ctx.stop.level() == Level::Run {
        moved.borrow_and_update();
        // Read before the claim: a page committed in between would be missed the other way round.
        let listing_done = ctx.listing_done.load(Ordering::Acquire);
        let claims = match ctx.checkpoint.claim(CLAIM_MAX, ctx.now()).await {
            Ok(claims) => claims,
            Err(error) => return ctx.checkpoint_failed(&error),
        };
        if claims.batches.is_empty() {
            if listing_done && claims.open == 0 {
                return;
            }
            wait(&ctx, &mut moved, &claims).await;
            continue;
        }
        let mut claimed = claims.batches.into_iter();
        while let Some(batch) = claimed.next() {
            if let Some(unsent) = hand_out(&ctx, &workers, &mut moved, batch).await {
                let ids = std::iter::once(unsent).chain(claimed.map(|claimed| claimed.batch.id)).collect();
                if let Err(error) = ctx.checkpoint.release(ids).await {
                    ctx.checkpoint_failed(&error);
                }
                return;
            }
        }
    }
}

/// `Some(id)` where the batch was not handed out because the run stops.
async fn hand_out(
    ctx: &Context,
    workers: &mpsc::Sender<Work>,
    moved: &mut watch::Receiver<u64>,
    claimed: ClaimedBatch,
) -> Option<i64> {
    let id = claimed.batch.id;
    let sizes = wanted(&claimed);
    let granted = loop {
        if ctx.stop.level() > Level::Run {
            return Some(id);
        }
        moved.borrow_and_update();
        let grant = locked(&ctx.budget).grant(id, &sizes, ctx.listing());
        match grant {
            Grant::Items(granted) => break granted,
            Grant::Spent(limit) => {
                ctx.stop.drain(Ending::Budget(format!("budget.{limit} is reached")));
                return Some(id);
            }
            Grant::Wait => {
                tokio::select! {
                    changed = moved.changed() => if changed.is_err() { return Some(id) },
                    () = ctx.stop.reached(Level::Drain) => {}
                }
            }
        }
    };
    let work = Work { batch: claimed.batch, blocked: claimed.blocked, granted };
    tokio::select! {
        sent = workers.send(work) => sent.is_err().then_some(id),
        () = ctx.stop.reached(Level::Drain) => Some(id),
    }
}

/// Waits for something to be committed, or for the next not-before time.
async fn wait(ctx: &Context, moved: &mut watch::Receiver<u64>, claims: &Claims) {
    let nap = claims.next_ready.map_or(NAP_MAX, |at| at.since(ctx.now()).unwrap_or_default().min(NAP_MAX));
    tokio::select! {
        _changed = moved.changed() => {}
        () = tokio::time::sleep(nap.max(Duration::from_millis(1))) => {}
        () = ctx.stop.reached(Level::Drain) => {}
    }
}
