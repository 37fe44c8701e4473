//! Metrics for Prometheus, as a text that any HTTP server can answer with.
//!
//! [`Metrics`] is an [`Observer`](crate::Observer) that counts, [`Metrics::render`] gives the text, and [`Metrics::respond`]
//! answers a request for it. It needs no exporter and no other crate.
//!
//! | series | type | labels | value |
//! |---|---|---|---|
//! | `throttlekit_allowed_total` | counter | `policy` | decisions that allowed |
//! | `throttlekit_denied_total` | counter | `policy` | decisions that denied |
//! | `throttlekit_denied_by_axis_total` | counter | `policy`, `axis` | these, by `rate`, `concurrency`, `cost` or `policy`; for policies that limit more than a rate |
//! | `throttlekit_check_errors_total` | counter | `policy`, `kind` | times that nothing could be decided, by [code](crate::ErrorKind::code) |
//! | `throttlekit_limit` | gauge | `policy` | the limit that the last decision told |
//! | `throttlekit_latency_p50_ms`, `throttlekit_latency_p99_ms` | gauge | `policy` | quantiles of the last minute or two, in milliseconds |
//! | `throttlekit_decision_latency_seconds` | histogram | `policy` | how long decisions took, in seconds |
//! | `throttlekit_guard_inflight`, `throttlekit_guard_limit` | gauge | `guard` | work in flight, and how much may be |
//! | `throttlekit_guard_fenced` | gauge | `guard` | 1 if the right to its slots is lost, as a [report](crate::GuardReport::fenced) says, else 0 |
//! | `throttlekit_table_keys`, `throttlekit_table_max_keys` | gauge | `policy` | keys in memory, and how many there may be |
//! | `throttlekit_table_evictions_total` | counter | `policy` | keys that gave way to others before they expired |
//! | `throttlekit_observer_panics_total` | counter | | panics that were contained, of the observers beside it |
//!
//! Counters count from the start of the process, so `rate()` is right. A request that is decided over several axes counts
//! once for a policy that tells of [the whole](crate::Observer::admitted), whatever else it tells of the parts. What such a
//! policy decides beside, such as what a handler debits, counts too. Under the name of a [`Unified`](crate::Unified) that is made
//! in code only wholes count, since what its parts tell under the same name may belong to them.
//!
//! # The histogram
//!
//! Latencies are counted in buckets of which eight double, each 9% wider than the one before, from 7.5 ns to 64 s. The two
//! quantiles are read from these. A Prometheus that keeps native histograms asks for the protobuf format, and gets them all
//! (schema 3). The text format cannot say them: there the histogram is a classic one with each eighth bound, the powers of two
//! from 60 ns to 16 s, and a quantile that a query makes of these is off by up to a factor of 2.

mod family;
mod histogram;
mod metrics;
mod protobuf;
mod readers;
mod respond;
mod series;
mod table;
mod text;

pub use metrics::{Metrics, MetricsBuilder};
pub use respond::Response;
pub use text::CONTENT_TYPE;
