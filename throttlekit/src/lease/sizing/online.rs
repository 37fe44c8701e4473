//! A size learnt from the demand.

use super::{Costs, Sizer, positive, usable};
use crate::error::BuildError;
use crate::learn::AdaGrad;

/// The options of a sizer that learns.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "options do nothing until a sizer is built"]
pub struct EoqOptions {
    order_cost: f64,
    strand_penalty: f64,
    min_size: f64,
    max_size: f64,
    initial_size: Option<f64>,
    step_scale: Option<f64>,
    epsilon: f64,
}

impl EoqOptions {
    pub(crate) const MIN_SIZE: f64 = 1.0;
    pub(crate) const MAX_SIZE: f64 = 1e6;
    pub(crate) const EPSILON: f64 = 1e-8;

    /// What a trip to the store costs and what a stranded unit costs, both above 0. Only their ratio matters to the best
    /// size; 20 and 1 are a start.
    pub fn new(order_cost: f64, strand_penalty: f64) -> Self {
        Self {
            order_cost,
            strand_penalty,
            min_size: Self::MIN_SIZE,
            max_size: Self::MAX_SIZE,
            initial_size: None,
            step_scale: None,
            epsilon: Self::EPSILON,
        }
    }

    /// The least size, at least 1. Default: 1.
    pub fn min_size(mut self, units: f64) -> Self {
        self.min_size = units;
        self
    }

    /// The greatest size, at least the least one. Default: 1,000,000.
    pub fn max_size(mut self, units: f64) -> Self {
        self.max_size = units;
        self
    }

    /// The size before anything was learnt; brought into the bounds. Default: the least size, and in a limiter that is
    /// given a batch, the batch.
    pub fn initial_size(mut self, units: f64) -> Self {
        self.initial_size = Some(units);
        self
    }

    /// How far the first observation moves the logarithm of the size, above 0. Default: `ln(max / min)`, at most 1: the
    /// first step is that long whatever the demand was, and one that went straight to the greatest size would starve the
    /// other holders.
    pub fn step_scale(mut self, scale: f64) -> Self {
        self.step_scale = Some(scale);
        self
    }

    /// What is added to the squares of the gradients, above 0. Default: 1e-8.
    pub fn epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// These options, with `units` to start with unless they name another number.
    pub(crate) fn starting_at(self, units: Option<f64>) -> Self {
        Self { initial_size: self.initial_size.or(units), ..self }
    }

    /// The sizer.
    ///
    /// # Errors
    ///
    /// The option that is out of range, as `adaptive.minSize` and the like.
    pub fn build(self) -> Result<EoqSizer, BuildError> {
        let costs = Costs::new(self.order_cost, self.strand_penalty)?;
        let Self { min_size: min, max_size: max, .. } = self;
        if !min.is_finite() || min < 1.0 {
            return Err(BuildError::new("adaptive.minSize", min, "must be a finite number of at least 1"));
        }
        if !max.is_finite() || max < min {
            let allowed = format!("must be a finite number of at least minSize ({min})");
            return Err(BuildError::new("adaptive.maxSize", max, allowed));
        }
        let initial = self.initial_size.unwrap_or(min);
        if !initial.is_finite() || initial < 1.0 {
            return Err(BuildError::new("adaptive.initialSize", initial, "must be a finite number of at least 1"));
        }
        let scale = match self.step_scale {
            Some(scale) => positive("adaptive.stepScale", scale)?,
            None => (max.ln() - min.ln()).clamp(1e-6, 1.0),
        };
        let epsilon = positive("adaptive.epsilon", self.epsilon)?;
        let start = initial.max(min).min(max).ln();
        Ok(EoqSizer { costs, min, max, log: AdaGrad::new(start, min.ln(), max.ln(), scale, epsilon) })
    }
}

/// Learns the size of leases from the demand alone, by [`AdaGrad`] on the logarithm of the size.
///
/// The cost is convex in the logarithm, so the mean regret to the best fixed size in hindsight falls as `1 / sqrt(T)`,
/// whatever the sequence of demands.
///
/// ```
/// use throttlekit::lease::{EoqOptions, Sizer};
///
/// let mut sizer = EoqOptions::new(20.0, 1.0).initial_size(50.0).build()?;
/// for _ in 0..41 {
///     sizer.observe(300.0);
/// }
/// assert_eq!(sizer.size(), 110.0); // sqrt(2 * 20 * 300 / 1) is 109.54
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EoqSizer {
    costs: Costs,
    min: f64,
    max: f64,
    log: AdaGrad,
}

impl EoqSizer {
    /// The size before it is rounded.
    pub fn continuous(&self) -> f64 {
        self.log.value().exp()
    }

    pub(super) fn costs(&self) -> Costs {
        self.costs
    }

    pub(super) fn min(&self) -> f64 {
        self.min
    }

    /// A size within the bounds, in whole units.
    pub(super) fn whole(&self, size: f64) -> f64 {
        size.max(self.min).min(self.max).round()
    }

    /// The size in whole units.
    pub fn size(&self) -> f64 {
        self.whole(self.continuous())
    }
}

impl Sizer for EoqSizer {
    fn size(&mut self) -> f64 {
        Self::size(self)
    }

    fn observe(&mut self, demand: f64) {
        if usable(demand) {
            self.log.observe(self.costs.slope(self.continuous(), demand));
        }
    }
}
