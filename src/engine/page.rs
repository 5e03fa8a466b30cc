//! From a listed page to what commits: the decisions, the batches they fill, the new state of the
//! range. Pure: the answer depends on the arguments only.

use crate::checkpoint::{Amount, Counter, HeldItem, NewBatch, PageCommit, RangeRow, Sample};
use crate::model::{ActionId, Fate, Item, KeepReason, Key, Marker, Page, Record, RuleId, Timestamp, Version};
use crate::rules::{
    Decided, Decision, KeyFold, KeyOrders, OrderFault, PageOrder, Place, Rules, Sequenced, after_marker,
    begins_alike, sequence, within,
};

use super::batcher::Batcher;
use super::chains::{self, Holding, OpenKey};
use super::fold_code::{self, Carried};

/// Version ids of the marker's key that are remembered, so that a server that repeats the key's
/// versions is seen through. A page holds no more.
const RECENT_MAX: usize = 1000;

/// Why a page cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageFault {
    /// The listing is out of order.
    #[error(transparent)]
    Order(#[from] OrderFault),
    /// The checkpoint's own bytes make no sense.
    #[error("the state of range {0} cannot be read")]
    State(i64),
}

/// What a page is judged by, beside the rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageOptions {
    /// When the page was answered, by the server's clock.
    pub at: Timestamp,
    /// Whether the audit wants kept versions.
    pub audit_kept: bool,
    /// Examples to hand in for each rule.
    pub samples_max: usize,
    /// Versions that the job still wants listed; `None` for no limit.
    pub limit_left: Option<u64>,
    /// Whether a key behind `hi` ends the range. It does not where the server may list others that belong
    /// to the range behind that key, and nobody else would see them.
    pub ends_at_hi: bool,
}

/// How a server orders what it lists, as far as its pages have shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Orders {
    /// The entries of a page.
    pub pages: PageOrder,
    /// Keys.
    pub keys: KeyOrders,
}

impl Orders {
    /// Nothing is known yet.
    pub(super) const fn new(keys: KeyOrders) -> Self {
        Self { pages: PageOrder::Undetermined, keys }
    }

    /// Adds what pages have shown that were read at the same time, somewhere behind `key`.
    ///
    /// # Errors
    /// They contradict each other.
    pub(super) fn join(&mut self, shown: Self, key: &Key) -> Result<(), OrderFault> {
        self.pages.join(shown.pages, key)?;
        self.keys.join(shown.keys, key)
    }
}

/// Where the next page of a range begins; `None` for the beginning of its prefix. A lower bound that a
/// listing in another order than that of bytes must not begin at only says which keys belong.
pub(super) fn start_of(range: &RangeRow) -> Option<Marker> {
    let lo = range.lo.clone().filter(begins_alike);
    range.cursor.clone().or_else(|| lo.map(|key| Marker { key, version_id: None }))
}

