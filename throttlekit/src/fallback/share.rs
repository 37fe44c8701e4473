//! The part of a limit that one process grants by itself.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::error::BuildError;

/// The part of a limit that one process grants while the store is out: above 0, at most 1.
///
/// In a fleet of `n` processes a share of `1 / n` keeps their sum at about the limit.
///
/// ```
/// use throttlekit::Share;
///
/// let fifth = Share::new(0.2)?;
/// assert_eq!((fifth.of(100.0), fifth.of(7.0), fifth.of(3.0)), (20.0, 1.0, 1.0));
/// assert_eq!(fifth.of(7.5), 1.5);
/// assert_eq!(Share::default(), Share::WHOLE);
/// assert!(Share::new(0.0).is_err());
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// All of the limit.
    pub const WHOLE: Self = Self(1.0);

    /// This part of the limit.
    ///
    /// # Errors
    ///
    /// If `share` is not above 0 and at most 1.
    pub fn new(share: f64) -> Result<Self, BuildError> {
        if share > 0.0 && share <= 1.0 {
            Ok(Self(share))
        } else {
            Err(BuildError::new("failMode.share", share, "must be a number above 0 and at most 1"))
        }
    }

    /// The share as a number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// This part of a number of units: of a whole number the next whole number below, at least 1; of another one the
    /// exact part, also at least 1. A number below 1 stays as it is.
    ///
    /// A product that misses a whole number only by the rounding of its factors is that number: 0.29 of 100 is 29.
    pub fn of(self, units: f64) -> f64 {
        let part = units * self.0;
        let part = if units.fract() == 0.0 { floor_of_product(part) } else { part };
        part.max(units.min(1.0))
    }
}

/// `floor(product)`, where a product that is short of a whole number by its rounding counts as that number.
fn floor_of_product(product: f64) -> f64 {
    let nearest = product.round();
    // A decimal fraction and a product are each off by half a unit in the last place at most.
    if (product - nearest).abs() <= nearest * (2.0 * f64::EPSILON) { nearest } else { product.floor() }
}

impl Default for Share {
    /// All of the limit.
    fn default() -> Self {
        Self::WHOLE
    }
}

// A share is never NaN, so equality is that of a number; nor is it 0, so equal shares have equal bits.
impl Eq for Share {}

impl Hash for Share {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
