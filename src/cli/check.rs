//! `check`: what can be known without changing anything.

use std::sync::Arc;

use crate::engine::{
    Ending, check_moves, ending_of_s3, look_at_bucket, look_for_copies, unreadable_keys, versioning_word,
};
use crate::job::{Action, Endpoint, Job, Problem, Problems, Transfer, may_select_markers};
use crate::model::{ActionId, History, VersioningStatus};
use crate::report::TransferRule;
use crate::rules::{NullVersions, Rule, Verdict};
use crate::s3::ListVersions;
use crate::telemetry::Metrics;

use super::args::{Check, Common, Output};
use super::client::{connect, connect_to, read, unusable};
use super::surroundings::missing_outputs;
use super::{now, print, print_json};

pub(super) async fn check(common: &Common, check: &Check) -> Result<Ending, Ending> {
    let job = match (read(&check.job)?, common.output) {
        (Ok(job), _) => job,
        (Err(problems), Output::Text) => return Err(unusable(&problems)),
        (Err(problems), Output::Json) => {
            print_json(&refused(&problems))?;
            return Err(unusable(&problems));
        }
    };
    let rules = match job.rules.len() {
        1 => "1 rule".to_owned(),
        n => format!("{n} rules"),
    };
    let mut lines = vec![format!("{}: job {} is valid, {rules}", check.job.display(), job.name)];
    let transfers = transfers(&job);
    let rules = transfer_rules(&job);
    for (transfer, rule) in transfers.iter().zip(&rules) {
        lines.push(transfer.clone());
        lines.extend(rule.fidelity_text().into_iter().map(|line| format!("  {line}")));
    }
    if let Some(lock) = &job.lock {
        let ttl_secs = lock.ttl.as_secs();
        lines.push(format!("lock: object {} in bucket {}, ttl {ttl_secs} s", lock.key, lock.bucket.name));
    }
    let mut warnings: Vec<String> = job.warnings.iter().map(ToString::to_string).collect();
    warnings.extend(slow_renewals(&job));
    if !check.live {
        // Another machine may be the one that runs the job.
        warnings.extend(missing_keys(&job));
    }
    warnings.extend(missing_outputs(&job));
    lines.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    let found = if check.live { Some(live(&job).await?) } else { None };
    match common.output {
        Output::Text => {
            lines.extend(found.iter().flat_map(|found| found.lines.clone()));
            print(&(lines.join("\n") + "\n"))?;
        }
        Output::Json => {
            let fidelity: Vec<_> = rules
                .iter()
                .map(|rule| serde_json::json!({ "rule": rule.rule, "lines": rule.fidelity() }))
                .collect();
            let refusals: Option<Vec<_>> =
                found.as_ref().map(|found| found.refusals.iter().map(Ending::message).collect());
            print_json(&serde_json::json!({
                "job": job.name, "valid": true, "transfers": transfers, "fidelity": fidelity,
                "warnings": warnings, "live": found.as_ref().map(|found| &found.lines),
                "live_refusals": refusals,
            }))?;
        }
    }
    Ok(found.map_or(Ending::Done, Found::ending))
}

/// A job file that cannot be used, for programs.
fn refused(problems: &Problems) -> serde_json::Value {
    let problem = |problem: &Problem| serde_json::json!({ "line": problem.line, "column": problem.column, "message": problem.message() });
    let problems: Vec<_> = problems.0.iter().map(problem).collect();
    serde_json::json!({ "job": null, "valid": false, "problems": problems })
}

/// A ceiling of requests under which a renewal of the lock may have to wait too long for its turn: it stands
/// behind what the workers and listers ask for.
fn slow_renewals(job: &Job) -> Option<String> {
    let (lock, per_second) = (job.lock.as_ref()?, job.limits.requests_per_second?);
    let ahead = u32::from(job.limits.concurrency) + u32::from(job.limits.list_concurrency);
    let wait_secs = f64::from(ahead) / f64::from(per_second);
    (wait_secs > lock.ttl.as_secs_f64() / 3.0).then(|| {
        format!(
            "limits.requests_per_second lets a renewal of the lock wait up to {wait_secs:.0} s, more than a third \
             of lock.ttl: the run may end for it. Raise either, or lower limits.concurrency"
        )
    })
}

