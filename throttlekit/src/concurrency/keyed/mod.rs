//! A guard whose slots are shared among tenants.

mod builder;
mod floor;
mod tenants;

pub use builder::KeyedGuardBuilder;

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::task::Waker;

use super::builder::GuardBuilder;
use super::ceiling::Ceiling;
use super::guard::{Asked, Names, admission};
use super::queue::Patience;
use super::share::Share;
use super::sync::{Mutex, MutexGuard};
use super::waiters::{Seat, Standing};
use super::waiting::{Desk, Waiting};
use super::word::View;
use crate::admit::{Admission, Admit, Ask};
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::fingerprint::HashKey;
use crate::observe::{Begun, GuardReport, GuardStats, Observer, WaitOutcome};
use crate::permit::{Outcome, Permit, Settle, Slot};
use crate::priority::Priority;
use crate::run::Run;
use builder::Weights;
use floor::Floor;

/// A [`Guard`](crate::Guard) whose slots are shared among tenants, the [keys](Ask::key) of its requests: none can push the
/// others out.
///
/// ```
/// use throttlekit::{Guard, KeyedGuard};
///
/// let guard = KeyedGuard::builder(Guard::builder().fixed(4)).build()?;
/// let mut greedy: Vec<_> = (0..4).map(|_| guard.acquire("greedy")).collect();
/// assert!(greedy.iter().all(|permit| permit.is_held()), "alone, it may use all");
///
/// assert!(!guard.acquire("modest").is_held());
/// greedy.truncate(2);
/// assert!(!guard.acquire("greedy").is_held(), "half of the slots is the other one's share");
/// assert!(guard.acquire("modest").is_held());
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
///
/// # What it promises
///
/// - **Ceiling**: all tenants together hold no more than the limit, which is fixed or learnt as that of a
///   [`Guard`](crate::Guard). There is one learner, and the samples of all tenants go to it.
/// - **Shares**: of a limit `L`, a tenant of weight `w` is guaranteed `floor(w * L / W)` slots, where `W` is the weight of
///   all active tenants. Active are those that hold a slot, wait for one, or have done so or asked within
///   [`active_ms`](KeyedGuardBuilder::active_ms). While a probe runs, `L` is what it leaves.
/// - **Borrowing**: a tenant may hold more than its share. Without a [queue](GuardBuilder::queue) it gets no slot that an
///   active tenant is guaranteed and does not use, so whoever is below its share finds a slot. With a queue it may take
///   any free slot, and whoever waits below its share is served before all who wait at or above theirs.
/// - **What was borrowed is not taken away.** Right after a tenant has become active, or the limit has fallen, the guarantee
///   holds as soon as enough borrowed slots have come back.
/// - **Order of the queue**: first tenants below their share, then the others; of these, the highest [`Priority`]; then the
///   tenant that would hold least for its weight; among equals in turns; within a tenant and a priority in the order of
///   arrival. [`Guard`](crate::Guard) says the rest about waiting.
/// - **Bounded**: no more than [`max_keys`](KeyedGuardBuilder::max_keys) tenants are known, those that are active. No text
///   of a key is kept: two tenants are taken for one with a probability of about 2^-64 for each pair.
/// - **Exactly once**: as with a [`Guard`](crate::Guard), a [`Permit`] gives its slot back once.
/// - **Time**: [`Clock::monotonic_ns`] is read once for each request and once when a slot comes back, once more if something
///   is learnt from it. [`Admit::admit`] reads [`Clock::now_ms`] besides.
/// - **One short lock** is taken by each request and when a slot comes back. It is never held across an await, nor while a
///   function of [weights](KeyedGuardBuilder::weight_of), an observer or a waker runs.
/// - **No allocation** for a tenant that is known, but for a request that waits.
///
/// Whoever can invent keys can make many small shares out of a few large ones. Take tenants from what was authenticated.
///
/// In a decision, `limit` is the limit of all, or the bound for one tenant if that is lower; `remaining` is what this tenant
/// could still get.
///
/// A clone is a handle to the same slots.
pub struct KeyedGuard<C = SystemClock, O = ()> {
    shared: Arc<Shared<C>>,
    watch: Arc<Names>,
    observer: O,
    shadow: bool,
}

/// What the handles and the permits share.
struct Shared<C> {
    ceiling: Ceiling<C>,
    floor: Mutex<Floor>,
    secret: HashKey,
    weights: Weights,
    patience: Option<Patience>,
    max_per_key: u32,
}

/// What a request wants, if there is no slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    /// Nothing: the slot alone counts.
    Slot,
    /// An answer at once.
    Answer,
    /// A place in the queue.
    Turn,
}

/// What came of a request.
struct Found {
    taken: Result<View, View>,
    /// How many more the tenant could get.
    remaining: u32,
    permit: Permit,
    /// The ticket, if it waits.
    ticket: Option<u64>,
}

impl KeyedGuard {
    /// Starts with a builder of what all tenants share: the limit, the clock, the observer, the queue.
    pub fn builder<C, O>(guard: GuardBuilder<C, O>) -> KeyedGuardBuilder<C, O> {
        KeyedGuardBuilder::new(guard)
    }
}

