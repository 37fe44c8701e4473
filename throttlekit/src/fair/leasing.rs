//! What a process leases for its tenants from a pool.

use std::sync::Arc;

use crate::clock::Clock;
use crate::decision::{Decision, ceil_wait, floor_units};
use crate::error::Error;
use crate::lease::flight::Flight;

use super::lending::{Shared, State, Wish};
use super::pool::Pool;
use super::share::tenants_end;
use super::watch::Watch;

/// A pool, and the least to lease from it.
pub(super) struct Leasing {
    pub(super) pool: Box<dyn Pool>,
    pub(super) quantum: f64,
}

/// A lease under way.
pub(super) type Lease = Arc<Flight<Landing>>;

/// What became of a lease.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Landing {
    Granted,
    Refused,
    /// It is from a window that is over.
    Late,
    /// It is from a window that has not begun here.
    Early,
}

/// What there is to say to a request.
pub(super) enum Attempt {
    Decided(Decision),
    Failed(Error),
    /// Nothing, before the lease has come.
    Wait(Lease),
}

impl From<Result<Decision, Error>> for Attempt {
    fn from(result: Result<Decision, Error>) -> Self {
        result.map_or_else(Self::Failed, Self::Decided)
    }
}

impl<C: Clock> Shared<C> {
    pub(super) fn attempt(this: &Arc<Self>, watch: &Watch, wish: Wish<'_>) -> Attempt {
        let now_ms = this.clock.now_ms();
        let mut state = this.open();
        let attempt = Self::attempt_in(this, &mut state, wish, now_ms);
        drop(state);
        match &attempt {
            Attempt::Decided(decision) => watch.tell(&wish, now_ms, Ok(*decision)),
            Attempt::Failed(error) => watch.tell(&wish, now_ms, Err(error)),
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
            return this.decide(state, number, wish.cost, now_ms).into();
        };
        loop {
            let rest = state.effective - state.tenants.sums().used;
            if rest >= wish.cost || state.effective >= this.limit {
                return this.decide(state, number, wish.cost, now_ms).into();
            }
            let units = (wish.cost - rest).max(leasing.quantum);
            if let Some((_, refusal)) = state.refused.filter(|(least, _)| *least <= units) {
                let (_, used) = state.tenants.of(number);
                return Attempt::Decided(refused(refusal, used, now_ms));
            }
            // One that is over and still here panicked.
            if let Some(lease) = state.flight.as_ref().filter(|lease| !lease.is_done()) {
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
    pub(super) fn late(&self, watch: &Watch, wish: Wish<'_>) -> Decision {
        let now_ms = self.clock.now_ms();
        let mut state = self.open();
        self.roll(&mut state, now_ms);
        let decision = self.nothing(&state, wish.tenant, now_ms);
        drop(state);
        watch.tell(&wish, now_ms, Ok(decision));
        decision
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
