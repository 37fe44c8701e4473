//! What happens under the mutex of a shard: inserting, freeing, evicting, growing.

use std::sync::PoisonError;

use super::core::{Arena, Core, Place, Shape, Slot, home_line};
use super::lines::SLOTS;
use super::slot::{Tag, Words};
use super::sync::{AtomicU64, Backoff, MutexGuard, Ordering, yield_now};
use crate::store::Moment;

/// How many lines from its home a new key at the bound looks for a victim before the hand does.
const NEAR_LINES: usize = 4;

/// What the mutex of a shard guards.
#[derive(Default)]
pub(super) struct Shard<A> {
    live: u32,
    tombstones: u32,
    /// The slot that CLOCK looks at next.
    hand: u32,
    /// Counts insertions: where a slot's count of writes starts, so that a key that comes back to the slot it left does
    /// not look unchanged.
    inserted: u32,
    /// The latest instant at which anybody was here. Whoever comes with an earlier one may miss a key that was dropped because
    /// it had expired since, or find one as it is later on. 0 at first: instants before the epoch are read twice.
    latest_ms: f64,
    pub(super) arena: A,
}

impl<H: Shape> Core<H> {
    /// Takes the mutex of the shard of `place`, and reads the clock again if that is due.
    #[inline]
    pub(super) fn lock_shard(&self, place: Place, at: &mut Moment<'_>) -> Guard<'_, H> {
        self.lock_index(place.shard, at)
    }

    #[inline]
    fn lock_index(&self, index: usize, at: &mut Moment<'_>) -> Guard<'_, H> {
        // A panic in a step leaves the shard whole: steps run before anything changes.
        let mut shard = self.shards[index].lock().unwrap_or_else(PoisonError::into_inner);
        if at.now_ms < shard.latest_ms {
            at.read_again();
        }
        shard.latest_ms = shard.latest_ms.max(at.now_ms);
        Guard { core: self, shard, index, now_ms: at.now_ms, promised: false }
    }

    /// Frees all slots of a shard that have expired; the shard is `index` modulo their number.
    pub(super) fn free_expired(&self, index: usize, now_ms: f64) {
        let mut shard = self.lock_index(index & (self.shards.len() - 1), &mut Moment::given(now_ms));
        for line in 0..shard.line_count() {
            while shard.free_one(shard.words(line), |_, live| !live) {
                shard.uncount();
            }
        }
    }

    /// Frees one slot of a shard other than that of `place`, for a key whose own shard has nothing to give.
    #[cold]
    pub(super) fn evict_elsewhere(&self, place: Place, now_ms: f64) {
        let mask = self.shards.len() - 1;
        for step in 1..self.shards.len() {
            if self.len.load(Ordering::Relaxed) < self.max_keys {
                return;
            }
            let mut neighbour = self.lock_index((place.shard + step) & mask, &mut Moment::given(now_ms));
            if neighbour.evict(Place { shard: neighbour.index, tag: place.tag }) {
                self.len.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        }
    }
}

/// A shard under its mutex. A promised slot that was not used is given back with it, also if the code of a user's that
/// ran meanwhile panics.
pub(super) struct Guard<'a, H: Shape> {
    core: &'a Core<H>,
    pub(super) shard: MutexGuard<'a, Shard<H::Arena>>,
    index: usize,
    /// By when what has expired has.
    now_ms: f64,
    /// Whether the table's count holds a slot for the key that is about to be inserted.
    promised: bool,
}

impl<H: Shape> Drop for Guard<'_, H> {
    #[inline]
    fn drop(&mut self) {
        if self.promised {
            self.uncount();
        }
    }
}

impl<'a, H: Shape> Guard<'a, H> {
    fn line_count(&self) -> usize {
        usize::from(self.core.sizes[self.index].load(Ordering::Relaxed))
    }

    fn words(&self, line: usize) -> &'a [AtomicU64] {
        self.core.line(self.index, line)
    }

    pub(super) fn has_live(&self) -> bool {
        self.shard.live > 0
    }

