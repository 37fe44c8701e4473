//! Where the lines of every shard lie.
//!
//! The lines of a shard are numbered from 0. They grow by segments, and a segment holds the lines that one growth step adds
//! to *every* shard, side by side, so a position is arithmetic and nothing is ever moved, freed or swapped while a
//! reader may look at it. With `j = line + 2` the segments start where `j` is 2, 3, 4, 6, 8, 12, 16, ..: two growth steps
//! to an octave, so that a shard is never less than about half full after it grew.

use std::sync::OnceLock;

use super::sync::AtomicU64;

/// Slots in a line. A lookup reads a whole line, so that a line's slots need no order.
pub(super) const SLOTS: usize = 4;

/// The largest number of lines of one shard that fits its 16-bit counter and ends at a segment.
pub(super) const MAX_LINES: u16 = 65_534;

const SEGMENTS: usize = 30;

/// Lazily made memory for the lines of all shards.
pub(super) struct Segments {
    made: [OnceLock<Segment>; SEGMENTS],
    shards: usize,
    line_words: usize,
}

struct Segment {
    words: Box<[AtomicU64]>,
    /// The first word that is aligned to the size of a line.
    start: usize,
}

impl Segments {
    pub(super) fn new(shards: usize, line_words: usize) -> Self {
        let segments = Self { made: [const { OnceLock::new() }; SEGMENTS], shards, line_words };
        // Loom cannot see through `OnceLock`: its models get their memory before the threads start.
        segments.grow_to(if cfg!(loom) { 6 } else { 1 });
        segments
    }

    /// The number of lines after the next growth step.
    pub(super) fn next_size(lines: u16) -> u16 {
        let (octave, half) = octave(usize::from(lines));
        let j = if half == 0 { 3 << octave } else { 4 << octave };
        u16::try_from(j - 2).unwrap_or(MAX_LINES).min(MAX_LINES)
    }

    /// Makes the memory for the first `lines` lines of every shard. The system gives zeroed pages when they are touched.
    pub(super) fn grow_to(&self, lines: u16) {
        let mut from = 0;
        for (index, segment) in self.made.iter().enumerate() {
            if from >= lines {
                break;
            }
            let lines_per_shard = 1 << (index / 2);
            segment.get_or_init(|| Segment::new(self.shards * lines_per_shard, self.line_words));
            from = Self::next_size(from);
        }
    }

    /// The words of one line; `None` if its memory was never made.
    #[inline]
    pub(super) fn line<const WORDS: usize>(&self, shard: usize, line: usize) -> Option<&[AtomicU64]> {
        let (octave, half) = octave(line);
        let segment = self.made.get(2 * octave + half)?.get()?;
        let within = (line + 2) & ((1 << octave) - 1);
        let at = segment.start + ((shard << octave) + within) * WORDS;
        segment.words.get(at..at + WORDS)
    }
}

/// For `j = line + 2`: the octave above the first, and which half of it.
#[inline]
fn octave(line: usize) -> (usize, usize) {
    let j = line + 2;
    let octave = (usize::BITS - 2 - j.leading_zeros()) as usize;
    (octave, (j >> octave) & 1)
}

impl Segment {
    fn new(lines: usize, line_words: usize) -> Self {
        let words = zeroed((lines + 1) * line_words);
        let line_bytes = line_words * size_of::<u64>();
        let misaligned = words.as_ptr().addr() % line_bytes;
        let start = if misaligned == 0 { 0 } else { (line_bytes - misaligned) / size_of::<u64>() };
        Self { words, start }
    }
}

#[cfg(not(loom))]
fn zeroed(words: usize) -> Box<[AtomicU64]> {
    bytemuck::zeroed_slice_box(words)
}

#[cfg(loom)]
fn zeroed(words: usize) -> Box<[AtomicU64]> {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_by_two_steps_an_octave() {
        let mut sizes = vec![Segments::next_size(0)];
        while *sizes.last().unwrap() < MAX_LINES {
            sizes.push(Segments::next_size(*sizes.last().unwrap()));
        }
        assert_eq!(sizes[..10], [1, 2, 4, 6, 10, 14, 22, 30, 46, 62]);
        assert_eq!(sizes.len(), SEGMENTS);
        assert_eq!(Segments::next_size(MAX_LINES), MAX_LINES);
    }

    #[test]
    fn every_line_of_every_shard_is_a_place_of_its_own() {
        const WORDS: usize = 8;
        let segments = Segments::new(4, WORDS);
        segments.grow_to(62);
        let mut seen = std::collections::HashSet::new();
        for shard in 0..4 {
            for line in 0..62 {
                let words = segments.line::<WORDS>(shard, line).unwrap();
                assert_eq!(words.as_ptr().addr() % 64, 0);
                assert!(seen.insert(words.as_ptr().addr()), "shard {shard} line {line}");
            }
            assert!(segments.line::<WORDS>(shard, 62).is_none(), "only what was asked for is made");
        }
    }
}
