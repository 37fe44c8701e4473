//! The keys that were seen most often, in the memory of a few.

use std::fmt;

use super::index::{Index, Vacant};
use super::order::Order;
use crate::concurrency::keys::Keys;
use crate::error::BuildError;

/// The most bytes of a key that a summary keeps. The text of a longer one is cut, and ends in its fingerprint.
const MAX_KEY_BYTES: usize = 512;
/// How many counters of the heap are below each. Four are next to each other, so few lines of the cache are read on the way
/// down.
const WIDTH: usize = 4;
/// What of a longer key is kept.
const CUT_BYTES: usize = 64;

/// The heaviest keys of a stream, by the Space-Saving algorithm (Metwally, Agrawal, El Abbadi, 2005): counters for
/// `capacity` keys, however many there are.
///
/// A key without a counter takes the least one over, and what that had counted becomes the new one's error. Of several
/// least counters the one whose key came in first is taken; the new key counts as the one that came in last.
///
/// With N the sum of all weights and k the capacity, for each key that has a counter
///
/// ```text
/// count - error <= true weight <= count        error <= N / k
/// ```
///
/// and each key of a true weight above N / k has a counter. Sums are exact while they are whole and at most 2^53.
///
/// An update costs one look-up, and O(log k) steps at worst: the counters are a heap, least first, and a key that is seen
/// often is at its bottom, where there is no way to go. (Up to 16 counters are a sorted list instead.) Keys are told apart by keyed fingerprints of 64 bits, so two of k
/// keys are taken for one with a probability below k^2 / 2^64. The text of a key is copied when it gets a counter; of a
/// text of more than 512 bytes only the beginning is, followed by `#` and its fingerprint, which differs between runs.
///
/// ```
/// use throttlekit::analytics::SpaceSaving;
///
/// let mut heavy = SpaceSaving::new(2)?;
/// for key in ["a", "a", "a", "b", "b", "c"] {
///     heavy.observe(key);
/// }
/// let top: Vec<_> = heavy.top().into_iter().map(|counted| (counted.key, counted.count, counted.error)).collect();
/// assert_eq!(top, [("a".to_owned(), 3.0, 0.0), ("c".to_owned(), 3.0, 2.0)]);
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone)]
pub struct SpaceSaving {
    capacity: usize,
    hasher: Keys,
    /// Where the entry of a fingerprint is.
    slots: Index,
    entries: Vec<Entry>,
    /// The least counter first: a heap; or a few in the places of their entries.
    heap: Vec<Counter>,
    /// The order of a few.
    order: Order,
    /// How many keys ever got a counter.
    arrivals: u64,
    observed: f64,
}

#[derive(Clone)]
struct Entry {
    key: String,
    fingerprint: u64,
    error: f64,
    /// Where its counter is in the heap.
    at: usize,
}

#[derive(Clone, Copy)]
struct Counter {
    rank: Rank,
    /// Where its entry is.
    slot: usize,
}

/// What counters are ordered by: the count, and among equals the number of the key's arrival. The bits of floats above 0 are
/// in the order of the floats, so one comparison does, and needs no branch.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Rank(u128);

impl Rank {
    #[inline]
    fn new(count: f64, arrival: u64) -> Self {
        Self(u128::from(count.to_bits()) << 64 | u128::from(arrival))
    }

    #[inline]
    fn count(self) -> f64 {
        #[allow(clippy::cast_possible_truncation)] // the upper half
        let bits = (self.0 >> 64) as u64;
        f64::from_bits(bits)
    }

    #[inline]
    fn plus(self, weight: f64) -> Self {
        #[allow(clippy::cast_possible_truncation)] // the lower half
        let arrival = self.0 as u64;
        Self::new(self.count() + weight, arrival)
    }
}

/// A key and how often it was seen, from [`SpaceSaving::top`].
///
/// `Debug` does not show the key: it may be a secret or an address.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Counted {
    /// The key.
    pub key: String,
    /// How often it was seen at most, or the most that it may weigh.
    pub count: f64,
    /// How much of [`count`](Self::count) may be due to other keys.
    pub error: f64,
}

impl Counted {
    /// How often it was seen at least.
    pub fn at_least(&self) -> f64 {
        self.count - self.error
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").field("count", &self.count).field("error", &self.error).finish_non_exhaustive()
    }
}

impl SpaceSaving {
    /// The largest capacity.
    pub const MAX_CAPACITY: usize = 1_000_000;

