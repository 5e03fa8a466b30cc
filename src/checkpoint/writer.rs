//! The thread that owns the checkpoint, and the handle that everybody else has.
//!
//! Commands travel over a bounded channel. The thread takes what is there, up to a limit, into one
//! transaction, so that one write to the disk serves many; each command is answered after the
//! commit and never before.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot, watch};

use super::disk::{DiskGuard, Room};
use super::error::{CheckpointError, Fault};
use super::store::Store;
use super::values::{
    Amount, ChainBase, Claims, FailureCount, FailureRow, Moved, NewRange, PageCommit, RangeRow, RunHeader,
    RunState, Settlement, Split, StateRow, Step, Totals,
};
use super::{chains, commands, rows};
use crate::model::{Journal, Key, Timestamp};

/// Commands that may wait for the writer. A command is one page or one batch, so this bounds the
/// memory to some hundred megabytes in the worst case and to a few in practice.
const COMMANDS_WAITING_MAX: usize = 1024;
/// Commands in one transaction at most.
const COMMANDS_PER_COMMIT_MAX: usize = 256;
/// A transaction takes up no further command after this time: the first one's caller is waiting.
const COLLECT_FOR: Duration = Duration::from_millis(5);
/// Where several ask, a transaction waits until as many as last time have come, but no longer than
/// this: what a commit costs hardly depends on how many it serves.
const GATHER_FOR: Duration = Duration::from_millis(2);
const GATHER_NAP: Duration = Duration::from_micros(200);

/// Answers the caller of a command, when it is known what became of the transaction.
type Reply = Box<dyn FnOnce(Result<(), CheckpointError>) + Send>;
/// Works inside the transaction, or is told why there is none. `Err` where the transaction must not
/// be committed.
type Work = Box<dyn FnOnce(Result<&mut Store, CheckpointError>) -> (Result<(), Fault>, Reply) + Send>;

enum Command {
    Work(Work),
    Close(oneshot::Sender<Result<(), CheckpointError>>),
    /// Reaches into the store, between transactions.
    #[cfg(test)]
    Tamper(Box<dyn FnOnce(&mut Store) + Send>),
}

/// The checkpoint of one run, open for writing. Clones share it.
///
/// Every method answers after its change is durable. After an error of the storage or of the audit
/// every later call gets the same error: the run ends, and goes on when the file is opened again.
#[derive(Clone)]
pub struct Checkpoint {
    commands: mpsc::Sender<Command>,
    changed: watch::Receiver<u64>,
    shared: Arc<Shared>,
}

struct Shared {
    header: RunHeader,
    epoch: u64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Checkpoint {{ run: {:?}, epoch: {} }}", self.shared.header.run_id, self.shared.epoch)
    }
}

impl Checkpoint {
    /// Creates the file of a new run, readable by its owner only. `journal` is the run's audit; it
    /// is emptied.
    ///
    /// # Errors
    /// `Exists`, `Io`, `DiskFull`, `Storage`, `Audit`.
    pub fn create(
        path: &Path,
        header: &RunHeader,
        journal: Option<Box<dyn Journal>>,
    ) -> Result<Self, CheckpointError> {
        Self::start(Store::create(path, header, journal)?)
    }

    /// Opens the file of a run to go on with it: an older schema is migrated, the file is checked
    /// where it was not closed, batches that were handed out are ready again, and the journal is
    /// cut back to the last commit. Whether it is the right run is the caller's to compare, by
    /// [`Checkpoint::header`].
    ///
    /// # Errors
    /// `Missing`, `Foreign`, `Newer` (the file is untouched then), `Corrupt`, `Io`, `DiskFull`,
    /// `Storage`, `Audit`.
    pub fn open(path: &Path, journal: Option<Box<dyn Journal>>) -> Result<Self, CheckpointError> {
        Self::start(Store::open(path, journal)?)
    }

