//! Shares that are lent, as far as nobody is owed them.

use std::fmt;
use std::sync::Arc;

use crate::admit::{Admission, Admit, Ask, Meter};
use crate::clock::{Clock, SystemClock};
use crate::decision::Decision;
use crate::error::Error;
use crate::observe::{Begun, Observer};
use crate::run::Run;
use crate::strategy::validate_cost;

use super::escrow_builder::FairEscrowBuilder;
use super::leasing::{Attempt, Landing};
use super::lending::{Shared, Wish};
use super::stats::{FairStats, TenantStats};
use super::watch::Watch;
use super::weights::validate;

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
    watch: Watch,
}

impl FairEscrow {
    /// Starts with equal weights, the system clock, 100,000 tenants and no pool.
    pub fn builder() -> FairEscrowBuilder {
        FairEscrowBuilder::new()
    }
}

impl<C: Clock> FairEscrow<C> {
    pub(super) fn new(shared: Shared<C>, watch: Watch) -> Self {
        Self { shared: Arc::new(shared), watch }
    }

    /// A handle to the same tenants that tells `observer`; `None` if it has an observer.
    pub(super) fn told_to(&self, observer: &Arc<dyn Observer>) -> Option<Self> {
        Some(Self { shared: Arc::clone(&self.shared), watch: self.watch.told_to(observer)? })
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
    /// `invalid_argument` if the tenant's name is empty, cost or weight is not finite or not above 0, or the cost is lost to
    /// rounding; `throttlekit_error` with a pool, which [`run_check`](Self::run_check) may have to wait for.
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
    /// `invalid_argument` if the tenant's name is empty, cost or weight is not finite or not above 0, or the cost is lost to
    /// rounding; `store_unavailable` and `state_invalid` from the pool.
    pub fn run_check(&self, tenant: &str, cost: f64) -> Run<Result<Decision, Error>> {
        self.run_ask(&Ask::new(tenant).cost(cost))
    }

    /// As [`run_check`](Self::run_check), of the key and the cost of `ask`.
    fn run_ask(&self, ask: &Ask<'_>) -> Run<Result<Decision, Error>> {
        self.run(ask, || self.shared.weights.of(ask.key))
    }

    /// As [`run_check`](Self::run_check), for a tenant that from now on has this weight.
    ///
    /// # Errors
    ///
    /// As [`run_check`](Self::run_check).
    pub fn run_check_weighted(&self, tenant: &str, cost: f64, weight: f64) -> Run<Result<Decision, Error>> {
        self.run(&Ask::new(tenant).cost(cost), || validate(weight))
    }

    fn run(&self, ask: &Ask<'_>, weight: impl FnOnce() -> Result<f64, Error>) -> Run<Result<Decision, Error>> {
        let Ask { key: tenant, cost, .. } = *ask;
        let begun = self.watch.begin().of(ask);
        let wish = match wish(tenant, cost, weight) {
            Ok(wish) => Wish { begun, ..wish },
            Err(error) => {
                let refused = Wish { tenant, cost, weight: f64::NAN, begun };
                self.watch.tell_error(&refused, &self.shared.clock, &error);
                return Run::ready(Err(error));
            }
        };
        let lease = match Shared::attempt(&self.shared, &self.watch, wish) {
            Attempt::Decided(decision) => return Run::ready(Ok(decision)),
            Attempt::Failed(error) => return Run::ready(Err(error)),
            Attempt::Wait(lease) => lease,
        };
        let (escrow, tenant, Wish { cost, weight, .. }) = (self.clone(), tenant.to_owned(), wish);
        Run::wait(async move {
            let Self { shared, watch } = &escrow;
            let wish = Wish { tenant: &tenant, cost, weight, begun };
            let (mut lease, mut late) = (lease, 0);
            loop {
                let told = |error: &Error| watch.tell_error(&wish, &shared.clock, error);
                let landing = lease.wait().await.inspect_err(told)?;
                late += u32::from(landing == Landing::Late);
                if late > LATE {
                    return Ok(shared.late(watch, wish));
                }
                // A refusal of more than this request would have asked for says nothing: it asks for itself.
                match Shared::attempt(shared, watch, wish) {
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
    Ok(Wish { tenant, cost: validate_cost(cost)?, weight: weight()?, begun: Begun::default() })
}

/// The tenant is [`Ask::key`].
impl<C: Clock> Admit for FairEscrow<C> {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        self.run_ask(ask).map(|result| result.map(Admission::rate))
    }

    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        Some(Arc::new(self.told_to(observer)?))
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
        Self { shared: Arc::clone(&self.shared), watch: self.watch.clone() }
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
