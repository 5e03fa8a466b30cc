//! From the ends of chains to a settlement.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use crate::checkpoint::{Retry, Settlement};
use crate::model::{Batch, Copied, Failure, Fate, Item, Outcome, Record, SkipReason, Timestamp};
use crate::report::{MOVES_COPIED, MOVES_COPIED_BYTES};
use crate::retry::{self, Chance, Durable};

use super::super::budget::Load;
use super::super::context::Context;
use super::super::settle::{Patience, Settled};
use super::super::worker;
use super::chain::{ChainEnd, PutOff};
use super::parts::abort_upload;
use super::side::Side;

/// Settles what became of the chains of a batch.
pub(super) async fn commit(
    ctx: &Context,
    side: &Side,
    batch: &Batch,
    removes_source: bool,
    ends: Vec<(Range<usize>, ChainEnd)>,
) {
    let asked = [&ctx.caller, side.caller(ctx)];
    let put_off = ends.iter().find_map(|(_, end)| match end {
        ChainEnd::Again(off) => Some(format!("{} {}", off.code, off.message)),
        _ => None,
    });
    if let Some(error) = put_off {
        ctx.check_outage(&asked, &error).await;
    }
    let patience = Patience {
        now: ctx.now(),
        give_up_after: ctx.give_up_after(&asked),
        rest: std::time::Duration::ZERO,
    };
    let next = next_turn(batch, &ends, patience, &mut || ctx.caller.chance());
    if next == Durable::GiveUp {
        for (_, end) in &ends {
            if let ChainEnd::Again(PutOff { upload: Some((key, upload)), .. }) = end {
                abort_upload(side.caller(ctx), key, upload).await;
            }
        }
    }
    let range = batch.range;
    let settled = settle(batch, removes_source, ends, patience, next);
    worker::commit(ctx, batch.id, range, settled).await;
}

/// When the chains that did not come to an end have their next turn.
fn next_turn(
    batch: &Batch,
    ends: &[(Range<usize>, ChainEnd)],
    patience: Patience,
    chance: Chance<'_>,
) -> Durable {
    let wish = ends.iter().filter_map(|(_, end)| match end {
        ChainEnd::Again(off) => off.retry_after,
        _ => None,
    });
    let (now, first_attempt) = (patience.now, first_attempt(batch, ends, patience));
    retry::durable(batch.attempts + 1, first_attempt, now, patience.give_up_after, wish.max(), chance)
}

/// From when on it is counted how long the batch was tried. What goes forward is not given up, however long
/// its way is.
fn first_attempt(batch: &Batch, ends: &[(Range<usize>, ChainEnd)], patience: Patience) -> Timestamp {
    let has_advanced = ends.iter().any(|(_, end)| matches!(end, ChainEnd::Again(off) if off.has_advanced));
    batch.first_attempt.filter(|_| !has_advanced).unwrap_or(patience.now)
}

/// Judges every item of a chain batch.
pub(super) fn settle(
    batch: &Batch,
    removes_source: bool,
    mut ends: Vec<(Range<usize>, ChainEnd)>,
    patience: Patience,
    next: Durable,
) -> Settled {
    let attempt = batch.attempts + 1;
    let first_attempt = first_attempt(batch, &ends, patience);
    if removes_source {
        hold_back(batch, &mut ends, next);
    }
    // What may have been sent comes first in what remains: a budget counts from there.
    ends.sort_by_key(|(_, end)| !matches!(end, ChainEnd::Again(_)));
    let mut book = Book { batch, attempt, settled: Settled::of(batch.id, patience.now) };
    for (places, end) in ends {
        match end {
            ChainEnd::Whole(copies) if removes_source => book.moved(places, copies),
            ChainEnd::Whole(copies) => {
                for (at, copied) in places.zip(copies) {
                    book.record(at, Outcome::Done, None, Some(copied));
                }
            }
            ChainEnd::Broken { at, failure, request_id, copied } => {
                book.broken(places, at, failure, request_id, copied);
            }
            ChainEnd::Parked(archived) => {
                for at in places {
                    let reason = if archived.contains(&at) {
                        SkipReason::NeedsRestore
                    } else {
                        SkipReason::ChainBroken
                    };
                    book.record(at, Outcome::Skipped(reason), None, None);
                }
            }
            ChainEnd::Again(PutOff { code, message, at, copied, .. }) => match next {
                Durable::GiveUp => {
                    let message = format!(
                        "given up after {} s; last error: {code} {message}",
                        patience.give_up_after.as_secs()
                    );
                    let failure = Failure { code: "GaveUp".into(), message: message.trim_end().into() };
                    book.broken(places, at, failure, None, copied);
                }
                Durable::NotBefore(not_before) => {
                    book.settled.settlement.retry = Some(Retry { not_before, first_attempt });
                    book.again(places);
                }
            },
            ChainEnd::Untouched => book.settled.settlement.remaining.extend_from_slice(&batch.items[places]),
        }
    }
    book.settled
}

