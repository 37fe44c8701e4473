//! Whether a store is to be asked: three states in one atomic word.
//!
//! ```text
//!            enough failures in a row           the interval is over: one call is a probe
//!   closed ---------------------------> open ---------------------------------------------> half-open
//!     ^                                  ^ |                                                  |  |
//!     |                                  | +--------- any success ------+                     |  |
//!     |                                  +-- the probe fails or is dropped -------------------+  |
//!     +----------------------------------------- any success ------------------------------------+
//! ```
//!
//! A change of state gives the word the next turn. What a call that began in an earlier turn comes to, counts as a success
//! but not as a failure: it may have begun long ago.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

use super::BreakerState;

/// Bits for the failures in a row, or for milliseconds: 8.7 years of them.
const VALUE_BITS: u32 = 38;
/// The largest value.
pub(super) const MAX_VALUE: u64 = (1 << VALUE_BITS) - 1;
/// Bits for the turn. It comes round after 16 million changes of state, which take weeks; a call ends much earlier.
const TURN_BITS: u32 = 24;
const MAX_TURN: u64 = (1 << TURN_BITS) - 1;

/// The word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Calls go through; so many failed in a row.
    Closed(u64),
    /// No call goes through before this instant.
    Open(u64),
    /// A probe is on its way since this instant.
    HalfOpen(u64),
}

fn packed(turn: u64, phase: Phase) -> u64 {
    let (tag, value) = match phase {
        Phase::Closed(failures) => (0, failures),
        Phase::Open(until) => (1, until),
        Phase::HalfOpen(since) => (2, since),
    };
    (tag << (VALUE_BITS + TURN_BITS)) | ((turn & MAX_TURN) << VALUE_BITS) | value.min(MAX_VALUE)
}

fn unpacked(word: u64) -> (u64, Phase) {
    let value = word & MAX_VALUE;
    let phase = match word >> (VALUE_BITS + TURN_BITS) {
        0 => Phase::Closed(value),
        1 => Phase::Open(value),
        _ => Phase::HalfOpen(value),
    };
    ((word >> VALUE_BITS) & MAX_TURN, phase)
}

/// The numbers of a circuit, in calls and milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// So many failures in a row open it.
    pub(super) failures: u64,
    /// So long after a failure it stays open.
    pub(super) interval_ms: u64,
    /// A probe that takes longer is not polled any more, and another call takes its place.
    pub(super) probe_ms: u64,
}

/// The state of a circuit. Instants are whole milliseconds from some start.
#[derive(Debug)]
pub(super) struct Circuit {
    word: AtomicU64,
    limits: Limits,
}

/// A call that goes through, until it is known what came of it.
///
/// Dropped before that, it counts neither as a success nor as a failure; a probe leaves its place to the next call.
#[derive(Debug)]
pub(super) struct Ticket<'c> {
    circuit: &'c Circuit,
    turn: u64,
    /// When the probe began, if it is one and still out.
    probe: Option<u64>,
}

/// Whether a call made the circuit change its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Opened,
    Closed,
}

impl Circuit {
    pub(super) fn new(limits: Limits) -> Self {
        Self { word: AtomicU64::new(packed(0, Phase::Closed(0))), limits }
    }

    pub(super) fn state(&self) -> BreakerState {
        match unpacked(self.word.load(Ordering::Relaxed)).1 {
            Phase::Closed(_) => BreakerState::Closed,
            Phase::Open(_) => BreakerState::Open,
            Phase::HalfOpen(_) => BreakerState::HalfOpen,
        }
    }

    /// Lets a call through, or not. `now` is only asked for if the circuit is not closed.
    pub(super) fn enter(&self, now: impl Fn() -> u64) -> Option<Ticket<'_>> {
        // No data travels with the word, so its own order is enough.
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let (turn, phase) = unpacked(word);
            // An instant that is so far ahead is from before a step back of the clock. Once the interval would not do: a
            // thread may have read the clock before another one that set the instant just now.
            let stepped_back = |instant: u64, now| instant.saturating_sub(now) > 2 * self.limits.interval_ms;
            let begins = match phase {
                Phase::Closed(_) => return Some(Ticket { circuit: self, turn, probe: None }),
                Phase::Open(until) => Some(now()).filter(|now| *now >= until || stepped_back(until, *now)),
                Phase::HalfOpen(since) => {
                    let lost = |now: u64| now.saturating_sub(since) >= self.limits.probe_ms;
                    Some(now()).filter(|now| lost(*now) || stepped_back(since, *now))
                }
            };
            let begins = begins?;
            match self.change(word, turn, Phase::HalfOpen(begins)) {
                Ok(turn) => return Some(Ticket { circuit: self, turn, probe: Some(begins) }),
                Err(current) => word = current,
            }
        }
    }

    /// Puts `phase` in place of `word`, whose turn is `turn`. Gives the next turn, or the word that was there instead.
    fn change(&self, word: u64, turn: u64, phase: Phase) -> Result<u64, u64> {
        let next = (turn + 1) & MAX_TURN;
        self.replace(word, packed(next, phase)).map(|()| next)
    }

    fn replace(&self, old: u64, new: u64) -> Result<(), u64> {
        self.word.compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed).map(drop)
    }
}

impl Ticket<'_> {
    /// The store answered.
    pub(super) fn succeed(mut self) -> Change {
        self.probe = None;
        let mut word = self.circuit.word.load(Ordering::Relaxed);
        loop {
            let (turn, phase) = unpacked(word);
            let (result, change) = match phase {
                Phase::Closed(0) => return Change::None,
                Phase::Closed(_) => (self.circuit.replace(word, packed(turn, Phase::Closed(0))), Change::None),
                Phase::Open(_) | Phase::HalfOpen(_) => {
                    (self.circuit.change(word, turn, Phase::Closed(0)).map(drop), Change::Closed)
                }
            };
            match result {
                Ok(()) => return change,
                Err(current) => word = current,
            }
        }
    }

    /// The store did not answer.
    pub(super) fn fail(mut self, now: u64) -> Change {
        let Limits { failures: most, interval_ms, .. } = self.circuit.limits;
        let probe = self.probe.take().is_some();
        let open = Phase::Open(now.saturating_add(interval_ms));
        let mut word = self.circuit.word.load(Ordering::Relaxed);
        loop {
            let (turn, phase) = unpacked(word);
            if turn != self.turn {
                return Change::None;
            }
            let (result, change) = match phase {
                Phase::Closed(failures) if failures + 1 >= most => {
                    (self.circuit.change(word, turn, open).map(drop), Change::Opened)
                }
                Phase::Closed(failures) => {
                    (self.circuit.replace(word, packed(turn, Phase::Closed(failures + 1))), Change::None)
                }
                // It was open and goes on to be.
                Phase::HalfOpen(_) if probe => (self.circuit.change(word, turn, open).map(drop), Change::None),
                Phase::Open(_) | Phase::HalfOpen(_) => return Change::None,
            };
            match result {
                Ok(()) => return change,
                Err(current) => word = current,
            }
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let Some(since) = self.probe else { return };
        let mine = packed(self.turn, Phase::HalfOpen(since));
        // Open until an instant that has passed, so that the next call is the probe. If something else is there the probe
        // was given up for lost, or another call has answered for it.
        let mut result = self.circuit.change(mine, self.turn, Phase::Open(since));
        while result == Err(mine) {
            result = self.circuit.change(mine, self.turn, Phase::Open(since));
        }
    }
}
