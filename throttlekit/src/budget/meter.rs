//! The meter: a budget on a keyspace, with a clock.

use std::fmt;
use std::sync::Arc;

use crate::admit::{Admission, Admit, Ask, Axes, Axis, Meter};
use crate::clock::{Clock, SystemClock, clock_of};
use crate::decision::{Decision, MAX_SAFE};
use crate::error::Error;
use crate::limiter::{Forget, Made, Watch};
use crate::math::floor_f64;
use crate::observe::{CallKind, Observer, TableReport};
use crate::program::Refund;
use crate::run::Run;
use crate::store::memory::Table;
use crate::store::{Keyspace, Remote};
use crate::strategy::validate_cost;

use super::builder::TokenBudgetBuilder;
use super::ledger::Ledger;
use super::program::{Inspect, Op, Usage, Work, fraction};
use super::rule::{Budget, Served};

/// Meters units, such as tokens, of each key against a [`Budget`], as they are produced.
///
/// [`debit`](Self::debit) units before they go out, and stop at the first denial. A debit is admitted while anything is
/// left, and then counts in full, so a key passes its budget by less than its largest debit; with debits of one unit it
/// never does. It does not matter how many requests run at once, how long they are, or what they may become.
///
/// In process, over a [`Ledger`] (the default) or a [`Table`], every method is a plain call. Over a [`Remote`] store the
/// methods of the same names are `async`, and all that use the same store and key share the budget. Code that is generic
/// over where the keys are uses the forms that return a [`Run`].
///
/// ```
/// use throttlekit::ManualClock;
/// use throttlekit::budget::{Budget, TokenBudget};
///
/// let budget = Budget::builder().budget(100.0).window_ms(60_000.0).build()?;
/// let budget = TokenBudget::builder(budget).clock(ManualClock::new(0.0)).build();
///
/// assert_eq!(budget.debit("key-1", 80)?.remaining, 20);
/// assert!(budget.debit("key-1", 50)?.allowed, "the debit that crosses the budget counts in full");
/// let denied = budget.debit("key-1", 1)?;
/// assert_eq!((denied.allowed, denied.retry_after_ms), (false, 60_000));
/// assert_eq!(budget.usage("key-1")?.served, 130);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What it promises
///
/// - **Bound**: per key and window at most one debit crosses the budget, so at most `L + g - 1` units are debited, `g` being
///   the largest debit. It holds for any number of threads and, over a store, of processes.
/// - **Charges** count what already happened, also beyond the budget; they are the caller's overshoot, not the meter's.
/// - **Windows** are aligned to the epoch. A clock that goes back stays in the window that was reached; a store with a
///   clock of its own cuts the windows by that.
/// - **Memory**: a [`Ledger`] forgets nothing that is spent; a [`Table`] at its bound does.
/// - **Order, errors, cancellation**: as with a [`Limiter`](crate::Limiter). An error has counted nothing, unless the store
///   was lost on the way back.
///
/// A clone is a handle to the same keys.
pub struct TokenBudget<K = Ledger<Served>, C = SystemClock, O = ()> {
    pub(super) budget: Budget,
    pub(super) keys: K,
    pub(super) clock: C,
    pub(super) watch: Watch<O>,
}

/// A [`Keyspace`] whose answers are ready at once: [`Ledger`] and [`Table`].
pub trait InProcess: sealed::InProcess {}

mod sealed {
    pub trait InProcess {}
}

impl<S: crate::State> sealed::InProcess for Ledger<S> {}
impl<S: crate::State> sealed::InProcess for Table<S> {}
impl<S: crate::State> InProcess for Ledger<S> {}
impl<S: crate::State> InProcess for Table<S> {}

impl TokenBudget {
    /// A meter in process, with a ledger of its own and the system clock.
    pub fn new(budget: Budget) -> Self {
        Self::builder(budget).build()
    }

    /// Starts with what [`new`](Self::new) gives.
    pub fn builder(budget: Budget) -> TokenBudgetBuilder {
        TokenBudgetBuilder::new(budget)
    }
}

impl<K, C, O> TokenBudget<K, C, O> {
    /// The budget.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The keys, scoped by the prefix.
    pub fn keyspace(&self) -> &K {
        &self.keys
    }

    /// The clock.
    pub fn clock(&self) -> &C {
        &self.clock
    }

    /// The name that its events carry.
    pub fn name(&self) -> &str {
        self.watch.policy()
    }
}

