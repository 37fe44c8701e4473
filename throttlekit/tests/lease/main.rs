//! Units that are leased from a shared store and spent in process.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod background;
mod bounds;
mod flights;
mod grants;
mod panics;
mod refunds;
mod resets;
mod sizing;
mod spender;
#[path = "../support/mod.rs"]
mod support;
mod threads;
mod two_tier;
