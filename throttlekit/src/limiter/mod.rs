//! The limiter: a strategy on a keyspace, with a clock.

mod builder;
mod dynamic;
mod observed;
mod owed;
mod programs;
mod stored;
mod watch;

pub use builder::LimiterBuilder;
pub use dynamic::DynLimiter;
pub(crate) use dynamic::observed_or_same;
pub(crate) use owed::Owed;
pub(crate) use programs::{Ahead, Forget, GiveBack, Judge, Peek};
pub(crate) use watch::{Made, Watch};

use std::fmt;
use std::sync::Arc;

use crate::admit::{Admission, Admit, Ask, Meter};
use crate::clock::{Clock, SystemClock};
use crate::decision::{Decision, Forecast};
use crate::error::Error;
use crate::fingerprint::Mark;
use crate::observe::{CallKind, Observer, TableReport};
use crate::program::{Program, Project, Refund, Strategy, no_refunds};
use crate::run::Run;
use crate::store::memory::Table;
use crate::store::{Keyspace, Moment};
use crate::strategy::{validate_cost, validate_units};

/// The cost of a check that names none.
const ONE: f64 = 1.0;

/// Limits keys by a [`Strategy`].
///
/// In memory a check is a plain call; over a [`Remote`](crate::store::Remote) store the methods of the same names are `async`.
/// Code that is generic over where the keys are uses the forms that return a [`Run`] ([`run_check`](Self::run_check) and so on),
/// or the traits [`Admit`], [`Meter`] and [`DynLimiter`].
///
/// ```
/// use throttlekit::{Gcra, Limiter, ManualClock};
///
/// let clock = ManualClock::new(0.0);
/// let limiter = Limiter::builder(Gcra::per_second(2)?).clock(clock.clone()).build();
///
/// assert!(limiter.check("user-1")?.allowed);
/// assert!(limiter.check("user-1")?.allowed);
/// let denied = limiter.check("user-1")?;
/// assert!(!denied.allowed);
/// assert_eq!(denied.retry_after_ms, 500);
/// assert!(limiter.check("user-2")?.allowed);
///
/// clock.advance(500.0);
/// assert!(limiter.check("user-1")?.allowed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What it promises
///
/// - **Bound**: what the strategy's documentation states, per key. It holds for any number of threads, since a step runs
///   atomically on its key, and none gives back what another one took at a later instant. Over a store it holds for any number
///   of processes, by the clock of the store; where the store has none, as far as the clocks of the processes agree.
/// - **A denial takes nothing.** Peek and forecast take nothing either.
/// - **Order**: checks on one key take effect one after the other, in an order that agrees with what happens before what.
///   There is no queue: who is denied and tries again has no place ahead of others.
/// - **Time**: the clock is read once for each check, batch, peek and forecast, after the cost was found to be legal. In memory
///   it is read again, while the key is held, if other threads were there at a later instant meanwhile. A clock that steps
///   back delays or, for windows, gives back; [`SystemClock`] never does. A store with a clock of its own judges by that.
/// - **Memory**: a [`Table`] has a bound. A key that it had to evict starts afresh, as if it had not been used.
/// - **Store loss**: nothing is admitted or denied; the error says `store_unavailable`, and the caller decides.
/// - **Cancellation**: a dropped future leaves the state of the key whole. The store may have counted the check.
/// - **Errors**: a cost that is not finite, not above 0 or above 2^53 - 1 is `invalid_argument`, before anything else.
///
/// A clone is a handle to the same keys.
pub struct Limiter<S: Program, K = Table<<S as Program>::State>, C = SystemClock, O = ()> {
    strategy: S,
    keys: K,
    clock: C,
    watch: Watch<O>,
}

impl<S: Strategy> Limiter<S> {
    /// A limiter in memory, with a table of its own and the system clock.
    ///
    /// ```
    /// use throttlekit::{Gcra, Limiter};
    ///
    /// let limiter = Limiter::new(Gcra::per_minute(100)?);
    /// assert!(limiter.check("user-1")?.allowed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Table::new`]: if the system does not reserve the memory.
    pub fn new(strategy: S) -> Self {
        Self::builder(strategy).build()
    }

