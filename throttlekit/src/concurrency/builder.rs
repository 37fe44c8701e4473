//! The builder of a guard.

use std::fmt;
use std::sync::Arc;

use super::ceiling::Ceiling;
use super::guard::{Guard, Lobby, Names, Shared};
use super::law::{Bounds, Law};
use super::learner::{Learner, slots};
use super::queue::{GivenQueue, Patience, Queue};
use super::share::GivenShares;
use super::steady::Steady;
use super::windowed::{ProbePlan, Windowed};
use super::word::MOST;
use crate::clock::{Clock, SystemClock};
use crate::error::BuildError;
use crate::observe::Observer;
use crate::priority::Priority;
use crate::runtime::Runtime;

/// The settings of a guard that is told nothing else.
pub(crate) mod default {
    pub(crate) const MIN_LIMIT: f64 = 4.0;
    pub(crate) const MAX_LIMIT: f64 = 512.0;
    pub(crate) const RTT_WINDOW: f64 = 100.0;
    pub(crate) const SMOOTHING: f64 = 0.2;
    pub(crate) const TOLERANCE: f64 = 2.0;
    pub(crate) const BACKOFF_RATIO: f64 = 0.9;
    pub(crate) const INTERVAL_MS: f64 = 60_000.0;
    pub(crate) const PROBE_SAMPLES: f64 = 5.0;
    pub(crate) const MAX_KEYS: u32 = 10_000;
    pub(crate) const ACTIVE_MS: f64 = 1_000.0;
}

/// How a guard learns its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// 1.15 times the capacity that the server shows, against a latency without load that is measured again and again by
    /// short probes. It holds under a standing load, which the other two do not unless they recalibrate; the
    /// [module](super) has the figures.
    #[default]
    Steady,
    /// Moves the limit with the ratio of the least latency of the last samples to the latency of each, towards room for a
    /// queue of its square root. The law that the whole family shares, to the last bit.
    Gradient2,
    /// One more for each sample that is fast enough, a tenth less for each that is not. The law that the whole family
    /// shares, to the last bit.
    Aimd,
}

impl Algorithm {
    /// The stable name: `steady`, `gradient2` or `aimd`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Gradient2 => "gradient2",
            Self::Aimd => "aimd",
        }
    }
}

/// Forced probes of [`Algorithm::Gradient2`] and [`Algorithm::Aimd`]: now and then few slots are given, and the least
/// latency seen meanwhile replaces what the window holds.
///
/// ```
/// use throttlekit::{Algorithm, Guard, Recalibration};
///
/// let probes = Recalibration::default().interval_ms(10_000.0).probe_limit(2.0).probe_samples(10.0);
/// assert!(Guard::builder().algorithm(Algorithm::Gradient2).recalibration(probes).build().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Recalibration {
    interval_ms: f64,
    probe_limit: Option<f64>,
    probe_samples: f64,
}

impl Default for Recalibration {
    fn default() -> Self {
        Self { interval_ms: default::INTERVAL_MS, probe_limit: None, probe_samples: default::PROBE_SAMPLES }
    }
}

impl Recalibration {
    /// Milliseconds from the end of one probe to the next, above 0. A probe that has not got its samples by
    /// then is given up with the next one that is of no use to it. Default: 60,000.
    pub fn interval_ms(mut self, interval_ms: f64) -> Self {
        self.interval_ms = interval_ms;
        self
    }

    /// The ceiling during a probe, from 1 to the greatest limit; a fraction leaves room for one more. Default: the least
    /// limit.
    pub fn probe_limit(mut self, probe_limit: f64) -> Self {
        self.probe_limit = Some(probe_limit);
        self
    }

