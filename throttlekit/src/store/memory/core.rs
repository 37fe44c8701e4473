//! The table beneath the types: slots of words, shards, finding, inserting, evicting, growing.
//!
//! # A slot
//!
//! Word 0 is the tag: 56 bits of the key's fingerprint, six bits that count writes, a referenced bit for the CLOCK, a lock
//! bit. 0 is an empty slot; a fingerprint of zero with the referenced bit is a tombstone, a slot that was freed while other
//! keys may be found by way of it. The other words are the state, and whether it is live can be told from word 1.
//!
//! # Who may do what
//!
//! - Reading needs nothing: tag, state, tag again. Equal tags with the lock bit clear bracket an untorn state.
//! - The state of a slot is written by whoever turned the lock bit on, from exactly the tag that was read.
//! - Which slots exist (inserting, freeing, moving) changes only under the mutex of the shard. A slot that is freed or moved
//!   is first taken by a compare-and-swap of its whole tag, so it is never taken from under a writer.
//! - Who misses a key looks again under the mutex: keys that move are found there.
//!
//! The holder of a lock bit never waits for anything (a joint run excepted, which holds the mutex too), so whoever meets
//! one spins.
//!
//! # Ordering
//!
//! A state word is stored with `Release` after the lock bit was set, and loaded with `Acquire` before the tag is read again:
//! a reader that saw any word of a later write also sees that write's lock bit or a later tag, and reads again.

use std::fmt;

use super::hash::Fingerprint;
use super::segments::{SLOTS, Segments};
use super::shard::Shard;
use super::sync::{AtomicU16, AtomicU64, AtomicUsize, Mutex, Ordering, yield_now};

pub(super) const LOCK: u64 = 1;
pub(super) const REFERENCED: u64 = 1 << 1;
pub(super) const WRITE: u64 = 1 << 2;
/// One bit under loom, so that its short models see the count come round.
pub(super) const WRITES: u64 = if cfg!(loom) { WRITE } else { 0b1111_1100 };
pub(super) const KEY: u64 = !0xff;
pub(super) const EMPTY: u64 = 0;
pub(super) const TOMBSTONE: u64 = REFERENCED;

/// The form of a slot.
pub trait Shape: 'static {
    /// Words of a slot: 2 or 4.
    const STRIDE: usize;
    /// Where values live that do not fit a slot.
    type Arena: Arena;
    /// Whether a state with this word 1 is visible at `now_ms`.
    fn is_live(word: u64, now_ms: f64) -> bool;
}

/// Values beside the slots.
pub trait Arena: Default + Send + 'static {
    /// Frees what a slot with these words held.
    fn release(&mut self, words: [u64; 3]);
}

impl Arena for () {
    fn release(&mut self, _words: [u64; 3]) {}
}

/// Where a key belongs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub(super) shard: usize,
    /// The fingerprint, shifted to its place in the tag; never 0.
    pub(super) tag: u64,
}

impl Place {
    /// Part of the fingerprint places the key in a table of `lines` lines, by multiply and shift.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // a product below lines * 2^32, shifted back below lines
    pub(super) fn home_line(tag: u64, lines: usize) -> usize {
        ((((tag >> 8) & 0xffff_ffff) * lines as u64) >> 32) as usize
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // masked
    pub(super) fn home_slot(tag: u64) -> usize {
        (tag >> 40) as usize & (SLOTS - 1)
    }
}

/// The slots of one table.
pub struct Core<H: Shape> {
    /// Lines of each shard; apart from the mutexes, since every check reads it and few write it.
    pub(super) lines: Box<[AtomicU16]>,
    pub(super) shards: Box<[Mutex<Shard<H::Arena>>]>,
    pub(super) segments: Segments,
    shard_bits: u32,
    pub(super) max_keys: usize,
    /// Slots in use or promised. Never above `max_keys` but for an instant of being found too high.
    pub(super) len: AtomicUsize,
}

pub(super) type Slot<'a> = &'a [AtomicU64];

impl<H: Shape> Core<H> {
    pub(super) fn new(max_keys: usize, shards: usize) -> Self {
        let shards = shards.next_power_of_two();
        Self {
            lines: (0..shards).map(|_| AtomicU16::new(1)).collect(),
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            segments: Segments::new(shards, H::STRIDE * SLOTS),
            shard_bits: shards.trailing_zeros(),
            max_keys,
            len: AtomicUsize::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed).min(self.max_keys)
    }

    pub(super) fn max_keys(&self) -> usize {
        self.max_keys
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the mask keeps fewer bits than any usize has
    pub(super) fn place(&self, fingerprint: Fingerprint) -> Place {
        // The top bits choose the shard, the low 56 are the tag; one fingerprint in 2^56 shares a tag with another, so
        // that 0 stays free.
        let shard = fingerprint.0.rotate_left(self.shard_bits) as usize & (self.shards.len() - 1);
        Place { shard, tag: (fingerprint.0 << 8).max(1 << 8) }
    }

    #[inline]
    pub(super) fn line(&self, shard: usize, line: usize) -> Option<&[AtomicU64]> {
        if H::STRIDE == 2 {
            self.segments.line::<{ 2 * SLOTS }>(shard, line)
        } else {
            self.segments.line::<{ 4 * SLOTS }>(shard, line)
        }
    }

    #[inline]
    pub(super) fn slot(words: &[AtomicU64], slot: usize) -> Slot<'_> {
        let at = (slot & (SLOTS - 1)) * H::STRIDE;
        &words[at..at + H::STRIDE]
    }

