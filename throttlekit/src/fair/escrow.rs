//! Shares that are lent, as far as nobody is owed them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::admit::{Admission, Admit, Ask, Axis, Meter};
use crate::clock::{Clock, SystemClock};
use crate::decision::{Decision, ceil_ms, ceil_wait, floor_units};
use crate::error::Error;
use crate::lease::flight::Flight;
use crate::observe::{Event, Observer, stopwatch_ns, told, took_ms};
use crate::run::Run;
use crate::strategy::{floor_f64, validate_cost};

use super::escrow_builder::FairEscrowBuilder;
use super::pool::Pool;
use super::share::tenants_end;
use super::stats::{FairStats, TenantStats};
use super::tenants::Tenants;
use super::weights::{Weights, validate};

/// The strategy name of its events.
pub(super) const FAIR_ESCROW: &str = "fairEscrow";
/// How often a request asks for units again whose window was over when they came.
const LATE: u32 = 2;

/// Shares a limit among tenants by weight, and lends what nobody is owed.
///
/// In each window a tenant is guaranteed `g = floor(weight * limit / weights of all that came)`. A request of cost `c` by a
/// tenant that has used `u` is decided in this order, `rest` being the limit less what all used:
///
/// 1. `c > rest`: denied.
/// 2. `u + c <= g`: admitted.
/// 3. Otherwise `rest` less what the others are still owed may be lent. If that covers `u + c - g`, admitted; else denied.
///
/// So all together use at most the limit, each is sure of its share as long as nobody new comes, and one tenant alone may
/// use everything. A tenant that pauses keeps what it is owed until the window turns.
///
/// ```
/// use throttlekit::ManualClock;
/// use throttlekit::fair::FairEscrow;
///
/// let fair = FairEscrow::builder().limit(10.0).window_ms(1_000.0).clock(ManualClock::new(0.0)).build()?;
/// assert_eq!(fair.check_cost("a", 2.0)?.remaining, 8);
/// assert_eq!(fair.check_cost("b", 1.0)?.limit, 5);
/// assert!(fair.check_cost("a", 3.0)?.allowed);
/// assert!(!fair.check_cost("a", 1.0)?.allowed, "5 are owed to b, of which 4 are left");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What it promises
///
/// - **Bound**: at most the limit is used in a window, for any number of threads; by the rounding of a sum more where costs
///   are no whole numbers. With a
///   [pool](FairEscrowBuilder::pool), by all processes that lease from it together. [`reset`](Self::reset) gives back what a
///   tenant used, and so what it allows comes on top.
/// - **Memory**: it keeps a bounded number of tenants, 100,000 unless told otherwise; beyond that the one that came first is
///   dropped. What it used stays used, so the bound holds; its guarantee is lost, and it comes back as a new one.
/// - **Work**: constant for a request within its guarantee while weights and costs are whole numbers; otherwise it looks at
///   every tenant of the window.
/// - **Time**: windows are aligned to the epoch. A clock that goes back stays in the window that was reached.
/// - **Cancellation**: a lease from the pool is shared by all that wait for it and not lost with any of them.
///
/// A clone is a handle to the same tenants.
pub struct FairEscrow<C = SystemClock> {
    pub(super) shared: Arc<Shared<C>>,
}

pub(super) struct Shared<C> {
    pub(super) limit: f64,
    pub(super) window_ms: f64,
    pub(super) max_tenants: usize,
    pub(super) weights: Weights,
    pub(super) clock: C,
    pub(super) pool: Option<Leasing>,
    pub(super) watch: Option<(Arc<dyn Observer>, Arc<str>)>,
    pub(super) state: Mutex<State>,
}

/// A pool, and the least to lease from it.
pub(super) struct Leasing {
    pub(super) pool: Box<dyn Pool>,
    pub(super) quantum: f64,
}

pub(super) struct State {
    tenants: Tenants,
    /// Units to share: the limit, or what was leased of it.
    effective: f64,
    flight: Option<Lease>,
    /// Units of a window that the pool is in and this process is not yet, with the end of that window.
    early: Option<(i64, f64)>,
    /// The least that the pool refused in this window, and its answer.
    refused: Option<(f64, Decision)>,
}

/// A lease under way.
type Lease = Arc<Flight<Landing>>;

/// What became of a lease.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Landing {
    Granted,
    Refused,
    /// It is from a window that is over.
    Late,
    /// It is from a window that has not begun here.
    Early,
}

/// A request.
#[derive(Clone, Copy)]
struct Wish<'a> {
    tenant: &'a str,
    cost: f64,
    weight: f64,
    /// By the observer's stopwatch.
    begun_ns: Option<u64>,
}

enum Attempt {
    Decided(Decision),
    Failed(Error),
    Wait(Lease),
}