/// Decides the entries of `page`, which was asked for from the cursor of `range`.
///
/// # Errors
/// A listing that is out of order, or a range whose state cannot be read.
pub(super) fn plan_page(
    mut range: RangeRow,
    page: Page,
    rules: &Rules,
    orders: &mut Orders,
    options: PageOptions,
) -> Result<PageCommit, PageFault> {
    let carried = fold_code::decode(range.fold.as_deref()).ok_or(PageFault::State(range.id))?;
    let next = page.next;
    let from = start_of(&range);
    orders.keys = orders.keys.after_page(from.as_ref().map(|from| &from.key), &page.versions)?;
    let keys = orders.keys.in_force();
    let mut entries = sequence(page.versions, &mut orders.pages, keys)?;
    if let Some(from) = &from {
        entries = after_marker(entries, from, &range.recent, keys);
    }
    let recent = recent_ids(&range, &entries, next.as_ref());
    let mut beyond = false;
    entries.retain(|entry| {
        match within(&entry.version.key, &range.prefix, range.lo.as_ref(), range.hi.as_ref()) {
            Place::Inside => true,
            Place::Before => false,
            Place::Beyond => {
                beyond |= options.ends_at_hi;
                false
            }
        }
    });
    let cut = options.limit_left.is_some_and(|left| {
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let cuts = entries.len() >= left && (entries.len() > left || (next.is_some() && !beyond));
        entries.truncate(left);
        cuts
    });
    let ends = beyond || next.is_none();
    let held_place = if ends || cut { None } else { next.clone() };
    // A page may hold nothing and still move the marker, so the open key is not the marker's.
    let open_key = carried
        .fold
        .as_ref()
        .map(|state| state.key.clone())
        .or_else(|| range.cursor.as_ref().map(|cursor| cursor.key.clone()));
    let Carried { fold, key_rules, open } = carried;
    let mut planned = Planned::new(&mut range, rules, options, held_place);
    (planned.key, planned.key_rules, planned.open) = (open_key, key_rules, open);
    let fold = planned.run(entries, KeyFold::new(fold).ordered(keys), ends && !cut)?;
    // A marker without a version id goes on behind all entries of its key, seen or not.
    let leaves_key = next.as_ref().is_some_and(|next| {
        next.version_id.is_none() && fold.state().is_some_and(|state| state.key == next.key)
    });
    planned.end_key_unless(fold.state().map(|state| &state.key));
    let fold = if cut || leaves_key { planned.stop_short(fold) } else { fold };
    let done = cut || ends;
    let Gathered { batches, tallies, samples, records } = planned.finish(&fold, done, next, recent)?;
    Ok(PageCommit { range, batches, tallies, samples, records, at: options.at, requests: Vec::new() })
}

/// What a page commits beside the new state of its range.
struct Gathered {
    batches: Vec<NewBatch>,
    tallies: Vec<(Counter, Amount)>,
    samples: Vec<Sample>,
    records: Vec<Record>,
}

/// The ids of the marker's key, newest first, for the next page's replays.
fn recent_ids(
    range: &RangeRow,
    entries: &[Sequenced],
    next: Option<&Marker>,
) -> Vec<crate::model::VersionId> {
    let Some(marker) = next else { return Vec::new() };
    let before = range.cursor.as_ref().filter(|cursor| cursor.key == marker.key).map(|_| range.recent.iter());
    let here = entries.iter().filter(|entry| entry.version.key == marker.key).map(|entry| &entry.version.id);
    let mut ids: Vec<_> = before.into_iter().flatten().chain(here).cloned().collect();
    let surplus = ids.len().saturating_sub(RECENT_MAX);
    ids.drain(..surplus);
    ids.iter().map(crate::model::VersionId::detached).collect()
}

/// What a page counts: a handful of counters, so that looking through them beats hashing.
#[derive(Default)]
struct Tallies(Vec<(Counter, Amount)>);

impl Tallies {
    fn add(&mut self, counter: Counter, amount: Amount) {
        match self.0.iter_mut().find(|(known, _)| *known == counter) {
            Some((_, sum)) => *sum += amount,
            None => self.0.push((counter, amount)),
        }
    }
}

/// A page's decisions as they gather.
struct Planned<'a> {
    batcher: Batcher<'a>,
    rules: &'a Rules,
    holding: Holding,
    /// The decisions that wait for the end of their key.
    open: Option<OpenKey>,
    options: PageOptions,
    /// The entry named here is held back: the server may look for it to answer the next page.
    held_place: Option<Marker>,
    held: Option<HeldItem>,
    /// The key of the decisions at hand, and the rules that selected something of it.
    key: Option<Key>,
    key_rules: Vec<RuleId>,
    tallies: Tallies,
    samples: Vec<Sample>,
    records: Vec<Record>,
    listed: u64,
    kept: u64,
    selected: u64,
}

impl<'a> Planned<'a> {
    fn new(
        range: &'a mut RangeRow,
        rules: &'a Rules,
        options: PageOptions,
        held_place: Option<Marker>,
    ) -> Self {
        let released = range.held.take();
        let mut batcher = Batcher::new(range);
        if let Some(HeldItem { item, action }) = released {
            batcher.elder(item, action);
        }
        Self {
            batcher,
            rules,
            holding: Holding::of(rules),
            open: None,
            options,
            held_place,
            held: None,
            key: None,
            key_rules: Vec::new(),
            tallies: Tallies::default(),
            samples: Vec::new(),
            records: Vec::new(),
            listed: 0,
            kept: 0,
            selected: 0,
        }
    }

