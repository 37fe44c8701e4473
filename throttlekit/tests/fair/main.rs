//! Limits that tenants share.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod costs;
mod escrow;
mod max_min;
mod panics;
mod share;
#[path = "../support/mod.rs"]
mod support;
