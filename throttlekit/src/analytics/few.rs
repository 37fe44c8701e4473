//! A few counters, whose tags are compared all at once.

use super::rank::{Rank, renumber};

/// Counters of few keys. To look at all of them takes the same steps whichever is meant: where keys come and go and counts
/// are close, a processor would guess wrongly in each step of a search.
///
/// The least one is mostly known without a look. A counter is fresh while nothing was added since a key took it. Fresh ones
/// stand in a queue, the least first: who comes in later has a greater count, or an equal one and a later arrival.
#[derive(Clone)]
pub(super) struct Few {
    len: usize,
    /// Of each fingerprint the low byte: all are compared in a few instructions.
    tags: [u8; Self::MOST],
    fingerprints: [u64; Self::MOST],
    /// [`Rank::NONE`] where there is no counter.
    ranks: [Rank; Self::MOST],
    fresh: Queue,
    /// No fresh counter has a greater count.
    newest: f64,
    /// At most the rank of each counter that is not fresh. Counts only grow, so it may be out of date.
    bound: Rank,
}

impl Few {
    /// As many counters it can hold.
    pub(super) const MOST: usize = 16;

    pub(super) fn new() -> Self {
        Self {
            len: 0,
            tags: [0; Self::MOST],
            fingerprints: [0; Self::MOST],
            ranks: [Rank::NONE; Self::MOST],
            fresh: Queue::default(),
            newest: 0.0,
            bound: Rank::NONE,
        }
    }

    /// The slot of a fingerprint.
    #[inline(always)]
    pub(super) fn find(&self, fingerprint: u64) -> Option<usize> {
        let wanted = tag(fingerprint);
        let mut same = u128::from_le_bytes(self.tags.map(|tag| if tag == wanted { 0xff } else { 0 }));
        // Nearly always the one or none.
        while same != 0 {
            let slot = (same.trailing_zeros() / 8) as usize;
            if slot < self.len && self.fingerprints[slot] == fingerprint {
                return Some(slot);
            }
            same &= !(0xff << (8 * slot));
        }
        None
    }

    #[inline]
    pub(super) fn rank(&self, slot: usize) -> Rank {
        self.ranks[slot]
    }

    #[inline]
    pub(super) fn add(&mut self, slot: usize, weight: f64) {
        let rank = self.ranks[slot].plus(weight);
        self.ranks[slot] = rank;
        if self.fresh.holds(slot) {
            self.fresh.remove(slot);
            self.bound = self.bound.lesser(rank);
        }
    }

    /// Gives a fingerprint a new counter, in the next slot. There are fewer than [`MOST`](Self::MOST).
    pub(super) fn enter(&mut self, fingerprint: u64, weight: f64, arrival: u64) {
        let slot = self.len;
        self.len += 1;
        self.put(slot, fingerprint, Rank::new(weight, arrival, slot));
        self.queue(slot);
    }

    /// Gives a fingerprint the least counter; answers its slot, and what it had counted. There is one.
    #[inline]
    pub(super) fn replace(&mut self, fingerprint: u64, weight: f64, arrival: u64) -> (usize, f64) {
        let first = self.fresh.first();
        let count = self.ranks[first].count();
        let newest = count + weight;
        if self.fresh.len > 0 && self.ranks[first] < self.bound && newest >= self.newest {
            self.put(first, fingerprint, Rank::new(newest, arrival, first));
            self.newest = newest;
            self.fresh.rotate();
            return (first, count);
        }
        self.replace_any(fingerprint, weight, arrival)
    }

    /// As [`replace`](Self::replace), where the first in the queue is not known to be the least, or does not become the last.
    fn replace_any(&mut self, fingerprint: u64, weight: f64, arrival: u64) -> (usize, f64) {
        let fresh = if self.fresh.len > 0 { self.ranks[self.fresh.first()] } else { Rank::NONE };
        let (stale, next) = self.least_stale();
        // Of no counter it would be a slot that is none.
        let least = fresh.lesser(stale);
        let (slot, count) = (least.slot() % Self::MOST, least.count());
        if fresh < stale {
            self.fresh.remove(slot);
            self.bound = stale;
        } else {
            self.bound = next;
        }
        self.put(slot, fingerprint, Rank::new(count + weight, arrival, slot));
        self.queue(slot);
        (slot, count)
    }

