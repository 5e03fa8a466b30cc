//! One chain: the history of a key, from the look at its destination to its verification.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::checkpoint::{ChainBase, Step, StepState};
use crate::job::Transfer;
use crate::model::{Batch, Copied, CopyItem, Failure, IfExists, Item, Key, Kind, Version, VersionId};
use crate::rules::Sequenced;
use crate::s3::S3Error;
use crate::telemetry::Event;

use super::super::caller::Caller;
use super::super::context::Context;
use super::history::{self, Place, Wanted, Written};
use super::look::{self, Unseen};
use super::parts::abort_upload;
use super::side::Side;
use super::survey::Beginnings;
use super::{Known, transfer_of};

/// How long a destination is left alone before it is looked at, where an attempt of a process that is
/// gone may still be under way and the server could not tell it from its repetition.
const LATE_ATTEMPT: Duration = Duration::from_secs(5);

/// How a chain ended.
#[derive(Clone, Debug)]
pub(super) enum ChainEnd {
    /// All of it is at the destination and was verified; the copies in the order of the items.
    Whole(Vec<Copied>),
    /// It cannot be completed: the item at this place failed for good. What was copied before is told.
    Broken { at: usize, failure: Failure, request_id: Option<Arc<str>>, copied: Vec<(usize, Copied)> },
    /// Versions at these places are archived.
    Parked(Vec<usize>),
    /// It is to be gone on with later.
    Again(PutOff),
    /// Nothing is to be done now.
    Untouched,
}

/// How far a chain came.
pub(super) enum Copying {
    /// To its end.
    Ended(ChainEnd),
    /// All of it is at the destination, and is to be verified with others.
    Complete(Box<Chain>),
}

/// What is known of a chain that is to be gone on with later.
#[derive(Clone, Debug)]
pub(super) struct PutOff {
    pub(super) code: Box<str>,
    pub(super) message: Box<str>,
    pub(super) retry_after: Option<Duration>,
    /// The place of the item that could not be copied now.
    pub(super) at: usize,
    /// What was copied before, with the places.
    pub(super) copied: Vec<(usize, Copied)>,
    /// Whether anything was copied this time.
    pub(super) has_advanced: bool,
    /// The upload that was begun, with its key, in case the chain is given up.
    pub(super) upload: Option<(Key, Box<str>)>,
}

/// The newest entry that was at the destination before, as a condition can name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Top {
    /// It cannot.
    Unknown,
    /// A delete marker, which counts as no object.
    Marker,
    /// A version with this ETag.
    Etag(Box<str>),
}

impl Top {
    fn of(entry: &Version) -> Self {
        match (entry.kind, &entry.etag) {
            (Kind::DeleteMarker, _) => Self::Marker,
            (Kind::Version, Some(etag)) if !etag.as_str().is_empty() => Self::Etag(etag.as_str().into()),
            (Kind::Version, _) => Self::Unknown,
        }
    }
}

/// Why a chain does not go on.
#[derive(Debug)]
pub(super) enum Halt {
    /// The step's item failed for good.
    Failed(Failure, Option<Arc<str>>),
    /// To be tried again later.
    Again(Box<str>, Box<str>, Option<Duration>),
    /// The versions of these steps are archived.
    NeedsRestore(Vec<usize>),
    /// The run stops, or the checkpoint refused.
    Stopped,
}

impl Halt {
    pub(super) fn source_changed() -> Self {
        Self::failed("SourceChanged", "the source is not what it was when it was listed")
    }

    pub(super) fn failed(code: &str, message: impl Into<Box<str>>) -> Self {
        Self::Failed(Failure { code: code.into(), message: message.into() }, None)
    }
}

/// A chain under way. Its places count from the oldest version.
pub(super) struct Chain {
    pub(super) ctx: Arc<Context>,
    pub(super) side: Arc<Side>,
    batch: Arc<Batch>,
    places: Range<usize>,
    /// The key at the destination.
    pub(super) target: Key,
    base: Option<ChainBase>,
    /// Whether an earlier process, or an earlier turn of the batch, began it.
    is_resumed: bool,
    /// What the first step must find.
    pub(super) base_top: Top,
    /// Whether the base was seen together with others, so that more time than that of a look has gone by.
    pub(super) is_surveyed: bool,
    /// Steps carried out, from the oldest.
    pub(super) done: Vec<Written>,
    /// The upload that was begun for the next step.
    pub(super) upload: Option<(Box<str>, u64)>,
    /// Whether an attempt of the step at hand may have been carried out, by this process or by one before.
    pub(super) may_have_sent: bool,
    /// Whether the destination had to be asked what became of a step: such a chain looks for itself at its
    /// end, too.
    has_doubts: AtomicBool,
}

