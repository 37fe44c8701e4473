//! The gate: work begins when what it may cost still fits.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::admit::{Admission, Admit, Ask, Axes, Axis};
use crate::clock::{Clock, SystemClock};
use crate::decision::{Decision, ceil_ms, floor_units};
use crate::duration::millis;
use crate::error::{BuildError, Error};
use crate::math::ceil_f64;
use crate::observe::Observer;
use crate::permit::Permit;
use crate::run::Run;
use crate::store::Keyspace;
use crate::strategy::validate_cost;

use super::book::{Book, ReservationStats};
use super::ledger::Ledger;
use super::meter::TokenBudget;
use super::program::Usage;
use super::reservation::{Held, Reservation};
use super::reserve::{ReservationPolicy, Ticket};
use super::rule::Served;

/// How many reservations there may be at once unless it is told otherwise.
const DEFAULT_MAX_OUTSTANDING: usize = 100_000;
/// How long a reservation lives unless it is told otherwise, in milliseconds.
const DEFAULT_TTL_MS: f64 = 600_000.0;

/// When a [`Gate`] lets work begin. `s` tokens are counted in the window, work in flight has reserved `R`, and the work that
/// asks would reserve `r`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GateRule {
    /// While everything fits: `s + R + r <= L` and `s < L`. A debit moves tokens from `R` to `s`. If no work costs more than
    /// was reserved, none is cut off; the last tokens of a window may stay unused.
    #[default]
    Fits,
    /// While the work in flight fits: `R + r <= L` and `s < L`. Work counts with all that it reserved until it ends. The
    /// budget is used up, and work is cut off at its end.
    InFlight,
}

/// Lets work begin while what is counted, what is reserved and what the work may cost fit a budget together.
///
/// The meter alone keeps the budget from being passed; the gate keeps work from beginning that would probably be cut off.
/// [`GateRule`] has the two rules.
///
/// ```
/// use throttlekit::ManualClock;
/// use throttlekit::budget::{Budget, Gate, ReservationPolicy, TokenBudget};
///
/// let budget = Budget::builder().budget(1_000.0).window_ms(60_000.0).build()?;
/// let meter = TokenBudget::builder(budget).clock(ManualClock::new(0.0)).build();
/// let gate = Gate::builder(meter, ReservationPolicy::max(600)?).build()?;
///
/// let first = gate.reserve("key-1", None).now().expect("in process nothing waits")?;
/// let work = first.reservation.expect("600 of 1000 fit");
/// let second = gate.reserve("key-1", None).now().expect("in process nothing waits")?;
/// assert!(second.reservation.is_none(), "1200 do not");
///
/// assert!(work.debit(50).now().expect("in process nothing waits")?.allowed);
/// work.commit(50).now().expect("in process nothing waits")?; // done: the other 550 are free
/// assert_eq!(gate.outstanding("key-1"), 0);
/// assert_eq!(gate.meter().usage("key-1")?.served, 50);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What it promises
///
/// - **Atomic**: in process the meter is read and the reservation made in one step. Over a store the meter has to be asked
///   first; a request then counts all reservations that came before it, and what went from reservations to the meter
///   meanwhile. So two requests never pass by what only one of them may have; one may be refused for another that is
///   refused too.
/// - **Exactly once**: each reservation is settled once, by [`commit`](Reservation::commit), [`release`](Reservation::release)
///   or being dropped; one whose holder vanished expires.
/// - **In a fleet** what is reserved is known to the process that reserved it, and to no other: `N` processes together may
///   let `N` times as much work begin as one would. More of it is then cut off. The bound of the meter is the same.
/// - **Memory**: there are at most so many reservations at once; above that work is refused.
/// - **Cancellation**: a [`Run`] that is dropped reserves nothing.
///
/// As an [`Admit`] it reserves [`Ask::cost`] tokens, rounded up, of [`Ask::key`]; the permit holds the reservation, and gives
/// it back however it is settled. What the work does cost is debited from [`meter`](Self::meter) meanwhile.
///
/// A clone is a handle to the same reservations.
pub struct Gate<K = Ledger<Served>, C = SystemClock, O = ()> {
    pub(super) inner: Arc<Inner<K, C, O>>,
}

pub(super) struct Inner<K, C, O> {
    pub(super) meter: TokenBudget<K, C, O>,
    policy: Mutex<ReservationPolicy>,
    pub(super) book: Arc<Book>,
    ttl_ms: f64,
}

