//! Tags of versions.

use super::op_object::find_data;
use super::ops::Context;
use super::refusal::Refusal;
use super::reply::Reply;
use super::request::Request;
use super::store::read;
use super::tags;
use super::xml_in;
use crate::model::VersioningStatus;

/// GetObjectTagging.
pub(super) fn get(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let bucket = read(&bucket);
    let entry = find_data(&bucket, request, request.key()?)?;
    let reply = Reply::xml(tags::document(entry.tags()));
    let is_versioned = bucket.status != VersioningStatus::Unversioned;
    Ok(if is_versioned { reply.header("x-amz-version-id", entry.id()) } else { reply })
}

/// PutObjectTagging.
pub(super) fn put(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    context.check_integrity()?;
    let root = xml_in::parse(&request.body).map_err(|_| Refusal::of("MalformedXML"))?;
    let tags = tags::of_document(&root)?;
    context.change(request, |_, entry| {
        entry.extra.get_or_insert_default().tags = tags;
        Ok(Reply::empty(200).header("x-amz-version-id", entry.id()))
    })
}

/// DeleteObjectTagging.
pub(super) fn delete(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    context.change(request, |_, entry| {
        if let Some(extra) = &mut entry.extra {
            extra.tags.clear();
        }
        Ok(Reply::empty(204).header("x-amz-version-id", entry.id()))
    })
}
