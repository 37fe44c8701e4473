#![doc = include_str!("../README.md")]
//!
#![doc = include_str!("../docs/benchmarks.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]

mod account;
mod answer;
mod background;
mod body;
#[cfg(feature = "bpe")]
mod bpe;
mod count;
mod json;
mod last;
mod meter;
mod policy;
mod report;
mod request;
mod scan;
mod template;
mod usage;

pub use account::{Account, MeterAccount, Opened};
pub use answer::Dialect;
pub use body::MeteredBody;
#[cfg(feature = "bpe")]
#[cfg_attr(docsrs, doc(cfg(feature = "bpe")))]
pub use bpe::Bpe;
pub use count::{BytesPerToken, CountTokens, UsageOnly};
pub use meter::{Source, StreamMeter};
pub use policy::{Exhausted, Opaque, StreamPolicy, StreamPolicyBuilder};
pub use report::{End, Report};
pub use request::ModelRequest;
pub use scan::{Framing, Scanner};
pub use usage::Usage;
