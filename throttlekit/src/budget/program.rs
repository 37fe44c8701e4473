//! The meter as programs: one step for debits, charges, refunds and settings.

use crate::admit::Axis;
use crate::decision::{Decision, Forecast, ceil_ms, floor_units};
use crate::error::Error;
use crate::math::{MAX, ceil_f64, floor_f64};
use crate::program::{Program, Project, Refund, State, Step, Strategy};
use crate::store::memory::{AsPair, Pair};
use crate::strategy::text::{Value, read_object, write_number};
use crate::twin::{Numbers, Raw, ReadState, Twin, readable};

use super::rule::{Budget, Served};

impl State for Served {
    type Layout = Pair;

    fn encode(&self) -> String {
        format!(r#"{{"w":{},"s":{}}}"#, write_number(self.start), write_number(self.units))
    }

    fn decode(text: &str) -> Option<Self> {
        let (mut start, mut units) = (None, None);
        read_object(text, |name, value| match name {
            "w" => start = Some(value),
            "s" => units = Some(value),
            _ => {}
        })?;
        let number = |value: Option<Value>| value?.number();
        Some(Self { start: number(start)?, units: number(units)? })
    }
}

impl AsPair for Served {
    #[inline]
    fn to_words(self) -> [u64; 2] {
        [self.start.to_bits(), self.units.to_bits()]
    }

    #[inline]
    fn from_words([start, units]: [u64; 2]) -> Self {
        Self { start: f64::from_bits(start), units: f64::from_bits(units) }
    }
}

/// What is asked of a meter, in whole units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Op {
    /// Counts in full if anything is left, and the sum can be held; else nothing.
    Debit(f64),
    /// Counts in full, whatever is left; fails if the sum cannot be held.
    Charge(f64),
    /// Gives back what was counted in this window, or in the last one in which anything was.
    Refund(Refund),
    /// Says what is counted in this window.
    Set(f64),
}

impl Op {
    /// The request of the script: how many units, and what to do if not to debit them.
    fn numbers(&self) -> Numbers {
        match *self {
            Self::Debit(units) => [units].into(),
            Self::Charge(units) => [units, CHARGE].into(),
            Self::Refund(refund) => refund.numbers(),
            Self::Set(units) => [units, SET].into(),
        }
    }
}

// As in the script, beside what leases and refunds are.
const CHARGE: f64 = 3.0;
const SET: f64 = 4.0;

/// What a step found or made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    allowed: bool,
    served: Served,
}

impl Budget {
    /// What `op` makes of `state`, of which `before` is counted now; `None` if it stays as it is.
    fn change(&self, state: Option<&Served>, before: Served, op: &Op) -> Option<Served> {
        let counted = |units| Some(Served { units, ..before });
        match *op {
            Op::Debit(units) if !self.admits(before, units) => None,
            Op::Debit(units) | Op::Charge(units) => counted(before.units + units),
            Op::Refund(_) if before.units <= 0.0 => None,
            Op::Refund(refund) => {
                let less = |of: Served| Some(Served { units: (of.units - floor_f64(refund.units)).max(0.0), ..of });
                let last = state.filter(|state| refund.reset_at_ms == Some(self.window_end(**state)));
                match last {
                    // Also if its window is over: later ones inherit less, and others may give back to it too.
                    Some(last) => less(*last),
                    None if refund.of_another(self.window_end(before)) => None,
                    None => less(before),
                }
            }
            Op::Set(units) => counted(units),
        }
    }

    #[inline]
    fn run(&self, state: Option<&Served>, now: f64, op: &Op) -> Step<Served, Verdict> {
        let before = self.at(state, now);
        let change = self.change(state, before, op);
        let served = match (op, change) {
            (_, None) => before,
            (Op::Refund(_), Some(change)) => self.at(Some(&change), now),
            (_, Some(change)) => change,
        };
        if let Op::Charge(charged) = *op {
            if served.units > MAX {
                return Step::Fail(uncountable(charged));
            }
        }
        let allowed = match *op {
            Op::Debit(units) | Op::Charge(units) => self.admits(before, units),
            Op::Refund(_) | Op::Set(_) => self.has_left(served),
        };
        let outcome = Verdict { allowed, served };
        match change {
            Some(change) => Step::Write { change, ttl_ms: self.ttl(change, now), outcome },
            None => Step::Keep(outcome),
        }
    }

    fn args(&self) -> Numbers {
        let flag = |is: bool| if is { 1.0 } else { 0.0 };
        [self.limit, self.window_ms, self.max_debt, flag(self.carry), flag(self.whole)].into()
    }
}

/// What the script found. A field that is missing means a fresh window.
fn read<P: Program<State = Served>>() -> ReadState<P> {
    |_, raw| match raw.list() {
        Some([Raw::Nothing, _] | [_, Raw::Nothing]) => Ok(None),
        Some([start, units]) => {
            readable(start.number().zip(units.number()).map(|(start, units)| Served { start, units }))
        }
        _ => readable(None),
    }
}

const LUA: &str = include_str!("budget.lua");

/// A debit.
impl Program for Budget {
    type State = Served;
    type Change = Served;
    type Request = f64;
    type Outcome = Verdict;
    type Reply = Decision;

    #[inline]
    fn step(&self, state: Option<&Served>, now_ms: f64, units: &f64) -> Step<Served, Verdict> {
        if floor_f64(*units) == *units {
            self.run(state, now_ms, &Op::Debit(*units))
        } else {
            Step::Fail(fraction(*units))
        }
    }

