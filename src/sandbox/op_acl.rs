//! Access control lists of versions.

use super::acl;
use super::op_object::find_data;
use super::ops::Context;
use super::refusal::Refusal;
use super::reply::Reply;
use super::request::Request;
use super::store::read;
use super::xml_in;

/// GetObjectAcl.
pub(super) fn get(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let bucket = read(&bucket);
    let entry = find_data(&bucket, request, request.key()?)?;
    let owner = context.canonical_owner();
    let grants = entry.extra.as_ref().and_then(|extra| extra.grants.clone());
    Ok(Reply::xml(acl::document(&grants.unwrap_or_else(acl::owners), &owner)))
}

/// PutObjectAcl: a canned list or single grants in headers, or a list in the body.
pub(super) fn put(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let owner = context.canonical_owner();
    let grants = match acl::asked(request, &owner)? {
        Some(_) if !request.body.is_empty() => {
            return Err(Refusal::of("UnexpectedContent").saying("This request does not support content"));
        }
        Some(grants) => grants,
        None if request.body.is_empty() => {
            return Err(Refusal::of("MissingSecurityHeader")
                .saying("Your request was missing a required header: x-amz-acl"));
        }
        None => {
            context.check_integrity()?;
            let root = xml_in::parse(&request.body).ok();
            root.and_then(|root| acl::read(&root, &owner)).ok_or_else(|| Refusal::of("MalformedACLError"))?
        }
    };
    context.change(request, |_, entry| {
        entry.extra.get_or_insert_default().grants = Some(grants);
        Ok(Reply::empty(200))
    })
}
