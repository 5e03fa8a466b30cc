//! `status` and `report`: what the checkpoint of a run says, live or ended.

use std::fs;
use std::path::Path;

use crate::checkpoint::{CheckpointError, RunFiles, StateDir};
use crate::engine::{Ending, ending_of_checkpoint};
use crate::report::{FailureLine, Summary, report_text, summary_text};

use super::args::{Common, Output, Show};
use super::client::{load, state_root};
use super::{print, print_json};

/// Failures that `report` prints; the audit holds all.
const FAILURES_SHOWN_MAX: u64 = 100;

pub(super) fn status(common: &Common, show: &Show) -> Result<Ending, Ending> {
    let summaries = summaries(common, show)?;
    match common.output {
        Output::Json if show.job.is_some() => print_json(&summaries.first().map(|(summary, _)| summary))?,
        Output::Json => print_json(&summaries.iter().map(|(summary, _)| summary).collect::<Vec<_>>())?,
        Output::Text => {
            let texts: Vec<String> = summaries.iter().map(|(summary, _)| summary_text(summary)).collect();
            print(&texts.join("\n"))?;
        }
    }
    Ok(Ending::Done)
}

pub(super) fn report(common: &Common, show: &Show) -> Result<Ending, Ending> {
    let mut reports = Vec::new();
    for (summary, files) in summaries(common, show)? {
        let failures = FailureLine::read(&files.checkpoint, FAILURES_SHOWN_MAX)
            .map_err(|error| ending_of_checkpoint(&error))?;
        reports.push((summary, failures));
    }
    match common.output {
        Output::Json => {
            let values: Vec<_> = reports
                .iter()
                .map(|(summary, failures)| serde_json::json!({ "summary": summary, "failures": failures }))
                .collect();
            match values.as_slice() {
                [one] if show.job.is_some() => print_json(one)?,
                all => print_json(&all)?,
            }
        }
        Output::Text => {
            let texts: Vec<String> =
                reports.iter().map(|(summary, failures)| report_text(summary, failures)).collect();
            print(&texts.join("\n"))?;
        }
    }
    Ok(Ending::Done)
}

/// The current runs of the job that was named, or of all jobs.
fn summaries(common: &Common, show: &Show) -> Result<Vec<(Summary, RunFiles)>, Ending> {
    let root = state_root(common)?;
    let names = match &show.job {
        Some(job) => vec![job_name(job)?],
        None => job_names(&root)?,
    };
    let refused = |error| ending_of_checkpoint(&error);
    let mut found = Vec::new();
    for name in &names {
        let dir = StateDir::existing(&root.join(name));
        if let Some(files) = dir.current().map_err(refused)? {
            found.push((summary(&dir, &files).map_err(refused)?, files));
        }
    }
    if found.is_empty() {
        return Err(Ending::Usage(format!("no run was found in {}", root.display())));
    }
    Ok(found)
}

/// The figures of a run. One that is under way by its checkpoint, while nobody holds the job's lock, was
/// interrupted: its process had no time to say so.
fn summary(dir: &StateDir, files: &RunFiles) -> Result<Summary, CheckpointError> {
    let found = Summary::read(files)?;
    if !found.is_under_way() || dir.is_locked()? {
        return Ok(found);
    }
    // It may have ended in good order between the two looks.
    let mut found = Summary::read(files)?;
    if found.is_under_way() {
        found.interrupt();
    }
    Ok(found)
}

/// A job file's job, or a name as it is.
fn job_name(job: &Path) -> Result<String, Ending> {
    if job.is_file() {
        return Ok(load(job)?.name);
    }
    match job.to_str().filter(|name| crate::job::is_name(name)) {
        Some(name) => Ok(name.to_owned()),
        None => Err(Ending::Usage(format!("{} is neither a job file nor the name of a job", job.display()))),
    }
}

fn job_names(root: &Path) -> Result<Vec<String>, Ending> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Ending::LocalIo(format!("{}: {error}", root.display()))),
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| crate::job::is_name(name))
        .collect();
    names.sort();
    Ok(names)
}
