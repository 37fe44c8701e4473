//! What the constructors check.

use crate::error::BuildError;
use crate::math::MAX;

/// A given, finite number above 0 and at most 2^53 - 1.
pub(crate) fn positive(option: &'static str, value: Option<f64>) -> Result<f64, BuildError> {
    let value = value.ok_or_else(|| BuildError::missing(option))?;
    if !value.is_finite() || value <= 0.0 {
        return Err(BuildError::new(option, value, "must be a finite number above 0"));
    }
    at_most(option, value, MAX)
}

/// A given, finite number from 1 to 2^53 - 1.
pub(crate) fn at_least_one(option: &'static str, value: f64) -> Result<f64, BuildError> {
    if !value.is_finite() || value < 1.0 {
        return Err(BuildError::new(option, value, "must be a finite number of at least 1"));
    }
    at_most(option, value, MAX)
}

/// `value` if it is at most `most`.
pub(crate) fn at_most(option: &'static str, value: f64, most: f64) -> Result<f64, BuildError> {
    if value <= most { Ok(value) } else { Err(BuildError::new(option, value, format!("must be at most {most}"))) }
}

/// As [`positive`], the length of windows: a multiple of it near 2^53 must still be finite, so that the start of each is.
pub(crate) fn window(option: &'static str, span: Option<f64>) -> Result<f64, BuildError> {
    let span = positive(option, span)?;
    if ((MAX / span).floor() * span).is_finite() {
        Ok(span)
    } else {
        Err(BuildError::new(option, span, "must be long enough for the start of a window to be finite"))
    }
}

/// Writes the setters of a window's length, for a builder that keeps it in a field of `Option<f64>`.
macro_rules! window_setters {
    ($($field:ident).+) => {
        /// The length of a window in milliseconds, above 0; may be fractional. Required.
        pub fn window_ms(mut self, window_ms: f64) -> Self {
            self.$($field).+ = Some(window_ms);
            self
        }

        /// The length of a window. Required.
        pub fn window(self, window: std::time::Duration) -> Self {
            self.window_ms($crate::duration::millis(window))
        }
    };
}

pub(crate) use window_setters;
