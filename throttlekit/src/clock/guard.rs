//! The guard that keeps a wall clock from stepping back.

use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;

use super::stopwatch::Stopwatch;
use super::sync::{AtomicBool, AtomicI64, AtomicU64, Mutex, Ordering};

/// A step back of at most this many milliseconds holds the time still until the wall has caught up.
const HOLD_MS: i64 = 20;

/// While the guard is ahead of the wall it runs at 9/10 of real time, so that a tenth of real time pays the lead off.
const RATE_NUMERATOR: u128 = 9;
const RATE_DENOMINATOR: u128 = 10;

/// A reading of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wall {
    /// Whole milliseconds since the Unix epoch, rounded down.
    pub(super) ms: i64,
    /// For how long the millisecond lasts, by the count of [`Source::ticks`]; 0 if it has to be read again.
    pub(super) lasts: u64,
}

/// What the guard reads: a wall clock that may step, and a span that never does.
pub(super) trait Source: Send + Sync + 'static {
    /// The wall clock.
    fn wall(&self) -> Wall;

    /// A count that is cheaper to read than the wall clock. It runs evenly for a millisecond; beyond that it may do
    /// anything. 0 if there is none.
    fn ticks(&self) -> u64;

    /// No millisecond lasts longer than this, in ticks; 0 if there are none.
    fn ticks_per_ms(&self) -> u64;

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
///
/// Most readings do not ask the wall at all: while the cheap count of the source says that the millisecond of the last
/// reading has not ended, `last` is the time. Whoever sees `until` also sees the `last` that it belongs to, or a later
/// one. A count that jumps, either way, leads out of the span that a millisecond can last, and so back to the wall.
pub(super) struct Guard<W> {
    source: W,
    last: AtomicI64,
    /// The count at which `last` is over.
    until: AtomicU64,
    adjusting: AtomicBool,
    lead: Mutex<Lead>,
    stopwatch: Stopwatch,
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
        let ticks = source.ticks();
        let Wall { ms: now_ms, lasts } = source.wall();
        Self {
            source,
            last: AtomicI64::new(now_ms),
            until: AtomicU64::new(ticks.wrapping_add(lasts)),
            adjusting: AtomicBool::new(false),
            lead: Mutex::new(Lead { from_ms: now_ms, since: Duration::ZERO }),
            stopwatch: Stopwatch::new(),
        }
    }

    /// The guarded time. Writes nothing while the millisecond stays the same, so threads share the cache line.
    #[inline]
    pub(super) fn now_ms(&self) -> i64 {
        let ticks = self.source.ticks();
        if self.until.load(Ordering::Acquire).wrapping_sub(ticks).wrapping_sub(1) < self.source.ticks_per_ms() {
            return self.last.load(Ordering::Relaxed);
        }
        self.read(ticks)
    }

    /// The guarded time, by the wall. `ticks` were counted before: the millisecond may seem to end early, never late.
    fn read(&self, ticks: u64) -> i64 {
        let wall = self.source.wall();
        let last = self.last.load(Ordering::Relaxed);
        // An ordered load of the flag buys nothing: see the type.
        if self.adjusting.load(Ordering::Relaxed) {
            return self.adjusted();
        }
        if wall.ms >= last {
            let now = self.advance(wall.ms);
            if wall.lasts > 0 {
                self.until.store(ticks.wrapping_add(wall.lasts), Ordering::Release);
            }
            return now;
        }
        if last.saturating_sub(wall.ms) <= HOLD_MS {
            return last;
        }
        self.adjusted()
    }

    /// Real time since the clock was made, in nanoseconds.
    #[inline]
    pub(super) fn elapsed_ns(&self) -> u64 {
        self.stopwatch.ns(&self.source)
    }

    /// Moves `last` up to `ms`, and answers what it then is.
    fn advance(&self, ms: i64) -> i64 {
        let last = self.last.load(Ordering::Relaxed);
        // Without a cheap count this is every reading, and a write takes the line from all other threads.
        if ms <= last { last } else { self.last.fetch_max(ms, Ordering::Relaxed).max(ms) }
    }

    /// The time while the wall is, or was until now, further back than can be held still.
    #[cold]
    fn adjusted(&self) -> i64 {
        // A panic cannot leave the two numbers half written.
        let mut lead = self.lead.lock().unwrap_or_else(PoisonError::into_inner);
        // Read again inside the lock: another thread may have been here since.
        let wall = self.source.wall().ms;
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
