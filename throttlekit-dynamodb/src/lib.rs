#![doc = include_str!("../README.md")]
#![doc = include_str!("../docs/benchmarks.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]

mod backoff;
mod builder;
#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
mod connector;
mod create;
mod desk;
mod groups;
mod inner;
mod item;
mod party;
mod remembered;
mod store;
mod table;
mod trouble;

pub use builder::DynamoDbStoreBuilder;
#[cfg(feature = "config")]
pub use connector::DynamoDbConnector;
pub use store::DynamoDbStore;
