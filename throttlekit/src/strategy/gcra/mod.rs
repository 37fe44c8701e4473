//! The generic cell rate algorithm: smooth, exact over any span, one number per key.
//!
//! With `T = period / limit` the time that one unit takes and `tau = T * burst` the tolerance, the state is the
//! theoretical arrival time (TAT): the instant at which everything admitted so far is paid off. A check of cost `c` at
//! `now` computes
//!
//! ```text
//! tat = max(TAT, now)    new = tat + T * c    admit if and only if now >= new - tau
//! ```
//!
//! and an admission stores `new`. In any span of length `t` at most `burst + t / T` units pass, in real arithmetic.
//!
//! # Rounding
//!
//! The state is shared with processes in other languages, so the sums are those of `f64`, in that order. At today's
//! epoch one step of `f64` is 2^-12 ms. Where `T` is not a whole number of such steps, a fresh key may deny the last
//! unit of a burst for up to a millisecond: 6 per 1000 ms admits 5 of 6 at 1700000000000. Admission of exactly `burst`
//! units is certain where `T` is a whole number.
//!
//! A clock that goes back finds the TAT in the future and denies until time has caught up.
//!
//! ```
//! use throttlekit::{Gcra, Program, Project, Step, Strategy};
//!
//! let gcra = Gcra::builder().limit(100.0).period_ms(60_000.0).burst(5.0).build()?;
//! assert_eq!((gcra.name(), gcra.limit(), gcra.ttl_ms()), ("gcra", 5, 3_000.0));
//!
//! let Step::Write { change: state, ttl_ms, outcome } = gcra.step(None, 0.0, &1.0) else { panic!("a fresh key admits") };
//! let decision = gcra.reply(0.0, &1.0, outcome);
//! assert_eq!((decision.remaining, decision.reset_at_ms, ttl_ms), (4, 600, 600.0));
//! assert_eq!(gcra.peek(Some(&state), 0.0).remaining, 4);
//! # Ok::<(), throttlekit::BuildError>(())
//! ```

use std::time::Duration;

use crate::decision::{Decision, Forecast, ceil_ms, ceil_wait, floor_units};
use crate::duration::millis;
use crate::error::BuildError;
use crate::math::{MAX, ceil_f64};
use crate::program::{Formula, Program, Project, Refund, State, Step, Strategy};
use crate::store::memory::{AsInstant, Instant};
use crate::strategy::options::{at_least_one, positive};
use crate::strategy::text::{read_number, write_number};
use crate::strategy::vanishing;
use crate::twin::{Twin, readable};

/// The least `T` in milliseconds: forty steps of `f64` at today's epoch. Below, additions to a TAT lose so much that a
/// limit would stop limiting.
const MIN_INTERVAL_MS: f64 = 0.01;

/// The generic cell rate algorithm; see the [module](self) for formulas, bounds and rounding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gcra {
    /// Milliseconds per unit, `T`.
    interval: f64,
    /// How far the TAT may run ahead of time, `tau`.
    tolerance: f64,
    /// The burst, as it is shown.
    limit: u64,
    period_ms: f64,
}

impl Gcra {
    /// A builder without options set.
    pub fn builder() -> GcraBuilder {
        GcraBuilder::default()
    }

    /// `n` units per second, and as many at once.
    ///
    /// # Errors
    ///
    /// As [`GcraBuilder::build`].
    pub fn per_second(n: u32) -> Result<Self, BuildError> {
        Self::builder().limit(n.into()).period_ms(1_000.0).build()
    }

    /// `n` units per minute, and as many at once.
    ///
    /// # Errors
    ///
    /// As [`GcraBuilder::build`].
    pub fn per_minute(n: u32) -> Result<Self, BuildError> {
        Self::builder().limit(n.into()).period_ms(60_000.0).build()
    }

    /// `n` units per hour, and as many at once.
    ///
    /// # Errors
    ///
    /// As [`GcraBuilder::build`].
    pub fn per_hour(n: u32) -> Result<Self, BuildError> {
        Self::builder().limit(n.into()).period_ms(3_600_000.0).build()
    }

