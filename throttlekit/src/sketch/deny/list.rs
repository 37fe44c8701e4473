//! Keys that are refused for a while.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, Weak};

use siphasher::sip::SipHasher13;

use super::Offenders;
use super::sync::{AtomicU64, Mutex, Ordering};
use crate::error::BuildError;

/// The places of one bucket. Their fingerprints fill one cache line. One under loom, so that each new key of its models replaces
/// another.
const WAYS: usize = if cfg!(loom) { 1 } else { 8 };

/// The fingerprint of a place that is free.
const FREE: u64 = 0;

/// Keys that are refused, each until an instant of its own, in memory that never grows.
///
/// A key has one bucket of eight places. In a full bucket an entry that has ended makes room, or else the one that ends
/// first: a ban may be lost early, and what is behind the list judges the key then. Looking takes no lock.
///
/// Keys are kept as 64-bit fingerprints under a secret of the list's own, never as text. A key that was never put on the
/// list is refused only if its fingerprint is that of one of the at most eight entries of its bucket. Nobody can aim at
/// that without the secret; by chance it is so with a probability of at most `n / 2^64` for a list with `n` entries:
/// below 6e-14 for a million.
///
/// ```
/// use throttlekit::sketch::DenyList;
///
/// let list = DenyList::new(10_000)?;
/// list.deny("10.0.0.1", 0.0, 60_000.0);
/// assert_eq!(list.denied_until("10.0.0.1", 59_999.0), Some(60_000.0));
/// assert_eq!(list.denied_until("10.0.0.1", 60_000.0), None);
/// assert_eq!(list.denied_until("10.0.0.2", 0.0), None);
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
pub struct DenyList {
    hasher: SipHasher13,
    buckets: Box<[Bucket]>,
    /// Writers come one by one.
    writer: Mutex<()>,
    /// The latest end of all entries there ever were, as bits: an idle list costs one load.
    latest: AtomicU64,
    /// Who count denials for it, and forget them with a pardon.
    counters: Mutex<Vec<Weak<Offenders>>>,
}

/// A reader takes the fingerprint, the end, and the fingerprint again. A writer that replaces an entry frees its place
/// first, so the end between two equal fingerprints is theirs, unless the place went to another key and came back between
/// the three loads. Even then the key is on the list, and only its end is taken for the other's, once.
#[derive(Default)]
struct Bucket {
    fingerprints: [AtomicU64; WAYS],
    /// Milliseconds since the Unix epoch, as bits.
    ends: [AtomicU64; WAYS],
}

impl DenyList {
    /// The most places, 2^24.
    pub const MAX_PLACES: usize = 1 << 24;

    pub(super) fn check(places: usize) -> Result<(), BuildError> {
        if (1..=Self::MAX_PLACES).contains(&places) {
            Ok(())
        } else {
            Err(BuildError::new("denyList.places", places, "must be a whole number from 1 to 2^24"))
        }
    }

    /// A list of `places` places, 1 to 2^24, rounded up to eight times a power of two, of 16 bytes each. With twice as many
    /// places as there are entries at once, few are lost early.
    ///
    /// # Errors
    ///
    /// `denyList.places` if it is out of its range.
    pub fn new(places: usize) -> Result<Self, BuildError> {
        Self::check(places)?;
        let state = RandomState::new();
        let buckets = places.div_ceil(WAYS).next_power_of_two();
        Ok(Self {
            hasher: SipHasher13::new_with_keys(state.hash_one(0_u8), state.hash_one(1_u8)),
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            writer: Mutex::default(),
            latest: AtomicU64::new(f64::NEG_INFINITY.to_bits()),
            counters: Mutex::default(),
        })
    }

