//! Where the entry of a fingerprint is: a table made for keys that come and go.

/// No entry.
const NONE: u32 = u32::MAX;
/// 1 KB.
const LEAST_CELLS: usize = 128;
/// So many times as many cells as fingerprints: then nearly each is where it belongs, and the processor guesses how far it has
/// to look.
const SPARSE: usize = 4;

/// Open addressing with linear probing. What is taken out leaves no trace: those behind it move up. So a table that turns
/// over with each request never has to be cleaned up.
#[derive(Clone)]
pub(super) struct Index {
    /// As many as a power of two.
    cells: Vec<Cell>,
    used: usize,
}

#[derive(Clone, Copy)]
struct Cell {
    /// The lower half of a fingerprint, which is a keyed hash already; its low bits are its place.
    tag: u32,
    slot: u32,
}

const EMPTY: Cell = Cell { tag: 0, slot: NONE };

/// Where a fingerprint would be that is not in the table.
#[derive(Clone, Copy)]
pub(super) struct Vacant {
    tag: u32,
    place: usize,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { cells: vec![EMPTY; LEAST_CELLS], used: 0 }
    }

    /// The slot of `fingerprint`, or the place that it would take. `is_it` tells whether a slot is that of `fingerprint`, of
    /// which this knows only half.
    #[inline]
    pub(super) fn find(&self, fingerprint: u64, is_it: impl Fn(usize) -> bool) -> Result<usize, Vacant> {
        let tag = tag(fingerprint);
        let place = self.place(tag, |slot| is_it(slot as usize));
        let slot = self.cells[place].slot;
        if slot == NONE { Err(Vacant { tag, place }) } else { Ok(slot as usize) }
    }

    /// Puts a fingerprint into the place that was found for it, since when nothing has changed. `slot` is below 2^32 - 1.
    #[inline]
    pub(super) fn insert(&mut self, vacant: Vacant, slot: usize) {
        let Vacant { tag, mut place } = vacant;
        if SPARSE * (self.used + 1) > self.cells.len() {
            self.grow();
            place = self.place(tag, |_| false);
        }
        self.put(place, tag, slot);
        self.used += 1;
    }

    /// As [`insert`](Self::insert), in exchange for another fingerprint, which is in it with the same slot.
    #[inline]
    pub(super) fn exchange(&mut self, vacant: Vacant, slot: usize, leaves: u64) {
        // One more than there should be for a moment: there is room. Of equal tags that of the one that leaves comes first.
        self.put(vacant.place, vacant.tag, slot);
        self.used += 1;
        self.remove(leaves, slot);
    }

    #[inline]
    fn put(&mut self, place: usize, tag: u32, slot: usize) {
        #[allow(clippy::cast_possible_truncation)] // as stated
        let slot = slot as u32;
        self.cells[place] = Cell { tag, slot };
    }
    /// Takes out the fingerprint of a slot, if it is in it.
    #[inline]
    fn remove(&mut self, fingerprint: u64, slot: usize) {
        let mask = self.mask();
        let mut hole = self.place(tag(fingerprint), |found| found as usize == slot);
        if self.cells[hole].slot == NONE {
            return;
        }
        self.used -= 1;
        let mut next = hole;
        loop {
            next = (next + 1) & mask;
            let cell = self.cells[next];
            if cell.slot == NONE {
                break;
            }
            // It may move to the hole if that is not before where it belongs.
            let home = home(cell.tag, mask);
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.cells[hole] = cell;
                hole = next;
            }
        }
        self.cells[hole] = EMPTY;
    }

    pub(super) fn clear(&mut self) {
        self.cells.fill(EMPTY);
        self.used = 0;
    }

    /// Where the cell of `tag` is whose slot `is_it`, or would be.
    #[inline]
    fn place(&self, tag: u32, is_it: impl Fn(u32) -> bool) -> usize {
        let mask = self.mask();
        let mut place = home(tag, mask);
        loop {
            let cell = self.cells[place];
            if cell.slot == NONE || (cell.tag == tag && is_it(cell.slot)) {
                return place;
            }
            place = (place + 1) & mask;
        }
    }

    #[inline]
    fn mask(&self) -> usize {
        self.cells.len() - 1
    }

    #[cold]
    fn grow(&mut self) {
        let larger = vec![EMPTY; 2 * self.cells.len()];
        for cell in std::mem::replace(&mut self.cells, larger) {
            if cell.slot != NONE {
                let place = self.place(cell.tag, |_| false);
                self.cells[place] = cell;
            }
        }
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // the lower half
fn tag(fingerprint: u64) -> u32 {
    fingerprint as u32
}

/// There are at most 2^23 cells.
#[inline]
fn home(tag: u32, mask: usize) -> usize {
    tag as usize & mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        /// Fingerprints that crowd in few places, also around the end of the table, and some of which have equal tags.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..3, 0_u64..6, 0_u64..15), 0..400)) {
            const CELLS: u64 = LEAST_CELLS as u64;
            let of = |home: u64, rest: u64| (home + CELLS - 4) % CELLS + CELLS * (rest / 2) + ((rest % 2) << 32);
            let mut index = Index::new();
            let mut model = HashMap::new();
            for (slot, (step, home, rest)) in steps.into_iter().enumerate() {
                let fingerprint = of(home, rest);
                if let Some(slot) = model.remove(&fingerprint) {
                    index.remove(fingerprint, slot);
                }
                if let (1.., Err(vacant)) = (step, index.find(fingerprint, |_| false)) {
                    // Any one of those that are in it.
                    let leaves = model.keys().min().copied().filter(|_| step == 2);
                    let slot = leaves.and_then(|leaves| model.remove(&leaves)).unwrap_or(slot);
                    match leaves {
                        Some(leaves) => index.exchange(vacant, slot, leaves),
                        None => index.insert(vacant, slot),
                    }
                    model.insert(fingerprint, slot);
                }
                for fingerprint in (0..15).flat_map(|rest| (0..12).map(move |home| of(home, rest))) {
                    let expected = model.get(&fingerprint).copied();
                    prop_assert_eq!(index.find(fingerprint, |slot| Some(slot) == expected).ok(), expected);
                }
                prop_assert_eq!(index.used, model.len());
            }
        }
    }
}
