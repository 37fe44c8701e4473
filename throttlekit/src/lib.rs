//! Rate, cost and concurrency limiting.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod admit;
mod clock;
#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
pub mod config;
mod decision;
mod duration;
mod error;
pub mod headers;
mod limiter;
mod multi;
mod observe;
mod permit;
#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
pub mod policy;
mod program;
mod run;
mod runtime;
mod shaper;
pub mod store;
pub mod strategy;

pub use admit::{Admission, Admit, Ask, Axes, Axis, Meter};
#[cfg(feature = "coarse-clock")]
pub use clock::CoarseClock;
pub use clock::{Clock, ManualClock, SystemClock};
pub use decision::{Decision, Forecast, MAX_SAFE};
pub use duration::{ParseDurationError, parse_duration_ms};
pub use error::{BuildError, Error, ErrorKind, RateLimitExceeded};
pub use limiter::{DynLimiter, Limiter, LimiterBuilder};
pub use multi::{Dimension, DimensionKeys, InMemory, Multi, MultiBuilder};
pub use observe::{Event, Observer};
pub use permit::{Outcome, Permit, Settle, Slot};
pub use program::{Change, Program, Project, State, Step, Strategy};
pub use run::{BoxFuture, Run};
#[cfg(feature = "tokio")]
pub use runtime::TokioRuntime;
pub use runtime::{Runtime, TaskHandle};
pub use shaper::{Departure, LeakyBucket, LeakyBucketBuilder, Reservation, Shaper, ShaperBuilder};
pub use strategy::exact_gcra::ExactGcra;
pub use strategy::fixed_window::FixedWindow;
pub use strategy::gcra::Gcra;
pub use strategy::quota::Quota;
pub use strategy::sliding_window::SlidingWindow;
pub use strategy::sliding_window_log::SlidingWindowLog;
pub use strategy::token_bucket::TokenBucket;