    /// Whole units that fit between a TAT of `tat` and the tolerance.
    #[inline]
    fn room(&self, tat: f64, now: f64) -> u64 {
        let left = self.tolerance - (tat - now);
        // A quotient of what is less is below 1, rounded or not.
        if left < self.interval { 0 } else { floor_units(left / self.interval) }
    }
}

/// The theoretical arrival time of a key, in milliseconds since the Unix epoch. At or before now it is the same as none.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Tat(f64);

impl Tat {
    /// The state with this arrival time.
    pub fn from_ms(ms: f64) -> Self {
        Self(ms)
    }

    /// The arrival time.
    pub fn as_ms(self) -> f64 {
        self.0
    }

    /// `max(TAT, now)`, where none is `now`.
    #[inline]
    fn effective(state: Option<&Self>, now: f64) -> f64 {
        match state {
            Some(&Self(tat)) if tat > now => tat,
            _ => now,
        }
    }
}

impl State for Tat {
    type Layout = Instant;

    fn encode(&self) -> String {
        write_number(self.0)
    }

    fn decode(text: &str) -> Option<Self> {
        read_number(text).map(Self)
    }
}

impl AsInstant for Tat {
    #[inline]
    fn to_instant_ms(self) -> f64 {
        self.0
    }

    #[inline]
    fn from_instant_ms(ms: f64) -> Self {
        Self(ms)
    }
}

/// What a step decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The TAT after the check.
    tat: f64,
    /// How long to wait; above 0 if and only if denied.
    wait: f64,
}

impl Program for Gcra {
    type State = Tat;
    type Change = Tat;
    type Request = f64;
    type Outcome = Verdict;
    type Reply = Decision;

    #[inline]
    fn step(&self, state: Option<&Tat>, now_ms: f64, cost: &f64) -> Step<Tat, Verdict> {
        let tat = Tat::effective(state, now_ms);
        let new = tat + self.interval * cost;
        if new <= tat {
            return Step::Fail(vanishing(*cost));
        }
        let allow_at = new - self.tolerance;
        if now_ms < allow_at {
            return Step::Keep(Verdict { tat, wait: allow_at - now_ms });
        }
        let ttl_ms = ceil_f64(new - now_ms).max(1.0);
        Step::Write { change: Tat(new), ttl_ms, outcome: Verdict { tat: new, wait: 0.0 } }
    }

    #[inline]
    fn reply(&self, now_ms: f64, _cost: &f64, outcome: Verdict) -> Decision {
        Decision {
            allowed: outcome.wait <= 0.0,
            limit: self.limit,
            remaining: self.room(outcome.tat, now_ms),
            reset_at_ms: ceil_ms(outcome.tat),
            retry_after_ms: if outcome.wait > 0.0 { ceil_wait(outcome.wait) } else { 0 },
        }
    }

    fn twin(&self) -> Option<Twin<Self>> {
        let twin = Twin::new(
            include_str!("gcra.lua"),
            |gcra: &Self| [gcra.interval, gcra.tolerance].into(),
            |cost| [*cost].into(),
            |_, raw| readable(raw.number().map(Tat)),
        );
        Some(twin.leasing())
    }

    fn formula(&self, cost: &f64) -> Option<Formula> {
        Some(Formula::Gcra { increment_ms: self.interval * cost, tolerance_ms: self.tolerance })
    }
}

impl Strategy for Gcra {
    fn name(&self) -> &'static str {
        "gcra"
    }

    /// The burst.
    #[inline]
    fn limit(&self) -> u64 {
        self.limit
    }

    fn window_ms(&self) -> Option<f64> {
        Some(self.period_ms)
    }

    fn ttl_ms(&self) -> f64 {
        ceil_f64(self.tolerance)
    }

    const REFUNDS: bool = true;

    /// Moves the TAT back, to now at the earliest, and by no more than is still to pass of what was taken.
    fn refund(&self, state: Option<&Tat>, now_ms: f64, refund: &Refund) -> Step<Tat, Verdict> {
        let tat = Tat::effective(state, now_ms);
        let due = refund.comes_back_in(now_ms);
        if tat <= now_ms || due <= 0.0 {
            return Step::Keep(Verdict { tat, wait: 0.0 });
        }
        let new = tat - (self.interval * refund.units).min(due);
        if new <= now_ms {
            return Step::Remove(Verdict { tat: now_ms, wait: 0.0 });
        }
        let ttl_ms = ceil_f64(new - now_ms).max(1.0);
        Step::Write { change: Tat(new), ttl_ms, outcome: Verdict { tat: new, wait: 0.0 } }
    }
}

