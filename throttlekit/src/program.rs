//! Programs: pure steps over the state of one key.

use crate::admit::Axis;
use crate::decision::{Decision, Forecast};
use crate::error::Error;
use crate::store::memory::Layout;
use crate::twin::{GIVE_BACK, Numbers, Twin};

/// What is kept under a key.
///
/// The text form is what every store that keeps text holds, and what other members of the family read: minimal JSON,
/// numbers written so that they read back exactly. The memory store keeps the value itself, in the way that
/// [`Layout`](Self::Layout) names.
///
/// ```
/// use throttlekit::State;
/// use throttlekit::store::memory::Boxed;
///
/// struct Seen(Vec<f64>);
///
/// impl State for Seen {
///     type Layout = Boxed;
///     fn encode(&self) -> String {
///         format!("{:?}", self.0)
///     }
///     fn decode(text: &str) -> Option<Self> {
///         let inner = text.strip_prefix('[')?.strip_suffix(']')?;
///         let numbers = inner.split(',').filter(|part| !part.is_empty());
///         numbers.map(|part| part.trim().parse().ok()).collect::<Option<_>>().map(Seen)
///     }
/// }
/// assert_eq!(Seen(vec![1.0, 2.5]).encode(), "[1.0, 2.5]");
/// ```
pub trait State: Sized + Send + 'static {
    /// How the memory store keeps it: [`Boxed`](crate::store::memory::Boxed) fits any type;
    /// [`Instant`](crate::store::memory::Instant) and [`Pair`](crate::store::memory::Pair) need no allocation.
    type Layout: Layout<Self>;

    /// The state as text.
    fn encode(&self) -> String;

    /// The state from its text; `None` if it does not parse.
    fn decode(text: &str) -> Option<Self>;
}

/// How a step changes a state. A type that is the state replaces it; a large state has an edit type of its own, so that
/// a ring or a log is changed in place.
pub trait Change<S>: Send {
    /// Applies the change; `state` is `None` for a key that is not there, and must be `Some` afterwards.
    fn apply_to(self, state: &mut Option<S>);
}

impl<S: Send> Change<S> for S {
    #[inline]
    fn apply_to(self, state: &mut Option<S>) {
        *state = Some(self);
    }
}

/// What one step wants.
#[derive(Debug)]
pub enum Step<C, O> {
    /// Nothing changes. In a joint run this counts as a refusal.
    Keep(O),
    /// The state changes and lives for `ttl_ms` from now.
    Write {
        /// The change.
        change: C,
        /// How long the state lives, in milliseconds.
        ttl_ms: f64,
        /// What the step answers.
        outcome: O,
    },
    /// The key is forgotten.
    Remove(O),
    /// The request cannot be judged. Nothing changes.
    Fail(Error),
}

