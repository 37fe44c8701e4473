//! Any way to choose a reservation.

use super::learned::{LearnedReservation, ReservationOptions};
use super::predictive::PredictiveReservation;
use crate::decision::MAX_SAFE;
use crate::error::BuildError;

/// What was reserved for one piece of work, and by whose advice. It is given back, once, with what the work cost.
#[derive(Debug, PartialEq)]
#[must_use = "a ticket is given back with what the work cost, for the next reservations to be better"]
pub struct Ticket {
    pub(super) follow: f64,
    pub(super) robust: f64,
    amount: u64,
}

impl Ticket {
    pub(super) fn new(follow: f64, robust: f64, amount: u64) -> Self {
        Self { follow, robust, amount }
    }

    /// Tokens to reserve.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// What the prediction said, brought into the range.
    pub fn follow(&self) -> f64 {
        self.follow
    }

    /// What the learner without predictions said.
    pub fn robust(&self) -> f64 {
        self.robust
    }
}

/// How much to reserve for work whose cost is not known.
///
/// ```
/// use throttlekit::budget::{ReservationOptions, ReservationPolicy};
///
/// let mut policy = ReservationPolicy::learned(ReservationOptions::new(1.0, 4.0, 512.0))?;
/// let ticket = policy.reserve(None);
/// assert_eq!(ticket.amount(), 256);
/// policy.observe(ticket, 100.0);
/// assert_eq!(policy.reserve(None).amount(), 128);
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ReservationPolicy {
    /// The most that work may cost: it never runs short, and much of it is wasted.
    Max(u64),
    /// What is learnt from the costs before.
    Learned(LearnedReservation),
    /// What is predicted for the work, as far as that proved good.
    Predictive(PredictiveReservation),
}

impl ReservationPolicy {
    /// Always `cap`, the most that work may cost: 1 to 2^53 - 1.
    ///
    /// # Errors
    ///
    /// `reservation.maxReservation` if it is out of this range.
    pub fn max(cap: u64) -> Result<Self, BuildError> {
        if (1..=MAX_SAFE).contains(&cap) {
            Ok(Self::Max(cap))
        } else {
            Err(BuildError::new("reservation.maxReservation", cap, format!("must be from 1 to {MAX_SAFE}")))
        }
    }

    /// Learns a quantile of the costs.
    ///
    /// # Errors
    ///
    /// As [`ReservationOptions::build`].
    pub fn learned(options: ReservationOptions) -> Result<Self, BuildError> {
        options.build().map(Self::Learned)
    }

    /// Follows predictions as far as they prove good, with the default learning rate.
    ///
    /// # Errors
    ///
    /// As [`ReservationOptions::build`].
    pub fn predictive(options: ReservationOptions) -> Result<Self, BuildError> {
        PredictiveReservation::new(options).map(Self::Predictive)
    }

    /// What to reserve for work with this prediction of its cost, if there is one.
    #[allow(clippy::cast_precision_loss)] // at most 2^53 - 1, or rounded from a float
    pub fn reserve(&self, prediction: Option<f64>) -> Ticket {
        match self {
            Self::Max(cap) => Ticket::new(*cap as f64, *cap as f64, *cap),
            Self::Learned(learned) => {
                let amount = learned.reserve();
                Ticket::new(amount as f64, amount as f64, amount)
            }
            Self::Predictive(predictive) => predictive.reserve(prediction.unwrap_or(0.0)),
        }
    }

    /// Learns what the work of `ticket` cost. A cost that is negative or not finite tells nothing.
    pub fn observe(&mut self, ticket: Ticket, cost: f64) {
        match self {
            Self::Max(_) => {}
            Self::Learned(learned) => learned.observe(cost),
            Self::Predictive(predictive) => predictive.observe(ticket, cost),
        }
    }
}
