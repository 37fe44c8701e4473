//! Configurations: what they mean, and what is said of those that are wrong.
#![cfg(feature = "config")]
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod advertise;
mod blocks;
mod concurrency;
mod errors;
mod keys;
mod misspelt;
mod plans;
mod ranges;
mod read;
mod routes;
mod sketches;
mod store;
mod total;
