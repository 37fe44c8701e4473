//! One policy: a named limiter.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::options::LoadOptions;
use super::store::OpenStore;
use crate::config::{AnyStrategy, LimiterSpec, StrategySpec, build_strategy};
use crate::error::BuildError;
use crate::limiter::{DynLimiter, Limiter};
use crate::program::Project;
use crate::store::memory::Table;

/// A limiter with a name.
///
/// In memory each policy has a table of its own, so policies cannot disturb each other whatever their keys are. In a store
/// their keys are below their [prefixes](Self::prefix), none of which is part of another.
pub struct Policy {
    spec: LimiterSpec,
    prefix: String,
    limiter: Arc<dyn DynLimiter>,
    /// The table of a limiter in memory, to go on with after a reload.
    table: Option<Box<dyn Any + Send + Sync>>,
}

impl Policy {
    /// Builds the limiter, in `store` or in memory. There `heir_of` is a policy whose table goes on, if its state is of
    /// the same type.
    pub(super) fn new(
        spec: LimiterSpec,
        prefix: String,
        options: &LoadOptions,
        store: Option<&OpenStore>,
        heir_of: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let site = match store {
            Some(store) => Site::Store(store, &prefix),
            None => Site::Memory(heir_of.and_then(|policy| policy.table.as_deref())),
        };
        let (limiter, table) = bind_any(&spec, &spec.strategy, options, site)?;
        Ok(Self { spec, prefix, limiter, table })
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

    /// The limiter. Keep it to go on limiting with this version of the policy, whatever is loaded later.
    pub fn limiter(&self) -> &Arc<dyn DynLimiter> {
        &self.limiter
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("spec", &self.spec).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Where the keys of a limiter are to be.
#[derive(Clone, Copy)]
enum Site<'a> {
    /// In the table that is to go on, or in a new one.
    Memory(Option<&'a (dyn Any + Send + Sync)>),
    /// In a store, below a prefix.
    Store(&'a OpenStore, &'a str),
}

/// A limiter, and its table if it has one.
type Bound = (Arc<dyn DynLimiter>, Option<Box<dyn Any + Send + Sync>>);

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
            return Ok((Arc::new(builder.clock(options.clock_of_all()).build()), None));
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
    Ok((limiter, Some(Box::new(table))))
}
