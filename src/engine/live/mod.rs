//! What the engine writes on the board for whoever looks, and the orders that it takes from there.
//!
//! The monitor is told of what is committed, and only where a live page is wanted. Figures are gathered
//! once a second while somebody looks, and not otherwise. Nothing of a run waits for any of this.

mod gather;
mod picture;
mod rates;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use crate::checkpoint::{RangeRow, Snapshot};
use crate::model::{Fate, Key, Outcome, Record};
use crate::telemetry::live::{Errand, FailureRow, Obeyed, Order, visible};
use crate::telemetry::{Ceilings, Event, PageCounts};

use super::context::{Context, locked};
use super::former;
use super::planner::Listing;
use super::stop::Level;

pub(super) use gather::lend_vitals;

use picture::Picture;
use rates::History;

/// Failures that are shown.
const FAILURES_SHOWN: usize = 50;
/// How often figures are gathered.
const EVERY: Duration = Duration::from_secs(1);
/// How long they are good for whoever opens the page meanwhile: opening it again and again must not cost the
/// run more than looking at it does.
const GOOD_FOR: Duration = Duration::from_millis(250);

/// What is remembered of a run for those who look at it.
pub(super) struct Monitor {
    picture: Mutex<Picture>,
    failures: Mutex<VecDeque<FailureRow>>,
    history: Mutex<History>,
    /// The checkpoint's file, for its size.
    checkpoint: PathBuf,
}

impl Monitor {
    /// Of a run with these ranges, whose checkpoint is at `checkpoint`.
    pub(super) fn new(rows: &[RangeRow], checkpoint: PathBuf) -> Self {
        // Of a fresh run nothing is pending. A figure that cannot be read is left out of the picture.
        let is_fresh = rows.iter().all(|row| row.planned == 0);
        let pending = if is_fresh {
            HashMap::new()
        } else {
            let read = Snapshot::open(&checkpoint).and_then(|snapshot| snapshot.pending_by_range());
            read.unwrap_or_else(|error| {
                tracing::warn!("the live page does not know what is settled of each range: {error}");
                HashMap::new()
            })
        };
        Self {
            picture: Mutex::new(Picture::new(rows, &pending)),
            failures: Mutex::default(),
            history: Mutex::default(),
            checkpoint,
        }
    }

    /// A page of a range was committed.
    pub(super) fn page(&self, range: i64, counts: &PageCounts, at: Option<&Key>, done: bool) {
        let (listed, planned) = (counts.listed, counts.planned_versions());
        locked(&self.picture).page(range, listed, planned, at.map(Key::detached), done);
    }

    /// A range was divided at a key.
    pub(super) fn split(&self, victim: i64, new: i64, at: &Key) {
        locked(&self.picture).split(victim, new, &at.detached());
    }

    /// Outcomes of a range are about to be committed: those that failed are kept for showing.
    pub(super) fn failures_of(records: &[Record], rule_names: &[String]) -> Vec<FailureRow> {
        let failed = records.iter().rev().filter_map(|record| {
            let Fate::Settled { rule, outcome, .. } = &record.fate else { return None };
            let (code, message) = match outcome {
                Outcome::Failed(failure) => {
                    (visible(failure.code.as_bytes()), visible(failure.message.as_bytes()))
                }
                Outcome::Skipped(reason) => (reason.as_str().to_owned(), "skipped".to_owned()),
                Outcome::Done | Outcome::Gone => return None,
            };
            Some(FailureRow {
                key: visible(record.key.as_bytes()),
                version_id: visible(record.version_id.as_str().as_bytes()),
                rule: rule_names.get(usize::from(rule.0)).cloned().unwrap_or_default(),
                code,
                message,
                at_ms: record.at.as_millis(),
            })
        });
        failed.take(FAILURES_SHOWN).collect()
    }

    /// Outcomes of a range were committed; `failed` are those of them that failed, the latest first.
    pub(super) fn settled(&self, range: i64, versions: u64, failed: Vec<FailureRow>) {
        locked(&self.picture).settled(range, versions);
        let mut failures = locked(&self.failures);
        failed.into_iter().rev().for_each(|row| failures.push_front(row));
        failures.truncate(FAILURES_SHOWN);
    }
}

/// Shows figures while somebody looks; never ends by itself.
pub(super) async fn show(ctx: Arc<Context>, listing: Arc<Listing>) {
    let Some(monitor) = &ctx.monitor else { return };
    let mut beats = Beats::new();
    loop {
        if beats.next(ctx.board.audience_changed()).await == Beat::Second {
            locked(&monitor.history).note(&ctx);
        }
        if ctx.board.is_watched() {
            if let Some(snapshot) = gather::snapshot(&ctx, &listing).await {
                ctx.board.publish(snapshot);
            }
            beats.gathered();
        }
    }
}

