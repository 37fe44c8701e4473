//! Two experts, weighed by their losses.

use std::f64::consts::LN_2;

use crate::error::BuildError;

/// How fast [`Hedge`] turns to the expert that lost less.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum LearningRate {
    /// The same for ever, above 0. In `T` rounds with losses in a range of `rho` the regret is at most
    /// `ln 2 / eta + eta * rho^2 * T / 8`.
    Fixed(f64),
    /// `sqrt(8 ln 2 / t) / rho` in round `t`, for losses in a range of this `rho`, above 0: regret that grows as
    /// `sqrt(T)` without knowing `T`.
    Decaying(f64),
}

/// Exponential weights over two experts (Freund and Schapire, 1997).
///
/// With `S1` and `S2` the summed losses, `m` the lesser of them and `eta` the learning rate, the weights are
/// `exp(-eta * (S1 - m))` and `exp(-eta * (S2 - m))`, divided by their sum. For convex losses the weighted mean of what the
/// experts advise then loses no more than the better of them, but for the regret that [`LearningRate`] states.
///
/// ```
/// use throttlekit::learn::{Hedge, LearningRate};
///
/// let mut hedge = Hedge::new(LearningRate::Fixed(0.5))?;
/// assert_eq!(hedge.weights(), [0.5, 0.5]);
/// hedge.observe([1.0, 3.0]);
/// let [first, second] = hedge.weights();
/// assert!((first - 0.731_058_578_630_004_9).abs() < 1e-15 && (first + second - 1.0).abs() < 1e-15);
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hedge {
    rate: LearningRate,
    losses: [f64; 2],
    rounds: f64,
}

impl Hedge {
    /// Experts that have lost nothing yet.
    ///
    /// # Errors
    ///
    /// If the number in `rate` is not finite or not above 0.
    pub fn new(rate: LearningRate) -> Result<Self, BuildError> {
        let (option, number) = match rate {
            LearningRate::Fixed(eta) => ("learningRate", eta),
            LearningRate::Decaying(range) => ("learningRate.lossRange", range),
        };
        if !number.is_finite() || number <= 0.0 {
            return Err(BuildError::new(option, number, "must be a finite number above 0"));
        }
        Ok(Self { rate, losses: [0.0; 2], rounds: 0.0 })
    }

    /// What each expert has lost so far.
    pub fn losses(&self) -> [f64; 2] {
        self.losses
    }

    /// How much each counts in the round to come; their sum is 1.
    pub fn weights(&self) -> [f64; 2] {
        let eta = match self.rate {
            LearningRate::Fixed(eta) => eta,
            LearningRate::Decaying(range) => (8.0 * LN_2 / (self.rounds + 1.0)).sqrt() / range,
        };
        let [first, second] = self.losses;
        let least = first.min(second);
        let first = (-eta * (first - least)).exp();
        let second = (-eta * (second - least)).exp();
        let sum = first + second;
        [first / sum, second / sum]
    }

    /// Ends a round in which each expert lost this much. Losses that are not finite are not counted, and the round
    /// neither.
    pub fn observe(&mut self, losses: [f64; 2]) {
        let [first, second] = self.losses;
        let sums = [first + losses[0], second + losses[1]];
        if sums.iter().all(|sum| sum.is_finite()) {
            self.losses = sums;
            self.rounds += 1.0;
        }
    }
}
