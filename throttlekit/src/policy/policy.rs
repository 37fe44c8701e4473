//! One policy: a named limiter.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::options::LoadOptions;
use super::slots::{self, Slots};
use super::store::OpenStore;
use crate::admit::Admit;
use crate::clock::Clock;
use crate::concurrency::{GuardReport, GuardStats};
use crate::config::{AnyStrategy, LimiterSpec, StrategySpec, build_strategy};
use crate::error::BuildError;
use crate::fallback::{FailMode, Fallback, Outage, Share, Standby, standby};
use crate::limiter::{DynLimiter, Limiter};
use crate::program::Project;
use crate::store::memory::Table;
use crate::unified::Unified;

/// A limiter with a name: of a strategy, of the work in flight, or of both.
///
/// In memory each policy has a table of its own, so policies cannot disturb each other whatever their keys are. In a store
/// their keys are below their [prefixes](Self::prefix), none of which is part of another.
pub struct Policy {
    spec: LimiterSpec,
    prefix: String,
    /// `None` without a strategy.
    limiter: Option<Arc<dyn DynLimiter>>,
    /// `None` if the work in flight is not limited.
    guard: Option<Arc<dyn Slots>>,
    admit: Arc<dyn Admit>,
    place: Place,
}

/// Where the keys of a policy are.
enum Place {
    /// There are no keys.
    Nowhere,
    /// In a table, to go on with after a reload.
    Memory(Box<dyn Any + Send + Sync>),
    Store(Stored),
}

/// A policy in a store.
struct Stored {
    /// The limiter without what stands in for it.
    shared: Arc<dyn DynLimiter>,
    strategy: StrategySpec,
    outage: Outage,
    options: LoadOptions,
    /// What stands in for it, one for each share that somebody asks for.
    standbys: Mutex<Vec<(Share, LimiterStandby)>>,
}

type LimiterStandby = Arc<Standby<dyn DynLimiter>>;

