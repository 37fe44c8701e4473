//! What learns the limit, whichever way.

use super::law::Sample;
use super::steady::Steady;
use super::windowed::Windowed;
use super::word::Pressure;

/// A learner. One thread at a time.
#[derive(Debug)]
pub(super) enum Learner {
    Steady(Steady),
    Windowed(Windowed),
}

impl Learner {
    /// Whether anything that can be asked may have changed.
    pub(super) fn learn(&mut self, sample: &Sample, pressure: &Pressure) -> bool {
        match self {
            Self::Steady(steady) => steady.learn(sample, pressure),
            Self::Windowed(windowed) => windowed.learn(sample),
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

#[cfg(test)]
mod tests {
    use super::Learner;
    use crate::concurrency::law::{Bounds, Law, Sample};
    use crate::concurrency::steady::Steady;
    use crate::concurrency::windowed::{ProbePlan, Windowed};
    use crate::concurrency::word::Pressure;

    /// What is not said to have changed is not read again.
    #[test]
    fn what_changes_is_said_to() {
        let bounds = Bounds { min: 4.0, max: 512.0 };
        let steady = tell_apart(Learner::Steady(Steady::new(bounds, 20.0)));
        assert!(steady.quiet > 100_000 && steady.moved > 20 && steady.probed > 10, "{steady:?}");

        let plan = ProbePlan { interval_ns: 1_000_000_000, limit: 2.0, samples: 5 };
        let windowed = |law, plan| tell_apart(Learner::Windowed(Windowed::new(law, bounds, 20.0, 100, plan, 0)));
        let gradient = windowed(Law::Gradient2 { smoothing: 0.2, tolerance: 2.0 }, Some(plan));
        assert!(gradient.quiet > 1_000 && gradient.moved > 20 && gradient.probed > 10, "{gradient:?}");
        let aimd = windowed(Law::Aimd { tolerance: 2.0, backoff_ratio: 0.9 }, None);
        assert!(aimd.quiet > 1_000 && aimd.moved > 20 && aimd.probed == 0, "{aimd:?}");
    }

    /// How many samples changed nothing, something that is shown, and whether a probe runs.
    #[derive(Debug, Default)]
    struct Seen {
        quiet: u32,
        moved: u32,
        probed: u32,
    }

    fn tell_apart(mut learner: Learner) -> Seen {
        let shown =
            |learner: &Learner| (learner.limit(), learner.estimate(), learner.noload_ms(), learner.probe_ceiling());
        let mut seen = Seen::default();
        for number in 0..200_000_u32 {
            let now_ns = u64::from(number) * 2_000_000;
            // Latencies that wander, and now and then a drop.
            let rtt_ms =
                20.0 + f64::from(number.wrapping_mul(2_654_435_761) >> 25) / 8.0 + f64::from(number / 40_000) * 15.0;
            let util = f64::from(1 + number % learner.limit());
            let sample = Sample { now_ns, rtt_ms, dropped: number % 997 == 0, util };
            let before = shown(&learner);
            if learner.learn(&sample, &Pressure::new()) {
                seen.moved += u32::from(before != shown(&learner));
            } else {
                seen.quiet += 1;
                assert_eq!(before, shown(&learner), "after sample {number}");
            }
            seen.probed += u32::from(learner.probe_ceiling() != before.3);
        }
        seen
    }
}
