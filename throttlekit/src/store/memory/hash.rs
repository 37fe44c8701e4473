//! Keyed fingerprints: the table keeps no key text.

use std::hash::{BuildHasher, RandomState};

use siphasher::sip::SipHasher13;

use crate::store::{Mark, Marked};

/// 64 bits that stand for a key.
#[derive(Clone, Copy)]
pub(crate) struct Fingerprint(pub(crate) u64);

/// The secret key of the fingerprints. Keys come from strangers: without it nobody can aim at a shard or at another
/// key's slot.
#[derive(Clone, Copy)]
pub(crate) struct HashKey {
    hasher: SipHasher13,
}

impl HashKey {
    /// A key that the process draws from the system's entropy.
    pub(crate) fn random() -> Self {
        let state = RandomState::new();
        Self::from_seed([state.hash_one(0_u8), state.hash_one(1_u8)])
    }

    pub(super) fn from_seed([a, b]: [u64; 2]) -> Self {
        Self { hasher: SipHasher13::new_with_keys(a, b) }
    }

    /// The key for everything below `prefix`, the same for equal prefixes.
    pub(crate) fn scoped(self, prefix: &str) -> Self {
        let derived = |part: u8| {
            let mut bytes = vec![part];
            bytes.extend_from_slice(prefix.as_bytes());
            self.hasher.hash(&bytes)
        };
        Self::from_seed([derived(0), derived(1)])
    }

    /// The same everywhere for the same key under the same secret.
    #[inline(always)]
    pub(super) fn mark(&self, key: &str) -> Mark {
        let (a, b) = self.hasher.keys();
        Mark(Some(Marked { fingerprint: self.fingerprint(key).0, secret: [a, b] }))
    }

    /// The fingerprint of a key whose mark may be known.
    #[inline(always)]
    pub(super) fn fingerprint_of(&self, key: &str, mark: Mark) -> Fingerprint {
        match mark.0 {
            Some(marked) => Fingerprint(marked.fingerprint),
            None => self.fingerprint(key),
        }
    }

    #[inline(always)]
    pub(crate) fn fingerprint(&self, key: &str) -> Fingerprint {
        Fingerprint(self.hasher.hash(key.as_bytes()))
    }
}
