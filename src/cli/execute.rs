//! `plan`, `apply` and `run`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{self, Ending, Session, SessionReport, Stop, ending_of_checkpoint};
use crate::job::{Endpoint, Job};
use crate::report::{Ceilings, Summary, plan_text, summary_text};
use crate::telemetry::{Metrics, write_textfile};

use super::args::{Apply, Common, Output, Plan, Run};
use super::check::transfer_rules;
use super::client::{StandIn, connect, destinations, load, state_root};
use super::progress::Progress;
use super::{confirm, listener, print, print_json, signals};

/// How long the end waits for those who look at the live page to be told of it.
const LAST_WORD_PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn plan(common: &Common, plan: Plan) -> Result<Ending, Ending> {
    let job = load(&plan.job)?;
    execute(common, job, engine::Command::Plan { restart: plan.restart }).await
}

pub(super) async fn apply(common: &Common, apply: Apply) -> Result<Ending, Ending> {
    let job = load(&apply.job)?;
    if job.bucket.endpoint == Endpoint::Sandbox {
        return Err(Ending::Usage(
            "an embedded sandbox ends with its process, and its plan with it: use `run`, or start `s3sweep sandbox` \
             and name its endpoint in the job"
                .into(),
        ));
    }
    execute(common, job, engine::Command::Apply { max_plan_age: apply.max_plan_age }).await
}

pub(super) async fn run(common: &Common, run: Run) -> Result<Ending, Ending> {
    let job = load(&run.job)?;
    execute(common, job, engine::Command::Run { restart: run.restart }).await
}

async fn execute(common: &Common, job: Job, command: engine::Command) -> Result<Ending, Ending> {
    for warning in &job.warnings {
        tracing::warn!("{warning}");
    }
    let planning = matches!(command, engine::Command::Plan { .. });
    let state_dir = state_root(common)?.join(&job.name);
    let stop = Arc::new(Stop::default());
    let signals = signals::watch(Arc::clone(&stop))?;
    let metrics = Arc::new(
        Metrics::new(&job.name).map_err(|error| Ending::Bug(format!("the metric catalogue: {error}")))?,
    );
    let board = listener::board(&job, &command)?;
    let exporter = listener::listen(&job, &metrics, &board).await;
    let progress = Progress::show(common.progress, Arc::clone(&metrics));
    let confirm = if planning { None } else { confirm::question(common, &job, progress.hider())? };
    let embedded = embed(&job).await?;
    let client = connect(&job, embedded.stand_in()).await?;
    let destinations = destinations(&job, || embedded.stand_in()).await?;
    let ceilings = ceilings(&job);
    let transfers = transfer_rules(&job);
    let textfile = job.metrics.textfile.clone();
    let session = Session {
        ephemeral: job.bucket.endpoint == Endpoint::Sandbox,
        job,
        client,
        destinations,
        state_dir,
        command,
        stop,
        metrics: Arc::clone(&metrics),
        board: Arc::clone(&board),
        confirm,
    };
    let SessionReport { ending, files } = engine::execute(session).await;
    signals.abort();
    drop(progress);
    if exporter.is_some() {
        board.told(LAST_WORD_PATIENCE).await;
    }
    drop(exporter);
    if let Some(target) = textfile {
        tell_textfile(&target, &metrics);
    }
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

fn ceilings(job: &Job) -> Ceilings {
    Ceilings {
        versions_per_second: job.limits.versions_per_second,
        requests_per_second: job.limits.requests_per_second,
        bytes_per_second: job.limits.bytes_per_second,
    }
}

fn tell_textfile(target: &Path, metrics: &Metrics) {
    if let Err(error) = write_textfile(target, metrics) {
        tracing::warn!("no metrics textfile at {}: {error}", target.display());
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