/// The answer of a [`Gate`].
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "dropping a reservation gives it back"]
pub struct Reserved<K: Keyspace<Served>, C: Clock, O: Observer + Clone> {
    /// The decision; what remains is what is neither counted nor reserved. A denial's wait lasts to the end of the window:
    /// reservations may come back earlier.
    pub decision: Decision,
    /// What was reserved; `None` on a denial.
    pub reservation: Option<Reservation<K, C, O>>,
}

/// Builds a [`Gate`]; from [`Gate::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct GateBuilder<K, C, O> {
    meter: TokenBudget<K, C, O>,
    policy: ReservationPolicy,
    rule: GateRule,
    ttl_ms: f64,
    max_outstanding: usize,
}

impl<K, C, O> GateBuilder<K, C, O> {
    /// When work may begin. Default: [`GateRule::Fits`].
    pub fn rule(mut self, rule: GateRule) -> Self {
        self.rule = rule;
        self
    }

    /// How long a reservation lives that is neither used nor settled, since its holder has vanished. Each debit makes it
    /// live on. Default: 10 minutes.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.ttl_ms(millis(ttl))
    }

    /// As [`ttl`](Self::ttl), in milliseconds: at least 1.
    pub fn ttl_ms(mut self, ttl_ms: f64) -> Self {
        self.ttl_ms = ttl_ms;
        self
    }

    /// How many reservations there may be at once, of all keys together: at least 1. Default: 100,000.
    pub fn max_outstanding(mut self, max_outstanding: usize) -> Self {
        self.max_outstanding = max_outstanding;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// `gate.ttlMs` or `gate.maxOutstanding` if it is out of its range.
    pub fn build(self) -> Result<Gate<K, C, O>, BuildError> {
        if !self.ttl_ms.is_finite() || self.ttl_ms < 1.0 {
            return Err(BuildError::new("gate.ttlMs", self.ttl_ms, "must be a finite number of at least 1"));
        }
        if self.max_outstanding == 0 {
            return Err(BuildError::new("gate.maxOutstanding", self.max_outstanding, "must be at least 1"));
        }
        let book = Arc::new(Book::new(self.max_outstanding, self.rule));
        let inner = Inner { meter: self.meter, policy: Mutex::new(self.policy), book, ttl_ms: self.ttl_ms };
        Ok(Gate { inner: Arc::new(inner) })
    }
}

impl<K, C, O> Gate<K, C, O> {
    /// A gate before `meter`, which chooses reservations by `policy`.
    pub fn builder(meter: TokenBudget<K, C, O>, policy: ReservationPolicy) -> GateBuilder<K, C, O> {
        GateBuilder {
            meter,
            policy,
            rule: GateRule::default(),
            ttl_ms: DEFAULT_TTL_MS,
            max_outstanding: DEFAULT_MAX_OUTSTANDING,
        }
    }

    /// The meter behind the gate.
    pub fn meter(&self) -> &TokenBudget<K, C, O> {
        &self.inner.meter
    }

    /// Tokens of `key` that are reserved and neither counted nor given back. What has expired is found by the next request.
    pub fn outstanding(&self, key: &str) -> u64 {
        self.inner.book.open().held(key)
    }

    /// How many reservations there are, and what became of others.
    pub fn stats(&self) -> ReservationStats {
        self.inner.book.open().stats()
    }

    /// The policy as it is now, with what it has learnt.
    pub fn policy(&self) -> ReservationPolicy {
        *self.inner.policy()
    }
}

impl<K, C, O> Inner<K, C, O> {
    fn policy(&self) -> MutexGuard<'_, ReservationPolicy> {
        // Plain numbers: a panic leaves them numbers.
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[allow(clippy::cast_precision_loss)] // a count of tokens
    pub(super) fn learn(&self, ticket: Ticket, tokens: u64) {
        self.policy().observe(ticket, tokens as f64);
    }

    /// When a reservation expires that is used at `now_ms`.
    pub(super) fn expiry(&self, now_ms: f64) -> i64 {
        ceil_ms(now_ms + self.ttl_ms)
    }
}

impl<K: Keyspace<Served>, C: Clock, O: Observer + Clone> Gate<K, C, O> {
    /// Reserves what the policy says for work with this prediction of its cost, if there is one.
    ///
    /// # Errors
    ///
    /// `store_unavailable` and `state_invalid` from the store.
    pub fn reserve(&self, key: &str, prediction: Option<f64>) -> Run<Result<Reserved<K, C, O>, Error>> {
        let ticket = self.inner.policy().reserve(prediction);
        self.hold(key, ticket.amount(), Some(ticket))
    }

