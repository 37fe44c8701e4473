//! Keys as keyed hashes: no text of them is kept, and nobody can aim at another one's.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use siphasher::sip::SipHasher13;

use crate::store::{Mark, Marked};

/// Makes the fingerprints.
#[derive(Clone, Copy)]
pub(crate) struct Keys {
    hasher: SipHasher13,
}

impl Keys {
    /// With a secret that the process draws from the system's entropy.
    pub(crate) fn new() -> Self {
        let state = RandomState::new();
        Self::with_secret([state.hash_one(0_u8), state.hash_one(1_u8)])
    }

    /// With the secret of others.
    pub(crate) fn with_secret([a, b]: [u64; 2]) -> Self {
        Self { hasher: SipHasher13::new_with_keys(a, b) }
    }

    /// The fingerprint of a key that a store may know by `mark`, which is the same if it is keyed by the same secret.
    #[inline]
    pub(crate) fn of_marked(&self, key: &str, mark: Mark) -> u64 {
        match mark.0 {
            Some(Marked { fingerprint, secret }) if self.hasher.keys() == secret.into() => fingerprint,
            _ => self.of(key),
        }
    }

    #[inline]
    pub(crate) fn of(&self, key: &str) -> u64 {
        self.hasher.hash(key.as_bytes())
    }
}

/// For maps of fingerprints, which are hashes already.
pub(crate) type ByFingerprint = BuildHasherDefault<AsItIs>;

/// See [`ByFingerprint`].
#[derive(Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[inline]
    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
