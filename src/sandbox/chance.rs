//! Decides which faults befall a request and its items.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::faults::{FaultKind, Faults, PartitionLimit, When};
use super::operation::Operation;
use super::version_id::scramble;

/// What befalls one request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Fate {
    /// Answer with this code, without an effect.
    pub(super) error: Option<(String, Option<u32>)>,
    /// Reset the connection.
    pub(super) reset: Option<When>,
    /// Answer with an error that comes late.
    pub(super) late_error: Option<LateError>,
    /// Do not keep the part that comes with the request, and answer as if it were kept.
    pub(super) loses_part: bool,
    /// Keep other data than was sent.
    pub(super) spoils_data: bool,
    /// Cut the body.
    pub(super) cut: Option<Cut>,
    /// Suspend versioning everywhere first.
    pub(super) suspend_all: bool,
    /// How long it takes.
    pub(super) latency: Delay,
}

/// An error that comes late: in the body of an answer that began as a success, where the operation
/// has such, and with an effect or without one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LateError {
    pub(super) code: String,
    pub(super) when: When,
}

/// How long a request takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Delay {
    fixed: Duration,
    /// In nanoseconds.
    per_key_ns: u64,
}

impl Delay {
    /// Before it has its effect.
    pub(super) fn before(self) -> Duration {
        self.fixed / 2
    }

    /// After it has its effect, with what so many keys take.
    pub(super) fn after(self, keys: u64) -> Duration {
        self.fixed - self.before() + Duration::from_nanos(self.per_key_ns.saturating_mul(keys))
    }
}

/// What befalls the items of one DeleteObjects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ItemFates {
    /// Nothing befalls any.
    AllFine,
    /// For each item, in order.
    Each(Vec<ItemFate>),
    /// The request as a whole is answered SlowDown: its partitions take none of its keys.
    SlowDown,
}

impl ItemFates {
    /// What befalls the item at this place.
    pub(super) fn of(&self, place: usize) -> &ItemFate {
        match self {
            Self::Each(fates) => fates.get(place).unwrap_or(&ItemFate::Fine),
            Self::AllFine | Self::SlowDown => &ItemFate::Fine,
        }
    }
}

/// Where a body ends early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cut {
    AtByte(u64),
    /// At this many parts of 2^32 of the body.
    AtShare(u32),
}

impl Cut {
    /// Bytes that are left of a body; always fewer than it has.
    pub(super) fn length(self, body_bytes: usize) -> usize {
        let body = body_bytes as u64;
        let left = match self {
            Self::AtByte(byte) => byte,
            Self::AtShare(share) => ((u128::from(body) * u128::from(share)) >> 32) as u64,
        };
        usize::try_from(left.min(body.saturating_sub(1))).unwrap_or(0)
    }
}

/// What befalls one item of DeleteObjects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ItemFate {
    /// Nothing.
    Fine,
    /// It fails with this code.
    Error(Cow<'static, str>),
    /// It is carried out and left out of the answer.
    Omitted,
}

/// Purposes of a draw, so that one draw says nothing about another.
#[derive(Clone, Copy)]
enum Purpose {
    KeyError = 1,
    KeyErrorCode,
    RequestError,
    Reset,
    Cut,
    CutPlace,
    Omit,
    Latency,
    LateError,
    LostPart,
}

/// The tokens of a partition of the key space.
#[derive(Clone, Copy, Debug)]
struct Tokens {
    left: f64,
    at: Instant,
}

#[derive(Debug, Default)]
struct Inner {
    faults: Faults,
    requests: u64,
    requests_of: HashMap<Operation, u64>,
    /// Failures so far of items that failed, by the hash of key and version id.
    failures_of: HashMap<u64, u32>,
    /// Times that each scripted key failed.
    scripted_done: Vec<u32>,
    foreign_key_done: bool,
    suspend_done: bool,
    requests_of_credentials: HashMap<String, u64>,
    /// By the first bytes of a key, or by the place among the boundaries.
    partitions: HashMap<Partition, Tokens>,
}

/// A part of the key space.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Partition {
    Beginning(Vec<u8>),
    Place(usize),
}

impl Partition {
    fn of(key: &[u8], limit: &PartitionLimit) -> Self {
        if limit.boundaries.is_empty() {
            return Self::Beginning(key[..limit.prefix_bytes.min(key.len())].to_vec());
        }
        Self::Place(limit.boundaries.partition_point(|first| first.as_bytes() <= key))
    }
}

/// The faults in force, and what has come of them so far.
#[derive(Debug, Default)]
pub(super) struct Chance(Mutex<Inner>);

impl Chance {
    pub(super) fn new(faults: Faults) -> Self {
        let chance = Self::default();
        chance.set(faults);
        chance
    }

