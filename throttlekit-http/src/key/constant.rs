//! One key for everybody.

use super::{Key, KeyExtractor};
use crate::door::Door;

/// The same key for every request: a limit for the service as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConstantKey(Box<str>);

impl ConstantKey {
    /// Counts every request under `key`.
    pub fn new(key: impl Into<Box<str>>) -> Self {
        Self(key.into())
    }
}

impl<D: Door> KeyExtractor<D> for ConstantKey {
    fn key<'a>(&'a self, _request: &D::Head<'a>) -> Option<Key<'a>> {
        Some(Key::from(&*self.0))
    }
}
