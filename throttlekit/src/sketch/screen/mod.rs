//! A sketch in front of a table: only keys that are used much get a state.

mod builder;
mod carry;
mod dynamic;
mod programs;

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub use builder::ScreenedBuilder;
pub use carry::Carry;

use self::programs::{Adopt, AheadKnown, Known, PeekKnown};
use super::hash::{Columns, Mark};
use super::windows::{Part, Windows, lock};
use super::{Accuracy, MAX_LIMIT};
use crate::admit::Ask;
use crate::clock::{Clock, SystemClock, clock_of};
use crate::decision::{Decision, Forecast, ceil_ms, ceil_wait, floor_units};
use crate::error::{BuildError, Error};
use crate::fingerprint;
use crate::limiter::{Made, Watch};
use crate::math::ceil_f64;
use crate::observe::{CallKind, Observer};
use crate::program::Step;
use crate::store::Moment;
use crate::store::memory::Table;
use crate::strategy::{validate_cost, validate_units};

/// Limits each key by a strategy, and keeps a state only for keys that are used much.
///
/// A key without a state is judged by what a sketch counted of it: as if it were new and had spent that much just now. Once
/// that passes the [threshold](ScreenedBuilder::threshold), the key gets a state in a [`Table`], in which those units are
/// spent, and is limited exactly from then on. A state that expired makes room, and its key is judged by the sketch again.
///
/// - **It never admits more** than the strategy alone would: an estimate is never below the truth, and spending later is
///   stricter (see [`Carry`]).
/// - **It may deny early** a key without a state: by at most `epsilon * N` units with a probability of at least
///   `1 - delta`, where N is what the key's [shard](ScreenedBuilder::shards) admitted to such keys in the windows that it
///   counts, and by what the key itself spent in the last one and a half times the strategy's memory instead of
///   the last one. For strategies with aligned windows the second part is nothing. A cost that is not whole counts as
///   the next whole one.
/// - **A flood of new keys** takes constant memory and evicts nothing: a key gets a state only if it is used, within one
///   window, more than the threshold and what the sketch shows on average; and only if there is room. States are never
///   evicted while they are live.
///
/// ```
/// use throttlekit::sketch::Screened;
/// use throttlekit::{Gcra, ManualClock};
///
/// let gcra = Gcra::builder().limit(10.0).period_ms(60_000.0).burst(10.0).build()?;
/// let limiter = Screened::builder(gcra).threshold(3.0).clock(ManualClock::new(0.0)).build()?;
/// for id in 0..1_000 {
///     assert!(limiter.check(&format!("flood-{id}"))?.allowed);
/// }
/// assert_eq!(limiter.stats().exact_keys, 0);
///
/// let allowed = (0..20).filter(|_| limiter.check("user-1").is_ok_and(|decision| decision.allowed)).count();
/// assert_eq!((allowed, limiter.stats().exact_keys), (10, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It is for one process: other processes do not see what a sketch counted here. There is no reset of one key.
///
/// A check of a key with a state is that of a [`Limiter`](crate::Limiter) in memory. Checks of other keys exclude each other
/// within a shard. A clone is a handle to the same keys.
pub struct Screened<S: Carry, C = SystemClock, O = ()> {
    core: Arc<Core<S>>,
    clock: C,
    watch: Watch<O>,
}

struct Core<S: Carry> {
    known: Known<S>,
    limit: f64,
    threshold: f64,
    accuracy: Accuracy,
    /// The length of a part, where windows do not end for all keys at once.
    part_ms: f64,
    parts: usize,
    columns: Columns,
    shards: Box<[Shard]>,
    table: Table<S::State>,
    max_keys: usize,
    /// The shard of the table where room is looked for next.
    hand: AtomicUsize,
    /// The latest instant of all checks. None is judged at an earlier one: another thread, which read the clock later, may
    /// have taken a state away that had expired by then and by an earlier instant had not.
    latest: Latest,
    crowded: AtomicU64,
}

/// An instant that only grows, in whole milliseconds.
struct Latest(AtomicI64);

impl Clock for Latest {
    #[allow(clippy::cast_precision_loss)] // whole milliseconds
    fn now_ms(&self) -> f64 {
        self.0.load(Ordering::Acquire) as f64
    }
}

/// The keys without states are divided among these.
struct Shard {
    windows: Mutex<Windows>,
    /// How many of its keys got states. It changes under the lock only.
    adopted: AtomicU64,
}