    /// The slot of a key and its tag. Without the mutex a miss may be wrong, a hit is what it was when it was read.
    #[inline]
    pub(super) fn find(&self, place: Place) -> Option<(Slot<'_>, u64)> {
        self.find_in_line(place).map(|(_, slot, tag)| (slot, tag))
    }

    /// [`find`](Self::find), with the line of the slot.
    #[inline]
    pub(super) fn find_in_line(&self, place: Place) -> Option<(&[AtomicU64], Slot<'_>, u64)> {
        let lines = usize::from(self.lines[place.shard].load(Ordering::Acquire));
        let mut line = Place::home_line(place.tag, lines);
        let home = Place::home_slot(place.tag);
        for _ in 0..lines {
            let words = self.line(place.shard, line)?;
            let mut full = true;
            for step in 0..SLOTS {
                let slot = Self::slot(words, home + step);
                let tag = slot[0].load(Ordering::Acquire);
                if tag & KEY == place.tag {
                    return Some((words, slot, tag));
                }
                full &= tag != EMPTY;
            }
            if !full {
                return None;
            }
            line = if line + 1 == lines { 0 } else { line + 1 };
        }
        None
    }

    pub(super) fn contains(&self, place: Place, now_ms: f64) -> bool {
        loop {
            if let Some((slot, tag)) = self.find(place) {
                let words = Self::read(slot);
                if Self::unchanged(slot, tag, words) {
                    return H::is_live(words[0], now_ms);
                }
                yield_now();
            } else {
                // Keys that move are found under the mutex.
                let _shard = self.lock_shard(place);
                if self.find(place).is_none() {
                    return false;
                }
            }
        }
    }

    /// Brings the home line of a key into the cache; the value means nothing.
    #[inline]
    pub(super) fn touch(&self, place: Place) -> u64 {
        let lines = usize::from(self.lines[place.shard].load(Ordering::Relaxed));
        let words = self.line(place.shard, Place::home_line(place.tag, lines));
        words.map_or(0, |words| words[0].load(Ordering::Relaxed))
    }

    /// Whether the slot still belongs to the key.
    #[inline]
    pub(super) fn is_of(tag: u64, place: Place) -> bool {
        tag & KEY == place.tag
    }

    /// The state words of a slot; those that its shape does not have are 0.
    #[inline]
    pub(super) fn read(slot: Slot<'_>) -> [u64; 3] {
        if H::STRIDE == 2 {
            [slot[1].load(Ordering::Acquire), 0, 0]
        } else {
            let first = slot[1].load(Ordering::Acquire);
            [first, slot[2].load(Ordering::Acquire), slot[3].load(Ordering::Acquire)]
        }
    }

    /// Whether nobody was writing when `tag` was read, and nothing was written since, `words` being read in between.
    #[inline]
    pub(super) fn unchanged(slot: Slot<'_>, tag: u64, words: [u64; 3]) -> bool {
        tag & LOCK == 0
            && (H::STRIDE == 2 || slot[1].load(Ordering::Acquire) == words[0])
            && slot[0].load(Ordering::Relaxed) == tag
    }

    /// Sets the referenced bit. Losing this to a writer is harmless: a writer sets it too.
    #[inline]
    pub(super) fn mark(slot: Slot<'_>, tag: u64) {
        if tag & REFERENCED == 0 {
            let _ = slot[0].compare_exchange(tag, tag | REFERENCED, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Takes the lock bit from exactly `tag`.
    #[inline]
    pub(super) fn try_lock(slot: Slot<'_>, tag: u64) -> bool {
        tag & LOCK == 0 && slot[0].compare_exchange(tag, tag | LOCK, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    pub(super) fn write(slot: Slot<'_>, words: [u64; 3]) {
        for (word, value) in slot[1..].iter().zip(words) {
            word.store(value, Ordering::Release);
        }
    }

    /// Gives the lock bit back after a write.
    #[inline]
    pub(super) fn unlock_written(slot: Slot<'_>, tag: u64) {
        let writes = (tag & WRITES).wrapping_add(WRITE) & WRITES;
        slot[0].store((tag & KEY) | writes | REFERENCED, Ordering::Release);
    }

    /// Gives the lock bit back without a write.
    #[inline]
    pub(super) fn unlock(slot: Slot<'_>, tag: u64) {
        slot[0].store((tag & !LOCK) | REFERENCED, Ordering::Release);
    }
}

impl<H: Shape> fmt::Debug for Core<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("len", &self.len()).finish_non_exhaustive()
    }
}
