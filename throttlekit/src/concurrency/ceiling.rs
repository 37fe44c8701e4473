//! The ceiling of a guard: its slots, and what learns how many there are.

use super::learner::Learner;
use super::learning::Learning;
use super::share::{Share, Shares};
use super::sync::{AtomicU64, Ordering};
use super::word::{View, Word};
use crate::clock::Clock;
use crate::decision::Decision;
use crate::observe::{GuardReport, GuardStats};
use crate::permit::{Outcome, Slot};

/// Slots, and what sets their number.
pub(super) struct Ceiling<C> {
    pub(super) word: Word,
    pub(super) clock: C,
    pub(super) shares: Shares,
    learning: Option<Learning>,
    dropped: AtomicU64,
}

impl<C> Ceiling<C> {
    /// `limit` is where a fixed limit stays, and what a learner starts with.
    pub(super) fn new(limit: u32, learner: Option<Learner>, shares: Shares, clock: C) -> Self {
        let learning = learner.map(Learning::new);
        Self { word: Word::new(limit), clock, shares, learning, dropped: AtomicU64::new(0) }
    }

    /// How it is doing.
    pub(super) fn stats(&self) -> GuardStats {
        let view = self.word.view();
        let learning = self.learning.as_ref();
        GuardStats {
            limit: view.limit(),
            estimate: learning.map_or(f64::from(view.limit()), Learning::estimate),
            in_flight: view.in_flight(),
            noload_ms: learning.map_or(0.0, Learning::noload_ms),
            last_ms: self.last_ms(),
            dropped: self.dropped.load(Ordering::Relaxed),
            probing: view.probing(),
        }
    }

    /// Generation, slots in flight and limit at one instant.
    pub(super) fn report(&self) -> GuardReport {
        let view = self.word.view();
        GuardReport { generation: view.generation(), in_flight: view.in_flight(), limit: view.limit(), fenced: false }
    }

    fn last_ms(&self) -> f64 {
        self.learning.as_ref().map_or(0.0, Learning::last_ms)
    }

    /// What it means for a request that may use `share` of the ceiling.
    #[inline]
    pub(super) fn decision(&self, taken: Result<View, View>, share: Share, now_ms: f64) -> Decision {
        let (Ok(view) | Err(view)) = taken;
        let remaining = share.of(view.limit()).saturating_sub(view.in_flight());
        self.decide(taken.is_ok(), view.limit(), remaining, now_ms)
    }

    /// A decision. When a slot may come back to one that got none is when work that started now would be done.
    #[inline(always)]
    pub(super) fn decide(&self, allowed: bool, limit: u32, remaining: u32, now_ms: f64) -> Decision {
        let limit = u64::from(limit);
        let reset_at_ms = whole_ms(now_ms);
        if allowed {
            Decision { allowed, limit, remaining: u64::from(remaining), reset_at_ms, retry_after_ms: 0 }
        } else {
            let retry_after_ms = rounded_ms(self.last_ms()).max(1);
            Decision { allowed, limit, remaining: 0, reset_at_ms, retry_after_ms }
        }
    }
}

impl<C: Clock> Ceiling<C> {
    /// The time that the latency of a slot counts from; 0 where nothing is learnt from it.
    #[inline(always)]
    pub(super) fn taken_at(&self) -> u64 {
        if self.learning.is_some() { self.clock.monotonic_ns() } else { 0 }
    }

    /// Learns from how the work of `slot` ended. The slot itself is given back by whoever gave it.
    #[inline]
    pub(super) fn learn(&self, slot: Slot, outcome: Outcome) {
        let dropped = match outcome {
            Outcome::Completed => false,
            Outcome::Dropped => true,
            Outcome::Ignored => return,
        };
        if dropped {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(learning) = &self.learning {
            learning.learn(&self.word, slot, self.clock.monotonic_ns(), dropped);
        }
    }
}

/// The time of a decision in whole milliseconds.
#[allow(clippy::cast_possible_truncation)] // saturates
fn whole_ms(now_ms: f64) -> i64 {
    now_ms.floor() as i64
}

/// The nearest whole number, halves up.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and is never negative
fn rounded_ms(ms: f64) -> u64 {
    (ms + 0.5) as u64
}
