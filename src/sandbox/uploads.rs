//! Multipart uploads under way in one bucket.

use std::collections::BTreeMap;

use super::data::Data;
use super::entry::{Checksum, Extra};
use crate::model::Timestamp;

/// A part that has arrived.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) data: Data,
    pub(super) digest: [u8; 16],
    pub(super) checksum: Option<Checksum>,
    pub(super) at: Timestamp,
}

impl Part {
    /// The ETag without quotes.
    pub(super) fn etag(&self) -> String {
        hex::encode(self.digest)
    }
}

/// An upload that is neither completed nor aborted.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) key: Vec<u8>,
    pub(super) initiated: Timestamp,
    pub(super) class: u8,
    /// All of the version to come but its data.
    pub(super) extra: Extra,
    /// The header of the checksum that was asked for.
    pub(super) checksum_header: Option<&'static str>,
    /// Whether the checksum is that of the whole data.
    pub(super) is_full_checksum: bool,
    pub(super) parts: BTreeMap<u16, Part>,
}

/// The uploads of a bucket, by their ids.
#[derive(Debug, Default)]
pub(super) struct Uploads(BTreeMap<String, Upload>);

impl Uploads {
    /// Adds one.
    pub(super) fn insert(&mut self, id: String, upload: Upload) {
        self.0.insert(id, upload);
    }

    /// The upload of this id, which has to be one of this key.
    pub(super) fn get(&self, id: &str, key: &[u8]) -> Option<&Upload> {
        self.0.get(id).filter(|upload| upload.key == key)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, id: &str, key: &[u8]) -> Option<&mut Upload> {
        self.0.get_mut(id).filter(|upload| upload.key == key)
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, id: &str, key: &[u8]) -> Option<Upload> {
        self.get(id, key)?;
        self.0.remove(id)
    }

    /// All of them, by key and then by age.
    pub(super) fn in_order(&self) -> Vec<(&str, &Upload)> {
        let mut all: Vec<_> = self.0.iter().map(|(id, upload)| (id.as_str(), upload)).collect();
        all.sort_by(|a, b| (&a.1.key, a.1.initiated, a.0).cmp(&(&b.1.key, b.1.initiated, b.0)));
        all
    }
}
