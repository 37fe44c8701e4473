//! What is counted, and where: the parts that keys are split into.

use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::space_saving::{Counted, SpaceSaving, sort};
use crate::fingerprint::{HashKey, Mark};
use crate::observe::window::Window;

/// What was counted since the beginning. Never goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Decisions that allowed.
    pub allowed: u64,
    /// Decisions that denied.
    pub denied: u64,
    /// Times that nothing could be decided. They are in no window.
    pub failed: u64,
}

/// What was counted in one window.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// When it began, in milliseconds since the Unix epoch.
    pub window_started_at_ms: f64,
    /// Its length in milliseconds.
    pub window_ms: f64,
    /// Decisions that allowed.
    pub allowed: u64,
    /// Decisions that denied.
    pub denied: u64,
    /// The keys that asked most, at most [`top_k`](super::AnalyticsBuilder::top_k) of them: the greatest count first, and
    /// equal ones by key.
    pub top_requested: Vec<Counted>,
    /// The keys that were denied most, likewise.
    pub top_denied: Vec<Counted>,
}

impl Snapshot {
    /// All decisions.
    pub fn total(&self) -> u64 {
        self.allowed + self.denied
    }

    /// The denied part of all decisions; 0 if there was none.
    #[allow(clippy::cast_precision_loss)] // a ratio
    pub fn deny_rate(&self) -> f64 {
        if self.total() == 0 { 0.0 } else { self.denied as f64 / self.total() as f64 }
    }
}

/// The parts, with what they have in common.
pub(super) struct Parts<C, P> {
    pub(super) clock: C,
    /// Whether the time of a decision is good enough while it is in the window. The clock of its limiter was read for it.
    pub(super) trusts_decisions: bool,
    pub(super) weighted: bool,
    pub(super) window_ms: f64,
    pub(super) top_k: usize,
    /// Made for the first key: with the secret of the store that knows it, so that what is known need not be hashed again.
    pub(super) secret: OnceLock<HashKey>,
    /// As many as a power of two.
    pub(super) all: Box<[Mutex<Part<P>>]>,
}

/// On cache lines of its own, which processors fetch in pairs.
#[repr(align(128))]
pub(super) struct Part<P>(pub(super) P);

impl<C, P> Parts<C, P> {
    /// The fingerprint of a key that a store may know by `mark`.
    #[inline]
    pub(super) fn fingerprint(&self, key: &str, mark: Mark) -> u64 {
        let random_or_known = || mark.0.map_or_else(HashKey::random, |marked| HashKey::from_seed(marked.secret));
        self.secret.get_or_init(random_or_known).fingerprint_unless_marked(key, mark)
    }

    /// The part of a key.
    #[inline]
    pub(super) fn of(&self, fingerprint: u64) -> MutexGuard<'_, Part<P>> {
        // The maps of the lists use the bits at both ends.
        #[allow(clippy::cast_possible_truncation)] // only low bits of it count
        let at = (fingerprint >> 32) as usize & (self.all.len() - 1);
        lock(&self.all[at])
    }

    /// One after the other.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Part<P>>> {
        self.all.iter().map(lock)
    }

    /// What a decision adds to the count of its key.
    #[inline]
    pub(super) fn weight(&self, cost: f64) -> f64 {
        if self.weighted { cost } else { 1.0 }
    }

    /// The heaviest keys of all parts, of which each has told as many.
    pub(super) fn heaviest(&self, mut counted: Vec<Counted>) -> Vec<Counted> {
        sort(&mut counted);
        counted.truncate(self.top_k);
        counted
    }

    /// As [`heaviest`](Self::heaviest), of both lists.
    pub(super) fn heaviest_of(&self, snapshot: Snapshot) -> Snapshot {
        let Snapshot { top_requested, top_denied, .. } = snapshot;
        let (top_requested, top_denied) = (self.heaviest(top_requested), self.heaviest(top_denied));
        Snapshot { top_requested, top_denied, ..snapshot }
    }

    pub(super) fn describe(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        f.debug_struct(name)
            .field("window_ms", &self.window_ms)
            .field("top_k", &self.top_k)
            .field("weighted", &self.weighted)
            .finish_non_exhaustive()
    }

    /// Nothing counted yet.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            window_started_at_ms: f64::NAN,
            window_ms: self.window_ms,
            allowed: 0,
            denied: 0,
            top_requested: Vec::new(),
            top_denied: Vec::new(),
        }
    }
}

/// A clock of the user's may have panicked under the lock, and nothing was changed then.
#[inline]
fn lock<P>(part: &Mutex<Part<P>>) -> MutexGuard<'_, Part<P>> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is counted of the keys of one part.
pub(super) struct Counts {
    pub(super) window: Window,
    allowed: u64,
    denied: u64,
    requested: SpaceSaving,
    refused: SpaceSaving,
    pub(super) totals: Totals,
}

impl Counts {
    /// `list` is empty, and what the lists are copies of.
    pub(super) fn new(window_ms: f64, list: &SpaceSaving) -> Self {
        let (requested, refused) = (list.clone(), list.clone());
        Self { window: Window::new(window_ms), allowed: 0, denied: 0, requested, refused, totals: Totals::default() }
    }

    #[inline]
    pub(super) fn count(&mut self, fingerprint: u64, key: &str, weight: f64, allowed: bool) {
        self.requested.add(fingerprint, key, weight);
        if allowed {
            self.allowed += 1;
            self.totals.allowed += 1;
        } else {
            self.denied += 1;
            self.totals.denied += 1;
            self.refused.add(fingerprint, key, weight);
        }
    }

    pub(super) fn clear(&mut self) {
        self.allowed = 0;
        self.denied = 0;
        self.requested.clear();
        self.refused.clear();
    }

    pub(super) fn add_to(&self, snapshot: &mut Snapshot) {
        snapshot.window_started_at_ms = self.window.start_ms();
        snapshot.allowed += self.allowed;
        snapshot.denied += self.denied;
        snapshot.top_requested.extend(self.requested.counted());
        snapshot.top_denied.extend(self.refused.counted());
    }
}

impl Totals {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            allowed: self.allowed + other.allowed,
            denied: self.denied + other.denied,
            failed: self.failed + other.failed,
        }
    }
}