/// In process: plain calls.
impl<K: Keyspace<Served> + InProcess, C: Clock, O: Observer + Clone> TokenBudget<K, C, O> {
    /// Counts `tokens`, in full, if anything is left; else nothing.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `tokens` is 0 or above 2^53 - 1.
    #[inline]
    pub fn debit(&self, key: &str, tokens: u64) -> Result<Decision, Error> {
        ready(self.run_debit(key, tokens))
    }

    /// Counts `tokens` that were produced already, in full, whatever is left. Of what goes beyond the budget, a window that
    /// inherits debt gets [`Budget::max_debt`] at most.
    ///
    /// The decision is that of a debit: whether anything was left before.
    ///
    /// ```
    /// use throttlekit::ManualClock;
    /// use throttlekit::budget::{Budget, TokenBudget};
    ///
    /// let clock = ManualClock::new(0.0);
    /// let budget = Budget::builder().budget(100.0).window_ms(1_000.0).max_debt(50.0).carry_debt(true).build()?;
    /// let budget = TokenBudget::builder(budget).clock(clock.clone()).build();
    /// assert!(budget.charge("k", 120)?.allowed);
    /// assert!(!budget.charge("k", 200)?.allowed, "nothing was left");
    /// clock.advance(1_000.0);
    /// assert_eq!(budget.remaining("k")?, 50, "the window inherits the debt of 50");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`debit`](Self::debit), and `invalid_argument` if the window would count more than 2^53 - 1.
    pub fn charge(&self, key: &str, tokens: u64) -> Result<Decision, Error> {
        ready(self.run_charge(key, tokens))
    }

    /// Gives back tokens that were counted, at most all of them; the decision shows what is left then.
    ///
    /// Tokens of a window that is over are not given back, if the refund [says](Refund::of) which decision counted them: the
    /// window that goes on has not. Where debt is carried it may have inherited them: then what it inherits is less, unless
    /// something was counted since their window was over, and it is not known any more how much that was.
    ///
    /// ```
    /// use throttlekit::budget::{Budget, TokenBudget};
    /// use throttlekit::{ManualClock, Refund};
    ///
    /// let budget = Budget::builder().budget(100.0).window_ms(1_000.0).build()?;
    /// let budget = TokenBudget::builder(budget).clock(ManualClock::new(0.0)).build();
    /// let decision = budget.debit("k", 60)?;
    /// assert_eq!(budget.refund("k", Refund::new(20.0).of(&decision))?.remaining, 60);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `invalid_argument` if the units are no whole number from 1 to 2^53 - 1.
    pub fn refund(&self, key: &str, refund: Refund) -> Result<Decision, Error> {
        ready(self.run_refund(key, refund))
    }

    /// Says that `served` tokens are counted in this window, for an operator or to take over from elsewhere.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `served` is above 2^53 - 1.
    pub fn set(&self, key: &str, served: u64) -> Result<Decision, Error> {
        ready(self.run_set(key, served))
    }

    /// What a key has used, and what is left. Counts nothing.
    ///
    /// # Errors
    ///
    /// None in process.
    pub fn usage(&self, key: &str) -> Result<Usage, Error> {
        ready(self.run_usage(key))
    }

    /// The units left: the budget less what is counted. Counts nothing.
    ///
    /// # Errors
    ///
    /// None in process.
    pub fn remaining(&self, key: &str) -> Result<u64, Error> {
        Ok(self.usage(key)?.remaining)
    }

    /// Forgets `key`: nothing is counted.
    ///
    /// # Errors
    ///
    /// None in process.
    pub fn reset(&self, key: &str) -> Result<(), Error> {
        ready(self.run_reset(key))
    }
}

/// The answer of a keyspace in process.
#[inline]
fn ready<T>(run: Run<Result<T, Error>>) -> Result<T, Error> {
    run.now().unwrap_or_else(|_| Err(Error::unsupported("the keys are in process, and did not answer at once")))
}

/// Over a store: the same, to be awaited.
///
/// # Cancel safety
///
/// A method dropped before its first poll does nothing. Dropped later, the store may have counted; the state stays whole,
/// and no event is given.
impl<C: Clock, O: Observer + Clone> TokenBudget<Remote, C, O> {
    /// Counts `tokens`, in full, if anything is left; else nothing.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `tokens` is 0 or above 2^53 - 1; `store_unavailable` and `state_invalid` from the store.
    pub async fn debit(&self, key: &str, tokens: u64) -> Result<Decision, Error> {
        self.run_debit(key, tokens).await
    }

    /// Counts `tokens` that were produced already, in full, whatever is left. Of what goes beyond the budget, a window that
    /// inherits debt gets [`Budget::max_debt`] at most. The decision is that of a debit: whether anything was left before.
    ///
    /// # Errors
    ///
    /// As [`debit`](Self::debit), and `invalid_argument` if the window would count more than 2^53 - 1.
    pub async fn charge(&self, key: &str, tokens: u64) -> Result<Decision, Error> {
        self.run_charge(key, tokens).await
    }

