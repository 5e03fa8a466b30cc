//! One destination key, listed from its newest entry to its oldest.

use crate::model::{Key, Marker, Version};
use crate::rules::{KeyOrder, Sequenced, sequence};
use crate::s3::{ListVersions, Operation, S3Error};

use super::super::chains::CHAIN_ENTRIES_MAX;
use super::super::context::{Context, locked};
use super::side::Side;

/// Entries of a destination key that are looked at: as many as a chain may have, and as many before.
/// Keeps the memory bounded.
const LOOK_ENTRIES_MAX: usize = 2 * CHAIN_ENTRIES_MAX;

/// Why a key could not be looked at.
pub(super) enum Unseen {
    /// The run stops.
    Stopped,
    /// The server refused, or did not answer.
    Refused(Box<S3Error>),
    /// It has more entries than are looked at.
    TooLong(String),
    /// Its entries come in an order that tells nothing.
    Disordered(String),
}

/// All entries of a destination key, newest first.
pub(super) async fn entries_of(ctx: &Context, side: &Side, key: &Key) -> Result<Vec<Sequenced>, Unseen> {
    let mut versions: Vec<Version> = Vec::new();
    let mut from: Option<Marker> = None;
    let caller = side.caller(ctx);
    loop {
        let request =
            ListVersions { prefix: key.as_bytes(), from: from.as_ref(), page_size: 1000, wants_data: true };
        let page = caller
            .call_other(Operation::ListObjectVersions, &ctx.stop, || caller.client.list_versions(&request))
            .await;
        let page = match page {
            Ok(Some(page)) => page,
            Ok(None) => return Err(Unseen::Stopped),
            Err(error) => return Err(Unseen::Refused(Box::new(error))),
        };
        let is_behind = page.versions.iter().any(|version| version.key != *key);
        versions.extend(page.versions.into_iter().filter(|version| version.key == *key));
        if versions.len() > LOOK_ENTRIES_MAX {
            let what = format!("the destination key has more than {LOOK_ENTRIES_MAX} entries");
            return Err(Unseen::TooLong(what));
        }
        match page.next {
            Some(next) if !is_behind && next.key == *key => from = Some(next),
            _ => break,
        }
    }
    let mut order = side.page_order();
    let entries = sequence(versions, &mut order, KeyOrder::Bytes)
        .map_err(|fault| Unseen::Disordered(fault.to_string()))?;
    let known = locked(&side.order).join(order, key);
    known.map_err(|fault| Unseen::Disordered(fault.to_string()))?;
    Ok(entries)
}
