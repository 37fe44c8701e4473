//! The limiter over a sketch.

mod builder;
mod dynamic;

use std::fmt;
use std::sync::{Arc, Mutex};

pub use builder::SketchLimiterBuilder;

use super::Accuracy;
use super::hash::Columns;
use super::windows::{Part, Windows, lock};
use crate::admit::Ask;
use crate::clock::{Clock, SystemClock, clock_of};
use crate::decision::{Decision, Forecast, ceil_ms, ceil_wait, floor_units};
use crate::error::{BuildError, Error};
use crate::limiter::{Made, Watch};
use crate::observe::{CallKind, Observer};
use crate::strategy::validate_cost;

/// Limits any number of keys by window, in constant memory.
///
/// It never admits more than the limit. It may deny early: in a window in which it admitted N units in all, a key is
/// denied at more than `epsilon * N` units below the limit with a probability of at most `delta`
/// (see [`Accuracy`]). With several [shards](SketchLimiterBuilder::shards) N is what the key's shard admitted.
///
/// Windows are aligned to the epoch, as those of [`FixedWindow`](crate::FixedWindow): up to twice the limit passes in
/// a span that crosses a boundary. With [`sliding`](SketchLimiterBuilder::sliding) no span of the window's length sees more than the limit.
///
/// Costs are whole numbers. A denial takes nothing, and nothing of a key's text is kept. There is no reset of one key:
/// what was counted stays until its window is over.
///
/// ```
/// use throttlekit::ManualClock;
/// use throttlekit::sketch::SketchLimiter;
///
/// let clock = ManualClock::new(0.0);
/// let limiter = SketchLimiter::builder().limit(2.0).window_ms(1_000.0).clock(clock.clone()).build()?;
/// assert_eq!(limiter.check("10.0.0.1")?.remaining, 1);
/// assert_eq!(limiter.check("10.0.0.1")?.remaining, 0);
/// assert_eq!(limiter.check("10.0.0.1")?.retry_after_ms, 1_000);
/// clock.advance(1_000.0);
/// assert!(limiter.check("10.0.0.1")?.allowed);
/// assert_eq!(limiter.capacity(), 1_904);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A clone is a handle to the same counters. Checks of keys of one shard exclude each other for the time of one check; a
/// turn of the window clears one sketch meanwhile, which takes as long as clearing its bytes.
pub struct SketchLimiter<C = SystemClock, O = ()> {
    core: Arc<Core>,
    clock: C,
    watch: Watch<O>,
}

struct Core {
    limit: f64,
    window_ms: f64,
    part_ms: f64,
    parts: usize,
    accuracy: Accuracy,
    columns: Columns,
    shards: Box<[Mutex<Windows>]>,
}

impl SketchLimiter {
    /// At most `limit` units in each window of `window_ms`, with the default accuracy.
    ///
    /// # Errors
    ///
    /// `sketch.limit` or `sketch.windowMs` if it is out of its range.
    pub fn new(limit: f64, window_ms: f64) -> Result<Self, BuildError> {
        Self::builder().limit(limit).window_ms(window_ms).build()
    }

    /// A builder without limit and window.
    pub fn builder() -> SketchLimiterBuilder {
        SketchLimiterBuilder::new()
    }
}

impl<C, O> SketchLimiter<C, O> {
    /// The clock.
    pub fn clock(&self) -> &C {
        &self.clock
    }

    /// The name that its events carry.
    pub fn name(&self) -> &str {
        self.watch.policy()
    }

    /// The size of each sketch.
    pub fn accuracy(&self) -> Accuracy {
        self.core.accuracy
    }

    /// The counters of all sketches, of 4 bytes each, however many keys there are.
    pub fn capacity(&self) -> usize {
        self.core.accuracy.counters() * self.core.shards.len() * self.core.parts
    }

    /// Forgets all keys and the window.
    pub fn reset(&self) {
        self.core.shards.iter().for_each(|shard| lock(shard).clear());
    }
}

impl<C: Clock, O: Observer> SketchLimiter<C, O> {
    /// A handle to the same counters that tells `observer`; `None` if it has an observer.
    fn told_to(
        self: Arc<Self>,
        observer: &Arc<dyn Observer>,
    ) -> Option<SketchLimiter<Arc<dyn Clock>, Arc<dyn Observer>>> {
        let (core, watch) = (Arc::clone(&self.core), self.watch.told_to(observer)?);
        Some(SketchLimiter { core, clock: clock_of(self, Self::clock), watch })
    }

    /// Takes one unit from `key`, if it is there.
    ///
    /// # Errors
    ///
    /// None.
    #[inline]
    pub fn check(&self, key: &str) -> Result<Decision, Error> {
        self.check_cost(key, 1.0)
    }

    /// Takes `cost` units from `key`, all or none. A cost above the limit is legal, and always denied.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `cost` is not a whole number from 1 to 2^53 - 1.
    #[inline]
    pub fn check_cost(&self, key: &str, cost: f64) -> Result<Decision, Error> {
        self.decide(&Ask::new(key).cost(cost), CallKind::CheckSync)
    }

    /// What [`check`](Self::check) would find, without taking anything. A denial's wait is at least 1 ms.
    pub fn peek(&self, key: &str) -> Decision {
        self.core.peek(key, self.clock.now_ms())
    }

