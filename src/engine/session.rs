//! One command from the lock to the last commit: which run it is about, and how that ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::checkpoint::{
    Checkpoint, CheckpointError, DiskGuard, LockError, Mode, Room, RunFiles, RunHeader, RunLock, RunState,
    Snapshot, StateDir, Totals, host_name,
};
use crate::job::{Action, Audit, Job, Limits};
use crate::model::{Journal, Key, Timestamp, VersioningStatus};
use crate::pace::{Pace, PaceSettings};
use crate::report::{AuditFile, AuditLevel, MOVE_ACTIONS_NOTE, RULE_ACTIONS_NOTE, WORK_TIME_NOTE, WorkTime};
use crate::rules::{LOCKS_PREFIX, Verdict};
use crate::s3::{Client, Operation};
use crate::telemetry::Metrics;
use crate::telemetry::live::{Board, Phase};

use super::caller::Caller;
use super::errors::ending_of_checkpoint;
use super::lease::Lease;
use super::mover::{Destination, Mover, Side};
use super::preflight::{self, BucketFacts, look_at_destination, look_with};
use super::run::{self, Setup};
use super::standing::{Choice, Standing, choose};
use super::{Ending, Stop, lease, overlap};

/// Ended runs whose files are kept.
const RUNS_KEPT: usize = 30;
/// The note of the checkpoint that holds the key of the lock object that its plan leaves out.
const LOCK_NOTE: &str = "lock_object";

/// What the user wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// List and decide; change nothing.
    Plan {
        /// Give up a run that is not finished.
        restart: bool,
    },
    /// Carry out the stored plan.
    Apply {
        /// Refuse a plan that is older.
        max_plan_age: Duration,
    },
    /// Plan and carry out as one stream; go on with an interrupted run.
    Run {
        /// Give up a run that is not finished.
        restart: bool,
    },
}

/// Asks the user whether the plan, as far as it is known, may be carried out. Called on a thread
/// that may block. The flag tells whether the plan is complete.
pub type Confirm = Box<dyn FnOnce(&RunHeader, &Totals, bool) -> bool + Send>;

