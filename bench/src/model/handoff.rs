//! The same shares when grants and reports travel: a grant is in force once it is delivered, and freed once the report that
//! acknowledges it is in.
//!
//! Each node has a history of grants. It applies any of them that is later than the one in force, since messages overtake
//! each other, and reports now and then which one that is and how much work it has in flight. Until a report says
//! otherwise, the coordinator holds back for a node the greatest grant that may still be in force.

use super::Machine;
use super::share::{equal, fleets};

/// What the coordinator holds back for a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reserve {
    /// The greatest grant from the acknowledged one on, or the reported work in flight if that is more. The promise holds.
    UnacknowledgedAndInFlight,
    /// The greatest grant from the acknowledged one on. Work that outlives its grant is forgotten.
    Unacknowledged,
    /// The latest grant, the acknowledged one, or the reported work in flight. Grants between are forgotten.
    LatestAcknowledgedAndInFlight,
    /// The reported work in flight. Grants on their way are forgotten.
    InFlight,
}

/// Two or more nodes that share `limit` slots.
#[derive(Clone, Copy, Debug)]
pub struct Handoff {
    /// How many nodes there can be.
    pub nodes: usize,
    /// The slots of all of them.
    pub limit: u8,
    /// Grants that a history holds.
    pub history: usize,
    /// What is held back.
    pub reserve: Reserve,
    /// Whether a report carries both of its figures at once. If not, they are reported one by one, and the promise does not
    /// hold.
    pub whole_reports: bool,
    /// Whether grants that neither side can ask for any more are forgotten. It makes states equal that have the same
    /// future.
    pub trim: bool,
}

/// A moment of one node and of what the coordinator knows of it.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Node {
    /// Whether it belongs to the fleet.
    pub active: bool,
    /// The grants, the latest one last.
    pub grants: Vec<u8>,
    /// The one in force, counted from 1; 0 before the first.
    pub applied: usize,
    /// Work in flight.
    pub in_flight: u8,
    /// The grant that the last report had in force.
    pub acknowledged: usize,
    /// The work in flight by the last report.
    pub reported: u8,
}

/// What can happen, and to which node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The coordinator grants a share.
    Grant(usize),
    /// A grant comes into force: this one.
    Deliver(usize, usize),
    /// A report arrives.
    Report(usize),
    /// Half a report arrives: the grant in force.
    ReportGrant(usize),
    /// The other half: the work in flight.
    ReportWork(usize),
    /// A node joins the fleet.
    Join(usize),
    /// A node leaves and drops its work. The last one stays.
    Leave(usize),
    /// Work starts.
    Acquire(usize),
    /// Work ends.
    Release(usize),
}

/// The shares in force of all nodes together.
pub fn shares(nodes: &[Node]) -> u8 {
    nodes.iter().map(Node::share).sum()
}

/// The work in flight of all nodes together.
pub fn in_flight(nodes: &[Node]) -> u8 {
    nodes.iter().map(|node| node.in_flight).sum()
}

impl Node {
    /// The share in force.
    fn share(&self) -> u8 {
        self.grant(self.applied)
    }

    fn grant(&self, index: usize) -> u8 {
        if index == 0 { 0 } else { self.grants[index - 1] }
    }

    /// Forgets the grants before the one in force and the acknowledged one.
    fn trim(&mut self) {
        let dead = self.applied.min(self.acknowledged).saturating_sub(1);
        self.grants.drain(..dead);
        self.applied -= dead;
        self.acknowledged -= dead;
    }
}

impl Handoff {
    fn held_back(&self, node: &Node) -> u8 {
        let from = node.acknowledged.max(1) - 1;
        let unacknowledged = node.grants.get(from..).into_iter().flatten().copied().max().unwrap_or(0);
        let latest = node.grants.last().copied().unwrap_or(0);
        match self.reserve {
            Reserve::UnacknowledgedAndInFlight => unacknowledged.max(node.reported),
            Reserve::Unacknowledged => unacknowledged,
            Reserve::LatestAcknowledgedAndInFlight => latest.max(node.grant(node.acknowledged)).max(node.reported),
            Reserve::InFlight => node.reported,
        }
    }

    fn reports(&self, at: usize, node: &Node, mut push: impl FnMut(Step, Node)) {
        let Node { applied, in_flight, acknowledged, reported, .. } = *node;
        let (old_grant, old_work) = (acknowledged == applied, reported == in_flight);
        let with = |acknowledged, reported| Node { acknowledged, reported, ..node.clone() };
        if self.whole_reports {
            if !(old_grant && old_work) {
                push(Step::Report(at), with(applied, in_flight));
            }
            return;
        }
        if !old_grant {
            push(Step::ReportGrant(at), with(applied, reported));
        }
        if !old_work {
            push(Step::ReportWork(at), with(acknowledged, in_flight));
        }
    }
}

impl Machine for Handoff {
    type State = Vec<Node>;
    type Step = Step;

    fn initial(&self) -> Vec<Vec<Node>> {
        fleets(self.nodes, |active| Node { active, ..Node::default() })
    }

    #[allow(clippy::cast_possible_truncation)] // a handful of nodes
    fn steps(&self, state: &Vec<Node>, next: &mut Vec<(Step, Vec<Node>)>) {
        let active = state.iter().filter(|node| node.active).count() as u8;
        for at in 0..self.nodes {
            let node = &state[at];
            let mut push = |step, mut changed: Node| {
                if self.trim {
                    changed.trim();
                }
                let mut after = state.clone();
                after[at] = changed;
                next.push((step, after));
            };
            if !node.active {
                push(Step::Join(at), Node { active: true, ..Node::default() });
                continue;
            }
            if node.grants.len() < self.history {
                let others = state.iter().enumerate().filter(|(other, _)| *other != at);
                let reserved = others.map(|(_, other)| self.held_back(other)).sum();
                let mut after = node.clone();
                after.grants.push(equal(self.limit, active, reserved));
                push(Step::Grant(at), after);
            }
            for applied in node.applied + 1..=node.grants.len() {
                push(Step::Deliver(at, applied), Node { applied, ..node.clone() });
            }
            self.reports(at, node, &mut push);
            if active > 1 {
                push(Step::Leave(at), Node::default());
            }
            if node.in_flight < node.share() {
                push(Step::Acquire(at), Node { in_flight: node.in_flight + 1, ..node.clone() });
            }
            if node.in_flight > 0 {
                push(Step::Release(at), Node { in_flight: node.in_flight - 1, ..node.clone() });
            }
        }
    }
}