impl State {
    pub(super) fn new(effective: f64) -> Self {
        Self { tenants: Tenants::new(), effective, flight: None, early: None, refused: None }
    }
}

impl FairEscrow {
    /// Starts with equal weights, the system clock, 100,000 tenants and no pool.
    pub fn builder() -> FairEscrowBuilder {
        FairEscrowBuilder::new()
    }
}

impl<C: Clock> FairEscrow<C> {
    pub(super) fn new(shared: Shared<C>) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Takes one unit for `tenant`.
    ///
    /// # Errors
    ///
    /// As [`check_cost`](Self::check_cost).
    pub fn check(&self, tenant: &str) -> Result<Decision, Error> {
        self.check_cost(tenant, 1.0)
    }

    /// Takes `cost` units for `tenant`, all or none.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if the tenant's name is empty, or cost or weight is not finite or not above 0;
    /// `throttlekit_error` with a pool, which [`run_check`](Self::run_check) may have to wait for.
    pub fn check_cost(&self, tenant: &str, cost: f64) -> Result<Decision, Error> {
        if self.shared.pool.is_some() {
            return Err(Error::unsupported("a fair escrow with a pool may have to wait: use `run_check`"));
        }
        self.run_check(tenant, cost).now().unwrap_or_else(|_| Err(Error::unsupported("an answer was not ready")))
    }

    /// Takes `cost` units for `tenant`, all or none. Without a pool, and with one in process, the answer is ready.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if the tenant's name is empty, or cost or weight is not finite or not above 0;
    /// `store_unavailable` and `state_invalid` from the pool.
    pub fn run_check(&self, tenant: &str, cost: f64) -> Run<Result<Decision, Error>> {
        let weight = || self.shared.weights.of(tenant);
        self.run(tenant, cost, weight)
    }

    /// As [`run_check`](Self::run_check), for a tenant that from now on has this weight.
    ///
    /// # Errors
    ///
    /// As [`run_check`](Self::run_check).
    pub fn run_check_weighted(&self, tenant: &str, cost: f64, weight: f64) -> Run<Result<Decision, Error>> {
        self.run(tenant, cost, || validate(weight))
    }

    fn run(
        &self,
        tenant: &str,
        cost: f64,
        weight: impl FnOnce() -> Result<f64, Error>,
    ) -> Run<Result<Decision, Error>> {
        let begun_ns = self.shared.watch.as_ref().and_then(|(observer, _)| stopwatch_ns(observer));
        let wish = match wish(tenant, cost, weight) {
            Ok(wish) => Wish { begun_ns, ..wish },
            Err(error) => {
                let refused = Wish { tenant, cost, weight: f64::NAN, begun_ns };
                self.shared.tell_error(refused, &error);
                return Run::ready(Err(error));
            }
        };
        let lease = match Shared::attempt(&self.shared, wish) {
            Attempt::Decided(decision) => return Run::ready(Ok(decision)),
            Attempt::Failed(error) => return Run::ready(Err(error)),
            Attempt::Wait(lease) => lease,
        };
        let (shared, tenant, Wish { cost, weight, .. }) = (Arc::clone(&self.shared), tenant.to_owned(), wish);
        Run::wait(async move {
            let wish = Wish { tenant: &tenant, cost, weight, begun_ns };
            let (mut lease, mut late) = (lease, 0);
            loop {
                let landing = lease.wait().await.inspect_err(|error| shared.tell_error(wish, error))?;
                late += u32::from(landing == Landing::Late);
                if late > LATE {
                    return Ok(shared.late(wish));
                }
                // A refusal of more than this request would have asked for says nothing: it asks for itself.
                match Shared::attempt(&shared, wish) {
                    Attempt::Decided(decision) => return Ok(decision),
                    Attempt::Failed(error) => return Err(error),
                    Attempt::Wait(next) => lease = next,
                }
            }
        })
    }

    /// Forgets a tenant and gives back what it used. The pool is not told.
    pub fn reset(&self, tenant: &str) {
        self.shared.open().tenants.forget(tenant);
    }

    /// Forgets all tenants, and what was leased for them. The pool is not told.
    pub fn reset_all(&self) {
        let mut state = self.shared.open();
        state.tenants.clear();
        self.shared.refill(&mut state);
    }

    /// How it is doing.
    pub fn stats(&self) -> FairStats {
        let state = self.shared.open();
        let tenants = &state.tenants;
        let total_used = tenants.sums().used;
        FairStats {
            window_start_ms: Some(tenants.window_start_ms).filter(|start| start.is_finite()),
            limit: self.shared.limit,
            effective_limit: state.effective,
            pool: state.effective - total_used,
            total_used,
            dropped_used: tenants.dropped(),
            tenants: tenants
                .iter()
                .map(|tenant| TenantStats {
                    tenant: Arc::clone(&tenant.name),
                    weight: tenant.weight,
                    used: tenant.used,
                })
                .collect(),
        }
    }
}

