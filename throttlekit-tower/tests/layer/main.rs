//! The layer: what it admits, answers and holds, whatever is around it.

mod clients;
#[path = "../common/mod.rs"]
mod common;
mod failures;
mod joint;
mod keys;
mod layers;
mod lifecycle;
mod limits;
mod meters;
mod options;
mod permits;
mod readiness;
mod terms;
