//! Which keys ask most, and which are denied most, in bounded memory.

mod space_saving;

pub use space_saving::{Counted, SpaceSaving};
