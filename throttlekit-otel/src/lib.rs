#![doc = include_str!("../README.md")]
//!
#![doc = include_str!("../docs/benchmarks.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]

pub mod buckets;
mod guards;
mod instruments;
pub mod names;
mod sets;
mod span;
mod stopwatch;
mod telemetry;
#[cfg(feature = "tracing")]
mod tracing_events;

pub use guards::{Gauged, GuardMetrics, Reading};
pub use span::{SpanLike, record_decision, record_unified_admission};
pub use stopwatch::Stopwatch;
pub use telemetry::{Telemetry, TelemetryBuilder};
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub use tracing_events::{TracingObserver, record_fields};
