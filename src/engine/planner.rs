//! Listing: one range is listed by one lister, page after page; a page's decisions, the place of
//! the next page and the state of the open key commit together.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crate::checkpoint::RangeRow;
use crate::job::Audit;
use crate::model::{Class, Marker, Page};
use crate::retry::{self, Durable};
use crate::s3::{ListVersions, Operation, S3Error};

use super::Ending;
use super::context::{Context, PENDING_HIGH_WATER, locked};
use super::page::{PageFault, PageOptions, plan_page};
use super::stop::Level;

/// Examples of each rule that one page hands in for the plan.
const SAMPLES_PER_PAGE: usize = 3;

/// Ranges that wait for a lister.
pub(super) type Queue = Arc<Mutex<VecDeque<RangeRow>>>;

/// Lists ranges until none is left or the run is told to stop. `bounded` pauses at the high-water
/// mark of planned versions, which makes sense only where somebody carries them out.
pub(super) async fn list_ranges(ctx: Arc<Context>, queue: Queue, bounded: bool) {
    loop {
        let next = locked(&queue).pop_front();
        let Some(range) = next else { return };
        if list_range(&ctx, range, bounded).await.is_none() {
            return;
        }
    }
}

/// `None` where the run stops before the range is done.
async fn list_range(ctx: &Context, mut range: RangeRow, bounded: bool) -> Option<()> {
    while !range.done {
        if bounded {
            wait_for_room(ctx).await;
        }
        if ctx.stop.level() >= Level::Drain {
            return None;
        }
        let limit_left =
            ctx.job.scope.limit.map(|limit| limit.saturating_sub(ctx.listed.load(Ordering::Acquire)));
        if limit_left == Some(0) {
            return Some(());
        }
        // A page that was asked for and not committed loses nothing: it is asked for again.
        let page = tokio::select! {
            page = fetch(ctx, &range) => page?,
            () = ctx.stop.reached(Level::Drain) => return None,
        };
        range = commit(ctx, range, page, limit_left).await?;
    }
    Some(())
}

/// The next page of a range; tries as long as the run goes on.
async fn fetch(ctx: &Context, range: &RangeRow) -> Option<Page> {
    let from = range.cursor.clone().or_else(|| range.lo.clone().map(|key| Marker { key, version_id: None }));
    let request = ListVersions {
        prefix: range.prefix.as_bytes(),
        from: from.as_ref(),
        page_size: ctx.job.scope.page_size,
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
        tracing::warn!("listing waits: {error}");
        ctx.check_outage(&error);
        let mut chance = || ctx.caller.chance();
        let (wish, patience, now) = (error.retry_after, ctx.job.retry.give_up_after, ctx.now());
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

/// Decides and commits a page; `None` where that ends the run.
async fn commit(ctx: &Context, range: RangeRow, page: Page, limit_left: Option<u64>) -> Option<RangeRow> {
    let options = PageOptions {
        at: ctx.now(),
        audit_kept: ctx.job.report.audit == Audit::Full,
        samples_max: SAMPLES_PER_PAGE,
        limit_left,
    };
    let before = (range.listed, range.kept, range.planned);
    let commit = {
        let mut order = locked(&ctx.page_order);
        plan_page(range, page, &ctx.rules, &mut order, options)
    };
    let mut commit = match commit {
        Ok(commit) => commit,
        Err(PageFault::Order(fault)) => {
            ctx.stop.abort(Ending::Tripwire(format!(
                "{fault}: nothing of this page was planned. Where somebody changed that key meanwhile, begin anew \
                 with --restart"
            )));
            return None;
        }
        Err(fault @ PageFault::State(_)) => {
            ctx.stop.abort(Ending::Checkpoint(fault.to_string()));
            return None;
        }
    };
    commit.requests.push(("list_pages", 1));
    let range = commit.range.clone();
    let [listed, kept, planned] = [range.listed - before.0, range.kept - before.1, range.planned - before.2];
    // Counted before the commit, so that no settlement of these items can come first.
    ctx.pending.fetch_add(planned, Ordering::AcqRel);
    if let Err(error) = ctx.checkpoint.commit_page(commit).await {
        ctx.checkpoint_failed(&error);
        return None;
    }
    ctx.listed.fetch_add(listed, Ordering::AcqRel);
    ctx.caller.metrics.page(kept, planned);
    ctx.bump();
    Some(range)
}

/// Waits while too much is planned and not settled.
async fn wait_for_room(ctx: &Context) {
    let mut moved = ctx.moved.subscribe();
    if ctx.pending.load(Ordering::Acquire) < PENDING_HIGH_WATER {
        return;
    }
    ctx.planners_paused.fetch_add(1, Ordering::AcqRel);
    ctx.caller.metrics.planner_paused(true);
    ctx.bump();
    while ctx.pending.load(Ordering::Acquire) > PENDING_HIGH_WATER / 2 && ctx.stop.level() == Level::Run {
        tokio::select! {
            changed = moved.changed() => if changed.is_err() { break },
            () = ctx.stop.reached(Level::Drain) => {}
        }
    }
    let before = ctx.planners_paused.fetch_sub(1, Ordering::AcqRel);
    ctx.caller.metrics.planner_paused(before > 1);
}