/// What a [`Screened`] limiter did, from [`Screened::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScreenStats {
    /// Keys with a state, those included that have expired and whose room was not used again yet.
    pub exact_keys: usize,
    /// How often a key got a state.
    pub adopted: u64,
    /// Checks of keys that should have got a state and found no room. They were judged by the sketch.
    pub crowded: u64,
}

impl<S: Carry> Screened<S> {
    /// With the defaults of the [builder](Self::builder).
    ///
    /// # Errors
    ///
    /// As [`ScreenedBuilder::build`].
    pub fn new(strategy: S) -> Result<Self, BuildError> {
        Self::builder(strategy).build()
    }

    /// Starts with the system clock, and room for a million keys with a state.
    pub fn builder(strategy: S) -> ScreenedBuilder<S> {
        ScreenedBuilder::new(strategy)
    }
}

impl<S: Carry, C, O> Screened<S, C, O> {
    /// The strategy.
    pub fn strategy(&self) -> &S {
        &self.core.known.0
    }

    /// The clock.
    pub fn clock(&self) -> &C {
        &self.clock
    }

    /// The name that its events carry.
    pub fn name(&self) -> &str {
        self.watch.policy()
    }

    /// The bytes that all sketches take, however many keys there are.
    pub fn sketch_bytes(&self) -> usize {
        self.core.accuracy.bytes() * self.core.parts * self.core.shards.len()
    }

    /// How many keys have states, how many got one, and how often there was no room.
    pub fn stats(&self) -> ScreenStats {
        ScreenStats {
            exact_keys: self.core.table.len(),
            adopted: self.core.shards.iter().map(|shard| shard.adopted.load(Ordering::Relaxed)).sum(),
            crowded: self.core.crowded.load(Ordering::Relaxed),
        }
    }
}

/// A limiter whose observer came later.
type Observed<S> = Screened<S, Arc<dyn Clock>, Arc<dyn Observer>>;

impl<S: Carry, C: Clock, O: Observer> Screened<S, C, O> {
    /// A handle to the same keys that tells `observer`; `None` if it has an observer.
    fn told_to(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Observed<S>> {
        let (core, watch) = (Arc::clone(&self.core), self.watch.told_to(observer)?);
        Some(Screened { core, clock: clock_of(self, Self::clock), watch })
    }

    /// Whether `key` has a state that counts.
    pub fn is_exact(&self, key: &str) -> bool {
        self.core.table.contains(key, self.clock.now_ms())
    }

    /// Takes one unit from `key`, if it is there.
    ///
    /// # Errors
    ///
    /// As [`check_cost`](Self::check_cost).
    #[inline]
    pub fn check(&self, key: &str) -> Result<Decision, Error> {
        self.check_cost(key, 1.0)
    }

    /// Takes `cost` units from `key`, all or none. A cost above the ceiling is legal, and always denied.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `cost` is not finite, not above 0 or above 2^53 - 1, or one that the strategy cannot count.
    #[inline]
    pub fn check_cost(&self, key: &str, cost: f64) -> Result<Decision, Error> {
        self.decide(&Ask::new(key).cost(cost), CallKind::CheckSync)
    }

    /// What [`check`](Self::check) would find, without taking anything. A denial's wait is at least 1 ms.
    ///
    /// # Errors
    ///
    /// None.
    pub fn peek(&self, key: &str) -> Result<Decision, Error> {
        self.core.peek(key, self.clock.now_ms())
    }

    /// How often `cost` fits into `key` right now, and when capacity comes back. Takes nothing.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `cost` is not finite, not above 0 or above 2^53 - 1, or no whole number where the strategy counts
    /// [no others](crate::Strategy::WHOLE_UNITS).
    pub fn forecast(&self, key: &str, cost: f64) -> Result<Forecast, Error> {
        self.core.forecast(key, validate_units::<S>(cost)?, self.clock.now_ms())
    }

    /// The one path of a check, of the key and the cost of `ask`.
    #[inline]
    fn decide(&self, ask: &Ask<'_>, kind: CallKind) -> Result<Decision, Error> {
        let Ask { key, cost, .. } = *ask;
        if let Err(error) = validate_units::<S>(cost) {
            return Err(self.watch.refuse(key, kind, cost, || self.clock.now_ms(), error));
        }
        let begun = self.watch.begin().of(ask);
        let made = Made { kind, cost, now_ms: self.clock.now_ms(), begun, local: false };
        let result = self.core.check(key, cost, made.now_ms);
        self.watch.tell(key, made, &result);
        result
    }

    fn decide_many(&self, keys: &[&str], cost: f64) -> Result<Vec<Decision>, Error> {
        let kind = CallKind::CheckMany;
        if let Err(error) = validate_cost(cost) {
            return Err(self.watch.refuse("", kind, cost, || self.clock.now_ms(), error));
        }
        let begun = self.watch.begin();
        let made = Made { kind, cost, now_ms: self.clock.now_ms(), begun, local: false };
        let result = keys.iter().map(|key| self.core.check(key, cost, made.now_ms)).collect();
        self.watch.tell_many(keys, made, &result);
        result
    }
}

impl<S: Carry> Core<S> {
    fn strategy(&self) -> &S {
        &self.known.0
    }

