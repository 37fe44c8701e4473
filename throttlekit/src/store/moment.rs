//! When a step is taken.

use crate::clock::Clock;

/// An instant to step at, and where to read the time again.
///
/// Between reading a clock and holding a key a thread may lose its core. Another one, which read the clock later, may have
/// stepped on the key by then, and a step at the earlier instant could give back what that one took. So whoever holds a key that
/// is [ahead](crate::Program::is_ahead) reads the clock once more.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    pub(crate) now_ms: f64,
    clock: Option<&'a dyn Clock>,
}

impl<'a> Moment<'a> {
    /// An instant that was not read from a clock at hand: it stays as it is.
    #[inline]
    pub(crate) fn given(now_ms: f64) -> Self {
        Self { now_ms, clock: None }
    }

    /// An instant that was read from `clock`.
    #[inline(always)]
    pub(crate) fn of(now_ms: f64, clock: &'a dyn Clock) -> Self {
        Self { now_ms, clock: Some(clock) }
    }

    /// The time of `clock`.
    #[inline(always)]
    pub(crate) fn read<C: Clock>(clock: &'a C) -> Self {
        Self::of(clock.now_ms(), clock)
    }

    /// Reads the clock once more, for this instant or a later one.
    #[inline(always)]
    pub(crate) fn read_again(&mut self) {
        self.now_ms = again(self.now_ms, self.clock);
    }
}

/// By value: a moment that is lent to a function that is not inlined is in memory.
#[cold]
#[inline(never)]
fn again(now_ms: f64, clock: Option<&dyn Clock>) -> f64 {
    clock.map_or(now_ms, |clock| clock.now_ms().max(now_ms))
}

impl std::fmt::Debug for Moment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moment").field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}
