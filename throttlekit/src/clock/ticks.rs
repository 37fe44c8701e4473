//! The processor's time stamp counter, for spans of up to a millisecond.

/// A count of the processor, or none.
#[cfg(all(feature = "tsc", not(miri)))]
pub(super) struct Ticks {
    clock: quanta::Clock,
    per_ms: u64,
}

#[cfg(all(feature = "tsc", not(miri)))]
impl Ticks {
    /// The first one of a process compares the counter with the clock of the system for some milliseconds, at most 200.
    pub(super) fn new() -> Self {
        /// Some minutes of a counter, so that rounding does not matter.
        const SPAN: u64 = 1 << 40;
        /// No counter is faster. Times the nanoseconds of a millisecond it fits into 64 bits.
        const FASTEST_PER_MS: u64 = 1_000_000_000_000;
        let clock = quanta::Clock::new();
        let span_ns = u128::from(clock.delta_as_nanos(0, SPAN));
        let per_ms = (u128::from(SPAN) * 1_000_000).checked_div(span_ns);
        // A counter that cannot be is as good as none.
        let per_ms = per_ms.and_then(|per_ms| u64::try_from(per_ms).ok()).filter(|per_ms| *per_ms <= FASTEST_PER_MS);
        Self { clock, per_ms: per_ms.unwrap_or(0) }
    }

    /// The count.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.clock.raw()
    }

    /// How far it counts in a millisecond.
    #[inline]
    pub(super) fn per_ms(&self) -> u64 {
        self.per_ms
    }
}

#[cfg(any(not(feature = "tsc"), miri))]
pub(super) struct Ticks;

#[cfg(any(not(feature = "tsc"), miri))]
impl Ticks {
    pub(super) fn new() -> Self {
        Self
    }

    #[inline]
    #[allow(clippy::unused_self)] // a counter where there is one
    pub(super) fn now(&self) -> u64 {
        0
    }

    #[inline]
    #[allow(clippy::unused_self)] // a counter where there is one
    pub(super) fn per_ms(&self) -> u64 {
        0
    }
}
