//! The audit: one JSON line for each version, in concatenated zstd frames, so that `zstdcat` reads
//! it.
//!
//! A frame is closed with each commit of the checkpoint, which keeps the length that is valid. What
//! a crash leaves behind that length is cut off when the run goes on, and its outcomes come again.

mod frames;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use frames::Frames;

use crate::model::{Fate, Journal, Key, Outcome, Record};

/// Pages and batches that may wait for the thread.
const ORDERS_WAITING_MAX: usize = 8;

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
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct AuditLine<'a> {
    /// The key, where it is UTF-8.
    #[serde(default)]
    pub key: Option<Cow<'a, str>>,
    /// The key in Base64, where it is not UTF-8.
    #[serde(default)]
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
    #[serde(default)]
    pub rule: Option<Cow<'a, str>>,
    /// `done`, `gone`, `failed`, `skipped` or `kept`.
    pub outcome: Cow<'a, str>,
    /// Why it was kept or skipped.
    #[serde(default)]
    pub reason: Option<Cow<'a, str>>,
    /// Why it failed: the server's code or one of ours.
    #[serde(default)]
    pub code: Option<Cow<'a, str>>,
    /// The server's message.
    #[serde(default)]
    pub message: Option<Cow<'a, str>>,
    /// The request id of the answer that settled it.
    #[serde(default)]
    pub request_id: Option<Cow<'a, str>>,
    /// The attempt that settled it, from 1; 0 where none was made; absent for kept versions.
    #[serde(default)]
    pub attempt: Option<u32>,
    /// Where its verified copy is, where one was made.
    #[serde(default)]
    pub copied_to: Option<CopiedLine<'a>>,
    /// When that was known, RFC 3339, by the server's clock.
    pub at: Cow<'a, str>,
}

/// A copy, in a line of the audit.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct CopiedLine<'a> {
    /// The key at the destination, where it is UTF-8.
    #[serde(default)]
    pub key: Option<Cow<'a, str>>,
    /// The key in Base64, where it is not UTF-8.
    #[serde(default)]
    pub key_base64: Option<Cow<'a, str>>,
    /// The version id at the destination; `null` where that keeps no versions.
    pub version_id: Cow<'a, str>,
    /// The ETag at the destination, quotes included; absent for a delete marker.
    #[serde(default)]
    pub etag: Option<Cow<'a, str>>,
}

impl CopiedLine<'_> {
    /// The key as bytes, whichever way it is written; `None` where the line holds neither.
    pub fn key_bytes(&self) -> Option<Key> {
        key_bytes(self.key.as_deref(), self.key_base64.as_deref())
    }
}

fn key_bytes(text: Option<&str>, coded: Option<&str>) -> Option<Key> {
    match (text, coded) {
        (Some(text), _) => Some(Key::from(text)),
        (None, Some(coded)) => BASE64.decode(coded.as_bytes()).ok().map(Key::from),
        (None, None) => None,
    }
}

impl AuditLine<'_> {
    /// The key as bytes, whichever way it is written; `None` where the line holds neither.
    pub fn key_bytes(&self) -> Option<Key> {
        key_bytes(self.key.as_deref(), self.key_base64.as_deref())
    }
}

/// The audit, open for writing. A thread of its own writes lines and compresses them while the
/// checkpoint goes on; [`Journal::seal`] waits for it.
pub struct AuditFile {
    level: AuditLevel,
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for AuditFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditFile").field("level", &self.level).finish_non_exhaustive()
    }
}

/// What the thread is asked for.
enum Order {
    Append(Vec<Record>),
    Seal(mpsc::Sender<io::Result<u64>>),
    Rewind(u64, mpsc::Sender<io::Result<u64>>),
}

impl AuditFile {
    /// Opens the file, made where it is missing, readable by its owner only. What is valid of it is
    /// said by [`Journal::rewind`], which must be called before anything is appended.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path, level: AuditLevel, rule_names: Vec<String>) -> io::Result<Self> {
        let mut frames = Frames::open(path, rule_names)?;
        let (orders, inbox) = mpsc::sync_channel(ORDERS_WAITING_MAX);
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || {
            while let Ok(order) = inbox.recv() {
                frames.carry_out(order);
            }
        })?;
        Ok(Self { level, orders: Some(orders), thread: Some(thread) })
    }

    fn order(&self, order: Order) -> io::Result<()> {
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok());
        if sent { Ok(()) } else { Err(gone()) }
    }

    fn ask(&self, order: impl FnOnce(mpsc::Sender<io::Result<u64>>) -> Order) -> io::Result<u64> {
        let (answer, answered) = mpsc::channel();
        self.order(order(answer))?;
        answered.recv().map_err(|_| gone())?
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that writes the audit has ended")
}

impl Journal for AuditFile {
    fn append(&mut self, mut records: Vec<Record>) -> io::Result<()> {
        if self.level != AuditLevel::Full {
            records.retain(|record| self.level.wants(&record.fate));
        }
        if records.is_empty() { Ok(()) } else { self.order(Order::Append(records)) }
    }

    fn seal(&mut self) -> io::Result<u64> {
        self.ask(Order::Seal)
    }

    fn rewind(&mut self, length_bytes: u64) -> io::Result<()> {
        self.ask(|answer| Order::Rewind(length_bytes, answer)).map(|_| ())
    }
}

impl Drop for AuditFile {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // Every order was answered, or its caller is gone: there is nobody to tell of a panic.
            let _ = thread.join();
        }
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
