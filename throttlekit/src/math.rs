//! Whole numbers and windows in `f64`, the same bits on every path.

use crate::decision::MAX_SAFE;

/// [`MAX_SAFE`] as a float, which holds it exactly.
#[allow(clippy::cast_precision_loss)] // 2^53 - 1 is exact
pub(crate) const MAX: f64 = MAX_SAFE as f64;

/// `floor(x)`. `f64::floor` is a library call on baseline targets, the conversions are not.
#[inline]
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // in the range where every f64 has a fraction
pub(crate) fn floor_f64(x: f64) -> f64 {
    // From 2^53 on every number is whole; NaN and infinities also go this way.
    if x.abs() <= MAX {
        let whole = x as i64 as f64;
        if whole > x { whole - 1.0 } else { whole }
    } else {
        x
    }
}

/// `ceil(x)`, likewise.
#[inline]
pub(crate) fn ceil_f64(x: f64) -> f64 {
    -floor_f64(-x)
}

/// The start of the window of `now_ms` among those of `length_ms` that are aligned to the epoch.
#[inline]
pub(crate) fn window_start(now_ms: f64, length_ms: f64) -> f64 {
    floor_f64(now_ms / length_ms) * length_ms
}

#[cfg(test)]
mod tests {
    use super::{ceil_f64, floor_f64};

    #[test]
    fn floor_and_ceil_are_those_of_the_library() {
        let around = (-1_022..1_024).map(|exponent| 2_f64.powi(exponent).to_bits());
        let around = around.flat_map(|bits| [bits - 1, bits, bits + 1]).map(f64::from_bits);
        let some = [0.0, 5e-324, 0.5, 1.5, 2.5, 0.1, 1e15 + 0.3, 1_700_000_000_333.333_3, f64::MAX, f64::INFINITY];
        for x in around.chain(some).flat_map(|x| [x, -x]) {
            assert_eq!(floor_f64(x), x.floor(), "floor of {x:e}");
            assert_eq!(ceil_f64(x), x.ceil(), "ceil of {x:e}");
        }
        assert!(floor_f64(f64::NAN).is_nan() && ceil_f64(f64::NAN).is_nan());
    }
}
