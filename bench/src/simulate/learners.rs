//! What learning the size of leases costs beside knowing it.

use std::error::Error;

use throttlekit::lease::{EoqOptions, EoqSizer, PredictiveSizer, eoq};

use super::schemes::sizer;
use super::trace::{drift, noisy, square, stationary};

/// What a trip costs; a stranded unit costs 1.
pub const TRIP: f64 = 20.0;

/// What leases of `size` cost in a window of `demand`.
pub fn cost(size: f64, demand: f64) -> f64 {
    if demand <= 0.0 { 0.0 } else { TRIP * demand / size + size / 2.0 }
}

/// The cost of `trace` at the sizes that `size` chooses, one window after the other.
pub fn spent(trace: &[f64], mut size: impl FnMut(f64) -> f64) -> f64 {
    trace.iter().map(|demand| cost(size(*demand), *demand)).sum()
}

/// The least cost of one size from 1 to 200 for all windows.
pub fn best_fixed(trace: &[f64]) -> f64 {
    (1..=200).map(|size| spent(trace, |_| f64::from(size))).fold(f64::INFINITY, f64::min)
}

/// The cost with a size from 1 to 200 chosen for each window by one who knows its demand.
pub fn clairvoyant(trace: &[f64]) -> f64 {
    let best = |demand| (1..=200).map(|size| cost(f64::from(size), demand)).fold(f64::INFINITY, f64::min);
    trace.iter().map(|demand| best(*demand)).sum()
}

/// The cost with a learner, and the learner after it.
///
/// # Errors
///
/// If an option is refused.
pub fn learnt(trace: &[f64], step_scale: Option<f64>) -> Result<(f64, EoqSizer), Box<dyn Error>> {
    use throttlekit::lease::Sizer;
    let mut sizer = sizer(1.0, step_scale)?;
    let spent = spent(trace, |demand| {
        let size = sizer.size();
        sizer.observe(demand);
        size
    });
    Ok((spent, sizer))
}

/// Around the same demand all the time.
pub fn steady(windows: u32) -> Vec<f64> {
    stationary(windows, 100.0, 0.3, 7)
}

/// Demand that goes up and down four times.
pub fn waves() -> Vec<f64> {
    drift(3_000, (100.0, 70.0), 4.0, 0.2, 11)
}

/// Demand that jumps from low to high and back.
pub fn jumps() -> Vec<f64> {
    square(3_000, (20.0, 180.0), 20, 0.1, 13)
}

/// Predictions of [`waves`] that are off by a tenth.
pub fn nearly(trace: &[f64]) -> Vec<f64> {
    noisy(trace, 0.1, 21)
}

/// The cost with the best size for a moving average of the demand.
///
/// # Errors
///
/// If a demand is refused.
pub fn averaged(trace: &[f64]) -> Result<f64, Box<dyn Error>> {
    let mut average = 100.0;
    let mut sum = 0.0;
    for demand in trace {
        sum += cost(eoq(TRIP, 1.0, average)?.round().clamp(1.0, 1_000.0), *demand);
        average += 0.3 * (demand - average);
    }
    Ok(sum)
}

/// The cost with sizes from predictions, as far as they prove good; and the greater weight at the end.
///
/// # Errors
///
/// If an option is refused.
pub fn predicted(trace: &[f64], predictions: &[f64]) -> Result<(f64, f64), Box<dyn Error>> {
    let mut sizer = PredictiveSizer::new(EoqOptions::new(TRIP, 1.0).max_size(1_000.0))?;
    let mut sum = 0.0;
    for (demand, prediction) in trace.iter().zip(predictions) {
        sum += cost(sizer.size_for(*prediction), *demand);
        sizer.observe(*demand);
    }
    let [follow, robust] = sizer.weights();
    Ok((sum, follow.max(robust)))
}

/// The cost with the best sizes for predictions that are believed blindly.
///
/// # Errors
///
/// If a prediction is refused.
pub fn believed(trace: &[f64], predictions: &[f64]) -> Result<f64, Box<dyn Error>> {
    let mut sum = 0.0;
    for (demand, prediction) in trace.iter().zip(predictions) {
        sum += cost(eoq(TRIP, 1.0, *prediction)?.round().clamp(1.0, 1_000.0), *demand);
    }
    Ok(sum)
}
