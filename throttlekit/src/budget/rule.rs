//! How much, how often, and what becomes of debt.

use crate::decision::{Decision, ceil_ms, ceil_wait, floor_units};
use crate::error::BuildError;
use crate::lease::{TwoTier, TwoTierBuilder};
use crate::math::{MAX, ceil_f64, floor_f64, window_start};
use crate::store::memory::Table;
use crate::strategy::options::{positive, window, window_setters};

/// A number of units for each window, and what becomes of those that were counted beyond it.
///
/// It is a [`Strategy`](crate::Strategy), so a [`Limiter`](crate::Limiter) can run it too; a
/// [`TokenBudget`](super::TokenBudget) does more with it. Windows are aligned to the epoch: with window length `W` the one of
/// `now` starts at `floor(now / W) * W`. A debit is admitted if and only if fewer than `L` units are counted in the window
/// before it, and then counts in full; one that would bring the count above 2^53 - 1 is denied too. With
/// [whole debits](BudgetBuilder::whole_debits) all of it must be left.
///
/// ```
/// use std::time::Duration;
/// use throttlekit::budget::Budget;
///
/// let budget = Budget::builder().budget(100_000.0).window(Duration::from_secs(60)).build()?;
/// assert_eq!((budget.units(), budget.window_ms(), budget.carries_debt()), (100_000, 60_000.0, false));
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    pub(super) limit: f64,
    pub(super) window_ms: f64,
    pub(super) max_debt: f64,
    pub(super) carry: bool,
    pub(super) whole: bool,
}

impl Budget {
    /// A builder without options set.
    pub fn builder() -> BudgetBuilder {
        BudgetBuilder::default()
    }

    /// Starts a limiter that leases tokens from this budget in batches and debits them in process.
    ///
    /// Over a store, gateways that lease and gateways that debit there share one budget under the same prefix and key.
    /// Debits are [whole](BudgetBuilder::whole_debits), and leases end with their window, so all gateways together debit at
    /// most the budget in each window, counted by the window that a lease came from, whatever their number and clocks: at one
    /// trip for each batch. Where debt is carried, windows do not end everything, and units of a lease may be spent later.
    ///
    /// ```
    /// use throttlekit::ManualClock;
    /// use throttlekit::budget::Budget;
    ///
    /// let budget = Budget::builder().budget(1_000.0).window_ms(60_000.0).build()?;
    /// let gateway = budget.leased().batch(100.0).clock(ManualClock::new(0.0)).build()?;
    /// let decision = gateway.run_check("key-1", 7.0).now().expect("in process nothing waits")?;
    /// assert_eq!((decision.limit, decision.remaining), (1_000, 93));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn leased(self) -> TwoTierBuilder<Self, Table<Served>> {
        TwoTier::builder(Self { whole: true, ..self }).window_coupled(!self.carry)
    }

    /// Whole units in each window.
    pub fn units(&self) -> u64 {
        floor_units(self.limit)
    }

    /// The length of a window in milliseconds.
    pub fn window_ms(&self) -> f64 {
        self.window_ms
    }

    /// The most units beyond the budget that the next window inherits, if debt is carried.
    pub fn max_debt(&self) -> u64 {
        floor_units(self.max_debt)
    }

    /// Whether the next window inherits debt.
    pub fn carries_debt(&self) -> bool {
        self.carry
    }

    /// Whether a debit is admitted only if all of it is left.
    pub fn takes_whole_debits(&self) -> bool {
        self.whole
    }

    /// The start of the window of `now`.
    #[inline]
    pub(super) fn start(&self, now: f64) -> f64 {
        window_start(now, self.window_ms)
    }

    /// What is counted at `now`: that of the state while its window lasts, also if the clock went back; else what the
    /// windows since then inherited.
    #[inline]
    pub(super) fn at(&self, state: Option<&Served>, now: f64) -> Served {
        if let Some(state) = state.filter(|state| now < state.start + self.window_ms) {
            return *state;
        }
        let start = self.start(now);
        match state {
            Some(state) if self.carry && state.units > self.limit => {
                let passed = floor_f64((start - state.start) / self.window_ms + 0.5).max(1.0);
                let left = (state.units - self.limit).min(self.max_debt) - (passed - 1.0) * self.limit;
                Served { start, units: left.max(0.0) }
            }
            _ => Served { start, units: 0.0 },
        }
    }

    /// The units that the next window will inherit.
    #[inline]
    pub(super) fn debt(&self, served: Served) -> f64 {
        if self.carry { (served.units - self.limit).max(0.0).min(self.max_debt) } else { 0.0 }
    }

    /// The end of the window, which names it.
    #[inline]
    pub(super) fn window_end(&self, served: Served) -> i64 {
        ceil_ms(served.start + self.window_ms)
    }

    /// When nothing of what is counted matters any more.
    #[inline]
    pub(crate) fn reset(&self, served: Served) -> f64 {
        let debt = self.debt(served);
        // Most have none, and a division takes its time.
        let more = if debt > 0.0 { ceil_f64(debt / self.limit) } else { 0.0 };
        ceil_f64(served.start + self.window_ms * (1.0 + more))
    }

    /// How long the state has to live.
    #[inline]
    pub(super) fn ttl(&self, served: Served, now: f64) -> f64 {
        (self.reset(served) - now).max(1.0)
    }

    /// When the next debit can pass after `served` refused one.
    fn next(&self, served: Served) -> f64 {
        ceil_f64(served.start + self.window_ms * (1.0 + floor_f64(self.debt(served) / self.limit)))
    }

    /// When a debit can pass.
    pub(super) fn replenished(&self, served: Served) -> i64 {
        ceil_ms(self.next(served))
    }

    /// Whether a debit of `units` passes: only if all of it can be counted, since all of it may be given back.
    #[inline]
    pub(super) fn admits(&self, served: Served, units: f64) -> bool {
        let sum = served.units + units;
        if self.whole { sum <= self.limit } else { served.units < self.limit && sum <= MAX }
    }

    /// Whether a debit of one unit passes.
    #[inline]
    pub(super) fn has_left(&self, served: Served) -> bool {
        served.units < self.limit
    }

    #[inline]
    pub(super) fn decision(&self, allowed: bool, served: Served, now: f64) -> Decision {
        // A window shorter than the steps of `f64` may seem over already: a denial waits all the same.
        let wait = || ceil_wait(self.next(served) - now).max(1);
        Decision {
            allowed,
            limit: self.units(),
            remaining: floor_units(self.limit - served.units),
            reset_at_ms: self.window_end(served),
            retry_after_ms: if allowed { 0 } else { wait() },
        }
    }
}