/// Why figures are due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Beat {
    /// A second has passed.
    Second,
    /// A page was opened or closed: whoever opened it need not wait for the next second.
    Audience,
}

/// When figures are due.
struct Beats {
    seconds: Interval,
    /// Until then those that were gathered last are good enough for whoever opens the page.
    good_until: Instant,
}

impl Beats {
    fn new() -> Self {
        let mut seconds = interval(EVERY);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self { seconds, good_until: Instant::now() }
    }

    /// Returns when figures are due; `audience` ends when a page is opened or closed.
    async fn next(&mut self, audience: impl Future<Output = ()>) -> Beat {
        let opened = async {
            audience.await;
            sleep_until(self.good_until).await;
        };
        tokio::select! {
            _tick = self.seconds.tick() => Beat::Second,
            () = opened => Beat::Audience,
        }
    }

    /// Figures were gathered, or could not be.
    fn gathered(&mut self) {
        self.good_until = Instant::now() + GOOD_FOR;
    }
}

/// The last figures: how the run looks at its end.
pub(super) async fn show_last(ctx: &Context, listing: &Listing) {
    if let Some(snapshot) = gather::snapshot(ctx, listing).await {
        ctx.board.publish(snapshot);
    }
}

/// Carries out the orders of an operator, as long as the run takes new work. A pause ends with that: what
/// was begun is brought to its end.
pub(super) async fn obey(ctx: Arc<Context>) {
    let Some(mut errands) = ctx.board.take_orders() else { return };
    loop {
        tokio::select! {
            biased;
            () = ctx.stop.reached(Level::Drain) => {
                carry_out(&ctx, Order::Resume);
                return;
            }
            errand = errands.recv() => match errand {
                Some(Errand { order, done }) => {
                    if order == Order::Resume && !may_resume(&ctx).await {
                        // What holds is what held.
                        let _told = done.send(holding(&ctx));
                        continue;
                    }
                    // Whoever ordered may have hung up.
                    let _told = done.send(carry_out(&ctx, order));
                }
                None => return,
            },
        }
    }
}

/// Whether deleting still means what it meant before a pause, which may have been a long one. The end of the
/// run does not wait for the answer.
async fn may_resume(ctx: &Context) -> bool {
    if !ctx.caller.pace.reins().is_paused() {
        return true;
    }
    let holds = tokio::select! {
        biased;
        () = ctx.stop.reached(Level::Drain) => false,
        holds = ctx.status.holds(ctx) => holds,
    };
    if !holds && ctx.stop.level() == Level::Run {
        tracing::warn!("the run stays held: whether the bucket's versioning is what it was is not known");
    }
    holds
}

fn carry_out(ctx: &Context, order: Order) -> Obeyed {
    let pace = &ctx.caller.pace;
    match order {
        Order::Pause => {
            if pace.reins().pause() {
                ctx.caller.metrics.emit(&Event::OperatorPaused(true));
            }
        }
        Order::Resume => {
            if pace.reins().resume() {
                ctx.caller.metrics.emit(&Event::OperatorPaused(false));
            }
        }
        Order::Pace(wanted) => {
            match pace.lower_versions(wanted) {
                Some(holds) => tracing::warn!("an operator set the ceiling to {holds} versions a second"),
                None => tracing::warn!("an operator took the ceiling of versions a second away"),
            }
            let ceilings = former::ceilings(&ctx.job);
            let versions_per_second = pace.versions_ceiling().0.map(f64::from);
            ctx.caller.metrics.emit(&Event::CeilingsSet(Ceilings { versions_per_second, ..ceilings }));
        }
    }
    holding(ctx)
}

fn holding(ctx: &Context) -> Obeyed {
    let pace = &ctx.caller.pace;
    Obeyed { is_paused: pace.reins().is_paused(), ceiling_per_second: pace.versions_ceiling().0 }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn opening_pages_again_and_again_gathers_no_oftener() {
        let mut beats = Beats::new();
        let began = Instant::now();
        assert_eq!(beats.next(pending()).await, Beat::Second, "the first is due at once");
        assert_eq!(beats.next(ready(())).await, Beat::Audience, "and who opens a page waits for none");
        for _ in 0..5 {
            beats.gathered();
            beats.next(ready(())).await;
        }
        // One of the five may be the beat of a second.
        assert!(began.elapsed() >= GOOD_FOR * 4, "{:?}", began.elapsed());
    }
}
