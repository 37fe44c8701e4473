//! The counters of one sketch.

use super::Accuracy;
use super::hash::{Columns, Mark};

/// As many rows are updated without finding the counters twice.
const FEW_ROWS: usize = 8;

/// Rows of counters that saturate, one after the other.
#[derive(Clone)]
pub(super) struct Cells {
    counters: Box<[u32]>,
    /// The sum of what was added.
    total: u64,
    /// By how much conservative updates raised all counters.
    raised: u64,
}

impl Cells {
    pub(super) fn new(accuracy: Accuracy) -> Self {
        Self { counters: vec![0; accuracy.counters()].into(), total: 0, raised: 0 }
    }

    pub(super) fn counters(&self) -> &[u32] {
        &self.counters
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The mean of all counters after conservative updates alone: about what a key shows that was never added, and more
    /// than that on average.
    #[allow(clippy::cast_precision_loss)] // an average
    pub(super) fn mean(&self) -> f64 {
        self.raised as f64 / self.counters.len() as f64
    }

    #[inline(always)]
    pub(super) fn estimate(&self, columns: &Columns, mark: Mark<'_>) -> u32 {
        let counters = &*self.counters;
        let mut least = u32::MAX;
        columns.each(mark, |place| least = least.min(counters[place]));
        least
    }

    /// Counts `count` in the total; what of it a counter can take.
    #[inline(always)]
    fn count(&mut self, count: u64) -> u32 {
        self.total = self.total.saturating_add(count);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Adds to every counter of the key; the least of them then.
    #[inline(always)]
    pub(super) fn add(&mut self, columns: &Columns, mark: Mark<'_>, count: u64) -> u32 {
        let count = self.count(count);
        let counters = &mut *self.counters;
        let mut least = u32::MAX;
        columns.each(mark, |place| {
            let counter = &mut counters[place];
            *counter = counter.saturating_add(count);
            least = least.min(*counter);
        });
        least
    }

    /// Raises the counters of the key to its estimate and `count`, those that are above it excepted: no key needs more
    /// (Estan and Varghese, 2002).
    #[inline(always)]
    pub(super) fn add_conservative(&mut self, columns: &Columns, mark: Mark<'_>, count: u64) -> u32 {
        let count = self.count(count);
        // In variables of their own, so that a store to a counter is known not to change them.
        let counters = &mut *self.counters;
        // What the first look has found, as far as there is room, so that the second one need not look for it again.
        let mut found = [(0, 0); FEW_ROWS];
        let (mut rows, mut least) = (0, u32::MAX);
        columns.each(mark, |place| {
            let counter = counters[place];
            least = least.min(counter);
            if let Some(row) = found.get_mut(rows) {
                *row = (place, counter);
            }
            rows += 1;
        });
        let target = least.saturating_add(count);
        let mut raised = 0;
        // No comparison, whose outcome a processor could not guess.
        let mut raise = |counter: &mut u32, was: u32| {
            let lacks = target.saturating_sub(was);
            *counter = was + lacks;
            raised += u64::from(lacks);
        };
        match found.get(..rows) {
            // A place is in a row of its own: no other one has changed it meanwhile.
            Some(found) => found.iter().for_each(|(place, was)| raise(&mut counters[*place], *was)),
            None => columns.each(mark, |place| {
                let was = counters[place];
                raise(&mut counters[place], was);
            }),
        }
        self.raised += raised;
        target
    }

    /// Adds the counters of another sketch of the same size.
    pub(super) fn merge(&mut self, counters: impl Iterator<Item = u32>, total: u64) {
        self.total = self.total.saturating_add(total);
        for (counter, other) in self.counters.iter_mut().zip(counters) {
            *counter = counter.saturating_add(other);
        }
    }

    pub(super) fn clear(&mut self) {
        self.counters.fill(0);
        (self.total, self.raised) = (0, 0);
    }
}

impl PartialEq for Cells {
    /// What a sketch counted, not how it came to that.
    fn eq(&self, other: &Self) -> bool {
        (self.total, &self.counters) == (other.total, &other.counters)
    }
}
