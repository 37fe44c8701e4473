//! The leased tier: who asks the store, who waits, and what comes of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;

use super::background::{Background, Sweep};
use super::book::{Asked, Book, Mark, Place};
use super::grant::{Granted, Wanted};
use super::holding::{Holding, Landed, Lease, Terms, Verdict};
use super::two_tier::{Core, Tier, TwoTier};
use super::waiting::{Deserting, Errand, all};
use crate::clock::Clock;
use crate::decision::Decision;
use crate::error::Error;
use crate::limiter::{GiveBack, Made, Watch};
use crate::observe::{Begun, CallKind, LeaseEvent, Observer, is_blind};
use crate::program::{Refund, Strategy};
use crate::run::Run;
use crate::store::Keyspace;

/// How often a request waits for a lease before the store decides it as it is. Others may take the units first, again and
/// again.
const ROUNDS: u32 = 64;

/// How often a request waits for a lease whose window then is over. Where answers take longer than a window, none can
/// ever be spent.
const LATE_ROUNDS: u32 = 3;

/// What is held for all keys.
pub(super) struct Leases {
    pub(super) terms: Terms,
    pub(super) book: Book<Holding>,
    background: OnceLock<Arc<Background>>,
    /// How long a key is idle before its units go back.
    pub(super) idle_ns: Option<u64>,
    ids: AtomicU64,
    closed: AtomicBool,
    stats: Mutex<LeaseStats>,
}

/// What became of leases so far; from [`TwoTier::stats`](super::TwoTier::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LeaseStats {
    /// Answers of the store to leases, granted or denied.
    pub leases: u64,
    /// Leases that the store did not answer.
    pub failed: u64,
    /// Units granted.
    pub granted: f64,
    /// Units granted that came when their window was over, and were not spent.
    pub late: f64,
    /// Units granted for keys that were forgotten meanwhile.
    pub lost: f64,
    /// Units that were sent back to the store.
    pub returned: f64,
    /// Keys that had to go to make room for others.
    pub evicted: u64,
}

impl Leases {
    pub(super) fn new(terms: Terms, most: usize, idle_ns: Option<u64>) -> Self {
        Self {
            terms,
            book: Book::new(most),
            background: OnceLock::new(),
            idle_ns,
            ids: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            stats: Mutex::default(),
        }
    }

    /// From now on a task does what no caller waits for.
    pub(super) fn start(&self, background: Arc<Background>) {
        // There is none before, since this happens once, when the limiter is built.
        let _ = self.background.set(background);
    }

    pub(super) fn stats(&self) -> LeaseStats {
        *self.edit()
    }

    fn edit(&self) -> MutexGuard<'_, LeaseStats> {
        // Numbers are whole whatever panicked.
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The store may have units of a key again: a denial of it that is known, or on its way, is old.
    pub(super) fn ask_again(&self, mark: Mark) {
        // First: who then finds its question new has what it writes undone.
        self.book.outdate(mark);
        self.book.with(mark, Holding::ask_again);
    }

    /// Hands a flight to the task, if there is one; otherwise gives it back.
    pub(super) fn hand_over(&self, flight: Arc<Lease>) -> Option<Arc<Lease>> {
        match self.background.get() {
            Some(background) => (!background.push(Arc::clone(&flight))).then_some(flight),
            None => Some(flight),
        }
    }
}

