//! The limiter without its types, for registries.

use std::any::Any;
use std::sync::Arc;

use super::Limiter;
use crate::admit::{Admit, Ask, Meter};
use crate::clock::Clock;
use crate::decision::{Decision, Forecast};
use crate::error::Error;
use crate::multi::{Dimension, Site};
use crate::observe::Observer;
use crate::program::{Project, Refund, no_refunds};
use crate::run::Run;
use crate::store::memory::Table;
use crate::store::{Keyspace, Remote};

/// A [`Limiter`] whose strategy, keyspace and clock are known at run time only.
///
/// Implemented for every limiter whose strategy can [`Project`]; registries hold `Arc<dyn DynLimiter>`. A check is one
/// virtual call, and in memory its answer is ready without allocation.
///
/// ```
/// use std::sync::Arc;
/// use throttlekit::{DynLimiter, Gcra, Limiter, ManualClock};
///
/// let limiter = Limiter::builder(Gcra::per_minute(60)?).clock(ManualClock::new(5_000.0)).build();
/// let limiter: Arc<dyn DynLimiter> = Arc::new(limiter);
///
/// assert_eq!((limiter.strategy_name(), limiter.limit(), limiter.window_ms()), ("gcra", 60, Some(60_000.0)));
/// assert_eq!(limiter.now_ms(), 5_000.0);
/// let decision = limiter.check("user-1", 1.0).now().expect("memory does not wait")?;
/// assert_eq!(decision.remaining, 59);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait DynLimiter: Admit + Meter {
    /// The stable name of the strategy, such as `gcra`.
    fn strategy_name(&self) -> &'static str;

    /// The ceiling shown to clients, in whole units.
    fn limit(&self) -> u64;

    /// The length of the window in milliseconds, if there is one to show.
    fn window_ms(&self) -> Option<f64>;

    /// The time of the limiter's clock, in whole milliseconds since the Unix epoch.
    fn now_ms(&self) -> f64;

    /// Takes `cost` units from `key`, all or none.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a bad cost; `store_unavailable` and `state_invalid` from the store.
    fn check(&self, key: &str, cost: f64) -> Run<Result<Decision, Error>>;

    /// [`check`](Self::check), and the instant of it by the limiter's clock: whoever tells spans of time from a decision needs no
    /// second reading. The instant means nothing where a cost is refused, for which no clock need be read.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    fn check_timed(&self, key: &str, cost: f64) -> (f64, Run<Result<Decision, Error>>) {
        (self.now_ms(), self.check(key, cost))
    }

    /// Takes `cost` units from each key, at one instant; decisions in the order of `keys`.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check). One failure fails the batch.
    fn check_many(&self, keys: &[&str], cost: f64) -> Run<Result<Vec<Decision>, Error>>;

    /// What a check of cost 1 would find, without taking anything.
    ///
    /// # Errors
    ///
    /// `store_unavailable` and `state_invalid` from the store.
    fn peek(&self, key: &str) -> Run<Result<Decision, Error>>;

    /// How often `cost` fits into `key` right now, and when capacity comes back.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    fn forecast(&self, key: &str, cost: f64) -> Run<Result<Forecast, Error>>;

    /// Whether [`give_back`](Self::give_back) gives back what was taken.
    fn refunds(&self) -> bool {
        false
    }

    /// Gives units back that were taken from `key` and not used; see [`Limiter::run_refund`].
    ///
    /// # Errors
    ///
    /// `throttlekit_error` if it [takes no units back](Self::refunds); otherwise as [`check`](Self::check).
    fn give_back(&self, key: &str, refund: Refund) -> Run<Result<Decision, Error>> {
        let _ = (key, refund);
        Run::ready(Err(no_refunds(self.strategy_name())))
    }

    /// Whether it is all in this process: no store over a network is ever asked, so an answer is there at once unless another
    /// thread is about to have it. By default that is so unless its [dimension](Self::dimension) is on one.
    fn is_immediate(&self) -> bool {
        !matches!(self.dimension().map(|dimension| dimension.0), Ok(Site::Stored(_)))
    }

    /// Forgets `key`.
    ///
    /// # Errors
    ///
    /// `store_unavailable` from the store.
    fn reset(&self, key: &str) -> Run<Result<(), Error>>;

    /// The limiter as a part of a [`Multi`](crate::Multi), on the same keys.
    ///
    /// # Errors
    ///
    /// `throttlekit_error` if the keys are neither in a [`Table`] nor on a [`Remote`] store.
    fn dimension(&self) -> Result<Dimension, Error>;

    /// How often its store has answered, for a limiter that may decide without asking it: such decisions say nothing of
    /// an outage. `None`, the default, means that every decision is the store's.
    fn store_answers(&self) -> Option<u64> {
        None
    }

    /// As [`Admit::observed`], for what is asked as a limiter.
    fn observed_limiter(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn DynLimiter>> {
        let _ = observer;
        None
    }
}

/// `limiter` with `observer` to tell, if it has none; else as it is.
pub(crate) fn observed_or_same(limiter: &Arc<dyn DynLimiter>, observer: &Arc<dyn Observer>) -> Arc<dyn DynLimiter> {
    Arc::clone(limiter).observed_limiter(observer).unwrap_or_else(|| Arc::clone(limiter))
}

impl<S: Project, K: Keyspace<S::State>, C: Clock, O: Observer + Clone> DynLimiter for Limiter<S, K, C, O> {
    fn strategy_name(&self) -> &'static str {
        self.strategy().name()
    }

    fn limit(&self) -> u64 {
        self.strategy().limit()
    }

    fn window_ms(&self) -> Option<f64> {
        self.strategy().window_ms()
    }

    fn now_ms(&self) -> f64 {
        self.clock().now_ms()
    }

    #[inline]
    fn check(&self, key: &str, cost: f64) -> Run<Result<Decision, Error>> {
        self.run_check(key, cost)
    }

    #[inline]
    fn check_timed(&self, key: &str, cost: f64) -> (f64, Run<Result<Decision, Error>>) {
        self.run_timed(&Ask::new(key).cost(cost))
    }

    fn check_many(&self, keys: &[&str], cost: f64) -> Run<Result<Vec<Decision>, Error>> {
        self.run_check_many(keys, cost)
    }

    fn peek(&self, key: &str) -> Run<Result<Decision, Error>> {
        self.run_peek(key)
    }

    fn forecast(&self, key: &str, cost: f64) -> Run<Result<Forecast, Error>> {
        self.run_forecast(key, cost)
    }

    fn refunds(&self) -> bool {
        S::REFUNDS
    }

    fn give_back(&self, key: &str, refund: Refund) -> Run<Result<Decision, Error>> {
        self.run_refund(key, refund)
    }

    fn reset(&self, key: &str) -> Run<Result<(), Error>> {
        self.run_reset(key)
    }

    fn dimension(&self) -> Result<Dimension, Error> {
        let keys: &dyn Any = self.keyspace();
        let strategy = || self.strategy().clone();
        if let Some(table) = keys.downcast_ref::<Table<S::State>>() {
            Ok(Dimension::local(strategy(), table.clone()))
        } else if let Some(remote) = keys.downcast_ref::<Remote>() {
            Ok(Dimension::stored(strategy(), remote.clone()))
        } else {
            Err(Error::unsupported("this keyspace takes no part in joint checks"))
        }
    }

    fn observed_limiter(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn DynLimiter>> {
        Some(Arc::new(self.told_to(observer)?))
    }
}
