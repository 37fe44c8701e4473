//! An estimate of the trailing window from counts in sub-buckets: smooth enough, in bounded space.
//!
//! The window is cut into `S` buckets of `w = window / S`. With `c = floor(now / w)` the current bucket, the estimate is
//! the sum of the buckets `c - S + 1` to `c`, and of bucket `c - S` the part that the window still covers,
//! `(w - (now - c * w)) / w` of it. A check of cost `k` passes if and only if `estimate + k <= limit`.
//!
//! The estimate differs from the true trailing usage by at most one bucket's share, since only one bucket is
//! interpolated; `S = 1` is the classic estimate from two counters. The wait of a denial assumes the interpolation and
//! may be too short by one bucket. While a clock is back, later buckets are kept except for those whose place is needed.
//!
//! ```
//! use throttlekit::store::memory::Table;
//! use throttlekit::{SlidingWindow, Strategy};
//!
//! let window = SlidingWindow::builder().limit(10.0).window_ms(1_000.0).build()?;
//! let table = Table::new();
//! assert_eq!(table.apply("k", 1_000.0, &window, &6.0)?.remaining, 4);
//! assert!(table.apply("k", 1_500.0, &window, &4.0)?.allowed);
//! assert!(!table.apply("k", 1_500.0, &window, &1.0)?.allowed);
//! assert_eq!((window.name(), window.limit(), window.ttl_ms()), ("slidingWindow", 10, 1_100.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builder;
mod ring;

#[cfg(feature = "config")]
pub(crate) use builder::MOST_BUCKETS;
pub use builder::SlidingWindowBuilder;
pub use ring::{Bump, Ring};

use crate::decision::{Decision, Forecast, ceil_ms, ceil_wait, floor_units};
use crate::math::{ceil_f64, floor_f64};
use crate::program::{Program, Project, Refund, Step, Strategy};
use crate::strategy::vanishing;
use crate::twin::{Twin, readable};

/// A sub-bucketed sliding window; see the [module](self) for formulas and bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlidingWindow {
    name: &'static str,
    limit: f64,
    window_ms: f64,
    /// `S`.
    buckets: u32,
    /// `w`.
    bucket_ms: f64,
}

impl SlidingWindow {
    /// A builder without options set.
    pub fn builder() -> SlidingWindowBuilder {
        SlidingWindowBuilder::default()
    }

    /// The places of a ring: the buckets of the window and the one that leaves it.
    #[inline]
    fn places(&self) -> usize {
        self.buckets as usize + 1
    }

    #[inline]
    fn estimate(&self, state: Option<&Ring>, now: f64) -> Estimate {
        let current = floor_f64(now / self.bucket_ms);
        let elapsed = (now - current * self.bucket_ms).max(0.0);
        let weight = ((self.bucket_ms - elapsed) / self.bucket_ms).clamp(0.0, 1.0);
        let (oldest, full) = match state {
            Some(ring) if ring.places() == self.places() => ring.sums(current),
            _ => (0.0, 0.0),
        };
        Estimate { current, used: full + oldest * weight, oldest, leaving: oldest * weight }
    }

    /// When the current bucket ends.
    #[inline]
    fn bucket_end(&self, current: f64) -> f64 {
        (current + 1.0) * self.bucket_ms
    }

    /// When everything admitted up to now has left.
    #[inline]
    fn reset_at(&self, current: f64) -> i64 {
        ceil_ms(self.bucket_end(current) + self.window_ms)
    }

    /// How long to wait until `excess` units have left.
    fn wait(&self, estimate: &Estimate, excess: f64, now: f64) -> u64 {
        let wait = if estimate.oldest > 0.0 && excess <= estimate.leaving {
            excess * self.bucket_ms / estimate.oldest
        } else {
            self.bucket_end(estimate.current) - now
        };
        ceil_wait(wait).max(1)
    }
}

/// The usage of the trailing window, and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Estimate {
    /// The current bucket.
    current: f64,
    used: f64,
    /// The count of the bucket that leaves the window.
    oldest: f64,
    /// What of `oldest` is still in.
    leaving: f64,
}

/// What a step decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    allowed: bool,
    estimate: Estimate,
}

