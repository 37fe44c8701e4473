//! The table beneath the types: shards of lines of slots, and finding a key in them.
//!
//! # Who may do what
//!
//! - Reading needs nothing: tag, state, tag again. Equal tags with the lock bit clear bracket an untorn state.
//! - The state of a slot is written by whoever turned its lock bit on, from exactly the tag that was read; or, where it is
//!   one [word](super::word) that tells whose it is, by a swap from exactly the word that was read.
//! - Which slots exist (inserting, freeing, moving) changes only under the mutex of the shard. A slot that is freed or moved
//!   is first locked like for a write, and such a word taken out, so it is never taken from under a writer.
//! - Who misses a key looks again under the mutex: keys that move are found there.
//!
//! The holder of a lock bit never waits for anything (a joint run excepted, which holds the mutex too), so whoever meets
//! one spins.

use std::fmt;

use super::lines::{Lines, SLOTS};
use super::shard::Shard;
use super::slot::{Tag, Words};
use super::sync::{AtomicU16, AtomicU64, AtomicUsize, Mutex, Ordering, yield_now};
use crate::store::Moment;

/// The form of a slot.
pub trait Shape: 'static {
    /// Its words.
    type Words: Words;
    /// Where values live that do not fit a slot.
    type Arena: Arena;
    /// Whether a state whose first word this is, is visible at `now_ms`.
    fn is_live(first: u64, now_ms: f64) -> bool;
    /// The first word of the same state, visible until `deadline_ms` at least where it is not the state that says until when.
    fn prolonged(first: u64, deadline_ms: f64) -> u64;
}

pub(super) type Slot<'a, H> = &'a <H as Shape>::Words;

/// Values beside the slots.
pub trait Arena: Default + Send + 'static {
    /// Frees what a slot with this state held.
    fn release(&mut self, words: [u64; 3]);
}

impl Arena for () {
    fn release(&mut self, _words: [u64; 3]) {}
}

/// Where a key belongs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub(super) shard: usize,
    pub(super) tag: Tag,
}

/// The top half of the fingerprint places a key in a shard of `lines` lines, by multiply and shift.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // a product below lines * 2^32, shifted back below lines
pub(super) fn home_line(tag: Tag, lines: usize) -> usize {
    ((tag.top_half() * lines as u64) >> 32) as usize
}

/// The slots of one table.
pub struct Core<H: Shape> {
    /// Lines of each shard; apart from the mutexes, since every check reads it and few write it.
    pub(super) sizes: Box<[AtomicU16]>,
    pub(super) shards: Box<[Mutex<Shard<H::Arena>>]>,
    pub(super) lines: Lines,
    pub(super) max_keys: usize,
    /// Slots in use or promised. Never above `max_keys` but for an instant of being found too high.
    pub(super) len: AtomicUsize,
    /// Live keys that had to give way.
    pub(super) evicted: AtomicU64,
}

impl<H: Shape> Core<H> {
    /// `None` if the system does not reserve the memory.
    pub(super) fn new(max_keys: usize, shards: usize) -> Option<Self> {
        let shards = shards.next_power_of_two();
        let lines = Lines::new(max_keys, shards, H::Words::STRIDE * SLOTS)?;
        Some(Self {
            sizes: (0..shards).map(|_| AtomicU16::new(1)).collect(),
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            lines,
            max_keys,
            len: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed).min(self.max_keys)
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// The low bits of a fingerprint choose the shard, and the lowest eight of them are not in the tag: from 256 shards on
    /// all 64 tell keys apart.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // the mask keeps fewer bits than any usize has
    pub(super) fn place(&self, fingerprint: u64) -> Place {
        Place { shard: fingerprint as usize & (self.sizes.len() - 1), tag: Tag::of(fingerprint) }
    }

    #[inline(always)]
    pub(super) fn line(&self, shard: usize, line: usize) -> &[AtomicU64] {
        if H::Words::STRIDE == 2 {
            self.lines.line::<{ 2 * SLOTS }>(shard, line)
        } else {
            self.lines.line::<{ 4 * SLOTS }>(shard, line)
        }
    }

    #[inline(always)]
    pub(super) fn slot(line: &[AtomicU64], slot: usize) -> Slot<'_, H> {
        H::Words::at(line, (slot & (SLOTS - 1)) * H::Words::STRIDE).expect("a line has all its slots")
    }

    /// The slot of a key and its tag. Without the mutex a miss may be wrong; a hit is what it was when it was read.
    #[inline]
    pub(super) fn find(&self, place: Place) -> Option<(Slot<'_, H>, Tag)> {
        self.find_at_home(place).or_else(|| self.find_in_line(place).map(|(_, slot, tag)| (slot, tag)))
    }

    /// Looks in the home line, where most keys are: all its slots at once, since a branch that guesses the slot would be
    /// wrong half of the time.
    #[inline(always)]
    pub(super) fn find_at_home(&self, place: Place) -> Option<(Slot<'_, H>, Tag)> {
        let lines = usize::from(self.sizes[place.shard].load(Ordering::Acquire));
        let line = self.line(place.shard, home_line(place.tag, lines));
        let is = |slot| usize::from(Self::slot(line, slot).tag().is_same_key(place.tag));
        let slot = Self::slot(line, is(1) | (is(2) << 1) | (is(3) * 3));
        let tag = slot.tag();
        tag.is_same_key(place.tag).then_some((slot, tag))
    }

    /// [`find`](Self::find), with the line of the slot.
    #[inline(never)]
    pub(super) fn find_in_line(&self, place: Place) -> Option<(&[AtomicU64], Slot<'_, H>, Tag)> {
        let lines = usize::from(self.sizes[place.shard].load(Ordering::Acquire));
        let mut line = home_line(place.tag, lines);
        for _ in 0..lines {
            let words = self.line(place.shard, line);
            let mut full = true;
            for slot in 0..SLOTS {
                let slot = Self::slot(words, slot);
                let tag = slot.tag();
                if tag.is_same_key(place.tag) {
                    return Some((words, slot, tag));
                }
                full &= tag != Tag::EMPTY;
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
                let words = slot.state();
                if slot.unchanged(tag, words) {
                    return H::is_live(words[0], now_ms);
                }
                yield_now();
            } else {
                // Keys that move are found under the mutex.
                let _shard = self.lock_shard(place, &mut Moment::given(now_ms));
                if self.find(place).is_none() {
                    return false;
                }
            }
        }
    }

    /// Brings the home line of a key into the cache; the value means nothing.
    #[inline]
    pub(super) fn touch(&self, place: Place) -> u64 {
        let lines = usize::from(self.sizes[place.shard].load(Ordering::Relaxed));
        self.line(place.shard, home_line(place.tag, lines))[0].load(Ordering::Relaxed)
    }
}

impl<H: Shape> fmt::Debug for Core<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("len", &self.len()).finish_non_exhaustive()
    }
}
