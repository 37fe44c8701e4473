//! Bounds of histogram buckets, as a hint to the SDK; a view of the application's overrides them.
//!
//! The SDK's own bounds begin at 5 ms. A check in memory takes a ten-thousandth of that: all would be in one bucket.

/// Of [`STORE_LATENCY`](crate::names::metric::STORE_LATENCY) and
/// [`LEASE_LATENCY`](crate::names::metric::LEASE_LATENCY), in milliseconds: from a microsecond, for memory, to a timeout.
pub const LATENCY_MS: [f64; 20] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0,
    1_000.0, 2_500.0,
];

/// Of [`REMAINING`](crate::names::metric::REMAINING), in units: fine near 0, where limits begin to bind.
pub const REMAINING: [f64; 16] = [
    0.0,
    1.0,
    2.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    100_000.0,
    1_000_000.0,
];

/// Of [`CONCURRENCY_QUEUE_WAIT`](crate::names::metric::CONCURRENCY_QUEUE_WAIT), in milliseconds: up to a minute.
pub const WAIT_MS: [f64; 14] =
    [0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 5_000.0, 15_000.0, 60_000.0];
