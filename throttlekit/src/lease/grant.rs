//! Leases as a program: units leave the state of a key in one step. They go back as any refund does.

use crate::decision::{Decision, ceil_ms};
use crate::error::Error;
use crate::math::floor_f64;
use crate::program::{Program, Refund, Step, Strategy};
use crate::twin::{LEASE, Numbers, Raw, Twin};

/// What a lease asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Wanted {
    /// Units, finite and above 0.
    pub units: f64,
    /// How many of them the request at hand needs, at most all. What a short grant says of the time to wait is about
    /// these.
    pub need: f64,
}

impl Wanted {
    /// So many units, of which the request at hand needs so many.
    pub fn new(units: f64, need: f64) -> Self {
        Self { units, need }
    }
}

/// What a lease got.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Granted {
    /// Units that now belong to the holder: 0 up to what was asked for.
    pub units: f64,
    /// The decision on what was granted; where that is less than was needed, the denial of what was needed.
    pub decision: Decision,
    /// The store's time of the grant, in milliseconds since the Unix epoch.
    pub now_ms: f64,
    /// When the window ends from which the units came, if the strategy has
    /// [windows that all holders share](Strategy::window_end_ms).
    pub end_ms: Option<f64>,
}

impl Granted {
    /// Milliseconds from the grant to the end of its window.
    pub fn lasts_ms(&self) -> Option<f64> {
        self.end_ms.map(|end| end - self.now_ms)
    }

    /// What gives `units` of it back to the key that they came from, if they are still of the window that the store is in.
    pub fn refund(&self, units: f64) -> Refund {
        Refund { units, reset_at_ms: self.end_ms.map(ceil_ms) }
    }
}

/// How a lease treats a store that has less than was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GrantForm {
    /// It takes what is left, in whole units.
    #[default]
    Partial,
    /// It takes nothing, as a check of that many units does. For fleets with members that know no other form.
    Whole,
}

impl GrantForm {
    /// The name in configuration: `partial` or `whole`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Partial => "partial",
            Self::Whole => "whole",
        }
    }
}

/// Takes units from a key for a holder who spends them elsewhere.
///
/// It works on the state of the strategy itself, so plain checks and leases on a key share one budget. What is granted is
/// what a check of as many units would have taken.
///
/// ```
/// use throttlekit::FixedWindow;
/// use throttlekit::lease::{Grant, GrantForm, Wanted};
/// use throttlekit::store::memory::Table;
///
/// let window = FixedWindow::builder().limit(10.0).window_ms(1_000.0).build()?;
/// let table = Table::new();
/// table.apply("k", 0.0, &window, &8.0)?;
///
/// let grant = Grant::new(window, GrantForm::Partial);
/// let granted = table.apply("k", 30.0, &grant, &Wanted::new(5.0, 1.0))?;
/// assert_eq!((granted.units, granted.decision.remaining, granted.lasts_ms()), (2.0, 0, Some(970.0)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grant<S> {
    strategy: S,
    form: GrantForm,
}

impl<S: Strategy> Grant<S> {
    /// Leases from the states of `strategy`.
    pub fn new(strategy: S, form: GrantForm) -> Self {
        Self { strategy, form }
    }

    /// Steps by `units`; the outcome as a decision.
    fn take(&self, state: Option<&S::State>, now_ms: f64, units: f64) -> Step<S::Change, Decision> {
        let reply = |outcome| self.strategy.reply(now_ms, &units, outcome);
        match self.strategy.step(state, now_ms, &units) {
            Step::Keep(outcome) => Step::Keep(reply(outcome)),
            Step::Remove(outcome) => Step::Remove(reply(outcome)),
            Step::Write { change, ttl_ms, outcome } => Step::Write { change, ttl_ms, outcome: reply(outcome) },
            Step::Fail(error) => Step::Fail(error),
        }
    }

    fn granted(&self, now_ms: f64, units: f64, decision: Decision) -> Granted {
        Granted { units, decision, now_ms, end_ms: self.strategy.window_end_ms(now_ms) }
    }
}

impl<S: Strategy> Program for Grant<S> {
    type State = S::State;
    type Change = S::Change;
    type Request = Wanted;
    type Outcome = Granted;
    type Reply = Granted;

