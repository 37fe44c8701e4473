//! Windows of counts, aligned to the Unix epoch.

use crate::error::BuildError;
use crate::math::window_start;

/// What a window's length must be.
pub(crate) fn validate(option: &'static str, window_ms: f64) -> Result<f64, BuildError> {
    if window_ms.is_finite() && window_ms > 0.0 {
        Ok(window_ms)
    } else {
        Err(BuildError::new(option, window_ms, "must be a finite number above 0"))
    }
}

/// The window that is being counted, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    length: f64,
    /// NaN before the first one.
    start: f64,
    end: f64,
}

impl Window {
    pub(crate) fn new(length_ms: f64) -> Self {
        Self { length: length_ms, start: f64::NAN, end: f64::NAN }
    }

    /// Whether a time is in it.
    #[inline]
    pub(crate) fn holds(&self, now_ms: f64) -> bool {
        self.start <= now_ms && now_ms < self.end
    }

    /// Goes to the window of `now_ms`, forward or back; whether that is another one.
    pub(crate) fn roll(&mut self, now_ms: f64) -> bool {
        let start_ms = window_start(now_ms, self.length);
        let turned = self.start != start_ms;
        self.start = start_ms;
        self.end = start_ms + self.length;
        turned
    }

    pub(crate) fn start_ms(&self) -> f64 {
        self.start
    }
}
