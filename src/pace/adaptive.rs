//! Finds the rate of writes that a server grants, and keeps a little below it: a state machine over
//! times and answers, without a clock, a queue or chance of its own.
//!
//! Keys are counted, not requests, because servers throttle by key. Three phases follow each other:
//!
//! 1. *Slow start.* From the rate that AWS guarantees to any bucket the rate doubles with each answered
//!    round, and grows in smaller steps from where a mistake would be dear.
//! 2. *Approach.* The first throttling answer tells that the limit was passed, but not by how much:
//!    servers let a burst pass before they refuse. So the rate falls to what the server is sure to
//!    have granted, and grows in small steps until it is refused again.
//! 3. *Steady.* One decision a second: down where keys were refused, slowly up where none were, faster
//!    after a long time without a refusal, since servers divide their partitions under load.
//!
//! A rate grows only while it is what holds the writes back. Requests that left before the last cut
//! say nothing about the rate after it.

use std::collections::VecDeque;
use std::time::Duration;

/// Keys a second that AWS grants to any bucket from the first second on.
const RATE_START: f64 = 3_500.0;
/// Least rate, in keys a second: a server that refuses everything is still asked.
const RATE_MIN: f64 = 100.0;
/// Greatest rate: no more than a number that is never reached.
const RATE_MAX: f64 = 10_000_000.0;
/// Here slow start pauses, in keys a second ...
const PAUSE_AT: f64 = 150_000.0;
/// ... until a server that grants a third of it has used up a burst of a second: what it would refuse
/// beyond this rate is more than the pause costs.
const PAUSE: Duration = Duration::from_millis(700);
/// Growth of a round of slow start after the pause.
const GROWTH_BEYOND: f64 = 1.25;
/// Growth of a round of the approach.
const GROWTH_APPROACH: f64 = 1.07;
/// Least length of a round.
const ROUND: Duration = Duration::from_millis(70);
/// Length of a window of the steady phase.
const WINDOW: Duration = Duration::from_secs(1);
/// Length of a window after which a rate that is far too high is cut at once.
const WINDOW_URGENT: Duration = Duration::from_millis(150);
/// Burst that a server may let pass before it refuses, as a time at its own rate.
const SERVER_BURST_SECS: f64 = 1.0;
/// Seconds that are remembered to tell what the server is sure to grant.
const REMEMBERED_SECS: usize = 6;
/// Refused share of a window up to which it counts as clean: no server is without a blip.
const CLEAN_UP_TO: f64 = 0.002;
/// Refused share up to which the rate is held.
const HELD_UP_TO: f64 = 0.01;
/// Refused share above which the rate is far too high.
const FAR_ABOVE: f64 = 0.1;
/// What is left of the rate after a window of few refusals.
const CUT_LITTLE: f64 = 0.95;
/// What is left of the accepted rate after a window of many refusals.
const CUT_MUCH: f64 = 0.7;
/// Growth of a clean window, as a share of the greatest rate known to be good.
const GROWTH_CLEAN: f64 = 0.03;
/// Clean windows in a row after which the growth itself grows.
const CLEAN_LONG: u32 = 4;
/// By so much a window.
const GROWTH_FASTER: f64 = 1.5;
/// Up to this share of the known rate a window.
const GROWTH_CLEAN_MAX: f64 = 0.4;
/// Cuts in a row that change nothing about the refused share, after which it is not this rate's fault.
const FUTILE_CUTS_MAX: u32 = 8;
/// Keys of a request as a time at the rate: so much is refused at once at most.
const REQUEST_SECS: f64 = 0.03;
/// Least keys of a request by that rule.
const REQUEST_KEYS_MIN: f64 = 50.0;
/// Keys of a request once slow start has come far: small ones by the thousand cost both sides time.
const REQUEST_KEYS_FAST: f64 = 250.0;
/// Most keys of a DeleteObjects request.
const REQUEST_KEYS_MAX: f64 = 1_000.0;
/// Time at the rate that may be caught up on, since timers are coarse.
const CATCH_UP_SECS: f64 = 0.01;
/// Requests in flight beyond those that the rate and the latency ask for.
const IN_FLIGHT_SPARE: f64 = 4.0;
/// Growth of a share-limited rate in a clean window: its headroom is never seen.
const GROWTH_SHARED: f64 = 0.002;

/// The outcome of one write request.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Answer {
    /// When it left.
    pub sent: Duration,
    /// Keys that had left before it, as [`Ask::Go`] told.
    pub before: u64,
    /// Keys that were not refused for their rate.
    pub accepted: usize,
    /// Keys that were.
    pub throttled: usize,
    /// Keys of a request that got no answer; they count half.
    pub lost: usize,
    /// The server's wish to be left alone for so long.
    pub retry_after: Option<Duration>,
}

