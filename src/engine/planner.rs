//! Listing: each range is listed by one lister, page after page; a page's decisions, the place of the
//! next page and the state of the open key commit together. Listers without a range divide the others'.
//!
//! A page is planned and handed to the checkpoint under its range's lock, and the range's end is read
//! under that lock. Whoever divides a range holds its lock from reading its end to handing over the
//! split. The order in which the checkpoint gets pages and splits is therefore the order in which they
//! were decided, and a page that was under way while its range was divided needs no recall. Locks are
//! let go before the commit is waited for, so that one transaction serves many listers.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::atomic::Ordering as Atomic;
use std::sync::{Arc, Mutex};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, watch};
use tracing::Instrument as _;

use crate::checkpoint::{
    Amount, CheckpointError, Counter, NewRange, PageCommit, RangeRow, Receipt, Slot, Split,
};
use crate::job::Audit;
use crate::model::{Class, Key, Marker, Page};
use crate::retry::{self, Durable};
use crate::rules::{KeyOrder, OrderFault, ends_alike};
use crate::s3::{ListVersions, Operation, S3Error};
use crate::telemetry::{Event, PageCounts, Quantity};

use super::Ending;
use super::context::{Context, PENDING_HIGH_WATER, locked};
use super::page::{PageFault, PageOptions, plan_page, start_of};
use super::ranges::{Found, Level as KeyLevel, Open, Probe, Ranges, Seen, Task, Verdict};
use super::stop::Level;

/// The id of a range that has none yet.
const NOT_NUMBERED: i64 = 0;
/// Examples of each rule that one page hands in for the plan.
const SAMPLES_PER_PAGE: usize = 3;

/// What the listers of a run share.
pub(super) struct Listing {
    /// Who lists what.
    ranges: Mutex<Ranges>,
    /// Ranges that no lister has begun in this process.
    parked: Mutex<HashMap<i64, RangeRow>>,
    /// Held from planning a page of a range to handing it to the checkpoint.
    locks: Mutex<HashMap<i64, Arc<AsyncMutex<()>>>>,
    /// Bumped when a lister without work may find some.
    changed: watch::Sender<u64>,
    /// Ranges that there were when this process began, those that were done included.
    known_at_first: u64,
    /// Whether listing pauses at the high-water mark of planned versions, which makes sense only where
    /// somebody carries them out.
    bounded: bool,
}

impl Listing {
    /// Of these ranges, by so many listers.
    pub(super) fn new(rows: Vec<RangeRow>, listers: usize, bounded: bool) -> Self {
        let next_id = rows.iter().map(|row| row.id).max().unwrap_or(0) + 1;
        let known_at_first = rows.len() as u64;
        let rows: Vec<RangeRow> = rows.into_iter().filter(|row| !row.done).collect();
        let open = |row: &RangeRow| Open {
            id: row.id,
            scope: row.prefix.clone(),
            lo: row.lo.clone(),
            hi: row.hi.clone(),
            cursor: row.cursor.as_ref().map(|cursor| cursor.key.clone()),
        };
        Self {
            ranges: Mutex::new(Ranges::new(listers, rows.iter().map(open).collect(), next_id)),
            locks: Mutex::new(rows.iter().map(|row| (row.id, Arc::default())).collect()),
            parked: Mutex::new(rows.into_iter().map(|row| (row.id, row)).collect()),
            changed: watch::Sender::new(0),
            known_at_first,
            bounded,
        }
    }

    /// Whether nothing is left to list.
    pub(super) fn is_done(&self) -> bool {
        locked(&self.ranges).live() == 0
    }

    /// Ranges that are not done.
    pub(super) fn live(&self) -> usize {
        locked(&self.ranges).live()
    }

    /// `None` where the range is done.
    async fn lock(&self, range: i64) -> Option<OwnedMutexGuard<()>> {
        let lock = locked(&self.locks).get(&range).cloned()?;
        Some(lock.lock_owned().await)
    }

