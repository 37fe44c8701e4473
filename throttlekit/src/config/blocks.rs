//! The blocks that make a limiter of another kind than a plain one, as types.

use std::fmt;

use super::concurrency::Unused;
use super::sketches::{ScreenSpec, SketchSpec};
use super::strategy::AnyStrategy;
use crate::budget::{self, Budget, Ledger, Served};
use crate::error::BuildError;
use crate::fair::{DEFAULT_MAX_TENANTS, FairEscrow, FairEscrowBuilder};
use crate::fallback::Share;
use crate::lease::{EoqOptions, GrantForm, Mode, PredictiveSizer, TwoTier, TwoTierBuilder};
use crate::program::Strategy;

/// What kind of limiter it is.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum LimiterKind {
    /// A strategy over its keys, the work in flight, or both.
    #[default]
    Plain,
    /// `twoTier`, beside a strategy: its keys are in the store, and a tier in process spares trips to them.
    TwoTier(TwoTierSpec),
    /// `screen`, beside a strategy: a sketch judges the keys that are used little, and the others have states in this process.
    Screen(ScreenSpec),
    /// `tokenBudget`: a budget of each key, metered in this process, whatever the store.
    TokenBudget(BudgetSpec),
    /// `fleetBudget`: a budget of each key in the store, or in memory if there is none.
    FleetBudget(FleetBudgetSpec),
    /// `fairEscrow`: one limit that the keys share by weight, in this process, whatever the store.
    FairEscrow(FairEscrowSpec),
    /// `sketch`: a limit by window over a sketch alone, in this process, whatever the store.
    Sketch(SketchSpec),
}

impl LimiterKind {
    /// The name of its block in configuration; `plain` without one.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::TwoTier(_) => "twoTier",
            Self::Screen(_) => "screen",
            Self::TokenBudget(_) => "tokenBudget",
            Self::FleetBudget(_) => "fleetBudget",
            Self::FairEscrow(_) => "fairEscrow",
            Self::Sketch(_) => "sketch",
        }
    }

    /// Whether it limits by the strategy that is beside it.
    pub(crate) fn is_of_strategy(&self) -> bool {
        matches!(self, Self::Plain | Self::TwoTier(_) | Self::Screen(_))
    }

    /// Where below a limiter the option of a builder is written, if it is in a block.
    pub(super) fn path_of(&self, option: &str) -> Option<String> {
        let (owner, name) = option.split_once('.')?;
        Some(match (self, owner) {
            (_, "spaceSaving") => "denyList.tracked".to_owned(),
            // Those of the strategy, and what is beside it.
            (Self::Screen(_), "screen") if matches!(name, "limit" | "maxKeys") => name.to_owned(),
            (Self::Screen(_), "screen" | "sketch") => format!("screen.{name}"),
            (_, "concurrency" | "denyList") | (Self::FairEscrow(_), "fairEscrow") | (Self::Sketch(_), "sketch") => {
                option.to_owned()
            }
            (Self::TwoTier(_), "twoTier") => format!("twoTier.{name}"),
            (Self::TwoTier(_), "adaptive") => format!("twoTier.adaptive.{name}"),
            (Self::FleetBudget(_), "twoTier") => format!("fleetBudget.leased.{name}"),
            (Self::FleetBudget(_), "adaptive") => format!("fleetBudget.leased.adaptive.{name}"),
            (Self::TokenBudget(_) | Self::FleetBudget(_), "tokenBudget" | "ledger") => {
                format!("{}.{name}", self.name())
            }
            _ => return None,
        })
    }
}

/// A tier in process before the keys of a strategy; the options are those of a [`TwoTierBuilder`].
///
/// ```
/// use throttlekit::config::{Config, LimiterKind, TwoTierSpec};
/// use throttlekit::lease::Mode;
///
/// let text = "limiters: { api: { strategy: fixedWindow, limit: 1000, period: 1m, twoTier: { batch: 20 } } }";
/// let config = Config::from_yaml(text)?;
/// let mut spec = TwoTierSpec::new(Mode::Leased);
/// spec.lease.batch = Some(20.0);
/// assert_eq!(config.limiters[0].kind, LimiterKind::TwoTier(spec));
/// # Ok::<(), throttlekit::config::ConfigErrors>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TwoTierSpec {
    /// `mode`. Default: [`Mode::Leased`].
    pub mode: Mode,
    /// `windowCoupled`, of leases only. Default: no.
    pub window_coupled: bool,
    /// How it leases. In the other modes nothing of it is used but, to remember denials, `maxKeys`.
    pub lease: LeaseSpec,
}

