//! Where the entry of a fingerprint is: a table made for keys that come and go.

/// No entry.
const NONE: u32 = u32::MAX;
/// Many times as many as there are keys on a list of a usual length: then nearly each is where it belongs, and the processor
/// guesses how far it has to look. 2 KB.
const LEAST_CELLS: usize = 128;

/// Open addressing with linear probing, at most half full. What is taken out leaves no trace: those behind it move up. So a
/// table that turns over with each request never has to be cleaned up.
#[derive(Clone)]
pub(super) struct Index {
    /// As many as a power of two.
    cells: Vec<Cell>,
    used: usize,
}

#[derive(Clone, Copy)]
struct Cell {
    /// A keyed hash already; its low bits are its place.
    fingerprint: u64,
    slot: u32,
}

const EMPTY: Cell = Cell { fingerprint: 0, slot: NONE };

/// Where a fingerprint would be that is not in the table.
#[derive(Clone, Copy)]
pub(super) struct Vacant {
    fingerprint: u64,
    place: usize,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { cells: vec![EMPTY; LEAST_CELLS], used: 0 }
    }

    /// The slot of `fingerprint`, or the place that it would take.
    #[inline]
    pub(super) fn find(&self, fingerprint: u64) -> Result<usize, Vacant> {
        let place = self.place(fingerprint);
        let slot = self.cells[place].slot;
        if slot == NONE { Err(Vacant { fingerprint, place }) } else { Ok(slot as usize) }
    }

    /// Puts a fingerprint into the place that was found for it, since when nothing has changed. `slot` is below 2^32 - 1.
    #[inline]
    pub(super) fn insert(&mut self, vacant: Vacant, slot: usize) {
        let Vacant { fingerprint, mut place } = vacant;
        if 2 * (self.used + 1) > self.cells.len() {
            self.grow();
            place = self.place(fingerprint);
        }
        self.put(place, fingerprint, slot);
        self.used += 1;
    }

    /// As [`insert`](Self::insert), in exchange for another fingerprint, which is in it.
    #[inline]
    pub(super) fn exchange(&mut self, vacant: Vacant, slot: usize, leaves: u64) {
        // One more than half of the cells for a moment: there is room.
        self.put(vacant.place, vacant.fingerprint, slot);
        self.used += 1;
        self.remove(leaves);
    }

    #[inline]
    fn put(&mut self, place: usize, fingerprint: u64, slot: usize) {
        #[allow(clippy::cast_possible_truncation)] // as stated
        let slot = slot as u32;
        self.cells[place] = Cell { fingerprint, slot };
    }

    #[inline]
    fn remove(&mut self, fingerprint: u64) {
        let mask = self.mask();
        let mut hole = self.place(fingerprint);
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
            let home = home(cell.fingerprint, mask);
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

    /// Where `fingerprint` is, or would be.
    #[inline]
    fn place(&self, fingerprint: u64) -> usize {
        let mask = self.mask();
        let mut place = home(fingerprint, mask);
        loop {
            let cell = self.cells[place];
            if cell.slot == NONE || cell.fingerprint == fingerprint {
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
                let place = self.place(cell.fingerprint);
                self.cells[place] = cell;
            }
        }
    }
}

#[inline]
fn home(fingerprint: u64, mask: usize) -> usize {
    #[allow(clippy::cast_possible_truncation)] // only low bits of it count
    let low = fingerprint as usize;
    low & mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        /// Fingerprints that crowd in few places, also around the end of the table.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..3, 0_u64..6, 0_u64..15), 0..400)) {
            const CELLS: u64 = LEAST_CELLS as u64;
            let mut index = Index::new();
            let mut model = HashMap::new();
            for (slot, (step, home, rest)) in steps.into_iter().enumerate() {
                let fingerprint = (home + CELLS - 4) % CELLS + CELLS * rest;
                index.remove(fingerprint);
                model.remove(&fingerprint);
                if let (1.., Err(vacant)) = (step, index.find(fingerprint)) {
                    // Any one of those that are in it.
                    match model.keys().min().copied().filter(|_| step == 2) {
                        Some(leaves) => {
                            index.exchange(vacant, slot, leaves);
                            model.remove(&leaves);
                        }
                        None => index.insert(vacant, slot),
                    }
                    model.insert(fingerprint, slot);
                }
                for fingerprint in (0..15).flat_map(|rest| (0..12).map(move |home| (home + CELLS - 6) % CELLS + CELLS * rest)) {
                    prop_assert_eq!(index.find(fingerprint).ok(), model.get(&fingerprint).copied());
                }
                prop_assert_eq!(index.used, model.len());
            }
        }
    }
}