    /// Tells the listers without work, and those who watch, that something has changed.
    pub(super) fn bump(&self, ctx: &Context) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
        let ranges = locked(&self.ranges);
        let open = ranges.live() as u64;
        let done = (self.known_at_first + ranges.splits()).saturating_sub(open);
        ctx.caller.metrics.emit(&Event::RangesChanged { open, done });
    }

    /// Decides what a probe came to. A new range is returned with its lock held, which nobody else can
    /// have had: its first page must be the first that the checkpoint hears of it.
    fn land(&self, probe: &Probe, victim: Option<i64>, found: &Found) -> Option<(Open, OwnedMutexGuard<()>)> {
        let lock = Arc::new(AsyncMutex::new(()));
        let held = Arc::clone(&lock).try_lock_owned().ok()?;
        let mut ranges = locked(&self.ranges);
        let new = ranges.land(probe, victim, found)?;
        locked(&self.locks).insert(new.id, lock);
        Some((new, held))
    }

    /// A page of a range was handed to the checkpoint.
    fn handed_over(&self, ctx: &Context, commit: &Handed, seen: &Seen) {
        let pages_left = {
            let mut ranges = locked(&self.ranges);
            ranges.page(commit.id, seen, commit.cursor.as_ref(), commit.done);
            ranges.pages_left(commit.id)
        };
        match pages_left {
            Some(pages) => locked(&ctx.pages_left).insert(commit.id, pages),
            None => locked(&ctx.pages_left).remove(&commit.id),
        };
        if commit.done {
            locked(&self.locks).remove(&commit.id);
            ctx.caller.metrics.emit(&Event::RangeDone { range: commit.id });
        }
    }
}

/// Lists until nothing is left or the run is told to stop.
pub(super) async fn list_ranges(ctx: Arc<Context>, listing: Arc<Listing>) {
    let mut changed = listing.changed.subscribe();
    while ctx.stop.level() == Level::Run {
        changed.borrow_and_update();
        let task = locked(&listing.ranges).next_task();
        let range = match task {
            Task::Adopt(id) => locked(&listing.parked).remove(&id),
            Task::Probe(probe) => match divide(&ctx, &listing, &probe).await {
                Some(range) => range,
                None => return,
            },
            Task::Level(level) => {
                look_at_level(&ctx, &listing, &level).await;
                None
            }
            Task::Wait => {
                tokio::select! {
                    changed = changed.changed() => if changed.is_err() { return },
                    () = ctx.stop.reached(Level::Drain) => return,
                }
                None
            }
            Task::Done => return,
        };
        if let Some(range) = range
            && list_range(&ctx, &listing, range).await.is_none()
        {
            return;
        }
    }
}

/// A page on its way to the disk.
type UnderWay = Option<(Handed, Receipt)>;

/// `None` where the run stops before the range is done.
async fn list_range(ctx: &Context, listing: &Listing, range: RangeRow) -> Option<()> {
    let mut under_way = None;
    let span = tracing::error_span!("list", range = range.id);
    let listed = list_pages(ctx, listing, range, &mut under_way).instrument(span).await;
    if is_durable(ctx, under_way).await { listed } else { None }
}

/// Waits until a page is on the disk; `false` where it cannot get there, which ends the run.
async fn is_durable(ctx: &Context, under_way: UnderWay) -> bool {
    match under_way {
        Some((handed, receipt)) => handed.committed(ctx, receipt.committed().await),
        None => true,
    }
}

/// Lists a range. The next page is asked for while the one before is on its way to the disk: pages get
/// there in order, and what the later one releases is released with it.
async fn list_pages(
    ctx: &Context,
    listing: &Listing,
    mut range: RangeRow,
    under_way: &mut UnderWay,
) -> Option<()> {
    while !range.done {
        if listing.bounded {
            wait_for_room(ctx).await;
        }
        if ctx.stop.level() >= Level::Drain {
            return None;
        }
        // A limit counts what is committed.
        if ctx.job.scope.limit.is_some() && !is_durable(ctx, under_way.take()).await {
            return None;
        }
        let limit_left =
            ctx.job.scope.limit.map(|limit| limit.saturating_sub(ctx.listed.load(Atomic::Acquire)));
        if limit_left == Some(0) {
            return Some(());
        }
        // A page that was asked for and not committed loses nothing: it is asked for again.
        let from = start_of(&range);
        let fetched = async {
            tokio::select! {
                page = fetch(ctx, &range.prefix, from.as_ref()) => page,
                () = ctx.stop.reached(Level::Drain) => None,
            }
        };
        let (page, durable) = tokio::join!(fetched, is_durable(ctx, under_way.take()));
        let (now, next) = commit(ctx, listing, range, page.filter(|_| durable)?, limit_left).await?;
        range = now;
        *under_way = Some(next);
    }
    Some(())
}

