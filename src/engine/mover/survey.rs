//! One look at the destination keys of many chains: the pages of one listing in place of a listing for each.
//!
//! A survey only ever says less than a look at the key itself: what is not certain from its pages (a key
//! that goes on over the end of a page, keys in another order than that of their bytes, too many pages,
//! an error) is not covered, and the chain looks for itself. Between a survey and the first copy lies more
//! time than between a look and the first copy; the condition of that copy and the comparison at the end
//! hold for what happens meanwhile, as they did for the shorter time.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::model::{Key, Marker, Page};
use crate::rules::{KeyOrder, OrderFault, PageOrder, Sequenced, sequence};
use crate::s3::{ListVersions, Operation};

use super::super::context::{Context, locked};
use super::side::Side;

/// Pages that one survey reads at most.
const PAGES_MAX: u32 = 4;
/// A survey that covers fewer keys with each page saves nothing worth its pages: so far apart lie the keys,
/// or so long are they.
const KEYS_PER_PAGE_MIN: usize = 8;
/// How old a survey may be when a chain begins with it.
const AGE_MAX: Duration = Duration::from_secs(10);

/// What the destination holds of some keys.
struct Survey {
    /// Entries by key, newest first.
    entries: HashMap<Key, Vec<Sequenced>>,
    /// The keys that are listed to their end.
    covered: BTreeSet<Key>,
    began: Instant,
    pages: u32,
}

impl Survey {
    fn new() -> Self {
        Self { entries: HashMap::new(), covered: BTreeSet::new(), began: Instant::now(), pages: 0 }
    }

    /// Takes a page that began behind `from`; what it leaves open of `wanted` is not covered.
    fn take(
        &mut self,
        wanted: &BTreeSet<Key>,
        from: Option<&Marker>,
        page: Page,
        order: &mut PageOrder,
    ) -> Result<(), OrderFault> {
        self.pages += 1;
        // The key that the page before ended with may have begun there.
        let begins = from.map_or(Bound::Unbounded, |from| Bound::Excluded(&from.key));
        let ends = page.next.as_ref().map_or(Bound::Unbounded, |next| Bound::Excluded(&next.key));
        let is_within = |key: &Key| {
            from.is_none_or(|from| *key > from.key) && page.next.as_ref().is_none_or(|next| *key < next.key)
        };
        if page.next.as_ref().is_none_or(|next| from.is_none_or(|from| next.key > from.key)) {
            self.covered.extend(wanted.range((begins, ends)).cloned());
        }
        if let Some(from) = from
            && let Some(odd) = page.versions.iter().find(|version| version.key < from.key)
        {
            return Err(OrderFault::KeyWentBack { key: odd.key.clone(), after: from.key.clone() });
        }
        for entry in sequence(page.versions, order, KeyOrder::Bytes)? {
            if is_within(&entry.version.key) && wanted.contains(&entry.version.key) {
                self.entries.entry(entry.version.key.clone()).or_default().push(entry);
            }
        }
        Ok(())
    }

    /// The entries of a key, where it is covered; each can be had once.
    fn entries_of(&mut self, key: &Key) -> Option<Vec<Sequenced>> {
        self.covered.remove(key).then(|| self.entries.remove(key).unwrap_or_default())
    }

    /// Whether it was worth its pages.
    fn is_worth_it(&self) -> bool {
        self.covered.len() >= KEYS_PER_PAGE_MIN * self.pages.max(1) as usize
    }
}

/// Whether a key can be surveyed: its place must not depend on what a server takes for the order of keys,
/// and a query can hold nothing but text.
pub(super) fn is_surveyable(key: &Key) -> bool {
    key.as_bytes().iter().all(|byte| *byte < 0xee) && std::str::from_utf8(key.as_bytes()).is_ok()
}

/// The longest prefix, in whole characters, that all keys from the first to the last have.
fn common_prefix<'a>(first: &'a Key, last: &Key) -> &'a [u8] {
    let (first, last) = (first.as_bytes(), last.as_bytes());
    let mut alike = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    let is_inside = |at: usize| first.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    while is_inside(alike) {
        alike -= 1;
    }
    &first[..alike]
}

