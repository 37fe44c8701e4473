//! The builder of a limiter in two tiers.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::background::Background;
use super::cached::Denials;
use super::grant::{Grant, GrantForm};
use super::holding::{SizerFactory, Terms};
use super::leases::Leases;
use super::sizing::{EoqOptions, Sizer};
use super::two_tier::{Core, Tier, TwoTier};
use crate::clock::{Clock, SystemClock};
use crate::error::BuildError;
use crate::limiter::Watch;
use crate::math::{MAX, floor_f64};
use crate::observe::Observer;
use crate::program::Strategy;
use crate::runtime::Runtime;
use crate::store::memory::Table;
use crate::store::{Keys, Keyspace};

/// Keys that are known in process, unless told otherwise. Each takes a few hundred bytes.
const DEFAULT_MAX_KEYS: usize = 100_000;

/// How a limiter uses the tier in process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Not at all: the store decides each check.
    Strict,
    /// It remembers denials until a retry can succeed, for requests at least as large.
    CachedDeny,
    /// It leases units in batches, and takes requests from them.
    #[default]
    Leased,
}

impl Mode {
    /// The name in configuration: `strict`, `cached-deny` or `leased`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::CachedDeny => "cached-deny",
            Self::Leased => "leased",
        }
    }
}

/// Where the size of leases comes from.
#[derive(Clone)]
enum Sizing {
    None,
    Learnt(EoqOptions),
    By(SizerFactory),
}

/// Builds a [`TwoTier`]; from [`TwoTier::builder`].
///
/// ```
/// use throttlekit::FixedWindow;
/// use throttlekit::lease::{EoqOptions, TwoTier};
///
/// let window = FixedWindow::builder().limit(1_000.0).window_ms(60_000.0).build()?;
/// let limiter = TwoTier::builder(window)
///     .prefix("api")
///     .adaptive(EoqOptions::new(20.0, 1.0))
///     .window_coupled(true)
///     .max_keys(10_000)
///     .build()?;
/// assert_eq!(limiter.name(), "fixedWindow");
///
/// let error = TwoTier::builder(window).build().unwrap_err();
/// assert_eq!(error.option(), "twoTier.batch");
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct TwoTierBuilder<S, K, C = SystemClock, O = ()> {
    strategy: S,
    keys: Keys<K>,
    clock: C,
    observer: O,
    options: Options,
}

/// All that has no type of its own.
struct Options {
    prefix: String,
    name: Option<Arc<str>>,
    mode: Mode,
    max_keys: usize,
    grant: GrantForm,
    batch: Option<f64>,
    sizing: Sizing,
    low_water: f64,
    window_coupled: bool,
    return_idle_after_ms: Option<f64>,
    runtime: Option<Arc<dyn Runtime>>,
}

impl<S: Strategy> TwoTierBuilder<S, Table<S::State>> {
    pub(super) fn new(strategy: S) -> Self {
        Self {
            strategy,
            keys: Keys::Default(Table::new),
            clock: SystemClock::new(),
            observer: (),
            options: Options {
                prefix: String::new(),
                name: None,
                mode: Mode::Leased,
                max_keys: DEFAULT_MAX_KEYS,
                grant: GrantForm::Partial,
                batch: None,
                sizing: Sizing::None,
                low_water: 0.0,
                window_coupled: false,
                return_idle_after_ms: None,
                runtime: None,
            },
        }
    }
}

impl<S, K, C, O> TwoTierBuilder<S, K, C, O> {
    /// Where the keys are: a [`Remote`](crate::store::Remote) store that the processes share. The default is a new table in
    /// memory, which makes sense in tests.
    pub fn keyspace<L>(self, keys: L) -> TwoTierBuilder<S, L, C, O> {
        let Self { strategy, keys: _, clock, observer, options } = self;
        TwoTierBuilder { strategy, keys: Keys::Given(keys), clock, observer, options }
    }

    /// Where the time comes from. The default is a new [`SystemClock`].
    pub fn clock<D>(self, clock: D) -> TwoTierBuilder<S, K, D, O> {
        let Self { strategy, keys, clock: _, observer, options } = self;
        TwoTierBuilder { strategy, keys, clock, observer, options }
    }

    /// Who sees each decision and each lease. The default is nobody.
    pub fn observer<P>(self, observer: P) -> TwoTierBuilder<S, K, C, P> {
        let Self { strategy, keys, clock, observer: _, options } = self;
        TwoTierBuilder { strategy, keys, clock, observer, options }
    }

