//! Keys as keyed hashes: no text of them is kept, and nobody can aim at another one's.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use siphasher::sip::SipHasher13;

/// Makes the fingerprints.
#[derive(Clone, Copy)]
pub(crate) struct Keys {
    hasher: SipHasher13,
}

impl Keys {
    /// With a secret that the process draws from the system's entropy.
    pub(crate) fn new() -> Self {
        let state = RandomState::new();
        Self { hasher: SipHasher13::new_with_keys(state.hash_one(0_u8), state.hash_one(1_u8)) }
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
