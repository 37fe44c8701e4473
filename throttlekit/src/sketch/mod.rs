//! Counting and limiting any number of keys in constant memory.
//!
//! | to | use |
//! |---|---|
//! | know how often keys are seen, in one process or, merged, in a fleet | [`CountMin`] |
//! | limit any number of keys by window | [`SketchLimiter`] |
//! | limit each key by a strategy, and have states only for those that are used much | [`Screened`] |
//! | refuse keys that are denied again and again | [`DenyListed`], [`DenyList`] |
//!
//! A sketch never counts less than the truth, so what limits by it never admits too much; it may deny early, by as much as
//! its [`Accuracy`] says. No text of keys is kept, and where they are placed depends on a secret.
//!
//! ```
//! use throttlekit::sketch::{DenyListed, Screened};
//! use throttlekit::{Admit, Ask, FixedWindow};
//!
//! let window = FixedWindow::builder().limit(100.0).window_ms(60_000.0).build()?;
//! let limiter = DenyListed::builder(Screened::new(window)?).denials(1_000).build()?;
//! assert!(limiter.admit(&Ask::new("10.0.0.1")).now().expect("memory does not wait")?.decision.allowed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accuracy;
mod bytes;
mod cells;
mod count_min;
mod deny;
mod hash;
mod limiter;
mod screen;
mod windows;

pub use accuracy::Accuracy;
pub use bytes::{DecodeError, MergeError, Snapshot};
pub use count_min::{CountMin, CountMinBuilder};
pub use deny::{DenyList, DenyListed, DenyListedBuilder};
pub use hash::SketchHash;
pub use limiter::{SketchLimiter, SketchLimiterBuilder};
pub use screen::{Carry, ScreenStats, Screened, ScreenedBuilder};

use crate::error::BuildError;

/// The highest limit that a sketch can keep: its counters stay at 2^32 - 1, and would admit for ever from there.
const MAX_LIMIT: f64 = u32::MAX as f64;

/// Refuses sketches that take more counters together than one may have.
fn fits(accuracy: Accuracy, sketches: usize) -> Result<(), BuildError> {
    let counters = (accuracy.counters() as u64).saturating_mul(sketches as u64);
    if counters <= Accuracy::MAX_COUNTERS {
        return Ok(());
    }
    let allowed = format!(
        "must be at most {} in all shards and parts: choose smaller sketches, or fewer shards",
        Accuracy::MAX_COUNTERS
    );
    Err(BuildError::new("sketch.counters", counters, allowed))
}

/// A number of shards as a power of two.
fn shards(option: &'static str, shards: usize) -> Result<usize, BuildError> {
    const MAX_SHARDS: usize = 1_024;
    if (1..=MAX_SHARDS).contains(&shards) {
        Ok(shards.next_power_of_two())
    } else {
        Err(BuildError::new(option, shards, "must be a whole number from 1 to 1,024"))
    }
}