impl<C: Clock, O> KeyedGuard<C, O> {
    fn new(shared: Shared<C>, names: Names, observer: O, shadow: bool) -> Self {
        Self { shared: Arc::new(shared), watch: Arc::new(names), observer, shadow }
    }

    /// Takes a slot for a tenant, if there is one for it; otherwise the permit is not [held](Permit::is_held), and settling it
    /// does nothing.
    ///
    /// Its priority is [`Priority::Normal`]. It never waits.
    pub fn acquire(&self, key: &str) -> Permit {
        self.find(key, Priority::Normal, Want::Slot).permit
    }

    /// The limit of all tenants together, in whole slots. A running probe does not lower it.
    pub fn limit(&self) -> u32 {
        self.shared.ceiling.word.view().limit()
    }

    /// Slots taken and not given back, of all tenants.
    pub fn in_flight(&self) -> u32 {
        self.shared.ceiling.word.view().in_flight()
    }

    /// Slots that a tenant has taken and not given back.
    pub fn in_flight_of(&self, key: &str) -> u32 {
        let fingerprint = self.shared.secret.fingerprint(key);
        let floor = self.shared.lock();
        floor.tenants.find(fingerprint).map_or(0, |number| floor.tenants.held(number))
    }

    /// How many slots a tenant is guaranteed; if it is not active, how many it would be if it asked now.
    pub fn guaranteed(&self, key: &str) -> u32 {
        let fingerprint = self.shared.secret.fingerprint(key);
        let weight = self.shared.weights.of(fingerprint, key);
        let now_ns = self.shared.ceiling.clock.monotonic_ns();
        let word = &self.shared.ceiling.word;
        let mut floor = self.shared.lock();
        floor.tenants.expire(now_ns);
        let ceiling = word.ceiling(word.view());
        match floor.tenants.find(fingerprint) {
            Some(number) => floor.tenants.guaranteed(number, ceiling),
            None => floor.tenants.guaranteed_if_new(weight, ceiling),
        }
    }

    /// How many tenants are known. Those whose time is over are forgotten with the next request.
    pub fn tenants(&self) -> usize {
        self.shared.lock().tenants.len()
    }

    /// How many requests wait for a slot.
    pub fn waiting(&self) -> usize {
        self.shared.lock().waiting()
    }

    /// Generation, slots in flight and limit at one instant. Takes no lock.
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

    fn share(&self, priority: Priority) -> Share {
        self.shared.ceiling.shares.of(priority)
    }

    /// Takes a slot; otherwise a place in the queue, if that is wanted.
    fn find(&self, key: &str, priority: Priority, want: Want) -> Found {
        let shared = &self.shared;
        let word = &shared.ceiling.word;
        let share = self.share(priority);
        let now_ns = shared.ceiling.clock.monotonic_ns();
        let (mut floor, number) = shared.enter(key, now_ns);
        let taken = match number {
            Some(number) => floor.take(word, share, number),
            None => Err(word.view()),
        };
        let held = match taken {
            Ok(view) => Some(view),
            Err(_) if self.shadow => floor.take_beyond(word, number),
            Err(_) => None,
        };
        if let (None, Some(number), Want::Turn, false) = (held, number, want, self.shadow) {
            if let Some(place) = floor.join(number, priority, now_ns) {
                drop(floor);
                if let Some(waker) = place.displaced.and_then(|displaced| displaced.waker) {
                    waker.wake();
                }
                return Found { taken, remaining: 0, permit: Permit::none(), ticket: Some(place.ticket) };
            }
        }
        let remaining = match (taken, number) {
            (Ok(view), Some(number)) if want != Want::Slot => floor.remaining(word, share, number, view),
            _ => 0,
        };
        drop(floor);
        let permit = held.map_or_else(Permit::none, |view| Shared::permit(shared, view, number, now_ns));
        let permit = if taken.is_ok() { permit } else { permit.beyond_limit() };
        Found { taken, remaining, permit, ticket: None }
    }
}

impl<C: Clock, O: Observer + Clone> KeyedGuard<C, O> {
    /// A handle to the same slots that tells `observer`; `None` if it has an observer.
    pub(crate) fn told_to(&self, observer: &Arc<dyn Observer>) -> Option<KeyedGuard<C, Arc<dyn Observer>>> {
        let Self { shared, watch, observer: own, shadow } = self;
        let (shared, watch) = (Arc::clone(shared), Arc::clone(watch));
        own.is_blind().then(|| KeyedGuard { shared, watch, observer: Arc::clone(observer), shadow: *shadow })
    }

    /// The answer, and its event.
    fn decide(&self, taken: Result<View, View>, remaining: u32, permit: Permit, asked: Asked<'_>) -> Admission {
        let (Ok(view) | Err(view)) = taken;
        let now_ms = self.shared.ceiling.clock.now_ms();
        let limit = view.limit().min(self.shared.max_per_key);
        let mut decision = self.shared.ceiling.decide(taken.is_ok(), limit, remaining, now_ms);
        self.watch.tell(&self.observer, decision, asked, now_ms);
        if self.shadow && !decision.allowed {
            decision.allowed = true;
            decision.retry_after_ms = 0;
        }
        admission(decision, permit)
    }
}

