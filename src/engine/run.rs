//! One run: its parts started, watched, and brought to an end together.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as AsyncMutex, RwLock, mpsc, watch};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::checkpoint::{Checkpoint, CheckpointError, NewRange, RunState, Totals};
use crate::job::{Job, ListingMode};
use crate::model::{Key, Timestamp, VersioningStatus};
use crate::rules::{KeyOrders, Policy, Rules};
use crate::telemetry::RunState as Doing;
use crate::telemetry::live::Board;

use super::breaker::{Breaker, FailureLimit};
use super::budget::{Budget, Limits, Load};
use super::caller::Caller;
use super::context::{Context, PENDING_HIGH_WATER};
use super::errors::ending_of_checkpoint;
use super::former::{self, Told};
use super::live::{self, Monitor};
use super::mover::Mover;
use super::page::Orders;
use super::planner::{self, Listing};
use super::preflight::BucketFacts;
use super::session::Confirm;
use super::status::{self, StatusWatch};
use super::stop::{Level, Stop};
use super::{Ending, disk, dispatcher, worker};

/// How long what is in flight may take after the first signal.
const GRACE: Duration = Duration::from_secs(25);
/// The note of the checkpoint that holds the budget window.
const WINDOW_NOTE: &str = "budget_window";

/// Everything a run needs.
pub(super) struct Setup {
    pub(super) job: Job,
    pub(super) caller: Caller,
    pub(super) mover: Mover,
    pub(super) checkpoint: Checkpoint,
    /// Where the checkpoint lies.
    pub(super) file: PathBuf,
    pub(super) stop: Arc<Stop>,
    pub(super) facts: BucketFacts,
    pub(super) list: bool,
    pub(super) execute: bool,
    pub(super) confirm: Option<Confirm>,
    pub(super) board: Arc<Board>,
}

/// A budget window: budgets and the deadline count from its start. It outlives crashes and
/// interruptions, and ends when a budget is reached: the next command has a fresh one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Window {
    started_ms: i64,
    /// Deleted by the run before the window began.
    base_versions: u64,
    base_bytes: u64,
}

/// Runs, and returns how it ended and when.
pub(super) async fn run(setup: Setup) -> (Ending, Timestamp) {
    let client_now = {
        let Setup { caller, .. } = &setup;
        caller.now()
    };
    match prepare(setup).await {
        Ok((ctx, parts)) => {
            let listing = Arc::clone(&parts.listing);
            let ending = supervise(&ctx, parts).await;
            live::show_last(&ctx, &listing).await;
            (ending, ctx.now())
        }
        Err(error) => (ending_of_checkpoint(&error), client_now),
    }
}

struct Parts {
    listing: Arc<Listing>,
    listers: usize,
    list: bool,
    execute: bool,
    deadline: Option<Timestamp>,
    confirm: Option<Confirm>,
}

