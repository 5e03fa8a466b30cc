//! Budgets are ceilings on what is deleted: never exceeded, not by one version, with any number of
//! workers. So they are reserved before a request leaves, and what may have been applied keeps its
//! reservation until its outcome is known.

use std::collections::HashMap;

/// Listed versions before `max_share` is judged: a share of a handful says nothing.
const SHARE_JUDGED_FROM: u64 = 10_000;

/// Versions and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Load {
    /// How many versions.
    pub versions: u64,
    /// Their bytes together.
    pub bytes: u64,
}

impl Load {
    /// Both together.
    #[must_use]
    pub(super) fn and(mut self, other: Self) -> Self {
        self.add(other);
        self
    }

    fn add(&mut self, other: Self) {
        self.versions = self.versions.saturating_add(other.versions);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn sub(&mut self, other: Self) {
        self.versions = self.versions.saturating_sub(other.versions);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// What the user set.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Limits {
    /// Versions deleted in one budget window.
    pub versions_max: Option<u64>,
    /// Bytes deleted in one budget window.
    pub bytes_max: Option<u64>,
    /// Deleted versions of the run, as a share of those listed, from 0 to 1.
    pub share_max: Option<f64>,
}

/// What the listing has come to, for `share_max`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Listing {
    /// Versions listed by this run so far.
    pub listed: u64,
    /// Whether no more will be listed, or none can be until some are deleted.
    pub stands_still: bool,
}

/// The answer to a batch that asks to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Grant {
    /// The first so many items may be sent.
    Items(usize),
    /// Nothing now; ask again when something was settled or listed.
    Wait,
    /// Nothing any more: this limit is reached.
    Spent(&'static str),
}

/// The book of one budget window.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    /// Deleted in this window.
    spent: Load,
    /// Deleted by the run before this window: counts for the share.
    spent_before_versions: u64,
    /// Granted and not settled, by batch.
    reserved: HashMap<i64, Load>,
    reserved_sum: Load,
}

impl Budget {
    /// A window in which `spent` is used up already, of a run that deleted `run_versions` in all.
    pub(super) fn new(limits: Limits, spent: Load, run_versions: u64) -> Self {
        Self {
            limits,
            spent,
            spent_before_versions: run_versions.saturating_sub(spent.versions),
            reserved: HashMap::new(),
            reserved_sum: Load::default(),
        }
    }

    /// Keeps what an earlier process may have sent of a batch without learning its outcome.
    pub(super) fn reserve(&mut self, batch: i64, load: Load) {
        self.reserved_sum.add(load);
        if let Some(former) = self.reserved.insert(batch, load) {
            self.reserved_sum.sub(former);
        }
    }

    /// Whether there is anything to keep to: without a limit nothing needs to be durable.
    pub(super) const fn is_limited(&self) -> bool {
        self.limits.versions_max.is_some()
            || self.limits.bytes_max.is_some()
            || self.limits.share_max.is_some()
    }

    /// Reserves as many of the first items of a batch as fit. A batch that comes back brings its
    /// former reservation along.
    pub(super) fn grant(&mut self, batch: i64, sizes_bytes: &[u64], listing: Listing) -> Grant {
        self.grant_loads(batch, sizes_bytes.iter().map(|size| Load { versions: 1, bytes: *size }), listing)
    }

    /// As [`Budget::grant`], but for chains, each with the sizes of its items: none is divided.
    pub(super) fn grant_chains(&mut self, batch: i64, chains: &[Vec<u64>], listing: Listing) -> Grant {
        let load = |chain: &Vec<u64>| Load {
            versions: chain.len() as u64,
            bytes: chain.iter().fold(0, |sum: u64, size| sum.saturating_add(*size)),
        };
        self.grant_loads(batch, chains.iter().map(load), listing)
    }

    fn grant_loads(
        &mut self,
        batch: i64,
        loads: impl ExactSizeIterator<Item = Load>,
        listing: Listing,
    ) -> Grant {
        // What may have been applied already costs nothing more when it is sent again.
        let former = self.reserved.remove(&batch).unwrap_or_default();
        self.reserved_sum.sub(former);
        let mut wanted = Load::default();
        let mut short = None;
        let asks_for_nothing = loads.len() == 0;
        for load in loads {
            let mut next = wanted;
            next.add(load);
            let is_paid = next.versions <= former.versions;
            if let Some(limit) = self.exceeded_by(next, listing).filter(|_| !is_paid) {
                short = Some(limit);
                break;
            }
            wanted = next;
        }
        if wanted.versions > 0 || asks_for_nothing {
            self.reserved.insert(batch, wanted);
            self.reserved_sum.add(wanted);
            return Grant::Items(usize::try_from(wanted.versions).unwrap_or(usize::MAX));
        }
        match short {
            // What is in flight may come back unspent, and more may be listed.
            _ if self.reserved_sum.versions > 0 => Grant::Wait,
            Some("max_share") if !listing.stands_still => Grant::Wait,
            Some(limit) => Grant::Spent(limit),
            None => Grant::Wait,
        }
    }

