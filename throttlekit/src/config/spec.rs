//! What a configuration says, as types.

use super::blocks::{LimiterKind, TwoTierSpec};
use super::concurrency::ConcurrencySpec;
use super::http::HttpSpec;
use super::sketches::DenyListSpec;
use super::store::StoreSpec;
use crate::fallback::{FailMode, Share};
use crate::headers::Unit;
use crate::store::memory::DEFAULT_MAX_KEYS;

/// A configuration: named limiters and where they apply.
///
/// It is data. [`Policies`](crate::policy::Policies) turns it into limiters. Two texts that mean the same give equal
/// values, whatever their format: `period: 1m` and `windowMs: 60000` are one thing.
///
/// ```
/// use throttlekit::config::{Config, LimiterSpec, StrategySpec};
///
/// let mut config = Config::default();
/// config.limiters.push(LimiterSpec::new("api", StrategySpec::FixedWindow { limit: 3.0, window_ms: 1_000.0 }));
/// config.default_prefix = Some("tk".to_owned());
/// assert_eq!(config.effective_prefix(&config.limiters[0]), "tk:api");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// `defaults.prefix`: the namespace of the stored keys of all limiters without a prefix of their own.
    ///
    /// With `tk` here the limiter `api` stores its keys below `tk:api`. Node releases of the family store them below
    /// `tk` alone, so that limiters share records; [`shared_default_prefix`](Self::shared_default_prefix) does the same,
    /// for a fleet that mixes both on one store.
    pub default_prefix: Option<String>,
    /// `compat.sharedDefaultsPrefix`: store the keys of all limiters without a prefix below
    /// [`default_prefix`](Self::default_prefix) itself, which has to be there. Over a store no rule may name two of these.
    pub shared_default_prefix: bool,
    /// The `store` block: where the states of keys are kept.
    pub store: StoreSpec,
    /// The limiters, in the order of the file.
    pub limiters: Vec<LimiterSpec>,
    /// The `http` section.
    pub http: HttpSpec,
}

impl Config {
    /// What precedes the stored keys of `limiter`: its own prefix; else the default prefix and its name, joined by a
    /// colon; else its name. An empty prefix means none.
    pub fn effective_prefix(&self, limiter: &LimiterSpec) -> String {
        match (&limiter.prefix, &self.default_prefix) {
            (Some(own), _) => own.clone(),
            (None, Some(shared)) if self.shared_default_prefix => shared.clone(),
            (None, Some(namespace)) => crate::store::prefixed(namespace, &limiter.name),
            (None, None) => limiter.name.clone(),
        }
    }

    /// Whether the stored keys of `limiter` are below the default prefix itself, as those of others may be.
    pub(super) fn shares_prefix(&self, limiter: &LimiterSpec) -> bool {
        self.shared_default_prefix && self.default_prefix.is_some() && limiter.prefix.is_none()
    }
}

/// One limiter of a configuration.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LimiterSpec {
    /// The name of the policy: not empty, no control characters.
    pub name: String,
    /// What kind of limiter it is.
    pub kind: LimiterKind,
    /// What it limits over time, and how. `None` if it limits nothing but the work in flight, or if its
    /// [`kind`](Self::kind) says what it limits.
    pub strategy: Option<StrategySpec>,
    /// How much of it may be in flight. Only for plain limiters.
    pub concurrency: Option<ConcurrencySpec>,
    /// Which keys are refused for a while because they are denied again and again. Only in front of a limit of units.
    pub deny_list: Option<DenyListSpec>,
    /// What its policy tells clients of itself, in place of what follows from its limit.
    pub advertise: AdvertiseSpec,
    /// What precedes its stored keys, instead of the default.
    pub prefix: Option<String>,
    /// How many keys of its strategy it keeps in memory, 1 to 2^32. Default: [`DEFAULT_MAX_KEYS`].
    pub max_keys: usize,
    /// What happens when the store is unavailable, unless the rule that applies it says otherwise. Default: open.
    pub fail_mode: FailMode,
}

