//! Sends batches and accounts for every item of the answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tracing::Instrument as _;

use crate::checkpoint::Settlement;
use crate::job::Action;
use crate::model::{Batch, Class, DeleteOptions, Failure, Fate, Item, Outcome, Record};
use crate::pace::Load;
use crate::rules::Rules;
use crate::s3::{DeleteAnswer, ItemAnswer, Operation, S3Error, Shape, StopKind, of_item, shape};
use crate::telemetry::{BatchCounts, Event, OutcomeRun};

use super::budget::Load as Reserved;
use super::context::{Context, locked};
use super::dispatcher::Work;
use super::in_hand::{InHand, Turn};
use super::live::Monitor;
use super::mover;
use super::settle::{Patience, Sent, Settled, settle};

/// Works until the dispatcher has no more to give.
pub(super) async fn work(ctx: Arc<Context>, queue: Arc<AsyncMutex<mpsc::Receiver<Work>>>) {
    loop {
        let next = queue.lock().await.recv().await;
        let Some(work) = next else { return };
        let span = tracing::error_span!("batch", batch = work.batch.id, range = work.batch.range);
        process(&ctx, work).instrument(span).await;
        ctx.caller.gives_batch_back();
        ctx.bump();
    }
}

async fn process(ctx: &Arc<Context>, work: Work) {
    if mover::is_chain(&work.batch) {
        return mover::process(ctx, work).await;
    }
    let Work { batch, blocked, granted } = work;
    let id = batch.id;
    let mut sent: Vec<Sent> = vec![Sent::Not; batch.items.len()];
    for at in &blocked {
        if let Some(slot) = sent.get_mut(*at) {
            *slot = Sent::Blocked;
        }
    }
    let mut to_send: Vec<usize> =
        (0..batch.items.len()).filter(|at| sent[*at] == Sent::Not).take(granted).collect();
    if id <= ctx.batches_before {
        to_send = mover::confirm(ctx, &batch, to_send, &mut sent).await;
    }
    match ctx.job.actions.get(usize::from(batch.action.0)).and_then(Action::delete_options) {
        Some(options) => deliver(ctx, &batch, &to_send, options, &mut sent).await,
        None => {
            ctx.stop.abort(super::Ending::Checkpoint(format!("batch {id} names an action the job lacks")))
        }
    }
    let patience = Patience {
        now: ctx.now(),
        give_up_after: ctx.give_up_after(&[&ctx.caller]),
        rest: ctx.caller.reserve(batch.range, sent.iter().filter(|sent| sent.is_throttled()).count()),
    };
    let batch_range = batch.range;
    let settled = settle(batch, sent, patience, &mut || ctx.caller.chance());
    commit(ctx, id, batch_range, settled).await;
}

/// Requests still to be made for one batch: indices of its items.
enum Request {
    Many(Vec<usize>),
    Single(usize),
}

impl Request {
    fn items(&self) -> &[usize] {
        match self {
            Self::Many(of) => of,
            Self::Single(of) => std::slice::from_ref(of),
        }
    }
}

