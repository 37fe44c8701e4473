//! The builder of a shaper.

use std::fmt;

use super::{Departure, LeakyBucket, Shaper};
use crate::clock::{Clock, SystemClock};
use crate::runtime::Runtime;
use crate::store::memory::Table;
use crate::store::{Keys, Keyspace};

/// Builds a [`Shaper`]; from [`Shaper::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct ShaperBuilder<K = Table<Departure>, C = SystemClock, R = ()> {
    bucket: LeakyBucket,
    keys: Keys<K>,
    clock: C,
    runtime: R,
    prefix: String,
}

impl ShaperBuilder {
    pub(super) fn new(bucket: LeakyBucket) -> Self {
        Self { bucket, keys: Keys::Default(Table::new), clock: SystemClock::new(), runtime: (), prefix: String::new() }
    }
}

impl<K, C, R> ShaperBuilder<K, C, R> {
    /// Where the keys are. The default is a new table with the default bound.
    pub fn keyspace<L: Keyspace<Departure>>(self, keys: L) -> ShaperBuilder<L, C, R> {
        let Self { bucket, keys: _, clock, runtime, prefix } = self;
        ShaperBuilder { bucket, keys: Keys::Given(keys), clock, runtime, prefix }
    }

    /// Where the time comes from. The default is a new [`SystemClock`].
    pub fn clock<D: Clock>(self, clock: D) -> ShaperBuilder<K, D, R> {
        let Self { bucket, keys, clock: _, runtime, prefix } = self;
        ShaperBuilder { bucket, keys, clock, runtime, prefix }
    }

    /// Who sleeps in [`Shaper::schedule`]. There is no default.
    pub fn runtime<Q: Runtime>(self, runtime: Q) -> ShaperBuilder<K, C, Q> {
        let Self { bucket, keys, clock, runtime: _, prefix } = self;
        ShaperBuilder { bucket, keys, clock, runtime, prefix }
    }

    /// What is put before every key, joined by a colon. The empty prefix, the default, adds nothing.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Builds it.
    ///
    /// # Panics
    ///
    /// As [`Table::new`], if it was given no keyspace.
    pub fn build(self) -> Shaper<K, C, R>
    where
        K: Keyspace<Departure>,
    {
        let Self { bucket, keys, clock, runtime, prefix } = self;
        Shaper { bucket, keys: keys.make().scoped(&prefix), clock, runtime }
    }
}

impl<K, C, R> fmt::Debug for ShaperBuilder<K, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShaperBuilder")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
