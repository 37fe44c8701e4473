//! The instruments that are recorded into as things happen.

use opentelemetry::metrics::{Counter, Histogram, Meter};

use crate::buckets;
use crate::names::metric;

pub(crate) struct Instruments {
    pub(crate) checks: Counter<u64>,
    pub(crate) remaining: Histogram<u64>,
    pub(crate) store_latency: Histogram<f64>,
    pub(crate) denies_by_axis: Counter<u64>,
    pub(crate) check_errors: Counter<u64>,
    pub(crate) queue_wait: Histogram<f64>,
    pub(crate) shed: Counter<u64>,
    pub(crate) disconnects: Counter<u64>,
    pub(crate) leases: Counter<u64>,
    pub(crate) lease_latency: Histogram<f64>,
}

impl Instruments {
    pub(crate) fn new(meter: &Meter) -> Self {
        let counter = |name, meaning| meter.u64_counter(name).with_description(meaning).build();
        let milliseconds = |name, meaning, bounds: &[f64]| {
            meter.f64_histogram(name).with_description(meaning).with_unit("ms").with_boundaries(bounds.to_vec()).build()
        };
        Self {
            checks: counter(metric::CHECKS, "Checks, by strategy and outcome"),
            remaining: meter
                .u64_histogram(metric::REMAINING)
                .with_description("Units left by each decision")
                .with_boundaries(buckets::REMAINING.to_vec())
                .build(),
            store_latency: milliseconds(metric::STORE_LATENCY, "Time spent in the limiter", &buckets::LATENCY_MS),
            denies_by_axis: counter(metric::DENIES_BY_AXIS, "Denied requests of several axes, by what denied them"),
            check_errors: counter(metric::CHECK_ERRORS, "Checks that failed, by strategy and reason"),
            queue_wait: milliseconds(metric::CONCURRENCY_QUEUE_WAIT, "Waits for a slot", &buckets::WAIT_MS),
            shed: counter(metric::CONCURRENCY_SHED, "Requests that found no slot, by priority"),
            disconnects: counter(metric::CLIENT_DISCONNECTS, "Callers that went away before their request was done"),
            leases: counter(metric::LEASES, "Answers to leases, by what became of them"),
            lease_latency: milliseconds(metric::LEASE_LATENCY, "Time until leases were answered", &buckets::LATENCY_MS),
        }
    }
}
