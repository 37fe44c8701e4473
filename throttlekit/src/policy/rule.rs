//! A rule of the `http` section with its policies: who decides, and who does while the store is out.

use std::fmt;
use std::sync::Arc;

use super::guarded::{Guarded, Lists};
use super::options::LoadOptions;
use super::partly::{Partly, Place};
use super::policy::Policy;
use super::store::OpenStore;
use super::together::{Charged, all_or_none};
use super::whole::{Witness, Witnessed};
use crate::admit::{self, Admit};
use crate::clock::Clock;
use crate::config::HttpRule;
use crate::error::{BuildError, Error};
use crate::fallback::{FailMode, Standby};
use crate::limiter::{self, DynLimiter};
use crate::observe::Observer;

/// A rule of the `http` section with its policies.
#[derive(Clone)]
pub struct Rule {
    spec: HttpRule,
    policies: Vec<Arc<Policy>>,
    limit: RuleLimit,
    cost: f64,
    guarded: Option<Guarded>,
    fail_mode: FailMode,
    standby: Option<Arc<dyn Admit>>,
    clock: Arc<dyn Clock>,
    /// In the order of the configuration.
    plans: Vec<(Arc<str>, Self)>,
}

/// Who decides about the requests of a [`Rule`], deny lists and slots aside. It fails while the store is out, whatever the
/// fail mode.
#[derive(Clone)]
#[non_exhaustive]
pub enum RuleLimit {
    /// Nobody: its policies limit nothing but the work in flight.
    None,
    /// The limiter of its only policy.
    One(Arc<dyn DynLimiter>),
    /// All of its policies that limit units: each is charged, or none. Where no one place holds them they are asked one
    /// after the other, and a refusal gives back what others gave.
    Joint(Arc<dyn Admit>),
}

impl RuleLimit {
    /// The same limits with `observer` to tell.
    pub(super) fn observed(&self, observer: &Arc<dyn Observer>) -> Self {
        match self {
            Self::None => Self::None,
            Self::One(limiter) => Self::One(limiter::observed_or_same(limiter, observer)),
            Self::Joint(admit) => Self::Joint(admit::observed_or_same(admit, observer)),
        }
    }
}

impl Rule {
    pub(super) fn new(
        spec: HttpRule,
        policies: Vec<Arc<Policy>>,
        store: Option<&OpenStore>,
        options: &LoadOptions,
    ) -> Result<Self, BuildError> {
        let limiters: Vec<Charged> =
            policies.iter().filter_map(|policy| Some(charged(policy, policy.shared()?, &spec))).collect();
        let of_units = limiters.len();
        let cost = match limiters.as_slice() {
            [only] => only.units.unwrap_or(spec.cost),
            _ => spec.cost,
        };
        let limit = match limiters.as_slice() {
            [] => RuleLimit::None,
            [only] => RuleLimit::One(Arc::clone(&only.limiter)),
            _ => RuleLimit::Joint(all_or_none(limiters, store, options)?),
        };
        let guards: Vec<_> = policies.iter().filter_map(|policy| policy.guard().cloned()).collect();
        let names: Vec<&str> = policies.iter().map(|policy| policy.name()).collect();
        let witness = Witness { observer: options.observer.clone(), name: names.join("+").into() };
        let units = || policies.iter().filter(|policy| policy.shared().is_some());
        let lists: Vec<_> =
            units().enumerate().filter_map(|(at, policy)| Some((at, policy.listed()?.clone()))).collect();
        let lists = Lists { of_units, lists };
        // What stands in decides a part of the request, too: its slots are held.
        let beside_slots = (!guards.is_empty()).then(|| witness.clone());
        let guarded = (!guards.is_empty() || !lists.lists.is_empty())
            .then(|| Guarded::new(lists, guards, limit.clone(), witness));
        let stored = || policies.iter().filter(|policy| policy.spec().is_stored());
        let mode = |policy: &Policy| spec.fail_mode.unwrap_or(policy.spec().fail_mode);
        let modes = || stored().map(|policy| mode(policy));
        // Without keys in a store there is none to be out.
        let fail_mode = modes().reduce(stricter).unwrap_or_default();
        let standby = match (fail_mode, store) {
            (FailMode::Open | FailMode::Local(_), Some(store)) if stored().next().is_some() => {
                let answers = |policy: &Policy| match (policy.spec().is_stored(), mode(policy)) {
                    (false, _) => policy.limiter().cloned().map(Answering::Always),
                    (true, FailMode::Local(share)) => policy.standby(share).map(Answering::InMemory),
                    (true, _) => None,
                };
                let answering: Vec<_> = units().map(|policy| answers(policy)).collect();
                let place = |(policy, answering): (&Arc<Policy>, &Option<Answering>)| match answering {
                    None => Place::Nobody,
                    Some(Answering::InMemory(_)) => Place::StandIn,
                    Some(Answering::Always(_)) => Place::Itself(spec.cost_of(policy.name())),
                };
                let places = units().zip(&answering).map(place).collect();
                let answering = units().zip(answering).filter_map(|(policy, answering)| {
                    Some((policy.name().into(), spec.cost_of(policy.name()), answering?))
                });
                let answering: Vec<_> = answering.collect();
                // With nobody to answer the mode alone decides.
                (!answering.is_empty()).then(|| {
                    let standby = Partly::over(stand_in(answering, store, options), places);
                    match beside_slots {
                        Some(witness) => Arc::new(Witnessed::new(standby, witness)),
                        None => standby,
                    }
                })
            }
            _ => None,
        };
        let clock = options.clock_of_all();
        Ok(Self { spec, policies, limit, cost, guarded, fail_mode, standby, clock, plans: Vec::new() })
    }

