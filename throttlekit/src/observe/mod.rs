//! Observers: they see every decision and change none.

mod admission;
mod channel;
mod ends;
mod event;
mod fan_out;
pub(crate) mod window;

pub(crate) use admission::Asked;
pub use admission::{AdmissionEvent, Lane};
pub use channel::{AdmissionRecord, DecisionRecord, EventReceiver, EventSender, Record, event_channel};
pub use ends::{Disconnect, LeaseEvent, Stage, Wait, WaitOutcome};
pub use event::{CallKind, Event};

use std::any::TypeId;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Sees one [`Event`] after each decision. Runs on the caller's thread: it must be quick.
///
/// A panic of an observer is contained and [counted](observer_panics): neither the request nor another observer notices.
/// `()` observes nothing, and a limiter with it compiles to the same code as one without. Tuples, slices and `Option`s of
/// observers are observers, and hand on what they see in order.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
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
    /// assert_eq!(throttlekit::observer_panics(), 0);
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
}

impl Observer for () {
    #[inline]
    fn observe(&self, _event: &Event<'_>) {}
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
}

impl fmt::Debug for dyn Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// How many panics of observers were contained since the process started.
pub fn observer_panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Tells an observer. What it does wrong is no reason to fail the request.
#[inline]
pub(crate) fn told(call: impl FnOnce()) {
    // A panic is counted.
    let _ = contained(call);
}

/// Asks an observer; `None` if it panicked.
#[inline]
fn contained<T>(call: impl FnOnce() -> T) -> Option<T> {
    let answer = catch_unwind(AssertUnwindSafe(call));
    if answer.is_err() {
        PANICS.fetch_add(1, Ordering::Relaxed);
    }
    answer.ok()
}

/// Whether `O` is `()`, which sees nothing.
#[inline(always)]
pub(crate) fn is_blind<O: Observer>() -> bool {
    TypeId::of::<O>() == TypeId::of::<()>()
}

/// A reading of the observer's stopwatch, if it has one.
#[inline(always)]
pub(crate) fn stopwatch_ns<O: Observer>(observer: &O) -> Option<u64> {
    if is_blind::<O>() {
        return None;
    }
    contained(|| observer.stopwatch_ns()).flatten()
}

/// The time since a reading in milliseconds, if both were taken. To be called where a panic of the observer is
/// [contained](told).
#[inline(always)]
#[allow(clippy::cast_precision_loss)] // far below 2^53 ns
pub(crate) fn took_ms<O: Observer>(observer: &O, begun_ns: Option<u64>) -> Option<f64> {
    let begun_ns = begun_ns?;
    let now_ns = observer.stopwatch_ns()?;
    Some(now_ns.saturating_sub(begun_ns) as f64 / 1e6)
}
