//! The split of a limit by demands and weights.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // small whole numbers

use proptest::prelude::*;
use throttlekit::fair::{guaranteed_share, weighted_max_min, weighted_max_min_split};

use crate::support::Mulberry;

/// Demands, weights, the limit, and the split.
type Case = (&'static [f64], &'static [f64], f64, &'static [u64]);

#[test]
fn published_splits() {
    let cases: [Case; 10] = [
        (&[100.0; 4], &[4.0, 1.0, 1.0, 1.0], 100.0, &[57, 15, 14, 14]),
        (&[100.0; 4], &[4.0, 1.0, 1.0, 1.0], 70.0, &[40, 10, 10, 10]),
        (&[0.0, 100.0, 100.0, 100.0], &[4.0, 1.0, 1.0, 1.0], 70.0, &[0, 24, 23, 23]),
        (&[5.0, 100.0, 100.0], &[1.0; 3], 100.0, &[5, 48, 47]),
        (&[10.0, 20.0, 5.0], &[1.0, 2.0, 1.0], 1_000.0, &[10, 20, 5]),
        (&[7.0, 3.0, 9.0], &[2.0, 1.0, 1.0], 10.0, &[5, 3, 2]),
        (&[3.0; 3], &[1.0; 3], 7.0, &[3, 2, 2]),
        (&[50.0; 2], &[6.0, 5.0], 99.0, &[50, 49]),
        (&[10.0; 2], &[1.0; 2], 7.9, &[4, 3]),
        (&[], &[], 10.0, &[]),
    ];
    for (demands, weights, limit, expected) in cases {
        assert_eq!(weighted_max_min(demands, weights, limit).unwrap(), expected, "{demands:?} {weights:?} {limit}");
    }
    assert_eq!(weighted_max_min(&[1.5, 10.0], &[1.0; 2], 5.0).unwrap(), [2, 3], "a fraction may be passed");
    assert_eq!(guaranteed_share(&[6.0, 5.0], 99.0).unwrap(), [54, 45]);
    assert_eq!(guaranteed_share(&[4.0, 1.0, 1.0, 1.0], 70.0).unwrap(), [40, 10, 10, 10]);
    assert!(guaranteed_share(&[], 70.0).unwrap().is_empty());
}

#[test]
fn bad_arguments_are_named() {
    let message = |result: Result<Vec<u64>, throttlekit::Error>| {
        let error = result.unwrap_err();
        assert_eq!(error.code(), "invalid_argument");
        error.to_string()
    };
    assert_eq!(
        message(weighted_max_min(&[1.0], &[1.0, 2.0], 1.0)),
        "there are 1 demands and 2 weights: must be as many"
    );
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        assert!(message(weighted_max_min(&[1.0], &[1.0], bad)).starts_with("limit is"), "{bad}");
        assert!(message(weighted_max_min(&[bad], &[1.0], 1.0)).starts_with("a demand is"), "{bad}");
        assert!(message(weighted_max_min(&[1.0], &[bad], 1.0)).starts_with("weight is"), "{bad}");
        assert!(message(guaranteed_share(&[bad], 1.0)).starts_with("weight is"), "{bad}");
        assert!(message(guaranteed_share(&[1.0], bad)).starts_with("limit is"), "{bad}");
    }
    assert!(message(weighted_max_min(&[1.0], &[0.0], 1.0)).starts_with("weight is 0"));
}

/// How far apart the levels are of those who got less than they asked for.
fn spread(given: &[f64], demands: &[f64], weights: &[f64]) -> f64 {
    let short = given.iter().zip(demands).zip(weights).filter(|((given, demand), _)| *given < *demand);
    let levels: Vec<f64> = short.map(|((given, _), weight)| given / weight).collect();
    let most = levels.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let least = levels.iter().copied().fold(f64::INFINITY, f64::min);
    (most - least).max(0.0)
}

/// Unit by unit, each to whoever has least for its weight.
fn drip(demands: &[f64], weights: &[f64], limit: f64) -> Vec<f64> {
    let mut given = vec![0.0; demands.len()];
    for _ in 0..limit as u64 {
        let short = (0..given.len()).filter(|&i| given[i] < demands[i]);
        let Some(poorest) = short.min_by(|&a, &b| (given[a] / weights[a]).total_cmp(&(given[b] / weights[b]))) else {
            break;
        };
        given[poorest] += 1.0;
    }
    given
}