/// Sends the items `to_send` and notes what is known of each in `sent`.
async fn deliver(
    ctx: &Context,
    batch: &Batch,
    to_send: &[usize],
    options: &DeleteOptions,
    sent: &mut [Sent],
) {
    let items = &batch.items;
    let mut requests = requests_for(ctx, items, to_send);
    let looked_for_limit = ctx.caller.pace.looks_for_limit();
    let mut in_hand = InHand::default();
    while let Some(request) = requests.pop_front() {
        if in_hand.is_due() {
            // Under a low ceiling, or with a request for each version, a batch takes minutes. What was answered
            // is settled now; the rest stays planned.
            return;
        }
        if looked_for_limit && !ctx.caller.pace.looks_for_limit() {
            // The server's limit was met. The batches that are in hand then are the first that were
            // listed, often neighbours that share a partition: what is left of them stays planned and
            // takes turns with all that was listed meanwhile.
            return;
        }
        if !ctx.goes_on() {
            // What was not begun is not begun any more; it stays planned.
            return;
        }
        // Asked anew for each request: the pace may have changed since the last.
        let request = cut_to(ctx.caller.pace.versions_per_request_max(), request, &mut requests);
        let first = request.items().first().copied();
        let answered = match &request {
            Request::Many(of) => send_many(ctx, batch, of, options, in_hand, sent).await,
            Request::Single(of) => send_single(ctx, &items[*of], *of, options, in_hand, sent).await,
        };
        match answered {
            // It did not leave: what was answered before must not wait for it, or the run stops, or it is too
            // large for a pace that was lowered. It stays planned.
            Ok(None) => return,
            Ok(Some(())) => {}
            Err(error) => refused(ctx, request, &error, sent, &mut requests).await,
        }
        // Not where a request was only divided: what is to be settled must bring the batch on.
        if first.is_some_and(|at| sent[at] != Sent::Not) {
            in_hand.answered();
        }
    }
}

/// As much of a request as the pace lets go at once; the rest stands first among the others.
fn cut_to(most: usize, request: Request, requests: &mut VecDeque<Request>) -> Request {
    match request {
        Request::Many(mut of) if of.len() > most => {
            let rest = of.split_off(most);
            requests.push_front(Request::Many(rest));
            Request::Many(of)
        }
        request => request,
    }
}

/// Divides a batch as the wire demands.
fn requests_for(ctx: &Context, items: &[Item], to_send: &[usize]) -> VecDeque<Request> {
    if ctx.single_deletes.load(Ordering::Relaxed) {
        return to_send.iter().map(|at| Request::Single(*at)).collect();
    }
    let mut requests = VecDeque::new();
    for shape in shape(items, to_send) {
        match shape {
            Shape::Single(at) => requests.push_back(Request::Single(at)),
            Shape::Many(indices) => requests.push_back(Request::Many(indices)),
        }
    }
    requests
}

/// `None` where the request did not leave.
async fn send_many(
    ctx: &Context,
    batch: &Batch,
    of: &[usize],
    options: &DeleteOptions,
    in_hand: InHand,
    sent: &mut [Sent],
) -> Result<Option<()>, S3Error> {
    let named: Vec<&Item> = of.iter().map(|at| &batch.items[*at]).collect();
    let client = &ctx.caller.client;
    let load = Load::Write { versions: named.len(), apart: ctx.caller.is_apart(batch.range) };
    let turn = Turn::new();
    let call = ctx.caller.call_weighed(Operation::DeleteObjects, load, Some(&ctx.stop), throttled_of, || {
        turn.attempt(client.delete_versions(&named, options))
    });
    match turn.unless_due(in_hand, ctx.caller.pace.reins(), call).await {
        Err(error) => {
            if error.class == Class::Throttled {
                ctx.caller.note_range(batch.range, of.len(), of.len());
            }
            Err(error)
        }
        Ok(None) => Ok(None),
        Ok(Some(answer)) => {
            ctx.caller.note_range(batch.range, of.len(), throttled_of(&answer));
            ctx.in_vain.store(0, Ordering::Relaxed);
            for (at, outcome) in of.iter().zip(answer.outcomes) {
                if let ItemAnswer::Refused {
                    class: Class::Stop | Class::Credentials, code, message, ..
                } = &outcome
                {
                    let text = format!("a version was refused: {code} {message}");
                    ctx.stop.drain(match of_item(code).stop {
                        Some(StopKind::Target) => super::Ending::Usage(text),
                        _ => super::Ending::Credentials(text),
                    });
                }
                sent[*at] = Sent::Answered { answer: outcome, request_id: answer.request_id.clone() };
            }
            Ok(Some(()))
        }
    }
}

/// How many items of an answer were refused for the rate.
fn throttled_of(answer: &DeleteAnswer) -> usize {
    let throttled =
        |outcome: &&ItemAnswer| matches!(outcome, ItemAnswer::Refused { class: Class::Throttled, .. });
    answer.outcomes.iter().filter(throttled).count()
}

