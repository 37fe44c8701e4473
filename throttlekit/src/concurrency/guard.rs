//! The guard: slots for work in flight.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use super::builder::GuardBuilder;
use super::ceiling::Ceiling;
use super::line::{Joined, Line};
use super::queue::Patience;
use super::share::Share;
use super::waiters::{Seat, Standing};
use super::waiting::{Desk, Waiting};
use super::word::View;
use crate::admit::{Admission, Admit, Ask, Axes, Axis};
use crate::clock::{Clock, SystemClock};
use crate::decision::Decision;
use crate::error::{BuildError, Error};
use crate::fingerprint::HashKey;
use crate::observe::{Begun, Event, GuardReport, GuardStats, Observer, Wait, WaitOutcome, is_blind, told};
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
/// - **Lock-free**: as long as no request waits for a slot, taking and giving back never wait for another thread. While one
///   does, giving back takes the lock of the queue for a moment. Learning is behind a lock that a thread skips
///   if another one holds it: its sample is lost, but for the fact that work was dropped, which is made up for.
/// - **Order**: without a [queue](GuardBuilder::queue), whoever asks first after a slot came back gets it. With one, nobody
///   overtakes: while a request waits, [`acquire`](Self::acquire) gets nothing, and [`Admit::admit`] goes to the end. Slots
///   go to the highest [`Priority`] that waits; within it to the [keys](Ask::key) in turns; within a key in the order of
///   arrival.
/// - **Waiting** starts with the call of [`Admit::admit`] and ends with a slot; with a denial at the deadline; or, if the
///   queue is full, with a denial for one that arrives: the one of the lowest priority that came last. Of equal priority,
///   it is the last one of the key that has most places, unless the newcomer's key would then have as many. The latency
///   that is learnt starts when the waiting request gets on, and the wait itself goes to [`Observer::waited`]. A falling
///   limit leaves the queue as it is; a rising one lets in as many as fit.
/// - **Cancelling** is safe: a wait that is dropped leaves the queue, and a slot that it was handed goes to the next one,
///   with nothing learnt.
/// - **Time**: an adaptive guard reads [`Clock::monotonic_ns`] once for a slot it gives and once when that comes back,
///   unless as [`Outcome::Ignored`]. A fixed one never does. [`Admit::admit`] reads [`Clock::now_ms`] once besides.
/// - **Samples**: [`Outcome::Completed`] is a latency; [`Outcome::Dropped`] is a sign of overload, and its latency is
///   none; [`Outcome::Ignored`] is nothing.
/// - **No allocation** but for a request that waits, and no task.
///
/// As an [`Admit`] it looks at the [priority](Ask::priority) of an [`Ask`] and, if it has a queue, at the key. Low priorities leave a part of the
/// limit to the others: [`GuardBuilder::priority_share`]. A denial's `retry_after_ms` is the latency of the last sample, at
/// least 1: that is when a slot may come back. Its `reset_at_ms` is now, since a slot comes back by an event, not by time.
/// `remaining` is the limit, or the share of the priority, less what is in flight; while a probe runs there may be less to have.
///
/// A clone is a handle to the same slots.
pub struct Guard<C = SystemClock, O = ()> {
    shared: Arc<Shared<C>>,
    watch: Arc<Names>,
    observer: O,
    shadow: bool,
}

/// A request, as its event will show it.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Empty if nobody will see it.
    pub(super) key: &'a str,
    pub(super) priority: Priority,
    pub(super) begun: Begun,
}

impl<'a> Asked<'a> {
    #[inline(always)]
    pub(super) fn of<O: Observer>(ask: &Ask<'a>, begun: Begun) -> Self {
        let key = if is_blind::<O>() { "" } else { ask.key };
        Self { key, priority: ask.priority, begun: begun.of(ask) }
    }
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
    #[inline(always)]
    pub(super) fn tell<O: Observer>(&self, observer: &O, decision: Decision, asked: Asked<'_>, now_ms: f64) {
        if is_blind::<O>() {
            return;
        }
        told(observer, || {
            let event = Event::new(self.policy(), self.strategy, Axis::Concurrency, 1.0, now_ms, Ok(decision));
            let mut event = event.with_key(asked.key);
            (event.priority, event.took_ms) = (asked.priority, asked.begun.took_ms(observer));
            event.part = asked.begun.part;
            observer.observe(&event);
        });
    }

