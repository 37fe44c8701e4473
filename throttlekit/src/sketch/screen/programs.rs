//! What the screen runs on its table.

use crate::decision::{Decision, Forecast};
use crate::program::{Change, Program, Project, Step};

/// The strategy, for a key that has a state; `None` for one that has not.
///
/// An expired state goes: another thread that read the clock earlier could still take it for a live one, and would not
/// see what the sketch counts from here on.
#[derive(Clone)]
pub(super) struct Known<S>(pub(super) S);

impl<S: Project> Program for Known<S> {
    type State = S::State;
    type Change = S::Change;
    type Request = f64;
    type Outcome = Option<S::Outcome>;
    type Reply = Option<Decision>;

    #[inline(always)]
    fn step(&self, state: Option<&S::State>, now_ms: f64, cost: &f64) -> Step<S::Change, Option<S::Outcome>> {
        if state.is_none() {
            return Step::Remove(None);
        }
        // The caller may have read the clock before another thread opened a window: it then takes from that one, as
        // writing an older one would give back what is spent.
        let at_ms = self.0.lease_at_ms(state, now_ms);
        match self.0.step(state, at_ms, cost) {
            Step::Keep(outcome) => Step::Keep(Some(outcome)),
            Step::Write { change, ttl_ms, outcome } => {
                Step::Write { change, ttl_ms: ttl_ms + (at_ms - now_ms), outcome: Some(outcome) }
            }
            Step::Remove(outcome) => Step::Remove(Some(outcome)),
            Step::Fail(error) => Step::Fail(error),
        }
    }

    #[inline(always)]
    fn reply(&self, now_ms: f64, cost: &f64, outcome: Option<S::Outcome>) -> Option<Decision> {
        outcome.map(|outcome| self.0.reply(now_ms, cost, outcome))
    }

    #[inline(always)]
    fn is_ahead(&self, state: &S::State, now_ms: f64) -> bool {
        self.0.is_ahead(state, now_ms)
    }
}

/// What a check of cost 1 would find for a key that has a state.
#[derive(Clone)]
pub(super) struct PeekKnown<S>(pub(super) S);

impl<S: Project> Program for PeekKnown<S> {
    type State = S::State;
    type Change = S::Change;
    type Request = ();
    type Outcome = Option<Decision>;
    type Reply = Option<Decision>;

    const READ_ONLY: bool = true;

    fn step(&self, state: Option<&S::State>, now_ms: f64, _request: &()) -> Step<S::Change, Option<Decision>> {
        Step::Keep(state.map(|_| self.0.peek(state, now_ms)))
    }

    fn reply(&self, _now_ms: f64, _request: &(), outcome: Option<Decision>) -> Option<Decision> {
        outcome
    }
}

/// How much fits, for a key that has a state.
#[derive(Clone)]
pub(super) struct AheadKnown<S>(pub(super) S);

impl<S: Project> Program for AheadKnown<S> {
    type State = S::State;
    type Change = S::Change;
    type Request = f64;
    type Outcome = Option<Forecast>;
    type Reply = Option<Forecast>;

    const READ_ONLY: bool = true;

    fn step(&self, state: Option<&S::State>, now_ms: f64, cost: &f64) -> Step<S::Change, Self::Outcome> {
        Step::Keep(state.map(|_| self.0.forecast(state, now_ms, *cost)))
    }

    fn reply(&self, _now_ms: f64, _cost: &f64, outcome: Self::Outcome) -> Self::Reply {
        outcome
    }
}

/// Gives a key a state in which `spent` units are spent now, or all that there are, and judges the cost by it. The state stays
/// if the cost is denied, so that the key is judged by it from now on. Says also whether there is a state.
#[derive(Clone)]
pub(super) struct Adopt<S> {
    pub(super) strategy: S,
    pub(super) spent: f64,
}

impl<S: Project> Program for Adopt<S> {
    type State = S::State;
    // The whole state: that of the units spent, with the change of the cost made in it.
    type Change = S::State;
    type Request = f64;
    type Outcome = (S::Outcome, bool);
    type Reply = (Decision, bool);

    fn step(&self, state: Option<&S::State>, now_ms: f64, cost: &f64) -> Step<S::State, (S::Outcome, bool)> {
        // The caller has looked, under the lock under which keys get their states.
        debug_assert!(state.is_none(), "a key with a state is not adopted");
        if self.spent <= 0.0 {
            return finish(None, self.strategy.step(None, now_ms, cost));
        }
        let Some((state, ttl_ms)) = self.carried(now_ms) else {
            // As much as a key can spend at once: the cost is judged together with it.
            return finish(None, self.strategy.step(None, now_ms, &(self.spent + cost)));
        };
        let step = self.strategy.step(Some(&state), now_ms, cost);
        finish(Some((state, ttl_ms)), step)
    }

    fn reply(&self, now_ms: f64, cost: &f64, (outcome, stored): (S::Outcome, bool)) -> (Decision, bool) {
        (self.strategy.reply(now_ms, cost, outcome), stored)
    }
}

impl<S: Project> Adopt<S> {
    /// The state in which the units are spent, with its time to live.
    fn carried(&self, now_ms: f64) -> Option<(S::State, f64)> {
        #[allow(clippy::cast_precision_loss)] // at most 2^32 behind a sketch
        let limit = self.strategy.limit() as f64;
        let mut carried = None;
        let mut ttl_ms = self.spend(&mut carried, now_ms, self.spent.min(limit))?;
        // The limit that is shown is whole. What is spent is too, so there is nothing left of a fraction of the true one.
        let mut part = if self.spent > limit && !S::WHOLE_UNITS { 0.5 } else { 0.0 };
        while part > f64::EPSILON {
            ttl_ms = self.spend(&mut carried, now_ms, part).unwrap_or(ttl_ms);
            part /= 2.0;
        }
        Some((carried?, ttl_ms))
    }

    /// Spends `units` in `state`, if they are there; its time to live then.
    fn spend(&self, state: &mut Option<S::State>, now_ms: f64, units: f64) -> Option<f64> {
        let Step::Write { change, ttl_ms, .. } = self.strategy.step(state.as_ref(), now_ms, &units) else {
            return None;
        };
        change.apply_to(state);
        Some(ttl_ms)
    }
}

/// The state after `step`, which was taken from the state that is `carried`, with its time to live.
fn finish<S, C: Change<S>, O>(carried: Option<(S, f64)>, step: Step<C, O>) -> Step<S, (O, bool)> {
    let (mut state, carried_ttl_ms) = carried.map_or((None, 0.0), |(state, ttl_ms)| (Some(state), ttl_ms));
    let (ttl_ms, outcome) = match step {
        Step::Write { change, ttl_ms, outcome } => {
            change.apply_to(&mut state);
            (ttl_ms.max(carried_ttl_ms), outcome)
        }
        Step::Keep(outcome) | Step::Remove(outcome) => (carried_ttl_ms, outcome),
        Step::Fail(error) => return Step::Fail(error),
    };
    match state {
        Some(change) => Step::Write { change, ttl_ms, outcome: (outcome, true) },
        None => Step::Keep((outcome, false)),
    }
}
