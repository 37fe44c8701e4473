//! No overshoot, no waste, no coordination: at most two of them.
//!
//! `nodes` nodes share `limit` requests of one window. Each has a budget that was fixed before the demand is known. The
//! overshoot is what is admitted above the limit when all nodes are flooded, the waste what is not admitted when all of the
//! demand comes to the poorest node. Then `overshoot + nodes * waste >= (nodes - 1) * limit`, since the poorest node has at
//! most an equal part of what all have. Leases from a pool buy some of it back.

/// Overshoot and waste of fixed budgets.
pub fn fixed(budgets: &[u32], limit: u32) -> (u32, u32) {
    let sum: u32 = budgets.iter().sum();
    let poorest = budgets.iter().copied().min().unwrap_or(0);
    (sum.saturating_sub(limit), limit.saturating_sub(poorest))
}

/// The least `overshoot + weight * waste` of all budgets up to the limit for `parts` parts of a fleet, and the budgets. A
/// part is a node, or a group of nodes that share a pool.
pub fn least(parts: usize, weight: u32, limit: u32) -> (u32, Vec<u32>) {
    let mut least = (u32::MAX, Vec::new());
    vectors(parts, limit, u32::MAX, &mut |budgets| {
        let (overshoot, waste) = fixed(budgets, limit);
        let sum = overshoot + weight * waste;
        if sum < least.0 {
            least = (sum, budgets.to_vec());
        }
    });
    least
}

/// Calls `visit` with each vector of numbers from 0 to `most` whose sum is at most `sum`.
fn vectors(length: usize, most: u32, sum: u32, visit: &mut impl FnMut(&[u32])) {
    fn go(at: usize, most: u32, left: u32, vector: &mut Vec<u32>, visit: &mut impl FnMut(&[u32])) {
        if at == vector.len() {
            visit(vector);
            return;
        }
        for value in 0..=most.min(left) {
            vector[at] = value;
            go(at + 1, most, left - value, vector, visit);
        }
        vector[at] = 0;
    }
    go(0, most, sum, &mut vec![0; length], visit);
}

/// The least waste that can be promised without overshoot, by at most `leases` leases of at most `batch` from a pool: the
/// best budgets against the worst demand.
pub fn waste(nodes: usize, limit: u32, batch: u32, leases: u32) -> u32 {
    let mut best = u32::MAX;
    vectors(nodes, limit, limit, &mut |budgets| {
        let mut worst = 0;
        vectors(nodes, limit, u32::MAX, &mut |demand| {
            let asked: u32 = demand.iter().sum();
            let unserved = asked.min(limit) - served(budgets, demand, limit, batch, leases);
            worst = worst.max(unserved);
        });
        best = best.min(worst);
    });
    best
}

/// What `budgets` serve of `demand`: node after node one request at a time, from its own credit if it has any, else from a
/// lease as long as there are leases and a pool.
fn served(budgets: &[u32], demand: &[u32], limit: u32, batch: u32, leases: u32) -> u32 {
    let mut credits = budgets.to_vec();
    let mut demand = demand.to_vec();
    let mut pool = limit - budgets.iter().sum::<u32>();
    let mut leases = leases;
    let mut served = 0;
    loop {
        let before = served;
        for (credit, wanted) in credits.iter_mut().zip(&mut demand).filter(|(_, wanted)| **wanted > 0) {
            if *credit == 0 && leases > 0 && pool > 0 {
                *credit = batch.min(pool);
                pool -= *credit;
                leases -= 1;
            }
            if *credit > 0 {
                *credit -= 1;
                *wanted -= 1;
                served += 1;
            }
        }
        if served == before {
            return served;
        }
    }
}
