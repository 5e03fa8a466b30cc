//! What a disk that fills up means for the run: listing waits, and where that does not help the run
//! drains, resumable, before anything is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::checkpoint::Room;

use super::Ending;
use super::context::Context;

/// How often the progress of a run that is low on disk is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a run that is low on disk may go on without sending anything: what is left to carry out
/// may wait for the listing that waits for room.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// Why the run must end for its disk, if it must: `pending` versions are planned and not settled, and
/// nothing was in flight or settled for `still`.
fn reason(room: Room, carries_out: bool, pending: u64, still: Duration) -> Option<&'static str> {
    match room {
        Room::Enough => None,
        Room::Full => Some("the disk of the state directory is full"),
        // Nothing that is under way can make room.
        Room::Low if !carries_out || pending == 0 => {
            Some("too little is free on the disk of the state directory to plan more")
        }
        Room::Low if still >= STUCK_AFTER => {
            Some("little is free on the disk of the state directory, and nothing more can be carried out")
        }
        Room::Low => None,
    }
}

/// Ends the run where its disk demands it. `carries_out` tells that planned versions are deleted
/// meanwhile.
pub(super) async fn watch(ctx: Arc<Context>, mut room: watch::Receiver<Room>, carries_out: bool) {
    let (mut pending, mut moved_at) = (u64::MAX, Instant::now());
    let mut was_low = false;
    loop {
        let now = *room.borrow_and_update();
        if now == Room::Low && !was_low {
            tracing::warn!("little is free on the disk of the state directory: listing waits");
        }
        was_low = now == Room::Low;
        let left = ctx.pending.load(Ordering::Acquire);
        let is_held = ctx.caller.pace.reins().is_paused();
        if left != pending || is_held || ctx.caller.metrics.progress().in_flight > 0 {
            (pending, moved_at) = (left, Instant::now());
        }
        if let Some(text) = reason(now, carries_out, left, moved_at.elapsed()) {
            ctx.stop.drain(Ending::LocalIo(format!("{text}; free some space and run again to go on")));
            return;
        }
        tokio::select! {
            changed = room.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_for_its_disk_only_where_nothing_else_helps() {
        let ends = |room, carries_out, pending, secs| {
            reason(room, carries_out, pending, Duration::from_secs(secs)).is_some()
        };
        assert!(!ends(Room::Enough, false, 0, 9_999));
        assert!(ends(Room::Full, true, 5, 0));
        assert!(!ends(Room::Low, true, 5, 0), "deletions go on, listing waits");
        assert!(ends(Room::Low, true, 0, 0), "nothing left to carry out");
        assert!(ends(Room::Low, false, 5, 0), "a plan only grows");
        assert!(ends(Room::Low, true, 5, 10), "stuck");
    }
}
