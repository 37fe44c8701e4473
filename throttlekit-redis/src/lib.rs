#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]
// Until the store is there, nothing reaches the connections.
#![allow(dead_code)]

mod error;
mod link;
mod options;
mod script;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
mod tls;

pub use options::RedisOptions;
#[cfg(feature = "tls")]
pub use tls::Tls;