    /// Starts with what [`new`](Self::new) gives.
    pub fn builder(strategy: S) -> LimiterBuilder<S> {
        LimiterBuilder::new(strategy)
    }
}

impl<S: Program, K, C, O> Limiter<S, K, C, O> {
    /// The strategy.
    #[inline]
    pub fn strategy(&self) -> &S {
        &self.strategy
    }

    /// The keys, scoped by the prefix.
    #[inline]
    pub fn keyspace(&self) -> &K {
        &self.keys
    }

    /// The clock.
    #[inline]
    pub fn clock(&self) -> &C {
        &self.clock
    }

    /// The name that its events carry.
    pub fn name(&self) -> &str {
        self.watch.policy()
    }
}

impl<S: Program, K, C: Clock, O: Observer> Limiter<S, K, C, O> {
    /// Before a decision: reads the stopwatch of the observer, if it has one, and the clock.
    #[inline(always)]
    fn begin(&self, kind: CallKind, cost: f64) -> Made {
        let begun = self.watch.begin();
        Made { kind, cost, now_ms: self.clock.now_ms(), begun, local: false }
    }

    /// Tells of a cost that is refused.
    #[cold]
    fn refuse(&self, key: &str, kind: CallKind, cost: f64, error: Error) -> Error {
        self.watch.refuse(key, kind, cost, || self.clock.now_ms(), error)
    }
}

impl<S: Program, C: Clock, O> Limiter<S, Table<S::State>, C, O> {
    /// Runs `program` on `key` now, without an event.
    fn apply<P: Program<State = S::State>>(
        &self,
        key: &str,
        program: &P,
        request: &P::Request,
    ) -> Result<P::Reply, Error> {
        self.keys.apply_at(key, Mark::default(), &mut Moment::read(&self.clock), program, request)
    }
}

impl<S: Program, K: Keyspace<S::State>, C: Clock, O> Limiter<S, K, C, O> {
    /// As [`apply`](Self::apply), wherever the keys are.
    fn run_now<P: Program<State = S::State>>(
        &self,
        key: &str,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<P::Reply, Error>> {
        self.keys.run_at(key, Mark::default(), &mut Moment::read(&self.clock), program, request)
    }
}

/// In memory: plain calls.
impl<S: Strategy, C: Clock, O: Observer> Limiter<S, Table<S::State>, C, O> {
    /// Takes one unit from `key`, if it is there.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if one unit is too small for the strategy to count. The built-in ones count it always.
    #[inline]
    pub fn check(&self, key: &str) -> Result<Decision, Error> {
        self.decide(key, ONE)
    }

    /// Takes `cost` units from `key`, all or none.
    ///
    /// A cost above the ceiling is legal, and always denied.
    ///
    /// ```
    /// use throttlekit::{Gcra, Limiter};
    ///
    /// let limiter = Limiter::new(Gcra::per_hour(10)?);
    /// assert!(limiter.check_cost("user-1", 7.0)?.allowed);
    /// assert!(!limiter.check_cost("user-1", 4.0)?.allowed);
    /// assert!(limiter.check_cost("user-1", 0.0).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `cost` is not finite, not above 0 or above 2^53 - 1, or too small for the strategy to count.
    #[inline]
    pub fn check_cost(&self, key: &str, cost: f64) -> Result<Decision, Error> {
        match validate_cost(cost) {
            Ok(cost) => self.decide(key, cost),
            Err(error) => Err(self.refuse(key, CallKind::CheckSync, cost, error)),
        }
    }

    /// Takes `cost` units from each key, at one instant; decisions in the order of `keys`.
    ///
    /// Each key is decided on its own. A repeated key sees what came before it.
    ///
    /// ```
    /// use throttlekit::{Gcra, Limiter};
    ///
    /// let limiter = Limiter::new(Gcra::per_hour(1)?);
    /// let decisions = limiter.check_many(&["a", "b", "a"], 1.0)?;
    /// let allowed: Vec<_> = decisions.iter().map(|decision| decision.allowed).collect();
    /// assert_eq!(allowed, [true, true, false]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`check_cost`](Self::check_cost).
    pub fn check_many(&self, keys: &[&str], cost: f64) -> Result<Vec<Decision>, Error> {
        if let Err(error) = validate_cost(cost) {
            return Err(self.refuse("", CallKind::CheckManySync, cost, error));
        }
        let mut made = self.begin(CallKind::CheckManySync, cost);
        let mut at = Moment::of(made.now_ms, &self.clock);
        let result = self.keys.apply_many_at(keys, &mut at, &self.strategy, &cost);
        made.now_ms = at.now_ms;
        self.watch.tell_many(keys, made, &result);
        result
    }

