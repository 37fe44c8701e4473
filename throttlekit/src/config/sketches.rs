//! The blocks of limits over sketches and of deny lists, as types.

use super::strategy::AnyStrategy;
use crate::error::BuildError;
use crate::sketch::{
    Accuracy, Carry, DenyListed, DenyListedBuilder, Screened, ScreenedBuilder, SketchLimiter, SketchLimiterBuilder,
};

/// How large a sketch is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum SketchSize {
    /// `epsilon` and `delta`: as large as these ask for; see [`Accuracy::new`].
    #[allow(missing_docs)] // they are the arguments of the function
    Error { epsilon: f64, delta: f64 },
    /// `width` and `depth`: this many columns in this many rows; see [`Accuracy::of_table`].
    #[allow(missing_docs)] // as above
    Table { width: u32, depth: u32 },
}

impl SketchSize {
    /// The size as sketches take it.
    ///
    /// # Errors
    ///
    /// As [`Accuracy::new`] and [`Accuracy::of_table`].
    pub fn accuracy(self) -> Result<Accuracy, BuildError> {
        match self {
            Self::Error { epsilon, delta } => Accuracy::new(epsilon, delta),
            Self::Table { width, depth } => Accuracy::of_table(width, depth),
        }
    }
}

/// A sketch in front of the keys of a strategy, in this process; the options are those of a [`ScreenedBuilder`].
///
/// ```
/// use throttlekit::config::{Config, LimiterKind, ScreenSpec};
///
/// let text = "limiters: { api: { strategy: gcra, limit: 100, period: 1m, screen: { threshold: 20 } } }";
/// let config = Config::from_yaml(text)?;
/// let mut spec = ScreenSpec::default();
/// spec.threshold = Some(20.0);
/// assert_eq!(config.limiters[0].kind, LimiterKind::Screen(spec));
/// # Ok::<(), throttlekit::config::ConfigErrors>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ScreenSpec {
    /// `threshold`, in units. Default: half the limit, at least 1.
    pub threshold: Option<f64>,
    /// The size of each sketch. Default: an epsilon of 0.001 and a delta of 0.01.
    pub size: SketchSize,
    /// `shards`, 1 to 1,024. Default: 8.
    pub shards: u32,
}

impl Default for ScreenSpec {
    fn default() -> Self {
        Self { threshold: None, size: SketchSize::Error { epsilon: 0.001, delta: 0.01 }, shards: 8 }
    }
}

impl ScreenSpec {
    /// A builder of the limiter that this describes, with room for the states of `max_keys` keys.
    pub(crate) fn builder<S: Carry>(&self, strategy: S, max_keys: usize) -> Result<ScreenedBuilder<S>, BuildError> {
        let builder = Screened::builder(strategy).accuracy(self.size.accuracy()?).max_keys(max_keys);
        let builder = builder.shards(usize::try_from(self.shards).unwrap_or(usize::MAX));
        Ok(match self.threshold {
            Some(units) => builder.threshold(units),
            None => builder,
        })
    }

    /// Whether a limiter of `strategy` can be built of it.
    pub(super) fn check(&self, strategy: &AnyStrategy, max_keys: usize) -> Result<(), BuildError> {
        match strategy {
            AnyStrategy::Gcra(strategy) => self.builder(*strategy, max_keys)?.check(),
            AnyStrategy::ExactGcra(strategy) => self.builder(*strategy, max_keys)?.check(),
            AnyStrategy::TokenBucket(strategy) => self.builder(*strategy, max_keys)?.check(),
            AnyStrategy::FixedWindow(strategy) => self.builder(*strategy, max_keys)?.check(),
            AnyStrategy::SlidingWindow(strategy) => self.builder(*strategy, max_keys)?.check(),
            AnyStrategy::SlidingWindowLog(strategy) => self.builder(*strategy, max_keys)?.check(),
            AnyStrategy::Quota(strategy) => self.builder(*strategy, max_keys)?.check(),
        }
    }
}

