//! A size from a forecast, as far as the forecast proves good.

use std::fmt;

use super::{EoqOptions, EoqSizer, Sizer, usable};
use crate::error::BuildError;
use crate::learn::{Hedge, LearningRate};

/// The learning rate unless another one is given.
const DEFAULT_RATE: f64 = 0.01;

/// Weighs two sizes by [`Hedge`]: the best one for a forecast of the demand, and what [`EoqSizer`] learnt without.
///
/// With good forecasts it comes near to the sizes of one who knows the demand beforehand, with bad ones near to the learner.
///
/// ```
/// use throttlekit::lease::{EoqOptions, PredictiveSizer};
///
/// let mut sizer = PredictiveSizer::new(EoqOptions::new(20.0, 1.0).max_size(1_000.0))?;
/// assert_eq!(sizer.size_for(100.0), 32.0); // half of 63, half of 1
/// sizer.observe(100.0);
/// assert_eq!(sizer.size_for(100.0), 63.0);
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PredictiveSizer {
    robust: EoqSizer,
    hedge: Hedge,
    follow_size: f64,
    robust_size: f64,
}

impl PredictiveSizer {
    /// A sizer with a learning rate of 0.01.
    ///
    /// # Errors
    ///
    /// As [`EoqOptions::build`].
    pub fn new(options: EoqOptions) -> Result<Self, BuildError> {
        Self::with_rate(options, LearningRate::Fixed(DEFAULT_RATE))
    }

    /// A sizer with this learning rate.
    ///
    /// # Errors
    ///
    /// As [`EoqOptions::build`] and [`Hedge::new`].
    pub fn with_rate(options: EoqOptions, rate: LearningRate) -> Result<Self, BuildError> {
        let robust = options.build()?;
        Ok(Self { robust, hedge: Hedge::new(rate)?, follow_size: robust.min(), robust_size: robust.min() })
    }

    /// The size in whole units for a forecast of the demand in the window. A forecast that is not finite or not above 0
    /// asks for the least size.
    ///
    /// What is observed next judges the two sizes that this call weighed.
    pub fn size_for(&mut self, forecast: f64) -> f64 {
        let follow =
            if usable(forecast) && forecast > 0.0 { self.robust.costs().best(forecast) } else { self.robust.min() };
        self.follow_size = self.robust.whole(follow);
        self.robust_size = self.robust.size();
        let [follow, robust] = self.hedge.weights();
        self.robust.whole(follow * self.follow_size + robust * self.robust_size)
    }

    /// Learns the demand of a window. One that is not finite or negative tells nothing.
    pub fn observe(&mut self, demand: f64) {
        if usable(demand) {
            let costs = self.robust.costs();
            self.hedge.observe([costs.of(self.follow_size, demand), costs.of(self.robust_size, demand)]);
            self.robust.observe(demand);
        }
    }

    /// How much the forecast counts, and how much the learner; their sum is 1.
    pub fn weights(&self) -> [f64; 2] {
        self.hedge.weights()
    }

    /// The learner that knows no forecasts.
    pub fn robust(&self) -> &EoqSizer {
        &self.robust
    }

    /// A [`Sizer`] that asks `forecast` at each lease. It is given the demand of the last window that is over, if any.
    pub fn guided<F: FnMut(Option<f64>) -> f64 + Send>(self, forecast: F) -> Guided<F> {
        Guided { sizer: self, forecast, last: None }
    }
}

/// A [`PredictiveSizer`] with the source of its forecasts; from [`PredictiveSizer::guided`].
///
/// ```
/// use throttlekit::lease::{EoqOptions, PredictiveSizer, Sizer};
///
/// // Expects as much as in the window before.
/// let sizer = PredictiveSizer::new(EoqOptions::new(20.0, 1.0).max_size(1_000.0))?;
/// let mut sizer = sizer.guided(|last| last.unwrap_or(100.0));
/// assert_eq!(sizer.size(), 32.0);
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Guided<F> {
    sizer: PredictiveSizer,
    forecast: F,
    last: Option<f64>,
}

impl<F: FnMut(Option<f64>) -> f64 + Send> Sizer for Guided<F> {
    fn size(&mut self) -> f64 {
        let forecast = (self.forecast)(self.last);
        self.sizer.size_for(forecast)
    }

    fn observe(&mut self, demand: f64) {
        self.last = Some(demand).filter(|demand| usable(*demand)).or(self.last);
        self.sizer.observe(demand);
    }
}

impl<F> fmt::Debug for Guided<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guided").field("sizer", &self.sizer).field("last", &self.last).finish_non_exhaustive()
    }
}
