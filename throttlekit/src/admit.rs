//! What a door asks: [`Admit`] and [`Meter`]; what it gets: [`Admission`].

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::decision::Decision;
use crate::error::Error;
use crate::observe::{GuardReport, GuardStats, Observer, TableReport};
use crate::permit::Permit;
use crate::priority::Priority;
use crate::program::Refund;
use crate::run::Run;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Axis {
    /// Requests over time.
    Rate,
    /// Work at the same time.
    Concurrency,
    /// Units over time whose number may be known late, such as tokens.
    Cost,
}

impl Axis {
    /// The stable name: `rate`, `concurrency` or `cost`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Concurrency => "concurrency",
            Self::Cost => "cost",
        }
    }
}

/// The decisions that one admission obtained, per axis; `None` for an axis that is not configured or was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Axes {
    /// The rate axis.
    pub rate: Option<Decision>,
    /// The concurrency axis.
    pub concurrency: Option<Decision>,
    /// The cost axis.
    pub cost: Option<Decision>,
}

impl Axes {
    /// The rate axis alone.
    #[inline]
    pub fn rate(decision: Decision) -> Self {
        Self { rate: Some(decision), concurrency: None, cost: None }
    }

    /// All axes joined by [`Decision::combine`].
    pub fn combined(&self) -> Decision {
        Decision::combine_all([self.concurrency, self.rate, self.cost].into_iter().flatten())
    }

    /// The first axis that denies, in the order concurrency, rate, cost.
    pub fn binding(&self) -> Option<Axis> {
        let denies = |decision: Option<Decision>| decision.is_some_and(|decision| !decision.allowed);
        if denies(self.concurrency) {
            Some(Axis::Concurrency)
        } else if denies(self.rate) {
            Some(Axis::Rate)
        } else if denies(self.cost) {
            Some(Axis::Cost)
        } else {
            None
        }
    }
}

/// What a request asks for.
///
/// ```
/// use throttlekit::Ask;
///
/// let ask = Ask::new("user-1").cost(3.0);
/// assert_eq!((ask.key, ask.cost, ask.value, ask.hold), ("user-1", 3.0, 1.0, 0.0));
/// ```
#[derive(Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Ask<'a> {
    /// Who asks. The empty key is legal.
    pub key: &'a str,
    /// Units on the cost axis, and on the rate axis of a plain limiter: finite, above 0, at most 2^53 - 1.
    pub cost: f64,
    /// What the request is worth, for a policy that prices admission.
    pub value: f64,
    /// How long it is expected to hold a slot, for a policy that prices admission.
    pub hold: f64,
    /// The raw key of each dimension, in the order in which the limiter declares them; empty if each is
    /// [`key`](Self::key).
    pub dimensions: &'a [&'a str],
    /// How much it matters, for a limit on work in flight.
    pub priority: Priority,
    /// Whether it may stand in the [queue](crate::GuardBuilder::queue) of a limit on work in flight.
    pub queues: bool,
    /// Whether it is a part of a request that observers are told of as a whole.
    pub(crate) part: bool,
}

impl<'a> Ask<'a> {
    /// Asks for one unit.
    #[inline]
    pub fn new(key: &'a str) -> Self {
        let priority = Priority::Normal;
        Self { key, cost: 1.0, value: 1.0, hold: 0.0, dimensions: &[], priority, queues: true, part: false }
    }

    /// Sets the cost in units.
    #[must_use]
    #[inline]
    pub fn cost(mut self, cost: f64) -> Self {
        self.cost = cost;
        self
    }

    /// Sets the worth.
    #[must_use]
    pub fn value(mut self, value: f64) -> Self {
        self.value = value;
        self
    }

    /// Sets the expected holding time.
    #[must_use]
    pub fn hold(mut self, hold: f64) -> Self {
        self.hold = hold;
        self
    }

    /// Sets one raw key per dimension.
    #[must_use]
    pub fn dimensions(mut self, dimensions: &'a [&'a str]) -> Self {
        self.dimensions = dimensions;
        self
    }

    /// Sets how much it matters.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets whether it may stand in a queue. One that may not is refused where it finds no slot.
    #[must_use]
    #[inline]
    pub fn queues(mut self, queues: bool) -> Self {
        self.queues = queues;
        self
    }

    /// The same as a part of a request that observers are told of as a whole.
    pub(crate) fn as_part(self) -> Self {
        Self { part: true, ..self }
    }
}

impl fmt::Debug for Ask<'_> {
    /// Shows no key: it may be a secret or an address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("cost", &self.cost)
            .field("value", &self.value)
            .field("hold", &self.hold)
            .field("dimensions", &self.dimensions.len())
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}

