//! [GCRA](super::gcra) in whole numbers: exactly `burst` units from a fresh key, at any instant and for any rate.
//!
//! Time is counted in units of `1 / limit` ms, so that one unit of cost takes exactly `period` of them:
//!
//! ```text
//! now' = now * limit    tat = max(TAT', now')    new = tat + period * c    tau = period * burst
//! ```
//!
//! A check is denied if and only if `now' < new - tau`. In any span of `t` ms at most `burst + t * limit / period` units
//! pass, without any rounding.
//!
//! The state is not that of [`Gcra`](super::gcra::Gcra): on a shared store its keys belong below
//! [`exact`](Strategy::key_space), so that the two never read each other's.
//!
//! ```
//! use throttlekit::store::memory::Table;
//! use throttlekit::{ExactGcra, Gcra};
//!
//! // The sixth unit of a burst is denied for a millisecond by the form that computes in f64, but not by this one.
//! let now_ms = 1_700_000_000_000.0;
//! let admitted = |allowed: &dyn Fn() -> bool| (0..6).filter(|_| allowed()).count();
//!
//! let (gcra, table) = (Gcra::per_second(6)?, Table::new());
//! assert_eq!(admitted(&|| table.apply("k", now_ms, &gcra, &1.0).is_ok_and(|decision| decision.allowed)), 5);
//!
//! let (exact, table) = (ExactGcra::builder().limit(6).period_ms(1_000).build()?, Table::new());
//! assert_eq!(admitted(&|| table.apply("k", now_ms, &exact, &1.0).is_ok_and(|decision| decision.allowed)), 6);
//! # Ok::<(), throttlekit::BuildError>(())
//! ```

use std::time::Duration;

use crate::decision::{Decision, Forecast, MAX_SAFE};
use crate::error::BuildError;
use crate::math::floor_f64;
use crate::program::{Program, Project, Refund, State, Step, Strategy};
use crate::store::memory::{AsPair, Pair};
use crate::strategy::fractional;
use crate::twin::{Twin, readable};

/// `period * burst` may be up to here, so that any admitted backlog is a whole number that a double holds.
const MAX_TOLERANCE: u64 = MAX_SAFE + 1;

/// GCRA in whole numbers; see the [module](self) for formulas and bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExactGcra {
    limit: u64,
    period_ms: u64,
    burst: u64,
}

impl ExactGcra {
    /// A builder without options set.
    pub fn builder() -> ExactGcraBuilder {
        ExactGcraBuilder::default()
    }

    /// `tau`, in units of `1 / limit` ms, as all amounts below.
    #[inline]
    fn tolerance(&self) -> u64 {
        self.period_ms * self.burst
    }

    /// How far the TAT is ahead of now. Wide: a clock that went back may find it anywhere.
    #[inline]
    fn backlog(&self, state: Option<&ExactTat>, now: i64) -> u128 {
        match state {
            // A remainder of another limit is still less than a millisecond.
            Some(tat) if tat.ms >= now => {
                u128::from(tat.ms.abs_diff(now)) * u128::from(self.limit) + u128::from(tat.rest.min(self.limit - 1))
            }
            _ => 0,
        }
    }

    /// The whole milliseconds that `amount` takes, rounded up.
    #[inline]
    fn ceil_ms(&self, amount: u128) -> u64 {
        match u64::try_from(amount) {
            Ok(amount) => amount.div_ceil(self.limit),
            Err(_) => u64::try_from(amount.div_ceil(u128::from(self.limit))).unwrap_or(u64::MAX),
        }
    }

    /// Whole units that fit between a backlog and the tolerance.
    #[inline]
    fn room(&self, backlog: u128) -> u64 {
        u64::try_from(backlog).map_or(0, |backlog| self.tolerance().saturating_sub(backlog) / self.period_ms)
    }

    #[inline]
    fn instant(&self, now: i64, backlog: u128) -> i64 {
        now.saturating_add_unsigned(self.ceil_ms(backlog))
    }

    /// The decision on a backlog; `missing` is what the tolerance lacks, 0 if and only if admitted.
    #[inline]
    fn decision(&self, now: i64, backlog: u128, missing: u128) -> Decision {
        Decision {
            allowed: missing == 0,
            limit: self.burst,
            remaining: self.room(backlog),
            reset_at_ms: self.instant(now, backlog),
            retry_after_ms: self.ceil_ms(missing),
        }
    }
}

/// An instant in whole milliseconds.
#[inline]
#[allow(clippy::cast_possible_truncation)] // whole; beyond i64 it saturates
fn whole(now_ms: f64) -> i64 {
    floor_f64(now_ms) as i64
}