/// Asks for a page behind a split point. Where it shows that the range that holds the point can be
/// divided there, the new range is returned, its first page committed. `None` where the run stops.
async fn divide(ctx: &Context, listing: &Listing, probe: &Probe) -> Option<Option<RangeRow>> {
    if listing.bounded {
        wait_for_room(ctx).await;
    }
    let from = Marker { key: probe.at.clone(), version_id: None };
    let page = tokio::select! {
        page = fetch(ctx, &probe.scope, Some(&from)) => page?,
        () = ctx.stop.reached(Level::Drain) => return None,
    };
    let first =
        page.versions.iter().map(|version| &version.key).filter(|key| **key > probe.at).min().cloned();
    let found = Found { first, is_truncated: page.next.is_some() };
    let seen = seen_of(&page);
    let slot = reserve(ctx).await?;
    // The range that holds the point may be divided, or done, while its lock is waited for.
    let victim = loop {
        let home = locked(&listing.ranges).home(&probe.scope, &probe.at);
        let Some(home) = home else { break None };
        let Some(lock) = listing.lock(home).await else { continue };
        if locked(&listing.ranges).home(&probe.scope, &probe.at) == Some(home) {
            break Some((home, lock));
        }
    };
    let home = victim.as_ref().map(|(id, _)| *id);
    let verdict = locked(&listing.ranges).verdict(probe, home, &found);
    let (hi, victim, victim_lock) = match (verdict, victim) {
        (Verdict::Split { hi }, Some((victim, lock))) => (hi, victim, lock),
        (_, victim) => {
            listing.land(probe, home, &found);
            drop(victim);
            listing.bump(ctx);
            return Some(None);
        }
    };
    // The victim keeps its end until the page is planned: a page that cannot be taken changes nothing.
    let part = NewRange { prefix: probe.scope.clone(), lo: Some(probe.at.clone()), hi };
    let mut planned = plan(ctx, RangeRow::new(NOT_NUMBERED, part), page, None)?;
    let Some((new, new_lock)) = listing.land(probe, home, &found) else {
        ctx.stop.abort(Ending::Bug("a range changed while its lock was held: please report it".into()));
        return None;
    };
    planned.range.id = new.id;
    let (handed, range) = (Handed::of(&planned), planned.range.clone());
    let receipt = slot.commit_split(Split { victim, page: planned });
    ctx.caller.metrics.emit(&Event::RangeSplit { range: victim, new: new.id });
    listing.handed_over(ctx, &handed, &seen);
    drop((victim_lock, new_lock));
    if let Some(monitor) = &ctx.monitor {
        monitor.split(victim, new.id, &probe.at);
    }
    listing.bump(ctx);
    handed.committed(ctx, receipt.committed().await).then_some(Some(range))
}

/// A place among the checkpoint's commands; `None` where it takes none any more, which ends the run.
async fn reserve(ctx: &Context) -> Option<Slot> {
    ctx.checkpoint.reserve().await.map_err(|error| ctx.checkpoint_failed(&error)).ok()
}

/// Lists the names below a level, for where to divide: what is not known does no harm.
async fn look_at_level(ctx: &Context, listing: &Listing, level: &KeyLevel) {
    let client = &ctx.caller.client;
    let prefix = level.prefix.as_bytes();
    let call =
        ctx.caller.call(Operation::ListObjectVersions, 0, Some(&ctx.stop), || client.list_level(prefix));
    let (children, is_whole) = match call.await {
        Ok(Some(names)) => (names.prefixes, names.is_whole),
        Ok(None) => (Vec::new(), false),
        Err(error) => {
            tracing::debug!("a level was not listed by delimiter: {error}");
            (Vec::new(), false)
        }
    };
    locked(&listing.ranges).level(level, children, is_whole);
    listing.bump(ctx);
}

