//! The primitives of the table, swapped for loom's when it explores them.

#[cfg(loom)]
pub(super) use loom::{
    sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering},
    sync::{Mutex, MutexGuard},
    thread::yield_now,
};
#[cfg(not(loom))]
pub(super) use std::{
    sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering},
    sync::{Mutex, MutexGuard},
    thread::yield_now,
};

/// Waits for another thread's few instructions. Re-reading beats PAUSE while the holder runs, and yielding is what helps
/// when it was preempted.
pub(super) struct Backoff {
    rounds: u32,
}

impl Backoff {
    const READS: u32 = 20;
    const PAUSES: u32 = 60;

    pub(super) fn new() -> Self {
        Self { rounds: 0 }
    }

    #[inline]
    pub(super) fn wait(&mut self) {
        self.rounds += 1;
        if cfg!(loom) || self.rounds > Self::PAUSES {
            yield_now();
        } else if self.rounds > Self::READS {
            std::hint::spin_loop();
        }
    }
}