/// The customer's keys that this machine does not have.
fn missing_keys(job: &Job) -> Vec<String> {
    rules_with_transfers(job)
        .flat_map(|(rule, transfer)| {
            let named =
                |missing| format!("rule {}: {missing}: `run` on this machine would refuse", rule.name);
            unreadable_keys(&transfer.settings).into_iter().map(named).collect::<Vec<_>>()
        })
        .collect()
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
    let are_several = rules_with_transfers(job).nth(1).is_some();
    rules_with_transfers(job)
        .map(|(rule, transfer)| TransferRule {
            rule: rule.name.clone(),
            moves: transfer.removes_source.is_some(),
            streams: transfer.is_streamed(&job.bucket),
            carries_markers: carries_markers(rule, transfer),
            looks_apart: are_several || transfer.is_in_place(&job.bucket),
            settings: transfer.settings.clone(),
        })
        .collect()
}

fn carries_markers(rule: &Rule, transfer: &Transfer) -> bool {
    match transfer.settings.history {
        History::All => true,
        History::Selected => may_select_markers(&rule.conditions),
        History::Current => false,
    }
}

fn transfer_line(job: &Job, rule: &Rule, transfer: &Transfer) -> String {
    let verb = if transfer.removes_source.is_some() { "moves" } else { "copies" };
    let what = match transfer.settings.history {
        History::Selected if carries_markers(rule, transfer) => "selected versions and delete markers",
        History::Selected => "selected versions, no delete markers",
        History::All => "whole histories",
        History::Current => "current versions",
    };
    let is_elsewhere = transfer.to.endpoint != job.bucket.endpoint;
    let endpoint = if is_elsewhere { format!(" at {}", transfer.to.endpoint) } else { String::new() };
    let (name, key) = (&transfer.to.name, &transfer.settings.key);
    let place = if transfer.is_in_place(&job.bucket) { ", in place" } else { "" };
    format!("rule {} {verb} {what} to bucket {name}{endpoint}, key {key}{place}", rule.name)
}

/// What looking at the buckets found: lines to be read, and why a run could not begin.
#[derive(Default)]
struct Found {
    lines: Vec<String>,
    refusals: Vec<Ending>,
}

impl Found {
    /// The end of the check: that of the first refusal, with the words of all.
    fn ending(self) -> Ending {
        let words: Vec<String> = self.refusals.iter().map(Ending::message).collect();
        match self.refusals.into_iter().next() {
            Some(first) => first.saying(words.join("\ns3sweep: ")),
            None => Ending::Done,
        }
    }
}

/// Looks at the bucket, and at those that copies go to, as a run does before it begins.
async fn live(job: &Job) -> Result<Found, Ending> {
    let mut found = Found::default();
    let metrics =
        Arc::new(Metrics::new(&job.name, &[], now()).map_err(|error| Ending::Bug(error.to_string()))?);
    if job.bucket.endpoint == Endpoint::Sandbox {
        found.lines.push("an embedded sandbox needs no check".into());
    } else {
        match look_at_source(job, &metrics).await {
            Ok(lines) => found.lines.extend(lines),
            Err(ending) => found.refusals.push(ending),
        }
    }
    for (rule, transfer) in rules_with_transfers(job) {
        for missing in unreadable_keys(&transfer.settings) {
            found.refusals.push(Ending::Usage(format!("rule {}: {missing}", rule.name)));
        }
        if transfer.to.endpoint == Endpoint::Sandbox {
            continue;
        }
        match look_at_destination(transfer, &metrics).await {
            Ok(line) => found.lines.push(format!("rule {}: {line}", rule.name)),
            Err(ending) => {
                let words = format!("rule {}: {}", rule.name, ending.message());
                found.refusals.push(ending.saying(words));
            }
        }
    }
    Ok(found)
}

