//! Latencies in buckets that grow by a constant factor.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often the buckets double is 2 to the power of this: eight buckets in each doubling, each 9% wider than the one
/// before. It is the schema of the same name of a native histogram.
pub(super) const SCHEMA: u32 = 3;
const PER_DOUBLING: i32 = 1 << SCHEMA;
/// Latencies up to 2^-27 s, 7.5 ns, are taken for 0.
const MIN_EXPONENT: i32 = -27;
/// Latencies above 2^6 s are taken together.
const MAX_EXPONENT: i32 = 6;
/// The index of the first bucket above 0, as native histograms number them: bucket i ends with 2^(i/8), which is in it.
pub(super) const FIRST_INDEX: i32 = MIN_EXPONENT * PER_DOUBLING + 1;
/// The bucket of 0, those of each doubling, and that of what is longer.
#[allow(clippy::cast_sign_loss)] // above 0
const BUCKETS: usize = ((MAX_EXPONENT - MIN_EXPONENT) * PER_DOUBLING) as usize + 2;
/// The bounds that the text format shows: 2^-24 s, 60 ns, to 2^4 s.
const SHOWN_EXPONENTS: std::ops::RangeInclusive<i32> = -24..=4;
const NANOS_PER_SECOND: f64 = 1e9;

/// Where in a doubling each bucket ends: the bits of the fraction of 2^(j/8), for j = 0 to 7.
const ENDS: [u64; PER_DOUBLING as usize] = [
    0x0000_0000_0000_0000,
    0x0001_72b8_3c7d_517b,
    0x0003_06fe_0a31_b715,
    0x0004_bfda_d536_2a27,
    0x0006_a09e_667f_3bcd,
    0x0008_ace5_422a_a0db,
    0x000a_e89f_995a_d3ad,
    0x000d_5818_dcfb_a487,
];

/// Counts of latencies, safe under threads.
pub(super) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

/// What a [`Histogram`] has counted.
#[derive(Clone)]
pub(super) struct Latencies {
    /// The bucket of 0 first, then from [`FIRST_INDEX`] on.
    pub(super) buckets: Vec<u64>,
    pub(super) sum_ns: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_ns: AtomicU64::new(0) }
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the cast saturates
    pub(super) fn record_ms(&self, ms: f64) {
        let ns = ms * 1e6;
        self.buckets[bucket(ns / NANOS_PER_SECOND)].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns as u64, Ordering::Relaxed);
    }

    pub(super) fn add_to(&self, sum: &mut Latencies) {
        for (sum, bucket) in sum.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        sum.sum_ns += self.sum_ns.load(Ordering::Relaxed);
    }
}

/// The bucket of a latency; that of 0 for what is no number.
#[inline]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 11 bits; not below 0
fn bucket(seconds: f64) -> usize {
    const FRACTION: u64 = (1 << 52) - 1;
    if seconds.is_nan() || seconds <= 0.0 {
        return 0;
    }
    let bits = seconds.to_bits();
    let exponent = (bits >> 52) as i32 - 1_023;
    let within: i32 = ENDS.iter().map(|end| i32::from(bits & FRACTION > *end)).sum();
    let index = exponent.saturating_mul(PER_DOUBLING) + within;
    ((index - FIRST_INDEX + 1).max(0) as usize).min(BUCKETS - 1)
}

/// Where the bucket at this place ends, in seconds.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // a small number
fn end_of(place: usize) -> f64 {
    (f64::from(FIRST_INDEX - 1 + place as i32) / f64::from(PER_DOUBLING)).exp2()
}

impl Latencies {
    pub(super) fn none() -> Self {
        Self { buckets: vec![0; BUCKETS], sum_ns: 0 }
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    #[allow(clippy::cast_precision_loss)] // a sum of measurements
    pub(super) fn sum_seconds(&self) -> f64 {
        self.sum_ns as f64 / NANOS_PER_SECOND
    }

    /// What came after `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let buckets = self.buckets.iter().zip(&earlier.buckets).map(|(now, then)| now.saturating_sub(*then)).collect();
        Self { buckets, sum_ns: self.sum_ns.saturating_sub(earlier.sum_ns) }
    }

    /// The bounds in seconds that the text format shows, each with how many were not above it.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        SHOWN_EXPONENTS.map(|exponent| {
            #[allow(clippy::cast_sign_loss)] // not below MIN_EXPONENT
            let place = ((exponent - MIN_EXPONENT) * PER_DOUBLING) as usize;
            (f64::from(exponent).exp2(), self.buckets.iter().take(place + 1).sum())
        })
    }

    /// The latency in seconds that a fraction `q` of them is not above, off by at most the 9% that a bucket is wide; `None`
    /// if there are none.
    #[allow(clippy::cast_precision_loss)] // a rank
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let rank = q * self.count() as f64;
        let mut before = 0.0;
        for (place, count) in self.buckets.iter().enumerate() {
            let count = *count as f64;
            if count > 0.0 && before + count >= rank {
                // Within a bucket, as if spread evenly over the logarithm.
                let part = (rank - before) / count;
                return Some(if place == 0 {
                    0.0
                } else {
                    end_of(place) * ((part - 1.0) / f64::from(PER_DOUBLING)).exp2()
                });
            }
            before += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_where_the_powers_of_two_are() {
        for (j, end) in (0_u32..).zip(ENDS) {
            let expected = (f64::from(j) / 8.0).exp2().to_bits() & ((1 << 52) - 1);
            assert!(end.abs_diff(expected) <= 1, "2^({j}/8) is {expected:#x}");
        }
    }

    #[test]
    fn a_latency_is_in_the_bucket_that_ends_above_it() {
        for seconds in [1e-8, 5e-8, 1.1e-6, 0.000_25, 0.001, 0.5, 0.99, 1.0, 1.01, 63.0] {
            let place = bucket(seconds);
            assert!(end_of(place - 1) < seconds && seconds <= end_of(place), "{seconds} {place}");
        }
        // What a power of two is the end of, exactly.
        for exponent in MIN_EXPONENT + 1..=MAX_EXPONENT {
            let end = f64::from(exponent).exp2();
            assert_eq!(end_of(bucket(end)), end);
            assert_eq!(bucket(f64::from_bits(end.to_bits() + 1)), bucket(end) + 1);
        }
        for none in [0.0, -1.0, f64::NAN, 1e-9, f64::MIN_POSITIVE] {
            assert_eq!(bucket(none), 0);
        }
        for endless in [65.0, 1e300, f64::INFINITY] {
            assert_eq!(bucket(endless), BUCKETS - 1);
        }
    }

    #[test]
    fn quantiles_are_within_a_bucket_of_the_truth() {
        let histogram = Histogram::new();
        (1..=1_000).for_each(|i| histogram.record_ms(f64::from(i) / 10.0));
        let mut latencies = Latencies::none();
        histogram.add_to(&mut latencies);
        for (q, truth) in [(0.5, 0.05), (0.99, 0.099), (1.0, 0.1)] {
            let quantile = latencies.quantile(q).unwrap();
            assert!((quantile / truth - 1.0).abs() < 0.09, "{q}: {quantile}");
        }
        assert_eq!(latencies.count(), 1_000);
        assert!((latencies.sum_seconds() - 50.05).abs() < 1e-6);
        assert!(latencies.since(&latencies).quantile(0.5).is_none());
        let below: Vec<_> = latencies.cumulative().filter(|(bound, _)| (0.03..0.3).contains(bound)).collect();
        assert_eq!(below, [(0.031_25, 312), (0.062_5, 625), (0.125, 1_000), (0.25, 1_000)]);
    }
}
