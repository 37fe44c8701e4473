//! The order of a few counters, in one number.

/// The slots of at most [`FEW`](Order::FEW) counters, a byte for each: the least one in the lowest byte. A byte without a
/// counter is 0xff.
///
/// To move a slot takes the same few steps wherever it goes, and which way they go a processor can foresee: a heap would
/// choose between children whose order nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order(u128);

/// 1 in each byte.
const ONES: u128 = u128::MAX / 0xff;

impl Order {
    /// As many counters it can hold.
    pub(super) const FEW: usize = 16;

    /// Without any counter.
    pub(super) const EMPTY: Self = Self(u128::MAX);

    /// The slot in a place, which is below the number of counters.
    #[inline]
    pub(super) fn at(self, place: usize) -> usize {
        usize::from((self.0 >> (8 * place)).to_le_bytes()[0])
    }

    /// The place of a slot that is in it.
    #[inline]
    pub(super) fn place_of(self, slot: usize) -> usize {
        let differs = self.0 ^ (ONES * slot as u128);
        // The lowest byte that is 0 is the only one that borrows without having had its upper bit.
        let same = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
        same.trailing_zeros() as usize / 8
    }

    /// Takes out what is in a place: those above it move down.
    #[inline]
    pub(super) fn take(&mut self, place: usize) {
        let below = (1 << (8 * place)) - 1;
        self.0 = self.0 & below | self.0 >> 8 & !below | 0xff << 120;
    }

    /// Puts a slot in a place: those from there on move up.
    #[inline]
    pub(super) fn put(&mut self, place: usize, slot: usize) {
        let below = (1 << (8 * place)) - 1;
        self.0 = self.0 & below | (slot as u128) << (8 * place) | (self.0 & !below) << 8;
    }
}

#[cfg(test)]
mod tests {
    use super::Order;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_list(steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..200)) {
            let (mut order, mut list) = (Order::EMPTY, Vec::new());
            for (puts, place) in steps {
                let free = (0..Order::FEW).find(|slot| !list.contains(slot));
                if let (true, Some(slot)) = (puts, free) {
                    let place = place.index(list.len() + 1);
                    order.put(place, slot);
                    list.insert(place, slot);
                } else if !list.is_empty() {
                    let place = place.index(list.len());
                    order.take(place);
                    list.remove(place);
                }
                for (place, slot) in list.iter().enumerate() {
                    prop_assert_eq!((order.at(place), order.place_of(*slot)), (*slot, place));
                }
                if list.is_empty() {
                    prop_assert_eq!(order, Order::EMPTY);
                }
            }
        }
    }
}
