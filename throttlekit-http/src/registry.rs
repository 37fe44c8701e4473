//! The rules of a file.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use throttlekit::config::{ApiKeySource, ApiKeySpec, HttpRule, KeySource};
use throttlekit::headers::{HeaderSet, Headers};
use throttlekit::policy::{self, Policies, Policy, PolicySet, RuleLimit};
use throttlekit::{BuildError, Gauges, Observer};

use crate::admitted::Metered;
use crate::door::{Door, Head as _};
use crate::key::{
    AllKeys, ApiKey, ClaimKey, ConstantKey, CookieKey, HeaderKey, KeyExtractor, PathParam, PeerIp, QueryKey,
};
use crate::plans::Plans;
use crate::rule::{Asked, Cost, Limit, Manners, Rule, Source, Urgency};
use crate::terms::Resolve;

/// A registry of policies and what was made of its rules. It follows the registry: whoever asks after a reload makes the
/// rules anew.
pub(crate) struct Registry<D: Door> {
    policies: Policies,
    /// Who is told, if the policies have nobody to tell.
    observer: Option<Arc<dyn Observer>>,
    compiled: ArcSwap<Compiled<D>>,
    /// Held while rules are made, so that one request does it and not all.
    compiling: Mutex<()>,
}

/// The rules of one version.
pub(crate) struct Compiled<D: Door> {
    /// The version that the registry had at the latest when these were made.
    version: u64,
    set: Arc<PolicySet>,
    rules: Vec<Arc<Rule<D>>>,
}

impl<D: Door> fmt::Debug for Registry<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("rules", &self.compiled.load().rules).finish_non_exhaustive()
    }
}

impl<D: Door> Registry<D> {
    pub(crate) fn new(policies: &Policies) -> Result<Self, BuildError> {
        let compiled = ArcSwap::from_pointee(Compiled::new(policies)?);
        Ok(Self { policies: policies.clone(), observer: None, compiled, compiling: Mutex::new(()) })
    }

    /// The same policies with `observer` to tell, now and after each reload. Policies that have an observer keep it.
    pub(crate) fn observed(&self, observer: &Arc<dyn Observer>) -> Self {
        let observer = self.policies.observer().is_none_or(Observer::is_blind).then(|| Arc::clone(observer));
        let compiled = ArcSwap::from_pointee(self.compiled.load().observed(observer.as_ref()));
        Self { policies: self.policies.clone(), observer, compiled, compiling: Mutex::new(()) }
    }

    /// The guards and tables of the policies, if they tell the observer of the middleware.
    pub(crate) fn gauges(&self) -> Option<Arc<dyn Gauges>> {
        self.observer.as_ref().map(|_| self.policies.gauges())
    }

    /// The rules that are in effect now.
    #[inline]
    pub(crate) fn current(&self) -> Guard<Arc<Compiled<D>>> {
        let compiled = self.compiled.load();
        if compiled.version == self.policies.version() {
            return compiled;
        }
        drop(compiled);
        self.renew()
    }

    #[cold]
    fn renew(&self) -> Guard<Arc<Compiled<D>>> {
        // Rules are made before they are put in place, so a panic in here leaves nothing half done.
        let _alone = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        if self.compiled.load().version != self.policies.version() {
            let compiled = Compiled::new(&self.policies).map(|compiled| compiled.observed(self.observer.as_ref()));
            let compiled = compiled.unwrap_or_else(|_| {
                // The registry has checked what can be wrong here. If it missed something the old rules go on: the
                // alternative would be not to limit at all.
                let old = self.compiled.load();
                let (set, rules) = (Arc::clone(&old.set), old.rules.clone());
                Compiled { version: self.policies.version(), set, rules }
            });
            self.compiled.store(Arc::new(compiled));
        }
        self.compiled.load()
    }
}

impl<D: Door> Compiled<D> {
    fn new(policies: &Policies) -> Result<Self, BuildError> {
        // The version first: what is read afterwards is of this version or a later one.
        let version = policies.version();
        let set = policies.current();
        if set.rules().is_empty() {
            return Err(BuildError::missing("http.rules"));
        }
        let rules = set.rules().iter().map(|rule| compile(rule).map(Arc::new)).collect::<Result<_, _>>()?;
        Ok(Self { version, set, rules })
    }

    /// The same rules with `observer` to tell, if there is one.
    fn observed(&self, observer: Option<&Arc<dyn Observer>>) -> Self {
        let rule = |rule: &Arc<Rule<D>>| match observer {
            Some(observer) => Arc::new(rule.observed(observer)),
            None => Arc::clone(rule),
        };
        Self { version: self.version, set: Arc::clone(&self.set), rules: self.rules.iter().map(rule).collect() }
    }

    /// The rule for a request; `None` if it is not limited.
    #[inline]
    pub(crate) fn rule(&self, request: &D::Head<'_>) -> Option<&Arc<Rule<D>>> {
        let index = self.set.rule_for(request.method(), request.path())?;
        self.rules.get(index)
    }
}

