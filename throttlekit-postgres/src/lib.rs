#![doc = include_str!("../README.md")]
//!
#![doc = include_str!("../docs/benchmarks.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]

mod batch;
mod builder;
#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
mod connector;
mod core;
mod exchange;
mod hints;
mod lane;
mod lease;
mod store;
mod table;
#[cfg(feature = "tls")]
mod tls;
mod trouble;
mod worker;

pub use builder::{Mode, PostgresStoreBuilder};
#[cfg(feature = "config")]
pub use connector::PostgresConnector;
pub use store::{PostgresStore, Stats};
