//! Progress on stderr: a few live lines on a terminal; elsewhere a log line now and then or, where it was
//! asked for, a plain line every few seconds.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

use crate::report::{bytes, count};
use crate::telemetry::live::{Board, Estimate, Outlook, Phase, Vitals};
use crate::telemetry::{self, Metrics};

use super::args;

const LIVE_INTERVAL: Duration = Duration::from_millis(200);
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);
const QUIET_INTERVAL: Duration = Duration::from_secs(30);
/// Before this nothing can be told of the end.
const JUDGED_FROM: Duration = Duration::from_secs(5);
/// Characters of the bar.
const BAR_CHARS: usize = 24;

/// Shows the progress until it is dropped.
pub(super) struct Progress {
    task: Option<JoinHandle<()>>,
    lines: Option<Lines>,
    /// Tells the last figures where plain lines told those before.
    plain: Option<Teller>,
}

impl Progress {
    /// `copies` says whether the job copies or moves something.
    pub(super) fn show(
        choice: args::Progress,
        metrics: Arc<Metrics>,
        board: Arc<Board>,
        copies: bool,
    ) -> Self {
        let teller = Teller { metrics, board, copies, since: Instant::now() };
        match (choice, io::stderr().is_terminal()) {
            (args::Progress::Never, _) => Self { task: None, lines: None, plain: None },
            (args::Progress::Always | args::Progress::Auto, true) => {
                let lines = Lines::new();
                Self {
                    task: Some(tokio::spawn(alive(teller, lines.clone()))),
                    lines: Some(lines),
                    plain: None,
                }
            }
            (args::Progress::Always, false) => {
                Self { task: Some(tokio::spawn(plain(teller.clone()))), lines: None, plain: Some(teller) }
            }
            (args::Progress::Auto, false) => {
                Self { task: Some(tokio::spawn(quiet(teller))), lines: None, plain: None }
            }
        }
    }

    /// Hides the live lines while something else is printed or asked.
    pub(super) fn hider(&self) -> Option<ProgressBar> {
        self.lines.as_ref().map(|lines| lines.bars[0].clone())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        if let Some(lines) = &self.lines {
            lines.clear();
        }
        if let Some(teller) = &self.plain {
            teller.print();
        }
    }
}

/// The live lines.
#[derive(Clone)]
struct Lines {
    all: MultiProgress,
    bars: [ProgressBar; 3],
}

impl Lines {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let bar = |template: &str| {
            let bar = all.add(ProgressBar::no_length());
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        };
        let bars = [bar("{spinner} {wide_msg}"), bar("  {wide_msg}"), bar("  {wide_msg}")];
        Self { all, bars }
    }

    fn set(&self, texts: [String; 3]) {
        for (bar, text) in self.bars.iter().zip(texts) {
            bar.set_message(text);
        }
        self.bars[0].tick();
    }

    fn clear(&self) {
        self.bars.iter().for_each(ProgressBar::finish_and_clear);
        // Lines that cannot be cleared stay; that is all.
        let _cleared = self.all.clear();
    }
}

/// Where the figures come from.
#[derive(Clone)]
struct Teller {
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    copies: bool,
    since: Instant,
}

impl Teller {
    fn line(&self, now: &telemetry::Progress, rate: f64) -> String {
        line(now, rate, self.copies)
    }

    fn view(&self, now: telemetry::Progress, rates: Rates) -> View {
        let (vitals, phase) = (self.board.vitals(), self.board.phase());
        View { phase, elapsed: self.since.elapsed(), now, rates, vitals, copies: self.copies }
    }

    /// Prints a line of its own; a reader that went away is not our failure.
    fn print(&self) {
        let _printed =
            writeln!(io::stderr(), "{}", plain_line(&self.metrics.progress(), self.since.elapsed()));
    }
}

/// Everything that the live lines show.
struct View {
    phase: Phase,
    elapsed: Duration,
    now: telemetry::Progress,
    rates: Rates,
    vitals: Option<Vitals>,
    copies: bool,
}

impl View {
    /// State and end; what was done; what holds it.
    fn lines(&self) -> [String; 3] {
        let (now, vitals) = (&self.now, self.vitals.unwrap_or_default());
        let outlook = Outlook {
            is_listed: vitals.is_listed,
            executes: vitals.executes,
            is_paused: vitals.is_paused,
            listed: now.listed,
            planned: now.planned,
            pending: vitals.pending,
            to_list: vitals.to_list,
            listed_per_second: self.rates.listed,
            settled_per_second: self.rates.settled,
        };
        let state = match &self.phase {
            Phase::Starting(what) => format!("starting: {what}"),
            Phase::Stopping(why) => format!("stopping: {why}"),
            _ if vitals.is_paused => "paused by an operator".to_owned(),
            phase => phase.word().to_owned(),
        };
        let mut first = vec![clock(self.elapsed), state];
        if self.vitals.is_some() {
            first.extend(Estimate::share_done(&outlook).map(bar));
            first.push(match Estimate::of(&outlook) {
                _ if self.elapsed < JUDGED_FROM => "too early to tell the end".into(),
                Estimate::Left { seconds, .. } => {
                    format!("about {} left", clock(Duration::from_secs(seconds)))
                }
                Estimate::Unknown { why } => format!("end unknown: {why}"),
            });
        }
        [first.join("  "), line(now, self.rates.shown(now), self.copies), held_by(now, &vitals)]
    }
}