    fn run(&mut self, entries: Vec<Sequenced>, mut fold: KeyFold, ends: bool) -> Result<KeyFold, OrderFault> {
        let rules = self.rules;
        let mut decided = Vec::new();
        for entry in entries {
            self.listed += 1;
            self.tallies.add(Counter::Listed, Amount { versions: 1, bytes: entry.version.size, keys: 0 });
            fold.push(rules, entry, &mut decided)?;
            decided.drain(..).for_each(|decided| self.take(decided));
        }
        if ends {
            fold.finish(rules, &mut decided);
            decided.drain(..).for_each(|decided| self.take(decided));
        }
        Ok(fold)
    }

    fn take(&mut self, decided: Decided) {
        let version = &decided.version;
        if self.key.as_ref() != Some(&version.key) {
            self.end_key(None);
            self.batcher.key_ended();
            self.key = Some(version.key.clone());
            self.key_rules.clear();
        }
        if self.holding == Holding::Nothing {
            self.carry_out(decided);
        } else if version.is_latest {
            // It is decided when its key has ended.
            self.end_key(Some(decided));
        } else {
            self.hold(decided);
        }
    }

    /// Keeps a decision back until its key has ended, where that must be.
    fn hold(&mut self, decided: Decided) {
        if !self.holding.wants(&decided.decision, self.rules) {
            return self.carry_out(decided);
        }
        let open = self.open.get_or_insert_with(|| OpenKey::new(decided.version.key.clone(), false));
        let too_many = if open.is_too_long() { vec![decided] } else { open.hold(decided) };
        for decided in too_many {
            self.carry_out(chains::too_long(decided, self.rules));
        }
    }

    /// The open key has ended, where it is another one.
    fn end_key_unless(&mut self, key: Option<&Key>) {
        if self.open.as_ref().is_some_and(|open| Some(open.key()) != key) {
            self.end_key(None);
        }
    }

    /// The key has ended, with its latest entry where that was listed: what was held leaves.
    fn end_key(&mut self, latest: Option<Decided>) {
        let open = self.open.take();
        if open.is_none() && latest.is_none() {
            return;
        }
        if open.as_ref().is_some_and(OpenKey::is_too_long) {
            if let Some(latest) = latest {
                self.carry_out(chains::too_long(latest, self.rules));
            }
            return;
        }
        let held = open.map(OpenKey::into_held).unwrap_or_default();
        let mut all: Vec<Decided> = latest.into_iter().chain(held).collect();
        if self.holding == Holding::Everything {
            all = chains::resolve(all, self.rules);
        }
        let mut travelling: Vec<(ActionId, bool, Vec<Item>)> = Vec::new();
        let mut last = None;
        for decided in all {
            let Some((rule, action)) = chains::travels(&decided.decision, self.rules) else {
                if decided.version.is_latest {
                    last = Some(decided);
                } else {
                    self.carry_out(decided);
                }
                continue;
            };
            let removes = matches!(decided.decision, Decision::Act { .. });
            let copy = Some(chains::copy_item(&decided.version));
            let item = Item { copy, ..self.count(decided.version, rule) };
            match travelling.iter_mut().find(|(known, ..)| *known == action) {
                Some((.., items)) => items.push(item),
                None => travelling.push((action, removes, vec![item])),
            }
        }
        // The latest entry comes after all others, whatever becomes of them.
        travelling.sort_by_key(|(.., items)| items.iter().any(|item| item.is_latest));
        for (action, removes, items) in travelling {
            self.batcher.chain(items, action, removes);
        }
        if let Some(latest) = last {
            self.carry_out(latest);
        }
    }

    /// Does what was decided of an entry that does not travel.
    fn carry_out(&mut self, decided: Decided) {
        let Decided { version, decision } = decided;
        match decision {
            Decision::Keep(reason) => self.keep(version, reason),
            Decision::Act { rule, action, elders_selected } => {
                self.select(version, rule, action, elders_selected)
            }
            Decision::Copy { rule, action } => {
                let copy = Some(chains::copy_item(&version));
                let item = Item { copy, ..self.count(version, rule) };
                self.batcher.chain(vec![item], action, false);
            }
        }
    }

