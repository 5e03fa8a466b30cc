//! From a server's answers to what commits: an outcome for each item that has one, another try for
//! each that may still succeed. Pure.

use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::{Retry, Settlement};
use crate::model::{Batch, Class, Failure, Fate, Item, Outcome, Record, SkipReason, Timestamp};
use crate::retry::{self, Chance, Durable};
use crate::s3::ItemAnswer;

use super::budget::Load;

/// What is known of one item after its batch went out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    /// It was not sent: the budget, or the end of the run, came before.
    Not,
    /// An elder of its key remains: it must stay.
    Blocked,
    /// The request failed, and may or may not have been applied.
    Open { code: Box<str>, message: Box<str>, retry_after: Option<Duration> },
    /// The request was refused as a whole, for good.
    Refused { failure: Failure, request_id: Option<Arc<str>> },
    /// The server answered.
    Answered { answer: ItemAnswer, request_id: Option<Arc<str>> },
}

impl Sent {
    /// Whether the server refused the item for its rate.
    pub(super) const fn is_throttled(&self) -> bool {
        matches!(self, Self::Answered { answer: ItemAnswer::Refused { class: Class::Throttled, .. }, .. })
    }
}

/// A settlement, and what the budget must know of it.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) settlement: Settlement,
    /// Confirmed as deleted.
    pub(super) done: Load,
    /// Sent, without a word on whether it was applied.
    pub(super) open: Load,
    /// Put off by the server.
    pub(super) throttled: u64,
}

/// How long an item may be tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) now: Timestamp,
    pub(super) give_up_after: Duration,
    /// How long the turn of what its range has to send again is off.
    pub(super) rest: Duration,
}

/// The attempt up to which the wait of a batch grows that still makes progress: 4 s at most.
const SHRINKING_ATTEMPTS_MAX: u32 = 3;

enum Judged {
    Settled(Outcome, Option<Arc<str>>),
    Again { last: Failure, retry_after: Option<Duration>, throttled: bool },
    Untouched,
}

/// Judges every item of a batch; `sent` has one element for each, in the batch's order.
pub(super) fn settle(batch: Batch, sent: Vec<Sent>, patience: Patience, chance: Chance<'_>) -> Settled {
    let attempt = batch.attempts + 1;
    let first_attempt = batch.first_attempt.unwrap_or(patience.now);
    let mut judged: Vec<(Item, Judged)> =
        batch.items.into_iter().zip(sent).map(|(item, sent)| (item, judge(sent, attempt))).collect();
    let wish = judged.iter().filter_map(|(_, judged)| match judged {
        Judged::Again { retry_after, .. } => *retry_after,
        _ => None,
    });
    // A batch that shrinks is not a server that is down: its rest waits seconds, not minutes. What was
    // refused for its rate and nothing else waits less still, since it is the pace that holds it back.
    let shrinks = judged.iter().any(|(_, judged)| matches!(judged, Judged::Settled(..)));
    let only_throttled =
        judged.iter().all(|(_, judged)| !matches!(judged, Judged::Again { throttled: false, .. }));
    let in_vain = match (shrinks, only_throttled) {
        (true, true) => 1,
        (false, false) => attempt,
        _ => attempt.min(SHRINKING_ATTEMPTS_MAX),
    };
    let Patience { now, give_up_after, rest } = patience;
    let wish = wish.max().unwrap_or_default().max(rest);
    let next = retry::durable(in_vain, first_attempt, now, give_up_after, Some(wish), chance);
    if next == Durable::GiveUp {
        judged.iter_mut().for_each(|(_, judged)| give_up(judged, patience.give_up_after));
    }
    let mut settled = Settled {
        settlement: Settlement {
            batch: batch.id,
            records: Vec::new(),
            remaining: Vec::new(),
            moved: Vec::new(),
            maybe_sent: 0,
            retry: None,
            requests: Vec::new(),
            at: patience.now,
        },
        done: Load::default(),
        open: Load::default(),
        throttled: 0,
    };
    // What was sent comes first in what remains, as it did in the batch: a budget counts from there.
    if judged.iter().any(|(_, judged)| matches!(judged, Judged::Untouched)) {
        judged.sort_by_key(|(_, judged)| matches!(judged, Judged::Untouched));
    }
    settled.settlement.records.reserve_exact(judged.len());
    for (item, judged) in judged {
        match judged {
            Judged::Settled(outcome, request_id) => settled.record(item, outcome, request_id, attempt),
            Judged::Untouched => settled.settlement.remaining.push(item),
            Judged::Again { throttled, .. } => {
                settled.open.versions += 1;
                settled.open.bytes = settled.open.bytes.saturating_add(item.size);
                settled.throttled += u64::from(throttled);
                settled.settlement.maybe_sent += 1;
                settled.settlement.remaining.push(item);
                if let Durable::NotBefore(not_before) = next {
                    settled.settlement.retry = Some(Retry { not_before, first_attempt });
                }
            }
        }
    }
    settled
}