impl Policy {
    /// Builds the limiter, in `store` or in memory. There `heir_of` is a policy whose table goes on, if its state is of
    /// the same type. `slots_of` is a policy whose guard goes on.
    pub(super) fn new(
        spec: LimiterSpec,
        prefix: String,
        options: &LoadOptions,
        store: Option<&OpenStore>,
        heir_of: Option<&Self>,
        slots_of: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let kept = slots_of.and_then(|policy| policy.guard.clone());
        let guard = match (&spec.concurrency, kept) {
            (Some(_), Some(kept)) => Some(kept),
            (Some(slots), None) => Some(slots::open(slots, &spec.name, options)?),
            (None, _) => None,
        };
        let (limiter, place) = match &spec.strategy {
            None => (None, Place::Nowhere),
            Some(strategy) => {
                let (limiter, place) = limiter(&spec, strategy, &prefix, options, store, heir_of)?;
                (Some(limiter), place)
            }
        };
        let admit: Arc<dyn Admit> = match (&limiter, &guard) {
            (Some(limiter), None) => Arc::new(Arc::clone(limiter)),
            (None, Some(guard)) => Arc::new(Arc::clone(guard)),
            (limiter, guard) => Arc::new(unified(limiter.as_ref(), guard.as_ref(), options)?),
        };
        Ok(Self { spec, prefix, limiter, guard, admit, place })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What the configuration says about it.
    pub fn spec(&self) -> &LimiterSpec {
        &self.spec
    }

    /// What precedes its keys in a shared store. In memory it has a table of its own and needs none.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// All that the policy limits: a slot first, then the units of the strategy. With both it is a
    /// [`Unified`]. Keep it to go on limiting with this version of the policy, whatever is loaded later.
    ///
    /// If the policy's fail mode is local, it goes on in memory while the store is out. Otherwise it fails then, having
    /// given the slot back.
    pub fn admit(&self) -> &Arc<dyn Admit> {
        &self.admit
    }

    /// The limiter of the strategy, if there is one. It takes no slots.
    ///
    /// If the policy's fail mode is local, it is a [`Fallback`]. Otherwise it fails while the store is out, and the caller
    /// applies the fail mode.
    pub fn limiter(&self) -> Option<&Arc<dyn DynLimiter>> {
        self.limiter.as_ref()
    }

    /// Slots in flight and their limit at one instant; `None` if the work in flight is not limited.
    pub fn guard_report(&self) -> Option<GuardReport> {
        self.guard.as_ref().map(|guard| guard.report())
    }

    /// How its guard is doing; `None` if the work in flight is not limited.
    pub fn guard_stats(&self) -> Option<GuardStats> {
        self.guard.as_ref().map(|guard| guard.stats())
    }

    /// Its guard.
    pub(super) fn guard(&self) -> Option<&Arc<dyn Slots>> {
        self.guard.as_ref()
    }

    /// The limiter without what stands in for it.
    pub(super) fn shared(&self) -> Option<&Arc<dyn DynLimiter>> {
        match &self.place {
            Place::Memory(_) | Place::Nowhere => self.limiter.as_ref(),
            Place::Store(stored) => Some(&stored.shared),
        }
    }

    /// What stands in for the limiter with this share; nothing does in memory.
    pub(super) fn standby(&self, share: Share) -> Option<LimiterStandby> {
        match &self.place {
            Place::Memory(_) | Place::Nowhere => None,
            Place::Store(stored) => Some(stored.standby(&self.spec, share)),
        }
    }
}

impl Stored {
    /// The one for `share`, which all that apply the policy with this share have in common.
    fn standby(&self, spec: &LimiterSpec, share: Share) -> LimiterStandby {
        // Entries are added and removed as a whole.
        let mut standbys = self.standbys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = standbys.iter().find(|(of, _)| *of == share) {
            return Arc::clone(known);
        }
        // Those that only this list holds are of rules that are gone.
        standbys.retain(|(_, known)| Arc::strong_count(known) > 1);
        let (spec, strategy, options) = (spec.clone(), self.strategy.scaled(share), self.options.clone());
        let made = standby(&self.outage, move || Ok(bind_any(&spec, &strategy, &options, Site::Memory(None))?.0));
        standbys.push((share, Arc::clone(&made)));
        made
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("spec", &self.spec).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// The limiter of a strategy, and where its keys are.
fn limiter(
    spec: &LimiterSpec,
    strategy: &StrategySpec,
    prefix: &str,
    options: &LoadOptions,
    store: Option<&OpenStore>,
    heir_of: Option<&Policy>,
) -> Result<(Arc<dyn DynLimiter>, Place), BuildError> {
    let Some(store) = store else {
        let table = match heir_of.map(|policy| &policy.place) {
            Some(Place::Memory(table)) => Some(&**table),
            _ => None,
        };
        let (limiter, table) = bind_any(spec, strategy, options, Site::Memory(table))?;
        return Ok((limiter, Place::Memory(table)));
    };
    let (shared, _) = bind_any(spec, strategy, options, Site::Store(store, prefix))?;
    let stored = Stored {
        shared: Arc::clone(&shared),
        strategy: *strategy,
        outage: store.outage().clone(),
        options: options.clone(),
        standbys: Mutex::default(),
    };
    let limiter: Arc<dyn DynLimiter> = match spec.fail_mode {
        FailMode::Local(share) => Arc::new(Fallback::over(shared, stored.standby(spec, share))),
        FailMode::Open | FailMode::Closed => shared,
    };
    Ok((limiter, Place::Store(stored)))
}

/// A strategy beside a guard. The parts tell the observer themselves.
fn unified(
    limiter: Option<&Arc<dyn DynLimiter>>,
    guard: Option<&Arc<dyn Slots>>,
    options: &LoadOptions,
) -> Result<Unified<Arc<dyn Clock>>, BuildError> {
    let mut builder = Unified::builder().rate_by_cost(true);
    if let Some(limiter) = limiter {
        builder = builder.shared_rate(Arc::clone(limiter));
    }
    if let Some(guard) = guard {
        builder = builder.concurrency(Arc::clone(guard));
    }
    builder.clock(options.clock_of_all()).build()
}

/// Where the keys of a limiter are to be.
#[derive(Clone, Copy)]
enum Site<'a> {
    /// In the table that is to go on, or in a new one.
    Memory(Option<&'a (dyn Any + Send + Sync)>),
    /// In a store, below a prefix.
    Store(&'a OpenStore, &'a str),
}

/// A limiter, and its keys.
type Bound = (Arc<dyn DynLimiter>, Box<dyn Any + Send + Sync>);

/// The limiter of `spec`, with a strategy that need not be its own.
fn bind_any(
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
    let dyn_observer = || observer.clone().unwrap_or_else(|| Arc::new(()));
    let table = match site {
        Site::Store(store, prefix) => {
            let builder = builder.keyspace(store.keys().clone()).prefix(prefix).observer(dyn_observer());
            let limiter = builder.clock(options.clock_of_all()).build();
            let keys = limiter.keyspace().clone();
            return Ok((Arc::new(limiter), Box::new(keys)));
        }
        Site::Memory(Some(table)) => table.downcast_ref::<Table<S::State>>().cloned(),
        Site::Memory(None) => None,
    };
    let table = match table {
        Some(table) => table,
        None => Table::bounded(spec.max_keys)?,
    };
    let builder = builder.keyspace(table.clone());
    // The usual case is compiled without the virtual calls of the others.
    let limiter: Arc<dyn DynLimiter> = match (clock, observer) {
        (None, None) => Arc::new(builder.clock(system.clone()).build()),
        (None, Some(observer)) => Arc::new(builder.clock(system.clone()).observer(observer.clone()).build()),
        (Some(clock), _) => Arc::new(builder.clock(Arc::clone(clock)).observer(dyn_observer()).build()),
    };
    Ok((limiter, Box::new(table)))
}