    /// Forgets `key`: it starts afresh.
    ///
    /// # Errors
    ///
    /// None in memory.
    pub fn reset(&self, key: &str) -> Result<(), Error> {
        self.apply(key, &Forget::new(), &())
    }

    /// The one path of a check; `cost` is legal.
    #[inline(always)]
    fn decide(&self, key: &str, cost: f64) -> Result<Decision, Error> {
        let mut made = self.begin(CallKind::CheckSync, cost);
        let mark = self.keys.mark(key);
        let mut at = Moment::of(made.now_ms, &self.clock);
        let result = self.keys.apply_at(key, mark, &mut at, &self.strategy, &cost);
        made.now_ms = at.now_ms;
        self.watch.tell(key, made.marked(mark), &result);
        result
    }
}

/// In memory: what the future holds.
impl<S: Project, C: Clock, O: Observer> Limiter<S, Table<S::State>, C, O> {
    /// What [`check`](Self::check) would find, without taking anything. A denial's wait is at least 1 ms.
    ///
    /// ```
    /// use throttlekit::{Gcra, Limiter};
    ///
    /// let limiter = Limiter::new(Gcra::per_second(10)?);
    /// assert_eq!(limiter.peek("user-1")?.remaining, 10);
    /// assert_eq!(limiter.check("user-1")?.remaining, 9);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// None in memory.
    pub fn peek(&self, key: &str) -> Result<Decision, Error> {
        self.apply(key, &Peek(self.strategy.clone()), &())
    }

    /// How often `cost` fits into `key` right now, and when capacity comes back. Takes nothing.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `cost` is not finite, not above 0 or above 2^53 - 1, or no whole number where the strategy counts
    /// [no others](Strategy::WHOLE_UNITS).
    pub fn forecast(&self, key: &str, cost: f64) -> Result<Forecast, Error> {
        let cost = validate_units::<S>(cost)?;
        self.apply(key, &Ahead(self.strategy.clone()), &cost)
    }
}

/// Wherever the keys are.
impl<S: Strategy, K: Keyspace<S::State>, C: Clock, O: Observer + Clone> Limiter<S, K, C, O> {
    /// Takes `cost` units from `key`, all or none. In memory the answer is ready, and nothing is allocated.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a bad cost; `store_unavailable` and `state_invalid` from the store.
    #[inline(always)]
    pub fn run_check(&self, key: &str, cost: f64) -> Run<Result<Decision, Error>> {
        self.run_timed(&Ask::new(key).cost(cost)).1
    }

    /// As [`run_check`](Self::run_check), of the key and the cost of `ask`, with the instant of the check: 0 of a cost that is
    /// refused.
    #[inline(always)]
    fn run_timed(&self, ask: &Ask<'_>) -> (f64, Run<Result<Decision, Error>>) {
        let Ask { key, cost, .. } = *ask;
        let cost = match validate_cost(cost) {
            Ok(cost) => cost,
            Err(error) => return (0.0, Run::ready(Err(self.refuse(key, CallKind::Check, cost, error)))),
        };
        let mut made = self.begin(CallKind::Check, cost).of(ask);
        let mark = self.keys.mark(key);
        let mut at = Moment::of(made.now_ms, &self.clock);
        let run = self.keys.run_at(key, mark, &mut at, &self.strategy, &cost);
        made.now_ms = at.now_ms;
        (made.now_ms, self.watch.follow(key, made.marked(mark), run))
    }

