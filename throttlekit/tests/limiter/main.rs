//! The limiter, and what it decides, reads and answers.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod clock;
mod decision;
mod duration;
mod headers;
mod headers_joint;
mod in_memory;
mod multi;
mod multi_each;
mod overtaken;
mod runtime;
#[path = "../support/mod.rs"]
mod support;
mod traits;
