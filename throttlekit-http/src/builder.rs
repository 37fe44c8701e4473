//! The options of a layer with one rule.

use std::fmt;
use std::sync::Arc;

use throttlekit::headers::{HeaderSet, Headers};
use throttlekit::{Admit, BuildError, Clock, DynLimiter, FailMode, MAX_SAFE, MissingKey, Outcome, Priority};

use crate::admitted::Metered;
use crate::door::Door;
use crate::key::{ClientIp, KeyExtractor, KeyFn, PeerIp};
use crate::limits::Limits;
use crate::rule::{Asked, Cost, Limit, Manners, Rule, Source, Urgency};
use crate::terms::{AtOnce, Resolve, Terms};

/// Builds a middleware with one rule for every request.
#[must_use = "a builder does nothing until `build`"]
pub struct Builder<D: Door> {
    own: Subject,
    /// What is shown in its place, of several that decide together.
    parts: Vec<Subject>,
    set: HeaderSet,
    /// `None` unless it was chosen.
    key: Option<Source<D>>,
    missing: MissingKey,
    client: Option<ClientIp>,
    cost: Cost<D>,
    priority: Urgency<D>,
    fail_mode: FailMode,
    options: bool,
    manners: Manners,
    resolver: Option<Arc<dyn Resolve<D>>>,
    plans: Vec<(Arc<str>, Subject)>,
}

/// A limit, and what is shown of it.
struct Subject {
    name: Box<str>,
    asked: Asked,
    clock: Arc<dyn Clock>,
    headers: Headers,
    /// What the header fields usually show as the limit.
    limit: u64,
    limiter: Option<Arc<dyn DynLimiter>>,
}

impl Subject {
    fn of_limiter<L: DynLimiter>(limiter: L) -> Self {
        let limiter = Arc::new(limiter);
        let name = limiter.strategy_name();
        let mut headers = Headers::default().policy(name);
        if let Some(window_ms) = limiter.window_ms() {
            headers = headers.window_ms(window_ms);
        }
        let clock = Arc::new(LimiterClock(Arc::clone(&limiter)));
        let (limit, limiter) = (limiter.limit(), limiter as Arc<dyn DynLimiter>);
        let asked = Asked::Limiter(Arc::clone(&limiter));
        Self { name: name.into(), asked, clock, headers, limit, limiter: Some(limiter) }
    }

    fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self.headers = self.headers.policy(name);
        self
    }

    /// What responses show of it.
    fn shown(&self, set: HeaderSet) -> Limit {
        Limit::new(&self.name, self.headers.clone().families(set), self.limit)
    }

    /// It for handlers that count more, if it limits units.
    fn meter(&self) -> Option<Metered> {
        let limiter = Arc::clone(self.limiter.as_ref()?);
        Some(Metered { policy: self.name.clone(), limiter })
    }
}

impl<D: Door> Builder<D> {
    pub(crate) fn for_limiter(limiter: impl DynLimiter) -> Self {
        Self::asking(Subject::of_limiter(limiter))
    }

    pub(crate) fn for_admit(admit: impl Admit, clock: impl Clock) -> Self {
        let name = match &admit {
            admit if admit.joins_axes() => "unified",
            admit if admit.guard_state().is_some() => "adaptive",
            _ => "default",
        };
        let own = Subject {
            name: name.into(),
            asked: Asked::Admit(Arc::new(admit)),
            clock: Arc::new(clock),
            headers: Headers::default(),
            limit: 0,
            limiter: None,
        };
        Self::asking(own.named(name))
    }

    fn asking(own: Subject) -> Self {
        Self {
            own,
            parts: Vec::new(),
            set: HeaderSet::default(),
            key: None,
            missing: MissingKey::default(),
            client: None,
            cost: Cost::Fixed(1.0),
            priority: Urgency::Fixed(Priority::Normal),
            fail_mode: FailMode::default(),
            options: false,
            manners: Manners::default(),
            resolver: None,
            plans: Vec::new(),
        }
    }

    /// Takes the key from `extractor`; by default from the client's address, which is the peer's unless
    /// [`client_ip`](Self::client_ip) says otherwise.
    pub fn key(mut self, extractor: impl KeyExtractor<D>) -> Self {
        self.key = Some(Source::new(extractor));
        self
    }

    /// Takes the key from a closure, which may borrow from the request. If it panics the request is answered with 500.
    pub fn key_fn<F>(self, key: F) -> Self
    where
        F: for<'a> KeyFn<'a, D> + Send + Sync + 'static,
    {
        self.key(key)
    }

    /// Says what happens to a request without that key; by default it counts under its client's address.
    pub fn missing_key(mut self, missing: MissingKey) -> Self {
        self.missing = missing;
        self
    }

    /// Finds the client's address as `client` says: the key, unless [another](Self::key) is chosen, and what stands in for that
    /// where it is missing. By default it is the peer's address, which behind a proxy is the same for all.
    pub fn client_ip(mut self, client: ClientIp) -> Self {
        self.client = Some(client);
        self
    }

