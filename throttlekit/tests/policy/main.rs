//! The registry of policies.
#![cfg(feature = "config")]
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod blocks;
mod concurrency;
mod counted;
mod lifetimes;
mod loading;
mod registry;
mod sketches;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod tables;
mod together;
mod watch;
