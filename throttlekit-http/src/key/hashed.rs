//! Any key, hashed.

use throttlekit::identity::KeyHasher;

use super::{Key, KeyExtractor};
use crate::door::Door;

/// Another key, hashed under a secret: for stores that must hold no personal data, such as addresses.
///
/// What is hashed is the key that would count otherwise; of an address, the aggregated one.
#[derive(Clone, Debug)]
pub struct Hashed<K> {
    inner: K,
    hasher: KeyHasher,
}

impl<K> Hashed<K> {
    /// Hashes the keys of `inner`.
    pub fn new(inner: K, hasher: KeyHasher) -> Self {
        Self { inner, hasher }
    }
}

impl<D: Door, K: KeyExtractor<D>> KeyExtractor<D> for Hashed<K> {
    fn key<'a>(&'a self, request: &D::Head<'a>) -> Option<Key<'a>> {
        self.inner.key(request).map(|key| Key::from(self.hasher.hash(key.as_str())))
    }

    fn reads_peer(&self) -> bool {
        self.inner.reads_peer()
    }
}