    /// Takes `cost` units from each key, at one instant; decisions in the order of `keys`.
    ///
    /// # Errors
    ///
    /// As [`run_check`](Self::run_check). One failure fails the batch.
    pub fn run_check_many(&self, keys: &[&str], cost: f64) -> Run<Result<Vec<Decision>, Error>> {
        let cost = match validate_cost(cost) {
            Ok(cost) => cost,
            Err(error) => return Run::ready(Err(self.refuse("", CallKind::CheckMany, cost, error))),
        };
        let mut made = self.begin(CallKind::CheckMany, cost);
        let mut at = Moment::of(made.now_ms, &self.clock);
        let run = self.keys.run_many_at(keys, &mut at, &self.strategy, &cost);
        made.now_ms = at.now_ms;
        self.watch.follow_many(keys, made, run)
    }

    /// Gives units back that were taken from `key` and not used; the decision shows what there is then. It gives no
    /// event.
    ///
    /// A key never gets more than it lacks. Units that have come back by themselves are not given back twice, as far as the
    /// refund [says](Refund::of) when they were taken.
    ///
    /// # Errors
    ///
    /// `throttlekit_error` if the strategy takes no units back, as a [sliding log](crate::SlidingWindowLog) does not;
    /// otherwise as [`run_check`](Self::run_check).
    pub fn run_refund(&self, key: &str, refund: Refund) -> Run<Result<Decision, Error>> {
        if !S::REFUNDS {
            return Run::ready(Err(no_refunds(self.strategy.name())));
        }
        match validate_cost(refund.units) {
            Ok(_) => self.run_now(key, &GiveBack(self.strategy.clone()), &refund),
            Err(error) => Run::ready(Err(error)),
        }
    }

    /// Forgets `key`: it starts afresh.
    ///
    /// # Errors
    ///
    /// `store_unavailable` from the store.
    pub fn run_reset(&self, key: &str) -> Run<Result<(), Error>> {
        self.run_now(key, &Forget::new(), &())
    }
}

/// Wherever the keys are: what the future holds.
impl<S: Project, K: Keyspace<S::State>, C: Clock, O> Limiter<S, K, C, O> {
    /// What a check of cost 1 would find, without taking anything. A denial's wait is at least 1 ms.
    ///
    /// # Errors
    ///
    /// `store_unavailable` and `state_invalid` from the store.
    pub fn run_peek(&self, key: &str) -> Run<Result<Decision, Error>> {
        self.run_now(key, &Peek(self.strategy.clone()), &())
    }

    /// How often `cost` fits into `key` right now, and when capacity comes back. Takes nothing.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a bad cost; `store_unavailable` and `state_invalid` from the store.
    pub fn run_forecast(&self, key: &str, cost: f64) -> Run<Result<Forecast, Error>> {
        match validate_units::<S>(cost) {
            Ok(cost) => self.run_now(key, &Ahead(self.strategy.clone()), &cost),
            Err(error) => Run::ready(Err(error)),
        }
    }
}

/// Decides by [`Ask::key`] and [`Ask::cost`]; the other fields do not matter to it.
impl<S: Strategy, K: Keyspace<S::State>, C: Clock, O: Observer + Clone> Admit for Limiter<S, K, C, O> {
    #[inline]
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        match self.run_timed(ask).1 {
            // An admission is large: made in place, it is not copied from one wrapper into the next.
            Run::Ready(Some(Ok(decision))) => Run::Ready(Some(Ok(Admission::rate(decision)))),
            other => other.map(|result| result.map(Admission::rate)),
        }
    }

    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        Some(Arc::new(self.told_to(observer)?))
    }

    fn units_of(&self, ask: &Ask<'_>, place: usize) -> Option<f64> {
        (place == 0).then_some(ask.cost)
    }

    fn table_state(&self) -> Option<TableReport> {
        self.keys.table_state()
    }
}

impl<S: Strategy, K: Keyspace<S::State>, C: Clock, O: Observer + Clone> Meter for Limiter<S, K, C, O> {
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

impl<S: Program, K: Clone, C: Clone, O: Clone> Clone for Limiter<S, K, C, O> {
    fn clone(&self) -> Self {
        Self {
            strategy: self.strategy.clone(),
            keys: self.keys.clone(),
            clock: self.clock.clone(),
            watch: self.watch.clone(),
        }
    }
}

impl<S: Program + fmt::Debug, K, C, O> fmt::Debug for Limiter<S, K, C, O> {
    /// Shows no keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("name", &self.name()).field("strategy", &self.strategy).finish_non_exhaustive()
    }
}