    /// What is put before every key in the store, joined by a colon; see
    /// [`LimiterBuilder::prefix`](crate::LimiterBuilder::prefix).
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.options.prefix = prefix.into();
        self
    }

    /// The name that its events carry. The default is the name of the strategy.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// How the tier in process is used. Default: [`Mode::Leased`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.options.mode = mode;
        self
    }

    /// How many keys are known in process, at least 1. Default: 100,000. Units of a key that has to make room go back to the
    /// store. A key with a lease under way does not have to; where all are such, the store decides for new keys.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.options.max_keys = keys;
        self
    }

    /// What a lease does when the store has less than it asks for. Default: [`GrantForm::Partial`].
    pub fn grant(mut self, form: GrantForm) -> Self {
        self.options.grant = form;
        self
    }

    /// Units of a lease: finite, at least 1, fractional only if the strategy counts [fractions](Strategy::WHOLE_UNITS). A lease
    /// takes more where a request costs more. With [`adaptive`](Self::adaptive), the size to start with.
    pub fn batch(mut self, units: f64) -> Self {
        self.options.batch = Some(units);
        self
    }

    /// Learns for each key how much to lease, from what is asked for.
    pub fn adaptive(mut self, options: EoqOptions) -> Self {
        self.options.sizing = Sizing::Learnt(options);
        self
    }

    /// Lets one sizer for each key say how much to lease, such as a
    /// [`PredictiveSizer`](super::PredictiveSizer) with its forecast.
    pub fn sizer<Z: Sizer + 'static>(mut self, new: impl Fn() -> Z + Send + Sync + 'static) -> Self {
        self.options.sizing = Sizing::By(Arc::new(move || Box::new(new())));
        self
    }

    /// At how many units left the next ones are fetched, before anybody waits for them: finite, at least 0. Default: 0, which
    /// is never. With a [`runtime`](Self::runtime) that happens in the background, otherwise while the next caller on the
    /// key is polled.
    pub fn low_water(mut self, units: f64) -> Self {
        self.options.low_water = units;
        self
    }

    /// Whether units end with the window that they came from. Then what is admitted in a window never exceeds the limit,
    /// whatever the number of processes. Needs a strategy with windows that all share: a fixed window or a quota. Default:
    /// false.
    pub fn window_coupled(mut self, coupled: bool) -> Self {
        self.options.window_coupled = coupled;
        self
    }

    /// Milliseconds after which the units of a key that nobody asked for go back to the store: finite, above 0. Needs a
    /// [`runtime`](Self::runtime). Default: never.
    pub fn return_idle_after_ms(mut self, ms: f64) -> Self {
        self.options.return_idle_after_ms = Some(ms);
        self
    }

    /// Who polls what no caller waits for. A task starts with [`build`](Self::build), and ends with the last handle.
    pub fn runtime(mut self, runtime: impl Runtime) -> Self {
        self.options.runtime = Some(Arc::new(runtime));
        self
    }

    /// The limiter.
    ///
    /// # Errors
    ///
    /// An option that is missing or out of range, as `twoTier.batch` and the like.
    ///
    /// # Panics
    ///
    /// Where the [`runtime`](Self::runtime) cannot spawn: that of tokio has to be current. As [`Table::new`], if it was given
    /// no keyspace.
    pub fn build(self) -> Result<TwoTier<S, K, C, O>, BuildError>
    where
        S: Strategy,
        K: Keyspace<S::State>,
        C: Clock,
        O: Observer + Clone,
    {
        let (idle_ms, terms) = self.checked()?;
        let Self { strategy, keys, clock, observer, options } = self;
        let Options { prefix, name, mode, max_keys, grant, runtime, .. } = options;
        let keys = keys.make().scoped(&prefix).scoped(strategy.key_space());
        let watch = Watch::new(observer, name, strategy.name()).on(strategy.axis());
        let idle = idle_ms.map(|ms| Duration::from_secs_f64(ms / 1_000.0));
        let tier = match (terms, mode) {
            (Some(terms), _) => {
                let idle_ns = idle.map(|idle| u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX));
                Tier::Leased(Leases::new(terms, max_keys, idle_ns))
            }
            (None, Mode::CachedDeny) => Tier::CachedDeny(Denials::new(max_keys)),
            (None, _) => Tier::Strict,
        };
        let core = Arc::new_cyclic(|me| Core {
            grant: Grant::new(strategy.clone(), grant),
            strategy,
            keys,
            clock,
            tier,
            answers: AtomicU64::new(0),
            me: Weak::clone(me),
        });
        if let (Tier::Leased(leases), Some(runtime)) = (&core.tier, runtime) {
            let owner: Weak<Core<S, K, C>> = Arc::downgrade(&core);
            leases.start(Background::start(owner, &runtime, idle));
        }
        Ok(TwoTier::from_core(core, watch))
    }

    /// Whether it can be built.
    #[cfg(feature = "config")]
    pub(crate) fn check(&self) -> Result<(), BuildError>
    where
        S: Strategy,
    {
        self.checked().map(drop)
    }

    /// After how long units are idle, and what leases have in common where there are any.
    fn checked(&self) -> Result<(Option<f64>, Option<Terms>), BuildError>
    where
        S: Strategy,
    {
        if self.options.max_keys == 0 {
            return Err(BuildError::new("twoTier.maxKeys", self.options.max_keys, "must be at least 1"));
        }
        let idle_ms = self.checked_idle_ms()?;
        let terms = match self.options.mode {
            Mode::Leased => Some(self.terms()?),
            Mode::Strict | Mode::CachedDeny => None,
        };
        Ok((idle_ms, terms))
    }

    fn checked_idle_ms(&self) -> Result<Option<f64>, BuildError> {
        const OPTION: &str = "twoTier.returnIdleAfterMs";
        let Some(ms) = self.options.return_idle_after_ms else { return Ok(None) };
        if !ms.is_finite() || ms <= 0.0 || ms > MAX {
            return Err(BuildError::new(OPTION, ms, format!("must be a finite number above 0 and at most {MAX}")));
        }
        if self.options.runtime.is_none() {
            return Err(BuildError::new(OPTION, ms, "must have a runtime that looks for idle keys"));
        }
        Ok(Some(ms))
    }

    /// What leases have in common.
    fn terms(&self) -> Result<Terms, BuildError>
    where
        S: Strategy,
    {
        if let Some(batch) = self.options.batch.filter(|batch| !(*batch >= 1.0 && *batch <= MAX)) {
            let allowed = format!("must be a finite number of at least 1 and at most {MAX}");
            return Err(BuildError::new("twoTier.batch", batch, allowed));
        }
        if let Some(batch) = self.options.batch.filter(|batch| S::WHOLE_UNITS && floor_f64(*batch) != *batch) {
            let allowed = "must be a whole number, since nothing less than a unit is counted";
            return Err(BuildError::new("twoTier.batch", batch, allowed));
        }
        let sizers = match &self.options.sizing {
            Sizing::None if self.options.batch.is_none() => return Err(BuildError::required("twoTier.batch", NO_SIZE)),
            Sizing::None => None,
            Sizing::By(factory) => Some(Arc::clone(factory)),
            Sizing::Learnt(options) => {
                let sizer = options.starting_at(self.options.batch).build()?;
                let factory: SizerFactory = Arc::new(move || Box::new(sizer));
                Some(factory)
            }
        };
        if !(self.options.low_water >= 0.0 && self.options.low_water <= MAX) {
            let allowed = format!("must be a finite number from 0 to {MAX}");
            return Err(BuildError::new("twoTier.lowWater", self.options.low_water, allowed));
        }
        if self.options.window_coupled && self.strategy.window_end_ms(0.0).is_none() {
            let allowed = format!(
                "must be false for {}, which has no windows that all keys share; a fixed window or a quota has",
                self.strategy.name()
            );
            return Err(BuildError::new("twoTier.windowCoupled", true, allowed));
        }
        Ok(Terms {
            form: self.options.grant,
            coupled: self.options.window_coupled,
            batch: self.options.batch.unwrap_or(1.0),
            sizers,
            low_water: self.options.low_water,
            limit: self.strategy.limit(),
            whole: S::WHOLE_UNITS,
        })
    }
}

/// What a leased limiter lacks.
const NO_SIZE: &str = "required in mode leased, unless `adaptive` or a sizer says how much to lease";

impl<S: fmt::Debug, K, C, O> fmt::Debug for TwoTierBuilder<S, K, C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TwoTierBuilder")
            .field("strategy", &self.strategy)
            .field("prefix", &self.options.prefix)
            .field("mode", &self.options.mode)
            .field("grant", &self.options.grant)
            .field("batch", &self.options.batch)
            .field("window_coupled", &self.options.window_coupled)
            .finish_non_exhaustive()
    }
}
