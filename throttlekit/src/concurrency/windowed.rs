//! The learner over a window of samples, with forced probes if asked for.

use super::baseline::WindowedMin;
use super::law::{Bounds, Law, Sample};

/// When the baseline is measured afresh.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProbePlan {
    pub(super) interval_ns: u64,
    pub(super) limit: f64,
    pub(super) samples: u64,
}

/// A probe that runs: the ceiling is held low until enough samples have been seen.
#[derive(Debug)]
struct Probe {
    since_ns: u64,
    least_ms: f64,
    seen: u64,
    dropped: bool,
}

/// Gradient or additive increase, multiplicative decrease, over the least latency of the last samples.
#[derive(Debug)]
pub(super) struct Windowed {
    estimate: f64,
    bounds: Bounds,
    law: Law,
    window: WindowedMin,
    noload_ms: f64,
    plan: Option<ProbePlan>,
    probe: Option<Probe>,
    last_probe_ns: u64,
}

impl Windowed {
    /// `now_ns` matters with a plan only.
    pub(super) fn new(
        law: Law,
        bounds: Bounds,
        initial: f64,
        window: u64,
        plan: Option<ProbePlan>,
        now_ns: u64,
    ) -> Self {
        Self {
            estimate: initial,
            bounds,
            law,
            window: WindowedMin::new(window),
            noload_ms: 0.0,
            plan,
            probe: None,
            last_probe_ns: now_ns,
        }
    }

    pub(super) fn estimate(&self) -> f64 {
        self.estimate
    }

    pub(super) fn noload_ms(&self) -> f64 {
        self.noload_ms
    }

    /// The ceiling that a running probe asks for; a fraction admits one more.
    pub(super) fn probe_limit(&self) -> Option<f64> {
        let plan = self.plan.as_ref()?;
        self.probe.as_ref().map(|_| plan.limit)
    }

    /// Whether anything that can be asked may have changed.
    pub(super) fn learn(&mut self, sample: &Sample) -> bool {
        if self.probe.is_some() {
            self.learn_in_probe(sample);
            return true;
        }
        let before = [self.estimate, self.noload_ms].map(f64::to_bits);
        // What was cut off says nothing about the latency without load: failing fast is faster than anything.
        if !sample.dropped {
            self.noload_ms = self.window.push(sample.rtt_ms);
        }
        self.estimate = self.law.next(self.estimate, self.bounds, self.noload_ms, sample);
        let changed = [self.estimate, self.noload_ms].map(f64::to_bits) != before;
        match &self.plan {
            Some(plan) if sample.now_ns.saturating_sub(self.last_probe_ns) >= plan.interval_ns => {
                self.probe = Some(Probe { since_ns: sample.now_ns, least_ms: f64::INFINITY, seen: 0, dropped: false });
                true
            }
            _ => changed,
        }
    }

    fn learn_in_probe(&mut self, sample: &Sample) {
        let (Some(plan), Some(probe)) = (self.plan, &mut self.probe) else { return };
        let clean = !sample.dropped && sample.util <= plan.limit;
        probe.dropped |= sample.dropped;
        if clean {
            probe.least_ms = probe.least_ms.min(sample.rtt_ms);
            probe.seen += 1;
            if probe.seen >= plan.samples {
                self.noload_ms = probe.least_ms;
                self.window.restart(probe.least_ms);
                self.end_probe(sample.now_ns);
            }
        } else if sample.now_ns.saturating_sub(probe.since_ns) >= plan.interval_ns {
            let nothing_but_drops = probe.seen == 0 && probe.dropped;
            self.end_probe(sample.now_ns);
            if nothing_but_drops {
                let dropped = Sample { dropped: true, ..*sample };
                self.estimate = self.law.next(self.estimate, self.bounds, self.noload_ms, &dropped);
            }
        }
    }

    fn end_probe(&mut self, now_ns: u64) {
        self.probe = None;
        self.last_probe_ns = now_ns;
    }
}
