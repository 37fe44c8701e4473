//! What a limiter runs besides its strategy: peek, forecast and reset are programs too.

use std::marker::PhantomData;

use crate::decision::{Decision, Forecast};
use crate::error::Error;
use crate::program::{Program, Project, Refund, State, Step, Strategy};
use crate::twin::{Numbers, Raw, Twin};

/// What a check of cost 1 would find.
#[derive(Clone)]
pub(crate) struct Peek<S>(pub(crate) S);

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

    fn is_ahead(&self, state: &S::State, now_ms: f64) -> bool {
        self.0.is_ahead(state, now_ms)
    }

    /// Reads as the strategy does.
    fn twin(&self) -> Option<Twin<Self>> {
        Some(Twin::new(self.0.twin()?.lua, |peek| args(&peek.0), |()| [].into(), |peek, raw| state(&peek.0, raw)))
    }
}

/// A check that also shows what there is before it, and so what stays if nothing is taken.
#[derive(Clone)]
pub(crate) struct Judge<S>(pub(crate) S);

/// A cost, and what it is to the twin of the strategy.
pub(crate) type Judged = (f64, Numbers);

impl<S: Project> Judge<S> {
    /// The request for `cost` to a store.
    pub(crate) fn judging(&self, cost: f64) -> Judged {
        (cost, self.0.twin().map_or(Numbers::from([]), |twin| (twin.request)(&cost)))
    }
}

impl<S: Project> Program for Judge<S> {
    type State = S::State;
    type Change = S::Change;
    type Request = Judged;
    type Outcome = (S::Outcome, Decision);
    /// The decision, and what there was before it.
    type Reply = (Decision, Decision);

    fn step(&self, state: Option<&S::State>, now_ms: f64, (cost, _): &Judged) -> Step<S::Change, Self::Outcome> {
        let before = self.0.peek(state, now_ms);
        match self.0.step(state, now_ms, cost) {
            Step::Keep(outcome) => Step::Keep((outcome, before)),
            Step::Write { change, ttl_ms, outcome } => Step::Write { change, ttl_ms, outcome: (outcome, before) },
            Step::Remove(outcome) => Step::Remove((outcome, before)),
            Step::Fail(error) => Step::Fail(error),
        }
    }

    fn reply(&self, now_ms: f64, (cost, _): &Judged, (outcome, before): Self::Outcome) -> Self::Reply {
        (self.0.reply(now_ms, cost, outcome), before)
    }

    fn is_ahead(&self, state: &S::State, now_ms: f64) -> bool {
        self.0.is_ahead(state, now_ms)
    }

    /// That of the strategy.
    fn twin(&self) -> Option<Twin<Self>> {
        let request = |(_, numbers): &Judged| *numbers;
        Some(Twin::new(self.0.twin()?.lua, |judge| args(&judge.0), request, |judge, raw| state(&judge.0, raw)))
    }
}

/// How much of a cost fits, and when more does.
#[derive(Clone)]
pub(crate) struct Ahead<S>(pub(crate) S);

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

    fn is_ahead(&self, state: &S::State, now_ms: f64) -> bool {
        self.0.is_ahead(state, now_ms)
    }

    /// Reads as the strategy does.
    fn twin(&self) -> Option<Twin<Self>> {
        Some(Twin::new(self.0.twin()?.lua, |ahead| args(&ahead.0), |_| [].into(), |ahead, raw| state(&ahead.0, raw)))
    }
}

/// Gives units back. Only for a strategy that [does](Strategy::REFUNDS).
#[derive(Clone)]
pub(crate) struct GiveBack<S>(pub(crate) S);

impl<S: Strategy> Program for GiveBack<S> {
    type State = S::State;
    type Change = S::Change;
    type Request = Refund;
    type Outcome = S::Outcome;
    type Reply = Decision;

    fn step(&self, state: Option<&S::State>, now_ms: f64, refund: &Refund) -> Step<S::Change, S::Outcome> {
        self.0.refund(state, now_ms, refund)
    }

    fn reply(&self, now_ms: f64, _refund: &Refund, outcome: S::Outcome) -> Decision {
        self.0.reply(now_ms, &0.0, outcome)
    }

    fn is_ahead(&self, state: &S::State, now_ms: f64) -> bool {
        self.0.is_ahead(state, now_ms)
    }

    /// That of the strategy, if it knows refunds.
    fn twin(&self) -> Option<Twin<Self>> {
        let twin = self.0.twin().filter(Twin::knows_leases)?;
        Some(Twin::new(twin.lua(), |back| args(&back.0), Refund::numbers, |back, raw| state(&back.0, raw)))
    }
}

/// The numbers of a strategy that has a twin.
fn args<S: Strategy>(strategy: &S) -> Numbers {
    strategy.twin().map_or(Numbers::from([]), |twin| (twin.args)(strategy))
}

/// The state that the twin of a strategy reads.
fn state<S: Strategy>(strategy: &S, raw: &Raw) -> Result<Option<S::State>, Error> {
    strategy.twin().map_or(Ok(None), |twin| (twin.state)(strategy, raw))
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

    fn twin(&self) -> Option<Twin<Self>> {
        Some(Twin::remove())
    }
}
