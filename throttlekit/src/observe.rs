//! Observers: they see every decision and change none.

use std::fmt;
use std::sync::Arc;

use crate::admit::Axis;
use crate::decision::Decision;
use crate::error::Error;
use crate::priority::Priority;

/// One decision, as an [`Observer`] sees it. It carries no key text.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The name of the policy, or of the strategy where there is no policy.
    pub policy: &'a str,
    /// The stable name of the strategy.
    pub strategy: &'static str,
    /// The axis that was asked.
    pub axis: Axis,
    /// What the request asked for, in units.
    pub cost: f64,
    /// When it was decided, in milliseconds since the Unix epoch.
    pub now_ms: f64,
    /// The decision, or why there is none.
    pub result: Result<Decision, &'a Error>,
    /// How much the request matters. A limit that knows no priorities says [`Priority::Normal`].
    pub priority: Priority,
    /// Whether it was decided from what was known in process, and the store was not asked; `false` for a limiter in
    /// memory, which is its own store.
    pub local: bool,
}

impl<'a> Event<'a> {
    /// An event; later fields get their neutral value here.
    #[inline]
    pub fn new(
        policy: &'a str,
        strategy: &'static str,
        axis: Axis,
        cost: f64,
        now_ms: f64,
        result: Result<Decision, &'a Error>,
    ) -> Self {
        Self { policy, strategy, axis, cost, now_ms, result, priority: Priority::Normal, local: false }
    }
}

/// How a request's wait for a slot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitOutcome {
    /// It got a slot.
    Admitted,
    /// Its time was up: it was denied.
    TimedOut,
    /// Another one got its place in the queue: it was denied.
    Displaced,
    /// It was dropped: nobody wanted to know any more.
    Cancelled,
}

impl WaitOutcome {
    /// The stable name: `admitted`, `timed_out`, `displaced` or `cancelled`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::TimedOut => "timed_out",
            Self::Displaced => "displaced",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The end of a wait for a slot, as an [`Observer`] sees it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Wait<'a> {
    /// The name of the policy, or of the strategy where there is no policy.
    pub policy: &'a str,
    /// The stable name of the strategy.
    pub strategy: &'static str,
    /// How much the request matters.
    pub priority: Priority,
    /// How long it waited, in milliseconds. It is no part of the latency that a guard learns from.
    pub waited_ms: f64,
    /// How it ended.
    pub outcome: WaitOutcome,
}

/// The answer of a store to one lease, as an [`Observer`] sees it. It carries no key text.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LeaseEvent<'a> {
    /// The name of the policy, or of the strategy where there is no policy.
    pub policy: &'a str,
    /// The stable name of the strategy.
    pub strategy: &'static str,
    /// Units that were asked for.
    pub asked: f64,
    /// Units that were granted, or why there was no answer.
    pub granted: Result<f64, &'a Error>,
    /// Whether they may be spent: their window was not over and their key not forgotten when they came.
    pub spendable: bool,
    /// How long the answer took, in nanoseconds.
    pub took_ns: u64,
}

/// Sees one [`Event`] after each decision. Runs on the caller's thread: it must be quick and must not panic.
///
/// `()` observes nothing, and a limiter with it compiles to the same code as one without.
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
    fn waited(&self, wait: &Wait<'_>) {
        (**self).waited(wait);
    }

    #[inline]
    fn leased(&self, lease: &LeaseEvent<'_>) {
        (**self).leased(lease);
    }
}

impl fmt::Debug for dyn Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
