//! The keys that were seen most often, in the memory of a few.

use std::fmt;

use super::few::Few;
use super::index::Vacant;
use super::many::Many;
use super::rank::Rank;
use crate::error::BuildError;
use crate::fingerprint::HashKey;

/// The most bytes of a key that a summary keeps. The text of a longer one is cut, and ends in its fingerprint.
const MAX_KEY_BYTES: usize = 512;
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
/// An update costs one look-up, and O(log k) steps at worst. A key that comes and is not seen again costs no more than that
/// look-up: its counter waits in a queue, least first, until it is taken over. The other counters are a heap, and a key that
/// is seen often is at its bottom, where there is no way to go. (Up to 16 counters are all looked at instead.)
///
/// Keys are told apart by keyed fingerprints of 64 bits, so two of k keys are taken for one with a probability below
/// k^2 / 2^64. The text of a key is copied when it gets a counter; of a text of more than 512 bytes only the beginning is,
/// followed by `#` and its fingerprint, which differs between runs.
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
    secret: HashKey,
    counters: Counters,
    /// By slot.
    entries: Vec<Entry>,
    /// The number of the next key that gets a counter.
    arrivals: u64,
    observed: f64,
}

#[derive(Clone)]
enum Counters {
    Few(Box<Few>),
    Many(Many),
}