/// The answer to an [`Ask`].
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "an admission holds a permit; dropping it gives the slot back"]
pub struct Admission {
    /// The joint decision.
    pub decision: Decision,
    /// The decision of each axis that was asked.
    pub axes: Axes,
    /// The decision of each limit on units, in their order, where several decided together and were told to
    /// [keep them](crate::MultiBuilder::keep_each). Of a denial, one that would have admitted shows what it has as it is:
    /// nothing was taken from it.
    pub each: Option<Box<[Decision]>>,
    /// The axis that denied; `None` on an allow, and when a policy over the axes denied.
    pub binding: Option<Axis>,
    /// The slot held until the work is over; empty on a denial and where nothing is held.
    pub permit: Permit,
}

impl Admission {
    /// An admission by the rate axis alone, which holds no slot.
    #[inline]
    pub fn rate(decision: Decision) -> Self {
        Self {
            decision,
            axes: Axes::rate(decision),
            each: None,
            binding: if decision.allowed { None } else { Some(Axis::Rate) },
            permit: Permit::none(),
        }
    }

    /// Whether a policy over the axes denied, and none of the axes.
    pub fn policy_denied(&self) -> bool {
        !self.decision.allowed && self.binding.is_none()
    }

    /// An admission from the decisions of several axes and the slot that was taken.
    pub fn from_axes(axes: Axes, permit: Permit) -> Self {
        Self { decision: axes.combined(), axes, each: None, binding: axes.binding(), permit }
    }
}

/// What every door asks. A limiter, a guard, a unified admitter, a two-tier limiter: all are `Admit`.
///
/// # Cancel safety
///
/// Dropping the returned [`Run`] before it answers leaks no slot. A store may already have charged the request.
pub trait Admit: Send + Sync + 'static {
    /// Decides one request.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a bad cost or key, `store_unavailable` and `state_invalid` from the store.
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>>;

    /// The decision and the permit of [`admit`](Self::admit), for whoever joins them with others: an admission is three times
    /// as large, and is moved about. Implement it where that counts.
    ///
    /// # Errors
    ///
    /// As [`admit`](Self::admit).
    fn enter(&self, ask: &Ask<'_>) -> Run<Result<(Decision, Permit), Error>> {
        self.admit(ask).map(|answer| answer.map(|admission| (admission.decision, admission.permit)))
    }

    /// The same limit with somebody to tell: a handle to the same keys and slots, of which `observer` is told as if the limit
    /// had been built with it. What is asked without the handle is told to nobody, as before. A middleware asks its limits
    /// for it, so that one call switches observation on.
    ///
    /// `None` leaves the limit as it is: it has an observer, which it keeps, or does not know how to tell one. The latter is
    /// what is given here.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use throttlekit::prometheus::Metrics;
    /// use throttlekit::{Admit, Ask, Gcra, Limiter, Observer};
    ///
    /// let limiter = Arc::new(Limiter::new(Gcra::per_second(5)?));
    /// let metrics = Metrics::new();
    /// let observer: Arc<dyn Observer> = Arc::new(metrics.clone());
    /// let observed = Arc::clone(&limiter).observed(&observer).expect("it has no observer");
    ///
    /// let _ = observed.admit(&Ask::new("user-1")).now().expect("memory does not wait")?;
    /// assert!(metrics.render().contains("throttlekit_allowed_total"));
    /// assert_eq!(limiter.peek("user-1")?.remaining, 4);
    /// assert!(observed.observed(&observer).is_none(), "it has one");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        let _ = observer;
        None
    }

    /// Whether it joins several axes into one admission, as [`Unified`](crate::Unified) does: a middleware says so where it cannot
    /// decide. `false` is what is given here.
    fn joins_axes(&self) -> bool {
        false
    }

    /// The units that an admission of `ask` takes of the limit at `place`, counted as in [`Admission::each`]; of two axes
    /// the rate comes before the cost. A middleware asks it where a handler wants to give some of them back. `None` if it
    /// takes none there, or does not know, which is what is given here.
    ///
    /// ```
    /// use throttlekit::{Admit, Ask, Gcra, Limiter, TokenBucket, Unified};
    ///
    /// let requests = Limiter::new(Gcra::per_minute(60)?);
    /// let tokens = Limiter::new(TokenBucket::builder().capacity(1_000.0).refill_per_sec(10.0).build()?);
    /// let both = Unified::builder().rate(requests).cost(tokens).build()?;
    ///
    /// let ask = Ask::new("user-1").cost(500.0);
    /// assert_eq!([0, 1, 2].map(|place| both.units_of(&ask, place)), [Some(1.0), Some(500.0), None]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn units_of(&self, ask: &Ask<'_>, place: usize) -> Option<f64> {
        let _ = (ask, place);
        None
    }

    /// The key under which it counts units of [`Ask::key`] in its limiters: where a handler counts more, it is there. `key`
    /// itself is what is given here.
    fn key_of<'k>(&self, key: &'k str) -> Cow<'k, str> {
        Cow::Borrowed(key)
    }

    /// How the guard in it is doing, for [whoever shows that](crate::Gauges); `None` if it limits no work in flight, or does
    /// not know how to tell, which is what is given here.
    fn guard_state(&self) -> Option<(GuardReport, GuardStats)> {
        None
    }

    /// How full its table in this process is, likewise; `None` if it has none, or does not know how to tell.
    fn table_state(&self) -> Option<TableReport> {
        None
    }
}

