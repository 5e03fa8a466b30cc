//! What of a copy goes into the fingerprint: whatever decides what is copied where, and as what.
//! How it is carried (route, parts, verification, restores) may change between a run and its
//! continuation, and so may what is required of it.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::model::{
    AclSource, ChecksumKind, CopySettings, Encryption, History, IfExists, LockSource, MetadataSource,
    SecretPlace, TagSource,
};

use super::reader::Reader;
use super::spec::Transfer;

impl Reader<'_> {
    /// The settings that are given, and always where to.
    pub(super) fn canonical_transfer(&self, transfer: &Transfer) -> Json {
        let to = &transfer.to;
        let settings = &transfer.settings;
        let endpoint = to.endpoint.to_string();
        let owner = to.expected_owner.as_deref().map(|owner| self.canonical(owner));
        let fields = [
            ("bucket", Some(self.canonical(&to.name))),
            ("endpoint", Some(self.canonical(&endpoint))),
            ("expected_owner", owner),
            ("key", Some(json!(settings.key.to_string()))),
            ("source", transfer.removes_source.as_ref().map(|options| self.canonical_deletion(options))),
        ];
        let given = fields.into_iter().chain(canonical_settings(settings));
        Json::Object(given.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }
}

fn canonical_settings(settings: &CopySettings) -> [(&'static str, Option<Json>); 10] {
    let map = |map: &BTreeMap<String, String>| Some(json!(map));
    [
        (
            "history",
            match settings.history {
                History::Selected => None,
                History::All => Some(json!("all")),
                History::Current => Some(json!("current")),
            },
        ),
        (
            "if_exists",
            match settings.if_exists {
                IfExists::Fail => None,
                IfExists::SkipSame => Some(json!("skip_same")),
                IfExists::Append => Some(json!("append")),
            },
        ),
        ("storage_class", settings.storage_class.as_ref().map(|class| json!(class))),
        (
            "metadata",
            match &settings.metadata {
                MetadataSource::Copy => None,
                MetadataSource::Replace(headers) => map(headers),
            },
        ),
        (
            "tags",
            match &settings.tags {
                TagSource::Copy => None,
                TagSource::Replace(tags) => map(tags),
            },
        ),
        (
            "acl",
            match &settings.acl {
                AclSource::Default => None,
                AclSource::Copy => Some(json!("copy")),
                AclSource::Canned(word) => Some(json!(word)),
            },
        ),
        ("encryption", canonical_encryption(&settings.encryption)),
        ("source_customer_key", settings.source_key.as_ref().map(canonical_key_place)),
        ("lock", canonical_lock(&settings.lock)),
        ("checksum", settings.checksum.map(|kind| json!(checksum_word(kind)))),
    ]
}

fn canonical_encryption(encryption: &Encryption) -> Option<Json> {
    match encryption {
        Encryption::Default => None,
        Encryption::S3 => Some(json!("AES256")),
        Encryption::Kms { two_layers, key_id, context, bucket_key } => Some(json!({ "kms": {
            "two_layers": two_layers, "key_id": key_id, "context": context, "bucket_key": bucket_key,
        } })),
        Encryption::Customer(key) => Some(json!({ "customer_key": canonical_key_place(key) })),
    }
}

/// Where a key lies; never the key.
fn canonical_key_place(key: &SecretPlace) -> Json {
    match key {
        SecretPlace::Environment(name) => json!({ "env": name }),
        SecretPlace::File(name) => json!({ "file": name.to_string_lossy() }),
    }
}

fn canonical_lock(lock: &LockSource) -> Option<Json> {
    match lock {
        LockSource::Default => None,
        LockSource::Copy => Some(json!("copy")),
        LockSource::Set { retention, legal_hold } => Some(json!({
            "mode": retention.map(|(mode, _)| mode.as_str()),
            "for_secs": retention.map(|(_, duration)| duration.as_secs()),
            "legal_hold": legal_hold,
        })),
    }
}

const fn checksum_word(kind: ChecksumKind) -> &'static str {
    match kind {
        ChecksumKind::Crc32 => "crc32",
        ChecksumKind::Crc32c => "crc32c",
        ChecksumKind::Crc64Nvme => "crc64nvme",
        ChecksumKind::Sha1 => "sha1",
        ChecksumKind::Sha256 => "sha256",
    }
}
