//! Analytics of decisions: see [`Analytics`].

use std::fmt;
use std::sync::Arc;

use super::builder::AnalyticsBuilder;
use super::counts::{Counts, Parts, Snapshot, Totals};
use crate::clock::{Clock, SystemClock};
use crate::fingerprint::Mark;
use crate::observe::{AdmissionEvent, Event, Observer};

/// Counts the decisions of a limiter, and the keys that ask most and are denied most, in windows that are aligned to the
/// Unix epoch. When a window begins, also one in the past because a clock was set back, its counts begin at 0; what was
/// counted since the beginning is in [`totals`](Self::totals).
///
/// Each decision counts one, whatever it cost, unless [`weighted`](AnalyticsBuilder::weighted) is set. A peek or a forecast
/// counts nothing. It is the [`Observer`] of a limiter, or of several that have the same kind of key; one that admits over
/// several axes counts once for each request. A clone is a handle to the same counts.
///
/// ```
/// use throttlekit::analytics::Analytics;
/// use throttlekit::{Gcra, Limiter};
///
/// let analytics = Analytics::new();
/// let limiter = Limiter::builder(Gcra::per_hour(2)?).observer(analytics.clone()).build();
/// for key in ["flooder", "flooder", "flooder", "flooder", "alice"] {
///     limiter.check(key)?;
/// }
/// let snapshot = analytics.snapshot();
/// assert_eq!((snapshot.allowed, snapshot.denied, snapshot.deny_rate()), (3, 2, 0.4));
/// assert_eq!((snapshot.top_requested[0].key.as_str(), snapshot.top_requested[0].count), ("flooder", 4.0));
/// assert_eq!((snapshot.top_denied[0].key.as_str(), snapshot.top_denied[0].count), ("flooder", 2.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Keys are in the snapshot, and in no `Debug` output.
pub struct Analytics<C = SystemClock> {
    pub(super) parts: Arc<Parts<C, Counts>>,
}

impl Analytics {
    /// The ten heaviest keys in windows of a minute.
    ///
    /// # Panics
    ///
    /// Never: the defaults are in their ranges.
    pub fn new() -> Self {
        Self::builder().build().expect("the defaults are in their ranges")
    }

    /// Starts with what [`new`](Self::new) gives.
    pub fn builder() -> AnalyticsBuilder {
        AnalyticsBuilder::new()
    }
}

impl Default for Analytics {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Clock> Analytics<C> {
    /// Counts a decision by hand: who asked, what it cost in units, and what became of it.
    ///
    /// ```
    /// use throttlekit::analytics::Analytics;
    ///
    /// let analytics = Analytics::builder().weighted(true).build()?;
    /// analytics.record("report", 40.0, true);
    /// analytics.record("search", 1.0, true);
    /// analytics.record("search", 1.0, false);
    /// let snapshot = analytics.snapshot();
    /// assert_eq!((snapshot.total(), snapshot.top_requested[0].key.as_str()), (3, "report"));
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    pub fn record(&self, key: &str, cost: f64, allowed: bool) {
        self.count(key, Mark::default(), cost, allowed, self.parts.clock.now_ms());
    }

    /// What was counted in the window of now.
    pub fn snapshot(&self) -> Snapshot {
        let now_ms = self.parts.clock.now_ms();
        let mut snapshot = self.parts.snapshot();
        for mut part in self.parts.each() {
            let counts = &mut part.0;
            counts.roll(now_ms);
            counts.add_to(&mut snapshot);
        }
        self.parts.heaviest_of(snapshot)
    }

    /// Begins the window at 0 again. Neither the [totals](Self::totals) nor a limit are touched.
    pub fn reset(&self) {
        self.parts.each().for_each(|mut part| part.0.clear());
    }

    /// What was counted since the beginning.
    pub fn totals(&self) -> Totals {
        self.parts.each().fold(Totals::default(), |sum, part| sum.plus(part.0.totals))
    }

    /// Counts a decision of the time `now_ms`.
    #[inline]
    fn count(&self, key: &str, mark: Mark, cost: f64, allowed: bool, now_ms: f64) {
        let parts = &*self.parts;
        let (fingerprint, weight) = (parts.fingerprint(key, mark), parts.weight(cost));
        let mut part = parts.of(fingerprint);
        let counts = &mut part.0;
        if !counts.window.holds(now_ms) {
            // The decision is late, or the window over, or a clock was set: the time of now decides.
            counts.roll(parts.clock.now_ms());
        }
        counts.count(fingerprint, key, weight, allowed);
    }
}

impl<C: Clock> Observer for Analytics<C> {
    #[inline]
    fn observe(&self, event: &Event<'_>) {
        match event.result {
            Err(_) => {
                let fingerprint = self.parts.fingerprint(event.key(), event.mark);
                self.parts.of(fingerprint).0.totals.failed += 1;
            }
            // The whole request is told as well.
            Ok(_) if event.part => {}
            Ok(decision) => {
                let now_ms = if self.parts.trusts_decisions { event.now_ms } else { self.parts.clock.now_ms() };
                self.count(event.key(), event.mark, event.cost, decision.allowed, now_ms);
            }
        }
    }

    fn admitted(&self, admission: &AdmissionEvent<'_>) {
        self.record(admission.key(), admission.cost, admission.decision.allowed);
    }
}

impl Counts {
    /// Goes to the window of `now_ms`.
    #[cold]
    fn roll(&mut self, now_ms: f64) {
        if self.window.roll(now_ms) {
            self.clear();
        }
    }
}

impl<C> Clone for Analytics<C> {
    fn clone(&self) -> Self {
        Self { parts: Arc::clone(&self.parts) }
    }
}

impl<C> fmt::Debug for Analytics<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.describe(f, "Analytics")
    }
}