impl Chain {
    pub(super) fn new(
        ctx: &Arc<Context>,
        side: &Arc<Side>,
        batch: &Arc<Batch>,
        places: Range<usize>,
        target: Key,
        known: &mut Known,
    ) -> Self {
        let base = known.bases.remove(&target);
        let (mut done, mut upload) = (Vec::new(), None);
        for item in batch.items[places.clone()].iter().rev() {
            match known.steps.remove(&(item.key.clone(), item.version_id.clone())) {
                Some(StepState::Copied { version_id, etag }) => done.push(Written { version_id, etag }),
                Some(StepState::Upload { upload_id, part_bytes }) => {
                    upload = Some((upload_id, part_bytes));
                    break;
                }
                None => break,
            }
        }
        Self {
            ctx: Arc::clone(ctx),
            side: Arc::clone(side),
            batch: Arc::clone(batch),
            places,
            target,
            is_resumed: base.is_some(),
            may_have_sent: base.is_some(),
            base,
            base_top: Top::Unknown,
            is_surveyed: false,
            done,
            upload,
            has_doubts: AtomicBool::new(false),
        }
    }

    /// Its places in the batch.
    pub(super) fn places(&self) -> Range<usize> {
        self.places.clone()
    }

    /// Whether it can begin with what was seen of many keys together: where its first copy is sent under a
    /// condition, so that what was written to the key since is not covered up, and where no other rule has
    /// to leave the key first. A delete marker is inserted without a condition.
    pub(super) fn may_be_surveyed(&self) -> bool {
        let is_in_place = self.is_in_place().unwrap_or(true);
        self.base.is_none()
            && self.side.sends_conditions()
            && self.ctx.mover.has_one_action()
            && !is_in_place
            && self.item(0).kind == Kind::Version
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The item of a step, counted from the oldest.
    pub(super) fn item(&self, step: usize) -> &Item {
        &self.batch.items[self.places.end - 1 - step]
    }

    pub(super) fn copy_item(&self, step: usize) -> Option<&CopyItem> {
        self.item(step).copy.as_deref()
    }

    pub(super) fn wanted(&self, step: usize) -> Wanted<'_> {
        let item = self.item(step);
        let etag = self.copy_item(step).map_or("", |copy| &copy.etag);
        Wanted { kind: item.kind, size: item.size, etag }
    }

    /// Whether the destination key had no entry before.
    pub(super) fn is_first_there(&self) -> bool {
        self.base.as_ref().is_some_and(|base| base.newest.is_none())
    }

    pub(super) fn batch_id(&self) -> i64 {
        self.batch.id
    }

    pub(super) fn transfer(&self) -> Result<&Transfer, Halt> {
        // The job was compiled with it, and the batch was planned by that job.
        transfer_of(&self.ctx.job, self.batch.action).ok_or(Halt::Stopped)
    }

    pub(super) fn destination(&self) -> &Caller {
        self.side.caller(&self.ctx)
    }

    /// Goes from where it stands to its last copy, and to its end where it has to look for itself.
    pub(super) async fn copy(mut self, beginnings: &Beginnings) -> Copying {
        let before = self.done.len();
        match self.try_copy(beginnings).await {
            Ok(()) if self.is_resumed || self.has_doubts.load(Ordering::Relaxed) => {
                Copying::Ended(self.finish_by_itself().await)
            }
            Ok(()) => Copying::Complete(Box::new(self)),
            Err(halt) => Copying::Ended(self.halt(before, halt).await),
        }
    }

    /// Verifies a chain that is complete with a look of its own.
    pub(super) async fn finish_by_itself(self) -> ChainEnd {
        let before = self.done.len();
        match self.verify().await {
            Ok(()) => self.whole(),
            Err(halt) => self.halt(before, halt).await,
        }
    }

    /// The end of a chain that was verified.
    pub(super) fn whole(&self) -> ChainEnd {
        ChainEnd::Whole(self.copies().into_iter().rev().map(|(_, copied)| copied).collect())
    }

