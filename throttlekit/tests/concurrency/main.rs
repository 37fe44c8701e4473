//! Limits of the work in flight, and the learners that find them.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod beside_model;
mod guard;
mod keyed;
mod learn;
mod model;
mod permit;
mod priority;
mod queue;
mod queue_threads;
mod steady;
#[path = "../support/mod.rs"]
mod support;
mod windowed;
