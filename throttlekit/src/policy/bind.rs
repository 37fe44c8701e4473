//! From what a configuration says of units to the limiter, without its types.

use std::any::Any;
use std::sync::Arc;

use super::options::LoadOptions;
use super::store::OpenStore;
use crate::budget::{Budget, Ledger, Served, TokenBudget};
use crate::clock::Clock;
use crate::config::{
    AnyStrategy, BudgetSpec, FairEscrowSpec, FleetBudgetSpec, LimiterKind, LimiterSpec, ScreenSpec, SketchSpec,
    StrategySpec, TwoTierSpec, build_strategy,
};
use crate::error::BuildError;
use crate::fair::FairEscrow;
use crate::fallback::Share;
use crate::lease::{Mode, TwoTier, TwoTierBuilder};
use crate::limiter::{DynLimiter, Limiter};
use crate::observe::Observer;
use crate::program::{Project, Strategy};
use crate::sketch::{Carry, Screened, ScreenedBuilder, SketchLimiter, SketchLimiterBuilder};
use crate::store::Keyspace;
use crate::store::memory::Table;

/// Where the keys of a limiter are to be.
#[derive(Clone, Copy)]
pub(super) enum Site<'a> {
    /// In what is to go on, if it is of the right type; or in something new.
    Memory(Option<&'a (dyn Any + Send + Sync)>),
    /// In a store, below a prefix.
    Store(&'a OpenStore, &'a str),
}

impl Site<'_> {
    /// What is to go on, if it is of this type.
    fn kept<T: Clone + 'static>(self) -> Option<T> {
        match self {
            Self::Memory(kept) => kept?.downcast_ref::<T>().cloned(),
            Self::Store(..) => None,
        }
    }
}

/// A limiter, and what a later one may go on with.
type Bound = (Arc<dyn DynLimiter>, Box<dyn Any + Send + Sync>);

/// The limiter of a spec that limits units.
pub(super) fn limiter(spec: &LimiterSpec, options: &LoadOptions, site: Site<'_>) -> Result<Bound, BuildError> {
    match (&spec.kind, &spec.strategy) {
        (LimiterKind::Plain, Some(strategy)) => plain(spec, strategy, options, site),
        (LimiterKind::TwoTier(tiers), Some(strategy)) => in_tiers(spec, tiers, strategy, options, site),
        (LimiterKind::TokenBudget(budget), _) => metered(spec, budget, options, site),
        (LimiterKind::FleetBudget(budget), _) => fleet(spec, budget, options, site),
        (LimiterKind::FairEscrow(fair), _) => shared_out(spec, fair, options, site),
        (LimiterKind::Screen(screen), Some(strategy)) => screened(spec, screen, strategy, options, site),
        (LimiterKind::Sketch(sketch), _) => sketched(spec, sketch, options, site),
        (LimiterKind::Plain | LimiterKind::TwoTier(_) | LimiterKind::Screen(_), None) => {
            Err(BuildError::missing("strategy"))
        }
    }
}

/// What stands in for a limiter while its store is out: in memory, with a share of the units.
pub(super) fn local(
    spec: &LimiterSpec,
    share: Share,
    options: &LoadOptions,
) -> Result<Arc<dyn DynLimiter>, BuildError> {
    let new = Site::Memory(None);
    let (limiter, _) = match (&spec.kind, &spec.strategy) {
        (LimiterKind::FleetBudget(fleet), _) => {
            let budget = BudgetSpec { whole_debits: fleet.whole_debits(), ..fleet.budget.scaled(share) };
            metered(spec, &budget, options, new)?
        }
        (_, Some(strategy)) => plain(spec, &strategy.scaled(share), options, new)?,
        _ => limiter(spec, options, new)?,
    };
    Ok(limiter)
}