impl<S, K, C, O> TwoTier<S, K, C, O>
where
    S: Strategy,
    K: Keyspace<S::State>,
    C: Clock,
    O: Observer + Clone,
{
    /// Decides from what is held, if that is possible, and says which flight should be driven on.
    #[inline]
    pub(super) fn try_local(&self, leases: &Leases, mark: Mark, cost: f64) -> Option<(Decision, Option<Arc<Lease>>)> {
        let now_ns = self.core.clock.monotonic_ns();
        let terms = &leases.terms;
        let (decision, new, stray) = leases.book.with(mark, |holding| {
            let decision = holding.try_local(terms, cost, now_ns)?;
            let due = decision.allowed && holding.refill_due(terms, now_ns) && !leases.is_closed();
            let new = due.then(|| self.refill(leases, mark, holding));
            let stray = if new.is_none() { holding.stray().cloned() } else { None };
            Some((decision, new, stray))
        })??;
        Some((decision, new.and_then(|flight| leases.hand_over(flight)).or(stray)))
    }

    /// Asks for units before they are needed.
    #[cold]
    fn refill(&self, leases: &Leases, mark: Mark, holding: &mut Holding) -> Arc<Lease> {
        let key = Arc::clone(&holding.key);
        holding.start_refill(&leases.terms, |wanted| self.fly(leases, mark, key, wanted))
    }

    /// A check that may wait.
    pub(super) fn check_leased(
        &self,
        leases: &Leases,
        key: &str,
        kind: CallKind,
        cost: f64,
        begun: Begun,
    ) -> Run<Result<Decision, Error>> {
        let mark = leases.book.mark(key);
        match self.try_local(leases, mark, cost) {
            Some((decision, None)) => {
                self.tell_local(key, kind, cost, begun, decision);
                Run::ready(Ok(decision))
            }
            Some((decision, Some(flight))) => {
                self.tell_local(key, kind, cost, begun, decision);
                if K::IMMEDIATE {
                    let _ = flight.drive();
                    return Run::ready(Ok(decision));
                }
                // The store may only be asked where this is polled.
                Run::wait(async move {
                    let _ = flight.drive();
                    Ok(decision)
                })
            }
            None => {
                let mut deciding = Box::pin(self.clone().decide(key.into(), mark, kind, cost, begun));
                if K::IMMEDIATE {
                    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                    if let Poll::Ready(result) = deciding.as_mut().poll(&mut context) {
                        return Run::ready(result);
                    }
                }
                Run::Wait(deciding)
            }
        }
    }

    /// Decides one request, by as many leases as it takes.
    async fn decide(
        self,
        key: Arc<str>,
        mark: Mark,
        kind: CallKind,
        cost: f64,
        begun: Begun,
    ) -> Result<Decision, Error> {
        let now_ms = self.event_now_ms();
        let mut errand = Errand(None);
        let (result, asked) = self.rounds(&key, mark, cost, &mut errand).await;
        errand.finish().await;
        self.watch.tell(&key, Made { kind, cost, now_ms, begun, local: !asked }, &result);
        result
    }

    /// The decision, and whether the store took part in it.
    async fn rounds(
        &self,
        key: &Arc<str>,
        mark: Mark,
        cost: f64,
        errand: &mut Errand,
    ) -> (Result<Decision, Error>, bool) {
        let Tier::Leased(leases) = &self.core.tier else { return (self.core.plain(key, cost).await, true) };
        let (mut late, mut denial) = (0, None);
        for round in 0..ROUNDS {
            let (verdict, started) = self.ask(leases, key, mark, cost, round == 0, denial.take(), errand);
            let flight = match verdict {
                Verdict::Decided(decision, chore) => {
                    if let Some(flight) = chore.and_then(|flight| leases.hand_over(flight)) {
                        let _ = flight.drive();
                    }
                    return (Ok(decision), round > 0);
                }
                Verdict::Direct => break,
                Verdict::Failed(error) => return (Err(error), round > 0),
                Verdict::Wait(flight) => flight,
            };
            let waiting = Deserting::new(leases, &flight);
            match errand.beside(waiting).await {
                Ok(Landed::Credited | Landed::Lost) => {}
                // What one lease was denied says nothing about others who joined it, but where leases are all or nothing.
                Ok(Landed::Denied(decision)) => {
                    let mine = started == Some(flight.id());
                    denial = (mine || leases.terms.form == super::GrantForm::Whole).then_some(decision);
                }
                Ok(Landed::Late) if late + 1 < LATE_ROUNDS => late += 1,
                Ok(Landed::Late) => return (Ok(self.core.too_late(leases)), true),
                Err(error) => return (Err(error), true),
            }
        }
        let asked = leases.book.asked(mark, self.core.clock.monotonic_ns());
        let result = self.core.plain(key, cost).await;
        if result.is_ok() {
            self.core.answered();
        }
        if let Ok(decision @ Decision { allowed: false, .. }) = &result {
            leases.book.with(mark, |holding| {
                // Closed, every request asks the store.
                if leases.book.is_since(mark, asked) && !leases.is_closed() {
                    holding.refused(cost, asked.at_ns, decision);
                }
            });
        }
        (result, true)
    }

    /// What to do with a request now, and the lease that it started.
    #[allow(clippy::too_many_arguments)] // one caller
    fn ask(
        &self,
        leases: &Leases,
        key: &Arc<str>,
        mark: Mark,
        cost: f64,
        offer: bool,
        denial: Option<Decision>,
        errand: &mut Errand,
    ) -> (Verdict, Option<u64>) {
        let terms = &leases.terms;
        let now_ns = self.core.clock.monotonic_ns();
        let (mut started, mut gone) = (None, None);
        let fly = |wanted: Wanted| {
            let flight = self.fly(leases, mark, Arc::clone(key), wanted);
            started = Some(flight.id());
            flight
        };
        let verdict = leases.book.with_new(
            mark,
            || Holding::new(Arc::clone(key), terms),
            |place| {
                let holding = match place {
                    Place::Here(holding) => holding,
                    Place::New(holding, evicted) => {
                        gone = evicted;
                        holding
                    }
                    Place::Full => return Verdict::Direct,
                };
                if leases.is_closed() {
                    return Verdict::Direct;
                }
                holding.decide(terms, cost, now_ns, offer, denial, fly)
            },
        );
        if let Some(gone) = gone {
            leases.edit().evicted += 1;
            let errand_of = gone.unspent(now_ns).and_then(|(key, units)| self.core.send_back(leases, key, units));
            if let Some(flight) = errand_of.and_then(|flight| leases.hand_over(flight)) {
                errand.0 = Some(flight.wait());
            }
        }
        (verdict, started)
    }

    /// A lease that nobody has asked the store for yet: that happens when it is first polled.
    fn fly(&self, leases: &Leases, mark: Mark, key: Arc<str>, wanted: Wanted) -> Arc<Lease> {
        let id = leases.ids.fetch_add(1, Ordering::Relaxed);
        // Weak: the flight is held by what it would hold.
        let core = Arc::downgrade(&self.core);
        // Nobody to tell: nothing to take along.
        let watch = (!is_blind::<O>()).then(|| Arc::clone(&self.watch));
        let work = async move {
            let (running, asked) = match core.upgrade() {
                None => return Ok(Landed::Lost),
                Some(core) => {
                    let Tier::Leased(leases) = &core.tier else { return Ok(Landed::Lost) };
                    // Before the wall clock: the end of the window must not be found too late.
                    let asked = leases.book.asked(mark, core.clock.monotonic_ns());
                    (core.run(&key, &core.grant, &wanted), asked)
                }
            };
            let granted = running.await;
            match core.upgrade() {
                None => Ok(Landed::Lost),
                Some(core) => core.land(mark, id, &wanted, asked, &granted, watch.as_deref()),
            }
        };
        Lease::new(id, Box::pin(work))
    }
}

