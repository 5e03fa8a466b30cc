//! What a run shows while it goes on, and what it may be told: the board between the engine, which
//! writes on it, and whoever looks: the exporter's routes, the live page, the terminal.
//!
//! Nothing is gathered for the page while nobody looks at it: the engine waits for a listener.

mod estimate;
mod routes;
mod snapshot;
mod text;
mod token;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};

pub use estimate::{Estimate, Outlook};
pub use snapshot::{
    About, BudgetLeft, Counts, Ended, ErrorRow, FailureRow, PaceFigures, RangeRow, Rates, RuleRow, Snapshot,
    Vitals,
};
pub use text::visible;
pub use token::{TOKEN_CHARS_MIN, Token};

pub(super) use routes::{PATHS, answer};

use token::Guesses;

/// Pages that may be open at a time.
pub(super) const LISTENERS_MAX: usize = 8;
/// Orders that wait to be carried out; each is carried out at once.
const ORDERS_MAX: usize = 4;

/// Where a run stands, for those who ask from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It is not under way yet: what it waits for.
    Starting(&'static str),
    /// It lists and decides; nothing is sent.
    Planning,
    /// The plan waits for its answer on the terminal.
    Confirming,
    /// It changes the bucket.
    Running,
    /// What is in flight is brought to its end: why.
    Stopping(String),
    /// It has ended.
    Ended(Ended),
}

impl Phase {
    /// The word in metrics and on the page.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Starting(_) => "starting",
            Self::Planning => "planning",
            Self::Confirming => "confirming",
            Self::Running => "running",
            Self::Stopping(_) => "stopping",
            Self::Ended(_) => "ended",
        }
    }

    /// What the run is doing where it is not ready, in fixed words: why it stops may name keys, and probes are
    /// answered to everybody.
    fn obstacle(&self) -> Option<String> {
        match self {
            Self::Starting(what) => Some(format!("starting: {what}")),
            Self::Planning | Self::Confirming | Self::Running => None,
            Self::Stopping(_) => Some("stopping".into()),
            Self::Ended(ended) => Some(format!("ended: {}", ended.word)),
        }
    }
}

/// What an operator orders.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// No request leaves any more.
    Pause,
    /// Requests leave again.
    Resume,
    /// At most so many versions a second, never more than the job says; `None` puts that back.
    Pace(Option<u32>),
}

/// What holds once an order was carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Obeyed {
    /// Whether the run is paused.
    pub is_paused: bool,
    /// The ceiling of versions a second.
    pub ceiling_per_second: Option<u32>,
}

/// An order on its way to the run, and the way back.
#[derive(Debug)]
pub struct Errand {
    /// What to do.
    pub order: Order,
    /// To be told when it is done.
    pub done: oneshot::Sender<Obeyed>,
}

/// How the live page is offered.
#[derive(Clone, Debug, Default)]
pub struct PageSettings {
    /// Who knows it may steer the run; without it the page only shows.
    pub token: Option<Token>,
    /// Names beside `localhost` and addresses by which the page may be asked for.
    pub hosts: Vec<String>,
}

/// Reads the vitals of a run.
type Reader = Box<dyn Fn() -> Vitals + Send + Sync>;

/// A snapshot as it goes over the wire.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) json: String,
    pub(super) is_last: bool,
}

/// The live page's part of the board.
struct Page {
    settings: PageSettings,
    guesses: Mutex<Guesses>,
    listeners: watch::Sender<usize>,
    frame: watch::Sender<Arc<Frame>>,
    latest: Mutex<Snapshot>,
    /// To the run, while it takes orders.
    errands: Mutex<Option<mpsc::Sender<Errand>>>,
}

/// What a run shows, and what it is told.
pub struct Board {
    about: About,
    phase: watch::Sender<Phase>,
    reader: Mutex<Option<Reader>>,
    page: Option<Page>,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("phase", &*self.phase.borrow()).finish_non_exhaustive()
    }
}

