//! `check`: what can be known without changing anything.

use std::sync::Arc;

use crate::engine::{Ending, ending_of_s3, look_at_bucket};
use crate::job::{Action, Endpoint, Job, Transfer};
use crate::model::{ActionId, History, VersioningStatus};
use crate::report::{TransferRule, fidelity};
use crate::rules::{NullVersions, Rule, Verdict};
use crate::s3::ListVersions;
use crate::telemetry::Metrics;

use super::args::{Check, Common, Output};
use super::client::{connect, load};
use super::{now, print, print_json};

pub(super) async fn check(common: &Common, check: &Check) -> Result<Ending, Ending> {
    let job = load(&check.job)?;
    let mut lines =
        vec![format!("{}: job {} is valid, {} rules", check.job.display(), job.name, job.rules.len())];
    let transfers = transfers(&job);
    let rules = transfer_rules(&job);
    for (transfer, rule) in transfers.iter().zip(&rules) {
        lines.push(transfer.clone());
        lines.extend(rule.fidelity_text().into_iter().map(|line| format!("  {line}")));
    }
    lines.extend(job.warnings.iter().map(|warning| format!("warning: {warning}")));
    let found = if check.live { Some(live(&job).await?) } else { None };
    match common.output {
        Output::Text => {
            lines.extend(found.unwrap_or_default());
            print(&(lines.join("\n") + "\n"))?;
        }
        Output::Json => {
            let warnings: Vec<String> = job.warnings.iter().map(ToString::to_string).collect();
            let fidelity: Vec<_> = rules
                .iter()
                .map(|rule| serde_json::json!({ "rule": rule.rule, "lines": fidelity(&rule.settings, rule.streams) }))
                .collect();
            print_json(&serde_json::json!({ "job": job.name, "valid": true, "transfers": transfers,
                                     "fidelity": fidelity, "warnings": warnings, "live": found }))?;
        }
    }
    Ok(Ending::Done)
}

/// The rules that copy or move, in the job's order.
fn rules_with_transfers(job: &Job) -> impl Iterator<Item = (&Rule, &Transfer)> {
    let transfer_of = |rule: &Rule| match rule.verdict {
        Verdict::Act(ActionId(index)) | Verdict::Copy(ActionId(index)) => {
            job.actions.get(usize::from(index)).and_then(Action::transfer)
        }
        Verdict::Keep => None,
    };
    job.rules.iter().filter_map(move |rule| Some((rule, transfer_of(rule)?)))
}

/// Where each rule that copies or moves has its versions go.
fn transfers(job: &Job) -> Vec<String> {
    rules_with_transfers(job).map(|(rule, to)| transfer_line(job, rule, to)).collect()
}

/// How each rule that copies or moves does it, for figures and for what is kept.
pub(super) fn transfer_rules(job: &Job) -> Vec<TransferRule> {
    rules_with_transfers(job)
        .map(|(rule, transfer)| TransferRule {
            rule: rule.name.clone(),
            moves: transfer.removes_source.is_some(),
            streams: transfer.is_streamed(&job.bucket),
            settings: transfer.settings.clone(),
        })
        .collect()
}

fn transfer_line(job: &Job, rule: &Rule, transfer: &Transfer) -> String {
    let verb = if transfer.removes_source.is_some() { "moves" } else { "copies" };
    let what = match transfer.settings.history {
        History::Selected => "selected versions",
        History::All => "whole histories",
        History::Current => "current versions",
    };
    let is_elsewhere = transfer.to.endpoint != job.bucket.endpoint;
    let endpoint = if is_elsewhere { format!(" at {}", transfer.to.endpoint) } else { String::new() };
    let (name, key) = (&transfer.to.name, &transfer.settings.key);
    let place = if transfer.is_in_place(&job.bucket) { ", in place" } else { "" };
    format!("rule {} {verb} {what} to bucket {name}{endpoint}, key {key}{place}", rule.name)
}

/// Looks at the bucket; the first failure ends the check with its exit code.
async fn live(job: &Job) -> Result<Vec<String>, Ending> {
    if job.bucket.endpoint == Endpoint::Sandbox {
        return Ok(vec!["an embedded sandbox needs no check".into()]);
    }
    let client = connect(job, None).await?;
    let metrics =
        Arc::new(Metrics::new(&job.name, &[], now()).map_err(|error| Ending::Bug(error.to_string()))?);
    let facts = look_at_bucket(Arc::clone(&client), metrics).await?;
    let mut lines = vec![format!("bucket {} answers, region {}", client.bucket(), facts.region)];
    lines.push(match (facts.versioning, job.null_versions) {
        (VersioningStatus::Suspended, NullVersions::Refuse) => {
            "versioning is suspended: `null` versions will be kept (`null_versions: allow` selects them)"
                .into()
        }
        (VersioningStatus::Suspended, NullVersions::Allow) => "versioning is suspended".into(),
        _ => "versioning is enabled".into(),
    });
    if facts.object_lock {
        lines.push("Object Lock is on: locked versions will be refused and reported as failed".into());
    }
    if facts.mfa_delete
        && job
            .actions
            .iter()
            .any(|action| action.delete_options().is_some_and(|options| options.mfa.is_none()))
    {
        lines.push("warning: MFA Delete is on, but an action of the job has no `mfa:`".into());
    }
    let prefix = job.scope.prefixes.first().map_or(&[][..], |prefix| prefix.as_bytes());
    let request = ListVersions { prefix, from: None, page_size: 1, wants_data: false };
    client.list_versions(&request).await.map_err(|error| ending_of_s3(&error))?;
    lines.push("versions can be listed; whether they may be deleted shows only when one is".into());
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_that_copies_says_where_to() {
        let text = "version: 1\nname: n\nbucket: { name: src }\nrules:\n\
            - { name: keep, match: { suffix: a }, action: keep }\n\
            - { name: drop, match: { suffix: b }, action: delete }\n\
            - { name: a, match: { suffix: c }, action: { move: { bucket: dst, prefix: old/ } } }\n\
            - { name: b, match: { suffix: d }, action: { copy: { endpoint: 'https://x.example', history: all } } }\n\
            - { name: c, match: { suffix: e }, action: { copy: { history: current, storage_class: X } } }\n";
        let job = crate::job::load(text, "job.yaml", &|_| None).unwrap();
        let ways: Vec<_> =
            transfer_rules(&job).into_iter().map(|rule| (rule.rule, rule.moves, rule.streams)).collect();
        let wanted = [("a", true, false), ("b", false, true), ("c", false, false)];
        assert_eq!(ways, wanted.map(|(name, moves, streams)| (name.to_owned(), moves, streams)));
        assert_eq!(
            transfers(&job),
            [
                "rule a moves selected versions to bucket dst, key old/{key}",
                "rule b copies whole histories to bucket src at https://x.example, key {key}",
                "rule c copies current versions to bucket src, key {key}, in place",
            ]
        );
    }
}