    /// Tells the observer of a wait.
    #[allow(clippy::cast_precision_loss)] // waits are far below 2^53 ns
    pub(super) fn tell_wait(&self, observer: &impl Observer, priority: Priority, waited_ns: u64, outcome: WaitOutcome) {
        let waited_ms = waited_ns as f64 / 1e6;
        let wait = Wait { policy: self.policy(), strategy: self.strategy, priority, waited_ms, outcome };
        told(observer, || observer.waited(&wait));
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

    /// How many requests wait for a slot. Takes the lock of the queue for a moment, if there is a queue.
    pub fn waiting(&self) -> usize {
        self.shared.queue.as_ref().map_or(0, |queue| queue.line.len())
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
                let permit = |view| Shared::permit(&self.shared, view).beyond_limit();
                word.take_beyond().map_or_else(|_| Permit::none(), permit)
            }
            Err(_) => Permit::none(),
        };
        (taken, permit)
    }
}

impl<C: Clock, O: Observer + Clone> Guard<C, O> {
    /// A handle to the same slots that tells `observer`; `None` if it has an observer.
    pub(crate) fn told_to(&self, observer: &Arc<dyn Observer>) -> Option<Guard<C, Arc<dyn Observer>>> {
        let Self { shared, watch, observer: own, shadow } = self;
        let (shared, watch) = (Arc::clone(shared), Arc::clone(watch));
        own.is_blind().then(|| Guard { shared, watch, observer: Arc::clone(observer), shadow: *shadow })
    }

    /// What `taken` means for the caller, who is admitted if this is a shadow; the observer is told.
    #[inline(always)] // a decision that is handed over in memory is waited for
    fn decide(&self, taken: Result<View, View>, share: Share, asked: Asked<'_>) -> Decision {
        let now_ms = self.shared.ceiling.clock.now_ms();
        let decision = self.shared.ceiling.decision(taken, share, now_ms);
        self.watch.tell(&self.observer, decision, asked, now_ms);
        if self.shadow && !decision.allowed {
            return Decision { allowed: true, retry_after_ms: 0, ..decision };
        }
        decision
    }

    /// Takes a slot and gives what `now` makes of it, or what `later` makes of an answer to wait for.
    #[inline(always)]
    fn answer_by<T>(
        &self,
        ask: &Ask<'_>,
        now: impl FnOnce(Decision, Permit) -> T,
        later: impl FnOnce(Run<Result<Admission, Error>>) -> Run<Result<T, Error>>,
    ) -> Run<Result<T, Error>> {
        let begun = Begun::now(&self.observer);
        let share = self.share(ask.priority);
        let (taken, permit) = self.take(share);
        if taken.is_err() && !self.shadow && ask.queues {
            if let Some(queue) = &self.shared.queue {
                return later(self.join(queue, ask, begun));
            }
        }
        Run::Ready(Some(Ok(now(self.decide(taken, share, Asked::of::<O>(ask, begun)), permit))))
    }

    /// For a request that found no slot.
    #[cold]
    fn join(&self, queue: &Lobby, ask: &Ask<'_>, begun: Begun) -> Run<Result<Admission, Error>> {
        let word = &self.shared.ceiling.word;
        let asked = Asked::of::<O>(ask, begun);
        let (taken, permit) = match queue.line.join(word, queue.secret.fingerprint(ask.key), ask.priority) {
            Joined::Waits(ticket) => {
                return Run::wait(Waiting::new(self.clone(), ticket, &queue.patience, asked));
            }
            Joined::Taken(view) => (Ok(view), Shared::permit(&self.shared, view)),
            Joined::Full => (Err(word.view()), Permit::none()),
        };
        let decision = self.decide(taken, self.share(asked.priority), asked);
        Run::ready(Ok(admission(decision, permit)))
    }
}

