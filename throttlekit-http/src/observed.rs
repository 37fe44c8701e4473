//! The rules of a middleware with an observer.

use std::sync::{Arc, Weak};

use throttlekit::store::TableReport;
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
    #[cfg_attr(not(feature = "config"), allow(clippy::unnecessary_wraps))] // a file's rules may have nothing
    pub(crate) fn gauges(&self) -> Option<Arc<dyn Gauges>> {
        match self {
            Self::One(rule) => {
                let mut shown = Vec::new();
                rule.add_shown(&mut shown);
                Some(Arc::new(RuleGauges(shown)))
            }
            #[cfg(feature = "config")]
            Self::Registry(registry) => registry.gauges(),
        }
    }
}

/// The limits of a rule and its plans, by the names of their policies.
struct RuleGauges(Vec<(Box<str>, Shown)>);

/// Weak, since the limit holds the observer.
enum Shown {
    Limiter(Weak<dyn DynLimiter>),
    Admit(Weak<dyn Admit>),
}

impl Gauges for RuleGauges {
    fn guards(&self, tell: &mut dyn FnMut(&str, GuardReport, GuardStats)) {
        for (name, shown) in &self.0 {
            let state = match shown {
                Shown::Limiter(limiter) => limiter.upgrade().and_then(|limiter| limiter.guard_state()),
                Shown::Admit(admit) => admit.upgrade().and_then(|admit| admit.guard_state()),
            };
            if let Some((report, stats)) = state {
                tell(name, report, stats);
            }
        }
    }

    fn tables(&self, tell: &mut dyn FnMut(&str, TableReport)) {
        for (name, shown) in &self.0 {
            let state = match shown {
                Shown::Limiter(limiter) => limiter.upgrade().and_then(|limiter| limiter.table_state()),
                Shown::Admit(admit) => admit.upgrade().and_then(|admit| admit.table_state()),
            };
            if let Some(report) = state {
                tell(name, report);
            }
        }
    }

    fn is_gone(&self) -> bool {
        self.0.iter().all(|(_, shown)| shown.is_gone())
    }
}

impl Shown {
    fn is_gone(&self) -> bool {
        let held = match self {
            Self::Limiter(limiter) => limiter.strong_count(),
            Self::Admit(admit) => admit.strong_count(),
        };
        held == 0
    }
}

impl<D: Door> Rule<D> {
    fn add_shown(&self, all: &mut Vec<(Box<str>, Shown)>) {
        let shown = match &self.asked {
            Asked::Limiter(limiter) => Some(Shown::Limiter(Arc::downgrade(limiter))),
            Asked::Admit(admit) => Some(Shown::Admit(Arc::downgrade(admit))),
            // Rules of a file have guards beside their limits, and the file tells of them.
            #[cfg(feature = "config")]
            Asked::Guarded(_) => None,
        };
        all.extend(shown.map(|shown| (self.first_name().into(), shown)));
        for (_, plan) in &self.plans {
            plan.add_shown(all);
        }
    }

    /// The same rule with `observer` to tell.
    pub(crate) fn observed(&self, observer: &Arc<dyn Observer>) -> Self {
        let metered =
            |meter: &Metered| Metered { policy: meter.policy.clone(), limiter: limiter(&meter.limiter, observer) };
        let plan = |(name, plan): &(Arc<str>, Arc<Self>)| (Arc::clone(name), Arc::new(plan.observed(observer)));
        Self {
            asked: self.asked.observed(observer),
            clock: Arc::clone(&self.clock),
            limits: self.limits.clone(),
            joint: self.joint.clone(),
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
