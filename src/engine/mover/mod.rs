//! Copies histories: whole chains of a key's versions, oldest first, one step at a time.
//!
//! A chain batch holds chains of several keys. Each chain goes through: the destination key is looked at
//! and its newest entry committed as the base; every version is copied, its content compared, and its
//! version id at the destination committed before the next one leaves; at the end the destination is
//! listed again and compared entry by entry. Only then are the source versions of a move handed to the
//! ordinary delete path. After an answer that was lost, and after a crash, the destination is looked at
//! before anything is repeated: [`history`] says what it shows.

mod attributes;
mod chain;
mod confirm;
mod content;
mod ends;
mod history;
mod look;
mod parts;
mod side;
mod step;
mod stream;
mod survey;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::checkpoint::{ChainBase, Step, StepState};
use crate::job::{Job, Transfer};
use crate::model::{ActionId, Batch, Item, Key, VersionId};

use super::Ending;
use super::context::Context;
use super::dispatcher::Work;
use super::stop::Level;

pub(super) use confirm::confirm;
pub(super) use side::Side;
pub use side::{Destination, unreadable_keys};

use chain::{Chain, ChainEnd, Copying};
use survey::Beginnings;

/// What all chains of a run share.
pub(super) struct Mover {
    /// For each action of the job, where it copies to; absent where it does not.
    sides: Vec<Option<Arc<Side>>>,
    /// One permit for each chain under way.
    chains: Arc<Semaphore>,
    /// One permit for each MiB of data in memory.
    memory: Arc<Semaphore>,
    memory_mib: u32,
    /// An ETag that looks like an MD5 sum and is none was met, and told of.
    foreign_etags: AtomicBool,
}

impl std::fmt::Debug for Mover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mover").field("sides", &self.sides.len()).finish_non_exhaustive()
    }
}

const MIB: u64 = 1 << 20;

impl Mover {
    pub(super) fn new(job: &Job, sides: Vec<Option<Arc<Side>>>) -> Self {
        let mib = (job.limits.stream_memory_bytes / MIB).clamp(1, 1 << 20);
        let memory_mib = u32::try_from(mib).unwrap_or(1 << 20);
        Self {
            sides,
            chains: Arc::new(Semaphore::new(usize::from(job.limits.concurrency))),
            memory: Arc::new(Semaphore::new(memory_mib as usize)),
            memory_mib,
            foreign_etags: AtomicBool::new(false),
        }
    }

    fn side(&self, action: ActionId) -> Option<&Arc<Side>> {
        self.sides.get(usize::from(action.0))?.as_ref()
    }

    /// Whether no two rules can come to one destination key.
    fn has_one_action(&self) -> bool {
        self.sides.iter().flatten().count() < 2
    }

    /// Bytes of data that may be in memory.
    fn memory_bytes(&self) -> u64 {
        u64::from(self.memory_mib) * MIB
    }

    /// Waits until so many bytes may be held. More than there is room for at all waits for all of it.
    async fn hold(&self, bytes: u64) -> Option<tokio::sync::SemaphorePermit<'_>> {
        let mib = u32::try_from(bytes.div_ceil(MIB).max(1)).unwrap_or(u32::MAX).min(self.memory_mib);
        // It is never closed.
        self.memory.acquire_many(mib).await.ok()
    }
}

/// Whether the items of a batch are still to be copied.
pub(super) fn is_chain(batch: &Batch) -> bool {
    batch.items.first().and_then(|item| item.copy.as_ref()).is_some_and(|copy| copy.copied.is_none())
}

/// The transfer that a batch is for.
fn transfer_of(job: &Job, action: ActionId) -> Option<&Transfer> {
    job.actions.get(usize::from(action.0))?.transfer()
}

/// The chains of a batch: neighbours that come to one destination key, by their places.
fn chains_of(items: &[Item], target: impl Fn(&Item) -> Key) -> Vec<(Key, Range<usize>)> {
    let mut chains: Vec<(Key, Range<usize>)> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let key = target(item);
        match chains.last_mut() {
            Some((last, places)) if *last == key && items[places.start].key == item.key => {
                places.end = at + 1
            }
            _ => chains.push((key, at..at + 1)),
        }
    }
    chains
}

/// What the checkpoint knows of the chains of a batch.
struct Known {
    bases: HashMap<Key, ChainBase>,
    steps: HashMap<(Key, VersionId), StepState>,
}

impl Known {
    fn of(bases: Vec<ChainBase>, steps: Vec<Step>) -> Self {
        Self {
            bases: bases.into_iter().map(|base| (base.key.clone(), base)).collect(),
            steps: steps.into_iter().map(|step| ((step.key, step.version_id), step.state)).collect(),
        }
    }
}

