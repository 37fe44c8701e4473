//! What allocates nothing.
//!
//! A program by itself: the allocator that counts writes zeros itself where the system hands out fresh pages, which makes
//! every large table slow.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod budget;
mod lease;
mod limiter;
#[cfg(feature = "config")]
mod policy;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod unified;
