//! The shipped two-tier limiter on the demand of the comparison of schemes.

use std::error::Error;

use throttlekit::lease::{EoqOptions, GrantForm, TwoTier};
use throttlekit::store::memory::Table;
use throttlekit::{FixedWindow, ManualClock};

use super::schemes::{LIMIT, hot_and_cold};

/// What became of the demand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Requests of the limiters to the store.
    pub trips: u64,
    /// How far the worst window went beyond the limit.
    pub overshoot: u64,
    /// The mean over the windows of what was admitted, as a part of what could have been.
    pub utilisation: f64,
}

/// Five limiters share the units of [`hot_and_cold`] and learn the size of their leases. A trip costs 20, a stranded unit 10.
///
/// # Errors
///
/// If an option is refused, or a check fails.
#[allow(clippy::cast_precision_loss)] // far fewer than 2^53 units
pub fn run(form: GrantForm, step_scale: Option<f64>) -> Result<Outcome, Box<dyn Error>> {
    const WINDOW_MS: f64 = 1_000.0;
    let demand = hot_and_cold();
    let clock = ManualClock::new(0.0);
    let store = Table::new();
    let sizes = EoqOptions::new(20.0, 10.0).max_size(1_000.0);
    let sizes = step_scale.map_or(sizes, |scale| sizes.step_scale(scale));
    let mut limiters = Vec::new();
    for _ in &demand {
        let window = FixedWindow::builder().limit(LIMIT as f64).window_ms(WINDOW_MS).build()?;
        let limiter = TwoTier::builder(window).keyspace(store.clone()).clock(clock.clone());
        limiters.push(limiter.grant(form).adaptive(sizes).window_coupled(true).build()?);
    }
    let (mut overshoot, mut utilised) = (0, 0.0);
    let windows = demand.first().map_or(0, Vec::len);
    for window in 0..windows {
        clock.set(window as f64 * WINDOW_MS);
        let mut wanted: Vec<f64> = demand.iter().map(|demand| demand[window]).collect();
        let possible = wanted.iter().sum::<f64>().min(LIMIT as f64);
        let mut admitted = 0;
        while wanted.iter().any(|wanted| *wanted > 0.0) {
            for (limiter, wanted) in limiters.iter().zip(&mut wanted).filter(|(_, wanted)| **wanted > 0.0) {
                *wanted -= 1.0;
                let decision = limiter.run_check("key", 1.0).now().map_err(|_| "memory does not wait")??;
                admitted += u64::from(decision.allowed);
            }
        }
        overshoot = overshoot.max(admitted.saturating_sub(LIMIT));
        utilised += admitted as f64 / possible;
    }
    let trips = limiters.iter().map(|limiter| limiter.stats().leases).sum();
    Ok(Outcome { trips, overshoot, utilisation: utilised / windows as f64 })
}
