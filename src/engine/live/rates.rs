//! How fast a run went lately.

use std::collections::VecDeque;
use std::time::Instant;

use crate::telemetry::live::Rates;

use super::super::context::Context;

/// Five minutes, a look a second.
const LOOKS_MAX: usize = 301;
/// Seconds that the present rate is taken over: longer than a round of batches takes.
const RECENT_SECONDS: usize = 15;
/// Seconds that an estimate is judged by.
const JUDGED_SECONDS: usize = 60;
/// Points that are shown; while a run is young they lie closer together.
const POINTS_MAX: usize = 60;
/// Looks before an estimate is made.
const LOOKS_MIN: usize = 5;

/// What a look saw.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Look {
    at: Instant,
    listed: u64,
    settled: u64,
}

/// What was seen in the last minutes, the latest last.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    looks: VecDeque<Look>,
}

impl History {
    /// Looks at a run.
    pub(super) fn note(&mut self, ctx: &Context) {
        let now = ctx.caller.metrics.progress();
        self.push(Instant::now(), now.listed, now.settled());
    }

    fn push(&mut self, at: Instant, listed: u64, settled: u64) {
        self.looks.push_back(Look { at, listed, settled });
        if self.looks.len() > LOOKS_MAX {
            self.looks.pop_front();
        }
    }

    /// Listed and settled versions in a second, between two looks counted from the latest.
    fn between(&self, from: usize, to: usize) -> Option<(f64, f64)> {
        let at = |back: usize| self.looks.get(self.looks.len().checked_sub(back + 1)?);
        let (from, to) = (at(from)?, at(to)?);
        let seconds = to.at.duration_since(from.at).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = |from: u64, to: u64| to.saturating_sub(from) as f64 / seconds;
        (seconds > 0.0).then(|| (rate(from.listed, to.listed), rate(from.settled, to.settled)))
    }

    fn over(&self, seconds: usize) -> (f64, f64) {
        self.between(seconds.min(self.looks.len().saturating_sub(1)), 0).unwrap_or_default()
    }

    /// The rates that an estimate is judged by; `None` where it is too early.
    pub(super) fn judged(&self) -> Option<(f64, f64)> {
        (self.looks.len() >= LOOKS_MIN).then(|| self.over(JUDGED_SECONDS))
    }

    /// What to show.
    pub(super) fn rates(&self) -> Rates {
        let (listed_per_second, settled_per_second) = self.over(RECENT_SECONDS);
        let spans = self.looks.len().saturating_sub(1);
        let step = spans.div_ceil(POINTS_MAX).max(1);
        let points = (0..spans / step).rev().filter_map(|at| self.between((at + 1) * step, at * step));
        #[expect(clippy::cast_sign_loss, reason = "counts do not fall")]
        let (listed_history, settled_history) =
            points.map(|(listed, settled)| (listed.round() as u32, settled.round() as u32)).unzip();
        Rates {
            listed_per_second: listed_per_second.round(),
            settled_per_second: settled_per_second.round(),
            history_step_seconds: step as u32,
            listed_history,
            settled_history,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let (mut history, began) = (History::default(), Instant::now());
        assert_eq!(
            (history.rates(), history.judged()),
            (Rates { history_step_seconds: 1, ..Rates::default() }, None)
        );
        for second in 0..1_000 {
            // Twice as fast in the second half.
            let moved = if second < 500 { second * 10 } else { 5_000 + (second - 500) * 20 };
            history.push(began + Duration::from_secs(second), moved, moved / 10);
        }
        let rates = history.rates();
        assert_eq!((rates.listed_per_second, rates.settled_per_second), (20.0, 2.0));
        assert_eq!(rates.listed_history.len(), 60, "five minutes");
        assert!(rates.listed_history.iter().all(|rate| *rate == 20));
        assert_eq!(history.judged(), Some((20.0, 2.0)));
        history.push(began + Duration::from_secs(1_015), 15_000, 1_500);
        assert!(history.rates().listed_per_second < 20.0 && history.looks.len() == LOOKS_MAX);
    }
}