    /// Counts at most `capacity` keys at a time, 1 to 1,000,000. Memory is taken as keys come.
    ///
    /// # Errors
    ///
    /// `spaceSaving.capacity` if it is out of its range.
    pub fn new(capacity: usize) -> Result<Self, BuildError> {
        Self::with_hasher("spaceSaving.capacity", capacity, Keys::new())
    }

    /// As [`new`](Self::new), for an option of another name and for keys that are hashed outside.
    pub(super) fn with_hasher(option: &'static str, capacity: usize, hasher: Keys) -> Result<Self, BuildError> {
        if !(1..=Self::MAX_CAPACITY).contains(&capacity) {
            return Err(BuildError::new(option, capacity, "must be a whole number from 1 to 1,000,000"));
        }
        Ok(Self {
            capacity,
            hasher,
            slots: Index::new(),
            entries: Vec::new(),
            heap: Vec::new(),
            order: Order::EMPTY,
            arrivals: 0,
            observed: 0.0,
        })
    }

    /// Counts `key` once.
    pub fn observe(&mut self, key: &str) {
        self.add(self.hasher.of(key), key, 1.0);
    }

    /// Adds `weight` to `key`. A weight that is not a finite number above 0 adds nothing.
    pub fn observe_weighted(&mut self, key: &str, weight: f64) {
        self.add(self.hasher.of(key), key, weight);
    }

    /// Adds to a key whose fingerprint is known.
    #[inline]
    pub(super) fn add(&mut self, fingerprint: u64, key: &str, weight: f64) {
        if !(weight.is_finite() && weight > 0.0) {
            return;
        }
        self.observed += weight;
        match self.slots.find(fingerprint) {
            Ok(slot) => {
                let is_few = self.is_few();
                let at = if is_few { slot } else { self.entries[slot].at };
                let rank = &mut self.heap[at].rank;
                *rank = rank.plus(weight);
                if is_few { self.move_up(slot) } else { self.sink(at) }
            }
            Err(vacant) if self.entries.len() < self.capacity => self.enter(vacant, fingerprint, key, weight),
            Err(vacant) => self.replace(vacant, fingerprint, key, weight),
        }
    }

    /// Whether the counters are too few for a heap.
    #[inline]
    fn is_few(&self) -> bool {
        self.capacity <= Order::FEW
    }

    /// Where the least counter is, if there is one.
    #[inline]
    fn first(&self) -> usize {
        if self.is_few() { self.order.at(0) } else { 0 }
    }

    /// Puts a counter of a few, which is not in the order, where it belongs among `others`. What is new is mostly near the
    /// greatest: with each other or with few above it.
    #[inline]
    fn line_up(&mut self, slot: usize, others: usize) {
        let rank = self.heap[slot].rank;
        let mut place = others;
        while place > 0 && self.heap[self.order.at(place - 1)].rank > rank {
            place -= 1;
        }
        self.order.put(place, slot);
    }

    /// Moves a counter of a few up until none below it is greater. One that is seen often has no way to go.
    #[inline]
    fn move_up(&mut self, slot: usize) {
        let rank = self.heap[slot].rank;
        let from = self.order.place_of(slot);
        let mut place = from;
        while place + 1 < self.heap.len() && self.heap[self.order.at(place + 1)].rank < rank {
            place += 1;
        }
        if place != from {
            self.order.take(from);
            self.order.put(place, slot);
        }
    }

    /// Gives a key a new counter.
    #[cold]
    fn enter(&mut self, vacant: Vacant, fingerprint: u64, key: &str, weight: f64) {
        let (slot, at) = (self.entries.len(), self.heap.len());
        let mut text = String::new();
        keep(&mut text, key, fingerprint);
        self.entries.push(Entry { key: text, fingerprint, error: 0.0, at });
        self.heap.push(Counter { rank: Rank::new(weight, self.arrivals), slot });
        self.slots.insert(vacant, slot);
        self.arrivals += 1;
        if self.is_few() { self.line_up(slot, at) } else { self.rise(at) }
    }