/// A request whose parts are legal, judged in this order.
fn wish(tenant: &str, cost: f64, weight: impl FnOnce() -> Result<f64, Error>) -> Result<Wish<'_>, Error> {
    if tenant.is_empty() {
        return Err(Error::invalid_argument("the tenant is empty: must be a name"));
    }
    Ok(Wish { tenant, cost: validate_cost(cost)?, weight: weight()?, begun_ns: None })
}

impl<C> Shared<C> {
    fn open(&self) -> MutexGuard<'_, State> {
        // Nothing in there panics halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to share when a window begins.
    fn refill(&self, state: &mut State) {
        state.effective = if self.pool.is_some() { 0.0 } else { self.limit };
        state.refused = None;
    }

    fn roll(&self, state: &mut State, now_ms: f64) {
        if !state.tenants.roll(now_ms, self.window_ms) {
            return;
        }
        self.refill(state);
        let reset_at_ms = self.reset_at(state);
        match state.early {
            Some((end_ms, units)) if end_ms == reset_at_ms => {
                state.effective += units;
                state.early = None;
            }
            Some((end_ms, _)) if end_ms < reset_at_ms => state.early = None,
            _ => {}
        }
    }

    fn reset_at(&self, state: &State) -> i64 {
        ceil_ms(state.tenants.window_start_ms + self.window_ms)
    }

    /// Decides by what there is to share.
    fn decide(&self, state: &mut State, number: u64, cost: f64, now_ms: f64) -> Decision {
        let sums = state.tenants.sums();
        let (weight, used) = state.tenants.of(number);
        let guaranteed = |weight: f64| floor_f64((weight * state.effective) / sums.weight);
        let own = guaranteed(weight);
        let rest = state.effective - sums.used;
        let reset_at_ms = self.reset_at(state);
        let denied = |limit: f64, remaining: f64| Decision {
            allowed: false,
            limit: floor_units(limit),
            remaining: floor_units(remaining),
            reset_at_ms,
            retry_after_ms: ceil_wait(tenants_end(reset_at_ms) - now_ms).max(1),
        };
        if cost > rest {
            return denied(own.max(used), own - used);
        }
        let mut ceiling = own;
        if used + cost > own {
            let owed = state.tenants.others(number).map(|other| (guaranteed(other.weight) - other.used).max(0.0));
            let lendable = (rest - owed.sum::<f64>()).max(0.0);
            ceiling += (used + cost - own).min(cost).min(lendable).min(rest);
            if used + cost > ceiling {
                return denied(ceiling, ceiling - used);
            }
        }
        state.tenants.take(number, cost);
        let remaining = floor_units(ceiling - (used + cost));
        Decision { allowed: true, limit: floor_units(ceiling), remaining, reset_at_ms, retry_after_ms: 0 }
    }
}

impl<C: Clock> Shared<C> {
    fn attempt(this: &Arc<Self>, wish: Wish<'_>) -> Attempt {
        let now_ms = this.clock.now_ms();
        let mut state = this.open();
        let attempt = Self::attempt_in(this, &mut state, wish, now_ms);
        drop(state);
        match &attempt {
            Attempt::Decided(decision) => this.tell(wish, now_ms, Ok(*decision)),
            Attempt::Failed(error) => this.tell(wish, now_ms, Err(error)),
            Attempt::Wait(_) => {}
        }
        attempt
    }

    /// Leases until the request can be decided; in process at once.
    fn attempt_in(this: &Arc<Self>, state: &mut State, wish: Wish<'_>, now_ms: f64) -> Attempt {
        this.roll(state, now_ms);
        if !state.tenants.contains(wish.tenant) && state.tenants.len() >= this.max_tenants {
            state.tenants.drop_first();
        }
        let number = state.tenants.enter(wish.tenant, wish.weight);
        let Some(leasing) = &this.pool else {
            return Attempt::Decided(this.decide(state, number, wish.cost, now_ms));
        };
        loop {
            let rest = state.effective - state.tenants.sums().used;
            if rest >= wish.cost || state.effective >= this.limit {
                return Attempt::Decided(this.decide(state, number, wish.cost, now_ms));
            }
            let units = (wish.cost - rest).max(leasing.quantum);
            if let Some((_, refusal)) = state.refused.filter(|(least, _)| *least <= units) {
                let (_, used) = state.tenants.of(number);
                return Attempt::Decided(refused(refusal, used, now_ms));
            }
            if let Some(lease) = &state.flight {
                return Attempt::Wait(Arc::clone(lease));
            }
            if state.early.is_some() {
                return Attempt::Decided(this.nothing(state, wish.tenant, now_ms));
            }
            match leasing.pool.lease(now_ms, units).now() {
                Ok(Ok(answer)) => {
                    if this.land(state, units, answer, now_ms) == Landing::Late {
                        return Attempt::Decided(this.nothing(state, wish.tenant, now_ms));
                    }
                }
                Ok(Err(error)) => return Attempt::Failed(error),
                Err(answer) => {
                    let weak = Arc::downgrade(this);
                    let flight = Flight::new(
                        0,
                        Box::pin(async move {
                            let answer = answer.await;
                            let Some(shared) = weak.upgrade() else { return Ok(Landing::Late) };
                            let landed_ms = shared.clock.now_ms();
                            let mut state = shared.open();
                            state.flight = None;
                            answer.map(|answer| shared.land(&mut state, units, answer, landed_ms))
                        }),
                    );
                    state.flight = Some(Arc::clone(&flight));
                    return Attempt::Wait(flight);
                }
            }
        }
    }

