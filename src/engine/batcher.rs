//! From selected versions to batches: full ones, in the order that keeps the latest entry last.
//!
//! Every batch of a range has a number. A batch of elder items may be sent at once. An item that is
//! the latest of its key goes to a batch of the second phase if another entry of the key was
//! selected; that batch notes the highest number of an elder batch that holds such an entry, and
//! the checkpoint hands it out only when all elder batches up to that number are settled.

use std::sync::Arc;

use crate::checkpoint::{BATCH_ITEMS_MAX, NewBatch, RangeRow, Tail};
use crate::model::{ActionId, Item, Phase};

/// Batches that may be begun while an elder batch waits for more items.
const OPEN_BATCHES_MAX: u64 = 64;

/// A batch of chains is closed once it has so many items.
const CHAIN_ITEMS_FULL: usize = 256;
/// A batch of chains is closed once its items have so many bytes.
const CHAIN_BYTES_FULL: u64 = 16 << 30;

/// Cuts the batches of one range.
#[derive(Debug)]
pub(super) struct Batcher<'a> {
    range: &'a mut RangeRow,
    full: Vec<NewBatch>,
    /// How many items the unfinished batches had at the start, by their numbers.
    before: Vec<(u64, usize)>,
}

impl<'a> Batcher<'a> {
    /// Goes on with the unfinished batches of `range`.
    pub(super) fn new(range: &'a mut RangeRow) -> Self {
        let before = range.tails.iter().map(|tail| (tail.seq, tail.items.len())).collect();
        Self { range, full: Vec::new(), before }
    }

    /// An item that may be sent at once, and that the latest of its key waits for.
    pub(super) fn elder(&mut self, item: Item, action: ActionId) {
        let seq = self.push(Phase::Elders, action, item, None);
        self.range.key_seq = self.range.key_seq.max(Some(seq));
    }

    /// The latest item of its key.
    pub(super) fn latest(&mut self, item: Item, action: ActionId, elders_selected: bool) {
        if elders_selected {
            // Where the number is not known, all elder batches so far are waited for.
            let after_seq = self.range.key_seq.or(self.range.next_seq.checked_sub(1));
            self.push(Phase::Latest, action, item, after_seq);
        } else {
            self.push(Phase::Elders, action, item, None);
        }
    }

    /// The selected entries of a key that travel together, newest first; they are not divided. Where they
    /// go from here (`removes`), the latest of their key waits for them.
    pub(super) fn chain(&mut self, items: Vec<Item>, action: ActionId, removes: bool) {
        // Elders of the key in other batches: once its copy is verified, the latest of this one, if it is
        // among the items, must wait for them too.
        let after_seq = self.range.key_seq;
        let at = self.tail_at(Phase::Elders, action);
        let tail = &mut self.range.tails[at];
        Arc::make_mut(&mut tail.items).extend(items);
        tail.after_seq = tail.after_seq.max(after_seq);
        if removes {
            self.range.key_seq = self.range.key_seq.max(Some(tail.seq));
        }
        let bytes = tail.items.iter().fold(0_u64, |sum, item| sum.saturating_add(item.size));
        if tail.items.len() >= CHAIN_ITEMS_FULL || bytes >= CHAIN_BYTES_FULL {
            let tail = self.range.tails.remove(at);
            self.full.extend(closed(tail));
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

    /// The batches that became full or have been open for long, and the range as it stands.
    ///
    /// Latest items wait for all elder batches with lower numbers, so an elder batch that fills
    /// slowly, of a rule that rarely matches, would keep them all back.
    pub(super) fn into_parts(mut self) -> (Vec<NewBatch>, &'a mut RangeRow) {
        let next_seq = self.range.next_seq;
        let is_old = |tail: &Tail| tail.phase == Phase::Elders && tail.seq + OPEN_BATCHES_MAX < next_seq;
        let (old, young) = std::mem::take(&mut self.range.tails).into_iter().partition(is_old);
        self.range.tails = young;
        for tail in &mut self.range.tails {
            let here = self.before.iter().find(|(seq, _)| *seq == tail.seq).map_or(0, |(_, count)| *count);
            if here < tail.items.len() {
                // What waits for the next page must not keep this one in memory.
                Item::detach(Arc::make_mut(&mut tail.items).get_mut(here..).unwrap_or_default());
            }
        }
        let old: Vec<Tail> = old;
        self.full.extend(old.into_iter().filter_map(closed));
        (self.full, self.range)
    }

    /// Where the unfinished batch stands among the others; it is begun where there is none.
    fn tail_at(&mut self, phase: Phase, action: ActionId) -> usize {
        let tails = &mut self.range.tails;
        if let Some(at) = tails.iter().position(|tail| tail.phase == phase && tail.action == action) {
            return at;
        }
        tails.push(Tail { phase, action, seq: self.range.next_seq, after_seq: None, items: Arc::default() });
        self.range.next_seq += 1;
        tails.len() - 1
    }

    fn push(&mut self, phase: Phase, action: ActionId, item: Item, after_seq: Option<u64>) -> u64 {
        let at = self.tail_at(phase, action);
        let tails = &mut self.range.tails;
        let tail = &mut tails[at];
        Arc::make_mut(&mut tail.items).push(item);
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
    let items = Arc::unwrap_or_clone(items);
    (!items.is_empty()).then_some(NewBatch { phase, action, seq, after_seq, items })
}