#[derive(Clone)]
struct Entry {
    key: String,
    error: f64,
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
        Self::named("spaceSaving.capacity", capacity)
    }

    /// As [`new`](Self::new), for an option of another name.
    pub(super) fn named(option: &'static str, capacity: usize) -> Result<Self, BuildError> {
        if !(1..=Self::MAX_CAPACITY).contains(&capacity) {
            return Err(BuildError::new(option, capacity, "must be a whole number from 1 to 1,000,000"));
        }
        Ok(Self {
            capacity,
            secret: HashKey::random(),
            counters: if capacity <= Few::MOST {
                Counters::Few(Box::new(Few::new()))
            } else {
                Counters::Many(Many::new())
            },
            entries: Vec::new(),
            arrivals: 0,
            observed: 0.0,
        })
    }

    /// Counts `key` once.
    pub fn observe(&mut self, key: &str) {
        self.add(self.secret.fingerprint(key), key, 1.0);
    }

    /// Adds `weight` to `key`. A weight that is not a finite number above 0 adds nothing.
    pub fn observe_weighted(&mut self, key: &str, weight: f64) {
        self.add(self.secret.fingerprint(key), key, weight);
    }

    /// Adds to a key whose fingerprint is known.
    #[inline(always)]
    pub(super) fn add(&mut self, fingerprint: u64, key: &str, weight: f64) {
        if !(weight.is_finite() && weight > 0.0) {
            return;
        }
        self.observed += weight;
        let has_room = self.entries.len() < self.capacity;
        let (slot, error) = match &mut self.counters {
            Counters::Few(few) => match few.find(fingerprint) {
                Some(slot) => return few.add(slot, weight),
                None if has_room => return self.enter(None, fingerprint, key, weight),
                None => few.replace(fingerprint, weight, self.arrivals),
            },
            Counters::Many(_) => return self.add_to_many(fingerprint, key, weight),
        };
        self.replaced(slot, error, fingerprint, key);
    }

    /// As [`add`](Self::add), among many counters.
    #[inline(never)]
    fn add_to_many(&mut self, fingerprint: u64, key: &str, weight: f64) {
        let has_room = self.entries.len() < self.capacity;
        let Counters::Many(many) = &mut self.counters else { return };
        let (slot, error) = match many.find(fingerprint) {
            Ok(slot) => return many.add(slot, weight),
            Err(vacant) if has_room => return self.enter(Some(vacant), fingerprint, key, weight),
            Err(vacant) => many.replace(vacant, fingerprint, weight, self.arrivals),
        };
        self.replaced(slot, error, fingerprint, key);
    }

    /// Notes which key a counter is of.
    #[inline(always)]
    fn replaced(&mut self, slot: usize, error: f64, fingerprint: u64, key: &str) {
        // The buffer of the key that left is used again.
        let entry = &mut self.entries[slot];
        entry.error = error;
        entry.key.clear();
        keep(&mut entry.key, key, fingerprint);
        self.arrived();
    }

    /// Gives a key a new counter.
    #[cold]
    fn enter(&mut self, vacant: Option<Vacant>, fingerprint: u64, key: &str, weight: f64) {
        match (&mut self.counters, vacant) {
            (Counters::Many(many), Some(vacant)) => many.enter(vacant, fingerprint, weight, self.arrivals),
            (Counters::Few(few), None) => few.enter(fingerprint, weight, self.arrivals),
            _ => return,
        }
        let mut text = String::new();
        keep(&mut text, key, fingerprint);
        self.entries.push(Entry { key: text, error: 0.0 });
        self.arrived();
    }

    /// Goes on to the number of the next arrival.
    #[inline]
    fn arrived(&mut self) {
        self.arrivals += 1;
        if self.arrivals == Rank::ARRIVALS {
            self.arrivals = match &mut self.counters {
                Counters::Few(few) => few.renumber(),
                Counters::Many(many) => many.renumber(),
            };
        }
    }

    /// The keys that have counters, the greatest count first, and equal ones by key.
    pub fn top(&self) -> Vec<Counted> {
        let mut top: Vec<_> = self.counted().collect();
        sort(&mut top);
        top
    }

    /// As [`top`](Self::top), in any order.
    pub(super) fn counted(&self) -> impl Iterator<Item = Counted> {
        let ranks = match &self.counters {
            Counters::Few(few) => few.ranks(),
            Counters::Many(many) => many.ranks(),
        };
        ranks.iter().map(|rank| self.told(*rank))
    }

    fn told(&self, rank: Rank) -> Counted {
        let Entry { key, error } = &self.entries[rank.slot()];
        Counted { key: key.clone(), count: rank.count(), error: *error }
    }

    /// What is known of `key`; `None` if it has no counter, so that it weighs at most the [least](Self::least) count.
    pub fn get(&self, key: &str) -> Option<Counted> {
        Some(self.told(self.rank(key)?))
    }

    /// Takes nothing of what was counted of `key` so far for sure.
    pub(crate) fn forgive(&mut self, key: &str) {
        if let Some(rank) = self.rank(key) {
            self.entries[rank.slot()].error = rank.count();
        }
    }

    fn rank(&self, key: &str) -> Option<Rank> {
        let fingerprint = self.secret.fingerprint(key);
        Some(match &self.counters {
            Counters::Few(few) => few.rank(few.find(fingerprint)?),
            Counters::Many(many) => many.rank(many.find(fingerprint).ok()?),
        })
    }

    /// The least count: no key without a counter weighs more. 0 while there are counters left.
    pub fn least(&self) -> f64 {
        if self.len() < self.capacity {
            return 0.0;
        }
        match &self.counters {
            Counters::Few(few) => few.least().count(),
            Counters::Many(many) => many.least().count(),
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
        match &mut self.counters {
            Counters::Few(few) => few.clear(),
            Counters::Many(many) => many.clear(),
        }
        self.entries.clear();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Where arrivals are numbered from 0 again, the earliest is still forgotten first.
    #[test]
    fn arrivals_do_not_run_out() {
        for capacity in [3, 16, 17, 40] {
            let (mut heavy, mut expected) = (SpaceSaving::new(capacity).unwrap(), SpaceSaving::new(capacity).unwrap());
            heavy.arrivals = Rank::ARRIVALS - 200;
            let mut state = 7_u64;
            for _ in 0..2_000 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let key = (state >> 32).isqrt().isqrt().to_string();
                heavy.observe(&key);
                expected.observe(&key);
                assert!(heavy.top() == expected.top(), "of {capacity}");
            }
            assert!(heavy.arrivals < 10_000, "of {capacity}");
        }
    }
}
