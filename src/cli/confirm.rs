//! The question before anything is deleted.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use indicatif::ProgressBar;

use crate::checkpoint::{Amount, Counter, Totals};
use crate::engine::{Confirm, Ending, rule_actions};
use crate::job::Job;
use crate::report::{TransferRule, bytes, count, transfer_text};

use super::args::Common;
use super::check::transfer_rules;

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
            "versions would be deleted or copied and there is no terminal to ask on: give --yes, or write `confirm: false` \
             in the job"
                .into(),
        ));
    }
    let actions = rule_actions(job);
    let transfers = transfer_rules(job);
    Ok(Some(Box::new(move |header, totals, complete| {
        let ask = || {
            let planned = totals.planned();
            let mut text = format!(
                "\nbucket {}: {} of {} listed versions are selected{}\n",
                header.bucket,
                count(planned.versions),
                count(totals.listed().versions),
                if complete { "" } else { " so far; listing goes on" }
            );
            for (index, name) in header.rule_names.iter().enumerate() {
                let of = totals
                    .sum(|counter| matches!(counter, Counter::Planned(rule) if usize::from(rule.0) == index));
                text += &rule_text(name, of, &transfers);
            }
            text += &asks(left_by_action(totals, &actions), complete);
            answered_yes(&text)
        };
        match &progress {
            Some(bar) => bar.suspend(ask),
            None => ask(),
        }
    })))
}

/// What a rule selected; where it copies, what that takes and what is lost.
fn rule_text(name: &str, of: Amount, transfers: &[TransferRule]) -> String {
    match transfers.iter().find(|transfer| transfer.rule == name) {
        Some(transfer) => transfer_text(&transfer.figures(of.versions, of.keys, of.bytes)),
        None => format!("  {name}: {} versions, {}\n", count(of.versions), bytes(of.bytes)),
    }
}

/// Planned versions without an outcome, by what is to be done with them: deleted, moved, copied.
fn left_by_action(totals: &Totals, actions: &[&'static str]) -> [u64; 3] {
    ["delete", "move", "copy"].map(|action| {
        let is_of = |counter: Counter| {
            let rule = counter.rule().map(|rule| usize::from(rule.0));
            rule.and_then(|rule| actions.get(rule)) == Some(&action)
        };
        let planned = totals.sum(|counter| matches!(counter, Counter::Planned(_)) && is_of(counter));
        let settled = totals.sum(|counter| {
            let is_outcome = !matches!(counter, Counter::Listed | Counter::Kept(_) | Counter::Planned(_));
            is_outcome && is_of(counter)
        });
        planned.versions.saturating_sub(settled.versions)
    })
}

/// The question itself.
fn asks([delete, moves, copies]: [u64; 3], complete: bool) -> String {
    let more = if complete { "" } else { " and more" };
    if moves + copies == 0 {
        return format!("Delete {}{more} versions for good? [y/N] ", count(delete));
    }
    let parts: Vec<String> = [("delete", delete), ("move", moves), ("copy", copies)]
        .into_iter()
        .filter(|(_, left)| *left > 0)
        .map(|(word, left)| format!("{word} {}", count(left)))
        .collect();
    format!("{}{more} versions? [y/N] ", capitalised(&parts.join(", ")))
}

fn capitalised(text: &str) -> String {
    text.get(..1).map_or_else(String::new, str::to_uppercase) + text.get(1..).unwrap_or_default()
}

fn answered_yes(text: &str) -> bool {
    let mut answer = String::new();
    let asked = io::stderr().write_all(text.as_bytes()).and_then(|()| io::stderr().flush());
    asked.is_ok()
        && io::stdin().lock().read_line(&mut answer).is_ok()
        && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_says_what_will_be_done() {
        assert_eq!(asks([1500, 0, 0], true), "Delete 1,500 versions for good? [y/N] ");
        assert_eq!(asks([0, 7, 0], false), "Move 7 and more versions? [y/N] ");
        assert_eq!(asks([1, 2, 3], true), "Delete 1, move 2, copy 3 versions? [y/N] ");
    }

    #[test]
    fn a_rule_that_copies_says_what_it_takes_and_what_is_lost() {
        let text = "version: 1\nname: n\nbucket: { name: src }\nrules:\n\
            - { name: drop, match: { suffix: b }, action: delete }\n\
            - { name: away, match: { suffix: c }, action: { move: { bucket: dst } } }\n";
        let job = crate::job::load(text, "job.yaml", &|_| None).unwrap();
        let transfers = transfer_rules(&job);
        let amount = Amount { versions: 3, keys: 2, bytes: 2048 };
        assert_eq!(rule_text("drop", amount, &transfers), "  drop: 3 versions, 2.00 KiB\n");
        let text = rule_text("away", amount, &transfers);
        assert!(text.starts_with("  away moves 3 versions of 2 keys, 2.00 KiB, by the server\n"), "{text}");
        assert!(text.contains("at least 3 to write, 2 to list, 1 to delete\n"), "{text}");
        assert!(text.contains("lost: version id (the audit tells which became which)\n"), "{text}");
    }
}
