//! What stands for a key: a keyed hash. No text of the key is kept, and nobody can aim at another one's.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use siphasher::sip::SipHasher13;

/// A key as the store in process knows it, for observers that need a fingerprint of it too. A store that keeps the text of
/// its keys has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark(pub(crate) Option<Marked>);

/// A keyed fingerprint.
#[derive(Clone, Copy)]
pub(crate) struct Marked {
    /// SipHash-1-3 of the key.
    pub(crate) fingerprint: u64,
    /// What it is keyed by.
    pub(crate) secret: [u64; 2],
}

impl std::fmt::Debug for Marked {
    /// Shows neither what stands for the key nor the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Marked")
    }
}

/// The secret that keys the fingerprints. Keys come from strangers: without it nobody can aim at a shard or at another
/// key's slot.
#[derive(Clone, Copy)]
pub(crate) struct HashKey {
    hasher: SipHasher13,
}

impl HashKey {
    /// A secret that the process draws from the system's entropy.
    pub(crate) fn random() -> Self {
        let state = RandomState::new();
        Self::from_seed([state.hash_one(0_u8), state.hash_one(1_u8)])
    }

    pub(crate) fn from_seed([a, b]: [u64; 2]) -> Self {
        Self { hasher: SipHasher13::new_with_keys(a, b) }
    }

    /// The secret for everything below `prefix`, the same for equal prefixes.
    pub(crate) fn scoped(self, prefix: &str) -> Self {
        let derived = |part: u8| {
            let mut bytes = vec![part];
            bytes.extend_from_slice(prefix.as_bytes());
            self.hasher.hash(&bytes)
        };
        Self::from_seed([derived(0), derived(1)])
    }

    #[inline(always)]
    pub(crate) fn fingerprint(&self, key: &str) -> u64 {
        self.hasher.hash(key.as_bytes())
    }

    /// The same everywhere for the same key under the same secret.
    #[inline(always)]
    pub(crate) fn mark(&self, key: &str) -> Mark {
        let (a, b) = self.hasher.keys();
        Mark(Some(Marked { fingerprint: self.fingerprint(key), secret: [a, b] }))
    }

    /// The fingerprint of a key that this secret marked, if anyone did.
    #[inline(always)]
    pub(crate) fn fingerprint_of(&self, key: &str, mark: Mark) -> u64 {
        mark.0.map_or_else(|| self.fingerprint(key), |marked| marked.fingerprint)
    }

    /// The fingerprint of a key that whatever secret marked.
    #[inline]
    pub(crate) fn fingerprint_unless_marked(&self, key: &str, mark: Mark) -> u64 {
        match mark.0 {
            Some(Marked { fingerprint, secret }) if self.hasher.keys() == secret.into() => fingerprint,
            _ => self.fingerprint(key),
        }
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
