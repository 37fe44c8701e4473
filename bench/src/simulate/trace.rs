//! Demand, window by window.

use std::f64::consts::PI;

use throttlekit::testkit::Mulberry;

/// A number of mean 0 and deviation 1: the sum of twelve draws, less 6.
pub fn gauss(random: &mut Mulberry) -> f64 {
    (0..12).map(|_| random.draw()).sum::<f64>() - 6.0
}

/// `x` rounded to the nearest whole number, halves up.
pub fn round(x: f64) -> f64 {
    (x + 0.5).floor()
}

/// A whole number around `mean`, with the deviation `variation * mean`; 0, without a draw, if there is nothing to expect.
pub fn sample(mean: f64, variation: f64, random: &mut Mulberry) -> f64 {
    if mean <= 0.0 { 0.0 } else { round(mean * (1.0 + variation * gauss(random))).max(0.0) }
}

/// Windows that expect the same.
pub fn stationary(windows: u32, mean: f64, variation: f64, seed: u32) -> Vec<f64> {
    let mut random = Mulberry::new(seed);
    (0..windows).map(|_| sample(mean, variation, &mut random)).collect()
}

/// Windows whose expectation goes up and down `periods` times by `swing`.
pub fn drift(windows: u32, (base, swing): (f64, f64), periods: f64, variation: f64, seed: u32) -> Vec<f64> {
    let mut random = Mulberry::new(seed);
    let mean = |at| base + swing * ((2.0 * PI * periods * f64::from(at)) / f64::from(windows)).sin();
    (0..windows).map(|at| sample(mean(at), variation, &mut random)).collect()
}

/// Windows that expect `low`, then `high`, and so on, in this many blocks.
pub fn square(windows: u32, (low, high): (f64, f64), blocks: u32, variation: f64, seed: u32) -> Vec<f64> {
    let mut random = Mulberry::new(seed);
    let block = (windows / blocks).max(1);
    let mean = |at: u32| if (at / block) % 2 == 1 { high } else { low };
    (0..windows).map(|at| sample(mean(at), variation, &mut random)).collect()
}

/// Predictions of `trace` that are off by the share `variation` of it.
pub fn noisy(trace: &[f64], variation: f64, seed: u32) -> Vec<f64> {
    let mut random = Mulberry::new(seed);
    trace.iter().map(|demand| round(demand * (1.0 + variation * gauss(&mut random))).max(0.0)).collect()
}
