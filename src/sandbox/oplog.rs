//! The operation log: every effect that a request had on the store, in the order in which they took
//! place, and counters of what was asked for.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::operation::Operation;
use crate::model::{Key, Timestamp};

/// What a request did to a version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// A version was made.
    Created,
    /// A delete marker was made.
    MarkerCreated,
    /// A version is gone for good.
    Deleted,
    /// A delete marker is gone for good.
    MarkerDeleted,
    /// A delete named something that does not exist.
    Absent,
}

impl Effect {
    /// The word in the log file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::MarkerCreated => "marker-created",
            Self::Deleted => "deleted",
            Self::MarkerDeleted => "marker-deleted",
            Self::Absent => "absent",
        }
    }
}

/// One effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpRecord {
    /// Counts effects, from 1.
    pub seq: u64,
    /// By the sandbox's clock.
    pub at: Timestamp,
    /// The operation that had the effect.
    pub operation: Operation,
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: Key,
    /// The version that was made, deleted or missed; `None` where a delete without a version id
    /// found nothing.
    pub version_id: Option<String>,
    /// What was done to it.
    pub effect: Effect,
    /// The request id of the answer, whether it arrived or not.
    pub request_id: String,
}

/// A record as one line of JSON. A key that is not UTF-8 stands in `key_hex`.
#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    at: String,
    operation: Operation,
    bucket: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    version_id: Option<&'a str>,
    effect: &'static str,
    request_id: &'a str,
}

impl<'a> From<&'a OpRecord> for Line<'a> {
    fn from(record: &'a OpRecord) -> Self {
        let key = record.key.as_str();
        Self {
            seq: record.seq,
            at: record.at.to_string(),
            operation: record.operation,
            bucket: &record.bucket,
            key,
            key_hex: key.is_none().then(|| hex::encode(record.key.as_bytes())),
            version_id: record.version_id.as_deref(),
            effect: record.effect.as_str(),
            request_id: &record.request_id,
        }
    }
}

/// How often an operation was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Requests that arrived, refused ones included.
    pub requests: u64,
    /// Keys in them: items of DeleteObjects, rows of listings, one for each request for an object.
    pub keys: u64,
    /// Requests that were answered with an error, or with a closed connection.
    pub refused: u64,
    /// Keys of DeleteObjects that were answered with an error of their own.
    pub keys_refused: u64,
}

/// Counts by operation.
pub type Counters = BTreeMap<Operation, Count>;

#[derive(Debug, Default)]
struct Inner {
    last_seq: u64,
    kept: Vec<OpRecord>,
    file: Option<BufWriter<File>>,
    counters: Counters,
}

/// The log and the counters of one sandbox.
#[derive(Debug)]
pub(super) struct Oplog {
    keep: bool,
    inner: Mutex<Inner>,
}

impl Oplog {
    /// A log that keeps its records in memory, appends them to a file, both or neither.
    pub(super) fn open(keep: bool, file: Option<&Path>) -> io::Result<Self> {
        let file = match file {
            Some(path) => Some(BufWriter::new(OpenOptions::new().create(true).append(true).open(path)?)),
            None => None,
        };
        Ok(Self { keep, inner: Mutex::new(Inner { file, ..Inner::default() }) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything becomes of a record.
    pub(super) fn is_wanted(&self) -> bool {
        self.keep || self.lock().file.is_some()
    }

    /// Adds the effects of one request and hands them to the operating system, so that they are
    /// there before its answer is, whoever is killed afterwards.
    pub(super) fn append(&self, records: Vec<OpRecord>) -> io::Result<()> {
        let mut inner = self.lock();
        for mut record in records {
            inner.last_seq += 1;
            record.seq = inner.last_seq;
            if let Some(file) = &mut inner.file {
                serde_json::to_writer(&mut *file, &Line::from(&record))?;
                file.write_all(b"\n")?;
            }
            if self.keep {
                inner.kept.push(record);
            }
        }
        inner.file.as_mut().map_or(Ok(()), Write::flush)
    }

    /// Changes the count of an operation.
    pub(super) fn count(&self, operation: Operation, change: impl FnOnce(&mut Count)) {
        change(self.lock().counters.entry(operation).or_default());
    }

    /// The records kept so far.
    pub(super) fn records(&self) -> Vec<OpRecord> {
        self.lock().kept.clone()
    }

    /// The counts so far.
    pub(super) fn counters(&self) -> Counters {
        self.lock().counters.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str) -> OpRecord {
        OpRecord {
            seq: 0,
            at: Timestamp::from_millis(1_000),
            operation: Operation::DeleteObjects,
            bucket: "b".into(),
            key: key.into(),
            version_id: Some("v1".into()),
            effect: Effect::Deleted,
            request_id: "R".into(),
        }
    }

    #[test]
    fn the_file_holds_a_line_for_each_effect_as_soon_as_append_returns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("oplog.jsonl");
        let log = Oplog::open(true, Some(&path)).unwrap();
        let not_text = OpRecord { key: Key::new(*b"\xff"), ..record("") };
        log.append(vec![record("a"), record("b\n\u{1}\""), not_text]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!((&lines[2]["key"], &lines[2]["key_hex"]), (&serde_json::Value::Null, &"ff".into()));
        assert_eq!(lines[1]["key"], "b\n\u{1}\"");
        assert_eq!((&lines[0]["seq"], &lines[1]["seq"]), (&1.into(), &2.into()));
        assert_eq!(lines[0]["effect"], "deleted");
        assert_eq!(log.records().len(), 3);
    }
}