    fn start(store: Store) -> Result<Self, CheckpointError> {
        let (commands, inbox) = mpsc::channel(COMMANDS_WAITING_MAX);
        let (commits, changed) = watch::channel(0);
        let (header, epoch, path) = (store.header.clone(), store.epoch, store.path.clone());
        let thread = std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || Writer { store, inbox, commits, spoilt: None, asked_last: 1 }.run())
            .map_err(|error| CheckpointError::io("starting the writer of", &path, error))?;
        let shared = Arc::new(Shared { header, epoch, thread: Mutex::new(Some(thread)) });
        Ok(Self { commands, changed, shared })
    }

    /// What the run is.
    pub fn header(&self) -> &RunHeader {
        &self.shared.header
    }

    /// How often the file was opened for writing, this time included.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// A number that grows with each commit that changed something.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// Has the disk watched: before each transaction the guard looks whether its ballast must give
    /// way. Returns what tells how much room there is.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn guard_disk(&self, guard: DiskGuard) -> Result<watch::Receiver<Room>, CheckpointError> {
        let room = guard.subscribe();
        self.call(move |store| {
            guard.look();
            store.guard = Some(guard);
            Ok(())
        })
        .await?;
        Ok(room)
    }

    /// Where the run stands.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn state(&self) -> Result<StateRow, CheckpointError> {
        self.call(|store| rows::state(&store.connection)).await
    }

    /// Writes down where the run stands.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn set_state(
        &self,
        state: RunState,
        reason: Option<String>,
        exit_code: Option<i32>,
        at: Timestamp,
    ) -> Result<(), CheckpointError> {
        let row = StateRow { state, reason, exit_code, at };
        self.call(move |store| commands::set_state(store, &row)).await
    }

    /// Adds parts of the key space to list, and returns their rows in the same order.
    ///
    /// # Errors
    /// Those of the storage; `Bug` where a lower bound is not below its upper bound.
    pub async fn add_ranges(&self, ranges: Vec<NewRange>) -> Result<Vec<RangeRow>, CheckpointError> {
        self.call(move |store| commands::add_ranges(store, ranges)).await
    }

    /// All ranges, in the order in which they were added.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn ranges(&self) -> Result<Vec<RangeRow>, CheckpointError> {
        self.call(|store| rows::ranges(&store.connection, &mut store.codec)).await
    }

    /// Commits a page's decisions and the place where the next page begins, in one transaction.
    ///
    /// # Errors
    /// Those of the storage; `Bug` where the counts, the tallies and the items do not add up, or
    /// where numbers of batches could let a latest item go before its elders.
    pub async fn commit_page(&self, page: PageCommit) -> Result<(), CheckpointError> {
        self.call(move |store| commands::commit_page(store, page)).await
    }

    /// Waits for a place among the commands. What is put into it is carried out in the order of the
    /// putting, so that a caller can decide under a lock of its own what it asks for, and let go of the
    /// lock before the commit.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn reserve(&self) -> Result<Slot, CheckpointError> {
        let permit = self.commands.clone().reserve_owned().await;
        permit.map(Slot).map_err(|_| CheckpointError::Closed)
    }

    /// Hands out batches that may be sent at `now`. The ranges take turns in proportion to what they have
    /// left; in the turn of a range a batch that is due for another try comes first, then new ones all
    /// over its keys. A batch of latest items is handed out only after all batches of its elders are
    /// settled.
    ///
    /// # Errors
    /// Those of the storage; `Corrupt` where the items of a batch do not decode.
    pub async fn claim(&self, max_batches: usize, now: Timestamp) -> Result<Claims, CheckpointError> {
        self.claim_beside(max_batches, now, Vec::new(), HashMap::new()).await
    }

    /// As [`Checkpoint::claim`], but takes no new batch of the ranges `resting`, and
    /// [`Claims::next_ready`] does not speak of theirs. Batches that are due for another try are handed
    /// out whatever their range. `pages_left` says what is known of how many pages ranges have that are
    /// still to be listed: their turns count them.
    ///
    /// # Errors
    /// Those of [`Checkpoint::claim`].
    pub async fn claim_beside(
        &self,
        max_batches: usize,
        now: Timestamp,
        mut resting: Vec<i64>,
        pages_left: HashMap<i64, u64>,
    ) -> Result<Claims, CheckpointError> {
        resting.sort_unstable();
        let wanted = commands::Wanted::All;
        self.call(move |store| {
            store.note_pages_left(&pages_left);
            commands::claim(store, max_batches, now, wanted, &resting)
        })
        .await
    }

    /// As [`Checkpoint::claim`], but hands out only batches that are due for another try, and
    /// [`Claims::next_ready`] speaks of those alone. Batches `paid`, as far as they wait to be handed out,
    /// count as due from now on.
    ///
    /// # Errors
    /// Those of [`Checkpoint::claim`].
    pub async fn claim_retries(
        &self,
        max_batches: usize,
        now: Timestamp,
        paid: Vec<i64>,
    ) -> Result<Claims, CheckpointError> {
        self.call(move |store| {
            commands::bring_forward(store, &paid, now)?;
            commands::claim(store, max_batches, now, commands::Wanted::Retries, &[])
        })
        .await
    }

    /// Gives back batches that were handed out and not sent; no attempt is counted.
    ///
    /// # Errors
    /// Those of the storage; `Bug` where one is not handed out: then none is given back.
    pub async fn release(&self, batch_ids: Vec<i64>) -> Result<(), CheckpointError> {
        self.call(move |store| commands::release(store, &batch_ids)).await
    }

    /// Notes that the first `granted` items of a batch that was handed out may be sent from now on.
    /// Only budgets need it: after a crash they count what may have been applied.
    ///
    /// # Errors
    /// Those of the storage; `Bug` where the batch is not handed out.
    pub async fn note_granted(&self, batch: i64, granted: usize) -> Result<(), CheckpointError> {
        self.call(move |store| commands::note_granted(store, batch, granted)).await
    }

    /// What may have been sent of each batch without its outcome being known, by the batch's id.
    ///
    /// # Errors
    /// Those of the storage; `Corrupt` where the items of a batch do not decode.
    pub async fn maybe_sent(&self) -> Result<Vec<(i64, Amount)>, CheckpointError> {
        self.call(commands::maybe_sent).await
    }

    /// The number of the last batch that was written, 0 where none was. Those that are planned or copied from
    /// now on have greater ones.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn last_batch(&self) -> Result<i64, CheckpointError> {
        self.call(|store| commands::last_batch(store)).await
    }

    /// Commits what became of a batch: its outcomes, when the rest may be tried again, and what was
    /// moved and is deleted from now on.
    ///
    /// # Errors
    /// Those of the storage; `Bug` where the batch is not handed out, or where its items are not
    /// exactly those settled, remaining and moved.
    pub async fn settle(&self, settlement: Settlement) -> Result<Moved, CheckpointError> {
        self.call(move |store| commands::settle(store, settlement)).await
    }

    /// Notes what a destination key holds before the first copy of its chain is made; durable when it
    /// returns. Replaces what was noted of the same key for the same batch.
    ///
    /// # Errors
    /// Those of the storage; `Bug` where the batch is not handed out.
    pub async fn begin_chain(&self, batch: i64, base: ChainBase) -> Result<(), CheckpointError> {
        self.call(move |store| chains::begin(store, batch, &base)).await
    }

    /// Reserves a destination key for a chain of this batch, until the chain's items are settled or moved;
    /// durable when it returns. `false` where a chain of another batch has it: two that wrote to one key
    /// could take each other's copies for their own.
    ///
    /// # Errors
    /// Those of the storage; `Bug` where the batch is not handed out.
    pub async fn reserve_chain(&self, batch: i64, key: Key) -> Result<bool, CheckpointError> {
        self.call(move |store| chains::reserve(store, batch, &key)).await
    }

    /// Notes how far a version of a chain is; durable when it returns. Replaces what was noted of the
    /// same version for the same batch.
    ///
    /// # Errors
    /// Those of the storage; `Bug` where the batch is not handed out.
    pub async fn put_step(&self, batch: i64, step: Step) -> Result<(), CheckpointError> {
        self.call(move |store| chains::put_step(store, batch, &step)).await
    }

    /// Everything noted of the chains of a batch: destination keys and versions, each in the order of
    /// their bytes.
    ///
    /// # Errors
    /// Those of the storage; `Corrupt` where a row makes no sense.
    pub async fn chains(&self, batch: i64) -> Result<(Vec<ChainBase>, Vec<Step>), CheckpointError> {
        self.call(move |store| chains::read(store, batch)).await
    }

    /// What was counted, and where the planned items are.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn totals(&self) -> Result<Totals, CheckpointError> {
        self.call(|store| Ok(store.totals.clone())).await
    }

    /// Items that failed or were skipped, as [`Snapshot::failures`](super::Snapshot::failures) orders them.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn failures(&self, limit: u64, offset: u64) -> Result<Vec<FailureRow>, CheckpointError> {
        self.call(move |store| rows::failures(&store.connection, limit, offset)).await
    }

    /// How many items failed or were skipped, as [`Snapshot::failure_counts`](super::Snapshot::failure_counts) orders
    /// them.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn failure_counts(&self) -> Result<Vec<FailureCount>, CheckpointError> {
        self.call(|store| rows::failure_counts(&store.connection)).await
    }

    /// Keeps a small text under a name, replacing the one that was there.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn put_note(
        &self,
        name: impl Into<String>,
        text: impl Into<String>,
    ) -> Result<(), CheckpointError> {
        let (name, text) = (name.into(), text.into());
        self.call(move |store| commands::put_note(store, &name, &text)).await
    }

    /// The text kept under a name.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn note(&self, name: impl Into<String>) -> Result<Option<String>, CheckpointError> {
        let name = name.into();
        self.call(move |store| rows::note(&store.connection, &name)).await
    }

    /// Waits for everything that was asked before, marks the end as clean, and closes the file.
    /// Other clones get `Closed` from then on.
    ///
    /// # Errors
    /// Those of the storage; `Closed` where another clone was faster.
    pub async fn close(self) -> Result<(), CheckpointError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Close(answer)).await.map_err(|_| CheckpointError::Closed)?;
        let closed = answered.await.map_err(|_| CheckpointError::Closed)?;
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The thread answers as its last act, so this does not wait.
            thread.join().map_err(|_| CheckpointError::bug("the writer of the checkpoint panicked"))?;
        }
        closed
    }

    /// Sends work to the writer and waits for the commit.
    async fn call<T, W>(&self, work: W) -> Result<T, CheckpointError>
    where
        T: Send + 'static,
        W: FnOnce(&mut Store) -> Result<T, Fault> + Send + 'static,
    {
        let (command, answered) = command(work);
        self.commands.send(command).await.map_err(|_| CheckpointError::Closed)?;
        answered.await.map_err(|_| CheckpointError::Closed)?
    }

    /// Commands that the writer has not taken up yet.
    #[cfg(test)]
    pub(super) fn commands_waiting(&self) -> usize {
        self.commands.max_capacity() - self.commands.capacity()
    }

    /// Reaches into the store, between transactions.
    #[cfg(test)]
    pub(super) async fn tamper(&self, work: impl FnOnce(&mut Store) + Send + 'static) {
        let sent = self.commands.send(Command::Tamper(Box::new(work))).await;
        assert!(sent.is_ok());
    }
}

