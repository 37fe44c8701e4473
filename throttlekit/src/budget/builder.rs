//! The builder of a meter.

use std::fmt;
use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::limiter::Watch;
use crate::observe::Observer;
use crate::program::Strategy;
use crate::store::Keyspace;

use super::ledger::Ledger;
use super::meter::TokenBudget;
use super::rule::{Budget, Served};

/// Builds a [`TokenBudget`]; from [`TokenBudget::builder`].
///
/// ```
/// use throttlekit::ManualClock;
/// use throttlekit::budget::{Budget, Ledger, TokenBudget};
///
/// let budget = Budget::builder().budget(1_000.0).window_ms(60_000.0).build()?;
/// let budget = TokenBudget::builder(budget)
///     .name("tokens")
///     .prefix("tokens")
///     .keyspace(Ledger::bounded(10_000)?)
///     .clock(ManualClock::new(0.0))
///     .build();
/// assert_eq!(budget.name(), "tokens");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct TokenBudgetBuilder<K = Ledger<Served>, C = SystemClock, O = ()> {
    budget: Budget,
    keys: K,
    clock: C,
    observer: O,
    prefix: String,
    name: Option<Arc<str>>,
}

impl TokenBudgetBuilder {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, keys: Ledger::new(), clock: SystemClock::new(), observer: (), prefix: String::new(), name: None }
    }
}

impl<K, C, O> TokenBudgetBuilder<K, C, O> {
    /// Where the keys are: a [`Ledger`] with a bound of its own, a [`Table`](crate::store::memory::Table), or a
    /// [`Remote`](crate::store::Remote) store, which makes it the budget of a fleet. The default is a new ledger with the
    /// default bound.
    pub fn keyspace<L: Keyspace<Served>>(self, keys: L) -> TokenBudgetBuilder<L, C, O> {
        let Self { budget, keys: _, clock, observer, prefix, name } = self;
        TokenBudgetBuilder { budget, keys, clock, observer, prefix, name }
    }

    /// Where the time comes from. The default is a new [`SystemClock`].
    pub fn clock<D: Clock>(self, clock: D) -> TokenBudgetBuilder<K, D, O> {
        let Self { budget, keys, clock: _, observer, prefix, name } = self;
        TokenBudgetBuilder { budget, keys, clock, observer, prefix, name }
    }

    /// Who sees each decision on a debit or a charge.
    pub fn observer<P: Observer + Clone>(self, observer: P) -> TokenBudgetBuilder<K, C, P> {
        let Self { budget, keys, clock, observer: _, prefix, name } = self;
        TokenBudgetBuilder { budget, keys, clock, observer, prefix, name }
    }

    /// What is put before every key, joined by a colon. The empty prefix, the default, adds nothing.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The name that its events carry. The default is `tokenBudget`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Builds it.
    pub fn build(self) -> TokenBudget<K, C, O>
    where
        K: Keyspace<Served>,
    {
        let watch = Watch::new(self.observer, self.name, self.budget.name()).on(self.budget.axis());
        TokenBudget { budget: self.budget, keys: self.keys.scoped(&self.prefix), clock: self.clock, watch }
    }
}

impl<K, C, O> fmt::Debug for TokenBudgetBuilder<K, C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenBudgetBuilder")
            .field("budget", &self.budget)
            .field("prefix", &self.prefix)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