impl<T: Admit + ?Sized> Admit for Arc<T> {
    #[inline]
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        (**self).admit(ask)
    }

    #[inline]
    fn enter(&self, ask: &Ask<'_>) -> Run<Result<(Decision, Permit), Error>> {
        (**self).enter(ask)
    }

    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        T::observed(Self::clone(&self), observer)
    }

    fn joins_axes(&self) -> bool {
        (**self).joins_axes()
    }

    fn units_of(&self, ask: &Ask<'_>, place: usize) -> Option<f64> {
        (**self).units_of(ask, place)
    }

    fn key_of<'k>(&self, key: &'k str) -> Cow<'k, str> {
        (**self).key_of(key)
    }

    fn guard_state(&self) -> Option<(GuardReport, GuardStats)> {
        (**self).guard_state()
    }

    fn table_state(&self) -> Option<TableReport> {
        (**self).table_state()
    }
}

/// `limit` with `observer` to tell, if it has none; else as it is.
pub(crate) fn observed_or_same(limit: &Arc<dyn Admit>, observer: &Arc<dyn Observer>) -> Arc<dyn Admit> {
    Arc::clone(limit).observed(observer).unwrap_or_else(|| Arc::clone(limit))
}

/// Takes units from one key, without a permit. Unified admission, dimensions and streaming debits are built from meters.
pub trait Meter: Send + Sync + 'static {
    /// Takes `units` if they are there; a denial takes nothing.
    ///
    /// # Errors
    ///
    /// As [`Admit::admit`].
    fn debit(&self, key: &str, units: f64) -> Run<Result<Decision, Error>>;

    /// Counts work that already happened, into bounded debt where the limit is passed. It counts in full, since all of it may
    /// be [given back](Self::refund_of); what is bounded is the debt that goes on when its window ends.
    ///
    /// # Errors
    ///
    /// `throttlekit_error` where the program has no debt; otherwise as [`Admit::admit`].
    fn charge(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        let _ = (key, units);
        Run::ready(Err(Error::unsupported("this meter cannot charge beyond its limit")))
    }

    /// Gives back units that were taken and not used.
    ///
    /// # Errors
    ///
    /// `throttlekit_error` where the program cannot take units back; otherwise as [`Admit::admit`].
    fn refund(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        let _ = (key, units);
        Run::ready(Err(Error::unsupported("this meter cannot refund")))
    }

    /// Gives back units, where it is known which decision took them: a window that began since gives nothing back.
    ///
    /// A meter that implements [`refund`](Self::refund) and has windows should implement this too; otherwise it is a refund
    /// of the same units.
    ///
    /// # Errors
    ///
    /// As [`refund`](Self::refund).
    fn refund_of(&self, key: &str, refund: Refund) -> Run<Result<Decision, Error>> {
        self.refund(key, refund.units)
    }

    /// The most units that are worth one debit: a meter that admits a debit while anything is left, and then counts it in
    /// full, has no more than its limit to give. `None`, the default, where it does not hold: all of a debit must be left.
    fn debit_ceiling(&self) -> Option<u64> {
        None
    }

    /// How often another limit began or ceased to stand in for this one, as a [`Fallback`](crate::Fallback) has it: odd while
    /// it does. A debit may have been answered there if the number was odd before it, or is another one after it; such units are
    /// not this meter's, and giving them back to it would be a present. 0, the default, where nothing ever stands in.
    fn outage_turns(&self) -> u64 {
        0
    }
}

impl<M: Meter + ?Sized> Meter for Arc<M> {
    #[inline]
    fn debit(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        (**self).debit(key, units)
    }

    fn charge(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        (**self).charge(key, units)
    }

    fn refund(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        (**self).refund(key, units)
    }

    fn refund_of(&self, key: &str, refund: Refund) -> Run<Result<Decision, Error>> {
        (**self).refund_of(key, refund)
    }

    fn debit_ceiling(&self) -> Option<u64> {
        (**self).debit_ceiling()
    }

    fn outage_turns(&self) -> u64 {
        (**self).outage_turns()
    }
}
