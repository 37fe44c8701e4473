//! Learners of one number: what lease sizes and reservations are learnt by.
//!
//! - [`AdaGrad`] follows the gradient of a convex loss, in steps that shrink with what it has seen.
//! - [`Hedge`] weighs two ways of choosing by what each would have lost.
//!
//! Neither draws random numbers or reads a clock: the same observations lead to the same bits.

mod adagrad;
mod hedge;

pub use adagrad::AdaGrad;
pub use hedge::{Hedge, LearningRate};
