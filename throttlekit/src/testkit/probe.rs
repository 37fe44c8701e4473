//! The programs of the kit.

use crate::error::Error;
use crate::program::{Program, State, Step};
use crate::store::memory::Boxed;

/// How long the states of probes live unless a case is about that, in milliseconds. Long enough for a slow store.
pub(super) const LONG: f64 = 600_000.0;

/// Works on a number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Probe {
    /// Adds one and answers the sum, which lives for this long.
    Count(f64),
    /// Answers the number, or 0 for none, and changes nothing, without having said that it never does.
    Look,
    /// Answers the number, or 0 for none, and forgets it.
    Take,
    /// Writes this number and answers what was there, or 0 for none.
    Put(f64),
    /// Refuses to judge.
    Fail,
}

/// What [`Probe::Fail`] says.
pub(super) const REFUSAL: &str = "the probe refuses to judge";

impl Program for Probe {
    type State = f64;
    type Change = f64;
    type Request = ();
    type Outcome = f64;
    type Reply = f64;

    fn step(&self, state: Option<&f64>, _now_ms: f64, (): &()) -> Step<f64, f64> {
        let found = state.copied().unwrap_or(0.0);
        match *self {
            Self::Count(ttl_ms) => Step::Write { change: found + 1.0, ttl_ms, outcome: found + 1.0 },
            Self::Look => Step::Keep(found),
            Self::Take => Step::Remove(found),
            Self::Put(number) => Step::Write { change: number, ttl_ms: LONG, outcome: found },
            Self::Fail => Step::Fail(Error::invalid_argument(REFUSAL)),
        }
    }

    fn reply(&self, _now_ms: f64, (): &(), outcome: f64) -> f64 {
        outcome
    }
}

/// Answers the number, or 0 for none, and says that it never changes anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read;

impl Program for Read {
    type State = f64;
    type Change = f64;
    type Request = ();
    type Outcome = f64;
    type Reply = f64;
    const READ_ONLY: bool = true;

    fn step(&self, state: Option<&f64>, _now_ms: f64, (): &()) -> Step<f64, f64> {
        Step::Keep(state.copied().unwrap_or(0.0))
    }

    fn reply(&self, _now_ms: f64, (): &(), outcome: f64) -> f64 {
        outcome
    }
}

/// Answers the time at which it steps, and writes it if it is to.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    pub(super) writes: bool,
}

impl Program for When {
    type State = f64;
    type Change = f64;
    type Request = ();
    type Outcome = f64;
    type Reply = f64;

    fn step(&self, _state: Option<&f64>, now_ms: f64, (): &()) -> Step<f64, f64> {
        if self.writes { Step::Write { change: now_ms, ttl_ms: LONG, outcome: now_ms } } else { Step::Keep(now_ms) }
    }

    fn reply(&self, _now_ms: f64, (): &(), outcome: f64) -> f64 {
        outcome
    }
}

/// Any text, as it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verbatim(pub(super) String);

impl State for Verbatim {
    type Layout = Boxed;

    fn encode(&self) -> String {
        self.0.clone()
    }

    fn decode(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }
}

/// Writes a text if there is one to write, and answers what was there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Swap;

impl Program for Swap {
    type State = Verbatim;
    type Change = Verbatim;
    type Request = Option<String>;
    type Outcome = Option<String>;
    type Reply = Option<String>;

    fn step(&self, state: Option<&Verbatim>, _now_ms: f64, text: &Option<String>) -> Step<Verbatim, Option<String>> {
        let outcome = state.map(|Verbatim(text)| text.clone());
        match text {
            Some(text) => Step::Write { change: Verbatim(text.clone()), ttl_ms: LONG, outcome },
            None => Step::Keep(outcome),
        }
    }

    fn reply(&self, _now_ms: f64, _text: &Option<String>, outcome: Option<String>) -> Option<String> {
        outcome
    }
}
