//! `plan`, `apply` and `run`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::{RunFiles, RunLock, StateDir};
use crate::engine::{self, Ending, Session, SessionReport, Stop, ending_of_checkpoint};
use crate::job::{self, Endpoint, Job};
use crate::model::Timestamp;
use crate::report::{Ceilings, Summary, plan_text, summary_text};
use crate::rules::Rule;
use crate::telemetry::{Event, GatewaySettings, Metrics, OutputSettings, Outputs, RuleLabel};

use crate::telemetry::live::{Board, Ended};

use super::args::{Apply, Common, Output, Plan, Run};
use super::check::transfer_rules;
use super::client::{StandIn, connect, destinations, load, lock_client, state_root};
use super::notices::Notices;
use super::progress::Progress;
use super::{About, confirm, listener, now, print, print_json, signals};

/// How long the end waits for those who look at the live page to be told of it.
const LAST_WORD_PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn plan(common: &Common, plan: Plan, about: &mut About) -> Result<Ending, Ending> {
    let job = load(&plan.job)?;
    execute(common, job, about, engine::Command::Plan { restart: plan.restart }).await
}

pub(super) async fn apply(common: &Common, apply: Apply, about: &mut About) -> Result<Ending, Ending> {
    let job = load(&apply.job)?;
    if job.bucket.endpoint == Endpoint::Sandbox {
        return Err(Ending::Usage(
            "an embedded sandbox ends with its process, and its plan with it: use `run`, or start `s3sweep sandbox` \
             and name its endpoint in the job"
                .into(),
        ));
    }
    execute(common, job, about, engine::Command::Apply { max_plan_age: apply.max_plan_age }).await
}

pub(super) async fn run(common: &Common, run: Run, about: &mut About) -> Result<Ending, Ending> {
    let job = load(&run.job)?;
    execute(common, job, about, engine::Command::Run { restart: run.restart }).await
}

/// Carries a command out, and tells of its end whoever the job says, also where it ended before it began.
async fn execute(
    common: &Common,
    job: Job,
    about: &mut About,
    command: engine::Command,
) -> Result<Ending, Ending> {
    let planning = matches!(command, engine::Command::Plan { .. });
    *about = About { job: Some(job.name.clone()), run_id: None, is_plan: planning };
    for warning in &job.warnings {
        tracing::warn!("{warning}");
    }
    let state_dir = state_root(common)?.join(&job.name);
    let metrics = Arc::new(
        Metrics::new(&job.name, &rule_labels(&job), now())
            .map_err(|error| Ending::Bug(format!("the metric catalogue: {error}")))?,
    );
    if let Some(at) = StateDir::existing(&state_dir).last_success() {
        metrics.emit(&Event::SucceededBefore(at));
    }
    let board = listener::board(&job, &command, &metrics);
    let exporter = listener::listen(&job, &metrics, &board).await;
    // A plan is no run: the record of the last run stays.
    let settings = if planning { OutputSettings::default() } else { output_settings(&job.metrics) };
    let outputs = Outputs::start(settings, &metrics);
    let notices = Notices::open(&job, &command, &state_dir, Arc::clone(&metrics));
    let mut told = Told::default();
    let ended = work(common, job, command, (&state_dir, &metrics, &board), &mut told).await;
    about.run_id = told.run.as_ref().map(|files| files.run_id.clone());
    let (Ok(ending) | Err(ending)) = &ended;
    metrics.emit(&Event::RunEnded {
        exit_code: ending.exit_code(),
        word: ending.word(),
        at: told.at.unwrap_or_else(now),
        is_success: *ending == Ending::Done && !planning,
    });
    // Before everything that takes time: whoever kills this process now does not take the last figures along.
    outputs.end(speaks(ending, told.lock.is_some(), || is_held(&state_dir)));
    if matches!(ending, Ending::Locked(_)) {
        told.lock = None;
    }
    board.ended(Ended { word: ending.word(), exit_code: ending.exit_code(), message: ending.message() });
    if let Some(exporter) = exporter {
        exporter.close(LAST_WORD_PATIENCE).await;
    }
    notices.send(ending, told.run.as_ref()).await;
    // Without the lock another process may have begun meanwhile.
    outputs.finish(told.lock.is_some()).await;
    ended
}

/// What is known of a session's end beside the ending.
#[derive(Default)]
struct Told {
    at: Option<Timestamp>,
    lock: Option<RunLock>,
    run: Option<RunFiles>,
}

/// Whether a process that ends so may tell of it in the job's name. With its local lock it may, and without where
/// nobody else has that. Where it ends because others work on the job, here or on another host, it never may,
/// also when they have ended since.
fn speaks(ending: &Ending, has_lock: bool, is_held: impl FnOnce() -> bool) -> bool {
    !matches!(ending, Ending::Locked(_)) && (has_lock || !is_held())
}

