//! Sends notices to webhooks: signed, tried again while that makes sense, and kept where it does not.
//!
//! A notice is written to the state directory as a letter before it is sent, and the letter goes when the
//! receiver has taken it. So a process that is killed while it sends, or whose receivers are away, loses none;
//! the next command of the job sends what is left, in the background. Nothing here can fail a run or keep it
//! longer than it is told to wait.

mod delivery;
mod letters;
mod signature;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::model::Timestamp;
use crate::notice::{Hook, Notice};

use delivery::{Parcel, Undelivered, deliver};
use letters::{Held, Letter, Letters};

pub use signature::{SIGNATURE_HEADER, sign};

/// How long the end of a command waits for its receivers, all of them together.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The same after a signal: whoever stops a process soon kills it.
pub const PATIENCE_AFTER_SIGNAL: Duration = Duration::from_secs(5);
/// How long one letter of an earlier run is tried.
const PATIENCE_FOR_LETTERS: Duration = Duration::from_secs(30);

/// Hears of what goes wrong: a sentence at a time, without secrets.
pub type Troubles = Arc<dyn Fn(&str) + Send + Sync>;

/// The way to the receivers of one job.
pub struct Post {
    hooks: Arc<Vec<Hook>>,
    letters: Arc<Letters>,
    troubles: Troubles,
    /// What goes on beside the run: letters of earlier runs. Nobody waits for them; ends when this is dropped.
    late: JoinSet<()>,
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Post").field("hooks", &self.hooks).finish_non_exhaustive()
    }
}

impl Post {
    /// Opens the post of a job, and begins to send what earlier runs could not.
    pub fn open(hooks: Vec<Hook>, state_dir: &Path, troubles: Troubles) -> Self {
        let (hooks, letters) = (Arc::new(hooks), Arc::new(Letters::new(state_dir)));
        let mut late = JoinSet::new();
        if !hooks.is_empty() && letters.are_there() {
            let sent = send_letters(Arc::clone(&hooks), Arc::clone(&letters), Arc::clone(&troubles));
            late.spawn(sent.in_current_span());
        }
        Self { hooks, letters, troubles, late }
    }

    /// Whether nobody wants to hear of anything.
    pub fn is_idle(&self) -> bool {
        self.hooks.is_empty()
    }

    /// Sends a notice to every hook that wants to hear of it. Returns when all have it, when `patience` is at an
    /// end, or when `interrupted` is: what was not delivered by then stays as a letter, and so do those of earlier
    /// runs, which go on until then and are not waited for.
    pub async fn send(self, notice: &Notice, patience: Duration, interrupted: impl Future<Output = ()>) {
        let until = Instant::now() + patience;
        let mut tasks = JoinSet::new();
        for hook in self.hooks.iter().filter(|hook| hook.hears(notice.event)) {
            let parcel = Parcel::of(hook, notice, delivery_id());
            let held = match self.letters.write(notice.run.as_deref(), &hook.id, &parcel, local_now()) {
                Ok(held) => Some(held),
                Err(error) => {
                    (self.troubles)(&format!(
                        "a notification that cannot be delivered will be lost: {error}"
                    ));
                    None
                }
            };
            let sent = send_one(hook.clone(), parcel, held, until, Arc::clone(&self.troubles));
            tasks.spawn(sent.in_current_span());
        }
        let all = async { while tasks.join_next().await.is_some() {} };
        let is_all_sent = tokio::select! {
            () = all => true,
            () = tokio::time::sleep_until(until + delivery::SLACK) => false,
            () = interrupted => false,
        };
        if !is_all_sent {
            (self.troubles)(
                "nobody waits any more for notifications that are under way: the next run sends them",
            );
        }
        // A receiver that hangs over an old letter must not delay the end of a run that it has heard of.
        drop(self.late);
    }
}

async fn send_one(hook: Hook, parcel: Parcel, held: Option<Held>, until: Instant, troubles: Troubles) {
    match (deliver(&hook, &parcel, until).await, held) {
        (Ok(()), held) => {
            tracing::debug!(hook = hook.id, delivery = parcel.delivery, "notified");
            if let Some(Err(error)) = held.map(Held::delivered) {
                troubles(&error);
            }
        }
        (Err(Undelivered { attempts, why }), held) => {
            let fate = match held.map(|held| held.keep(attempts, &why)) {
                Some(Ok(path)) => format!("kept in {} for the next run of the job", path.display()),
                Some(Err(error)) => error,
                None => "it is lost".to_owned(),
            };
            let tried = if attempts == 1 { "once".to_owned() } else { format!("{attempts} times") };
            troubles(&format!(
                "a notification to {} was not delivered, tried {tried}: {why}; {fate}",
                hook.id
            ));
        }
    }
}

/// Sends what earlier runs left: to each hook the oldest first, to all of them side by side, so that none waits
/// for another. Ends the sending when it is dropped.
async fn send_letters(hooks: Arc<Vec<Hook>>, letters: Arc<Letters>, troubles: Troubles) {
    let (waiting, given_up) = letters.waiting(local_now());
    if given_up > 0 {
        troubles(&format!("{given_up} old notifications are given up"));
    }
    if !waiting.is_empty() {
        tracing::info!("{} notifications of earlier runs are still to be delivered", waiting.len());
    }
    // Those of other hooks are free for whoever knows these.
    let mut of_hooks: BTreeMap<String, Vec<(Held, Letter)>> = BTreeMap::new();
    for (held, letter) in waiting {
        of_hooks.entry(letter.hook.clone()).or_default().push((held, letter));
    }
    let mut tasks = JoinSet::new();
    for hook in hooks.iter() {
        if let Some(waiting) = of_hooks.remove(&hook.id) {
            let sent = send_letters_to(hook.clone(), waiting, Arc::clone(&troubles));
            tasks.spawn(sent.in_current_span());
        }
    }
    drop(of_hooks);
    while tasks.join_next().await.is_some() {}
}

/// Sends one hook its letters. Where it does not take one it is left alone until the next run.
async fn send_letters_to(hook: Hook, waiting: Vec<(Held, Letter)>, troubles: Troubles) {
    for (held, letter) in waiting {
        let delivered = deliver(&hook, &letter.parcel, Instant::now() + PATIENCE_FOR_LETTERS).await;
        let is_silent = delivered.is_err();
        let done = match delivered {
            Ok(()) => {
                let run = letter.run.as_deref().unwrap_or("none");
                tracing::info!(hook = hook.id, "a notification of run {run} was delivered late");
                held.delivered()
            }
            Err(Undelivered { attempts, why }) => {
                troubles(&format!("notifications of earlier runs to {} stay undelivered: {why}", hook.id));
                held.keep(attempts, &why).map(drop)
            }
        };
        if let Err(error) = done {
            troubles(&error);
        }
        if is_silent {
            return;
        }
    }
}

/// Names one notice to one receiver: 128 bits of chance.
fn delivery_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// This machine's time.
fn local_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
