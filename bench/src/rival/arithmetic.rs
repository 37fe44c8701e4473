//! The GCRA step that the floor and the sharded table share: nothing but the arithmetic of the decision.

use throttlekit::Decision;

/// A limit that all rivals can state.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Milliseconds between two units.
    pub interval_ms: f64,
    /// Units that may come at once.
    pub burst: f64,
}

impl Limit {
    /// Admits every request of a run, and keeps each key alive for at least ten minutes after its last one.
    pub const GENEROUS: Self = Self { interval_ms: 600_000.0, burst: 1e10 };

    /// Admits one request of a key and denies all that follow within the hour.
    pub const SPENT: Self = Self { interval_ms: 3_600_000.0, burst: 1.0 };
}

/// The limit, ready to judge: `interval` is the time one unit takes, `tolerance` is that of a whole burst.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arithmetic {
    interval: f64,
    tolerance: f64,
    limit: u64,
}

impl Arithmetic {
    pub(super) fn new(limit: Limit) -> Self {
        Self { interval: limit.interval_ms, tolerance: limit.interval_ms * limit.burst, limit: floor(limit.burst) }
    }

    /// The new theoretical arrival time, or the one that denies.
    #[inline]
    pub(super) fn step(&self, arrival: f64, now: f64) -> Result<f64, f64> {
        let from = if arrival > now { arrival } else { now };
        let next = from + self.interval;
        if now < next - self.tolerance { Err(from) } else { Ok(next) }
    }

    /// The answer in full, from what [`step`](Self::step) gave.
    #[inline]
    pub(super) fn reply(&self, step: Result<f64, f64>, now: f64) -> Decision {
        let (Ok(arrival) | Err(arrival)) = step;
        let wait = if step.is_ok() { 0 } else { ceil(arrival + self.interval - self.tolerance - now).unsigned_abs() };
        Decision {
            allowed: step.is_ok(),
            limit: self.limit,
            remaining: floor((self.tolerance - (arrival - now)) / self.interval),
            reset_at_ms: ceil(arrival),
            retry_after_ms: wait,
        }
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and never negative here
fn floor(x: f64) -> u64 {
    (x as i64).max(0) as u64
}

#[inline]
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // exact wherever a fraction exists
fn ceil(x: f64) -> i64 {
    let whole = x as i64;
    if whole as f64 >= x { whole } else { whole + 1 }
}
