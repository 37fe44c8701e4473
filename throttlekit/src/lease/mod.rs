//! Leases: units fetched from a shared store in batches, and spent where they are needed.

mod grant;
mod sizing;

pub use grant::{GiveBack, Grant, GrantForm, Granted, Unspent, Wanted};
pub use sizing::{EoqOptions, EoqSizer, Guided, PredictiveSizer, Sizer, eoq};