impl TwoTierSpec {
    /// This mode, with the defaults of everything else.
    pub fn new(mode: Mode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// Sets what this says.
    pub(crate) fn apply_to<S: Strategy, K, C, O>(
        &self,
        builder: TwoTierBuilder<S, K, C, O>,
    ) -> Result<TwoTierBuilder<S, K, C, O>, BuildError> {
        let builder = builder.mode(self.mode);
        match self.mode {
            Mode::Leased => self.lease.apply_to(builder.window_coupled(self.window_coupled)),
            Mode::CachedDeny => Ok(builder.max_keys(self.lease.max_keys)),
            Mode::Strict => Ok(builder),
        }
    }

    /// Whether a limiter of `strategy` can be built of it.
    pub(super) fn check(&self, strategy: &AnyStrategy) -> Result<(), BuildError> {
        match strategy {
            AnyStrategy::Gcra(strategy) => self.check_with(strategy),
            AnyStrategy::ExactGcra(strategy) => self.check_with(strategy),
            AnyStrategy::TokenBucket(strategy) => self.check_with(strategy),
            AnyStrategy::FixedWindow(strategy) => self.check_with(strategy),
            AnyStrategy::SlidingWindow(strategy) => self.check_with(strategy),
            AnyStrategy::SlidingWindowLog(strategy) => self.check_with(strategy),
            AnyStrategy::Quota(strategy) => self.check_with(strategy),
        }
    }

    fn check_with(&self, strategy: &impl Strategy) -> Result<(), BuildError> {
        self.apply_to(TwoTier::builder(strategy.clone()).keyspace(()))?.runtime(Unused).check()
    }
}

/// How units are leased; the options are those of a [`TwoTierBuilder`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LeaseSpec {
    /// `batch`. Required unless there is [`adaptive`](Self::adaptive).
    pub batch: Option<f64>,
    /// `lowWater`. Default: 0, which is never.
    pub low_water: f64,
    /// `returnIdleAfterMs`. Default: never. Needs a [runtime](crate::policy::LoadOptions::runtime).
    pub return_idle_after_ms: Option<f64>,
    /// `grant`. Default: [`GrantForm::Partial`].
    pub grant: GrantForm,
    /// `adaptive`. Default: the size of leases is that of `batch`.
    pub adaptive: Option<AdaptiveSpec>,
    /// `maxKeys`: keys that are known in process. Default: 100,000.
    pub max_keys: usize,
}

impl Default for LeaseSpec {
    fn default() -> Self {
        Self {
            batch: None,
            low_water: 0.0,
            return_idle_after_ms: None,
            grant: GrantForm::Partial,
            adaptive: None,
            max_keys: 100_000,
        }
    }
}

impl LeaseSpec {
    /// Sets what this says.
    pub(crate) fn apply_to<S: Strategy, K, C, O>(
        &self,
        builder: TwoTierBuilder<S, K, C, O>,
    ) -> Result<TwoTierBuilder<S, K, C, O>, BuildError> {
        let builder = builder.grant(self.grant).low_water(self.low_water).max_keys(self.max_keys);
        let builder = match self.batch {
            Some(batch) => builder.batch(batch),
            None => builder,
        };
        let builder = match self.return_idle_after_ms {
            Some(idle_ms) => builder.return_idle_after_ms(idle_ms),
            None => builder,
        };
        match self.adaptive {
            None => Ok(builder),
            Some(adaptive) if adaptive.predictive => {
                let (sizer, first) = adaptive.predictive(self.batch)?;
                Ok(builder.sizer(move || sizer.guided(move |last| last.unwrap_or(first))))
            }
            Some(adaptive) => Ok(builder.adaptive(adaptive.options())),
        }
    }

    /// Whether there is work that no caller waits for.
    pub(crate) fn works_in_background(&self) -> bool {
        self.low_water > 0.0 || self.return_idle_after_ms.is_some()
    }
}

/// How the size of leases is learnt; the options are those of [`EoqOptions`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct AdaptiveSpec {
    /// `orderCost`: what a trip to the store costs, above 0.
    pub order_cost: f64,
    /// `strandPenalty`: what a unit costs that was leased and not used, above 0.
    pub strand_penalty: f64,
    /// `minSize`. Default: 1.
    pub min_size: f64,
    /// `maxSize`. Default: 1,000,000.
    pub max_size: f64,
    /// `initialSize`. Default: the batch, else the least size.
    pub initial_size: Option<f64>,
    /// `stepScale`. Default: see [`EoqOptions::step_scale`].
    pub step_scale: Option<f64>,
    /// `epsilon`. Default: 1e-8.
    pub epsilon: f64,
    /// `predictive`: whether the demand of the last window is a forecast of the next, which counts as far as it proves good;
    /// see [`PredictiveSizer`]. Default: no.
    pub predictive: bool,
}