/// A pure step over the state of one key: no clock, no I/O, the same answer for the same input.
///
/// A store runs a program atomically on a key. A step may run more than once for one request (after a lost race), so it
/// must be pure, and it must treat an aged state exactly like none, since a store may drop or keep such a state.
///
/// The answer comes in two halves, so that a store can publish the change before the words around it are computed:
/// [`step`](Self::step) decides and gives an [`Outcome`](Self::Outcome), cheap to make;
/// [`reply`](Self::reply) turns that into what the caller sees. Where there is nothing to put off, let both be the same
/// type and return `outcome`.
///
/// ```
/// use throttlekit::{Program, Step};
/// use throttlekit::store::memory::Table;
///
/// /// Counts calls; the count is forgotten a second after the last one.
/// #[derive(Clone)]
/// struct Counter;
///
/// impl Program for Counter {
///     type State = f64;
///     type Change = f64;
///     type Request = ();
///     type Outcome = f64;
///     type Reply = f64;
///     fn step(&self, state: Option<&f64>, _now_ms: f64, _request: &()) -> Step<f64, f64> {
///         let count = state.copied().unwrap_or(0.0) + 1.0;
///         Step::Write { change: count, ttl_ms: 1_000.0, outcome: count }
///     }
///     fn reply(&self, _now_ms: f64, _request: &(), outcome: f64) -> f64 {
///         outcome
///     }
/// }
///
/// let table = Table::<f64>::new();
/// assert_eq!(table.apply("k", 0.0, &Counter, &()).unwrap(), 1.0);
/// assert_eq!(table.apply("k", 999.0, &Counter, &()).unwrap(), 2.0);
/// assert_eq!(table.apply("k", 2_000.0, &Counter, &()).unwrap(), 1.0);
/// ```
pub trait Program: Clone + Send + Sync + 'static {
    /// What is kept under a key.
    type State: State;
    /// How a step changes it; the state's own type unless that is large.
    type Change: Change<Self::State>;
    /// What is asked.
    type Request: Clone + Send + 'static;
    /// What a step decides.
    type Outcome: Send;
    /// What the caller sees.
    type Reply: Send + 'static;

    /// A program that only reads answers [`Step::Keep`] always; a store may then use a cheaper read.
    const READ_ONLY: bool = false;

    /// A program that does not look at the state, such as one that forgets a key, gets none at all from a store that
    /// keeps text. So it also works where the text does not parse.
    const IGNORES_STATE: bool = false;

    /// Decides. `now_ms` is whole milliseconds since the Unix epoch.
    fn step(
        &self,
        state: Option<&Self::State>,
        now_ms: f64,
        request: &Self::Request,
    ) -> Step<Self::Change, Self::Outcome>;

    /// Describes the decision.
    fn reply(&self, now_ms: f64, request: &Self::Request, outcome: Self::Outcome) -> Self::Reply;

    /// Whether `state` was written after `now_ms`, so that a step at `now_ms` could give back what was taken since.
    ///
    /// Threads read the clock before they hold a key, and may take hold of it in another order. Where a key is ahead, a store in
    /// process reads the clock once more while it holds the key, and steps at that instant: no earlier than the state
    /// was written, if the clock never steps back. `false`, the default, fits a step that goes on from the later of both anyway, and
    /// states that are [`Boxed`](crate::store::memory::Boxed), for which the store itself sees to it.
    #[inline]
    fn is_ahead(&self, _state: &Self::State, _now_ms: f64) -> bool {
        false
    }

    /// The step as a Redis script, if there is one. Without, a store that runs scripts makes guarded writes instead,
    /// which takes a second round trip.
    fn twin(&self) -> Option<Twin<Self>> {
        None
    }

    /// The step for `request` as a formula, if it is one that stores may know.
    ///
    /// A store that computes by itself, such as one that speaks SQL, may then decide and write in one statement instead
    /// of reading, stepping and writing. It must come to the same bits as [`step`](Self::step), which stays the truth.
    fn formula(&self, _request: &Self::Request) -> Option<Formula> {
        None
    }
}

/// A step in closed form, with its numbers; see [`Program::formula`]. The set only grows.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Formula {
    /// The text of the state is one number, the theoretical arrival time in milliseconds; none, or one at or before now,
    /// counts as now. In `f64`, in this order:
    ///
    /// ```text
    /// tat = max(TAT, now)    new = tat + increment    allow = new - tolerance
    /// ```
    ///
    /// If `new <= tat` or `now < allow`, nothing changes. Otherwise `new` is written and lives for
    /// `max(1, ceil(new - now))` ms.
    Gcra {
        /// How far this request moves the arrival time, in milliseconds.
        increment_ms: f64,
        /// How far the arrival time may be ahead of now, in milliseconds.
        tolerance_ms: f64,
    },
}

/// A program that limits: asked for a cost, it answers a [`Decision`].
pub trait Strategy: Program<Request = f64, Reply = Decision> {
    /// The stable name, such as `gcra`.
    fn name(&self) -> &'static str;

    /// The ceiling shown to clients, truncated to whole units.
    fn limit(&self) -> u64;

    /// The length of its window in milliseconds, if it has one to show.
    fn window_ms(&self) -> Option<f64>;

    /// The axis that its events name: [`Axis::Rate`], unless units are what work costs.
    fn axis(&self) -> Axis {
        Axis::Rate
    }

    /// An upper bound for the life of a stored state, in milliseconds.
    fn ttl_ms(&self) -> f64;

