//! Settings of analytics.

use std::sync::{Arc, Mutex, OnceLock};

use super::admissions::{AdmissionAnalytics, AdmissionCounts};
use super::counts::{Counts, Part, Parts};
use super::decisions::Analytics;
use super::space_saving::SpaceSaving;
use crate::clock::{Clock, SystemClock};
use crate::error::BuildError;
use crate::observe::window;

/// Settings of an [`Analytics`] or an [`AdmissionAnalytics`]; from [`Analytics::builder`].
///
/// ```
/// use throttlekit::analytics::Analytics;
///
/// let error = Analytics::builder().top_k(0).build().unwrap_err();
/// assert_eq!(error.to_string(), "analytics.topK is 0: must be a whole number from 1 to 1,000,000");
/// ```
#[derive(Clone, Debug)]
#[must_use = "settings count nothing until they are built"]
pub struct AnalyticsBuilder<C = SystemClock> {
    top_k: usize,
    window_ms: f64,
    weighted: bool,
    shards: usize,
    clock: C,
    trusts_decisions: bool,
}

impl AnalyticsBuilder {
    pub(super) fn new() -> Self {
        let clock = SystemClock::new();
        Self { top_k: 10, window_ms: 60_000.0, weighted: false, shards: 1, clock, trusts_decisions: true }
    }
}

impl<C> AnalyticsBuilder<C> {
    /// How many of the heaviest keys are told, 1 to 1,000,000. Default: 10.
    ///
    /// Each place in a list takes about 170 bytes (of up to 16, about 70) and the text of its key, of which at most 512 bytes
    /// are kept. Counts are off by at most the decisions in the window divided by this number.
    pub fn top_k(mut self, top_k: usize) -> Self {
        self.top_k = top_k;
        self
    }

    /// The length of a window in milliseconds, above 0. Default: 60,000.
    pub fn window_ms(mut self, window_ms: f64) -> Self {
        self.window_ms = window_ms;
        self
    }

    /// Whether the lists count what decisions cost instead of the decisions. Default: no.
    pub fn weighted(mut self, weighted: bool) -> Self {
        self.weighted = weighted;
        self
    }

    /// Into how many parts the keys are split, each with a lock and lists of its own, 1 to 1,024, rounded up to a power
    /// of two. Default: 1.
    ///
    /// More parts let more threads count at the same time, and take as many times the memory. The bounds of the counts
    /// hold as before. Which of several keys of equal count is forgotten then depends on how keys fall into the parts.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// Where the time comes from, read once for each decision. By default a decision counts at the time that its limiter
    /// has read, as long as that is in the window, and a [`SystemClock`] says when the window is over.
    pub fn clock<D: Clock>(self, clock: D) -> AnalyticsBuilder<D> {
        let Self { top_k, window_ms, weighted, shards, .. } = self;
        AnalyticsBuilder { top_k, window_ms, weighted, shards, clock, trusts_decisions: false }
    }

    /// Makes one that counts decisions.
    ///
    /// # Errors
    ///
    /// `analytics.topK`, `analytics.windowMs` or `analytics.shards` if it is out of its range.
    pub fn build(self) -> Result<Analytics<C>, BuildError> {
        Ok(Analytics { parts: Arc::new(self.parts(Counts::new)?) })
    }

    /// Makes one that counts admissions, by what denied them.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn build_for_admissions(self) -> Result<AdmissionAnalytics<C>, BuildError> {
        Ok(AdmissionAnalytics { parts: Arc::new(self.parts(AdmissionCounts::new)?) })
    }

    fn parts<P>(self, part: impl Fn(f64, &SpaceSaving) -> P) -> Result<Parts<C, P>, BuildError> {
        const MAX_SHARDS: usize = 1_024;
        let Self { top_k, weighted, shards, clock, trusts_decisions, .. } = self;
        let window_ms = window::validate("analytics.windowMs", self.window_ms)?;
        if !(1..=MAX_SHARDS).contains(&shards) {
            return Err(BuildError::new("analytics.shards", shards, "must be a whole number from 1 to 1,024"));
        }
        let list = SpaceSaving::named("analytics.topK", top_k)?;
        let part = |_| Mutex::new(Part(part(window_ms, &list)));
        let all = (0..shards.next_power_of_two()).map(part).collect();
        Ok(Parts { clock, trusts_decisions, weighted, window_ms, top_k, secret: OnceLock::new(), all })
    }
}