    #[inline]
    fn reply(&self, now_ms: f64, _units: &f64, outcome: Verdict) -> Decision {
        self.decision(outcome.allowed, outcome.served, now_ms)
    }

    fn twin(&self) -> Option<Twin<Self>> {
        Some(Twin::new(LUA, Self::args, |units| Op::Debit(*units).numbers(), read()).leasing())
    }
}

#[cold]
pub(super) fn fraction(units: f64) -> Error {
    Error::invalid_argument(format!("tokens are {units}: must be a whole number from 1 to {MAX}"))
}

#[cold]
fn uncountable(units: f64) -> Error {
    Error::invalid_argument(format!("tokens are {units}: with those that are counted they must be at most {MAX}"))
}

impl Strategy for Budget {
    fn name(&self) -> &'static str {
        "tokenBudget"
    }

    fn limit(&self) -> u64 {
        self.units()
    }

    fn window_ms(&self) -> Option<f64> {
        Some(self.window_ms)
    }

    fn axis(&self) -> Axis {
        Axis::Cost
    }

    fn ttl_ms(&self) -> f64 {
        let windows = if self.carry { ceil_f64(self.max_debt / self.limit) } else { 0.0 };
        self.window_ms * (1.0 + windows)
    }

    /// None if debt is carried: then not all that was counted ends with the window.
    fn window_end_ms(&self, now_ms: f64) -> Option<f64> {
        if self.carry { None } else { Some(self.start(now_ms) + self.window_ms) }
    }

    fn lease_at_ms(&self, state: Option<&Served>, now_ms: f64) -> f64 {
        state.filter(|_| !self.carry).map_or(now_ms, |state| state.start.max(now_ms))
    }

    const WHOLE_UNITS: bool = true;

    const REFUNDS: bool = true;

    /// Takes whole units out of the count of the window, if they are of this window; or of the last in which anything was
    /// counted, of which this one inherits debt.
    fn refund(&self, state: Option<&Served>, now_ms: f64, refund: &Refund) -> Step<Served, Verdict> {
        self.run(state, now_ms, &Op::Refund(*refund))
    }
}

impl Project for Budget {
    fn peek(&self, state: Option<&Served>, now_ms: f64) -> Decision {
        let served = self.at(state, now_ms);
        self.decision(self.has_left(served), served, now_ms)
    }

    /// The last of the debits that fit may cross the budget, unless they must be whole.
    fn forecast(&self, state: Option<&Served>, now_ms: f64, cost: f64) -> Forecast {
        let served = self.at(state, now_ms);
        let debits = if self.admits(served, cost) { (self.limit - served.units) / cost } else { 0.0 };
        Forecast {
            spendable_now: floor_units(if self.whole { debits } else { ceil_f64(debits) }),
            next_replenish_at_ms: self.replenished(served),
            full_at_ms: ceil_ms(self.reset(served)),
        }
    }
}

/// What a key has used, and what is left.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// The budget.
    pub limit: u64,
    /// Units counted in the window.
    pub served: u64,
    /// Units left: the budget less what is counted, at least 0.
    pub remaining: u64,
    /// Units that the next window inherits; 0 where debt is not carried.
    pub debt: u64,
    /// The end of the window, in milliseconds since the Unix epoch: what decisions on it show as their reset.
    pub window_end_ms: i64,
    /// When nothing of it counts any more, in milliseconds since the Unix epoch.
    pub reset_at_ms: i64,
    /// When a key with nothing left has something left again: the end of the window, unless it inherits as much debt as
    /// a whole budget.
    pub retry_at_ms: i64,
    /// The instant of this answer, by the clock that judges: the store's own, if it has one.
    pub now_ms: f64,
}

/// All that a meter changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work(pub(crate) Budget);

impl Program for Work {
    type State = Served;
    type Change = Served;
    type Request = Op;
    type Outcome = Verdict;
    type Reply = Decision;

    fn step(&self, state: Option<&Served>, now_ms: f64, op: &Op) -> Step<Served, Verdict> {
        self.0.run(state, now_ms, op)
    }

    fn reply(&self, now_ms: f64, _op: &Op, Verdict { allowed, served }: Verdict) -> Decision {
        self.0.decision(allowed, served, now_ms)
    }

    fn twin(&self) -> Option<Twin<Self>> {
        Some(Twin::new(LUA, |work| work.0.args(), Op::numbers, read()))
    }
}

/// Reads what a key has used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inspect(pub(crate) Budget);

impl Program for Inspect {
    type State = Served;
    type Change = Served;
    type Request = ();
    type Outcome = Served;
    type Reply = Usage;

    const READ_ONLY: bool = true;

    fn step(&self, state: Option<&Served>, now_ms: f64, _request: &()) -> Step<Served, Served> {
        Step::Keep(self.0.at(state, now_ms))
    }

    fn reply(&self, now_ms: f64, _request: &(), served: Served) -> Usage {
        let budget = &self.0;
        Usage {
            limit: budget.units(),
            served: floor_units(served.units),
            remaining: floor_units(budget.limit - served.units),
            debt: floor_units(budget.debt(served)),
            window_end_ms: budget.window_end(served),
            reset_at_ms: ceil_ms(budget.reset(served)),
            retry_at_ms: budget.replenished(served),
            now_ms,
        }
    }

    fn twin(&self) -> Option<Twin<Self>> {
        Some(Twin::new(LUA, |inspect| inspect.0.args(), |()| [].into(), read()))
    }
}
