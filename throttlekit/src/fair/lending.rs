//! What a window has to share, and who gets it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::decision::{Decision, ceil_ms, ceil_wait, floor_units};
use crate::error::Error;
use crate::math::floor_f64;
use crate::observe::Begun;
use crate::strategy::counted;

use super::leasing::{Lease, Leasing};
use super::share::tenants_end;
use super::tenants::Tenants;
use super::weights::Weights;

/// What all handles of an escrow share.
pub(super) struct Shared<C> {
    pub(super) limit: f64,
    pub(super) window_ms: f64,
    pub(super) max_tenants: usize,
    pub(super) weights: Weights,
    pub(super) clock: C,
    pub(super) pool: Option<Leasing>,
    pub(super) state: Mutex<State>,
}

/// What is known of a window.
pub(super) struct State {
    pub(super) tenants: Tenants,
    /// Units to share: the limit, or what was leased of it.
    pub(super) effective: f64,
    pub(super) flight: Option<Lease>,
    /// Units of a window that the pool is in and this process is not yet, with the end of that window.
    pub(super) early: Option<(i64, f64)>,
    /// The least that the pool refused in this window, and its answer.
    pub(super) refused: Option<(f64, Decision)>,
}

impl State {
    pub(super) fn new(effective: f64) -> Self {
        Self { tenants: Tenants::new(), effective, flight: None, early: None, refused: None }
    }
}

/// A request.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) tenant: &'a str,
    pub(super) cost: f64,
    pub(super) weight: f64,
    /// By the observer's stopwatch.
    pub(super) begun: Begun,
}

impl<C> Shared<C> {
    pub(super) fn open(&self) -> MutexGuard<'_, State> {
        // Nothing in there panics halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to share when a window begins.
    pub(super) fn refill(&self, state: &mut State) {
        state.effective = if self.pool.is_some() { 0.0 } else { self.limit };
        state.refused = None;
    }

    pub(super) fn roll(&self, state: &mut State, now_ms: f64) {
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

    pub(super) fn reset_at(&self, state: &State) -> i64 {
        ceil_ms(state.tenants.window_start_ms + self.window_ms)
    }

    /// Decides by what there is to share.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if the cost is lost to rounding.
    pub(super) fn decide(&self, state: &mut State, number: u64, cost: f64, now_ms: f64) -> Result<Decision, Error> {
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
            return Ok(denied(own.max(used), own - used));
        }
        let mut ceiling = own;
        if used + cost > own {
            let owed = state.tenants.others(number).map(|other| (guaranteed(other.weight) - other.used).max(0.0));
            let lendable = (rest - owed.sum::<f64>()).max(0.0);
            ceiling += (used + cost - own).min(cost).min(lendable).min(rest);
            if used + cost > ceiling {
                return Ok(denied(ceiling, ceiling - used));
            }
        }
        counted(sums.used, sums.used + cost, cost)?;
        let used = counted(used, used + cost, cost)?;
        state.tenants.take(number, cost);
        let remaining = floor_units(ceiling - used);
        Ok(Decision { allowed: true, limit: floor_units(ceiling), remaining, reset_at_ms, retry_after_ms: 0 })
    }
}
