#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]

mod admitted;
mod builder;
mod decide;
mod door;
mod ending;
mod fields;
mod forms;
mod hooks;
pub mod key;
mod keyless;
mod limits;
mod observed;
mod options;
mod pass;
#[cfg(feature = "config")]
mod plans;
mod refusal;
#[cfg(feature = "config")]
mod registry;
mod reject;
mod rule;
mod terms;
mod waiting;

pub use admitted::{Admitted, KeyMeter};
pub use builder::Builder;
pub use decide::{Stop, Verdict};
pub use door::{Answer, Door, Head, Present};
pub use ending::{Ending, UpgradeSlot};
pub use fields::{FIELD_NAMES, FieldText};
pub use limits::Limits;
pub use pass::Pass;
pub use refusal::Refusal;
pub use reject::{Failure, Limited, Reject, Rejection};
pub use terms::{Lookup, Resolve, Terms};
pub use waiting::{Answered, Waiting};