    #[inline]
    fn check(&self, key: &str, cost: f64, now_ms: f64) -> Result<Decision, Error> {
        let now_ms = self.advance(now_ms);
        let mark = self.columns.mark(key);
        let shard = &self.shards[self.columns.shard(mark, self.shards.len())];
        let seen = shard.adopted.load(Ordering::Acquire);
        match self.known(key, cost, now_ms)? {
            Some(decision) => Ok(decision),
            None => self.screen(key, mark, (shard, seen), cost, now_ms),
        }
    }

    /// The check of a key that has a state, by the latest instant of all if it is ahead.
    #[inline(always)]
    fn known(&self, key: &str, cost: f64, now_ms: f64) -> Result<Option<Decision>, Error> {
        let mut at = Moment::of(now_ms, &self.latest);
        self.table.apply_at(key, fingerprint::Mark::default(), &mut at, &self.known, &cost)
    }

    /// The check of a key that had no state when its shard had given out `seen` states.
    #[inline(never)]
    fn screen(
        &self,
        key: &str,
        mark: Mark<'_>,
        (shard, seen): (&Shard, u64),
        cost: f64,
        now_ms: f64,
    ) -> Result<Decision, Error> {
        let mut windows = lock(&shard.windows);
        if shard.adopted.load(Ordering::Relaxed) != seen {
            // The key may have got one meanwhile, and units spent beside it would be lost.
            if let Some(decision) = self.known(key, cost, now_ms)? {
                return Ok(decision);
            }
        }
        let now_ms = self.enter(&mut windows, now_ms);
        let units = windows.estimate(&self.columns, mark);
        #[allow(clippy::cast_precision_loss)] // a few times 2^32
        let spent = units as f64;
        let passes = spent + cost > self.threshold + windows.noise();
        // What never fits needs no state.
        let fits = cost <= self.limit;
        if passes && fits && self.has_room(now_ms) {
            return self.adopt(key, (shard, windows), spent, cost, now_ms);
        }
        let judged = spent + cost;
        match self.strategy().step(None, now_ms, &judged) {
            Step::Write { outcome, .. } => {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at most the limit, and whole
                windows.add(&self.columns, mark, ceil_f64(cost) as u64);
                Ok(self.strategy().reply(now_ms, &judged, outcome))
            }
            Step::Keep(outcome) | Step::Remove(outcome) => {
                let decision = self.strategy().reply(now_ms, &judged, outcome);
                let room_ms = windows.room_ms(&self.columns, mark, cost, self.limit);
                Ok(Decision {
                    // The strategy saw a key that has spent nothing yet.
                    remaining: decision.remaining.saturating_sub(units),
                    reset_at_ms: reset(&windows, units, decision.reset_at_ms),
                    retry_after_ms: decision.retry_after_ms.max(ceil_wait(room_ms - now_ms)),
                    ..decision
                })
            }
            Step::Fail(error) => Err(error),
        }
    }

