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
//! let mut admission = guard.admit(&Ask::new("")).now().expect("a guard never waits")?;
//! assert!(admission.decision.allowed);
//!
//! admission.permit.begin(); // the work starts: a permit that is lost from here on means that the work was cut off
//! // ... the work ...
//! admission.permit.settle(Outcome::Completed);
//! assert_eq!(guard.in_flight(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which limit
//!
//! [`Guard::fixed`] where the capacity is known. Otherwise the guard learns it from the latency of the work, by one of
//! three [algorithms](Algorithm), of which [`Algorithm::Steady`] is the default.

mod baseline;
mod builder;
mod guard;
mod law;
mod learner;
#[cfg(all(test, loom))]
mod loom_tests;
mod steady;
mod sync;
mod windowed;
mod word;

pub use builder::{Algorithm, GuardBuilder, Recalibration};
pub use guard::{Guard, GuardReport, GuardStats};
