//! From the end of a command to what is told of it.

use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::{RunFiles, Snapshot, host_name};
use crate::engine::{Command, Ending};
use crate::job::Job;
use crate::notice::{self, Event, FailureCode, Notice, RuleFigures, Versions};
use crate::notify::{PATIENCE, PATIENCE_AFTER_SIGNAL, Post};
use crate::report::Summary;
use crate::telemetry::{Event as Told, Metrics, Part};

/// What must be known of a command before it ends.
pub(super) struct Notices {
    post: Post,
    /// The notice without its end.
    blank: Notice,
}

impl Notices {
    /// Opens the post of a job: what earlier runs could not deliver goes out beside the run.
    pub(super) fn open(job: &Job, command: &Command, state_dir: &Path, metrics: Arc<Metrics>) -> Self {
        let blank = Notice {
            event: Event::End,
            job: job.name.clone(),
            command: match command {
                Command::Plan { .. } => "plan",
                Command::Apply { .. } => "apply",
                Command::Run { .. } => "run",
            },
            bucket: job.bucket.name.clone(),
            endpoint: job.bucket.endpoint.to_string(),
            run: None,
            ending: "",
            exit_code: 0,
            sentence: String::new(),
            began: None,
            ended: String::new(),
            seconds: None,
            versions: None,
            bytes: None,
            rules: Vec::new(),
            failures: Vec::new(),
            host: host_name(),
        };
        let troubles = move |text: &str| {
            metrics.emit(&Told::Trouble { part: Part::Webhook, is_first: true, text: &text });
        };
        Self { post: Post::open(job.notify.clone(), state_dir, Arc::new(troubles)), blank }
    }

    /// Tells everybody who wants to know. Bounded in time, and without influence on the end.
    pub(super) async fn send(self, ending: &Ending, run: Option<&RunFiles>) {
        if self.post.is_idle() {
            return;
        }
        let notice = notice_of(self.blank, ending, run);
        let patience = if super::signals::came() { PATIENCE_AFTER_SIGNAL } else { PATIENCE };
        self.post.send(&notice, patience, super::signals::next()).await;
    }
}

/// The kind of an end.
const fn event_of(ending: &Ending) -> Event {
    match ending {
        Ending::Done | Ending::Declined | Ending::Budget(_) | Ending::Locked(_) => Event::End,
        Ending::Tripwire(_) => Event::Tripwire,
        Ending::DoneWithFailures(_)
        | Ending::Usage(_)
        | Ending::Bug(_)
        | Ending::Checkpoint(_)
        | Ending::LocalIo(_)
        | Ending::Interrupted(_)
        | Ending::Credentials(_)
        | Ending::Failures(_) => Event::Failure,
    }
}

/// Characters of a sentence that are told; some quote a server.
const SENTENCE_CHARS_MAX: usize = 1_000;

fn notice_of(blank: Notice, ending: &Ending, run: Option<&RunFiles>) -> Notice {
    let sentence = match ending.message() {
        text if !text.is_empty() => text.chars().take(SENTENCE_CHARS_MAX).collect(),
        _ => super::success(blank.command == "plan").into(),
    };
    let notice = Notice {
        event: event_of(ending),
        ending: ending.word(),
        exit_code: ending.exit_code(),
        sentence,
        ended: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        ..blank
    };
    let Some(files) = run else { return notice };
    match Summary::read(files) {
        Ok(summary) => with_figures(notice, &summary, failures_of(files)),
        // The end is told all the same.
        Err(_) => Notice { run: Some(files.run_id.clone()), ..notice },
    }
}

fn failures_of(files: &RunFiles) -> Vec<FailureCode> {
    let read = Snapshot::open(&files.checkpoint).and_then(|snapshot| snapshot.failure_counts());
    let mut counts = read.unwrap_or_default();
    counts.sort_by_key(|count| std::cmp::Reverse(count.versions));
    let told = counts.into_iter().take(notice::CODES_TOLD_MAX);
    told.map(|count| FailureCode {
        outcome: if count.is_failed { "failed" } else { "skipped" }.into(),
        code: count.code.to_string(),
        versions: count.versions,
    })
    .collect()
}

fn with_figures(notice: Notice, summary: &Summary, failures: Vec<FailureCode>) -> Notice {
    let freed = summary.rules.iter().filter(|rule| rule.action != "copy").map(|rule| rule.bytes_done).sum();
    let rules = summary.rules.iter().take(notice::RULES_TOLD_MAX).map(|rule| RuleFigures {
        name: rule.name.clone(),
        action: rule.action.clone(),
        planned: rule.planned,
        done: rule.done,
        gone: rule.gone,
        failed: rule.failed,
        skipped: rule.skipped,
        bytes_planned: rule.bytes,
        bytes_done: rule.bytes_done,
    });
    Notice {
        run: Some(summary.run_id.clone()),
        began: Some(summary.began.clone()),
        ended: summary.updated.clone(),
        seconds: Some(summary.seconds),
        versions: Some(Versions {
            listed: summary.listed,
            kept: summary.kept,
            planned: summary.planned,
            done: summary.done,
            gone: summary.gone,
            failed: summary.failed,
            skipped: summary.skipped,
            pending: summary.pending,
        }),
        bytes: Some(notice::Bytes { planned: summary.bytes_planned, done: summary.bytes_done, freed }),
        rules: rules.collect(),
        failures,
        ..notice
    }
}
