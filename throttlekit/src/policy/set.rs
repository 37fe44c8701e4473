//! The policies of one configuration, and the rules that apply them.

use std::collections::HashMap;
use std::sync::Arc;

use super::options::LoadOptions;
use super::policy::Policy;
use super::reload::{self, Fate};
use super::rule::Rule;
use super::store::OpenStore;
use crate::config::{Config, ConfigErrors, HttpRule, LimiterSpec, Routes};
use crate::store::CircuitBreaker;

/// What one configuration gives: policies by name and the rules that apply them. It never changes; a reload makes a new
/// one.
#[derive(Debug)]
pub struct PolicySet {
    version: u64,
    config: Config,
    policies: Vec<Arc<Policy>>,
    by_name: HashMap<String, usize>,
    rules: Vec<Rule>,
    routes: Routes,
    /// `None` if the policies are in memory.
    store: Option<Arc<OpenStore>>,
}

impl PolicySet {
    /// Builds every policy; those that are unchanged since `old` are taken over as they are.
    pub(super) fn new(
        config: Config,
        options: &LoadOptions,
        old: Option<&Self>,
    ) -> Result<(Self, Vec<(String, Fate)>), ConfigErrors> {
        config.check()?;
        let kept = old.filter(|old| old.config.store == config.store);
        let store = match kept {
            Some(old) => old.store.clone(),
            None => OpenStore::open(&config.store, options)?,
        };
        let moved = old.is_some_and(|old| !old.config.store.is_where(&config.store));
        let mut policies = Vec::with_capacity(config.limiters.len());
        let mut fates = Vec::new();
        for spec in &config.limiters {
            let prefix = config.effective_prefix(spec);
            let before = old.and_then(|old| old.get(&spec.name));
            let fate = match before {
                None => Fate::Added,
                Some(_) if moved && spec.is_stored() && store.is_some() => Fate::OtherStore,
                Some(_) if moved && spec.is_stored() => Fate::Reset("the store changed"),
                Some(before) => match reload::fate(before, spec, &prefix, store.is_some()) {
                    // Its connections are others.
                    Fate::Unchanged if kept.is_none() && store.is_some() && spec.is_stored() => Fate::Kept,
                    fate => fate,
                },
            };
            let policy = match (before, fate) {
                (Some(before), Fate::Unchanged) => before.clone(),
                (before, fate) => {
                    let before = before.map(|policy| &**policy);
                    let heir_of = before.filter(|_| matches!(fate, Fate::Kept | Fate::NewSlots));
                    let slots_of = before.filter(|before| before.spec().concurrency == spec.concurrency);
                    let places = |spec: &LimiterSpec| spec.deny_list.map(|list| list.places);
                    let list_of = before.filter(|before| places(before.spec()) == places(spec));
                    let store = store.as_deref();
                    let policy = Policy::new(spec.clone(), prefix, options, store, heir_of, slots_of, list_of);
                    Arc::new(policy.map_err(|error| ConfigErrors::refused(spec, &error))?)
                }
            };
            policies.push(policy);
            fates.push((spec.name.clone(), fate));
        }
        let by_name: HashMap<String, usize> =
            policies.iter().enumerate().map(|(index, policy)| (policy.name().to_owned(), index)).collect();
        let removed = old.into_iter().flat_map(Self::names).filter(|name| !by_name.contains_key(*name));
        fates.extend(removed.map(|name| (name.to_owned(), Fate::Removed)));
        let without_plans = |spec: HttpRule| {
            let named = spec.policies.iter().filter_map(|name| policies.get(*by_name.get(name)?));
            let named = named.cloned().collect();
            Rule::new(spec, named, store.as_deref(), options)
        };
        let rule = |(index, spec): (usize, &HttpRule)| {
            let plans = spec.plans.iter().flat_map(|plans| &plans.table);
            let plans = plans.map(|plan| Ok((plan.name.as_str().into(), without_plans(spec.under(plan))?)));
            let plans = plans.collect::<Result<_, _>>();
            let rule = plans.and_then(|plans| Ok(without_plans(spec.clone())?.with_plans(plans)));
            rule.map_err(|error| ConfigErrors::refused_rule(index, &error))
        };
        let rules = config.http.rules.iter().enumerate().map(rule).collect::<Result<_, _>>()?;
        let routes = Routes::new(&config.http.rules).0;
        let version = old.map_or(1, |old| old.version + 1);
        Ok((Self { version, config, policies, by_name, rules, routes, store }, fates))
    }

    /// Lets the states in memory that went on from `old` live as long as the policies need them now.
    pub(super) fn prolong(&self, old: &Self, now_ms: f64) {
        for policy in &self.policies {
            if old.get(policy.name()).is_some_and(|before| reload::lives_longer(before.spec(), policy.spec())) {
                policy.prolong(now_ms);
            }
        }
    }

    /// 1 for the first configuration, one more for each that took effect since.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What was read.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The policy of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Policy>> {
        self.policies.get(*self.by_name.get(name)?)
    }

    /// The policies, in the order of the configuration.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Policy>> {
        self.policies.iter()
    }

    /// Their names, in the same order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.policies.iter().map(|policy| policy.name())
    }

    /// The rules of the `http` section, in the order of the configuration.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The circuit breaker around the store; `None` if the policies are in memory.
    ///
    /// It says whether the store is out, and what has failed so far. A reload keeps it if the `store` block stays the same.
    pub fn breaker(&self) -> Option<&Arc<CircuitBreaker>> {
        self.store.as_deref().map(OpenStore::breaker)
    }

    /// What is shared by the policies that are not in memory.
    pub(super) fn store(&self) -> Option<&Arc<OpenStore>> {
        self.store.as_ref()
    }

    /// The index in [`rules`](Self::rules) of the rule for a request; `None` if the request is not limited.
    ///
    /// `path` is the path of the URI as it was sent, without decoding; which of its letters are percent-encoded does not
    /// matter, but for a slash. The most specific pattern counts among the rules that cover the method; a rule that names the
    /// method precedes one for all methods. `HEAD` is covered by rules for `GET`, `OPTIONS` only by rules that ask for it.
    ///
    /// ```
    /// use throttlekit::policy::Policies;
    ///
    /// let text = "
    /// limiters:
    ///   api: { strategy: gcra, limit: 5, period: 1s }
    /// http:
    ///   rules:
    ///     - { path: /api/hello, methods: [GET], policy: api }
    ///     - { path: '/api/{*rest}', policy: api }
    /// ";
    /// let set = Policies::from_yaml(text)?.current();
    /// assert_eq!(set.rule_for("GET", "/api/hello"), Some(0));
    /// assert_eq!(set.rule_for("POST", "/api/hello"), Some(1));
    /// assert_eq!(set.rule_for("GET", "/"), None);
    /// # Ok::<(), throttlekit::config::ConfigErrors>(())
    /// ```
    pub fn rule_for(&self, method: &str, path: &str) -> Option<usize> {
        self.routes.find(method, path)
    }
}
