//! What is counted of one policy.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{mem, ptr};

use super::histogram::{Histogram, Latencies};
use crate::error::{Error, ErrorKind};
use crate::observe::Lane;

/// No decision was seen yet. No limit is as high.
const UNKNOWN: u64 = u64::MAX;
/// The quantiles are of the last one or two of these spans, or more if nobody has read for longer.
const RECENT_MS: f64 = 60_000.0;

/// The kinds of errors that are told apart, in the order of their counters. A kind that comes later counts as the last.
pub(super) const KINDS: [ErrorKind; 5] = [
    ErrorKind::StoreUnavailable,
    ErrorKind::StateInvalid,
    ErrorKind::InvalidArgument,
    ErrorKind::QueueFull,
    ErrorKind::Unsupported,
];

/// What is counted of one policy. Never goes down.
pub(super) struct Series {
    /// As many as a power of two.
    stripes: Box<[Stripe]>,
    limit: AtomicU64,
    /// Whether anything but the rate ever denied or could have.
    has_axes: AtomicBool,
    recent: Mutex<Recent>,
}

/// What some of the threads count, so that not all of them want the same cache line.
#[repr(align(128))]
struct Stripe {
    allowed: AtomicU64,
    denied_by: [AtomicU64; 4],
    failed: [AtomicU64; KINDS.len()],
    latencies: Histogram,
}

/// Where the quantiles begin to count.
struct Recent {
    /// What had been counted then, and when; at least one span ago, if anything is that old.
    before: Latencies,
    /// Likewise, to take its place.
    next: Latencies,
    next_at_ms: f64,
}

/// What was counted of one policy until now.
pub(super) struct Reading {
    pub(super) allowed: u64,
    /// In the order of [`Lane::ALL`].
    pub(super) denied_by: [u64; 4],
    /// Whether it has lanes other than the rate.
    pub(super) has_axes: bool,
    /// In the order of [`KINDS`].
    pub(super) failed: [u64; KINDS.len()],
    pub(super) limit: Option<u64>,
    pub(super) latencies: Latencies,
    /// Of the last minute or two.
    pub(super) recent: Latencies,
}

impl Series {
    /// `stripes` is a power of two.
    pub(super) fn new(stripes: usize) -> Self {
        let stripe = |_| Stripe {
            allowed: AtomicU64::new(0),
            denied_by: Default::default(),
            failed: Default::default(),
            latencies: Histogram::new(),
        };
        Self {
            stripes: (0..stripes).map(stripe).collect(),
            limit: AtomicU64::new(UNKNOWN),
            has_axes: AtomicBool::new(false),
            recent: Mutex::new(Recent { before: Latencies::none(), next: Latencies::none(), next_at_ms: f64::NAN }),
        }
    }

    #[inline]
    fn stripe(&self) -> &Stripe {
        thread_local!(static PLACE: u8 = const { 0 });
        // Where a thread keeps what is its own tells threads apart. Multiplied (by 2^64 over the golden ratio), so that the
        // upper bits depend on all of it.
        let place = PLACE.with(|place| ptr::from_ref(place) as usize as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        #[allow(clippy::cast_possible_truncation)] // 16 bits
        let at = (place >> 48) as usize & (self.stripes.len() - 1);
        &self.stripes[at]
    }

    /// A decision, or a request that was decided as a whole. `lane` denied it.
    #[inline]
    pub(super) fn decided(&self, limit: u64, lane: Option<Lane>, took_ms: Option<f64>) {
        let stripe = self.stripe();
        let counter = lane.map_or(&stripe.allowed, |lane| &stripe.denied_by[lane as usize]);
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(took_ms) = took_ms {
            stripe.latencies.record_ms(took_ms);
        }
        // Mostly it is what it was, and the line may stay where it is.
        if self.limit.load(Ordering::Relaxed) != limit {
            self.limit.store(limit, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn axes_are_known(&self) {
        if !self.has_axes.load(Ordering::Relaxed) {
            self.has_axes.store(true, Ordering::Relaxed);
        }
    }

    #[cold]
    pub(super) fn failed(&self, error: &Error) {
        let at = KINDS.iter().position(|kind| *kind == error.kind()).unwrap_or(KINDS.len() - 1);
        self.stripe().failed[at].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, now_ms: f64) -> Reading {
        let mut latencies = Latencies::none();
        let (mut allowed, mut denied_by, mut failed) = (0, [0; 4], [0; KINDS.len()]);
        for stripe in &self.stripes {
            allowed += stripe.allowed.load(Ordering::Relaxed);
            sum(&mut denied_by, &stripe.denied_by);
            sum(&mut failed, &stripe.failed);
            stripe.latencies.add_to(&mut latencies);
        }
        let recent = {
            // Latencies are replaced as a whole.
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.of(&latencies, now_ms)
        };
        Reading {
            allowed,
            denied_by,
            has_axes: self.has_axes.load(Ordering::Relaxed),
            failed,
            limit: Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit != UNKNOWN),
            latencies,
            recent,
        }
    }
}

impl Recent {
    /// What of `now` came lately.
    fn of(&mut self, now: &Latencies, now_ms: f64) -> Latencies {
        let age_ms = now_ms - self.next_at_ms;
        if age_ms.is_nan() {
            // The first reading: all there is counts.
            self.next_at_ms = now_ms;
            self.next = now.clone();
        } else if !(0.0..RECENT_MS).contains(&age_ms) {
            self.before = mem::replace(&mut self.next, now.clone());
            self.next_at_ms = now_ms;
        }
        now.since(&self.before)
    }
}

fn sum<const N: usize>(sums: &mut [u64; N], counters: &[AtomicU64; N]) {
    for (sum, counter) in sums.iter_mut().zip(counters) {
        *sum += counter.load(Ordering::Relaxed);
    }
}
