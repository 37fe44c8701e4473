//! Where states are kept, and what stands in when that place is out.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod circuit_breaker;
mod fallback;
mod memory_table;
mod memory_threads;
mod remote;
#[path = "../support/mod.rs"]
mod support;
mod testkit;
