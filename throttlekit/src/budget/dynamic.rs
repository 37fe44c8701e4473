//! A meter without its types.

use std::any::Any;
use std::sync::Arc;

use super::meter::{TokenBudget, whole_units};
use super::rule::Served;
use crate::clock::Clock;
use crate::decision::{Decision, Forecast};
use crate::error::Error;
use crate::limiter::{Ahead, DynLimiter, Peek};
use crate::multi::Dimension;
use crate::observe::{CallKind, Observer};
use crate::program::{Refund, Strategy};
use crate::run::Run;
use crate::store::memory::Table;
use crate::store::{Keyspace, Remote};

/// A check is a debit. In joint checks, where a [`Table`] and a [`Remote`] store can take part, events are those of a rate.
impl<K: Keyspace<Served>, C: Clock, O: Observer + Clone> DynLimiter for TokenBudget<K, C, O> {
    fn strategy_name(&self) -> &'static str {
        self.budget.name()
    }

    fn limit(&self) -> u64 {
        self.budget.units()
    }

    fn window_ms(&self) -> Option<f64> {
        Some(self.budget.window_ms())
    }

    fn now_ms(&self) -> f64 {
        self.clock.now_ms()
    }

    #[inline]
    fn check(&self, key: &str, cost: f64) -> Run<Result<Decision, Error>> {
        match whole_units(cost) {
            Ok(tokens) => self.debit_whole(key, tokens),
            Err(error) => Run::ready(Err(error)),
        }
    }

    fn check_many(&self, keys: &[&str], cost: f64) -> Run<Result<Vec<Decision>, Error>> {
        let tokens = match whole_units(cost) {
            Ok(tokens) => tokens,
            Err(error) => return Run::ready(Err(error)),
        };
        let made = self.begin(CallKind::CheckMany, tokens);
        let run = self.keys.run_many(keys, made.now_ms, &self.budget, &tokens);
        self.watch.follow_many(keys, made, run)
    }

    fn peek(&self, key: &str) -> Run<Result<Decision, Error>> {
        self.keys.run(key, self.clock.now_ms(), &Peek(self.budget), &())
    }

    fn forecast(&self, key: &str, cost: f64) -> Run<Result<Forecast, Error>> {
        match whole_units(cost) {
            Ok(tokens) => self.keys.run(key, self.clock.now_ms(), &Ahead(self.budget), &tokens),
            Err(error) => Run::ready(Err(error)),
        }
    }

    fn refunds(&self) -> bool {
        true
    }

    fn give_back(&self, key: &str, refund: Refund) -> Run<Result<Decision, Error>> {
        self.run_refund(key, refund)
    }

    fn reset(&self, key: &str) -> Run<Result<(), Error>> {
        self.run_reset(key)
    }

    fn dimension(&self) -> Result<Dimension, Error> {
        let keys: &dyn Any = &self.keys;
        if let Some(table) = keys.downcast_ref::<Table<Served>>() {
            Ok(Dimension::local(self.budget, table.clone()))
        } else if let Some(remote) = keys.downcast_ref::<Remote>() {
            Ok(Dimension::stored(self.budget, remote.clone()))
        } else {
            Err(Error::unsupported("a budget in a ledger takes no part in joint checks"))
        }
    }

    fn observed_limiter(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn DynLimiter>> {
        Some(Arc::new(self.told_to(observer)?))
    }
}
