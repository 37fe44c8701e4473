//! The `concurrency` block of a limiter, as types.

use crate::concurrency::{Algorithm, Guard, GuardBuilder, Recalibration};

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
    /// Whether everything is admitted and only the decisions are told. Default: no.
    pub shadow: bool,
}

impl ConcurrencySpec {
    /// This many slots, in earnest.
    pub fn new(limit: SlotLimit) -> Self {
        Self { limit, shadow: false }
    }

    /// A builder of the guard that this describes, with the system's clock and without an observer.
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
        match self.limit {
            SlotLimit::Fixed(limit) => builder.fixed(limit),
            SlotLimit::Learnt(learnt) => learnt.apply_to(builder),
        }
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
            algorithm: Algorithm::Steady,
            min_limit: 4.0,
            max_limit: 512.0,
            initial_limit: None,
            rtt_window: 100.0,
            smoothing: 0.2,
            tolerance: 2.0,
            backoff_ratio: 0.9,
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
        Self { interval_ms: 60_000.0, probe_limit: None, probe_samples: 5.0 }
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
    use super::{LearntLimit, RecalibrationSpec};
    use crate::concurrency::{Guard, Recalibration};

    #[test]
    fn the_defaults_are_those_of_the_builders() {
        let settings = |builder| format!("{builder:?}");
        assert_eq!(settings(LearntLimit::default().apply_to(Guard::builder())), settings(Guard::builder()));
        assert_eq!(RecalibrationSpec::default().plan(), Recalibration::default());
    }
}
