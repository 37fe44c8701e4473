//! How far a sketch may be off, and how large that makes it.

use std::f64::consts::E;

use crate::error::BuildError;

/// The size of a count-min sketch, chosen by how far an estimate may be off.
///
/// With N the sum of all counts, an estimate is above the truth by more than `epsilon * N` with a probability of at most
/// `delta`. It takes `ceil(e / epsilon)` columns and `ceil(ln(1 / delta))` rows for that (Cormode and Muthukrishnan,
/// 2005), of 4 bytes each.
///
/// | epsilon, delta | columns x rows | bytes |
/// |---|---|---|
/// | 0.01, 0.001 (default) | 272 x 7 | 7,616 |
/// | 0.001, 0.01 | 2,719 x 5 | 54,380 |
/// | 0.0001, 0.01 | 27,183 x 5 | 543,660 |
///
/// ```
/// use throttlekit::sketch::Accuracy;
///
/// let accuracy = Accuracy::new(0.01, 0.001)?;
/// assert_eq!((accuracy.width(), accuracy.depth(), accuracy.bytes()), (272, 7, 7_616));
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accuracy {
    width: u32,
    depth: u32,
}

impl Accuracy {
    /// The most counters of one sketch, 2^28: a gigabyte.
    pub const MAX_COUNTERS: u64 = 1 << 28;

    /// The most rows: what the least delta with a finite inverse takes.
    pub(super) const MAX_DEPTH: u32 = 710;

    /// The smallest size that holds `epsilon` and `delta`, both above 0 and below 1.
    ///
    /// # Errors
    ///
    /// `sketch.epsilon` or `sketch.delta` if it is out of its range, `sketch.counters` if it takes more than
    /// [`MAX_COUNTERS`](Self::MAX_COUNTERS).
    pub fn new(epsilon: f64, delta: f64) -> Result<Self, BuildError> {
        for (option, value) in [("sketch.epsilon", epsilon), ("sketch.delta", delta)] {
            // NaN is refused too.
            if !(value > 0.0 && value < 1.0) {
                return Err(BuildError::new(option, value, "must be a finite number above 0 and below 1"));
            }
        }
        let (width, depth) = ((E / epsilon).ceil(), (1.0 / delta).ln().ceil());
        #[allow(clippy::cast_precision_loss)] // 2^28 is exact
        let most = Self::MAX_COUNTERS as f64;
        if width * depth > most {
            let allowed = format!("must be at most {most}: choose a larger epsilon or delta");
            return Err(BuildError::new("sketch.counters", width * depth, allowed));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // both are from 1 to 2^28
        Ok(Self { width: width as u32, depth: depth as u32 })
    }

    /// `width` columns in `depth` rows, 1 to 710: for whoever chooses the memory instead. It holds the
    /// [`epsilon`](Self::epsilon) and the [`delta`](Self::delta) that it says.
    ///
    /// ```
    /// use throttlekit::sketch::Accuracy;
    ///
    /// let accuracy = Accuracy::of_table(1_000, 4)?;
    /// assert_eq!(accuracy.bytes(), 16_000);
    /// assert!(accuracy.epsilon() < 0.003 && accuracy.delta() < 0.02);
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `sketch.width` or `sketch.depth` if it is out of its range, `sketch.counters` if they are more than
    /// [`MAX_COUNTERS`](Self::MAX_COUNTERS).
    pub fn of_table(width: u32, depth: u32) -> Result<Self, BuildError> {
        if width == 0 {
            return Err(BuildError::new("sketch.width", width, "must be a whole number of at least 1"));
        }
        if !(1..=Self::MAX_DEPTH).contains(&depth) {
            let allowed = format!("must be a whole number from 1 to {}", Self::MAX_DEPTH);
            return Err(BuildError::new("sketch.depth", depth, allowed));
        }
        Self::of_size(width, depth).ok_or_else(|| {
            let allowed = format!("must be at most {}: choose fewer columns or rows", Self::MAX_COUNTERS);
            BuildError::new("sketch.counters", u64::from(width) * u64::from(depth), allowed)
        })
    }

    /// `width` columns in `depth` rows; `None` if there are none or too many.
    pub(super) fn of_size(width: u32, depth: u32) -> Option<Self> {
        let counters = u64::from(width) * u64::from(depth);
        ((1..=Self::MAX_COUNTERS).contains(&counters) && depth <= Self::MAX_DEPTH).then_some(Self { width, depth })
    }

    /// The columns of a row.
    pub fn width(&self) -> usize {
        self.width as usize
    }

    /// The rows.
    pub fn depth(&self) -> usize {
        self.depth as usize
    }

    /// All counters.
    pub fn counters(&self) -> usize {
        self.width() * self.depth()
    }

    /// The bytes that the counters take.
    pub fn bytes(&self) -> usize {
        self.counters() * size_of::<u32>()
    }

    /// The epsilon that this size holds: at most what was asked for. A row of one or two columns holds none, and says 1.
    pub fn epsilon(&self) -> f64 {
        (E / f64::from(self.width)).min(1.0)
    }

    /// The delta that this size holds: at most what was asked for.
    pub fn delta(&self) -> f64 {
        (-f64::from(self.depth)).exp()
    }
}

impl Default for Accuracy {
    /// An epsilon of 0.01 and a delta of 0.001.
    fn default() -> Self {
        Self { width: 272, depth: 7 }
    }
}
