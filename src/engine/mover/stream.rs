//! Versions whose bytes go through this program: read from the source, written to the destination, in
//! memory that is bounded for the whole run.

use bytes::Bytes;
use md5::{Digest as _, Md5};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::pace::{Data, Load};
use crate::s3::{Operation, Part, PartWritten, S3Error};

use super::attributes::{Given, SourceFacts};
use super::chain::{Chain, Halt};
use super::history::{self, Written};
use super::parts::{Way, kept, layout, part_bytes, parts_of_etag};
use super::step::Sending;

/// Versions up to this size travel in one piece, and parts have it where nobody asks for another.
const PIECE_BYTES: u64 = 16 << 20;
/// A part of the source's layout, or a version of one piece, that is larger than this is not held in memory
/// for the ETag's sake.
const LAYOUT_PART_BYTES_MAX: u64 = 128 << 20;
/// Parts of one version that are written at a time, while the next is read.
const PARTS_AT_ONCE: usize = 4;

impl Chain {
    /// Copies a version through this program.
    pub(super) async fn stream(&mut self, step: usize) -> Result<Written, Halt> {
        let size = self.item(step).size;
        let has_parts = parts_of_etag(self.wanted(step).etag).is_some();
        // In one piece the ETag of what came in one piece stays.
        let keeps_whole = self.wants_etag()? && !has_parts;
        let piece_bytes = if keeps_whole { LAYOUT_PART_BYTES_MAX } else { PIECE_BYTES };
        if size <= piece_bytes && !has_parts {
            return self.stream_whole(step).await;
        }
        let facts = self.facts(step, true).await?;
        let given = self.given_streaming(step, &facts)?;
        let source_layout = self.layout_of_source(step).await?;
        let room = self.ctx.mover.memory_bytes();
        let layout_max =
            if self.wants_etag()? { LAYOUT_PART_BYTES_MAX } else { LAYOUT_PART_BYTES_MAX.min(room) };
        let part_bytes = match source_layout.filter(|bytes| *bytes <= layout_max) {
            Some(bytes) => bytes,
            None if size <= piece_bytes => return self.stream_whole(step).await,
            None => {
                // More than one request reads, and more than the memory has room for, helps nobody.
                let wanted = self.transfer()?.settings.part_bytes.unwrap_or(PIECE_BYTES);
                part_bytes(size, wanted.min(LAYOUT_PART_BYTES_MAX).min(room))
            }
        };
        self.by_upload(step, &given, part_bytes, Way::Stream(&facts)).await
    }

    /// What a copy is given whose bytes go through this program.
    fn given_streaming(&self, step: usize, facts: &SourceFacts) -> Result<Given, Halt> {
        let given = self.given(step, facts, false)?;
        Ok(match facts.head.as_ref().and_then(|head| head.checksum.as_ref()) {
            // With the same kind at both ends their words can be compared.
            Some(checksum) if checksum.is_full_object => given.with_checksum(checksum.kind),
            _ => given,
        })
    }

    /// Reads all of the source, and what there is to know of it, side by side.
    async fn read_with_facts(&self, step: usize) -> Result<(SourceFacts, Bytes), Halt> {
        if self.item(step).size == 0 {
            return Ok((self.facts(step, true).await?, Bytes::new()));
        }
        let (read, tags) = tokio::join!(self.read_whole(step), self.tags_of_source(step));
        let (head, data) = read?;
        Ok((SourceFacts { head: Some(head), tags: tags? }, data))
    }

    /// Copies a version in one piece: the answer that brings its bytes also tells what HEAD would.
    async fn stream_whole(&mut self, step: usize) -> Result<Written, Halt> {
        let ctx = Arc::clone(&self.ctx);
        // Let go of before the copy is compared, which may need room of its own.
        let held = ctx.mover.hold(self.item(step).size).await;
        let (facts, data) = self.read_with_facts(step).await?;
        let given = self.given_streaming(step, &facts)?;
        let written = self.send(step, Sending::Put(&given, data.clone())).await?;
        // Where both servers came to one sum there is nothing to compute.
        let is_same = history::bare(self.wanted(step).etag) == history::bare(&written.etag);
        let is_proven = !is_same && {
            let sum = hex::encode(Md5::digest(&data));
            self.check_read(step, &facts, &sum)? && history::bare(&written.etag) == sum
        };
        drop((data, held));
        self.finish(step, written, is_proven).await
    }

