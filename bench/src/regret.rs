//! What admission by prices earns on a stream of requests, and how far that is from knowing the stream beforehand.

use std::error::Error;

use throttlekit::testkit::Mulberry;
use throttlekit::unified::{Prices, Workload};
use throttlekit::{Admit, Ask, FixedWindow, Limiter, ManualClock, Unified, UnifiedBuilder};

/// Requests of a stream.
pub const REQUESTS: u32 = 1_000;
/// Requests that may be admitted.
pub const RATE: f64 = 1_000.0;
/// Units that may be spent.
pub const COST: f64 = 50_000.0;
/// Streams of one figure.
pub const RUNS: u32 = 20;
/// A small request.
pub const SMALL: (f64, f64) = (100.0, 1.0);
/// What a large one costs.
pub const LARGE_COST: f64 = 10_000.0;

/// How a stream is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// Whoever comes first.
    Marginal,
    /// By these prices of a request and of a unit.
    Prices(f64, f64),
    /// By the prices for large requests worth this much.
    Expecting(f64),
    /// The same, and a sample of this many requests may correct them once.
    Learning(f64, u64),
    /// The same, solved again after every so many requests.
    Resolving(f64, u64),
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // wraps on purpose: the seed is 32 bits
fn seed(correlation: f64, run: u32) -> u32 {
    let correlation = (correlation * 1_000.0).round() as i32 as u32;
    0xdead_beef ^ correlation ^ run.wrapping_mul(2_654_435_761)
}

fn workload(large_value: f64) -> Workload {
    let requests = f64::from(REQUESTS);
    Workload::new(RATE / requests, COST / requests).kind(SMALL.0, SMALL.1, 0.5).kind(LARGE_COST, large_value, 0.5)
}

fn unified(policy: Policy) -> Result<Unified<ManualClock>, Box<dyn Error>> {
    let clock = ManualClock::new(0.0);
    let window = |limit| FixedWindow::builder().limit(limit).window_ms(86_400_000.0).build();
    let limiter = |limit| Ok::<_, Box<dyn Error>>(Limiter::builder(window(limit)?).clock(clock.clone()).build());
    let builder: UnifiedBuilder<_> = Unified::builder().rate(limiter(RATE)?).cost(limiter(COST)?).clock(clock.clone());
    let builder = match policy {
        Policy::Marginal => builder,
        Policy::Prices(rate, cost) => builder.prices(Prices::new(rate, cost)),
        Policy::Expecting(value) => builder.workload(workload(value)),
        Policy::Learning(value, sample) => builder.learning_workload(workload(value), sample),
        Policy::Resolving(value, sample) => builder.resolving_workload(workload(value), sample, u64::from(REQUESTS)),
    };
    Ok(builder.build()?)
}

/// The share of the value that was not earned, of the best that is to be had on average, over [`RUNS`] streams of
/// [`REQUESTS`]. A request is small or large; the next one is of the same kind with the probability
/// `(1 + correlation) / 2`.
///
/// # Errors
///
/// If a setting is refused.
pub fn regret(policy: Policy, large_value: f64, correlation: f64) -> Result<f64, Box<dyn Error>> {
    let best = workload(large_value).solve()?.objective * f64::from(REQUESTS);
    let mut sum = 0.0;
    for run in 0..RUNS {
        let unified = unified(policy)?;
        let mut draws = Mulberry::new(seed(correlation, run));
        let mut small = draws.draw() < 0.5;
        let mut revenue = 0.0;
        for _ in 0..REQUESTS {
            let (cost, value) = if small { SMALL } else { (LARGE_COST, large_value) };
            let ask = Ask::new("").cost(cost).value(value);
            let admission = unified.admit(&ask).now().map_err(|_| "memory does not wait")??;
            if admission.decision.allowed {
                revenue += value;
            }
            if draws.draw() >= f64::midpoint(1.0, correlation) {
                small = !small;
            }
        }
        sum += 1.0 - revenue / best;
    }
    Ok(sum / f64::from(RUNS))
}
