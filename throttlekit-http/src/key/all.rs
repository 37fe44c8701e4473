//! Several keys as one.

use std::fmt;

use throttlekit::identity::join_key;

use super::{Key, KeyExtractor};
use crate::door::Door;

/// Several keys together, such as a tenant and an address: each combination counts on its own.
///
/// A request that lacks one of them has no key. Two different combinations never give one key, whatever is in the parts;
/// see [`join_key`].
pub struct AllKeys<D: Door>(Vec<Box<dyn KeyExtractor<D>>>);

impl<D: Door> AllKeys<D> {
    /// Starts with `first`.
    pub fn new(first: impl KeyExtractor<D>) -> Self {
        Self(vec![Box::new(first)])
    }

    /// Adds `next`.
    #[must_use]
    pub fn and(mut self, next: impl KeyExtractor<D>) -> Self {
        self.0.push(Box::new(next));
        self
    }

    #[cfg(feature = "config")]
    pub(crate) fn of(parts: Vec<Box<dyn KeyExtractor<D>>>) -> Self {
        Self(parts)
    }
}

impl<D: Door> KeyExtractor<D> for AllKeys<D> {
    fn key<'a>(&'a self, request: &D::Head<'a>) -> Option<Key<'a>> {
        let parts = self.0.iter().map(|part| part.key(request)).collect::<Option<Vec<_>>>()?;
        Some(Key::from(join_key(parts.iter().map(Key::as_str))))
    }

    fn reads_peer(&self) -> bool {
        self.0.iter().any(|part| part.reads_peer())
    }
}

impl<D: Door> fmt::Debug for AllKeys<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllKeys").field("parts", &self.0.len()).finish_non_exhaustive()
    }
}
