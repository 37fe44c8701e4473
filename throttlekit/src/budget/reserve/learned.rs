//! A reservation that is learnt from what work cost.

use crate::error::BuildError;

/// The quantile of the costs at which a reservation loses least: `overrun / (hold + overrun)`.
///
/// ```
/// use throttlekit::budget::critical_fractile;
///
/// assert_eq!(critical_fractile(1.0, 4.0)?, 0.8);
/// assert_eq!(critical_fractile(3.0, 1.0)?, 0.25);
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
///
/// # Errors
///
/// `reservation.holdCost` or `reservation.overrunCost` if it is not finite or not above 0.
pub fn critical_fractile(hold_cost: f64, overrun_cost: f64) -> Result<f64, BuildError> {
    let hold = above_zero("reservation.holdCost", hold_cost)?;
    let overrun = above_zero("reservation.overrunCost", overrun_cost)?;
    Ok(overrun / (hold + overrun))
}

fn above_zero(option: &'static str, value: f64) -> Result<f64, BuildError> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(BuildError::new(option, value, "must be a finite number above 0"))
    }
}

/// What a reservation costs, and in which range it is.
///
/// ```
/// use throttlekit::budget::ReservationOptions;
///
/// let learned = ReservationOptions::new(1.0, 4.0, 512.0).min_reservation(16.0).build()?;
/// assert_eq!(learned.reserve(), 264);
/// let error = ReservationOptions::new(1.0, 4.0, 10.0).min_reservation(20.0).build().unwrap_err();
/// assert_eq!(error.to_string(), "reservation.minReservation is 20: must be at most the maxReservation of 10");
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "options do nothing until `build`"]
pub struct ReservationOptions {
    hold_cost: f64,
    overrun_cost: f64,
    max: f64,
    min: f64,
    initial: Option<f64>,
    step_scale: Option<f64>,
}

impl ReservationOptions {
    /// What a token costs that is held and not used, what one costs that was not reserved, and the most to reserve: each
    /// finite and above 0.
    pub fn new(hold_cost: f64, overrun_cost: f64, max_reservation: f64) -> Self {
        Self { hold_cost, overrun_cost, max: max_reservation, min: 0.0, initial: None, step_scale: None }
    }

    /// The least to reserve, from 0 to the most. Default: 0.
    pub fn min_reservation(mut self, min: f64) -> Self {
        self.min = min;
        self
    }

    /// Where to begin; brought into the range. Default: its middle.
    pub fn initial_reservation(mut self, initial: f64) -> Self {
        self.initial = Some(initial);
        self
    }

    /// How far the first step goes for a cost of 1, above 0. Default: the range divided by the larger of the two costs, at
    /// least 10^-6.
    pub fn step_scale(mut self, step_scale: f64) -> Self {
        self.step_scale = Some(step_scale);
        self
    }

    /// The learner.
    ///
    /// # Errors
    ///
    /// The first option that is out of range: `reservation.holdCost`, `.overrunCost`, `.maxReservation`,
    /// `.minReservation`, `.initialReservation`, `.stepScale`.
    pub fn build(self) -> Result<LearnedReservation, BuildError> {
        const MIN: &str = "reservation.minReservation";
        let hold_cost = above_zero("reservation.holdCost", self.hold_cost)?;
        let overrun_cost = above_zero("reservation.overrunCost", self.overrun_cost)?;
        let max = above_zero("reservation.maxReservation", self.max)?;
        if !self.min.is_finite() || self.min < 0.0 {
            return Err(BuildError::new(MIN, self.min, "must be a finite number of at least 0"));
        }
        if self.min > max {
            return Err(BuildError::new(MIN, self.min, format!("must be at most the maxReservation of {max}")));
        }
        let initial = self.initial.unwrap_or(f64::midpoint(self.min, max));
        if !initial.is_finite() {
            return Err(BuildError::new("reservation.initialReservation", initial, "must be a finite number"));
        }
        let step_scale = match self.step_scale {
            Some(scale) => above_zero("reservation.stepScale", scale)?,
            None => ((max - self.min) / hold_cost.max(overrun_cost)).max(1e-6),
        };
        let reserved = initial.max(self.min).min(max);
        Ok(LearnedReservation { hold_cost, overrun_cost, min: self.min, max, step_scale, reserved, observed: 0.0 })
    }
}

/// Learns how much to reserve, by online gradient descent on the newsvendor's loss.
///
/// In round `t` the reservation `r` moves by `step_scale / sqrt(t)`, down by the hold cost if it was more than the work cost
/// and up by the overrun cost otherwise, and stays in its range. For a range of `D` and the larger cost `G` the regret to the
/// best fixed reservation is at most `3/2 * D * G * sqrt(T)` after `T` rounds, for any sequence of costs (Zinkevich, 2003);
/// rounding to whole tokens adds at most `G / 2` in each.
///
/// ```
/// use throttlekit::budget::ReservationOptions;
///
/// let mut learned = ReservationOptions::new(1.0, 4.0, 512.0).build()?;
/// assert_eq!(learned.reserve(), 256);
/// learned.observe(100.0);
/// assert_eq!(learned.reserve(), 128);
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearnedReservation {
    hold_cost: f64,
    overrun_cost: f64,
    min: f64,
    max: f64,
    step_scale: f64,
    reserved: f64,
    observed: f64,
}

impl LearnedReservation {
    /// What to reserve, in whole tokens.
    pub fn reserve(&self) -> u64 {
        whole(self.reserved)
    }

    /// What to reserve, before it is rounded.
    pub fn continuous(&self) -> f64 {
        self.reserved
    }

    /// Learns what work cost. A cost that is negative or not finite tells nothing.
    pub fn observe(&mut self, cost: f64) {
        if !usable(cost) {
            return;
        }
        self.observed += 1.0;
        let gradient = if self.reserved > cost { self.hold_cost } else { -self.overrun_cost };
        let step = self.step_scale / self.observed.sqrt();
        self.reserved = self.clamp(self.reserved - step * gradient);
    }

    /// What reserving `reserved` loses if the work costs `cost`.
    pub fn loss(&self, reserved: f64, cost: f64) -> f64 {
        if reserved > cost { self.hold_cost * (reserved - cost) } else { self.overrun_cost * (cost - reserved) }
    }

    /// The largest loss for costs up to the most to reserve.
    pub fn loss_range(&self) -> f64 {
        self.max * self.hold_cost.max(self.overrun_cost)
    }

    /// `value` brought into the range.
    pub(super) fn clamp(&self, value: f64) -> f64 {
        value.max(self.min).min(self.max)
    }
}

/// Whether a number is one to learn from.
pub(super) fn usable(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

/// The nearest whole number.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and is never negative
pub(super) fn whole(reserved: f64) -> u64 {
    reserved.round() as u64
}
