//! Machines of few steps, and all the states that they can come to.
//!
//! Each module here is a protocol of this project reduced to what its promise depends on: which nodes there are, what each
//! of them holds, what the store holds. [`explore`] visits every state that can be reached in any order of steps, so a
//! promise that holds in all of them holds for these sizes, not only for the orders that somebody thought of.

mod explore;
pub mod fence;
pub mod handoff;
pub mod lease;
pub mod share;

pub use explore::{Explored, Machine, Violation, explore};