/// Whether another process works on the job. Its figures are the job's then, not those of this process.
fn is_held(state_dir: &Path) -> bool {
    StateDir::existing(state_dir).is_locked().unwrap_or(false)
}

async fn work(
    common: &Common,
    job: Job,
    command: engine::Command,
    (state_dir, metrics, board): (&Path, &Arc<Metrics>, &Arc<Board>),
    told: &mut Told,
) -> Result<Ending, Ending> {
    let planning = matches!(command, engine::Command::Plan { .. });
    let stop = Arc::new(Stop::default());
    let signals = signals::watch(Arc::clone(&stop))?;
    let transfers = transfer_rules(&job);
    let progress =
        Progress::show(common.progress, Arc::clone(metrics), Arc::clone(board), !transfers.is_empty());
    let confirm = if planning { None } else { confirm::question(common, &job, progress.hider())? };
    let embedded = embed(&job).await?;
    let client = connect(&job, embedded.stand_in()).await?;
    let destinations = destinations(&job, || embedded.stand_in()).await?;
    let lock = lock_client(&job, &client, || embedded.stand_in()).await?;
    let ceilings = ceilings(&job);
    let session = Session {
        ephemeral: job.bucket.endpoint == Endpoint::Sandbox,
        job,
        client,
        destinations,
        lock,
        state_dir: state_dir.to_owned(),
        command,
        stop,
        metrics: Arc::clone(metrics),
        board: Arc::clone(board),
        confirm,
    };
    let SessionReport { ending, at, files, lock } = engine::execute(session).await;
    *told = Told { at, lock, run: files.clone() };
    signals.abort();
    drop(progress);
    embedded.end().await;
    let Some(files) = files else { return Ok(ending) };
    let summary = match Summary::read(&files) {
        Ok(summary) => summary,
        Err(error) if ending.exit_code() > 1 => {
            tracing::warn!("no summary: {error}");
            return Ok(ending);
        }
        Err(error) => return Ok(ending_of_checkpoint(&error)),
    };
    let figures = summary.plan_figures(ceilings, &transfers);
    match (common.output, planning) {
        (Output::Json, true) => print_json(&serde_json::json!({ "plan": summary, "figures": figures }))?,
        (Output::Json, false) => print_json(&summary)?,
        (Output::Text, true) => print(&plan_text(&summary, &figures))?,
        (Output::Text, false) => print(&summary_text(&summary))?,
    }
    Ok(ending)
}

/// The rules as the metrics name them.
fn rule_labels(job: &Job) -> Vec<RuleLabel> {
    let actions = engine::rule_actions(job);
    let label = |(rule, action): (&Rule, _)| RuleLabel { name: rule.name.clone(), action };
    job.rules.iter().zip(actions).map(label).collect()
}

/// Where figures go beside the listener.
fn output_settings(metrics: &job::Metrics) -> OutputSettings {
    let gateway = metrics.pushgateway.as_ref().map(|gateway| GatewaySettings {
        url: gateway.url.clone(),
        interval: gateway.interval,
        username: gateway.username.clone(),
        password: gateway.password.clone(),
    });
    OutputSettings { textfile: metrics.textfile.clone(), gateway }
}

fn ceilings(job: &Job) -> Ceilings {
    Ceilings {
        versions_per_second: job.limits.versions_per_second,
        requests_per_second: job.limits.requests_per_second,
        bytes_per_second: job.limits.bytes_per_second,
    }
}

#[cfg(feature = "sandbox")]
use super::embedded::{Embedded, embed};

/// Without the sandbox nothing is embedded.
#[cfg(not(feature = "sandbox"))]
struct Embedded;

#[cfg(not(feature = "sandbox"))]
impl Embedded {
    fn stand_in(&self) -> Option<StandIn> {
        None
    }

    async fn end(self) {}
}

#[cfg(not(feature = "sandbox"))]
async fn embed(_job: &Job) -> Result<Embedded, Ending> {
    Ok(Embedded)
}

/// Keeps the two forms of [`Embedded`] alike.
const _: fn(&Embedded) -> Option<StandIn> = Embedded::stand_in;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_kept_away_by_a_lock_never_speaks_for_the_job() {
        let locked = Ending::Locked("another host".into());
        assert!(!speaks(&locked, true, || false), "the local lock alone is not enough");
        assert!(!speaks(&locked, false, || false), "the other has ended since, and told of that");
        let failed = Ending::Credentials("none".into());
        assert!(speaks(&failed, true, || true) && speaks(&failed, false, || false));
        assert!(!speaks(&failed, false, || true));
    }
}