    /// A part of every stored key, between the prefix and the key: for a strategy whose states must not meet those of a
    /// sibling under the same prefix. Empty, which adds nothing, for nearly all.
    fn key_space(&self) -> &'static str {
        ""
    }

    /// When the window of `now_ms` ends, in milliseconds since the Unix epoch: an instant that is the same for every key
    /// and at which all that was counted ends. `None`, the default, where there is no such instant; it is then `None` at
    /// all times.
    ///
    /// [Leases](crate::lease) can be coupled to such windows.
    fn window_end_ms(&self, _now_ms: f64) -> Option<f64> {
        None
    }

    /// The instant at which a [partial lease](crate::lease::GrantForm::Partial) is judged, `now_ms` or later: where the
    /// state belongs to a window that is yet to come by the clock of the caller, the start of that window. So holders
    /// whose clocks disagree take from one window, the latest, and never open one afresh.
    fn lease_at_ms(&self, _state: Option<&Self::State>, now_ms: f64) -> f64 {
        now_ms
    }

    /// Whether it counts whole units only. A [lease](crate::lease) is then of whole units too.
    const WHOLE_UNITS: bool = false;

    /// Whether [`refund`](Self::refund) gives back what was taken.
    const REFUNDS: bool = false;

    /// Gives back units that were taken and not used: as many as are still missing from the key, never more. What has
    /// come back by itself meanwhile is kept.
    ///
    /// The outcome is described by [`reply`](Program::reply) for a cost of 0.
    fn refund(&self, state: Option<&Self::State>, now_ms: f64, refund: &Refund) -> Step<Self::Change, Self::Outcome> {
        let _ = (state, now_ms, refund);
        Step::Fail(no_refunds(self.name()))
    }
}

/// The error of a strategy that takes no units back.
#[cold]
pub(crate) fn no_refunds(strategy: &str) -> Error {
    Error::unsupported(format!("a limit by {strategy} takes no units back"))
}

/// Units to give back to a key.
///
/// ```
/// use throttlekit::{Gcra, Limiter, ManualClock, Refund};
///
/// let limiter = Limiter::builder(Gcra::per_hour(10)?).clock(ManualClock::new(0.0)).build();
/// let taken = limiter.check_cost("user-1", 6.0)?;
/// let refund = Refund::new(4.0).of(&taken);
/// let decision = limiter.run_refund("user-1", refund).now().expect("memory does not wait")?;
/// assert_eq!(decision.remaining, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Refund {
    /// How many: as a cost, finite, above 0, at most 2^53 - 1.
    pub units: f64,
    /// [`Decision::reset_at_ms`] of the decision that took them. Once it has passed, or in another window, they have come
    /// back by themselves; where units come back steadily, part of them has before. If it is not known, none counts as come
    /// back, and a window that began since gives back what was not taken from it.
    pub reset_at_ms: Option<i64>,
}

impl Refund {
    /// `units` that were taken a moment ago.
    pub fn new(units: f64) -> Self {
        Self { units, reset_at_ms: None }
    }

    /// Says which decision took them.
    #[must_use]
    pub fn of(mut self, taken: &Decision) -> Self {
        self.reset_at_ms = Some(taken.reset_at_ms);
        self
    }

    /// The request to a twin that [knows](Twin::leasing) refunds.
    pub(crate) fn numbers(&self) -> Numbers {
        #[allow(clippy::cast_precision_loss)] // whole milliseconds
        let reset_at_ms = self.reset_at_ms.map(|reset| reset as f64);
        [self.units, GIVE_BACK, f64::from(u8::from(reset_at_ms.is_some())), reset_at_ms.unwrap_or(0.0)].into()
    }

    /// In how many milliseconds what was taken has come back by itself, where units come back steadily: what there is to give
    /// back is at most what comes back until then. Without end if it is not known when they were taken.
    #[inline]
    pub(crate) fn comes_back_in(&self, now_ms: f64) -> f64 {
        #[allow(clippy::cast_precision_loss)] // a reset is whole milliseconds
        self.reset_at_ms.map_or(f64::INFINITY, |reset| reset as f64 - now_ms)
    }

    /// Whether it was taken from another window than that which ends at `reset_ms`.
    #[inline]
    pub(crate) fn of_another(&self, reset_ms: i64) -> bool {
        self.reset_at_ms.is_some_and(|reset| reset != reset_ms)
    }
}

/// A strategy that can tell the future without consuming.
pub trait Project: Strategy {
    /// What a check of cost 1 would find. A denial's wait is at least 1 ms.
    fn peek(&self, state: Option<&Self::State>, now_ms: f64) -> Decision;

    /// How much of `cost` fits now, and when capacity comes back.
    fn forecast(&self, state: Option<&Self::State>, now_ms: f64, cost: f64) -> Forecast;
}