/// Whether a request may leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Now. It counts as in flight until its [`Answer`].
    Go {
        /// Keys that left before.
        before: u64,
    },
    /// Ask again after this time.
    Wait(Duration),
    /// Ask again after an answer.
    Full,
}

/// What is known of the server's limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// Nothing: it was not met yet.
    Unmet,
    /// The rate fell because requests got no answer; none was refused for it.
    Silence,
    /// Versions were refused for their rate, which fell for it.
    Refusals,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    SlowStart,
    Approach,
    Steady,
}

/// What was answered since the last decision.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    began: Duration,
    accepted: f64,
    /// Keys that were refused, and half of those that got no answer.
    throttled: f64,
    /// Some were refused.
    has_refusals: bool,
    /// Answers to requests that left since the window began.
    fresh: u32,
    /// The rate held a request back.
    waited: bool,
}

impl Window {
    fn refused_share(&self) -> f64 {
        let keys = self.accepted + self.throttled;
        if keys > 0.0 { self.throttled / keys } else { 0.0 }
    }
}

/// The controller. Times are counted from any fixed point and never go back.
#[derive(Clone, Debug)]
pub struct Adaptive {
    phase: Phase,
    /// Keys a second that the server is believed to grant.
    rate: f64,
    /// Share of the rate that is used once the limit is known.
    share: f64,
    /// The greatest rate known to be good.
    known: f64,
    /// Keys that may leave now; negative after a request that was larger.
    tokens: f64,
    tokens_at: Duration,
    /// Nothing leaves before.
    held_until: Duration,
    /// Answers to requests that left before do not count for the rate.
    cut_at: Duration,
    window: Window,
    /// Keys accepted in all, and what they were at the end of each of the last seconds.
    accepted: f64,
    seconds: VecDeque<(Duration, f64)>,
    clean_windows: u32,
    /// Cuts since a clean window, and the refused share of the first.
    cuts: u32,
    first_refused_share: f64,
    /// The rate was cut for refusals.
    is_refused: bool,
    began: Option<Duration>,
    paused_until: Option<Duration>,
    departed: u64,
    in_flight: u32,
    in_flight_max: u32,
    latency_secs: f64,
    latency_p95_secs: f64,
    request_keys: f64,
}

impl Adaptive {
    /// A controller at its start. `in_flight_max` is the user's bound of requests in flight, `share`
    /// (above 0, at most 1) the part of the server's limit that may be used.
    pub fn new(in_flight_max: u32, share: f64) -> Self {
        Self {
            phase: Phase::SlowStart,
            rate: RATE_START,
            share: share.clamp(0.01, 1.0),
            known: RATE_START,
            tokens: 0.0,
            tokens_at: Duration::ZERO,
            held_until: Duration::ZERO,
            cut_at: Duration::ZERO,
            window: Window::default(),
            accepted: 0.0,
            seconds: VecDeque::with_capacity(REMEMBERED_SECS + 1),
            clean_windows: 0,
            cuts: 0,
            first_refused_share: 0.0,
            is_refused: false,
            began: None,
            paused_until: None,
            departed: 0,
            in_flight: 0,
            in_flight_max: in_flight_max.max(1),
            latency_secs: 0.06,
            latency_p95_secs: 0.1,
            request_keys: REQUEST_KEYS_MIN,
        }
    }

    /// Keys a second that may leave now.
    pub fn keys_per_second(&self) -> f64 {
        if self.phase == Phase::SlowStart { self.rate } else { (self.rate * self.share).max(RATE_MIN) }
    }

    /// Whether the server's limit was met.
    pub fn limit_is_known(&self) -> bool {
        self.phase != Phase::SlowStart
    }

    /// What is known of the server's limit, and from what.
    pub fn limit(&self) -> Limit {
        match (self.limit_is_known(), self.is_refused) {
            (false, _) => Limit::Unmet,
            (true, false) => Limit::Silence,
            (true, true) => Limit::Refusals,
        }
    }

    /// How many keys a request may name now. Small requests are answered early, and little of what
    /// is in flight is refused when the limit is met; large ones cost less.
    pub fn keys_per_request(&self) -> usize {
        let rate = self.keys_per_second();
        // Fewer would need more requests in flight than there may be.
        let least = rate * self.latency_secs / (0.85 * f64::from(self.in_flight_max));
        let most = if self.phase == Phase::SlowStart && self.paused_until.is_some() {
            self.request_keys.max(REQUEST_KEYS_FAST)
        } else {
            self.request_keys
        };
        let wanted = (rate * REQUEST_SECS).max(REQUEST_KEYS_MIN).min(most).max(least);
        wanted.clamp(1.0, REQUEST_KEYS_MAX) as usize
    }