/// A key whose versions come to keys of their own has several chains. None of its versions may be deleted
/// while another is still to be copied: the latest could go before its elders.
fn hold_back(batch: &Batch, ends: &mut [(Range<usize>, ChainEnd)], next: Durable) {
    let is_open = |end: &ChainEnd| match end {
        ChainEnd::Again(_) => next != Durable::GiveUp,
        ChainEnd::Untouched => true,
        ChainEnd::Whole(_) | ChainEnd::Broken { .. } | ChainEnd::Parked(_) => false,
    };
    let key_of = |places: &Range<usize>| batch.items.get(places.start).map(|item| &item.key);
    let open: HashSet<_> =
        ends.iter().filter(|(_, end)| is_open(end)).filter_map(|(places, _)| key_of(places)).collect();
    for (places, end) in ends {
        if matches!(end, ChainEnd::Whole(_)) && key_of(places).is_some_and(|key| open.contains(key)) {
            *end = ChainEnd::Untouched;
        }
    }
}

struct Book<'a> {
    batch: &'a Batch,
    attempt: u32,
    settled: Settled,
}

impl Book<'_> {
    fn moved(&mut self, places: Range<usize>, copies: Vec<Copied>) {
        let count = places.len() as u64;
        let bytes =
            self.batch.items[places.clone()].iter().fold(0, |sum: u64, item| sum.saturating_add(item.size));
        for (at, copied) in places.zip(copies) {
            let mut item = self.batch.items[at].clone();
            if let Some(copy) = &mut item.copy {
                copy.copied = Some(copied);
            }
            self.settled.settlement.moved.push(item);
        }
        self.settled.settlement.requests.extend([(MOVES_COPIED, count), (MOVES_COPIED_BYTES, bytes)]);
    }

    fn broken(
        &mut self,
        places: Range<usize>,
        failed_at: usize,
        failure: Failure,
        request_id: Option<Arc<str>>,
        mut copied: Vec<(usize, Copied)>,
    ) {
        for at in places {
            let copy =
                copied.iter().position(|(place, _)| *place == at).map(|found| copied.swap_remove(found).1);
            if at == failed_at {
                self.record(at, Outcome::Failed(failure.clone()), request_id.clone(), copy);
            } else {
                self.record(at, Outcome::Skipped(SkipReason::ChainBroken), None, copy);
            }
        }
    }

    fn again(&mut self, places: Range<usize>) {
        for item in &self.batch.items[places] {
            self.settled.open.versions += 1;
            self.settled.open.bytes = self.settled.open.bytes.saturating_add(item.size);
            self.settled.settlement.maybe_sent += 1;
            self.settled.settlement.remaining.push(item.clone());
        }
    }

    fn record(&mut self, at: usize, outcome: Outcome, request_id: Option<Arc<str>>, copied: Option<Copied>) {
        let item: &Item = &self.batch.items[at];
        if outcome == Outcome::Done {
            self.settled.done.versions += 1;
            self.settled.done.bytes = self.settled.done.bytes.saturating_add(item.size);
        }
        let attempt = if matches!(outcome, Outcome::Skipped(_)) { 0 } else { self.attempt };
        let at: Timestamp = self.settled.settlement.at;
        self.settled.settlement.records.push(Record {
            key: item.key.clone(),
            version_id: item.version_id.clone(),
            kind: item.kind,
            size: item.size,
            last_modified: item.last_modified,
            fate: Fate::Settled { rule: item.rule, outcome, request_id, attempt },
            at,
            copied: copied.map(Box::new),
        });
    }
}

impl Settled {
    /// A settlement that says nothing yet.
    fn of(batch: i64, now: Timestamp) -> Self {
        Self {
            settlement: Settlement {
                batch,
                records: Vec::new(),
                remaining: Vec::new(),
                maybe_sent: 0,
                retry: None,
                requests: Vec::new(),
                at: now,
                moved: Vec::new(),
            },
            done: Load::default(),
            open: Load::default(),
            throttled: 0,
        }
    }
}

#[cfg(test)]
mod tests;