/// Pace, ceilings, throttling, budget, deadline: those that there are.
fn held_by(now: &telemetry::Progress, vitals: &Vitals) -> String {
    let mut parts = vec![format!("in flight {}", count(now.in_flight))];
    if let Some(ceiling) = vitals.ceiling_per_second {
        let lowered =
            if vitals.ceiling_per_second == vitals.job_ceiling_per_second { "" } else { " (lowered)" };
        parts.push(format!("at most {}/s{lowered}", count(u64::from(ceiling))));
    }
    if let Some(pace) = vitals.pace_per_second.filter(|_| vitals.limit_is_met) {
        parts.push(format!("server grants {}/s", count(pace.round() as u64)));
    }
    if now.throttled > 0 {
        let share = now.throttled as f64 / (now.throttled + now.settled()) as f64;
        parts.push(format!("throttled {:.1}%", share * 100.0));
    }
    if let Some(versions) = vitals.budget.versions {
        parts.push(format!("budget left {}", count(versions)));
    }
    if let Some(left) = vitals.budget.bytes {
        parts.push(format!("budget left {}", bytes(left)));
    }
    if let Some(left) = vitals.deadline.and_then(|deadline| deadline.since(vitals.now)) {
        parts.push(format!("deadline in {}", clock(left)));
    }
    parts.join("  ")
}

/// `0:07`, `12:34`, `3:12:34`.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// A bar and its share.
fn bar(share: f64) -> String {
    let full = ((share * BAR_CHARS as f64) as usize).min(BAR_CHARS);
    format!("[{}{}] {:.0}%", "#".repeat(full), "-".repeat(BAR_CHARS - full), (share * 100.0).floor())
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

/// Versions a second, smoothed.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Rates {
    listed: f64,
    settled: f64,
}

impl Rates {
    /// Settled ones, or listed ones before any is settled.
    fn shown(&self, now: &telemetry::Progress) -> f64 {
        if now.settled() == 0 { self.listed } else { self.settled }
    }
}

/// Rates since the last look.
struct Rate {
    at: Instant,
    before: telemetry::Progress,
    smooth: Option<Rates>,
}

impl Rate {
    fn new(metrics: &Metrics) -> Self {
        Self { at: Instant::now(), before: metrics.progress(), smooth: None }
    }

    fn next(&mut self, now: telemetry::Progress) -> Rates {
        let seconds = self.at.elapsed().as_secs_f64().max(0.001);
        let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        let listed = rate(self.before.listed, now.listed);
        let settled = rate(self.before.settled(), now.settled());
        // What is half a minute ago counts little.
        let weight = 1.0 - (-seconds / 10.0).exp();
        let mix = |former: f64, rate: f64| former + (rate - former) * weight;
        let smooth = match self.smooth {
            Some(former) => {
                Rates { listed: mix(former.listed, listed), settled: mix(former.settled, settled) }
            }
            None => Rates { listed, settled },
        };
        (self.at, self.before, self.smooth) = (Instant::now(), now, Some(smooth));
        smooth
    }
}

async fn alive(teller: Teller, lines: Lines) {
    let mut rate = Rate::new(&teller.metrics);
    loop {
        tokio::time::sleep(LIVE_INTERVAL).await;
        let now = teller.metrics.progress();
        lines.set(teller.view(now, rate.next(now)).lines());
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
        let rates = rate.next(now);
        tracing::info!("{}", teller.line(&now, rates.shown(&now)));
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
            throttled: 7,
        }
    }

    fn view(vitals: Option<Vitals>) -> View {
        View {
            phase: Phase::Running,
            elapsed: Duration::from_secs(4_000),
            now: figures(),
            rates: Rates { listed: 500.0, settled: 40.0 },
            vitals,
            copies: false,
        }
    }

    fn vitals() -> Vitals {
        Vitals { is_listed: true, executes: true, pending: 6_000, limit_is_met: true, ..Vitals::default() }
    }

    #[test]
    fn the_live_lines_tell_the_essentials() {
        use crate::model::Timestamp;
        use crate::telemetry::live::BudgetLeft;
        let vitals = Vitals {
            pace_per_second: Some(2_500.4),
            ceiling_per_second: Some(1_000),
            job_ceiling_per_second: Some(3_000),
            budget: BudgetLeft {
                versions: Some(99_000),
                versions_max: Some(100_000),
                ..BudgetLeft::default()
            },
            deadline: Some(Timestamp::from_millis(95_000)),
            ..vitals()
        };
        let lines = view(Some(vitals)).lines();
        assert_eq!(lines[0], "1:06:40  running  [############------------] 50%  about 2:30 left");
        assert!(lines[1].contains("done 700") && lines[1].contains("40/s"), "{}", lines[1]);
        assert_eq!(
            lines[2],
            "in flight 9  at most 1,000/s (lowered)  server grants 2,500/s  throttled 1.0%  budget left 99,000  \
             deadline in 1:35"
        );
    }

    #[test]
    fn what_is_not_known_is_not_shown() {
        assert_eq!(view(None).lines()[0], "1:06:40  running");
        let paused = view(Some(Vitals { is_paused: true, ..vitals() })).lines();
        assert_eq!(
            paused[0],
            "1:06:40  paused by an operator  [############------------] 50%  end unknown: paused"
        );
        let open = view(Some(Vitals { is_listed: false, to_list: None, ..vitals() })).lines();
        assert_eq!(open[0], "1:06:40  running  end unknown: some ranges have not been looked at yet");
        let starting = View { phase: Phase::Starting("the lock is not held"), ..view(None) };
        assert_eq!(starting.lines()[0], "1:06:40  starting: the lock is not held");
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
