//! Where a builder is told to put the keys.

/// The keyspace that a builder was given, or how to make the default. A table reserves memory, so it is only made for
/// somebody who wants it.
pub(crate) enum Keys<K> {
    Given(K),
    Default(fn() -> K),
}

impl<K> Keys<K> {
    pub(crate) fn make(self) -> K {
        match self {
            Self::Given(keys) => keys,
            Self::Default(make) => make(),
        }
    }
}
