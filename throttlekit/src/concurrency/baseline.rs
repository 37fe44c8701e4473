//! The least latency of the last samples.

use std::collections::VecDeque;

/// Room made in advance; a longer window grows as it fills.
const ROOM: usize = 128;

/// The minimum of the last `window` samples, each in constant time on average.
///
/// Kept are the samples that can still become the minimum: with rising number and rising value. The first is the minimum.
#[derive(Debug)]
pub(super) struct WindowedMin {
    window: u64,
    next: u64,
    rising: VecDeque<(u64, f64)>,
}

impl WindowedMin {
    /// A window of 0 keeps the last sample alone.
    pub(super) fn new(window: u64) -> Self {
        let room = usize::try_from(window).map_or(ROOM, |window| window.saturating_add(1).min(ROOM));
        Self { window, next: 0, rising: VecDeque::with_capacity(room) }
    }

    /// Adds a sample and answers the minimum.
    pub(super) fn push(&mut self, value: f64) -> f64 {
        let number = self.next;
        self.next += 1;
        // One sample came in, so at most one goes.
        if self.rising.front().is_some_and(|(oldest, _)| oldest.saturating_add(self.window) <= number) {
            self.rising.pop_front();
        }
        while self.rising.back().is_some_and(|(_, last)| *last >= value) {
            self.rising.pop_back();
        }
        self.rising.push_back((number, value));
        self.rising.front().map_or(value, |(_, least)| *least)
    }

    /// Forgets all samples but `value`.
    pub(super) fn restart(&mut self, value: f64) {
        self.rising.clear();
        self.rising.push_back((self.next, value));
        self.next += 1;
    }
}
