//! A node that lost the coordinator, and the one that gets its slots.
//!
//! The coordinator frees the slots of a node that was silent for the lifetime of its record, by its own clock. The node
//! stops by its own clock too, a margin earlier. Time goes by in steps of 1 ms, from the node's last heartbeat.

use super::Machine;

/// The times in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Fence {
    /// How long a silent node keeps its slots.
    pub lifetime_ms: u8,
    /// How long a request takes.
    pub request_ms: u8,
    /// How far the coordinator's clock runs ahead.
    pub skew_ms: u8,
    /// How long before the end the silent node takes on no more work; none if it never stops.
    pub margin_ms: Option<u8>,
    /// Whether it also drops the work that it has in flight then.
    pub aborts: bool,
}

/// A moment. All slots of a node are alike, so one stands for all.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Moment {
    /// Milliseconds since the last heartbeat.
    pub at_ms: u8,
    /// When the work of the silent node ends, if it has any.
    pub silent: Option<u8>,
    /// Whether the other node has work in flight.
    pub other: bool,
}

/// What can happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// A millisecond goes by.
    Tick,
    /// The silent node takes on work.
    Start,
    /// The other node takes on work.
    Takeover,
}

impl Fence {
    fn fenced(self, at_ms: u8) -> bool {
        self.margin_ms.is_some_and(|margin| at_ms >= self.lifetime_ms - margin)
    }
}

impl Machine for Fence {
    type State = Moment;
    type Step = Step;

    fn initial(&self) -> Vec<Moment> {
        vec![Moment { at_ms: 0, silent: None, other: false }]
    }

    fn steps(&self, state: &Moment, next: &mut Vec<(Step, Moment)>) {
        if state.at_ms < self.lifetime_ms + self.request_ms {
            let at_ms = state.at_ms + 1;
            let silent = state.silent.filter(|end_ms| *end_ms > at_ms && !(self.aborts && self.fenced(at_ms)));
            next.push((Step::Tick, Moment { at_ms, silent, ..*state }));
        }
        if state.silent.is_none() && !self.fenced(state.at_ms) {
            next.push((Step::Start, Moment { silent: Some(state.at_ms + self.request_ms), ..*state }));
        }
        if !state.other && state.at_ms >= self.lifetime_ms - self.skew_ms {
            next.push((Step::Takeover, Moment { other: true, ..*state }));
        }
    }
}
