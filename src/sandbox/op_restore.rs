//! RestoreObject: data out of an archive, after as long as the sandbox is told that it takes.

use super::entry::Restore;
use super::ops::Context;
use super::refusal::Refusal;
use super::reply::Reply;
use super::request::Request;
use super::xml_in::{self, Element};
use crate::model::{STORAGE_CLASSES, Timestamp};

const MILLIS_A_SECOND: i64 = 1000;
const MILLIS_A_DAY: i64 = 24 * 60 * 60 * MILLIS_A_SECOND;

/// The days and the tier that a request asks for.
fn read_request<'d>(root: &'d Element<'d>) -> Option<(i64, &'d str)> {
    let parameters = root.children.iter().find(|child| child.name == "GlacierJobParameters");
    let tier = parameters.and_then(|child| child.child_text("Tier")).or_else(|| root.child_text("Tier"));
    let days = root.child_text("Days")?.trim().parse().ok().filter(|days| *days >= 1)?;
    let tier = tier.map_or("Standard", str::trim);
    let is_known = ["Expedited", "Standard", "Bulk"].contains(&tier);
    (root.name == "RestoreRequest" && is_known).then_some((days, tier))
}

/// RestoreObject.
pub(super) fn restore(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let root = xml_in::parse(&request.body).map_err(|_| Refusal::of("MalformedXML"))?;
    let (days, tier) = read_request(&root).ok_or_else(|| Refusal::of("MalformedXML"))?;
    let later = |at: Timestamp, millis: i64| Timestamp::from_millis(at.as_millis().saturating_add(millis));
    context.change(request, |_, entry| {
        let class = STORAGE_CLASSES[usize::from(entry.class)];
        if !entry.is_archived() {
            return Err(Refusal::of("InvalidObjectState")
                .saying("Restore is not allowed for the object's current storage class")
                .with("StorageClass", class));
        }
        if class == "DEEP_ARCHIVE" && tier == "Expedited" {
            return Err(Refusal::argument(
                "Tier",
                tier,
                "Expedited retrieval is not supported for this storage class",
            ));
        }
        let before = entry.restore(context.now);
        if before.is_some_and(|restore| context.now < restore.ready) {
            return Err(Refusal::of("RestoreAlreadyInProgress"));
        }
        let wait = i64::try_from(context.restore_secs).unwrap_or(i64::MAX).saturating_mul(MILLIS_A_SECOND);
        let ready = before.map_or_else(|| later(context.now, wait), |restore| restore.ready);
        let from = if before.is_some() { context.now } else { ready };
        let expiry = later(from, days.saturating_mul(MILLIS_A_DAY));
        entry.extra.get_or_insert_default().restore = Some(Restore { ready, expiry });
        Ok(Reply::empty(if before.is_some() { 200 } else { 202 }))
    })
}
