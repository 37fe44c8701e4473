//! What learns the limit, whichever way.

use super::law::Sample;
use super::steady::Steady;
use super::windowed::Windowed;

/// A learner. One thread at a time.
#[derive(Debug)]
pub(super) enum Learner {
    Steady(Steady),
    Windowed(Windowed),
}

impl Learner {
    /// Whether anything that can be asked may have changed.
    pub(super) fn learn(&mut self, sample: &Sample) -> bool {
        match self {
            Self::Steady(steady) => steady.learn(sample),
            Self::Windowed(windowed) => {
                windowed.learn(sample);
                true
            }
        }
    }

    /// The limit, in whole slots.
    pub(super) fn limit(&self) -> u32 {
        slots(match self {
            Self::Steady(steady) => steady.estimate(),
            Self::Windowed(windowed) => windowed.estimate(),
        })
    }

    /// How many slots a running probe leaves.
    pub(super) fn probe_ceiling(&self) -> Option<u32> {
        let limit = match self {
            Self::Steady(steady) => steady.probe_limit(),
            Self::Windowed(windowed) => windowed.probe_limit(),
        };
        // With 1.5 there is room for a second one.
        limit.map(|limit| slots(limit.ceil()))
    }

    /// The latency without load in milliseconds; 0 before it is known.
    pub(super) fn noload_ms(&self) -> f64 {
        match self {
            Self::Steady(steady) => steady.noload_ms(),
            Self::Windowed(windowed) => windowed.noload_ms(),
        }
    }

    /// The limit before it is rounded down.
    pub(super) fn estimate(&self) -> f64 {
        match self {
            Self::Steady(steady) => steady.estimate(),
            Self::Windowed(windowed) => windowed.estimate(),
        }
    }
}

/// `floor(x)`, saturating.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the cast truncates and saturates: that is the rule
pub(super) fn slots(x: f64) -> u32 {
    x as u32
}
