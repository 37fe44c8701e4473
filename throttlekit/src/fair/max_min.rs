//! The split of a limit among demands that are all known.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::decision::floor_units;
use crate::error::Error;

/// Splits `limit` among tenants with these demands and weights: nobody gets more than asked for, and what one leaves goes to
/// the others by weight. In whole units.
///
/// For whole demands `d` and the guaranteed share `g` (see [`guaranteed_share`]): the sum is at most the limit, and is as
/// large as demands and limit allow; each gets at least `min(d, g)`; and among those who got less than they asked for, no
/// two differ by more than one unit for the least weight. A fractional demand may be passed by less than one unit.
///
/// The water level is [that of the exact split](weighted_max_min_split), rounded down; the units that this leaves go one by
/// one to whoever has least for its weight, the first of equals.
///
/// ```
/// use throttlekit::fair::weighted_max_min;
///
/// assert_eq!(weighted_max_min(&[100.0; 4], &[4.0, 1.0, 1.0, 1.0], 100.0)?, [57, 15, 14, 14]);
/// assert_eq!(weighted_max_min(&[5.0, 100.0, 100.0], &[1.0; 3], 100.0)?, [5, 48, 47]);
/// # Ok::<(), throttlekit::Error>(())
/// ```
///
/// # Errors
///
/// `invalid_argument` if there are not as many weights as demands, a weight is not finite or not above 0, a demand or the
/// limit is not finite or negative.
#[allow(clippy::cast_precision_loss)] // as large as the limit
pub fn weighted_max_min(demands: &[f64], weights: &[f64], limit: f64) -> Result<Vec<u64>, Error> {
    let split = weighted_max_min_split(demands, weights, limit)?;
    let mut given: Vec<u64> = split.into_iter().map(floor_units).collect();
    let mut left = floor_units(limit).saturating_sub(given.iter().sum());
    let poor = |index: usize, units: u64| {
        let weight = weights.get(index)?;
        let wants = demands.get(index).is_some_and(|demand| (units as f64) < *demand);
        wants.then(|| Reverse((Level(units as f64 / weight), index)))
    };
    let mut poorest: BinaryHeap<_> =
        given.iter().enumerate().filter_map(|(index, units)| poor(index, *units)).collect();
    while left > 0 {
        let Some(Reverse((_, index))) = poorest.pop() else { break };
        if let Some(units) = given.get_mut(index) {
            *units += 1;
            poorest.extend(poor(index, *units));
        }
        left -= 1;
    }
    Ok(given)
}

/// What a tenant has for its weight; never NaN.
#[derive(PartialEq)]
struct Level(f64);

impl Eq for Level {}

impl PartialOrd for Level {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Level {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// As [`weighted_max_min`], before it is rounded: by progressive filling, in the order of demand for weight.
///
/// ```
/// use throttlekit::fair::weighted_max_min_split;
///
/// assert_eq!(weighted_max_min_split(&[5.0, 100.0, 100.0], &[1.0; 3], 100.0)?, [5.0, 47.5, 47.5]);
/// # Ok::<(), throttlekit::Error>(())
/// ```
///
/// # Errors
///
/// As [`weighted_max_min`].
pub fn weighted_max_min_split(demands: &[f64], weights: &[f64], limit: f64) -> Result<Vec<f64>, Error> {
    if demands.len() != weights.len() {
        let message = format!("there are {} demands and {} weights: must be as many", demands.len(), weights.len());
        return Err(Error::invalid_argument(message));
    }
    validate_limit(limit)?;
    let sum = sum_of(weights)?;
    for demand in demands {
        if !demand.is_finite() || *demand < 0.0 {
            let message = format!("a demand is {demand}: must be a finite number of at least 0");
            return Err(Error::invalid_argument(message));
        }
    }
    let mut order: Vec<(usize, f64, f64)> =
        demands.iter().zip(weights).enumerate().map(|(index, (demand, weight))| (index, *demand, *weight)).collect();
    order.sort_by(|(_, a, v), (_, b, w)| (a / v).total_cmp(&(b / w)));
    let (mut left, mut active) = (limit, sum);
    let mut split = vec![0.0; demands.len()];
    let mut order = order.into_iter().peekable();
    while let Some((index, demand, weight)) = order.next() {
        let level = if active > 0.0 { left / active } else { 0.0 };
        if weight * level >= demand {
            set(&mut split, index, demand);
            left -= demand;
            active -= weight;
        } else {
            // The level holds for all that are left.
            set(&mut split, index, weight * level);
            order.by_ref().for_each(|(index, _, weight)| set(&mut split, index, weight * level));
        }
    }
    Ok(split)
}

fn set(split: &mut [f64], index: usize, units: f64) {
    if let Some(place) = split.get_mut(index) {
        *place = units;
    }
}

/// What each tenant of these weights gets of `limit` whatever the others ask for: `floor(weight * limit / sum of weights)`.
///
/// ```
/// use throttlekit::fair::guaranteed_share;
///
/// assert_eq!(guaranteed_share(&[6.0, 5.0], 99.0)?, [54, 45]);
/// # Ok::<(), throttlekit::Error>(())
/// ```
///
/// # Errors
///
/// `invalid_argument` if a weight is not finite or not above 0, or the limit is not finite or negative.
pub fn guaranteed_share(weights: &[f64], limit: f64) -> Result<Vec<u64>, Error> {
    validate_limit(limit)?;
    let sum = sum_of(weights)?;
    // Multiplied first: 6 / 11 * 99 would be less than 54.
    Ok(weights.iter().map(|weight| floor_units((weight * limit) / sum)).collect())
}

fn validate_limit(limit: f64) -> Result<(), Error> {
    if limit.is_finite() && limit >= 0.0 {
        Ok(())
    } else {
        Err(Error::invalid_argument(format!("limit is {limit}: must be a finite number of at least 0")))
    }
}

/// From the left.
fn sum_of(weights: &[f64]) -> Result<f64, Error> {
    weights.iter().try_fold(0.0, |sum, weight| Ok(sum + super::weights::validate(*weight)?))
}
