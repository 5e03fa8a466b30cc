//! Progress on stderr: a live line on a terminal, a log line now and then elsewhere.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

use crate::report::{bytes, count};
use crate::telemetry::{self, Metrics};

use super::args;

const LIVE_INTERVAL: Duration = Duration::from_millis(200);
const QUIET_INTERVAL: Duration = Duration::from_secs(30);

/// Shows the progress until it is dropped.
pub(super) struct Progress {
    task: Option<JoinHandle<()>>,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn show(choice: args::Progress, metrics: Arc<Metrics>) -> Self {
        let live = match choice {
            args::Progress::Never => return Self { task: None, bar: None },
            args::Progress::Always => true,
            args::Progress::Auto => io::stderr().is_terminal(),
        };
        if !live {
            return Self { task: Some(tokio::spawn(quiet(metrics))), bar: None };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {wide_msg}") {
            bar.set_style(style);
        }
        Self { task: Some(tokio::spawn(alive(metrics, bar.clone()))), bar: Some(bar) }
    }

    /// Hides the live line while something else is printed or asked.
    pub(super) fn hider(&self) -> Option<ProgressBar> {
        self.bar.clone()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(now: &telemetry::Progress, rate: f64) -> String {
    format!(
        "listed {}  planned {}  done {}  failed {}  {rate:.0}/s  freed {}",
        count(now.listed),
        count(now.planned),
        count(now.done),
        count(now.failed + now.skipped),
        bytes(now.freed_bytes)
    )
}

/// Versions per second since the last look: settled ones, or listed ones before any is settled.
struct Rate {
    at: Instant,
    before: telemetry::Progress,
    smooth: f64,
}

impl Rate {
    fn new(metrics: &Metrics) -> Self {
        Self { at: Instant::now(), before: metrics.progress(), smooth: 0.0 }
    }

    fn next(&mut self, now: telemetry::Progress) -> f64 {
        let moved = match now.settled() - self.before.settled() {
            0 if now.settled() == 0 => now.listed - self.before.listed,
            settled => settled,
        };
        let seconds = self.at.elapsed().as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = moved as f64 / seconds;
        self.smooth = if self.smooth == 0.0 { rate } else { self.smooth * 0.8 + rate * 0.2 };
        self.at = Instant::now();
        self.before = now;
        self.smooth
    }
}

async fn alive(metrics: Arc<Metrics>, bar: ProgressBar) {
    let mut rate = Rate::new(&metrics);
    loop {
        tokio::time::sleep(LIVE_INTERVAL).await;
        let now = metrics.progress();
        bar.set_message(line(&now, rate.next(now)));
        bar.tick();
    }
}

async fn quiet(metrics: Arc<Metrics>) {
    let mut rate = Rate::new(&metrics);
    loop {
        tokio::time::sleep(QUIET_INTERVAL).await;
        let now = metrics.progress();
        tracing::info!("{}", line(&now, rate.next(now)));
    }
}
