//! What doors and policies ask of a limiter in two tiers, without its types.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Mode;
use super::two_tier::{Tier, TwoTier};
use crate::admit::{Admission, Admit, Ask, Meter};
use crate::clock::Clock;
use crate::decision::{Decision, Forecast};
use crate::error::Error;
use crate::limiter::{Ahead, DynLimiter, Peek};
use crate::multi::Dimension;
use crate::observe::{Observer, TableReport};
use crate::program::{Project, Refund, Strategy};
use crate::run::Run;
use crate::store::Keyspace;
use crate::strategy::validate_units;

/// Decides by [`Ask::key`] and [`Ask::cost`]; the other fields do not matter to it.
impl<S, K, C, O> Admit for TwoTier<S, K, C, O>
where
    S: Strategy,
    K: Keyspace<S::State>,
    C: Clock,
    O: Observer + Clone,
{
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        self.run_ask(ask).map(|result| result.map(Admission::rate))
    }

    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        Some(Arc::new(self.told_to(observer)?))
    }

    fn units_of(&self, ask: &Ask<'_>, place: usize) -> Option<f64> {
        (place == 0).then_some(ask.cost)
    }

    fn table_state(&self) -> Option<TableReport> {
        self.core.keys.table_state()
    }
}

impl<S, K, C, O> Meter for TwoTier<S, K, C, O>
where
    S: Strategy,
    K: Keyspace<S::State>,
    C: Clock,
    O: Observer + Clone,
{
    #[inline]
    fn debit(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        self.run_check(key, units)
    }

    fn refund(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        self.run_refund(key, Refund::new(units))
    }

    fn refund_of(&self, key: &str, refund: Refund) -> Run<Result<Decision, Error>> {
        self.run_refund(key, refund)
    }
}

impl<S, K, C, O> DynLimiter for TwoTier<S, K, C, O>
where
    S: Project,
    K: Keyspace<S::State>,
    C: Clock,
    O: Observer + Clone,
{
    fn strategy_name(&self) -> &'static str {
        self.core.strategy.name()
    }

    fn limit(&self) -> u64 {
        self.core.strategy.limit()
    }

    fn window_ms(&self) -> Option<f64> {
        self.core.strategy.window_ms()
    }

    fn now_ms(&self) -> f64 {
        self.core.clock.now_ms()
    }

    fn check(&self, key: &str, cost: f64) -> Run<Result<Decision, Error>> {
        self.run_check(key, cost)
    }

    fn check_many(&self, keys: &[&str], cost: f64) -> Run<Result<Vec<Decision>, Error>> {
        self.run_check_many(keys, cost)
    }

    /// What a check would find in the units held here, or else in the store.
    fn peek(&self, key: &str) -> Run<Result<Decision, Error>> {
        let now_ns = self.core.clock.monotonic_ns();
        let local = match &self.core.tier {
            Tier::Strict => None,
            Tier::CachedDeny(denials) => denials.get(key, 1.0, now_ns),
            Tier::Leased(leases) => {
                leases.book.with(leases.book.mark(key), |holding| holding.peek(&leases.terms, now_ns)).flatten()
            }
        };
        match local {
            Some(decision) => Run::ready(Ok(decision)),
            None => self.core.run(key, &Peek(self.core.strategy.clone()), &()),
        }
    }

    /// What the store knows. Units held here, and by others, count as used.
    fn forecast(&self, key: &str, cost: f64) -> Run<Result<Forecast, Error>> {
        match validate_units::<S>(cost) {
            Ok(cost) => self.core.run(key, &Ahead(self.core.strategy.clone()), &cost),
            Err(error) => Run::ready(Err(error)),
        }
    }

    fn refunds(&self) -> bool {
        S::REFUNDS
    }

    fn give_back(&self, key: &str, refund: Refund) -> Run<Result<Decision, Error>> {
        self.run_refund(key, refund)
    }

    fn is_immediate(&self) -> bool {
        K::IMMEDIATE
    }

    fn reset(&self, key: &str) -> Run<Result<(), Error>> {
        self.run_reset(key)
    }

    fn dimension(&self) -> Result<Dimension, Error> {
        Err(Error::unsupported("a limiter in two tiers takes no part in joint checks"))
    }

    fn store_answers(&self) -> Option<u64> {
        (self.mode() != Mode::Strict).then(|| self.core.answers.load(Ordering::Acquire))
    }

    /// Leases are told of to the handle that asked for them.
    fn observed_limiter(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn DynLimiter>> {
        Some(Arc::new(self.told_to(observer)?))
    }
}