impl Settled {
    fn record(&mut self, item: Item, outcome: Outcome, request_id: Option<Arc<str>>, attempt: u32) {
        if outcome == Outcome::Done {
            self.done.versions += 1;
            self.done.bytes = self.done.bytes.saturating_add(item.size);
        }
        let attempt = if matches!(outcome, Outcome::Skipped(_)) { 0 } else { attempt };
        self.settlement.records.push(Record {
            key: item.key,
            version_id: item.version_id,
            kind: item.kind,
            size: item.size,
            last_modified: item.last_modified,
            fate: Fate::Settled { rule: item.rule, outcome, request_id, attempt },
            at: self.settlement.at,
            copied: item.copy.and_then(|copy| copy.copied).map(Box::new),
        });
    }
}

fn judge(sent: Sent, attempt: u32) -> Judged {
    match sent {
        Sent::Not => Judged::Untouched,
        Sent::Blocked => Judged::Settled(Outcome::Skipped(SkipReason::ElderRemains), None),
        Sent::Open { code, message, retry_after } => {
            Judged::Again { last: Failure { code, message }, retry_after, throttled: false }
        }
        Sent::Refused { failure, request_id } => Judged::Settled(Outcome::Failed(failure), request_id),
        Sent::Answered { answer, request_id } => judge_answer(answer, request_id, attempt),
    }
}

fn judge_answer(answer: ItemAnswer, request_id: Option<Arc<str>>, attempt: u32) -> Judged {
    match answer {
        ItemAnswer::Deleted => Judged::Settled(Outcome::Done, request_id),
        ItemAnswer::Unaccounted => Judged::Again {
            last: Failure {
                code: "Unaccounted".into(),
                message: "the answer does not say what became of it".into(),
            },
            retry_after: None,
            throttled: false,
        },
        ItemAnswer::Refused { class: Class::Done, .. } => Judged::Settled(Outcome::Gone, request_id),
        ItemAnswer::Refused { class, tries_max, code, message } => {
            let last = Failure { code, message };
            let again = match class {
                Class::Permanent | Class::Divide | Class::Unsupported => false,
                // What ends the run does not decide about the item: the next run tries it again.
                _ => tries_max.is_none_or(|max| attempt < max),
            };
            if again {
                Judged::Again { last, retry_after: None, throttled: class == Class::Throttled }
            } else {
                Judged::Settled(Outcome::Failed(last), request_id)
            }
        }
    }
}

fn give_up(judged: &mut Judged, after: Duration) {
    if let Judged::Again { last, .. } = judged {
        let message =
            format!("given up after {} s; last error: {} {}", after.as_secs(), last.code, last.message);
        *judged = Judged::Settled(
            Outcome::Failed(Failure { code: "GaveUp".into(), message: message.trim_end().into() }),
            None,
        );
    }
}

#[cfg(test)]
mod tests;
