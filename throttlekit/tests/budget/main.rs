//! Token budgets and shares of a limit.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod debt;
mod gate;
mod leased;
mod ledger;
mod meter;
mod properties;
mod reserve;
#[path = "../support/mod.rs"]
mod support;
