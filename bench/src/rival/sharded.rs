//! The plain answer: a hash table behind a mutex, many times.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};

use siphasher::sip::SipHasher13;
use throttlekit::{Clock, Decision};

use super::Rival;
use super::arithmetic::{Arithmetic, Limit};

const SHARDS: usize = 256;

/// 256 `Mutex<HashMap>` of fingerprints. Unbounded, and nothing ever leaves it.
pub struct Sharded<C> {
    shards: Box<[Mutex<Shard>]>,
    hasher: SipHasher13,
    arithmetic: Arithmetic,
    clock: C,
}

type Shard = HashMap<u64, f64, BuildHasherDefault<AsIs>>;

/// The key already is a hash.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {}

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl<C> Sharded<C> {
    /// An empty table.
    pub fn new(limit: Limit, clock: C) -> Self {
        Self {
            shards: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            hasher: SipHasher13::new_with_keys(fastrand::u64(..), fastrand::u64(..)),
            arithmetic: Arithmetic::new(limit),
            clock,
        }
    }
}

impl<C: Clock> Rival for Sharded<C> {
    type Session = ();
    type Answer = Decision;

    #[inline]
    fn check(&self, (): &mut (), key: &str) -> Decision {
        let now = self.clock.now_ms();
        let fingerprint = self.hasher.hash(key.as_bytes());
        // Middle bits: the table places by the low ones and tags by the top ones.
        let shard = &self.shards[usize::try_from(fingerprint >> 40).unwrap_or(0) % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let arrival = shard.entry(fingerprint).or_default();
        let step = self.arithmetic.step(*arrival, now);
        if let Ok(next) = step {
            *arrival = next;
        }
        drop(shard);
        self.arithmetic.reply(step, now)
    }

    #[inline]
    fn allowed(answer: &Decision) -> bool {
        answer.allowed
    }
}

impl<C> fmt::Debug for Sharded<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharded").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}