/// A limit by window over a sketch alone; the options are those of a [`SketchLimiterBuilder`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct SketchSpec {
    /// `limit`, in units for each window, above 0 and at most 2^32 - 1.
    pub limit: f64,
    /// `windowMs`, in milliseconds, above 0.
    pub window_ms: f64,
    /// `sliding`: whether no span of the window's length sees more than the limit. Default: no, windows are aligned.
    pub sliding: bool,
    /// The size of each sketch. Default: an epsilon of 0.01 and a delta of 0.001.
    pub size: SketchSize,
    /// `shards`, 1 to 1,024. Default: 1.
    pub shards: u32,
}

impl SketchSpec {
    /// A limit with the defaults of everything else.
    pub fn new(limit: f64, window_ms: f64) -> Self {
        let size = SketchSize::Error { epsilon: 0.01, delta: 0.001 };
        Self { limit, window_ms, sliding: false, size, shards: 1 }
    }

    /// A builder of the limiter that this describes.
    pub(crate) fn builder(&self) -> Result<SketchLimiterBuilder, BuildError> {
        let builder = SketchLimiter::builder().limit(self.limit).window_ms(self.window_ms);
        let builder = builder.accuracy(self.size.accuracy()?);
        let builder = builder.shards(usize::try_from(self.shards).unwrap_or(usize::MAX));
        Ok(if self.sliding { builder.sliding() } else { builder })
    }
}

/// A list of keys that are refused for a while, in front of a limit; the options are those of a [`DenyListedBuilder`].
///
/// ```
/// use throttlekit::config::{Config, DenyListSpec};
///
/// let text = "limiters: { api: { strategy: gcra, limit: 100, period: 1m, denyList: { denials: 1000 } } }";
/// let mut spec = DenyListSpec::default();
/// spec.denials = 1_000;
/// assert_eq!(Config::from_yaml(text)?.limiters[0].deny_list, Some(spec));
/// # Ok::<(), throttlekit::config::ConfigErrors>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct DenyListSpec {
    /// `denials`: how many in one window put a key on the list, at least 1. Default: 100.
    pub denials: u32,
    /// `windowMs`, in milliseconds, above 0. Default: a minute.
    pub window_ms: f64,
    /// `ttlMs`: how long a key is refused, in milliseconds, above 0. Default: ten minutes.
    pub ttl_ms: f64,
    /// `tracked`: keys whose denials are counted at a time, 1 to 1,000,000. Default: 1,000.
    pub tracked: usize,
    /// `places`, 1 to 2^24, of which there should be twice as many as keys on the list. Default: 16,384.
    pub places: usize,
}

impl Default for DenyListSpec {
    fn default() -> Self {
        Self { denials: 100, window_ms: 60_000.0, ttl_ms: 600_000.0, tracked: 1_000, places: 16_384 }
    }
}

impl DenyListSpec {
    /// A builder of the list that this describes, in front of `inner`.
    pub(crate) fn builder<A>(&self, inner: A) -> DenyListedBuilder<A> {
        let builder = DenyListed::builder(inner).denials(self.denials).window_ms(self.window_ms).ttl_ms(self.ttl_ms);
        builder.tracked(self.tracked).places(self.places)
    }
}

#[cfg(test)]
mod tests {
    use super::{DenyListSpec, ScreenSpec, SketchSpec};
    use crate::sketch::{DenyListed, Screened, SketchLimiter};
    use crate::strategy::fixed_window::FixedWindow;

    #[test]
    fn the_defaults_are_those_of_the_builders() {
        let settings = |builder: &dyn std::fmt::Debug| format!("{builder:?}");
        assert_eq!(settings(&DenyListSpec::default().builder(())), settings(&DenyListed::builder(())));
        let sketch = SketchLimiter::builder().limit(5.0).window_ms(9.0);
        assert_eq!(settings(&SketchSpec::new(5.0, 9.0).builder().unwrap()), settings(&sketch));
        let window = || FixedWindow::builder().limit(5.0).window_ms(9.0).build().unwrap();
        let screened = Screened::builder(window()).max_keys(7);
        assert_eq!(settings(&ScreenSpec::default().builder(window(), 7).unwrap()), settings(&screened));
    }
}
