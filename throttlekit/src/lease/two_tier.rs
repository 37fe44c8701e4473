//! The limiter with a tier in process and one behind it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;

use super::cached::Denials;
use super::grant::Grant;
use super::leases::{LeaseStats, Leases};
use super::{Mode, TwoTierBuilder};
use crate::admit::Ask;
use crate::clock::{Clock, SystemClock};
use crate::decision::Decision;
use crate::error::Error;
use crate::fingerprint::Mark;
use crate::limiter::{Forget, Made, Watch};
use crate::observe::{Begun, CallKind, Observer, is_blind};
use crate::program::{Program, Strategy};
use crate::run::Run;
use crate::store::memory::Table;
use crate::store::{Keyspace, Moment, Remote};
use crate::strategy::validate_units;

/// Limits keys that many processes share, with as few trips to the store as the [`Mode`] allows.
///
/// Leased, it fetches units in batches and takes requests from them; a check that finds enough units takes no trip, no
/// allocation and well under a microsecond. See the [module](super) for what that promises and costs.
///
/// ```
/// use throttlekit::lease::TwoTier;
/// use throttlekit::store::memory::Table;
/// use throttlekit::{FixedWindow, ManualClock};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let window = FixedWindow::builder().limit(10.0).window_ms(1_000.0).build()?;
/// let clock = ManualClock::new(0.0);
/// // A table stands for the store that the processes share.
/// let limiter = TwoTier::builder(window)
///     .keyspace(Table::new())
///     .clock(clock.clone())
///     .batch(4.0)
///     .window_coupled(true)
///     .build()?;
///
/// let decision = limiter.check("user-1").await?;
/// assert_eq!((decision.allowed, decision.remaining), (true, 3));
/// assert_eq!(limiter.stats().leases, 1);
/// limiter.check_cost("user-1", 3.0).await?;
/// assert_eq!(limiter.stats().leases, 1);
/// # Ok(())
/// # }
/// # let run = std::pin::pin!(example());
/// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// # assert!(matches!(run.poll(&mut context), std::task::Poll::Ready(Ok(()))));
/// ```
///
/// A clone is a handle to the same units. What is still held when the last handle goes is lost to all until the window
/// ends, unless [`close`](Self::close) gave it back.
pub struct TwoTier<S: Strategy, K = Remote, C = SystemClock, O = ()> {
    pub(super) core: Arc<Core<S, K, C>>,
    /// Shared, since each trip takes a handle along.
    pub(super) watch: Arc<Watch<O>>,
}

/// What the handles share.
pub(super) struct Core<S, K, C> {
    pub(super) strategy: S,
    pub(super) grant: Grant<S>,
    pub(super) keys: K,
    pub(super) clock: C,
    pub(super) tier: Tier,
    /// How often the store answered.
    pub(super) answers: AtomicU64,
    /// Itself, for the task that sweeps.
    pub(super) me: Weak<Self>,
}

/// What is kept in process.
pub(super) enum Tier {
    Strict,
    CachedDeny(Denials),
    Leased(Leases),
}

impl Tier {
    fn mode(&self) -> Mode {
        match self {
            Self::Strict => Mode::Strict,
            Self::CachedDeny(_) => Mode::CachedDeny,
            Self::Leased(_) => Mode::Leased,
        }
    }

    /// The store may have units of a key again: what is known of it that says otherwise is old.
    pub(super) fn ask_again(&self, key: &str) {
        match self {
            Self::Strict => {}
            Self::CachedDeny(denials) => denials.forget(key),
            Self::Leased(leases) => leases.ask_again(leases.book.mark(key)),
        }
    }

    fn forget(&self, key: &str) {
        match self {
            Self::Strict => {}
            Self::CachedDeny(denials) => denials.forget(key),
            Self::Leased(leases) => drop(leases.book.forget(leases.book.mark(key))),
        }
    }
}

impl<S: Strategy> TwoTier<S> {
    /// A builder, to be given a keyspace and how much to lease.
    pub fn builder(strategy: S) -> TwoTierBuilder<S, Table<<S as Program>::State>> {
        TwoTierBuilder::new(strategy)
    }
}

