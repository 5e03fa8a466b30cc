//! Large versions, copied in parts: resumable part by part, aborted when given up.

use std::collections::BTreeMap;
use std::sync::Arc;

use md5::{Digest as _, Md5};
use tokio::task::{JoinError, JoinSet};
use tracing::Instrument as _;

use crate::checkpoint::{Step, StepState};
use crate::model::{Class, CopySettings, Failure, Key, Requirement};
use crate::pace::Load;
use crate::s3::{HeadVersion, Operation, Part, PartWritten, S3Error};

use super::super::Ending;
use super::super::caller::Caller;
use super::attributes::{Given, SourceFacts};
use super::chain::{Chain, Halt};
use super::history::{self, Written};
use super::step::Sending;

/// Parts of an upload at most.
const PARTS_MAX: u64 = 10_000;
/// Size of a part copied by the server, where nobody asks for another.
const PART_BYTES: u64 = 512 << 20;
const MIB: u64 = 1 << 20;
/// What one request copies at most.
const COPY_BYTES_MAX: u64 = 5 << 30;
/// Parts of one version under way at a time.
const PARTS_AT_ONCE: usize = 8;
/// Times that what a server lost of an upload is sent again, and once more.
const ROUNDS_MAX: u32 = 8;

/// Who carries the bytes of parts.
#[derive(Clone, Copy)]
pub(super) enum Way<'a> {
    /// The server.
    Server,
    /// This program; with what is known of the source.
    Stream(&'a SourceFacts),
}

/// An upload under way.
struct Upload {
    id: Box<str>,
    part_bytes: u64,
    /// The parts that the server has.
    there: Vec<Part>,
}

/// What a step finds that goes in parts.
enum Opened {
    Upload(Upload),
    /// It was carried out before.
    Done(Written),
}

/// How the task of a part ended.
pub(super) type Joined = Result<Result<Option<Part>, S3Error>, JoinError>;

/// Where each part of an object lies: the numbers from 1, the beginnings, and the ends, not included.
pub(super) fn layout(size: u64, part_bytes: u64) -> Vec<(u32, u64, u64)> {
    let part_bytes = part_bytes.max(1);
    let count = size.div_ceil(part_bytes).max(1);
    (0..count).map(|n| (n as u32 + 1, n * part_bytes, size.min((n + 1) * part_bytes))).collect()
}

/// The size of parts where the layout is free: whole MiB, few enough of them.
pub(super) fn part_bytes(size: u64, wanted: u64) -> u64 {
    wanted.max(size.div_ceil(PARTS_MAX).div_ceil(MIB) * MIB)
}

/// Whether the server copies a version of this size and ETag in parts.
fn in_parts(size: u64, etag: &str, settings: &CopySettings) -> bool {
    if !settings.require.contains(&Requirement::Etag) {
        return size > settings.multipart_above_bytes;
    }
    parts_of_etag(etag).is_some() || size > COPY_BYTES_MAX
}

/// How many parts an ETag of the form `md5-N` speaks of.
pub(super) fn parts_of_etag(etag: &str) -> Option<u32> {
    let (sum, count) = history::bare(etag).rsplit_once('-')?;
    (sum.len() == 32)
        .then(|| count.parse().ok())
        .flatten()
        .filter(|count| (1..=PARTS_MAX as u32).contains(count))
}

impl Chain {
    /// Whether the server copies a version in parts. Where ETags must stay, its own ETag decides.
    pub(super) fn goes_in_parts(&self, step: usize, settings: &CopySettings) -> bool {
        let etag = self.wanted(step).etag;
        in_parts(self.item(step).size, etag, settings)
    }

    /// Where ETags must stay, a copy with another one is none.
    pub(super) fn check_etag(&self, step: usize, written: &Written) -> Result<(), Halt> {
        let (ours, theirs) = (history::bare(self.wanted(step).etag), history::bare(&written.etag));
        if ours == theirs || !self.wants_etag()? {
            return Ok(());
        }
        Err(Halt::failed(
            "EtagDiffers",
            format!("the job requires ETags to stay, and the copy of {ours} has {theirs}"),
        ))
    }

    /// Whether the job requires ETags to stay.
    pub(super) fn wants_etag(&self) -> Result<bool, Halt> {
        Ok(self.transfer()?.settings.require.contains(&Requirement::Etag))
    }

