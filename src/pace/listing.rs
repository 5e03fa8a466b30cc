//! How many listings may be in flight: grows with each answer, halves where the server asks for less.
//! A state machine over times and answers, as the writes have one.

use std::time::Duration;

/// Listings in flight at the start.
const START: f64 = 16.0;

/// The controller of listings. Times are counted from any fixed point and never go back.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Listings that may be in flight.
    window: f64,
    window_max: f64,
    /// Share of the window that is used once the limit is known.
    share: f64,
    limit_is_known: bool,
    in_flight: u32,
    /// Nothing leaves before.
    held_until: Duration,
    /// Answers to requests that left before are not held against the window.
    cut_at: Duration,
    latency_secs: f64,
}

impl Listing {
    /// A controller at its start. `in_flight_max` is the user's bound, `share` (above 0, at most 1)
    /// the part of the server's limit that may be used.
    pub fn new(in_flight_max: u32, share: f64) -> Self {
        let window_max = f64::from(in_flight_max.max(1));
        Self {
            window: START.min(window_max),
            window_max,
            share: share.clamp(0.01, 1.0),
            limit_is_known: false,
            in_flight: 0,
            held_until: Duration::ZERO,
            cut_at: Duration::ZERO,
            latency_secs: 0.1,
        }
    }

    /// Listings that may be in flight now.
    pub fn in_flight_limit(&self) -> u32 {
        let share = if self.limit_is_known { self.share } else { 1.0 };
        (self.window * share).max(1.0) as u32
    }

    /// Requests a second that these make at the present latency.
    pub fn requests_per_second(&self) -> f64 {
        f64::from(self.in_flight_limit()) / self.latency_secs.max(0.001)
    }

    /// Whether the server asked for less.
    pub fn limit_is_known(&self) -> bool {
        self.limit_is_known
    }

    /// Asks whether a listing may leave; then it counts as in flight until it is answered or
    /// forgotten.
    pub fn ask(&mut self, now: Duration) -> super::Ask {
        if self.held_until > now {
            return super::Ask::Wait(self.held_until - now);
        }
        if self.in_flight >= self.in_flight_limit() {
            return super::Ask::Full;
        }
        self.in_flight += 1;
        super::Ask::Go { before: 0 }
    }

    /// A listing that was let go came to an end that tells nothing of the pace.
    pub fn forget(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A listing that left at `sent` was answered. `refused` tells that the server asked for less,
    /// or, at half the price, that no answer came.
    pub fn answered(&mut self, now: Duration, sent: Duration, refused: Refused) {
        self.forget();
        self.latency_secs += 0.1 * (now.saturating_sub(sent).as_secs_f64() - self.latency_secs);
        let left = match refused {
            Refused::No => {
                // Without a known limit the window doubles in a round, with one it gains one.
                let gain = if self.limit_is_known { 1.0 / self.window } else { 1.0 };
                self.window = (self.window + gain).min(self.window_max);
                return;
            }
            Refused::NoAnswer => 0.75,
            Refused::Throttled { retry_after } => {
                let wish = retry_after.unwrap_or_default().min(super::HOLD_MAX);
                self.held_until = self.held_until.max(now.saturating_add(wish));
                self.limit_is_known = true;
                0.5
            }
        };
        if sent >= self.cut_at {
            self.window = (self.window * left).max(1.0);
            self.cut_at = now;
        }
    }
}

/// How a listing failed, if it did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It did not.
    No,
    /// The connection broke or the time ran out.
    NoAnswer,
    /// The server asked for less.
    Throttled {
        /// Its wish to be left alone for so long.
        retry_after: Option<Duration>,
    },
}

#[cfg(test)]
mod tests {
    use super::super::Ask;
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn let_go(listing: &mut Listing, now: Duration) -> u32 {
        (0..1000).take_while(|_| matches!(listing.ask(now), Ask::Go { .. })).count() as u32
    }

    #[test]
    fn it_begins_with_sixteen_and_doubles_in_a_round() {
        let mut listing = Listing::new(64, 1.0);
        assert_eq!(let_go(&mut listing, at(0)), 16);
        assert_eq!(listing.ask(at(1)), Ask::Full);
        for _ in 0..16 {
            listing.answered(at(80), at(0), Refused::No);
        }
        assert_eq!(let_go(&mut listing, at(80)), 32);
        assert_eq!(let_go(&mut Listing::new(4, 1.0), at(0)), 4, "the user's bound holds");
    }

    #[test]
    fn one_round_of_refusals_halves_once_and_the_way_back_is_slow() {
        let mut listing = Listing::new(64, 1.0);
        let_go(&mut listing, at(0));
        for _ in 0..16 {
            listing.answered(at(80), at(0), Refused::Throttled { retry_after: None });
        }
        assert_eq!(listing.in_flight_limit(), 8);
        assert_eq!(let_go(&mut listing, at(81)), 8);
        for _ in 0..8 {
            listing.answered(at(160), at(81), Refused::No);
        }
        assert_eq!(listing.in_flight_limit(), 8);
        let_go(&mut listing, at(161));
        listing.answered(at(200), at(161), Refused::No);
        assert_eq!(listing.in_flight_limit(), 9);
    }

    #[test]
    fn a_wish_to_be_left_alone_is_granted_and_a_share_is_taken_of_what_was_found() {
        let mut listing = Listing::new(64, 0.5);
        let_go(&mut listing, at(0));
        listing.answered(at(100), at(0), Refused::Throttled { retry_after: Some(at(2000)) });
        assert_eq!(listing.ask(at(600)), Ask::Wait(at(1500)));
        assert_eq!(listing.in_flight_limit(), 4);
    }
}