impl<S, K, C> Core<S, K, C>
where
    S: Strategy,
    K: Keyspace<S::State>,
    C: Clock,
{
    /// Takes in the answer to a lease, and tells of it.
    fn land<O: Observer>(
        &self,
        mark: Mark,
        id: u64,
        wanted: &Wanted,
        asked: Asked,
        granted: &Result<Granted, Error>,
        watch: Option<&Watch<O>>,
    ) -> Result<Landed, Error> {
        let Tier::Leased(leases) = &self.tier else { return Ok(Landed::Lost) };
        let now_ns = self.clock.monotonic_ns();
        let (result, units) = match granted {
            Ok(granted) => {
                self.answered();
                let land = |holding: &mut Holding| {
                    let landed = holding.land(&leases.terms, id, wanted, asked.at_ns, now_ns, granted);
                    if landed != Landed::Lost && !leases.book.is_since(mark, asked) {
                        holding.ask_again();
                    }
                    landed
                };
                let landed = leases.book.with(mark, land).unwrap_or(Landed::Lost);
                let mut stats = leases.edit();
                stats.leases += 1;
                stats.granted += granted.units;
                match landed {
                    Landed::Late => stats.late += granted.units,
                    Landed::Lost => stats.lost += granted.units,
                    Landed::Credited | Landed::Denied(_) => {}
                }
                (Ok(landed), Ok(granted.units))
            }
            Err(error) => {
                leases.book.with(mark, |holding| holding.release(id));
                leases.edit().failed += 1;
                (Err(error.clone()), Err(error))
            }
        };
        if let Some(watch) = watch {
            watch.tell_lease(|policy, strategy| LeaseEvent {
                policy,
                strategy,
                asked: wanted.units,
                granted: units,
                spendable: matches!(result, Ok(Landed::Credited | Landed::Denied(_))),
                took_ns: now_ns.saturating_sub(asked.at_ns),
            });
        }
        result
    }

    /// Units on their way back to the store. Where it takes none they are lost to all.
    fn send_back(self: &Arc<Self>, leases: &Leases, key: Arc<str>, unspent: Refund) -> Option<Arc<Lease>> {
        if !S::REFUNDS {
            return None;
        }
        leases.edit().returned += unspent.units;
        let id = leases.ids.fetch_add(1, Ordering::Relaxed);
        let core = Arc::downgrade(self);
        let work = async move {
            let running = match core.upgrade() {
                None => return Ok(Landed::Lost),
                Some(core) => {
                    let give_back = GiveBack(core.strategy.clone());
                    core.run(&key, &give_back, &unspent)
                }
            };
            // Units that do not arrive are lost to all, and never spent twice.
            running.await?;
            if let Some(core) = core.upgrade() {
                core.tier.ask_again(&key);
            }
            Ok(Landed::Credited)
        };
        Some(Lease::new(id, Box::pin(work)))
    }

    /// The denial of a request whose leases all came too late.
    fn too_late(&self, leases: &Leases) -> Decision {
        let reset_at_ms = crate::decision::ceil_ms(self.clock.now_ms() + self.strategy.ttl_ms());
        Decision { allowed: false, limit: leases.terms.limit, remaining: 0, reset_at_ms, retry_after_ms: 1 }
    }

    /// Takes the holdings of idle keys, and what there is to send back of them.
    fn idle(self: &Arc<Self>, leases: &Leases, idle_ns: u64) -> Vec<Arc<Lease>> {
        let now_ns = self.clock.monotonic_ns();
        let idle = leases.book.take(|holding| !holding.has_flights() && holding.idle_ns(now_ns) > idle_ns);
        self.send_back_all(leases, idle)
    }

    fn send_back_all(self: &Arc<Self>, leases: &Leases, holdings: Vec<Holding>) -> Vec<Arc<Lease>> {
        let now_ns = self.clock.monotonic_ns();
        let unspent = holdings.into_iter().filter_map(|holding| holding.unspent(now_ns));
        unspent.filter_map(|(key, units)| self.send_back(leases, key, units)).collect()
    }

    /// Gives the units of idle keys back, and waits until that is done.
    pub(super) async fn return_idle(self: Arc<Self>, idle_ns: u64) {
        if let Tier::Leased(leases) = &self.tier {
            all(self.idle(leases, idle_ns)).await;
        }
    }

    /// Gives everything back and leases no more.
    pub(super) async fn close(self: Arc<Self>) {
        let Tier::Leased(leases) = &self.tier else { return };
        leases.closed.store(true, Ordering::Release);
        let mut flights = match leases.background.get() {
            Some(background) => background.stop().await,
            None => Vec::new(),
        };
        // No new flights are started, so this ends.
        loop {
            let holdings = leases.book.take(|holding| {
                flights.extend(holding.flights().cloned());
                !holding.has_flights()
            });
            flights.extend(self.send_back_all(leases, holdings));
            if flights.is_empty() {
                return;
            }
            all(std::mem::take(&mut flights)).await;
        }
    }
}

impl<S, K, C> Sweep for Core<S, K, C>
where
    S: Strategy,
    K: Keyspace<S::State>,
    C: Clock,
{
    fn sweep(&self) -> Vec<Arc<Lease>> {
        let (Tier::Leased(leases), Some(core)) = (&self.tier, self.me.upgrade()) else { return Vec::new() };
        leases.idle_ns.map_or_else(Vec::new, |idle_ns| core.idle(leases, idle_ns))
    }
}
