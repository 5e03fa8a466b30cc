//! What it takes to carry copies and moves out: requests of each kind, bytes, cost and time. Pure.
//!
//! A checkpoint counts versions, keys and bytes, not sizes. So there are two figures: what is needed at
//! least, were every version small, and what parts may add, were the bytes in versions as small as go in
//! parts.

use serde::Serialize;

use crate::model::{
    AclSource, CopySettings, Encryption, History, LockSource, Requirement, TagSource, Verify,
};

use super::fidelity::{DELETE_MARKERS, FidelityLine, ORDER, fidelity, fidelity_text};
use super::units::{bytes, count};

/// What AWS asks for a thousand PUT, COPY, POST and LIST requests to S3 Standard, in US dollars, in its
/// cheapest regions.
pub(super) const WRITE_USD_PER_THOUSAND: f64 = 0.005;
/// What AWS asks for a thousand GET, HEAD and all other requests, likewise. Deleting is free.
const READ_USD_PER_THOUSAND: f64 = 0.0004;
/// What one DeleteObjects takes at most.
const VERSIONS_PER_REQUEST: u64 = 1000;
/// Size of the parts that the server copies, where the job names none.
const SERVER_PART_BYTES: u64 = 512 << 20;
/// Above this size versions that pass through the program go in parts, of this size.
const STREAM_PART_BYTES: u64 = 16 << 20;
/// What is read at a time where every byte is compared.
const WINDOW_BYTES: u64 = 8 << 20;
/// Versions of a batch, whose destination keys are looked at together where they lie together.
const VERSIONS_PER_LOOK: u64 = 256;
/// Of each upload in parts: its beginning, its end, and a last part that is not full.
const REQUESTS_PER_UPLOAD: u64 = 3;

/// A rule that copies or moves.
#[derive(Clone, Debug)]
pub struct TransferRule {
    /// Its name.
    pub rule: String,
    /// Whether its source versions are deleted.
    pub moves: bool,
    /// Whether the bytes pass through this program.
    pub streams: bool,
    /// Whether delete markers travel: whether the rule can select one.
    pub carries_markers: bool,
    /// Whether each destination key is looked at by itself: in place, and where several rules copy.
    pub looks_apart: bool,
    /// How it copies.
    pub settings: CopySettings,
}

/// What such a rule comes to.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct TransferFigures {
    /// Its name.
    pub rule: String,
    /// `copy` or `move`.
    pub action: &'static str,
    /// Who carries the bytes: `server` or `stream`.
    pub route: &'static str,
    /// Versions and delete markers.
    pub versions: u64,
    /// Keys.
    pub keys: u64,
    /// Bytes of the versions.
    pub bytes: u64,
    /// Bytes that pass through this program.
    pub bytes_through: u64,
    /// CopyObject or PutObject requests, one for each version, DeleteObject for markers, and PutObjectAcl: at
    /// least.
    pub write_requests: u64,
    /// What parts may add: UploadPartCopy or UploadPart, and the beginnings and ends of uploads. Sources that
    /// keep small parts of their own take more.
    pub part_requests_max: u64,
    /// HEAD and GET requests, tags and access control lists among them: at least.
    pub read_requests: u64,
    /// LIST requests: a look at the destination before and one after, at least.
    pub list_requests: u64,
    /// DeleteObjects requests at the source, at least.
    pub delete_requests: u64,
    /// What AWS asks for these requests without parts, in US dollars; without storage and traffic.
    pub cost_usd: f64,
    /// The same with all that parts may add.
    pub cost_usd_max: f64,
    /// What is kept, set anew and lost.
    pub fidelity: Vec<FidelityLine>,
}

/// The cost of requests.
#[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
pub(super) fn cost(requests: u64, usd_per_thousand: f64) -> f64 {
    requests as f64 * usd_per_thousand / 1000.0
}

