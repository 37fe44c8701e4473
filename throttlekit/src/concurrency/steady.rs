//! The learner that measures what the server can do, against a latency without load that is measured again and again.
//!
//! A server that works on `n` requests at a time and answers each after `R` on average completes `n / R` per unit of
//! time. As long as it has capacity to spare, `R` is the latency without load, `R0`; beyond its capacity `K`, `n / R`
//! stays at `K / R0`. So in either case
//!
//! ```text
//! capacity in use = n * R0 / R
//! ```
//!
//! which is `n` below `K`, and `K` above. The limit follows [`HEADROOM`] times that: below `K` it rises, above `K` it
//! comes to rest at `HEADROOM * K`, and nothing depends on how far above it was.
//!
//! All of it hangs on `R0`. Under a standing load every sample is slow, so the least latency of the last samples is no
//! measure of it, and the least ever seen never recovers from a lucky one. Here `R0` is a *mean*, measured while a probe
//! holds the ceiling at [`PROBE_SHARE`] of the limit, for samples that began in the probe. If `R0` was too high by a
//! factor `x`, so is the limit, and the probe sees `max(1, x * HEADROOM * PROBE_SHARE)` times the true one. As
//! `HEADROOM * PROBE_SHARE` is below 1, each probe brings `R0` closer, and from below `1 / (HEADROOM * PROBE_SHARE)` on
//! at once.

use super::law::{Bounds, Sample, clamp};

/// The limit over the capacity in use: in the middle between refusing what the server could do and a queue of 0.3 of its
/// capacity.
const HEADROOM: f64 = 1.15;
/// Of a limit, so that a small one is not rounded below the capacity.
const ROUNDING: f64 = 0.5;
/// How far one window moves the limit. Windows are noisy: their mean has an error of up to one part in `sqrt(8 n)`.
const GAIN: f64 = 0.3;
/// How far it moves where the latency is worse by more than chance explains.
const GAIN_CONGESTED: f64 = 0.5;
/// After this many windows in a row in which the server shows no strain, chance is out of the question: full steps.
const SURE_WINDOWS: u32 = 3;
/// No strain: `R0 / R` is at least this. At rest it is `1 / HEADROOM`, 0.87.
const NO_STRAIN: f64 = 0.96;
/// A window in which the mean number of slots in flight is at least this share of the limit is bound by the limit.
const BOUND_SHARE: f64 = 0.8;

/// The least number of samples in a window, and how many for each slot in use.
const LEAST_SAMPLES: f64 = 20.0;
const SAMPLES_PER_SLOT: f64 = 8.0;
/// The least length of a window in milliseconds, and in mean latencies.
const LEAST_WINDOW_MS: f64 = 100.0;
const LEAST_WINDOW_LATENCIES: f64 = 2.0;
/// A window with too few samples by then is too old to say anything about now.
const STALE_WINDOW_MS: f64 = 30_000.0;

/// Share of cut-off work in a window that is taken for overload. Below, clients that went away explain it.
const DROPS: f64 = 0.05;

/// Standard errors between two means that chance does not explain: for acting on them, and for giving up `R0`.
const SIGNIFICANT: f64 = 3.0;
const CERTAIN: f64 = 4.0;
/// Latencies that differ by less than this share are the same.
const SAME: f64 = 0.05;

/// The ceiling of a probe over the limit.
const PROBE_SHARE: f64 = 0.6;
/// Milliseconds between probes, and at least this many times what the last one took: a probe costs up to
/// `1 - PROBE_SHARE * HEADROOM` = 0.31 of the throughput, so probes cost less than 0.8 percent.
const PROBE_EVERY_MS: f64 = 10_000.0;
const PROBE_EVERY_LENGTHS: f64 = 40.0;
/// A probe ends without result after this many milliseconds, or latencies without load if that is longer.
const PROBE_MOST_MS: f64 = 5_000.0;
const PROBE_MOST_LATENCIES: f64 = 40.0;
/// What one probe that agrees with `R0` adds to it.
const BLEND: f64 = 0.3;
/// The limit has moved by this factor since the last probe: time to look whether it was the server or `R0`.
const MOVED: f64 = 1.33;

/// Sums over samples.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    count: f64,
    rtt: f64,
    rtt_squared: f64,
    util: f64,
    most_util: f64,
    dropped: f64,
}

