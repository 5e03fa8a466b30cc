//! GetObject: a range of a version's bytes, whole or not at all.
//!
//! The answer counts where it is about the version and the ETag that were asked for, says that it brings the
//! range that was asked for, and brings as many bytes.

use bytes::Bytes;
use reqwest::Method;

use crate::model::{CustomerKeyBytes, Key, VersionId};
use crate::s3::client::Client;
use crate::s3::codes::{PERMANENT, Scope};
use crate::s3::error::{Operation, S3Error};
use crate::s3::send::{Answer, BODY_BYTES_MAX, Call};
use crate::s3::xml::BadXml;

use super::attributes::{LONG, bug, customer_key_headers};
use super::head::ObjectHead;

/// The longest range that one call reads.
pub const RANGE_BYTES_MAX: u64 = 256 * 1024 * 1024;

impl Client {
    /// Reads a range of a version (its first byte, and the byte behind its last), or all of it. At most
    /// [`RANGE_BYTES_MAX`]. The size that comes with it is that of the whole object.
    ///
    /// # Errors
    /// Those of the attempt; [`S3Error::is_absent`] where the version is not there, `PreconditionFailed`
    /// where its ETag is another. A tripwire where the answer is about another version.
    pub async fn get_version(
        &self,
        key: &Key,
        version_id: &VersionId,
        etag: Option<&str>,
        range: Option<(u64, u64)>,
        customer_key: Option<&CustomerKeyBytes>,
    ) -> Result<(ObjectHead, Bytes), S3Error> {
        let mut call = self.get_call((key, version_id), etag, customer_key);
        let wanted = range.map_or(RANGE_BYTES_MAX, |(from, to)| to.saturating_sub(from));
        if wanted == 0 || wanted > RANGE_BYTES_MAX {
            return Err(bug(&call.context, "a range of 1 byte to 256 MiB can be read"));
        }
        let bytes_max = usize::try_from(wanted).unwrap_or(usize::MAX);
        // A refusal may be longer than the range.
        call.answer_bytes_max = bytes_max.max(BODY_BYTES_MAX);
        if let Some((from, to)) = range {
            call.headers.push(("range", format!("bytes={from}-{}", to - 1)));
        }
        let answer = self.get_answer(&call, etag).await?;
        let read = size_of(&answer, range).and_then(|size| ObjectHead::read(&answer, Some(size)));
        let head = read.map_err(|why| answer.malformed(&call, &why))?;
        Ok((head, answer.body))
    }

    /// Reads all of a version of `size` bytes, at most [`RANGE_BYTES_MAX`], and what HEAD would tell of it,
    /// with the checksum that the server keeps: it tells that of the whole only where no range is asked for.
    ///
    /// # Errors
    /// As of [`Client::get_version`].
    pub async fn get_whole_version(
        &self,
        key: &Key,
        version_id: &VersionId,
        etag: Option<&str>,
        size: u64,
        customer_key: Option<&CustomerKeyBytes>,
    ) -> Result<(ObjectHead, Bytes), S3Error> {
        let mut call = self.get_call((key, version_id), etag, customer_key);
        if size > RANGE_BYTES_MAX {
            return Err(bug(&call.context, "at most 256 MiB can be read at a time"));
        }
        // A refusal may be longer than the data.
        call.answer_bytes_max = usize::try_from(size).unwrap_or(usize::MAX).max(BODY_BYTES_MAX);
        call.headers.push(("x-amz-checksum-mode", "ENABLED".to_owned()));
        let answer = self.get_answer(&call, etag).await?;
        let read = size_of(&answer, None).and_then(|found| match found == size {
            true => ObjectHead::read(&answer, Some(size)),
            false => Err("fewer or more bytes than the version has".into()),
        });
        let head = read.map_err(|why| answer.malformed(&call, &why))?;
        Ok((head, answer.body))
    }

    fn get_call<'a>(
        &'a self,
        version: (&'a Key, &'a VersionId),
        etag: Option<&str>,
        customer_key: Option<&CustomerKeyBytes>,
    ) -> Call<'a> {
        let mut call = self.version_call(Operation::GetObject, Scope::Read, Method::GET, version, "");
        call.is_data = true;
        call.timeout = Some(LONG);
        if let Some(etag) = etag {
            call.headers.push(("if-match", etag.to_owned()));
        }
        call.headers.extend(customer_key.into_iter().flat_map(customer_key_headers));
        call
    }

    /// The answer, where it is about the version and the ETag that were asked for.
    async fn get_answer(&self, call: &Call<'_>, etag: Option<&str>) -> Result<Answer, S3Error> {
        let answer = self.attempt_guarded(call).await?;
        answer.check_version(call)?;
        if let (Some(asked), Some(got)) = (etag, answer.header("etag"))
            && asked.trim_matches('"') != got.trim_matches('"')
        {
            let error = call.context.error("PreconditionFailed", "the version has another ETag", PERMANENT);
            return Err(answer.blame(error, false));
        }
        Ok(answer)
    }
}

/// The size of the whole object, where the answer brings the range that was asked for.
fn size_of(answer: &Answer, range: Option<(u64, u64)>) -> Result<u64, BadXml> {
    let length = answer.body.len() as u64;
    let brought = answer.header("content-range").map(|text| parse_range(text).ok_or("a bad Content-Range"));
    match (range, answer.status, brought.transpose()?) {
        (None, 200, None) => Ok(length),
        (None, 200, Some((0, to, size))) if to == size && size == length => Ok(size),
        (Some((from, to)), 206, Some((first, end, size))) => {
            if (first, end) != (from, to) || end > size {
                return Err("another range than the one that was asked for".into());
            }
            if length != to - from {
                return Err("fewer or more bytes than the range has".into());
            }
            Ok(size)
        }
        // A server that knows no ranges: good enough where the range is the object.
        (Some((0, to)), 200, None) if to == length => Ok(length),
        _ => Err("not the range that was asked for".into()),
    }
}

/// First byte, byte behind the last, and size, of `bytes 0-9/100`.
fn parse_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let last: u64 = last.parse().ok()?;
    Some((first.parse().ok()?, last.checked_add(1)?, size.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_exactly() {
        assert_eq!(parse_range("bytes 0-9/100"), Some((0, 10, 100)));
        for odd in
            ["bytes */100", "bytes 0-9/*", "0-9/100", "bytes 0-9", "bytes 0-18446744073709551615/1", ""]
        {
            assert_eq!(parse_range(odd), None, "{odd}");
        }
    }
}
