//! The guard: slots for work in flight.

use std::fmt;
use std::sync::{Arc, Mutex, TryLockError};

use super::builder::GuardBuilder;
use super::law::Sample;
use super::learner::Learner;
use super::sync::{AtomicU32, AtomicU64, Ordering};
use super::word::{View, Word};
use crate::admit::{Admission, Admit, Ask, Axes, Axis};
use crate::clock::{Clock, SystemClock};
use crate::decision::Decision;
use crate::error::{BuildError, Error};
use crate::observe::{Event, Observer};
use crate::permit::{Outcome, Permit, Settle, Slot};
use crate::run::Run;

/// What a guard counts at one instant: one atomic read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardReport {
    /// Goes up by one with each change of the limit, and starts again at 0 after 32,767. In flight are counted all slots
    /// that were taken under this generation or an earlier one.
    pub generation: u32,
    /// Slots taken and not given back.
    pub in_flight: u32,
    /// The limit; a running probe admits less.
    pub limit: u32,
}

/// How a guard is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct GuardStats {
    /// The limit; a running probe admits less.
    pub limit: u32,
    /// The limit before it is rounded down.
    pub estimate: f64,
    /// Slots taken and not given back.
    pub in_flight: u32,
    /// The latency without load, as learnt, in milliseconds. 0 before the first sample, and for a fixed limit.
    pub noload_ms: f64,
    /// The latency of the last sample in milliseconds. 0 before the first one, and for a fixed limit.
    pub last_ms: f64,
    /// How many slots came back as [`Outcome::Dropped`].
    pub dropped: u64,
    /// Whether a probe holds the ceiling below the limit.
    pub probing: bool,
}

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
/// As an [`Admit`] it looks at no field of the [`Ask`]. A denial's `retry_after_ms` is the latency of the last sample, at
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
    fn policy(&self) -> &str {
        self.policy.as_deref().unwrap_or(self.strategy)
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
    #[inline]
    pub fn acquire(&self) -> Permit {
        self.take().1
    }

    /// The limit in whole slots. A running probe does not lower it.
    pub fn limit(&self) -> u32 {
        self.shared.word.view().limit()
    }

    /// Slots taken and not given back.
    pub fn in_flight(&self) -> u32 {
        self.shared.word.view().in_flight()
    }

    /// Generation, slots in flight and limit at one instant.
    pub fn report(&self) -> GuardReport {
        let view = self.shared.word.view();
        GuardReport { generation: view.generation(), in_flight: view.in_flight(), limit: view.limit() }
    }

    /// How it is doing. Takes no lock: the figures are of about the same time.
    pub fn stats(&self) -> GuardStats {
        let view = self.shared.word.view();
        let learning = self.shared.learning.as_ref();
        GuardStats {
            limit: view.limit(),
            estimate: learning.map_or(f64::from(view.limit()), |learning| learning.shown.estimate.load()),
            in_flight: view.in_flight(),
            noload_ms: learning.map_or(0.0, |learning| learning.shown.noload_ms.load()),
            last_ms: self.shared.last_ms(),
            dropped: self.shared.dropped.load(Ordering::Relaxed),
            probing: view.probing(),
        }
    }

    /// The clock.
    pub fn clock(&self) -> &C {
        &self.shared.clock
    }

    /// The name that its events carry.
    pub fn name(&self) -> &str {
        self.watch.policy()
    }

    /// The stable name of what sets the limit: `fixed`, `steady`, `gradient2` or `aimd`.
    pub fn algorithm_name(&self) -> &'static str {
        self.watch.strategy
    }

    /// Takes a slot. The word as it then is, and whether there was one.
    #[inline(always)]
    fn take(&self) -> (Result<View, View>, Permit) {
        let taken = self.shared.word.take();
        let permit = match taken {
            Ok(view) => Shared::permit(&self.shared, view),
            Err(_) if self.shadow => self
                .shared
                .word
                .take_beyond()
                .map_or_else(|_| Permit::none(), |view| Shared::permit(&self.shared, view)),
            Err(_) => Permit::none(),
        };
        (taken, permit)
    }
}

impl<C: Clock, O: Observer + Clone> Guard<C, O> {
    /// Takes a slot, and says so in a decision.
    #[inline]
    pub(crate) fn enter(&self) -> (Decision, Permit) {
        let (taken, permit) = self.take();
        let now_ms = self.shared.clock.now_ms();
        let decision = self.shared.decision(taken, now_ms);
        let event = Event::new(self.watch.policy(), self.watch.strategy, Axis::Concurrency, 1.0, now_ms, Ok(decision));
        self.observer.observe(&event);
        if self.shadow && !decision.allowed {
            return (Decision { allowed: true, retry_after_ms: 0, ..decision }, permit);
        }
        (decision, permit)
    }
}