/// What is counted in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served {
    /// The start of the window, in milliseconds since the Unix epoch.
    pub start: f64,
    /// Units counted in it; above the budget when the last debit crossed it, or after a charge.
    pub units: f64,
}

/// Builds a [`Budget`].
///
/// ```
/// use throttlekit::budget::Budget;
///
/// let error = Budget::builder().budget(0.5).window_ms(1_000.0).build().unwrap_err();
/// assert_eq!(error.to_string(), "tokenBudget.budget is 0.5: must be a finite number >= 1");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[must_use = "a builder does nothing until `build`"]
pub struct BudgetBuilder {
    budget: Option<f64>,
    window_ms: Option<f64>,
    max_debt: Option<f64>,
    carry: bool,
    whole: bool,
}

impl BudgetBuilder {
    /// Units per window, at least 1; a fraction is dropped. Required.
    pub fn budget(mut self, budget: f64) -> Self {
        self.budget = Some(budget);
        self
    }

    window_setters!(window_ms);

    /// The most units beyond the budget that the next window inherits where [debt is carried](Self::carry_debt), 0 or more; a
    /// fraction is dropped. The default is the budget: debt keeps a key out for one further window at most.
    pub fn max_debt(mut self, max_debt: f64) -> Self {
        self.max_debt = Some(max_debt);
        self
    }

    /// Whether what was counted beyond the budget counts in the next window too, and so on until it is paid. The default
    /// is no: every window starts at 0, as with other members of the family.
    pub fn carry_debt(mut self, carry: bool) -> Self {
        self.carry = carry;
        self
    }

    /// Whether a debit is admitted only if all of it is left, instead of while anything is. Then no debit crosses the
    /// budget, of whatever size, and a large one may be refused while smaller ones pass. The default is no.
    ///
    /// [Leases](crate::lease) of a budget need this: one that is granted in full when a single unit is left would cross it.
    pub fn whole_debits(mut self, whole: bool) -> Self {
        self.whole = whole;
        self
    }

    /// The budget.
    ///
    /// # Errors
    ///
    /// `tokenBudget.budget` or `tokenBudget.windowMs` if it is missing or out of range, `tokenBudget.maxDebt` if it is
    /// negative or not finite; budget and debt together may not be above 2^53 - 1.
    pub fn build(self) -> Result<Budget, BuildError> {
        const BUDGET: &str = "tokenBudget.budget";
        const MAX_DEBT: &str = "tokenBudget.maxDebt";
        let budget = self.budget.ok_or_else(|| BuildError::missing(BUDGET))?;
        if !budget.is_finite() || budget < 1.0 {
            return Err(BuildError::new(BUDGET, budget, "must be a finite number >= 1"));
        }
        let limit = floor_f64(positive(BUDGET, Some(budget))?);
        let window_ms = window("tokenBudget.windowMs", self.window_ms)?;
        let max_debt = match self.max_debt {
            None => limit.min(MAX - limit),
            Some(debt) if (0.0..=MAX - limit).contains(&debt) => floor_f64(debt),
            Some(debt) => {
                let allowed = format!("must be a number from 0 to {}", MAX - limit);
                return Err(BuildError::new(MAX_DEBT, debt, allowed));
            }
        };
        Ok(Budget { limit, window_ms, max_debt, carry: self.carry, whole: self.whole })
    }
}
