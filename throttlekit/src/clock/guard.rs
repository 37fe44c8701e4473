//! The guard that keeps a wall clock from stepping back.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A step back of at most this many milliseconds holds the time still until the wall has caught up.
const HOLD_MS: i64 = 20;

/// While the guard is ahead of the wall it runs at 9/10 of real time, so that a tenth of real time pays the lead off.
const RATE_NUMERATOR: u128 = 9;
const RATE_DENOMINATOR: u128 = 10;

/// Nanoseconds in one second.
const NANOS_PER_SEC: u64 = 1_000_000_000;

/// What the guard reads: a wall clock that may step, and a span that never does.
pub(super) trait Source: Send + Sync + 'static {
    /// Whole milliseconds since the Unix epoch, rounded down.
    fn wall_ms(&self) -> i64;

    /// Real time since some fixed moment. Never goes back.
    fn elapsed(&self) -> Duration;
}

/// Whole milliseconds that never go back, whatever the wall does.
///
/// Every value that is handed out goes through `last`, which only ever grows (`fetch_max`), or equals what `last` was.
/// That alone makes the time monotone: if one reading happens before another, the later one sees `last` at the earlier
/// value or above, since accesses to one atomic never go back in its modification order. So `Relaxed` is enough there;
/// no other memory is published through it. What `adjusting` leads to is protected by the mutex; a thread that sees the
/// flag late only follows the wall once more, and `fetch_max` keeps that from going back too.
pub(super) struct Guard<W> {
    source: W,
    last: AtomicI64,
    adjusting: AtomicBool,
    lead: Mutex<Lead>,
}

/// The line that the time follows while the wall is behind it.
#[derive(Clone, Copy, Debug)]
struct Lead {
    from_ms: i64,
    since: Duration,
}

impl Lead {
    fn at(self, elapsed: Duration) -> i64 {
        let run = elapsed.saturating_sub(self.since).as_nanos() * RATE_NUMERATOR / RATE_DENOMINATOR / 1_000_000;
        self.from_ms.saturating_add(i64::try_from(run).unwrap_or(i64::MAX))
    }
}

impl<W: Source> Guard<W> {
    pub(super) fn new(source: W) -> Self {
        let now_ms = source.wall_ms();
        Self {
            source,
            last: AtomicI64::new(now_ms),
            adjusting: AtomicBool::new(false),
            lead: Mutex::new(Lead { from_ms: now_ms, since: Duration::ZERO }),
        }
    }

    /// The guarded time. Writes nothing while the millisecond stays the same, so threads share the cache line.
    #[inline]
    pub(super) fn now_ms(&self) -> i64 {
        let wall = self.source.wall_ms();
        let last = self.last.load(Ordering::Relaxed);
        // An ordered load of the flag buys nothing: see the type.
        if self.adjusting.load(Ordering::Relaxed) {
            return self.adjusted();
        }
        if wall > last {
            return self.advance(wall);
        }
        if last.saturating_sub(wall) <= HOLD_MS {
            return last;
        }
        self.adjusted()
    }

    /// Real time since the clock was made, in nanoseconds: over five hundred years fit.
    #[inline]
    pub(super) fn elapsed_ns(&self) -> u64 {
        let elapsed = self.source.elapsed();
        elapsed.as_secs().saturating_mul(NANOS_PER_SEC).saturating_add(u64::from(elapsed.subsec_nanos()))
    }

    /// Moves `last` up to `ms`, and answers what it then is.
    fn advance(&self, ms: i64) -> i64 {
        self.last.fetch_max(ms, Ordering::Relaxed).max(ms)
    }

    /// The time while the wall is, or was until now, further back than can be held still.
    #[cold]
    fn adjusted(&self) -> i64 {
        // A panic cannot leave the two numbers half written.
        let mut lead = self.lead.lock().unwrap_or_else(PoisonError::into_inner);
        // Read again inside the lock: another thread may have been here since.
        let wall = self.source.wall_ms();
        let elapsed = self.source.elapsed();
        let last = self.last.load(Ordering::Relaxed);
        let line = lead.at(elapsed);
        let adjusting = self.adjusting.load(Ordering::Relaxed);
        if wall >= last && (!adjusting || wall >= line) {
            self.adjusting.store(false, Ordering::Relaxed);
            return self.advance(wall);
        }
        if !adjusting && last.saturating_sub(wall) <= HOLD_MS {
            return last;
        }
        // A new step; or a thread that was held up since before the step put `last` above the line: without a new start
        // the time would stand still until the line got there.
        if !adjusting || last > line {
            *lead = Lead { from_ms: last, since: elapsed };
            self.adjusting.store(true, Ordering::Relaxed);
            return last;
        }
        self.advance(line)
    }
}

impl<W> fmt::Debug for Guard<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("last_ms", &self.last.load(Ordering::Relaxed))
            .field("adjusting", &self.adjusting.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