impl AdaptiveSpec {
    /// These costs, with the defaults of everything else.
    pub fn new(order_cost: f64, strand_penalty: f64) -> Self {
        Self {
            order_cost,
            strand_penalty,
            min_size: EoqOptions::MIN_SIZE,
            max_size: EoqOptions::MAX_SIZE,
            initial_size: None,
            step_scale: None,
            epsilon: EoqOptions::EPSILON,
            predictive: false,
        }
    }

    fn options(self) -> EoqOptions {
        let options = EoqOptions::new(self.order_cost, self.strand_penalty)
            .min_size(self.min_size)
            .max_size(self.max_size)
            .epsilon(self.epsilon);
        let options = match self.initial_size {
            Some(size) => options.initial_size(size),
            None => options,
        };
        match self.step_scale {
            Some(scale) => options.step_scale(scale),
            None => options,
        }
    }

    /// A sizer that listens to forecasts, and the demand that it expects before the first window is over: the one for which
    /// the size to start with is best, `size^2 * strandPenalty / (2 * orderCost)`.
    fn predictive(self, batch: Option<f64>) -> Result<(PredictiveSizer, f64), BuildError> {
        let sizer = PredictiveSizer::new(self.options().starting_at(batch))?;
        let size = sizer.robust().continuous();
        Ok((sizer, size * size * self.strand_penalty / (2.0 * self.order_cost)))
    }
}

/// A budget of each key; the options are those of a [`BudgetBuilder`](crate::budget::BudgetBuilder).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BudgetSpec {
    /// `budget`, in whole units for each window, at least 1.
    pub budget: f64,
    /// `windowMs`, in milliseconds, above 0.
    pub window_ms: f64,
    /// `maxDebt`, in units. Default: the budget.
    pub max_debt: Option<f64>,
    /// `carryDebt`. Default: no.
    pub carry_debt: bool,
    /// `wholeDebits`. Default: no.
    pub whole_debits: bool,
    /// `maxKeys`: keys that are kept in memory, 1 to 2^32. Default: 100,000.
    pub max_keys: usize,
}

impl BudgetSpec {
    /// A budget with the defaults of everything else.
    pub fn new(budget: f64, window_ms: f64) -> Self {
        let max_keys = budget::DEFAULT_MAX_KEYS;
        Self { budget, window_ms, max_debt: None, carry_debt: false, whole_debits: false, max_keys }
    }

    /// The budget that this describes.
    pub(crate) fn build(&self) -> Result<Budget, BuildError> {
        let builder = Budget::builder().budget(self.budget).window_ms(self.window_ms);
        let builder = builder.carry_debt(self.carry_debt).whole_debits(self.whole_debits);
        match self.max_debt {
            Some(most) => builder.max_debt(most).build(),
            None => builder.build(),
        }
    }

    /// The same budget with a share of its units, and of the debt that it may run into.
    pub(crate) fn scaled(self, share: Share) -> Self {
        let max_debt = self.max_debt.map(|most| share.of(most));
        Self { budget: share.of(self.budget), max_debt, ..self }
    }

    /// Whether a meter can be built of it.
    pub(super) fn check(&self) -> Result<(), BuildError> {
        self.build()?;
        let most = Ledger::<Served>::MAX_KEYS;
        if (1..=most).contains(&(self.max_keys as u64)) {
            Ok(())
        } else {
            let allowed = format!("must be a whole number from 1 to {most}");
            Err(BuildError::new("tokenBudget.maxKeys", self.max_keys, allowed))
        }
    }
}

/// A budget of each key that processes share.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FleetBudgetSpec {
    /// The budget.
    pub budget: BudgetSpec,
    /// `leased`: tokens are leased in batches and debited in process; see [`Budget::leased`]. Debits are then whole, and
    /// leases end with their windows unless debt is carried. Default: each debit is a trip to the store.
    pub leased: Option<LeaseSpec>,
}

impl FleetBudgetSpec {
    /// A budget that is debited in the store.
    pub fn new(budget: BudgetSpec) -> Self {
        Self { budget, leased: None }
    }

    /// Whether debits are whole.
    pub(crate) fn whole_debits(&self) -> bool {
        self.budget.whole_debits || self.leased.is_some()
    }

    /// A builder of the limiter that leases.
    pub(crate) fn leased<K>(&self, lease: &LeaseSpec, keys: K) -> Result<TwoTierBuilder<Budget, K>, BuildError> {
        let budget = BudgetSpec { whole_debits: self.whole_debits(), ..self.budget }.build()?;
        lease.apply_to(TwoTier::builder(budget).keyspace(keys).window_coupled(!budget.carries_debt()))
    }

    pub(super) fn check(&self) -> Result<(), BuildError> {
        self.budget.check()?;
        match &self.leased {
            Some(lease) => self.leased(lease, ())?.runtime(Unused).check(),
            None => Ok(()),
        }
    }
}

