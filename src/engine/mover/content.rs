//! Whether a copy holds what its source holds.
//!
//! Equal ETags settle it, in whatever form: they are MD5 sums of the content or of its parts. Different
//! ones say nothing, since encryption and parts have their own. Then the checksums that both servers keep
//! of the whole object are compared, and where they keep none alike, every byte is.

use crate::model::Verify;
use crate::pace::{Data, Load};
use crate::s3::{HeadVersion, ObjectHead, Operation};
use crate::telemetry::Event;

use super::chain::{Chain, Halt};
use super::history::{self, Written};

/// Bytes of either side that are read and compared at a time.
const WINDOW_BYTES: u64 = 8 << 20;

impl Chain {
    /// Compares a copy with its source. `is_proven` tells that every byte went through this program and
    /// was accounted for on both sides.
    pub(super) async fn compare(&self, step: usize, written: &Written, is_proven: bool) -> Result<(), Halt> {
        if self.transfer()?.settings.verify == Verify::Bytes {
            return self.compare_bytes(step, written).await;
        }
        let source_etag = history::bare(self.wanted(step).etag);
        if is_proven || (!source_etag.is_empty() && source_etag == history::bare(&written.etag)) {
            return Ok(());
        }
        let source = self.facts(step, false).await?.head;
        let copy = self.head_of_copy(written).await?;
        match source.map(|source| verdict(&source, &copy)) {
            Some(Verdict::Equal) => Ok(()),
            Some(Verdict::Different(why)) => Err(Halt::failed("ContentDiffers", why)),
            Some(Verdict::Open) | None => self.compare_bytes(step, written).await,
        }
    }

    async fn head_of_copy(&self, written: &Written) -> Result<ObjectHead, Halt> {
        let ask = HeadVersion {
            key: &self.target,
            version_id: &written.version_id,
            part: None,
            customer_key: self.side.customer_key.as_ref(),
            with_checksum: true,
        };
        self.answered(self.destination().head(&ask, &self.ctx.stop).await)
    }

    async fn compare_bytes(&self, step: usize, written: &Written) -> Result<(), Halt> {
        let size = self.item(step).size;
        let copy = self.head_of_copy(written).await?;
        if copy.size != size {
            return Err(Halt::failed(
                "ContentDiffers",
                format!("the copy has {} bytes, not {size}", copy.size),
            ));
        }
        let mut from = 0;
        while from < size {
            let until = size.min(from + WINDOW_BYTES);
            let _held = self.ctx.mover.hold(2 * (until - from)).await;
            let ours = self.read_source(step, from, until).await?;
            let theirs = self.read_copy(written, from, until).await?;
            if ours != theirs {
                return Err(Halt::failed(
                    "ContentDiffers",
                    format!("the copy differs from its source between bytes {from} and {until}"),
                ));
            }
            from = until;
        }
        Ok(())
    }

    /// Some bytes of the source, the end not included.
    pub(super) async fn read_source(&self, step: usize, from: u64, until: u64) -> Result<bytes::Bytes, Halt> {
        if from == until {
            return Ok(bytes::Bytes::new());
        }
        let (item, source) = (self.item(step), &self.ctx.caller);
        let etag = self.origin(step).etag;
        let key = self.side.source_key.as_ref();
        let weight = (Load::Other, Data::Read(until - from));
        let got = source
            .call_moving(Operation::GetObject, weight, &self.ctx.stop, || {
                source.client.get_version(&item.key, &item.version_id, etag, Some((from, until)), key)
            })
            .await;
        match got {
            Err(error) if error.is_precondition() => Err(Halt::source_changed()),
            got => self.answered(got).map(|(_, data)| self.streamed(data)),
        }
    }

    /// All of the source, with what its head tells.
    pub(super) async fn read_whole(&self, step: usize) -> Result<(ObjectHead, bytes::Bytes), Halt> {
        let (item, source) = (self.item(step), &self.ctx.caller);
        let etag = self.origin(step).etag;
        let key = self.side.source_key.as_ref();
        let got = source
            .call_moving(Operation::GetObject, (Load::Other, Data::Read(item.size)), &self.ctx.stop, || {
                source.client.get_whole_version(&item.key, &item.version_id, etag, item.size, key)
            })
            .await;
        match got {
            Err(error) if error.is_precondition() => Err(Halt::source_changed()),
            got => self.answered(got),
        }
    }

    async fn read_copy(&self, written: &Written, from: u64, until: u64) -> Result<bytes::Bytes, Halt> {
        let caller = self.destination();
        let key = self.side.customer_key.as_ref();
        let weight = (Load::Other, Data::Read(until - from));
        let got = caller
            .call_moving(Operation::GetObject, weight, &self.ctx.stop, || {
                caller.client.get_version(&self.target, &written.version_id, None, Some((from, until)), key)
            })
            .await;
        self.answered(got).map(|(_, data)| self.streamed(data))
    }

    fn streamed(&self, data: bytes::Bytes) -> bytes::Bytes {
        self.ctx.caller.metrics.emit(&Event::Streamed { bytes: data.len() as u64 });
        data
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Verdict {
    Equal,
    Different(String),
    /// What the servers tell does not decide it.
    Open,
}

/// What the heads of a source and its copy say of their content.
fn verdict(source: &ObjectHead, copy: &ObjectHead) -> Verdict {
    if source.size != copy.size {
        return Verdict::Different(format!("the copy has {} bytes, not {}", copy.size, source.size));
    }
    if let (Some(ours), Some(theirs)) = (&source.etag, &copy.etag)
        && history::bare(ours) == history::bare(theirs)
    {
        return Verdict::Equal;
    }
    match (&source.checksum, &copy.checksum) {
        (Some(ours), Some(theirs))
            if ours.kind == theirs.kind && ours.is_full_object && theirs.is_full_object =>
        {
            if ours.value == theirs.value {
                Verdict::Equal
            } else {
                Verdict::Different("the checksums of source and copy differ".into())
            }
        }
        _ => Verdict::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChecksumKind;
    use crate::s3::ObjectChecksum;

    fn head(size: u64, etag: &str, crc: Option<(&str, bool)>) -> ObjectHead {
        ObjectHead {
            size,
            etag: Some(etag.into()),
            checksum: crc.map(|(value, is_full_object)| ObjectChecksum {
                kind: ChecksumKind::Crc64Nvme,
                value: value.into(),
                is_full_object,
            }),
            ..ObjectHead::default()
        }
    }

    #[test]
    fn what_decides_about_content() {
        let judge = |a, b| verdict(&a, &b);
        assert_eq!(judge(head(5, "\"a\"", None), head(5, "a", None)), Verdict::Equal);
        assert_eq!(judge(head(5, "a", None), head(5, "b-2", None)), Verdict::Open);
        let full = |value| Some((value, true));
        assert_eq!(judge(head(5, "a", full("x")), head(5, "b", full("x"))), Verdict::Equal);
        assert!(matches!(judge(head(5, "a", full("x")), head(5, "b", full("y"))), Verdict::Different(_)));
        assert_eq!(
            judge(head(5, "a", full("x")), head(5, "b", Some(("x", false)))),
            Verdict::Open,
            "of its parts"
        );
        assert!(matches!(judge(head(5, "a", full("x")), head(6, "a", full("x"))), Verdict::Different(_)));
    }
}
