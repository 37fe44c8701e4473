//! The builder of a limiter behind a sketch.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};

use super::{Carry, Core, Known, Latest, MAX_LIMIT, Screened, Shard};
use crate::clock::{Clock, SystemClock};
use crate::error::BuildError;
use crate::limiter::Watch;
use crate::observe::Observer;
use crate::sketch::hash::Columns;
use crate::sketch::windows::Windows;
use crate::sketch::{Accuracy, SketchHash, fits, shards};
use crate::store::memory::{DEFAULT_MAX_KEYS, Table, TableBuilder};

/// The parts that the memory of a strategy is counted in. A span of its length touches one more.
const HALVES: usize = 2;

/// Builds a [`Screened`] limiter; from [`Screened::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct ScreenedBuilder<S, C = SystemClock, O = ()> {
    strategy: S,
    threshold: Option<f64>,
    accuracy: Accuracy,
    max_keys: usize,
    shards: usize,
    hash: Option<SketchHash>,
    clock: C,
    observer: O,
    name: Option<Arc<str>>,
}

/// What was given, checked.
struct Terms {
    limit: f64,
    threshold: f64,
    shards: usize,
    /// The most states.
    bound: usize,
    parts: usize,
}

impl<S: Carry> ScreenedBuilder<S> {
    /// The size of the sketches unless it is told otherwise.
    const ACCURACY: (f64, f64) = (0.001, 0.01);
    /// The shards unless it is told otherwise.
    const SHARDS: usize = 8;

    pub(super) fn new(strategy: S) -> Self {
        let (epsilon, delta) = Self::ACCURACY;
        Self {
            strategy,
            threshold: None,
            accuracy: Accuracy::new(epsilon, delta).unwrap_or_default(),
            max_keys: DEFAULT_MAX_KEYS,
            shards: Self::SHARDS,
            hash: None,
            clock: SystemClock::new(),
            observer: (),
            name: None,
        }
    }
}

impl<S: Carry, C, O> ScreenedBuilder<S, C, O> {
    /// The units that a key has to ask for within one window to get a state: more than this and what the sketch shows on average.
    /// Above 0 and at most the strategy's limit. Default: half the limit, at least 1.
    ///
    /// The lower, the more keys are limited exactly, and the more states there are.
    pub fn threshold(mut self, units: f64) -> Self {
        self.threshold = Some(units);
        self
    }

    /// The size of each sketch. Default: an epsilon of 0.001 and a delta of 0.01, 54,380 bytes.
    ///
    /// New keys pass as long as `epsilon * N` is well below the limit, where N is what a shard admits to keys without a
    /// state in one window.
    pub fn accuracy(mut self, accuracy: Accuracy) -> Self {
        self.accuracy = accuracy;
        self
    }

    /// The most keys with a state, 1 to 2^32. Default: a million.
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// The number of shards of the sketch, 1 to 1,024, rounded up to a power of two; each has sketches of the whole size:
    /// one, or three if the strategy has no windows that end for all keys at once. Default: 8.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// The function that places keys in sketches, for runs that must repeat. Default: [`SketchHash::random`].
    pub fn hash(mut self, hash: SketchHash) -> Self {
        self.hash = Some(hash);
        self
    }

    /// Where the time comes from. The default is a new [`SystemClock`].
    pub fn clock<D: Clock>(self, clock: D) -> ScreenedBuilder<S, D, O> {
        let Self { strategy, threshold, accuracy, max_keys, shards, hash, clock: _, observer, name } = self;
        ScreenedBuilder { strategy, threshold, accuracy, max_keys, shards, hash, clock, observer, name }
    }

    /// Who sees each decision.
    pub fn observer<P: Observer + Clone>(self, observer: P) -> ScreenedBuilder<S, C, P> {
        let Self { strategy, threshold, accuracy, max_keys, shards, hash, clock, observer: _, name } = self;
        ScreenedBuilder { strategy, threshold, accuracy, max_keys, shards, hash, clock, observer, name }
    }

    /// The name that its events carry. The default is the name of the strategy.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether it can be built, without the memory that it takes.
    #[cfg(feature = "config")]
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        self.terms().map(|_| ())
    }

    fn terms(&self) -> Result<Terms, BuildError> {
        #[allow(clippy::cast_precision_loss)] // checked below: exact up to 2^32
        let limit = self.strategy.limit() as f64;
        if !(1.0..=MAX_LIMIT).contains(&limit) {
            return Err(BuildError::new(
                "screen.limit",
                limit,
                format!("must be from 1 to {MAX_LIMIT} behind a sketch"),
            ));
        }
        let threshold = self.threshold.unwrap_or_else(|| (limit / 2.0).max(1.0));
        if !(threshold > 0.0 && threshold <= limit) {
            let allowed = format!("must be above 0 and at most the limit, {limit}");
            return Err(BuildError::new("screen.threshold", threshold, allowed));
        }
        let shards = shards("screen.shards", self.shards)?;
        // One state for each shard may be on its way in when the room is counted.
        let bound = self.max_keys.saturating_add(shards);
        if self.max_keys == 0 || bound as u64 > TableBuilder::MAX_KEYS {
            let allowed = format!("must be a whole number from 1 to 2^32 - {shards}");
            return Err(BuildError::new("screen.maxKeys", self.max_keys, allowed));
        }
        let aligned = self.strategy.window_end_ms(0.0).is_some();
        let parts = if aligned { 1 } else { HALVES + 1 };
        fits(self.accuracy, parts * shards)?;
        Ok(Terms { limit, threshold, shards, bound, parts })
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// `screen.threshold`, `screen.maxKeys` or `screen.shards` if it is out of its range; `screen.limit` if the strategy's limit
    /// is 0 or above 2^32 - 1, where the counters of a sketch end; `sketch.counters` if all sketches together take more than
    /// [`MAX_COUNTERS`](Accuracy::MAX_COUNTERS).
    pub fn build(self) -> Result<Screened<S, C, O>, BuildError> {
        let Terms { limit, threshold, shards, bound, parts } = self.terms()?;
        #[allow(clippy::cast_precision_loss)] // two
        let part_ms = (self.strategy.ttl_ms() / HALVES as f64).max(1.0);
        let accuracy = self.accuracy;
        let shard = |_| Shard { windows: Mutex::new(Windows::new(accuracy, parts, true)), adopted: AtomicU64::new(0) };
        let watch = Watch::new(self.observer, self.name, self.strategy.name());
        let core = Core {
            known: Known(self.strategy),
            limit,
            threshold,
            accuracy,
            part_ms,
            parts,
            columns: Columns::new(self.hash.unwrap_or_else(SketchHash::random), accuracy),
            shards: (0..shards).map(shard).collect(),
            table: Table::bounded(bound)?,
            max_keys: self.max_keys,
            hand: AtomicUsize::new(0),
            latest: Latest(AtomicI64::new(i64::MIN)),
            crowded: AtomicU64::new(0),
        };
        Ok(Screened { core: Arc::new(core), clock: self.clock, watch })
    }
}

impl<S: fmt::Debug, C, O> fmt::Debug for ScreenedBuilder<S, C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScreenedBuilder")
            .field("strategy", &self.strategy)
            .field("threshold", &self.threshold)
            .field("accuracy", &self.accuracy)
            .field("max_keys", &self.max_keys)
            .field("shards", &self.shards)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