impl LimiterSpec {
    /// A limiter with the default prefix and the default bound of keys.
    pub fn new(name: impl Into<String>, strategy: StrategySpec) -> Self {
        Self { strategy: Some(strategy), ..Self::named(name) }
    }

    /// A limiter of nothing but the work in flight.
    pub fn of_slots(name: impl Into<String>, concurrency: ConcurrencySpec) -> Self {
        Self { concurrency: Some(concurrency), ..Self::named(name) }
    }

    /// A limiter in two tiers.
    pub fn in_tiers(name: impl Into<String>, strategy: StrategySpec, tiers: TwoTierSpec) -> Self {
        Self { kind: LimiterKind::TwoTier(tiers), ..Self::new(name, strategy) }
    }

    /// A limiter of a kind that needs no strategy: a budget, shares or a sketch.
    ///
    /// ```
    /// use throttlekit::config::{BudgetSpec, Config, LimiterKind, LimiterSpec};
    ///
    /// let mut config = Config::default();
    /// let budget = LimiterKind::TokenBudget(BudgetSpec::new(10_000.0, 60_000.0));
    /// config.limiters.push(LimiterSpec::of_kind("tokens", budget));
    /// config.check()?;
    /// # Ok::<(), throttlekit::config::ConfigErrors>(())
    /// ```
    pub fn of_kind(name: impl Into<String>, kind: LimiterKind) -> Self {
        Self { kind, ..Self::named(name) }
    }

    /// What it counts: a budget counts tokens, a limiter without a strategy slots, everything else requests.
    pub fn unit(&self) -> Unit {
        match self.kind {
            LimiterKind::TokenBudget(_) | LimiterKind::FleetBudget(_) => Unit::Tokens,
            LimiterKind::Plain if self.strategy.is_none() => Unit::Slots,
            LimiterKind::Plain
            | LimiterKind::TwoTier(_)
            | LimiterKind::Screen(_)
            | LimiterKind::FairEscrow(_)
            | LimiterKind::Sketch(_) => Unit::Requests,
        }
    }

    /// Whether it limits units, and not only the work in flight.
    pub(crate) fn limits_units(&self) -> bool {
        self.strategy.is_some() || !self.kind.is_of_strategy()
    }

    /// Whether its keys are in the store, if there is one.
    pub(crate) fn is_stored(&self) -> bool {
        match self.kind {
            LimiterKind::Plain | LimiterKind::TwoTier(_) => self.strategy.is_some(),
            LimiterKind::FleetBudget(_) => true,
            LimiterKind::Screen(_)
            | LimiterKind::TokenBudget(_)
            | LimiterKind::FairEscrow(_)
            | LimiterKind::Sketch(_) => false,
        }
    }

    /// Whether it counts in whole numbers, under keys of its own.
    pub(crate) fn is_exact(&self) -> bool {
        matches!(self.strategy, Some(StrategySpec::Gcra { exact: true, .. }))
    }

    fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: LimiterKind::Plain,
            strategy: None,
            concurrency: None,
            deny_list: None,
            advertise: AdvertiseSpec::default(),
            prefix: None,
            max_keys: DEFAULT_MAX_KEYS,
            fail_mode: FailMode::Open,
        }
    }
}

/// The quota and the window that the structured header fields show of a policy; the options are those of
/// [`Headers`](crate::headers::Headers).
///
/// ```
/// use throttlekit::config::Config;
///
/// let text = "limiters: { api: { strategy: gcra, limit: 100, period: 1m, burst: 20, advertise: { quota: 100 } } }";
/// let advertise = Config::from_yaml(text)?.limiters[0].advertise;
/// assert_eq!((advertise.quota, advertise.window_seconds), (Some(100), None));
/// # Ok::<(), throttlekit::config::ConfigErrors>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdvertiseSpec {
    /// `quota`: units in a window, 1 to 10^15 - 1. Default: the limit of the decision.
    pub quota: Option<u64>,
    /// `windowSeconds`, 1 to 10^15 - 1. Default: the window of the strategy, if it has one.
    pub window_seconds: Option<u64>,
}

