//! Time: epoch milliseconds from a [`Clock`].

#[cfg(feature = "coarse-clock")]
mod coarse;
mod guard;
mod system;

#[cfg(feature = "coarse-clock")]
#[cfg_attr(docsrs, doc(cfg(feature = "coarse-clock")))]
pub use coarse::CoarseClock;
pub use system::SystemClock;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a limiter reads the time. Each check, batch, peek and forecast reads it exactly once.
///
/// A clock should not step back: limits stay whole, but a step back denies what would be admitted or, for windows, gives
/// back what was used. [`SystemClock`] guards against it.
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
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    #[inline]
    fn now_ms(&self) -> f64 {
        (**self).now_ms()
    }
}

/// A clock that stands still until told. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    bits: Arc<AtomicU64>,
}

impl ManualClock {
    /// Starts at `now_ms`, rounded down to whole milliseconds.
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
        self.set(self.now_ms() + ms);
    }

    /// Sets the time, backwards and below 0 if asked.
    ///
    /// # Panics
    ///
    /// If `now_ms` is not finite.
    pub fn set(&self, now_ms: f64) {
        assert!(now_ms.is_finite(), "a clock shows a finite time, not {now_ms}");
        self.bits.store(now_ms.floor().to_bits(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> f64 {
        f64::from_bits(self.bits.load(Ordering::SeqCst))
    }
}
