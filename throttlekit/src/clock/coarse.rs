//! The clock that the kernel keeps anyway: cheap, and up to a tick old.

use std::sync::Arc;
use std::time::Duration;

use super::Clock;
use super::guard::{Guard, Source, Wall};
use super::system::SystemSource;

/// The wall clock as of the kernel's last tick, kept from stepping back like [`SystemClock`](crate::SystemClock).
///
/// On Linux a reading costs about a tenth of a precise one, since no hardware counter is read; elsewhere this is the
/// precise clock. It is never the default: it is for whoever has measured that the reading matters.
///
/// The time is up to one kernel tick old: 1 to 10 ms, by how the kernel was built. What that does to a limit:
///
/// - An admission counts as made up to a tick earlier. In any window at most `tick / T` units more than the bound pass,
///   where `T` is the time in which one unit comes back.
/// - A denial may last up to a tick longer than need be, so a limit whose `T` is below a tick and whose burst is 1 admits
///   one unit per tick, not one per `T`.
///
/// ```
/// use throttlekit::{Clock, CoarseClock};
///
/// let clock = CoarseClock::new();
/// let earlier = clock.now_ms();
/// assert!(clock.now_ms() >= earlier);
/// ```
#[derive(Clone, Debug)]
pub struct CoarseClock {
    guard: Arc<Guard<CoarseSource>>,
}

impl CoarseClock {
    /// A clock that starts at the coarse wall time of now.
    pub fn new() -> Self {
        Self { guard: Arc::new(Guard::new(CoarseSource(SystemSource::new()))) }
    }
}

impl Default for CoarseClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for CoarseClock {
    #[inline]
    #[allow(clippy::cast_precision_loss)] // exact up to 2^53 ms, the year 287396
    fn now_ms(&self) -> f64 {
        self.guard.now_ms() as f64
    }

    /// Precise: what a tick would round is what is measured.
    #[inline]
    fn monotonic_ns(&self) -> u64 {
        self.guard.elapsed_ns()
    }
}

struct CoarseSource(SystemSource);

impl Source for CoarseSource {
    #[inline]
    #[cfg(target_os = "linux")]
    #[allow(clippy::useless_conversion)] // the nanoseconds are an i32 on 32-bit targets
    fn wall(&self) -> Wall {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        // The fraction is never negative, also before 1970, so this rounds down.
        Wall { ms: now.tv_sec.saturating_mul(1_000).saturating_add(i64::from(now.tv_nsec) / 1_000_000), lasts: 0 }
    }

    #[inline]
    #[cfg(not(target_os = "linux"))]
    fn wall(&self) -> Wall {
        self.0.wall()
    }

    /// None: this is as cheap as a count.
    #[inline]
    fn ticks(&self) -> u64 {
        0
    }

    #[inline]
    fn ticks_per_ms(&self) -> u64 {
        0
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
