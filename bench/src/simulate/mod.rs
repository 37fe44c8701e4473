//! Simulations of fleets that lease and of requests whose cost is learnt late, and the numbers behind the documentation.
//!
//! Nothing here reads the time or sleeps, and all draws come from seeded generators: a table is the same each time.

pub mod fleet;
pub mod learners;
pub mod lengths;
pub mod meter;
pub mod plots;
pub mod producers;
pub mod reservations;
pub mod schemes;
pub mod sharing;
pub mod shipped;
pub mod trace;
pub mod trilemma;
pub mod windows;