    /// The end of a chain that does not go on; `before` it had so many steps.
    async fn halt(self, before: usize, halt: Halt) -> ChainEnd {
        if matches!(halt, Halt::Failed(..) | Halt::NeedsRestore(_))
            && let Some((upload, _)) = &self.upload
        {
            abort_upload(self.destination(), &self.target, upload).await;
        }
        match halt {
            Halt::Failed(failure, request_id) => {
                ChainEnd::Broken { at: self.place_at_hand(), failure, request_id, copied: self.copies() }
            }
            Halt::Again(code, message, retry_after) => {
                let (at, copied) = (self.place_at_hand(), self.copies());
                let has_advanced = self.done.len() > before;
                let upload = self.upload.map(|(upload, _)| (self.target, upload));
                ChainEnd::Again(PutOff { code, message, retry_after, at, copied, has_advanced, upload })
            }
            Halt::NeedsRestore(steps) => {
                ChainEnd::Parked(steps.into_iter().map(|step| self.places.end - 1 - step).collect())
            }
            Halt::Stopped => ChainEnd::Untouched,
        }
    }

    /// The place of the step at hand; of the last one where all are done.
    fn place_at_hand(&self) -> usize {
        self.places.end - 1 - self.done.len().min(self.len() - 1)
    }

    /// What was copied, from the oldest, with the places in the batch.
    fn copies(&self) -> Vec<(usize, Copied)> {
        let copied = |(step, written): (usize, &Written)| {
            let copied = Copied {
                key: self.target.clone(),
                version_id: written.version_id.clone(),
                etag: written.etag.clone(),
            };
            (self.places.end - 1 - step, copied)
        };
        self.done.iter().enumerate().map(copied).collect()
    }

    async fn try_copy(&mut self, beginnings: &Beginnings) -> Result<(), Halt> {
        if self.base.is_some() {
            self.take_up().await?;
        } else {
            self.begin(beginnings).await?;
        }
        while self.done.len() < self.len() {
            let written = self.step(self.done.len()).await?;
            self.check_version(&written)?;
            self.commit_step(written).await?;
        }
        Ok(())
    }

    /// Looks at the destination for the first time, together with other chains where it can be, and makes
    /// what is there the base.
    async fn begin(&mut self, beginnings: &Beginnings) -> Result<(), Halt> {
        // Without a base nothing that was noted counts: a process ended while it noted what was there.
        self.done.clear();
        self.check_archive().await?;
        self.reserve().await?;
        let seen = match self.may_be_surveyed() {
            true => beginnings.entries_of(&self.ctx, &self.side, &self.target).await,
            false => None,
        };
        // Upon what no condition can name nothing is sent without a look of its own.
        let can_be_named = |seen: &Vec<Sequenced>| {
            seen.first().is_none_or(|newest| Top::of(&newest.version) != Top::Unknown)
        };
        let listed = match seen.filter(can_be_named) {
            Some(seen) => {
                self.is_surveyed = true;
                seen
            }
            None => self.look().await?,
        };
        let newest = listed.first().map(|entry| entry.version.clone());
        let in_place = self.is_in_place()?;
        let mut base = ChainBase {
            key: self.target.clone(),
            entries: listed.len() as u64,
            newest: newest.as_ref().map(|version| version.id.clone()),
        };
        let mut adopted = Vec::new();
        match (&newest, self.transfer()?.settings.if_exists) {
            (None, _) => {}
            (Some(newest), _) if in_place => {
                let current = self.item(self.len() - 1);
                if newest.id != current.version_id {
                    return Err(Halt::failed(
                        "SourceChanged",
                        "a newer version was written since it was listed, and a copy in place would hide it",
                    ));
                }
            }
            (Some(newest), IfExists::Fail) => {
                return Err(Halt::failed(
                    "DestinationExists",
                    format!("the destination key has entries already, the newest is version {}", newest.id),
                ));
            }
            (Some(_), IfExists::SkipSame) => {
                adopted = self.same_history(&listed).ok_or_else(|| {
                    Halt::failed("DestinationExists", "the destination key has another history already")
                })?;
                if self.transfer()?.removes_source.is_some() {
                    self.refuse_source_itself(&listed)?;
                }
                let below = listed.get(adopted.len());
                base.entries -= adopted.len() as u64;
                base.newest = below.map(|entry| entry.version.id.clone());
            }
            (Some(_), IfExists::Append) => self.refuse_source_itself(&listed)?,
        }
        // Those before the base: a process that ends in between begins anew, and finds them again.
        for written in adopted {
            if self.wanted(self.done.len()).kind == Kind::Version {
                self.compare(self.done.len(), &written, false).await?;
            }
            self.commit_step(written).await?;
        }
        self.committed(self.ctx.checkpoint.begin_chain(self.batch_id(), base.clone()).await)?;
        self.base = Some(base);
        self.note_base_top(&listed)
    }

