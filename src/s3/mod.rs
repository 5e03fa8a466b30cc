//! The S3 client: one attempt per call.
//!
//! A call signs, sends, reads the whole answer and checks it; it neither repeats nor waits, which
//! is for the engine to decide by the error's class. What an answer must satisfy before anybody
//! may act on it is written at the head of each operation's file.
//!
//! For whoever sets up logging: `aws_sigv4` writes its input and the canonical request at TRACE,
//! and `aws_config`, `aws_smithy*`, `hyper*`, `reqwest` and `rustls` write wire details there.
//! The subscriber must hold those targets at INFO or above, whatever level the user asks for.

mod bucket;
mod bucket_versioning;
mod checksum;
mod client;
mod clock;
mod codes;
mod config;
mod credentials;
mod delete_version;
mod delete_versions;
mod encoding;
mod endpoint;
mod error;
mod head_bucket;
mod list_level;
mod list_versions;
mod object_lock;
mod plain_xml;
mod send;
mod sign;
mod transfer;
mod xml;

#[cfg(test)]
mod tests;

pub use bucket::Bucket;
pub use bucket_versioning::BucketVersioning;
pub use checksum::ChecksumAlgorithm;
pub use client::Client;
pub use codes::{Scope, StopKind, Tripwire, Verdict, of_item, of_request};
pub use config::{Addressing, ClientConfig, StaticCredentials};
pub use delete_version::SingleDeleted;
pub use delete_versions::{
    BODY_BYTES_MAX, DeleteAnswer, ITEMS_MAX, ItemAnswer, Shape, body_of as delete_body, shape,
};
pub use error::{Details, Operation, S3Error};
pub use head_bucket::BucketHead;
pub use list_level::LevelNames;
pub use list_versions::ListVersions;
pub use transfer::{
    AclText, Attributes, Expect, Grant, Grantee, HeadVersion, LatestObject, ObjectChecksum, ObjectHead,
    Origin, Part, PartWritten, PartsPage, RANGE_BYTES_MAX, RestoreAnswer, RestoreState, Written,
};
