//! The figures of a run as text.

use std::fmt::Write as _;
use std::time::Duration;

use super::summary::{FailureLine, PlanFigures, Summary};
use super::transfers::transfer_text;
use super::units::{bytes, count, duration};

/// Causes that `report` counts: codes come from the server, so there may be many.
const CAUSES_SHOWN_MAX: usize = 20;

fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from(" ");
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            // The first column holds names, the others figures.
            let written =
                if column == 0 { write!(line, " {cell:<width$}") } else { write!(line, "  {cell:>width$}") };
            // Writing to a String cannot fail.
            let () = written.unwrap_or_default();
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn cells(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn kept_line(summary: &Summary) -> String {
    let reasons: Vec<String> =
        summary.kept_because.iter().map(|(reason, n)| format!("{} {reason}", count(*n))).collect();
    if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) }
}

/// What the rules do that remove or copy: the word for what is done, and the action's name.
const DEEDS: [(&str, &str); 3] = [("deleted", "delete"), ("moved", "move"), ("copied", "copy")];

/// Whether everything that the rules select is deleted and nothing else.
fn only_deletes(summary: &Summary) -> bool {
    DEEDS[1..].iter().all(|(_, action)| summary.of_action(action).rules == 0)
}

/// What was done, a line for each kind of action that the job has.
fn done_lines(summary: &Summary) -> Vec<String> {
    if only_deletes(summary) {
        let (done, freed) = (count(summary.done), bytes(summary.bytes_done));
        return vec![format!("  deleted  {done} ({freed} freed)")];
    }
    let deeds = DEEDS.iter().map(|(word, action)| (word, summary.of_action(action)));
    deeds
        .filter(|(_, figures)| figures.rules > 0)
        .map(|(word, figures)| {
            format!("  {word:<7}  {} ({})", count(figures.done), bytes(figures.bytes_done))
        })
        .collect()
}

/// The most frequent cause of what ended in this way, and how many others there are.
fn mostly(summary: &Summary, outcome: &str) -> String {
    let causes: Vec<_> = summary.reasons.iter().filter(|reason| reason.outcome == outcome).collect();
    match causes.as_slice() {
        [] => String::new(),
        [only] => format!(" ({})", only.code),
        [most, others @ ..] => {
            let causes = others.len() + 1;
            format!(" ({} {}, the most frequent of {causes} causes)", count(most.versions), most.code)
        }
    }
}

/// What is known of the pending versions.
fn of_the_pending(summary: &Summary) -> String {
    let parts = [(summary.in_flight, "in flight"), (summary.copied_not_deleted, "copied, not yet deleted")];
    let told: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", count(*n))).collect();
    if told.is_empty() { String::new() } else { format!(" ({})", told.join("; ")) }
}

/// How long it took; the time of work apart where there were pauses.
fn time(summary: &Summary) -> String {
    /// A process ends and the next one begins in less.
    const PAUSE_MIN: Duration = Duration::from_secs(2);
    let (total, worked) = (summary.elapsed(), summary.worked());
    if total.saturating_sub(worked) < PAUSE_MIN {
        return duration(total);
    }
    format!("{} of work, {} from the beginning with all pauses", duration(worked), duration(total))
}

