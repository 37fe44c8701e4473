//! What a middleware shares among all that it serves.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use throttlekit::{Admit, Clock, DynLimiter, Observer};

use crate::builder::Builder;
use crate::door::Door;
use crate::hooks::{Hooks, told};
use crate::reject::{Failure, Limited, Reject};
use crate::rule::Rule;

/// Where the rules come from.
pub(crate) enum Rules<D: Door> {
    /// One rule for every request.
    One(Arc<Rule<D>>),
    /// Rules of a file, which may be read again.
    #[cfg(feature = "config")]
    Registry(Arc<crate::registry::Registry<D>>),
}

/// The rules and hooks of a middleware. Clones share the limits; a hook that is set on one concerns that one alone.
pub struct Limits<D: Door> {
    pub(crate) shared: Arc<Shared<D>>,
}

pub(crate) struct Shared<D: Door> {
    pub(crate) rules: Rules<D>,
    /// The rules as they were built, without an observer of the middleware.
    built: Rules<D>,
    pub(crate) hooks: Hooks<D>,
    /// Whether the hook was told that peers are not known.
    pub(crate) nobody_told: Arc<AtomicBool>,
}

impl<D: Door> Limits<D> {
    /// Limits every request by `limiter`: one unit under the peer's address, draft header fields, fail mode open.
    pub fn new(limiter: impl DynLimiter) -> Self {
        Self::with_rule(Self::builder(limiter).into_rule())
    }

    /// Limits every request by `limiter`, with other options. The policy is called as the strategy is, and its window is
    /// shown, unless the builder is told otherwise.
    pub fn builder(limiter: impl DynLimiter) -> Builder<D> {
        Builder::for_limiter(limiter)
    }

    /// Limits every request by anything that admits, such as a guard of concurrency. `clock` is the one that it decides
    /// by; header fields tell spans from it. The policy is called
    /// `unified` if it joins axes, `adaptive` if it is a guard, otherwise `default`, unless it is [named](Builder::policy_name).
    pub fn builder_for(admit: impl Admit, clock: impl Clock) -> Builder<D> {
        Builder::for_admit(admit, clock)
    }

    /// Limits requests by the rules of a configuration's `http` section.
    ///
    /// # Errors
    ///
    /// `http.rules` if there is no rule: nothing would be limited.
    #[cfg(feature = "config")]
    #[cfg_attr(docsrs, doc(cfg(feature = "config")))]
    pub fn from_config(policies: &throttlekit::policy::Policies) -> Result<Self, throttlekit::BuildError> {
        let registry = crate::registry::Registry::new(policies)?;
        let limits = Self::with_rules(Rules::Registry(Arc::new(registry)));
        Ok(limits.change(|hooks| hooks.observer = policies.observer().cloned()))
    }

    pub(crate) fn with_rule(rule: Rule<D>) -> Self {
        Self::with_rules(Rules::One(Arc::new(rule)))
    }

    fn with_rules(rules: Rules<D>) -> Self {
        let (built, hooks) = (rules.clone(), Hooks::default());
        Self { shared: Arc::new(Shared { rules, built, hooks, nobody_told: Arc::default() }) }
    }

    /// Leaves requests alone for which `skip` says true: no store is asked, no header field written, no hook called.
    /// If it panics the request is limited.
    #[must_use]
    pub fn skip(self, skip: impl for<'a> Fn(&D::Head<'a>) -> bool + Send + Sync + 'static) -> Self {
        self.change(|hooks| hooks.skip = Some(Arc::new(skip)))
    }

    /// Calls `hook` for every denial, before its response is made. A panic in it is swallowed.
    #[must_use]
    pub fn on_limited(self, hook: impl for<'a> Fn(&Limited<'a, D::Head<'a>>) + Send + Sync + 'static) -> Self {
        self.change(|hooks| hooks.on_limited = Some(Arc::new(hook)))
    }

    /// Calls `hook` for every request that could not be decided, before the fail mode applies, and for one without the key
    /// that a shadow demands; and once in the life of the middleware for a request whose peer is needed and not known,
    /// which is on standard error where there is no hook. A panic in it is swallowed.
    #[must_use]
    pub fn on_error(self, hook: impl for<'a> Fn(&Failure<'a, D::Head<'a>>) + Send + Sync + 'static) -> Self {
        self.change(|hooks| hooks.on_error = Some(Arc::new(hook)))
    }

    /// Lets `reject` make the responses to requests that are not passed on.
    #[must_use]
    pub fn reject(self, reject: impl Reject<D>) -> Self {
        self.change(|hooks| hooks.reject = Some(Arc::new(reject)))
    }

    /// Lets the inner service know how a request was admitted: an [`Admitted`](crate::Admitted) in the request's
    /// extensions. Costs allocations, so it is off by default.
    #[must_use]
    pub fn share(self, share: bool) -> Self {
        self.change(|hooks| hooks.share = share)
    }

    /// Lets slots outlive a response that switches protocols, for whoever keeps the
    /// [`UpgradeSlot`](crate::UpgradeSlot) of the request's extensions. By default a slot goes back with the handshake.
    #[must_use]
    pub fn hold_upgrades(self, hold: bool) -> Self {
        self.change(|hooks| hooks.hold_upgrades = hold)
    }

    /// Tells `observer` of every decision, wait, lease and admission of the limits, as if each had been built with it, and of
    /// clients that go away while they wait for a decision or hold a slot. Rules that are loaded anew keep it. It also
    /// [gets](Observer::attach) their guards and tables to read, for as long as they are there.
    ///
    /// Limits that have an observer of their own keep that one, also those of a file that was loaded with one: what they
    /// decide is told once, to it. What else asks a limit is told to nobody by this: the limit itself goes on as it was
    /// built. Of several calls the last one counts. A limit of your own says by [`Admit::observed`] and
    /// [`DynLimiter::observed_limiter`] how it tells somebody.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        let observer: Arc<dyn Observer> = Arc::new(observer);
        let shared = Arc::make_mut(&mut self.shared);
        shared.rules = shared.built.observed(&observer);
        if let Some(gauges) = shared.rules.gauges() {
            told(&*observer, || observer.attach(gauges));
        }
        shared.hooks.observer = Some(observer);
        self
    }

    fn change(mut self, change: impl FnOnce(&mut Hooks<D>)) -> Self {
        change(&mut Arc::make_mut(&mut self.shared).hooks);
        self
    }
}

impl<D: Door> Clone for Rules<D> {
    fn clone(&self) -> Self {
        match self {
            Self::One(rule) => Self::One(Arc::clone(rule)),
            #[cfg(feature = "config")]
            Self::Registry(registry) => Self::Registry(Arc::clone(registry)),
        }
    }
}

impl<D: Door> fmt::Debug for Rules<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(rule) => rule.fmt(f),
            #[cfg(feature = "config")]
            Self::Registry(registry) => registry.fmt(f),
        }
    }
}

impl<D: Door> Clone for Shared<D> {
    fn clone(&self) -> Self {
        let Self { rules, built, hooks, nobody_told } = self;
        let nobody_told = Arc::clone(nobody_told);
        Self { rules: rules.clone(), built: built.clone(), hooks: hooks.clone(), nobody_told }
    }
}

impl<D: Door> Clone for Limits<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<D: Door> fmt::Debug for Limits<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("rules", &self.shared.rules).field("hooks", &self.shared.hooks).finish()
    }
}
