//! Shares that are never lent.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::admit::{Admission, Admit, Ask, Meter};
use crate::clock::{Clock, SystemClock};
use crate::decision::{Decision, ceil_ms, ceil_wait, floor_units};
use crate::error::{BuildError, Error};
use crate::math::floor_f64;
use crate::run::Run;
use crate::strategy::{counted, validate_cost};

use super::tenants::Tenants;
use super::terms::{Names, Terms, terms_setters};
use super::weights::{Weights, validate};

/// Splits a limit evenly, or by weight, among the tenants that came in a window.
///
/// A tenant gets `max(1, floor(weight * limit / weights of all that came))` units of the window. Its share shrinks with
/// each one that comes, so who comes early may use more; nobody gets what another leaves. All together get at most the limit.
/// [`FairEscrow`](super::FairEscrow) lends what others leave.
///
/// ```
/// use throttlekit::ManualClock;
/// use throttlekit::fair::FairShare;
///
/// let fair = FairShare::builder().limit(10.0).window_ms(1_000.0).clock(ManualClock::new(0.0)).build()?;
/// assert_eq!(fair.check("a")?.limit, 10);
/// assert_eq!(fair.check("b")?.limit, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It keeps a bounded number of tenants for each window, 100,000 unless told otherwise; beyond that new ones are refused until
/// the window turns. A tenant that was refused counts among those that came.
pub struct FairShare<C = SystemClock> {
    limit: f64,
    window_ms: f64,
    max_tenants: usize,
    weights: Weights,
    clock: C,
    tenants: Mutex<Tenants>,
}

impl FairShare {
    /// Starts with equal weights, the system clock and 100,000 tenants.
    pub fn builder() -> FairShareBuilder {
        FairShareBuilder { terms: Terms::default(), clock: SystemClock::new() }
    }
}

impl<C: Clock> FairShare<C> {
    /// Takes one unit for `tenant`.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if its weight is not finite or not above 0.
    pub fn check(&self, tenant: &str) -> Result<Decision, Error> {
        self.check_cost(tenant, 1.0)
    }

    /// Takes `cost` units for `tenant`, all or none.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if cost or weight is not finite or not above 0, or the cost is lost to rounding.
    pub fn check_cost(&self, tenant: &str, cost: f64) -> Result<Decision, Error> {
        let cost = validate_cost(cost)?;
        let weight = self.weights.of(tenant)?;
        self.decide(tenant, cost, weight)
    }

    /// Takes `cost` units for `tenant`, which from now on has this weight.
    ///
    /// # Errors
    ///
    /// As [`check_cost`](Self::check_cost).
    pub fn check_weighted(&self, tenant: &str, cost: f64, weight: f64) -> Result<Decision, Error> {
        self.decide(tenant, validate_cost(cost)?, validate(weight)?)
    }

    fn decide(&self, tenant: &str, cost: f64, weight: f64) -> Result<Decision, Error> {
        let now_ms = self.clock.now_ms();
        let mut tenants = self.open();
        tenants.roll(now_ms, self.window_ms);
        let reset_at_ms = ceil_ms(tenants.window_start_ms + self.window_ms);
        let denied = |limit: f64, used: f64| Decision {
            allowed: false,
            limit: floor_units(limit),
            remaining: floor_units(limit - used),
            reset_at_ms,
            retry_after_ms: ceil_wait(tenants_end(reset_at_ms) - now_ms).max(1),
        };
        if !tenants.contains(tenant) && tenants.len() >= self.max_tenants {
            return Ok(denied(0.0, 0.0));
        }
        let number = tenants.enter(tenant, weight);
        let sums = tenants.sums();
        let (weight, used) = tenants.of(number);
        let cap = floor_f64((weight * self.limit) / sums.weight).max(1.0);
        if sums.used + cost > self.limit || used + cost > cap {
            return Ok(denied(cap, used));
        }
        counted(sums.used, sums.used + cost, cost)?;
        let used = counted(used, used + cost, cost)?;
        tenants.take(number, cost);
        let remaining = floor_units(cap - used);
        Ok(Decision { allowed: true, limit: floor_units(cap), remaining, reset_at_ms, retry_after_ms: 0 })
    }

    /// Forgets a tenant and gives back what it used.
    pub fn reset(&self, tenant: &str) {
        self.open().forget(tenant);
    }

    /// Forgets all tenants.
    pub fn reset_all(&self) {
        self.open().clear();
    }

    fn open(&self) -> MutexGuard<'_, Tenants> {
        // Nothing in there panics halfway.
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An instant as a float.
#[allow(clippy::cast_precision_loss)] // the end of a window near now
pub(super) fn tenants_end(reset_at_ms: i64) -> f64 {
    reset_at_ms as f64
}

/// The tenant is [`Ask::key`].
impl<C: Clock> Admit for FairShare<C> {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        Run::ready(self.check_cost(ask.key, ask.cost).map(Admission::rate))
    }
}

/// The tenant is the key.
impl<C: Clock> Meter for FairShare<C> {
    fn debit(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        Run::ready(self.check_cost(key, units))
    }
}

impl<C> fmt::Debug for FairShare<C> {
    /// Shows no tenants.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FairShare")
            .field("limit", &self.limit)
            .field("window_ms", &self.window_ms)
            .field("weights", &self.weights)
            .finish_non_exhaustive()
    }
}

const NAMES: Names = Names {
    limit: "fairShare.limit",
    window_ms: "fairShare.windowMs",
    weights: "fairShare.weights",
    max_tenants: "fairShare.maxKeys",
};

/// Builds a [`FairShare`]; from [`FairShare::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct FairShareBuilder<C = SystemClock> {
    terms: Terms,
    clock: C,
}

impl<C> FairShareBuilder<C> {
    terms_setters!();

    /// Where the time comes from. The default is a new [`SystemClock`].
    pub fn clock<D: Clock>(self, clock: D) -> FairShareBuilder<D> {
        FairShareBuilder { terms: self.terms, clock }
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// `fairShare.limit` or `.windowMs` if it is missing or out of range, `fairShare.weights` if one is not above 0,
    /// `fairShare.maxKeys` if it is 0.
    pub fn build(self) -> Result<FairShare<C>, BuildError> {
        let (limit, window_ms) = self.terms.checked(&NAMES)?;
        let Self { terms: Terms { max_tenants, weights, .. }, clock } = self;
        Ok(FairShare { limit, window_ms, max_tenants, weights, clock, tenants: Mutex::new(Tenants::new()) })
    }
}
