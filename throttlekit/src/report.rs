//! Reports at a bounded rate.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::duration::millis;

/// Lets one report through in each interval and counts the others, so that an outage does not fill a log.
///
/// It knows nothing of logs: ask it before a line is written, and add to the line how many were left out.
///
/// ```
/// use std::time::Duration;
/// use throttlekit::{Clock, ManualClock, ReportGate};
///
/// let clock = ManualClock::new(0.0);
/// let gate = ReportGate::new(Duration::from_secs(10));
/// assert_eq!(gate.pass(clock.now_ms()), Some(0));
/// assert_eq!(gate.pass(clock.now_ms()), None);
/// assert_eq!(gate.pass(clock.now_ms()), None);
/// clock.advance(10_000.0);
/// assert_eq!(gate.pass(clock.now_ms()), Some(2));
/// ```
pub struct ReportGate {
    interval_ms: f64,
    /// When the last report passed, as bits of an `f64`; NaN before the first one.
    last: AtomicU64,
    held_back: AtomicU64,
}

impl ReportGate {
    /// At most one report in `interval`, the first one at once.
    pub fn new(interval: Duration) -> Self {
        let last = AtomicU64::new(f64::NAN.to_bits());
        Self { interval_ms: millis(interval), last, held_back: AtomicU64::new(0) }
    }

    /// Whether a report may be made at `now_ms`, in milliseconds of any clock; then how many were held back since the last
    /// one. Of several threads at the same instant one passes. A clock that steps back lets the next report pass.
    pub fn pass(&self, now_ms: f64) -> Option<u64> {
        let last = self.last.load(Ordering::Relaxed);
        // From the first report's NaN nothing is between.
        let between = (0.0..self.interval_ms).contains(&(now_ms - f64::from_bits(last)));
        let passes = !between
            && self.last.compare_exchange(last, now_ms.to_bits(), Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if passes {
            Some(self.held_back.swap(0, Ordering::Relaxed))
        } else {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

impl fmt::Debug for ReportGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReportGate")
            .field("interval_ms", &self.interval_ms)
            .field("held_back", &self.held_back)
            .finish_non_exhaustive()
    }
}
