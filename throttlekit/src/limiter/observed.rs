//! A handle to the keys of a limiter, with an observer.

use std::sync::Arc;

use super::Limiter;
use crate::clock::{Clock, clock_of};
use crate::observe::Observer;
use crate::program::Strategy;
use crate::store::Keyspace;

/// A limiter whose observer came later.
type Observed<S, K> = Limiter<S, K, Arc<dyn Clock>, Arc<dyn Observer>>;

impl<S: Strategy, K: Keyspace<S::State>, C: Clock, O: Observer> Limiter<S, K, C, O> {
    /// A handle to the same keys that tells `observer`; `None` if it has an observer.
    pub(super) fn told_to(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Observed<S, K>> {
        let watch = self.watch.told_to(observer)?;
        let (strategy, keys) = (self.strategy.clone(), self.keys.clone());
        Some(Limiter { strategy, keys, clock: clock_of(self, Self::clock), watch })
    }
}
