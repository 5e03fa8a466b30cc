//! The question before anything is deleted.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use indicatif::ProgressBar;

use crate::engine::{Confirm, Ending};
use crate::job::Job;
use crate::report::{bytes, count};

use super::args::Common;

/// The question for a command that deletes, or `None` where the user has answered it already.
///
/// # Errors
/// Nobody is there to be asked.
pub(super) fn question(
    common: &Common,
    job: &Job,
    progress: Option<ProgressBar>,
) -> Result<Option<Confirm>, Ending> {
    if common.yes || !job.confirm {
        return Ok(None);
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Ending::Usage(
            "versions would be deleted and there is no terminal to ask on: give --yes, or write `confirm: false` \
             in the job"
                .into(),
        ));
    }
    Ok(Some(Box::new(move |header, totals, complete| {
        let ask = || {
            let planned = totals.planned();
            let left = planned.versions - totals.settled().versions;
            let mut text = format!(
                "\nbucket {}: {} of {} listed versions are selected{}\n",
                header.bucket,
                count(planned.versions),
                count(totals.listed().versions),
                if complete { "" } else { " so far; listing goes on" }
            );
            for (index, name) in header.rule_names.iter().enumerate() {
                let of = totals.sum(|counter| {
                    matches!(counter, crate::checkpoint::Counter::Planned(rule) if usize::from(rule.0) == index)
                });
                text += &format!("  {name}: {} versions, {}\n", count(of.versions), bytes(of.bytes));
            }
            text += &format!(
                "Delete {}{} versions for good? [y/N] ",
                count(left),
                if complete { "" } else { " and more" }
            );
            answered_yes(&text)
        };
        match &progress {
            Some(bar) => bar.suspend(ask),
            None => ask(),
        }
    })))
}

fn answered_yes(text: &str) -> bool {
    let mut answer = String::new();
    let asked = io::stderr().write_all(text.as_bytes()).and_then(|()| io::stderr().flush());
    asked.is_ok()
        && io::stdin().lock().read_line(&mut answer).is_ok()
        && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}
