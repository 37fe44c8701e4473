//! Tenants of different weight that share a limit: a heavy one that asks for its part now and then, three that flood.

use throttlekit::Error;
use throttlekit::fair::weighted_max_min;
use throttlekit::testkit::Mulberry;

use super::trace::round;

/// The weights of the tenants.
pub const WEIGHTS: [f64; 4] = [4.0, 1.0, 1.0, 1.0];
/// Units of a window.
pub const LIMIT: f64 = 70.0;
/// Windows.
const WINDOWS: u32 = 400;

/// How a window is split.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Split {
    /// Each tenant has what its weight guarantees, and no more.
    Guaranteed,
    /// Unit by unit, to the tenant that has least.
    Drip,
    /// Unit by unit, to the tenant that has least for its weight.
    WeightedDrip,
    /// By the shipped weighted max-min split.
    Shipped,
}

/// What came of the windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The mean of what was given as a part of what could have been.
    pub utilisation: f64,
    /// How often a tenant that asked got less than its weight guarantees and less than it asked for.
    pub violations: u32,
    /// How often a tenant asked.
    pub asked: u32,
    /// The greatest difference in a window between what two tenants got for their weight while both wanted more.
    pub spread: f64,
    /// Units given.
    pub given: f64,
}

/// The demand of a window. The heavy tenant pauses in every fifth one.
fn demand(window: u32, random: &mut Mulberry) -> [f64; 4] {
    let around = |mean: f64, width: f64, random: &mut Mulberry| round(mean + (random.draw() - 0.5) * width);
    let heavy = if window % 5 == 4 { 0.0 } else { around(40.0, 6.0, random) };
    [heavy, around(100.0, 20.0, random), around(100.0, 20.0, random), around(100.0, 20.0, random)]
}

/// What the weight of each tenant guarantees.
fn guaranteed() -> [f64; 4] {
    let sum: f64 = WEIGHTS.iter().sum();
    WEIGHTS.map(|weight| ((weight * LIMIT) / sum).floor())
}

fn drip(demand: [f64; 4], weights: [f64; 4]) -> [f64; 4] {
    let mut given = [0.0; 4];
    let mut left = LIMIT;
    while left > 0.0 {
        let wants = (0..4).filter(|tenant| given[*tenant] < demand[*tenant]);
        let least = |a: &usize, b: &usize| (given[*a] / weights[*a]).total_cmp(&(given[*b] / weights[*b]));
        let Some(tenant) = wants.min_by(least) else { break };
        given[tenant] += 1.0;
        left -= 1.0;
    }
    given
}

#[allow(clippy::cast_precision_loss)] // at most the limit
fn max_min(demand: [f64; 4]) -> Result<[f64; 4], Error> {
    let given = weighted_max_min(&demand, &WEIGHTS, LIMIT)?;
    Ok(std::array::from_fn(|tenant| given.get(tenant).map_or(0.0, |units| *units as f64)))
}

/// Splits the windows.
///
/// # Errors
///
/// If the shipped split refuses a demand.
pub fn share(split: Split) -> Result<Outcome, Error> {
    let mut random = Mulberry::new(1_234);
    let guaranteed = guaranteed();
    let mut outcome = Outcome { utilisation: 0.0, violations: 0, asked: 0, spread: 0.0, given: 0.0 };
    for window in 0..WINDOWS {
        let demand = demand(window, &mut random);
        let given = match split {
            Split::Guaranteed => std::array::from_fn(|tenant| demand[tenant].min(guaranteed[tenant])),
            Split::Drip => drip(demand, [1.0; 4]),
            Split::WeightedDrip => drip(demand, WEIGHTS),
            Split::Shipped => max_min(demand)?,
        };
        let sum: f64 = given.iter().sum();
        outcome.given += sum;
        outcome.utilisation += sum / demand.iter().sum::<f64>().min(LIMIT);
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for tenant in (0..4).filter(|tenant| demand[*tenant] > 0.0) {
            outcome.asked += 1;
            outcome.violations += u32::from(given[tenant] < demand[tenant].min(guaranteed[tenant]));
            if given[tenant] < demand[tenant] {
                least = least.min(given[tenant] / WEIGHTS[tenant]);
                most = most.max(given[tenant] / WEIGHTS[tenant]);
            }
        }
        outcome.spread = outcome.spread.max(most - least);
    }
    outcome.utilisation /= f64::from(WINDOWS);
    Ok(outcome)
}
