//! Gathers what a run shows: figures from the checkpoint's books, the pace, the budget, the listing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::checkpoint::{Counter, Totals};
use crate::model::RuleId;
use crate::telemetry::live::{
    BudgetLeft, Counts, ErrorRow, Estimate, Outlook, PaceFigures, RuleRow, Snapshot, Vitals,
};

use super::super::context::{Context, locked};
use super::super::planner::Listing;
use super::super::session::rule_actions;

/// Codes of errors that are shown.
const CODES_SHOWN: usize = 20;

/// Figures that cost nothing.
fn vitals(ctx: &Context, listing: &Listing) -> Vitals {
    let pace = &ctx.caller.pace;
    let (ceiling_per_second, job_ceiling_per_second) = pace.versions_ceiling();
    let is_listed = ctx.listing_done.load(Ordering::Acquire);
    Vitals {
        is_listed,
        executes: ctx.executes,
        is_paused: pace.reins().is_paused(),
        pending: ctx.pending.load(Ordering::Acquire),
        to_list: if is_listed { Some(0) } else { to_list(ctx, listing) },
        pace_per_second: pace.versions_per_second(),
        limit_is_met: !pace.looks_for_limit(),
        ceiling_per_second,
        job_ceiling_per_second,
        listings_per_second: pace.listings_per_second(),
        budget: budget(ctx),
        deadline: ctx.deadline,
        now: ctx.now(),
    }
}

fn budget(ctx: &Context) -> BudgetLeft {
    let (versions, bytes) = locked(&ctx.budget).left();
    let of = &ctx.job.budget;
    BudgetLeft { versions, versions_max: of.max_versions, bytes, bytes_max: of.max_bytes }
}

/// Versions that are believed to be listed yet, where every range that is left has been looked at.
fn to_list(ctx: &Context, listing: &Listing) -> Option<u64> {
    let live = listing.live();
    let pages_left = locked(&ctx.pages_left);
    let pages: u64 = pages_left.values().sum();
    let by_pages = (pages_left.len() >= live).then_some(pages * u64::from(ctx.job.scope.page_size));
    drop(pages_left);
    // A limit ends the listing, whatever the bucket holds.
    let by_limit = ctx.job.scope.limit.map(|limit| limit.saturating_sub(ctx.listed.load(Ordering::Acquire)));
    match (by_pages, by_limit) {
        (Some(pages), Some(limit)) => Some(pages.min(limit)),
        (pages, _) => pages,
    }
}

/// Everything; `None` where the checkpoint cannot be read, which ends the run elsewhere, or where nobody
/// wants it.
pub(super) async fn snapshot(ctx: &Context, listing: &Listing) -> Option<Snapshot> {
    let monitor = ctx.monitor.as_ref()?;
    let totals = ctx.checkpoint.totals().await.ok()?;
    let vitals = vitals(ctx, listing);
    let progress = ctx.caller.metrics.progress();
    let counts = counts(&totals, progress.in_flight, progress.freed_bytes, ctx);
    let (judged, rates) = {
        let history = locked(&monitor.history);
        (history.judged(), history.rates())
    };
    let (listed_per_second, settled_per_second) = judged.unwrap_or_default();
    let outlook = Outlook {
        is_listed: vitals.is_listed,
        executes: vitals.executes,
        is_paused: vitals.is_paused,
        listed: counts.listed,
        planned: counts.planned,
        pending: counts.pending,
        to_list: vitals.to_list,
        listed_per_second,
        settled_per_second,
    };
    let estimate = match judged {
        Some(_) => Estimate::of(&outlook),
        None => Estimate::Unknown { why: "it is too early to tell" },
    };
    let header = ctx.checkpoint.header();
    let pages_left = locked(&ctx.pages_left).clone();
    let ranges = locked(&monitor.picture).rows(&pages_left, u64::from(ctx.job.scope.page_size));
    let size = |suffix: &str| {
        let mut path = monitor.checkpoint.clone().into_os_string();
        path.push(suffix);
        std::fs::metadata(path).map_or(0, |metadata| metadata.len())
    };
    Some(Snapshot {
        run_id: Some(header.run_id.clone()),
        began_ms: Some(header.began.as_millis()),
        now_ms: vitals.now.as_millis(),
        is_paused: vitals.is_paused,
        listing_waits: ctx.planners_paused.load(Ordering::Acquire) > 0,
        is_listed: vitals.is_listed,
        counts,
        rates,
        pace: pace(ctx, &vitals, &counts),
        errors: errors(ctx),
        rules: rules(ctx, &totals, &header.rule_names),
        failures: locked(&monitor.failures).iter().cloned().collect(),
        budget: vitals.budget,
        deadline_ms: vitals.deadline.map(|deadline| deadline.as_millis()),
        checkpoint_bytes: [size(""), size("-wal")],
        ranges,
        estimate,
        share_done: Estimate::share_done(&outlook),
        ..Snapshot::default()
    })
}