/// The theoretical arrival time of a key: whole milliseconds since the Unix epoch, and a remainder in units of
/// `1 / limit` ms. At or before now it is the same as none.
///
/// Its text is `ms:rest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExactTat {
    /// Whole milliseconds since the Unix epoch.
    pub ms: i64,
    /// The remainder, below the limit.
    pub rest: u64,
}

impl State for ExactTat {
    type Layout = Pair;

    fn encode(&self) -> String {
        format!("{}:{}", self.ms, self.rest)
    }

    fn decode(text: &str) -> Option<Self> {
        let (ms, rest) = text.split_once(':')?;
        // The standard library takes a plus sign, which nobody writes.
        if ms.starts_with('+') || rest.starts_with('+') {
            return None;
        }
        Some(Self { ms: ms.parse().ok()?, rest: rest.parse().ok()? })
    }
}

impl AsPair for ExactTat {
    #[inline]
    fn to_words(self) -> [u64; 2] {
        [u64::from_ne_bytes(self.ms.to_ne_bytes()), self.rest]
    }

    #[inline]
    fn from_words([ms, rest]: [u64; 2]) -> Self {
        Self { ms: i64::from_ne_bytes(ms.to_ne_bytes()), rest }
    }
}

/// What a step decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How far the TAT is ahead of now after the check.
    backlog: u128,
    /// What the tolerance lacked.
    missing: u128,
}

impl Program for ExactGcra {
    type State = ExactTat;
    type Change = ExactTat;
    type Request = f64;
    type Outcome = Verdict;
    type Reply = Decision;

    /// Fails with `invalid_argument` on a cost that is not a whole number.
    #[inline]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    // a valid cost is whole and at most 2^53 - 1; a time to live needs no more digits than a double has
    fn step(&self, state: Option<&ExactTat>, now_ms: f64, cost: &f64) -> Step<ExactTat, Verdict> {
        let units = *cost as u64;
        if units as f64 != *cost {
            return Step::Fail(fractional(*cost));
        }
        let now = whole(now_ms);
        let backlog = self.backlog(state, now);
        let next = backlog + u128::from(self.period_ms) * u128::from(units);
        match u64::try_from(next) {
            Ok(next) if next <= self.tolerance() => Step::Write {
                change: ExactTat { ms: now.saturating_add_unsigned(next / self.limit), rest: next % self.limit },
                ttl_ms: (next.div_ceil(self.limit) as f64).max(1.0),
                outcome: Verdict { backlog: next.into(), missing: 0 },
            },
            _ => Step::Keep(Verdict { backlog, missing: next - u128::from(self.tolerance()) }),
        }
    }

    #[inline]
    fn reply(&self, now_ms: f64, _cost: &f64, outcome: Verdict) -> Decision {
        self.decision(whole(now_ms), outcome.backlog, outcome.missing)
    }

    #[allow(clippy::cast_precision_loss)] // none is above 2^53
    fn twin(&self) -> Option<Twin<Self>> {
        let twin = Twin::new(
            include_str!("exact_gcra.lua"),
            |gcra: &Self| [gcra.limit as f64, gcra.period_ms as f64, gcra.burst as f64].into(),
            |cost| [*cost].into(),
            |_, raw| readable(raw.text().and_then(ExactTat::decode)),
        );
        Some(twin.leasing())
    }
}

