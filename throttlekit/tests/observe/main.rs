//! Observers, and what they count and show.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod analytics;
mod channel;
mod later;
mod observers;
mod prometheus;
mod report;
mod space_saving;
#[path = "../support/mod.rs"]
mod support;
