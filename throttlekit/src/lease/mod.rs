//! Leases: units fetched from a shared store in batches, and spent where they are needed.

mod background;
mod book;
mod builder;
mod cached;
mod flight;
mod grant;
mod holding;
mod leases;
mod sizing;
mod spender;
mod two_tier;

pub use builder::{Mode, TwoTierBuilder};
pub use grant::{GiveBack, Grant, GrantForm, Granted, Unspent, Wanted};
pub use leases::LeaseStats;
pub use sizing::{EoqOptions, EoqSizer, Guided, PredictiveSizer, Sizer, eoq};
pub use spender::{LeaseSpender, MAX_ROUNDS, Reserve};
pub use two_tier::TwoTier;