/// Work as a command, and where its answer comes.
fn command<T, W>(work: W) -> (Command, oneshot::Receiver<Result<T, CheckpointError>>)
where
    T: Send + 'static,
    W: FnOnce(&mut Store) -> Result<T, Fault> + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    let work: Work = Box::new(move |store| {
        let (verdict, value) = match store.map_err(Fault::Own).and_then(work) {
            Ok(value) => (Ok(()), Ok(value)),
            Err(Fault::Own(error)) => (Ok(()), Err(error)),
            Err(fatal) => (Err(fatal), Err(CheckpointError::Closed)),
        };
        let reply: Reply = Box::new(move |committed| {
            // A caller that is gone does not want to know.
            let _ = answer.send(committed.and(value));
        });
        (verdict, reply)
    });
    (Command::Work(work), answered)
}

/// A place among the commands of a [`Checkpoint`].
pub struct Slot(mpsc::OwnedPermit<Command>);

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slot")
    }
}

impl Slot {
    /// As [`Checkpoint::commit_page`]: takes its turn now, and is durable when the answer comes.
    #[must_use]
    pub fn commit_page(self, page: PageCommit) -> Receipt {
        self.put(move |store| commands::commit_page(store, page))
    }

    /// Commits the first page of a new range together with the new end of the range that it was a part
    /// of: takes its turn now, and is durable when the answer comes.
    #[must_use]
    pub fn commit_split(self, split: Split) -> Receipt {
        self.put(move |store| commands::commit_split(store, split))
    }