    /// Gives back tokens that were counted, at most all of them; if the refund [says](Refund::of) which decision counted
    /// them, only in the window of that, or from the debt that it left, as in process.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if the units are no whole number from 1 to 2^53 - 1; `store_unavailable` and `state_invalid` from
    /// the store.
    pub async fn refund(&self, key: &str, refund: Refund) -> Result<Decision, Error> {
        self.run_refund(key, refund).await
    }

    /// Says that `served` tokens are counted in this window.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `served` is above 2^53 - 1; `store_unavailable` and `state_invalid` from the store.
    pub async fn set(&self, key: &str, served: u64) -> Result<Decision, Error> {
        self.run_set(key, served).await
    }

    /// What a key has used, and what is left. Counts nothing, and writes nothing.
    ///
    /// # Errors
    ///
    /// `store_unavailable` and `state_invalid` from the store.
    pub async fn usage(&self, key: &str) -> Result<Usage, Error> {
        self.run_usage(key).await
    }

    /// The units left: the budget less what is counted. Counts nothing, and writes nothing.
    ///
    /// # Errors
    ///
    /// As [`usage`](Self::usage).
    pub async fn remaining(&self, key: &str) -> Result<u64, Error> {
        Ok(self.run_usage(key).await?.remaining)
    }

    /// Forgets `key`: nothing is counted.
    ///
    /// # Errors
    ///
    /// `store_unavailable` from the store.
    pub async fn reset(&self, key: &str) -> Result<(), Error> {
        self.run_reset(key).await
    }
}

/// Wherever the keys are.
impl<K: Keyspace<Served>, C: Clock, O: Observer + Clone> TokenBudget<K, C, O> {
    /// Counts `tokens`, in full, if anything is left; else nothing. In process the answer is ready, and a hit allocates
    /// nothing.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `tokens` is 0 or above 2^53 - 1; `store_unavailable` and `state_invalid` from the store.
    #[inline]
    pub fn run_debit(&self, key: &str, tokens: u64) -> Run<Result<Decision, Error>> {
        match whole(tokens) {
            Ok(tokens) => self.debit_whole(key, tokens),
            Err(error) => Run::ready(Err(error)),
        }
    }

    /// Counts `tokens` that were produced already; see [`charge`](TokenBudget::charge).
    ///
    /// # Errors
    ///
    /// As [`run_debit`](Self::run_debit), and `invalid_argument` if the window would count more than 2^53 - 1.
    pub fn run_charge(&self, key: &str, tokens: u64) -> Run<Result<Decision, Error>> {
        match whole(tokens) {
            Ok(tokens) => self.charge_whole(key, tokens),
            Err(error) => Run::ready(Err(error)),
        }
    }

    /// Gives back tokens that were counted; see [`refund`](TokenBudget::refund). It gives no event.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if the units are no whole number from 1 to 2^53 - 1; `store_unavailable` and `state_invalid` from
    /// the store.
    pub fn run_refund(&self, key: &str, refund: Refund) -> Run<Result<Decision, Error>> {
        match whole_units(refund.units) {
            Ok(_) => self.run_op(key, &Op::Refund(refund)),
            Err(error) => Run::ready(Err(error)),
        }
    }

    /// Says that `served` tokens are counted in this window.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `served` is above 2^53 - 1; `store_unavailable` and `state_invalid` from the store.
    pub fn run_set(&self, key: &str, served: u64) -> Run<Result<Decision, Error>> {
        let served = if served == 0 { Ok(0.0) } else { whole(served) };
        match served {
            Ok(served) => self.run_op(key, &Op::Set(served)),
            Err(error) => Run::ready(Err(error)),
        }
    }

    /// What a key has used, and what is left. Counts nothing.
    ///
    /// # Errors
    ///
    /// `store_unavailable` and `state_invalid` from the store.
    pub fn run_usage(&self, key: &str) -> Run<Result<Usage, Error>> {
        self.keys.run(key, self.clock.now_ms(), &Inspect(self.budget), &())
    }

    /// Forgets `key`.
    ///
    /// # Errors
    ///
    /// `store_unavailable` from the store.
    pub fn run_reset(&self, key: &str) -> Run<Result<(), Error>> {
        self.keys.run(key, self.clock.now_ms(), &Forget::new(), &())
    }