    /// Copies a version by UploadPartCopy.
    pub(super) async fn copy_by_parts(&mut self, step: usize) -> Result<Written, Halt> {
        let facts = self.facts(step, true).await?;
        let given = self.given(step, &facts, false)?;
        let wanted = self.transfer()?.settings.part_bytes.unwrap_or(PART_BYTES);
        let part_bytes =
            self.layout_of_source(step).await?.unwrap_or(part_bytes(self.item(step).size, wanted));
        self.by_upload(step, &given, part_bytes, Way::Server).await
    }

    /// Copies a version by an upload. What the server lost of it is sent again.
    pub(super) async fn by_upload(
        &mut self,
        step: usize,
        given: &Given,
        part_bytes: u64,
        way: Way<'_>,
    ) -> Result<Written, Halt> {
        let mut round = 0;
        loop {
            round += 1;
            let sent = match self.open_upload(step, given, part_bytes).await? {
                Opened::Done(written) => Ok((written, false)),
                Opened::Upload(upload) => self.send_upload(step, given, upload, way).await,
            };
            match sent {
                Ok((written, is_proven)) => {
                    self.check_tags(given, &written).await?;
                    return self.finish(step, written, is_proven).await;
                }
                Err(Halt::Failed(failure, _)) if round < ROUNDS_MAX && is_lost(&failure) => {
                    tracing::warn!(key = %self.target, "an upload lost parts, they are sent again: {failure:?}");
                }
                Err(halt) => return Err(halt),
            }
        }
    }

    /// Sends what an upload lacks and completes it. Tells too whether every byte went through this program
    /// and was accounted for on both sides.
    async fn send_upload(
        &mut self,
        step: usize,
        given: &Given,
        upload: Upload,
        way: Way<'_>,
    ) -> Result<(Written, bool), Halt> {
        let Upload { id, part_bytes, there } = upload;
        let (parts, is_read_well) = match way {
            Way::Server => (self.copy_parts(step, given, &id, part_bytes, there).await?, false),
            Way::Stream(facts) => self.send_parts(step, facts, given, (&id, part_bytes), there).await?,
        };
        let written = self.send(step, Sending::Complete(&id, &parts)).await?;
        let is_proven =
            is_read_well && composite(&parts).is_some_and(|sum| history::bare(&written.etag) == sum);
        Ok((written, is_proven))
    }

    /// Some servers (Ceph RGW) pass over the tags that an upload was begun with: they are set then.
    pub(super) async fn check_tags(&self, given: &Given, written: &Written) -> Result<(), Halt> {
        let Some(wanted) = given.tags() else { return Ok(()) };
        let (caller, stop) = (self.destination(), &self.ctx.stop);
        let (client, key, id) = (&caller.client, &self.target, &written.version_id);
        let found = caller.call_other(Operation::GetObjectTagging, stop, || client.tags(key, id)).await;
        if self.answered(found)? == *wanted {
            return Ok(());
        }
        let set =
            caller.call_other(Operation::PutObjectTagging, stop, || client.put_tags(key, id, wanted)).await;
        self.answered(set)
    }

    /// The part size of the source, where all its parts but the last have one: with the same parts the
    /// copy has the same ETag.
    pub(super) async fn layout_of_source(&self, step: usize) -> Result<Option<u64>, Halt> {
        let Some(count) = parts_of_etag(self.wanted(step).etag) else { return Ok(None) };
        let (item, source) = (self.item(step), &self.ctx.caller);
        let ask = HeadVersion {
            key: &item.key,
            version_id: &item.version_id,
            part: Some(1),
            customer_key: self.side.source_key.as_ref(),
            with_checksum: false,
        };
        let first = match source.head(&ask, &self.ctx.stop).await {
            Ok(None) => return Err(Halt::Stopped),
            Ok(Some(head)) => head.size,
            // A server that knows no part numbers: the layout is free then. One that is out of breath is asked
            // again: the copy's ETag hangs on it.
            Err(error) if !matches!(error.class, Class::Permanent | Class::Divide | Class::Unsupported) => {
                return Err(self.halted(&error));
            }
            Err(error) => {
                tracing::debug!("the layout of a multipart version is not known: {error}");
                return Ok(None);
            }
        };
        let fits = first > 0 && item.size.div_ceil(first) == u64::from(count);
        Ok(fits.then_some(first))
    }

