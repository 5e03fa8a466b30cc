//! Hands planned batches to the workers: claims them, reserves their budget, and knows when
//! nothing is left to do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::checkpoint::{CheckpointError, ClaimedBatch, Claims};
use crate::model::{Batch, Key, Timestamp};

use super::Ending;
use super::budget::Grant;
use super::context::{Context, locked};
use super::mover::is_chain;
use super::stop::Level;

/// Batches claimed at a time: enough that a worker rarely waits for the checkpoint.
const CLAIM_MAX: usize = 16;
/// Longest wait for a not-before time, so that a clock that was corrected is noticed.
const NAP_MAX: Duration = Duration::from_secs(5);

/// How often the pace is looked at while it has no use for another batch.
const LOOK_EVERY: Duration = Duration::from_millis(20);

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

/// What a batch of chains asks of the budget: the sizes of the items of each key. They stand together.
fn wanted_chains(batch: &Batch) -> Vec<Vec<u64>> {
    let of_key = batch.items.chunk_by(|a, b| a.key == b.key);
    of_key.map(|items| items.iter().map(|item| item.size).collect()).collect()
}

fn grant(ctx: &Context, claimed: &ClaimedBatch) -> Grant {
    let (id, listing) = (claimed.batch.id, ctx.listing());
    let mut budget = locked(&ctx.budget);
    if is_chain(&claimed.batch) {
        budget.grant_chains(id, &wanted_chains(&claimed.batch), listing)
    } else {
        budget.grant(id, &wanted(claimed), listing)
    }
}

/// Why the budget is spent.
fn spent(ctx: &Context, batch: &Batch, limit: &str) -> Ending {
    let max = ctx.job.budget.max_bytes.unwrap_or(u64::MAX);
    let too_large = batch.items.iter().find(|item| item.size > max);
    Ending::Budget(match too_large {
        Some(item) => format!(
            "budget.max_bytes is less than the {} bytes of key \"{}\", version {}: raise it, or keep that key by a rule",
            item.size, item.key, item.version_id
        ),
        None => match too_long_chain(ctx, batch) {
            Some((key, versions)) => format!(
                "budget.{limit} is less than the history of key \"{key}\", {versions} versions that travel together: raise it, or keep that key by a rule"
            ),
            None => format!("budget.{limit} is reached"),
        },
    })
}

/// A history that no budget window of this size lets go.
fn too_long_chain<'a>(ctx: &Context, batch: &'a Batch) -> Option<(&'a Key, usize)> {
    if !is_chain(batch) {
        return None;
    }
    let limits = &ctx.job.budget;
    let mut chains = batch.items.chunk_by(|a, b| a.key == b.key);
    let found = chains.find(|chain| {
        let bytes = chain.iter().fold(0_u64, |sum, item| sum.saturating_add(item.size));
        limits.max_versions.is_some_and(|max| chain.len() as u64 > max)
            || limits.max_bytes.is_some_and(|max| bytes > max)
    });
    found.map(|chain| (&chain[0].key, chain.len()))
}

/// What became of an attempt to hand out a batch.
enum HandedOut {
    /// A worker has it.
    Yes,
    /// The budget has no room for it now.
    NoRoom(ClaimedBatch),
    /// The run stops.
    Stopped(ClaimedBatch),
}

/// Runs until everything is settled or the run is told to stop.
pub(super) async fn dispatch(ctx: Arc<Context>, workers: mpsc::Sender<Work>) {
    let mut moved = ctx.moved.subscribe();
    // What the budget has no room for. Meanwhile only batches that came back are claimed: they bring
    // their own reservation along, and it may be theirs that leaves no room. So do deletions of what was
    // moved.
    let mut aside: Vec<ClaimedBatch> = Vec::new();
    while ctx.goes_on() {
        moved.borrow_and_update();
        // Read before the claim: a page committed in between would be missed the other way round.
        let listing_done = ctx.listing_done.load(Ordering::Acquire);
        let claims = {
            // What was moved in between would come without the reservation that it brings along.
            let _handed_over = ctx.hand_over.write().await;
            if aside.is_empty() {
                claim(&ctx).await
            } else {
                let paid = locked(&ctx.budget).paid_batches();
                ctx.checkpoint.claim_retries(CLAIM_MAX, ctx.now(), paid).await
            }
        };
        let Claims { batches, next_ready, open } = match claims {
            Ok(claims) => claims,
            Err(error) => return ctx.checkpoint_failed(&error),
        };
        if listing_done && open == 0 {
            return;
        }
        let starved = batches.is_empty() && next_ready.is_none() && aside.is_empty() && ctx.caller.is_idle();
        if ctx.starved.swap(starved, Ordering::AcqRel) != starved && starved {
            ctx.bump();
        }
        let mut has_moved = false;
        let mut unsent = Vec::new();
        for batch in batches.into_iter().chain(std::mem::take(&mut aside)) {
            match hand_out(&ctx, &workers, batch).await {
                HandedOut::Yes => has_moved = true,
                HandedOut::NoRoom(batch) => aside.push(batch),
                HandedOut::Stopped(batch) => unsent.push(batch.batch.id),
            }
        }
        if !unsent.is_empty() {
            unsent.extend(aside.iter().map(|claimed| claimed.batch.id));
            return give_back(&ctx, unsent).await;
        }
        if !has_moved {
            wait(&ctx, &mut moved, next_ready).await;
        }
    }
    give_back(&ctx, aside.iter().map(|claimed| claimed.batch.id).collect()).await;
}