impl Sums {
    fn add(&mut self, sample: &Sample) {
        if sample.dropped {
            self.dropped += 1.0;
            return;
        }
        self.count += 1.0;
        self.rtt += sample.rtt_ms;
        self.rtt_squared += sample.rtt_ms * sample.rtt_ms;
        self.util += sample.util;
        self.most_util = self.most_util.max(sample.util);
    }

    fn all(&self) -> f64 {
        self.count + self.dropped
    }

    /// The mean latency; call it with samples only.
    fn mean(&self) -> Mean {
        let ms = self.rtt / self.count;
        let variance = (self.rtt_squared / self.count - ms * ms).max(0.0);
        Mean { ms, error_squared: variance / self.count }
    }
}

/// A mean and the square of its standard error.
#[derive(Clone, Copy, Debug)]
struct Mean {
    ms: f64,
    error_squared: f64,
}

impl Mean {
    /// Whether `self` is above `other` by more than `errors` standard errors, and by more than a trifle.
    fn exceeds(self, other: Self, errors: f64) -> bool {
        let excess = self.ms - other.ms;
        excess > SAME * other.ms && excess > errors * (self.error_squared + other.error_squared).sqrt()
    }
}

#[derive(Debug)]
struct Probe {
    ceiling: f64,
    since_ns: u64,
    sums: Sums,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Steady {
    estimate: f64,
    bounds: Bounds,
    /// `R0`; none before the first window.
    noload: Option<Mean>,
    window: Sums,
    window_since_ns: Option<u64>,
    /// No strain was seen yet: the limit doubles.
    starting: bool,
    calm_windows: u32,
    /// The limit was in the way, or the latency rose, since the last probe.
    probe_wanted: bool,
    next_probe_ns: u64,
    probed_at: f64,
    probe: Option<Probe>,
}

impl Steady {
    pub(super) fn new(bounds: Bounds, initial: f64) -> Self {
        Self {
            estimate: initial,
            bounds,
            noload: None,
            window: Sums::default(),
            window_since_ns: None,
            starting: true,
            calm_windows: 0,
            probe_wanted: false,
            next_probe_ns: 0,
            probed_at: initial,
            probe: None,
        }
    }

    pub(super) fn estimate(&self) -> f64 {
        self.estimate
    }

    /// 0 before there is one.
    pub(super) fn noload_ms(&self) -> f64 {
        self.noload.map_or(0.0, |mean| mean.ms)
    }

    pub(super) fn probe_limit(&self) -> Option<f64> {
        self.probe.as_ref().map(|probe| probe.ceiling)
    }

    pub(super) fn learn(&mut self, sample: &Sample) {
        if self.probe.is_some() {
            self.learn_in_probe(sample);
            return;
        }
        let since = *self.window_since_ns.get_or_insert(sample.now_ns);
        self.window.add(sample);
        let length_ms = ms_between(since, sample.now_ns);
        if self.window_is_full(length_ms) {
            self.judge();
            self.start_window(sample.now_ns);
            self.maybe_probe(sample.now_ns);
        } else if length_ms > STALE_WINDOW_MS && self.window.all() < LEAST_SAMPLES {
            self.start_window(sample.now_ns);
        }
    }

    fn window_is_full(&self, length_ms: f64) -> bool {
        let sums = &self.window;
        if sums.all() < LEAST_SAMPLES || length_ms < LEAST_WINDOW_MS {
            return false;
        }
        // Means by their sums: `count` may be 0.
        let enough_slots = sums.all() * sums.count >= SAMPLES_PER_SLOT * sums.util;
        let enough_latencies = length_ms * sums.count >= LEAST_WINDOW_LATENCIES * sums.rtt;
        enough_slots && enough_latencies
    }

    fn start_window(&mut self, now_ns: u64) {
        self.window = Sums::default();
        self.window_since_ns = Some(now_ns);
    }