    /// How many samples a probe takes, at least 1; rounded down. Default: 5.
    pub fn probe_samples(mut self, probe_samples: f64) -> Self {
        self.probe_samples = probe_samples;
        self
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked, and the casts saturate
    fn plan(self, bounds: Bounds) -> Result<ProbePlan, BuildError> {
        let interval_ms = above(option::INTERVAL_MS, self.interval_ms, 0.0)?;
        let limit = at_least(option::PROBE_LIMIT, self.probe_limit.unwrap_or(bounds.min), 1.0)?;
        let limit = at_most(option::PROBE_LIMIT, limit, bounds.max)?;
        let samples = self.probe_samples.floor();
        if !(samples.is_finite() && samples >= 1.0) {
            return Err(BuildError::new(option::PROBE_SAMPLES, self.probe_samples, "must be a finite number from 1"));
        }
        Ok(ProbePlan { interval_ns: (interval_ms * 1e6) as u64, limit, samples: samples as u64 })
    }
}

/// The names that refused options are reported under.
mod option {
    pub(super) const LIMIT: &str = "concurrency.limit";
    pub(super) const MIN_LIMIT: &str = "adaptiveConcurrency.minLimit";
    pub(super) const MAX_LIMIT: &str = "adaptiveConcurrency.maxLimit";
    pub(super) const INITIAL_LIMIT: &str = "adaptiveConcurrency.initialLimit";
    pub(super) const RTT_WINDOW: &str = "adaptiveConcurrency.rttWindow";
    pub(super) const SMOOTHING: &str = "adaptiveConcurrency.smoothing";
    pub(super) const TOLERANCE: &str = "adaptiveConcurrency.tolerance";
    pub(super) const BACKOFF_RATIO: &str = "adaptiveConcurrency.backoffRatio";
    pub(super) const RECALIBRATION: &str = "adaptiveConcurrency.recalibration";
    pub(super) const INTERVAL_MS: &str = "adaptiveConcurrency.recalibration.intervalMs";
    pub(super) const PROBE_LIMIT: &str = "adaptiveConcurrency.recalibration.probeLimit";
    pub(super) const PROBE_SAMPLES: &str = "adaptiveConcurrency.recalibration.probeSamples";
}

/// Builds a [`Guard`]; from [`Guard::builder`].
///
/// ```
/// use throttlekit::{Guard, ManualClock};
///
/// let guard = Guard::builder()
///     .name("search")
///     .min_limit(10.0)
///     .max_limit(200.0)
///     .clock(ManualClock::new(0.0))
///     .build()?;
/// assert_eq!((guard.name(), guard.algorithm_name(), guard.limit()), ("search", "steady", 10));
///
/// let error = Guard::builder().min_limit(0.5).build().unwrap_err();
/// assert_eq!(error.to_string(), "adaptiveConcurrency.minLimit is 0.5: must be a finite number from 1");
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct GuardBuilder<C = SystemClock, O = ()> {
    settings: Settings,
    shares: GivenShares,
    queue: Option<GivenQueue>,
    name: Option<Arc<str>>,
    shadow: bool,
    clock: C,
    observer: O,
}

/// What sets the limit.
#[derive(Clone, Copy, Debug)]
struct Settings {
    fixed: Option<u32>,
    algorithm: Algorithm,
    min_limit: f64,
    max_limit: f64,
    initial_limit: Option<f64>,
    rtt_window: f64,
    smoothing: f64,
    tolerance: f64,
    backoff_ratio: f64,
    recalibration: Option<Recalibration>,
}

impl GuardBuilder {
    pub(super) fn new() -> Self {
        let settings = Settings {
            fixed: None,
            algorithm: Algorithm::default(),
            min_limit: default::MIN_LIMIT,
            max_limit: default::MAX_LIMIT,
            initial_limit: None,
            rtt_window: default::RTT_WINDOW,
            smoothing: default::SMOOTHING,
            tolerance: default::TOLERANCE,
            backoff_ratio: default::BACKOFF_RATIO,
            recalibration: None,
        };
        let shares = GivenShares::NONE;
        Self { settings, shares, queue: None, name: None, shadow: false, clock: SystemClock::new(), observer: () }
    }
}

impl<C, O> GuardBuilder<C, O> {
    /// Learns nothing: the limit stays at `limit`, from 1 to 16,777,215. The settings of learning are not looked at.
    pub fn fixed(mut self, limit: u32) -> Self {
        self.settings.fixed = Some(limit);
        self
    }

    /// How the limit is learnt. Default: [`Algorithm::Steady`].
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.settings.algorithm = algorithm;
        self
    }

    /// The least limit: finite, from 1. Default: 4.
    pub fn min_limit(mut self, min_limit: f64) -> Self {
        self.settings.min_limit = min_limit;
        self
    }

    /// The greatest limit: finite, from the least one. Default: 512. More than 16,777,215 slots are never given.
    pub fn max_limit(mut self, max_limit: f64) -> Self {
        self.settings.max_limit = max_limit;
        self
    }

    /// Where learning starts, between the two. Default: the least limit.
    pub fn initial_limit(mut self, initial_limit: f64) -> Self {
        self.settings.initial_limit = Some(initial_limit);
        self
    }

    /// For [`Algorithm::Gradient2`] and [`Algorithm::Aimd`], the number of samples whose least latency counts as that
    /// without load: finite, above 0, rounded down. Default: 100.
    pub fn rtt_window(mut self, rtt_window: f64) -> Self {
        self.settings.rtt_window = rtt_window;
        self
    }

    /// For [`Algorithm::Gradient2`], how far one sample moves the limit: above 0, at most 1. Default: 0.2.
    pub fn smoothing(mut self, smoothing: f64) -> Self {
        self.settings.smoothing = smoothing;
        self
    }

