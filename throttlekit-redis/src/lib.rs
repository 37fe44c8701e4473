#![doc = include_str!("../README.md")]
//!
#![doc = include_str!("../docs/benchmarks.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]

#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
mod connect;
mod error;
mod guarded;
mod link;
mod options;
mod plan;
mod replay;
mod script;
mod store;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
mod tls;

#[cfg(feature = "config")]
pub use connect::RedisConnector;
pub use options::RedisOptions;
pub use script::scripts;
pub use store::{RedisStore, RedisStoreBuilder};
#[cfg(feature = "tls")]
pub use tls::Tls;