    /// Promises a slot for a new key, by evicting one of this shard if the table is at its bound. `false` if this shard
    /// has nothing to give. A promise that is there already is enough.
    pub(super) fn reserve(&mut self, place: Place) -> bool {
        self.promised = self.promised || self.make_room(place);
        self.promised
    }

    fn make_room(&mut self, place: Place) -> bool {
        // An expired slot beside the new key is the cheapest room of all.
        let home = self.words(home_line(place.tag, self.line_count()));
        if self.free_one(home, |_, live| !live) {
            return true;
        }
        if self.core.len.fetch_add(1, Ordering::Relaxed) < self.core.max_keys {
            return true;
        }
        self.core.len.fetch_sub(1, Ordering::Relaxed);
        self.evict(place)
    }

    /// A live key gave way.
    fn count_evicted(&self) {
        self.core.evicted.fetch_add(1, Ordering::Relaxed);
    }

    fn uncount(&self) {
        self.core.len.fetch_sub(1, Ordering::Relaxed);
    }

    /// Puts a key that is not there into the promised slot.
    pub(super) fn insert(&mut self, place: Place, words: [u64; 3]) {
        self.promised = false;
        let slots = self.line_count() * SLOTS;
        let used = (self.shard.live + self.shard.tombstones) as usize;
        if (used + 1) * 4 > slots * 3 {
            self.rebuild();
            // A shard far fuller than chance allows, at the end of its memory.
            if self.shard.live as usize == self.line_count() * SLOTS && self.evict(place) {
                self.uncount();
            }
        }
        self.shard.live += 1;
        self.shard.inserted = self.shard.inserted.wrapping_add(1);
        self.put(place.tag.stamped(u64::from(self.shard.inserted)), words);
    }

    fn put(&mut self, tag: Tag, words: [u64; 3]) {
        let lines = self.line_count();
        let mut line = home_line(tag, lines);
        loop {
            let line_words = self.words(line);
            for slot in 0..SLOTS {
                let slot = Core::<H>::slot(line_words, slot);
                let old = slot.tag();
                if !old.is_key() {
                    self.shard.tombstones -= u32::from(old == Tag::TOMBSTONE);
                    slot.occupy(words);
                    slot.set_tag(tag);
                    return;
                }
            }
            line = if line + 1 == lines { 0 } else { line + 1 };
        }
    }

    /// Forgets a key whose tag was read as `tag`, if its state `fits`; `false` if it does not, or the tag changed since.
    pub(super) fn remove(
        &mut self,
        line: &[AtomicU64],
        slot: Slot<'_, H>,
        tag: Tag,
        fits: impl FnOnce([u64; 3]) -> bool,
    ) -> bool {
        let freed = self.free(line, slot, tag, fits);
        if freed {
            self.uncount();
        }
        freed
    }

    /// Frees a slot if its tag is still the given one and its state `fits`. The table's length does not change: the caller
    /// either uses the room or gives it back.
    fn free(&mut self, line: &[AtomicU64], slot: Slot<'_, H>, tag: Tag, fits: impl FnOnce([u64; 3]) -> bool) -> bool {
        if !slot.try_lock(tag) {
            return false;
        }
        let state = slot.seal();
        if !fits(state) {
            slot.set_state(state);
            slot.unlock(tag);
            return false;
        }
        // Keys further on can only have passed this line while it had no empty slot.
        let has_empty = (0..SLOTS).any(|other| Core::<H>::slot(line, other).tag() == Tag::EMPTY);
        let freed = if has_empty { Tag::EMPTY } else { Tag::TOMBSTONE };
        self.shard.arena.release(state);
        slot.set_tag(freed);
        self.shard.live -= 1;
        self.shard.tombstones += u32::from(freed == Tag::TOMBSTONE);
        true
    }

