//! The memory of a table: one piece, reserved for the worst case and given by the system page by page as it is touched.
//!
//! A table grows shard by shard, in place, and nothing is ever moved to another address, freed or swapped while a reader may
//! look at it. Blocks of a few lines of every shard lie side by side, first the first block of each shard, then the second
//! of each: the start of the memory serves all shards of a table with few keys, and a position is arithmetic.

use super::sync::AtomicU64;

/// Slots in a line. A lookup reads a whole line, so that a line's slots need no order.
pub(super) const SLOTS: usize = 4;

/// Lines of one shard that lie together, so that a rebuild does not meet a page a line.
const BLOCK: usize = 4;

/// From this many shards on a block's width between two rows keeps the blocks of one shard out of one set of the cache.
const PADDED: usize = 64;

pub(super) struct Lines {
    words: Box<[AtomicU64]>,
    /// The first word that is aligned to the size of a line.
    start: usize,
    /// Blocks from one row of blocks to the next.
    row: usize,
    /// The most lines of one shard.
    most: u16,
}

impl Lines {
    /// Memory for `shards` shards of `line_words` words a line, that hold `max_keys` keys in total; `None` if the system
    /// does not reserve as much.
    pub(super) fn new(max_keys: usize, shards: usize, line_words: usize) -> Option<Self> {
        let most = Self::fit(Self::fullest(max_keys, shards)).next_multiple_of(BLOCK);
        let row = shards + usize::from(shards >= PADDED);
        let words = zeroed((most.checked_mul(row)? + 1).checked_mul(line_words)?)?;
        let line_bytes = line_words * size_of::<u64>();
        let misaligned = words.as_ptr().addr() % line_bytes;
        let start = if misaligned == 0 { 0 } else { (line_bytes - misaligned) / size_of::<u64>() };
        Some(Self { words, start, row, most: u16::try_from(most).unwrap_or(u16::MAX) })
    }

    /// More keys than the fullest shard has: six standard deviations above the mean.
    fn fullest(max_keys: usize, shards: usize) -> usize {
        let mean = max_keys.div_ceil(shards);
        (mean + 6 * mean.isqrt() + 64).min(max_keys)
    }

    /// The lines that hold `keys` keys and one more after a rebuild: eleven of sixteen slots are used then, and three of four
    /// when the next rebuild comes.
    fn fit(keys: usize) -> usize {
        ((keys + 1) * 16).div_ceil(SLOTS * 11)
    }

    /// The number of lines of a shard of `lines` lines once it has to hold `keys` keys and one more: a third more at least.
    pub(super) fn grown(&self, lines: u16, keys: usize) -> u16 {
        let enough = Self::fit(keys);
        if enough <= usize::from(lines) {
            return lines;
        }
        let third = usize::from(lines) + usize::from(lines) / 3;
        u16::try_from(enough.max(third)).map_or(self.most, |lines| lines.min(self.most))
    }

    /// The words of one line.
    #[inline(always)]
    pub(super) fn line<const WORDS: usize>(&self, shard: usize, line: usize) -> &[AtomicU64] {
        let at = ((line / BLOCK) * self.row + shard) * BLOCK + line % BLOCK;
        &self.words[self.start + at * WORDS..][..WORDS]
    }
}

#[cfg(not(loom))]
fn zeroed(words: usize) -> Option<Box<[AtomicU64]>> {
    bytemuck::allocation::try_zeroed_slice_box(words).ok()
}

#[cfg(loom)]
fn zeroed(words: usize) -> Option<Box<[AtomicU64]>> {
    Some((0..words).map(|_| AtomicU64::new(0)).collect())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_every_shard_is_a_place_of_its_own() {
        for shards in [1, 2, 64, 128] {
            let lines = Lines::new(100_000, shards, 8).unwrap();
            let mut seen = std::collections::HashSet::new();
            for shard in 0..shards {
                for line in 0..usize::from(lines.most) {
                    let words = lines.line::<8>(shard, line);
                    assert_eq!(words.as_ptr().addr() % 64, 0);
                    assert!(seen.insert(words.as_ptr().addr()), "shard {shard} line {line}");
                }
            }
        }
    }

    #[test]
    fn a_shard_grows_until_its_keys_fit() {
        let lines = Lines::new(1_000_000, 1_024, 8).unwrap();
        let (mut size, mut steps) = (1, 0);
        for keys in 0..977 {
            let grown = lines.grown(size, keys);
            steps += u32::from(grown != size);
            size = grown;
            assert!((keys + 1) * 16 <= usize::from(size) * SLOTS * 11);
        }
        assert!((356..=475).contains(&size), "{size} lines");
        assert!(steps < 25, "{steps} rebuilds");
        assert_eq!(lines.grown(size, 1_000_000), lines.most);
    }

    #[test]
    fn memory_beyond_any_address_space_is_not_reserved() {
        assert!(Lines::new(1 << 55, 1, 8).is_none());
        assert!(Lines::new(1 << 55, 1 << 16, 16).is_none());
    }
}
