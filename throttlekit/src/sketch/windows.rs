//! Sketches of the parts of a window.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Accuracy;
use super::cells::Cells;
use super::hash::{Columns, Mark};
use crate::math::window_start;

/// A stretch of time that one sketch counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part {
    /// Its start, or an instant in it.
    pub(super) start_ms: f64,
    /// Its end, which is not in it.
    pub(super) end_ms: f64,
}

impl Part {
    /// The part of `now_ms` among those of `length_ms` that are aligned to the epoch.
    pub(super) fn of(now_ms: f64, length_ms: f64) -> Self {
        let start_ms = window_start(now_ms, length_ms);
        Self { start_ms, end_ms: start_ms + length_ms }
    }
}

/// What was admitted in the current part and in those before it that still count.
pub(super) struct Windows {
    /// A sketch for each part, the current one first. There is at least one.
    sketches: Box<[Cells]>,
    current: Part,
    conservative: bool,
}

impl Windows {
    /// Counts in `parts` parts, 1 at least.
    pub(super) fn new(accuracy: Accuracy, parts: usize, conservative: bool) -> Self {
        let sketches = (0..parts.max(1)).map(|_| Cells::new(accuracy)).collect();
        Self { sketches, current: NEVER, conservative }
    }

    /// Goes on to the part of `now_ms`, if that is a later one.
    #[inline]
    pub(super) fn enter(&mut self, now_ms: f64, part: impl FnOnce(f64) -> Part) {
        if now_ms >= self.current.end_ms {
            self.turn(part(now_ms));
        }
    }

    #[cold]
    fn turn(&mut self, part: Part) {
        // A part shorter than the steps of `f64` may seem over already.
        if part.end_ms <= self.current.end_ms {
            return;
        }
        let passed = ((part.start_ms - self.current.start_ms) / (part.end_ms - part.start_ms)).round();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and is 0 for NaN
        let passed = (passed as usize).clamp(1, self.sketches.len());
        self.sketches.rotate_right(passed);
        self.sketches[..passed].iter_mut().for_each(Cells::clear);
        self.current = part;
    }

    /// What was admitted of a key, at least.
    #[inline]
    pub(super) fn estimate(&self, columns: &Columns, mark: Mark<'_>) -> u64 {
        self.sketches.iter().map(|sketch| u64::from(sketch.estimate(columns, mark))).sum()
    }

    /// Counts in the current part.
    #[inline]
    pub(super) fn add(&mut self, columns: &Columns, mark: Mark<'_>, count: u64) {
        let Some(sketch) = self.sketches.first_mut() else { return };
        if self.conservative {
            sketch.add_conservative(columns, mark, count);
        } else {
            sketch.add(columns, mark, count);
        }
    }

    /// About what a key shows of which nothing was admitted; on average it is less.
    pub(super) fn noise(&self) -> f64 {
        self.sketches.iter().map(Cells::mean).sum()
    }

    /// When the current part ends.
    pub(super) fn end_ms(&self) -> f64 {
        self.current.end_ms
    }

    fn part_ms(&self) -> f64 {
        self.current.end_ms - self.current.start_ms
    }

    /// When all that is counted now counts no more.
    #[allow(clippy::cast_precision_loss)] // a few parts
    pub(super) fn forgotten_ms(&self) -> f64 {
        // A single part may have come without its length.
        let later = self.sketches.len() - 1;
        if later == 0 { self.end_ms() } else { self.end_ms() + later as f64 * self.part_ms() }
    }

    /// When `cost` units fit below `limit`, if nothing is admitted until then.
    #[cold]
    pub(super) fn room_ms(&self, columns: &Columns, mark: Mark<'_>, cost: f64, limit: f64) -> f64 {
        let mut left = self.estimate(columns, mark);
        let mut at_ms = self.end_ms();
        for sketch in self.sketches.iter().rev() {
            left -= u64::from(sketch.estimate(columns, mark));
            #[allow(clippy::cast_precision_loss)] // a few times 2^32
            if left as f64 + cost <= limit {
                return at_ms;
            }
            at_ms += self.part_ms();
        }
        self.forgotten_ms()
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.sketches.iter_mut().for_each(Cells::clear);
        self.current = NEVER;
    }
}

/// Before all parts.
const NEVER: Part = Part { start_ms: f64::NEG_INFINITY, end_ms: f64::NEG_INFINITY };

/// Locks a shard. No code of the user's runs under the lock but the steps of a strategy, which change nothing of it.
#[inline]
pub(super) fn lock(windows: &Mutex<Windows>) -> MutexGuard<'_, Windows> {
    windows.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{Accuracy, Columns, Part, Windows};
    use crate::sketch::SketchHash;

    #[test]
    fn parts_are_left_one_by_one() {
        let accuracy = Accuracy::default();
        let columns = Columns::new(SketchHash::Keyed([1, 2]), accuracy);
        let mark = columns.mark("k");
        let mut windows = Windows::new(accuracy, 3, true);
        let mut at = |now_ms: f64, add: u64| {
            windows.enter(now_ms, |now_ms| Part::of(now_ms, 500.0));
            windows.add(&columns, mark, add);
            windows.estimate(&columns, mark)
        };
        assert_eq!(at(0.0, 1), 1);
        assert_eq!(at(500.0, 2), 3);
        assert_eq!(at(1_499.0, 4), 7);
        assert_eq!(at(1_500.0, 0), 6);
        assert_eq!(at(1_400.0, 0), 6);
        assert_eq!(at(2_600.0, 0), 0);
        assert_eq!(at(1e12, 3), 3);
        assert_eq!(at(1e12 + 1_499.0, 0), 3);
        assert_eq!(at(1e12 + 1_500.0, 0), 0);
    }
}