async fn prepare(setup: Setup) -> Result<(Arc<Context>, Parts), CheckpointError> {
    let Setup { job, caller, mover, checkpoint, file, stop, facts, list, execute, confirm, board } = setup;
    let totals = checkpoint.totals().await?;
    let mut ranges = checkpoint.ranges().await?;
    if ranges.is_empty() {
        ranges = checkpoint.add_ranges(ranges_of(&job)).await?;
    }
    let state = if execute { RunState::Running } else { RunState::Planning };
    checkpoint.set_state(state, None, None, facts.now).await?;
    let window = if execute { open_window(&checkpoint, &job, &totals, facts.now).await? } else { None };
    let began = checkpoint.header().began;
    let done = Load { versions: totals.done().versions, bytes: totals.done().bytes };
    let spent = window.map_or_else(Load::default, |window| Load {
        versions: done.versions.saturating_sub(window.base_versions),
        bytes: done.bytes.saturating_sub(window.base_bytes),
    });
    let failures =
        job.budget.stop_on_failures.map(|stop| FailureLimit { after: stop.after, share: stop.share });
    let deadline =
        window.and_then(|window| Some(Timestamp::from_millis(window.started_ms).plus(job.budget.deadline?)));
    let batches_before = checkpoint.last_batch().await?;
    let mut budget = Budget::new(limits_of(&job), spent, done.versions);
    for (batch, amount) in checkpoint.maybe_sent().await? {
        budget.reserve(batch, Load { versions: amount.versions, bytes: amount.bytes });
    }
    let rules = rules_of(&job, began, facts.versioning);
    let told = Told { totals: &totals, rules: &rules, began, now: facts.now, deadline, file: &file };
    told.tell(&checkpoint, &caller.metrics).await?;
    former::tell_limits(&caller.metrics, &job, &budget);
    // A limit counts versions in the order of their keys, so they are listed one range after the other.
    let listers = if job.scope.limit.is_some() { 1 } else { usize::from(job.limits.list_concurrency) };
    let (keys, may_divide) = match job.scope.listing {
        ListingMode::Auto => (KeyOrders::BYTES, listers > 1),
        ListingMode::Sequential => (KeyOrders::EITHER, false),
    };
    let monitor = board.has_page().then(|| Monitor::new(&ranges, file.clone()));
    let listing = Arc::new(Listing::new(ranges, if may_divide { listers } else { 1 }, execute));
    let list = list && !listing.is_done();
    let ctx = Arc::new(Context {
        rules,
        status: StatusWatch::new(&caller, facts.versioning),
        caller,
        mover,
        checkpoint,
        stop,
        budget: Mutex::new(budget),
        hand_over: RwLock::new(()),
        breaker: Mutex::new(Breaker::new(failures, facts.object_lock)),
        orders: Mutex::new(Orders::new(keys)),
        single_deletes: AtomicBool::new(false),
        pending: AtomicU64::new(totals.planned().versions - totals.settled().versions),
        listed: AtomicU64::new(totals.listed().versions),
        pages_left: std::sync::Mutex::default(),
        listing_done: AtomicBool::new(!list),
        in_vain: AtomicU32::new(0),
        planners_paused: AtomicU64::new(0),
        starved: AtomicBool::new(false),
        executes: execute,
        deadline,
        board,
        monitor,
        batches_before,
        moved: watch::Sender::new(0),
        job,
    });
    Ok((ctx, Parts { listing, listers, list, execute, deadline, confirm }))
}

/// What a run may do at most.
const fn limits_of(job: &Job) -> Limits {
    Limits {
        versions_max: job.budget.max_versions,
        bytes_max: job.budget.max_bytes,
        share_max: job.budget.max_share,
    }
}

/// The rules of a job as they hold for this run.
fn rules_of(job: &Job, began: Timestamp, versioning: VersioningStatus) -> Rules {
    Rules {
        rules: job.rules.clone(),
        policy: Policy {
            began,
            allow_promotion: job.allow_promotion,
            null_versions: job.null_versions,
            suspended: versioning == VersioningStatus::Suspended,
        },
        histories: job
            .actions
            .iter()
            .map(|action| action.transfer().map(|transfer| transfer.settings.history))
            .collect(),
        lock_object: job.lock.as_ref().and_then(|lock| lock.key_in(&job.bucket)).cloned(),
    }
}

/// The ranges of a job: one for each prefix, within its bounds.
fn ranges_of(job: &Job) -> Vec<NewRange> {
    let whole = [Key::default()];
    let prefixes: &[Key] = if job.scope.prefixes.is_empty() { &whole } else { &job.scope.prefixes };
    prefixes
        .iter()
        .map(|prefix| NewRange {
            prefix: prefix.clone(),
            lo: job.scope.from_key.clone(),
            hi: job.scope.to_key.clone(),
        })
        .collect()
}

