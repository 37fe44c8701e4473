//! The `concurrency` block of a limiter, as types.

use std::fmt;
use std::time::Duration;

use crate::concurrency::{
    Algorithm, Guard, GuardBuilder, KeyedGuard, KeyedGuardBuilder, Queue, Recalibration, default,
};
use crate::error::BuildError;
use crate::priority::Priority;
use crate::run::BoxFuture;
use crate::runtime::{Runtime, TaskHandle};

/// How much work of a limiter may be in flight, and who decides that.
///
/// ```
/// use throttlekit::config::{Config, ConcurrencySpec, SlotLimit};
///
/// let config = Config::from_yaml("limiters: { search: { concurrency: { limit: 20 } } }")?;
/// assert_eq!(config.limiters[0].concurrency, Some(ConcurrencySpec::new(SlotLimit::Fixed(20))));
/// # Ok::<(), throttlekit::config::ConfigErrors>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConcurrencySpec {
    /// How many slots there are.
    pub limit: SlotLimit,
    /// `keyed`: shares of the slots for each key. Default: all keys have all slots in common.
    pub keyed: Option<KeyedSpec>,
    /// `queue`: requests wait for a slot. Default: they are refused at once.
    pub queue: Option<QueueSpec>,
    /// `priorities`: the share of the slots that requests of a priority may use, in the order of [`Priority::ALL`]. `None`
    /// is the default of a [`GuardBuilder`].
    pub priorities: [Option<f64>; Priority::ALL.len()],
    /// Whether everything is admitted and only the decisions are told. Default: no.
    pub shadow: bool,
}

/// For what is built to see whether it can be: nothing waits in it, and nothing works.
pub(super) struct Unused;

impl Runtime for Unused {
    fn spawn(&self, _task: BoxFuture<()>) -> TaskHandle {
        TaskHandle::new(|| {})
    }

    fn sleep(&self, _span: Duration) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
}

impl ConcurrencySpec {
    /// This many slots, in earnest.
    pub fn new(limit: SlotLimit) -> Self {
        Self { limit, keyed: None, queue: None, priorities: [None; Priority::ALL.len()], shadow: false }
    }

    /// A builder of the guard that this describes, but for its queue and its tenants; with the system's clock and without
    /// an observer.
    ///
    /// ```
    /// use throttlekit::config::{ConcurrencySpec, LearntLimit, SlotLimit};
    ///
    /// let spec = ConcurrencySpec::new(SlotLimit::Learnt(LearntLimit::default()));
    /// let guard = spec.guard().name("search").build()?;
    /// assert_eq!((guard.algorithm_name(), guard.limit()), ("steady", 4));
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    pub fn guard(&self) -> GuardBuilder {
        let builder = Guard::builder().shadow(self.shadow);
        let builder = match self.limit {
            SlotLimit::Fixed(limit) => builder.fixed(limit),
            SlotLimit::Learnt(learnt) => learnt.apply_to(builder),
        };
        let shares = Priority::ALL.into_iter().zip(self.priorities);
        shares.fold(builder, |builder, (priority, share)| match share {
            Some(share) => builder.priority_share(priority, share),
            None => builder,
        })
    }

    /// Whether a guard can be built of it.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        let builder = self.queue.iter().fold(self.guard(), |builder, queue| builder.queue(queue.queue(), Unused));
        match &self.keyed {
            Some(keyed) => keyed.apply_to(KeyedGuard::builder(builder)).build().map(drop),
            None => builder.build().map(drop),
        }
    }
}

/// Shares of the slots for each key; the options are those of a [`KeyedGuardBuilder`].
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct KeyedSpec {
    /// `maxKeys`. Default: 10,000.
    pub max_keys: u32,
    /// `maxPerKey`. Default: as many as there are.
    pub max_per_key: Option<u32>,
    /// `activeMs`. Default: 1,000.
    pub active_ms: f64,
    /// `weights`, in the order of the file. Default: 1 for each key. `Debug` shows how many there are.
    pub weights: Vec<(String, f64)>,
}

impl fmt::Debug for KeyedSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedSpec")
            .field("max_keys", &self.max_keys)
            .field("max_per_key", &self.max_per_key)
            .field("active_ms", &self.active_ms)
            .field("weights", &self.weights.len())
            .finish()
    }
}

impl Default for KeyedSpec {
    fn default() -> Self {
        Self { max_keys: default::MAX_KEYS, max_per_key: None, active_ms: default::ACTIVE_MS, weights: Vec::new() }
    }
}

impl KeyedSpec {
    /// Sets what this says.
    pub(crate) fn apply_to<C, O>(&self, builder: KeyedGuardBuilder<C, O>) -> KeyedGuardBuilder<C, O> {
        let weights = self.weights.iter().map(|(key, weight)| (key.as_str(), *weight));
        let builder = builder.max_keys(self.max_keys).active_ms(self.active_ms).weights(weights);
        match self.max_per_key {
            Some(most) => builder.max_per_key(most),
            None => builder,
        }
    }
}