/// The limiter of a strategy, which need not be that of `spec`.
fn plain(
    spec: &LimiterSpec,
    strategy: &StrategySpec,
    options: &LoadOptions,
    site: Site<'_>,
) -> Result<Bound, BuildError> {
    match build_strategy(strategy)? {
        AnyStrategy::Gcra(strategy) => bind(strategy, spec, options, site),
        AnyStrategy::ExactGcra(strategy) => bind(strategy, spec, options, site),
        AnyStrategy::TokenBucket(strategy) => bind(strategy, spec, options, site),
        AnyStrategy::FixedWindow(strategy) => bind(strategy, spec, options, site),
        AnyStrategy::SlidingWindow(strategy) => bind(strategy, spec, options, site),
        AnyStrategy::SlidingWindowLog(strategy) => bind(strategy, spec, options, site),
        AnyStrategy::Quota(strategy) => bind(strategy, spec, options, site),
    }
}

fn bind<S: Project>(
    strategy: S,
    spec: &LimiterSpec,
    options: &LoadOptions,
    site: Site<'_>,
) -> Result<Bound, BuildError> {
    let builder = Limiter::builder(strategy).name(spec.name.as_str());
    let LoadOptions { system, clock, observer, .. } = options;
    if let Site::Store(store, prefix) = site {
        let builder = builder.keyspace(store.keys().clone()).prefix(prefix).clock(options.clock_of_all());
        // Nobody to tell: no key is kept for it while the store is asked.
        let limiter: Arc<dyn DynLimiter> = match observer {
            Some(observer) => Arc::new(builder.observer(observer.clone()).build()),
            None => Arc::new(builder.build()),
        };
        return Ok((limiter, Box::new(())));
    }
    let table = table(spec, site)?;
    let builder = builder.keyspace(table.clone());
    // The usual case is compiled without the virtual calls of the others.
    let limiter: Arc<dyn DynLimiter> = match (clock, observer) {
        (None, None) => Arc::new(builder.clock(system.clone()).build()),
        (None, Some(observer)) => Arc::new(builder.clock(system.clone()).observer(observer.clone()).build()),
        (Some(clock), _) => Arc::new(builder.clock(Arc::clone(clock)).observer(dyn_observer(options)).build()),
    };
    Ok((limiter, Box::new(table)))
}

/// The table that is to go on, or a new one.
fn table<S: crate::State>(spec: &LimiterSpec, site: Site<'_>) -> Result<Table<S>, BuildError> {
    site.kept().map_or_else(|| Table::bounded(spec.max_keys), Ok)
}

/// Lets the states that a limiter went on with live as long as `spec` needs them: it may be longer than what wrote them did.
pub(super) fn prolong(spec: &LimiterSpec, kept: &(dyn Any + Send + Sync), now_ms: f64) {
    fn table<S: Strategy>(strategy: &S, kept: &(dyn Any + Send + Sync), now_ms: f64) {
        if let Some(table) = kept.downcast_ref::<Table<S::State>>() {
            table.prolong(now_ms, now_ms + strategy.ttl_ms());
        }
    }
    match (&spec.kind, spec.strategy.as_ref().map(build_strategy)) {
        (_, Some(Ok(AnyStrategy::TokenBucket(bucket)))) => table(&bucket, kept, now_ms),
        (_, Some(Ok(AnyStrategy::SlidingWindowLog(log)))) => table(&log, kept, now_ms),
        (LimiterKind::TokenBudget(budget) | LimiterKind::FleetBudget(FleetBudgetSpec { budget, .. }), _) => {
            if let (Some(ledger), Ok(budget)) = (kept.downcast_ref::<Ledger<Served>>(), budget.build()) {
                ledger.prolong(now_ms, |served| budget.reset(*served));
            }
        }
        // Others say in each state until when it matters, or by options that go on with no state if they change.
        _ => {}
    }
}

fn dyn_observer(options: &LoadOptions) -> Arc<dyn Observer> {
    options.observer.clone().unwrap_or_else(|| Arc::new(()))
}

