//! What the store knows of a version beyond its listing: the oracle of tests that compare a copy with
//! its source.

use std::collections::BTreeMap;

use super::acl::{Grant, Grantee};
use super::entry::Lock;
use super::store::{Store, read};
use super::version_id::VersionRef;
use crate::model::{Key, Kind, VersionId};

/// All that belongs to one version and is not in its listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Details {
    /// The same for the same data, wherever it is and however it came.
    pub data: String,
    /// `Content-Type`, its like, and `x-amz-meta-*`, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Object Lock.
    pub lock: Lock,
    /// `AES256`, `aws:kms` with its key, or `customer`; `None` where nothing was said.
    pub encryption: Option<String>,
    /// `x-amz-website-redirect-location`.
    pub redirect: Option<String>,
    /// `permission grantee`, in order; none where nothing was said.
    pub grants: Vec<String>,
    /// The bytes of each part; none where the data came in one request.
    pub parts: Vec<u64>,
    /// The header of its checksum, and the checksum.
    pub checksum: Option<(&'static str, String)>,
}

fn describe(grant: &Grant) -> String {
    let name = match &grant.grantee {
        Grantee::Owner => "owner",
        Grantee::Id(name) | Grantee::Group(name) => name,
    };
    format!("{} {name}", grant.permission)
}

impl Store {
    /// What is known of a version; `None` where it does not exist or is a delete marker.
    pub fn details(&self, bucket: &str, key: impl Into<Key>, id: &VersionId) -> Option<Details> {
        let bucket = self.bucket(bucket).ok()?;
        let bucket = read(&bucket);
        let wanted = VersionRef::parse(id.as_str())?;
        let entry = bucket.entry(key.into().as_bytes(), wanted)?;
        if entry.kind == Kind::DeleteMarker {
            return None;
        }
        let extra = entry.extra.as_deref().cloned().unwrap_or_default();
        let mut grants: Vec<String> = extra.grants.iter().flatten().map(describe).collect();
        grants.sort_unstable();
        Some(Details {
            data: entry.data().fingerprint(),
            headers: extra.headers.into_iter().collect(),
            tags: extra.tags.into_iter().collect(),
            lock: extra.lock,
            encryption: extra.encryption.map(|encryption| encryption.describe()),
            redirect: extra.redirect,
            grants,
            parts: extra.parts,
            checksum: extra.checksum.map(|checksum| (checksum.header, checksum.value)),
        })
    }

    /// Number of multipart uploads of a bucket that are neither completed nor aborted; 0 where there
    /// is no such bucket.
    pub fn uploads_under_way(&self, bucket: &str) -> usize {
        self.bucket(bucket).map_or(0, |bucket| read(&bucket).uploads.in_order().len())
    }
}