impl Project for Gcra {
    fn peek(&self, state: Option<&Tat>, now_ms: f64) -> Decision {
        let tat = Tat::effective(state, now_ms);
        let remaining = self.room(tat, now_ms);
        let allowed = remaining >= 1;
        let wait = tat + self.interval - self.tolerance - now_ms;
        Decision {
            allowed,
            limit: self.limit,
            remaining,
            reset_at_ms: ceil_ms(tat),
            retry_after_ms: if allowed { 0 } else { ceil_wait(wait).max(1) },
        }
    }

    #[allow(clippy::cast_precision_loss)] // at most burst, which is at most 2^53 - 1
    fn forecast(&self, state: Option<&Tat>, now_ms: f64, cost: f64) -> Forecast {
        let tat = Tat::effective(state, now_ms);
        let room = self.room(tat, now_ms) as f64;
        let full = tat <= now_ms;
        let next = tat - self.tolerance + (room + 1.0) * self.interval;
        Forecast {
            spendable_now: floor_units(room / cost),
            next_replenish_at_ms: ceil_ms(if full { now_ms } else { next }),
            full_at_ms: ceil_ms(if full { now_ms } else { tat }),
        }
    }
}

/// Builds a [`Gcra`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[must_use = "a builder does nothing until `build`"]
pub struct GcraBuilder {
    limit: Option<f64>,
    period_ms: Option<f64>,
    burst: Option<f64>,
}

impl GcraBuilder {
    /// Units per period, above 0; may be fractional. Required.
    pub fn limit(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The period in milliseconds, above 0. Required.
    pub fn period_ms(mut self, period_ms: f64) -> Self {
        self.period_ms = Some(period_ms);
        self
    }

    /// The period. Required.
    pub fn period(self, period: Duration) -> Self {
        self.period_ms(millis(period))
    }

    /// Units that pass at once on a fresh key, at least 1. Defaults to the limit.
    pub fn burst(mut self, burst: f64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// The strategy.
    ///
    /// # Errors
    ///
    /// An option that is missing or out of range; no option, `period / limit` or `period / limit * burst` may be above
    /// 2^53 - 1, and `period / limit` must be at least 0.01 ms.
    pub fn build(self) -> Result<Gcra, BuildError> {
        let limit = positive("gcra.limit", self.limit)?;
        let period_ms = positive("gcra.periodMs", self.period_ms)?;
        let burst = match self.burst {
            Some(burst) => at_least_one("gcra.burst", burst)?,
            None if limit < 1.0 => {
                let allowed = "must be at least 1; it is the limit unless given";
                return Err(BuildError::new("gcra.burst", limit, allowed));
            }
            None => limit,
        };
        let interval = period_ms / limit;
        if interval > MAX {
            return Err(BuildError::new("gcra.limit", limit, format!("must be at least periodMs / {MAX}")));
        }
        if interval < MIN_INTERVAL_MS {
            let allowed = format!(
                "must leave at least {MIN_INTERVAL_MS} ms to a unit (periodMs / limit); \
                 for higher rates use `exact: true` or a token bucket"
            );
            return Err(BuildError::new("gcra.limit", limit, allowed));
        }
        let tolerance = interval * burst;
        if tolerance > MAX {
            return Err(BuildError::new(
                "gcra.burst",
                burst,
                format!("periodMs / limit * burst must be at most {MAX}"),
            ));
        }
        Ok(Gcra { interval, tolerance, limit: floor_units(burst), period_ms })
    }
}