fn draws(random: &mut Mulberry, n: usize, from: f64, bound: f64) -> Vec<f64> {
    (0..n).map(|_| from + random.below(bound)).collect()
}

#[test]
fn the_exact_split_and_the_drip_keep_their_promises() {
    let mut random = Mulberry::new(99);
    for trial in 0..20_000 {
        let n = 2 + random.below(5.0) as usize;
        let weights = draws(&mut random, n, 1.0, 8.0);
        let demands = draws(&mut random, n, 0.0, 200.0);
        let limit = 1.0 + random.below(150.0);
        let sum: f64 = weights.iter().sum();
        let exact = weighted_max_min_split(&demands, &weights, limit).unwrap();
        let dripped = drip(&demands, &weights, limit);
        for i in 0..n {
            let owed = demands[i].min(weights[i] * limit / sum);
            assert!(exact[i] >= owed - 1e-9, "trial {trial}: {exact:?}");
            assert!(dripped[i] >= owed - weights[i] * n as f64 / sum - 1e-9, "trial {trial}: {dripped:?}");
        }
        assert!(exact.iter().sum::<f64>() <= limit + 1e-9);
        // By rounding, who got all may seem to have got less.
        let got: Vec<f64> = exact.iter().map(|units| units + 1e-9).collect();
        assert!(spread(&got, &demands, &weights) <= 1e-6, "trial {trial}: {exact:?}");
    }
}

#[test]
fn the_split_in_units_is_near_the_exact_one() {
    let mut random = Mulberry::new(7);
    for trial in 0..5_000 {
        let n = 2 + random.below(4.0) as usize;
        let weights = draws(&mut random, n, 1.0, 6.0);
        let demands = draws(&mut random, n, 0.0, 150.0);
        let limit = 1.0 + random.below(120.0);
        let units = weighted_max_min(&demands, &weights, limit).unwrap();
        let exact = weighted_max_min_split(&demands, &weights, limit).unwrap();
        for i in 0..n {
            assert!((units[i] as f64 - exact[i]).abs() <= weights[i] + 1e-9, "trial {trial}: {units:?} {exact:?}");
        }
    }
}

/// The four theorems on one split of whole demands.
fn holds(demands: &[f64], weights: &[f64], limit: f64) {
    let units = weighted_max_min(demands, weights, limit).unwrap();
    let context = || format!("{demands:?} {weights:?} {limit}: {units:?}");
    let sum: u64 = units.iter().sum();
    assert!(sum as f64 <= limit, "no more than the limit: {}", context());
    let wanted: f64 = demands.iter().sum();
    assert_eq!(sum as f64, wanted.min(limit.floor()), "nothing is left while somebody wants it: {}", context());
    let guaranteed = guaranteed_share(weights, limit).unwrap();
    for (i, given) in units.iter().enumerate() {
        assert!(*given as f64 >= demands[i].min(guaranteed[i] as f64), "each its share: {}", context());
        assert!(*given as f64 <= demands[i], "no more than was asked for: {}", context());
    }
    let given: Vec<f64> = units.iter().map(|units| *units as f64).collect();
    let least = weights.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(spread(&given, demands, weights) <= 1.0 / least + 1e-9, "by weight: {}", context());
}

#[test]
fn the_theorems_hold_on_the_published_trials() {
    let mut random = Mulberry::new(12_345);
    for _ in 0..5_000 {
        let n = 1 + random.below(6.0) as usize;
        let weights = draws(&mut random, n, 1.0, 4.0);
        let demands = draws(&mut random, n, 0.0, 200.0);
        let limit = random.below(400.0);
        holds(&demands, &weights, limit);
    }
}

proptest! {
    #[test]
    fn the_theorems_hold(
        tenants in prop::collection::vec((0_u32..300, 1_u32..40), 0..12),
        limit in 0.0_f64..500.0,
    ) {
        let demands: Vec<f64> = tenants.iter().map(|(demand, _)| f64::from(*demand)).collect();
        let weights: Vec<f64> = tenants.iter().map(|(_, weight)| f64::from(*weight) / 4.0).collect();
        holds(&demands, &weights, limit);
    }
}
