//! A fair escrow without its types.

use std::sync::Arc;

use super::escrow::{FAIR_ESCROW, FairEscrow};
use crate::clock::Clock;
use crate::decision::{Decision, Forecast, floor_units};
use crate::error::Error;
use crate::limiter::DynLimiter;
use crate::multi::Dimension;
use crate::observe::Observer;
use crate::run::Run;

/// The tenant is the key. What a tenant may take depends on what others ask for, so there is nothing to
/// [peek](DynLimiter::peek) at or to [forecast](DynLimiter::forecast): both are `throttlekit_error`.
impl<C: Clock> DynLimiter for FairEscrow<C> {
    fn strategy_name(&self) -> &'static str {
        FAIR_ESCROW
    }

    /// That of all tenants together.
    fn limit(&self) -> u64 {
        floor_units(self.shared.limit)
    }

    fn window_ms(&self) -> Option<f64> {
        Some(self.shared.window_ms)
    }

    fn now_ms(&self) -> f64 {
        self.shared.clock.now_ms()
    }

    fn check(&self, key: &str, cost: f64) -> Run<Result<Decision, Error>> {
        self.run_check(key, cost)
    }

    /// One after the other.
    fn check_many(&self, keys: &[&str], cost: f64) -> Run<Result<Vec<Decision>, Error>> {
        let runs: Vec<_> = keys.iter().map(|key| self.run_check(key, cost)).collect();
        if runs.iter().all(|run| matches!(run, Run::Ready(_))) {
            return Run::ready(runs.into_iter().filter_map(|run| run.now().ok()).collect());
        }
        Run::wait(async move {
            let mut decisions = Vec::with_capacity(runs.len());
            for run in runs {
                decisions.push(run.await?);
            }
            Ok(decisions)
        })
    }

    fn peek(&self, _key: &str) -> Run<Result<Decision, Error>> {
        Run::ready(Err(Error::unsupported("what a tenant may take depends on what others ask for: check it")))
    }

    fn forecast(&self, _key: &str, _cost: f64) -> Run<Result<Forecast, Error>> {
        Run::ready(Err(Error::unsupported("what a tenant may take depends on what others will ask for")))
    }

    fn reset(&self, key: &str) -> Run<Result<(), Error>> {
        Self::reset(self, key);
        Run::ready(Ok(()))
    }

    fn is_immediate(&self) -> bool {
        self.shared.pool.as_ref().is_none_or(|leasing| leasing.pool.is_immediate())
    }

    fn dimension(&self) -> Result<Dimension, Error> {
        Err(Error::unsupported("a fair escrow takes no part in joint checks"))
    }

    fn observed_limiter(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn DynLimiter>> {
        Some(Arc::new(self.told_to(observer)?))
    }
}