/// The budget window that this process works in.
async fn open_window(
    checkpoint: &Checkpoint,
    job: &Job,
    totals: &Totals,
    now: Timestamp,
) -> Result<Option<Window>, CheckpointError> {
    let former: Option<Window> =
        checkpoint.note(WINDOW_NOTE).await?.and_then(|text| serde_json::from_str(&text).ok());
    let window = match former {
        Some(window) if !is_over(window, job, now) => window,
        _ => Window {
            started_ms: now.as_millis(),
            base_versions: totals.done().versions,
            base_bytes: totals.done().bytes,
        },
    };
    let text = serde_json::to_string(&window).unwrap_or_default();
    checkpoint.put_note(WINDOW_NOTE, text).await?;
    Ok(Some(window))
}

/// A window whose deadline passed long ago belongs to another night: a run that crashed then may
/// work again. Twice the deadline keeps a restart right after it from getting a second helping.
fn is_over(window: Window, job: &Job, now: Timestamp) -> bool {
    job.budget.deadline.is_some_and(|deadline| {
        now >= Timestamp::from_millis(window.started_ms).plus(deadline.saturating_mul(2))
    })
}

/// Starts the parts, waits for their end, and names it.
async fn supervise(ctx: &Arc<Context>, parts: Parts) -> Ending {
    let Parts { listing, listers, list, execute, deadline, confirm } = parts;
    listing.bump(ctx);
    let asks = confirm.is_some();
    ctx.tell(if execute && !asks { Doing::Running } else { Doing::Planning });
    live::lend_vitals(ctx, &listing);
    let mut watchers = JoinSet::new();
    watchers.spawn(live::show(Arc::clone(ctx), Arc::clone(&listing)).in_current_span());
    watchers.spawn(live::obey(Arc::clone(ctx)).in_current_span());
    watchers.spawn(watch_stop(Arc::clone(ctx)).in_current_span());
    watchers.spawn(status::watch(Arc::clone(ctx)).in_current_span());
    if let Some(room) = ctx.caller.room() {
        watchers.spawn(disk::watch(Arc::clone(ctx), room, execute).in_current_span());
    }
    if let Some(deadline) = deadline {
        watchers.spawn(watch_deadline(Arc::clone(ctx), deadline).in_current_span());
    }
    let mut tasks = JoinSet::new();
    if list {
        tasks.spawn(list_all(Arc::clone(ctx), listing, listers).in_current_span());
    }
    if execute {
        tasks.spawn(carry_out(Arc::clone(ctx), confirm).in_current_span());
    }
    let ended = join_all(ctx, tasks).await;
    watchers.shutdown().await;
    if let Err(bug) = ended {
        return bug;
    }
    let totals = match ctx.checkpoint.totals().await {
        Ok(totals) => totals,
        Err(error) => return ctx.stop.ending().unwrap_or_else(|| ending_of_checkpoint(&error)),
    };
    let ending = match ctx.stop.ending() {
        Some(ending) => ending.with_unanswered(totals.in_flight.versions),
        None => natural_end(&totals, execute),
    };
    if matches!(ending, Ending::Budget(_))
        && let Err(error) = ctx.checkpoint.put_note(WINDOW_NOTE, String::new()).await
    {
        return ending_of_checkpoint(&error);
    }
    ending
}

/// The end of a run that nobody stopped.
fn natural_end(totals: &Totals, execute: bool) -> Ending {
    if let Err(equation) = totals.check() {
        return Ending::Bug(equation);
    }
    let left = totals.planned().versions - totals.settled().versions;
    if execute && left > 0 {
        return Ending::Bug(format!("{left} planned versions have no outcome"));
    }
    match totals.failed().versions + totals.skipped().versions {
        0 => Ending::Done,
        n => Ending::DoneWithFailures(n),
    }
}

/// Waits for all tasks; after the grace of a drain, or at an abort, ends those that are left.
async fn join_all(ctx: &Context, mut tasks: JoinSet<()>) -> Result<(), Ending> {
    let give_up = async {
        ctx.stop.reached(Level::Drain).await;
        tokio::select! {
            () = ctx.stop.reached(Level::Abort) => {}
            () = tokio::time::sleep(GRACE) => {}
        }
    };
    tokio::pin!(give_up);
    loop {
        tokio::select! {
            joined = tasks.join_next() => match joined {
                None => return Ok(()),
                Some(Err(error)) if error.is_panic() => {
                    tasks.shutdown().await;
                    return Err(Ending::Bug("a part of the run panicked: please report it".into()));
                }
                Some(_) => {}
            },
            () = &mut give_up => {
                tasks.shutdown().await;
                return Ok(());
            }
        }
    }
}

