//! The plans of a rule: other policies for some of its requests.

use std::fmt;

use super::http::HttpRule;
use crate::priority::Priority;

/// The plans of a rule, and how it finds the one of a request.
///
/// A request whose plan is not in the table meets the policies of the rule itself.
///
/// ```
/// use throttlekit::config::{Config, PlanSource};
///
/// let text = "
/// limiters:
///   free: { strategy: gcra, limit: 60, period: 1m }
///   pro: { strategy: gcra, limit: 600, period: 1m }
/// http:
///   rules:
///     - path: '/{*rest}'
///       policy: free
///       key: { claim: sub }
///       plans: { from: { claim: plan }, table: { pro: { policy: pro } } }
/// ";
/// let config = Config::from_yaml(text)?;
/// let rule = &config.http.rules[0];
/// let plans = rule.plans.as_ref().expect("the text has them");
/// assert_eq!(plans.from, PlanSource::Claim("plan".to_owned()));
/// assert_eq!(rule.under(&plans.table[0]).policies, ["pro"]);
/// # Ok::<(), throttlekit::config::ConfigErrors>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PlansSpec {
    /// What tells the plan of a request.
    pub from: PlanSource,
    /// The plans, in the order of the file; at least one.
    pub table: Vec<PlanSpec>,
}

impl PlansSpec {
    /// Plans without any in the table yet.
    pub fn new(from: PlanSource) -> Self {
        Self { from, table: Vec::new() }
    }
}

/// What tells the plan of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanSource {
    /// What the program has verified of the client and calls by this name: the name of the plan.
    Claim(String),
    /// The value of a header field: the name of the plan. The name of the field is in lower case.
    ///
    /// Only for a field that something in front of the limit sets on every request, in place of what the client sends
    /// there. Otherwise every client chooses his plan.
    TrustedHeader(String),
    /// The key that the request counts under, which is one of the [keys](PlanSpec::keys) of a plan.
    Key,
}

/// One plan.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct PlanSpec {
    /// Its name: not empty, at most 256 bytes, no control characters.
    pub name: String,
    /// The names of the policies that are admitted together, in place of those of the rule; at least one.
    pub policies: Vec<String>,
    /// What a request costs, in units; `None` for what the rule says.
    pub cost: Option<f64>,
    /// Policies of which a request takes another number of units; `None` for what the rule says of them.
    pub costs: Option<Vec<(String, f64)>>,
    /// How much its requests matter; `None` for what the rule says.
    pub priority: Option<Priority>,
    /// The keys of its clients, as requests count under them: of an API key that is the hash, after its key id. Only where
    /// plans are found by [`PlanSource::Key`]. `Debug` does not show them.
    pub keys: Vec<String>,
}

impl PlanSpec {
    /// A plan with the cost and the priority of its rule.
    pub fn new(name: impl Into<String>, policies: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let policies = policies.into_iter().map(Into::into).collect();
        Self { name: name.into(), policies, cost: None, costs: None, priority: None, keys: Vec::new() }
    }
}

impl fmt::Debug for PlanSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlanSpec")
            .field("name", &self.name)
            .field("policies", &self.policies)
            .field("cost", &self.cost)
            .field("costs", &self.costs)
            .field("priority", &self.priority)
            .field("keys", &self.keys.len())
            .finish()
    }
}

impl HttpRule {
    /// What the rule says about the requests of one of its plans. It has no plans of its own.
    #[must_use]
    pub fn under(&self, plan: &PlanSpec) -> Self {
        let inherited = || {
            let named = self.costs.iter().filter(|(policy, _)| plan.policies.contains(policy));
            named.cloned().collect()
        };
        Self {
            policies: plan.policies.clone(),
            cost: plan.cost.unwrap_or(self.cost),
            costs: plan.costs.clone().unwrap_or_else(inherited),
            priority: plan.priority.unwrap_or(self.priority),
            plans: None,
            ..self.clone()
        }
    }
}