impl TransferRule {
    /// What it takes to carry this rule out for so many versions of so many keys.
    pub fn figures(&self, versions: u64, keys: u64, bytes: u64) -> TransferFigures {
        let s = &self.settings;
        let part_requests_max = self.part_requests_max(bytes);
        let pieces = if self.streams { part_requests_max } else { 0 };
        let write_requests = versions * if s.acl == AclSource::Copy { 2 } else { 1 };
        let windows =
            if s.verify == Verify::Bytes { 2 * bytes.div_ceil(WINDOW_BYTES).max(versions) } else { 0 };
        let read_requests = versions * self.reads_per_version() + windows;
        // Where the key differs from version to version, each version has a destination key of its own.
        let chains = if s.key.is_by_version() { versions } else { keys };
        let looks = if self.looks_apart { chains } else { chains.min(versions.div_ceil(VERSIONS_PER_LOOK)) };
        let list_requests = 2 * looks;
        let least = cost(write_requests + list_requests, WRITE_USD_PER_THOUSAND)
            + cost(read_requests, READ_USD_PER_THOUSAND);
        let parts = cost(part_requests_max, WRITE_USD_PER_THOUSAND) + cost(pieces, READ_USD_PER_THOUSAND);
        let compared = if s.verify == Verify::Bytes { 2 * bytes } else { 0 };
        TransferFigures {
            rule: self.rule.clone(),
            action: if self.moves { "move" } else { "copy" },
            route: if self.streams { "stream" } else { "server" },
            versions,
            keys,
            bytes,
            bytes_through: compared + if self.streams { bytes } else { 0 },
            write_requests,
            part_requests_max,
            read_requests,
            list_requests,
            delete_requests: if self.moves { versions.div_ceil(VERSIONS_PER_REQUEST) } else { 0 },
            cost_usd: least,
            cost_usd_max: least + parts,
            fidelity: self.fidelity(),
        }
    }

    /// Requests that read, for each version.
    fn reads_per_version(&self) -> u64 {
        let s = &self.settings;
        let is_asked = s.lock == LockSource::Copy || s.require.contains(&Requirement::Redirect);
        let is_keyed = matches!(s.encryption, Encryption::Kms { .. } | Encryption::Customer(_))
            || s.source_key.is_some();
        // The answer that brings the content tells the same.
        let heads = u64::from(is_asked && !self.streams);
        // Its content, and its tags, which no request carries over.
        let streamed = if self.streams { 1 + u64::from(s.tags == TagSource::Copy) } else { 0 };
        // ETags say nothing then: the checksums of source and copy are asked for.
        let compared = if is_keyed { 2 } else { 0 };
        heads + streamed + compared + u64::from(s.acl == AclSource::Copy)
    }

    fn part_requests_max(&self, bytes: u64) -> u64 {
        let (above, default) = if self.streams {
            (STREAM_PART_BYTES, STREAM_PART_BYTES)
        } else {
            (self.settings.multipart_above_bytes, SERVER_PART_BYTES)
        };
        let part = self.settings.part_bytes.unwrap_or(default).max(1);
        let uploads = bytes / above.max(1);
        if uploads == 0 { 0 } else { bytes / part + REQUESTS_PER_UPLOAD * uploads }
    }

    /// What is kept, set anew and lost of what this rule takes: nothing is said of delete markers where none
    /// travel, and nothing of an order where each version comes to a key alone.
    pub fn fidelity(&self) -> Vec<FidelityLine> {
        let mut lines = fidelity(&self.settings, self.streams);
        let is_single = self.settings.history == History::Current || self.settings.key.is_by_version();
        lines.retain(|line| match line.what {
            ORDER => !is_single,
            DELETE_MARKERS => self.carries_markers && !is_single,
            _ => true,
        });
        lines
    }

    /// The same as text.
    pub fn fidelity_text(&self) -> Vec<String> {
        fidelity_text(&self.fidelity())
    }
}

impl TransferFigures {
    /// All requests, without those of parts.
    pub(super) fn requests(&self) -> u64 {
        self.write_requests + self.read_requests + self.list_requests + self.delete_requests
    }
}

/// The figures of one rule, a few lines of text.
pub fn transfer_text(figures: &TransferFigures) -> String {
    let f = figures;
    let verb = if f.action == "move" { "moves" } else { "copies" };
    let route = if f.route == "stream" { "through this program" } else { "by the server" };
    let mut text = format!(
        "  {} {verb} {} versions of {} keys, {}, {route}\n    requests  at least {} to write",
        f.rule,
        count(f.versions),
        count(f.keys),
        bytes(f.bytes),
        count(f.write_requests)
    );
    for (word, n) in [("read", f.read_requests), ("list", f.list_requests), ("delete", f.delete_requests)] {
        if n > 0 {
            text += &format!(", {} to {word}", count(n));
        }
    }
    if f.part_requests_max > 0 {
        text += &format!("; up to {} for parts", count(f.part_requests_max));
    }
    text += &format!("\n    cost      at least {:.4} USD", f.cost_usd);
    if f.part_requests_max > 0 {
        text += &format!(", up to {:.4} with parts", f.cost_usd_max);
    }
    text += "\n";
    if f.bytes_through > 0 {
        text += &format!("    traffic   {} through this program\n", bytes(f.bytes_through));
    }
    for line in fidelity_text(&f.fidelity) {
        text += &format!("    {line}\n");
    }
    text
}

#[cfg(test)]
mod tests;
