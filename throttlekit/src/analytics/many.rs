//! Many counters: a queue of those that nothing was added to, and a heap of the others, both least first.

use super::index::{Index, Vacant};
use super::rank::{Rank, renumber};

/// How many counters of the heap are below each. Four are next to each other, so few lines of the cache are read on the way
/// down.
const WIDTH: usize = 4;
/// No slot.
const NONE: u32 = u32::MAX;

/// Counters of many keys. One that is seen often is at the bottom of the heap, where there is no way to go. One that is not
/// seen again is in the queue until its turn, and never in the heap: who comes in later has a greater count, or an equal one
/// and a later arrival.
#[derive(Clone)]
pub(super) struct Many {
    /// Which slot a fingerprint has.
    slots: Index,
    /// By slot.
    ranks: Vec<Rank>,
    /// By slot.
    places: Vec<Place>,
    /// Copies of the ranks of those that are not in the queue, the least one first.
    heap: Vec<Rank>,
    /// The slots at the ends of the queue, or [`NONE`].
    first: u32,
    last: u32,
}

#[derive(Clone, Copy)]
struct Place {
    fingerprint: u64,
    /// Where the counter is in the heap; [`NONE`] if it is in the queue, and then between these two.
    at: u32,
    before: u32,
    after: u32,
}

impl Many {
    pub(super) fn new() -> Self {
        Self { slots: Index::new(), ranks: Vec::new(), places: Vec::new(), heap: Vec::new(), first: NONE, last: NONE }
    }

    /// The slot of a fingerprint, or the place that it would take.
    #[inline]
    pub(super) fn find(&self, fingerprint: u64) -> Result<usize, Vacant> {
        self.slots.find(fingerprint, |slot| self.places[slot].fingerprint == fingerprint)
    }

    pub(super) fn rank(&self, slot: usize) -> Rank {
        self.ranks[slot]
    }

    #[inline]
    pub(super) fn add(&mut self, slot: usize, weight: f64) {
        let rank = self.ranks[slot].plus(weight);
        self.ranks[slot] = rank;
        let at = self.places[slot].at;
        if at == NONE {
            self.unlink(slot);
            self.push(rank);
        } else {
            self.sink(at as usize, rank);
        }
    }

    /// Gives a fingerprint a new counter, in the next slot.
    pub(super) fn enter(&mut self, vacant: Vacant, fingerprint: u64, weight: f64, arrival: u64) {
        let slot = self.places.len();
        let rank = Rank::new(weight, arrival, slot);
        self.ranks.push(rank);
        self.places.push(Place { fingerprint, at: NONE, before: NONE, after: NONE });
        self.slots.insert(vacant, slot);
        self.put(slot, rank);
    }

    /// Gives a fingerprint the least counter; answers its slot, and what it had counted. There is one.
    #[inline]
    pub(super) fn replace(&mut self, vacant: Vacant, fingerprint: u64, weight: f64, arrival: u64) -> (usize, f64) {
        let (fresh, stale) = (self.least_fresh(), self.least_stale());
        let least = fresh.lesser(stale);
        let (slot, count) = (least.slot(), least.count());
        if fresh < stale {
            self.unlink(slot);
        } else {
            self.pop();
        }
        let leaves = std::mem::replace(&mut self.places[slot].fingerprint, fingerprint);
        self.slots.exchange(vacant, slot, leaves);
        let rank = Rank::new(count + weight, arrival, slot);
        self.ranks[slot] = rank;
        self.put(slot, rank);
        (slot, count)
    }

    /// The least counter; [`Rank::NONE`] if there is none.
    pub(super) fn least(&self) -> Rank {
        self.least_fresh().lesser(self.least_stale())
    }

    #[inline]
    fn least_fresh(&self) -> Rank {
        self.ranks.get(self.first as usize).copied().unwrap_or(Rank::NONE)
    }

    #[inline]
    fn least_stale(&self) -> Rank {
        self.heap.first().copied().unwrap_or(Rank::NONE)
    }

    /// In the order of their slots.
    pub(super) fn ranks(&self) -> &[Rank] {
        &self.ranks
    }

    pub(super) fn renumber(&mut self) -> u64 {
        let arrivals = renumber(&mut self.ranks);
        // Which of two is the lesser is as before.
        for rank in &mut self.heap {
            *rank = self.ranks[rank.slot()];
        }
        arrivals
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.ranks.clear();
        self.places.clear();
        self.heap.clear();
        (self.first, self.last) = (NONE, NONE);
    }

    /// Puts a counter where one belongs that a key has just taken.
    #[inline]
    fn put(&mut self, slot: usize, rank: Rank) {
        // Out of order only where weights differ.
        if self.ranks.get(self.last as usize).is_none_or(|last| *last < rank) {
            self.link(slot);
        } else {
            self.push(rank);
        }
    }

    /// Puts a counter at the end of the queue.
    #[inline]
    fn link(&mut self, slot: usize) {
        #[allow(clippy::cast_possible_truncation)] // a slot is below a million
        let this = slot as u32;
        let place = &mut self.places[slot];
        (place.at, place.before, place.after) = (NONE, self.last, NONE);
        match self.places.get_mut(self.last as usize) {
            Some(last) => last.after = this,
            None => self.first = this,
        }
        self.last = this;
    }

    /// Takes a counter out of the queue.
    #[inline]
    fn unlink(&mut self, slot: usize) {
        let Place { before, after, .. } = self.places[slot];
        match self.places.get_mut(before as usize) {
            Some(place) => place.after = after,
            None => self.first = after,
        }
        match self.places.get_mut(after as usize) {
            Some(place) => place.before = before,
            None => self.last = before,
        }
    }

    /// Puts a counter into the heap.
    #[inline]
    fn push(&mut self, rank: Rank) {
        self.heap.push(rank);
        self.rise(self.heap.len() - 1, rank);
    }

    /// Takes the least counter out of the heap.
    fn pop(&mut self) {
        if let Some(moved) = self.heap.pop() {
            if !self.heap.is_empty() {
                self.sink(0, moved);
            }
        }
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
            self.set(at, least);
            at = from;
        }
        self.set(at, moved);
    }

    /// Puts a counter at `at`, or further up until none above it is greater.
    #[inline]
    fn rise(&mut self, mut at: usize, moved: Rank) {
        while at > 0 {
            let above = (at - 1) / WIDTH;
            let rank = self.heap[above];
            if moved >= rank {
                break;
            }
            self.set(at, rank);
            at = above;
        }
        self.set(at, moved);
    }

    #[inline]
    fn set(&mut self, at: usize, rank: Rank) {
        self.heap[at] = rank;
        #[allow(clippy::cast_possible_truncation)] // below a million, as slots are
        let at = at as u32;
        self.places[rank.slot()].at = at;
    }
}
