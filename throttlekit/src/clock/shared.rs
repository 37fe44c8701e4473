//! The clock of a limit, for another handle to it.

use std::sync::Arc;

use super::Clock;

/// Reads the clock that `owner` has. Clocks need not be [`Clone`].
struct Shared<T, C> {
    owner: Arc<T>,
    clock: fn(&T) -> &C,
}

/// The clock that `owner` has. Without its type, or the handle of a handle would be of another type each time.
pub(crate) fn clock_of<T, C>(owner: Arc<T>, clock: fn(&T) -> &C) -> Arc<dyn Clock>
where
    T: Send + Sync + 'static,
    C: Clock,
{
    Arc::new(Shared { owner, clock })
}

impl<T: Send + Sync + 'static, C: Clock> Clock for Shared<T, C> {
    #[inline]
    fn now_ms(&self) -> f64 {
        (self.clock)(&self.owner).now_ms()
    }

    #[inline]
    fn monotonic_ns(&self) -> u64 {
        (self.clock)(&self.owner).monotonic_ns()
    }
}
