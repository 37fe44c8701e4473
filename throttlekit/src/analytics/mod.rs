//! Which keys ask most, and which are denied most: counts in windows, in bounded memory.
//!
//! | to | use |
//! |---|---|
//! | see who asks most of a limiter, and who is denied most | [`Analytics`] |
//! | see that of whole admissions, also by what denied them | [`AdmissionAnalytics`] |
//! | find the heaviest keys of any stream | [`SpaceSaving`] |
//!
//! None of them changes a decision. What they keep does not grow with the number of keys.

mod admissions;
mod builder;
mod counts;
mod decisions;
mod few;
mod index;
mod many;
mod rank;
mod space_saving;

pub use admissions::{AdmissionAnalytics, AdmissionSnapshot};
pub use builder::AnalyticsBuilder;
pub use counts::{Snapshot, Totals};
pub use decisions::Analytics;
pub use space_saving::{Counted, SpaceSaving};
