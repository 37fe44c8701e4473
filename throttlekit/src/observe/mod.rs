//! Observers: they see every decision and change none.

mod admission;
mod channel;
mod ends;
mod event;
mod fan_out;
mod gauges;
mod parts;
mod reports;
pub(crate) mod window;

pub(crate) use admission::Asked;
pub use admission::{AdmissionEvent, Lane};
pub use channel::{AdmissionRecord, DecisionRecord, EventReceiver, EventSender, Record, event_channel};
pub use ends::{Disconnect, LeaseEvent, Stage, Wait, WaitOutcome};
pub use event::{CallKind, Event};
pub use gauges::Gauges;
pub(crate) use parts::Asides;
#[cfg(feature = "config")]
pub(crate) use parts::Wholes;

pub use reports::{GuardReport, GuardStats, TableReport};

use crate::admit::Ask;
use crate::fingerprint::Mark;
use std::any::TypeId;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Sees one [`Event`] after each decision. Runs on the caller's thread: it must be quick.
///
/// A panic of an observer is contained: neither the request nor another observer fails by it. Observers are
/// [told](Self::panicked), so that one that counts can. `()` observes nothing, and a limiter with it compiles to the same
/// code as one without. Tuples, slices and `Option`s of observers are observers, and hand on what they see in order.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use throttlekit::{Event, Gcra, Limiter, Observer};
///
/// #[derive(Default)]
/// struct Denials(AtomicU64);
///
/// impl Observer for Denials {
///     fn observe(&self, event: &Event<'_>) {
///         if event.result.is_ok_and(|decision| !decision.allowed) {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let denials = Arc::new(Denials::default());
/// let limiter = Limiter::builder(Gcra::per_second(1)?).observer(denials.clone()).build();
/// limiter.check("a")?;
/// limiter.check("a")?;
/// assert_eq!(denials.0.load(Ordering::Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Sees one decision.
    fn observe(&self, event: &Event<'_>);

    /// Nanoseconds since some fixed instant. An observer that gives them is read once before and once after each decision,
    /// and finds the difference in [`Event::took_ms`]. `None`, unless it is implemented: then nothing is measured.
    ///
    /// The readings are the observer's own: the clock of a limiter may stand still, or be a server's.
    ///
    /// ```
    /// use throttlekit::{Clock, Event, Gcra, Limiter, ManualClock, Observer};
    ///
    /// #[derive(Clone)]
    /// struct Slow(ManualClock);
    ///
    /// impl Observer for Slow {
    ///     fn observe(&self, event: &Event<'_>) {
    ///         assert_eq!(event.took_ms, Some(0.0));
    ///     }
    ///
    ///     fn stopwatch_ns(&self) -> Option<u64> {
    ///         Some(self.0.monotonic_ns()) // outside of tests, of a `SystemClock`
    ///     }
    /// }
    ///
    /// let slow = Slow(ManualClock::new(0.0));
    /// Limiter::builder(Gcra::per_second(1)?).observer(slow).build().check("a")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    fn stopwatch_ns(&self) -> Option<u64> {
        None
    }

    /// Sees one request that was decided over all axes, after the decisions of the axes. Does nothing unless it is
    /// implemented.
    #[inline]
    fn admitted(&self, admission: &AdmissionEvent<'_>) {
        let _ = admission;
    }

    /// Sees the end of one wait for a slot, after the decision that it led to, if any. Does nothing unless it is
    /// implemented.
    #[inline]
    fn waited(&self, wait: &Wait<'_>) {
        let _ = wait;
    }

    /// Sees the answer to one [lease](crate::lease). Does nothing unless it is implemented.
    #[inline]
    fn leased(&self, lease: &LeaseEvent<'_>) {
        let _ = lease;
    }

    /// Sees that a caller went away before its request was done. Does nothing unless it is implemented.
    #[inline]
    fn disconnected(&self, disconnect: &Disconnect<'_>) {
        let _ = disconnect;
    }

    /// Gets what it may read whenever it is asked for figures: the guards and tables of policies that were loaded with it, or of
    /// a middleware that it was given to. Called once for each. Does nothing unless it is implemented;
    /// [`Metrics`](crate::prometheus::Metrics) shows them.
    ///
    /// What is attached is told as long as it is there. Whoever keeps it asks now and then whether it
    /// [is gone](Gauges::is_gone), and forgets it: policies and middlewares come and go.
    #[inline]
    fn attach(&self, gauges: Arc<dyn Gauges>) {
        drop(gauges);
    }

    /// Sees that a panic was contained: its own, or that of one that it stands beside in a tuple or a slice. Does nothing
    /// unless it is implemented. [`Metrics`](crate::prometheus::Metrics) counts them.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use throttlekit::{Event, Gcra, Limiter, Observer};
    ///
    /// #[derive(Default)]
    /// struct Broken(AtomicU64);
    ///
    /// impl Observer for Broken {
    ///     fn observe(&self, _event: &Event<'_>) {
    ///         panic!("as always");
    ///     }
    ///
    ///     fn panicked(&self) {
    ///         self.0.fetch_add(1, Ordering::Relaxed);
    ///     }
    /// }
    ///
    /// let broken = Arc::new(Broken::default());
    /// let limiter = Limiter::builder(Gcra::per_second(1)?).observer(broken.clone()).build();
    /// assert!(limiter.check("a")?.allowed);
    /// assert_eq!(broken.0.load(Ordering::Relaxed), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    fn panicked(&self) {}

    /// Whether it sees nothing, as `()` and `None` do. Whatever has such an observer has none: a middleware gives it
    /// [its own](crate::Admit::observed).
    #[inline]
    fn is_blind(&self) -> bool {
        false
    }
}