/// Some keys of a page.
fn seen_of(page: &Page) -> Seen {
    Seen::of(page.versions.iter().map(|version| &version.key))
}

/// A page; tries as long as the run goes on.
async fn fetch(ctx: &Context, prefix: &Key, from: Option<&Marker>) -> Option<Page> {
    let request = ListVersions {
        prefix: prefix.as_bytes(),
        from,
        page_size: ctx.job.scope.page_size,
        wants_data: ctx.rules.need_texts(),
    };
    let began = ctx.now();
    for round in 1.. {
        let answer = ctx
            .caller
            .call(Operation::ListObjectVersions, 0, None, || ctx.caller.client.list_versions(&request))
            .await;
        let error = match answer {
            Ok(page) => return page,
            Err(error) => error,
        };
        if !matches!(error.class, Class::Transient | Class::Throttled) || exhausted(&error, round) {
            ctx.end_by(&error);
            return None;
        }
        ctx.caller.metrics.emit(&Event::ListingWaits { error: &error });
        ctx.check_outage(&[&ctx.caller], &error).await;
        let mut chance = || ctx.caller.chance();
        let (wish, patience, now) = (error.retry_after, ctx.give_up_after(&[]), ctx.now());
        match retry::durable(round, began, now, patience, wish, &mut chance) {
            Durable::NotBefore(at) => tokio::time::sleep(at.since(now).unwrap_or_default()).await,
            Durable::GiveUp => {
                let text = format!("a page could not be listed for {} s: {error}", patience.as_secs());
                ctx.stop.drain(Ending::Interrupted(text));
                return None;
            }
        }
    }
    None
}

/// Whether the same error came as often as it is worth another try.
fn exhausted(error: &S3Error, round: u32) -> bool {
    error.tries_max.is_some_and(|max| round >= max)
}

/// What is remembered of a page that was handed to the checkpoint.
struct Handed {
    id: i64,
    cursor: Option<Key>,
    done: bool,
    counts: PageCounts,
}

impl Handed {
    fn of(commit: &PageCommit) -> Self {
        Self {
            id: commit.range.id,
            cursor: commit.range.cursor.as_ref().map(|cursor| cursor.key.clone()),
            done: commit.range.done,
            counts: page_counts(commit.tallies.iter().copied()),
        }
    }

    /// Counts the page once it is durable; `false` where that ends the run.
    fn committed(&self, ctx: &Context, committed: Result<(), CheckpointError>) -> bool {
        if let Err(error) = committed {
            ctx.checkpoint_failed(&error);
            return false;
        }
        ctx.listed.fetch_add(self.counts.listed, Atomic::AcqRel);
        ctx.caller.metrics.emit(&Event::PageCommitted {
            range: self.id,
            at: ctx.now(),
            counts: &self.counts,
        });
        if let Some(monitor) = &ctx.monitor {
            monitor.page(self.id, &self.counts, self.cursor.as_ref(), self.done);
        }
        ctx.bump();
        true
    }
}

/// What the tallies of a listing come to.
pub(super) fn page_counts(tallies: impl Iterator<Item = (Counter, Amount)>) -> PageCounts {
    let mut counts = PageCounts::default();
    for (counter, amount) in tallies {
        match counter {
            Counter::Listed => counts.listed += amount.versions,
            Counter::Kept(reason) => counts.kept.push((reason, amount.versions)),
            Counter::Planned(rule) => {
                counts.planned.push((rule, Quantity { versions: amount.versions, bytes: amount.bytes }));
            }
            Counter::Done(_) | Counter::Gone(_) | Counter::Failed(_) | Counter::Skipped(..) => {}
        }
    }
    counts
}

