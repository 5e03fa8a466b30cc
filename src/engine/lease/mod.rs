//! The lock across hosts: takes it, keeps it while the run works, gives it back.
//!
//! What to do when is decided in [`state`]; here are the requests. Every write makes a version where the
//! bucket keeps them: the versions that this process made itself are deleted by their ids once they are
//! superseded, and nothing else is ever deleted. The version that the lock was taken over from stays.

mod hold;
mod keeper;
mod note;
mod object;
mod state;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::job::LockSpec;
use crate::s3::Expect;

use super::caller::Caller;
use super::errors::ending_of_s3;
use super::{Ending, Stop};
pub(super) use hold::{Hold, UnderWay};
use keeper::Kept;
use note::{Holder, Note};
use object::{Desk, Put};
use state::{Approach, Found, Holding, Standing, approach};

/// How often taking the lock is begun anew where others write at the same time or answers get lost.
const TRIES_MAX: u32 = 8;
/// An ETag that no write of ours can have.
const NO_ETAG: &str = "\"00000000000000000000000000000000\"";

/// The lock, kept by a task until it is given back.
pub(super) struct Lease {
    desk: Arc<Desk>,
    keeper: JoinHandle<Option<Holding>>,
    watchdog: JoinHandle<()>,
    end: watch::Sender<bool>,
    /// Nothing was there when the lock was taken, so nothing is left when it is given back.
    created: bool,
}

/// A write that took the lock, if it was carried out.
struct Bid {
    beat: u64,
    sent_at: Duration,
    epoch: u64,
    created: bool,
}

/// Takes the lock, makes sure that the server keeps conditions, and starts to renew it. `stop` is what
/// ends the run when the lock is lost.
///
/// # Errors
/// The end of the run: somebody else has the lock, something else lies under its key, the server does not
/// keep conditions, credentials, an outage.
pub(super) async fn take(
    spec: &LockSpec,
    job: &str,
    host: String,
    caller: Caller,
    stop: Arc<Stop>,
) -> Result<Lease, Ending> {
    let holder = Holder {
        job: job.to_owned(),
        id: format!("{:032x}", fastrand::u128(..)),
        host,
        pid: std::process::id(),
        ttl_secs: spec.ttl.as_secs(),
    };
    let mut desk = Desk::new(spec, holder, caller, Arc::clone(&stop));
    let (mut holding, created) = win(&mut desk).await?;
    if let Err(ending) = prove(&desk, &mut holding).await {
        if !matches!(ending, Ending::Usage(_) | Ending::Locked(_)) {
            keeper::give_back(&desk, holding, created).await;
        }
        return Err(ending);
    }
    let desk = Arc::new(desk);
    desk.confirmed(&holding);
    let (end, ended) = watch::channel(false);
    let watchdog = tokio::spawn(keeper::watch(Arc::clone(&desk.hold)));
    let keeper = tokio::spawn(keeper::keep(Kept { desk: Arc::clone(&desk), holding, stop, ended }));
    tracing::info!("holds the lock {}", desk.place());
    Ok(Lease { desk, keeper, watchdog, end, created })
}

/// Looks and writes until the lock is ours or somebody else's.
async fn win(desk: &mut Desk) -> Result<(Holding, bool), Ending> {
    let mut bids: Vec<Bid> = Vec::new();
    let mut last = String::new();
    for beat in 1..=u64::from(TRIES_MAX) {
        let (seen, version_id) = match desk.look().await {
            Ok(looked) => looked,
            Err(why) => {
                last = refusal(desk, why)?;
                continue;
            }
        };
        let (expects, epoch, created) = match approach(seen, &desk.holder.job, &desk.holder.id) {
            Approach::Held(note) => {
                return Err(Ending::Locked(format!("another run holds the lock {}: {note}", desk.place())));
            }
            Approach::Occupied(what) => {
                return Err(Ending::Usage(format!("what lies at {} {what}. Nothing was done", desk.place())));
            }
            Approach::Have { etag, beat } => {
                let Some(bid) = bids.into_iter().find(|bid| bid.beat == beat) else {
                    return Err(Ending::Bug("the lock holds a write that was never made".into()));
                };
                return Ok(won(desk, &bid, etag, version_id));
            }
            Approach::Create => (None, 1, true),
            Approach::Replace { etag, was } => {
                if !was.released {
                    tracing::warn!("takes over the lock {} of a holder that is silent: {was}", desk.place());
                }
                (Some(etag), was.epoch.saturating_add(1), false)
            }
        };
        let bid = Bid { beat, sent_at: desk.now(), epoch, created };
        let note = Note::new(&desk.holder, epoch, beat, desk.since.clone());
        let expect = expects.as_deref().map_or(Expect::Absent, Expect::Etag);
        match desk.put(&note, expect).await {
            Put::Done { etag, version_id, sent_at } => {
                return Ok(won(desk, &Bid { sent_at, ..bid }, etag, version_id));
            }
            Put::Refused => last = "others write to it at the same time".into(),
            Put::Open(why) => last = why,
            Put::Failed(error) => last = refusal(desk, error)?,
        }
        bids.push(bid);
    }
    Err(Ending::Interrupted(format!("the lock {} could not be taken: {last}", desk.place())))
}