    #[inline]
    fn put(&mut self, slot: usize, fingerprint: u64, rank: Rank) {
        self.tags[slot] = tag(fingerprint);
        self.fingerprints[slot] = fingerprint;
        self.ranks[slot] = rank;
    }

    /// Puts a counter that a key has just taken at the end of the queue, unless others there count more, which takes weights
    /// that differ.
    fn queue(&mut self, slot: usize) {
        let rank = self.ranks[slot];
        if rank.count() >= self.newest {
            self.newest = rank.count();
            self.fresh.push(slot);
        } else {
            self.bound = self.bound.lesser(rank);
        }
    }

    /// The least two of the counters that are not fresh; [`Rank::NONE`] for each that there is not.
    fn least_stale(&self) -> (Rank, Rank) {
        let (mut least, mut next) = (Rank::NONE, Rank::NONE);
        let mut stale = !u32::from(self.fresh.members) & ((1 << self.len) - 1);
        while stale != 0 {
            let rank = self.ranks[stale.trailing_zeros() as usize % Self::MOST];
            next = next.lesser(least.greater(rank));
            least = least.lesser(rank);
            stale &= stale - 1;
        }
        (least, next)
    }

    /// The least counter; [`Rank::NONE`] if there is none.
    pub(super) fn least(&self) -> Rank {
        self.ranks().iter().copied().fold(Rank::NONE, Rank::lesser)
    }

    /// In the order of their slots.
    pub(super) fn ranks(&self) -> &[Rank] {
        &self.ranks[..self.len]
    }

    pub(super) fn renumber(&mut self) -> u64 {
        let arrivals = renumber(&mut self.ranks[..self.len]);
        (self.bound, _) = self.least_stale();
        arrivals
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // a part of it
fn tag(fingerprint: u64) -> u8 {
    fingerprint as u8
}

/// A queue of slots, four bits each, the first one lowest. 0 follows the last one.
#[derive(Clone, Copy, Default)]
struct Queue {
    slots: u64,
    len: u32,
    /// A bit for each slot that is in it.
    members: u16,
}

impl Queue {
    #[inline]
    fn holds(self, slot: usize) -> bool {
        self.members >> (slot % Few::MOST) & 1 == 1
    }

    /// If it is empty, any slot.
    #[inline]
    fn first(self) -> usize {
        (self.slots & 0xf) as usize
    }

    /// `slot` is not in it.
    fn push(&mut self, slot: usize) {
        self.slots |= (slot as u64) << (4 * self.len % u64::BITS);
        self.len += 1;
        self.members |= 1 << (slot % Few::MOST);
    }

    /// Puts the first to the end. There is one.
    #[inline]
    fn rotate(&mut self) {
        let end = 4 * self.len.wrapping_sub(1) % u64::BITS;
        self.slots = self.slots >> 4 | (self.slots & 0xf) << end;
    }

    /// `slot` is in it.
    #[inline]
    fn remove(&mut self, slot: usize) {
        const ONES: u64 = 0x1111_1111_1111_1111;
        // The lowest four bits that are 0 are its place. Only above them a borrow may show others.
        let differs = self.slots ^ ((slot as u64) * ONES);
        let place = (differs.wrapping_sub(ONES) & !differs & (ONES << 3)).trailing_zeros() / 4 * 4;
        let before = (1_u64 << (place % u64::BITS)) - 1;
        self.slots = self.slots & before | self.slots >> 4 & !before;
        self.len = self.len.wrapping_sub(1);
        self.members &= !(1 << (slot % Few::MOST));
    }
}
