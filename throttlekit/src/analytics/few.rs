//! A few counters, which are looked at all at once.

use super::rank::{Rank, renumber};

/// Counters of few keys. To look at all of them takes the same steps whichever is meant: where keys come and go and counts
/// are close, a processor would guess wrongly in each step of a search.
#[derive(Clone)]
pub(super) struct Few {
    len: usize,
    /// Of each fingerprint a part: all are compared in a few instructions.
    tags: [u32; Self::MOST],
    fingerprints: [u64; Self::MOST],
    /// [`Rank::NONE`] where there is no counter.
    ranks: [Rank; Self::MOST],
}

/// How many counters are compared side by side.
const LANES: usize = 4;

impl Few {
    /// As many counters it can hold.
    pub(super) const MOST: usize = 16;

    pub(super) fn new() -> Self {
        Self { len: 0, tags: [0; Self::MOST], fingerprints: [0; Self::MOST], ranks: [Rank::NONE; Self::MOST] }
    }

    /// The slot of a fingerprint.
    #[inline]
    pub(super) fn find(&self, fingerprint: u64) -> Option<usize> {
        let wanted = tag(fingerprint);
        let mut same = 0_u32;
        for (slot, tag) in self.tags.iter().enumerate() {
            same |= u32::from(*tag == wanted) << slot;
        }
        // Nearly always the one or none.
        while same != 0 {
            let slot = same.trailing_zeros() as usize;
            if slot < self.len && self.fingerprints[slot] == fingerprint {
                return Some(slot);
            }
            same &= same - 1;
        }
        None
    }

    #[inline]
    pub(super) fn rank(&self, slot: usize) -> Rank {
        self.ranks[slot]
    }

    #[inline]
    pub(super) fn add(&mut self, slot: usize, weight: f64) {
        self.ranks[slot] = self.ranks[slot].plus(weight);
    }

    /// Gives a fingerprint a new counter, in the next slot. There are fewer than [`MOST`](Self::MOST).
    pub(super) fn enter(&mut self, fingerprint: u64, weight: f64, arrival: u64) {
        self.put(self.len, fingerprint, Rank::new(weight, arrival, self.len));
        self.len += 1;
    }

    /// Gives a fingerprint the least counter; answers its slot, and what it had counted.
    #[inline]
    pub(super) fn replace(&mut self, fingerprint: u64, weight: f64, arrival: u64) -> (usize, f64) {
        let least = self.least();
        // Of no counter it would be a slot that is none.
        let (slot, count) = (least.slot() % Self::MOST, least.count());
        self.put(slot, fingerprint, Rank::new(count + weight, arrival, slot));
        (slot, count)
    }

    #[inline]
    fn put(&mut self, slot: usize, fingerprint: u64, rank: Rank) {
        self.tags[slot] = tag(fingerprint);
        self.fingerprints[slot] = fingerprint;
        self.ranks[slot] = rank;
    }

    /// The least counter; [`Rank::NONE`] if there is none.
    #[inline]
    pub(super) fn least(&self) -> Rank {
        let mut least = [Rank::NONE; LANES];
        for ranks in self.ranks.chunks_exact(LANES).take(self.len.div_ceil(LANES)) {
            for (least, rank) in least.iter_mut().zip(ranks) {
                *least = least.lesser(*rank);
            }
        }
        let [a, b, c, d] = least;
        a.lesser(b).lesser(c.lesser(d))
    }

    /// In the order of their slots.
    pub(super) fn ranks(&self) -> &[Rank] {
        &self.ranks[..self.len]
    }

    pub(super) fn renumber(&mut self) -> u64 {
        renumber(&mut self.ranks[..self.len])
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // a part of it
fn tag(fingerprint: u64) -> u32 {
    fingerprint as u32
}