impl<C: Clock, O: Observer + Clone> Admit for Guard<C, O> {
    #[inline]
    fn admit(&self, _ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        let (decision, permit) = self.enter();
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
        let view = self.shared.word.view();
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
    word: Word,
    clock: C,
    learning: Option<Learning>,
    dropped: AtomicU64,
}

impl<C> Shared<C> {
    /// `limit` is where a fixed limit stays, and what a learner starts with.
    pub(super) fn new(limit: u32, learner: Option<Learner>, clock: C) -> Self {
        Self { word: Word::new(limit), clock, learning: learner.map(Learning::new), dropped: AtomicU64::new(0) }
    }

    fn last_ms(&self) -> f64 {
        self.learning.as_ref().map_or(0.0, |learning| learning.shown.last_ms.load())
    }

    #[inline]
    fn decision(&self, taken: Result<View, View>, now_ms: f64) -> Decision {
        let (Ok(view) | Err(view)) = taken;
        let limit = u64::from(view.limit());
        let reset_at_ms = whole_ms(now_ms);
        if taken.is_ok() {
            let remaining = limit.saturating_sub(u64::from(view.in_flight()));
            Decision { allowed: true, limit, remaining, reset_at_ms, retry_after_ms: 0 }
        } else {
            let retry_after_ms = rounded_ms(self.last_ms()).max(1);
            Decision { allowed: false, limit, remaining: 0, reset_at_ms, retry_after_ms }
        }
    }
}

impl<C: Clock> Shared<C> {
    #[inline(always)]
    fn permit(this: &Arc<Self>, view: View) -> Permit {
        let taken_at = if this.learning.is_some() { this.clock.monotonic_ns() } else { 0 };
        let owner: Arc<dyn Settle> = Arc::<Self>::clone(this);
        Permit::new(owner, Slot { taken_at, detail: u64::from(view.in_flight()) })
    }
}

impl<C: Clock> Settle for Shared<C> {
    #[inline]
    fn settle(&self, slot: Slot, outcome: Outcome) {
        self.word.give();
        let dropped = match outcome {
            Outcome::Completed => false,
            Outcome::Dropped => true,
            Outcome::Ignored => return,
        };
        if dropped {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(learning) = &self.learning {
            learning.learn(&self.word, slot, self.clock.monotonic_ns(), dropped);
        }
    }
}

/// A learner behind its lock, and what it last said, to be read without.
struct Learning {
    learner: Mutex<Learner>,
    /// Work that was dropped while another thread was learning. A law needs to know no more than that it was.
    owed_drops: AtomicU32,
    shown: Shown,
}

struct Shown {
    estimate: AtomicF64,
    noload_ms: AtomicF64,
    last_ms: AtomicF64,
}

impl Learning {
    fn new(learner: Learner) -> Self {
        let shown = Shown {
            estimate: AtomicF64::new(learner.estimate()),
            noload_ms: AtomicF64::new(0.0),
            last_ms: AtomicF64::new(0.0),
        };
        Self { learner: Mutex::new(learner), owed_drops: AtomicU32::new(0), shown }
    }

    #[allow(clippy::cast_precision_loss)] // latencies are far below 2^53 ns, and counts are below 2^24
    fn learn(&self, word: &Word, slot: Slot, now_ns: u64, dropped: bool) {
        let rtt_ms = now_ns.saturating_sub(slot.taken_at) as f64 / 1e6;
        self.shown.last_ms.store(rtt_ms);
        let mut learner = match self.learner.try_lock() {
            Ok(learner) => learner,
            // No law panics; were it so, its numbers would still be numbers.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                if dropped {
                    self.owed_drops.fetch_add(1, Ordering::Relaxed);
                }
                return;
            }
        };
        let sample = Sample { now_ns, rtt_ms, dropped, util: slot.detail as f64 };
        learner.learn(&sample);
        if self.owed_drops.load(Ordering::Relaxed) > 0 {
            for _ in 0..self.owed_drops.swap(0, Ordering::Relaxed) {
                learner.learn(&Sample { dropped: true, ..sample });
            }
        }
        self.shown.estimate.store(learner.estimate());
        self.shown.noload_ms.store(learner.noload_ms());
        // Still behind the lock: the limit is installed by one thread at a time.
        word.install(learner.limit(), learner.probe_ceiling());
    }
}

/// A float that is read and written whole.
struct AtomicF64(AtomicU64);

impl AtomicF64 {
    fn new(value: f64) -> Self {
        Self(AtomicU64::new(value.to_bits()))
    }

    #[inline]
    fn load(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    #[inline]
    fn store(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// The time of a decision in whole milliseconds.
#[allow(clippy::cast_possible_truncation)] // saturates
fn whole_ms(now_ms: f64) -> i64 {
    now_ms.floor() as i64
}

/// The nearest whole number, halves up.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and is never negative
fn rounded_ms(ms: f64) -> u64 {
    (ms + 0.5) as u64
}
