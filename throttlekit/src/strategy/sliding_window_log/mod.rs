//! The trailing window, exactly: each admitted unit is remembered until it is a window old.
//!
//! A check of cost `c` takes `ceil(c)` whole units and passes if and only if, together with the units admitted less than
//! a window ago, they are at most `limit`. So no span of one window holds more than `limit` units while the clock does
//! not go back. Where it does, instants are kept in order of time all the same.
//!
//! A key takes 16 bytes for each instant at which it was admitted, whatever the cost, hence at most `16 * limit`; other
//! stores hold a number for each unit. It suits small limits; for large ones there is the
//! [sliding window](super::sliding_window).
//!
//! ```
//! use throttlekit::store::memory::Table;
//! use throttlekit::{SlidingWindowLog, Strategy};
//!
//! let log = SlidingWindowLog::builder().limit(3.0).window_ms(1_000.0).build()?;
//! let table = Table::new();
//! for now_ms in [0.0, 100.0, 200.0] {
//!     assert!(table.apply("k", now_ms, &log, &1.0)?.allowed);
//! }
//! assert_eq!(table.apply("k", 300.0, &log, &1.0)?.retry_after_ms, 700);
//! assert!(table.apply("k", 1_000.0, &log, &1.0)?.allowed);
//! assert_eq!((log.name(), log.limit(), log.ttl_ms()), ("slidingWindowLog", 3, 1_000.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod log;

pub use self::log::{Log, Push};

use crate::decision::{Decision, Forecast, ceil_ms, ceil_wait, floor_units};
use crate::error::BuildError;
use crate::math::ceil_f64;
use crate::program::{Program, Project, Step, Strategy};
use crate::strategy::options::{at_most, positive, window_setters};
use crate::strategy::sliding_window_log::log::Live;
use crate::twin::{Twin, readable};

/// The largest limit unless told otherwise: a key then takes at most 1.6 MB.
pub(crate) const MOST_UNITS: u32 = 100_000;

/// An exact log of the trailing window; see the [module](self) for rule and bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlidingWindowLog {
    limit: f64,
    window_ms: f64,
}

impl SlidingWindowLog {
    /// A builder without options set.
    pub fn builder() -> SlidingWindowLogBuilder {
        SlidingWindowLogBuilder::default()
    }

    /// What is younger than a window.
    #[inline]
    fn live<'a>(&self, state: Option<&'a Log>, now: f64) -> Live<'a> {
        Live::of(state, now - self.window_ms)
    }

    /// The verdict that denies `units` more.
    fn denial(&self, live: &Live<'_>, now: f64, units: f64) -> Verdict {
        let count = live.count();
        // So many have to leave; where that is more than there are, the last one does not help, but nothing would.
        let leaving = ceil_f64(count + units - self.limit).min(count).max(1.0);
        let wait = match live.nth(leaving) {
            Some(instant) => instant + self.window_ms - now,
            None => self.window_ms,
        };
        Verdict { used: count, first: live.first().unwrap_or(now), wait: wait.max(1.0) }
    }
}

/// What a step decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Units in the window after the check.
    used: f64,
    /// The oldest instant in the window after the check.
    first: f64,
    /// How long to wait; above 0 if and only if denied.
    wait: f64,
}

impl Program for SlidingWindowLog {
    type State = Log;
    type Change = Push;
    type Request = f64;
    type Outcome = Verdict;
    type Reply = Decision;

    #[inline]
    fn step(&self, state: Option<&Log>, now_ms: f64, cost: &f64) -> Step<Push, Verdict> {
        let live = self.live(state, now_ms);
        let units = ceil_f64(*cost);
        let used = live.count() + units;
        if used > self.limit {
            return Step::Keep(self.denial(&live, now_ms, units));
        }
        let first = live.first().map_or(now_ms, |first| first.min(now_ms));
        Step::Write {
            change: Push::new(now_ms, units, now_ms - self.window_ms),
            ttl_ms: self.window_ms,
            outcome: Verdict { used, first, wait: 0.0 },
        }
    }

    #[inline]
    fn reply(&self, _now_ms: f64, _cost: &f64, outcome: Verdict) -> Decision {
        Decision {
            allowed: outcome.wait <= 0.0,
            limit: self.limit(),
            remaining: floor_units(self.limit - outcome.used),
            reset_at_ms: ceil_ms(outcome.first + self.window_ms),
            retry_after_ms: ceil_wait(outcome.wait),
        }
    }

    /// The script tells only as many of the oldest instants as the answers depend on.
    fn twin(&self) -> Option<Twin<Self>> {
        let twin = Twin::new(
            include_str!("sliding_window_log.lua"),
            |log: &Self| [log.limit, log.window_ms].into(),
            |cost| [*cost].into(),
            |_, raw| readable(raw.list().and_then(Log::from_oldest)),
        );
        Some(twin.leasing())
    }
}

impl Strategy for SlidingWindowLog {
    fn name(&self) -> &'static str {
        "slidingWindowLog"
    }

    #[inline]
    fn limit(&self) -> u64 {
        floor_units(self.limit)
    }

    fn window_ms(&self) -> Option<f64> {
        Some(self.window_ms)
    }

    fn ttl_ms(&self) -> f64 {
        self.window_ms
    }
}

impl Project for SlidingWindowLog {
    fn peek(&self, state: Option<&Log>, now_ms: f64) -> Decision {
        let live = self.live(state, now_ms);
        let used = live.count();
        let verdict = if used + 1.0 <= self.limit {
            Verdict { used, first: live.first().unwrap_or(now_ms), wait: 0.0 }
        } else {
            self.denial(&live, now_ms, 1.0)
        };
        self.reply(now_ms, &1.0, verdict)
    }

    fn forecast(&self, state: Option<&Log>, now_ms: f64, cost: f64) -> Forecast {
        let live = self.live(state, now_ms);
        let leaves = |instant: Option<f64>| ceil_ms(instant.map_or(now_ms, |instant| instant + self.window_ms));
        Forecast {
            spendable_now: floor_units((self.limit - live.count()) / cost),
            next_replenish_at_ms: leaves(live.first()),
            full_at_ms: leaves(live.last()),
        }
    }
}

/// Builds a [`SlidingWindowLog`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a builder does nothing until `build`"]
pub struct SlidingWindowLogBuilder {
    limit: Option<f64>,
    window_ms: Option<f64>,
    max_limit: u32,
}

impl Default for SlidingWindowLogBuilder {
    fn default() -> Self {
        Self { limit: None, window_ms: None, max_limit: MOST_UNITS }
    }
}

impl SlidingWindowLogBuilder {
    /// Units in any window, above 0 and at most [`max_limit`](Self::max_limit); may be fractional. Required.
    pub fn limit(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }

    window_setters!(window_ms);

    /// The largest limit that is accepted. A key takes 16 bytes for each unit in the worst case. Defaults to 100,000.
    pub fn max_limit(mut self, max_limit: u32) -> Self {
        self.max_limit = max_limit;
        self
    }

    /// The strategy.
    ///
    /// # Errors
    ///
    /// An option that is missing or out of range; the window may not be above 2^53 - 1.
    pub fn build(self) -> Result<SlidingWindowLog, BuildError> {
        let limit = positive("slidingWindowLog.limit", self.limit)?;
        let limit = at_most("slidingWindowLog.limit", limit, self.max_limit.into())?;
        let window_ms = positive("slidingWindowLog.windowMs", self.window_ms)?;
        Ok(SlidingWindowLog { limit, window_ms })
    }
}
