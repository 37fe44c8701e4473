//! One policy: a named limiter.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::options::LoadOptions;
use crate::clock::Clock;
use crate::config::{AnyStrategy, LimiterSpec, build_strategy};
use crate::error::BuildError;
use crate::limiter::{DynLimiter, Limiter};
use crate::observe::Observer;
use crate::program::Project;
use crate::store::memory::Table;

/// A limiter with a name.
///
/// In memory each policy has a table of its own, so policies cannot disturb each other whatever their keys are.
pub struct Policy {
    spec: LimiterSpec,
    prefix: String,
    limiter: Arc<dyn DynLimiter>,
    /// The table of the limiter, to go on with after a reload.
    table: Box<dyn Any + Send + Sync>,
}

impl Policy {
    /// Builds the limiter. `heir_of` is a policy whose table goes on, if its state is of the same type.
    pub(super) fn new(
        spec: LimiterSpec,
        prefix: String,
        options: &LoadOptions,
        heir_of: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let table = heir_of.map(|policy| &*policy.table);
        let (limiter, table) = match build_strategy(&spec.strategy)? {
            AnyStrategy::Gcra(strategy) => bind(strategy, &spec, options, table),
            AnyStrategy::ExactGcra(strategy) => bind(strategy, &spec, options, table),
            AnyStrategy::TokenBucket(strategy) => bind(strategy, &spec, options, table),
            AnyStrategy::FixedWindow(strategy) => bind(strategy, &spec, options, table),
            AnyStrategy::SlidingWindow(strategy) => bind(strategy, &spec, options, table),
            AnyStrategy::SlidingWindowLog(strategy) => bind(strategy, &spec, options, table),
            AnyStrategy::Quota(strategy) => bind(strategy, &spec, options, table),
        }?;
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

type Bound = (Arc<dyn DynLimiter>, Box<dyn Any + Send + Sync>);

/// A limiter on the table that is to go on, or on a new one.
fn bind<S: Project>(
    strategy: S,
    spec: &LimiterSpec,
    options: &LoadOptions,
    table: Option<&(dyn Any + Send + Sync)>,
) -> Result<Bound, BuildError> {
    let table = match table.and_then(|table| table.downcast_ref::<Table<S::State>>()) {
        Some(table) => table.clone(),
        None => Table::bounded(spec.max_keys)?,
    };
    let builder = Limiter::builder(strategy).name(spec.name.as_str()).keyspace(table.clone());
    let LoadOptions { system, clock, observer, .. } = options;
    // The usual case is compiled without the virtual calls of the others.
    let limiter: Arc<dyn DynLimiter> = match (clock, observer) {
        (None, None) => Arc::new(builder.clock(system.clone()).build()),
        (None, Some(observer)) => Arc::new(builder.clock(system.clone()).observer(observer.clone()).build()),
        (Some(clock), observer) => {
            let clock: Arc<dyn Clock> = clock.clone();
            let observer: Arc<dyn Observer> = observer.clone().unwrap_or_else(|| Arc::new(()));
            Arc::new(builder.clock(clock).observer(observer).build())
        }
    };
    Ok((limiter, Box::new(table)))
}