impl Program for SlidingWindow {
    type State = Ring;
    type Change = Bump;
    type Request = f64;
    type Outcome = Verdict;
    type Reply = Decision;

    #[inline]
    fn step(&self, state: Option<&Ring>, now_ms: f64, cost: &f64) -> Step<Bump, Verdict> {
        let estimate = self.estimate(state, now_ms);
        let projected = estimate.used + cost;
        if projected <= estimate.used {
            return Step::Fail(vanishing(*cost));
        }
        if projected <= self.limit {
            Step::Write {
                change: Bump::new(estimate.current, *cost, self.places()),
                ttl_ms: self.ttl_ms(),
                outcome: Verdict { allowed: true, estimate },
            }
        } else {
            Step::Keep(Verdict { allowed: false, estimate })
        }
    }

    #[inline]
    fn reply(&self, now_ms: f64, cost: &f64, outcome: Verdict) -> Decision {
        let Verdict { allowed, estimate } = outcome;
        let projected = estimate.used + cost;
        let used = if allowed { projected } else { estimate.used };
        Decision {
            allowed,
            limit: self.limit(),
            remaining: floor_units(self.limit - used),
            reset_at_ms: self.reset_at(estimate.current),
            retry_after_ms: if allowed { 0 } else { self.wait(&estimate, projected - self.limit, now_ms) },
        }
    }

    fn twin(&self) -> Option<Twin<Self>> {
        let twin = Twin::new(
            include_str!("sliding_window.lua"),
            |window: &Self| [window.limit, window.window_ms, window.buckets.into(), window.bucket_ms].into(),
            |cost| [*cost].into(),
            |window, raw| match raw.list() {
                Some([]) => Ok(None),
                Some(fields) => readable(Ring::from_fields(window.places(), fields)),
                None => readable(None),
            },
        );
        Some(twin.leasing())
    }
}

impl Strategy for SlidingWindow {
    /// `slidingWindow`, or `quota` for a [rolling quota](crate::Quota::rolling).
    fn name(&self) -> &'static str {
        self.name
    }

    #[inline]
    fn limit(&self) -> u64 {
        floor_units(self.limit)
    }

    fn window_ms(&self) -> Option<f64> {
        Some(self.window_ms)
    }

    #[inline]
    fn ttl_ms(&self) -> f64 {
        ceil_f64(self.window_ms + self.bucket_ms)
    }

    const REFUNDS: bool = true;

    /// Takes the units out of the current bucket, if they are in it. What was taken in an earlier one leaves with that.
    fn refund(&self, state: Option<&Ring>, now_ms: f64, refund: &Refund) -> Step<Bump, Verdict> {
        let mut estimate = self.estimate(state, now_ms);
        let held = state.filter(|ring| ring.places() == self.places());
        let held = held.map_or(0.0, |ring| ring.count(estimate.current));
        if held <= 0.0 || refund.of_another(self.reset_at(estimate.current)) {
            return Step::Keep(Verdict { allowed: true, estimate });
        }
        let units = refund.units.min(held);
        estimate.used -= units;
        Step::Write {
            change: Bump::new(estimate.current, -units, self.places()),
            ttl_ms: self.ttl_ms(),
            outcome: Verdict { allowed: true, estimate },
        }
    }
}

impl Project for SlidingWindow {
    fn peek(&self, state: Option<&Ring>, now_ms: f64) -> Decision {
        let estimate = self.estimate(state, now_ms);
        let allowed = estimate.used + 1.0 <= self.limit;
        let decision = self.reply(now_ms, &1.0, Verdict { allowed, estimate });
        Decision { remaining: floor_units(self.limit - estimate.used), ..decision }
    }

    #[allow(clippy::cast_precision_loss)] // at most the limit, which is at most 2^53 - 1
    fn forecast(&self, state: Option<&Ring>, now_ms: f64, cost: f64) -> Forecast {
        let estimate = self.estimate(state, now_ms);
        Forecast {
            spendable_now: floor_units(floor_units(self.limit - estimate.used) as f64 / cost),
            next_replenish_at_ms: ceil_ms(self.bucket_end(estimate.current)),
            full_at_ms: self.reset_at(estimate.current),
        }
    }
}