    /// The upload that was begun before, with the parts that the server has; else a new one, noted before
    /// its first part leaves. An upload that is not there any more may have been completed.
    async fn open_upload(&mut self, step: usize, given: &Given, part_bytes: u64) -> Result<Opened, Halt> {
        if let Some((id, part_bytes)) = self.upload.clone() {
            if let Some(there) = self.parts_there(&id).await? {
                return Ok(Opened::Upload(Upload { id, part_bytes, there }));
            }
            if let Some(written) = self.applied(step).await? {
                return Ok(Opened::Done(written));
            }
        }
        let caller = self.destination();
        let customer_key = self.side.customer_key.as_ref();
        let attributes = given.as_attributes(customer_key);
        let created = caller
            .call_other(Operation::CreateMultipartUpload, &self.ctx.stop, || {
                caller.client.create_upload(&self.target, &attributes)
            })
            .await;
        let id = self.answered(created)?;
        let item = self.item(step);
        let state = StepState::Upload { upload_id: id.clone(), part_bytes };
        let noted = Step { key: item.key.clone(), version_id: item.version_id.clone(), state };
        self.committed(self.ctx.checkpoint.put_step(self.batch_id(), noted).await)?;
        self.upload = Some((id.clone(), part_bytes));
        Ok(Opened::Upload(Upload { id, part_bytes, there: Vec::new() }))
    }

    /// The parts that the server has of an upload; `None` where it knows none of this name.
    async fn parts_there(&self, upload: &str) -> Result<Option<Vec<Part>>, Halt> {
        let (caller, mut parts, mut after) = (self.destination(), Vec::new(), 0);
        loop {
            let page = caller
                .call_other(Operation::ListParts, &self.ctx.stop, || {
                    caller.client.list_parts(&self.target, upload, after)
                })
                .await;
            let Some(page) = self.answered(page)? else { return Ok(None) };
            parts.extend(page.parts);
            match page.next {
                Some(next) => after = next,
                None => return Ok(Some(parts)),
            }
        }
    }

    /// Once a part fails no other is begun, but those under way are waited for: what comes after, be it
    /// the end of the upload, finds nothing that still arrives.
    async fn copy_parts(
        &self,
        step: usize,
        given: &Given,
        upload: &str,
        part_bytes: u64,
        there: Vec<Part>,
    ) -> Result<Vec<Part>, Halt> {
        let layout = layout(self.item(step).size, part_bytes);
        let mut parts = kept(&layout, there);
        let mut missing: Vec<_> =
            layout.into_iter().filter(|(number, ..)| !parts.contains_key(number)).rev().collect();
        let mut tasks = JoinSet::new();
        let mut halt = None;
        loop {
            while halt.is_none()
                && tasks.len() < PARTS_AT_ONCE
                && let Some(part) = missing.pop()
            {
                tasks.spawn(self.part_copy(step, given, upload, part).in_current_span());
            }
            let Some(joined) = tasks.join_next().await else { break };
            match self.part_of(joined) {
                Ok(part) => _ = parts.insert(part.number, part),
                Err(why) => _ = halt.get_or_insert(why),
            }
        }
        halt.map_or_else(|| Ok(parts.into_values().collect()), Err)
    }

    /// What became of a part.
    pub(super) fn part_of(&self, joined: Joined) -> Result<Part, Halt> {
        match joined {
            Ok(Ok(Some(part))) => Ok(part),
            Ok(Ok(None)) => Err(Halt::Stopped),
            Ok(Err(error)) => Err(self.halted(&error)),
            Err(error) => {
                if error.is_panic() {
                    self.ctx.stop.abort(Ending::Bug("a part panicked: please report it".into()));
                }
                Err(Halt::Stopped)
            }
        }
    }

    /// One part: sending it again replaces what was there under its number.
    fn part_copy(
        &self,
        step: usize,
        given: &Given,
        upload: &str,
        (number, from, until): (u32, u64, u64),
    ) -> impl Future<Output = Result<Option<Part>, S3Error>> + Send + 'static {
        let (ctx, side) = (Arc::clone(&self.ctx), Arc::clone(&self.side));
        let (target, upload, given) = (self.target.clone(), upload.to_owned(), given.clone());
        let item = self.item(step).clone();
        async move {
            let caller = side.caller(&ctx);
            let origin = crate::s3::Origin {
                bucket: ctx.caller.client.bucket(),
                key: &item.key,
                version_id: &item.version_id,
                etag: item.copy.as_ref().map(|copy| &*copy.etag).filter(|etag| !etag.is_empty()),
                customer_key: side.source_key.as_ref(),
                expected_owner: ctx.job.bucket.expected_owner.as_deref(),
            };
            let attributes = given.as_attributes(side.customer_key.as_ref());
            let load = Load::Write { versions: 1, apart: false };
            // No range names an object without bytes; without one the part is all of the object.
            let range = (from < until).then_some((from, until));
            let written = caller
                .call_weighed(
                    Operation::UploadPartCopy,
                    load,
                    Some(&ctx.stop),
                    |_| 0,
                    || caller.client.upload_part_copy(&origin, range, &target, &upload, number, &attributes),
                )
                .await?;
            let size = until - from;
            Ok(written.map(|PartWritten { etag, checksum }| Part { number, etag, size, checksum }))
        }
    }
}