/// What is inside is plain values: whoever panicked left nothing broken.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    /// For a run that has not begun; `page` where the live page is wanted.
    pub fn new(about: About, page: Option<PageSettings>) -> Self {
        let has_control = page.as_ref().is_some_and(|page| page.token.is_some());
        let about = About { has_control, version: env!("CARGO_PKG_VERSION"), ..about };
        let phase = Phase::Starting("the run lock is not held yet");
        let page = page.map(|settings| {
            let latest = Snapshot { about: about.clone(), ..dressed(Snapshot::default(), &phase) };
            let frame = Arc::new(Frame { json: json(&latest), is_last: false });
            Page {
                settings,
                guesses: Mutex::default(),
                listeners: watch::Sender::new(0),
                frame: watch::Sender::new(frame),
                latest: Mutex::new(latest),
                errands: Mutex::default(),
            }
        });
        Self { about, phase: watch::Sender::new(phase), reader: Mutex::default(), page }
    }

    /// The run has come to another phase. What has ended stays ended, and what stops does not go on.
    pub fn enter(&self, phase: Phase) {
        let is_over = |phase: &Phase| matches!(phase, Phase::Stopping(_) | Phase::Ended(_));
        let entered = self.phase.send_if_modified(|now| {
            let may = match (&*now, &phase) {
                (Phase::Ended(_), _) => false,
                (now, next) => !is_over(now) || is_over(next),
            };
            if may {
                *now = phase.clone();
            }
            may
        });
        if entered && let Some(page) = &self.page {
            let snapshot = locked(&page.latest).clone();
            self.show(page, snapshot);
        }
    }

    /// Where the run stands.
    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// What the run is doing where it is not ready, in fixed words.
    pub fn obstacle(&self) -> Option<String> {
        self.phase.borrow().obstacle()
    }

    /// From now on the vitals are read so.
    pub fn read_by(&self, reader: impl Fn() -> Vitals + Send + Sync + 'static) {
        *locked(&self.reader) = Some(Box::new(reader));
    }

    /// The vitals go with the run that they are of: who read them lets go of it.
    pub fn read_no_more(&self) {
        *locked(&self.reader) = None;
    }

    /// The vitals, while there is a run.
    pub fn vitals(&self) -> Option<Vitals> {
        locked(&self.reader).as_ref().map(|read| read())
    }

    /// Whether a live page is offered.
    pub const fn has_page(&self) -> bool {
        self.page.is_some()
    }

    /// Whether somebody looks at the page.
    pub fn is_watched(&self) -> bool {
        self.page.as_ref().is_some_and(|page| *page.listeners.borrow() > 0)
    }

    /// Returns when somebody begins to look at the page, or ceases to.
    pub async fn audience_changed(&self) {
        match &self.page {
            Some(page) => {
                let _changed = page.listeners.subscribe().changed().await;
            }
            None => std::future::pending().await,
        }
    }

    /// Shows figures to all who look. What was shown before is not shown again.
    pub fn publish(&self, snapshot: Snapshot) {
        if let Some(page) = &self.page {
            self.show(page, snapshot);
        }
    }

    fn show(&self, page: &Page, snapshot: Snapshot) {
        let phase = self.phase();
        let snapshot = Snapshot { about: self.about.clone(), ..dressed(snapshot, &phase) };
        let mut latest = locked(&page.latest);
        // Time passes without anything to show for it.
        let is_news = Snapshot { now_ms: latest.now_ms, ..snapshot.clone() } != *latest;
        *latest = snapshot;
        if is_news {
            page.frame.send_replace(Arc::new(Frame {
                json: json(&latest),
                is_last: matches!(phase, Phase::Ended(_)),
            }));
        }
    }

    /// The run has ended so: the last thing that is shown. Orders are not taken any more.
    pub fn ended(&self, ended: Ended) {
        self.read_no_more();
        if let Some(page) = &self.page {
            *locked(&page.errands) = None;
        }
        self.enter(Phase::Ended(ended));
    }

    /// Begins to take orders; they end with the receiver. `None` where nobody may give any.
    pub fn take_orders(&self) -> Option<mpsc::Receiver<Errand>> {
        let page = self.page.as_ref().filter(|page| page.settings.token.is_some())?;
        let (sender, receiver) = mpsc::channel(ORDERS_MAX);
        *locked(&page.errands) = Some(sender);
        Some(receiver)
    }
}

impl Page {
    /// Somebody begins to look, unless too many do.
    fn join(self: &Page) -> bool {
        self.listeners.send_if_modified(|listeners| {
            let may = *listeners < LISTENERS_MAX;
            *listeners += usize::from(may);
            may
        })
    }

    fn leave(&self) {
        self.listeners.send_modify(|listeners| *listeners = listeners.saturating_sub(1));
    }

    /// Has an order carried out; `None` where the run takes none.
    async fn order(&self, order: Order) -> Option<Obeyed> {
        let errands = locked(&self.errands).clone()?;
        let (done, obeyed) = oneshot::channel();
        errands.send(Errand { order, done }).await.ok()?;
        obeyed.await.ok()
    }

    /// What becomes of a request that shows this token. The right one is always admitted: others, who may come
    /// from the same address by way of a proxy, must not be able to keep an operator from pausing the run.
    fn admits(&self, given: Option<&[u8]>) -> Admission {
        let Some(token) = &self.settings.token else { return Admission::NoControl };
        if given.is_some_and(|given| token.is(given)) {
            return Admission::Yes;
        }
        let mut guesses = locked(&self.guesses);
        let now = Instant::now();
        if !guesses.is_told(now) {
            return Admission::TooOften;
        }
        guesses.failed(now);
        Admission::No
    }
}

/// Whether a request may steer the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Admission {
    Yes,
    No,
    TooOften,
    NoControl,
}

/// A snapshot with what the phase says.
fn dressed(snapshot: Snapshot, phase: &Phase) -> Snapshot {
    let (reason, ending) = match phase {
        Phase::Starting(what) => (Some((*what).to_owned()), None),
        Phase::Planning | Phase::Confirming | Phase::Running => (None, None),
        Phase::Stopping(why) => (Some(why.clone()), None),
        Phase::Ended(ended) => (None, Some(ended.clone())),
    };
    let is_over = ending.is_some();
    let estimate = if is_over { Estimate::Unknown { why: "it has ended" } } else { snapshot.estimate };
    Snapshot {
        state: phase.word(),
        reason,
        ending,
        estimate,
        is_paused: snapshot.is_paused && !is_over,
        ..snapshot
    }
}

/// Strings and numbers only: it cannot fail, and an empty object would show as nothing known.
fn json(snapshot: &Snapshot) -> String {
    serde_json::to_string(snapshot).unwrap_or_else(|_| "{}".into())
}

#[cfg(test)]
mod tests;
