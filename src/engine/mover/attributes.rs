//! What a copy is given beside its data: pure.

use std::collections::BTreeMap;

use crate::model::{
    AclSource, ChecksumKind, CopyItem, CopySettings, CustomerKeyBytes, Encryption, LockSource,
    MetadataSource, RetentionMode, TagSource, Timestamp,
};
use crate::s3::{Attributes, ObjectHead};

/// What is known of the source beside its listing, where somebody asked.
#[derive(Clone, Debug, Default)]
pub(super) struct SourceFacts {
    pub(super) head: Option<ObjectHead>,
    /// Its tags, where the server does not carry them over by itself.
    pub(super) tags: Option<BTreeMap<String, String>>,
}

/// Attributes that own their texts.
#[derive(Clone, Debug)]
pub(super) struct Given {
    storage_class: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    tags: Option<BTreeMap<String, String>>,
    acl: Option<String>,
    encryption: Encryption,
    retention: Option<(RetentionMode, Timestamp)>,
    legal_hold: Option<bool>,
    checksum: Option<ChecksumKind>,
    website_redirect: Option<String>,
}

/// What a copy is given. `by_server` tells that the server carries metadata and tags over where nothing is
/// said: it does so for CopyObject, and for nothing else.
pub(super) fn given(
    settings: &CopySettings,
    source: &CopyItem,
    facts: &SourceFacts,
    by_server: bool,
    now: Timestamp,
) -> Given {
    let head = facts.head.as_ref();
    let metadata = match &settings.metadata {
        MetadataSource::Replace(headers) => Some(headers.clone()),
        MetadataSource::Copy if by_server => None,
        MetadataSource::Copy => Some(head.map(|head| head.metadata.clone()).unwrap_or_default()),
    };
    let tags = match &settings.tags {
        TagSource::Replace(tags) => Some(tags.clone()),
        TagSource::Copy => facts.tags.clone().filter(|_| !by_server),
    };
    let (retention, legal_hold) = match &settings.lock {
        LockSource::Default => (None, None),
        LockSource::Copy => (
            // What has run out cannot be set, and protects nothing.
            head.and_then(|head| head.retention).filter(|(_, until)| *until > now),
            head.map(|head| head.legal_hold).filter(|held| *held),
        ),
        LockSource::Set { retention, legal_hold } => {
            (retention.map(|(mode, length)| (mode, now.plus(length))), legal_hold.then_some(true))
        }
    };
    let class = settings.storage_class.clone().or_else(|| Some(source.storage_class.to_string()));
    Given {
        // STANDARD is what every server takes where nothing is said.
        storage_class: class.filter(|class| !class.is_empty() && class != "STANDARD"),
        metadata,
        tags,
        acl: match &settings.acl {
            AclSource::Canned(name) => Some(name.clone()),
            AclSource::Default | AclSource::Copy => None,
        },
        encryption: settings.encryption.clone(),
        retention,
        legal_hold,
        checksum: settings.checksum,
        website_redirect: head.and_then(|head| head.website_redirect.clone()),
    }
}

impl Given {
    /// As a request takes them.
    pub(super) fn as_attributes<'a>(&'a self, customer_key: Option<&'a CustomerKeyBytes>) -> Attributes<'a> {
        Attributes {
            storage_class: self.storage_class.as_deref(),
            metadata: self.metadata.as_ref(),
            tags: self.tags.as_ref(),
            acl: self.acl.as_deref(),
            encryption: Some(&self.encryption),
            customer_key,
            retention: self.retention,
            legal_hold: self.legal_hold,
            checksum: self.checksum,
            website_redirect: self.website_redirect.as_deref(),
        }
    }

    /// The tags that are sent.
    pub(super) fn tags(&self) -> Option<&BTreeMap<String, String>> {
        self.tags.as_ref().filter(|tags| !tags.is_empty())
    }

    /// The same, with a checksum that the destination should keep.
    pub(super) fn with_checksum(mut self, kind: ChecksumKind) -> Self {
        self.checksum = self.checksum.or(Some(kind));
        self
    }
}