impl<C: Clock, O: Observer + Clone> Admit for Guard<C, O> {
    #[inline]
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        let now = |decision: Decision, permit| {
            let binding = if decision.allowed { None } else { Some(Axis::Concurrency) };
            // Made in place: an admission is large, and is not copied from one wrapper into the next.
            let axes = Axes { rate: None, concurrency: Some(decision), cost: None };
            Admission { decision, axes, each: None, binding, permit }
        };
        self.answer_by(ask, now, |waiting| waiting)
    }

    #[inline]
    fn enter(&self, ask: &Ask<'_>) -> Run<Result<(Decision, Permit), Error>> {
        let later = |waiting: Run<Result<Admission, Error>>| {
            waiting.map(|answer| answer.map(|admission| (admission.decision, admission.permit)))
        };
        self.answer_by(ask, |decision, permit| (decision, permit), later)
    }

    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        Some(Arc::new(self.told_to(observer)?))
    }

    fn guard_state(&self) -> Option<(GuardReport, GuardStats)> {
        Some((self.report(), self.stats()))
    }
}

impl<C: Clock, O: Observer + Clone> Desk for Guard<C, O> {
    fn look(&self, ticket: u64, waker: &Waker) -> Standing {
        self.shared.queue.as_ref().map_or(Standing::Displaced, |queue| queue.line.look(ticket, waker))
    }

    fn leave(&self, ticket: u64) -> Standing {
        let word = &self.shared.ceiling.word;
        self.shared.queue.as_ref().map_or(Standing::Displaced, |queue| queue.line.leave(word, ticket))
    }

    fn permit(&self, seat: Seat, now_ns: u64) -> Permit {
        let owner: Arc<dyn Settle> = Arc::<Shared<C>>::clone(&self.shared);
        Permit::new(owner, Slot { taken_at: now_ns, detail: u64::from(seat.view.in_flight()) })
    }

    fn answer(&self, seat: Option<Seat>, permit: Permit, asked: Asked<'_>) -> Admission {
        let taken = seat.map(|seat| seat.view).ok_or_else(|| self.shared.ceiling.word.view());
        admission(self.decide(taken, self.share(asked.priority), asked), permit)
    }

    fn now_ns(&self) -> u64 {
        self.shared.ceiling.clock.monotonic_ns()
    }

    fn tell_wait(&self, priority: Priority, waited_ns: u64, outcome: WaitOutcome) {
        self.watch.tell_wait(&self.observer, priority, waited_ns, outcome);
    }
}

/// An admission by the concurrency axis alone.
pub(super) fn admission(decision: Decision, permit: Permit) -> Admission {
    Admission::from_axes(Axes { rate: None, concurrency: Some(decision), cost: None }, permit)
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
    pub(super) queue: Option<Lobby>,
}

/// Where requests wait.
pub(super) struct Lobby {
    line: Line,
    secret: HashKey,
    patience: Patience,
}

impl Lobby {
    pub(super) fn new(patience: Patience) -> Self {
        Self { line: Line::new(patience.max), secret: HashKey::random(), patience }
    }
}

impl<C: Clock> Shared<C> {
    #[inline(always)]
    fn permit(this: &Arc<Self>, view: View) -> Permit {
        let taken_at = this.ceiling.taken_at();
        let owner: Arc<dyn Settle> = Arc::<Self>::clone(this);
        Permit::new(owner, Slot { taken_at, detail: u64::from(view.in_flight()) })
    }
}

impl<C> Shared<C> {
    #[cold]
    fn serve(&self) {
        if let Some(queue) = &self.queue {
            queue.line.serve(&self.ceiling.word);
        }
    }
}

impl<C: Clock> Settle for Shared<C> {
    #[inline]
    fn settle(&self, slot: Slot, outcome: Outcome) {
        // First the limit, then the slot: one look at the word then says whether somebody waits for either.
        self.ceiling.learn(slot, outcome);
        if self.ceiling.word.give().waiting() {
            self.serve();
        }
    }
}
