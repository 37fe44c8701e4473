//! The algorithms, as pure programs.
//!
//! Each is a [`Strategy`] that can also [`Project`](crate::Project). They compute in `f64`, in one
//! fixed order of operations, so that every process and every store that shares a key comes to the same bits.
//!
//! | strategy | bound | state |
//! |---|---|---|
//! | [`Gcra`](gcra::Gcra) | `burst + t / T` units in any span `t`, smooth | one number |
//! | [`ExactGcra`](exact_gcra::ExactGcra) | the same, without rounding | whole ms, remainder |
//! | [`FixedWindow`](fixed_window::FixedWindow) | `limit` units per aligned window | start, count |
//! | [`Quota`](quota::Quota) | `limit` units per billing period | start, count |
//! | [`SlidingWindow`](sliding_window::SlidingWindow) | `limit` units in any window, but for one bucket's share | a count per bucket |
//! | [`SlidingWindowLog`](sliding_window_log::SlidingWindowLog) | `limit` units in any window | an instant per admission |
//! | [`TokenBucket`](token_bucket::TokenBucket) | `capacity + t * r` units in any span `t` | tokens, instant |
//!
//! Common to all: a denial consumes nothing, `remaining` is never negative, and a check reports a wait of 0 if and only
//! if it admits. A cost above the ceiling is legal and always denied.

pub mod exact_gcra;
pub mod fixed_window;
pub mod gcra;
pub(crate) mod options;
pub mod quota;
pub mod sliding_window;
pub mod sliding_window_log;
pub(crate) mod text;
pub mod token_bucket;

use crate::error::Error;
use crate::math::{MAX, floor_f64};
use crate::program::Strategy;

/// Returns `cost` if a check may ask for it: finite, above 0 and at most 2^53 - 1.
///
/// A limiter validates before it reads the clock or touches the store; a [`Program`](crate::Program) takes its request
/// as valid.
///
/// # Errors
///
/// `invalid_argument` for any other cost, naming it and what is allowed.
///
/// ```
/// use throttlekit::strategy::validate_cost;
///
/// assert_eq!(validate_cost(0.5).unwrap(), 0.5);
/// let error = validate_cost(0.0).unwrap_err();
/// assert_eq!(error.code(), "invalid_argument");
/// assert_eq!(error.to_string(), "cost is 0: must be a finite number above 0 and at most 9007199254740991");
/// ```
#[inline]
pub fn validate_cost(cost: f64) -> Result<f64, Error> {
    // NaN fails both comparisons.
    if cost > 0.0 && cost <= MAX { Ok(cost) } else { Err(bad_cost(cost)) }
}

#[cold]
fn bad_cost(cost: f64) -> Error {
    Error::invalid_argument(format!("cost is {cost}: must be a finite number above 0 and at most {MAX}"))
}

/// As [`validate_cost`], of units that `S` does not step itself, as those of a forecast or of a lease: whole where it counts no
/// others.
#[inline]
pub(crate) fn validate_units<S: Strategy>(cost: f64) -> Result<f64, Error> {
    let cost = validate_cost(cost)?;
    if S::WHOLE_UNITS && floor_f64(cost) != cost { Err(fractional(cost)) } else { Ok(cost) }
}

#[cold]
pub(crate) fn fractional(cost: f64) -> Error {
    Error::invalid_argument(format!("cost is {cost}: must be a whole number from 1 to {MAX} for this limit"))
}

/// A cost that does not move what is counted would pass for free, without end.
#[cold]
pub(crate) fn vanishing(cost: f64) -> Error {
    Error::invalid_argument(format!("cost is {cost}: too small to be counted by this limit"))
}

/// What there is after a cost was counted, where there was `before`.
///
/// # Errors
///
/// `invalid_argument` if the cost is lost to rounding.
#[inline]
pub(crate) fn counted(before: f64, after: f64, cost: f64) -> Result<f64, Error> {
    if after == before { Err(vanishing(cost)) } else { Ok(after) }
}
