//! Sketches, and the limits that are made of them.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod bytes;
mod count_min;
mod deny_list;
mod limiter;
mod screen;
#[path = "../support/mod.rs"]
mod support;