    fn step(&self, state: Option<&S::State>, now_ms: f64, wanted: &Wanted) -> Step<S::Change, Granted> {
        let at_ms = match self.form {
            GrantForm::Partial => self.strategy.lease_at_ms(state, now_ms),
            GrantForm::Whole => now_ms,
        };
        later(self.step_at(state, at_ms, wanted), at_ms - now_ms)
    }

    fn reply(&self, _now_ms: f64, _wanted: &Wanted, outcome: Granted) -> Granted {
        outcome
    }

    fn is_ahead(&self, state: &S::State, now_ms: f64) -> bool {
        self.strategy.is_ahead(state, now_ms)
    }

    /// That of the strategy, if it knows leases or none is needed.
    fn twin(&self) -> Option<Twin<Self>> {
        let twin = self.strategy.twin()?;
        match self.form {
            GrantForm::Whole => Some(Twin::new(twin.lua(), numbers, |wanted| [wanted.units].into(), read)),
            GrantForm::Partial if twin.knows_leases() => {
                Some(Twin::new(twin.lua(), numbers, |wanted| [wanted.units, LEASE].into(), read))
            }
            GrantForm::Partial => None,
        }
    }
}

/// A step that was taken at an instant this many milliseconds ahead: what it writes lives longer by as much.
fn later<C, O>(step: Step<C, O>, ahead_ms: f64) -> Step<C, O> {
    match step {
        Step::Write { change, ttl_ms, outcome } => Step::Write { change, ttl_ms: ttl_ms + ahead_ms, outcome },
        other => other,
    }
}

impl<S: Strategy> Grant<S> {
    #[allow(clippy::cast_precision_loss)] // a remaining above 2^53 is more than can be asked for
    fn step_at(&self, state: Option<&S::State>, now_ms: f64, wanted: &Wanted) -> Step<S::Change, Granted> {
        let denied = match self.take(state, now_ms, wanted.units) {
            Step::Keep(denied) => denied,
            Step::Write { change, ttl_ms, outcome } => {
                return Step::Write { change, ttl_ms, outcome: self.granted(now_ms, wanted.units, outcome) };
            }
            Step::Remove(outcome) => return Step::Remove(self.granted(now_ms, wanted.units, outcome)),
            Step::Fail(error) => return Step::Fail(error),
        };
        if self.form == GrantForm::Whole {
            return Step::Keep(self.granted(now_ms, 0.0, denied));
        }
        // By its rounding a strategy may deny the last of the units that it shows as remaining.
        let left = (denied.remaining as f64).min(floor_f64(wanted.units));
        for units in [left, left - 1.0] {
            if units < 1.0 {
                break;
            }
            if let Step::Write { change, ttl_ms, outcome } = self.take(state, now_ms, units) {
                let decision = if units < wanted.need { self.denial(state, now_ms, wanted, denied) } else { outcome };
                return Step::Write { change, ttl_ms, outcome: self.granted(now_ms, units, decision) };
            }
        }
        Step::Keep(self.granted(now_ms, 0.0, self.denial(state, now_ms, wanted, denied)))
    }

    /// The denial of what was needed; `denied` is that of all that was asked for.
    ///
    /// It is judged by the state before the grant: the wait for `n` units is then as long as the wait for those that are
    /// missing after it.
    fn denial(&self, state: Option<&S::State>, now_ms: f64, wanted: &Wanted, denied: Decision) -> Decision {
        match self.take(state, now_ms, wanted.need) {
            Step::Keep(decision) => decision,
            // By rounding again: what was denied in whole was the same amount.
            _ => denied,
        }
    }
}

/// The numbers of the strategy.
fn numbers<S: Strategy>(grant: &Grant<S>) -> Numbers {
    grant.strategy.twin().map_or(Numbers::from([]), |twin| (twin.args)(&grant.strategy))
}

/// The state as the strategy reads it.
fn read<S: Strategy>(grant: &Grant<S>, raw: &Raw) -> Result<Option<S::State>, Error> {
    grant.strategy.twin().map_or(Ok(None), |twin| (twin.state)(&grant.strategy, raw))
}
