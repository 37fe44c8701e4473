//! How many requests were denied by what, in the current window.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{Clock, SystemClock};
use crate::error::BuildError;
use crate::observe::window::{self, Window};
use crate::observe::{AdmissionEvent, Lane};

/// Counts what a [`Tap`](super::Tap) shows, in windows that are aligned to the Unix epoch. When a window begins, also one in
/// the past because a clock was set back, all counts begin at 0.
///
/// A clone is a handle to the same counts.
pub struct LaneCounts<C = SystemClock> {
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    window_ms: f64,
    clock: C,
    counts: Mutex<Counts>,
}

#[derive(Clone, Copy, Debug)]
struct Counts {
    window: Window,
    allowed: u64,
    /// In the order of [`Lane::ALL`].
    denied_by: [u64; 4],
}

impl Counts {
    fn new(window_ms: f64) -> Self {
        Self { window: Window::new(window_ms), allowed: 0, denied_by: [0; 4] }
    }
}

/// What was counted in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct LaneSnapshot {
    /// When it began, in milliseconds since the Unix epoch.
    pub window_started_at_ms: f64,
    /// Its length in milliseconds.
    pub window_ms: f64,
    /// Requests that were allowed.
    pub allowed: u64,
    /// Requests that were denied.
    pub denied: u64,
    denied_by: [u64; 4],
}

impl LaneSnapshot {
    /// How many of the denied requests `lane` denied. All lanes together denied all of them.
    pub fn denied_by(&self, lane: Lane) -> u64 {
        self.denied_by[lane as usize]
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        self.allowed + self.denied
    }

    /// The denied part of all requests; 0 if there was none.
    #[allow(clippy::cast_precision_loss)] // a ratio
    pub fn deny_rate(&self) -> f64 {
        if self.total() == 0 { 0.0 } else { self.denied as f64 / self.total() as f64 }
    }
}

impl LaneCounts {
    /// Counts in windows of `window_ms` milliseconds, above 0.
    ///
    /// # Errors
    ///
    /// `laneCounts.windowMs` if it is not a finite number above 0.
    pub fn new(window_ms: f64) -> Result<Self, BuildError> {
        Self::with_clock(window_ms, SystemClock::new())
    }
}

impl<C: Clock> LaneCounts<C> {
    /// As [`new`](LaneCounts::new), with a clock of your own.
    ///
    /// # Errors
    ///
    /// As [`new`](LaneCounts::new).
    pub fn with_clock(window_ms: f64, clock: C) -> Result<Self, BuildError> {
        let window_ms = window::validate("laneCounts.windowMs", window_ms)?;
        Ok(Self { shared: Arc::new(Shared { window_ms, clock, counts: Mutex::new(Counts::new(window_ms)) }) })
    }

    /// Counts a request.
    pub fn record(&self, event: &AdmissionEvent<'_>) {
        let mut counts = self.current();
        match event.lane() {
            None => counts.allowed += 1,
            Some(lane) => counts.denied_by[lane as usize] += 1,
        }
    }

    /// What was counted in the window of now.
    pub fn snapshot(&self) -> LaneSnapshot {
        let Counts { window, allowed, denied_by } = *self.current();
        LaneSnapshot {
            window_started_at_ms: window.start_ms(),
            window_ms: self.shared.window_ms,
            allowed,
            denied: denied_by.iter().sum(),
            denied_by,
        }
    }

    /// Begins at 0 again. No limit is touched.
    pub fn reset(&self) {
        *self.counts() = Counts::new(self.shared.window_ms);
    }

    /// The counts of the window of now.
    fn current(&self) -> MutexGuard<'_, Counts> {
        let now_ms = self.shared.clock.now_ms();
        let mut counts = self.counts();
        if counts.window.roll(now_ms) {
            (counts.allowed, counts.denied_by) = (0, [0; 4]);
        }
        counts
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Each change is one number or all of them.
        self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Clone for LaneCounts<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<C> fmt::Debug for LaneCounts<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneCounts").field("window_ms", &self.shared.window_ms).finish_non_exhaustive()
    }
}
