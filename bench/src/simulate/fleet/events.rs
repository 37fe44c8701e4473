//! What happens when.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A request to the store, and what it brings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trip {
    pub(super) node: usize,
    pub(super) asked_ms: f64,
    pub(super) lands_ms: f64,
    /// Units granted. None before the store has seen the request.
    pub(super) granted: u64,
    /// The window that pays.
    pub(super) window: usize,
    /// How long the store said that this window goes on.
    pub(super) left_ms: f64,
}

/// In the order in which events of one moment happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Roll,
    CutStart,
    CutEnd,
    /// The store takes the units and the answer lands at once.
    Grant(Trip),
    /// The store takes the units.
    Debit(Trip),
    /// The answer lands.
    Land(Trip),
    /// The node waits no longer.
    GiveUp(usize, u64),
    Arrival(usize),
}

impl Event {
    fn rank(self) -> u8 {
        match self {
            Self::Roll => 0,
            Self::CutStart => 1,
            Self::CutEnd => 2,
            Self::Grant(_) | Self::Debit(_) | Self::Land(_) => 3,
            Self::GiveUp(..) => 4,
            Self::Arrival(_) => 5,
        }
    }
}

/// Events by time, kind and order of insertion.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    inserted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at_ms: f64,
    event: Event,
    number: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at_ms: f64, event: Event) {
        self.heap.push(Reverse(Entry { at_ms, event, number: self.inserted }));
        self.inserted += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(f64, Event)> {
        self.heap.pop().map(|Reverse(entry)| (entry.at_ms, entry.event))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        let times = self.at_ms.total_cmp(&other.at_ms);
        times.then(self.event.rank().cmp(&other.event.rank())).then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}