    /// Has `offenders` forget with each pardon.
    pub(super) fn told_by(&self, offenders: &Arc<Offenders>) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters.retain(|known| known.strong_count() > 0);
        counters.push(Arc::downgrade(offenders));
    }

    fn counters(&self) -> Vec<Arc<Offenders>> {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters.iter().filter_map(Weak::upgrade).collect()
    }

    /// How many entries there can be at once.
    pub fn places(&self) -> usize {
        self.buckets.len() * WAYS
    }

    /// How many entries have not ended at `now_ms`. Looks at every place.
    pub fn len(&self, now_ms: f64) -> usize {
        let ends = self.buckets.iter().flat_map(|bucket| bucket.fingerprints.iter().zip(&bucket.ends));
        ends.filter(|(fingerprint, end)| fingerprint.load(Ordering::Acquire) != FREE && time(end) > now_ms).count()
    }

    /// Whether no entry is left at `now_ms`.
    pub fn is_empty(&self, now_ms: f64) -> bool {
        self.len(now_ms) == 0
    }

    /// Until when `key` is refused, in milliseconds since the Unix epoch; `None` if it is not at `now_ms`.
    #[inline]
    pub fn denied_until(&self, key: &str, now_ms: f64) -> Option<f64> {
        if time(&self.latest) <= now_ms {
            return None;
        }
        self.find(self.fingerprint(key)).filter(|until_ms| *until_ms > now_ms)
    }

    /// Refuses `key` from `now_ms` to `until_ms`. An entry that ends later stays as it is; an instant that is not later than
    /// now changes nothing.
    pub fn deny(&self, key: &str, now_ms: f64, until_ms: f64) {
        // NaN too.
        if !(until_ms.is_finite() && until_ms > now_ms) {
            return;
        }
        let fingerprint = self.fingerprint(key);
        let bucket = self.bucket(fingerprint);
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if until_ms > time(&self.latest) {
            self.latest.store(until_ms.to_bits(), Ordering::Release);
        }
        let is = |place: usize| bucket.fingerprints[place].load(Ordering::Relaxed) == fingerprint;
        if let Some(place) = (0..WAYS).find(|place| is(*place)) {
            if until_ms > time(&bucket.ends[place]) {
                bucket.ends[place].store(until_ms.to_bits(), Ordering::Release);
            }
            return;
        }
        let end = |place: usize| match bucket.fingerprints[place].load(Ordering::Relaxed) {
            FREE => f64::NEG_INFINITY,
            _ => time(&bucket.ends[place]),
        };
        // There are always some to choose from.
        let place = (0..WAYS).min_by(|a, b| end(*a).total_cmp(&end(*b))).unwrap_or(0);
        // A live entry that ends later than the new one is worth more.
        if end(place) > now_ms && end(place) > until_ms {
            return;
        }
        bucket.fingerprints[place].store(FREE, Ordering::Relaxed);
        bucket.ends[place].store(until_ms.to_bits(), Ordering::Release);
        bucket.fingerprints[place].store(fingerprint, Ordering::Release);
    }

    /// Takes `key` off the list; whether it was on it. Its denials so far are forgotten: it comes back for as many new ones.
    pub fn pardon(&self, key: &str) -> bool {
        // First: a denial that is being counted still puts it on the list, or finds nothing to put it there for.
        self.counters().iter().for_each(|counter| counter.forget(key));
        let fingerprint = self.fingerprint(key);
        let bucket = self.bucket(fingerprint);
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let found = bucket.fingerprints.iter().find(|place| place.load(Ordering::Relaxed) == fingerprint);
        found.inspect(|place| place.store(FREE, Ordering::Relaxed)).is_some()
    }

    /// Takes all keys off the list, and forgets their denials so far.
    pub fn clear(&self) {
        self.counters().iter().for_each(|counter| counter.forget_all());
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        for place in self.buckets.iter().flat_map(|bucket| &bucket.fingerprints) {
            place.store(FREE, Ordering::Relaxed);
        }
        self.latest.store(f64::NEG_INFINITY.to_bits(), Ordering::Release);
    }

    fn fingerprint(&self, key: &str) -> u64 {
        self.hasher.hash(key.as_bytes()).max(FREE + 1)
    }

    fn bucket(&self, fingerprint: u64) -> &Bucket {
        #[allow(clippy::cast_possible_truncation)] // the mask keeps fewer bits than any usize has
        &self.buckets[fingerprint as usize & (self.buckets.len() - 1)]
    }

    #[inline(never)]
    fn find(&self, fingerprint: u64) -> Option<f64> {
        let bucket = self.bucket(fingerprint);
        bucket.fingerprints.iter().zip(&bucket.ends).find_map(|(place, end)| {
            if place.load(Ordering::Acquire) != fingerprint {
                return None;
            }
            let until_ms = time(end);
            (place.load(Ordering::Acquire) == fingerprint).then_some(until_ms)
        })
    }
}

fn time(bits: &AtomicU64) -> f64 {
    f64::from_bits(bits.load(Ordering::Acquire))
}

impl fmt::Debug for DenyList {
    /// Shows neither keys nor the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DenyList").field("places", &self.places()).finish_non_exhaustive()
    }
}
