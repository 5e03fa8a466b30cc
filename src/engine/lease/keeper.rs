//! While the run works: the lock is renewed, and the run ended in time where that does not succeed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::super::errors::ending_of_s3;
use super::super::{Ending, Stop};
use super::hold::Hold;
use super::object::{Desk, Put, Trouble};
use super::state::{Duty, Found, Holding, Standing};
use crate::s3::Expect;

/// The clock of sleeping tasks stands still while the machine is suspended, that of the lock goes on: no
/// sleep is longer.
const NAP_MAX: Duration = Duration::from_secs(1);

/// What the keeper needs.
pub(super) struct Kept {
    pub(super) desk: Arc<Desk>,
    pub(super) holding: Holding,
    pub(super) stop: Arc<Stop>,
    /// Whether the run has ended.
    pub(super) ended: watch::Receiver<bool>,
}

/// Renews the lock until the run ends; `None` where the lock was lost.
pub(super) async fn keep(kept: Kept) -> Option<Holding> {
    let Kept { desk, mut holding, stop, mut ended } = kept;
    let mut was_refused = false;
    loop {
        let now = desk.now();
        if holding.standing(now) == Standing::Over {
            return None;
        }
        let duty = holding.duty(now);
        match duty {
            Duty::Rest(until) => {
                let may_write_early = holding.is_certain();
                tokio::select! {
                    () = run_ends(&mut ended) => return Some(holding),
                    () = desk.renamed.notified(), if may_write_early => {
                        was_refused = renew(&desk, &mut holding, &stop).await;
                    }
                    () = tokio::time::sleep(until.saturating_sub(now).min(NAP_MAX)) => {}
                }
            }
            Duty::Renew => was_refused = renew(&desk, &mut holding, &stop).await,
            Duty::Look => {
                let beat = holding.beat();
                if let Some(lost) = look(&desk, &mut holding).await {
                    stop.abort(Ending::Interrupted(format!(
                        "the lock {} was lost, nothing more was sent: {lost}; run again to go on",
                        desk.place()
                    )));
                    return None;
                }
                if was_refused && holding.beat() == beat {
                    fails(&desk, &mut holding, "the server refused it, though nothing has changed");
                }
            }
        }
    }
}

/// Returns once the run has ended.
async fn run_ends(ended: &mut watch::Receiver<bool>) {
    // A sender that is gone will never say it.
    let _told = ended.wait_for(|ended| *ended).await;
}

/// Writes the object anew; whether the server refused that.
async fn renew(desk: &Desk, holding: &mut Holding, stop: &Stop) -> bool {
    let (beat, etag) = holding.begin(desk.now());
    match desk.put(&desk.note(beat), Expect::Etag(&etag)).await {
        Put::Done { etag, version_id, sent_at } => {
            holding.written(etag, sent_at);
            desk.made(version_id);
            desk.confirmed(holding);
            if let Err(error) = desk.tidy().await {
                stop.abort(ending_of_s3(&error));
            }
        }
        // Looked at next, at once: a write of ours whose answer was lost may be what is in the way.
        Put::Refused => return true,
        Put::Open(why) | Put::Failed(Trouble::Passing(why)) => fails(desk, holding, &why),
        Put::Failed(Trouble::Lasting(error)) => fails(desk, holding, &error.to_string()),
    }
    false
}

fn fails(desk: &Desk, holding: &mut Holding, why: &str) {
    desk.not_renewed(why);
    holding.failed(desk.now());
}

/// Looks at the object; why the lock is lost, where it is.
async fn look(desk: &Desk, holding: &mut Holding) -> Option<String> {
    match desk.look().await {
        Ok((seen, version_id)) => match holding.looked(seen) {
            Found::Held => {
                desk.made(version_id);
                desk.confirmed(holding);
                None
            }
            Found::Old => {
                holding.failed(desk.now());
                None
            }
            Found::Lost(why) => Some(why),
        },
        Err(Trouble::Passing(why)) => {
            fails(desk, holding, &why);
            None
        }
        Err(Trouble::Lasting(error)) => {
            fails(desk, holding, &error.to_string());
            None
        }
    }
}

/// Ends the run when the lock was not renewed for too long: no new work first, and nothing at all before
/// another host may take the lock over.
pub(super) async fn watch(hold: Arc<Hold>) {
    let mut sent_at = hold.watch();
    loop {
        let since = *sent_at.borrow_and_update();
        let next = match hold.look() {
            Standing::Firm => hold.terms().drain_after(),
            Standing::Wanes => hold.terms().abort_after(),
            Standing::Over => return,
        };
        let left = (since + next).saturating_sub(hold.now());
        tokio::select! {
            changed = sent_at.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(left.clamp(Duration::from_millis(1), NAP_MAX)) => {}
        }
    }
}

/// Gives the lock back and tidies up. Where nothing was there before, nothing stays; otherwise the note
/// that the lock is given back does: without it a version of a former holder would be the lock again.
pub(super) async fn give_back(desk: &Desk, mut holding: Holding, created: bool) {
    let stays = |why: &str| {
        desk.not_given_back(&format!(
            "the lock {} could not be given back, others wait for it until it is silent for {} s: {why}",
            desk.place(),
            desk.terms.ttl.as_secs()
        ));
    };
    if !holding.is_certain()
        && let Some(lost) = look(desk, &mut holding).await
    {
        return stays(&lost);
    }
    if holding.standing(desk.now()) == Standing::Over {
        return stays("it is too old");
    }
    let (beat, etag) = holding.begin(desk.now());
    let mut note = desk.note(beat);
    note.released = true;
    match desk.put(&note, Expect::Etag(&etag)).await {
        Put::Done { version_id, .. } => {
            desk.made(version_id);
            if created {
                desk.give_up_versions().await;
            } else if let Err(error) = desk.tidy().await {
                tracing::error!("deleting a version of the lock: {error}");
            }
        }
        Put::Refused => stays("it changed"),
        Put::Open(why) | Put::Failed(Trouble::Passing(why)) => stays(&why),
        Put::Failed(Trouble::Lasting(error)) => stays(&error.to_string()),
    }
}