/// Ends an upload that nobody will complete: what has arrived of it costs money until then. It does so in
/// a run that stops, too.
pub(super) async fn abort_upload(caller: &Caller, key: &Key, upload: &str) {
    let attempt = || caller.client.abort_upload(key, upload);
    let aborted =
        caller.call_weighed(Operation::AbortMultipartUpload, Load::Other, None, |()| 0, attempt).await;
    if let Err(error) = aborted {
        tracing::warn!(%key, "an upload that was given up could not be aborted: {error}");
    }
}

/// Whether the server has lost what it was sent: parts, or the upload as a whole.
fn is_lost(failure: &Failure) -> bool {
    matches!(&*failure.code, "InvalidPart" | "InvalidPartOrder" | "NoSuchUpload")
}

/// The ETag that an object of these parts has: the MD5 of their MD5 sums, and their number. Where a part's
/// ETag is no MD5 (KMS, a customer's key) there is no telling.
fn composite(parts: &[Part]) -> Option<String> {
    let mut sums = Md5::new();
    for part in parts {
        let bare = history::bare(&part.etag);
        if !history::looks_like_md5(bare) {
            return None;
        }
        sums.update(hex::decode(bare).ok()?);
    }
    Some(format!("{}-{}", hex::encode(sums.finalize()), parts.len()))
}

/// Of the parts that the server has, those that the layout knows.
pub(super) fn kept(layout: &[(u32, u64, u64)], there: Vec<Part>) -> BTreeMap<u32, Part> {
    let fits = |part: &Part| {
        layout.iter().any(|(number, from, until)| *number == part.number && until - from == part.size)
    };
    there.into_iter().filter(fits).map(|part| (part.number, part)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn where_etags_must_stay_they_decide_what_goes_in_parts() {
        let text = "version: 1\nname: n\nbucket: { name: src }\nrules:\n\
            - { name: r, match: { suffix: c }, action: { copy: { bucket: dst, multipart_above: 5MiB } } }\n";
        let job = crate::job::load(text, "job.yaml", &|_| None).unwrap();
        let free = job.actions[0].transfer().unwrap().settings.clone();
        let bound = CopySettings { require: vec![Requirement::Etag], ..free.clone() };
        let (one, two) = ("\"0123456789abcdef0123456789abcdef\"", "\"0123456789abcdef0123456789abcdef-2\"");
        for (size, etag, freely, bound_to) in [
            (5 * MIB, one, false, false),
            (5 * MIB + 1, one, true, false),
            (5 * MIB, two, false, true),
            (COPY_BYTES_MAX + 1, one, true, true),
        ] {
            let found = (in_parts(size, etag, &free), in_parts(size, etag, &bound));
            assert_eq!(found, (freely, bound_to), "{size} {etag}");
        }
    }

    #[test]
    fn an_etag_tells_how_many_parts_there_were() {
        assert_eq!(parts_of_etag("\"0123456789abcdef0123456789abcdef-12\""), Some(12));
        assert_eq!(parts_of_etag("\"0123456789abcdef0123456789abcdef\""), None);
        assert_eq!(parts_of_etag("a-1"), None);
    }

    #[test]
    fn of_the_parts_that_are_there_only_those_of_the_layout_count() {
        let part = |number, size| Part { number, etag: "e".into(), size, checksum: None };
        let there = vec![part(1, 10), part(2, 9), part(3, 5), part(4, 10)];
        let kept: Vec<u32> = kept(&layout(25, 10), there).into_keys().collect();
        assert_eq!(kept, [1, 3], "another size, and a number behind the end");
    }

    proptest! {
        #[test]
        fn parts_cover_an_object_without_gap_and_keep_the_limits(size in 0u64..60_000_000_000_000, wanted in 1u64..64) {
            let bytes = part_bytes(size, wanted * MIB);
            let layout = layout(size, bytes);
            prop_assert!(layout.len() as u64 <= PARTS_MAX);
            prop_assert_eq!(layout[0].1, 0);
            prop_assert_eq!(layout.last().unwrap().2, size);
            for pair in layout.windows(2) {
                prop_assert_eq!((pair[0].0 + 1, pair[0].2), (pair[1].0, pair[1].1));
                prop_assert_eq!(pair[0].2 - pair[0].1, bytes);
            }
        }
    }
}