/// A key a little before this one, to begin behind; `None` where it is the first with the prefix.
fn before(key: &Key, prefix: &[u8]) -> Option<Marker> {
    let (last, head) = key.as_bytes().split_last().filter(|(_, head)| head.len() >= prefix.len())?;
    let mut before = head.to_vec();
    if (0x22..0x7f).contains(last) {
        before.extend([last - 1, b'~']);
    } else if *last >= 0x80 {
        // The rest of the last character.
        while before.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
    }
    let is_usable = before.len() >= prefix.len() && !before.is_empty();
    is_usable.then(|| Marker { key: Key::from(before), version_id: None })
}

/// Lists the destination from the first wanted key on. Covers nothing where that fails.
async fn survey(ctx: &Context, side: &Side, wanted: &BTreeSet<Key>) -> Survey {
    let mut survey = Survey::new();
    let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else { return survey };
    let prefix = common_prefix(first, last);
    let mut from = before(first, prefix);
    let caller = side.caller(ctx);
    while survey.pages < PAGES_MAX {
        let request = ListVersions { prefix, from: from.as_ref(), page_size: 1000, wants_data: true };
        let page = caller
            .call_other(Operation::ListObjectVersions, &ctx.stop, || caller.client.list_versions(&request))
            .await;
        // Whoever looks for itself then comes to the same error, and says what it means.
        let Ok(Some(page)) = page else { return Survey::new() };
        let next = page.next.clone();
        let mut order = side.page_order();
        let taken = survey.take(wanted, from.as_ref(), page, &mut order);
        if taken.and_then(|()| locked(&side.order).join(order, first)).is_err() {
            return Survey::new();
        }
        match next {
            Some(next) if next.key <= *last => from = Some(next),
            _ => break,
        }
    }
    survey
}

/// The keys of chains that have not begun yet, and what was last seen of them.
pub(super) struct Beginnings(Mutex<Waiting>);

struct Waiting {
    keys: BTreeSet<Key>,
    seen: Survey,
    is_worth_it: bool,
}

impl Beginnings {
    pub(super) fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        let keys = keys.into_iter().filter(is_surveyable).collect();
        Self(Mutex::new(Waiting { keys, seen: Survey::new(), is_worth_it: true }))
    }

    /// What the destination holds of a key whose chain begins now; `None` where it must look for itself.
    pub(super) async fn entries_of(&self, ctx: &Context, side: &Side, key: &Key) -> Option<Vec<Sequenced>> {
        let mut waiting = self.0.lock().await;
        if !waiting.keys.contains(key) {
            return None;
        }
        let is_seen = waiting.seen.covered.contains(key) && waiting.seen.began.elapsed() <= AGE_MAX;
        if !is_seen && waiting.is_worth_it && waiting.keys.len() > 1 {
            waiting.seen = survey(ctx, side, &waiting.keys).await;
            // One that is too old at its end will be the next time, too.
            waiting.is_worth_it = waiting.seen.is_worth_it() && waiting.seen.began.elapsed() <= AGE_MAX;
        }
        waiting.keys.remove(key);
        if waiting.seen.began.elapsed() > AGE_MAX {
            return None;
        }
        waiting.seen.entries_of(key)
    }
}

/// What the destination holds now of the keys of chains that are complete, as far as it can be told for
/// several together.
pub(super) async fn ends(
    ctx: &Context,
    side: &Side,
    keys: impl IntoIterator<Item = Key>,
) -> HashMap<Key, Vec<Sequenced>> {
    let mut left: BTreeSet<Key> = keys.into_iter().filter(is_surveyable).collect();
    let mut found = HashMap::new();
    while left.len() > 1 {
        let mut seen = survey(ctx, side, &left).await;
        let is_worth_it = seen.is_worth_it();
        let last = seen.covered.last().cloned();
        for key in std::mem::take(&mut seen.covered) {
            let entries = seen.entries.remove(&key).unwrap_or_default();
            found.insert(key, entries);
        }
        // Those before the last one that were not covered go over the end of a page.
        match last.filter(|_| is_worth_it) {
            Some(last) => left = left.split_off(&last).into_iter().filter(|key| *key != last).collect(),
            None => break,
        }
    }
    found
}

#[cfg(test)]
mod tests;
