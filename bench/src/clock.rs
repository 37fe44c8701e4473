//! The clock that every rival of the "same for all" setting reads.

use std::fmt;

use throttlekit::{Clock, ManualClock};

/// A time source that serves both units in use: milliseconds for this project's types, nanoseconds for governor's.
pub trait Time: Clock + Clone + fmt::Debug {
    /// Nanoseconds since some fixed instant.
    fn nanos(&self) -> u64;
}

/// The processor's time stamp counter where it is usable, else the system's monotonic clock: the cheapest precise clock
/// that safe code has, and governor's own default.
#[derive(Clone, Debug)]
pub struct TscClock {
    clock: quanta::Clock,
    start: u64,
}

/// What the first reading shows: an instant of our days, so that the f64 arithmetic meets today's magnitudes.
const EPOCH_MS: f64 = 1_760_000_000_000.0;

impl TscClock {
    /// Starts the clock.
    pub fn new() -> Self {
        let clock = quanta::Clock::new();
        let start = clock.raw();
        Self { clock, start }
    }
}

impl Default for TscClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Time for TscClock {
    #[inline]
    fn nanos(&self) -> u64 {
        self.clock.delta_as_nanos(self.start, self.clock.raw())
    }
}

impl Clock for TscClock {
    #[inline]
    #[allow(clippy::cast_precision_loss)] // milliseconds of a run are far below 2^53
    fn now_ms(&self) -> f64 {
        EPOCH_MS + (self.nanos() / 1_000_000) as f64
    }
}

impl Time for ManualClock {
    #[inline]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole milliseconds at or above 0 in every bench
    fn nanos(&self) -> u64 {
        self.now_ms() as u64 * 1_000_000
    }
}

/// The same time source as governor reads it.
#[derive(Clone, Debug)]
pub struct GovernorClock<T>(pub T);

impl<T: Time> governor::clock::Clock for GovernorClock<T> {
    type Instant = governor::nanos::Nanos;

    #[inline]
    fn now(&self) -> Self::Instant {
        governor::nanos::Nanos::new(self.0.nanos())
    }
}