/// Everything a command needs.
pub struct Session {
    /// The job.
    pub job: Job,
    /// Its bucket.
    pub client: Arc<Client>,
    /// For each action of the job, where it copies to; absent where it copies nothing.
    pub destinations: Vec<Option<Destination>>,
    /// The bucket of the job's lock across hosts; absent where it has none.
    pub lock: Option<Arc<Client>>,
    /// The job's own state directory.
    pub state_dir: PathBuf,
    /// What to do.
    pub command: Command,
    /// The bucket lives no longer than this process: a former run cannot be gone on with.
    pub ephemeral: bool,
    /// The switch that signals use.
    pub stop: Arc<Stop>,
    /// Where events are counted.
    pub metrics: Arc<Metrics>,
    /// What the run shows to those who look.
    pub board: Arc<Board>,
    /// `None` where no question is to be asked.
    pub confirm: Option<Confirm>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("job", &self.job.name)
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

/// How it ended, and where to read on.
#[derive(Debug)]
pub struct SessionReport {
    /// The end.
    pub ending: Ending,
    /// When that was, by the server's clock, where it is known.
    pub at: Option<Timestamp>,
    /// The run that the command was about, once there was one.
    pub files: Option<RunFiles>,
    /// The job's lock, where this process had it: no other process speaks for the job until it is dropped.
    pub lock: Option<RunLock>,
}

/// Does what the command asks.
pub async fn execute(session: Session) -> SessionReport {
    let (mut files, mut lock) = (None, None);
    let span = tracing::error_span!(
        "run",
        otel.status_code = Empty,
        job = session.job.name,
        run_id = Empty,
        ending = Empty
    );
    let ended = attempt(session, &mut files, &mut lock).instrument(span.clone()).await;
    let (ending, at) = match ended {
        Ok((ending, at)) => (ending, Some(at)),
        Err(ending) => (ending, None),
    };
    span.record("ending", ending.word());
    if ending.exit_code() != 0 {
        span.record("otel.status_code", "ERROR");
    }
    SessionReport { ending, at, files, lock }
}

fn pace_of(limits: &Limits) -> PaceSettings {
    PaceSettings {
        versions_per_second: limits.versions_per_second,
        requests_per_second: limits.requests_per_second,
        adaptive: limits.adaptive,
        share: limits.share,
        concurrency: limits.concurrency,
        list_concurrency: limits.list_concurrency,
        bytes_per_second: limits.bytes_per_second,
    }
}

async fn attempt(
    session: Session,
    reported: &mut Option<RunFiles>,
    held: &mut Option<RunLock>,
) -> Result<(Ending, Timestamp), Ending> {
    let Session {
        job,
        client,
        destinations,
        lock,
        state_dir,
        command,
        ephemeral,
        stop,
        metrics,
        board,
        confirm,
    } = session;
    let dir = StateDir::create(&state_dir).map_err(|error| ending_of_checkpoint(&error))?;
    let local = dir.lock("starting", client.server_now()).map_err(|error| match error {
        LockError::Held { ref holder, .. } => overlap::locked(&dir, &error.to_string(), holder),
        LockError::Io { .. } => Ending::LocalIo(error.to_string()),
    })?;
    board.enter(Phase::Starting("the bucket has not been looked at yet"));
    let local = held.insert(local);
    let pace = Pace::new(&pace_of(&job.limits));
    let caller = Caller::new(client, pace, Arc::clone(&metrics), fastrand::u64(..));
    let look = async {
        let facts = look_with(&caller).await?;
        preflight::check_moves(&job, facts.versioning)?;
        let sides = sides_of(&job, &caller, &facts, destinations).await?;
        Ok::<_, Ending>((facts, sides))
    };
    let (facts, sides) = tokio::select! {
        looked = look => looked?,
        () = stop.reached(super::Level::Drain) => {
            return Err(stop.ending().unwrap_or_else(|| Ending::Interrupted("stopped".into())));
        }
    };
    let lease = match lock.filter(|_| !matches!(command, Command::Plan { .. })) {
        Some(client) => hold(&job, client, &caller, &stop).await?,
        None => None,
    };
    if let Some(lease) = &lease {
        caller.work_under(lease.hold());
        sides.iter().flatten().for_each(|side| side.work_under(lease.hold()));
    }
    let begun = Begun { dir, job, caller, facts, sides, command, ephemeral, stop, board, confirm };
    let ended = begun.carry_out(local, lease.as_ref(), reported).await;
    if let Some(lease) = lease {
        lease.release().await;
    }
    ended
}

/// Takes the lock across hosts, where the job has one.
async fn hold(
    job: &Job,
    client: Arc<Client>,
    caller: &Caller,
    stop: &Arc<Stop>,
) -> Result<Option<Lease>, Ending> {
    let Some(spec) = &job.lock else { return Ok(None) };
    let pace = caller.pace.for_upkeep();
    let own = Caller::new(client, pace, Arc::clone(&caller.metrics), fastrand::u64(..));
    if spec.key_in(&job.bucket).is_none() {
        // Finds its region.
        preflight::ask(own.call(Operation::HeadBucket, 0, None, || own.client.head_bucket())).await?;
    }
    lease::take(spec, &job.name, host_name(), own, Arc::clone(stop)).await.map(Some)
}

/// A command that has its locks and knows its buckets.
struct Begun {
    dir: StateDir,
    job: Job,
    caller: Caller,
    facts: BucketFacts,
    sides: Vec<Option<Arc<Side>>>,
    command: Command,
    ephemeral: bool,
    stop: Arc<Stop>,
    board: Arc<Board>,
    confirm: Option<Confirm>,
}

impl Begun {
    /// Takes up the run and works on it.
    async fn carry_out(
        self,
        local: &mut RunLock,
        lease: Option<&Lease>,
        reported: &mut Option<RunFiles>,
    ) -> Result<(Ending, Timestamp), Ending> {
        let Self { dir, job, caller, facts, sides, command, ephemeral, stop, board, confirm } = self;
        board.enter(Phase::Starting("the checkpoint is not open yet"));
        let (checkpoint, files) = take_up(&dir, &job, &caller, &facts, &command, ephemeral).await?;
        *reported = Some(files.clone());
        tracing::Span::current().record("run_id", &files.run_id);
        local.name_run(&files.run_id).map_err(|error| Ending::LocalIo(error.to_string()))?;
        if let Some(lease) = lease {
            lease.name_run(&files.run_id);
        }
        put_notes(&checkpoint, &job, &files, facts.now)
            .await
            .map_err(|error| ending_of_checkpoint(&error))?;
        let resumed_under = checkpoint.header().clone();
        let planning = matches!(command, Command::Plan { .. });
        if let Some(ending) = moved(&resumed_under, &facts) {
            return Ok(close(checkpoint, ending, facts.now, planning).await);
        }
        let room = match guarded(&checkpoint, &dir).await {
            Ok(room) => room,
            // Nothing was sent: there must be room for what is in flight before something is.
            Err(error) => {
                return Ok(close(checkpoint, ending_of_checkpoint(&error), facts.now, planning).await);
            }
        };
        caller.watch_room(room);
        let setup = Setup {
            mover: Mover::new(&job, sides),
            job,
            caller,
            checkpoint: checkpoint.clone(),
            file: files.checkpoint,
            stop,
            facts,
            list: !matches!(command, Command::Apply { .. }),
            execute: !planning,
            confirm,
            board,
        };
        let (ending, at) = run::run(setup).await;
        let ended = close(checkpoint, ending, at, planning).await;
        if !planning {
            tidy_up(&dir, &ended.0, ended.1);
        }
        Ok(ended)
    }
}

/// Keeps room on the disk for what is in flight.
async fn guarded(checkpoint: &Checkpoint, dir: &StateDir) -> Result<watch::Receiver<Room>, CheckpointError> {
    checkpoint.guard_disk(DiskGuard::lay(dir.path())?).await
}

/// What is left to do in the state directory after a run.
fn tidy_up(dir: &StateDir, ending: &Ending, at: Timestamp) {
    if ending.exit_code() <= 1
        && let Err(error) = dir.prune(RUNS_KEPT)
    {
        tracing::warn!("old runs stay: {error}");
    }
    if *ending == Ending::Done
        && let Err(error) = dir.note_success(at)
    {
        tracing::warn!("the time of this success is not kept: {error}");
    }
}

/// Writes what readers of the checkpoint need to know of the job, and that a process begins its work.
async fn put_notes(
    checkpoint: &Checkpoint,
    job: &Job,
    files: &RunFiles,
    now: Timestamp,
) -> Result<(), CheckpointError> {
    let moves = |action: &Action| action.transfer().is_some_and(|to| to.removes_source.is_some());
    let moves: Vec<usize> =
        job.actions.iter().enumerate().filter(|(_, action)| moves(action)).map(|(at, _)| at).collect();
    // What the process before this one wrote last is the end of its work, however it ended.
    let worked = {
        let snapshot = Snapshot::open(&files.checkpoint)?;
        let work: Option<WorkTime> =
            snapshot.note(WORK_TIME_NOTE)?.and_then(|text| serde_json::from_str(&text).ok());
        work.map_or(Ok(Duration::ZERO), |work| {
            Ok::<_, CheckpointError>(work.until(snapshot.updated()?.max(snapshot.state()?.at)))
        })?
    };
    let worked_ms = u64::try_from(worked.as_millis()).unwrap_or(u64::MAX);
    let work = WorkTime { worked_ms, since_ms: now.as_millis() };
    for (name, value) in [
        (RULE_ACTIONS_NOTE, serde_json::Value::from(rule_actions(job))),
        (MOVE_ACTIONS_NOTE, serde_json::Value::from(moves)),
        (WORK_TIME_NOTE, serde_json::json!(work)),
    ] {
        checkpoint.put_note(name, value.to_string()).await?;
    }
    checkpoint.put_note(LOCK_NOTE, lock_note(job)).await?;
    Ok(())
}

/// Where each action of the job copies to, its bucket looked at.
async fn sides_of(
    job: &Job,
    source: &Caller,
    facts: &BucketFacts,
    destinations: Vec<Option<Destination>>,
) -> Result<Vec<Option<Arc<Side>>>, Ending> {
    let mut callers: Vec<(Arc<Client>, Arc<Caller>)> = Vec::new();
    let mut sides = Vec::with_capacity(destinations.len());
    for (action, destination) in job.actions.iter().zip(destinations) {
        let (Some(transfer), Some(destination)) = (action.transfer(), destination) else {
            sides.push(None);
            continue;
        };
        let caller = destination.client.map(|client| {
            if let Some((_, known)) = callers.iter().find(|(other, _)| Arc::ptr_eq(other, &client)) {
                return Arc::clone(known);
            }
            let pace = source.pace.beside(&pace_of(&job.limits));
            let metrics = Arc::clone(&source.metrics);
            let caller = Arc::new(Caller::new(Arc::clone(&client), pace, metrics, fastrand::u64(..)));
            callers.push((client, Arc::clone(&caller)));
            caller
        });
        let versioning = match &caller {
            Some(caller) => look_at_destination(caller, transfer).await?.versioning,
            None => {
                let (bucket, status) = (source.client.bucket(), facts.versioning);
                preflight::check_destination(bucket, status, facts.object_lock, transfer)?;
                status
            }
        };
        let keeps_versions = versioning == VersioningStatus::Enabled;
        let side = Side::new(transfer, caller, destination.server_can_copy, keeps_versions)?;
        sides.push(Some(Arc::new(side)));
    }
    Ok(sides)
}

/// Where a run stands after this end.
const fn state_after(ending: &Ending, planning: bool) -> RunState {
    match (ending, planning) {
        (Ending::Done | Ending::DoneWithFailures(_), false) => RunState::Done,
        (Ending::Done | Ending::DoneWithFailures(_), true) => RunState::Planned,
        (Ending::Declined, _) => RunState::Abandoned,
        (_, true) => RunState::Planning,
        (_, false) => RunState::Stopped,
    }
}

/// Writes the end into the checkpoint, then closes it.
async fn close(checkpoint: Checkpoint, ending: Ending, at: Timestamp, planning: bool) -> (Ending, Timestamp) {
    let state = state_after(&ending, planning);
    let reason = Some(ending.message()).filter(|text| !text.is_empty());
    let closed = async {
        checkpoint.set_state(state, reason, Some(i32::from(ending.exit_code())), at).await?;
        checkpoint.close().await
    };
    match closed.await {
        // Where the checkpoint failed before, that is the ending already.
        Err(error) if ending.exit_code() <= 1 => (ending_of_checkpoint(&error), at),
        _ => (ending, at),
    }
}

/// Whether the bucket is another one than the run began with.
fn moved(header: &RunHeader, facts: &BucketFacts) -> Option<Ending> {
    let now = preflight::word(facts.versioning);
    if header.versioning != now {
        return Some(Ending::Tripwire(format!(
            "the bucket's versioning was {} when run {} began and is {now} now",
            header.versioning, header.run_id
        )));
    }
    (header.region != facts.region).then(|| {
        Ending::Tripwire(format!(
            "the bucket was in region {} when run {} began and is in {} now",
            header.region, header.run_id, facts.region
        ))
    })
}

fn standing(files: &RunFiles) -> Result<Standing, CheckpointError> {
    let snapshot = Snapshot::open(&files.checkpoint)?;
    Ok(Standing { header: snapshot.header()?, state: snapshot.state()?.state, updated: snapshot.updated()? })
}

/// Opens the run that the command is about.
async fn take_up(
    dir: &StateDir,
    job: &Job,
    caller: &Caller,
    facts: &BucketFacts,
    command: &Command,
    ephemeral: bool,
) -> Result<(Checkpoint, RunFiles), Ending> {
    let refused = |error: CheckpointError| ending_of_checkpoint(&error);
    let restart = matches!(command, Command::Plan { restart: true } | Command::Run { restart: true });
    let current = match dir.current() {
        // It names no run: there is nothing to give up.
        Err(CheckpointError::Corrupt { .. }) if restart => None,
        current => current.map_err(refused)?,
    };
    let known = match &current {
        Some(files) => match standing(files) {
            Ok(standing) => Some(standing),
            Err(CheckpointError::Missing { .. }) => None,
            // A run that cannot be read is given up only where the user says so.
            Err(_) if restart => None,
            Err(error) => return Err(refused(error)),
        },
        None => None,
    };
    let choice = if ephemeral && !matches!(command, Command::Apply { .. }) {
        Choice::Begin(Some("its bucket ended with its process"))
    } else {
        choose(command, known.as_ref(), &job.fingerprint.digest, &job.fingerprint.semantic_json, facts.now)
    };
    match (choice, current) {
        (Choice::Refuse(ending), _) => Err(ending),
        (Choice::GoOn, Some(files)) => {
            match known.as_ref().map(|standing| standing.state) {
                Some(RunState::Planned) => {
                    tracing::info!(run_id = %files.run_id, "carries out the stored plan")
                }
                _ => tracing::info!(run_id = %files.run_id, "goes on with an interrupted run"),
            }
            may_name_lock(job, &files)?;
            let journal = journal(job, &files)?;
            let checkpoint = Checkpoint::open(&files.checkpoint, journal).map_err(refused)?;
            Ok((checkpoint, files))
        }
        (Choice::GoOn, None) => Err(Ending::Bug("a run to go on with was chosen, but there is none".into())),
        (Choice::Begin(reason), former) => {
            if let (Some(reason), Some(standing), Some(files)) = (reason, &known, &former)
                && !standing.state.is_ended()
            {
                match abandon(files, standing.state, reason, facts.now).await {
                    Err(error @ CheckpointError::Corrupt { .. }) if restart => {
                        tracing::warn!(run = %files.run_id, "its checkpoint stays as it is: {error}");
                    }
                    abandoned => abandoned.map_err(refused)?,
                }
            }
            begin(dir, job, caller, facts, command)
        }
    }
}

/// Refuses a plan that may name the lock object, because it was begun when that key was like any other.
fn may_name_lock(job: &Job, files: &RunFiles) -> Result<(), Ending> {
    let Some(key) = own_lock(job).filter(|key| !key.as_bytes().starts_with(LOCKS_PREFIX.as_bytes())) else {
        return Ok(());
    };
    let spared = Snapshot::open(&files.checkpoint).and_then(|snapshot| snapshot.note(LOCK_NOTE));
    let spared = spared.map_err(|error| ending_of_checkpoint(&error))?;
    if spared == Some(lock_note(job)) {
        return Ok(());
    }
    Err(Ending::Usage(format!(
        "run {} was begun when {key} was not the job's lock.object, so it may delete it: begin anew with \
         --restart. Nothing was done",
        files.run_id
    )))
}

/// The key of the job's lock, where it lies in the bucket that is listed.
fn own_lock(job: &Job) -> Option<&Key> {
    job.lock.as_ref()?.key_in(&job.bucket)
}

fn lock_note(job: &Job) -> String {
    serde_json::json!(own_lock(job).map(|key| hex::encode(key.as_bytes()))).to_string()
}

async fn abandon(
    files: &RunFiles,
    state: RunState,
    reason: &str,
    now: Timestamp,
) -> Result<(), CheckpointError> {
    let what = match state {
        RunState::Planned => "the stored plan is dropped, nothing of it was carried out",
        RunState::Planning => "a plan that is not complete is dropped",
        _ => "a run that was not finished is given up",
    };
    tracing::warn!(run = %files.run_id, "{what}: {reason}");
    let checkpoint = Checkpoint::open(&files.checkpoint, None)?;
    checkpoint.set_state(RunState::Abandoned, Some(reason.to_owned()), None, now).await?;
    checkpoint.close().await
}

fn begin(
    dir: &StateDir,
    job: &Job,
    caller: &Caller,
    facts: &BucketFacts,
    command: &Command,
) -> Result<(Checkpoint, RunFiles), Ending> {
    let refused = |error: CheckpointError| ending_of_checkpoint(&error);
    let stamp: String =
        facts.now.floor_to_second().to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let run_id = format!("{}-{:04x}", stamp.trim_end_matches("000Z"), fastrand::u16(..));
    let files = dir.files(&run_id).map_err(refused)?;
    let header = RunHeader {
        run_id: run_id.clone(),
        job_name: job.name.clone(),
        fingerprint: job.fingerprint.digest.clone(),
        semantic_json: job.fingerprint.semantic_json.clone(),
        bucket: job.bucket.name.clone(),
        endpoint: job.bucket.endpoint.to_string(),
        region: caller.client.region(),
        owner: job.bucket.expected_owner.clone(),
        rule_names: job.rules.iter().map(|rule| rule.name.clone()).collect(),
        mode: if matches!(command, Command::Plan { .. }) { Mode::Plan } else { Mode::Stream },
        began: facts.now,
        audit_file: (job.report.audit != Audit::None).then(|| files.audit_file()),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        versioning: preflight::word(facts.versioning).to_owned(),
    };
    let journal = journal(job, &files)?;
    let checkpoint = Checkpoint::create(&files.checkpoint, &header, journal).map_err(refused)?;
    dir.set_current(&run_id).map_err(refused)?;
    Ok((checkpoint, files))
}

/// What each rule of a job does: `keep`, `delete`, `move` or `copy`.
pub fn rule_actions(job: &Job) -> Vec<&'static str> {
    let of = |verdict| match verdict {
        Verdict::Keep => "keep",
        Verdict::Copy(_) => "copy",
        Verdict::Act(action) => match job.actions.get(usize::from(action.0)) {
            Some(Action::Transfer(_)) => "move",
            _ => "delete",
        },
    };
    job.rules.iter().map(|rule| of(rule.verdict)).collect()
}

fn journal(job: &Job, files: &RunFiles) -> Result<Option<Box<dyn Journal>>, Ending> {
    let level = match job.report.audit {
        Audit::Full => AuditLevel::Full,
        Audit::Changes => AuditLevel::Changes,
        Audit::Failures => AuditLevel::Failures,
        Audit::None => return Ok(None),
    };
    let names = job.rules.iter().map(|rule| rule.name.clone()).collect();
    let file = AuditFile::open(&files.audit, level, names)
        .map_err(|error| Ending::LocalIo(format!("the audit {}: {error}", files.audit.display())))?;
    Ok(Some(Box::new(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_was_declined_is_no_obstacle_for_another_job() {
        assert!(state_after(&Ending::Declined, false).is_ended());
        let interrupted = Ending::Interrupted("SIGINT".into());
        assert_eq!(state_after(&interrupted, false), RunState::Stopped);
        assert_eq!(state_after(&interrupted, true), RunState::Planning);
        assert_eq!(state_after(&Ending::Done, true), RunState::Planned);
    }
}