impl Observer for () {
    #[inline]
    fn observe(&self, _event: &Event<'_>) {}

    #[inline]
    fn is_blind(&self) -> bool {
        true
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    #[inline]
    fn observe(&self, event: &Event<'_>) {
        (**self).observe(event);
    }

    #[inline]
    fn stopwatch_ns(&self) -> Option<u64> {
        (**self).stopwatch_ns()
    }

    #[inline]
    fn admitted(&self, admission: &AdmissionEvent<'_>) {
        (**self).admitted(admission);
    }

    #[inline]
    fn waited(&self, wait: &Wait<'_>) {
        (**self).waited(wait);
    }

    #[inline]
    fn leased(&self, lease: &LeaseEvent<'_>) {
        (**self).leased(lease);
    }

    #[inline]
    fn disconnected(&self, disconnect: &Disconnect<'_>) {
        (**self).disconnected(disconnect);
    }

    fn attach(&self, gauges: Arc<dyn Gauges>) {
        (**self).attach(gauges);
    }

    #[inline]
    fn panicked(&self) {
        (**self).panicked();
    }

    #[inline]
    fn is_blind(&self) -> bool {
        (**self).is_blind()
    }
}

impl fmt::Debug for dyn Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// Tells `observer` something by `call`. What it does wrong is no reason to fail the request.
#[inline]
pub(crate) fn told<O: Observer + ?Sized>(observer: &O, call: impl FnOnce()) {
    if contained(call).is_none() {
        tell_panic(observer);
    }
}

/// `None` if it panicked.
#[inline]
pub(crate) fn contained<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// Has `observer` count a panic. One in there is nobody's to count.
#[cold]
fn tell_panic<O: Observer + ?Sized>(observer: &O) {
    let _ = contained(|| observer.panicked());
}

/// A reading of the stopwatch of `observer`, if it has one.
#[inline]
fn reading<O: Observer + ?Sized>(observer: &O) -> Option<u64> {
    let mut reading = None;
    told(observer, || reading = observer.stopwatch_ns());
    reading
}

/// Whether `O` is `()`, which sees nothing.
#[inline(always)]
pub(crate) fn is_blind<O: Observer>() -> bool {
    TypeId::of::<O>() == TypeId::of::<()>()
}

/// How a decision began, as its event will show it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Begun {
    /// By the observer's stopwatch, if it has one.
    ns: Option<u64>,
    /// Whether the request is also told of as a whole, if it is decided.
    pub(crate) part: bool,
    /// What the store knows the key by.
    mark: Mark,
}

impl Begun {
    /// Reads the observer's stopwatch.
    #[inline(always)]
    pub(crate) fn now<O: Observer>(observer: &O) -> Self {
        let ns = if is_blind::<O>() { None } else { reading(observer) };
        Self { ns, part: false, mark: Mark::default() }
    }

    /// The same, of what `ask` asks for.
    #[inline(always)]
    pub(crate) fn of(self, ask: &Ask<'_>) -> Self {
        Self { part: ask.part, ..self }
    }

    /// The same, of a key that the store knows by `mark`.
    #[inline(always)]
    pub(crate) fn marked(self, mark: Mark) -> Self {
        Self { mark, ..self }
    }

    /// What the store knows the key by.
    #[inline(always)]
    pub(crate) fn mark(self) -> Mark {
        self.mark
    }

    /// The time since then in milliseconds, if the observer has a stopwatch. To be called where a panic of the observer is
    /// [contained](told).
    #[inline(always)]
    #[allow(clippy::cast_precision_loss)] // far below 2^53 ns
    pub(crate) fn took_ms<O: Observer>(self, observer: &O) -> Option<f64> {
        let begun_ns = self.ns?;
        let now_ns = observer.stopwatch_ns()?;
        Some(now_ns.saturating_sub(begun_ns) as f64 / 1e6)
    }
}
