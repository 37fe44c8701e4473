//! The limiter behind a sketch as what doors and registries ask.

use std::sync::Arc;

use super::{Carry, Screened};
use crate::admit::{Admission, Admit, Ask, Meter};
use crate::clock::Clock;
use crate::decision::{Decision, Forecast};
use crate::error::Error;
use crate::limiter::DynLimiter;
use crate::multi::Dimension;
use crate::observe::{CallKind, Observer, TableReport};
use crate::program::Strategy;
use crate::run::Run;

/// Decides by [`Ask::key`] and [`Ask::cost`].
impl<S: Carry, C: Clock, O: Observer + Clone> Admit for Screened<S, C, O> {
    #[inline]
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        Run::ready(self.decide(ask, CallKind::Check).map(Admission::rate))
    }

    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        Some(Arc::new(self.told_to(observer)?))
    }

    fn table_state(&self) -> Option<TableReport> {
        Some(TableReport { max_keys: self.core.max_keys, ..TableReport::from(&self.core.table) })
    }
}

impl<S: Carry, C: Clock, O: Observer + Clone> Meter for Screened<S, C, O> {
    #[inline]
    fn debit(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        Run::ready(self.decide(&Ask::new(key).cost(units), CallKind::Check))
    }
}

/// Answers at once. It has no reset of one key, and takes no part in joint checks.
impl<S: Carry, C: Clock, O: Observer + Clone> DynLimiter for Screened<S, C, O> {
    fn strategy_name(&self) -> &'static str {
        self.strategy().name()
    }

    fn limit(&self) -> u64 {
        Strategy::limit(self.strategy())
    }

    fn window_ms(&self) -> Option<f64> {
        self.strategy().window_ms()
    }

    fn now_ms(&self) -> f64 {
        self.clock.now_ms()
    }

    fn check(&self, key: &str, cost: f64) -> Run<Result<Decision, Error>> {
        Run::ready(self.decide(&Ask::new(key).cost(cost), CallKind::Check))
    }

    fn check_many(&self, keys: &[&str], cost: f64) -> Run<Result<Vec<Decision>, Error>> {
        Run::ready(self.decide_many(keys, cost))
    }

    fn peek(&self, key: &str) -> Run<Result<Decision, Error>> {
        Run::ready(Self::peek(self, key))
    }

    fn forecast(&self, key: &str, cost: f64) -> Run<Result<Forecast, Error>> {
        Run::ready(Self::forecast(self, key, cost))
    }

    fn reset(&self, _key: &str) -> Run<Result<(), Error>> {
        Run::ready(Err(Error::unsupported("a sketch cannot forget one key")))
    }

    fn dimension(&self) -> Result<Dimension, Error> {
        Err(Error::unsupported("a limiter behind a sketch takes no part in joint checks"))
    }

    fn observed_limiter(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn DynLimiter>> {
        Some(Arc::new(self.told_to(observer)?))
    }
}