    fn exceeded_by(&self, more: Load, listing: Listing) -> Option<&'static str> {
        let mut total = self.spent;
        total.add(self.reserved_sum);
        total.add(more);
        if self.limits.versions_max.is_some_and(|max| total.versions > max) {
            return Some("max_versions");
        }
        if self.limits.bytes_max.is_some_and(|max| total.bytes > max) {
            return Some("max_bytes");
        }
        let share_max = self.limits.share_max?;
        let judged = listing.listed >= SHARE_JUDGED_FROM || listing.stands_still;
        #[expect(clippy::cast_precision_loss, reason = "counts of versions stay far below 2^52")]
        let over = (self.spent_before_versions + total.versions) as f64 > share_max * listing.listed as f64;
        (!judged || over).then_some("max_share")
    }

    /// Books the outcome of a batch: `done` was deleted, `open` was sent and may have been applied
    /// without a word, the rest of the reservation is free again.
    pub(super) fn settle(&mut self, batch: i64, done: Load, open: Load) {
        if let Some(former) = self.reserved.remove(&batch) {
            self.reserved_sum.sub(former);
        }
        self.spent.add(done);
        if open.versions > 0 {
            self.reserved.insert(batch, open);
            self.reserved_sum.add(open);
        }
    }

    /// Versions and bytes that may still be deleted in this window, what is reserved included; `None` where
    /// there is no bound.
    pub(super) fn left(&self) -> (Option<u64>, Option<u64>) {
        let versions = self.limits.versions_max.map(|max| max.saturating_sub(self.spent.versions));
        (versions, self.limits.bytes_max.map(|max| max.saturating_sub(self.spent.bytes)))
    }

    /// The batches that have a reservation.
    pub(super) fn paid_batches(&self) -> Vec<i64> {
        self.reserved.keys().copied().collect()
    }

    /// Hands a part of a batch's reservation over to a batch that was made of some of its items.
    pub(super) fn hand_over(&mut self, from: i64, to: i64, load: Load) {
        let held = self.reserved.remove(&from).unwrap_or_default();
        self.reserved_sum.sub(held);
        let mut rest = held;
        rest.sub(load);
        if rest.versions > 0 {
            self.reserve(from, rest);
        }
        self.reserve(to, load);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STILL: Listing = Listing { listed: 1_000_000, stands_still: true };

    fn versions(max: u64) -> Budget {
        Budget::new(Limits { versions_max: Some(max), ..Limits::default() }, Load::default(), 0)
    }

    #[test]
    fn the_last_grant_is_cut_to_what_is_left() {
        let mut budget = versions(1500);
        assert_eq!(budget.grant(1, &[1; 1000], STILL), Grant::Items(1000));
        assert_eq!(budget.grant(2, &[1; 1000], STILL), Grant::Items(500));
        assert_eq!(budget.grant(3, &[1; 1000], STILL), Grant::Wait);
        budget.settle(1, Load { versions: 1000, bytes: 1000 }, Load::default());
        budget.settle(2, Load { versions: 400, bytes: 400 }, Load::default());
        assert_eq!(budget.grant(3, &[1; 1000], STILL), Grant::Items(100));
        budget.settle(3, Load { versions: 100, bytes: 100 }, Load::default());
        assert_eq!(budget.grant(4, &[1], STILL), Grant::Spent("max_versions"));
    }

    #[test]
    fn what_may_have_been_applied_keeps_its_reservation() {
        let mut budget = versions(10);
        assert_eq!(budget.grant(1, &[1; 10], STILL), Grant::Items(10));
        budget.settle(1, Load::default(), Load { versions: 10, bytes: 10 });
        assert_eq!(budget.grant(2, &[1; 10], STILL), Grant::Wait);
        assert_eq!(budget.grant(1, &[1; 10], STILL), Grant::Items(10), "its own return may be sent");
    }

    #[test]
    fn a_share_waits_for_the_listing_and_then_holds() {
        let limits = Limits { share_max: Some(0.5), ..Limits::default() };
        let mut budget = Budget::new(limits, Load::default(), 0);
        let moving = |listed| Listing { listed, stands_still: false };
        assert_eq!(budget.grant(1, &[1; 10], moving(9_999)), Grant::Wait);
        assert_eq!(budget.grant(1, &vec![1; 6000], moving(10_000)), Grant::Items(5000));
        budget.settle(1, Load { versions: 5000, bytes: 0 }, Load::default());
        assert_eq!(budget.grant(2, &[1; 10], moving(10_000)), Grant::Wait);
        assert_eq!(budget.grant(2, &[1; 10], moving(10_006)), Grant::Items(3));
        budget.settle(2, Load { versions: 3, bytes: 0 }, Load::default());
        let still = Listing { listed: 10_006, stands_still: true };
        assert_eq!(budget.grant(3, &[1; 10], still), Grant::Spent("max_share"));
    }

    #[test]
    fn a_small_bucket_is_judged_when_its_listing_ends() {
        let limits = Limits { share_max: Some(0.5), ..Limits::default() };
        let mut budget = Budget::new(limits, Load::default(), 0);
        let ended = Listing { listed: 8, stands_still: true };
        assert_eq!(budget.grant(1, &[1; 8], ended), Grant::Items(4));
    }

    #[test]
    fn what_a_former_process_may_have_sent_keeps_its_room() {
        let mut budget = versions(200);
        budget.reserve(1, Load { versions: 150, bytes: 150 });
        budget.reserve(2, Load { versions: 50, bytes: 50 });
        assert_eq!(budget.grant(3, &[1; 50], STILL), Grant::Wait);
        assert_eq!(budget.grant(1, &[1; 300], STILL), Grant::Items(150));
        assert_eq!(budget.grant(2, &[1; 50], STILL), Grant::Items(50));
    }

    #[test]
    fn what_may_be_gone_is_sent_again_even_where_the_budget_was_lowered() {
        let mut budget = versions(5);
        budget.reserve(1, Load { versions: 10, bytes: 10 });
        budget.reserve(2, Load { versions: 10, bytes: 10 });
        assert_eq!(budget.grant(1, &[1; 20], STILL), Grant::Items(10));
        assert_eq!(budget.grant(2, &[1; 20], STILL), Grant::Items(10));
    }

    #[test]
    fn a_chain_is_granted_whole_or_not_at_all() {
        let mut budget = versions(10);
        let chains = [vec![1; 4], vec![1; 5], vec![1; 2], vec![1]];
        assert_eq!(budget.grant_chains(1, &chains, STILL), Grant::Items(9));
        assert_eq!(budget.grant(2, &[1; 5], STILL), Grant::Items(1), "what was not granted is free");
        budget.settle(2, Load::default(), Load::default());
        budget.settle(1, Load::default(), Load::default());
        assert_eq!(budget.grant_chains(3, &[vec![1; 11], vec![1]], STILL), Grant::Spent("max_versions"));
        assert_eq!(budget.grant_chains(3, &[], STILL), Grant::Items(0));
    }

    #[test]
    fn what_is_moved_takes_its_reservation_along() {
        let mut budget = versions(10);
        assert_eq!(budget.grant_chains(1, &[vec![5; 4], vec![5; 6]], STILL), Grant::Items(10));
        // Three are copied and may go, three more are to be copied again, four failed.
        let (moved, open) = (Load { versions: 3, bytes: 15 }, Load { versions: 3, bytes: 15 });
        budget.settle(1, Load::default(), Load { versions: 6, bytes: 30 });
        budget.hand_over(1, 7, Load { versions: 1, bytes: 5 });
        budget.hand_over(1, 8, Load { versions: 2, bytes: 10 });
        assert_eq!(budget.reserved_sum, Load { versions: moved.versions + open.versions, bytes: 30 });
        assert_eq!(budget.grant(2, &[5; 5], STILL), Grant::Items(4));
        assert_eq!(budget.grant(8, &[5; 2], STILL), Grant::Items(2), "it is paid for");
        budget.settle(8, Load { versions: 2, bytes: 10 }, Load::default());
        budget.settle(7, Load { versions: 1, bytes: 5 }, Load::default());
        assert_eq!((budget.spent, budget.reserved.len()), (moved, 2));
        budget.settle(1, Load::default(), Load::default());
        assert_eq!(budget.reserved_sum, Load { versions: 4, bytes: 20 }, "that of batch 2");
    }

    proptest! {
        #[test]
        fn no_interleaving_exceeds_a_limit(
            max_versions in 1u64..5000, max_bytes in 1u64..50_000,
            steps in prop::collection::vec((0i64..6, 1usize..900, 0u64..40, 0.0f64..1.0, 0.0f64..1.0), 1..60),
        ) {
            let limits = Limits { versions_max: Some(max_versions), bytes_max: Some(max_bytes), share_max: None };
            let mut budget = Budget::new(limits, Load::default(), 0);
            // What the server may have applied at worst: everything done or still open.
            let mut out: HashMap<i64, Load> = HashMap::new();
            let mut done_all = Load::default();
            for (batch, n, size, done_part, open_part) in steps {
                if let Some(load) = out.remove(&batch) {
                    let done = (load.versions as f64 * done_part) as u64;
                    let open = ((load.versions - done) as f64 * open_part) as u64;
                    let part = |versions| Load { versions, bytes: load.bytes * versions / load.versions.max(1) };
                    budget.settle(batch, part(done), part(open));
                    done_all.add(part(done));
                    if open > 0 {
                        out.insert(batch, part(open));
                    }
                } else if let Grant::Items(granted) = budget.grant(batch, &vec![size; n], STILL) {
                    out.insert(batch, Load { versions: granted as u64, bytes: size * granted as u64 });
                }
                let at_worst = out.values().fold(done_all, |mut sum, load| { sum.add(*load); sum });
                prop_assert!(at_worst.versions <= max_versions && at_worst.bytes <= max_bytes, "{at_worst:?}");
            }
        }
    }
}
