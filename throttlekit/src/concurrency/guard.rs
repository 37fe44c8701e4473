//! The guard: slots for work in flight.

use std::fmt;
use std::sync::Arc;

use super::builder::GuardBuilder;
use super::ceiling::{Ceiling, GuardReport, GuardStats};
use super::share::Share;
use super::word::View;
use crate::admit::{Admission, Admit, Ask, Axes, Axis};
use crate::clock::{Clock, SystemClock};
use crate::decision::Decision;
use crate::error::{BuildError, Error};
use crate::observe::{Event, Observer};
use crate::permit::{Outcome, Permit, Settle, Slot};
use crate::priority::Priority;
use crate::run::Run;

/// Limits how much work is in flight: by a fixed number, or by one that it learns from the latency of the work.
///
/// ```
/// use throttlekit::{Guard, Outcome};
///
/// let guard = Guard::fixed(2)?;
/// let mut first = guard.acquire();
/// let second = guard.acquire();
/// assert!(first.is_held() && second.is_held());
/// assert!(!guard.acquire().is_held());
///
/// first.settle(Outcome::Completed);
/// assert!(guard.acquire().is_held());
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
///
/// # What it promises
///
/// - **Bound**: a slot is given only while fewer than the limit are taken, compared and counted in one atomic step. After
///   the limit fell, more than it may still be in flight; none are added.
/// - **Exactly once**: a [`Permit`] gives its slot back once, however often it is settled, wherever it is dropped.
/// - **Lock-free**: taking and giving back never wait for another thread. Learning is behind a lock that a thread skips
///   if another one holds it: its sample is lost, but for the fact that work was dropped, which is made up for.
/// - **Order**: there is no queue. Whoever asks first after a slot came back gets it.
/// - **Time**: an adaptive guard reads [`Clock::monotonic_ns`] once for a slot it gives and once when that comes back,
///   unless as [`Outcome::Ignored`]. A fixed one never does. [`Admit::admit`] reads [`Clock::now_ms`] once besides.
/// - **Samples**: [`Outcome::Completed`] is a latency; [`Outcome::Dropped`] is a sign of overload, and its latency is
///   none; [`Outcome::Ignored`] is nothing.
/// - **No allocation**, no task.
///
/// As an [`Admit`] it looks at no field of the [`Ask`] but its [priority](Ask::priority). Low priorities leave a part of the
/// limit to the others: [`GuardBuilder::priority_share`]. A denial's `retry_after_ms` is the latency of the last sample, at
/// least 1: that is when a slot may come back. Its `reset_at_ms` is now, since a slot comes back by an event, not by time.
///
/// A clone is a handle to the same slots.
pub struct Guard<C = SystemClock, O = ()> {
    shared: Arc<Shared<C>>,
    watch: Arc<Names>,
    observer: O,
    shadow: bool,
}

/// What the events of a guard carry.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) policy: Option<Arc<str>>,
    pub(super) strategy: &'static str,
}

impl Names {
    pub(super) fn policy(&self) -> &str {
        self.policy.as_deref().unwrap_or(self.strategy)
    }

    /// Tells the observer of a decision.
    #[inline]
    pub(super) fn tell(&self, observer: &impl Observer, decision: Decision, priority: Priority, now_ms: f64) {
        let mut event = Event::new(self.policy(), self.strategy, Axis::Concurrency, 1.0, now_ms, Ok(decision));
        event.priority = priority;
        observer.observe(&event);
    }
}

impl Guard {
    /// A limit that stays at `limit`, from 1 to 16,777,215.
    ///
    /// # Errors
    ///
    /// `concurrency.limit` if it is out of this range.
    pub fn fixed(limit: u32) -> Result<Self, BuildError> {
        Self::builder().fixed(limit).build()
    }

    /// A limit that is learnt, between 4 and 512, by [`Algorithm::Steady`](super::Algorithm::Steady).
    ///
    /// # Panics
    ///
    /// Never: the default settings are in range.
    pub fn adaptive() -> Self {
        Self::builder().build().expect("the default settings are in range")
    }

    /// Starts with what [`adaptive`](Self::adaptive) gives.
    pub fn builder() -> GuardBuilder {
        GuardBuilder::new()
    }
}

impl<C: Clock, O> Guard<C, O> {
    pub(super) fn new(shared: Shared<C>, names: Names, observer: O, shadow: bool) -> Self {
        Self { shared: Arc::new(shared), watch: Arc::new(names), observer, shadow }
    }