/// As [`send_many`], for one item.
async fn send_single(
    ctx: &Context,
    item: &Item,
    at: usize,
    options: &DeleteOptions,
    in_hand: InHand,
    sent: &mut [Sent],
) -> Result<Option<()>, S3Error> {
    let (client, turn) = (&ctx.caller.client, Turn::new());
    let call = ctx.caller.call(Operation::DeleteObject, 1, Some(&ctx.stop), || {
        turn.attempt(client.delete_version(item, options))
    });
    let answer = turn.unless_due(in_hand, ctx.caller.pace.reins(), call).await?;
    Ok(answer.map(|deleted| {
        let answer = if deleted.gone {
            ItemAnswer::Refused {
                class: Class::Done,
                tries_max: None,
                code: "NoSuchVersion".into(),
                message: "".into(),
            }
        } else {
            ItemAnswer::Deleted
        };
        sent[at] = Sent::Answered { answer, request_id: deleted.request_id };
    }))
}

/// A request failed in all its attempts.
async fn refused(
    ctx: &Context,
    request: Request,
    error: &S3Error,
    sent: &mut [Sent],
    requests: &mut VecDeque<Request>,
) {
    let of = match request {
        Request::Many(of) => of,
        Request::Single(of) => vec![of],
    };
    match error.class {
        Class::Unsupported if error.operation == Operation::DeleteObjects => {
            if !ctx.single_deletes.swap(true, Ordering::Relaxed) {
                tracing::warn!("the server has no DeleteObjects: every version needs a request of its own");
            }
            of.into_iter().rev().for_each(|at| requests.push_front(Request::Single(at)));
        }
        Class::Divide if error.operation == Operation::DeleteObjects => {
            // Find the item that the server cannot take: halves, and one alone by a single DELETE.
            match of.as_slice() {
                [one] => requests.push_front(Request::Single(*one)),
                _ => {
                    let (left, right) = of.split_at(of.len() / 2);
                    requests.push_front(Request::Many(right.to_vec()));
                    requests.push_front(Request::Many(left.to_vec()));
                }
            }
        }
        Class::Done => {
            let gone = ItemAnswer::Refused {
                class: Class::Done,
                tries_max: None,
                code: error.code.clone(),
                message: error.message.clone(),
            };
            note(sent, &of, &Sent::Answered { answer: gone, request_id: error.request_id.clone() });
        }
        Class::Permanent | Class::Divide | Class::Unsupported => {
            let failure = Failure { code: error.code.clone(), message: error.message.clone() };
            note(sent, &of, &Sent::Refused { failure, request_id: error.request_id.clone() });
        }
        Class::Transient | Class::Throttled => {
            let (versions, throttled) = (of.len() as u64, error.class == Class::Throttled);
            ctx.caller.metrics.emit(&Event::PutOff { versions, throttled, error });
            ctx.check_outage(&[&ctx.caller], error).await;
            if let Some(tries_max) = error.tries_max
                && ctx.in_vain.fetch_add(1, Ordering::Relaxed) + 1 >= tries_max
            {
                ctx.end_by(error);
            }
            note(sent, &of, &open(error));
        }
        Class::Credentials | Class::ClockSkew | Class::Elsewhere | Class::Stop => {
            ctx.end_by(error);
            if error.may_have_applied {
                note(sent, &of, &open(error));
            }
        }
    }
}

fn open(error: &S3Error) -> Sent {
    Sent::Open { code: error.code.clone(), message: error.message.clone(), retry_after: error.retry_after }
}

fn note(sent: &mut [Sent], of: &[usize], what: &Sent) {
    for at in of {
        sent[*at] = what.clone();
    }
}

