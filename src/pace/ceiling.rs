//! One hard ceiling per second, held strictly: however a second is cut out of the run, no more
//! than the ceiling was granted in it.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Mutex;

/// Largest grant: a DeleteObjects call names at most 1,000 versions.
const GRANT_MAX: u32 = 1000;

/// A token bucket over governor's GCRA.
///
/// A bucket that holds `b` tokens and gains `r` a second grants at most `b + r` within any second,
/// so a ceiling of `c` is split into `b = c / 10` (at most 1,000) and `r = c - b`: the ceiling is
/// never exceeded, and at least nine tenths of it can be used.
pub struct Ceiling<C: Clock = DefaultClock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    grant_max: NonZeroU32,
    /// First come, first served: without it many small grants could starve a large one.
    queue: Mutex<()>,
}

impl<C: Clock> std::fmt::Debug for Ceiling<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ceiling").field("grant_max", &self.grant_max).finish_non_exhaustive()
    }
}

/// Splits a ceiling into the tokens that the bucket holds and those it gains per second.
fn shape(per_second: u32) -> (NonZeroU32, NonZeroU32) {
    let held = NonZeroU32::new((per_second / 10).min(GRANT_MAX)).unwrap_or(NonZeroU32::MIN);
    // Below ten a second single tokens at even distances keep the ceiling by themselves.
    let gained = if per_second < 10 { per_second } else { per_second - held.get() };
    (held, NonZeroU32::new(gained).unwrap_or(NonZeroU32::MIN))
}

impl Ceiling {
    /// A ceiling of at least one per second.
    pub fn new(per_second: u32) -> Self {
        Self::with_clock(per_second, DefaultClock::default())
    }

    /// As [`Ceiling::new`], with nothing to grant at once.
    pub(super) fn empty(per_second: u32) -> Self {
        let ceiling = Self::new(per_second);
        // A fresh bucket holds exactly this, so it cannot be refused.
        let _drained = ceiling.try_pay(ceiling.grant_max());
        ceiling
    }

    /// Waits for `n` tokens, in the order of the calls. More than [`Ceiling::grant_max`] are drawn
    /// in several steps.
    pub async fn pay(&self, n: u32) {
        let _turn = self.queue.lock().await;
        let mut left = n;
        while left > 0 {
            let step = left.min(self.grant_max.get());
            match self.try_pay(step) {
                Ok(()) => left -= step,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
}

impl<C: Clock + Clone> Ceiling<C> {
    fn with_clock(per_second: u32, clock: C) -> Self {
        let (held, gained) = shape(per_second);
        let quota = Quota::per_second(gained).allow_burst(held);
        Self {
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()),
            clock,
            grant_max: held,
            queue: Mutex::new(()),
        }
    }

    /// The most tokens that are granted in one piece.
    pub fn grant_max(&self) -> u32 {
        self.grant_max.get()
    }

    /// Takes `n` tokens, or tells how long to wait before it is worth asking again.
    fn try_pay(&self, n: u32) -> Result<(), Duration> {
        let Some(n) = NonZeroU32::new(n.min(self.grant_max.get())) else { return Ok(()) };
        match self.limiter.check_n(n) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_yet)) => Err(not_yet.wait_time_from(self.clock.now()).max(Duration::from_micros(100))),
            // Cannot happen, n is at most the burst; waiting is the safe answer all the same.
            Err(_) => Err(Duration::from_secs(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;

    /// Grants as (millisecond, tokens) for a caller that always wants more, in sizes as given.
    fn greedy(per_second: u32, sizes: &[u32], idle_millis: u64, run_millis: u64) -> Vec<(u64, u32)> {
        let clock = FakeRelativeClock::default();
        let ceiling = Ceiling::with_clock(per_second, clock.clone());
        clock.advance(Duration::from_millis(idle_millis));
        let (mut grants, mut sizes) = (Vec::new(), sizes.iter().cycle());
        let mut want = *sizes.next().unwrap();
        for now in 0..run_millis {
            while ceiling.try_pay(want.min(ceiling.grant_max())).is_ok() {
                grants.push((now, want.min(ceiling.grant_max())));
                want = *sizes.next().unwrap();
            }
            clock.advance(Duration::from_millis(1));
        }
        grants
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_second_holds_more_than_the_ceiling(
            per_second in 1u32..20_000,
            sizes in prop::collection::vec(1u32..=1000, 1..6),
            idle in 0u64..5_000,
        ) {
            let grants = greedy(per_second, &sizes, idle, 3_000);
            for (start, _) in &grants {
                let granted: u32 =
                    grants.iter().filter(|(at, _)| (*start..start + 1000).contains(at)).map(|(_, n)| n).sum();
                prop_assert!(granted <= per_second, "{granted} in the second from {start} ms");
            }
        }
    }

    #[test]
    fn nine_tenths_of_the_ceiling_can_be_used() {
        for per_second in [20, 100, 3_000, 50_000] {
            let granted: u32 = greedy(per_second, &[1000], 0, 10_000).iter().map(|(_, n)| n).sum();
            assert!(f64::from(granted) >= 0.89 * 10.0 * f64::from(per_second), "{granted} of {per_second}/s");
        }
    }

    #[tokio::test]
    async fn more_than_one_grant_is_paid_in_steps() {
        let ceiling = Ceiling::new(100);
        assert_eq!(ceiling.grant_max(), 10);
        let before = std::time::Instant::now();
        ceiling.pay(28).await;
        // 10 at once, 18 more at 90 a second.
        assert!(before.elapsed() >= Duration::from_millis(199), "{:?}", before.elapsed());
    }
}