/// The limiter of a strategy in two tiers.
fn in_tiers(
    spec: &LimiterSpec,
    tiers: &TwoTierSpec,
    strategy: &StrategySpec,
    options: &LoadOptions,
    site: Site<'_>,
) -> Result<Bound, BuildError> {
    match build_strategy(strategy)? {
        AnyStrategy::Gcra(strategy) => bind_tiers(strategy, spec, tiers, options, site),
        AnyStrategy::ExactGcra(strategy) => bind_tiers(strategy, spec, tiers, options, site),
        AnyStrategy::TokenBucket(strategy) => bind_tiers(strategy, spec, tiers, options, site),
        AnyStrategy::FixedWindow(strategy) => bind_tiers(strategy, spec, tiers, options, site),
        AnyStrategy::SlidingWindow(strategy) => bind_tiers(strategy, spec, tiers, options, site),
        AnyStrategy::SlidingWindowLog(strategy) => bind_tiers(strategy, spec, tiers, options, site),
        AnyStrategy::Quota(strategy) => bind_tiers(strategy, spec, tiers, options, site),
    }
}

fn bind_tiers<S: Project>(
    strategy: S,
    spec: &LimiterSpec,
    tiers: &TwoTierSpec,
    options: &LoadOptions,
    site: Site<'_>,
) -> Result<Bound, BuildError> {
    let background = tiers.mode == Mode::Leased && tiers.lease.works_in_background();
    if let Site::Store(store, prefix) = site {
        let builder = TwoTier::builder(strategy).keyspace(store.keys().clone()).prefix(prefix);
        return Ok((finish_tiers(tiers.apply_to(builder)?, spec, background, options)?, Box::new(())));
    }
    let table = table::<S::State>(spec, site)?;
    let builder = TwoTier::builder(strategy).keyspace(table.clone());
    Ok((finish_tiers(tiers.apply_to(builder)?, spec, background, options)?, Box::new(table)))
}

/// Adds what a configuration does not say. Only leases that need a runtime get it: their task starts at once.
fn finish_tiers<S: Project, K: Keyspace<S::State>>(
    builder: TwoTierBuilder<S, K>,
    spec: &LimiterSpec,
    background: bool,
    options: &LoadOptions,
) -> Result<Arc<dyn DynLimiter>, BuildError> {
    let builder = builder.name(spec.name.as_str());
    let LoadOptions { system, clock, observer, runtime, .. } = options;
    let builder = match runtime {
        Some(runtime) if background => builder.runtime(Arc::clone(runtime)),
        _ => builder,
    };
    // As above.
    Ok(match (clock, observer) {
        (None, None) => Arc::new(builder.clock(system.clone()).build()?),
        _ => Arc::new(builder.clock(options.clock_of_all()).observer(dyn_observer(options)).build()?),
    })
}

/// A budget in this process.
fn metered(
    spec: &LimiterSpec,
    budget: &BudgetSpec,
    options: &LoadOptions,
    site: Site<'_>,
) -> Result<Bound, BuildError> {
    let ledger = ledger(budget, site)?;
    Ok((meter(spec, budget.build()?, ledger.clone(), "", options), Box::new(ledger)))
}

/// The ledger that is to go on, or a new one.
fn ledger(budget: &BudgetSpec, site: Site<'_>) -> Result<Ledger<Served>, BuildError> {
    site.kept().map_or_else(|| Ledger::bounded(budget.max_keys), Ok)
}

fn meter<K: Keyspace<Served>>(
    spec: &LimiterSpec,
    budget: Budget,
    keys: K,
    prefix: &str,
    options: &LoadOptions,
) -> Arc<dyn DynLimiter> {
    let builder = TokenBudget::builder(budget).name(spec.name.as_str()).keyspace(keys).prefix(prefix);
    let LoadOptions { system, clock, observer, .. } = options;
    // As above.
    match (clock, observer) {
        (None, None) => Arc::new(builder.clock(system.clone()).build()),
        _ => Arc::new(builder.clock(options.clock_of_all()).observer(dyn_observer(options)).build()),
    }
}

/// A budget in the store, or in memory.
fn fleet(
    spec: &LimiterSpec,
    fleet: &FleetBudgetSpec,
    options: &LoadOptions,
    site: Site<'_>,
) -> Result<Bound, BuildError> {
    let Some(lease) = &fleet.leased else {
        let Site::Store(store, prefix) = site else { return metered(spec, &fleet.budget, options, site) };
        return Ok((meter(spec, fleet.budget.build()?, store.keys().clone(), prefix, options), Box::new(())));
    };
    let background = lease.works_in_background();
    if let Site::Store(store, prefix) = site {
        let builder = fleet.leased(lease, store.keys().clone())?.prefix(prefix);
        return Ok((finish_tiers(builder, spec, background, options)?, Box::new(())));
    }
    let ledger = ledger(&fleet.budget, site)?;
    let builder = fleet.leased(lease, ledger.clone())?;
    Ok((finish_tiers(builder, spec, background, options)?, Box::new(ledger)))
}

