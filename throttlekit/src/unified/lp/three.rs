//! Three budgets: requests, cost and slots.

use super::{EPS, Kind, Plan, Prices, TOL};

/// A determinant below this is none.
const SINGULAR: f64 = 1e-12;

/// `plane[0] * rate + plane[1] * cost + plane[2] * slots = plane[3]`.
type Plane = [f64; 4];

pub(super) fn solve(kinds: &[Kind], budgets: [f64; 3]) -> Plan {
    let mut planes: Vec<Plane> = vec![[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];
    planes.extend(kinds.iter().map(|kind| [1.0, kind.cost, kind.hold(), kind.value]));

    let dual = |prices: [f64; 3]| {
        let mut sum = budgets[0] * prices[0] + budgets[1] * prices[1] + budgets[2] * prices[2];
        for kind in kinds {
            sum += kind.weight * surplus(kind, prices).max(0.0);
        }
        sum
    };
    let mut corners = vec![([0.0; 3], dual([0.0; 3]))];
    for (i, one) in planes.iter().enumerate() {
        for (j, two) in planes.iter().enumerate().skip(i + 1) {
            for three in planes.iter().skip(j + 1) {
                if let Some(corner) = meet(one, two, three) {
                    corners.push((corner, dual(corner)));
                }
            }
        }
    }
    let least = corners.iter().map(|(_, dual)| *dual).fold(f64::INFINITY, f64::min);
    let prices = most_selective(kinds, corners.into_iter().filter(|(_, dual)| *dual <= least + TOL));
    let admit_fractions = fractions(kinds, budgets, prices);
    let prices = Prices::new(prices[0], prices[1]).concurrency(prices[2]);
    Plan { prices, admit_fractions, objective: least }
}

fn surplus(kind: &Kind, [rate, cost, slots]: [f64; 3]) -> f64 {
    kind.value - rate - cost * kind.cost - slots * kind.hold()
}

/// Where three planes meet, if in one point of prices that are not negative. Cramer's rule.
fn meet(one: &Plane, two: &Plane, three: &Plane) -> Option<[f64; 3]> {
    let determinant = |x: usize, y: usize, z: usize| {
        one[x] * (two[y] * three[z] - two[z] * three[y]) - one[y] * (two[x] * three[z] - two[z] * three[x])
            + one[z] * (two[x] * three[y] - two[y] * three[x])
    };
    let whole = determinant(0, 1, 2);
    if whole.abs() < SINGULAR {
        return None;
    }
    let prices = [determinant(3, 1, 2) / whole, determinant(0, 3, 2) / whole, determinant(0, 1, 3) / whole];
    prices.iter().all(|price| *price >= -EPS).then(|| prices.map(|price| price.max(0.0)))
}

/// Of equally good prices those that refuse the most kinds; of those the ones with the highest price of slots, of cost, of
/// requests, in this order.
fn most_selective(kinds: &[Kind], corners: impl Iterator<Item = ([f64; 3], f64)>) -> [f64; 3] {
    let mut best: Option<(usize, [f64; 3])> = None;
    for (prices, _) in corners {
        let rejected = kinds.iter().filter(|kind| surplus(kind, prices) < -TOL).count();
        let better = best.is_none_or(|(most, best)| {
            rejected > most
                || (rejected == most && {
                    let differing = [2, 1, 0].into_iter().find(|axis| (prices[*axis] - best[*axis]).abs() > EPS);
                    differing.is_some_and(|axis| prices[axis] > best[axis])
                })
        });
        if better {
            best = Some((rejected, prices));
        }
    }
    best.map_or([0.0; 3], |(_, prices)| prices)
}

/// A plan that fits: what is worth more than its bid, and of what is worth just that, in order, as much as is left.
fn fractions(kinds: &[Kind], budgets: [f64; 3], prices: [f64; 3]) -> Vec<f64> {
    let needs = |kind: &Kind| [kind.weight, kind.weight * kind.cost, kind.weight * kind.hold()];
    let mut left = budgets;
    let mut x: Vec<f64> = kinds.iter().map(|kind| if surplus(kind, prices) > TOL { 1.0 } else { 0.0 }).collect();
    for (kind, _) in kinds.iter().zip(&x).filter(|(_, x)| **x > 0.0) {
        for (left, need) in left.iter_mut().zip(needs(kind)) {
            *left -= need;
        }
    }
    left = left.map(|left| left.max(0.0));
    if prices.iter().all(|price| *price <= TOL) {
        return x;
    }
    for (kind, x) in kinds.iter().zip(&mut x).filter(|(kind, _)| surplus(kind, prices).abs() <= TOL) {
        let fits = left.iter().zip(needs(kind)).filter(|(_, need)| *need > 0.0);
        *x = fits.map(|(left, need)| left / need).fold(1.0, f64::min).max(0.0);
        for (left, need) in left.iter_mut().zip(needs(kind)) {
            *left = (*left - need * *x).max(0.0);
        }
    }
    x
}
