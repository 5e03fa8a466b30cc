//! From selected versions to batches: full ones, in the order that keeps the latest entry last.
//!
//! Every batch of a range has a number. A batch of elder items may be sent at once. An item that is
//! the latest of its key goes to a batch of the second phase if another entry of the key was
//! selected; that batch notes the highest number of an elder batch that holds such an entry, and
//! the checkpoint hands it out only when all elder batches up to that number are settled.

use crate::checkpoint::{BATCH_ITEMS_MAX, NewBatch, RangeRow, Tail};
use crate::model::{ActionId, Item, Phase};

/// Cuts the batches of one range.
#[derive(Debug)]
pub(super) struct Batcher<'a> {
    range: &'a mut RangeRow,
    full: Vec<NewBatch>,
}

impl<'a> Batcher<'a> {
    /// Goes on with the unfinished batches of `range`.
    pub(super) const fn new(range: &'a mut RangeRow) -> Self {
        Self { range, full: Vec::new() }
    }

    /// An item that may be sent at once, and that the latest of its key waits for.
    pub(super) fn elder(&mut self, item: Item, action: ActionId) {
        let seq = self.push(Phase::Elders, action, item, None);
        self.range.key_seq = self.range.key_seq.max(Some(seq));
    }

    /// The latest item of its key.
    pub(super) fn latest(&mut self, item: Item, action: ActionId, elders_selected: bool) {
        if elders_selected {
            self.push(Phase::Latest, action, item, self.range.key_seq);
        } else {
            self.push(Phase::Elders, action, item, None);
        }
    }

    /// The items that follow belong to another key.
    pub(super) const fn key_ended(&mut self) {
        self.range.key_seq = None;
    }

    /// The range is done: what is not full goes out as it is.
    pub(super) fn flush(&mut self) {
        for tail in std::mem::take(&mut self.range.tails) {
            self.full.extend(closed(tail));
        }
    }

    /// The batches that became full, and the range as it stands.
    pub(super) fn into_parts(self) -> (Vec<NewBatch>, &'a mut RangeRow) {
        (self.full, self.range)
    }

    fn push(&mut self, phase: Phase, action: ActionId, item: Item, after_seq: Option<u64>) -> u64 {
        let tails = &mut self.range.tails;
        let at =
            tails.iter().position(|tail| tail.phase == phase && tail.action == action).unwrap_or_else(|| {
                tails.push(Tail {
                    phase,
                    action,
                    seq: self.range.next_seq,
                    after_seq: None,
                    items: Vec::new(),
                });
                self.range.next_seq += 1;
                tails.len() - 1
            });
        let tail = &mut tails[at];
        tail.items.push(item);
        tail.after_seq = tail.after_seq.max(after_seq);
        let seq = tail.seq;
        if tail.items.len() >= BATCH_ITEMS_MAX {
            let tail = tails.remove(at);
            self.full.extend(closed(tail));
        }
        seq
    }
}

fn closed(tail: Tail) -> Option<NewBatch> {
    let Tail { phase, action, seq, after_seq, items } = tail;
    (!items.is_empty()).then_some(NewBatch { phase, action, seq, after_seq, items })
}
