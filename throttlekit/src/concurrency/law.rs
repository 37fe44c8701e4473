//! How one sample moves the estimate: gradient and additive increase, multiplicative decrease.

use crate::math::floor_f64;

/// One settled slot, as a law sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// When it was settled, in nanoseconds of the clock.
    pub(super) now_ns: u64,
    /// How long the slot was held, in milliseconds.
    pub(super) rtt_ms: f64,
    /// Whether the work was cut off.
    pub(super) dropped: bool,
    /// How many slots were in flight when it was taken, itself included.
    pub(super) util: f64,
}

/// The bounds of the estimate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) min: f64,
    pub(super) max: f64,
}

/// `min(hi, max(lo, x))`.
pub(super) fn clamp(x: f64, lo: f64, hi: f64) -> f64 {
    x.max(lo).min(hi)
}

/// One of two numbers, without a branch.
#[inline(always)]
fn pick(first: bool, one: f64, other: f64) -> f64 {
    f64::from_bits(if first { one.to_bits() } else { other.to_bits() })
}

/// A law with its constants. The operations are in the order in which every member of the family makes them, so that the
/// estimates agree to the last bit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Law {
    Gradient2 { smoothing: f64, tolerance: f64 },
    Aimd { tolerance: f64, backoff_ratio: f64 },
}

impl Law {
    /// The estimate after `sample`, where `noload_ms` is the least latency of late.
    pub(super) fn next(self, estimate: f64, bounds: Bounds, noload_ms: f64, sample: &Sample) -> f64 {
        match self {
            Self::Gradient2 { smoothing, tolerance } => {
                // Under-used, a sample says nothing about the ceiling.
                if !sample.dropped && sample.util * 2.0 < estimate {
                    return estimate;
                }
                let gradient = if sample.dropped {
                    0.5
                } else if sample.rtt_ms <= 0.0 {
                    1.0
                } else {
                    clamp(tolerance * noload_ms / sample.rtt_ms, 0.5, 1.0)
                };
                let target = estimate * gradient + estimate.sqrt();
                let next = estimate * (1.0 - smoothing) + target * smoothing;
                clamp(next, bounds.min, bounds.max)
            }
            Self::Aimd { tolerance, backoff_ratio } => {
                // Latencies around the threshold go either way. All three are worked out, so that a processor has nothing
                // to guess.
                let lower = bounds.min.max(floor_f64(estimate * backoff_ratio));
                let higher = bounds.max.min(estimate + 1.0);
                let is_slow = sample.rtt_ms > noload_ms * tolerance;
                let is_used = sample.util * 2.0 >= estimate;
                pick(sample.dropped | is_slow, lower, pick(is_used, higher, estimate))
            }
        }
    }
}
