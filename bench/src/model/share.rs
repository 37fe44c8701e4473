//! Nodes that share slots for work in flight, by heartbeats whose answers come at once.
//!
//! A node may have as much work in flight as its share. A heartbeat gives it an equal share, as far as the others leave room.
//! What the others take up is the greater of their share and their work in flight: a share that shrank frees nothing before
//! the work is done.

use super::Machine;

/// Heartbeats of `nodes` nodes that share `limit` slots.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// How many nodes there can be.
    pub nodes: usize,
    /// The slots of all of them.
    pub limit: u8,
    /// Whether work in flight counts beside the shares. If not, the promise does not hold.
    pub in_flight_counts: bool,
}

/// A moment of one node.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Node {
    /// Whether it belongs to the fleet.
    pub active: bool,
    /// How much work it may have in flight.
    pub share: u8,
    /// How much it has.
    pub in_flight: u8,
}

/// What can happen, and to which node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// A heartbeat: the share is reckoned anew.
    Beat(usize),
    /// A node joins the fleet, without a share.
    Join(usize),
    /// A node leaves and drops its work. The last one stays.
    Leave(usize),
    /// Work starts.
    Acquire(usize),
    /// Work ends.
    Release(usize),
}

/// An equal share of `limit` slots for one of `active` nodes, as far as `reserved` leaves room.
pub(super) fn equal(limit: u8, active: u8, reserved: u8) -> u8 {
    limit.div_ceil(active.max(1)).min(limit.saturating_sub(reserved))
}

/// All nodes, for every set of active ones but the empty one.
pub(super) fn fleets<N>(nodes: usize, node: impl Fn(bool) -> N) -> Vec<Vec<N>> {
    let fleet = |active: usize| (0..nodes).map(|at| node(active >> at & 1 == 1)).collect();
    (1..1_usize << nodes).map(fleet).collect()
}

/// The shares of all nodes together.
pub fn shares(nodes: &[Node]) -> u8 {
    nodes.iter().map(|node| node.share).sum()
}

/// The work in flight of all nodes together.
pub fn in_flight(nodes: &[Node]) -> u8 {
    nodes.iter().map(|node| node.in_flight).sum()
}

impl Shares {
    fn reserve(self, node: Node) -> u8 {
        if self.in_flight_counts { node.share.max(node.in_flight) } else { node.share }
    }
}

impl Machine for Shares {
    type State = Vec<Node>;
    type Step = Step;

    fn initial(&self) -> Vec<Vec<Node>> {
        fleets(self.nodes, |active| Node { active, ..Node::default() })
    }

    #[allow(clippy::cast_possible_truncation)] // a handful of nodes
    fn steps(&self, state: &Vec<Node>, next: &mut Vec<(Step, Vec<Node>)>) {
        let active = state.iter().filter(|node| node.active).count() as u8;
        for at in 0..self.nodes {
            let node = state[at];
            let mut push = |step, changed: Node| {
                let mut after = state.clone();
                after[at] = changed;
                next.push((step, after));
            };
            if !node.active {
                push(Step::Join(at), Node { active: true, ..Node::default() });
                continue;
            }
            let others = state.iter().enumerate().filter(|(other, _)| *other != at);
            let reserved = others.map(|(_, other)| self.reserve(*other)).sum();
            push(Step::Beat(at), Node { share: equal(self.limit, active, reserved), ..node });
            if active > 1 {
                push(Step::Leave(at), Node::default());
            }
            if node.in_flight < node.share {
                push(Step::Acquire(at), Node { in_flight: node.in_flight + 1, ..node });
            }
            if node.in_flight > 0 {
                push(Step::Release(at), Node { in_flight: node.in_flight - 1, ..node });
            }
        }
    }
}
