//! Analytics of admissions: see [`AdmissionAnalytics`].

use std::fmt;
use std::sync::Arc;

use super::counts::{Counts, Parts, Snapshot, Totals};
use super::decisions::Analytics;
use super::space_saving::{Counted, SpaceSaving};
use crate::clock::{Clock, SystemClock};
use crate::fingerprint::Mark;
use crate::observe::{AdmissionEvent, Event, Lane, Observer};

/// As [`Analytics`], for whole admissions, also by the lane that denied: each denied admission has exactly one. It is the
/// [`Observer`] of a [`Unified`](crate::Unified), or counts what a [`Tap`](crate::unified::Tap) shows. A clone is a handle to
/// the same counts.
///
/// ```
/// use throttlekit::analytics::AdmissionAnalytics;
/// use throttlekit::{Admit, Ask, Gcra, Guard, Lane, Limiter, Unified};
///
/// let analytics = AdmissionAnalytics::new();
/// let unified = Unified::builder()
///     .concurrency(Guard::fixed(9)?)
///     .rate(Limiter::new(Gcra::per_hour(2)?))
///     .observer(analytics.clone())
///     .build()?;
///
/// for _ in 0..5 {
///     let _ = unified.admit(&Ask::new("user-1")).now().expect("memory does not wait")?;
/// }
/// let snapshot = analytics.snapshot();
/// assert_eq!((snapshot.overall.allowed, snapshot.overall.denied, snapshot.denied_by(Lane::Rate)), (2, 3, 3));
/// assert_eq!(snapshot.top_denied_by(Lane::Rate)[0].key, "user-1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AdmissionAnalytics<C = SystemClock> {
    pub(super) parts: Arc<Parts<C, AdmissionCounts>>,
}

/// What was counted in one window, from [`AdmissionAnalytics::snapshot`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AdmissionSnapshot {
    /// All admissions.
    pub overall: Snapshot,
    denied_by: [u64; 4],
    top_denied_by: [Vec<Counted>; 4],
}

impl AdmissionSnapshot {
    /// How many of the denied admissions `lane` denied. All lanes together denied all of them.
    pub fn denied_by(&self, lane: Lane) -> u64 {
        self.denied_by[lane as usize]
    }

    /// The keys that `lane` denied most: the greatest count first, and equal ones by key.
    pub fn top_denied_by(&self, lane: Lane) -> &[Counted] {
        &self.top_denied_by[lane as usize]
    }
}

/// What is counted of the keys of one part.
pub(super) struct AdmissionCounts {
    overall: Counts,
    /// In the order of [`Lane::ALL`].
    lanes: [(u64, SpaceSaving); 4],
}

impl AdmissionCounts {
    pub(super) fn new(window_ms: f64, list: &SpaceSaving) -> Self {
        Self { overall: Counts::new(window_ms, list), lanes: Lane::ALL.map(|_| (0, list.clone())) }
    }

    /// Goes to the window of `now_ms`.
    fn roll(&mut self, now_ms: f64) {
        if !self.overall.window.holds(now_ms) && self.overall.window.roll(now_ms) {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.overall.clear();
        for (count, keys) in &mut self.lanes {
            *count = 0;
            keys.clear();
        }
    }
}

impl AdmissionAnalytics {
    /// The ten heaviest keys, overall and of each lane, in windows of a minute.
    ///
    /// # Panics
    ///
    /// Never: the defaults are in their ranges.
    pub fn new() -> Self {
        Analytics::builder().build_for_admissions().expect("the defaults are in their ranges")
    }
}

impl Default for AdmissionAnalytics {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Clock> AdmissionAnalytics<C> {
    /// Counts an admission.
    pub fn record(&self, event: &AdmissionEvent<'_>) {
        let parts = &*self.parts;
        let (fingerprint, weight) = (parts.fingerprint(event.key(), Mark::default()), parts.weight(event.cost));
        let mut part = parts.of(fingerprint);
        let counts = &mut part.0;
        // Read under the lock: of two readings the later one must not come first.
        counts.roll(parts.clock.now_ms());
        counts.overall.count(fingerprint, event.key(), weight, event.decision.allowed);
        if let Some(lane) = event.lane() {
            let (count, keys) = &mut counts.lanes[lane as usize];
            *count += 1;
            keys.add(fingerprint, event.key(), weight);
        }
    }

    /// What was counted in the window of now.
    pub fn snapshot(&self) -> AdmissionSnapshot {
        let now_ms = self.parts.clock.now_ms();
        let mut overall = self.parts.snapshot();
        let mut denied_by = [0; 4];
        let mut top_denied_by = Lane::ALL.map(|_| Vec::new());
        for mut part in self.parts.each() {
            let counts = &mut part.0;
            counts.roll(now_ms);
            counts.overall.add_to(&mut overall);
            for ((sum, top), (count, keys)) in denied_by.iter_mut().zip(&mut top_denied_by).zip(&counts.lanes) {
                *sum += count;
                top.extend(keys.counted());
            }
        }
        AdmissionSnapshot {
            overall: self.parts.heaviest_of(overall),
            denied_by,
            top_denied_by: top_denied_by.map(|top| self.parts.heaviest(top)),
        }
    }

    /// Begins the window at 0 again. Neither the [totals](Self::totals) nor a limit are touched.
    pub fn reset(&self) {
        self.parts.each().for_each(|mut part| part.0.clear());
    }

    /// What was counted since the beginning. A [`Tap`](crate::unified::Tap) shows nothing that failed.
    pub fn totals(&self) -> Totals {
        self.parts.each().fold(Totals::default(), |sum, part| sum.plus(part.0.overall.totals))
    }
}

/// Counts admissions, and no decisions of limits that decide alone.
impl<C: Clock> Observer for AdmissionAnalytics<C> {
    fn observe(&self, event: &Event<'_>) {
        if event.result.is_err() {
            let fingerprint = self.parts.fingerprint(event.key(), event.mark);
            self.parts.of(fingerprint).0.overall.totals.failed += 1;
        }
    }

    fn admitted(&self, admission: &AdmissionEvent<'_>) {
        self.record(admission);
    }
}

impl<C> Clone for AdmissionAnalytics<C> {
    fn clone(&self) -> Self {
        Self { parts: Arc::clone(&self.parts) }
    }
}

impl<C> fmt::Debug for AdmissionAnalytics<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.describe(f, "AdmissionAnalytics")
    }
}
