//! A tap on admissions: sees whole requests once they are decided.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::admit::{Admission, Admit, Ask, Axes, Axis};
use crate::clock::{Clock, SystemClock};
use crate::decision::Decision;
use crate::error::Error;
use crate::run::Run;

/// What denied a request: an axis, or the prices over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lane {
    /// The rate axis.
    Rate,
    /// The concurrency axis.
    Concurrency,
    /// The cost axis.
    Cost,
    /// No axis: the prices.
    Policy,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 4] = [Self::Rate, Self::Concurrency, Self::Cost, Self::Policy];

    /// The stable name: `rate`, `concurrency`, `cost` or `policy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Concurrency => "concurrency",
            Self::Cost => "cost",
            Self::Policy => "policy",
        }
    }
}

/// A request that was decided, as a [`Tap`] shows it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AdmissionEvent<'a> {
    /// Who asked. It may be a secret or an address: think before logging it.
    pub key: &'a str,
    /// The units that were asked for.
    pub cost: f64,
    /// What the request was said to be worth.
    pub value: f64,
    /// The joint decision.
    pub decision: Decision,
    /// The decisions that were obtained, per axis.
    pub axes: Axes,
    /// The axis that denied.
    pub binding: Option<Axis>,
    /// How long the decision took, in milliseconds.
    pub duration_ms: f64,
}

impl AdmissionEvent<'_> {
    /// What denied it; `None` if it was allowed.
    pub fn lane(&self) -> Option<Lane> {
        match self.binding {
            _ if self.decision.allowed => None,
            Some(Axis::Rate) => Some(Lane::Rate),
            Some(Axis::Concurrency) => Some(Lane::Concurrency),
            Some(Axis::Cost) => Some(Lane::Cost),
            _ => Some(Lane::Policy),
        }
    }
}

/// Passes requests on, and calls a function once with each that was decided. It sees a request as a whole, where an
/// [`Observer`](crate::Observer) sees one decision of one axis.
///
/// The function runs on the caller's thread before the caller gets the answer: it must be quick. A panic in it is swallowed.
/// A request that fails, or is dropped before it is decided, is not shown.
///
/// ```
/// use throttlekit::unified::{LaneCounts, Lane, Tap};
/// use throttlekit::{Admit, Ask, Gcra, Guard, Limiter, Unified};
///
/// let unified = Unified::builder().concurrency(Guard::fixed(9)?).rate(Limiter::new(Gcra::per_hour(2)?)).build()?;
/// let counts = LaneCounts::new(60_000.0)?;
/// let counting = counts.clone();
/// let tapped = Tap::new(unified, move |event| counting.record(event));
///
/// for _ in 0..3 {
///     let _ = tapped.admit(&Ask::new("user-1")).now().expect("memory does not wait")?;
/// }
/// let snapshot = counts.snapshot();
/// assert_eq!((snapshot.allowed, snapshot.denied, snapshot.denied_by(Lane::Rate)), (2, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Tap<A, C = SystemClock> {
    admit: A,
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    see: Box<See>,
    clock: C,
}

type See = dyn Fn(&AdmissionEvent<'_>) + Send + Sync;

impl<A: Admit> Tap<A> {
    /// A tap on `admit`.
    pub fn new(admit: A, see: impl Fn(&AdmissionEvent<'_>) + Send + Sync + 'static) -> Self {
        Self::with_clock(admit, SystemClock::new(), see)
    }
}

impl<A: Admit, C: Clock> Tap<A, C> {
    /// As [`new`](Tap::new), with a clock of your own for how long decisions take.
    pub fn with_clock(admit: A, clock: C, see: impl Fn(&AdmissionEvent<'_>) + Send + Sync + 'static) -> Self {
        Self { admit, shared: Arc::new(Shared { see: Box::new(see), clock }) }
    }
}

impl<C: Clock> Shared<C> {
    fn show(&self, key: &str, cost: f64, value: f64, begun_ns: u64, answer: &Result<Admission, Error>) {
        let Ok(admission) = answer else { return };
        #[allow(clippy::cast_precision_loss)] // far below 2^53 ns
        let duration_ms = self.clock.monotonic_ns().saturating_sub(begun_ns) as f64 / 1e6;
        let Admission { decision, axes, binding, .. } = *admission;
        let event = AdmissionEvent { key, cost, value, decision, axes, binding, duration_ms };
        // What a tap does wrong is no reason to fail the request.
        drop(catch_unwind(AssertUnwindSafe(|| (self.see)(&event))));
    }
}

impl<A: Admit, C: Clock> Admit for Tap<A, C> {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        let begun_ns = self.shared.clock.monotonic_ns();
        match self.admit.admit(ask) {
            Run::Ready(Some(answer)) => {
                self.shared.show(ask.key, ask.cost, ask.value, begun_ns, &answer);
                Run::Ready(Some(answer))
            }
            waiting => {
                let (shared, key, cost, value) = (Arc::clone(&self.shared), ask.key.to_owned(), ask.cost, ask.value);
                Run::wait(async move {
                    let answer = waiting.await;
                    shared.show(&key, cost, value, begun_ns, &answer);
                    answer
                })
            }
        }
    }
}

impl<A: Clone, C> Clone for Tap<A, C> {
    fn clone(&self) -> Self {
        Self { admit: self.admit.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<A: fmt::Debug, C> fmt::Debug for Tap<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("admit", &self.admit).finish_non_exhaustive()
    }
}