    /// Gives a key a state in which `spent` units are spent.
    fn adopt(
        &self,
        key: &str,
        (shard, windows): (&Shard, MutexGuard<'_, Windows>),
        spent: f64,
        cost: f64,
        now_ms: f64,
    ) -> Result<Decision, Error> {
        let program = Adopt { strategy: self.strategy().clone(), spent };
        let (decision, stored) = self.table.apply(key, now_ms, &program, &cost)?;
        shard.adopted.fetch_add(u64::from(stored), Ordering::Release);
        drop(windows);
        Ok(decision)
    }

    /// Whether one more state fits without a live one going.
    fn has_room(&self, now_ms: f64) -> bool {
        if self.table.len() < self.max_keys {
            return true;
        }
        self.table.free_expired(self.hand.fetch_add(1, Ordering::Relaxed), now_ms);
        let room = self.table.len() < self.max_keys;
        if !room {
            self.crowded.fetch_add(1, Ordering::Relaxed);
        }
        room
    }

    /// The instant to judge by: now, or the latest of another thread. It is published before any state is taken away as of it.
    #[inline]
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // whole milliseconds; saturates
    fn advance(&self, now_ms: f64) -> f64 {
        let now = now_ms as i64;
        let mut latest = self.latest.0.load(Ordering::Acquire);
        if latest < now {
            latest = self.latest.0.fetch_max(now, Ordering::AcqRel);
        }
        if latest > now { latest as f64 } else { now_ms }
    }

    /// Goes on to the window of `now_ms`; the instant to judge by.
    #[inline]
    fn enter(&self, windows: &mut Windows, now_ms: f64) -> f64 {
        let now_ms = self.advance(now_ms);
        windows.enter(now_ms, |now_ms| match self.strategy().window_end_ms(now_ms) {
            Some(end_ms) => Part { start_ms: now_ms, end_ms },
            None => Part::of(now_ms, self.part_ms),
        });
        now_ms
    }

    /// Looks at a key that has no state: what the sketch shows of it.
    fn look<T>(&self, key: &str, now_ms: f64, look: impl FnOnce(&Windows, Mark<'_>, u64, f64) -> T) -> T {
        let mark = self.columns.mark(key);
        let mut windows = lock(&self.shards[self.columns.shard(mark, self.shards.len())].windows);
        let now_ms = self.enter(&mut windows, now_ms);
        let units = windows.estimate(&self.columns, mark);
        look(&windows, mark, units, now_ms)
    }

    fn peek(&self, key: &str, now_ms: f64) -> Result<Decision, Error> {
        if let Some(decision) = self.table.apply(key, now_ms, &PeekKnown(self.strategy().clone()), &())? {
            return Ok(decision);
        }
        Ok(self.look(key, now_ms, |windows, mark, units, now_ms| {
            let fresh = self.strategy().peek(None, now_ms);
            let remaining = fresh.remaining.saturating_sub(units);
            let allowed = fresh.allowed && remaining > 0;
            let room_ms = windows.room_ms(&self.columns, mark, 1.0, self.limit);
            let wait_ms = if allowed { 0 } else { ceil_wait(room_ms - now_ms).max(1) };
            Decision {
                allowed,
                remaining,
                reset_at_ms: reset(windows, units, fresh.reset_at_ms),
                retry_after_ms: wait_ms,
                ..fresh
            }
        }))
    }

    fn forecast(&self, key: &str, cost: f64, now_ms: f64) -> Result<Forecast, Error> {
        if let Some(forecast) = self.table.apply(key, now_ms, &AheadKnown(self.strategy().clone()), &cost)? {
            return Ok(forecast);
        }
        Ok(self.look(key, now_ms, |windows, _, units, now_ms| {
            let fresh = self.strategy().forecast(None, now_ms, cost);
            if units == 0 {
                return fresh;
            }
            #[allow(clippy::cast_precision_loss)] // a few times 2^32
            Forecast {
                spendable_now: floor_units((self.limit - units as f64) / cost).min(fresh.spendable_now),
                next_replenish_at_ms: ceil_ms(windows.end_ms()),
                full_at_ms: ceil_ms(windows.forgotten_ms()),
            }
        }))
    }
}

/// When a key without a state is fully replenished, of which the sketch shows `units`.
fn reset(windows: &Windows, units: u64, reset_at_ms: i64) -> i64 {
    if units == 0 { reset_at_ms } else { reset_at_ms.max(ceil_ms(windows.forgotten_ms())) }
}

impl<S: Carry, C: Clone, O: Clone> Clone for Screened<S, C, O> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), clock: self.clock.clone(), watch: self.watch.clone() }
    }
}

impl<S: Carry + fmt::Debug, C, O> fmt::Debug for Screened<S, C, O> {
    /// Shows neither keys nor the seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screened")
            .field("name", &self.name())
            .field("strategy", self.strategy())
            .field("threshold", &self.core.threshold)
            .field("accuracy", &self.core.accuracy)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, TokenBucket};

    #[test]
    fn a_state_that_is_ahead_is_judged_by_the_latest_instant() {
        let clock = ManualClock::new(1_000.0);
        let bucket = TokenBucket::builder().capacity(4.0).refill_per_sec(2_000.0).build().unwrap();
        let limiter = Screened::builder(bucket).threshold(1.0).clock(clock.clone()).build().unwrap();
        while limiter.check("k").unwrap().allowed {}
        clock.advance(1.0);
        assert!(limiter.check("k").unwrap().allowed);
        // Two tokens have come back. Another thread takes the second one at the instant that it found before.
        assert!(limiter.core.known("k", 1.0, 1_000.0).unwrap().unwrap().allowed);
        assert!(!limiter.check("k").unwrap().allowed);
    }
}
