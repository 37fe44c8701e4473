#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]

mod extract;
mod framework;
mod layer;

pub use extract::{DecisionMissing, Throttled};
pub use framework::Axum;
pub use layer::ThrottleLayer;

/// Compiles the examples of the workspace's front page.
#[cfg(all(doctest, feature = "config"))]
#[doc = include_str!("../../README.md")]
struct FrontPage;
