#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]

mod extract;
mod framework;
mod layer;
mod metrics;
mod refusal;
mod router;

pub use extract::{NotShared, Slot, Throttled};
pub use framework::Axum;
pub use layer::{Failure, Limited, Rejection, RequestHead, ThrottleLayer, ThrottleLayerBuilder};
pub use metrics::metrics_router;
pub use refusal::Refusal;
pub use router::RouterExt;
pub use throttlekit_tower::{Admitted, KeyMeter, Lookup, PeerAddr, Terms, Throttle, UpgradeSlot, key};

/// Compiles the examples of the workspace's front page.
#[cfg(all(doctest, feature = "config"))]
#[doc = include_str!("../../README.md")]
struct FrontPage;