    /// How often `cost` fits into `key` right now, and when capacity comes back. Takes nothing.
    ///
    /// # Errors
    ///
    /// As [`check_cost`](Self::check_cost).
    pub fn forecast(&self, key: &str, cost: f64) -> Result<Forecast, Error> {
        Ok(self.core.forecast(key, whole(cost)?, self.clock.now_ms()))
    }

    /// The one path of a check, of the key and the cost of `ask`.
    #[inline]
    fn decide(&self, ask: &Ask<'_>, kind: CallKind) -> Result<Decision, Error> {
        let Ask { key, cost, .. } = *ask;
        if let Err(error) = whole(cost) {
            return Err(self.watch.refuse(key, kind, cost, || self.clock.now_ms(), error));
        }
        let begun = self.watch.begin().of(ask);
        let made = Made { kind, cost, now_ms: self.clock.now_ms(), begun, local: false };
        let result = Ok(self.core.check(key, cost, made.now_ms));
        self.watch.tell(key, made, &result);
        result
    }

    fn decide_many(&self, keys: &[&str], cost: f64) -> Result<Vec<Decision>, Error> {
        let kind = CallKind::CheckMany;
        if let Err(error) = whole(cost) {
            return Err(self.watch.refuse("", kind, cost, || self.clock.now_ms(), error));
        }
        let begun = self.watch.begin();
        let made = Made { kind, cost, now_ms: self.clock.now_ms(), begun, local: false };
        let result = Ok(keys.iter().map(|key| self.core.check(key, cost, made.now_ms)).collect());
        self.watch.tell_many(keys, made, &result);
        result
    }
}

impl Core {
    /// Runs `work` on the shard of a key, in the part of `now_ms`.
    #[inline(always)]
    fn with<T>(&self, key: &str, now_ms: f64, work: impl FnOnce(&mut Windows, super::hash::Mark<'_>) -> T) -> T {
        let mark = self.columns.mark(key);
        let mut windows = lock(&self.shards[self.columns.shard(mark, self.shards.len())]);
        windows.enter(now_ms, |now_ms| Part::of(now_ms, self.part_ms));
        work(&mut windows, mark)
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // below 2^33, whole
    fn check(&self, key: &str, cost: f64, now_ms: f64) -> Decision {
        self.with(key, now_ms, |windows, mark| {
            let used = windows.estimate(&self.columns, mark) as f64;
            if used + cost <= self.limit {
                windows.add(&self.columns, mark, cost as u64);
                self.decision(true, used + cost, windows.forgotten_ms(), 0)
            } else {
                let room_ms = windows.room_ms(&self.columns, mark, cost, self.limit);
                self.decision(false, used, windows.forgotten_ms(), ceil_wait(room_ms - now_ms).max(1))
            }
        })
    }

    #[allow(clippy::cast_precision_loss)] // below 2^34
    fn peek(&self, key: &str, now_ms: f64) -> Decision {
        self.with(key, now_ms, |windows, mark| {
            let used = windows.estimate(&self.columns, mark) as f64;
            let allowed = used + 1.0 <= self.limit;
            let room_ms = windows.room_ms(&self.columns, mark, 1.0, self.limit);
            let wait_ms = if allowed { 0 } else { ceil_wait(room_ms - now_ms).max(1) };
            self.decision(allowed, used, windows.forgotten_ms(), wait_ms)
        })
    }

    #[allow(clippy::cast_precision_loss)] // below 2^34
    fn forecast(&self, key: &str, cost: f64, now_ms: f64) -> Forecast {
        self.with(key, now_ms, |windows, mark| Forecast {
            spendable_now: floor_units((self.limit - windows.estimate(&self.columns, mark) as f64) / cost),
            next_replenish_at_ms: ceil_ms(windows.end_ms()),
            full_at_ms: ceil_ms(windows.forgotten_ms()),
        })
    }

    fn decision(&self, allowed: bool, used: f64, reset_ms: f64, retry_after_ms: u64) -> Decision {
        Decision {
            allowed,
            limit: floor_units(self.limit),
            remaining: floor_units(self.limit - used),
            reset_at_ms: ceil_ms(reset_ms),
            retry_after_ms,
        }
    }
}

/// A cost that whole counters can count.
#[inline]
fn whole(cost: f64) -> Result<f64, Error> {
    if validate_cost(cost)?.fract() == 0.0 { Ok(cost) } else { Err(fraction(cost)) }
}

#[cold]
fn fraction(cost: f64) -> Error {
    Error::invalid_argument(format!("cost is {cost}: must be a whole number, since a sketch counts whole units"))
}

impl<C: Clone, O: Clone> Clone for SketchLimiter<C, O> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), clock: self.clock.clone(), watch: self.watch.clone() }
    }
}

impl<C, O> fmt::Debug for SketchLimiter<C, O> {
    /// Shows neither keys nor the seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SketchLimiter")
            .field("name", &self.name())
            .field("limit", &self.core.limit)
            .field("window_ms", &self.core.window_ms)
            .field("accuracy", &self.core.accuracy)
            .finish_non_exhaustive()
    }
}
