//! Rate, cost and concurrency limiting: one decision, the same in memory and on every shared store.
//!
//! ```
//! use throttlekit::{Gcra, Limiter};
//!
//! let limiter = Limiter::new(Gcra::per_minute(100)?);
//! let decision = limiter.check("user-1")?;
//! assert!(decision.allowed);
//! assert_eq!(decision.remaining, 99);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # One idea
//!
//! A [`Program`] is a pure step over the state of one key. A [`Keyspace`](store::Keyspace) runs it atomically: in process
//! a [`Table`](store::memory::Table), behind a network a [`Remote`](store::Remote) over a [`Store`](store::Store).
//! Whatever limits is built from these two:
//!
//! | to | use |
//! |---|---|
//! | limit each key by one of the [strategies](strategy) | [`Limiter`] |
//! | limit in several dimensions, all or none charged | [`Multi`] |
//! | limit how much work is in flight, by a number that is given or learnt | [`Guard`] |
//! | share that among tenants | [`KeyedGuard`] |
//! | admit by rate, work in flight and cost at once | [`Unified`] |
//! | limit keys that many processes share, with few trips to their store | [`TwoTier`](lease::TwoTier) |
//! | meter tokens while they are produced | [`TokenBudget`](budget::TokenBudget) |
//! | limit more keys than memory has room for, or refuse those that only knock | [`sketch`] |
//! | share a limit among tenants by weight | [`FairEscrow`](fair::FairEscrow) |
//! | delay work instead of refusing it | [`Shaper`] |
//! | load named limits from a file, and reload them | `config` and `policy`, with the feature `config` |
//! | find out who asks: addresses behind proxies, API keys | `identity`, with the feature `identity` |
//! | show a decision to HTTP clients | [`headers`] |
//! | see every decision | [`Observer`] |
//! | see which keys ask most, and which are denied most | [`analytics`] |
//! | show counts, limits and latencies to Prometheus | [`prometheus`] |
//! | guard a door of one's own by any limit | [`Admit`], [`Meter`] |
//! | write an algorithm | [`Program`], [`Strategy`] |
//! | keep states elsewhere | [`Store`](store::Store) |
//! | go on when a store is out | [`CircuitBreaker`](store::CircuitBreaker), [`Fallback`] |
//!
//! # What holds everywhere
//!
//! - A denial is a value, a [`Decision`], and takes nothing. An [`Error`] means that nothing was decided: the store is
//!   gone ([`Error::is_store_unavailable`]), the state is broken, or the argument is bad.
//! - Time is whole milliseconds since the Unix epoch, read from a [`Clock`]: once for each operation, and again only if another
//!   thread came in between. [`SystemClock`], the default, never steps back. Nothing else reads the time, so tests move a
//!   [`ManualClock`].
//! - In memory nothing waits unless a guard has a [queue](GuardBuilder::queue), a hit allocates nothing, and keys are bounded
//!   in number. A [`Table`](store::memory::Table) keeps none of their text; leases, fair escrows, gates and analytics do.
//! - No task runs in the background unless a [`Runtime`] was given, and each ends with its owner.
//! - Numbers are `f64` in one fixed order of operations, so that every process that shares a key comes to the same bits.
//!
//! # Features
//!
//! All but `tsc` are off by default.
//!
//! | feature | adds |
//! |---|---|
//! | `config` | limits from YAML, JSON and TOML files, and the registry of named policies |
//! | `coarse-clock` | `CoarseClock`: cheaper to read, up to a kernel tick old |
//! | `identity` | who asks: the client's address behind proxies, and keyed hashes of what must not be stored |
//! | `testkit` | the test that every store has to pass |
//! | `tokio` | `TokioRuntime`: sleeping and background work on the current tokio runtime |
//! | `tsc` (default) | [`SystemClock`] asks the operating system once in a millisecond and counts by the processor in between |
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]

mod admit;
pub mod analytics;
pub mod budget;
mod clock;
pub mod concurrency;
#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
pub mod config;
mod decision;
mod duration;
mod error;
pub mod fair;
mod fallback;
mod fingerprint;
pub mod headers;
#[cfg(feature = "identity")]
#[cfg_attr(docsrs, doc(cfg(feature = "identity")))]
pub mod identity;
pub mod learn;
pub mod lease;
mod limiter;
mod math;
mod multi;
mod observe;
mod outage;
mod permit;
#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
pub mod policy;
mod priority;
mod program;
pub mod prometheus;
mod report;
mod run;
mod runtime;
mod shaper;
pub mod sketch;
pub mod store;
pub mod strategy;
#[cfg(feature = "testkit")]
#[cfg_attr(docsrs, doc(cfg(feature = "testkit")))]
pub mod testkit;
pub mod twin;
pub mod unified;

pub use admit::{Admission, Admit, Ask, Axes, Axis, Meter};
#[cfg(feature = "coarse-clock")]
pub use clock::CoarseClock;
pub use clock::{Clock, ManualClock, SystemClock};
pub use concurrency::{Algorithm, Guard, GuardBuilder, KeyedGuard, KeyedGuardBuilder, Queue, Recalibration};
pub use decision::{Decision, Forecast, MAX_SAFE};
pub use duration::{ParseDurationError, parse_duration_ms};
pub use error::{BuildError, Error, ErrorKind, RateLimitExceeded};
pub use fallback::{FailMode, Fallback, MissingKey, Share};
pub use limiter::{DynLimiter, Limiter, LimiterBuilder};
pub use multi::{Dimension, DimensionKeys, InMemory, Multi, MultiBuilder};
pub use observe::{
    AdmissionEvent, AdmissionRecord, CallKind, DecisionRecord, Disconnect, Event, EventReceiver, EventSender, Gauges,
    GuardReport, GuardStats, Lane, LeaseEvent, Observer, Record, Stage, Wait, WaitOutcome, event_channel,
};
pub use outage::Outage;
pub use permit::{Outcome, Permit, Settle, Slot};
pub use priority::Priority;
pub use program::{Change, Formula, Program, Project, Refund, State, Step, Strategy};
pub use report::ReportGate;
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
pub use unified::{Consume, Unified, UnifiedBuilder};
