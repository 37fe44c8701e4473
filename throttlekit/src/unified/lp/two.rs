//! Two budgets: requests and cost.

use super::{EPS, Kind, Plan, Prices, TOL, clamp_unit};

/// Most marginal kinds whose combinations are all tried.
const MOST_COMBINED: usize = 12;

pub(super) fn solve(kinds: &[Kind], rate: f64, cost: f64) -> Plan {
    let (price_rate, price_cost) = prices(kinds, rate, cost);
    let admit_fractions = fractions(kinds, rate, cost, price_rate, price_cost);
    let gain = |(kind, x): (&Kind, &f64)| kind.weight * kind.value * x;
    let objective = kinds.iter().zip(&admit_fractions).map(gain).sum();
    Plan { prices: Prices::new(price_rate, price_cost), admit_fractions, objective }
}

/// The most selective of the prices at which the dual is the least. The least is at a corner: where two kinds are worth
/// just their bid, or one is and the other price is 0.
fn prices(kinds: &[Kind], rate: f64, cost: f64) -> (f64, f64) {
    let mut corners = vec![(0.0, 0.0)];
    for kind in kinds {
        corners.push((kind.value, 0.0));
        if kind.cost > EPS {
            corners.push((0.0, kind.value / kind.cost));
        }
    }
    for (index, one) in kinds.iter().enumerate() {
        for other in kinds.iter().skip(index + 1) {
            if (other.cost - one.cost).abs() > EPS {
                let price_cost = (other.value - one.value) / (other.cost - one.cost);
                corners.push((one.value - price_cost * one.cost, price_cost));
            }
        }
    }
    let dual = |(price_rate, price_cost): (f64, f64)| {
        let mut sum = rate * price_rate + cost * price_cost;
        for kind in kinds {
            sum += kind.weight * (kind.value - price_rate - price_cost * kind.cost).max(0.0);
        }
        sum
    };
    let corners: Vec<_> = corners
        .into_iter()
        .filter(|(price_rate, price_cost)| *price_rate >= -EPS && *price_cost >= -EPS)
        .map(|(price_rate, price_cost)| (price_rate.max(0.0), price_cost.max(0.0)))
        .map(|corner| (corner, dual(corner)))
        .collect();
    let least = corners.iter().map(|(_, dual)| *dual).fold(f64::INFINITY, f64::min);

    let mut best = (0.0, 0.0);
    let mut best_score: Option<(usize, f64, f64)> = None;
    for ((price_rate, price_cost), _) in corners.into_iter().filter(|(_, dual)| *dual <= least + TOL) {
        let refused = |kind: &&Kind| kind.value - price_rate - price_cost * kind.cost < -TOL;
        let rejected = kinds.iter().filter(refused).count();
        let better = best_score.is_none_or(|(most, best_cost, best_rate)| {
            rejected > most
                || (rejected == most
                    && (price_cost > best_cost + EPS
                        || ((price_cost - best_cost).abs() <= EPS && price_rate > best_rate)))
        });
        if better {
            best = (price_rate, price_cost);
            best_score = Some((rejected, price_cost, price_rate));
        }
    }
    best
}

/// How much of each kind to admit at these prices: all of what is worth more than its bid, none of what is worth less, and of
/// the rest what fits.
fn fractions(kinds: &[Kind], rate: f64, cost: f64, price_rate: f64, price_cost: f64) -> Vec<f64> {
    let mut x = vec![0.0; kinds.len()];
    let mut marginal = Vec::new();
    let (mut used_rate, mut used_cost) = (0.0, 0.0);
    for (index, kind) in kinds.iter().enumerate() {
        let surplus = kind.value - price_rate - price_cost * kind.cost;
        if surplus > TOL {
            x[index] = 1.0;
            used_rate += kind.weight;
            used_cost += kind.weight * kind.cost;
        } else if surplus.abs() <= TOL {
            marginal.push(index);
        }
    }
    let left_rate = (rate - used_rate).max(0.0);
    let left_cost = (cost - used_cost).max(0.0);
    match (price_rate > TOL, price_cost > TOL) {
        (false, false) => {}
        (true, false) => {
            marginal.sort_by(|a, b| kinds[*a].cost.total_cmp(&kinds[*b].cost));
            fill(&mut x, &marginal, left_rate, 1.0, |index| kinds[index].weight);
        }
        (false, true) => {
            marginal.sort_by(|a, b| kinds[*b].cost.total_cmp(&kinds[*a].cost));
            fill(&mut x, &marginal, left_cost, 0.0, |index| kinds[index].weight * kinds[index].cost);
        }
        (true, true) => fill_both(&mut x, &marginal, kinds, left_rate, left_cost),
    }
    x
}

/// Admits in order while `left` lasts, and a part of the first that does not fit. What needs nothing gets `free`.
fn fill(x: &mut [f64], marginal: &[usize], left: f64, free: f64, need: impl Fn(usize) -> f64) {
    let mut used = 0.0;
    let mut full = false;
    for &index in marginal {
        let need = need(index);
        x[index] = if need <= EPS {
            free
        } else if full {
            0.0
        } else if used + need <= left + EPS {
            used += need;
            1.0
        } else {
            full = true;
            clamp_unit((left - used) / need)
        };
    }
}

/// Uses up both budgets: two kinds in part, the others whole or not at all.
fn fill_both(x: &mut [f64], marginal: &[usize], kinds: &[Kind], left_rate: f64, left_cost: f64) {
    let unit = |share: f64| (-EPS..=1.0 + EPS).contains(&share);
    for (position, &a) in marginal.iter().enumerate() {
        for &b in marginal.iter().skip(position + 1) {
            let (weight_a, weight_b) = (kinds[a].weight, kinds[b].weight);
            let (spent_a, spent_b) = (weight_a * kinds[a].cost, weight_b * kinds[b].cost);
            let determinant = weight_a * spent_b - weight_b * spent_a;
            if determinant.abs() <= EPS {
                continue;
            }
            let others: Vec<usize> = marginal.iter().copied().filter(|index| *index != a && *index != b).collect();
            let combinations = if marginal.len() <= MOST_COMBINED { 1_u32 << others.len() } else { 1 };
            for bits in 0..combinations {
                let chosen = |position: usize| position < MOST_COMBINED && bits >> position & 1 == 1;
                let (mut rate, mut cost) = (left_rate, left_cost);
                for (position, &other) in others.iter().enumerate() {
                    if chosen(position) {
                        rate -= kinds[other].weight;
                        cost -= kinds[other].weight * kinds[other].cost;
                    }
                }
                let share_a = (rate * spent_b - weight_b * cost) / determinant;
                let share_b = (weight_a * cost - spent_a * rate) / determinant;
                if unit(share_a) && unit(share_b) {
                    for (position, &other) in others.iter().enumerate() {
                        x[other] = if chosen(position) { 1.0 } else { 0.0 };
                    }
                    x[a] = clamp_unit(share_a);
                    x[b] = clamp_unit(share_b);
                    return;
                }
            }
        }
    }
    for &index in marginal {
        x[index] = 1.0;
    }
}