/// Decides and commits a page; `None` where that ends the run.
async fn commit(
    ctx: &Context,
    listing: &Listing,
    mut range: RangeRow,
    page: Page,
    limit_left: Option<u64>,
) -> Option<(RangeRow, (Handed, Receipt))> {
    let seen = seen_of(&page);
    let slot = reserve(ctx).await?;
    let lock = listing.lock(range.id).await;
    range.hi = locked(&listing.ranges).hi(range.id);
    let planned = plan(ctx, range, page, limit_left)?;
    let (handed, range) = (Handed::of(&planned), planned.range.clone());
    let receipt = slot.commit_page(planned);
    listing.handed_over(ctx, &handed, &seen);
    drop(lock);
    listing.bump(ctx);
    Some((range, (handed, receipt)))
}

/// Decides a page; `None` where that ends the run.
fn plan(ctx: &Context, range: RangeRow, page: Page, limit_left: Option<u64>) -> Option<PageCommit> {
    let options = PageOptions {
        at: ctx.now(),
        audit_kept: ctx.job.report.audit == Audit::Full,
        samples_max: SAMPLES_PER_PAGE,
        limit_left,
        // What the listing of a part leaves out in an order that is not that of bytes shows in the part
        // behind it; behind the job's own bound there is none.
        ends_at_hi: range.hi.as_ref().is_none_or(ends_alike) || range.hi != ctx.job.scope.to_key,
    };
    // Pages are planned side by side, each by what was known when it began.
    let mut orders = *locked(&ctx.orders);
    let planned = plan_page(range, page, &ctx.rules, &mut orders, options);
    let planned = planned.and_then(|planned| {
        locked(&ctx.orders).join(orders, &planned.range.prefix)?;
        Ok(planned)
    });
    match planned {
        Ok(mut planned) => {
            planned.requests.push(("list_pages", 1));
            let selected: u64 = planned
                .tallies
                .iter()
                .filter(|(counter, _)| matches!(counter, Counter::Planned(_)))
                .map(|(_, amount)| amount.versions)
                .sum();
            // Counted before the commit, so that no settlement of these items can come first.
            ctx.pending.fetch_add(selected, Atomic::AcqRel);
            Some(planned)
        }
        Err(PageFault::Order(fault)) => {
            let hint = if is_utf16_order(&fault) {
                "The keys seem to be in the order of their UTF-16 code units: `scope: { listing: sequential }` \
                 lists such a server, page after page; begin anew with --restart"
            } else {
                "Where somebody changed that key meanwhile, begin anew with --restart"
            };
            ctx.stop.abort(Ending::Tripwire(format!("{fault}: nothing of this page was planned. {hint}")));
            None
        }
        Err(fault @ PageFault::State(_)) => {
            ctx.stop.abort(Ending::Checkpoint(fault.to_string()));
            None
        }
    }
}

/// Whether what goes back in bytes goes on in UTF-16.
fn is_utf16_order(fault: &OrderFault) -> bool {
    match fault {
        OrderFault::KeyWentBack { key, after } => KeyOrder::Utf16.compare(after, key) == Ordering::Less,
        _ => false,
    }
}

/// Waits while too much is planned and not settled.
async fn wait_for_room(ctx: &Context) {
    let mut moved = ctx.moved.subscribe();
    if ctx.pending.load(Atomic::Acquire) < PENDING_HIGH_WATER {
        return;
    }
    ctx.planners_paused.fetch_add(1, Atomic::AcqRel);
    ctx.caller.metrics.emit(&Event::PlannerPaused(true));
    ctx.bump();
    while must_wait(ctx.pending.load(Atomic::Acquire), ctx.starved.load(Atomic::Acquire))
        && ctx.stop.level() == Level::Run
    {
        tokio::select! {
            changed = moved.changed() => if changed.is_err() { break },
            () = ctx.stop.reached(Level::Drain) => {}
        }
    }
    let before = ctx.planners_paused.fetch_sub(1, Atomic::AcqRel);
    ctx.caller.metrics.emit(&Event::PlannerPaused(before > 1));
}

/// Whether listing that paused at the high-water mark still pauses. Some of what is planned can only be
/// released by more listing: batches that are not full, and latest items that wait for such a batch of
/// their elders. Where nothing else is left, listing goes on, page by page.
const fn must_wait(pending: u64, starved: bool) -> bool {
    pending > PENDING_HIGH_WATER / 2 && !starved
}

#[cfg(test)]
mod tests;
