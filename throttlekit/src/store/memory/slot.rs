//! A slot: a tag and the words of a state, and what one thread may do to it beside others.
//!
//! The tag holds the upper 56 bits of the key's fingerprint, a bit that every key has, five bits that count writes, a
//! referenced bit for the CLOCK, and a lock bit. 0 is an empty slot; the referenced bit alone is a tombstone, a slot that was
//! freed while other keys may be found by way of it. Whether a state is live can be told from the word after the tag.
//!
//! A state word is stored with `Release` after the lock bit was set, and loaded with `Acquire` before the tag is read again:
//! a reader that saw any word of a later write also sees that write's lock bit or a later tag, and reads again. A state that
//! is one [word](super::word) may be swapped without the lock bit: readers then have one or the other, and both are its key's.

use super::sync::{AtomicU64, Ordering};
use super::word;

const LOCK: u64 = 1;
const REFERENCED: u64 = 1 << 1;
const WRITE: u64 = 1 << 2;
/// One bit under loom, so that its short models see the count come round.
const WRITES: u64 = if cfg!(loom) { WRITE } else { 0b0111_1100 };
const TAKEN: u64 = 1 << 7;
/// What tells the slots of different keys apart, and from those of none.
const KEY: u64 = !0xff | TAKEN;

/// The first word of a slot, as it was read once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag(u64);

impl Tag {
    pub(super) const EMPTY: Self = Self(0);
    pub(super) const TOMBSTONE: Self = Self(REFERENCED);

    /// The tag of a new key.
    #[inline]
    pub(super) fn of(fingerprint: u64) -> Self {
        Self((fingerprint & KEY) | TAKEN)
    }

    /// 32 bits of the fingerprint.
    #[inline]
    pub(super) fn top_half(self) -> u64 {
        self.0 >> 32
    }

    #[inline]
    pub(super) fn is_same_key(self, other: Self) -> bool {
        (self.0 ^ other.0) & KEY == 0
    }

    #[inline]
    pub(super) fn is_key(self) -> bool {
        self.0 & TAKEN != 0
    }

    #[inline]
    pub(super) fn is_locked(self) -> bool {
        self.0 & LOCK != 0
    }

    #[inline]
    pub(super) fn is_referenced(self) -> bool {
        self.0 & REFERENCED != 0
    }

    /// The tag with its count of writes starting at `stamp`.
    pub(super) fn stamped(self, stamp: u64) -> Self {
        Self(self.0 | ((stamp * WRITE) & WRITES))
    }
}

/// Whether two states are the same, word by word: an array comparison would go through memory.
#[inline]
pub(super) fn same(a: [u64; 3], b: [u64; 3]) -> bool {
    a[0] == b[0] && a[1] == b[1] && a[2] == b[2]
}

