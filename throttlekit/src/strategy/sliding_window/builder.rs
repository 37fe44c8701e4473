//! Building a sliding window.

use crate::error::BuildError;
use crate::strategy::options::{positive, window_setters};
use crate::strategy::sliding_window::SlidingWindow;

/// The least length of a bucket in milliseconds. At today's epoch the number of a bucket stays below 10^14, which every
/// member of the family can store exactly.
const MIN_BUCKET_MS: f64 = 0.05;

/// The most buckets unless told otherwise: a key then takes at most 16 kB.
pub(crate) const MOST_BUCKETS: u32 = 1_000;

/// The most buckets in any case.
const MOST_BUCKETS_EVER: u32 = 100_000;

/// The buckets unless told otherwise.
const BUCKETS: u32 = 10;

/// What the strategy and its options are called.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Names {
    strategy: &'static str,
    limit: &'static str,
    window_ms: &'static str,
    buckets: &'static str,
    max_buckets: &'static str,
}

const SLIDING_WINDOW: Names = Names {
    strategy: "slidingWindow",
    limit: "slidingWindow.limit",
    window_ms: "slidingWindow.windowMs",
    buckets: "slidingWindow.buckets",
    max_buckets: "slidingWindow.maxBuckets",
};

const ROLLING_QUOTA: Names = Names {
    strategy: "quota",
    limit: "quota.limit",
    window_ms: "quota.periodMs",
    buckets: "quota.buckets",
    max_buckets: "quota.maxBuckets",
};

/// Builds a [`SlidingWindow`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a builder does nothing until `build`"]
pub struct SlidingWindowBuilder {
    names: Names,
    limit: Option<f64>,
    window_ms: Option<f64>,
    buckets: u32,
    max_buckets: u32,
}

impl Default for SlidingWindowBuilder {
    fn default() -> Self {
        Self::named(SLIDING_WINDOW)
    }
}

impl SlidingWindowBuilder {
    fn named(names: Names) -> Self {
        Self { names, limit: None, window_ms: None, buckets: BUCKETS, max_buckets: MOST_BUCKETS }
    }

    pub(crate) fn rolling_quota() -> Self {
        Self::named(ROLLING_QUOTA)
    }

    /// Units per window, above 0; may be fractional. Required.
    pub fn limit(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }

    window_setters!(window_ms);

    /// Into how many buckets the window is cut, 1 to [`max_buckets`](Self::max_buckets). More are more precise; a key
    /// takes 16 bytes for each, and a check reads them all. Defaults to 10.
    pub fn buckets(mut self, buckets: u32) -> Self {
        self.buckets = buckets;
        self
    }

    /// The most buckets that are accepted, 1 to 100,000. Defaults to 1,000.
    pub fn max_buckets(mut self, max_buckets: u32) -> Self {
        self.max_buckets = max_buckets;
        self
    }

    /// The strategy.
    ///
    /// # Errors
    ///
    /// An option that is missing or out of range; limit and window may not be above 2^53 - 1, and a bucket must be at
    /// least 0.05 ms long.
    pub fn build(self) -> Result<SlidingWindow, BuildError> {
        let Self { names, buckets, max_buckets, .. } = self;
        let limit = positive(names.limit, self.limit)?;
        let window_ms = positive(names.window_ms, self.window_ms)?;
        if !(1..=MOST_BUCKETS_EVER).contains(&max_buckets) {
            let allowed = format!("must be from 1 to {MOST_BUCKETS_EVER}");
            return Err(BuildError::new(names.max_buckets, max_buckets, allowed));
        }
        if !(1..=max_buckets).contains(&buckets) {
            return Err(BuildError::new(names.buckets, buckets, format!("must be from 1 to {max_buckets}")));
        }
        let bucket_ms = window_ms / f64::from(buckets);
        if bucket_ms < MIN_BUCKET_MS {
            let allowed = format!("must leave at least {MIN_BUCKET_MS} ms to each of {buckets} buckets");
            return Err(BuildError::new(names.window_ms, window_ms, allowed));
        }
        Ok(SlidingWindow { name: names.strategy, limit, window_ms, buckets, bucket_ms })
    }
}
