//! The audit: one JSON line for each version, in concatenated zstd frames, so that `zstdcat` reads
//! it.
//!
//! A frame is closed with each commit of the checkpoint, which keeps the length that is valid. What
//! a crash leaves behind that length is cut off when the run goes on, and its outcomes come again.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use crate::model::{Fate, Journal, Key, Kind, Outcome, Record, RuleId};

/// Compression level: a commit waits for it.
const LEVEL: i32 = 3;
/// Uncompressed bytes of a frame at most. A commit with more of them writes several frames, which
/// bounds the memory whatever the commit brings.
const FRAME_BYTES_MAX: usize = 4 << 20;

/// Which versions get a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AuditLevel {
    /// Every listed version, the kept ones included.
    #[default]
    Full,
    /// Every planned version.
    Changes,
    /// Those that failed or were skipped.
    Failures,
    /// None.
    None,
}

impl AuditLevel {
    /// Whether a version with this fate gets a line.
    const fn wants(self, fate: &Fate) -> bool {
        match (self, fate) {
            (Self::Full, _) | (Self::Changes, Fate::Settled { .. }) => true,
            (Self::Failures, Fate::Settled { outcome, .. }) => {
                matches!(outcome, Outcome::Failed(_) | Outcome::Skipped(_))
            }
            (Self::Changes | Self::Failures, Fate::Kept(_)) | (Self::None, _) => false,
        }
    }
}

/// One line of the audit. Fields that say nothing are left out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditLine<'a> {
    /// The key, where it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Cow<'a, str>>,
    /// The key in Base64, where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_base64: Option<Cow<'a, str>>,
    /// The version id.
    pub version_id: Cow<'a, str>,
    /// `version` or `delete-marker`.
    pub kind: Cow<'a, str>,
    /// Bytes.
    pub size: u64,
    /// When the version was created, RFC 3339.
    pub last_modified: Cow<'a, str>,
    /// The name of the rule that decided, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Cow<'a, str>>,
    /// `done`, `gone`, `failed`, `skipped` or `kept`.
    pub outcome: Cow<'a, str>,
    /// Why it was kept or skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    /// Why it failed: the server's code or one of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'a, str>>,
    /// The server's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Cow<'a, str>>,
    /// The request id of the answer that settled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Cow<'a, str>>,
    /// The attempt that settled it, from 1; 0 where none was made; absent for kept versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// When that was known, RFC 3339, by the server's clock.
    pub at: Cow<'a, str>,
}

impl<'a> AuditLine<'a> {
    fn new(record: &'a Record, rule_names: &'a [String]) -> Self {
        let name = |rule: RuleId| {
            let known = rule_names.get(usize::from(rule.0)).map(|name| Cow::Borrowed(name.as_str()));
            known.unwrap_or_else(|| Cow::Owned(format!("rule-{}", rule.0)))
        };
        let text = record.key.as_str();
        let mut line = Self {
            key: text.map(Cow::Borrowed),
            key_base64: text.is_none().then(|| Cow::Owned(BASE64.encode(record.key.as_bytes()))),
            version_id: Cow::Borrowed(record.version_id.as_str()),
            kind: Cow::Borrowed(match record.kind {
                Kind::Version => "version",
                Kind::DeleteMarker => "delete-marker",
            }),
            size: record.size,
            last_modified: Cow::Owned(record.last_modified.to_string()),
            rule: None,
            outcome: Cow::Borrowed("kept"),
            reason: None,
            code: None,
            message: None,
            request_id: None,
            attempt: None,
            at: Cow::Owned(record.at.to_string()),
        };
        match &record.fate {
            Fate::Kept(reason) => {
                line.rule = reason.rule().map(name);
                line.reason = Some(Cow::Borrowed(reason.as_str()));
            }
            Fate::Settled { rule, outcome, request_id, attempt } => {
                line.rule = Some(name(*rule));
                line.outcome = Cow::Borrowed(outcome.as_str());
                line.request_id = request_id.as_deref().map(Cow::Borrowed);
                line.attempt = Some(*attempt);
                match outcome {
                    Outcome::Failed(failure) => {
                        line.code = Some(Cow::Borrowed(&*failure.code));
                        let message = &*failure.message;
                        line.message = (!message.is_empty()).then_some(Cow::Borrowed(message));
                    }
                    Outcome::Skipped(reason) => line.reason = Some(Cow::Borrowed(reason.as_str())),
                    Outcome::Done | Outcome::Gone => {}
                }
            }
        }
        line
    }