/// Copies what a chain batch asks for, and settles it.
pub(super) async fn process(ctx: &Arc<Context>, work: Work) {
    let Work { batch, granted, .. } = work;
    let id = batch.id;
    let (Some(side), Some(transfer)) = (ctx.mover.side(batch.action), transfer_of(&ctx.job, batch.action))
    else {
        return ctx.stop.abort(Ending::Checkpoint(format!("batch {id} copies, its action does not")));
    };
    let mut known = match ctx.checkpoint.chains(id).await {
        Ok((bases, steps)) => Known::of(bases, steps),
        Err(error) => return ctx.checkpoint_failed(&error),
    };
    let prefixes = &ctx.job.scope.prefixes;
    let template = &transfer.settings.key;
    let chains = chains_of(&batch.items, |item| {
        template.render(&item.key, &item.version_id, item.last_modified, prefixes)
    });
    let batch = Arc::new(batch);
    let (granted, untouched): (Vec<_>, Vec<_>) =
        chains.into_iter().partition(|(_, places)| places.end <= granted);
    let mut ends: Vec<(Range<usize>, ChainEnd)> =
        untouched.into_iter().map(|(_, places)| (places, ChainEnd::Untouched)).collect();
    let chains: Vec<Chain> = granted
        .into_iter()
        .map(|(target, places)| Chain::new(ctx, side, &batch, places, target, &mut known))
        .collect();
    // What begins with a common look is noted as before: each chain's base, before its first copy.
    let beginners = chains.iter().filter(|chain| chain.may_be_surveyed());
    let beginnings = Arc::new(Beginnings::new(beginners.map(|chain| chain.target.clone())));
    let copied = for_each(ctx, chains, move |chain| {
        let beginnings = Arc::clone(&beginnings);
        async move { chain.copy(&beginnings).await }
    });
    let Some(copied) = copied.await else { return };
    let mut complete = Vec::new();
    for (places, copying) in copied {
        match copying {
            Some(Copying::Complete(chain)) => complete.push(*chain),
            Some(Copying::Ended(end)) => ends.push((places, end)),
            None => ends.push((places, ChainEnd::Untouched)),
        }
    }
    let Some(verified) = verify(ctx, side, complete).await else { return };
    ends.extend(verified);
    ends.sort_by_key(|(places, _)| places.start);
    ends::commit(ctx, side, &batch, transfer.removes_source.is_some(), ends).await;
}

/// Does something with each chain, as many at a time as the job allows; in no order. `None` for a chain that
/// was not begun since the run stops; nothing at all where one panicked.
async fn for_each<T, F, Fut>(
    ctx: &Arc<Context>,
    chains: Vec<Chain>,
    work: F,
) -> Option<Vec<(Range<usize>, Option<T>)>>
where
    T: Send + 'static,
    F: Fn(Chain) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    let (mut tasks, work) = (JoinSet::new(), Arc::new(work));
    for chain in chains {
        let (ctx, places, work) = (Arc::clone(ctx), chain.places(), Arc::clone(&work));
        let under_way = async move {
            match ctx.mover.chains.acquire().await {
                // Boxed: what a chain takes while it works, it does not take while it waits.
                Ok(_held) if ctx.stop.level() == Level::Run => (places, Some(Box::pin(work(chain)).await)),
                _ => (places, None),
            }
        };
        tasks.spawn(under_way.in_current_span());
    }
    let mut done = Vec::with_capacity(tasks.len());
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok(one) => done.push(one),
            Err(error) if error.is_panic() => {
                ctx.stop.abort(Ending::Bug("a chain panicked: please report it".into()));
                return None;
            }
            Err(_) => {}
        }
    }
    Some(done)
}

/// Compares the destination with chains that are complete: with one listing for those that lie together,
/// and by itself with each that the listing does not confirm.
async fn verify(
    ctx: &Arc<Context>,
    side: &Arc<Side>,
    chains: Vec<Chain>,
) -> Option<Vec<(Range<usize>, ChainEnd)>> {
    let mut seen = survey::ends(ctx, side, chains.iter().map(|chain| chain.target.clone())).await;
    let is_confirmed =
        |chain: &Chain, listed: Option<Vec<_>>| listed.is_some_and(|listed| chain.check(&listed).is_ok());
    let (confirmed, open): (Vec<_>, Vec<_>) = chains.into_iter().partition(|chain| {
        let listed = seen.remove(&chain.target);
        is_confirmed(chain, listed)
    });
    let mut ends: Vec<_> = confirmed.into_iter().map(|chain| (chain.places(), chain.whole())).collect();
    let looked = for_each(ctx, open, |chain| async move { chain.finish_by_itself().await }).await?;
    ends.extend(looked.into_iter().map(|(places, end)| (places, end.unwrap_or(ChainEnd::Untouched))));
    Some(ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, RuleId, Timestamp};

    #[test]
    fn a_chain_is_one_source_key_that_comes_to_one_destination_key() {
        let item = |key: &str, version: &str| Item {
            key: Key::from(key),
            version_id: VersionId::new(version).unwrap(),
            kind: Kind::Version,
            is_latest: false,
            size: 1,
            last_modified: Timestamp::from_millis(1),
            rule: RuleId(0),
            copy: None,
        };
        let items = [item("a", "1"), item("a", "2"), item("b", "3"), item("c", "4")];
        let chains = chains_of(&items, |item| item.key.clone());
        let places: Vec<_> = chains.iter().map(|(_, places)| places.clone()).collect();
        assert_eq!(places, [0..2, 2..3, 3..4]);
        let chains = chains_of(&items, |item| Key::from(item.version_id.as_str()));
        assert_eq!(chains.len(), 4, "a template by version makes a chain of each");
        let chains = chains_of(&items, |_| Key::from("one"));
        assert_eq!(chains.len(), 3, "two source keys never share a chain");
    }
}
