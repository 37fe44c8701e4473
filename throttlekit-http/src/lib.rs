#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]

mod builder;
mod decide;
mod door;
mod hooks;
pub mod key;
mod limits;
#[cfg(feature = "config")]
mod registry;
mod reject;
mod rule;

pub use builder::Builder;
pub use decide::{Answered, Pass, Stop, Verdict, Waiting};
pub use door::{Answer, Door, Head, Present};
pub use limits::Limits;
pub use reject::{Failure, Limited, Reject, Rejection};
