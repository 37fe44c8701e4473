//! The builder of a limiter.

use std::fmt;
use std::sync::Arc;

use super::{Limiter, Watch};
use crate::clock::{Clock, SystemClock};
use crate::observe::Observer;
use crate::program::{Program, Strategy};
use crate::store::memory::Table;
use crate::store::{Keys, Keyspace};

/// Builds a [`Limiter`]; from [`Limiter::builder`].
///
/// ```
/// use throttlekit::store::memory::Table;
/// use throttlekit::{Gcra, Limiter, ManualClock};
///
/// let limiter = Limiter::builder(Gcra::per_second(5)?)
///     .name("login")
///     .prefix("login")
///     .keyspace(Table::bounded(10_000)?)
///     .clock(ManualClock::new(0.0))
///     .build();
/// assert_eq!(limiter.name(), "login");
/// assert_eq!(limiter.check("10.0.0.1")?.remaining, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct LimiterBuilder<S: Program, K = Table<<S as Program>::State>, C = SystemClock, O = ()> {
    strategy: S,
    keys: Keys<K>,
    clock: C,
    observer: O,
    prefix: String,
    name: Option<Arc<str>>,
}

impl<S: Strategy> LimiterBuilder<S> {
    pub(super) fn new(strategy: S) -> Self {
        Self {
            strategy,
            keys: Keys::Default(Table::new),
            clock: SystemClock::new(),
            observer: (),
            prefix: String::new(),
            name: None,
        }
    }
}

impl<S: Strategy, K, C, O> LimiterBuilder<S, K, C, O> {
    /// Where the keys are: a table with a bound of its own, a table that another limiter uses too, or a
    /// [`Remote`](crate::store::Remote) store. The default is a new table with the default bound.
    pub fn keyspace<L: Keyspace<S::State>>(self, keys: L) -> LimiterBuilder<S, L, C, O> {
        let Self { strategy, keys: _, clock, observer, prefix, name } = self;
        LimiterBuilder { strategy, keys: Keys::Given(keys), clock, observer, prefix, name }
    }

    /// Where the time comes from. The default is a new [`SystemClock`].
    pub fn clock<D: Clock>(self, clock: D) -> LimiterBuilder<S, K, D, O> {
        let Self { strategy, keys, clock: _, observer, prefix, name } = self;
        LimiterBuilder { strategy, keys, clock, observer, prefix, name }
    }

    /// Who sees each decision. Put an observer into an [`Arc`] to keep a handle to it, or if it is not [`Clone`].
    ///
    /// It gets one event for each decision that was made or failed to be made, also of a cost that is refused; none for a
    /// peek, a forecast, a refund or a reset.
    pub fn observer<P: Observer + Clone>(self, observer: P) -> LimiterBuilder<S, K, C, P> {
        let Self { strategy, keys, clock, observer: _, prefix, name } = self;
        LimiterBuilder { strategy, keys, clock, observer, prefix, name }
    }

    /// What is put before every key, joined by a colon. Keep it free of colons: `a` with the key `b:c` is `a:b` with the
    /// key `c`. The empty prefix, the default, adds nothing.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The name that its events carry. The default is the name of the strategy.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Builds it.
    ///
    /// # Panics
    ///
    /// As [`Table::new`], if it was given no keyspace.
    pub fn build(self) -> Limiter<S, K, C, O>
    where
        K: Keyspace<S::State>,
    {
        let watch = Watch::new(self.observer, self.name, self.strategy.name()).on(self.strategy.axis());
        let keys = self.keys.make().scoped(&self.prefix).scoped(self.strategy.key_space());
        Limiter { keys, strategy: self.strategy, clock: self.clock, watch }
    }
}

impl<S: Program + fmt::Debug, K, C, O> fmt::Debug for LimiterBuilder<S, K, C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimiterBuilder")
            .field("strategy", &self.strategy)
            .field("prefix", &self.prefix)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