/// How many requests wait for a slot, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct QueueSpec {
    /// `max`, from 1 to 16,777,215.
    pub max: u32,
    /// `timeoutMs`, in milliseconds, above 0.
    pub timeout_ms: f64,
}

impl QueueSpec {
    /// Lets `max` requests wait, each for `timeout_ms` milliseconds.
    pub fn new(max: u32, timeout_ms: f64) -> Self {
        Self { max, timeout_ms }
    }

    /// For a builder.
    pub(crate) fn queue(self) -> Queue {
        Queue::new(self.max, self.timeout_ms)
    }
}

impl Default for ConcurrencySpec {
    /// A learnt limit with the default settings.
    fn default() -> Self {
        Self::new(SlotLimit::Learnt(LearntLimit::default()))
    }
}

/// How many slots there are.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum SlotLimit {
    /// `limit`: always so many, from 1 to 16,777,215.
    Fixed(u32),
    /// As many as the latency of the work suggests.
    Learnt(LearntLimit),
}

/// How a limit is learnt; the options are those of a [`GuardBuilder`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct LearntLimit {
    /// `profile`, or `algorithm` as other members of the family call it. Default: [`Algorithm::Steady`].
    pub algorithm: Algorithm,
    /// `minLimit`. Default: 4.
    pub min_limit: f64,
    /// `maxLimit`. Default: 512.
    pub max_limit: f64,
    /// `initialLimit`. Default: [`min_limit`](Self::min_limit).
    pub initial_limit: Option<f64>,
    /// `rttWindow`, in samples. Default: 100.
    pub rtt_window: f64,
    /// `smoothing`. Default: 0.2.
    pub smoothing: f64,
    /// `tolerance`. Default: 2.
    pub tolerance: f64,
    /// `backoffRatio`. Default: 0.9.
    pub backoff_ratio: f64,
    /// `recalibration`. Default: none.
    pub recalibration: Option<RecalibrationSpec>,
}

impl Default for LearntLimit {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            min_limit: default::MIN_LIMIT,
            max_limit: default::MAX_LIMIT,
            initial_limit: None,
            rtt_window: default::RTT_WINDOW,
            smoothing: default::SMOOTHING,
            tolerance: default::TOLERANCE,
            backoff_ratio: default::BACKOFF_RATIO,
            recalibration: None,
        }
    }
}

impl LearntLimit {
    fn apply_to(self, builder: GuardBuilder) -> GuardBuilder {
        let builder = builder
            .algorithm(self.algorithm)
            .min_limit(self.min_limit)
            .max_limit(self.max_limit)
            .rtt_window(self.rtt_window)
            .smoothing(self.smoothing)
            .tolerance(self.tolerance)
            .backoff_ratio(self.backoff_ratio);
        let builder = match self.initial_limit {
            Some(initial) => builder.initial_limit(initial),
            None => builder,
        };
        match self.recalibration {
            Some(recalibration) => builder.recalibration(recalibration.plan()),
            None => builder,
        }
    }
}

/// Forced probes for the latency without load; see [`Recalibration`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecalibrationSpec {
    /// `intervalMs`, from the end of one probe to the next. Default: 60,000.
    pub interval_ms: f64,
    /// `probeLimit`, the ceiling during a probe. Default: the least limit.
    pub probe_limit: Option<f64>,
    /// `probeSamples`. Default: 5.
    pub probe_samples: f64,
}

impl Default for RecalibrationSpec {
    fn default() -> Self {
        Self { interval_ms: default::INTERVAL_MS, probe_limit: None, probe_samples: default::PROBE_SAMPLES }
    }
}

impl RecalibrationSpec {
    fn plan(self) -> Recalibration {
        let plan = Recalibration::default().interval_ms(self.interval_ms).probe_samples(self.probe_samples);
        match self.probe_limit {
            Some(limit) => plan.probe_limit(limit),
            None => plan,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyedSpec, LearntLimit, RecalibrationSpec};
    use crate::concurrency::{Guard, KeyedGuard, Recalibration};

    #[test]
    fn the_defaults_are_those_of_the_builders() {
        let settings = |builder| format!("{builder:?}");
        assert_eq!(settings(LearntLimit::default().apply_to(Guard::builder())), settings(Guard::builder()));
        assert_eq!(RecalibrationSpec::default().plan(), Recalibration::default());
        let keyed = || KeyedGuard::builder(Guard::builder());
        assert_eq!(format!("{:?}", KeyedSpec::default().apply_to(keyed())), format!("{:?}", keyed()));
    }
}
