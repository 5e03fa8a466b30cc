//! What the operations have in common: their surroundings, the guards, and who does which.

use std::time::Instant;

use super::chance::Chance;
use super::checksum::Proof;
use super::entry::Entry;
use super::operation::Operation;
use super::oplog::{Effect, OpRecord, Oplog};
use super::personality::Personality;
use super::refusal::Refusal;
use super::reply::Reply;
use super::request::Request;
use super::sigv4::sha256_hex;
use super::store::{Bucket, SharedBucket, Store, write};
use super::{
    op_acl, op_bucket, op_copy, op_delete, op_list, op_lock, op_multipart, op_object, op_parts, op_restore,
    op_tagging,
};
use crate::model::{Key, Timestamp};

/// The surroundings of one request.
pub(super) struct Context<'a> {
    pub(super) store: &'a Store,
    pub(super) chance: &'a Chance,
    pub(super) oplog: &'a Oplog,
    pub(super) personality: &'a Personality,
    pub(super) region: &'a str,
    /// The account that owns every bucket.
    pub(super) owner: &'a str,
    pub(super) operation: Operation,
    pub(super) request_id: &'a str,
    pub(super) now: Timestamp,
    /// What the request proved about its body.
    pub(super) proof: Proof,
    /// How long a restore from an archive takes.
    pub(super) restore_secs: u64,
    /// The part that comes with the request is not kept, though the answer says so.
    pub(super) loses_part: bool,
}

impl Context<'_> {
    /// The bucket that a request is about, if its owner is who the client expects.
    pub(super) fn bucket(&self, request: &Request) -> Result<SharedBucket, Refusal> {
        let name = request.bucket()?;
        let bucket = self.store.bucket(name).map_err(|none| Refusal::from(none).with("BucketName", name))?;
        match request.header("x-amz-expected-bucket-owner") {
            Some(expected) if expected != self.owner => Err(Refusal::of("AccessDenied")),
            _ => Ok(bucket),
        }
    }

    /// Refuses a write to a part of the key space that takes no more.
    pub(super) fn check_rate(&self, key: &Key) -> Result<(), Refusal> {
        if self.chance.partition_takes(key.as_bytes(), Instant::now()) {
            Ok(())
        } else {
            Err(Refusal::of("SlowDown"))
        }
    }

    /// AWS wants a proof that some documents arrived whole.
    pub(super) fn check_integrity(&self) -> Result<(), Refusal> {
        let missing = if self.personality.content_md5_required_only {
            (!self.proof.content_md5).then_some("Missing required header for this request: Content-MD5")
        } else {
            (!self.proof.is_there())
                .then_some("Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
        };
        missing.map_or(Ok(()), |message| Err(Refusal::of("InvalidRequest").saying(message)))
    }

    /// Changes what belongs to the version that a request is about, which stays as it is where that
    /// is refused. `change` also gets the bucket as it is before.
    pub(super) fn change(
        &self,
        request: &Request,
        change: impl FnOnce(&Bucket, &mut Entry) -> Result<Reply, Refusal>,
    ) -> Result<Reply, Refusal> {
        let bucket = self.bucket(request)?;
        let key = request.key()?;
        let mut bucket = write(&bucket);
        bucket.check_writable()?;
        let mut entry = op_object::find_data(&bucket, request, key)?.into_owned();
        let reply = change(&bucket, &mut entry)?;
        bucket.replace(key.as_bytes(), entry);
        Ok(reply)
    }

    /// The canonical id of the owner, as listings tell it.
    pub(super) fn canonical_owner(&self) -> String {
        sha256_hex(self.owner.as_bytes())
    }

    /// Writes effects to the operation log. Called under the bucket's lock, so that the order of
    /// the log is the order of the effects.
    pub(super) fn log(
        &self,
        bucket: &str,
        effects: impl Iterator<Item = (Key, Option<String>, Effect)>,
    ) -> Result<(), Refusal> {
        if !self.oplog.is_wanted() {
            return Ok(());
        }
        let records = effects.map(|(key, version_id, effect)| OpRecord {
            seq: 0,
            at: self.now,
            operation: self.operation,
            bucket: bucket.to_owned(),
            key,
            version_id,
            effect,
            request_id: self.request_id.to_owned(),
        });
        self.oplog.append(records.collect()).map_err(|error| {
            Refusal::of("InternalError")
                .saying(format!("The sandbox cannot write its operation log: {error}"))
        })
    }
}

