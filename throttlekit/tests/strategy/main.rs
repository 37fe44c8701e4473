//! Strategies: what each admits, keeps and refuses.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod bounds;
mod calendar;
mod exact_gcra;
mod fixed_window;
mod gcra;
mod properties;
mod quota;
mod refunds;
mod shaper;
mod shaper_schedule;
mod sliding_window;
mod sliding_window_log;
#[path = "../support/mod.rs"]
mod support;
mod token_bucket;