async fn list_all(ctx: Arc<Context>, listing: Arc<Listing>, listers: usize) {
    let mut tasks = JoinSet::new();
    for _ in 0..listers {
        tasks.spawn(planner::list_ranges(Arc::clone(&ctx), Arc::clone(&listing)).in_current_span());
    }
    while let Some(joined) = tasks.join_next().await {
        if joined.is_err_and(|error| error.is_panic()) {
            ctx.stop.abort(Ending::Bug("a lister panicked: please report it".into()));
        }
    }
    if ctx.stop.level() == Level::Run {
        ctx.listing_done.store(true, Ordering::Release);
        ctx.bump();
    }
}

async fn carry_out(ctx: Arc<Context>, confirm: Option<Confirm>) {
    let asked = confirm.is_some();
    if let Some(confirm) = confirm
        && !confirmed(&ctx, confirm).await
    {
        ctx.stop.drain(Ending::Declined);
        return;
    }
    if asked && ctx.stop.level() == Level::Run {
        ctx.tell(Doing::Running);
    }
    let concurrency = ctx.job.limits.concurrency;
    let (sender, receiver) = mpsc::channel(1);
    let receiver = Arc::new(AsyncMutex::new(receiver));
    let mut workers = JoinSet::new();
    for _ in 0..concurrency {
        workers.spawn(worker::work(Arc::clone(&ctx), Arc::clone(&receiver)).in_current_span());
    }
    dispatcher::dispatch(Arc::clone(&ctx), sender).await;
    while let Some(joined) = workers.join_next().await {
        if joined.is_err_and(|error| error.is_panic()) {
            ctx.stop.abort(Ending::Bug("a worker panicked: please report it".into()));
        }
    }
}

/// Waits until the plan is complete, or as large as it may grow, and asks.
async fn confirmed(ctx: &Context, confirm: Confirm) -> bool {
    let mut moved = ctx.moved.subscribe();
    while !ctx.listing_done.load(Ordering::Acquire)
        && ctx.pending.load(Ordering::Acquire) < PENDING_HIGH_WATER
        && ctx.stop.level() == Level::Run
    {
        tokio::select! {
            changed = moved.changed() => if changed.is_err() { break },
            () = ctx.stop.reached(Level::Drain) => {}
        }
    }
    if ctx.stop.level() > Level::Run {
        return true;
    }
    let complete = ctx.listing_done.load(Ordering::Acquire);
    let totals = match ctx.checkpoint.totals().await {
        Ok(totals) => totals,
        Err(error) => {
            ctx.checkpoint_failed(&error);
            return true;
        }
    };
    if complete && totals.planned().versions == totals.settled().versions {
        return true;
    }
    let header = ctx.checkpoint.header().clone();
    ctx.tell(Doing::Confirming);
    let asked = tokio::task::spawn_blocking(move || confirm(&header, &totals, complete));
    tokio::select! {
        answer = asked => answer.unwrap_or(false),
        () = ctx.stop.reached(Level::Drain) => true,
    }
}

async fn watch_stop(ctx: Arc<Context>) {
    ctx.stop.reached(Level::Drain).await;
    ctx.tell(Doing::Stopping);
}

async fn watch_deadline(ctx: Arc<Context>, deadline: Timestamp) {
    while let Some(left) = deadline.since(ctx.now()).filter(|left| !left.is_zero()) {
        // Short naps, so that a server clock that was corrected is followed.
        tokio::time::sleep(left.min(Duration::from_secs(30))).await;
    }
    ctx.stop.drain(Ending::Budget("budget.deadline is reached".into()));
}
