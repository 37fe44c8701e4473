//! What counters are ordered by.

/// A count, among equal ones the number of the key's arrival, and where its entry is: one number, so that one comparison
/// does, and needs no branch. The bits of floats above 0 are in the order of the floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(u128);

/// A slot is below a million.
const SLOT_BITS: u32 = 20;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;

impl Rank {
    /// Above each counter.
    pub(super) const NONE: Self = Self(u128::MAX);

    /// Arrivals are numbered below this.
    pub(super) const ARRIVALS: u64 = 1 << (u64::BITS - SLOT_BITS);

    #[inline]
    pub(super) fn new(count: f64, arrival: u64, slot: usize) -> Self {
        Self::of(count, arrival << SLOT_BITS | slot as u64)
    }

    #[inline]
    fn of(count: f64, below: u64) -> Self {
        Self(u128::from(count.to_bits()) << 64 | u128::from(below))
    }

    #[inline]
    pub(super) fn count(self) -> f64 {
        #[allow(clippy::cast_possible_truncation)] // the upper half
        let bits = (self.0 >> 64) as u64;
        f64::from_bits(bits)
    }

    #[inline]
    fn below(self) -> u64 {
        #[allow(clippy::cast_possible_truncation)] // the lower half
        let below = self.0 as u64;
        below
    }

    #[inline]
    pub(super) fn slot(self) -> usize {
        #[allow(clippy::cast_possible_truncation)] // 20 bits
        let slot = (self.below() & SLOT_MASK) as usize;
        slot
    }

    #[inline]
    pub(super) fn plus(self, weight: f64) -> Self {
        Self::of(self.count() + weight, self.below())
    }

    #[inline]
    pub(super) fn lesser(self, other: Self) -> Self {
        if other < self { other } else { self }
    }

    #[inline]
    pub(super) fn greater(self, other: Self) -> Self {
        if other < self { self } else { other }
    }
}

/// Numbers the arrivals from 0 again, in their order, and answers how many there are.
pub(super) fn renumber(ranks: &mut [Rank]) -> u64 {
    let mut in_order: Vec<_> = ranks.iter_mut().collect();
    in_order.sort_unstable_by_key(|rank| rank.below());
    let mut arrivals = 0;
    for rank in in_order {
        *rank = Rank::new(rank.count(), arrivals, rank.slot());
        arrivals += 1;
    }
    arrivals
}
