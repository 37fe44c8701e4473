//! The guard of a policy, without its types.

use std::sync::Arc;

use super::options::LoadOptions;
use crate::admit::Admit;
use crate::clock::Clock;
use crate::concurrency::{Guard, GuardBuilder, KeyedGuard};
use crate::config::ConcurrencySpec;
use crate::error::BuildError;
use crate::observe::Observer;

/// Limits the work in flight.
pub(super) trait Slots: Admit {
    /// As [`Admit::observed`].
    fn observed_slots(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Slots>>;
}

impl<C: Clock, O: Observer + Clone> Slots for Guard<C, O> {
    fn observed_slots(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Slots>> {
        Some(Arc::new(self.told_to(observer)?))
    }
}

impl<C: Clock, O: Observer + Clone> Slots for KeyedGuard<C, O> {
    fn observed_slots(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Slots>> {
        Some(Arc::new(self.told_to(observer)?))
    }
}

/// The guard of the policy `name`.
pub(super) fn open(spec: &ConcurrencySpec, name: &str, options: &LoadOptions) -> Result<Arc<dyn Slots>, BuildError> {
    let mut builder = spec.guard().name(name);
    let LoadOptions { system, clock, observer, runtime, .. } = options;
    if let Some(queue) = spec.queue {
        let Some(runtime) = runtime else {
            let allowed = "must not be given to a program that has no runtime for those who wait; a program gives it by \
                           `LoadOptions::runtime`";
            return Err(BuildError::new("concurrency.queue", queue.max, allowed));
        };
        builder = builder.queue(queue.queue(), Arc::clone(runtime));
    }
    // The usual case is compiled without the virtual calls of the others.
    match (clock, observer) {
        (None, None) => guard(spec, builder.clock(system.clone())),
        (None, Some(observer)) => guard(spec, builder.clock(system.clone()).observer(observer.clone())),
        (Some(clock), observer) => {
            let observer: Arc<dyn Observer> = observer.clone().unwrap_or_else(|| Arc::new(()));
            guard(spec, builder.clock(Arc::clone(clock)).observer(observer))
        }
    }
}

fn guard<C: Clock, O: Observer + Clone>(
    spec: &ConcurrencySpec,
    builder: GuardBuilder<C, O>,
) -> Result<Arc<dyn Slots>, BuildError> {
    Ok(match &spec.keyed {
        Some(keyed) => Arc::new(keyed.apply_to(KeyedGuard::builder(builder)).build()?),
        None => Arc::new(builder.build()?),
    })
}