fn compile<D: Door>(rule: &policy::Rule) -> Result<Rule<D>, BuildError> {
    let spec = rule.spec();
    let asked = match (rule.guarded(), rule.limit()) {
        (Some(guarded), _) => Asked::Guarded(guarded.clone()),
        (None, RuleLimit::One(limiter)) => Asked::Limiter(Arc::clone(limiter)),
        (None, RuleLimit::Joint(admit)) => Asked::Admit(Arc::clone(admit)),
        (None, other) => {
            return Err(BuildError::new("http.rules.policies", format!("{other:?}"), "must be one or joint"));
        }
    };
    let manners = Manners {
        shadow: spec.shadow,
        problem_json: spec.problem_json,
        drop_on_5xx: spec.drop_on_5xx,
        on_disconnect: spec.on_disconnect,
    };
    let meters = rule
        .policies()
        .iter()
        .filter_map(|policy| Some(Metered { policy: policy.name().into(), limiter: policy.limiter()?.clone() }));
    let limits = rule.policies().iter().map(|policy| limit(policy, spec)).collect();
    let resolver = match &spec.plans {
        Some(plans) => Some(Arc::new(Plans::new(plans)?) as Arc<dyn Resolve<D>>),
        None => None,
    };
    let plans = rule.plans().map(|(name, plan)| Ok((Arc::clone(name), Arc::new(compile(plan)?))));
    Ok(Rule {
        asked,
        clock: Arc::clone(rule.clock()),
        limits,
        joint: None,
        key: source(spec)?,
        missing: spec.missing,
        client: spec.client_ip.build()?,
        cost: Cost::Fixed(rule.cost()),
        priority: Urgency::Fixed(spec.priority),
        fail_mode: rule.fail_mode(),
        standby: rule.standby().cloned(),
        // Rules that are not about `OPTIONS` are not found for it.
        options: true,
        manners,
        meters: meters.collect(),
        resolver,
        plans: plans.collect::<Result<_, BuildError>>()?,
    })
}

fn limit(policy: &Policy, spec: &HttpRule) -> Limit {
    let set = if spec.shadow { HeaderSet::EMPTY } else { spec.headers };
    let mut headers = Headers::new(set).policy(policy.name()).unit(policy.spec().unit());
    let limiter = policy.limiter();
    if let Some(window_ms) = limiter.and_then(|limiter| limiter.window_ms()) {
        headers = headers.window_ms(window_ms);
    }
    let advertise = policy.spec().advertise;
    if let Some(quota) = advertise.quota {
        headers = headers.quota(quota);
    }
    if let Some(seconds) = advertise.window_seconds {
        headers = headers.window_seconds(seconds);
    }
    let shown = limiter.map_or(0, |limiter| limiter.limit());
    let slots = policy.spec().concurrency.is_some();
    Limit { slots, units: limiter.is_some(), ..Limit::new(policy.name(), headers, shown) }
}

fn source<D: Door>(spec: &HttpRule) -> Result<Source<D>, BuildError> {
    let client = spec.client_ip.build()?;
    Ok(match &spec.key {
        KeySource::Peer => Source::Peer(PeerIp::default()),
        KeySource::ClientIp if client.header().is_none() && !spec.client_ip.unwrap_nat64 => {
            Source::Peer(PeerIp::with_ipv6_prefix(client.ipv6_prefix())?)
        }
        other => Source::Extractor(extractor(other, spec)?.into()),
    })
}

fn extractor<D: Door>(source: &KeySource, spec: &HttpRule) -> Result<Box<dyn KeyExtractor<D>>, BuildError> {
    Ok(match source {
        KeySource::Peer => Box::new(PeerIp::default()),
        KeySource::ClientIp => Box::new(spec.client_ip.build()?),
        KeySource::Header(name) => Box::new(HeaderKey::named(name)?),
        KeySource::Query(name) => Box::new(QueryKey::named(name.as_str())),
        KeySource::Cookie(name) => Box::new(CookieKey::named(name)?),
        KeySource::PathParam(name) => Box::new(PathParam::of(&spec.path, name)?),
        KeySource::Claim(name) => Box::new(ClaimKey::named(name.as_str())),
        KeySource::Constant(key) => Box::new(ConstantKey::new(key.as_str())),
        KeySource::ApiKey(key) => Box::new(api_key(key)?),
        KeySource::All(parts) => {
            let parts = parts.iter().map(|part| extractor(part, spec)).collect::<Result<_, _>>()?;
            Box::new(AllKeys::of(parts))
        }
        other => {
            return Err(BuildError::new("http.rules.key", format!("{other:?}"), "must be one that this build knows"));
        }
    })
}

fn api_key(spec: &ApiKeySpec) -> Result<ApiKey, BuildError> {
    let hasher = spec.hasher()?;
    match &spec.from {
        ApiKeySource::Bearer => Ok(ApiKey::bearer(hasher)),
        ApiKeySource::Header(name) => ApiKey::header(name, hasher),
        ApiKeySource::Query(name) => Ok(ApiKey::query(name.as_str(), hasher)),
        ApiKeySource::Cookie(name) => ApiKey::cookie(name, hasher),
        other => Err(BuildError::new("http.rules.key", format!("{other:?}"), "must be one that this build knows")),
    }
}
