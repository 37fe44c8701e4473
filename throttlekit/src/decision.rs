//! What a check answers: [`Decision`], and [`Forecast`] for what a check would answer.

use crate::error::RateLimitExceeded;
use crate::permit::Permit;

/// 2^53 - 1, the largest whole number that every member of the family can hold.
pub const MAX_SAFE: u64 = (1 << 53) - 1;

/// The answer to one check.
///
/// A denial is a value, never an error. The JSON and wire names are `allowed`, `limit`, `remaining`, `resetAt` and
/// `retryAfterMs`, in this order.
///
/// ```
/// use throttlekit::Decision;
///
/// let rate = Decision { allowed: true, limit: 100, remaining: 42, reset_at_ms: 1_000, retry_after_ms: 0 };
/// let cost = Decision { allowed: false, limit: 50, remaining: 0, reset_at_ms: 5_000, retry_after_ms: 250 };
/// assert_eq!(rate.combine(cost), cost);
/// assert_eq!(Decision::ALLOW_FULL.combine(rate), rate);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// Whether the request is admitted.
    pub allowed: bool,
    /// The ceiling shown to clients: burst (GCRA), capacity (token bucket), quota (windows). A fractional one is
    /// truncated.
    pub limit: u64,
    /// Whole units left before the next denial.
    pub remaining: u64,
    /// When the limiter is fully replenished, in milliseconds since the Unix epoch.
    pub reset_at_ms: i64,
    /// 0 if and only if [`allowed`](Self::allowed); otherwise the milliseconds to wait until a retry can succeed.
    pub retry_after_ms: u64,
}

impl Decision {
    /// The neutral element of [`combine`](Self::combine): admitted, with nothing to show. An axis that is not
    /// configured contributes this.
    pub const ALLOW_FULL: Self =
        Self { allowed: true, limit: MAX_SAFE, remaining: MAX_SAFE, reset_at_ms: 0, retry_after_ms: 0 };

    /// Joins two decisions: admitted only if both are, the smaller limit and remaining, the later reset, the longer wait.
    ///
    /// Associative, commutative and idempotent, with [`ALLOW_FULL`](Self::ALLOW_FULL) as its neutral element.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        Self {
            allowed: self.allowed && other.allowed,
            limit: self.limit.min(other.limit),
            remaining: self.remaining.min(other.remaining),
            reset_at_ms: self.reset_at_ms.max(other.reset_at_ms),
            retry_after_ms: self.retry_after_ms.max(other.retry_after_ms),
        }
    }

    /// Joins any number of decisions from the left; none at all gives [`ALLOW_FULL`](Self::ALLOW_FULL).
    pub fn combine_all(decisions: impl IntoIterator<Item = Self>) -> Self {
        decisions.into_iter().fold(Self::ALLOW_FULL, Self::combine)
    }

    /// The decision of a limit that allows and of which nothing was taken all the same: with what it has as `state` has it.
    #[must_use]
    pub(crate) fn as_it_is(self, state: &Self) -> Self {
        Self { remaining: state.remaining, reset_at_ms: state.reset_at_ms, ..self }
    }

    /// The decision of a guard whose slot, that of `permit`, goes back: with what it has then.
    #[must_use]
    pub(crate) fn with_slot_back(self, permit: &Permit) -> Self {
        let freed = u64::from(permit.frees_one());
        Self { remaining: self.remaining.saturating_add(freed).min(self.limit), ..self }
    }

    /// Whether there is a limit to show. [`ALLOW_FULL`](Self::ALLOW_FULL) has none, and renderers omit it.
    pub fn has_limit(&self) -> bool {
        self.limit != MAX_SAFE
    }

    /// Turns a denial into an error, for callers who prefer `?` over a branch.
    ///
    /// # Errors
    ///
    /// [`RateLimitExceeded`] carrying this decision, if it is a denial.
    pub fn into_result(self) -> Result<Self, RateLimitExceeded> {
        if self.allowed { Ok(self) } else { Err(RateLimitExceeded::new(self)) }
    }
}

/// What a check would find, without consuming anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Forecast {
    /// How many requests of the given cost are admissible right now.
    pub spendable_now: u64,
    /// When the capacity next grows by at least one unit, in milliseconds since the Unix epoch.
    pub next_replenish_at_ms: i64,
    /// When the limiter is fully replenished, in milliseconds since the Unix epoch.
    pub full_at_ms: i64,
}

/// `max(0, floor(x))` as a whole number; saturating at 2^63 - 1, and 0 for NaN.
#[inline]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the cast truncates and saturates: that is the rule
pub(crate) fn floor_units(x: f64) -> u64 {
    // By way of the signed type, to which the processor converts in one instruction.
    (x as i64).max(0) as u64
}

/// `ceil(x)` as a whole number of milliseconds; saturating, and 0 for NaN. `f64::ceil` is a library call on baseline
/// targets, and a conversion that saturates takes longer than this.
#[inline]
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_precision_loss)] // saturates; exact wherever a fraction exists
pub(crate) fn ceil_ms(x: f64) -> i64 {
    /// From here to twice as much a number has no fraction, and the lower bits of it are how much it is more.
    const WHOLE: f64 = (1_u64 << 52) as f64;
    const HALF: u64 = (WHOLE / 2.0).to_bits();
    // As bits, what is negative or no number is above any number that is not.
    if x.to_bits() <= HALF {
        let nearest = x + WHOLE;
        return (nearest.to_bits() - WHOLE.to_bits()) as i64 + i64::from(nearest - WHOLE < x);
    }
    let whole = x as i64;
    if x > whole as f64 { whole.saturating_add(1) } else { whole }
}

/// `max(0, ceil(x))` as a wait in whole milliseconds.
#[inline]
#[allow(clippy::cast_sign_loss)] // never negative after max
pub(crate) fn ceil_wait(x: f64) -> u64 {
    ceil_ms(x).max(0) as u64
}

#[cfg(test)]
mod tests {
    use super::{ceil_ms, ceil_wait, floor_units};

    /// Around every power of two and some fractions, of both signs.
    fn numbers() -> impl Iterator<Item = f64> {
        let around = (-1_022..1_024).map(|exponent| 2_f64.powi(exponent).to_bits());
        let around = around.flat_map(|bits| [bits - 1, bits, bits + 1]).map(f64::from_bits);
        let some = [0.0, 5e-324, 0.5, 1.5, 2.5, 0.1, 1e15 + 0.3, 1_700_000_000_333.333_3, f64::MAX, f64::INFINITY];
        around.chain(some).flat_map(|x| [x, -x])
    }

    #[test]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates: that is the rule
    fn whole_numbers_are_those_of_the_library() {
        for x in numbers() {
            assert_eq!(ceil_ms(x), x.ceil() as i64, "ceil of {x:e}");
            assert_eq!(ceil_wait(x), (x.ceil() as i64).max(0) as u64, "wait of {x:e}");
            assert_eq!(floor_units(x), (x.floor() as i64).max(0) as u64, "floor of {x:e}");
        }
        assert_eq!((floor_units(f64::NAN), ceil_ms(f64::NAN), ceil_wait(f64::NAN)), (0, 0, 0));
    }
}