    /// For [`Algorithm::Gradient2`] and [`Algorithm::Aimd`], how many times the latency without load is still good: from
    /// 1. Default: 2.
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.settings.tolerance = tolerance;
        self
    }

    /// For [`Algorithm::Aimd`], what the limit is multiplied with after a bad sample: from 0.5, below 1. Default: 0.9.
    pub fn backoff_ratio(mut self, backoff_ratio: f64) -> Self {
        self.settings.backoff_ratio = backoff_ratio;
        self
    }

    /// For [`Algorithm::Gradient2`] and [`Algorithm::Aimd`], measures the latency without load by forced probes now and
    /// then. Default: not. [`Algorithm::Steady`] probes by itself.
    pub fn recalibration(mut self, recalibration: Recalibration) -> Self {
        self.settings.recalibration = Some(recalibration);
        self
    }

    /// The share of the limit that requests of this priority may use: from 0.001 to 1, counted in thousandths, and not above
    /// that of a higher priority. It comes to whole slots, rounded down, and at least to one.
    ///
    /// Default: 0.8 for [`Priority::Low`], 1 for the others, or what a higher priority has if that is less. Not for a guard
    /// with a [`queue`](Self::queue): there each may use all, and the higher ones come first.
    ///
    /// [`Algorithm::Gradient2`] and [`Algorithm::Aimd`] learn nothing from a request that finds less than half of the limit in
    /// use. Where all requests have a share below a half, their limit does not grow.
    ///
    /// ```
    /// use throttlekit::{Admit, Ask, Guard, Priority};
    ///
    /// let guard = Guard::builder().fixed(10).priority_share(Priority::Normal, 0.9).build()?;
    /// let held: Vec<_> = (0..9).map(|_| guard.acquire()).collect();
    /// assert!(!guard.acquire().is_held());
    /// let high = guard.admit(&Ask::new("").priority(Priority::High)).now().expect("without a queue nothing waits")?;
    /// assert!(high.decision.allowed);
    /// # drop(held);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn priority_share(mut self, priority: Priority, share: f64) -> Self {
        self.shares.set(priority, share);
        self
    }

    /// Lets requests wait for a slot instead of refusing them at once. `runtime` sleeps until their deadline.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use throttlekit::{Admit, Ask, Guard, Outcome, Queue, TokioRuntime};
    ///
    /// let guard = Guard::builder().fixed(1).queue(Queue::new(100, 50.0), TokioRuntime).build()?;
    /// let mut first = guard.admit(&Ask::new("a")).await?;
    /// let second = guard.admit(&Ask::new("b"));
    /// assert_eq!(guard.waiting(), 1);
    ///
    /// first.permit.settle(Outcome::Completed);
    /// assert!(second.await?.decision.allowed);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "tokio"))]
    /// # fn main() {}
    /// ```
    pub fn queue(mut self, queue: Queue, runtime: impl Runtime) -> Self {
        self.queue = Some(GivenQueue { queue, runtime: Arc::new(runtime) });
        self
    }

    /// Decides and tells the observer, but admits everything: for trying a limit before it bites.
    ///
    /// A slot is counted for everything, so more than the limit may be in flight. Nothing waits: what would have is told as
    /// refused.
    pub fn shadow(mut self, shadow: bool) -> Self {
        self.shadow = shadow;
        self
    }

    /// Where the time comes from. The default is a new [`SystemClock`].
    pub fn clock<D: Clock>(self, clock: D) -> GuardBuilder<D, O> {
        let Self { settings, shares, queue, name, shadow, clock: _, observer } = self;
        GuardBuilder { settings, shares, queue, name, shadow, clock, observer }
    }

    /// Who sees each decision of [`Admit::admit`](crate::Admit::admit). Put an observer into an [`Arc`] to keep a handle
    /// to it, or if it is not [`Clone`].
    pub fn observer<P: Observer + Clone>(self, observer: P) -> GuardBuilder<C, P> {
        let Self { settings, shares, queue, name, shadow, clock, observer: _ } = self;
        GuardBuilder { settings, shares, queue, name, shadow, clock, observer }
    }

    /// The name that its events carry. The default is that of the algorithm.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// `concurrency.limit` if a fixed limit is out of its range. Otherwise the first of these that is:
    /// `adaptiveConcurrency.minLimit`, `maxLimit`, `initialLimit`, `rttWindow`, `smoothing`, `tolerance`, `backoffRatio`,
    /// `recalibration` (if given to an algorithm that takes none), `recalibration.intervalMs`, `recalibration.probeLimit`,
    /// `recalibration.probeSamples`; then `concurrency.priorities.critical` and those below it, `concurrency.queue.max`,
    /// `concurrency.queue.timeoutMs`.
    pub fn build(self) -> Result<Guard<C, O>, BuildError>
    where
        C: Clock,
    {
        let Parts { ceiling, patience, names, observer, shadow } = self.parts()?;
        Ok(Guard::new(Shared { ceiling, queue: patience.map(Lobby::new) }, names, observer, shadow))
    }

    pub(super) fn parts(self) -> Result<Parts<C, O>, BuildError>
    where
        C: Clock,
    {
        let Self { settings, shares, queue, name, shadow, clock, observer } = self;
        let (limit, learner, strategy) = match settings.fixed {
            Some(limit) if (1..=MOST).contains(&limit) => (limit, None, "fixed"),
            Some(limit) => {
                let allowed = format!("must be a whole number from 1 to {MOST}");
                return Err(BuildError::new(option::LIMIT, limit, allowed));
            }
            None => {
                let learner = settings.learner(&clock)?;
                (learner.limit(), Some(learner), settings.algorithm.as_str())
            }
        };
        let shares = shares.check(queue.is_some())?;
        let patience = queue.map(GivenQueue::check).transpose()?;
        let ceiling = Ceiling::new(limit, learner, shares, clock);
        Ok(Parts { ceiling, patience, names: Names { policy: name, strategy }, observer, shadow })
    }
}