    /// Reserves `tokens`, whatever the policy says; 0 asks only whether anything is left.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    pub fn reserve_tokens(&self, key: &str, tokens: u64) -> Run<Result<Reserved<K, C, O>, Error>> {
        self.hold(key, tokens, None)
    }

    fn hold(&self, key: &str, tokens: u64, ticket: Option<Ticket>) -> Run<Result<Reserved<K, C, O>, Error>> {
        let inner = &self.inner;
        let now_ms = inner.meter.clock.now_ms();
        let name: Arc<str> = Arc::from(key);
        let mut pages = inner.book.open();
        pages.expire(ceil_ms(now_ms));
        let entered = pages.enter(inner.book.max(), &name, tokens, inner.expiry(now_ms));
        // Open until the meter is asked, so that in process nobody comes in between; a future is only made here.
        let asked = inner.meter.run_usage(key);
        let Some((number, mark)) = entered else {
            drop(pages);
            return asked.map(move |usage| usage.map(|usage| Reserved::refused(full(&usage))));
        };
        let rule = inner.book.rule();
        let judge = move |held: u64, usage: &Usage| {
            let taken = match rule {
                GateRule::Fits => usage.served.saturating_add(held),
                GateRule::InFlight => held,
            };
            let fits = usage.remaining > 0 && taken.saturating_add(tokens) <= usage.limit;
            let left = usage.limit.saturating_sub(taken);
            let left = if fits { left - tokens } else { left };
            decision(usage, fits, left.min(usage.remaining))
        };
        match asked.now() {
            Ok(usage) => {
                let decided = usage.map(|usage| judge(pages.before(&name, number, mark), &usage));
                if !matches!(decided, Ok(Decision { allowed: true, .. })) {
                    pages.strike(&name, number);
                }
                drop(pages);
                Run::ready(decided.map(|decision| self.answer(decision, name, number, ticket, tokens)))
            }
            Err(asked) => {
                drop(pages);
                // From here on the reservation is given back if this is dropped.
                let held = Held::new(Arc::clone(&inner.book), name, number);
                let gate = self.clone();
                Run::wait(async move {
                    let usage = asked.await?;
                    let taken = gate.inner.book.open().before(held.key(), number, mark);
                    let decision = judge(taken, &usage);
                    let reservation =
                        decision.allowed.then(|| Reservation::new(Arc::clone(&gate.inner), held, ticket, tokens));
                    Ok(Reserved { decision, reservation })
                })
            }
        }
    }

    fn answer(
        &self,
        decision: Decision,
        key: Arc<str>,
        number: u64,
        ticket: Option<Ticket>,
        tokens: u64,
    ) -> Reserved<K, C, O> {
        let held = || Held::new(Arc::clone(&self.inner.book), key, number);
        let reservation = decision.allowed.then(|| Reservation::new(Arc::clone(&self.inner), held(), ticket, tokens));
        Reserved { decision, reservation }
    }
}

impl<K: Keyspace<Served>, C: Clock, O: Observer + Clone> Reserved<K, C, O> {
    fn refused(decision: Decision) -> Self {
        Self { decision, reservation: None }
    }
}

#[allow(clippy::cast_precision_loss)] // an instant
fn decision(usage: &Usage, allowed: bool, remaining: u64) -> Decision {
    let wait = floor_units(ceil_f64(usage.retry_at_ms as f64 - usage.now_ms)).max(1);
    Decision {
        allowed,
        limit: usage.limit,
        remaining,
        reset_at_ms: usage.window_end_ms,
        retry_after_ms: if allowed { 0 } else { wait },
    }
}

/// As many reservations as there may be: any of them may be settled soon.
fn full(usage: &Usage) -> Decision {
    Decision { retry_after_ms: 1, ..decision(usage, false, usage.remaining) }
}

impl<K: Keyspace<Served>, C: Clock, O: Observer + Clone> Admit for Gate<K, C, O> {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        let tokens = match validate_cost(ask.cost) {
            Ok(cost) => floor_units(ceil_f64(cost)),
            Err(error) => return Run::ready(Err(error)),
        };
        self.reserve_tokens(ask.key, tokens).map(|result| {
            result.map(|Reserved { decision, reservation }| {
                let axes = Axes { cost: Some(decision), ..Axes::default() };
                let binding = if decision.allowed { None } else { Some(Axis::Cost) };
                let permit = reservation.map_or_else(Permit::none, Reservation::into_permit);
                Admission { decision, axes, each: None, binding, permit }
            })
        })
    }
}

impl<K, C, O> Clone for Gate<K, C, O> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, C, O> fmt::Debug for Gate<K, C, O> {
    /// Shows no keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("meter", &self.inner.meter).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