    /// Gives a key the least counter.
    #[inline]
    fn replace(&mut self, vacant: Vacant, fingerprint: u64, key: &str, weight: f64) {
        let first = self.first();
        let Some(least) = self.heap.get_mut(first) else { return };
        let entry = &mut self.entries[least.slot];
        self.slots.exchange(vacant, least.slot, entry.fingerprint);
        entry.fingerprint = fingerprint;
        entry.error = least.rank.count();
        // The buffer of the key that leaves is used again.
        entry.key.clear();
        keep(&mut entry.key, key, fingerprint);
        least.rank = Rank::new(entry.error + weight, self.arrivals);
        self.arrivals += 1;
        if self.is_few() {
            self.order.take(0);
            self.line_up(first, self.heap.len() - 1);
        } else {
            self.sink(first);
        }
    }

    /// Moves the counter at `at` down until none below it is less.
    #[inline]
    fn sink(&mut self, mut at: usize) {
        let moved = self.heap[at];
        loop {
            let first = WIDTH * at + 1;
            let below = self.heap.get(first..).unwrap_or_default();
            let Some(mut least) = below.first().map(|counter| counter.rank) else { break };
            let mut from = first;
            for (place, counter) in (first..first + WIDTH).zip(below).skip(1) {
                let is_less = counter.rank < least;
                from = if is_less { place } else { from };
                least = if is_less { counter.rank } else { least };
            }
            if least >= moved.rank {
                break;
            }
            self.put(at, self.heap[from]);
            at = from;
        }
        self.put(at, moved);
    }

    /// Moves the counter at `at` up until none above it is greater.
    fn rise(&mut self, mut at: usize) {
        let moved = self.heap[at];
        while at > 0 {
            let above = (at - 1) / WIDTH;
            let counter = self.heap[above];
            if moved.rank >= counter.rank {
                break;
            }
            self.put(at, counter);
            at = above;
        }
        self.put(at, moved);
    }

    #[inline]
    fn put(&mut self, at: usize, counter: Counter) {
        self.heap[at] = counter;
        self.entries[counter.slot].at = at;
    }

    /// The keys that have counters, the greatest count first, and equal ones by key.
    pub fn top(&self) -> Vec<Counted> {
        let mut top: Vec<_> = self.counted().collect();
        sort(&mut top);
        top
    }

    /// As [`top`](Self::top), in any order.
    pub(super) fn counted(&self) -> impl Iterator<Item = Counted> {
        self.heap.iter().map(|counter| {
            let Entry { key, error, .. } = &self.entries[counter.slot];
            Counted { key: key.clone(), count: counter.rank.count(), error: *error }
        })
    }

    /// What is known of `key`; `None` if it has no counter, so that it weighs at most the [least](Self::least) count.
    pub fn get(&self, key: &str) -> Option<Counted> {
        let fingerprint = self.hasher.of(key);
        let entry = &self.entries[self.slots.get(fingerprint)?];
        let count = self.heap[entry.at].rank.count();
        Some(Counted { key: entry.key.clone(), count, error: entry.error })
    }

    /// The least count: no key without a counter weighs more. 0 while there are counters left.
    pub fn least(&self) -> f64 {
        if self.heap.len() < self.capacity {
            0.0
        } else {
            self.heap.get(self.first()).map_or(0.0, |counter| counter.rank.count())
        }
    }

    /// The sum of all weights, N in the bounds.
    pub fn observed(&self) -> f64 {
        self.observed
    }

    /// How many keys have counters.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The most keys that have counters, k in the bounds.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all keys. Keeps the memory for the next ones.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.entries.clear();
        self.heap.clear();
        self.order = Order::EMPTY;
        self.arrivals = 0;
        self.observed = 0.0;
    }
}

/// The greatest count first, equal ones by key.
pub(super) fn sort(counted: &mut [Counted]) {
    counted.sort_unstable_by(|a, b| b.count.total_cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
}

/// Adds what is kept of a key's text.
#[inline]
fn keep(text: &mut String, key: &str, fingerprint: u64) {
    if key.len() <= MAX_KEY_BYTES {
        text.push_str(key);
    } else {
        text.push_str(&cut(key, fingerprint));
    }
}

/// The beginning of a key that is too long, and what tells it from others.
#[cold]
fn cut(key: &str, fingerprint: u64) -> String {
    let end = (0..=CUT_BYTES).rev().find(|at| key.is_char_boundary(*at)).unwrap_or(0);
    format!("{}#{fingerprint:016x}", &key[..end])
}

impl fmt::Debug for SpaceSaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpaceSaving")
            .field("capacity", &self.capacity)
            .field("len", &self.len())
            .field("observed", &self.observed)
            .finish_non_exhaustive()
    }
}
