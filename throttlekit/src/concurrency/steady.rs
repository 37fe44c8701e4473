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
use super::word::Pressure;

/// The limit over the capacity in use: in the middle between refusing what the server could do and a queue of 0.3 of its
/// capacity.
const HEADROOM: f64 = 1.15;
/// Of a limit, so that a small one is not rounded below the capacity.
const ROUNDING: f64 = 0.5;
/// How far one window moves the limit. Windows are noisy: their mean has an error of up to one part in `sqrt(8 n)`.
const GAIN: f64 = 0.25;
/// How far it moves where the latency is worse by more than chance explains.
const GAIN_CONGESTED: f64 = 0.5;
/// After this many windows in a row in which the server shows no strain, chance is out of the question: full steps.
const SURE_WINDOWS: u32 = 3;
/// No strain: `R0 / R` is at least this. At rest it is `1 / HEADROOM`, 0.87.
const NO_STRAIN: f64 = 0.96;
/// A sample that met this share of the limit in flight tells of the server under that limit.
const PRESSED_SHARE: f64 = 0.9;

/// The least number of samples in a window, and how many for each slot in use.
const LEAST_SAMPLES: f64 = 20.0;
const SAMPLES_PER_SLOT: f64 = 8.0;
/// Looking whether a window is full costs more than adding a sample to it.
const LOOK_EVERY: u32 = 8;
/// The least length of a window in milliseconds, and in mean latencies.
const LEAST_WINDOW_MS: f64 = 100.0;
const LEAST_WINDOW_LATENCIES: f64 = 2.0;
/// A mean is good enough with this relative error; or, with what there is, after this many milliseconds, or that many
/// latencies without load if that is longer.
const GOOD_ERROR: f64 = 0.03;
const LONG_ENOUGH_MS: f64 = 1_000.0;
const LONG_ENOUGH_LATENCIES: f64 = 20.0;
/// A window with too few samples by then is too old to say anything about now.
const STALE_WINDOW_MS: f64 = 30_000.0;

/// Share of cut-off work in a window that is taken for overload. Below, clients that went away explain it. A window in which it
/// is above for certain ends after [`LONG_ENOUGH_MS`], or [`LEAST_WINDOW_LATENCIES`] without load if that is longer: the next
/// one is to see what the step down did.
const DROPS: f64 = 0.05;

/// Standard errors between two means that chance does not explain: for acting on them, and for giving up `R0`.
const SIGNIFICANT: f64 = 3.0;
const CERTAIN: f64 = 4.0;
/// A latency this many times that without load is taken for congestion as soon as it is certain.
const FAR: f64 = 1.4;
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
/// Samples count from this many latencies without load on: those that are done first are the short ones. Of an exponential
/// latency, the mean over the next eight is 1.4 percent too low; without this, it is 12.
const WARM_UP_LATENCIES: f64 = 4.0;
/// What one probe that agrees with `R0` adds to it at least.
const BLEND: f64 = 0.2;
/// As long as the relative error of `R0` is above this, probes come sooner: after this many milliseconds, and at least
/// this many times what the last one took.
const PRECISE_ERROR: f64 = 0.03;
const PROBE_AGAIN_MS: f64 = 1_000.0;
const PROBE_AGAIN_LENGTHS: f64 = 10.0;
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

    /// Whether more was cut off than [`DROPS`] and chance explain. Windows are looked at again and again while they grow.
    fn are_overload(&self) -> bool {
        let expected = DROPS * self.all();
        self.dropped - expected > CERTAIN * (expected * (1.0 - DROPS)).sqrt()
    }

    /// Whether waiting for more samples is not worth it.
    fn are_good(&self, length_ms: f64, noload_ms: f64) -> bool {
        length_ms >= LONG_ENOUGH_MS.max(LONG_ENOUGH_LATENCIES * noload_ms)
            || (self.count > 0.0 && self.mean().relative_error() <= GOOD_ERROR)
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
    /// Whether there is no doubt, and no need to know it more precisely, that `self` is far above `other`.
    fn dwarfs(self, other: Self) -> bool {
        self.ms > FAR * other.ms && self.exceeds(other, CERTAIN)
    }

    fn relative_error(self) -> f64 {
        if self.ms > 0.0 { self.error_squared.sqrt() / self.ms } else { 0.0 }
    }

    /// Whether `self` is above `other` by more than `errors` standard errors, and by more than a trifle.
    fn exceeds(self, other: Self, errors: f64) -> bool {
        let excess = self.ms - other.ms;
        excess > SAME * other.ms && excess > errors * (self.error_squared + other.error_squared).sqrt()
    }
}

