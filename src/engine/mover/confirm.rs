//! Copies that an earlier process verified, looked for once more before their sources are deleted.
//!
//! Between the two lies a crash, a budget that was reached, or a weekend. Whoever tidied the destination
//! meanwhile must not find that the sources followed.

use std::collections::{BTreeSet, HashMap};

use crate::model::{Batch, Class, Copied, Failure, Item, Key};
use crate::rules::Sequenced;
use crate::s3::S3Error;

use super::super::context::Context;
use super::super::settle::Sent;
use super::history;
use super::look::{self, Unseen};
use super::side::Side;
use super::survey;

/// What is known of a destination key.
enum Seen {
    Entries(Vec<Sequenced>),
    /// What becomes of the deletions of its sources; nothing where the run stops.
    Not(Option<Sent>),
}

/// Looks for the copies of the items at `places`. The places whose copies are there come back; what becomes
/// of the others is noted in `sent`.
pub(in crate::engine) async fn confirm(
    ctx: &Context,
    batch: &Batch,
    places: Vec<usize>,
    sent: &mut [Sent],
) -> Vec<usize> {
    let copied: Vec<(usize, &Copied)> =
        places.iter().filter_map(|at| Some((*at, copy_of(&batch.items[*at])?))).collect();
    if copied.is_empty() {
        return places;
    }
    let Some(side) = ctx.mover.side(batch.action) else { return Vec::new() };
    let seen = look_at(ctx, side, copied.iter().map(|(_, copied)| copied.key.clone()).collect()).await;
    let mut there = Vec::with_capacity(places.len());
    for (at, copied) in copied {
        match seen.get(&copied.key) {
            Some(Seen::Entries(listed)) if history::holds(listed, &batch.items[at], copied) => there.push(at),
            Some(Seen::Entries(_)) => sent[at] = refused("VerificationFailed", gone(copied)),
            Some(Seen::Not(what)) => sent[at] = what.clone().unwrap_or(Sent::Not),
            None => {}
        }
    }
    there
}

/// The copy whose source an item is.
fn copy_of(item: &Item) -> Option<&Copied> {
    item.copy.as_ref()?.copied.as_ref()
}

fn gone(copied: &Copied) -> String {
    format!(
        "the copy {} was at the destination and is not there any more: the source stays",
        copied.version_id
    )
}

fn refused(code: &str, message: impl Into<Box<str>>) -> Sent {
    Sent::Refused { failure: Failure { code: code.into(), message: message.into() }, request_id: None }
}

async fn look_at(ctx: &Context, side: &Side, keys: BTreeSet<Key>) -> HashMap<Key, Seen> {
    let together = survey::ends(ctx, side, keys.iter().cloned()).await;
    let mut seen: HashMap<Key, Seen> =
        together.into_iter().map(|(key, entries)| (key, Seen::Entries(entries))).collect();
    for key in keys {
        if seen.contains_key(&key) {
            continue;
        }
        let what = match look::entries_of(ctx, side, &key).await {
            Ok(entries) => Seen::Entries(entries),
            Err(Unseen::Stopped) => Seen::Not(None),
            Err(Unseen::TooLong(what)) => Seen::Not(Some(refused("DestinationTooLong", what))),
            Err(Unseen::Disordered(what)) => Seen::Not(Some(refused("DestinationConflict", what))),
            Err(Unseen::Refused(error)) => Seen::Not(unanswered(ctx, side, &error).await),
        };
        seen.insert(key, what);
    }
    seen
}

/// What a look that failed means for the deletions behind it.
async fn unanswered(ctx: &Context, side: &Side, error: &S3Error) -> Option<Sent> {
    match error.class {
        Class::Transient | Class::Throttled => {
            ctx.check_outage(&[side.caller(ctx)], error).await;
            Some(Sent::Open {
                code: error.code.clone(),
                message: error.message.clone(),
                retry_after: error.retry_after,
            })
        }
        Class::Credentials | Class::ClockSkew | Class::Elsewhere | Class::Stop => {
            ctx.end_by(error);
            None
        }
        Class::Done | Class::Permanent | Class::Divide | Class::Unsupported => {
            Some(refused(&error.code, error.message.clone()))
        }
    }
}