    /// Asks whether a request that names so many keys may leave.
    pub fn ask(&mut self, now: Duration, keys: usize) -> Ask {
        if self.began.is_none() {
            self.began = Some(now);
            self.tokens_at = now;
            self.window.began = now;
        }
        let rate = self.keys_per_second();
        let rested = now.saturating_sub(self.tokens_at).as_secs_f64();
        self.tokens = (self.tokens + rested * rate).min(rate * CATCH_UP_SECS);
        self.tokens_at = self.tokens_at.max(now);
        if self.held_until > now {
            return Ask::Wait(self.held_until - now);
        }
        if self.tokens < 0.0 {
            self.window.waited = true;
            return Ask::Wait(Duration::from_secs_f64(-self.tokens / rate));
        }
        if f64::from(self.in_flight) >= self.in_flight_limit() {
            self.window.waited |= self.in_flight < self.in_flight_max;
            return Ask::Full;
        }
        self.tokens -= keys as f64;
        self.in_flight += 1;
        let before = self.departed;
        self.departed += keys as u64;
        Ask::Go { before }
    }

    /// Requests that may be in flight: those that the rate needs at the present latency, so that a
    /// server that becomes slow does not get a queue.
    pub fn in_flight_limit(&self) -> f64 {
        let needed = self.keys_per_second() * self.latency_p95_secs / self.keys_per_request() as f64;
        (needed.ceil() + IN_FLIGHT_SPARE).min(f64::from(self.in_flight_max))
    }

