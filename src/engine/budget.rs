//! Budgets are ceilings on what is deleted: never exceeded, not by one version, with any number of
//! workers. So they are reserved before a request leaves, and what may have been applied keeps its
//! reservation until its outcome is known.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// Listed versions before `max_share` is judged: a share of a handful says nothing.
const SHARE_JUDGED_FROM: u64 = 10_000;

/// Versions and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Load {
    /// How many versions.
    pub versions: u64,
    /// Their bytes together.
    pub bytes: u64,
}

impl Load {
    fn add(&mut self, other: Self) {
        self.versions += other.versions;
        self.bytes += other.bytes;
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

/// A grant whose outcome is not known, as the checkpoint remembers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Granted {
    /// What may be sent.
    pub granted: Load,
    /// What the batch held then.
    pub of: Load,
}

/// Grants by batch.
pub(super) type Grants = BTreeMap<i64, Granted>;

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
    /// The grants behind the reservations.
    grants: Grants,
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
            grants: Grants::new(),
        }
    }

    /// Whether there is anything to keep to.
    pub(super) const fn is_limited(&self) -> bool {
        let Limits { versions_max, bytes_max, share_max } = self.limits;
        versions_max.is_some() || bytes_max.is_some() || share_max.is_some()
    }

    /// What is granted and not confirmed: to be durable before any of it is sent.
    pub(super) const fn grants(&self) -> &Grants {
        &self.grants
    }

    /// Takes over a grant of a former process, which may have sent it without learning the outcome.
    /// `left` is what the batch holds now: what was settled of it since is in the books already.
    pub(super) fn restore(&mut self, batch: i64, grant: Granted, left: Load) {
        let mut settled = grant.of;
        settled.sub(left);
        let mut open = grant.granted;
        open.sub(settled);
        if open.versions > 0 {
            self.reserved.insert(batch, open);
            self.reserved_sum.add(open);
            self.grants.insert(batch, Granted { granted: open, of: left });
        }
    }

    /// Reserves as many of the first items of a batch as fit; `of` is all that the batch holds. A
    /// batch that comes back brings its former reservation along, and so many of its first items need
    /// no room: they may have been deleted already.
    pub(super) fn grant(&mut self, batch: i64, sizes_bytes: &[u64], of: Load, listing: Listing) -> Grant {
        let former = self.reserved.remove(&batch).unwrap_or_default();
        self.reserved_sum.sub(former);
        let mut wanted = Load::default();
        let mut short = None;
        let mut granted = 0;
        for size in sizes_bytes {
            let next = Load { versions: wanted.versions + 1, bytes: wanted.bytes + size };
            if next.versions > former.versions
                && let Some(limit) = self.exceeded_by(next, listing)
            {
                short = Some(limit);
                break;
            }
            wanted = next;
            granted += 1;
        }
        if granted > 0 || sizes_bytes.is_empty() {
            self.reserved.insert(batch, wanted);
            self.reserved_sum.add(wanted);
            self.grants.insert(batch, Granted { granted: wanted, of });
            return Grant::Items(granted);
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
    /// without a word, the rest of the reservation is free again. To be called before the outcome is
    /// committed: from then on the rest of the batch may be handed out again, and this reservation
    /// would be taken for one of the rest. Returns the grant, for [`Budget::confirm`].
    pub(super) fn settle(&mut self, batch: i64, done: Load, open: Load) -> Option<Granted> {
        if let Some(former) = self.reserved.remove(&batch) {
            self.reserved_sum.sub(former);
        }
        self.spent.add(done);
        if open.versions > 0 {
            self.reserved.insert(batch, open);
            self.reserved_sum.add(open);
            return None;
        }
        self.grants.get(&batch).copied()
    }

    /// The outcome of a batch is committed: this grant need not be remembered. One that was made
    /// since for the rest of the batch stays.
    pub(super) fn confirm(&mut self, batch: i64, grant: Granted) {
        if self.grants.get(&batch) == Some(&grant) {
            self.grants.remove(&batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OF: Load = Load { versions: 1000, bytes: 1000 };
    const STILL: Listing = Listing { listed: 1_000_000, stands_still: true };

    fn versions(max: u64) -> Budget {
        Budget::new(Limits { versions_max: Some(max), ..Limits::default() }, Load::default(), 0)
    }

    #[test]
    fn the_last_grant_is_cut_to_what_is_left() {
        let mut budget = versions(1500);
        assert_eq!(budget.grant(1, &[1; 1000], OF, STILL), Grant::Items(1000));
        assert_eq!(budget.grant(2, &[1; 1000], OF, STILL), Grant::Items(500));
        assert_eq!(budget.grant(3, &[1; 1000], OF, STILL), Grant::Wait);
        budget.settle(1, Load { versions: 1000, bytes: 1000 }, Load::default());
        budget.settle(2, Load { versions: 400, bytes: 400 }, Load::default());
        assert_eq!(budget.grant(3, &[1; 1000], OF, STILL), Grant::Items(100));
        budget.settle(3, Load { versions: 100, bytes: 100 }, Load::default());
        assert_eq!(budget.grant(4, &[1], OF, STILL), Grant::Spent("max_versions"));
    }

    #[test]
    fn what_may_have_been_applied_keeps_its_reservation() {
        let mut budget = versions(10);
        assert_eq!(budget.grant(1, &[1; 10], OF, STILL), Grant::Items(10));
        budget.settle(1, Load::default(), Load { versions: 10, bytes: 10 });
        assert_eq!(budget.grant(2, &[1; 10], OF, STILL), Grant::Wait);
        assert_eq!(budget.grant(1, &[1; 10], OF, STILL), Grant::Items(10), "its own return may be sent");
    }

    #[test]
    fn a_share_waits_for_the_listing_and_then_holds() {
        let limits = Limits { share_max: Some(0.5), ..Limits::default() };
        let mut budget = Budget::new(limits, Load::default(), 0);
        let moving = |listed| Listing { listed, stands_still: false };
        assert_eq!(budget.grant(1, &[1; 10], OF, moving(9_999)), Grant::Wait);
        assert_eq!(budget.grant(1, &vec![1; 6000], OF, moving(10_000)), Grant::Items(5000));
        budget.settle(1, Load { versions: 5000, bytes: 0 }, Load::default());
        assert_eq!(budget.grant(2, &[1; 10], OF, moving(10_000)), Grant::Wait);
        assert_eq!(budget.grant(2, &[1; 10], OF, moving(10_006)), Grant::Items(3));
        budget.settle(2, Load { versions: 3, bytes: 0 }, Load::default());
        let still = Listing { listed: 10_006, stands_still: true };
        assert_eq!(budget.grant(3, &[1; 10], OF, still), Grant::Spent("max_share"));
    }

    #[test]
    fn a_small_bucket_is_judged_when_its_listing_ends() {
        let limits = Limits { share_max: Some(0.5), ..Limits::default() };
        let mut budget = Budget::new(limits, Load::default(), 0);
        let ended = Listing { listed: 8, stands_still: true };
        assert_eq!(budget.grant(1, &[1; 8], OF, ended), Grant::Items(4));
    }

    #[test]
    fn a_grant_of_a_former_process_keeps_its_room_less_what_was_settled_since() {
        let load = |versions, bytes| Load { versions, bytes };
        let mut budget = versions(1500);
        budget.restore(1, Granted { granted: load(1000, 1000), of: load(1000, 1000) }, load(1000, 1000));
        // Of 500 granted 490 were settled.
        budget.restore(2, Granted { granted: load(500, 500), of: load(1000, 1000) }, load(510, 510));
        // All of it was settled, and the rest was never granted.
        budget.restore(3, Granted { granted: load(10, 10), of: load(1000, 1000) }, load(990, 990));
        assert_eq!(budget.grants().keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(budget.grant(4, &[1; 1000], OF, STILL), Grant::Items(490));
        assert_eq!(budget.grant(5, &[1; 1000], OF, STILL), Grant::Wait);
        assert_eq!(budget.grant(2, &[1; 510], OF, STILL), Grant::Items(10));
        assert_eq!(budget.grant(1, &[1; 1000], OF, STILL), Grant::Items(1000));
    }

    #[test]
    fn a_grant_is_remembered_until_its_outcome_is_committed() {
        let mut budget = versions(100);
        let of = |versions| Load { versions, bytes: versions };
        assert_eq!(budget.grant(1, &[1; 150], of(150), STILL), Grant::Items(100));
        let grant = budget.settle(1, of(60), Load::default()).unwrap();
        assert_eq!(budget.grants()[&1], grant, "a crash now would find the batch as it was");
        // The rest of the batch is handed out before the worker hears of its commit.
        assert_eq!(budget.grant(1, &[1; 90], of(90), STILL), Grant::Items(40));
        budget.confirm(1, grant);
        assert_eq!(budget.grants()[&1].granted, of(40));
        let grant = budget.settle(1, of(40), Load::default()).unwrap();
        budget.confirm(1, grant);
        assert!(budget.grants().is_empty());
        assert_eq!(budget.grant(1, &[1; 50], of(50), STILL), Grant::Spent("max_versions"));
    }

    #[test]
    fn what_may_be_gone_is_sent_again_even_where_the_budget_was_lowered() {
        let mut budget = versions(5);
        let ten = Load { versions: 10, bytes: 10 };
        budget.restore(1, Granted { granted: ten, of: OF }, OF);
        budget.restore(2, Granted { granted: ten, of: OF }, OF);
        assert_eq!(budget.grant(3, &[1; 10], OF, STILL), Grant::Wait);
        assert_eq!(budget.grant(1, &[1; 1000], OF, STILL), Grant::Items(10));
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
                } else if let Grant::Items(granted) = budget.grant(batch, &vec![size; n], OF, STILL) {
                    out.insert(batch, Load { versions: granted as u64, bytes: size * granted as u64 });
                }
                let at_worst = out.values().fold(done_all, |mut sum, load| { sum.add(*load); sum });
                prop_assert!(at_worst.versions <= max_versions && at_worst.bytes <= max_bytes, "{at_worst:?}");
            }
        }
    }
}
