//! What a run shows to others while it goes on: the listener, and who may steer.

use std::path::Path;
use std::sync::Arc;

use crate::engine;
use crate::job::{Job, Secret};
use crate::telemetry::live::{About, Board, PageSettings, TOKEN_CHARS_MIN, Token};
use crate::telemetry::{Event, Exporter, Metrics, Part};

/// A token file holds a line.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;

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
fn token(source: &Secret) -> Result<Token, String> {
    let (place, text) = match source {
        Secret::Environment(name) => {
            let place = format!("the environment variable {name} of metrics.live.token_env");
            let text = std::env::var(name).map_err(|_| format!("{place} is not set"))?;
            (place, text)
        }
        Secret::File(path) => {
            let place = format!("the file {} of metrics.live.token_file", path.display());
            let text = read(path).map_err(|error| format!("{place} cannot be read: {error}"))?;
            (place, text)
        }
    };
    Token::new(&text).ok_or_else(|| {
        format!(
            "{place} holds no token: expected at least {TOKEN_CHARS_MIN} letters, digits or signs, without spaces"
        )
    })
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
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