    /// Frees the first slot of a line that nobody holds and that `fits`, told its tag and whether it is live.
    fn free_one(&mut self, line: &[AtomicU64], fits: impl Fn(Tag, bool) -> bool) -> bool {
        let now_ms = self.now_ms;
        (0..SLOTS).any(|index| {
            let slot = Core::<H>::slot(line, index);
            let tag = slot.tag();
            let fits = |first| fits(tag, H::is_live(first, now_ms));
            // Looked at before it is taken, since most are not taken; and then once more, as it is.
            tag.is_key() && !tag.is_locked() && fits(slot.first()) && self.free(line, slot, tag, |state| fits(state[0]))
        })
    }

    /// Frees one slot of this shard: an expired one if there is one among those that are searched, else one that was not used
    /// since the hand last passed. `false` if the shard is empty.
    fn evict(&mut self, place: Place) -> bool {
        let lines = self.line_count();
        let expired = |_: Tag, live: bool| !live;
        let idle = |tag: Tag, live: bool| live && !tag.is_referenced();
        if self.core.shards.len() == 1 {
            // A small table is searched whole, so that no live key goes while an expired one is left.
            if (0..lines).any(|line| self.free_one(self.words(line), expired)) {
                return true;
            }
        } else {
            // Lines near the new key's own are in the cache soon anyway. All of them are searched before a live key goes.
            let home = home_line(place.tag, lines);
            let near = |step| (home + step) % lines;
            let steps = 0..NEAR_LINES.min(lines);
            if steps.clone().any(|step| self.free_one(self.words(near(step)), expired)) {
                return true;
            }
            if { steps }.any(|step| self.free_one(self.words(near(step)), idle)) {
                self.count_evicted();
                return true;
            }
        }
        self.evict_at_hand()
    }

    /// CLOCK: from the hand on, an expired or unreferenced slot goes, a referenced one gets a second chance.
    fn evict_at_hand(&mut self) -> bool {
        let now_ms = self.now_ms;
        while self.shard.live > 0 {
            let slots = self.line_count() * SLOTS;
            let at = self.shard.hand as usize % slots;
            self.shard.hand = u32::try_from((at + 1) % slots).unwrap_or(0);
            let words = self.words(at / SLOTS);
            let slot = Core::<H>::slot(words, at);
            let tag = slot.tag();
            if tag.is_locked() {
                yield_now();
            }
            if !tag.is_key() || tag.is_locked() {
                continue;
            }
            if H::is_live(slot.first(), now_ms) && tag.is_referenced() {
                slot.unmark(tag);
                continue;
            }
            let mut live = false;
            let goes = |state: [u64; 3]| {
                live = H::is_live(state[0], now_ms);
                !(live && tag.is_referenced())
            };
            if self.free(words, slot, tag, goes) {
                if live {
                    self.count_evicted();
                }
                return true;
            }
        }
        false
    }

    /// Drops expired keys and tombstones; adds lines if that did not make room.
    #[cold]
    fn rebuild(&mut self) {
        let mut kept = Vec::with_capacity(self.shard.live as usize);
        let mut dropped = 0;
        for line in 0..self.line_count() {
            let words = self.words(line);
            for index in 0..SLOTS {
                let slot = Core::<H>::slot(words, index);
                let mut backoff = Backoff::new();
                let tag = loop {
                    let tag = slot.tag();
                    if !tag.is_key() || slot.try_lock(tag) {
                        break tag;
                    }
                    backoff.wait();
                };
                if tag.is_key() {
                    let state = slot.seal();
                    if H::is_live(state[0], self.now_ms) {
                        kept.push((tag, state));
                    } else {
                        self.shard.arena.release(state);
                        dropped += 1;
                    }
                }
                slot.set_tag(Tag::EMPTY);
            }
        }
        self.shard.tombstones = 0;
        self.shard.live -= dropped;
        self.core.len.fetch_sub(dropped as usize, Ordering::Relaxed);
        let size = &self.core.sizes[self.index];
        let lines = self.core.lines.grown(size.load(Ordering::Relaxed), kept.len());
        size.store(lines, Ordering::Release);
        for (tag, state) in kept {
            self.put(tag, state);
        }
    }
}
