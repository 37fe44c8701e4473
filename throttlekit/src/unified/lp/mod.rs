//! The linear program behind the prices.

mod three;
mod two;

use crate::error::BuildError;

/// Numbers that differ by less are the same.
const EPS: f64 = 1e-9;
/// Values, and sums of values, that differ by less are the same.
const TOL: f64 = 1e-7;
/// Below this, values, weights or amounts are scaled up: the two tolerances are absolute.
const SMALL: f64 = 1e-2;
/// Above this, values are scaled down to it: the rounding of larger ones comes near the tolerance.
const LARGE: f64 = 1e6;
/// Where a unit is worth less than this, amounts are scaled down: a price below the tolerance is none.
const CHEAP: f64 = 1e-4;

/// Amounts are not scaled down below this: a kind that needs less than the tolerance needs nothing.
const NEED: f64 = 1e-6;

/// What one unit of each budget is worth.
///
/// ```
/// use throttlekit::unified::Prices;
///
/// let prices = Prices::new(0.0, 0.01);
/// assert_eq!((prices.rate, prices.cost, prices.concurrency), (0.0, 0.01, None));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Prices {
    /// Of admitting one request.
    pub rate: f64,
    /// Of one unit of cost.
    pub cost: f64,
    /// Of holding a slot for one unit of [`Ask::hold`](crate::Ask::hold).
    pub concurrency: Option<f64>,
}

impl Prices {
    /// Prices of a request and of a unit of cost: finite, from 0.
    pub fn new(rate: f64, cost: f64) -> Self {
        Self { rate, cost, concurrency: None }
    }

    /// Sets the price of holding a slot for one unit of time: finite, from 0.
    #[must_use]
    pub fn concurrency(mut self, price: f64) -> Self {
        self.concurrency = Some(price);
        self
    }
}

/// One kind of request.
#[derive(Clone, Copy, Debug)]
struct Kind {
    cost: f64,
    value: f64,
    weight: f64,
    hold: Option<f64>,
}

impl Kind {
    fn hold(&self) -> f64 {
        self.hold.unwrap_or(0.0)
    }
}

/// The requests that are expected, and the budgets for them.
///
/// Weights are numbers of requests with the budgets for all of them, or probabilities with the budgets for one request: the
/// prices are the same.
///
/// ```
/// use throttlekit::unified::Workload;
///
/// // Half of the requests are small and worth 1, half are large and worth 50. On average there are 50 units for each.
/// let plan = Workload::new(1.0, 50.0).kind(100.0, 1.0, 0.5).kind(10_000.0, 50.0, 0.5).solve()?;
/// assert_eq!((plan.prices.rate, plan.prices.cost), (0.0, 0.01));
/// assert_eq!(plan.admit_fractions, [1.0, 0.0]);
/// assert_eq!(plan.objective, 0.5);
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Workload {
    kinds: Vec<Kind>,
    rate_budget: f64,
    cost_budget: f64,
    slot_budget: Option<f64>,
}

/// The best that can be done with a [`Workload`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// What a unit of each budget is worth.
    pub prices: Prices,
    /// How much of each kind is admitted, from 0 to 1, in the order in which the kinds were given.
    pub admit_fractions: Vec<f64>,
    /// What that is worth in all.
    pub objective: f64,
}

impl Workload {
    /// No requests yet, and the budgets of requests and of units of cost: finite, above 0.
    pub fn new(rate_budget: f64, cost_budget: f64) -> Self {
        Self { kinds: Vec::new(), rate_budget, cost_budget, slot_budget: None }
    }

    /// Adds a kind of request by its cost, its value and its weight: finite, from 0.
    pub fn kind(mut self, cost: f64, value: f64, weight: f64) -> Self {
        self.kinds.push(Kind { cost, value, weight, hold: None });
        self
    }

    /// Adds a kind that holds a slot for `hold`: finite, from 0. Needs a budget of slots.
    pub fn kind_holding(mut self, cost: f64, value: f64, weight: f64, hold: f64) -> Self {
        self.kinds.push(Kind { cost, value, weight, hold: Some(hold) });
        self
    }

    /// Sets the budget of slots times the unit of `hold`: finite, above 0. Needs kinds that hold a slot.
    pub fn slots(mut self, budget: f64) -> Self {
        self.slot_budget = Some(budget);
        self
    }