    fn keep(&mut self, version: Version, reason: KeepReason) {
        self.kept += 1;
        self.tallies.add(Counter::Kept(reason), Amount { versions: 1, bytes: version.size, keys: 0 });
        if self.options.audit_kept {
            self.records.push(Record {
                key: version.key,
                version_id: version.id,
                kind: version.kind,
                size: version.size,
                last_modified: version.last_modified,
                fate: Fate::Kept(reason),
                at: self.options.at,
                copied: None,
            });
        }
    }

    fn select(&mut self, version: Version, rule: RuleId, action: ActionId, elders_selected: bool) {
        let is_marker_entry = self
            .held_place
            .as_ref()
            .is_some_and(|place| place.key == version.key && place.version_id.as_ref() == Some(&version.id));
        let item = self.count(version, rule);
        match (item.is_latest, is_marker_entry) {
            (true, _) => self.batcher.latest(item, action, elders_selected),
            (false, true) => self.held = Some(HeldItem { item, action }),
            (false, false) => self.batcher.elder(item, action),
        }
    }

    /// Counts a version as selected and makes the item of it.
    fn count(&mut self, version: Version, rule: RuleId) -> Item {
        self.selected += 1;
        let first_of_key = !self.key_rules.contains(&rule);
        if first_of_key {
            self.key_rules.push(rule);
        }
        let amount = Amount { versions: 1, bytes: version.size, keys: u64::from(first_of_key) };
        self.tallies.add(Counter::Planned(rule), amount);
        if self.samples.iter().filter(|sample| sample.rule == rule).count() < self.options.samples_max {
            self.samples.push(Sample {
                rule,
                key: version.key.clone(),
                version_id: version.id.clone(),
                kind: version.kind,
                size: version.size,
                last_modified: version.last_modified,
            });
        }
        Item {
            key: version.key,
            version_id: version.id,
            kind: version.kind,
            is_latest: version.is_latest,
            size: version.size,
            last_modified: version.last_modified,
            rule,
            copy: None,
        }
    }

    /// The listing leaves a key before its end: its latest entry, which is judged by what lies
    /// beneath it, cannot be judged and stays, and so does what would have travelled.
    fn stop_short(&mut self, fold: KeyFold) -> KeyFold {
        for decided in self.open.take().into_iter().flat_map(OpenKey::into_held) {
            self.carry_out(chains::unfinished(decided, self.rules));
        }
        if let Some(latest) = fold.state().and_then(|state| state.latest.clone()) {
            self.take(Decided { version: latest, decision: Decision::Keep(KeepReason::Unfinished) });
        }
        KeyFold::default()
    }

    fn finish(
        mut self,
        fold: &KeyFold,
        done: bool,
        next: Option<Marker>,
        recent: Vec<crate::model::VersionId>,
    ) -> Result<Gathered, PageFault> {
        if done {
            self.batcher.flush();
        }
        let held = self.open.as_ref().map_or(0, |open| open.held().len() as u64);
        let undecided = held + u64::from(fold.state().is_some_and(|state| state.latest.is_some()));
        let key_rules = if fold.state().is_some_and(|state| Some(&state.key) == self.key.as_ref()) {
            self.key_rules
        } else {
            Vec::new()
        };
        let carried = Carried { fold: fold.state().cloned(), key_rules, open: self.open };
        let (batches, range) = self.batcher.into_parts();
        // From here on they outlive their page.
        if let Some(held) = &mut self.held {
            Item::detach(std::slice::from_mut(&mut held.item));
        }
        let next = next.map(|next| next.detached());
        range.fold = fold_code::encode(&carried).map_err(|_| PageFault::State(range.id))?;
        range.held = self.held;
        range.cursor = if done { range.cursor.take() } else { next };
        range.recent = if done { Vec::new() } else { recent };
        range.done = done;
        range.undecided = undecided;
        range.listed += self.listed;
        range.kept += self.kept;
        range.planned += self.selected;
        range.pages += 1;
        let mut tallies = self.tallies.0;
        tallies.sort_unstable_by_key(|(counter, _)| *counter);
        Ok(Gathered { batches, tallies, samples: self.samples, records: self.records })
    }
}

#[cfg(test)]
mod tests;
