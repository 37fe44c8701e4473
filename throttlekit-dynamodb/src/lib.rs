#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backoff;
mod builder;
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
pub use store::DynamoDbStore;
