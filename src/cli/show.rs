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
        let others: Vec<String> = job_names(&root)?.into_iter().filter(|job| has_run(&root, job)).collect();
        return Err(Ending::Usage(nothing_found(show.job.as_deref(), names.first(), &root, &others)));
    }
    Ok(found)
}

fn has_run(root: &Path, job: &str) -> bool {
    StateDir::existing(&root.join(job)).current().is_ok_and(|current| current.is_some())
}

/// Why there is nothing to show: of what was `asked` for, which is the job `name`, there is no run below `root`,
/// where the runs of other jobs are.
fn nothing_found(asked: Option<&Path>, name: Option<&String>, root: &Path, others: &[String]) -> String {
    /// A sentence, and not a listing.
    const NAMED_MAX: usize = 10;
    let sought = match (asked, name) {
        (Some(_), Some(name)) => format!("no run of job {name} was found in {}", root.display()),
        _ => format!("no run was found in {}", root.display()),
    };
    // A file would have told the job's name; this may be the name of one that is missing.
    let absent = match asked {
        Some(file) if !file.is_file() && is_file_name(file) => {
            format!(", and there is no job file {}", file.display())
        }
        _ => String::new(),
    };
    let there = match others {
        [] => "no job has run there".to_owned(),
        _ => {
            let named = others.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = others.len().saturating_sub(NAMED_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("the jobs there are {named}{more}")
        }
    };
    format!("{sought}{absent}; {there}. Give the --state-dir that the job runs with")
}

/// Whether somebody who writes this means a file.
fn is_file_name(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
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
        None if job.exists() => Err(Ending::Usage(format!("{} is no file", job.display()))),
        None => Err(Ending::Usage(format!("there is no job file {}", job.display()))),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_nothing_hears_where_to_look() {
        let told = |asked: Option<&str>, others: &[String]| {
            let name = asked.map(str::to_owned);
            nothing_found(asked.map(Path::new), name.as_ref(), Path::new("/s"), others)
        };
        let there = "Give the --state-dir that the job runs with";
        let jobs = ["a", "b"].map(str::to_owned);
        assert_eq!(
            told(Some("nightly"), &jobs),
            format!("no run of job nightly was found in /s; the jobs there are a, b. {there}")
        );
        assert_eq!(
            told(Some("nightly.yaml"), &[]),
            format!(
                "no run of job nightly.yaml was found in /s, and there is no job file nightly.yaml; no job has run \
                 there. {there}"
            )
        );
        assert_eq!(told(None, &[]), format!("no run was found in /s; no job has run there. {there}"));
        let many: Vec<String> = (0..12).map(|n| format!("j{n}")).collect();
        assert!(told(Some("nightly"), &many).contains("j8, j9 and 2 more. "));
    }

    #[test]
    fn a_place_without_a_file_is_no_name_of_a_job() {
        let missing = job_name(Path::new("/nonexistent/nightly.yaml")).unwrap_err();
        assert_eq!(missing.message(), "there is no job file /nonexistent/nightly.yaml");
        assert_eq!(job_name(Path::new("/")).unwrap_err().message(), "/ is no file");
        assert_eq!(job_name(Path::new("nightly")), Ok("nightly".to_owned()));
    }
}
