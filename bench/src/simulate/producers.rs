//! Gateways that produce tokens against one budget, and lease it in batches.

use std::error::Error;

use throttlekit::ManualClock;
use throttlekit::budget::Budget;
use throttlekit::store::memory::Table;

use super::lengths::heavy_tail;
use super::schemes::batches;
use super::windows::{Outcome, Rules};

/// Windows of a figure.
const WINDOWS: usize = 200;
/// Tokens of a lease.
pub const BATCH: f64 = 200.0;

/// What `gateways` gateways ask for, with about `median` tokens in each window.
pub fn demand(gateways: u32, median: f64, cap: f64, seed: u32) -> Vec<Vec<f64>> {
    (0..gateways).map(|gateway| heavy_tail(WINDOWS, median, cap, seed + gateway)).collect()
}

/// More and more gateways on a budget of 10,000 tokens a window: coupled to the window, and carried over.
pub fn fixed_budget(gateways: u32) -> (Outcome, Outcome) {
    both(10_000, &demand(gateways, 4_000.0, 80_000.0, 100))
}

/// The first `windows` windows of [`fixed_budget`] with the shipped leased budget: tokens produced in each, and requests to the
/// store.
///
/// # Errors
///
/// If an option is refused, or a check fails.
#[allow(clippy::cast_precision_loss)] // a few windows
pub fn shipped(gateways: u32, windows: usize) -> Result<(Vec<u64>, u64), Box<dyn Error>> {
    const WINDOW_MS: f64 = 1_000.0;
    let demand = demand(gateways, 4_000.0, 80_000.0, 100);
    let (clock, store) = (ManualClock::new(0.0), Table::new());
    let mut limiters = Vec::new();
    for _ in 0..gateways {
        let budget = Budget::builder().budget(10_000.0).window_ms(WINDOW_MS).build()?;
        limiters.push(budget.leased().keyspace(store.clone()).clock(clock.clone()).batch(BATCH).build()?);
    }
    let mut produced = Vec::new();
    for window in 0..windows {
        clock.set(window as f64 * WINDOW_MS);
        let mut wanted: Vec<f64> = demand.iter().map(|demand| demand[window]).collect();
        let mut tokens = 0;
        while wanted.iter().any(|wanted| *wanted > 0.0) {
            for (limiter, wanted) in limiters.iter().zip(&mut wanted).filter(|(_, wanted)| **wanted > 0.0) {
                let decision = limiter.run_check("budget", 1.0).now().map_err(|_| "memory does not wait")??;
                // A gateway that was refused a token gets none before the window ends.
                *wanted = if decision.allowed { *wanted - 1.0 } else { 0.0 };
                tokens += u64::from(decision.allowed);
            }
        }
        produced.push(tokens);
    }
    Ok((produced, limiters.iter().map(|limiter| limiter.stats().leases).sum()))
}

/// More and more gateways on a budget that grows with them: coupled to the window, and carried over.
pub fn scaled_budget(gateways: u32) -> (Outcome, Outcome) {
    both(1_500 * u64::from(gateways), &demand(gateways, 2_500.0, 50_000.0, 200))
}

/// Two windows on a limit of 200 in leases of 10: a request on each node, and then 800.
pub fn surge(nodes: usize) -> (Outcome, Outcome) {
    let demand = vec![vec![1.0, 800.0]; nodes];
    (batches(Rules::coupled(200), 10.0, &demand), batches(Rules::carried(200), 10.0, &demand))
}

fn both(budget: u64, demand: &[Vec<f64>]) -> (Outcome, Outcome) {
    (batches(Rules::coupled(budget), BATCH, demand), batches(Rules::carried(budget), BATCH, demand))
}

/// The mean over the windows of the part of the budget that was used.
#[allow(clippy::cast_precision_loss)] // far fewer than 2^53 tokens
pub fn used(outcome: &Outcome, budget: u64) -> f64 {
    let part = |admitted: &u64| (*admitted).min(budget) as f64 / budget as f64;
    outcome.admitted.iter().map(part).sum::<f64>() / outcome.admitted.len() as f64
}

/// The mean over the windows of what went beyond the limit.
#[allow(clippy::cast_precision_loss)] // far fewer than 2^53 tokens
pub fn mean_overshoot(outcome: &Outcome) -> f64 {
    outcome.overshoots().map(|overshoot| overshoot as f64).sum::<f64>() / outcome.admitted.len() as f64
}
