//! The rules of a middleware with an observer.

use std::sync::Arc;

use throttlekit::{Admit, DynLimiter, Observer};

use crate::admitted::Metered;
use crate::door::Door;
use crate::limits::Rules;
use crate::rule::{Asked, Rule};

impl<D: Door> Rules<D> {
    /// The same rules with `observer` to tell. Limits that have an observer keep it.
    pub(crate) fn observed(&self, observer: &Arc<dyn Observer>) -> Self {
        match self {
            Self::One(rule) => Self::One(Arc::new(rule.observed(observer))),
            #[cfg(feature = "config")]
            Self::Registry(registry) => Self::Registry(Arc::new(registry.observed(observer))),
        }
    }
}

impl<D: Door> Rule<D> {
    /// The same rule with `observer` to tell.
    pub(crate) fn observed(&self, observer: &Arc<dyn Observer>) -> Self {
        let metered = |meter: &Metered| Metered {
            policy: meter.policy.clone(),
            limiter: limiter(&meter.limiter, observer),
            units: meter.units,
        };
        let plan = |(name, plan): &(Arc<str>, Arc<Self>)| (Arc::clone(name), Arc::new(plan.observed(observer)));
        Self {
            asked: self.asked.observed(observer),
            clock: Arc::clone(&self.clock),
            limits: self.limits.clone(),
            key: self.key.clone(),
            missing: self.missing,
            client: self.client.clone(),
            cost: self.cost.clone(),
            priority: self.priority.clone(),
            fail_mode: self.fail_mode,
            standby: self.standby.as_ref().map(|standby| admit(standby, observer)),
            options: self.options,
            manners: self.manners,
            meters: self.meters.iter().map(metered).collect(),
            resolver: self.resolver.clone(),
            plans: self.plans.iter().map(plan).collect(),
        }
    }
}

impl Asked {
    fn observed(&self, observer: &Arc<dyn Observer>) -> Self {
        match self {
            Self::Limiter(asked) => Self::Limiter(limiter(asked, observer)),
            Self::Admit(asked) => Self::Admit(admit(asked, observer)),
            #[cfg(feature = "config")]
            Self::Guarded(guarded) => Self::Guarded(guarded.observed(observer)),
        }
    }
}

fn limiter(limiter: &Arc<dyn DynLimiter>, observer: &Arc<dyn Observer>) -> Arc<dyn DynLimiter> {
    Arc::clone(limiter).observed_limiter(observer).unwrap_or_else(|| Arc::clone(limiter))
}

fn admit(admit: &Arc<dyn Admit>, observer: &Arc<dyn Observer>) -> Arc<dyn Admit> {
    Arc::clone(admit).observed(observer).unwrap_or_else(|| Arc::clone(admit))
}
