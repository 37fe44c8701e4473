//! A learner that many threads feed and none waits for.

use super::law::Sample;
use super::learner::Learner;
use super::sync::{AtomicU32, AtomicU64, Ordering, Turns};
use super::word::Word;
use crate::permit::Slot;

/// A learner that takes turns, and what it last said, to be read at any time.
pub(super) struct Learning {
    learner: Turns<Learner>,
    /// Work that was dropped while another thread was learning. A law needs to know no more than that it was.
    owed_drops: AtomicU32,
    shown: Shown,
}

struct Shown {
    estimate: AtomicF64,
    noload_ms: AtomicF64,
    last_ms: AtomicF64,
}

impl Learning {
    pub(super) fn new(learner: Learner) -> Self {
        let shown = Shown {
            estimate: AtomicF64::new(learner.estimate()),
            noload_ms: AtomicF64::new(0.0),
            last_ms: AtomicF64::new(0.0),
        };
        Self { learner: Turns::new(learner), owed_drops: AtomicU32::new(0), shown }
    }

    /// The limit before it is rounded down.
    pub(super) fn estimate(&self) -> f64 {
        self.shown.estimate.load()
    }

    /// The latency without load in milliseconds; 0 before it is known.
    pub(super) fn noload_ms(&self) -> f64 {
        self.shown.noload_ms.load()
    }

    /// The latency of the last sample in milliseconds; 0 before the first one.
    #[inline]
    pub(super) fn last_ms(&self) -> f64 {
        self.shown.last_ms.load()
    }

    /// Learns from a slot that was given back at `now_ns`, and installs the limit that this leads to. Skips the sample if
    /// another thread is learning, but for the fact that work was dropped.
    pub(super) fn learn(&self, word: &Word, slot: Slot, now_ns: u64, dropped: bool) {
        let span_ns = now_ns.saturating_sub(slot.taken_at);
        let learnt = self.learner.try_with(|learner| {
            // Not before: an atomic step waits for what is before it, and has time for what comes after it.
            let sample = Sample { now_ns, rtt_ms: millis(span_ns), dropped, util: util(slot) };
            self.shown.last_ms.store(sample.rtt_ms);
            let mut changed = learner.learn(&sample, &word.pressure);
            if self.owed_drops.load(Ordering::Relaxed) > 0 {
                for _ in 0..self.owed_drops.swap(0, Ordering::Relaxed) {
                    changed |= learner.learn(&Sample { dropped: true, ..sample }, &word.pressure);
                }
            }
            if changed {
                self.shown.estimate.store(learner.estimate());
                self.shown.noload_ms.store(learner.noload_ms());
                // Still in its turn: the limit is installed by one thread at a time.
                word.install(learner.limit(), learner.probe_ceiling());
            }
        });
        if learnt.is_none() {
            self.shown.last_ms.store(millis(span_ns));
            if dropped {
                self.owed_drops.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A float that is read and written whole.
struct AtomicF64(AtomicU64);

impl AtomicF64 {
    fn new(value: f64) -> Self {
        Self(AtomicU64::new(value.to_bits()))
    }

    #[inline]
    fn load(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    #[inline]
    fn store(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// A span in milliseconds. A signed number becomes a float in one instruction, and three centuries fit into it.
#[inline]
#[allow(clippy::cast_precision_loss)] // latencies are far below 2^53 ns
fn millis(span_ns: u64) -> f64 {
    i64::try_from(span_ns).unwrap_or(i64::MAX) as f64 / 1e6
}

/// What was in flight when the slot was taken. The upper half of the word is the owner's.
#[allow(clippy::cast_possible_truncation)] // means the lower half
fn util(slot: Slot) -> f64 {
    f64::from(slot.detail as u32)
}
