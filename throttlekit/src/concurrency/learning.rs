//! A learner that many threads feed and none waits for.

use std::sync::TryLockError;

use super::law::Sample;
use super::learner::Learner;
use super::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use super::word::Word;
use crate::permit::Slot;

/// A learner behind its lock, and what it last said, to be read without.
pub(super) struct Learning {
    learner: Mutex<Learner>,
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
        Self { learner: Mutex::new(learner), owed_drops: AtomicU32::new(0), shown }
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
    #[allow(clippy::cast_precision_loss)] // latencies are far below 2^53 ns
    pub(super) fn learn(&self, word: &Word, slot: Slot, now_ns: u64, dropped: bool) {
        let rtt_ms = now_ns.saturating_sub(slot.taken_at) as f64 / 1e6;
        self.shown.last_ms.store(rtt_ms);
        let mut learner = match self.learner.try_lock() {
            Ok(learner) => learner,
            // No law panics; were it so, its numbers would still be numbers.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                if dropped {
                    self.owed_drops.fetch_add(1, Ordering::Relaxed);
                }
                return;
            }
        };
        let sample = Sample { now_ns, rtt_ms, dropped, util: util(slot) };
        let mut changed = learner.learn(&sample);
        if self.owed_drops.load(Ordering::Relaxed) > 0 {
            for _ in 0..self.owed_drops.swap(0, Ordering::Relaxed) {
                changed |= learner.learn(&Sample { dropped: true, ..sample });
            }
        }
        if !changed {
            return;
        }
        self.shown.estimate.store(learner.estimate());
        self.shown.noload_ms.store(learner.noload_ms());
        // Still behind the lock: the limit is installed by one thread at a time.
        word.install(learner.limit(), learner.probe_ceiling());
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

/// What was in flight when the slot was taken. The upper half of the word is the owner's.
#[allow(clippy::cast_possible_truncation)] // means the lower half
fn util(slot: Slot) -> f64 {
    f64::from(slot.detail as u32)
}
