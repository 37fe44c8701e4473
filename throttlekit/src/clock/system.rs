//! The precise clock of the operating system.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Clock;
use super::guard::{Guard, Source};

/// The wall clock of the operating system, kept from stepping back. The default clock.
///
/// Whole milliseconds, rounded down. One reading of the time and two loads; a write only when the millisecond changes.
///
/// When the wall clock steps:
///
/// - Forward steps are followed at once.
/// - After a step back of up to 20 ms the time stands still until the wall has caught up.
/// - After a larger step back it goes on from where it was, at nine tenths of real time, until the wall has caught up.
///   So it is never frozen for the length of the step: after a step back of an hour it is right again ten hours later,
///   and a limit of 100 per minute lets 90 through in the meantime. A forward step in that time shortens it.
///
/// A reading that happens after another is never less, across threads, for all clones of one value. Two values made by
/// [`new`](Self::new) guard themselves apart, and may differ after a step; give limiters that must agree clones of one.
/// The guard does not outlive the process: a new process starts at the wall.
///
/// ```
/// use throttlekit::{Clock, SystemClock};
///
/// let clock = SystemClock::new();
/// let earlier = clock.now_ms();
/// assert!(clock.clone().now_ms() >= earlier);
/// assert_eq!(earlier.fract(), 0.0);
/// ```
#[derive(Clone, Debug)]
pub struct SystemClock {
    guard: Arc<Guard<SystemSource>>,
}

impl SystemClock {
    /// A clock that starts at the wall time of now.
    pub fn new() -> Self {
        Self { guard: Arc::new(Guard::new(SystemSource::new())) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[inline]
    #[allow(clippy::cast_precision_loss)] // exact up to 2^53 ms, the year 287396
    fn now_ms(&self) -> f64 {
        self.guard.now_ms() as f64
    }
}

/// `SystemTime` for the wall, `Instant` for real time.
pub(super) struct SystemSource {
    start: Instant,
}

impl SystemSource {
    #[allow(clippy::disallowed_methods)] // this is the clock module
    pub(super) fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Source for SystemSource {
    #[inline]
    #[allow(clippy::disallowed_methods)] // this is the clock module
    fn wall_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => saturated(since.as_secs()).saturating_mul(1_000).saturating_add(since.subsec_millis().into()),
            // Before 1970. Rounding down means away from zero here.
            Err(before) => {
                let before = before.duration();
                let partial = before.subsec_nanos().div_ceil(1_000_000).into();
                -saturated(before.as_secs()).saturating_mul(1_000).saturating_add(partial)
            }
        }
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

fn saturated(secs: u64) -> i64 {
    i64::try_from(secs).unwrap_or(i64::MAX)
}
