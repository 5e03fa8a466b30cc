//! What a run shows to others while it goes on: the listener, and who may steer.

use std::sync::Arc;

use crate::engine;
use crate::job::Job;
use crate::model::SecretPlace;
use crate::telemetry::live::{About, Board, PageSettings, TOKEN_CHARS_MIN, Token};
use crate::telemetry::{Event, Exporter, Metrics, Part};

/// The board of a run. A token that cannot be had is no reason not to sweep: nobody can steer then.
pub(super) fn board(job: &Job, command: &engine::Command, metrics: &Metrics) -> Arc<Board> {
    let page = job.metrics.live.as_ref().map(|page| {
        let token = page.token.as_ref().and_then(|source| {
            let had = token(source);
            if let Err(why) = &had {
                let text = format!("the live page only shows, nobody can steer the run: {why}");
                metrics.emit(&Event::Trouble { part: Part::Live, is_first: true, text: &text });
            }
            had.ok()
        });
        PageSettings { token, hosts: page.hosts.clone() }
    });
    let about = About {
        job: job.name.clone(),
        bucket: job.bucket.name.clone(),
        endpoint: job.bucket.endpoint.to_string(),
        command: match command {
            engine::Command::Plan { .. } => "plan",
            engine::Command::Apply { .. } => "apply",
            engine::Command::Run { .. } => "run",
        },
        ..About::default()
    };
    Arc::new(Board::new(about, page))
}

/// Reads the token; no message shows it.
pub(super) fn token(place: &SecretPlace) -> Result<Token, String> {
    let key = format!("metrics.live.token_{}", place.suffix());
    let text = place.read_text().map_err(|fault| format!("{key}: {fault}"))?;
    Token::new(&text).ok_or_else(|| {
        format!(
            "{key}: {place} holds no token: expected at least {TOKEN_CHARS_MIN} letters, digits or signs, without \
             spaces"
        )
    })
}

/// A listener that cannot be had is no reason not to sweep.
pub(super) async fn listen(job: &Job, metrics: &Arc<Metrics>, board: &Arc<Board>) -> Option<Exporter> {
    match Exporter::start(job.metrics.listen?, Arc::clone(metrics), Arc::clone(board)).await {
        Ok(exporter) => {
            tracing::info!("metrics on http://{}/metrics", exporter.address());
            if board.has_page() {
                tracing::info!("live page on http://{}/live", exporter.address());
            }
            Some(exporter)
        }
        Err(error) => {
            let text = format!("no metrics listener: {error}");
            metrics.emit(&Event::Trouble { part: Part::Listener, is_first: true, text: &text });
            None
        }
    }
}
