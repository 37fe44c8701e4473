#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]

mod body;
mod builder;
mod decide;
mod fields;
mod future;
mod hooks;
pub mod key;
mod layer;
#[cfg(feature = "config")]
mod registry;
mod reject;
mod request;
mod rule;
mod service;

pub use body::ResponseBody;
pub use builder::ThrottleLayerBuilder;
pub use future::ResponseFuture;
pub use layer::ThrottleLayer;
pub use reject::{Failure, Limited, Reject, Rejection};
pub use request::{Framework, Plain, RequestHead};
pub use service::Throttle;
