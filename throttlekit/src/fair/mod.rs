//! One limit that several tenants share by weight.
//!
//! Under a plain limit whoever asks most gets most. Here each tenant is owed a share by its weight:
//!
//! | | who gets what others leave | state |
//! |---|---|---|
//! | [`weighted_max_min`] | those who asked for more, evenly by weight; all demands are known at once | none |
//! | [`FairEscrow`] | who asks for it, beyond what others are still owed in this window | used units per tenant |
//! | [`FairShare`] | nobody | used units per tenant |
//!
//! ```
//! use throttlekit::ManualClock;
//! use throttlekit::fair::FairEscrow;
//!
//! let builder = FairEscrow::builder().limit(10.0).window_ms(1_000.0).weights([("gold", 4.0)]);
//! let fair = builder.clock(ManualClock::new(0.0)).build()?;
//! assert!(fair.check_cost("gold", 1.0)?.allowed);
//! assert!(fair.check_cost("basic", 2.0)?.allowed, "a fifth of 10");
//! assert!(!fair.check_cost("basic", 1.0)?.allowed, "the rest is owed to gold");
//! assert!(fair.check_cost("gold", 7.0)?.allowed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dynamic;
mod escrow;
mod escrow_builder;
mod leasing;
mod lending;
mod max_min;
mod pool;
mod share;
mod stats;
mod tenants;
mod terms;
mod watch;
mod weights;

pub use escrow::FairEscrow;
pub use escrow_builder::FairEscrowBuilder;
pub use max_min::{guaranteed_share, weighted_max_min, weighted_max_min_split};
pub use share::{FairShare, FairShareBuilder};
pub use stats::{FairStats, TenantStats};

/// How many tenants are kept apart unless it is told otherwise.
pub const DEFAULT_MAX_TENANTS: usize = 100_000;
