#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]

mod batch;
mod builder;
mod core;
mod exchange;
mod lane;
mod lease;
mod store;
mod table;
#[cfg(feature = "tls")]
mod tls;
mod trouble;
mod worker;

pub use builder::{Mode, PostgresStoreBuilder};
pub use store::{PostgresStore, Stats};