impl<S, K, C, O> TwoTier<S, K, C, O>
where
    S: Strategy,
    K: Keyspace<S::State>,
    C: Clock,
    O: Observer + Clone,
{
    pub(super) fn from_core(core: Arc<Core<S, K, C>>, watch: Watch<O>) -> Self {
        Self { core, watch: Arc::new(watch) }
    }

    /// A handle to the same units that tells `observer`; `None` if it has an observer.
    pub(super) fn told_to(&self, observer: &Arc<dyn Observer>) -> Option<TwoTier<S, K, C, Arc<dyn Observer>>> {
        Some(TwoTier::from_core(Arc::clone(&self.core), self.watch.told_to(observer)?))
    }

    /// Takes one unit from `key`, if it is there.
    ///
    /// # Errors
    ///
    /// `store_unavailable` and `state_invalid` from the store, where it had to be asked.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its first poll it does nothing. Dropped while it waits for a lease, the request takes nothing, and the
    /// lease goes on: the runtime drives it, or the next caller on the key, and its units are held for others.
    pub async fn check(&self, key: &str) -> Result<Decision, Error> {
        self.run_check(key, 1.0).await
    }

    /// Takes `cost` units from `key`, all or none. A cost above the ceiling is legal, and always denied.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `cost` is not finite, not above 0 or above 2^53 - 1, lost to rounding beside what is counted, or
    /// no whole number where the strategy [counts no others](Strategy::WHOLE_UNITS); otherwise as [`check`](Self::check).
    ///
    /// # Cancel safety
    ///
    /// As [`check`](Self::check).
    pub async fn check_cost(&self, key: &str, cost: f64) -> Result<Decision, Error> {
        self.run_check(key, cost).await
    }

    /// Takes `cost` units from each key, each at an instant of its own; decisions in the order of `keys`. Leases of
    /// different keys are under way together, and a repeated key shares one.
    ///
    /// # Errors
    ///
    /// As [`check_cost`](Self::check_cost). One failure fails the batch, and does not undo what was taken.
    ///
    /// # Cancel safety
    ///
    /// As [`check`](Self::check); keys that were decided by then stay charged.
    pub async fn check_many(&self, keys: &[&str], cost: f64) -> Result<Vec<Decision>, Error> {
        self.run_check_many(keys, cost).await
    }

    /// As [`check_cost`](Self::check_cost), without waiting: `None` if the store would have to be asked. Then nothing is
    /// taken.
    ///
    /// ```
    /// use throttlekit::FixedWindow;
    /// use throttlekit::lease::TwoTier;
    ///
    /// let window = FixedWindow::builder().limit(10.0).window_ms(60_000.0).build()?;
    /// let limiter = TwoTier::builder(window).batch(4.0).build()?;
    /// assert!(limiter.try_check("user-1", 1.0)?.is_none());
    /// assert!(limiter.run_check("user-1", 1.0).now().is_ok_and(|decision| decision.is_ok()));
    /// assert!(limiter.try_check("user-1", 3.0)?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `cost` is not finite, not above 0 or above 2^53 - 1, or no whole number where the strategy counts
    /// no others.
    #[inline]
    pub fn try_check(&self, key: &str, cost: f64) -> Result<Option<Decision>, Error> {
        let cost = validate_units::<S>(cost)?;
        let begun = self.watch.begin();
        let decision = match &self.core.tier {
            Tier::Strict => None,
            Tier::CachedDeny(denials) => denials.get(key, cost, self.core.clock.monotonic_ns()),
            // A flight that wants to be driven waits for a caller who may.
            Tier::Leased(leases) => self.try_local(leases, leases.book.mark(key), cost).map(|(decision, _)| decision),
        };
        if let Some(decision) = decision {
            self.tell_local(key, CallKind::CheckSync, cost, begun, decision);
        }
        Ok(decision)
    }

    /// As [`check_cost`](Self::check_cost), with an answer that is ready where no trip was needed.
    ///
    /// # Errors
    ///
    /// As [`check_cost`](Self::check_cost).
    #[inline]
    pub fn run_check(&self, key: &str, cost: f64) -> Run<Result<Decision, Error>> {
        self.run_ask(&Ask::new(key).cost(cost))
    }

    /// As [`run_check`](Self::run_check), of the key and the cost of `ask`.
    #[inline]
    pub(super) fn run_ask(&self, ask: &Ask<'_>) -> Run<Result<Decision, Error>> {
        let Ask { key, cost, .. } = *ask;
        let cost = match validate_units::<S>(cost) {
            Ok(cost) => cost,
            Err(error) => return Run::ready(Err(self.refuse(key, CallKind::Check, cost, error))),
        };
        self.run(key, CallKind::Check, cost, self.watch.begin().of(ask))
    }

    /// Decides; `cost` is legal.
    #[inline]
    fn run(&self, key: &str, kind: CallKind, cost: f64, begun: Begun) -> Run<Result<Decision, Error>> {
        match &self.core.tier {
            Tier::Leased(leases) => self.check_leased(leases, key, kind, cost, begun),
            Tier::CachedDeny(denials) => self.check_cached(denials, key, kind, cost, begun),
            Tier::Strict => {
                let mut made = Made { kind, cost, now_ms: self.core.clock.now_ms(), begun, local: false };
                let run = self.core.plain_made(key, &mut made);
                self.watch.follow(key, made, run)
            }
        }
    }

    /// As [`check_many`](Self::check_many), with an answer that is ready where no trip was needed.
    ///
    /// # Errors
    ///
    /// As [`check_many`](Self::check_many).
    pub fn run_check_many(&self, keys: &[&str], cost: f64) -> Run<Result<Vec<Decision>, Error>> {
        let cost = match validate_units::<S>(cost) {
            Ok(cost) => cost,
            Err(error) => return Run::ready(Err(self.refuse("", CallKind::CheckMany, cost, error))),
        };
        let mut runs: Vec<Result<Result<Decision, Error>, Run<_>>> =
            keys.iter().map(|key| self.run(key, CallKind::CheckMany, cost, self.watch.begin()).now()).collect();
        if runs.iter().all(Result::is_ok) {
            return Run::ready(runs.into_iter().filter_map(Result::ok).collect());
        }
        Run::wait(async move {
            std::future::poll_fn(|cx| {
                for run in &mut runs {
                    if let Err(waiting) = run {
                        if let Poll::Ready(result) = Pin::new(waiting).poll(cx) {
                            *run = Ok(result);
                        }
                    }
                }
                if runs.iter().all(Result::is_ok) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            runs.into_iter().filter_map(Result::ok).collect()
        })
    }

    /// Tells of a cost that is refused.
    #[cold]
    fn refuse(&self, key: &str, kind: CallKind, cost: f64, error: Error) -> Error {
        self.watch.refuse(key, kind, cost, || self.core.clock.now_ms(), error)
    }

    /// Forgets `key`: what is held for it here, and then what the store has of it. Leases under way are not spent. What others
    /// hold stays with them, and so does here what was asked for before the store has answered.
    ///
    /// # Errors
    ///
    /// `store_unavailable` from the store. What was held here is then forgotten all the same.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, the store may or may not have forgotten the key.
    pub async fn reset(&self, key: &str) -> Result<(), Error> {
        self.run_reset(key).await
    }

    /// As [`reset`](Self::reset).
    ///
    /// # Errors
    ///
    /// As [`reset`](Self::reset).
    pub fn run_reset(&self, key: &str) -> Run<Result<(), Error>> {
        self.core.tier.forget(key);
        let (core, owned) = (Arc::clone(&self.core), Box::<str>::from(key));
        self.core.run(key, &Forget::new(), &()).map(move |result| {
            if result.is_ok() {
                // Meanwhile the store had the old state, and may have said so. Units that it granted meanwhile stay: those of the
                // new state would be lost to all.
                core.tier.ask_again(&owned);
            }
            result
        })
    }

    /// Gives the units of keys that were not asked for longer than `idle` back to the store, and forgets those keys here.
    /// What does not arrive is lost to all until its window ends.
    ///
    /// A limiter with [`return_idle_after_ms`](TwoTierBuilder::return_idle_after_ms) does so by itself.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its end, units that were on their way may be lost to all until their window ends.
    pub async fn return_idle(&self, idle: std::time::Duration) {
        let idle_ns = u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX);
        Arc::clone(&self.core).return_idle(idle_ns).await;
    }

    /// Gives all units back to the store and ends the work in the background. From then on every check asks the store, which
    /// stays open.
    ///
    /// # Cancel safety
    ///
    /// As [`return_idle`](Self::return_idle); calling it again goes on.
    pub async fn close(&self) {
        Arc::clone(&self.core).close().await;
    }

    /// What became of leases so far; all 0 where there are none.
    pub fn stats(&self) -> LeaseStats {
        match &self.core.tier {
            Tier::Leased(leases) => leases.stats(),
            _ => LeaseStats::default(),
        }
    }

    /// How many keys are known here.
    pub fn keys_held(&self) -> usize {
        match &self.core.tier {
            Tier::Strict => 0,
            Tier::CachedDeny(denials) => denials.len(),
            Tier::Leased(leases) => leases.book.len(),
        }
    }

    /// How it uses the tier in process.
    pub fn mode(&self) -> Mode {
        self.core.tier.mode()
    }

    /// The strategy.
    pub fn strategy(&self) -> &S {
        &self.core.strategy
    }

    /// The keys in the store, scoped by the prefix.
    pub fn keyspace(&self) -> &K {
        &self.core.keys
    }

    /// The name that its events carry.
    pub fn name(&self) -> &str {
        self.watch.policy()
    }
}

impl<S, K, C, O> TwoTier<S, K, C, O>
where
    S: Strategy,
    K: Keyspace<S::State>,
    C: Clock,
    O: Observer + Clone,
{
    fn check_cached(
        &self,
        denials: &Denials,
        key: &str,
        kind: CallKind,
        cost: f64,
        begun: Begun,
    ) -> Run<Result<Decision, Error>> {
        let core = &self.core;
        let now_ns = core.clock.monotonic_ns();
        if let Some(decision) = denials.get(key, cost, now_ns) {
            self.tell_local(key, kind, cost, begun, decision);
            return Run::ready(Ok(decision));
        }
        let asked = denials.asked(key, now_ns);
        let mut made = Made { kind, cost, now_ms: core.clock.now_ms(), begun, local: false };
        let answer = match core.plain_made(key, &mut made).now() {
            Ok(result) => {
                if let Ok(decision) = &result {
                    core.answered();
                    denials.put(key, cost, asked, *decision);
                }
                Run::ready(result)
            }
            Err(waiting) => {
                let (core, key) = (Arc::clone(core), Box::<str>::from(key));
                Run::wait(async move {
                    let result = waiting.await;
                    if let (Ok(decision), Tier::CachedDeny(denials)) = (&result, &core.tier) {
                        core.answered();
                        denials.put(&key, cost, asked, *decision);
                    }
                    result
                })
            }
        };
        self.watch.follow(key, made, answer)
    }

    /// Tells of a decision for which the store was not asked.
    #[inline]
    pub(super) fn tell_local(&self, key: &str, kind: CallKind, cost: f64, begun: Begun, decision: Decision) {
        if !is_blind::<O>() {
            let made = Made { kind, cost, now_ms: self.core.clock.now_ms(), begun, local: true };
            self.watch.tell(key, made, &Ok(decision));
        }
    }

    /// The time for an event. Without an observer it need not be read.
    pub(super) fn event_now_ms(&self) -> f64 {
        if is_blind::<O>() { 0.0 } else { self.core.clock.now_ms() }
    }
}

impl<S, K, C> Core<S, K, C>
where
    S: Strategy,
    K: Keyspace<S::State>,
    C: Clock,
{
    /// The decision of the store.
    pub(super) fn plain(&self, key: &str, cost: f64) -> Run<Result<Decision, Error>> {
        self.run(key, &self.strategy, &cost)
    }

    /// Runs `program` on `key` in the store now.
    pub(super) fn run<P: Program<State = S::State>>(
        &self,
        key: &str,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<P::Reply, Error>> {
        self.keys.run_at(key, Mark::default(), &mut Moment::read(&self.clock), program, request)
    }

    /// As [`plain`](Self::plain), of what is told later.
    fn plain_made(&self, key: &str, made: &mut Made) -> Run<Result<Decision, Error>> {
        let mut at = Moment::of(made.now_ms, &self.clock);
        let run = self.keys.run_at(key, Mark::default(), &mut at, &self.strategy, &made.cost);
        made.now_ms = at.now_ms;
        run
    }

    /// The store has answered.
    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::AcqRel);
    }
}

impl<S: Strategy, K, C, O> Clone for TwoTier<S, K, C, O> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), watch: Arc::clone(&self.watch) }
    }
}

impl<S: Strategy + fmt::Debug, K, C, O> fmt::Debug for TwoTier<S, K, C, O> {
    /// Shows no keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TwoTier")
            .field("name", &self.watch.policy())
            .field("strategy", &self.core.strategy)
            .field("mode", &self.core.tier.mode())
            .finish_non_exhaustive()
    }
}