    /// Before a decision: reads the stopwatch of the observer, if it has one, and the clock.
    #[inline(always)]
    pub(super) fn begin(&self, kind: CallKind, tokens: f64) -> Made {
        let begun = self.watch.begin();
        Made { kind, cost: tokens, now_ms: self.clock.now_ms(), begun, local: false }
    }

    #[inline]
    pub(super) fn debit_whole(&self, key: &str, tokens: f64) -> Run<Result<Decision, Error>> {
        self.debit_made(key, self.begin(CallKind::Check, tokens))
    }

    #[inline]
    fn debit_made(&self, key: &str, made: Made) -> Run<Result<Decision, Error>> {
        let tokens = made.cost;
        self.watch.follow(key, made, self.keys.run(key, made.now_ms, &self.budget, &tokens))
    }

    fn charge_whole(&self, key: &str, tokens: f64) -> Run<Result<Decision, Error>> {
        let made = self.begin(CallKind::Check, tokens);
        let run = self.keys.run(key, made.now_ms, &Work(self.budget), &Op::Charge(tokens));
        self.watch.follow(key, made, run)
    }

    /// Without an event.
    fn run_op(&self, key: &str, op: &Op) -> Run<Result<Decision, Error>> {
        self.keys.run(key, self.clock.now_ms(), &Work(self.budget), op)
    }
}

#[allow(clippy::cast_precision_loss)] // exact up to 2^53 - 1
pub(super) fn whole(tokens: u64) -> Result<f64, Error> {
    if (1..=MAX_SAFE).contains(&tokens) { Ok(tokens as f64) } else { Err(fraction(tokens as f64)) }
}

/// As [`whole`], of units that came as a float.
pub(super) fn whole_units(units: f64) -> Result<f64, Error> {
    let units = validate_cost(units)?;
    if floor_f64(units) == units { Ok(units) } else { Err(fraction(units)) }
}

/// Units are whole tokens; a fraction is `invalid_argument`.
impl<K: Keyspace<Served>, C: Clock, O: Observer + Clone> Meter for TokenBudget<K, C, O> {
    #[inline]
    fn debit(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        match whole_units(units) {
            Ok(tokens) => self.debit_whole(key, tokens),
            Err(error) => Run::ready(Err(error)),
        }
    }

    fn charge(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        match whole_units(units) {
            Ok(tokens) => self.charge_whole(key, tokens),
            Err(error) => Run::ready(Err(error)),
        }
    }

    fn refund(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        self.run_refund(key, Refund::new(units))
    }

    fn refund_of(&self, key: &str, refund: Refund) -> Run<Result<Decision, Error>> {
        self.run_refund(key, refund)
    }

    fn debit_ceiling(&self) -> Option<u64> {
        (!self.budget.whole).then(|| self.budget.units())
    }
}

/// Debits [`Ask::cost`] from [`Ask::key`], on the cost axis; the other fields do not matter to it.
impl<K: Keyspace<Served>, C: Clock, O: Observer + Clone> Admit for TokenBudget<K, C, O> {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        match whole_units(ask.cost) {
            Ok(tokens) => {
                let made = self.begin(CallKind::Check, tokens).of(ask);
                self.debit_made(ask.key, made).map(|result| result.map(admission))
            }
            Err(error) => Run::ready(Err(error)),
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

/// A meter whose observer came later.
type Observed<K> = TokenBudget<K, Arc<dyn Clock>, Arc<dyn Observer>>;

impl<K: Keyspace<Served>, C: Clock, O: Observer> TokenBudget<K, C, O> {
    /// A handle to the same keys that tells `observer`; `None` if it has an observer.
    pub(super) fn told_to(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Observed<K>> {
        let (keys, watch) = (self.keys.clone(), self.watch.told_to(observer)?);
        Some(TokenBudget { budget: self.budget, keys, clock: clock_of(self, Self::clock), watch })
    }
}

/// An admission by the cost axis alone, which holds no slot.
fn admission(decision: Decision) -> Admission {
    let mut admission = Admission::rate(decision);
    admission.axes = Axes { rate: None, concurrency: None, cost: Some(decision) };
    admission.binding = if decision.allowed { None } else { Some(Axis::Cost) };
    admission
}

impl<K: Clone, C: Clone, O: Clone> Clone for TokenBudget<K, C, O> {
    fn clone(&self) -> Self {
        Self { budget: self.budget, keys: self.keys.clone(), clock: self.clock.clone(), watch: self.watch.clone() }
    }
}

impl<K, C, O> fmt::Debug for TokenBudget<K, C, O> {
    /// Shows no keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenBudget").field("name", &self.name()).field("budget", &self.budget).finish_non_exhaustive()
    }
}