    /// Takes a slot, if there is one; otherwise the permit is not [held](Permit::is_held), and settling it does nothing.
    ///
    /// Its priority is [`Priority::Normal`].
    #[inline]
    pub fn acquire(&self) -> Permit {
        self.take(self.share(Priority::Normal)).1
    }

    /// The limit in whole slots. A running probe does not lower it.
    pub fn limit(&self) -> u32 {
        self.shared.ceiling.word.view().limit()
    }

    /// Slots taken and not given back.
    pub fn in_flight(&self) -> u32 {
        self.shared.ceiling.word.view().in_flight()
    }

    /// Generation, slots in flight and limit at one instant.
    pub fn report(&self) -> GuardReport {
        self.shared.ceiling.report()
    }

    /// How it is doing. Takes no lock: the figures are of about the same time.
    pub fn stats(&self) -> GuardStats {
        self.shared.ceiling.stats()
    }

    /// The clock.
    pub fn clock(&self) -> &C {
        &self.shared.ceiling.clock
    }

    /// The name that its events carry.
    pub fn name(&self) -> &str {
        self.watch.policy()
    }

    /// The stable name of what sets the limit: `fixed`, `steady`, `gradient2` or `aimd`.
    pub fn algorithm_name(&self) -> &'static str {
        self.watch.strategy
    }

    #[inline(always)]
    fn share(&self, priority: Priority) -> Share {
        self.shared.ceiling.shares.of(priority)
    }

    /// Takes a slot. The word as it then is, and whether there was one.
    #[inline(always)]
    fn take(&self, share: Share) -> (Result<View, View>, Permit) {
        let word = &self.shared.ceiling.word;
        let taken = word.take(share);
        let permit = match taken {
            Ok(view) => Shared::permit(&self.shared, view),
            Err(_) if self.shadow => {
                word.take_beyond().map_or_else(|_| Permit::none(), |view| Shared::permit(&self.shared, view))
            }
            Err(_) => Permit::none(),
        };
        (taken, permit)
    }
}

impl<C: Clock, O: Observer + Clone> Guard<C, O> {
    /// Takes a slot, and says so in a decision.
    #[inline]
    fn enter(&self, priority: Priority) -> (Decision, Permit) {
        let share = self.share(priority);
        let (taken, permit) = self.take(share);
        let now_ms = self.shared.ceiling.clock.now_ms();
        let decision = self.shared.ceiling.decision(taken, share, now_ms);
        self.watch.tell(&self.observer, decision, priority, now_ms);
        if self.shadow && !decision.allowed {
            return (Decision { allowed: true, retry_after_ms: 0, ..decision }, permit);
        }
        (decision, permit)
    }
}

impl<C: Clock, O: Observer + Clone> Admit for Guard<C, O> {
    #[inline]
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        let (decision, permit) = self.enter(ask.priority);
        let binding = if decision.allowed { None } else { Some(Axis::Concurrency) };
        // Made in place: an admission is large, and is not copied from one wrapper into the next.
        let axes = Axes { rate: None, concurrency: Some(decision), cost: None };
        Run::Ready(Some(Ok(Admission { decision, axes, binding, permit })))
    }
}

impl<C, O: Clone> Clone for Guard<C, O> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            watch: Arc::clone(&self.watch),
            observer: self.observer.clone(),
            shadow: self.shadow,
        }
    }
}

impl<C, O> fmt::Debug for Guard<C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.shared.ceiling.word.view();
        f.debug_struct("Guard")
            .field("name", &self.watch.policy())
            .field("algorithm", &self.watch.strategy)
            .field("limit", &view.limit())
            .field("in_flight", &view.in_flight())
            .field("shadow", &self.shadow)
            .finish_non_exhaustive()
    }
}

/// What the handles and the permits of a guard share.
pub(super) struct Shared<C> {
    pub(super) ceiling: Ceiling<C>,
}

impl<C: Clock> Shared<C> {
    #[inline(always)]
    fn permit(this: &Arc<Self>, view: View) -> Permit {
        let taken_at = this.ceiling.taken_at();
        let owner: Arc<dyn Settle> = Arc::<Self>::clone(this);
        Permit::new(owner, Slot { taken_at, detail: u64::from(view.in_flight()) })
    }
}

impl<C: Clock> Settle for Shared<C> {
    #[inline]
    fn settle(&self, slot: Slot, outcome: Outcome) {
        self.ceiling.word.give();
        self.ceiling.learn(slot, outcome);
    }
}
