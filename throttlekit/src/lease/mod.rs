//! Leases: units fetched from a shared store in batches, and spent where they are needed.

mod sizing;

pub use sizing::{EoqOptions, EoqSizer, Guided, PredictiveSizer, Sizer, eoq};
