//! Rate, work in flight and cost at once.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod admit;
mod apart;
mod prices;
#[path = "../support/mod.rs"]
mod support;
mod tap;