    /// Puts other faults in force. All counting starts again.
    pub(super) fn set(&self, faults: Faults) {
        let scripted_done = vec![0; faults.scripted_keys.len()];
        *self.lock() = Inner { faults, scripted_done, ..Inner::default() };
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request and decides what befalls it.
    pub(super) fn of_request(&self, operation: Operation) -> Fate {
        let mut inner = self.lock();
        inner.requests += 1;
        let nth = inner.requests_of.entry(operation).and_modify(|nth| *nth += 1).or_insert(1);
        let nth = *nth;
        let suspend_all =
            !inner.suspend_done && inner.faults.suspend_after.is_some_and(|after| inner.requests > after);
        inner.suspend_done |= suspend_all;
        let mut fate = inner.faults.by_chance(operation, nth);
        fate.suspend_all = suspend_all;
        for scripted in &inner.faults.scripted_requests {
            if scripted.operation == operation && scripted.nth == nth {
                match &scripted.kind {
                    FaultKind::Error(code) => fate.error = Some((code.clone(), None)),
                    FaultKind::Reset(when) => fate.reset = Some(*when),
                    FaultKind::LateError { code, when } => {
                        fate.late_error = Some(LateError { code: code.clone(), when: *when });
                    }
                    FaultKind::LosePart => fate.loses_part = true,
                    FaultKind::SpoilData => fate.spoils_data = true,
                    FaultKind::CutBody(byte) => fate.cut = Some(Cut::AtByte(*byte)),
                }
            }
        }
        fate
    }

    /// Counts a use of credentials; whether they have expired by it.
    pub(super) fn credentials_expired(&self, access_key: &str, token: &str) -> bool {
        let mut inner = self.lock();
        let Some(good_for) = inner.faults.expire_token_after else { return false };
        let used = inner.requests_of_credentials.entry(format!("{access_key}\n{token}")).or_default();
        *used += 1;
        *used > good_for
    }

    /// The region that all buckets are in, where it is not the server's own.
    pub(super) fn redirect_to_region(&self) -> Option<String> {
        self.lock().faults.redirect_to_region.clone()
    }

    /// Whether deletes ignore version ids.
    pub(super) fn ignores_version_ids(&self) -> bool {
        self.lock().faults.ignore_version_ids
    }

    /// A key that the next DeleteObjects answer names though nobody asked for it.
    pub(super) fn take_foreign_key(&self) -> Option<String> {
        let mut inner = self.lock();
        let key = inner.faults.foreign_key.clone().filter(|_| !inner.foreign_key_done);
        inner.foreign_key_done |= key.is_some();
        key
    }

    /// What befalls the items of one DeleteObjects, in order.
    pub(super) fn of_items<'a>(
        &self,
        items: impl Iterator<Item = (&'a str, Option<&'a str>)>,
        now: Instant,
    ) -> ItemFates {
        let mut inner = self.lock();
        if !inner.faults.concern_items() {
            return ItemFates::AllFine;
        }
        let mut throttled = 0;
        let fates: Vec<ItemFate> = items
            .map(|(key, version_id)| {
                if inner.partition_takes(key.as_bytes(), now) {
                    return inner.of_item(key, version_id.unwrap_or(""));
                }
                throttled += 1;
                ItemFate::Error(Cow::Borrowed("SlowDown"))
            })
            .collect();
        let as_a_whole = inner.faults.partition_limit.as_ref().is_some_and(|limit| limit.whole_request);
        if as_a_whole && throttled == fates.len() { ItemFates::SlowDown } else { ItemFates::Each(fates) }
    }

    /// Whether the partition of a key takes one more.
    pub(super) fn partition_takes(&self, key: &[u8], now: Instant) -> bool {
        self.lock().partition_takes(key, now)
    }
}

impl Faults {
    /// Whether anything can befall an item of DeleteObjects.
    fn concern_items(&self) -> bool {
        !self.scripted_keys.is_empty()
            || !self.key_errors.is_empty()
            || self.partition_limit.is_some()
            || self.omit_items > 0.0
    }

    /// How long a request takes: a lognormal multiple of what the operation takes.
    fn delay(&self, operation: Operation, nth: u64) -> Delay {
        let fits = |of: Option<Operation>| of.is_none_or(|wanted| wanted == operation);
        let Some(latency) = self.latency.iter().find(|latency| fits(latency.operation)) else {
            return Delay::default();
        };
        let draw = |which| fraction(mix(&[self.seed, Purpose::Latency as u64, which, operation as u64, nth]));
        let multiple =
            if latency.sigma > 0.0 { (latency.sigma * normal(draw(0), draw(1))).exp() } else { 1.0 };
        let scaled = |nanos: f64| (nanos * multiple) as u64;
        Delay {
            fixed: Duration::from_nanos(scaled(latency.fixed_ms as f64 * 1e6)),
            per_key_ns: scaled(latency.per_key_us as f64 * 1e3),
        }
    }

