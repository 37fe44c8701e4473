//! The guard of a policy, without its types.

use std::sync::Arc;

use super::options::LoadOptions;
use crate::admit::Admit;
use crate::clock::Clock;
use crate::concurrency::{Guard, GuardReport, GuardStats};
use crate::config::ConcurrencySpec;
use crate::error::BuildError;
use crate::observe::Observer;

/// Limits the work in flight, and says how that goes.
pub(super) trait Slots: Admit {
    fn report(&self) -> GuardReport;
    fn stats(&self) -> GuardStats;
}

impl<C: Clock, O: Observer + Clone> Slots for Guard<C, O> {
    fn report(&self) -> GuardReport {
        self.report()
    }

    fn stats(&self) -> GuardStats {
        self.stats()
    }
}

/// The guard of the policy `name`.
pub(super) fn open(spec: &ConcurrencySpec, name: &str, options: &LoadOptions) -> Result<Arc<dyn Slots>, BuildError> {
    let builder = spec.guard().name(name);
    let LoadOptions { system, clock, observer, .. } = options;
    // The usual case is compiled without the virtual calls of the others.
    Ok(match (clock, observer) {
        (None, None) => Arc::new(builder.clock(system.clone()).build()?),
        (None, Some(observer)) => Arc::new(builder.clock(system.clone()).observer(observer.clone()).build()?),
        (Some(clock), observer) => {
            let observer: Arc<dyn Observer> = observer.clone().unwrap_or_else(|| Arc::new(()));
            Arc::new(builder.clock(Arc::clone(clock)).observer(observer).build()?)
        }
    })
}
