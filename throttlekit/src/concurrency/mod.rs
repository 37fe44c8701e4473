//! Work in flight: slots that are taken before the work and given back after it.
//!
//! A rate says how often work may start; it knows nothing of how long it takes. When a server slows down, the same rate is
//! more and more work at the same time, until nothing is answered in time. A [`Guard`] counts what is in flight, and
//! refuses the rest at once.
//!
//! ```
//! use throttlekit::{Admit, Ask, Guard, ManualClock, Outcome};
//!
//! let guard = Guard::builder().clock(ManualClock::new(0.0)).build()?;
//! let mut admission = guard.admit(&Ask::new("")).now().expect("without a queue nothing waits")?;
//! assert!(admission.decision.allowed);
//!
//! admission.permit.begin(); // the work starts: a permit that is lost from here on means that the work was cut off
//! // ... the work ...
//! admission.permit.settle(Outcome::Completed);
//! assert_eq!(guard.in_flight(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Instead of being refused at once, a request may [wait](GuardBuilder::queue) for a slot.
//!
//! A [`KeyedGuard`] gives each tenant a share of the slots.
//!
//! # Which limit
//!
//! [`Guard::fixed`] where the capacity is known. Otherwise the guard learns it from the latency of the work, by one of
//! three [algorithms](Algorithm), of which [`Algorithm::Steady`] is the default.
//!
//! Simulated under one and a half times what a server can answer, while its capacity `K` doubles, quarters and doubles
//! again, the limit of each is from the thirtieth second after a step on:
//!
//! | algorithm | latency without scatter | scattered by 0.3 | exponential, with a queue |
//! |---|---|---|---|
//! | steady | 1.14 to 1.16 `K` | 1.12 to 1.20 `K` | 1.06 to 1.20 `K` |
//! | gradient2 | 5.1 to 20 `K` | 0.05 to 10 `K` | 0.04 to 0.2 `K` |
//! | aimd | 5.1 to 20 `K` | 0.04 to 0.9 `K` | 0.04 to 0.2 `K` |

mod baseline;
mod builder;
mod ceiling;
mod guard;
mod keyed;
mod law;
mod learner;
mod learning;
mod line;
#[cfg(all(test, loom))]
mod loom_tests;
mod queue;
mod share;
mod steady;
mod sync;
mod waiters;
mod waiting;
mod windowed;
mod word;

#[cfg(feature = "config")]
pub(crate) use builder::default;
pub use builder::{Algorithm, GuardBuilder, Recalibration};
pub use guard::Guard;
pub use keyed::{KeyedGuard, KeyedGuardBuilder};
pub use queue::Queue;

pub use crate::observe::{GuardReport, GuardStats};
