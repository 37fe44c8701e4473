//! The cheapest precise clock that safe code has.

use std::fmt;

use throttlekit::Clock;

/// The processor's time stamp counter where it runs evenly, else the monotonic clock of the system. What
/// [`Telemetry`](crate::Telemetry) measures latencies with, unless it is given another clock.
///
/// The first one of a process compares the counter with the clock of the system, which takes up to some tenths of a second.
#[derive(Clone)]
pub struct Stopwatch {
    clock: quanta::Clock,
    start: u64,
}

impl Stopwatch {
    /// A stopwatch that runs.
    pub fn new() -> Self {
        let clock = quanta::Clock::new();
        let start = clock.raw();
        Self { clock, start }
    }
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for Stopwatch {
    /// Milliseconds since it was made, not since the Unix epoch: it is for measuring.
    #[allow(clippy::cast_precision_loss)] // exact for longer than a process lives
    fn now_ms(&self) -> f64 {
        (self.monotonic_ns() / 1_000_000) as f64
    }

    #[inline]
    fn monotonic_ns(&self) -> u64 {
        self.clock.delta_as_nanos(self.start, self.clock.raw())
    }
}

impl fmt::Debug for Stopwatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopwatch").finish_non_exhaustive()
    }
}
