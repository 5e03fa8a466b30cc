//! Lines and frames of the audit, as its thread writes them.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use super::Order;
use crate::model::{Fate, Key, Kind, Outcome, Record, RuleId, Timestamp};

/// Compression level, of zstd's fast ones. Half of what is left of a line is its version id, which is
/// chance: level 1 would take a fifth less room and twice the time, and a run spends a good part of its
/// time here.
const LEVEL: i32 = -3;
/// Uncompressed bytes of a frame at most. A commit with more of them writes several frames, which
/// bounds the memory whatever the commit brings.
pub(super) const FRAME_BYTES_MAX: usize = 512 << 10;

/// The audit's file.
pub(super) struct Frames {
    file: File,
    rule_names: Vec<String>,
    compressor: Compressor<'static>,
    /// Lines that are not in a frame yet.
    open: Vec<u8>,
    /// A frame, before it is written.
    packed: Vec<u8>,
    /// Everything in frames, durable or not.
    written_bytes: u64,
    /// Whether frames were written since the last seal.
    is_dirty: bool,
    /// The time of the last line: those of a page or a batch share it.
    last_at: (Timestamp, Vec<u8>),
    /// The first error since the last seal, which brings it.
    failed: Option<io::Error>,
}

impl Frames {
    pub(super) fn open(path: &Path, rule_names: Vec<String>) -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        let is_new = !path.exists();
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let written_bytes = file.seek(SeekFrom::End(0))?;
        if is_new && let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            // A file whose name is not durable is lost with everything in it.
            File::open(directory)?.sync_all()?;
        }
        Ok(Self {
            file,
            rule_names,
            compressor,
            open: Vec::new(),
            packed: Vec::new(),
            written_bytes,
            is_dirty: false,
            last_at: (Timestamp::default(), Vec::new()),
            failed: None,
        })
    }

    pub(super) fn carry_out(&mut self, order: Order) {
        // A caller that is gone does not want to know.
        match order {
            Order::Append(records) => {
                if self.failed.is_none() {
                    self.failed = self.append(&records).err();
                }
            }
            Order::Seal(answer) => _ = answer.send(self.seal()),
            Order::Rewind(length_bytes, answer) => _ = answer.send(self.rewind(length_bytes)),
        }
    }

    fn append(&mut self, records: &[Record]) -> io::Result<()> {
        for record in records {
            if self.last_at.0 != record.at || self.last_at.1.is_empty() {
                self.last_at = (record.at, Vec::with_capacity(24));
                record.at.append_to(&mut self.last_at.1);
            }
            put_line(&mut self.open, record, &self.rule_names, &self.last_at.1)?;
            if self.open.len() >= FRAME_BYTES_MAX {
                self.write_frame()?;
            }
        }
        Ok(())
    }

    fn write_frame(&mut self) -> io::Result<()> {
        self.packed.resize(zstd::zstd_safe::compress_bound(self.open.len()), 0);
        let length = self.compressor.compress_to_buffer(&self.open, &mut self.packed[..])?;
        // A write that failed half way must not shift what follows.
        self.file.seek(SeekFrom::Start(self.written_bytes))?;
        self.file.write_all(&self.packed[..length])?;
        self.written_bytes += length as u64;
        self.is_dirty = true;
        self.open.clear();
        Ok(())
    }

    fn seal(&mut self) -> io::Result<u64> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        // An audit without lines is one empty frame: the tools call a file of no bytes damaged.
        if self.written_bytes == 0 || !self.open.is_empty() {
            self.write_frame()?;
        }
        if std::mem::take(&mut self.is_dirty) {
            self.file.sync_data()?;
        }
        Ok(self.written_bytes)
    }

    fn rewind(&mut self, length_bytes: u64) -> io::Result<u64> {
        self.open.clear();
        let there = self.file.seek(SeekFrom::End(0))?;
        if there < length_bytes {
            let what = format!("the audit has {there} bytes, {length_bytes} were committed");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        self.file.set_len(length_bytes)?;
        self.file.sync_data()?;
        self.written_bytes = length_bytes;
        self.is_dirty = false;
        self.failed = None;
        Ok(length_bytes)
    }
}

