//! The builder of a limiter over a sketch.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::{Core, SketchLimiter};
use crate::clock::{Clock, SystemClock};
use crate::error::BuildError;
use crate::limiter::Watch;
use crate::observe::Observer;
use crate::sketch::hash::Columns;
use crate::sketch::windows::Windows;
use crate::sketch::{Accuracy, MAX_LIMIT, SketchHash, fits, shards};
use crate::strategy::options::{at_most, positive, window, window_setters};

/// The parts of a sliding window.
const HALVES: usize = 2;

/// Builds a [`SketchLimiter`]; from [`SketchLimiter::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct SketchLimiterBuilder<C = SystemClock, O = ()> {
    limit: Option<f64>,
    window_ms: Option<f64>,
    sliding: bool,
    accuracy: Accuracy,
    conservative: bool,
    hash: Option<SketchHash>,
    shards: usize,
    clock: C,
    observer: O,
    name: Option<Arc<str>>,
}

/// What was given, checked.
struct Terms {
    limit: f64,
    window_ms: f64,
    shards: usize,
    parts: usize,
    part_ms: f64,
}

impl SketchLimiterBuilder {
    pub(super) fn new() -> Self {
        Self {
            limit: None,
            window_ms: None,
            sliding: false,
            accuracy: Accuracy::default(),
            conservative: true,
            hash: None,
            shards: 1,
            clock: SystemClock::new(),
            observer: (),
            name: None,
        }
    }
}

impl<C, O> SketchLimiterBuilder<C, O> {
    /// Units per window, above 0 and at most 2^32 - 1, where counters end; may be fractional. Required.
    pub fn limit(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }

    window_setters!(window_ms);

    /// Counts half windows, and what was admitted in the current one and the two before it: no span of the window's length
    /// sees more than the limit. What is counted stays for up to one and a half windows. Takes three sketches instead of
    /// one. Default: no.
    pub fn sliding(mut self) -> Self {
        self.sliding = true;
        self
    }

    /// The size of each sketch. Default: an epsilon of 0.01 and a delta of 0.001.
    pub fn accuracy(mut self, accuracy: Accuracy) -> Self {
        self.accuracy = accuracy;
        self
    }

    /// Whether counters are raised no further than a key needs, which denies fewer requests early. Default: yes.
    pub fn conservative(mut self, conservative: bool) -> Self {
        self.conservative = conservative;
        self
    }

    /// The function that places keys, for runs that must repeat. Default: [`SketchHash::random`], as it must be wherever
    /// keys come from strangers.
    pub fn hash(mut self, hash: SketchHash) -> Self {
        self.hash = Some(hash);
        self
    }

    /// The number of shards, 1 to 1,024, rounded up to a power of two. Keys are divided among them, and each has sketches
    /// of the whole size, so they admit less each and deny less early. Default: 1.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// Where the time comes from. The default is a new [`SystemClock`].
    pub fn clock<D: Clock>(self, clock: D) -> SketchLimiterBuilder<D, O> {
        let Self { limit, window_ms, sliding, accuracy, conservative, hash, shards, clock: _, observer, name } = self;
        SketchLimiterBuilder { limit, window_ms, sliding, accuracy, conservative, hash, shards, clock, observer, name }
    }

    /// Who sees each decision.
    pub fn observer<P: Observer + Clone>(self, observer: P) -> SketchLimiterBuilder<C, P> {
        let Self { limit, window_ms, sliding, accuracy, conservative, hash, shards, clock, observer: _, name } = self;
        SketchLimiterBuilder { limit, window_ms, sliding, accuracy, conservative, hash, shards, clock, observer, name }
    }

    /// The name that its events carry. The default is `sketch`.
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
        let limit = at_most("sketch.limit", positive("sketch.limit", self.limit)?, MAX_LIMIT)?;
        let window_ms = window("sketch.windowMs", self.window_ms)?;
        let shards = shards("sketch.shards", self.shards)?;
        // A span of the window's length touches as many parts as it has, and one more.
        #[allow(clippy::cast_precision_loss)] // two
        let (parts, part_ms) = if self.sliding { (HALVES + 1, window_ms / HALVES as f64) } else { (1, window_ms) };
        fits(self.accuracy, parts * shards)?;
        Ok(Terms { limit, window_ms, shards, parts, part_ms })
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// `sketch.limit`, `sketch.windowMs` or `sketch.shards` if it is missing or out of its range, `sketch.counters` if
    /// all sketches together take more than [`MAX_COUNTERS`](Accuracy::MAX_COUNTERS).
    pub fn build(self) -> Result<SketchLimiter<C, O>, BuildError> {
        let Terms { limit, window_ms, shards, parts, part_ms } = self.terms()?;
        let accuracy = self.accuracy;
        let shard = |_| Mutex::new(Windows::new(accuracy, parts, self.conservative));
        let core = Core {
            limit,
            window_ms,
            part_ms,
            parts,
            accuracy,
            columns: Columns::new(self.hash.unwrap_or_else(SketchHash::random), accuracy),
            shards: (0..shards).map(shard).collect(),
        };
        let watch = Watch::new(self.observer, self.name, super::dynamic::NAME);
        Ok(SketchLimiter { core: Arc::new(core), clock: self.clock, watch })
    }
}

impl<C, O> fmt::Debug for SketchLimiterBuilder<C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SketchLimiterBuilder")
            .field("limit", &self.limit)
            .field("window_ms", &self.window_ms)
            .field("sliding", &self.sliding)
            .field("accuracy", &self.accuracy)
            .field("shards", &self.shards)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