    /// The key as bytes, whichever way it is written; `None` where the line holds neither.
    pub fn key_bytes(&self) -> Option<Key> {
        match (&self.key, &self.key_base64) {
            (Some(text), _) => Some(Key::from(&**text)),
            (None, Some(coded)) => BASE64.decode(coded.as_bytes()).ok().map(Key::from),
            (None, None) => None,
        }
    }
}

/// The audit's file, open for writing.
pub struct AuditFile {
    file: File,
    level: AuditLevel,
    rule_names: Vec<String>,
    compressor: Compressor<'static>,
    /// Lines that are not in a frame yet.
    open: Vec<u8>,
    /// Everything in frames, durable or not.
    written_bytes: u64,
    /// Whether frames were written since the last seal.
    is_dirty: bool,
}

impl std::fmt::Debug for AuditFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuditFile {{ level: {:?}, written_bytes: {} }}", self.level, self.written_bytes)
    }
}

impl AuditFile {
    /// Opens the file, made where it is missing, readable by its owner only. What is valid of it is
    /// said by [`Journal::rewind`], which must be called before anything is appended.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path, level: AuditLevel, rule_names: Vec<String>) -> io::Result<Self> {
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
        Ok(Self { file, level, rule_names, compressor, open: Vec::new(), written_bytes, is_dirty: false })
    }

    fn write_frame(&mut self) -> io::Result<()> {
        let frame = self.compressor.compress(&self.open)?;
        // A write that failed half way must not shift what follows.
        self.file.seek(SeekFrom::Start(self.written_bytes))?;
        self.file.write_all(&frame)?;
        self.written_bytes += frame.len() as u64;
        self.is_dirty = true;
        self.open.clear();
        Ok(())
    }
}

impl Journal for AuditFile {
    fn append(&mut self, record: &Record) -> io::Result<()> {
        if !self.level.wants(&record.fate) {
            return Ok(());
        }
        serde_json::to_writer(&mut self.open, &AuditLine::new(record, &self.rule_names))?;
        self.open.push(b'\n');
        if self.open.len() >= FRAME_BYTES_MAX { self.write_frame() } else { Ok(()) }
    }

    fn seal(&mut self) -> io::Result<u64> {
        // An audit without lines is one empty frame: the tools call a file of no bytes damaged.
        if self.written_bytes == 0 || !self.open.is_empty() {
            self.write_frame()?;
        }
        if std::mem::take(&mut self.is_dirty) {
            self.file.sync_data()?;
        }
        Ok(self.written_bytes)
    }

    fn rewind(&mut self, length_bytes: u64) -> io::Result<()> {
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
        Ok(())
    }
}

/// The lines of an audit, in the order in which they were written.
///
/// `valid_bytes` is the length that the checkpoint committed, so that the audit of a run that was
/// killed is read exactly; `None` reads the whole file.
///
/// # Errors
/// Those of opening the file; each line brings those of reading and parsing it.
pub fn read(
    path: &Path,
    valid_bytes: Option<u64>,
) -> io::Result<impl Iterator<Item = io::Result<AuditLine<'static>>>> {
    let mut file = BufReader::new(File::open(path)?.take(valid_bytes.unwrap_or(u64::MAX)));
    // An audit without a line has no frame either, which is no zstd file in the decoder's eyes.
    let plain: Box<dyn Read> = if file.fill_buf()?.is_empty() {
        Box::new(io::empty())
    } else {
        Box::new(zstd::stream::read::Decoder::with_buffer(file)?)
    };
    let lines = BufReader::new(plain).lines();
    Ok(lines.map(|line| serde_json::from_str(&line?).map_err(io::Error::from)))
}

#[cfg(test)]
mod tests;