    /// The same rule with plans: what counts for the requests of each, in place of the rule itself.
    pub(super) fn with_plans(self, plans: Vec<(Arc<str>, Self)>) -> Self {
        Self { plans, ..self }
    }

    /// What the configuration says about it.
    pub fn spec(&self) -> &HttpRule {
        &self.spec
    }

    /// The policies that are admitted together; at least one.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    /// Who decides, deny lists and slots aside.
    pub fn limit(&self) -> &RuleLimit {
        &self.limit
    }

    /// What its requests ask for, in units. Who decides about several policies knows which of them are asked for
    /// [something else](HttpRule::costs).
    pub fn cost(&self) -> f64 {
        self.cost
    }

    /// Who decides if the rule limits the work in flight, or if a deny list is in front of one of its policies: lists,
    /// slots and limits together, in place of [`limit`](Self::limit).
    pub fn guarded(&self) -> Option<&Guarded> {
        self.guarded.as_ref()
    }

    /// What counts, in place of the rule itself, for the requests of each of its plans, by name. It has the options of the
    /// rule, and no plans of its own. Which plan a request has is found as [`HttpRule::plans`] says.
    pub fn plans(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Self)> {
        self.plans.iter().map(|(name, plan)| (name, plan))
    }

    /// The clock that its policies decide by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// What happens while the store is out: what the rule says, else what its policies say. If these differ, one that is
    /// closed makes the rule closed, and one that is local makes it local before one that is open.
    pub fn fail_mode(&self) -> FailMode {
        self.fail_mode
    }

    /// Who decides while the store is out, unless the [fail mode](Self::fail_mode) is closed: the policies that are local and
    /// those that do not need the store, all or none charged; `None` if there are none. Those that are open have no say in
    /// it. Its answers are ready. Beside slots it tells observers of whole requests, as [`guarded`](Self::guarded) does.
    pub fn standby(&self) -> Option<&Arc<dyn Admit>> {
        self.standby.as_ref()
    }
}

/// The mode of two policies together.
fn stricter(one: FailMode, other: FailMode) -> FailMode {
    match (one, other) {
        (FailMode::Closed, _) | (_, FailMode::Closed) => FailMode::Closed,
        (FailMode::Local(share), _) | (FailMode::Open, FailMode::Local(share)) => FailMode::Local(share),
        (FailMode::Open, FailMode::Open) => FailMode::Open,
    }
}

fn charged(policy: &Policy, limiter: &Arc<dyn DynLimiter>, spec: &HttpRule) -> Charged {
    let name = policy.name();
    Charged { name: name.into(), limiter: Arc::clone(limiter), units: spec.cost_of(name) }
}

/// Who answers for a policy while the store is out.
enum Answering {
    /// Its own limiter, which does not need the store.
    Always(Arc<dyn DynLimiter>),
    /// What stands in for it.
    InMemory(Arc<Standby<dyn DynLimiter>>),
}

/// Those who answer, in memory: all or none charged. With their names, and what a request costs there.
fn stand_in(
    answering: Vec<(Arc<str>, Option<f64>, Answering)>,
    store: &OpenStore,
    options: &LoadOptions,
) -> Arc<dyn Admit> {
    if let [(_, None, Answering::InMemory(standby))] = answering.as_slice() {
        return standby.clone();
    }
    let options = options.clone();
    Standby::new(store.outage(), move || {
        let current = |(name, units, answering): &(Arc<str>, Option<f64>, Answering)| {
            let limiter = match answering {
                Answering::Always(limiter) => Arc::clone(limiter),
                Answering::InMemory(standby) => standby.current()?,
            };
            Ok(Charged { name: Arc::clone(name), limiter, units: *units })
        };
        let limiters = answering.iter().map(current).collect::<Result<_, Error>>()?;
        all_or_none(limiters, None, &options)
            .map_err(|error| Error::store_unavailable(error.to_string()).with_source(error))
    })
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("spec", &self.spec)
            .field("policies", &self.policies)
            .field("guarded", &self.guarded.is_some())
            .field("fail_mode", &self.fail_mode)
            .field("plans", &self.plans)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RuleLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::One(_) => "One",
            Self::Joint(_) => "Joint",
        })
    }
}