impl Strategy for ExactGcra {
    fn name(&self) -> &'static str {
        "gcra"
    }

    /// The burst.
    #[allow(clippy::misnamed_getters)] // what is shown to clients is the burst
    fn limit(&self) -> u64 {
        self.burst
    }

    #[allow(clippy::cast_precision_loss)] // at most 2^53
    fn window_ms(&self) -> Option<f64> {
        Some(self.period_ms as f64)
    }

    #[allow(clippy::cast_precision_loss)] // at most 2^53
    fn ttl_ms(&self) -> f64 {
        self.tolerance().div_ceil(self.limit) as f64
    }

    /// `exact`, since the compatible form's states are other numbers under the same prefix.
    fn key_space(&self) -> &'static str {
        "exact"
    }

    const WHOLE_UNITS: bool = true;

    const REFUNDS: bool = true;

    /// Moves the TAT back, to now at the earliest, and by no more than is still to pass of what was taken. Fails with
    /// `invalid_argument` on units that are not whole.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // as in a step
    fn refund(&self, state: Option<&ExactTat>, now_ms: f64, refund: &Refund) -> Step<ExactTat, Verdict> {
        let units = refund.units as u64;
        if units as f64 != refund.units {
            return Step::Fail(fractional(refund.units));
        }
        let now = whole(now_ms);
        let backlog = self.backlog(state, now);
        // Beyond the tolerance there is only what a clock left there that went back since.
        let held = u64::try_from(backlog).ok().filter(|held| (1..=self.tolerance()).contains(held));
        let due = refund.comes_back_in(now_ms);
        let Some(held) = held.filter(|_| due > 0.0) else {
            return Step::Keep(Verdict { backlog, missing: 0 });
        };
        let back = u128::from(self.period_ms) * u128::from(units);
        let left = u128::from(held).saturating_sub(back.min(u128::from(self.limit) * u128::from(due as u64)));
        let left = u64::try_from(left).unwrap_or(held);
        if left == 0 {
            return Step::Remove(Verdict { backlog: 0, missing: 0 });
        }
        Step::Write {
            change: ExactTat { ms: now.saturating_add_unsigned(left / self.limit), rest: left % self.limit },
            ttl_ms: (left.div_ceil(self.limit) as f64).max(1.0),
            outcome: Verdict { backlog: left.into(), missing: 0 },
        }
    }
}

impl Project for ExactGcra {
    fn peek(&self, state: Option<&ExactTat>, now_ms: f64) -> Decision {
        let now = whole(now_ms);
        let backlog = self.backlog(state, now);
        let next = backlog + u128::from(self.period_ms);
        self.decision(now, backlog, next.saturating_sub(self.tolerance().into()))
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    // both operands are whole or positive; the quotient truncates and saturates, which is the rule
    fn forecast(&self, state: Option<&ExactTat>, now_ms: f64, cost: f64) -> Forecast {
        let now = whole(now_ms);
        let backlog = self.backlog(state, now);
        let room = self.room(backlog);
        // The next unit fits once the backlog is down to the tolerance less `room + 1` units. Nothing is missing on a
        // full key, where that is below 0.
        let next = backlog + u128::from(self.period_ms) * (u128::from(room) + 1);
        let missing = if backlog == 0 { 0 } else { next.saturating_sub(self.tolerance().into()) };
        Forecast {
            spendable_now: (room as f64 / cost) as u64,
            next_replenish_at_ms: self.instant(now, missing),
            full_at_ms: self.instant(now, backlog),
        }
    }
}

/// Builds an [`ExactGcra`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "a builder does nothing until `build`"]
pub struct ExactGcraBuilder {
    limit: Option<u64>,
    period: Option<Duration>,
    burst: Option<u64>,
}

impl ExactGcraBuilder {
    /// Units per period, 1 to 2^53 - 1. Required.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The period in milliseconds, at least 1. Required.
    pub fn period_ms(self, period_ms: u64) -> Self {
        self.period(Duration::from_millis(period_ms))
    }

    /// The period, in whole milliseconds. Required.
    pub fn period(mut self, period: Duration) -> Self {
        self.period = Some(period);
        self
    }

    /// Units that pass at once on a fresh key, at least 1. Defaults to the limit.
    pub fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// The strategy.
    ///
    /// # Errors
    ///
    /// An option that is missing or out of range; `period * burst` may be up to 2^53.
    pub fn build(self) -> Result<ExactGcra, BuildError> {
        let limit = self.limit.ok_or_else(|| BuildError::missing("gcra.limit"))?;
        if !(1..=MAX_SAFE).contains(&limit) {
            return Err(BuildError::new("gcra.limit", limit, format!("must be from 1 to {MAX_SAFE}")));
        }
        let period = self.period.ok_or_else(|| BuildError::missing("gcra.periodMs"))?;
        let period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        if period_ms == 0 || period_ms > MAX_SAFE || period != Duration::from_millis(period_ms) {
            let allowed = format!("must be whole milliseconds from 1 to {MAX_SAFE}");
            return Err(BuildError::new("gcra.periodMs", period.as_secs_f64() * 1_000.0, allowed));
        }
        let burst = self.burst.unwrap_or(limit);
        if burst == 0 {
            return Err(BuildError::new("gcra.burst", burst, "must be at least 1"));
        }
        if period_ms.checked_mul(burst).is_none_or(|tolerance| tolerance > MAX_TOLERANCE) {
            let allowed = format!("periodMs * burst must be at most {MAX_TOLERANCE}");
            return Err(BuildError::new("gcra.burst", burst, allowed));
        }
        Ok(ExactGcra { limit, period_ms, burst })
    }
}