    /// Whether what was read is what the source holds, as far as its ETag tells.
    fn check_read(&self, step: usize, facts: &SourceFacts, sum: &str) -> Result<bool, Halt> {
        let etag = self.wanted(step).etag;
        let encryption = facts.head.as_ref().and_then(|head| head.encryption_kind.as_deref());
        let is_md5 = history::looks_like_md5(etag)
            && matches!(encryption, None | Some("AES256"))
            && self.side.source_key.is_none();
        if is_md5 && history::bare(etag) != sum {
            // Not every server means MD5 by what looks like one, so other evidence is asked for.
            if self.ctx.mover.foreign_etags.swap(true, Ordering::Relaxed) {
                tracing::debug!(key = %self.target, "the ETag of a source version is not the MD5 of its content");
            } else {
                tracing::warn!(
                    key = %self.target,
                    "the ETag of a source version is not the MD5 of its content, which some servers have so: \
                     its copy is compared in another way; said once, others are in the log at debug"
                );
            }
        }
        Ok(is_md5 && history::bare(etag) == sum)
    }

    /// Reads the source part by part, in order, and writes the parts side by side.
    pub(super) async fn send_parts(
        &self,
        step: usize,
        facts: &SourceFacts,
        given: &Given,
        (upload, part_bytes): (&str, u64),
        there: Vec<Part>,
    ) -> Result<(Vec<Part>, bool), Halt> {
        let layout = layout(self.item(step).size, part_bytes);
        let mut parts = kept(&layout, there);
        // Parts that an earlier process sent are not read again, and the sum of the whole is not known.
        let mut sum = parts.is_empty().then(Md5::new);
        let (mut tasks, mut halt) = (JoinSet::new(), None);
        for (number, from, until) in layout {
            if parts.contains_key(&number) {
                continue;
            }
            if tasks.len() >= PARTS_AT_ONCE
                && let Some(joined) = tasks.join_next().await
            {
                match self.part_of(joined) {
                    Ok(part) => _ = parts.insert(part.number, part),
                    Err(why) => {
                        halt = Some(why);
                        break;
                    }
                }
            }
            let data = match self.read_part(step, from, until).await {
                Ok(data) => data,
                Err(why) => {
                    halt = Some(why);
                    break;
                }
            };
            if let Some(sum) = &mut sum {
                sum.update(&data.data);
            }
            tasks.spawn(self.part_upload(given, upload, number, data).in_current_span());
        }
        // Also after a failure: what comes next finds nothing that still arrives.
        while let Some(joined) = tasks.join_next().await {
            match self.part_of(joined) {
                Ok(part) => _ = parts.insert(part.number, part),
                Err(why) => _ = halt.get_or_insert(why),
            }
        }
        if let Some(halt) = halt {
            return Err(halt);
        }
        let is_read_well = match sum {
            Some(sum) => self.check_read(step, facts, &hex::encode(sum.finalize()))?,
            None => false,
        };
        Ok((parts.into_values().collect(), is_read_well))
    }

    async fn read_part(&self, step: usize, from: u64, until: u64) -> Result<HeldPart, Halt> {
        let mib = u32::try_from((until - from).div_ceil(super::MIB).max(1)).unwrap_or(u32::MAX);
        let room =
            Arc::clone(&self.ctx.mover.memory).acquire_many_owned(mib.min(self.ctx.mover.memory_mib)).await;
        // It is never closed.
        let room = room.map_err(|_| Halt::Stopped)?;
        let data = self.read_source(step, from, until).await?;
        Ok(HeldPart { data, _room: room })
    }

    fn part_upload(
        &self,
        given: &Given,
        upload: &str,
        number: u32,
        part: HeldPart,
    ) -> impl Future<Output = Result<Option<Part>, S3Error>> + Send + 'static {
        let (ctx, side) = (Arc::clone(&self.ctx), Arc::clone(&self.side));
        let (target, upload, given) = (self.target.clone(), upload.to_owned(), given.clone());
        async move {
            let caller = side.caller(&ctx);
            let attributes = given.as_attributes(side.customer_key.as_ref());
            let load = Load::Write { versions: 1, apart: false };
            let size = part.data.len() as u64;
            let written = caller
                .call_moving(Operation::UploadPart, (load, Data::Written(size)), &ctx.stop, || {
                    caller.client.upload_part(&target, &upload, number, part.data.clone(), &attributes)
                })
                .await?;
            Ok(written.map(|PartWritten { etag, checksum }| Part { number, etag, size, checksum }))
        }
    }
}

/// A part in memory, and its place there.
struct HeldPart {
    data: Bytes,
    _room: tokio::sync::OwnedSemaphorePermit,
}