/// Whether a delete may pass over governance retention; refused where the bucket has no Object
/// Lock, as AWS does.
pub(super) fn bypasses_governance(request: &Request, bucket: &Bucket) -> Result<bool, Refusal> {
    let asked = request
        .header("x-amz-bypass-governance-retention")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if asked && !bucket.object_lock {
        return Err(Refusal::of("InvalidRequest")
            .saying("x-amz-bypass-governance-retention is only applicable to Object Lock enabled buckets."));
    }
    Ok(asked)
}

/// Refuses to delete versions without a token where MFA Delete is on.
pub(super) fn check_mfa(request: &Request, bucket: &Bucket, names_versions: bool) -> Result<(), Refusal> {
    if bucket.mfa_delete && names_versions && request.header("x-amz-mfa").is_none() {
        return Err(Refusal::of("AccessDenied").saying("Mfa Authentication must be used for this request"));
    }
    Ok(())
}

/// Does what a request asks for.
pub(super) fn handle(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    match context.operation {
        Operation::ListBuckets => op_bucket::list_buckets(context),
        Operation::CreateBucket => op_bucket::create(context, request),
        Operation::HeadBucket => op_bucket::head(context, request),
        Operation::DeleteBucket => op_bucket::delete(context, request),
        Operation::GetBucketLocation => op_bucket::location(context, request),
        Operation::GetBucketVersioning => op_bucket::get_versioning(context, request),
        Operation::PutBucketVersioning => op_bucket::put_versioning(context, request),
        Operation::GetObjectLockConfiguration => op_bucket::object_lock(context, request),
        Operation::ListObjectVersions => op_list::versions(context, request),
        Operation::ListObjects => op_list::objects_v1(context, request),
        Operation::ListObjectsV2 => op_list::objects_v2(context, request),
        Operation::PutObject => op_object::put(context, request),
        Operation::GetObject | Operation::HeadObject => op_object::get(context, request),
        Operation::GetObjectRetention => op_lock::retention(context, request),
        Operation::GetObjectLegalHold => op_lock::legal_hold(context, request),
        Operation::PutObjectRetention => op_lock::put_retention(context, request),
        Operation::PutObjectLegalHold => op_lock::put_legal_hold(context, request),
        Operation::CopyObject => op_copy::copy(context, request),
        Operation::CreateMultipartUpload => op_multipart::create(context, request),
        Operation::UploadPart => op_multipart::part(context, request),
        Operation::UploadPartCopy => op_multipart::part_copy(context, request),
        Operation::CompleteMultipartUpload => op_multipart::complete(context, request),
        Operation::AbortMultipartUpload => op_multipart::abort(context, request),
        Operation::ListParts => op_parts::parts(context, request),
        Operation::ListMultipartUploads => op_parts::uploads(context, request),
        Operation::GetObjectTagging => op_tagging::get(context, request),
        Operation::PutObjectTagging => op_tagging::put(context, request),
        Operation::DeleteObjectTagging => op_tagging::delete(context, request),
        Operation::GetObjectAcl => op_acl::get(context, request),
        Operation::PutObjectAcl => op_acl::put(context, request),
        Operation::RestoreObject => op_restore::restore(context, request),
        Operation::DeleteObject => op_delete::one(context, request),
        Operation::DeleteObjects => op_delete::many(context, request),
        Operation::Other => Err(not_implemented(request)),
    }
}

/// The answer to what the sandbox does not do: MethodNotAllowed for a method that S3 does not know
/// either, else NotImplemented.
fn not_implemented(request: &Request) -> Refusal {
    if matches!(request.method.as_str(), "GET" | "HEAD" | "PUT" | "POST" | "DELETE") {
        return Refusal::of("NotImplemented");
    }
    let resource = match (&request.bucket, &request.key) {
        (_, Some(_)) => "OBJECT",
        (Some(_), None) => "BUCKET",
        (None, None) => "SERVICE",
    };
    Refusal::of("MethodNotAllowed").with("Method", &*request.method).with("ResourceType", resource)
}
