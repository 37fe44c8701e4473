//! Counting and limiting any number of keys in constant memory.

mod accuracy;
mod bytes;
mod cells;
mod count_min;
mod hash;
mod limiter;
mod screen;
mod windows;

pub use accuracy::Accuracy;
pub use bytes::{DecodeError, MergeError, Snapshot};
pub use count_min::{CountMin, CountMinBuilder};
pub use hash::SketchHash;
pub use limiter::{SketchLimiter, SketchLimiterBuilder};
pub use screen::{Carry, ScreenStats, Screened, ScreenedBuilder};

use crate::error::BuildError;

/// The highest limit that a sketch can keep: its counters stay at 2^32 - 1, and would admit for ever from there.
const MAX_LIMIT: f64 = u32::MAX as f64;

/// A number of shards as a power of two.
fn shards(option: &'static str, shards: usize) -> Result<usize, BuildError> {
    const MAX_SHARDS: usize = 1_024;
    if (1..=MAX_SHARDS).contains(&shards) {
        Ok(shards.next_power_of_two())
    } else {
        Err(BuildError::new(option, shards, "must be a whole number from 1 to 1,024"))
    }
}
