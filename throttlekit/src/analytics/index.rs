//! Where the entry of a fingerprint is: a table made for keys that come and go.

/// No entry.
const NONE: u32 = u32::MAX;
const LEAST_CELLS: usize = 32;

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

impl Index {
    pub(super) fn new() -> Self {
        Self { cells: vec![EMPTY; LEAST_CELLS], used: 0 }
    }

    #[inline]
    pub(super) fn get(&self, fingerprint: u64) -> Option<usize> {
        let cell = self.cells[self.place(fingerprint)];
        (cell.slot != NONE).then_some(cell.slot as usize)
    }

    /// `fingerprint` is not in it, and `slot` below 2^32 - 1.
    #[inline]
    pub(super) fn insert(&mut self, fingerprint: u64, slot: usize) {
        if 2 * (self.used + 1) > self.cells.len() {
            self.grow();
        }
        let place = self.place(fingerprint);
        #[allow(clippy::cast_possible_truncation)] // as stated
        let slot = slot as u32;
        self.cells[place] = Cell { fingerprint, slot };
        self.used += 1;
    }

    #[inline]
    pub(super) fn remove(&mut self, fingerprint: u64) {
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
        fn it_is_a_map(steps in prop::collection::vec((any::<bool>(), 0_u64..6, 0_u64..9), 0..400)) {
            let mut index = Index::new();
            let mut model = HashMap::new();
            for (slot, (insert, home, rest)) in steps.into_iter().enumerate() {
                let fingerprint = (home + 28) % 32 + 32 * rest;
                index.remove(fingerprint);
                model.remove(&fingerprint);
                if insert {
                    index.insert(fingerprint, slot);
                    model.insert(fingerprint, slot);
                }
                for fingerprint in 0..320 {
                    prop_assert_eq!(index.get(fingerprint), model.get(&fingerprint).copied());
                }
            }
        }
    }
}