/// The words of a slot: 2 or 4.
pub trait Words: 'static {
    /// How many they are.
    const STRIDE: usize;

    /// The slot at word `at` of a line; `None` if it is not one.
    fn at(line: &[AtomicU64], at: usize) -> Option<&Self>;

    /// The word of the tag.
    fn tag_word(&self) -> &AtomicU64;

    /// The word that says whether the state is live.
    fn first(&self) -> u64;

    /// The state words; those that a slot of this size does not have are 0.
    fn state(&self) -> [u64; 3];

    /// Stores the state words; the caller holds the lock bit, or the slot is no key's.
    fn set_state(&self, words: [u64; 3]);

    /// Stores the state words of a key that takes the slot, under the mutex of the shard.
    fn occupy(&self, words: [u64; 3]);

    /// The state words for whoever holds the lock bit: they change no more until they are set again.
    fn seal(&self) -> [u64; 3];

    /// Whether a state is one word that is usually written by one swap.
    const SWAPPED: bool;

    /// Whether such a state is so.
    fn is_usual(&self, words: [u64; 3]) -> bool;

    /// Writes without the lock bit, where the state is one word that is `old` as long as its key has the slot. `None` if it is
    /// not; `false` if another thread was faster, or has the state.
    fn exchange(&self, old: [u64; 3], new: [u64; 3]) -> Option<bool>;

    /// Whether nobody was writing when `tag` was read, and nothing was written since, `words` being read in between.
    fn unchanged(&self, tag: Tag, words: [u64; 3]) -> bool;

    #[inline]
    fn tag(&self) -> Tag {
        Tag(self.tag_word().load(Ordering::Acquire))
    }

    /// Sets the referenced bit. Losing this to a writer is harmless: a writer sets it too.
    #[inline]
    fn mark(&self, tag: Tag) {
        if !tag.is_referenced() {
            self.replace(tag, Tag(tag.0 | REFERENCED));
        }
    }

    /// Takes the referenced bit away, for a second chance.
    fn unmark(&self, tag: Tag) {
        self.replace(tag, Tag(tag.0 & !REFERENCED));
    }

    #[inline]
    fn replace(&self, tag: Tag, new: Tag) {
        let _ = self.tag_word().compare_exchange(tag.0, new.0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Takes the lock bit from exactly `tag`.
    #[inline]
    fn try_lock(&self, tag: Tag) -> bool {
        !tag.is_locked()
            && self.tag_word().compare_exchange(tag.0, tag.0 | LOCK, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Gives the lock bit back after a write.
    #[inline]
    fn unlock_written(&self, tag: Tag) {
        let writes = tag.0.wrapping_add(WRITE) & WRITES;
        self.set_tag(Tag((tag.0 & KEY) | writes | REFERENCED));
    }

    /// Gives the lock bit back without a write.
    #[inline]
    fn unlock(&self, tag: Tag) {
        self.set_tag(Tag((tag.0 & !LOCK) | REFERENCED));
    }

    /// Publishes a tag; the caller holds the lock bit, or the slot is no key's.
    #[inline]
    fn set_tag(&self, tag: Tag) {
        self.tag_word().store(tag.0, Ordering::Release);
    }
}

impl Words for [AtomicU64; 2] {
    const STRIDE: usize = 2;

    #[inline]
    fn at(line: &[AtomicU64], at: usize) -> Option<&Self> {
        line.get(at..at + 2)?.try_into().ok()
    }

    #[inline]
    fn tag_word(&self) -> &AtomicU64 {
        &self[0]
    }

    #[inline]
    fn first(&self) -> u64 {
        self[1].load(Ordering::Acquire)
    }

    #[inline]
    fn state(&self) -> [u64; 3] {
        [self.first(), 0, 0]
    }

    #[inline]
    fn set_state(&self, words: [u64; 3]) {
        self[1].store(words[0], Ordering::Release);
    }

    fn occupy(&self, words: [u64; 3]) {
        self.set_state([word::taken_again(words[0], self.first()), 0, 0]);
    }

    fn seal(&self) -> [u64; 3] {
        let mut old = self.first();
        loop {
            match self[1].compare_exchange(old, word::sealed(old), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return [old, 0, 0],
                Err(newer) => old = newer,
            }
        }
    }

    const SWAPPED: bool = true;

    #[inline]
    fn is_usual(&self, words: [u64; 3]) -> bool {
        word::is_packed(words[0])
    }

    #[inline]
    fn exchange(&self, old: [u64; 3], new: [u64; 3]) -> Option<bool> {
        (word::is_packed(old[0]) && word::is_packed(new[0]))
            .then(|| self[1].compare_exchange(old[0], new[0], Ordering::AcqRel, Ordering::Relaxed).is_ok())
    }

    #[inline]
    fn unchanged(&self, tag: Tag, words: [u64; 3]) -> bool {
        !tag.is_locked() && !word::is_sealed(words[0]) && self[0].load(Ordering::Relaxed) == tag.0
    }
}

impl Words for [AtomicU64; 4] {
    const STRIDE: usize = 4;

    #[inline]
    fn at(line: &[AtomicU64], at: usize) -> Option<&Self> {
        line.get(at..at + 4)?.try_into().ok()
    }

    #[inline]
    fn tag_word(&self) -> &AtomicU64 {
        &self[0]
    }

    #[inline]
    fn first(&self) -> u64 {
        self[1].load(Ordering::Acquire)
    }

    #[inline]
    fn state(&self) -> [u64; 3] {
        [self.first(), self[2].load(Ordering::Acquire), self[3].load(Ordering::Acquire)]
    }

    #[inline]
    fn set_state(&self, words: [u64; 3]) {
        for (word, value) in self[1..].iter().zip(words) {
            word.store(value, Ordering::Release);
        }
    }

    fn occupy(&self, words: [u64; 3]) {
        self.set_state(words);
    }

    #[inline]
    fn seal(&self) -> [u64; 3] {
        self.state()
    }

    const SWAPPED: bool = false;

    #[inline]
    fn is_usual(&self, _words: [u64; 3]) -> bool {
        true
    }

    #[inline]
    fn exchange(&self, _old: [u64; 3], _new: [u64; 3]) -> Option<bool> {
        None
    }

    #[inline]
    fn unchanged(&self, tag: Tag, words: [u64; 3]) -> bool {
        // The word after the tag counts more writes than the tag does.
        !tag.is_locked() && self.first() == words[0] && self[0].load(Ordering::Relaxed) == tag.0
    }
}