fn won(
    desk: &mut Desk,
    bid: &Bid,
    etag: Box<str>,
    version_id: Option<crate::model::VersionId>,
) -> (Holding, bool) {
    desk.epoch = bid.epoch;
    desk.made(version_id);
    (Holding::new(desk.terms, desk.holder.id.clone(), bid.beat, etag, bid.sent_at), bid.created)
}

/// The end that an error means, or its text where another try may help.
fn refusal(desk: &Desk, error: object::Trouble) -> Result<String, Ending> {
    match error {
        object::Trouble::Passing(why) => Ok(why),
        object::Trouble::Lasting(error) => Err(match ending_of_s3(&error) {
            Ending::Usage(why) => Ending::Usage(format!("the lock {}: {why}", desk.place())),
            Ending::Credentials(why) => Ending::Credentials(format!("the lock {}: {why}", desk.place())),
            ending => ending,
        }),
    }
}

/// What a server must do for its lock to keep somebody away: refuse two writes whose conditions do not
/// hold, and carry out one whose condition holds. A server that does otherwise is found out here, before
/// anything else is done. Each of the first two would write that the lock is given back.
async fn prove(desk: &Desk, holding: &mut Holding) -> Result<(), Ending> {
    let mut note = Note::new(&desk.holder, desk.epoch, u64::from(TRIES_MAX), desk.since.clone());
    note.released = true;
    for (expect, name) in [(Expect::Absent, "If-None-Match"), (Expect::Etag(NO_ETAG), "If-Match")] {
        for tries_left in (0..TRIES_MAX).rev() {
            note.beat += 1;
            let last = match desk.probe(&note, expect).await {
                Put::Refused => break,
                Put::Done { version_id, .. } => {
                    desk.made(version_id);
                    return Err(
                        useless(desk, &format!("does not keep the condition {name} of a write")).await
                    );
                }
                Put::Failed(error) => refusal(desk, error)?,
                Put::Open(why) => why,
            };
            if tries_left == 0 || holding.standing(desk.now()) > Standing::Firm {
                let place = desk.place();
                return Err(Ending::Interrupted(format!("the lock {place} could not be tried out: {last}")));
            }
        }
    }
    let (beat, etag) = holding.begin(desk.now());
    match desk.put(&desk.note(beat), Expect::Etag(&etag)).await {
        Put::Done { etag, version_id, sent_at } => {
            holding.written(etag, sent_at);
            desk.made(version_id);
            desk.tidy().await.map(drop).map_err(|error| ending_of_s3(&error))
        }
        Put::Refused => match desk.look().await {
            Ok((seen, version_id)) => match holding.looked(seen) {
                Found::Lost(why) => Err(Ending::Locked(format!("the lock {}: {why}", desk.place()))),
                Found::Held if holding.beat() == beat => {
                    desk.made(version_id);
                    Ok(())
                }
                _ => Err(useless(desk, "refuses a write whose condition If-Match holds").await),
            },
            // The keeper looks again.
            Err(error) => refusal(desk, error).map(drop),
        },
        Put::Failed(error) => refusal(desk, error).map(drop),
        Put::Open(_) => Ok(()),
    }
}

/// The end of a run whose server cannot hold a lock; what was written to find that out goes again.
async fn useless(desk: &Desk, what: &str) -> Ending {
    desk.give_up_versions().await;
    Ending::Usage(format!(
        "the server {what}, so {} would keep nobody away: leave `lock` out, or name a bucket of a server \
         that does. Nothing was done",
        desk.place()
    ))
}

impl Lease {
    /// The run is known now: its id goes into the object at once.
    pub(super) fn name_run(&self, run_id: &str) {
        self.desk.name_run(run_id);
    }

    /// What every request of the run has to ask before it leaves.
    pub(super) fn hold(&self) -> &Arc<Hold> {
        &self.desk.hold
    }

    /// Gives the lock back where it is still ours, and nothing of the run can still be carried out. What
    /// was cut off may be: then the lock runs out by itself.
    pub(super) async fn release(self) {
        let Self { desk, keeper, watchdog, end, created } = self;
        let is_at_rest = desk.hold.close();
        // The keeper may have ended already, with the lock lost.
        let _sent = end.send(true);
        let kept = keeper.await.ok().flatten();
        watchdog.abort();
        match kept {
            Some(_) if !is_at_rest => tracing::warn!(
                "the lock {} is not given back, because a request may still be carried out that was not waited \
                 for: others wait until it is silent for {} s",
                desk.place(),
                desk.terms.ttl.as_secs()
            ),
            Some(holding) => keeper::give_back(&desk, holding, created).await,
            None => {
                desk.not_given_back(&format!("the lock {} was lost, and is not given back", desk.place()))
            }
        }
    }
}