/// Leaves the ranges that rest alone as long as there is something else to do.
async fn claim(ctx: &Context) -> Result<Claims, CheckpointError> {
    let resting = ctx.caller.resting();
    let is_choosy = !resting.is_empty();
    let pages_left = locked(&ctx.pages_left).clone();
    let claims = ctx.checkpoint.claim_beside(CLAIM_MAX, ctx.now(), resting, pages_left).await?;
    if is_choosy && claims.batches.is_empty() && claims.next_ready.is_none() {
        ctx.caller.forgive_ranges();
        return ctx.checkpoint.claim(CLAIM_MAX, ctx.now()).await;
    }
    Ok(claims)
}

async fn give_back(ctx: &Context, ids: Vec<i64>) {
    if !ids.is_empty()
        && let Err(error) = ctx.checkpoint.release(ids).await
    {
        ctx.checkpoint_failed(&error);
    }
}

async fn hand_out(ctx: &Context, workers: &mpsc::Sender<Work>, claimed: ClaimedBatch) -> HandedOut {
    if !ctx.goes_on() {
        return HandedOut::Stopped(claimed);
    }
    let id = claimed.batch.id;
    let granted = match grant(ctx, &claimed) {
        Grant::Items(granted) => granted,
        Grant::Wait => return HandedOut::NoRoom(claimed),
        Grant::Spent(limit) => {
            ctx.stop.drain(spent(ctx, &claimed.batch, limit));
            return HandedOut::Stopped(claimed);
        }
    };
    if granted > 0
        && locked(&ctx.budget).is_limited()
        && let Err(error) = ctx.checkpoint.note_granted(id, granted).await
    {
        ctx.checkpoint_failed(&error);
        return HandedOut::Stopped(claimed);
    }
    let permit = tokio::select! {
        permit = async {
            wait_for_use(ctx).await;
            workers.reserve().await
        } => permit,
        () = ctx.stop.reached(Level::Drain) => return HandedOut::Stopped(claimed),
    };
    match permit {
        Ok(permit) => {
            if claimed.batch.attempts == 0 {
                // What comes back has its turn by its not-before time.
                ctx.caller.reserve(claimed.batch.range, claimed.batch.items.len());
            }
            ctx.caller.takes_batch();
            permit.send(Work { batch: claimed.batch, blocked: claimed.blocked, granted });
            HandedOut::Yes
        }
        Err(_) => HandedOut::Stopped(claimed),
    }
}

/// Waits until the pace has use for another batch: a batch that is handed out earlier only waits in a
/// queue, where the turns of the ranges no longer count.
async fn wait_for_use(ctx: &Context) {
    let mut moved = ctx.moved.subscribe();
    while !ctx.caller.has_use_for_another() {
        tokio::select! {
            _changed = moved.changed() => {}
            // The pace may have grown meanwhile.
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Waits for something to be committed, for the next not-before time, or for a range to end its rest.
async fn wait(ctx: &Context, moved: &mut watch::Receiver<u64>, next_ready: Option<Timestamp>) {
    let nap = next_ready.map_or(NAP_MAX, |at| at.since(ctx.now()).unwrap_or_default().min(NAP_MAX));
    let nap = ctx.caller.next_rest_ends_in().map_or(nap, |rest| rest.min(nap));
    tokio::select! {
        _changed = moved.changed() => {}
        () = tokio::time::sleep(nap.max(Duration::from_millis(1))) => {}
        () = ctx.stop.reached(Level::Drain) => {}
    }
}
