//! The rules of a middleware with an observer.

use std::sync::{Arc, Weak};

use throttlekit::{Admit, DynLimiter, Gauges, GuardReport, GuardStats, Observer};

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

    /// What an observer may read of the limits that tell it; `None` if there is nothing, or they tell another.
    pub(crate) fn gauges(&self) -> Option<Arc<dyn Gauges>> {
        match self {
            Self::One(rule) => {
                let mut guards = Vec::new();
                rule.add_guards(&mut guards);
                if guards.is_empty() { None } else { Some(Arc::new(Guards(guards))) }
            }
            #[cfg(feature = "config")]
            Self::Registry(registry) => registry.gauges(),
        }
    }
}

/// The limits of a rule that have guards, by the names of their policies. Weak, since they hold the observer.
struct Guards(Vec<(Box<str>, Weak<dyn Admit>)>);

impl Gauges for Guards {
    fn guards(&self, tell: &mut dyn FnMut(&str, GuardReport, GuardStats)) {
        for (name, limit) in &self.0 {
            if let Some((report, stats)) = limit.upgrade().and_then(|limit| limit.guard_state()) {
                tell(name, report, stats);
            }
        }
    }
}

impl<D: Door> Rule<D> {
    fn add_guards(&self, guards: &mut Vec<(Box<str>, Weak<dyn Admit>)>) {
        if let Asked::Admit(limit) = &self.asked {
            if limit.guard_state().is_some() {
                guards.push((self.first_name().into(), Arc::downgrade(limit)));
            }
        }
        for (_, plan) in &self.plans {
            plan.add_guards(guards);
        }
    }

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