/// What a run came to: the last words of `run` and `apply`, and the body of `status`.
pub fn summary_text(summary: &Summary) -> String {
    let mut lines = vec![
        format!("run {} of job {}: {}", summary.run_id, summary.job, summary.state),
        format!("  bucket   {} at {}", summary.bucket, summary.endpoint),
        format!("  listed   {}", count(summary.listed)),
        format!("  kept     {}{}", count(summary.kept), kept_line(summary)),
        format!("  planned  {} ({})", count(summary.planned), bytes(summary.bytes_planned)),
    ];
    lines.extend(done_lines(summary));
    for (name, n, more) in [
        ("gone   ", summary.gone, String::new()),
        ("failed ", summary.failed, mostly(summary, "failed")),
        ("skipped", summary.skipped, mostly(summary, "skipped")),
        ("pending", summary.pending, of_the_pending(summary)),
    ] {
        if n > 0 || name == "failed " {
            lines.push(format!("  {name}  {}{more}", count(n)));
        }
    }
    lines.push(format!("  time     {}", time(summary)));
    if let Some(reason) = &summary.reason {
        lines.push(format!("  why      {reason}"));
    }
    if let Some(audit) = &summary.audit {
        lines.push(format!("  audit    {}", audit.display()));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    let only_deletes = only_deletes(summary);
    let done = if only_deletes { &["deleted"][..] } else { &["action", "done"][..] };
    let heads = [&["rule", "planned"][..], done, &["gone", "failed", "skipped", "kept", "bytes"][..]];
    let mut rows = vec![cells(&heads.concat())];
    rows.extend(summary.rules.iter().map(|rule| {
        let action = if only_deletes { None } else { Some(rule.action.clone()) };
        let figures = [rule.done, rule.gone, rule.failed, rule.skipped, rule.kept].map(count);
        let begin = [rule.name.clone(), count(rule.planned)];
        begin.into_iter().chain(action).chain(figures).chain([bytes(rule.bytes)]).collect()
    }));
    text + &table(&rows)
}

/// How much is planned, in all and of each kind.
fn plan_head(summary: &Summary) -> String {
    let planned = format!("{} of {} listed versions", count(summary.planned), count(summary.listed));
    let mut text = format!("plan {} of job {}: {planned}", summary.run_id, summary.job);
    let deeds: Vec<_> = DEEDS
        .iter()
        .map(|(word, action)| (word, summary.of_action(action)))
        .filter(|(_, figures)| figures.rules > 0)
        .collect();
    let of_all = bytes(summary.bytes_planned);
    match deeds.as_slice() {
        [] => text += &format!(" would be deleted, {of_all}"),
        [(word, _)] => text += &format!(" would be {word}, {of_all}"),
        deeds => {
            text += &format!(" are selected, {of_all}");
            for (word, figures) in deeds {
                let (versions, of_these) = (count(figures.planned), bytes(figures.bytes_planned));
                text += &format!("\n  {versions} would be {word}, {of_these}");
            }
        }
    }
    text.push('\n');
    text
}

/// A plan: what each rule selected, with examples, and what carrying it out takes.
pub fn plan_text(summary: &Summary, figures: &PlanFigures) -> String {
    let mut text = plan_head(summary);
    text += &format!("  kept {}{}\n", count(summary.kept), kept_line(summary));
    let mut rows = vec![cells(&["rule", "versions", "keys", "bytes", "kept"])];
    rows.extend(summary.rules.iter().map(|rule| {
        vec![rule.name.clone(), count(rule.planned), count(rule.keys), bytes(rule.bytes), count(rule.kept)]
    }));
    text += &table(&rows);
    for rule in summary.rules.iter().filter(|rule| !rule.samples.is_empty()) {
        text += &format!("  {}, for example:\n", rule.name);
        for sample in &rule.samples {
            text += &format!(
                "    {} {} {} {} {}\n",
                sample.last_modified,
                sample.kind,
                bytes(sample.size),
                sample.version_id,
                sample.key
            );
        }
    }
    let copying = match figures.copy_requests {
        0 => String::new(),
        n => format!("{} to copy at least, ", count(n)),
    };
    text += &format!(
        "  requests  {copying}{} to delete, {} made to list\n",
        count(figures.delete_requests),
        count(figures.list_requests)
    );
    if figures.seconds_at_limits > 0.0 {
        let time = Duration::try_from_secs_f64(figures.seconds_at_limits).unwrap_or_default();
        text += &format!("  time      at least {} at the job's limits\n", duration(time));
    }
    text += &format!(
        "  cost      {:.4} USD for the listing at AWS's price of 0.005 USD per 1,000 LIST requests; deleting is free there\n",
        figures.list_cost_usd
    );
    if !figures.transfers.is_empty() {
        text += &format!(
            "            {:.4} USD for the copies at 0.005 USD per 1,000 PUT, COPY and LIST and 0.0004 per 1,000 GET \
             requests; without storage, traffic and parts\n",
            figures.copy_cost_usd
        );
    }
    for transfer in &figures.transfers {
        text += &transfer_text(transfer);
    }
    text
}

/// Why versions failed or were skipped, a line for each cause.
fn causes(summary: &Summary) -> String {
    let mut text = String::from("  causes:\n");
    let rows: Vec<Vec<String>> = summary
        .reasons
        .iter()
        .take(CAUSES_SHOWN_MAX)
        .map(|reason| vec![format!("  {} {}", reason.outcome, reason.code), count(reason.versions)])
        .collect();
    text += &table(&rows);
    let hidden = summary.reasons.len().saturating_sub(CAUSES_SHOWN_MAX);
    if hidden > 0 {
        text += &format!("    and {hidden} more\n");
    }
    text
}

/// The summary with the failures, for `report`.
pub fn report_text(summary: &Summary, failures: &[FailureLine]) -> String {
    let mut text = summary_text(summary);
    if failures.is_empty() {
        return text;
    }
    text += &causes(summary);
    text += "  failed and skipped versions:\n";
    for line in failures {
        text += &format!(
            "    {} {} rule {}: {} {} {} (attempt {}, request id {})\n",
            line.key,
            line.version_id,
            line.rule,
            line.outcome,
            line.code,
            line.message,
            line.attempt,
            line.request_id.as_deref().unwrap_or("none")
        );
    }
    let hidden = (summary.failed + summary.skipped).saturating_sub(failures.len() as u64);
    if hidden > 0 {
        text += &format!("    and {} more: the audit holds them all\n", count(hidden));
    }
    text
}

#[cfg(test)]
mod tests;
