//! Who asks.
#![cfg(feature = "identity")]
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod client_ip;
mod keys;
