//! A state that is edited in place.

use throttlekit::store::memory::Boxed;
use throttlekit::{Change, Program, State, Step};

/// A state of any size, edited in place.
#[derive(Clone, Debug)]
pub(crate) struct Log(Vec<u64>);

impl State for Log {
    type Layout = Boxed;
    fn encode(&self) -> String {
        format!("{:?}", self.0)
    }
    fn decode(_text: &str) -> Option<Self> {
        None
    }
}

/// Adds a value.
pub(crate) struct Push(u64);

impl Change<Log> for Push {
    fn apply_to(self, state: &mut Option<Log>) {
        assert!(self.0 != u64::MAX, "told to fail");
        state.get_or_insert_with(|| Log(Vec::new())).0.push(self.0);
    }
}

/// Adds values as long as there are fewer than `limit`, and tells how many there are. It cannot add `u64::MAX`.
#[derive(Clone, Debug)]
pub(crate) struct Append {
    pub(crate) limit: usize,
}

impl Program for Append {
    type State = Log;
    type Change = Push;
    type Request = u64;
    type Outcome = usize;
    type Reply = usize;

    fn step(&self, state: Option<&Log>, _now_ms: f64, value: &u64) -> Step<Push, usize> {
        let len = state.map_or(0, |log| log.0.len());
        if len == self.limit {
            return Step::Keep(len);
        }
        Step::Write { change: Push(*value), ttl_ms: 1e9, outcome: len + 1 }
    }

    fn reply(&self, _now_ms: f64, _value: &u64, outcome: usize) -> usize {
        outcome
    }
}
