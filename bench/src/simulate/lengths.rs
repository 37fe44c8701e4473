//! How many tokens requests produce, and predictions of it.

use std::error::Error;
use std::fs;
use std::path::Path;

use throttlekit::testkit::Mulberry;

use super::trace::{gauss, round};

/// `requests` lengths around `median`, a few of them very long, from 1 to `cap`.
pub fn heavy_tail(requests: usize, median: f64, cap: f64, seed: u32) -> Vec<f64> {
    /// How heavy: a length is at most `e` to twice this power times the median.
    const TAIL: f64 = 1.4;
    let mut random = Mulberry::new(seed);
    let mut length = || {
        let draws: f64 = (0..3).map(|_| random.draw()).sum();
        round(median * (TAIL * ((draws / 3.0 - 0.5) * 4.0)).exp()).clamp(1.0, cap)
    };
    (0..requests).map(|_| length()).collect()
}

/// The place of each length in ascending order, that of equal ones by their place in `lengths`.
fn ranks(lengths: &[f64]) -> Vec<usize> {
    let mut places = vec![0; lengths.len()];
    for (rank, place) in order(lengths).into_iter().enumerate() {
        places[place] = rank;
    }
    places
}

fn order(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    order
}

fn sorted(lengths: &[f64]) -> Vec<f64> {
    let mut sorted = lengths.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Predictions that have the right lengths at somewhat wrong places: `noise` is the deviation of a place, as a part of all.
#[allow(clippy::cast_precision_loss)] // far fewer than 2^53 lengths
pub fn by_rank(lengths: &[f64], noise: f64, seed: u32) -> Vec<f64> {
    let mut random = Mulberry::new(seed);
    let ranks = ranks(lengths);
    let score = |rank: &usize| *rank as f64 + noise * lengths.len() as f64 * gauss(&mut random);
    let scores: Vec<f64> = ranks.iter().map(score).collect();
    at(&sorted(lengths), &self::ranks(&scores))
}

/// Predictions that have the right lengths at the worst places: the longest for the shortest.
pub fn adversarial(lengths: &[f64]) -> Vec<f64> {
    let turned: Vec<usize> = ranks(lengths).into_iter().map(|rank| lengths.len() - 1 - rank).collect();
    at(&sorted(lengths), &turned)
}

fn at(sorted: &[f64], ranks: &[usize]) -> Vec<f64> {
    ranks.iter().map(|rank| sorted[*rank]).collect()
}

/// The length below which the share `q` of `lengths` lies.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a place among them
pub fn quantile(lengths: &[f64], q: f64) -> f64 {
    sorted(lengths).get((q * lengths.len().saturating_sub(1) as f64) as usize).copied().unwrap_or(0.0)
}

/// The produced tokens of a trace in the format of the Azure LLM inference traces of 2023: a CSV file with a line of titles
/// and the columns time, tokens read, tokens produced. Rows without tokens are left out.
///
/// # Errors
///
/// If the file cannot be read, or has no such row.
pub fn production(file: &Path) -> Result<Vec<f64>, Box<dyn Error>> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let third = |line: &str| line.split(',').nth(2).and_then(|tokens| tokens.trim().parse::<f64>().ok());
    let lengths: Vec<f64> = text.lines().skip(1).filter_map(third).filter(|tokens| *tokens > 0.0).collect();
    if lengths.is_empty() {
        return Err(format!("{} has no row with a third column above 0", file.display()).into());
    }
    Ok(lengths)
}