    /// A request that was let go came to an end that tells nothing of the rate.
    pub fn forget(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Takes an answer into account, and decides where it is time to.
    pub fn answered(&mut self, now: Duration, answer: Answer) {
        self.forget();
        if let Some(wish) = answer.retry_after {
            self.held_until = self.held_until.max(now.saturating_add(wish.min(super::HOLD_MAX)));
        }
        let latency = now.saturating_sub(answer.sent).as_secs_f64();
        self.latency_secs += 0.05 * (latency - self.latency_secs);
        // Up at once, since a slow server must not look like a full one; down slowly.
        let gap = latency - self.latency_p95_secs;
        self.latency_p95_secs += if gap > 0.0 { 0.2 * gap } else { 0.01 * gap };
        self.remember(now, answer.accepted);
        if answer.sent < self.cut_at {
            return;
        }
        self.window.accepted += answer.accepted as f64;
        self.window.throttled += answer.throttled as f64 + 0.5 * answer.lost as f64;
        self.window.has_refusals |= answer.throttled > 0;
        self.window.fresh += u32::from(answer.sent >= self.window.began);
        match self.phase {
            Phase::SlowStart | Phase::Approach => self.decide_round(now, answer),
            Phase::Steady => self.decide_window(now),
        }
    }

    fn remember(&mut self, now: Duration, accepted: usize) {
        self.accepted += accepted as f64;
        if self.seconds.back().is_none_or(|(at, _)| now.saturating_sub(*at) >= WINDOW) {
            self.seconds.push_back((now, self.accepted));
            if self.seconds.len() > REMEMBERED_SECS {
                self.seconds.pop_front();
            }
        }
    }

    /// What the server granted lately even if it let a whole burst pass first.
    fn sure(&self, now: Duration) -> f64 {
        self.seconds.front().map_or(0.0, |(since, before)| {
            let elapsed = now.saturating_sub(*since).as_secs_f64();
            (self.accepted - before) / (elapsed + SERVER_BURST_SECS)
        })
    }

    fn decide_round(&mut self, now: Duration, answer: Answer) {
        let share = self.window.refused_share();
        if share > HELD_UP_TO {
            self.limit_met(now, share, answer);
            return;
        }
        if now.saturating_sub(self.window.began) < ROUND || self.window.fresh == 0 {
            return;
        }
        if self.window.waited {
            let at_pause = self.phase == Phase::SlowStart && self.rate >= PAUSE_AT;
            let pausing = at_pause && now < self.paused_until(now);
            let growth = match self.phase {
                Phase::SlowStart if self.rate < PAUSE_AT => 2.0_f64.min(PAUSE_AT / self.rate),
                Phase::SlowStart if pausing => 1.0,
                Phase::SlowStart => GROWTH_BEYOND,
                Phase::Approach | Phase::Steady => GROWTH_APPROACH,
            };
            self.rate = (self.rate * growth).min(RATE_MAX);
        } else if self.phase == Phase::SlowStart {
            // The requests in flight are the limit: larger ones carry more.
            self.request_keys = (self.request_keys * 2.0).min(REQUEST_KEYS_MAX);
        }
        self.begin_window(now);
    }

    /// The end of the pause of slow start; it begins when this is first asked.
    fn paused_until(&mut self, now: Duration) -> Duration {
        *self.paused_until.get_or_insert(now.saturating_add(PAUSE))
    }

    /// Refused while the limit was looked for.
    fn limit_met(&mut self, now: Duration, share: f64, answer: Answer) {
        let granted = self.rate * (1.0 - share);
        if self.phase == Phase::SlowStart {
            let elapsed = answer.sent.saturating_sub(self.began.unwrap_or(now)).as_secs_f64();
            let sure = answer.before as f64 / (elapsed + SERVER_BURST_SECS);
            self.phase = Phase::Approach;
            self.request_keys = REQUEST_KEYS_MIN;
            self.cut(now, sure.min(CUT_MUCH * granted).max(CUT_MUCH * RATE_START), share);
            self.draw_breath(now);
        } else {
            self.phase = Phase::Steady;
            self.request_keys = self.keys_per_request() as f64;
            self.known = self.sure(now).clamp(granted * CUT_MUCH, granted * CUT_LITTLE);
            self.cut(now, self.known, share);
            self.draw_breath(now);
        }
    }

    /// What is in flight will be refused, too, and a server whose tokens are used up refuses even a
    /// rate that it could sustain.
    fn draw_breath(&mut self, now: Duration) {
        self.held_until = self.held_until.max(now.saturating_add(2 * ROUND));
    }

    fn decide_window(&mut self, now: Duration) {
        let length = now.saturating_sub(self.window.began);
        let share = self.window.refused_share();
        if length < WINDOW_URGENT || (length < WINDOW && share <= FAR_ABOVE) {
            return;
        }
        if share <= CLEAN_UP_TO {
            self.grow();
            self.begin_window(now);
        } else if share <= HELD_UP_TO {
            self.known = self.known.max(self.rate);
            self.clean_windows = 0;
            self.cut_requests();
            self.begin_window(now);
        } else if self.cuts >= FUTILE_CUTS_MAX && share >= 0.5 * self.first_refused_share {
            // Whatever is refused here, it is not for the rate.
            self.cut_requests();
            self.begin_window(now);
        } else {
            let granted = self.rate * (1.0 - share);
            self.known = granted;
            let left = if share <= FAR_ABOVE {
                self.rate * CUT_LITTLE
            } else if self.cuts == 0 {
                self.sure(now).clamp(granted * CUT_MUCH, granted)
            } else {
                granted * CUT_MUCH
            };
            self.cut_requests();
            if share > FAR_ABOVE {
                self.cut_requests();
                self.draw_breath(now);
            }
            self.cut(now, left, share);
        }
    }

    /// A second without refusals.
    fn grow(&mut self) {
        self.cuts = 0;
        if !self.window.waited {
            return;
        }
        self.clean_windows += 1;
        let longer = self.clean_windows.saturating_sub(CLEAN_LONG).min(16);
        let growth = (GROWTH_CLEAN * GROWTH_FASTER.powi(longer.cast_signed())).min(GROWTH_CLEAN_MAX);
        let growth = if self.share < 1.0 { GROWTH_SHARED } else { growth };
        self.rate = (self.rate + growth * self.known).min(RATE_MAX);
        self.known = self.known.max(self.rate);
        self.request_keys = (self.request_keys * 1.1).min(REQUEST_KEYS_MAX);
    }

    /// Smaller requests: a server that lets only small bursts pass refuses the rest of a large one
    /// whatever the rate.
    fn cut_requests(&mut self) {
        self.request_keys = (self.keys_per_request() as f64 * 0.8).max(REQUEST_KEYS_MIN);
    }

    fn cut(&mut self, now: Duration, rate: f64, share: f64) {
        if self.cuts == 0 {
            self.first_refused_share = share;
        }
        self.is_refused |= self.window.has_refusals;
        self.cuts += 1;
        self.clean_windows = 0;
        self.rate = rate.clamp(RATE_MIN, self.rate.max(RATE_MIN));
        self.tokens = self.tokens.min(0.0);
        self.cut_at = now;
        self.begin_window(now);
    }

    fn begin_window(&mut self, now: Duration) {
        self.window = Window { began: now, ..Window::default() };
    }
}

#[cfg(test)]
mod simulation;