impl<C: Clock, O: Observer + Clone> Admit for KeyedGuard<C, O> {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        let asked = Asked::of::<O>(ask, Begun::now(&self.observer));
        let Found { taken, remaining, permit, ticket } =
            self.find(ask.key, ask.priority, if ask.queues { Want::Turn } else { Want::Answer });
        match (ticket, &self.shared.patience) {
            (Some(ticket), Some(patience)) => Run::wait(Waiting::new(self.clone(), ticket, patience, asked)),
            _ => Run::ready(Ok(self.decide(taken, remaining, permit, asked))),
        }
    }

    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        Some(Arc::new(self.told_to(observer)?))
    }

    fn guard_state(&self) -> Option<(GuardReport, GuardStats)> {
        Some((self.report(), self.stats()))
    }
}

impl<C: Clock, O: Observer + Clone> Desk for KeyedGuard<C, O> {
    fn look(&self, ticket: u64, waker: &Waker) -> Standing {
        self.shared.lock().look(ticket, waker)
    }

    fn leave(&self, ticket: u64) -> Standing {
        let now_ns = self.now_ns();
        self.shared.lock().leave(ticket, now_ns)
    }

    fn permit(&self, seat: Seat, now_ns: u64) -> Permit {
        Shared::permit(&self.shared, seat.view, u32::try_from(seat.key).ok(), now_ns)
    }

    fn answer(&self, seat: Option<Seat>, permit: Permit, asked: Asked<'_>) -> Admission {
        let word = &self.shared.ceiling.word;
        let Some(Seat { view, key }) = seat else {
            return self.decide(Err(word.view()), 0, permit, asked);
        };
        let number = u32::try_from(key).unwrap_or(u32::MAX);
        let remaining = self.shared.lock().remaining(word, self.share(asked.priority), number, view);
        self.decide(Ok(view), remaining, permit, asked)
    }

    fn now_ns(&self) -> u64 {
        self.shared.ceiling.clock.monotonic_ns()
    }

    fn tell_wait(&self, priority: Priority, waited_ns: u64, outcome: WaitOutcome) {
        self.watch.tell_wait(&self.observer, priority, waited_ns, outcome);
    }
}

impl<C> Shared<C> {
    fn lock(&self) -> MutexGuard<'_, Floor> {
        // Nothing in here panics but for want of memory; what that leaves are still tenants.
        self.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tenant of a request; none if there is no room for another one.
    fn enter(&self, key: &str, now_ns: u64) -> (MutexGuard<'_, Floor>, Option<u32>) {
        let fingerprint = self.secret.fingerprint(key);
        let mut floor = self.lock();
        floor.tenants.expire(now_ns);
        let mut number = floor.tenants.enter(fingerprint, now_ns);
        if number.is_none() {
            // The weight may come from foreign code: not under the lock.
            drop(floor);
            let weight = self.weights.of(fingerprint, key);
            floor = self.lock();
            number = floor.tenants.enter(fingerprint, now_ns);
            if number.is_none() {
                number = floor.tenants.add(fingerprint, weight, now_ns);
            }
        }
        (floor, number)
    }
}

impl<C: Clock> Shared<C> {
    fn permit(this: &Arc<Self>, view: View, number: Option<u32>, now_ns: u64) -> Permit {
        let owner: Arc<dyn Settle> = Arc::<Self>::clone(this);
        // Above what was in flight: the number of the tenant from 1 on, or 0 for none.
        let tenant = number.map_or(0, |number| u64::from(number) + 1);
        Permit::new(owner, Slot { taken_at: now_ns, detail: tenant << 32 | u64::from(view.in_flight()) })
    }
}

impl<C: Clock> Settle for Shared<C> {
    fn settle(&self, slot: Slot, outcome: Outcome) {
        let word = &self.ceiling.word;
        // First the limit, then the slot: who is served sees both.
        self.ceiling.learn(slot, outcome);
        let now_ns = self.ceiling.clock.monotonic_ns();
        let number = (slot.detail >> 32).checked_sub(1).and_then(|number| u32::try_from(number).ok());
        let mut floor = self.lock();
        floor.give(word, number, now_ns);
        while let Some(woken) = floor.serve_one(word) {
            // Wakers run foreign code: not under the lock.
            drop(floor);
            if let Some(waker) = woken {
                waker.wake();
            }
            floor = self.lock();
        }
    }
}

impl<C, O: Clone> Clone for KeyedGuard<C, O> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            watch: Arc::clone(&self.watch),
            observer: self.observer.clone(),
            shadow: self.shadow,
        }
    }
}

impl<C, O> fmt::Debug for KeyedGuard<C, O> {
    /// Shows no keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.shared.ceiling.word.view();
        f.debug_struct("KeyedGuard")
            .field("name", &self.watch.policy())
            .field("algorithm", &self.watch.strategy)
            .field("limit", &view.limit())
            .field("in_flight", &view.in_flight())
            .field("tenants", &self.shared.lock().tenants.len())
            .field("shadow", &self.shadow)
            .finish_non_exhaustive()
    }
}
