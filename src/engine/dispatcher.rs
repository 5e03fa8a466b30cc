//! Hands planned batches to the workers: claims them, reserves their budget, and knows when
//! nothing is left to do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::checkpoint::{ClaimedBatch, Claims};
use crate::model::{Batch, Timestamp};

use super::Ending;
use super::budget::{Grant, Load};
use super::context::{Context, locked};
use super::stop::Level;

/// Batches claimed at a time: enough that a worker rarely waits for the checkpoint.
const CLAIM_MAX: usize = 16;
/// Longest wait for a not-before time, so that a clock that was corrected is noticed.
const NAP_MAX: Duration = Duration::from_secs(5);

/// The note of the checkpoint that holds the grants whose outcome is not known.
pub(super) const GRANTS_NOTE: &str = "budget_grants";

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
    // What the budget has no room for. Meanwhile only batches that came back are claimed: they bring
    // their own reservation along, and it may be theirs that leaves no room.
    let mut aside: Vec<ClaimedBatch> = Vec::new();
    while ctx.stop.level() == Level::Run {
        moved.borrow_and_update();
        // Read before the claim: a page committed in between would be missed the other way round.
        let listing_done = ctx.listing_done.load(Ordering::Acquire);
        let claims = if aside.is_empty() {
            ctx.checkpoint.claim(CLAIM_MAX, ctx.now()).await
        } else {
            ctx.checkpoint.claim_retries(CLAIM_MAX, ctx.now()).await
        };
        let Claims { batches, next_ready, open } = match claims {
            Ok(claims) => claims,
            Err(error) => return ctx.checkpoint_failed(&error),
        };
        if listing_done && open == 0 {
            return;
        }
        let granted = grant(&ctx, batches, &mut aside);
        if granted.is_empty() {
            wait(&ctx, &mut moved, next_ready).await;
            continue;
        }
        let note = serde_json::to_string(locked(&ctx.budget).grants()).unwrap_or_default();
        if locked(&ctx.budget).is_limited()
            && let Err(error) = ctx.checkpoint.put_note(GRANTS_NOTE, note).await
        {
            return ctx.checkpoint_failed(&error);
        }
        let unsent = hand_out(&ctx, &workers, granted).await;
        if !unsent.is_empty() {
            give_back(&ctx, unsent).await;
            break;
        }
    }
    give_back(&ctx, aside.iter().map(|claimed| claimed.batch.id).collect()).await;
}

/// Asks the budget for each batch. Those that it has no room for are put aside.
fn grant(ctx: &Context, batches: Vec<ClaimedBatch>, aside: &mut Vec<ClaimedBatch>) -> Vec<Work> {
    let mut granted = Vec::new();
    for claimed in batches.into_iter().chain(std::mem::take(aside)) {
        let all = Load { versions: claimed.batch.items.len() as u64, bytes: claimed.batch.bytes() };
        let answer = locked(&ctx.budget).grant(claimed.batch.id, &wanted(&claimed), all, ctx.listing());
        match answer {
            Grant::Items(items) => {
                granted.push(Work { batch: claimed.batch, blocked: claimed.blocked, granted: items });
            }
            Grant::Wait => aside.push(claimed),
            Grant::Spent(limit) => {
                ctx.stop.drain(Ending::Budget(format!("budget.{limit} is reached")));
                aside.push(claimed);
            }
        }
    }
    granted
}

/// Gives the work to the workers; the batches that were not handed out because the run stops.
async fn hand_out(ctx: &Context, workers: &mpsc::Sender<Work>, granted: Vec<Work>) -> Vec<i64> {
    let mut unsent = Vec::new();
    for work in granted {
        if ctx.stop.level() > Level::Run {
            unsent.push(work.batch.id);
            continue;
        }
        tokio::select! {
            permit = workers.reserve() => match permit {
                Ok(permit) => permit.send(work),
                Err(_) => unsent.push(work.batch.id),
            },
            () = ctx.stop.reached(Level::Drain) => unsent.push(work.batch.id),
        }
    }
    unsent
}

async fn give_back(ctx: &Context, ids: Vec<i64>) {
    if !ids.is_empty()
        && let Err(error) = ctx.checkpoint.release(ids).await
    {
        ctx.checkpoint_failed(&error);
    }
}

/// Waits for something to be committed, or for the next not-before time.
async fn wait(ctx: &Context, moved: &mut watch::Receiver<u64>, next_ready: Option<Timestamp>) {
    let nap = next_ready.map_or(NAP_MAX, |at| at.since(ctx.now()).unwrap_or_default().min(NAP_MAX));
    tokio::select! {
        _changed = moved.changed() => {}
        () = tokio::time::sleep(nap.max(Duration::from_millis(1))) => {}
        () = ctx.stop.reached(Level::Drain) => {}
    }
}
