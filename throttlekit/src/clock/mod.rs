//! Time: epoch milliseconds from a [`Clock`].

#[cfg(feature = "coarse-clock")]
mod coarse;
mod guard;
#[cfg(all(test, loom))]
mod loom_tests;
mod shared;
mod stopwatch;
mod sync;
mod system;
mod ticks;

#[cfg(feature = "coarse-clock")]
#[cfg_attr(docsrs, doc(cfg(feature = "coarse-clock")))]
pub use coarse::CoarseClock;
pub(crate) use shared::clock_of;
pub use system::SystemClock;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a limiter reads the time. Each check, batch, peek and forecast reads it once, and once more where another thread, which
/// read it later, was faster.
///
/// A clock should not step back, nor show one thread less than it showed another before: limits stay whole, but a step back
/// denies what would be admitted or, for windows, gives back what was used. [`SystemClock`] guards against it.
///
/// To take time from elsewhere, implement the one method:
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use throttlekit::Clock;
///
/// /// Counts game ticks of 50 ms.
/// struct Ticks(AtomicU32);
///
/// impl Clock for Ticks {
///     fn now_ms(&self) -> f64 {
///         f64::from(self.0.load(Ordering::Relaxed)) * 50.0
///     }
/// }
/// assert_eq!(Ticks(AtomicU32::new(3)).now_ms(), 150.0);
/// ```
///
/// For tests there is [`ManualClock`]:
///
/// ```
/// use throttlekit::{Clock, ManualClock};
///
/// let clock = ManualClock::new(0.0);
/// clock.advance(1_500.0);
/// assert_eq!(clock.now_ms(), 1_500.0);
/// ```
pub trait Clock: Send + Sync + 'static {
    /// Whole milliseconds since the Unix epoch.
    fn now_ms(&self) -> f64;

    /// Nanoseconds since some fixed instant, for measuring latencies.
    ///
    /// It should never go back, and be finer than the latencies: a guard takes what is shorter than one step for 0.
    /// What is given here is [`now_ms`](Self::now_ms) in nanoseconds, 0 before the epoch.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the cast saturates
    fn monotonic_ns(&self) -> u64 {
        (self.now_ms() as u64).saturating_mul(NANOS_PER_MS)
    }
}

/// Nanoseconds in one millisecond.
const NANOS_PER_MS: u64 = 1_000_000;

impl<C: Clock + ?Sized> Clock for Arc<C> {
    #[inline]
    fn now_ms(&self) -> f64 {
        (**self).now_ms()
    }

    #[inline]
    fn monotonic_ns(&self) -> u64 {
        (**self).monotonic_ns()
    }
}

/// A clock that stands still until told. Clones show the same time.
///
/// It keeps fractions of a millisecond for [`Clock::monotonic_ns`]; [`Clock::now_ms`] is rounded down.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    bits: Arc<AtomicU64>,
}

impl ManualClock {
    /// Starts at `now_ms`.
    ///
    /// # Panics
    ///
    /// If `now_ms` is not finite.
    pub fn new(now_ms: f64) -> Self {
        let clock = Self::default();
        clock.set(now_ms);
        clock
    }

    /// Goes forward by `ms`.
    ///
    /// # Panics
    ///
    /// If `ms` is negative or not finite.
    pub fn advance(&self, ms: f64) {
        assert!(ms.is_finite() && ms >= 0.0, "a clock advances by a finite, non-negative span, not {ms}");
        self.set(self.exact_ms() + ms);
    }

    /// Sets the time, backwards and below 0 if asked.
    ///
    /// # Panics
    ///
    /// If `now_ms` is not finite.
    pub fn set(&self, now_ms: f64) {
        assert!(now_ms.is_finite(), "a clock shows a finite time, not {now_ms}");
        self.bits.store(now_ms.to_bits(), Ordering::SeqCst);
    }

    fn exact_ms(&self) -> f64 {
        f64::from_bits(self.bits.load(Ordering::SeqCst))
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> f64 {
        self.exact_ms().floor()
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // the casts saturate
    fn monotonic_ns(&self) -> u64 {
        let exact = self.exact_ms();
        // The whole milliseconds apart: multiplied as a float, today's epoch would lose hundreds of nanoseconds.
        let fraction = (exact - exact.floor()) * NANOS_PER_MS as f64;
        (exact.floor() as u64).saturating_mul(NANOS_PER_MS).saturating_add(fraction.round() as u64)
    }
}