    fn put(self, work: impl FnOnce(&mut Store) -> Result<(), Fault> + Send + 'static) -> Receipt {
        let (command, answered) = command(work);
        self.0.send(command);
        Receipt(answered)
    }
}

/// A command that has its turn and waits for its commit.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Result<(), CheckpointError>>);

impl Receipt {
    /// Waits for the commit.
    ///
    /// # Errors
    /// Those of the command.
    pub async fn committed(self) -> Result<(), CheckpointError> {
        self.0.await.map_err(|_| CheckpointError::Closed)?
    }
}

struct Writer {
    store: Store,
    inbox: mpsc::Receiver<Command>,
    commits: watch::Sender<u64>,
    /// The error after which nothing can be trusted any more.
    spoilt: Option<CheckpointError>,
    /// How many commands the last transaction served.
    asked_last: usize,
}

impl Writer {
    fn run(mut self) {
        while let Some(command) = self.inbox.blocking_recv() {
            let mut next = Some(command);
            while let Some(command) = next.take() {
                match command {
                    Command::Work(work) => next = self.group(work),
                    Command::Close(answer) => return self.close(answer),
                    #[cfg(test)]
                    Command::Tamper(work) => work(&mut self.store),
                }
            }
        }
    }

    /// Does one transaction, beginning with this command. Returns a command that must stand alone.
    fn group(&mut self, first: Work) -> Option<Command> {
        let began = Instant::now();
        if self.spoilt.is_none() {
            self.spoilt = self.store.begin().err().map(|fault| {
                self.store.roll_back();
                self.store.named(fault)
            });
        }
        if let Some(error) = &self.spoilt {
            let (_, reply) = first(Err(error.clone()));
            reply(Ok(()));
            return None;
        }
        let (mut verdict, reply) = first(Ok(&mut self.store));
        let mut replies = vec![reply];
        let mut alone = None;
        while verdict.is_ok() && replies.len() < COMMANDS_PER_COMMIT_MAX && began.elapsed() < COLLECT_FOR {
            match self.inbox.try_recv() {
                Ok(Command::Work(work)) => {
                    let (done, reply) = work(Ok(&mut self.store));
                    verdict = done;
                    replies.push(reply);
                }
                Ok(other) => {
                    alone = Some(other);
                    break;
                }
                Err(TryRecvError::Empty)
                    if replies.len() < self.asked_last && began.elapsed() < GATHER_FOR =>
                {
                    std::thread::sleep(GATHER_NAP);
                }
                Err(_) => break,
            }
        }
        self.asked_last = replies.len();
        let committed = verdict.and_then(|()| self.store.commit()).map_err(|fault| {
            self.store.roll_back();
            self.store.named(fault)
        });
        self.answer(replies, committed);
        alone
    }

    fn answer(&mut self, replies: Vec<Reply>, committed: Result<bool, CheckpointError>) {
        let answer = committed.map(|changed| {
            if changed {
                self.commits.send_modify(|count| *count += 1);
            }
        });
        self.spoilt = answer.as_ref().err().cloned();
        for reply in replies {
            reply(answer.clone());
        }
    }

    fn close(self, answer: oneshot::Sender<Result<(), CheckpointError>>) {
        let closed = match self.spoilt {
            Some(error) => Err(error),
            None => self.store.close(),
        };
        // A caller that is gone does not want to know.
        let _ = answer.send(closed);
    }
}
