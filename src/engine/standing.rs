//! Whether a command begins a run, goes on with one, or must refuse. Pure.

use std::time::Duration;

use crate::checkpoint::{Mode, RunHeader, RunState};
use crate::job::differences;
use crate::model::Timestamp;

use super::{Command, Ending};

/// How long an interrupted run may rest and still be gone on with. Its pending decisions are that
/// old; after this a fresh listing is the better judge.
const RESUME_AGE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// The current run of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// What it is.
    pub header: RunHeader,
    /// Where it stands.
    pub state: RunState,
    /// When it was last changed, by the server's clock.
    pub updated: Timestamp,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Choice {
    /// Begin a new run; a former one that is not ended is given up, for this reason.
    Begin(Option<&'static str>),
    /// Go on with the current one.
    GoOn,
    /// Neither.
    Refuse(Ending),
}

/// Chooses for a command and the fingerprint of its job.
pub fn choose(
    command: &Command,
    current: Option<&Standing>,
    fingerprint: &str,
    semantic_json: &str,
    now: Timestamp,
) -> Choice {
    let open = current.filter(|standing| !standing.state.is_ended());
    let Some(open) = open else {
        return match command {
            Command::Apply { .. } => Choice::Refuse(Ending::Usage(
                "there is no plan to apply: run `s3sweep plan` with this job first".into(),
            )),
            Command::Plan { .. } | Command::Run { .. } => Choice::Begin(None),
        };
    };
    let same = open.header.fingerprint == fingerprint;
    let untouched =
        open.header.mode == Mode::Plan && matches!(open.state, RunState::Planning | RunState::Planned);
    match command {
        Command::Plan { restart: true } | Command::Run { restart: true } => {
            Choice::Begin(Some("--restart was given"))
        }
        Command::Plan { .. } if untouched && same && open.state == RunState::Planning => Choice::GoOn,
        Command::Plan { .. } if untouched => Choice::Begin(Some("a new plan replaces it")),
        Command::Run { .. } if untouched => Choice::Begin(Some(
            "`run` lists and decides anew; `s3sweep apply` is what carries out a plan as it was shown",
        )),
        _ if !same => Choice::Refuse(changed(open, semantic_json)),
        Command::Plan { .. } => Choice::Refuse(Ending::Usage(format!(
            "run {} of this job was interrupted: finish it with `s3sweep run`, or give it up with --restart",
            open.header.run_id
        ))),
        Command::Run { .. } if now.since(open.updated).is_some_and(|rested| rested > RESUME_AGE_MAX) => {
            Choice::Begin(Some("it has rested too long, a fresh listing decides again"))
        }
        Command::Run { .. } => Choice::GoOn,
        Command::Apply { max_plan_age } => apply(open, *max_plan_age, now),
    }
}

fn apply(open: &Standing, max_plan_age: Duration, now: Timestamp) -> Choice {
    if open.header.mode == Mode::Stream {
        return Choice::Refuse(Ending::Usage(format!(
            "run {} is not a plan but an interrupted `s3sweep run`: finish it with `s3sweep run`",
            open.header.run_id
        )));
    }
    if open.state == RunState::Planning {
        return Choice::Refuse(Ending::Usage("the plan is not complete: run `s3sweep plan` again".into()));
    }
    let age = now.since(open.header.began).unwrap_or_default();
    if open.state == RunState::Planned && age > max_plan_age {
        return Choice::Refuse(Ending::Usage(format!(
            "the plan is {} old, more than --max-plan-age allows ({}): run `s3sweep plan` again",
            shown_age(age),
            shown_age(max_plan_age)
        )));
    }
    let rested = now.since(open.updated).unwrap_or_default();
    if rested > RESUME_AGE_MAX {
        return Choice::Refuse(Ending::Usage(format!(
            "run {} was interrupted {} days ago, too long to trust its plan: run `s3sweep plan --restart`",
            open.header.run_id,
            rested.as_secs() / 86_400
        )));
    }
    Choice::GoOn
}

/// An age in whole units, small enough to tell it from another.
fn shown_age(age: Duration) -> String {
    const MINUTE_SECS: u64 = 60;
    match age.as_secs() {
        secs if secs < 10 * MINUTE_SECS => format!("{secs} seconds"),
        secs => format!("{} minutes and {} seconds", secs / MINUTE_SECS, secs % MINUTE_SECS),
    }
}

fn changed(open: &Standing, semantic_json: &str) -> Ending {
    let fields = differences(&open.header.semantic_json, semantic_json);
    Ending::Checkpoint(format!(
        "the job has changed since run {} began, which is not finished: {}. Put the job back and run again to finish \
         it, or give it up with `s3sweep run --restart`",
        open.header.run_id,
        if fields.is_empty() { "its meaning differs".to_owned() } else { fields.join("; ") }
    ))
}

#[cfg(test)]
mod tests;
