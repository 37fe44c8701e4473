//! Strategies by their options.
#![allow(dead_code)] // each test file uses a part of it
#![allow(clippy::unwrap_used)] // a failing unwrap is a failing test

use throttlekit::{ExactGcra, Gcra, SlidingWindowLog, TokenBucket};

pub(crate) fn gcra(limit: f64, period_ms: f64, burst: f64) -> Gcra {
    Gcra::builder().limit(limit).period_ms(period_ms).burst(burst).build().unwrap()
}

pub(crate) fn exact(limit: u64, period_ms: u64, burst: u64) -> ExactGcra {
    ExactGcra::builder().limit(limit).period_ms(period_ms).burst(burst).build().unwrap()
}

pub(crate) fn bucket(capacity: f64, refill_per_sec: f64) -> TokenBucket {
    TokenBucket::builder().capacity(capacity).refill_per_sec(refill_per_sec).build().unwrap()
}

pub(crate) fn log(limit: f64, window_ms: f64) -> SlidingWindowLog {
    SlidingWindowLog::builder().limit(limit).window_ms(window_ms).build().unwrap()
}
