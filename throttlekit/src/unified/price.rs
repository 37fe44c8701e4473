//! The prices in force, and how they are learnt.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) use super::lp::{Prices, Workload};
use crate::error::BuildError;

/// Distinct requests that a sample tells apart; later ones are not counted.
const MOST_KINDS: usize = 64;

/// A request passes whose value misses its bid by this share of the larger of the two: one that is worth just its bid may be
/// off by a rounding, `(v / c) * c > v`.
const ROUNDING: f64 = 1e-9;

/// A budget that is used up, for the solver, which wants it above 0: this, and this share of a budget for a request that is
/// below 1.
const NEARLY_NOTHING: f64 = 1e-6;

/// Decides by prices.
pub(super) enum Pricing {
    Fixed(Prices),
    Learning(Mutex<Learning>),
    Resolving(Mutex<Resolving>),
}

impl Pricing {
    pub(super) fn fixed(prices: Prices) -> Result<Self, BuildError> {
        price("unified.jointLp.duals.rate", prices.rate)?;
        price("unified.jointLp.duals.cost", prices.cost)?;
        prices.concurrency.map_or(Ok(()), |slots| price("unified.jointLp.duals.conc", slots))?;
        Ok(Self::Fixed(prices))
    }

    pub(super) fn from_workload(
        workload: &Workload,
        sample_window: Option<u64>,
        horizon: Option<u64>,
    ) -> Result<Self, BuildError> {
        let prices = workload.solve()?.prices;
        let Some(sample_window) = sample_window else { return Ok(Self::Fixed(prices)) };
        if workload.has_slots() {
            let allowed = "must not be given with a budget of slots";
            return Err(BuildError::new("unified.jointLp.adaptive", sample_window, allowed));
        }
        let at_least_one = |option, value: u64| {
            if value >= 1 { Ok(()) } else { Err(BuildError::new(option, value, "must be a whole number from 1")) }
        };
        at_least_one("unified.jointLp.adaptive.sampleWindow", sample_window)?;
        let (rate, cost) = workload.budgets_per_request();
        let sample = Sample::default();
        let Some(horizon) = horizon else {
            let buffer = Some(Vec::new());
            return Ok(Self::Learning(Mutex::new(Learning {
                prices,
                window: sample_window,
                rate,
                cost,
                sample,
                buffer,
            })));
        };
        at_least_one("unified.jointLp.adaptive.horizon", horizon)?;
        #[allow(clippy::cast_precision_loss)] // a horizon of 2^53 requests is never reached
        let whole = (rate * horizon as f64, cost * horizon as f64);
        Ok(Self::Resolving(Mutex::new(Resolving {
            prices,
            shares: shares(workload),
            window: sample_window,
            horizon,
            whole,
            left: whole,
            seen: 0,
            sample,
        })))
    }

    pub(super) fn prices(&self) -> Prices {
        match self {
            Self::Fixed(prices) => *prices,
            Self::Learning(learning) => lock(learning).prices,
            Self::Resolving(resolving) => lock(resolving).prices,
        }
    }

    /// Whether a request is worth its bid.
    pub(super) fn accepts(&self, cost: f64, value: f64, hold: f64) -> bool {
        let prices = match self {
            Self::Fixed(prices) => *prices,
            Self::Learning(learning) => lock(learning).see(cost, value),
            Self::Resolving(resolving) => return lock(resolving).accepts(cost, value),
        };
        passes(prices, cost, value, hold)
    }

    /// Told of each request that was admitted in the end.
    pub(super) fn spent(&self, cost: f64) {
        if let Self::Resolving(resolving) = self {
            let mut resolving = lock(resolving);
            resolving.left.0 -= 1.0;
            resolving.left.1 -= cost;
        }
    }
}

/// The numbers are numbers whatever panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn price(option: &'static str, price: f64) -> Result<(), BuildError> {
    if price.is_finite() && price >= 0.0 {
        Ok(())
    } else {
        Err(BuildError::new(option, price, "must be a finite number from 0"))
    }
}

/// False for a value or cost that is no number.
fn passes(prices: Prices, cost: f64, value: f64, hold: f64) -> bool {
    let mut bid = prices.rate + prices.cost * cost;
    if let Some(slots) = prices.concurrency {
        if hold.is_finite() && hold > 0.0 {
            bid += slots * hold;
        }
    }
    value + ROUNDING * value.abs().max(bid.abs()) >= bid
}

/// Requests by cost and value, in the order in which they were first seen.
#[derive(Default)]
struct Sample {
    seen: u64,
    kinds: Vec<(f64, f64, f64)>,
}

impl Sample {
    fn add(&mut self, cost: f64, value: f64) {
        self.seen += 1;
        if let Some((_, _, count)) = self.kinds.iter_mut().find(|(c, v, _)| *c == cost && *v == value) {
            *count += 1.0;
        } else if self.kinds.len() < MOST_KINDS {
            self.kinds.push((cost, value, 1.0));
        }
    }