fn counts(totals: &Totals, in_flight: u64, freed_bytes: u64, ctx: &Context) -> Counts {
    let moved = totals.sum(|counter| matches!(counter, Counter::Done(rule) if copies(ctx, rule)));
    Counts {
        listed: totals.listed().versions,
        undecided: totals.undecided,
        kept: totals.kept().versions,
        planned: totals.planned().versions,
        planned_bytes: totals.planned().bytes,
        done: totals.done().versions,
        gone: totals.gone().versions,
        failed: totals.failed().versions,
        skipped: totals.skipped().versions,
        pending: totals.planned().versions.saturating_sub(totals.settled().versions),
        in_flight,
        freed_bytes,
        moved_bytes: moved.bytes,
    }
}

fn copies(ctx: &Context, rule: RuleId) -> bool {
    matches!(rule_actions(&ctx.job).get(usize::from(rule.0)), Some(&("copy" | "move")))
}

fn pace(ctx: &Context, vitals: &Vitals, counts: &Counts) -> PaceFigures {
    let throttled = ctx.caller.metrics.progress().throttled;
    let answered = throttled + counts.done + counts.gone + counts.failed;
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    let throttled_share = if answered == 0 { 0.0 } else { throttled as f64 / answered as f64 };
    #[expect(clippy::cast_sign_loss, reason = "a pace is not negative")]
    let whole = |rate: f64| rate.round() as u64;
    PaceFigures {
        versions_per_second: vitals.pace_per_second.map(whole),
        limit_is_met: vitals.limit_is_met,
        listings_per_second: vitals.listings_per_second.map(whole),
        ceiling_per_second: vitals.ceiling_per_second,
        job_ceiling_per_second: vitals.job_ceiling_per_second,
        throttled,
        throttled_share,
    }
}

fn errors(ctx: &Context) -> Vec<ErrorRow> {
    let metrics = &ctx.caller.metrics;
    let mut rows: BTreeMap<String, ErrorRow> = BTreeMap::new();
    for (code, seen) in metrics.sums_by("s3sweep_request_errors_total", "code") {
        rows.entry(code.clone()).or_insert_with(|| ErrorRow { code, ..ErrorRow::default() }).attempts = seen;
    }
    for (code, failed) in metrics.sums_by("s3sweep_failed_versions_total", "code") {
        rows.entry(code.clone()).or_insert_with(|| ErrorRow { code, ..ErrorRow::default() }).failed = failed;
    }
    let mut rows: Vec<ErrorRow> = rows.into_values().filter(|row| row.attempts + row.failed > 0).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.attempts + row.failed));
    rows.truncate(CODES_SHOWN);
    rows
}

fn rules(ctx: &Context, totals: &Totals, names: &[String]) -> Vec<RuleRow> {
    let actions = rule_actions(&ctx.job);
    let row = |(index, name): (usize, &String)| {
        let of = |wanted: fn(Counter) -> bool| {
            totals.sum(|counter| {
                counter.rule().is_some_and(|rule| usize::from(rule.0) == index) && wanted(counter)
            })
        };
        let planned = of(|counter| matches!(counter, Counter::Planned(_)));
        RuleRow {
            name: name.clone(),
            action: actions.get(index).copied().unwrap_or("delete"),
            kept: of(|counter| matches!(counter, Counter::Kept(_))).versions,
            planned: planned.versions,
            planned_bytes: planned.bytes,
            done: of(|counter| matches!(counter, Counter::Done(_))).versions,
            gone: of(|counter| matches!(counter, Counter::Gone(_))).versions,
            failed: of(|counter| matches!(counter, Counter::Failed(_))).versions,
            skipped: of(|counter| matches!(counter, Counter::Skipped(..))).versions,
        }
    };
    names.iter().enumerate().map(row).collect()
}

/// Lets the board read the vitals as long as there is a run.
pub(in crate::engine) fn lend_vitals(ctx: &Arc<Context>, listing: &Arc<Listing>) {
    let (ctx_of, listing_of) = (Arc::downgrade(ctx), Arc::downgrade(listing));
    ctx.board.read_by(move || match (ctx_of.upgrade(), listing_of.upgrade()) {
        (Some(ctx), Some(listing)) => vitals(&ctx, &listing),
        _ => Vitals::default(),
    });
}
