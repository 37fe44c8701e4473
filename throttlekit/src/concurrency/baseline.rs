//! The least latency of the last samples.

use std::collections::VecDeque;

/// The longest window that keeps each of its samples. Longer ones keep those that matter only, which are few.
const KEPT: usize = 1_024;
/// Room made in advance; what needs more grows as it fills.
const ROOM: usize = 128;

/// The minimum of the last `window` samples.
#[derive(Debug)]
pub(super) enum WindowedMin {
    Short(Blocks),
    Long(Rising),
}

impl WindowedMin {
    /// A window of 0 keeps the last sample alone.
    pub(super) fn new(window: u64) -> Self {
        match usize::try_from(window) {
            Ok(window) if window <= KEPT => Self::Short(Blocks::new(window.max(1))),
            _ => Self::Long(Rising::new(window)),
        }
    }

    /// Adds a sample and answers the minimum.
    #[inline]
    pub(super) fn push(&mut self, value: f64) -> f64 {
        match self {
            Self::Short(blocks) => blocks.push(value),
            Self::Long(rising) => rising.push(value),
        }
    }

    /// Forgets all samples but `value`.
    pub(super) fn restart(&mut self, value: f64) {
        match self {
            Self::Short(blocks) => blocks.clear(),
            Self::Long(rising) => rising.samples.clear(),
        }
        self.push(value);
    }
}

/// Samples in blocks of the length of the window, so that a window is the end of one block and the beginning of the next.
///
/// Whichever latencies come, a sample takes the same steps: a processor does not guess wrongly. When a block is full, the
/// minima of all its ends are worked out at once.
#[derive(Debug)]
pub(super) struct Blocks {
    window: usize,
    /// Below `at` the samples of this block. From there on the minima of the ends of the block before, each from its place.
    places: Vec<f64>,
    at: usize,
    /// The minimum of this block.
    least: f64,
}

impl Blocks {
    fn new(window: usize) -> Self {
        Self { window, places: Vec::with_capacity(window.min(ROOM)), at: 0, least: f64::INFINITY }
    }

    #[inline]
    fn push(&mut self, value: f64) -> f64 {
        self.least = lesser(value, self.least);
        match self.places.get_mut(self.at) {
            Some(place) => *place = value,
            None => self.places.push(value),
        }
        self.at += 1;
        let before = self.places.get(self.at).copied().unwrap_or(f64::INFINITY);
        let least = lesser(before, self.least);
        if self.at == self.window {
            self.turn();
        }
        least
    }

    /// Begins the next block.
    fn turn(&mut self) {
        let mut least = f64::INFINITY;
        for place in self.places.iter_mut().rev() {
            least = lesser(*place, least);
            *place = least;
        }
        self.at = 0;
        self.least = f64::INFINITY;
    }

    fn clear(&mut self) {
        self.places.clear();
        self.at = 0;
        self.least = f64::INFINITY;
    }
}

/// The samples that can still become the minimum: with rising number and rising value. The first is the minimum. Each takes
/// constant time on average.
#[derive(Debug)]
pub(super) struct Rising {
    window: u64,
    next: u64,
    samples: VecDeque<(u64, f64)>,
}

impl Rising {
    fn new(window: u64) -> Self {
        Self { window, next: 0, samples: VecDeque::with_capacity(ROOM) }
    }

    fn push(&mut self, value: f64) -> f64 {
        let number = self.next;
        self.next += 1;
        // One sample came in, so at most one goes.
        if self.samples.front().is_some_and(|(oldest, _)| oldest.saturating_add(self.window) <= number) {
            self.samples.pop_front();
        }
        while self.samples.back().is_some_and(|(_, last)| *last >= value) {
            self.samples.pop_back();
        }
        self.samples.push_back((number, value));
        self.samples.front().map_or(value, |(_, least)| *least)
    }
}

/// The lesser of two numbers; one instruction.
#[inline(always)]
fn lesser(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::{Blocks, Rising, WindowedMin};

    /// By looking at each sample of each window.
    fn slow(samples: &[f64], window: usize) -> Vec<f64> {
        let least =
            |end: usize| samples[(end + 1).saturating_sub(window)..=end].iter().copied().fold(f64::INFINITY, f64::min);
        (0..samples.len()).map(least).collect()
    }

    #[test]
    fn both_are_the_minimum_of_the_window() {
        let samples: Vec<f64> = (0..600_u32)
            .map(|number| f64::from(number.wrapping_mul(2_654_435_761) >> 24) + f64::from(number / 100))
            .collect();
        for window in [1, 2, 3, 7, 100, 128, 129, 599, 600, 1_000] {
            let expected = slow(&samples, window);
            let mut blocks = Blocks::new(window);
            let found: Vec<f64> = samples.iter().map(|sample| blocks.push(*sample)).collect();
            assert_eq!(found, expected, "blocks of {window}");
            let mut rising = Rising::new(window as u64);
            let found: Vec<f64> = samples.iter().map(|sample| rising.push(*sample)).collect();
            assert_eq!(found, expected, "rising, of {window}");
        }
    }

    #[test]
    fn a_restart_keeps_one_sample() {
        for (window, expected) in [
            (0, [10.0, 11.0, 12.0]),
            (1, [10.0, 11.0, 12.0]),
            (3, [9.0, 9.0, 10.0]),
            (100, [9.0, 9.0, 9.0]),
            (100_000, [9.0, 9.0, 9.0]),
        ] {
            let mut least = WindowedMin::new(window);
            for sample in [1.0, 2.0, 3.0, 4.0, 5.0] {
                least.push(sample);
            }
            least.restart(9.0);
            assert_eq!([10.0, 11.0, 12.0].map(|sample| least.push(sample)), expected, "window {window}");
        }
    }
}
