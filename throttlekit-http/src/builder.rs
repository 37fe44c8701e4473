//! The options of a layer with one rule.

use std::fmt;
use std::sync::Arc;

use throttlekit::headers::{HeaderSet, Headers};
use throttlekit::{Admit, BuildError, Clock, DynLimiter, FailMode, MAX_SAFE, MissingKey, Priority};

use crate::door::Door;
use crate::key::{KeyExtractor, KeyFn, PeerIp};
use crate::limits::Limits;
use crate::rule::{Asked, Cost, Limit, Rule, Source, Urgency};

/// Builds a middleware with one rule for every request.
#[must_use = "a builder does nothing until `build`"]
pub struct Builder<D: Door> {
    name: Box<str>,
    asked: Asked,
    clock: Arc<dyn Clock>,
    headers: Headers,
    /// What the header fields usually show as the limit.
    limit: u64,
    key: Source<D>,
    missing: MissingKey,
    cost: Cost<D>,
    priority: Urgency<D>,
    fail_mode: FailMode,
    options: bool,
}

impl<D: Door> Builder<D> {
    pub(crate) fn for_limiter<L: DynLimiter>(limiter: Arc<L>) -> Self {
        let mut headers = Headers::default().policy(limiter.strategy_name());
        if let Some(window_ms) = limiter.window_ms() {
            headers = headers.window_ms(window_ms);
        }
        let name = limiter.strategy_name();
        let limit = limiter.limit();
        let clock = Arc::new(LimiterClock(Arc::clone(&limiter)));
        Self { name: name.into(), headers, limit, ..Self::asking(Asked::Limiter(limiter), clock) }
    }

    pub(crate) fn for_admit(admit: Arc<dyn Admit>, clock: Arc<dyn Clock>) -> Self {
        Self::asking(Asked::Admit(admit), clock)
    }

    fn asking(asked: Asked, clock: Arc<dyn Clock>) -> Self {
        Self {
            name: "default".into(),
            asked,
            clock,
            headers: Headers::default(),
            limit: 0,
            key: Source::Peer(PeerIp::default()),
            missing: MissingKey::default(),
            cost: Cost::Fixed(1.0),
            priority: Urgency::Fixed(Priority::Normal),
            fail_mode: FailMode::default(),
            options: false,
        }
    }

    /// Takes the key from `extractor`; the peer's address by default.
    pub fn key(mut self, extractor: impl KeyExtractor<D>) -> Self {
        self.key = Source::new(extractor);
        self
    }

    /// Takes the key from a closure, which may borrow from the request. If it panics the request is answered with 500.
    pub fn key_fn<F>(self, key: F) -> Self
    where
        F: for<'a> KeyFn<'a, D> + Send + Sync + 'static,
    {
        self.key(key)
    }

    /// Says what happens to a request without that key; by default it counts under its peer's address.
    pub fn missing_key(mut self, missing: MissingKey) -> Self {
        self.missing = missing;
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

    /// Chooses the header fields; the draft family by default.
    pub fn headers(self, set: impl Into<HeaderSet>) -> Self {
        let set = set.into();
        self.change_headers(|headers| headers.families(set))
    }

    /// Names the policy, for hooks and the structured family.
    pub fn policy_name(mut self, name: &str) -> Self {
        self.name = name.into();
        self.change_headers(|headers| headers.policy(name))
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

    /// The middleware.
    ///
    /// # Errors
    ///
    /// If the cost is not finite, not above 0 or above 2^53 - 1, or if the fail mode is local.
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
        Ok(Limits::with_rule(self.into_rule()).into())
    }

    pub(crate) fn into_rule(self) -> Rule<D> {
        Rule {
            asked: self.asked,
            clock: self.clock,
            limits: vec![Limit::new(&self.name, self.headers, self.limit, false)],
            key: self.key,
            missing: self.missing,
            cost: self.cost,
            priority: self.priority,
            fail_mode: self.fail_mode,
            standby: None,
            options: self.options,
        }
    }

    fn change_headers(mut self, change: impl FnOnce(Headers) -> Headers) -> Self {
        self.headers = change(self.headers);
        self
    }
}

impl<D: Door> fmt::Debug for Builder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("policy", &self.name)
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