/// A strategy and its numbers. Durations are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)] // the fields are the options of the strategies' builders, under the same names
pub enum StrategySpec {
    /// Evenly spaced admissions with a burst; `exact` chooses whole-number arithmetic.
    Gcra { limit: f64, period_ms: f64, burst: f64, exact: bool },
    /// A bucket that refills steadily.
    TokenBucket { capacity: f64, refill_per_sec: f64 },
    /// A count per aligned window.
    FixedWindow { limit: f64, window_ms: f64 },
    /// An estimate over a sliding window, from `buckets` counts.
    SlidingWindow { limit: f64, window_ms: f64, buckets: u32 },
    /// Every admission of a sliding window, exactly.
    SlidingWindowLog { limit: f64, window_ms: f64 },
    /// A count per billing period.
    Quota { limit: f64, period: QuotaPeriod },
}

impl StrategySpec {
    /// How many buckets a sliding window has unless it is told otherwise.
    pub const DEFAULT_BUCKETS: u32 = 10;

    /// The name in configuration, such as `tokenBucket`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gcra { .. } => "gcra",
            Self::TokenBucket { .. } => "tokenBucket",
            Self::FixedWindow { .. } => "fixedWindow",
            Self::SlidingWindow { .. } => "slidingWindow",
            Self::SlidingWindowLog { .. } => "slidingWindowLog",
            Self::Quota { .. } => "quota",
        }
    }

    /// The same strategy with a share of the units: of the limit, burst or capacity, by [`Share::of`], and of the refill,
    /// which is a rate and so is never rounded. Spans of time stay as they are.
    ///
    /// ```
    /// use throttlekit::Share;
    /// use throttlekit::config::StrategySpec;
    ///
    /// let bucket = StrategySpec::TokenBucket { capacity: 15.0, refill_per_sec: 1.0 };
    /// let half = StrategySpec::TokenBucket { capacity: 7.0, refill_per_sec: 0.5 };
    /// assert_eq!(bucket.scaled(Share::new(0.5)?), half);
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    #[must_use]
    pub fn scaled(mut self, share: Share) -> Self {
        match &mut self {
            Self::Gcra { limit, burst, .. } => (*limit, *burst) = (share.of(*limit), share.of(*burst)),
            Self::TokenBucket { capacity, refill_per_sec } => {
                (*capacity, *refill_per_sec) = (share.of(*capacity), *refill_per_sec * share.get());
            }
            Self::FixedWindow { limit, .. }
            | Self::SlidingWindow { limit, .. }
            | Self::SlidingWindowLog { limit, .. }
            | Self::Quota { limit, .. } => *limit = share.of(*limit),
        }
        self
    }
}

/// When a quota starts anew.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)] // as above
pub enum QuotaPeriod {
    /// With each calendar month, at a fixed offset from UTC.
    CalendarMonth { offset_minutes: i32 },
    /// With each week; `week_starts_on` counts from 0 (Sunday) to 6.
    CalendarWeek { offset_minutes: i32, week_starts_on: u8 },
    /// With each day.
    CalendarDay { offset_minutes: i32 },
    /// Every `period_ms` from `anchor_ms`, an instant in milliseconds since the Unix epoch.
    Fixed { period_ms: f64, anchor_ms: i64 },
    /// Never at once: a sliding window over the last `period_ms`.
    Rolling { period_ms: f64, buckets: u32 },
}

impl QuotaPeriod {
    /// The name in configuration, such as `calendar-month`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CalendarMonth { .. } => "calendar-month",
            Self::CalendarWeek { .. } => "calendar-week",
            Self::CalendarDay { .. } => "calendar-day",
            Self::Fixed { .. } => "fixed",
            Self::Rolling { .. } => "rolling",
        }
    }
}
