//! A limiter with another one that stands in for it.

use std::fmt;
use std::sync::Arc;

use super::standby::Standby;
use crate::admit::{Admission, Admit, Ask, Meter};
use crate::decision::{Decision, Forecast};
use crate::error::{BuildError, Error};
use crate::limiter::{DynLimiter, observed_or_same};
use crate::multi::Dimension;
use crate::observe::Observer;
use crate::outage::Outage;
use crate::program::Refund;
use crate::run::Run;

/// A limiter over a store with one in memory that decides while the store is out: the fail mode `local`.
///
/// The one in memory is made anew for each outage, so it starts empty, and is forgotten with the first success of the
/// store. It should be of the same strategy, with a [`Share`](crate::Share) of its units.
///
/// ```
/// use std::sync::Arc;
/// use throttlekit::store::{Call, Remote, Store};
/// use throttlekit::{DynLimiter, Error, Fallback, Gcra, Limiter, Outage, Share};
///
/// struct Down;
///
/// impl Store for Down {
///     async fn run(&self, _call: &mut Call) -> Result<(), Error> {
///         Err(Error::store_unavailable("connection refused"))
///     }
/// }
///
/// let gcra = |limit| Gcra::builder().limit(limit).period_ms(60_000.0).build();
/// let shared = Limiter::builder(gcra(100.0)?).keyspace(Remote::new(Down)).build();
/// let share = Share::new(0.1)?;
/// let local = gcra(share.of(100.0))?;
/// let limiter = Fallback::new(shared, &Outage::new(), move || Ok(Arc::new(Limiter::new(local))));
///
/// # async fn example(limiter: Fallback) -> Result<(), Box<dyn std::error::Error>> {
/// let decision = limiter.check("user-1", 1.0).await?;
/// assert_eq!((decision.limit, decision.remaining), (10, 9));
/// # Ok(())
/// # }
/// # let run = std::pin::pin!(example(limiter));
/// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// # assert!(matches!(run.poll(&mut context), std::task::Poll::Ready(Ok(()))));
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
///
/// It is no dimension of a [`Multi`](crate::Multi); a [`Unified`](crate::Unified) asks it before or after its other limit, not in
/// one step with that.
///
/// Only `store_unavailable` makes the one in memory decide. A reset during an outage fails, since the key is not reset
/// where it will be found afterwards. Both limiters tell their observers: of the failure, and of the decision in memory.
///
/// What the one in memory took must not be given back: the shared one never had it, and would grant it once more.
/// [`Meter::outage_turns`] says where that may be so; what gives units back by itself, as a [`Unified`](crate::Unified) and the
/// middleware do, heeds it.
pub struct Fallback {
    shared: Arc<dyn DynLimiter>,
    standby: Arc<Standby<dyn DynLimiter>>,
}

impl Fallback {
    /// Lets what `local` makes decide when `shared` cannot.
    ///
    /// `outage` is that of the [`CircuitBreaker`](crate::store::CircuitBreaker) around the store, shared by all limiters
    /// over it; or a new one. If `local` fails, so does the decision, with `store_unavailable`.
    pub fn new(
        shared: impl DynLimiter,
        outage: &Outage,
        local: impl Fn() -> Result<Arc<dyn DynLimiter>, BuildError> + Send + Sync + 'static,
    ) -> Self {
        Self::over(Arc::new(shared), standby(outage, local))
    }

    pub(crate) fn over(shared: Arc<dyn DynLimiter>, standby: Arc<Standby<dyn DynLimiter>>) -> Self {
        Self { shared, standby }
    }

    /// The same limits with `observer` to tell; `None` if the shared one is left as it is.
    fn told_to(&self, observer: &Arc<dyn Observer>) -> Option<Self> {
        let shared = Arc::clone(&self.shared).observed_limiter(observer)?;
        let (standby, observer) = (Arc::clone(&self.standby), Arc::clone(observer));
        let local = move || Ok(observed_or_same(&standby.current()?, &observer));
        Some(Self::over(shared, Standby::new(self.outage(), local)))
    }

    /// Whether the store is out.
    pub fn outage(&self) -> &Outage {
        self.standby.outage()
    }

    /// The answer of the shared limiter, or else that of the one in memory to `ask`.
    fn or_local<T: Send + 'static>(
        &self,
        answer: Run<Result<T, Error>>,
        ask: impl FnOnce(&dyn DynLimiter) -> Run<Result<T, Error>> + Send + 'static,
    ) -> Run<Result<T, Error>> {
        let standby = Arc::clone(&self.standby);
        let before = self.shared.store_answers();
        match answer.now() {
            // No store was asked for it.
            Ok(Ok(answer)) if before.is_some() => Run::ready(Ok(answer)),
            Ok(result) => match judge(result, &standby, ask) {
                Ok(result) => Run::ready(result),
                Err(run) => run,
            },
            Err(answer) => {
                let shared = Arc::clone(&self.shared);
                Run::wait(async move {
                    let result = answer.await;
                    if result.is_ok() && before.is_some() && shared.store_answers() == before {
                        return result;
                    }
                    match judge(result, &standby, ask) {
                        Ok(result) => result,
                        Err(run) => run.await,
                    }
                })
            }
        }
    }
}