    fn by_chance(&self, operation: Operation, nth: u64) -> Fate {
        let draw = |purpose, which: usize| {
            fraction(mix(&[self.seed, purpose as u64, which as u64, operation as u64, nth]))
        };
        let fits = |of: Option<Operation>| of.is_none_or(|wanted| wanted == operation);
        let mut fate = Fate { latency: self.delay(operation, nth), ..Fate::default() };
        for (which, errors) in self.request_errors.iter().enumerate() {
            if fits(errors.operation)
                && fate.error.is_none()
                && draw(Purpose::RequestError, which) < errors.share
            {
                fate.error = Some((errors.code.clone(), errors.retry_after_secs));
            }
        }
        for (which, resets) in self.resets.iter().enumerate() {
            if fits(resets.operation) && fate.reset.is_none() && draw(Purpose::Reset, which) < resets.share {
                fate.reset = Some(resets.when);
            }
        }
        for (which, late) in self.late_errors.iter().enumerate() {
            let concerns = late.operation.map_or(operation.answers_early(), |wanted| wanted == operation);
            if concerns && fate.late_error.is_none() && draw(Purpose::LateError, which) < late.share {
                fate.late_error = Some(LateError { code: late.code.clone(), when: late.when });
            }
        }
        let brings_part = matches!(operation, Operation::UploadPart | Operation::UploadPartCopy);
        fate.loses_part = brings_part && draw(Purpose::LostPart, 0) < self.lost_parts;
        if let Some(cuts) = &self.cut_listings
            && operation.is_listing()
            && draw(Purpose::Cut, 0) < cuts.share
        {
            let anywhere = (mix(&[self.seed, Purpose::CutPlace as u64, operation as u64, nth]) >> 32) as u32;
            fate.cut = Some(cuts.at_byte.map_or(Cut::AtShare(anywhere), Cut::AtByte));
        }
        fate
    }
}

impl Inner {
    fn of_item(&mut self, key: &str, version_id: &str) -> ItemFate {
        for (scripted, done) in self.faults.scripted_keys.iter().zip(&mut self.scripted_done) {
            if scripted.key == key && scripted.times.is_none_or(|times| *done < times) {
                *done += 1;
                return ItemFate::Error(scripted.code.clone().into());
            }
        }
        if self.faults.key_errors.is_empty() && self.faults.omit_items <= 0.0 {
            return ItemFate::Fine;
        }
        let item = hash_item(key, version_id);
        let failures = self.failures_of.get(&item).copied().unwrap_or(0);
        let draw = |purpose: Purpose, which: usize| {
            mix(&[self.faults.seed, purpose as u64, which as u64, item, u64::from(failures)])
        };
        let mut fate = ItemFate::Fine;
        for (which, errors) in self.faults.key_errors.iter().enumerate() {
            if key.starts_with(&errors.prefix)
                && !errors.codes.is_empty()
                && fraction(draw(Purpose::KeyError, which)) < errors.share
            {
                let code = draw(Purpose::KeyErrorCode, which) % errors.codes.len() as u64;
                fate = ItemFate::Error(errors.codes[usize::try_from(code).unwrap_or(0)].clone().into());
                break;
            }
        }
        if fate == ItemFate::Fine && fraction(draw(Purpose::Omit, 0)) < self.faults.omit_items {
            fate = ItemFate::Omitted;
        }
        if fate != ItemFate::Fine {
            *self.failures_of.entry(item).or_default() += 1;
        }
        fate
    }

    fn partition_takes(&mut self, key: &[u8], now: Instant) -> bool {
        let Some(limit) = &self.faults.partition_limit else { return true };
        let full = Tokens { left: limit.burst_keys, at: now };
        let tokens = self.partitions.entry(Partition::of(key, limit)).or_insert(full);
        let rested = now.saturating_duration_since(tokens.at).as_secs_f64();
        tokens.left = (tokens.left + rested * limit.keys_per_second).min(limit.burst_keys);
        tokens.at = now;
        let takes = tokens.left >= 1.0;
        if takes {
            tokens.left -= 1.0;
        }
        takes
    }
}

fn hash_item(key: &str, version_id: &str) -> u64 {
    let bytes = key.bytes().chain([0xff]).chain(version_id.bytes());
    scramble(
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }),
    )
}

/// One number that follows from all of these.
pub(super) fn mix(parts: &[u64]) -> u64 {
    parts
        .iter()
        .fold(0x9e37_79b9_7f4a_7c15, |state, part| scramble(state ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15))
}

/// A number from 0 to below 1.
pub(super) fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// A draw from the normal distribution with mean 0 and deviation 1, out of two draws from 0 to below
/// 1 (Box and Muller).
fn normal(first: f64, second: f64) -> f64 {
    (-2.0 * (1.0 - first).ln()).sqrt() * (std::f64::consts::TAU * second).cos()
}

#[cfg(test)]
mod tests;