/// Commits a settlement, then tells everybody. What was moved becomes batches of deletions, which keep
/// their part of the reservation.
pub(super) async fn commit(ctx: &Context, batch: i64, range: i64, settled: Settled) {
    let Settled { mut settlement, done, open, throttled } = settled;
    let (latest, elders) = moved_loads(&settlement.moved);
    if !settlement.records.is_empty() || settlement.maybe_sent > 0 {
        settlement.requests.push(("delete_batches", 1));
    }
    let counts = counts_of(&settlement, &ctx.rules, throttled);
    let (count, at) = (settlement.records.len() as u64, settlement.at);
    let shown = ctx.monitor.as_ref().map(|monitor| {
        (monitor, Monitor::failures_of(&settlement.records, &ctx.checkpoint.header().rule_names))
    });
    // Before the commit: from then on the rest of the batch may be handed out again, and this
    // reservation would be taken for one of the rest.
    locked(&ctx.budget).settle(batch, done, open.and(latest).and(elders));
    let moves = latest.versions + elders.versions > 0;
    let handing_over = if moves { Some(ctx.hand_over.read().await) } else { None };
    match ctx.checkpoint.settle(settlement).await {
        Ok(made) => {
            let mut budget = locked(&ctx.budget);
            for (id, load) in [(made.elders, elders), (made.latest, latest)] {
                if let Some(id) = id {
                    budget.hand_over(batch, id, load);
                }
            }
        }
        Err(error) => {
            ctx.checkpoint_failed(&error);
            return;
        }
    }
    drop(handing_over);
    ctx.pending.fetch_sub(count, Ordering::AcqRel);
    if let Some((monitor, failed)) = shown {
        monitor.settled(range, count, failed);
    }
    ctx.caller.metrics.emit(&Event::BatchSettled { batch, at, counts: &counts });
    let (versions, bytes) = locked(&ctx.budget).left();
    ctx.caller.metrics.emit(&Event::BudgetLeft { versions, bytes });
    let mut tripped = None;
    {
        let mut breaker = locked(&ctx.breaker);
        for run in &counts.outcomes {
            for _ in 0..run.versions {
                match &run.outcome {
                    Outcome::Failed(failure) => tripped = breaker.failed(&failure.code).or(tripped),
                    Outcome::Done | Outcome::Gone => breaker.succeeded(),
                    Outcome::Skipped(_) => {}
                }
            }
        }
    }
    if let Some(tripped) = tripped {
        ctx.tripped(tripped);
    }
    ctx.bump();
}

/// What the moved items come to: the latest of their keys, and the others.
fn moved_loads(moved: &[Item]) -> (Reserved, Reserved) {
    let mut loads = (Reserved::default(), Reserved::default());
    for item in moved {
        let load = if item.is_latest { &mut loads.0 } else { &mut loads.1 };
        *load = load.and(Reserved { versions: 1, bytes: item.size });
    }
    loads
}

/// What a settlement comes to: outcomes in their order, equal neighbours together, and verified copies. The
/// copies of a move count when they are verified, not when their sources are deleted.
fn counts_of(settlement: &Settlement, rules: &Rules, throttled: u64) -> BatchCounts {
    let mut counts = BatchCounts { throttled, ..BatchCounts::default() };
    settlement.moved.iter().for_each(|item| counts.copied.add(item.size));
    for Record { fate, size, .. } in &settlement.records {
        let Fate::Settled { rule, outcome, .. } = fate else { continue };
        let stays = rules.leaves_source(*rule);
        if stays && *outcome == Outcome::Done {
            counts.copied.add(*size);
        }
        let source_bytes = if stays { 0 } else { *size };
        match counts.outcomes.last_mut().filter(|run| run.rule == *rule && run.outcome == *outcome) {
            Some(run) => {
                run.versions += 1;
                run.source_bytes = run.source_bytes.saturating_add(source_bytes);
            }
            None => {
                let outcome = outcome.clone();
                counts.outcomes.push(OutcomeRun { rule: *rule, outcome, versions: 1, source_bytes });
            }
        }
    }
    counts
}
