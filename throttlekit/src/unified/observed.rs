//! A handle to the limits of a unified admission, with an observer.

use std::sync::Arc;

use super::{First, Parts, Plan, Told, Unified};
use crate::admit;
use crate::clock::{Clock, clock_of};
use crate::limiter;
#[cfg(feature = "config")]
use crate::observe::Wholes;
use crate::observe::{Asides, Observer};

impl<C: Clock> Unified<C> {
    /// A handle to the same limits that tells `observer`; `None` if it has an observer.
    pub(super) fn told_to(&self, observer: &Arc<dyn Observer>) -> Option<Unified<Arc<dyn Clock>>> {
        let parts = &*self.parts;
        let (whole, of_parts): (Arc<dyn Observer>, Arc<dyn Observer>) = match parts.told_by {
            // Of the decisions of the parts it tells itself.
            Told::Here => (Arc::clone(observer), Arc::new(Asides(Arc::clone(observer)))),
            #[cfg(feature = "config")]
            Told::Themselves => (Arc::new(Wholes(Arc::clone(observer))), Arc::clone(observer)),
        };
        let watch = parts.watch.told_to(whole)?;
        let observed = |limiter: &Arc<_>| limiter::observed_or_same(limiter, &of_parts);
        let (rate, cost) = (parts.rate.as_ref().map(observed), parts.cost.as_ref().map(observed));
        let plan = match (&parts.plan, &rate, &cost) {
            (Plan::Together(joint), Some(rate), Some(cost)) => Plan::Together(joint.again(&**rate, &**cost)?),
            (Plan::Apart(order), ..) => Plan::Apart(*order),
            _ => match parts.told_by {
                Told::Here => Plan::EachForItself,
                #[cfg(feature = "config")]
                Told::Themselves => Plan::AsPart,
            },
        };
        Some(Unified {
            parts: Arc::new(Parts {
                concurrency: parts.concurrency.as_ref().map(|guard| admit::observed_or_same(guard, &of_parts)),
                rate,
                cost,
                plan,
                pricing: parts.pricing.clone(),
                watch,
                told_by: parts.told_by,
                hash_tag: parts.hash_tag,
                rate_by_cost: parts.rate_by_cost,
                judges: parts.judges,
                first: First::Watch,
                clock: clock_of(Arc::clone(&self.parts), |parts| &parts.clock),
            }),
        })
    }
}
