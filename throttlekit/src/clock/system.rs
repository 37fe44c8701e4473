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

    #[inline]
    fn monotonic_ns(&self) -> u64 {
        self.guard.elapsed_ns()
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
            Ok(since) => whole_ms(since.as_secs(), since.subsec_millis()),
            // Before 1970. Rounding down means away from zero here.
            Err(before) => {
                let before = before.duration();
                -whole_ms(before.as_secs(), before.subsec_nanos().div_ceil(1_000_000))
            }
        }
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// No clock shows a later second: 292 million years on.
const LATEST_SECS: u64 = i64::MAX as u64 / 1_000 - 1;

/// Cheaper than saturating at every step, and on the path of every check.
#[inline]
#[allow(clippy::cast_possible_wrap)] // below `LATEST_SECS` it fits
fn whole_ms(secs: u64, ms: u32) -> i64 {
    (secs.min(LATEST_SECS) * 1_000 + u64::from(ms)) as i64
}