/// The bucket that a rule copies to, with the credentials of that side.
async fn look_at_destination(transfer: &Transfer, metrics: &Arc<Metrics>) -> Result<String, Ending> {
    let client = connect_to(&transfer.to, None).await?;
    let facts = look_for_copies(Arc::clone(&client), Arc::clone(metrics), transfer).await?;
    let lock = if facts.object_lock { ", Object Lock is on" } else { "" };
    Ok(format!(
        "bucket {}, where copies go, answers, region {}, versioning is {}{lock}; whether it may be written to \
         shows only then",
        client.bucket(),
        facts.region,
        versioning_word(facts.versioning)
    ))
}

/// The bucket whose versions are listed.
async fn look_at_source(job: &Job, metrics: &Arc<Metrics>) -> Result<Vec<String>, Ending> {
    let client = connect(job, None).await?;
    let facts = look_at_bucket(Arc::clone(&client), Arc::clone(metrics)).await?;
    check_moves(job, facts.versioning)?;
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

    fn job_of(rules: &str) -> Job {
        let text = format!("version: 1\nname: n\nbucket: {{ name: src }}\nrules:\n{rules}");
        crate::job::load(&text, "job.yaml", &|_| None).unwrap()
    }

    #[test]
    fn a_ceiling_that_may_cost_the_lock_is_told() {
        let told = |lines: &str| {
            let text = format!(
                "version: 1\nname: n\nbucket: {{ name: src }}\nrules: [{{ name: r, match: {{ state: noncurrent }}, \
                 action: delete }}]\n{lines}\n"
            );
            slow_renewals(&crate::job::load(&text, "job.yaml", &|_| None).unwrap())
        };
        let limits = "limits: { requests_per_second: 2, concurrency: 12, list_concurrency: 8 }";
        let said = told(&format!("{limits}\nlock: {{ ttl: 29s }}")).unwrap();
        assert!(said.contains("up to 10 s") && said.contains("lock.ttl"), "{said}");
        assert_eq!(told(&format!("{limits}\nlock: {{ ttl: 30s }}")), None);
        assert_eq!(told(limits), None, "without a lock there is nothing to lose");
        assert_eq!(told("lock: { ttl: 10s }"), None, "without a ceiling nothing waits");
    }

    #[test]
    fn nothing_is_said_of_delete_markers_where_none_travel() {
        let kept = |state: &str, more: &str| {
            let job = job_of(&format!(
                "- {{ name: a, match: {{ state: {state} }}, action: {{ copy: {{ bucket: dst{more} }} }} }}\n"
            ));
            let lines = transfer_rules(&job)[0].fidelity_text();
            let kept = lines.iter().find(|line| line.starts_with("kept: ")).unwrap();
            assert_eq!(lines.iter().any(|line| line.contains("delete markers")), kept.contains("markers"));
            (
                transfers(&job)[0].contains("no delete markers"),
                kept.contains("markers"),
                kept.contains("order"),
            )
        };
        assert_eq!(kept("any", ""), (false, true, true));
        assert_eq!(kept("[noncurrent, noncurrent-marker]", ""), (false, true, true));
        assert_eq!(kept("noncurrent", ""), (true, false, true));
        assert_eq!(kept("noncurrent", ", history: all"), (false, true, true));
        assert_eq!(kept("current", ", history: current"), (false, false, false));
        assert_eq!(kept("noncurrent", ", key: '{key}@{version_id}'"), (true, false, false));
    }

    #[test]
    fn a_customers_key_that_is_not_here_is_told_by_its_name() {
        let job = job_of(
            "- { name: a, match: { suffix: a }, action: { copy: { bucket: dst, encryption: { customer_key: { env: \
             S3SWEEP_TEST_NO_SUCH_KEY } }, source_customer_key: { file: no-such-key-file } } } }\n\
             - { name: b, match: { suffix: b }, action: { copy: { bucket: dst } } }\n",
        );
        let told = missing_keys(&job);
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(
            told[0],
            "rule a: the customer's key: the environment variable S3SWEEP_TEST_NO_SUCH_KEY is not set: `run` on \
             this machine would refuse"
        );
        assert!(told[1].starts_with("rule a: the customer's key: the file no-such-key-file: "), "{told:?}");
    }

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
                "rule a moves selected versions and delete markers to bucket dst, key old/{key}",
                "rule b copies whole histories to bucket src at https://x.example, key {key}",
                "rule c copies current versions to bucket src, key {key}, in place",
            ]
        );
    }
}
