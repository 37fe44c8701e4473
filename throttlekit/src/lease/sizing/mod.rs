//! How many units to lease at once.
//!
//! A lease of `b` units costs a trip to the store, and what is left of it when its window ends is stranded. Under a demand
//! of `D` units in a window that is the problem of the economic order quantity: with `c` the cost of a trip and `h` the
//! cost of a stranded unit,
//!
//! ```text
//! f(b) = c * D / b + h * b / 2        least at  b* = sqrt(2 * c * D / h)
//! ```
//!
//! [`EoqSizer`] learns the size without knowing the demand; [`PredictiveSizer`] also listens to a forecast, as far as the
//! forecast proves good. How many units are leased never affects a bound with window coupling, so a learner can only
//! cost trips and units, not overshoot.

mod online;
mod predictive;

pub use online::{EoqOptions, EoqSizer};
pub use predictive::{Guided, PredictiveSizer};

use crate::error::BuildError;

/// Chooses the sizes of the leases of one key.
///
/// It is asked while the key is locked: it must be quick, and must not use the limiter.
///
/// ```
/// use throttlekit::lease::Sizer;
///
/// /// Leases as much as was asked for in the window before.
/// struct SameAgain(f64);
///
/// impl Sizer for SameAgain {
///     fn size(&mut self) -> f64 {
///         self.0
///     }
///     fn observe(&mut self, demand: f64) {
///         self.0 = demand;
///     }
/// }
/// let mut sizer = SameAgain(1.0);
/// sizer.observe(40.0);
/// assert_eq!(sizer.size(), 40.0);
/// ```
pub trait Sizer: Send {
    /// Units for the next lease. A holder takes less than 1, or what is not finite, for 1.
    fn size(&mut self) -> f64;

    /// What was asked for in a window that is over: admitted or not, also where the denial came without a trip.
    fn observe(&mut self, demand: f64);
}

/// The size that costs least: `sqrt(2 * c * D / h)` for an order cost `c`, a strand penalty `h` and a demand `D`.
///
/// ```
/// use throttlekit::lease::eoq;
///
/// assert!((eoq(20.0, 1.0, 100.0)? - 63.245_553_203_367_585).abs() < 1e-12);
/// assert_eq!(eoq(20.0, 1.0, 0.0)?, 0.0);
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
///
/// # Errors
///
/// If a cost is not finite and above 0, or the demand is not finite and at least 0.
pub fn eoq(order_cost: f64, strand_penalty: f64, demand: f64) -> Result<f64, BuildError> {
    let costs = Costs::new(order_cost, strand_penalty)?;
    if demand.is_finite() && demand >= 0.0 {
        Ok(costs.best(demand))
    } else {
        Err(BuildError::new("eoq.demand", demand, "must be a finite number of at least 0"))
    }
}

/// What a trip and a stranded unit cost, in any one unit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Costs {
    order: f64,
    strand: f64,
}

impl Costs {
    fn new(order: f64, strand: f64) -> Result<Self, BuildError> {
        positive("adaptive.orderCost", order)?;
        positive("adaptive.strandPenalty", strand)?;
        Ok(Self { order, strand })
    }

    /// The best size for a demand.
    fn best(self, demand: f64) -> f64 {
        ((2.0 * self.order * demand) / self.strand).sqrt()
    }

    /// What leases of `size` cost under a demand.
    fn of(self, size: f64, demand: f64) -> f64 {
        if demand <= 0.0 { 0.0 } else { self.order * demand / size + self.strand * size / 2.0 }
    }

    /// How that changes with the logarithm of the size.
    fn slope(self, size: f64, demand: f64) -> f64 {
        -(self.order * demand) / size + (self.strand / 2.0) * size
    }
}

/// A demand that tells something.
fn usable(demand: f64) -> bool {
    demand.is_finite() && demand >= 0.0
}

fn positive(option: &'static str, value: f64) -> Result<f64, BuildError> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(BuildError::new(option, value, "must be a finite number above 0"))
    }
}
