//! The precise clock of the operating system.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Clock;
use super::guard::{Guard, Source, Wall};
use super::ticks::Ticks;

/// The wall clock of the operating system, kept from stepping back. The default clock.
///
/// Whole milliseconds, rounded down. The operating system is asked once in a millisecond; until that has passed by the
/// processor's time stamp counter, a reading is one of the counter and two loads. Without the feature `tsc`, or where the
/// counter does not run evenly, each reading asks the operating system. A write only when the millisecond changes.
///
/// When the wall clock steps, which is noticed within a millisecond:
///
/// - Forward steps are followed at once.
/// - After a step back of up to 20 ms the time stands still until the wall has caught up.
/// - After a larger step back it goes on from where it was, at nine tenths of real time, until the wall has caught up.
///   So it is never frozen for the length of the step: after a step back of an hour it is right again ten hours later,
///   and a limit of 100 per minute lets 90 through in the meantime. A forward step in that time shortens it.
///
/// A time that is read after another is never less, across threads, for all clones of one value. Two values made by
/// [`new`](Self::new) guard themselves apart, and may differ after a step; give limiters that must agree clones of one.
/// The guard does not outlive the process: a new process starts at the wall.
///
/// [`monotonic_ns`](Clock::monotonic_ns) goes by the counter likewise, and asks the monotonic clock of the operating system
/// eight times in a millisecond: so it runs as fast as that, and does not count while the machine sleeps. It never goes back
/// on one thread. A processor reads its counter somewhat before what is next in line, to wait for nothing, so what one
/// thread reads after another thread may be less than what that one read, by less than a microsecond; measured are 0.4.
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
    ///
    /// The first one of a process measures how fast the counter runs: usually some milliseconds, at most 200. So does a
    /// builder that starts with this clock, also if it is given another one.
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
    ticks: Ticks,
}

impl SystemSource {
    #[allow(clippy::disallowed_methods)] // this is the clock module
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), ticks: Ticks::new() }
    }
}

impl Source for SystemSource {
    #[allow(clippy::disallowed_methods)] // this is the clock module
    fn wall(&self) -> Wall {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => {
                let left_ns = NANOS_PER_MS - since.subsec_nanos() % NANOS_PER_MS;
                let lasts = self.ticks.per_ms() * u64::from(left_ns) / u64::from(NANOS_PER_MS);
                Wall { ms: whole_ms(since.as_secs(), since.subsec_millis()), lasts }
            }
            // Before 1970. Rounding down means away from zero here.
            Err(before) => {
                let before = before.duration();
                let ms = -whole_ms(before.as_secs(), before.subsec_nanos().div_ceil(NANOS_PER_MS));
                Wall { ms, lasts: 0 }
            }
        }
    }

    #[inline]
    fn ticks(&self) -> u64 {
        self.ticks.now()
    }

    #[inline]
    fn ticks_per_ms(&self) -> u64 {
        self.ticks.per_ms()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Nanoseconds in one millisecond.
const NANOS_PER_MS: u32 = 1_000_000;

/// No clock shows a later second: 292 million years on.
const LATEST_SECS: u64 = i64::MAX as u64 / 1_000 - 1;

#[allow(clippy::cast_possible_wrap)] // below `LATEST_SECS` it fits
fn whole_ms(secs: u64, ms: u32) -> i64 {
    (secs.min(LATEST_SECS) * 1_000 + u64::from(ms)) as i64
}
