//! What is known here of keys: a bounded table.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hash::{BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use siphasher::sip128::SipHasher13;

/// Keys below which a table is not split, so that its bound is one bound.
const SPLIT_FROM: usize = 4_096;

/// Parts of a table that is split.
const PARTS: usize = 64;

/// Groups of keys for which it is counted how often what is asked about one became old.
const EPOCHS: usize = 256;

/// How many entries one search for a place looks at.
const PROBES: usize = 256;

/// What stands for a key: 128 bits under a secret key, so that two keys never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark(u128);

/// What a table holds for a key.
pub(super) trait Entry {
    /// Whether it has to stay.
    fn is_busy(&self) -> bool;
}

/// Entries by key, at most so many. When it is full the next one that was not used since the last round goes.
pub(super) struct Book<E> {
    hasher: SipHasher13,
    /// How often what is asked about a key became old, by groups of keys: by one count for all it would whenever it does for
    /// any key.
    epochs: Box<[AtomicU64]>,
    parts: Box<[Mutex<Part<E>>]>,
}

struct Part<E> {
    places: HashMap<u128, usize, BuildHasherDefault<Ready>>,
    slots: Vec<Slot<E>>,
    free: Vec<usize>,
    most: usize,
    hand: usize,
}

struct Slot<E> {
    mark: u128,
    used: bool,
    entry: Option<E>,
}

/// When something was asked about a key.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) at_ns: u64,
    epoch: u64,
}

/// What became of a search for a place.
pub(super) enum Place<'a, E> {
    /// The entry.
    Here(&'a mut E),
    /// The entry, which is new, and what had to go for it.
    New(&'a mut E, Option<E>),
    /// All that were looked at have to stay.
    Full,
}

impl<E: Entry> Book<E> {
    /// A table of at most `most` entries, at least 1.
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        let parts = if most >= SPLIT_FROM { PARTS } else { 1 };
        let state = RandomState::new();
        let part = |at: usize| {
            Mutex::new(Part {
                places: HashMap::default(),
                slots: Vec::new(),
                free: Vec::new(),
                most: most / parts + usize::from(at < most % parts),
                hand: 0,
            })
        };
        Self {
            hasher: SipHasher13::new_with_keys(state.hash_one(0_u8), state.hash_one(1_u8)),
            epochs: (0..EPOCHS).map(|_| AtomicU64::new(0)).collect(),
            parts: (0..parts).map(part).collect(),
        }
    }

    #[inline]
    pub(super) fn mark(&self, key: &str) -> Mark {
        Mark(self.hasher.hash(key.as_bytes()).as_u128())
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // below the number of parts
    fn part(&self, mark: Mark) -> MutexGuard<'_, Part<E>> {
        let at = if self.parts.len() == 1 { 0 } else { (mark.0 >> 64) as usize % PARTS };
        lock(&self.parts[at])
    }

    /// Looks at an entry that is there.
    #[inline]
    pub(super) fn with<R>(&self, mark: Mark, look: impl FnOnce(&mut E) -> R) -> Option<R> {
        let mut part = self.part(mark);
        let place = *part.places.get(&mark.0)?;
        let slot = part.slots.get_mut(place)?;
        slot.used = true;
        slot.entry.as_mut().map(look)
    }

    /// Looks at an entry, which is made by `new` if it is not there.
    pub(super) fn with_new<R>(&self, mark: Mark, new: impl FnOnce() -> E, look: impl FnOnce(Place<'_, E>) -> R) -> R {
        let mut part = self.part(mark);
        let part = &mut *part;
        if let Some(place) = part.places.get(&mark.0) {
            if let Some(slot) = part.slots.get_mut(*place) {
                slot.used = true;
                if let Some(entry) = &mut slot.entry {
                    return look(Place::Here(entry));
                }
            }
        }
        let Some((place, gone)) = part.place() else { return look(Place::Full) };
        part.places.insert(mark.0, place);
        let slot = &mut part.slots[place];
        *slot = Slot { mark: mark.0, used: false, entry: None };
        look(Place::New(slot.entry.insert(new()), gone))
    }

    /// Takes an entry out, since what was asked about it before now is old.
    pub(super) fn forget(&self, mark: Mark) -> Option<E> {
        // First: who then finds the epoch as it was has what it writes taken out.
        self.outdate(mark);
        let mut part = self.part(mark);
        let place = part.places.remove(&mark.0)?;
        part.free.push(place);
        part.slots.get_mut(place)?.entry.take()
    }

    /// What was asked about a key before now is old.
    pub(super) fn outdate(&self, mark: Mark) {
        self.epoch(mark).fetch_add(1, Ordering::SeqCst);
    }

    /// What is asked at `now_ns`; see [`is_since`](Self::is_since).
    pub(super) fn asked(&self, mark: Mark, now_ns: u64) -> Asked {
        Asked { at_ns: now_ns, epoch: self.epoch(mark).load(Ordering::SeqCst) }
    }

    /// Whether what was asked then is not old: the answer may be remembered. To be asked while the entry is held, or again
    /// after it was written.
    pub(super) fn is_since(&self, mark: Mark, asked: Asked) -> bool {
        self.epoch(mark).load(Ordering::SeqCst) == asked.epoch
    }

    #[allow(clippy::cast_possible_truncation)] // below the number of groups
    fn epoch(&self, mark: Mark) -> &AtomicU64 {
        &self.epochs[(mark.0 >> 96) as usize % EPOCHS]
    }

    /// Takes out the entries that `wanted` names.
    pub(super) fn take(&self, mut wanted: impl FnMut(&E) -> bool) -> Vec<E> {
        let mut taken = Vec::new();
        for part in &self.parts {
            let mut part = lock(part);
            let Part { places, slots, free, .. } = &mut *part;
            for (place, slot) in slots.iter_mut().enumerate() {
                if slot.entry.as_ref().is_some_and(&mut wanted) {
                    places.remove(&slot.mark);
                    free.push(place);
                    taken.extend(slot.entry.take());
                }
            }
        }
        taken
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| lock(part).places.len()).sum()
    }
}

impl<E: Entry> Part<E> {
    /// A free place, and what had to leave it.
    fn place(&mut self) -> Option<(usize, Option<E>)> {
        if let Some(place) = self.free.pop() {
            return Some((place, None));
        }
        if self.slots.len() < self.most {
            self.slots.push(Slot { mark: 0, used: false, entry: None });
            return Some((self.slots.len() - 1, None));
        }
        for _ in 0..PROBES.min(self.slots.len().saturating_mul(2)) {
            let place = self.hand % self.slots.len();
            self.hand = place + 1;
            let slot = &mut self.slots[place];
            if std::mem::take(&mut slot.used) || slot.entry.as_ref().is_some_and(Entry::is_busy) {
                continue;
            }
            let gone = slot.entry.take();
            let mark = slot.mark;
            self.places.remove(&mark);
            return Some((place, gone));
        }
        None
    }
}

/// The entries are whole whatever panicked: each change of one is a few assignments.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A mark is a hash already.
#[derive(Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn write(&mut self, bytes: &[u8]) {
        // Marks are written as a whole number; this is only for completeness of the trait.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the lower half is as good as all
    fn write_u128(&mut self, mark: u128) {
        self.0 = mark as u64;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