    /// Charges each request `cost` units, 1 by default: finite, above 0, at most 2^53 - 1.
    pub fn cost(mut self, cost: f64) -> Self {
        self.cost = Cost::Fixed(cost);
        self
    }

    /// Charges a request what the closure says. A cost out of range is answered with 500, and so is a panic.
    pub fn cost_fn(mut self, cost: impl for<'a> Fn(&D::Head<'a>) -> f64 + Send + Sync + 'static) -> Self {
        self.cost = Cost::Of(Arc::new(cost));
        self
    }

    /// Says how much each request matters to a limit on work in flight; [`Priority::Normal`] by default.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Urgency::Fixed(priority);
        self
    }

    /// Takes how much a request matters from a closure. A panic in it is answered with 500.
    pub fn priority_fn(mut self, priority: impl for<'a> Fn(&D::Head<'a>) -> Priority + Send + Sync + 'static) -> Self {
        self.priority = Urgency::Of(Arc::new(priority));
        self
    }

    /// Says what happens when the store is unavailable: open, the default, lets requests pass without header fields;
    /// closed answers 503. No other error is subject to it.
    ///
    /// A limit in memory that stands in is a matter of the limiter: wrap it in a [`Fallback`](throttlekit::Fallback).
    pub fn fail_mode(mut self, mode: FailMode) -> Self {
        self.fail_mode = mode;
        self
    }

    /// Chooses the header fields; the draft family by default. They are of the time of the decision.
    pub fn headers(mut self, set: impl Into<HeaderSet>) -> Self {
        self.set = set.into();
        self
    }

    /// Names the policy, for hooks and the structured family.
    pub fn policy_name(mut self, name: &str) -> Self {
        self.own = self.own.named(name);
        self
    }

    /// Shows one of several limits that decide together, by the name of its policy; say it of each, in their order. For what
    /// [`builder_for`](crate::Limits::builder_for) was given, such as a [`Multi`](throttlekit::Multi) that
    /// [keeps each decision](throttlekit::MultiBuilder::keep_each).
    ///
    /// The structured header fields then list them all, the others show the [binding](throttlekit::headers::binding) one, hooks
    /// hear which of them denied, and handlers find each as a [meter](crate::Admitted::meter). Of a
    /// [`Unified`](throttlekit::Unified) two limits are the rate and the cost, in this order. Where what the limits say does not
    /// come to the joint decision, that one is shown alone, under the [name](Self::policy_name) of the middleware's policy: when one
    /// of [any](throttlekit::Multi::any) is enough, slots or a price denied, or a `Multi` does not keep each decision.
    pub fn limit(mut self, name: &str, limiter: impl DynLimiter) -> Self {
        self.parts.push(Subject::of_limiter(limiter).named(name));
        self
    }

    /// Overrides the window of the structured family, in seconds.
    pub fn window_seconds(self, seconds: u64) -> Self {
        self.change_headers(|headers| headers.window_seconds(seconds))
    }

    /// Overrides the quota of the structured family, which is the limit of the decision otherwise; for a GCRA and a token
    /// bucket that is the burst.
    pub fn quota(self, quota: u64) -> Self {
        self.change_headers(|headers| headers.quota(quota))
    }

    /// Limits `OPTIONS` requests too. By default they pass, since browsers send them on their own before others.
    pub fn limit_options(mut self, limit: bool) -> Self {
        self.options = limit;
        self
    }

    /// Decides and tells, but lets every request pass, and tells clients nothing: for a limit that is tried out. Nobody
    /// stands in a queue for it. [`Limited::shadow`](crate::Limited::shadow) says so to the hook; a request without a key
    /// that the limit [demands](Self::missing_key) is told to the one for errors.
    pub fn shadow(mut self, shadow: bool) -> Self {
        self.manners.shadow = shadow;
        self
    }

    /// Rejects by problem details (RFC 9457) in place of the usual JSON; see
    /// [`Rejection::problem`](crate::Rejection::problem).
    pub fn problem_json(mut self, problem: bool) -> Self {
        self.manners.problem_json = problem;
        self
    }

    /// Counts a response with a status from 500 on as dropped work, from which a limit on work in flight learns that it is
    /// too high. By default a response that is handed over is completed work, whatever it says.
    pub fn drop_on_5xx(mut self, drop: bool) -> Self {
        self.manners.drop_on_5xx = drop;
        self
    }

    /// What a request counts as whose client goes away, before the response or during it: [`Outcome::Dropped`], the
    /// default, or [`Outcome::Ignored`]. Dropped work lowers a learnt limit, so that clients can throttle a service by
    /// hanging up; ignored, an overload that makes them hang up is seen less. A timeout in front of the middleware and a
    /// panic behind it look like a client that went away.
    pub fn on_disconnect(mut self, outcome: Outcome) -> Self {
        self.manners.on_disconnect = outcome;
        self
    }

    /// Adds a limit that counts, in place of the middleware's own, for the requests whose [terms](Terms) name this plan.
    ///
    /// Its name is that of its policy too. It is under the same key, with the options that this builder has at the end.
    pub fn plan(mut self, name: &str, limiter: impl DynLimiter) -> Self {
        self.plans.push((name.into(), Subject::of_limiter(limiter).named(name)));
        self
    }

    /// Takes what is special about each request from a closure: its plan, its cost, how much it matters. The closure sees
    /// the request and the key that it counts under. A panic in it is answered with 500.
    pub fn terms_fn<F>(self, terms: F) -> Self
    where
        F: for<'a> Fn(&D::Head<'a>, &str) -> Terms + Send + Sync + 'static,
    {
        self.terms(AtOnce(terms))
    }

    /// As [`terms_fn`](Self::terms_fn), from whatever knows them, such as a [`Lookup`](crate::Lookup).
    pub fn terms(mut self, resolver: impl Resolve<D>) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// The middleware.
    ///
    /// # Errors
    ///
    /// If the cost is not finite, not above 0 or above 2^53 - 1, if the fail mode is local, if two plans or two limits that
    /// decide together have one name, if there are plans and nothing says which requests have them, if a limiter that decides
    /// alone is to show others, or if clients that go away count as completed.
    pub fn build(self) -> Result<D::Layer, BuildError> {
        if let Cost::Fixed(cost) = self.cost {
            #[allow(clippy::cast_precision_loss)] // 2^53 - 1 is exact
            let in_range = cost > 0.0 && cost <= MAX_SAFE as f64;
            if !in_range {
                return Err(BuildError::new("throttleLayer.cost", cost, "must be above 0 and at most 2^53 - 1"));
            }
        }
        if let FailMode::Local(share) = self.fail_mode {
            let allowed = "must be open or closed; for local put the limiter into a `Fallback`";
            return Err(BuildError::new(
                "throttleLayer.failMode",
                format_args!("local with a share of {share}"),
                allowed,
            ));
        }
        if self.manners.on_disconnect == Outcome::Completed {
            return Err(BuildError::new("throttleLayer.onDisconnect", "completed", "must be dropped or ignored"));
        }
        for (index, Subject { name, .. }) in self.parts.iter().enumerate() {
            if self.own.limiter.is_some() {
                let allowed = "must be one of several that `builder_for` was given; a limiter that decides alone is named by \
                               `policy_name`";
                return Err(BuildError::new("throttleLayer.limit", name, allowed));
            }
            if self.parts[..index].iter().any(|earlier| earlier.name == *name) {
                return Err(BuildError::new("throttleLayer.limit", name, "must be a name of its own"));
            }
        }
        if let (Some((name, _)), None) = (self.plans.first(), &self.resolver) {
            let allowed = "must be the plan of some requests: `terms` or `terms_fn` say of which";
            return Err(BuildError::new("throttleLayer.plan", name, allowed));
        }
        for (index, (name, _)) in self.plans.iter().enumerate() {
            if self.plans[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(BuildError::new("throttleLayer.plan", name, "must be a name of its own"));
            }
        }
        Ok(Limits::with_rule(self.into_rule()).into())
    }

    pub(crate) fn into_rule(self) -> Rule<D> {
        let Self {
            own,
            parts,
            set,
            key,
            missing,
            client,
            cost,
            priority,
            fail_mode,
            options,
            manners,
            resolver,
            plans,
        } = self;
        let key = key.unwrap_or_else(|| match &client {
            Some(client) => Source::new(client.clone()),
            None => Source::Peer(PeerIp::default()),
        });
        let client = client.unwrap_or_default();
        let set = if manners.shadow { HeaderSet::EMPTY } else { set };
        let rule_of = |limit: Subject| Rule {
            limits: vec![limit.shown(set)],
            joint: None,
            meters: limit.meter().into_iter().collect(),
            asked: limit.asked,
            clock: limit.clock,
            key: key.clone(),
            missing,
            client: client.clone(),
            cost: cost.clone(),
            priority: priority.clone(),
            fail_mode,
            standby: None,
            options,
            manners,
            resolver: None,
            plans: Vec::new(),
        };
        let plans = plans.into_iter().map(|(name, plan)| (name, Arc::new(rule_of(plan)))).collect();
        let joint = own.shown(set);
        let rule = Rule { resolver, plans, ..rule_of(own) };
        if parts.is_empty() {
            return rule;
        }
        let limits = parts.iter().map(|part| part.shown(set)).collect();
        Rule { limits, joint: Some(joint), meters: parts.iter().filter_map(Subject::meter).collect(), ..rule }
    }

    fn change_headers(mut self, change: impl FnOnce(Headers) -> Headers) -> Self {
        self.own.headers = change(self.own.headers);
        self
    }
}

impl<D: Door> fmt::Debug for Builder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("policy", &self.own.name)
            .field("missing", &self.missing)
            .field("fail_mode", &self.fail_mode)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The clock of a limiter.
struct LimiterClock<L>(Arc<L>);

impl<L: DynLimiter> Clock for LimiterClock<L> {
    fn now_ms(&self) -> f64 {
        self.0.now_ms()
    }
}
