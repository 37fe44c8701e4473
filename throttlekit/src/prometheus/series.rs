//! What is counted of one policy.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{array, mem, ptr};

use super::histogram::{Histogram, Latencies};
use crate::admit::Axis;
use crate::decision::Decision;
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
    /// Decisions that were told alone.
    alone: Counts,
    /// Requests that were told as a whole.
    whole: OnceLock<Counts>,
    /// Whether what is told alone may be part of a whole and does not say so. It does not count then.
    doubts_alone: AtomicBool,
    failed: [AtomicU64; KINDS.len()],
    limit: AtomicU64,
    recent: Mutex<Recent>,
}

/// As many as a power of two.
struct Counts(Box<[Stripe]>);

/// What some of the threads count, so that not all of them want the same cache line.
#[repr(align(128))]
struct Stripe {
    /// By what decided: a request that was told as a whole is in the last place.
    allowed: [AtomicU64; 4],
    denied_by: [AtomicU64; 4],
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

impl Counts {
    fn new(stripes: usize) -> Self {
        let stripe =
            |_| Stripe { allowed: Default::default(), denied_by: Default::default(), latencies: Histogram::new() };
        Self((0..stripes).map(stripe).collect())
    }

    #[inline]
    fn add(&self, allowed: bool, lane: Lane, took_ms: Option<f64>) {
        let stripe = self.stripe();
        let counters = if allowed { &stripe.allowed } else { &stripe.denied_by };
        counters[lane as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(took_ms) = took_ms {
            stripe.latencies.record_ms(took_ms);
        }
    }

    #[inline]
    fn stripe(&self) -> &Stripe {
        thread_local!(static PLACE: u8 = const { 0 });
        // Where a thread keeps what is its own tells threads apart. Multiplied (by 2^64 over the golden ratio), so that the
        // upper bits depend on all of it.
        let place = PLACE.with(|place| ptr::from_ref(place) as usize as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        #[allow(clippy::cast_possible_truncation)] // 16 bits
        let at = (place >> 48) as usize & (self.0.len() - 1);
        &self.0[at]
    }

    /// Allowed and denied, by lane. Adds how long it took to `latencies`.
    fn read(&self, latencies: &mut Latencies) -> ([u64; 4], [u64; 4]) {
        let (mut allowed, mut denied_by) = ([0; 4], [0; 4]);
        for stripe in &self.0 {
            sum(&mut allowed, &stripe.allowed);
            sum(&mut denied_by, &stripe.denied_by);
            stripe.latencies.add_to(latencies);
        }
        (allowed, denied_by)
    }
}

impl Series {
    /// `stripes` is a power of two.
    pub(super) fn new(stripes: usize) -> Self {
        Self {
            alone: Counts::new(stripes),
            whole: OnceLock::new(),
            doubts_alone: AtomicBool::new(false),
            failed: Default::default(),
            limit: AtomicU64::new(UNKNOWN),
            recent: Mutex::new(Recent { before: Latencies::none(), next: Latencies::none(), next_at_ms: f64::NAN }),
        }
    }

    /// A decision of one axis, told alone.
    #[inline]
    pub(super) fn decided(&self, decision: Decision, axis: Axis, took_ms: Option<f64>) {
        let lane = match axis {
            Axis::Rate => Lane::Rate,
            Axis::Concurrency => Lane::Concurrency,
            Axis::Cost => Lane::Cost,
        };
        self.alone.add(decision.allowed, lane, took_ms);
        if self.whole.get().is_none() {
            self.tell_limit(decision.limit);
        }
    }

    /// A request that was decided as a whole; `lane` denied it.
    pub(super) fn admitted(&self, decision: Decision, lane: Option<Lane>, took_ms: Option<f64>) {
        let whole = self.whole.get_or_init(|| Counts::new(self.alone.0.len()));
        whole.add(decision.allowed, lane.unwrap_or(Lane::Policy), took_ms);
        self.tell_limit(decision.limit);
    }

    /// Of a request that was told as a whole, parts may be told alone that do not say so.
    pub(super) fn doubt_alone(&self) {
        // As below.
        if !self.doubts_alone.load(Ordering::Relaxed) {
            self.doubts_alone.store(true, Ordering::Relaxed);
        }
    }

    #[cold]
    pub(super) fn failed(&self, error: &Error) {
        let at = KINDS.iter().position(|kind| *kind == error.kind()).unwrap_or(KINDS.len() - 1);
        self.failed[at].fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    fn tell_limit(&self, limit: u64) {
        // Mostly it is what it was, and the line may stay where it is.
        if self.limit.load(Ordering::Relaxed) != limit {
            self.limit.store(limit, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self, now_ms: f64) -> Reading {
        let mut latencies = Latencies::none();
        let whole = self.whole.get().map(|whole| whole.read(&mut latencies));
        let is_whole = whole.is_some();
        let (allowed_whole, denied_whole) = whole.unwrap_or_default();
        let counts_alone = !is_whole || !self.doubts_alone.load(Ordering::Relaxed);
        let alone = counts_alone.then(|| self.alone.read(&mut latencies));
        let (allowed_alone, denied_alone) = alone.unwrap_or_default();
        let seen = |lane: &usize| allowed_alone[*lane] + denied_alone[*lane] > 0;
        // An axis is asked when those before it have allowed: the one that has allowed least is the last.
        let last_alone = (0..4).filter(seen).map(|lane| allowed_alone[lane]).min().unwrap_or(0);
        let allowed = allowed_whole.iter().sum::<u64>() + last_alone;
        let denied_by = array::from_fn(|lane| denied_whole[lane] + denied_alone[lane]);
        let has_axes = is_whole || (0..4).filter(seen).any(|lane| lane != Lane::Rate as usize);
        let mut failed = [0; KINDS.len()];
        sum(&mut failed, &self.failed);
        let recent = {
            // Latencies are replaced as a whole.
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.of(&latencies, now_ms)
        };
        let limit = Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit != UNKNOWN);
        Reading { allowed, denied_by, has_axes, failed, limit, latencies, recent }
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