    /// Cost and value of each kind.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (f64, f64)> {
        self.kinds.iter().map(|kind| (kind.cost, kind.value))
    }

    pub(super) fn has_slots(&self) -> bool {
        self.slot_budget.is_some()
    }

    /// Budgets of requests and of cost for one request.
    pub(super) fn budgets_per_request(&self) -> (f64, f64) {
        let weight = self.weight();
        if weight > 0.0 {
            (self.rate_budget / weight, self.cost_budget / weight)
        } else {
            (self.rate_budget, self.cost_budget)
        }
    }

    fn weight(&self) -> f64 {
        self.kinds.iter().map(|kind| kind.weight).sum()
    }

    /// Finds what to admit, so that the value is the greatest that the budgets allow:
    ///
    /// ```text
    /// max sum(w v x)  for  sum(w x) <= rate, sum(w c x) <= cost, sum(w h x) <= slots, 0 <= x <= 1
    /// ```
    ///
    /// Of equally good prices, those that admit the fewest kinds. Takes time in the cube of the number of kinds, with slots
    /// in its fourth power.
    ///
    /// # Errors
    ///
    /// `unified.jointLp.workload` and below: no kinds, or a number out of its range.
    pub fn solve(&self) -> Result<Plan, BuildError> {
        self.validate()?;
        let most = self.kinds.iter().map(|kind| kind.value).fold(0.0, f64::max);
        let weight = self.weight();
        let value_scale = match most {
            _ if most > LARGE => most / LARGE,
            _ if most > 0.0 && most < SMALL => most,
            _ => 1.0,
        };
        let weight_scale = if weight > 0.0 && weight < SMALL { weight } else { 1.0 };
        let cost_scale = self.amount_scale(value_scale, |kind| kind.cost);
        let hold_scale = self.amount_scale(value_scale, Kind::hold);
        if [value_scale, weight_scale, cost_scale, hold_scale] == [1.0; 4] {
            return Ok(self.solve_as_it_is());
        }
        let mut scaled = self.clone();
        for kind in &mut scaled.kinds {
            kind.value /= value_scale;
            kind.weight /= weight_scale;
            kind.cost /= cost_scale;
            kind.hold = kind.hold.map(|hold| hold / hold_scale);
        }
        scaled.rate_budget /= weight_scale;
        scaled.cost_budget /= weight_scale * cost_scale;
        scaled.slot_budget = scaled.slot_budget.map(|budget| budget / (weight_scale * hold_scale));
        let mut plan = scaled.solve_as_it_is();
        plan.prices.rate *= value_scale;
        plan.prices.cost *= value_scale / cost_scale;
        plan.prices.concurrency = plan.prices.concurrency.map(|price| price * (value_scale / hold_scale));
        plan.objective *= value_scale * weight_scale;
        Ok(plan)
    }

    /// What to divide an amount of the kinds by, so that neither it nor the price of its unit is lost in the tolerances: not the
    /// price where all amounts are large, and no amount of a kind that a price decides about where others are far larger.
    fn amount_scale(&self, value_scale: f64, amount: impl Fn(&Kind) -> f64) -> f64 {
        let most = self.kinds.iter().map(&amount).fold(0.0, f64::max);
        if most > 0.0 && most < SMALL {
            return most;
        }
        let worth = |kind: &Kind| kind.value / value_scale;
        let priced = || self.kinds.iter().filter(|kind| amount(kind) > 0.0 && worth(kind) > TOL);
        let least = priced().map(|kind| worth(kind) / amount(kind)).fold(CHEAP, f64::min);
        let needs = priced().map(|kind| amount(kind) * kind.weight.min(1.0)).filter(|need| *need > 0.0);
        let smallest = needs.fold(f64::INFINITY, f64::min) / NEED;
        // The largest stays at least 1, so that one kind that is worth next to nothing does not take the others out of range.
        (CHEAP / least).min(most).min(smallest).max(1.0)
    }

    fn solve_as_it_is(&self) -> Plan {
        match self.slot_budget {
            None => two::solve(&self.kinds, self.rate_budget, self.cost_budget),
            Some(slots) => three::solve(&self.kinds, [self.rate_budget, self.cost_budget, slots]),
        }
    }

    fn validate(&self) -> Result<(), BuildError> {
        const WORKLOAD: &str = "unified.jointLp.workload";
        if self.kinds.is_empty() {
            return Err(BuildError::new(WORKLOAD, "empty", "must have at least one kind of request"));
        }
        let number = |option, index: usize, value: f64| {
            if value.is_finite() && value >= 0.0 {
                Ok(())
            } else {
                let allowed = format!("must be a finite number from 0, in kind {index}");
                Err(BuildError::new(option, value, allowed))
            }
        };
        for (index, kind) in self.kinds.iter().enumerate() {
            number("unified.jointLp.workload.cost", index, kind.cost)?;
            number("unified.jointLp.workload.value", index, kind.value)?;
            number("unified.jointLp.workload.weight", index, kind.weight)?;
        }
        let budget = |option, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                Err(BuildError::new(option, value, "must be a finite number above 0"))
            }
        };
        budget("unified.jointLp.workload.rateBudget", self.rate_budget)?;
        budget("unified.jointLp.workload.costBudget", self.cost_budget)?;
        let holds = self.kinds.iter().any(|kind| kind.hold.is_some());
        match self.slot_budget {
            None if holds => Err(BuildError::missing("unified.jointLp.workload.concBudget")),
            None => Ok(()),
            Some(_) if !holds => Err(BuildError::missing("unified.jointLp.workload.hold")),
            Some(slots) => {
                budget("unified.jointLp.workload.concBudget", slots)?;
                let mut kinds = self.kinds.iter().enumerate();
                kinds.try_for_each(|(index, kind)| number("unified.jointLp.workload.hold", index, kind.hold()))
            }
        }
    }
}

fn clamp_unit(x: f64) -> f64 {
    x.clamp(0.0, 1.0)
}