/// Appends the line of a record, which [`super::AuditLine`] reads. Written by hand, since a run spends
/// a good part of its time here. `at` is the record's time as text.
fn put_line(out: &mut Vec<u8>, record: &Record, rule_names: &[String], at: &[u8]) -> io::Result<()> {
    put_key(out, &record.key)?;
    if is_bare(record.version_id.as_bytes()) {
        put_bare(out, ",\"version_id\":", record.version_id.as_bytes());
    } else {
        put_text(out, ",\"version_id\":", record.version_id.as_str())?;
    }
    out.extend_from_slice(match record.kind {
        Kind::Version => b",\"kind\":\"version\",\"size\":",
        Kind::DeleteMarker => b",\"kind\":\"delete-marker\",\"size\":",
    });
    put_number(out, record.size);
    out.extend_from_slice(b",\"last_modified\":\"");
    record.last_modified.append_to(out);
    out.push(b'"');
    let put_rule = |out: &mut Vec<u8>, rule: RuleId| match rule_names.get(usize::from(rule.0)) {
        Some(name) => put_text(out, ",\"rule\":", name),
        None => put_text(out, ",\"rule\":", &format!("rule-{}", rule.0)),
    };
    match &record.fate {
        Fate::Kept(reason) => {
            if let Some(rule) = reason.rule() {
                put_rule(out, rule)?;
            }
            put_text(out, ",\"outcome\":", "kept")?;
            put_text(out, ",\"reason\":", reason.as_str())?;
        }
        Fate::Settled { rule, outcome, request_id, attempt } => {
            put_rule(out, *rule)?;
            put_text(out, ",\"outcome\":", outcome.as_str())?;
            match outcome {
                Outcome::Failed(failure) => {
                    put_text(out, ",\"code\":", &failure.code)?;
                    if !failure.message.is_empty() {
                        put_text(out, ",\"message\":", &failure.message)?;
                    }
                }
                Outcome::Skipped(reason) => put_text(out, ",\"reason\":", reason.as_str())?,
                Outcome::Done | Outcome::Gone => {}
            }
            if let Some(request_id) = request_id {
                put_text(out, ",\"request_id\":", request_id)?;
            }
            out.extend_from_slice(b",\"attempt\":");
            put_number(out, u64::from(*attempt));
        }
    }
    if let Some(copied) = &record.copied {
        out.extend_from_slice(b",\"copied_to\":");
        put_key(out, &copied.key)?;
        put_text(out, ",\"version_id\":", copied.version_id.as_str())?;
        if !copied.etag.is_empty() {
            put_text(out, ",\"etag\":", &copied.etag)?;
        }
        out.push(b'}');
    }
    out.extend_from_slice(b",\"at\":\"");
    out.extend_from_slice(at);
    out.extend_from_slice(b"\"}\n");
    Ok(())
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    // As many as the largest number has.
    let mut digits = [0; 20];
    let (mut rest, mut first) = (number, digits.len());
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// Begins an object with its key.
fn put_key(out: &mut Vec<u8>, key: &Key) -> io::Result<()> {
    if is_bare(key.as_bytes()) {
        put_bare(out, "{\"key\":", key.as_bytes());
        return Ok(());
    }
    match key.as_str() {
        Some(text) => put_text(out, "{\"key\":", text),
        None => put_text(out, "{\"key_base64\":", &BASE64.encode(key.as_bytes())),
    }
}

/// Appends a field's name as given and its text in quotes.
fn put_text(out: &mut Vec<u8>, name: &str, text: &str) -> io::Result<()> {
    if is_bare(text.as_bytes()) {
        put_bare(out, name, text.as_bytes());
        return Ok(());
    }
    out.extend_from_slice(name.as_bytes());
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

/// Whether a text is ASCII that JSON writes as it is. Without an early end, so that many bytes are
/// looked at at once.
fn is_bare(text: &[u8]) -> bool {
    !text
        .iter()
        .fold(false, |odd, &byte| odd | !matches!(byte, 0x20..=0x7e) | (byte == b'"') | (byte == b'\\'))
}

fn put_bare(out: &mut Vec<u8>, name: &str, text: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 1_048_576, u64::MAX] {
            let mut written = Vec::new();
            put_number(&mut written, number);
            assert_eq!(written, number.to_string().as_bytes());
        }
    }
}
