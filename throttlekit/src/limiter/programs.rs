//! What a limiter runs besides its strategy: peek, forecast and reset are programs too.

use std::marker::PhantomData;

use crate::decision::{Decision, Forecast};
use crate::program::{Program, Project, State, Step};

/// What a check of cost 1 would find.
#[derive(Clone)]
pub(super) struct Peek<S>(pub(super) S);

impl<S: Project> Program for Peek<S> {
    type State = S::State;
    type Change = S::Change;
    type Request = ();
    type Outcome = Decision;
    type Reply = Decision;

    const READ_ONLY: bool = true;

    fn step(&self, state: Option<&S::State>, now_ms: f64, _request: &()) -> Step<S::Change, Decision> {
        Step::Keep(self.0.peek(state, now_ms))
    }

    fn reply(&self, _now_ms: f64, _request: &(), outcome: Decision) -> Decision {
        outcome
    }
}

/// How much of a cost fits, and when more does.
#[derive(Clone)]
pub(super) struct Ahead<S>(pub(super) S);

impl<S: Project> Program for Ahead<S> {
    type State = S::State;
    type Change = S::Change;
    type Request = f64;
    type Outcome = Forecast;
    type Reply = Forecast;

    const READ_ONLY: bool = true;

    fn step(&self, state: Option<&S::State>, now_ms: f64, cost: &f64) -> Step<S::Change, Forecast> {
        Step::Keep(self.0.forecast(state, now_ms, *cost))
    }

    fn reply(&self, _now_ms: f64, _cost: &f64, outcome: Forecast) -> Forecast {
        outcome
    }
}

/// Forgets a key with a state of type `S`.
pub(crate) struct Forget<S>(PhantomData<fn() -> S>);

impl<S> Forget<S> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

// By hand: a derive would ask for `S: Clone`.
impl<S> Clone for Forget<S> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<S: State> Program for Forget<S> {
    type State = S;
    type Change = S;
    type Request = ();
    type Outcome = ();
    type Reply = ();

    const IGNORES_STATE: bool = true;

    fn step(&self, _state: Option<&S>, _now_ms: f64, _request: &()) -> Step<S, ()> {
        Step::Remove(())
    }

    fn reply(&self, _now_ms: f64, _request: &(), (): ()) {}
}