/// A limit in memory for the time of an outage.
pub(crate) fn standby(
    outage: &Outage,
    local: impl Fn() -> Result<Arc<dyn DynLimiter>, BuildError> + Send + Sync + 'static,
) -> Arc<Standby<dyn DynLimiter>> {
    Standby::new(outage, move || {
        local().map_err(|error| Error::store_unavailable(error.to_string()).with_source(error))
    })
}

/// `result` if it is an answer of the store; otherwise what the limit in memory answers.
fn judge<T>(
    result: Result<T, Error>,
    standby: &Standby<dyn DynLimiter>,
    ask: impl FnOnce(&dyn DynLimiter) -> Run<Result<T, Error>>,
) -> Result<Result<T, Error>, Run<Result<T, Error>>> {
    match result {
        Err(error) if error.is_store_unavailable() => Err(match standby.current() {
            Ok(local) => ask(&*local),
            Err(error) => Run::ready(Err(error)),
        }),
        answer => {
            if answer.as_ref().err().is_none_or(Error::proves_answer) {
                standby.outage().end();
            }
            Ok(answer)
        }
    }
}

impl DynLimiter for Fallback {
    fn strategy_name(&self) -> &'static str {
        self.shared.strategy_name()
    }

    fn limit(&self) -> u64 {
        self.shared.limit()
    }

    fn window_ms(&self) -> Option<f64> {
        self.shared.window_ms()
    }

    fn now_ms(&self) -> f64 {
        self.shared.now_ms()
    }

    fn check(&self, key: &str, cost: f64) -> Run<Result<Decision, Error>> {
        let answer = self.shared.check(key, cost);
        let key: Box<str> = key.into();
        self.or_local(answer, move |local| local.check(&key, cost))
    }

    fn check_many(&self, keys: &[&str], cost: f64) -> Run<Result<Vec<Decision>, Error>> {
        let answer = self.shared.check_many(keys, cost);
        if keys.is_empty() {
            // No store was asked for it.
            return answer;
        }
        let keys: Vec<Box<str>> = keys.iter().copied().map(Into::into).collect();
        self.or_local(answer, move |local| {
            let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
            local.check_many(&keys, cost)
        })
    }

    fn peek(&self, key: &str) -> Run<Result<Decision, Error>> {
        let answer = self.shared.peek(key);
        let key: Box<str> = key.into();
        self.or_local(answer, move |local| local.peek(&key))
    }

    fn forecast(&self, key: &str, cost: f64) -> Run<Result<Forecast, Error>> {
        let answer = self.shared.forecast(key, cost);
        let key: Box<str> = key.into();
        self.or_local(answer, move |local| local.forecast(&key, cost))
    }

    fn refunds(&self) -> bool {
        self.shared.refunds()
    }

    /// To the shared limiter alone: units of a limit that stood in are not given back, since it is soon forgotten.
    fn give_back(&self, key: &str, refund: Refund) -> Run<Result<Decision, Error>> {
        self.shared.give_back(key, refund)
    }

    fn is_immediate(&self) -> bool {
        self.shared.is_immediate()
    }

    fn reset(&self, key: &str) -> Run<Result<(), Error>> {
        self.shared.reset(key)
    }

    /// None: a joint check would ask the keys in the store alone, and nothing would stand in for them.
    fn dimension(&self) -> Result<Dimension, Error> {
        Err(Error::unsupported("a limiter that another one stands in for takes no part in joint checks"))
    }

    fn observed_limiter(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn DynLimiter>> {
        Some(Arc::new(self.told_to(observer)?))
    }
}

impl Admit for Fallback {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        let answer = self.shared.admit(ask);
        let (key, rest) = (Box::<str>::from(ask.key), Ask { key: "", dimensions: &[], ..*ask });
        self.or_local(answer, move |local| local.admit(&Ask { key: &key, ..rest }))
    }

    /// None during an outage: what was taken then is not the shared limiter's to take back.
    fn units_of(&self, ask: &Ask<'_>, place: usize) -> Option<f64> {
        (place == 0 && !self.outage().is_on()).then_some(ask.cost)
    }

    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        Some(Arc::new(self.told_to(observer)?))
    }
}

impl Meter for Fallback {
    fn debit(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        self.check(key, units)
    }

    /// As the shared limiter does; what already happened has no place in a limit that is soon forgotten.
    fn charge(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        self.shared.charge(key, units)
    }

    fn refund(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        self.shared.refund(key, units)
    }

    fn refund_of(&self, key: &str, refund: Refund) -> Run<Result<Decision, Error>> {
        self.shared.give_back(key, refund)
    }

    fn debit_ceiling(&self) -> Option<u64> {
        self.shared.debit_ceiling()
    }

    fn outage_turns(&self) -> u64 {
        self.outage().turns()
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("strategy", &self.strategy_name())
            .field("standby", &self.standby)
            .finish_non_exhaustive()
    }
}