    /// Moves the limit by what the window says.
    fn judge(&mut self) {
        let sums = self.window;
        let drops = sums.dropped / sums.all();
        if drops > DROPS {
            self.starting = false;
            self.calm_windows = 0;
            self.set(self.estimate * (1.0 - drops / 2.0));
            return;
        }
        let latency = sums.mean();
        let noload = match self.noload {
            Some(noload) if !noload.exceeds(latency, CERTAIN) => noload,
            _ => *self.noload.insert(latency),
        };
        let in_use = sums.util / sums.count;
        let touched = sums.most_util >= self.estimate.floor();
        let congested = latency.exceeds(noload, SIGNIFICANT);
        let ease = if latency.ms > 0.0 { (noload.ms / latency.ms).min(1.0) } else { 1.0 };
        let target = HEADROOM * in_use * ease + ROUNDING;
        self.probe_wanted |= touched || congested;

        let calm = touched && ease >= NO_STRAIN;
        self.calm_windows = if calm { self.calm_windows.saturating_add(1) } else { 0 };
        self.starting &= !congested;

        let next = if congested {
            self.estimate + GAIN_CONGESTED * (target - self.estimate)
        } else if touched && self.starting {
            self.estimate * 2.0
        } else if touched && in_use < BOUND_SHARE * self.estimate {
            // The limit was in the way now and then, of bursts: the mean says nothing about it.
            self.estimate * (1.0 + GAIN * (HEADROOM - 1.0))
        } else if touched {
            let gain = if self.calm_windows >= SURE_WINDOWS { 1.0 } else { GAIN };
            self.estimate + gain * (target - self.estimate)
        } else {
            // Under-used and no slower than without load: nothing to learn.
            self.estimate
        };
        // A congested server is no reason to raise the limit, whatever the means say.
        self.set(if congested && !touched { next.min(self.estimate) } else { next });
    }

    fn set(&mut self, estimate: f64) {
        self.estimate = clamp(estimate, self.bounds.min, self.bounds.max);
    }

    /// Starts a probe if it is time.
    fn maybe_probe(&mut self, now_ns: u64) {
        let moved = self.estimate * MOVED < self.probed_at || self.estimate > self.probed_at * MOVED;
        let ceiling = (self.estimate * PROBE_SHARE).floor();
        let due = now_ns >= self.next_probe_ns || (moved && !self.starting);
        if self.probe_wanted && due && ceiling >= 1.0 {
            self.probe = Some(Probe { ceiling, since_ns: now_ns, sums: Sums::default() });
        }
    }

    fn learn_in_probe(&mut self, sample: &Sample) {
        let Some(probe) = &mut self.probe else { return };
        let length_ms = ms_between(probe.since_ns, sample.now_ns);
        // What began before the probe met the load before it.
        if sample.rtt_ms <= length_ms && (sample.dropped || sample.util <= probe.ceiling) {
            probe.sums.add(sample);
        }
        let sums = probe.sums;
        let noload_ms = self.noload.map_or(0.0, |mean| mean.ms);
        let enough = sums.count >= LEAST_SAMPLES && sums.count * sums.count >= SAMPLES_PER_SLOT * sums.util;
        let over = length_ms >= PROBE_MOST_MS.max(PROBE_MOST_LATENCIES * noload_ms);
        if enough {
            self.take_noload(sums.mean(), length_ms, sample.now_ns);
        } else if over {
            if sums.dropped > sums.count {
                self.set(self.estimate / 2.0);
            }
            self.end_probe(sample.now_ns, length_ms);
        }
    }

    /// Ends the probe with what it measured.
    fn take_noload(&mut self, measured: Mean, length_ms: f64, now_ns: u64) {
        self.end_probe(now_ns, length_ms);
        match &mut self.noload {
            Some(noload) if !measured.exceeds(*noload, SIGNIFICANT) && !noload.exceeds(measured, SIGNIFICANT) => {
                noload.ms += BLEND * (measured.ms - noload.ms);
                noload.error_squared =
                    (1.0 - BLEND) * (1.0 - BLEND) * noload.error_squared + BLEND * BLEND * measured.error_squared;
            }
            noload => {
                let fell = noload.is_some_and(|noload| measured.ms < noload.ms);
                *noload = Some(measured);
                if fell {
                    // It may have to fall further: the limit that this probe was measured under was too high.
                    self.next_probe_ns = now_ns;
                    self.probe_wanted = true;
                }
            }
        }
    }

    fn end_probe(&mut self, now_ns: u64, length_ms: f64) {
        self.probe = None;
        self.probe_wanted = false;
        self.probed_at = self.estimate;
        self.next_probe_ns = now_ns.saturating_add(nanos(PROBE_EVERY_MS.max(PROBE_EVERY_LENGTHS * length_ms)));
        self.start_window(now_ns);
    }
}

#[allow(clippy::cast_precision_loss)] // spans are far below 2^53 ns
fn ms_between(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e6
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the cast saturates
fn nanos(ms: f64) -> u64 {
    (ms * 1e6) as u64
}
