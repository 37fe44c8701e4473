//! The builder of a fair escrow.

use std::fmt;
use std::sync::{Arc, Mutex};

use crate::clock::{Clock, SystemClock};
use crate::error::BuildError;
use crate::math::{MAX, floor_f64};
use crate::observe::Observer;
use crate::store::Keyspace;
use crate::strategy::fixed_window::{Count, FixedWindow};

use super::escrow::{FAIR_ESCROW, FairEscrow};
use super::leasing::Leasing;
use super::lending::{Shared, State};
use super::pool::{Pool, Window};
use super::terms::{Names, Terms, terms_setters};
use super::watch::Watch;

/// The key of a pool unless another one is given, the same in every member of the family.
const POOL_KEY: &str = "tk:wfe:pool";

const NAMES: Names = Names {
    limit: "fairEscrow.limit",
    window_ms: "fairEscrow.windowMs",
    weights: "fairEscrow.weights",
    max_tenants: "fairEscrow.maxKeys",
};

/// Builds a [`FairEscrow`]; from [`FairEscrow::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct FairEscrowBuilder<C = SystemClock> {
    terms: Terms,
    clock: C,
    pool: Option<Draft>,
    observer: Option<Arc<dyn Observer>>,
    name: Option<Arc<str>>,
}

/// A pool whose window is not known yet.
struct Draft {
    make: Box<dyn FnOnce(FixedWindow) -> Box<dyn Pool> + Send>,
    quantum: f64,
}

impl FairEscrowBuilder {
    pub(super) fn new() -> Self {
        Self { terms: Terms::default(), clock: SystemClock::new(), pool: None, observer: None, name: None }
    }
}

impl<C> FairEscrowBuilder<C> {
    terms_setters!();

    /// Where the time comes from. The default is a new [`SystemClock`].
    pub fn clock<D: Clock>(self, clock: D) -> FairEscrowBuilder<D> {
        let Self { terms, clock: _, pool, observer, name } = self;
        FairEscrowBuilder { terms, clock, pool, observer, name }
    }

    /// Shares the limit with all that lease from the same key of `keys`: units come from a fixed window there, at least
    /// `quantum` at a time, a whole number of at least 1. Each process then shares what it leased among its own tenants.
    ///
    /// Between processes `i` and `j` the use of two tenants may be out of proportion by the sum of the quanta,
    /// each times `1 / weight of i + 1 / weight of j`. A larger quantum costs fewer round trips; what a process leased and
    /// does not use is lost to the others until the window turns, and so is what is left when it is less than a quantum.
    pub fn pool(self, keys: impl Keyspace<Count>, quantum: f64) -> Self {
        self.pool_at(keys, POOL_KEY, quantum)
    }

    /// As [`pool`](Self::pool), under a key of one's own instead of `tk:wfe:pool`.
    pub fn pool_at(mut self, keys: impl Keyspace<Count>, key: impl Into<String>, quantum: f64) -> Self {
        let key = key.into();
        let make = |rule| -> Box<dyn Pool> { Box::new(Window { keys, rule, key }) };
        self.pool = Some(Draft { make: Box::new(make), quantum });
        self
    }

    /// Who sees each decision.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// The name that its events carry. The default is `fairEscrow`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// `fairEscrow.limit` or `.windowMs` if it is missing or out of range, `fairEscrow.weights` if one is not above 0,
    /// `fairEscrow.maxKeys` if it is 0, `fairEscrow.quantum` if it is no whole number of at least 1.
    pub fn build(self) -> Result<FairEscrow<C>, BuildError>
    where
        C: Clock,
    {
        let (limit, window_ms) = self.terms.checked(&NAMES)?;
        let pool = match self.pool {
            None => None,
            Some(Draft { quantum, .. }) if !(1.0..=MAX).contains(&quantum) || floor_f64(quantum) != quantum => {
                return Err(BuildError::new("fairEscrow.quantum", quantum, "must be a whole number of at least 1"));
            }
            Some(Draft { make, quantum }) => {
                let window = FixedWindow::builder().limit(limit).window_ms(window_ms).build()?;
                Some(Leasing { pool: make(window), quantum })
            }
        };
        let Self { terms: Terms { max_tenants, weights, .. }, clock, observer, name, .. } = self;
        let watch = Watch { observer, name: name.unwrap_or_else(|| FAIR_ESCROW.into()) };
        let state = Mutex::new(State::new(if pool.is_some() { 0.0 } else { limit }));
        Ok(FairEscrow::new(Shared { limit, window_ms, max_tenants, weights, clock, pool, state }, watch))
    }
}

impl<C> fmt::Debug for FairEscrowBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FairEscrowBuilder")
            .field("limit", &self.terms.limit)
            .field("window_ms", &self.terms.window_ms)
            .field("weights", &self.terms.weights)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