    /// Takes in what the pool said to a request for `units`. Which window it is from, the answer says.
    fn land(&self, state: &mut State, units: f64, answer: Decision, now_ms: f64) -> Landing {
        self.roll(state, now_ms);
        let reset_at_ms = self.reset_at(state);
        if answer.reset_at_ms < reset_at_ms {
            return Landing::Late;
        }
        if answer.reset_at_ms > reset_at_ms {
            let units = if answer.allowed { units } else { 0.0 };
            let known = state.early.filter(|(end_ms, _)| *end_ms == answer.reset_at_ms).map_or(0.0, |(_, units)| units);
            state.early = Some((answer.reset_at_ms, known + units));
            return Landing::Early;
        }
        if answer.allowed {
            state.effective += units;
            return Landing::Granted;
        }
        // In a window the pool only gets emptier.
        if state.refused.is_none_or(|(least, _)| units < least) {
            state.refused = Some((units, answer));
        }
        Landing::Refused
    }

    /// The denial where the pool is in another window. One that is behind may be here soon.
    fn nothing(&self, state: &State, tenant: &str, now_ms: f64) -> Decision {
        let reset_at_ms = self.reset_at(state);
        let until_end = ceil_wait(tenants_end(reset_at_ms) - now_ms).max(1);
        Decision {
            allowed: false,
            limit: floor_units(state.tenants.used_by(tenant)),
            remaining: 0,
            reset_at_ms,
            retry_after_ms: if state.early.is_some() { until_end } else { 1 },
        }
    }

    /// The denial of a request for which units came too late again and again.
    fn late(&self, wish: Wish<'_>) -> Decision {
        let now_ms = self.clock.now_ms();
        let mut state = self.open();
        self.roll(&mut state, now_ms);
        let decision = self.nothing(&state, wish.tenant, now_ms);
        drop(state);
        self.tell(wish, now_ms, Ok(decision));
        decision
    }

    fn tell(&self, wish: Wish<'_>, now_ms: f64, result: Result<Decision, &Error>) {
        if let Some((observer, name)) = &self.watch {
            told(|| {
                let event = Event::new(name, FAIR_ESCROW, Axis::Rate, wish.cost, now_ms, result);
                let mut event = event.with_key(wish.tenant);
                event.took_ms = took_ms(observer, wish.begun_ns);
                observer.observe(&event);
            });
        }
    }

    fn tell_error(&self, wish: Wish<'_>, error: &Error) {
        // Without an observer a refused argument costs no reading of the clock.
        if self.watch.is_some() {
            self.tell(wish, self.clock.now_ms(), Err(error));
        }
    }
}

/// What the pool refused, to a tenant that has used this much.
fn refused(refusal: Decision, used: f64, now_ms: f64) -> Decision {
    Decision {
        limit: floor_units(used),
        remaining: 0,
        retry_after_ms: ceil_wait(tenants_end(refusal.reset_at_ms) - now_ms).max(1),
        ..refusal
    }
}

/// The tenant is [`Ask::key`].
impl<C: Clock> Admit for FairEscrow<C> {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        self.run_check(ask.key, ask.cost).map(|result| result.map(Admission::rate))
    }
}

/// The tenant is the key.
impl<C: Clock> Meter for FairEscrow<C> {
    fn debit(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        self.run_check(key, units)
    }
}

impl<C> Clone for FairEscrow<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<C> fmt::Debug for FairEscrow<C> {
    /// Shows no tenants.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FairEscrow")
            .field("limit", &self.shared.limit)
            .field("window_ms", &self.shared.window_ms)
            .field("weights", &self.shared.weights)
            .field("pool", &self.shared.pool.is_some())
            .finish_non_exhaustive()
    }
}
