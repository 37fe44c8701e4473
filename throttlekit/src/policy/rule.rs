//! A rule of the `http` section with its policies: who decides, and who does while the store is out.

use std::fmt;
use std::sync::Arc;

use super::guarded::{Guarded, Lists};
use super::options::LoadOptions;
use super::partly::Partly;
use super::policy::Policy;
use super::store::OpenStore;
use super::whole::Witness;
use crate::admit::Admit;
use crate::clock::Clock;
use crate::config::HttpRule;
use crate::error::{BuildError, Error};
use crate::fallback::{FailMode, Standby};
use crate::limiter::DynLimiter;
use crate::multi::{InMemory, Multi, MultiBuilder};
use crate::observe::Observer;

/// A rule of the `http` section with its policies.
#[derive(Clone)]
pub struct Rule {
    spec: HttpRule,
    policies: Vec<Arc<Policy>>,
    limit: RuleLimit,
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
    /// All of its policies that limit units: each is charged, or none.
    Joint(Arc<dyn Admit>),
}

impl Rule {
    pub(super) fn new(
        spec: HttpRule,
        policies: Vec<Arc<Policy>>,
        store: Option<&OpenStore>,
        options: &LoadOptions,
    ) -> Result<Self, BuildError> {
        let limiters: Vec<(&str, &Arc<dyn DynLimiter>)> =
            policies.iter().filter_map(|policy| Some((policy.name(), policy.shared()?))).collect();
        let limit = match limiters.as_slice() {
            [] => RuleLimit::None,
            [(_, limiter)] => RuleLimit::One(Arc::clone(limiter)),
            _ => RuleLimit::Joint(joint(limiters.iter().copied(), store, options)?),
        };
        let guards: Vec<_> = policies.iter().filter_map(|policy| policy.guard().cloned()).collect();
        let witness = options.observer.clone().map(|observer| {
            let names: Vec<&str> = policies.iter().map(|policy| policy.name()).collect();
            Witness { observer, name: names.join("+").into() }
        });
        let units = || policies.iter().filter(|policy| policy.shared().is_some());
        let lists: Vec<_> =
            units().enumerate().filter_map(|(at, policy)| Some((at, policy.listed()?.clone()))).collect();
        // Without slots a request has one part, which tells of it.
        let witness = witness.filter(|_| !guards.is_empty());
        let lists = Lists { of_units: limiters.len(), lists };
        let guarded = (!guards.is_empty() || !lists.lists.is_empty())
            .then(|| Guarded::new(lists, guards, limit.clone(), witness));
        let stored = || policies.iter().filter(|policy| policy.spec().is_stored());
        let mode = |policy: &Policy| spec.fail_mode.unwrap_or(policy.spec().fail_mode);
        let modes = || stored().map(|policy| mode(policy));
        // Without keys in a store there is none to be out.
        let fail_mode = modes().reduce(stricter).unwrap_or_default();
        let standby = match (fail_mode, store) {
            (FailMode::Local(_), Some(store)) => {
                let local = stand_in(stored().zip(modes()), store, options);
                let is_local =
                    |policy: &Policy| policy.spec().is_stored() && matches!(mode(policy), FailMode::Local(_));
                Some(Partly::over(local, units().map(|policy| is_local(policy)).collect()))
            }
            _ => None,
        };
        let clock = options.clock_of_all();
        Ok(Self { spec, policies, limit, guarded, fail_mode, standby, clock, plans: Vec::new() })
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

    /// Who decides while the store is out, if the [fail mode](Self::fail_mode) is local: the policies that are local, all
    /// or none charged. Those that are open have no say in it. Its answers are ready.
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

/// One decision, and so one event, under the names of all.
fn joint<'a>(
    limiters: impl Iterator<Item = (&'a str, &'a Arc<dyn DynLimiter>)> + Clone,
    store: Option<&OpenStore>,
    options: &LoadOptions,
) -> Result<Arc<dyn Admit>, BuildError> {
    let names: Vec<&str> = limiters.clone().map(|(name, _)| name).collect();
    let mut together: MultiBuilder = Multi::all().name(names.join("+")).keep_each(true);
    for (name, limiter) in limiters {
        together = together.limiter(name, &**limiter, 1.0);
    }
    let together = together.clock(options.clock_of_all());
    // Nobody to tell: compiled without the calls.
    match &options.observer {
        Some(observer) => placed(together.observer(Arc::clone(observer)), store),
        None => placed(together, store),
    }
}

fn placed<C: Clock, O: Observer + Clone>(
    together: MultiBuilder<InMemory, C, O>,
    store: Option<&OpenStore>,
) -> Result<Arc<dyn Admit>, BuildError> {
    Ok(match store {
        Some(store) => Arc::new(together.store(store.keys().clone()).build()?),
        None => Arc::new(together.build()?),
    })
}

/// The policies that are local, in memory.
fn stand_in<'a>(
    policies: impl Iterator<Item = (&'a Arc<Policy>, FailMode)>,
    store: &OpenStore,
    options: &LoadOptions,
) -> Arc<dyn Admit> {
    let local = policies.filter_map(|(policy, mode)| match mode {
        FailMode::Local(share) => Some((policy.name().to_owned(), policy.standby(share)?)),
        FailMode::Open | FailMode::Closed => None,
    });
    let local: Vec<_> = local.collect();
    if let [(_, standby)] = local.as_slice() {
        return standby.clone();
    }
    let options = options.clone();
    Standby::new(store.outage(), move || {
        let limiters = local.iter().map(|(name, standby)| Ok((name.as_str(), standby.current()?)));
        let limiters = limiters.collect::<Result<Vec<_>, Error>>()?;
        let limiters = limiters.iter().map(|(name, limiter)| (*name, limiter));
        joint(limiters, None, &options).map_err(|error| Error::store_unavailable(error.to_string()).with_source(error))
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