/// One limit that tenants share; the options are those of a [`FairEscrowBuilder`], and what files of other members of the
/// family say to a monitor. That is read and checked so that such files load; there is no such monitor here.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct FairEscrowSpec {
    /// `limit`, in units for each window, at least 1.
    pub limit: f64,
    /// `windowMs`, in milliseconds, above 0.
    pub window_ms: f64,
    /// `weights`, in the order of the file. Default: 1 for each tenant. `Debug` shows how many there are.
    pub weights: Vec<(String, f64)>,
    /// `maxKeys`: tenants that are told apart. Default: 100,000.
    pub max_keys: usize,
    /// `costRoom`: for a monitor, whether it shows who uses how much. Changes nothing here. Default: yes.
    pub cost_room: bool,
    /// `costRoomMaxKeys`: how many tenants it shows. Changes nothing here. Default: 64.
    pub cost_room_max_keys: u32,
    /// `costRoomRingSize`: how many samples of each it shows. Changes nothing here. Default: 16.
    pub cost_room_ring_size: u32,
    /// `unit`: what a monitor calls a unit. Changes nothing here. Default: `units (cost)`.
    pub unit: String,
}

impl fmt::Debug for FairEscrowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FairEscrowSpec")
            .field("limit", &self.limit)
            .field("window_ms", &self.window_ms)
            .field("weights", &self.weights.len())
            .field("max_keys", &self.max_keys)
            .field("cost_room", &self.cost_room)
            .field("cost_room_max_keys", &self.cost_room_max_keys)
            .field("cost_room_ring_size", &self.cost_room_ring_size)
            .field("unit", &self.unit)
            .finish()
    }
}

impl FairEscrowSpec {
    /// A limit that is shared evenly.
    pub fn new(limit: f64, window_ms: f64) -> Self {
        Self {
            limit,
            window_ms,
            weights: Vec::new(),
            max_keys: DEFAULT_MAX_TENANTS,
            cost_room: true,
            cost_room_max_keys: 64,
            cost_room_ring_size: 16,
            unit: "units (cost)".to_owned(),
        }
    }

    /// Whether it decides as `other` does, whatever a monitor shows.
    pub(crate) fn decides_as(&self, other: &Self) -> bool {
        let terms = |spec: &Self| (spec.limit, spec.window_ms, spec.max_keys);
        terms(self) == terms(other) && self.weights == other.weights
    }

    /// A builder of the limiter that this describes.
    pub(crate) fn builder(&self) -> FairEscrowBuilder {
        let weights = self.weights.iter().map(|(tenant, weight)| (tenant.as_str(), *weight));
        let builder = FairEscrow::builder().limit(self.limit).window_ms(self.window_ms);
        builder.weights(weights).max_tenants(self.max_keys)
    }

    pub(super) fn check(&self) -> Result<(), BuildError> {
        self.builder().build()?;
        let shown = [
            ("fairEscrow.costRoomMaxKeys", self.cost_room_max_keys),
            ("fairEscrow.costRoomRingSize", self.cost_room_ring_size),
        ];
        match shown.into_iter().find(|(_, number)| *number == 0) {
            Some((option, number)) => Err(BuildError::new(option, number, "must be a whole number above 0")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AdaptiveSpec, BudgetSpec, FairEscrowSpec, LeaseSpec};
    use crate::budget::Budget;
    use crate::fair::FairEscrow;
    use crate::lease::{EoqOptions, TwoTier};
    use crate::strategy::fixed_window::FixedWindow;

    #[test]
    fn the_defaults_are_those_of_the_builders() {
        assert_eq!(AdaptiveSpec::new(20.0, 1.0).options(), EoqOptions::new(20.0, 1.0));
        let budget = Budget::builder().budget(5.0).window_ms(9.0).build().unwrap();
        assert_eq!(BudgetSpec::new(5.0, 9.0).build().unwrap(), budget);
        let settings = |builder| format!("{builder:?}");
        let fair = FairEscrow::builder().limit(5.0).window_ms(9.0);
        assert_eq!(settings(FairEscrowSpec::new(5.0, 9.0).builder()), settings(fair));
        let tiers = || TwoTier::builder(FixedWindow::builder().limit(5.0).window_ms(9.0).build().unwrap());
        assert_eq!(format!("{:?}", LeaseSpec::default().apply_to(tiers()).unwrap()), format!("{:?}", tiers()));
    }

    #[test]
    fn a_forecast_starts_with_the_size_to_start_with() {
        let spec = AdaptiveSpec { initial_size: Some(40.0), ..AdaptiveSpec::new(20.0, 1.0) };
        let (mut sizer, first) = spec.predictive(Some(7.0)).unwrap();
        assert_eq!(sizer.size_for(first), 40.0);
        let (mut sizer, first) = AdaptiveSpec::new(20.0, 1.0).predictive(Some(7.0)).unwrap();
        assert_eq!(sizer.size_for(first), 7.0);
    }
}
