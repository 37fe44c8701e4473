//! A tap on admissions: sees whole requests once they are decided.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::UNIFIED;
use crate::admit::{Admission, Admit, Ask};
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::observe::{AdmissionEvent, Asked, GuardReport, GuardStats, Observer, TableReport, contained};
use crate::run::Run;

/// Passes requests on, and calls a function once with each that was decided. It sees a request as a whole, where an
/// [`Observer`](crate::Observer) sees one decision of one axis.
///
/// The function runs on the caller's thread before the caller gets the answer: it must be quick. A panic in it is contained
/// and [counted](Self::panics).
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
///
/// For an observer: `Tap::new(admit, move |event| observer.admitted(event))`.
pub struct Tap<A, C = SystemClock> {
    admit: Arc<A>,
    name: Arc<str>,
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    see: Box<See>,
    clock: C,
    panics: AtomicU64,
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
        Self {
            admit: Arc::new(admit),
            name: UNIFIED.into(),
            shared: Arc::new(Shared { see: Box::new(see), clock, panics: AtomicU64::new(0) }),
        }
    }

    /// The name that its events carry. The default is `unified`.
    #[must_use]
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }
}

impl<A, C> Tap<A, C> {
    /// How many panics of the function were contained.
    pub fn panics(&self) -> u64 {
        self.shared.panics.load(Ordering::Relaxed)
    }
}

impl<C: Clock> Shared<C> {
    fn show(&self, name: &str, ask: Asked<'_>, begun_ns: u64, answer: &Result<Admission, Error>) {
        let Ok(admission) = answer else { return };
        #[allow(clippy::cast_precision_loss)] // far below 2^53 ns
        let duration_ms = self.clock.monotonic_ns().saturating_sub(begun_ns) as f64 / 1e6;
        let event = ask.event(name, admission, duration_ms);
        if contained(|| (self.see)(&event)).is_none() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<A: Admit, C: Clock> Admit for Tap<A, C> {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        let begun_ns = self.shared.clock.monotonic_ns();
        let asked = Asked::of(ask);
        match self.admit.admit(ask) {
            Run::Ready(Some(answer)) => {
                self.shared.show(&self.name, asked, begun_ns, &answer);
                Run::Ready(Some(answer))
            }
            waiting => {
                let (shared, name, key) = (Arc::clone(&self.shared), Arc::clone(&self.name), ask.key.to_owned());
                let asked = Asked { key: "", ..asked };
                Run::wait(async move {
                    let answer = waiting.await;
                    shared.show(&name, Asked { key: &key, ..asked }, begun_ns, &answer);
                    answer
                })
            }
        }
    }

    fn joins_axes(&self) -> bool {
        self.admit.joins_axes()
    }

    /// What is behind the tap tells the observer. The function goes on to see what it sees.
    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        let admit = Arc::new(Arc::clone(&self.admit).observed(observer)?);
        Some(Arc::new(Tap { admit, name: Arc::clone(&self.name), shared: Arc::clone(&self.shared) }))
    }

    fn units_of(&self, ask: &Ask<'_>, place: usize) -> Option<f64> {
        self.admit.units_of(ask, place)
    }

    fn key_of<'k>(&self, key: &'k str) -> Cow<'k, str> {
        self.admit.key_of(key)
    }

    fn guard_state(&self) -> Option<(GuardReport, GuardStats)> {
        self.admit.guard_state()
    }

    fn table_state(&self) -> Option<TableReport> {
        self.admit.table_state()
    }
}

impl<A, C> Clone for Tap<A, C> {
    fn clone(&self) -> Self {
        Self { admit: Arc::clone(&self.admit), name: Arc::clone(&self.name), shared: Arc::clone(&self.shared) }
    }
}

impl<A: fmt::Debug, C> fmt::Debug for Tap<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("name", &self.name).field("admit", &self.admit).finish_non_exhaustive()
    }
}
