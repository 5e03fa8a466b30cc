//! One step of a chain: a version copied, or a delete marker inserted, exactly once.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{AclSource, Class, Kind, LockSource, Requirement, TagSource};
use crate::pace::{Data, Load};
use crate::retry::{self, InCall, Quota};
use crate::s3::{
    Expect, HeadVersion, Operation, Origin, RestoreAnswer, RestoreState, S3Error, Written as Answer,
};
use crate::telemetry::Event;

use super::attributes::{Given, SourceFacts, given};
use super::chain::{Chain, Halt, Top};
use super::history::{self, Written};

/// Attempts of one step whose outcome was open each time, before the chain is put off.
const OPEN_ATTEMPTS_MAX: u32 = 3;
/// Storage classes that cannot be read before they are restored.
const ARCHIVED: &[&str] = &["GLACIER", "DEEP_ARCHIVE"];

/// A write that is sent once, or again after a look: what it is, and whether its data travels through
/// this program.
pub(super) enum Sending<'a> {
    /// CopyObject.
    Copy(&'a Given),
    /// DELETE without a version id.
    Marker,
    /// PutObject with data at hand.
    Put(&'a Given, bytes::Bytes),
    /// CompleteMultipartUpload.
    Complete(&'a str, &'a [crate::s3::Part]),
}

impl Chain {
    /// Carries out a step; what it returns was compared with its source.
    pub(super) async fn step(&mut self, step: usize) -> Result<Written, Halt> {
        if self.item(step).kind == Kind::DeleteMarker {
            return self.send(step, Sending::Marker).await;
        }
        let settings = &self.transfer()?.settings;
        if self.side.streams {
            return self.stream(step).await;
        }
        if self.goes_in_parts(step, settings) {
            return self.copy_by_parts(step).await;
        }
        // Metadata and tags come along by themselves; these do not.
        let needs_head =
            settings.lock == LockSource::Copy || settings.require.contains(&Requirement::Redirect);
        let facts = if needs_head { self.facts(step, false).await? } else { SourceFacts::default() };
        let given = self.given(step, &facts, true)?;
        let written = self.send(step, Sending::Copy(&given)).await?;
        self.finish(step, written, false).await
    }

    pub(super) fn given(&self, step: usize, facts: &SourceFacts, by_server: bool) -> Result<Given, Halt> {
        let source = self.copy_item(step).ok_or(Halt::Stopped)?;
        Ok(given(&self.transfer()?.settings, source, facts, by_server, self.destination().now()))
    }

    /// Asks the source for what its listing did not tell.
    pub(super) async fn facts(&self, step: usize, with_tags: bool) -> Result<SourceFacts, Halt> {
        let (item, caller, stop) = (self.item(step), &self.ctx.caller, &self.ctx.stop);
        let ask = HeadVersion {
            key: &item.key,
            version_id: &item.version_id,
            part: None,
            customer_key: self.side.source_key.as_ref(),
            with_checksum: true,
        };
        let head = caller.head(&ask, stop);
        if !with_tags {
            return Ok(SourceFacts { head: Some(self.answered(head.await)?), tags: None });
        }
        let (head, tags) = tokio::join!(head, self.tags_of_source(step));
        Ok(SourceFacts { head: Some(self.answered(head)?), tags: tags? })
    }

    /// The tags of the source, where they are to be copied.
    pub(super) async fn tags_of_source(&self, step: usize) -> Result<Option<BTreeMap<String, String>>, Halt> {
        // The head's count of tags is no answer: AWS leaves it out where the permission lacks, others always.
        if self.transfer()?.settings.tags != TagSource::Copy {
            return Ok(None);
        }
        let (item, source) = (self.item(step), &self.ctx.caller);
        let tags = source
            .call_other(Operation::GetObjectTagging, &self.ctx.stop, || {
                source.client.tags(&item.key, &item.version_id)
            })
            .await;
        self.answered(tags).map(Some)
    }

    pub(super) fn origin(&self, step: usize) -> Origin<'_> {
        let (item, source) = (self.item(step), &self.ctx.caller.client);
        Origin {
            bucket: source.bucket(),
            key: &item.key,
            version_id: &item.version_id,
            etag: self.copy_item(step).map(|copy| &*copy.etag).filter(|etag| !etag.is_empty()),
            customer_key: self.side.source_key.as_ref(),
            expected_owner: self.ctx.job.bucket.expected_owner.as_deref(),
        }
    }

    /// What the destination must be for a step to be carried out.
    pub(super) fn expected(&self, step: usize, with_conditions: bool) -> Expect<'_> {
        if !with_conditions {
            return Expect::Anything;
        }
        match step.checked_sub(1).and_then(|before| Some((before, self.done.get(before)?))) {
            // A delete marker on top counts as no object.
            Some((before, _)) if self.wanted(before).kind == Kind::DeleteMarker => Expect::Absent,
            Some((_, written)) if !written.etag.is_empty() => Expect::Etag(&written.etag),
            Some(_) => Expect::Anything,
            None if self.is_first_there() => Expect::Absent,
            None => match &self.base_top {
                Top::Marker => Expect::Absent,
                Top::Etag(etag) => Expect::Etag(etag),
                Top::Unknown => Expect::Anything,
            },
        }
    }

    /// Sends a write until it is known to have been carried out once. Where an attempt leaves that open the
    /// destination is looked at; where it was carried out, that entry is the answer.
    pub(super) async fn send(&mut self, step: usize, sending: Sending<'_>) -> Result<Written, Halt> {
        let quota = Quota::new();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let with_conditions = self.side.sends_conditions();
            if !with_conditions && std::mem::take(&mut self.is_surveyed) {
                // The conditions were to make up for the time since the survey, and another chain dropped them.
                if let Some(written) = self.applied(step).await? {
                    return Ok(written);
                }
            }
            let error = match self.send_once(step, &sending, with_conditions).await {
                Ok(Some(answer)) => {
                    self.may_have_sent = true;
                    return self.named(step, answer).await;
                }
                Ok(None) => return Err(Halt::Stopped),
                Err(error) => error,
            };
            if error.class == Class::Unsupported && with_conditions {
                self.side.drop_conditions();
                self.is_surveyed = false;
                if let Some(written) = self.applied(step).await? {
                    return Ok(written);
                }
                continue;
            }
            self.may_have_sent |= error.may_have_applied;
            // A server that does another thing than it was asked for must not be asked again, whatever it did.
            if !is_open(&error) || error.tripwire().is_some() {
                return Err(self.halted(&error));
            }
            if let Some(written) = self.applied(step).await? {
                return Ok(written);
            }
            if &*error.code == "PreconditionFailed" {
                self.explain_refusal(step, &error, attempt, with_conditions).await?;
                continue;
            }
            let mut chance = || self.ctx.caller.chance();
            let class = if error.class == Class::Throttled { Class::Throttled } else { Class::Transient };
            match retry::in_call(class, attempt, error.retry_after, &quota, &mut chance) {
                InCall::Again(pause) if attempt < OPEN_ATTEMPTS_MAX => self.pause(pause).await,
                _ => return Err(self.halted(&error)),
            }
        }
    }

    /// A condition failed although the destination is what it should be. Where the source is not what it
    /// was, the step fails. Otherwise a server that fails it twice reads conditions in a way of its own, as
    /// Ceph RGW does with ETags in quotes: none are sent any more.
    async fn explain_refusal(
        &self,
        step: usize,
        error: &S3Error,
        attempt: u32,
        with_conditions: bool,
    ) -> Result<(), Halt> {
        let source = self.facts(step, false).await?.head.and_then(|head| head.etag).unwrap_or_default();
        if history::bare(&source) != history::bare(self.wanted(step).etag) {
            return Err(Halt::source_changed());
        }
        if !with_conditions {
            return Err(self.halted(error));
        }
        if attempt > 1 {
            self.side.drop_conditions();
        }
        Ok(())
    }

    pub(super) async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.ctx.stop.reached(super::Level::Drain) => {}
        }
    }

    async fn send_once(
        &self,
        step: usize,
        sending: &Sending<'_>,
        with_conditions: bool,
    ) -> Result<Option<Answer>, S3Error> {
        let caller = self.destination();
        let (client, stop) = (&caller.client, &self.ctx.stop);
        let key = &self.target;
        let customer_key = self.side.customer_key.as_ref();
        let load = Load::Write { versions: 1, apart: false };
        match sending {
            Sending::Copy(given) => {
                let (origin, attributes) = (self.origin(step), given.as_attributes(customer_key));
                caller
                    .call_carefully(Operation::CopyObject, (load, Data::Nothing), stop, || {
                        client.copy_version(&origin, key, &attributes, self.expected(step, with_conditions))
                    })
                    .await
            }
            Sending::Marker => {
                let weight = (load, Data::Nothing);
                caller
                    .call_carefully(Operation::DeleteObject, weight, stop, || client.insert_marker(key))
                    .await
            }
            Sending::Put(given, data) => {
                let attributes = given.as_attributes(customer_key);
                let weight = (load, Data::Written(data.len() as u64));
                caller
                    .call_carefully(Operation::PutObject, weight, stop, || {
                        client.put_version(
                            key,
                            data.clone(),
                            &attributes,
                            self.expected(step, with_conditions),
                        )
                    })
                    .await
            }
            Sending::Complete(upload, parts) => {
                caller
                    .call_carefully(Operation::CompleteMultipartUpload, (load, Data::Nothing), stop, || {
                        client.complete_upload(key, upload, parts, self.expected(step, with_conditions))
                    })
                    .await
            }
        }
    }

    /// The name of what was written: some servers do not tell it in their answer, so it is looked for.
    async fn named(&self, step: usize, answer: Answer) -> Result<Written, Halt> {
        let is_marker = self.wanted(step).kind == Kind::DeleteMarker;
        // Upon a marker Ceph RGW makes no second one, whatever its answer says.
        let is_upon_one = match step.checked_sub(1) {
            Some(before) => self.wanted(before).kind == Kind::DeleteMarker,
            None => !self.is_first_there(),
        };
        let is_doubtful = is_marker && is_upon_one;
        if let Some(version_id) = answer.version_id
            && !is_doubtful
            && (is_marker || answer.etag.is_some())
        {
            return Ok(Written { version_id, etag: answer.etag.unwrap_or_default() });
        }
        match self.applied(step).await? {
            Some(written) => Ok(written),
            None if is_marker => self
                .marker_before(step)
                .await?
                .ok_or_else(|| Halt::failed("NoMarker", "the destination made no delete marker")),
            None => {
                Err(Halt::Again("NotThere".into(), "the copy was confirmed and is not listed".into(), None))
            }
        }
    }

    /// Compares a copy with its source and gives it what no copying request carries.
    pub(super) async fn finish(
        &self,
        step: usize,
        written: Written,
        is_proven: bool,
    ) -> Result<Written, Halt> {
        if self.item(step).kind == Kind::DeleteMarker {
            return Ok(written);
        }
        self.compare(step, &written, is_proven).await?;
        self.check_etag(step, &written)?;
        if self.transfer()?.settings.acl == AclSource::Copy {
            let (item, source, caller) = (self.item(step), &self.ctx.caller, self.destination());
            let acl = source
                .call_other(Operation::GetObjectAcl, &self.ctx.stop, || {
                    source.client.acl(&item.key, &item.version_id)
                })
                .await;
            let acl = self.answered(acl)?;
            let put = caller
                .call_other(Operation::PutObjectAcl, &self.ctx.stop, || {
                    caller.client.put_acl(&self.target, &written.version_id, &acl)
                })
                .await;
            self.answered(put)?;
        }
        Ok(written)
    }

    /// Before anything is copied: archived versions must be restored first. All of a chain's are asked for
    /// at once, so that one later run can finish it.
    pub(super) async fn check_archive(&self) -> Result<(), Halt> {
        let is_archived =
            |step: &usize| self.copy_item(*step).is_some_and(|copy| ARCHIVED.contains(&&*copy.storage_class));
        let mut waiting = Vec::new();
        for step in (0..self.len()).filter(is_archived) {
            if !self.is_restored(step).await? {
                waiting.push(step);
            }
        }
        if waiting.is_empty() { Ok(()) } else { Err(Halt::NeedsRestore(waiting)) }
    }

    /// Whether an archived version can be read now; asks for its restore where the job says so.
    async fn is_restored(&self, step: usize) -> Result<bool, Halt> {
        let (item, source) = (self.item(step), &self.ctx.caller);
        let facts = self.facts(step, false).await?;
        match facts.head.and_then(|head| head.restore) {
            Some(RestoreState::Restored) => return Ok(true),
            Some(RestoreState::Ongoing) => return Ok(false),
            None => {}
        }
        let Some(restore) = self.transfer()?.settings.restore else { return Ok(false) };
        let asked = source
            .call_other(Operation::RestoreObject, &self.ctx.stop, || {
                source.client.restore_version(&item.key, &item.version_id, restore)
            })
            .await;
        Ok(self.answered(asked)? == RestoreAnswer::Restored)
    }

    /// What an error that decides about a step means for its chain.
    pub(super) fn halted(&self, error: &S3Error) -> Halt {
        match error.class {
            Class::Transient | Class::Throttled => {
                let throttled = error.class == Class::Throttled;
                let event = Event::HistoryPutOff { key: &self.target, throttled, error };
                self.ctx.caller.metrics.emit(&event);
                Halt::Again(error.code.clone(), error.message.clone(), error.retry_after)
            }
            Class::Credentials | Class::ClockSkew | Class::Elsewhere | Class::Stop => {
                self.ctx.end_by(error);
                Halt::Stopped
            }
            _ if &*error.code == "InvalidObjectState" => Halt::NeedsRestore(vec![self.done.len()]),
            Class::Done | Class::Permanent | Class::Divide | Class::Unsupported => Halt::Failed(
                crate::model::Failure { code: error.code.clone(), message: error.message.clone() },
                error.request_id.clone(),
            ),
        }
    }
}

/// Whether the destination must be looked at: the write may have been carried out, or another attempt of it
/// may have, which is what makes a condition fail.
fn is_open(error: &S3Error) -> bool {
    error.may_have_applied
        || matches!(&*error.code, "PreconditionFailed" | "ConditionalRequestConflict" | "NoSuchUpload")
}
