//! Retention and legal hold of single versions.

use super::clock;
use super::entry::{Lock, RetentionMode};
use super::op_object::find_data;
use super::ops::{Context, bypasses_governance};
use super::refusal::Refusal;
use super::reply::Reply;
use super::request::Request;
use super::store::{Bucket, read};
use super::xml_in;
use super::xml_out::Xml;

fn check_enabled(bucket: &Bucket) -> Result<(), Refusal> {
    if bucket.object_lock {
        return Ok(());
    }
    Err(Refusal::of("InvalidRequest").saying("Bucket is missing Object Lock Configuration"))
}

fn lock_to_show(context: &Context<'_>, request: &Request) -> Result<Lock, Refusal> {
    let bucket = context.bucket(request)?;
    let bucket = read(&bucket);
    check_enabled(&bucket)?;
    Ok(find_data(&bucket, request, request.key()?)?.lock())
}

/// GetObjectRetention.
pub(super) fn retention(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let Some((mode, until)) = lock_to_show(context, request)?.retention else {
        return Err(Refusal::of("NoSuchObjectLockConfiguration"));
    };
    let mut xml = Xml::root("Retention");
    xml.leaf("Mode", if mode == RetentionMode::Governance { "GOVERNANCE" } else { "COMPLIANCE" });
    xml.leaf("RetainUntilDate", until.to_string());
    Ok(Reply::xml(xml.finish()))
}

/// GetObjectLegalHold.
pub(super) fn legal_hold(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let lock = lock_to_show(context, request)?;
    let mut xml = Xml::root("LegalHold");
    xml.leaf("Status", if lock.legal_hold { "ON" } else { "OFF" });
    Ok(Reply::xml(xml.finish()))
}

/// PutObjectRetention: a lock becomes longer; shorter, weaker or none only where governance may be
/// passed over.
pub(super) fn put_retention(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    context.check_integrity()?;
    let root = xml_in::parse(&request.body).map_err(|_| Refusal::of("MalformedXML"))?;
    let mode = match root.child_text("Mode").map(str::trim) {
        None => None,
        Some("GOVERNANCE") => Some(RetentionMode::Governance),
        Some("COMPLIANCE") => Some(RetentionMode::Compliance),
        Some(_) => return Err(Refusal::of("MalformedXML")),
    };
    let until = root.child_text("RetainUntilDate").map(|text| clock::parse_rfc_3339(text.trim()));
    let wanted = match (mode, until) {
        _ if root.name != "Retention" => return Err(Refusal::of("MalformedXML")),
        (None, None) => None,
        (Some(mode), Some(Some(until))) => Some((mode, until)),
        _ => return Err(Refusal::of("MalformedXML")),
    };
    if wanted.is_some_and(|(_, until)| until <= context.now) {
        return Err(Refusal::of("InvalidArgument").saying("The retain until date must be in the future!"));
    }
    context.change(request, |bucket, entry| {
        check_enabled(bucket)?;
        let may_bypass = bypasses_governance(request, bucket)?;
        let lock = &mut entry.extra.get_or_insert_default().lock;
        let in_force = lock.retention.filter(|(_, until)| context.now < *until);
        let is_allowed = match (in_force, wanted) {
            (None, _) => true,
            (Some((old, since)), Some((new, until)))
                if until >= since && (old == new || old == RetentionMode::Governance) =>
            {
                true
            }
            (Some((RetentionMode::Governance, _)), _) => may_bypass,
            (Some((RetentionMode::Compliance, _)), _) => false,
        };
        if !is_allowed {
            return Err(
                Refusal::of("AccessDenied").saying("Access Denied because object protected by object lock.")
            );
        }
        lock.retention = wanted;
        Ok(Reply::empty(200))
    })
}

/// PutObjectLegalHold.
pub(super) fn put_legal_hold(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    context.check_integrity()?;
    let root = xml_in::parse(&request.body).map_err(|_| Refusal::of("MalformedXML"))?;
    let legal_hold = match (root.name, root.child_text("Status").map(str::trim)) {
        ("LegalHold", Some("ON")) => true,
        ("LegalHold", Some("OFF")) => false,
        _ => return Err(Refusal::of("MalformedXML")),
    };
    context.change(request, |bucket, entry| {
        check_enabled(bucket)?;
        entry.extra.get_or_insert_default().lock.legal_hold = legal_hold;
        Ok(Reply::empty(200))
    })
}