/// A limit that tenants share.
fn shared_out(
    spec: &LimiterSpec,
    fair: &FairEscrowSpec,
    options: &LoadOptions,
    site: Site<'_>,
) -> Result<Bound, BuildError> {
    let kept = site.kept::<FairEscrow<Arc<dyn Clock>>>();
    let fair = match (kept, &options.observer) {
        (Some(kept), _) => kept,
        (None, observer) => {
            let builder = fair.builder().name(spec.name.as_str()).clock(options.clock_of_all());
            match observer {
                Some(observer) => builder.observer(Arc::clone(observer)).build()?,
                None => builder.build()?,
            }
        }
    };
    Ok((Arc::new(fair.clone()), Box::new(fair)))
}

/// The limiter of a strategy behind a sketch.
fn screened(
    spec: &LimiterSpec,
    screen: &ScreenSpec,
    strategy: &StrategySpec,
    options: &LoadOptions,
    site: Site<'_>,
) -> Result<Bound, BuildError> {
    match build_strategy(strategy)? {
        AnyStrategy::Gcra(strategy) => bind_screened(strategy, spec, screen, options, site),
        AnyStrategy::ExactGcra(strategy) => bind_screened(strategy, spec, screen, options, site),
        AnyStrategy::TokenBucket(strategy) => bind_screened(strategy, spec, screen, options, site),
        AnyStrategy::FixedWindow(strategy) => bind_screened(strategy, spec, screen, options, site),
        AnyStrategy::SlidingWindow(strategy) => bind_screened(strategy, spec, screen, options, site),
        AnyStrategy::SlidingWindowLog(strategy) => bind_screened(strategy, spec, screen, options, site),
        AnyStrategy::Quota(strategy) => bind_screened(strategy, spec, screen, options, site),
    }
}

fn bind_screened<S: Carry>(
    strategy: S,
    spec: &LimiterSpec,
    screen: &ScreenSpec,
    options: &LoadOptions,
    site: Site<'_>,
) -> Result<Bound, BuildError> {
    fn finish<S: Carry, C: Clock + Clone, O: Observer + Clone>(
        builder: ScreenedBuilder<S, C, O>,
        site: Site<'_>,
    ) -> Result<Bound, BuildError> {
        let limiter = site.kept::<Screened<S, C, O>>().map_or_else(|| builder.build(), Ok)?;
        Ok((Arc::new(limiter.clone()), Box::new(limiter)))
    }
    let builder = screen.builder(strategy, spec.max_keys)?.name(spec.name.as_str());
    let LoadOptions { system, clock, observer, .. } = options;
    // As above.
    match (clock, observer) {
        (None, None) => finish(builder.clock(system.clone()), site),
        _ => finish(builder.clock(options.clock_of_all()).observer(dyn_observer(options)), site),
    }
}

/// A limit over a sketch alone.
fn sketched(
    spec: &LimiterSpec,
    sketch: &SketchSpec,
    options: &LoadOptions,
    site: Site<'_>,
) -> Result<Bound, BuildError> {
    fn finish<C: Clock + Clone, O: Observer + Clone>(
        builder: SketchLimiterBuilder<C, O>,
        site: Site<'_>,
    ) -> Result<Bound, BuildError> {
        let limiter = site.kept::<SketchLimiter<C, O>>().map_or_else(|| builder.build(), Ok)?;
        Ok((Arc::new(limiter.clone()), Box::new(limiter)))
    }
    let builder = sketch.builder()?.name(spec.name.as_str());
    let LoadOptions { system, clock, observer, .. } = options;
    // As above.
    match (clock, observer) {
        (None, None) => finish(builder.clock(system.clone()), site),
        _ => finish(builder.clock(options.clock_of_all()).observer(dyn_observer(options)), site),
    }
}