    /// Where several rules copy, two of them may come to one destination key: one after the other.
    async fn reserve(&self) -> Result<(), Halt> {
        if self.ctx.mover.has_one_action() {
            return Ok(());
        }
        match self.ctx.checkpoint.reserve_chain(self.batch_id(), self.target.clone()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Halt::Again(
                "DestinationBusy".into(),
                "another rule writes a history to the same destination key".into(),
                None,
            )),
            Err(error) => {
                self.ctx.checkpoint_failed(&error);
                Err(Halt::Stopped)
            }
        }
    }

    /// The newest entries of the destination where they are this history already, from the oldest.
    fn same_history(&self, listed: &[Sequenced]) -> Option<Vec<Written>> {
        let top = listed.get(..self.len())?;
        let same = |(step, entry): (usize, &Sequenced)| {
            let (wanted, version) = (self.wanted(step), &entry.version);
            let etag = version.etag.as_ref().map_or("", |etag| etag.as_str());
            let is_same = wanted.kind == version.kind
                && (wanted.kind == Kind::DeleteMarker
                    || (wanted.size == version.size
                        && !etag.is_empty()
                        && history::bare(wanted.etag) == history::bare(etag)));
            is_same.then(|| Written { version_id: version.id.clone(), etag: etag.into() })
        };
        top.iter().rev().enumerate().map(same).collect()
    }

    /// One bucket may have several names and endpoints. What bears the id of a version that is to travel
    /// may be that version itself. It must never count as its own copy, for then nothing would be left of it
    /// once its source is deleted; and nothing is appended to it, for then what is old would become current.
    fn refuse_source_itself(&self, listed: &[Sequenced]) -> Result<(), Halt> {
        let items: HashMap<&VersionId, &Item> =
            self.batch.items[self.places.clone()].iter().map(|item| (&item.version_id, item)).collect();
        let is_source =
            |version: &Version| items.get(&version.id).is_some_and(|item| is_itself(item, version));
        match listed.iter().find(|entry| is_source(&entry.version)) {
            Some(entry) => Err(Halt::failed(
                "DestinationIsSource",
                format!(
                    "version {} at the destination has the id of its source: it may be the source itself",
                    entry.version.id
                ),
            )),
            None => Ok(()),
        }
    }

    /// Whether source and destination are one key of one bucket.
    pub(super) fn is_in_place(&self) -> Result<bool, Halt> {
        Ok(self.transfer()?.is_in_place(&self.ctx.job.bucket))
    }

    /// Finds out what became of the step that was under way when the chain was left.
    async fn take_up(&mut self) -> Result<(), Halt> {
        if self.done.len() == self.len() {
            return Ok(());
        }
        if self.is_resumed && self.is_ambiguous() {
            self.pause(LATE_ATTEMPT).await;
        }
        let listed = self.look().await?;
        self.note_base_top(&listed)?;
        if let Some(written) = self.applied_in(self.done.len(), &listed)? {
            self.check_version(&written)?;
            let step = self.done.len();
            if self.upload.is_some() {
                let facts = self.facts(step, true).await?;
                self.check_tags(&self.given(step, &facts, false)?, &written).await?;
            }
            let written = self.finish(step, written, false).await?;
            self.commit_step(written).await?;
        }
        Ok(())
    }

    /// Where a bucket that kept versions writes `null`, its versioning was changed: each further copy would
    /// replace one, its own or somebody's.
    fn check_version(&self, written: &Written) -> Result<(), Halt> {
        if self.side.keeps_versions && written.version_id.is_null() {
            self.ctx.stop.abort(super::super::Ending::Tripwire(format!(
                "bucket {}, where copies go, kept versions when the run began and keeps none now: a copy became \
                 its `null` version",
                self.destination().client.bucket()
            )));
            return Err(Halt::Stopped);
        }
        Ok(())
    }

    /// Takes note of what the first step must find.
    fn note_base_top(&mut self, listed: &[Sequenced]) -> Result<(), Halt> {
        if self.is_in_place()? || self.transfer()?.settings.if_exists == IfExists::Append {
            let newest = self.base.as_ref().and_then(|base| base.newest.as_ref());
            let entry = listed.iter().map(|entry| &entry.version).find(|entry| Some(&entry.id) == newest);
            self.base_top = entry.map_or(Top::Unknown, Top::of);
        }
        Ok(())
    }

    /// Whether a late attempt of the next step could come through beside its repetition.
    fn is_ambiguous(&self) -> bool {
        let step = self.done.len();
        let history: Vec<Wanted<'_>> = (0..self.len()).map(|step| self.wanted(step)).collect();
        history::may_hold_again(&history, step, &self.expected(step, self.side.sends_conditions()))
    }

    /// Looks whether a step was carried out.
    pub(super) async fn applied(&self, step: usize) -> Result<Option<Written>, Halt> {
        self.has_doubts.store(true, Ordering::Relaxed);
        let listed = self.look().await?;
        match self.applied_in(step, &listed)? {
            // As a condition says that failed at the first attempt, like it as it may be.
            Some(theirs) if !self.may_have_sent => Err(Halt::failed(
                "DestinationConflict",
                format!("version {} was written by somebody else", theirs.version_id),
            )),
            found => Ok(found),
        }
    }

    fn applied_in(&self, step: usize, listed: &[Sequenced]) -> Result<Option<Written>, Halt> {
        let Some(base) = &self.base else { return Err(Halt::Stopped) };
        match history::place(base, &self.done, Some(self.wanted(step)), listed) {
            Place::Open => Ok(None),
            Place::Applied(written) => {
                let at = listed.iter().position(|entry| entry.version.id == written.version_id);
                if self.transfer()?.removes_source.is_some() {
                    self.refuse_source_itself(at.map_or(&[], |at| &listed[at..=at]))?;
                }
                Ok(Some(written))
            }
            Place::Foreign(why) => Err(Halt::failed("DestinationConflict", why)),
        }
    }

    /// Where no second marker is made upon a marker, the one that stands there does for both.
    pub(super) async fn marker_before(&self, step: usize) -> Result<Option<Written>, Halt> {
        let latest = self.look().await?.into_iter().next().map(|entry| entry.version);
        let before = match step.checked_sub(1) {
            Some(before) => self.done.get(before).map(|written| &written.version_id),
            None => self.base.as_ref().and_then(|base| base.newest.as_ref()),
        };
        let is_it = |latest: &Version| latest.kind == Kind::DeleteMarker && Some(&latest.id) == before;
        Ok(latest.filter(is_it).map(|marker| Written { version_id: marker.id, etag: "".into() }))
    }

    async fn commit_step(&mut self, written: Written) -> Result<(), Halt> {
        let item = self.item(self.done.len());
        let state = StepState::Copied { version_id: written.version_id.clone(), etag: written.etag.clone() };
        let step = Step { key: item.key.clone(), version_id: item.version_id.clone(), state };
        let size = item.size;
        self.committed(self.ctx.checkpoint.put_step(self.batch_id(), step).await)?;
        self.ctx.caller.metrics.emit(&Event::StepCopied { bytes: size, at: self.ctx.now() });
        self.done.push(written);
        self.upload = None;
        self.may_have_sent = false;
        self.is_surveyed = false;
        Ok(())
    }

    pub(super) fn committed(
        &self,
        result: Result<(), crate::checkpoint::CheckpointError>,
    ) -> Result<(), Halt> {
        result.map_err(|error| {
            self.ctx.checkpoint_failed(&error);
            Halt::Stopped
        })
    }

    /// Compares the destination with the whole chain.
    async fn verify(&self) -> Result<(), Halt> {
        let listed = self.look().await?;
        self.check(&listed)
    }

    /// Whether what is listed of the destination key is the whole chain.
    pub(super) fn check(&self, listed: &[Sequenced]) -> Result<(), Halt> {
        let Some(base) = &self.base else { return Err(Halt::Stopped) };
        let history: Vec<_> =
            self.done.iter().enumerate().map(|(step, written)| (self.wanted(step), written)).collect();
        history::verify(base, &history, listed).map_err(|why| Halt::failed("VerificationFailed", why))
    }

    /// All entries of the destination key, newest first.
    async fn look(&self) -> Result<Vec<Sequenced>, Halt> {
        look::entries_of(&self.ctx, &self.side, &self.target).await.map_err(|unseen| match unseen {
            Unseen::Stopped => Halt::Stopped,
            Unseen::Refused(error) => self.halted(&error),
            Unseen::TooLong(what) => Halt::failed("DestinationTooLong", what),
            Unseen::Disordered(what) => Halt::failed("DestinationConflict", what),
        })
    }

    /// An answer, or what its absence means for the chain.
    pub(super) fn answered<T>(&self, answer: Result<Option<T>, S3Error>) -> Result<T, Halt> {
        match answer {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Halt::Stopped),
            Err(error) => Err(self.halted(&error)),
        }
    }
}

/// Whether an entry of the destination may be the source version itself, under another name of its bucket. That
/// is of the same time too, and a copy cannot be: what is as young as the run is not selected. Ids alone may be
/// alike on two servers, `null` always is.
fn is_itself(item: &Item, entry: &Version) -> bool {
    item.key == entry.key && item.version_id == entry.id && item.last_modified == entry.last_modified
}
