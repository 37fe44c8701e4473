//! A limiter over a store.

use super::{Limiter, ONE};
use crate::clock::Clock;
use crate::decision::{Decision, Forecast};
use crate::error::Error;
use crate::observe::Observer;
use crate::program::{Project, Strategy};
use crate::store::Remote;

/// Over a store: the same, to be awaited.
impl<S: Strategy, C: Clock, O: Observer + Clone> Limiter<S, Remote, C, O> {
    /// Takes one unit from `key`, if it is there.
    ///
    /// # Errors
    ///
    /// `store_unavailable` and `state_invalid` from the store.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its first poll it does nothing. Dropped later, the store may have counted the check; the state
    /// stays whole, and no event is given.
    pub async fn check(&self, key: &str) -> Result<Decision, Error> {
        self.run_check(key, ONE).await
    }

    /// Takes `cost` units from `key`, all or none. A cost above the ceiling is legal, and always denied.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `cost` is not finite, not above 0 or above 2^53 - 1, or too small for the strategy to count;
    /// `store_unavailable` and `state_invalid` from the store.
    ///
    /// # Cancel safety
    ///
    /// As [`check`](Self::check).
    pub async fn check_cost(&self, key: &str, cost: f64) -> Result<Decision, Error> {
        self.run_check(key, cost).await
    }

    /// Takes `cost` units from each key, at one instant, in one call of the store; decisions in the order of `keys`.
    ///
    /// Each key is decided on its own. A repeated key sees what came before it.
    ///
    /// # Errors
    ///
    /// As [`check_cost`](Self::check_cost). One failure fails the batch.
    ///
    /// # Cancel safety
    ///
    /// As [`check`](Self::check).
    pub async fn check_many(&self, keys: &[&str], cost: f64) -> Result<Vec<Decision>, Error> {
        self.run_check_many(keys, cost).await
    }

    /// Forgets `key`: it starts afresh.
    ///
    /// # Errors
    ///
    /// `store_unavailable` from the store.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, the key may or may not be forgotten.
    pub async fn reset(&self, key: &str) -> Result<(), Error> {
        self.run_reset(key).await
    }
}

/// Over a store: what the future holds.
impl<S: Project, C: Clock, O: Observer + Clone> Limiter<S, Remote, C, O> {
    /// What [`check`](Self::check) would find, without taking anything. A denial's wait is at least 1 ms.
    ///
    /// # Errors
    ///
    /// `store_unavailable` and `state_invalid` from the store.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it.
    pub async fn peek(&self, key: &str) -> Result<Decision, Error> {
        self.run_peek(key).await
    }

    /// How often `cost` fits into `key` right now, and when capacity comes back. Takes nothing.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `cost` is not finite, not above 0 or above 2^53 - 1, or no whole number where the strategy counts
    /// [no others](Strategy::WHOLE_UNITS); `store_unavailable` and `state_invalid` from the store.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it.
    pub async fn forecast(&self, key: &str, cost: f64) -> Result<Forecast, Error> {
        self.run_forecast(key, cost).await
    }
}