/// What a guard is made of, whether it tells tenants apart or not.
pub(super) struct Parts<C, O> {
    pub(super) ceiling: Ceiling<C>,
    pub(super) patience: Option<Patience>,
    pub(super) names: Names,
    pub(super) observer: O,
    pub(super) shadow: bool,
}

impl Settings {
    fn learner(&self, clock: &impl Clock) -> Result<Learner, BuildError> {
        let min = at_least(option::MIN_LIMIT, self.min_limit, 1.0)?;
        if !(self.max_limit.is_finite() && self.max_limit >= min) {
            let allowed = format!("must be a finite number from minLimit, {min}");
            return Err(BuildError::new(option::MAX_LIMIT, self.max_limit, allowed));
        }
        let bounds = Bounds { min, max: self.max_limit };
        let initial = at_least(option::INITIAL_LIMIT, self.initial_limit.unwrap_or(min), min)?;
        let initial = at_most(option::INITIAL_LIMIT, initial, bounds.max)?;
        let window = above(option::RTT_WINDOW, self.rtt_window, 0.0)?;
        let smoothing = above(option::SMOOTHING, self.smoothing, 0.0)?;
        let smoothing = at_most(option::SMOOTHING, smoothing, 1.0)?;
        let tolerance = at_least(option::TOLERANCE, self.tolerance, 1.0)?;
        let backoff_ratio = self.backoff_ratio;
        if !(0.5..1.0).contains(&backoff_ratio) {
            return Err(BuildError::new(option::BACKOFF_RATIO, backoff_ratio, "must be from 0.5 and below 1"));
        }
        let law = match self.algorithm {
            Algorithm::Gradient2 => Law::Gradient2 { smoothing, tolerance },
            Algorithm::Aimd => Law::Aimd { tolerance, backoff_ratio },
            Algorithm::Steady if self.recalibration.is_some() => {
                let allowed = "must not be given with the algorithm steady, which probes by itself";
                return Err(BuildError::new(option::RECALIBRATION, "given", allowed));
            }
            Algorithm::Steady => return Ok(Learner::Steady(Steady::new(bounds, initial))),
        };
        let plan = self.recalibration.map(|recalibration| recalibration.plan(bounds)).transpose()?;
        // A probe that is off reads no clock.
        let now_ns = plan.map_or(0, |_| clock.monotonic_ns());
        let window = u64::from(slots(window));
        Ok(Learner::Windowed(Windowed::new(law, bounds, initial, window, plan, now_ns)))
    }
}

fn at_least(option: &'static str, value: f64, least: f64) -> Result<f64, BuildError> {
    if value.is_finite() && value >= least {
        Ok(value)
    } else {
        Err(BuildError::new(option, value, format!("must be a finite number from {least}")))
    }
}

fn above(option: &'static str, value: f64, below: f64) -> Result<f64, BuildError> {
    if value.is_finite() && value > below {
        Ok(value)
    } else {
        Err(BuildError::new(option, value, format!("must be a finite number above {below}")))
    }
}

fn at_most(option: &'static str, value: f64, most: f64) -> Result<f64, BuildError> {
    if value <= most { Ok(value) } else { Err(BuildError::new(option, value, format!("must be at most {most}"))) }
}

impl<C, O> fmt::Debug for GuardBuilder<C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardBuilder")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .field("shares", &self.shares)
            .field("queue", &self.queue.as_ref().map(|given| given.queue))
            .field("shadow", &self.shadow)
            .finish_non_exhaustive()
    }
}