    /// The same kinds as a workload, for budgets of one request.
    fn workload(&self, rate: f64, cost: f64) -> Workload {
        #[allow(clippy::cast_precision_loss)] // a sample of 2^53 requests is never reached
        let seen = self.seen as f64;
        let add =
            |workload: Workload, (cost, value, count): &(f64, f64, f64)| workload.kind(*cost, *value, count / seen);
        self.kinds.iter().fold(Workload::new(rate, cost), add)
    }
}

/// Looks at the first requests, and chooses between the expected prices and theirs, for good.
pub(super) struct Learning {
    prices: Prices,
    window: u64,
    rate: f64,
    cost: f64,
    sample: Sample,
    /// None once the choice is made.
    buffer: Option<Vec<(f64, f64)>>,
}

impl Learning {
    /// Takes in a request and answers the prices that it is judged by.
    fn see(&mut self, cost: f64, value: f64) -> Prices {
        let Some(buffer) = &mut self.buffer else { return self.prices };
        buffer.push((cost, value));
        self.sample.add(cost, value);
        if self.sample.seen >= self.window {
            let buffer = self.buffer.take().unwrap_or_default();
            // A sample with a number out of range teaches nothing.
            if let Ok(learnt) = self.sample.workload(self.rate, self.cost).solve().map(|plan| plan.prices) {
                if self.revenue(&buffer, learnt) > self.revenue(&buffer, self.prices) {
                    self.prices = learnt;
                }
            }
            self.sample = Sample::default();
        }
        self.prices
    }

    /// What the sample would have earned.
    fn revenue(&self, buffer: &[(f64, f64)], prices: Prices) -> f64 {
        #[allow(clippy::cast_precision_loss)] // far below 2^53 requests
        let requests = buffer.len() as f64;
        let (mut rate, mut cost_left) = (self.rate * requests, self.cost * requests);
        let mut revenue = 0.0;
        for &(cost, value) in buffer {
            if rate >= 1.0 && cost_left >= cost && passes(prices, cost, value, 0.0) {
                rate -= 1.0;
                cost_left -= cost;
                revenue += value;
            }
        }
        revenue
    }
}

/// How much of a kind of request the plan admits.
struct Share {
    cost: f64,
    value: f64,
    /// From 0 to 1.
    admit: f64,
    /// What the requests refused so far add up to: one is admitted when it is a whole one.
    credit: f64,
}

fn shares(workload: &Workload) -> Vec<Share> {
    let admit = workload.solve().map(|plan| plan.admit_fractions).unwrap_or_default();
    let share = |((cost, value), admit)| Share { cost, value, admit, credit: 0.0 };
    workload.kinds().zip(admit).map(share).collect()
}

/// Solves again and again, for what was seen and what is left.
///
/// Prices alone would not do: a kind that is worth just its bid passes as a whole, of which the plan admits a part, so that
/// each new solution would spend what the one before had kept. Here a kind of the plan passes by its part.
pub(super) struct Resolving {
    prices: Prices,
    shares: Vec<Share>,
    window: u64,
    horizon: u64,
    /// Requests and units of a whole horizon.
    whole: (f64, f64),
    left: (f64, f64),
    seen: u64,
    sample: Sample,
}

impl Resolving {
    /// Takes in a request, and judges it.
    fn accepts(&mut self, cost: f64, value: f64) -> bool {
        if self.seen == self.horizon {
            self.seen = 0;
            self.left = self.whole;
        }
        self.seen += 1;
        // A value that the solver refuses must not stay in the sample.
        if value.is_finite() && value >= 0.0 {
            self.sample.add(cost, value);
            if self.sample.seen % self.window == 0 {
                self.solve();
            }
        }
        let Some(share) = self.shares.iter_mut().find(|share| share.cost == cost && share.value == value) else {
            return passes(self.prices, cost, value, 0.0);
        };
        share.credit += share.admit;
        if share.credit >= 1.0 - ROUNDING {
            share.credit = (share.credit - 1.0).max(0.0);
            return true;
        }
        false
    }

    fn solve(&mut self) {
        // The request that is being judged is still to be admitted.
        #[allow(clippy::cast_precision_loss)] // a horizon of 2^53 requests is never reached
        let (to_come, horizon) = ((self.horizon - self.seen + 1) as f64, self.horizon as f64);
        let each = |left: f64, whole: f64| (left / to_come).max(NEARLY_NOTHING * (whole / horizon).min(1.0));
        let workload = self.sample.workload(each(self.left.0, self.whole.0), each(self.left.1, self.whole.1));
        let Ok(plan) = workload.solve() else { return };
        self.prices = plan.prices;
        let credit = |cost, value| {
            let before = self.shares.iter().find(|share| share.cost == cost && share.value == value);
            before.map_or(0.0, |share| share.credit)
        };
        let shares = workload.kinds().zip(plan.admit_fractions);
        self.shares =
            shares.map(|((cost, value), admit)| Share { cost, value, admit, credit: credit(cost, value) }).collect();
    }
}
