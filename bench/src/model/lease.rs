//! Nodes that lease from one store and serve from what they hold.
//!
//! The store has a limit each window. A node that holds nothing leases a whole batch, serves one request from it and keeps
//! the rest. The window may roll between any two steps. Credits either outlive it, or are worth nothing after it.
//!
//! The same machine is the one of regions with escrow from a global budget: a region is a node, its escrow the credits,
//! the global budget the store.

use super::Machine;

/// Requests of cost 1 on `nodes` nodes.
#[derive(Clone, Copy, Debug)]
pub struct Leases {
    /// How many nodes.
    pub nodes: usize,
    /// What the store gives in a window.
    pub limit: u8,
    /// What a node asks for.
    pub batch: u8,
    /// Whether credits are dropped when the window rolls.
    pub coupled: bool,
    /// Whether a node may hand back what it holds.
    pub returns: bool,
}

/// A moment.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Moment {
    /// What the store has left.
    pub left: u8,
    /// What each node holds.
    pub credits: Vec<u8>,
    /// Requests served since the window rolled.
    pub admitted: u8,
}

/// What can happen, and to which node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// A node serves from what it holds.
    Serve(usize),
    /// A node leases a batch and serves from it.
    Lease(usize),
    /// A node hands back what it holds.
    Return(usize),
    /// The window rolls. It is seen by each node, so it counts once for each.
    Roll(usize),
}

impl Leases {
    /// What is promised to be the most that can be admitted in a window: the whole batches that fit the limit, and what the
    /// nodes carried over. Returned credits can be leased again, so the limit itself is what bounds those.
    pub fn bound(&self) -> u64 {
        let carried = if self.coupled { 0 } else { self.nodes as u64 * u64::from(self.batch - 1) };
        let leased = if self.returns { self.limit } else { self.limit - self.limit % self.batch };
        u64::from(leased) + carried
    }
}

impl Machine for Leases {
    type State = Moment;
    type Step = Step;

    fn initial(&self) -> Vec<Moment> {
        vec![Moment { left: self.limit, credits: vec![0; self.nodes], admitted: 0 }]
    }

    fn steps(&self, state: &Moment, next: &mut Vec<(Step, Moment)>) {
        for node in 0..self.nodes {
            let held = state.credits[node];
            if held >= 1 {
                let mut after = state.clone();
                after.credits[node] -= 1;
                after.admitted += 1;
                next.push((Step::Serve(node), after));
            } else if state.left >= self.batch {
                let mut after = state.clone();
                after.left -= self.batch;
                after.credits[node] = self.batch - 1;
                after.admitted += 1;
                next.push((Step::Lease(node), after));
            }
            if self.returns && held >= 1 {
                let mut after = state.clone();
                after.left += held;
                after.credits[node] = 0;
                next.push((Step::Return(node), after));
            }
            let mut after = Moment { left: self.limit, admitted: 0, ..state.clone() };
            if self.coupled {
                after.credits.fill(0);
            }
            next.push((Step::Roll(node), after));
        }
    }
}
