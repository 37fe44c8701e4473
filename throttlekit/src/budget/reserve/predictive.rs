//! A reservation from a prediction, as far as predictions prove good.

use super::learned::{LearnedReservation, ReservationOptions, usable, whole};
use super::policy::Ticket;
use crate::error::BuildError;
use crate::learn::{Hedge, LearningRate};

/// The learning rate unless another one is given.
const DEFAULT_RATE: f64 = 0.01;

/// Weighs two reservations by [`Hedge`]: what was predicted for this very work, and what [`LearnedReservation`] learnt
/// without.
///
/// With good predictions it loses little more than following them, with bad ones little more than the learner. Each
/// [`reserve`](Self::reserve) gives a [`Ticket`] that carries the two reservations it weighed, and
/// [`observe`](Self::observe) takes that back: so work that runs at the same time is scored by its own pair.
///
/// ```
/// use throttlekit::budget::{PredictiveReservation, ReservationOptions};
///
/// let mut predictive = PredictiveReservation::new(ReservationOptions::new(1.0, 4.0, 512.0))?;
/// let ticket = predictive.reserve(100.0);
/// assert_eq!(ticket.amount(), 178); // half of 100, half of 256
/// predictive.observe(ticket, 100.0);
/// assert!(predictive.weights()[0] > 0.8);
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PredictiveReservation {
    robust: LearnedReservation,
    hedge: Hedge,
}

impl PredictiveReservation {
    /// With a learning rate of 0.01.
    ///
    /// # Errors
    ///
    /// As [`ReservationOptions::build`].
    pub fn new(options: ReservationOptions) -> Result<Self, BuildError> {
        Self::with_rate(options, LearningRate::Fixed(DEFAULT_RATE))
    }

    /// With this learning rate.
    ///
    /// A fixed one leaves a regret to the better of the two that may grow with the number of rounds, and on losses of
    /// thousands of tokens the weights stay near 0 and 1. [`LearningRate::Decaying`] with
    /// [`LearnedReservation::loss_range`] bounds it by its square root.
    ///
    /// # Errors
    ///
    /// As [`ReservationOptions::build`] and [`Hedge::new`].
    pub fn with_rate(options: ReservationOptions, rate: LearningRate) -> Result<Self, BuildError> {
        Ok(Self { robust: options.build()?, hedge: Hedge::new(rate)? })
    }

    /// What to reserve for work with this prediction; 0 if there is none. One that is negative or not finite counts as 0.
    pub fn reserve(&self, prediction: f64) -> Ticket {
        let prediction = if usable(prediction) { prediction } else { 0.0 };
        let follow = self.robust.clamp(prediction);
        #[allow(clippy::cast_precision_loss)] // rounded from a float
        let robust = self.robust.reserve() as f64;
        let [of_follow, of_robust] = self.hedge.weights();
        let amount = whole(self.robust.clamp(of_follow * follow + of_robust * robust));
        Ticket::new(follow, robust, amount)
    }

    /// Learns what the work of `ticket` cost. A cost that is negative or not finite tells nothing.
    #[allow(clippy::needless_pass_by_value)] // a ticket is scored once
    pub fn observe(&mut self, ticket: Ticket, cost: f64) {
        let Ticket { follow, robust, .. } = ticket;
        if usable(cost) {
            self.hedge.observe([self.robust.loss(follow, cost), self.robust.loss(robust, cost)]);
            self.robust.observe(cost);
        }
    }

    /// Learns from work that nothing was predicted or reserved for.
    pub fn train(&mut self, cost: f64) {
        self.robust.observe(cost);
    }

    /// How much the prediction counts, and how much the learner; their sum is 1.
    pub fn weights(&self) -> [f64; 2] {
        self.hedge.weights()
    }

    /// The learner that knows no predictions.
    pub fn robust(&self) -> &LearnedReservation {
        &self.robust
    }
}
