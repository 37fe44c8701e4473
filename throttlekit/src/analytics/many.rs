//! Many counters: a heap, least first.

use super::index::{Index, Vacant};
use super::rank::{Rank, renumber};

/// How many counters of the heap are below each. Four are next to each other, so few lines of the cache are read on the way
/// down.
const WIDTH: usize = 4;

/// Counters of many keys. One that is seen often is at the bottom of the heap, where there is no way to go.
#[derive(Clone)]
pub(super) struct Many {
    /// Which slot a fingerprint has.
    slots: Index,
    /// The least one first.
    heap: Vec<Rank>,
    /// By slot.
    places: Vec<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    fingerprint: u64,
    /// Where the counter is in the heap.
    at: usize,
}

impl Many {
    pub(super) fn new() -> Self {
        Self { slots: Index::new(), heap: Vec::new(), places: Vec::new() }
    }

    /// The slot of a fingerprint, or the place that it would take.
    #[inline]
    pub(super) fn find(&self, fingerprint: u64) -> Result<usize, Vacant> {
        self.slots.find(fingerprint)
    }

    pub(super) fn rank(&self, slot: usize) -> Rank {
        self.heap[self.places[slot].at]
    }

    #[inline]
    pub(super) fn add(&mut self, slot: usize, weight: f64) {
        let at = self.places[slot].at;
        self.sink(at, self.heap[at].plus(weight));
    }

    /// Gives a fingerprint a new counter, in the next slot.
    pub(super) fn enter(&mut self, vacant: Vacant, fingerprint: u64, weight: f64, arrival: u64) {
        let slot = self.places.len();
        let rank = Rank::new(weight, arrival, slot);
        self.heap.push(rank);
        self.places.push(Place { fingerprint, at: slot });
        self.slots.insert(vacant, slot);
        self.rise(slot, rank);
    }

    /// Gives a fingerprint the least counter; answers its slot, and what it had counted. There is one.
    #[inline]
    pub(super) fn replace(&mut self, vacant: Vacant, fingerprint: u64, weight: f64, arrival: u64) -> (usize, f64) {
        let (slot, count) = (self.heap[0].slot(), self.heap[0].count());
        let leaves = std::mem::replace(&mut self.places[slot].fingerprint, fingerprint);
        self.slots.exchange(vacant, slot, leaves);
        self.sink(0, Rank::new(count + weight, arrival, slot));
        (slot, count)
    }

    /// The least counter; [`Rank::NONE`] if there is none.
    pub(super) fn least(&self) -> Rank {
        self.heap.first().copied().unwrap_or(Rank::NONE)
    }

    /// In any order.
    pub(super) fn ranks(&self) -> &[Rank] {
        &self.heap
    }

    pub(super) fn renumber(&mut self) -> u64 {
        renumber(&mut self.heap)
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.heap.clear();
        self.places.clear();
    }

    /// Puts a counter at `at`, or further down until none below it is less.
    #[inline]
    fn sink(&mut self, mut at: usize, moved: Rank) {
        loop {
            let first = WIDTH * at + 1;
            let below = self.heap.get(first..).unwrap_or_default();
            let Some(mut least) = below.first().copied() else { break };
            let mut from = first;
            for (place, rank) in (first..first + WIDTH).zip(below).skip(1) {
                let is_less = *rank < least;
                from = if is_less { place } else { from };
                least = least.lesser(*rank);
            }
            if least >= moved {
                break;
            }
            self.put(at, least);
            at = from;
        }
        self.put(at, moved);
    }

    /// Puts a counter at `at`, or further up until none above it is greater.
    fn rise(&mut self, mut at: usize, moved: Rank) {
        while at > 0 {
            let above = (at - 1) / WIDTH;
            let rank = self.heap[above];
            if moved >= rank {
                break;
            }
            self.put(at, rank);
            at = above;
        }
        self.put(at, moved);
    }

    #[inline]
    fn put(&mut self, at: usize, rank: Rank) {
        self.heap[at] = rank;
        self.places[rank.slot()].at = at;
    }
}
