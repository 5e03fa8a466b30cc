//! Progress on stderr: a live line on a terminal; elsewhere a log line now and then or, where it was asked
//! for, a plain line every few seconds.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

use crate::report::{bytes, count};
use crate::telemetry::{self, Metrics};

use super::args;

const LIVE_INTERVAL: Duration = Duration::from_millis(200);
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);
const QUIET_INTERVAL: Duration = Duration::from_secs(30);

/// Shows the progress until it is dropped.
pub(super) struct Progress {
    task: Option<JoinHandle<()>>,
    bar: Option<ProgressBar>,
    /// Tells the last figures where plain lines told those before.
    plain: Option<Teller>,
}

impl Progress {
    /// `copies` says whether the job copies or moves something.
    pub(super) fn show(choice: args::Progress, metrics: Arc<Metrics>, copies: bool) -> Self {
        let teller = Teller { metrics, copies, since: Instant::now() };
        match (choice, io::stderr().is_terminal()) {
            (args::Progress::Never, _) => Self { task: None, bar: None, plain: None },
            (args::Progress::Always | args::Progress::Auto, true) => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {wide_msg}") {
                    bar.set_style(style);
                }
                Self { task: Some(tokio::spawn(alive(teller, bar.clone()))), bar: Some(bar), plain: None }
            }
            (args::Progress::Always, false) => {
                Self { task: Some(tokio::spawn(plain(teller.clone()))), bar: None, plain: Some(teller) }
            }
            (args::Progress::Auto, false) => {
                Self { task: Some(tokio::spawn(quiet(teller))), bar: None, plain: None }
            }
        }
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
        if let Some(teller) = &self.plain {
            teller.print();
        }
    }
}

/// Where the figures come from.
#[derive(Clone)]
struct Teller {
    metrics: Arc<Metrics>,
    copies: bool,
    since: Instant,
}

impl Teller {
    fn line(&self, now: &telemetry::Progress, rate: f64) -> String {
        line(now, rate, self.copies)
    }

    /// Prints a line of its own; a reader that went away is not our failure.
    fn print(&self) {
        let _printed =
            writeln!(io::stderr(), "{}", plain_line(&self.metrics.progress(), self.since.elapsed()));
    }
}

fn line(now: &telemetry::Progress, rate: f64, copies: bool) -> String {
    let copied = if copies {
        format!("  copied {} ({})", count(now.copied), bytes(now.copied_bytes))
    } else {
        String::new()
    };
    format!(
        "listed {}  planned {}{copied}  done {}  failed {}  {rate:.0}/s  freed {}",
        count(now.listed),
        count(now.planned),
        count(now.done),
        count(now.failed + now.skipped),
        bytes(now.freed_bytes)
    )
}

/// The figures for programs: always the same fields in the same order, whole numbers without separators.
fn plain_line(now: &telemetry::Progress, elapsed: Duration) -> String {
    format!(
        "progress seconds={} listed={} kept={} planned={} copied={} copied_bytes={} done={} gone={} failed={} \
         skipped={} freed_bytes={} in_flight={}",
        elapsed.as_secs(),
        now.listed,
        now.kept,
        now.planned,
        now.copied,
        now.copied_bytes,
        now.done,
        now.gone,
        now.failed,
        now.skipped,
        now.freed_bytes,
        now.in_flight
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

async fn alive(teller: Teller, bar: ProgressBar) {
    let mut rate = Rate::new(&teller.metrics);
    loop {
        tokio::time::sleep(LIVE_INTERVAL).await;
        let now = teller.metrics.progress();
        bar.set_message(teller.line(&now, rate.next(now)));
        bar.tick();
    }
}

async fn plain(teller: Teller) {
    loop {
        teller.print();
        tokio::time::sleep(PLAIN_INTERVAL).await;
    }
}

async fn quiet(teller: Teller) {
    let mut rate = Rate::new(&teller.metrics);
    loop {
        tokio::time::sleep(QUIET_INTERVAL).await;
        let now = teller.metrics.progress();
        tracing::info!("{}", teller.line(&now, rate.next(now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> telemetry::Progress {
        telemetry::Progress {
            listed: 12_345,
            kept: 345,
            planned: 12_000,
            done: 700,
            gone: 3,
            failed: 2,
            skipped: 1,
            freed_bytes: 4096,
            copied: 1_500,
            copied_bytes: 1 << 20,
            in_flight: 9,
        }
    }

    #[test]
    fn copies_are_shown_where_the_job_has_any() {
        let wanted =
            "listed 12,345  planned 12,000  copied 1,500 (1.00 MiB)  done 700  failed 3  7/s  freed 4.00 KiB";
        assert_eq!(line(&figures(), 7.2, true), wanted);
        assert_eq!(line(&figures(), 7.2, false), wanted.replace("  copied 1,500 (1.00 MiB)", ""));
    }

    #[test]
    fn the_plain_line_has_one_form() {
        assert_eq!(
            plain_line(&figures(), Duration::from_millis(61_900)),
            "progress seconds=61 listed=12345 kept=345 planned=12000 copied=1500 copied_bytes=1048576 done=700 \
             gone=3 failed=2 skipped=1 freed_bytes=4096 in_flight=9"
        );
    }
}