impl Mean {
    /// Takes in another measurement of the same, each by how sure it is, but the new one by at least [`BLEND`].
    fn blend(&mut self, other: Self) {
        let sum = self.error_squared + other.error_squared;
        let share = if sum > 0.0 { (self.error_squared / sum).max(BLEND) } else { BLEND };
        self.ms += share * (other.ms - self.ms);
        self.error_squared = (1.0 - share) * (1.0 - share) * self.error_squared + share * share * other.error_squared;
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
    samples: u32,
    window: Sums,
    /// Those of the window that met nearly the limit.
    pressed: Sums,
    window_since_ns: Option<u64>,
    /// The first window is over.
    warm: bool,
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
            samples: 0,
            window: Sums::default(),
            pressed: Sums::default(),
            window_since_ns: None,
            warm: false,
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

    /// Whether it looked at what it has: limit, latency and probe stay as they are otherwise.
    pub(super) fn learn(&mut self, sample: &Sample, pressure: &Pressure) -> bool {
        if self.probe.is_some() {
            self.learn_in_probe(sample);
            return true;
        }
        let since = *self.window_since_ns.get_or_insert(sample.now_ns);
        self.window.add(sample);
        if sample.util >= PRESSED_SHARE * self.estimate {
            self.pressed.add(sample);
        }
        self.samples = self.samples.wrapping_add(1);
        if self.samples % LOOK_EVERY != 0 {
            return false;
        }
        let length_ms = ms_between(since, sample.now_ns);
        if self.window_is_full(length_ms) {
            let refused = pressure.take();
            // The first window has the short ones of the first requests; see `WARM_UP_LATENCIES`.
            if self.warm {
                self.judge(refused);
            }
            self.warm = true;
            self.start_window(sample.now_ns);
            self.maybe_probe(sample.now_ns);
        } else if length_ms > STALE_WINDOW_MS && self.window.all() < LEAST_SAMPLES {
            pressure.take();
            self.start_window(sample.now_ns);
        }
        true
    }

    fn window_is_full(&self, length_ms: f64) -> bool {
        let sums = &self.window;
        if sums.all() < LEAST_SAMPLES || length_ms < LEAST_WINDOW_MS {
            return false;
        }
        if self.noload.is_some_and(|noload| sums.count > 0.0 && sums.mean().dwarfs(noload)) {
            return true;
        }
        if sums.are_overload() && length_ms >= LONG_ENOUGH_MS.max(LEAST_WINDOW_LATENCIES * self.noload_ms()) {
            return true;
        }
        // Means by their sums: `count` may be 0.
        let enough_slots = sums.all() * sums.count >= SAMPLES_PER_SLOT * sums.util;
        let enough_latencies = length_ms * sums.count >= LEAST_WINDOW_LATENCIES * sums.rtt;
        enough_slots && enough_latencies && sums.are_good(length_ms, self.noload_ms())
    }

    fn start_window(&mut self, now_ns: u64) {
        self.window = Sums::default();
        self.pressed = Sums::default();
        self.window_since_ns = Some(now_ns);
    }

    /// Moves the limit by what the window says, in which requests were `refused` below the limit or not.
    fn judge(&mut self, refused: bool) {
        let sums = self.window;
        let drops = sums.dropped / sums.all();
        if drops > DROPS {
            self.starting = false;
            self.calm_windows = 0;
            self.set(self.estimate * (1.0 - drops / 2.0));
            return;
        }
        let overall = sums.mean();
        let noload = match self.noload {
            Some(noload) if !noload.exceeds(overall, CERTAIN) => noload,
            _ => *self.noload.insert(overall),
        };
        // Under a load that comes and goes, only the samples from near the limit tell of it.
        let bound = self.pressed.count >= LEAST_SAMPLES;
        let (latency, in_use) = if bound {
            (self.pressed.mean(), self.pressed.util / self.pressed.count)
        } else {
            (overall, sums.util / sums.count)
        };
        // Where only a share of the limit is asked for, work in flight never comes up to it.
        let touched = refused || sums.most_util >= self.estimate.floor();
        let congested = latency.exceeds(noload, SIGNIFICANT);
        let ease = if latency.ms > 0.0 { (noload.ms / latency.ms).min(1.0) } else { 1.0 };
        let target = HEADROOM * in_use * ease + ROUNDING;
        self.probe_wanted |= touched || congested;

        let calm = touched && ease >= NO_STRAIN;
        self.calm_windows = if calm { self.calm_windows.saturating_add(1) } else { 0 };
        self.starting &= !congested;

        let next = if congested {
            let next = self.estimate + GAIN_CONGESTED * (target - self.estimate);
            // Where the limit was not in the way, a congested server is no reason to raise it.
            if touched { next } else { next.min(self.estimate) }
        } else if touched && self.starting {
            self.estimate * 2.0
        } else if bound {
            let gain = if self.calm_windows >= SURE_WINDOWS { 1.0 } else { GAIN };
            self.estimate + gain * (target - self.estimate)
        } else if touched {
            // In the way of a burst now and then, and no sign of strain.
            self.estimate * (1.0 + GAIN * (HEADROOM - 1.0))
        } else {
            // Under-used and no slower than without load: nothing to learn.
            self.estimate
        };
        self.set(next);
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
        let noload_ms = self.noload.map_or(0.0, |mean| mean.ms);
        let warm = length_ms >= WARM_UP_LATENCIES * noload_ms;
        if warm && sample.rtt_ms <= length_ms && (sample.dropped || sample.util <= probe.ceiling) {
            probe.sums.add(sample);
        }
        let sums = probe.sums;
        let enough = sums.count >= LEAST_SAMPLES
            && sums.count * sums.count >= SAMPLES_PER_SLOT * sums.util
            && sums.are_good(length_ms, noload_ms);
        let most_ms = PROBE_MOST_MS.max(PROBE_MOST_LATENCIES * noload_ms);
        let over = length_ms >= most_ms;
        // What it took counts for when the next one is. A silence is none of it: nobody was refused.
        let length_ms = length_ms.min(most_ms);
        let overload = sums.dropped > sums.count;
        if overload && (over || sums.dropped >= LEAST_SAMPLES) {
            self.set(self.estimate / 2.0);
            self.end_probe(sample.now_ns, length_ms);
        } else if enough {
            self.take_noload(sums.mean(), length_ms, sample.now_ns);
        } else if over {
            self.end_probe(sample.now_ns, length_ms);
        }
    }

    /// Ends the probe with what it measured.
    fn take_noload(&mut self, measured: Mean, length_ms: f64, now_ns: u64) {
        self.end_probe(now_ns, length_ms);
        match &mut self.noload {
            Some(noload) if !measured.exceeds(*noload, SIGNIFICANT) && !noload.exceeds(measured, SIGNIFICANT) => {
                noload.blend(measured);
                if noload.relative_error() > PRECISE_ERROR {
                    let soon_ms = PROBE_AGAIN_MS.max(PROBE_AGAIN_LENGTHS * length_ms);
                    self.next_probe_ns = now_ns.saturating_add(nanos(soon_ms));
                }
            }
            noload => {
                *noload = Some(measured);
                // Once more: if the limit was too high for this probe to be without load, it is lower now.
                self.next_probe_ns = now_ns;
                self.probe_wanted = true;
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
