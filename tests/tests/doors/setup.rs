//! The limits of this suite, for any framework.

use std::sync::Arc;
use std::sync::Mutex;

use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::store::memory::Table;
use throttlekit::strategy::fixed_window::Count;
use throttlekit::{
    Admission, Admit, Ask, Error, FailMode, FixedWindow, Guard, GuardStats, Limiter, ManualClock, Run, Unified,
};
use throttlekit_http::{Door, Head as _, Limits, Rejection};

use crate::story::Story;

const RULES: &str = "
limiters:
  work: { concurrency: { limit: 2 } }
  rate: { strategy: fixedWindow, limit: 2, period: 1m }
  wide: { strategy: fixedWindow, limit: 1000, period: 1m }
  pro: { strategy: fixedWindow, limit: 4, period: 1m }
  tokens: { tokenBudget: { budget: 10, windowMs: 60000 } }
  login: { strategy: fixedWindow, limit: 1, period: 1m, denyList: { denials: 2, ttlMs: 3600000 } }
http:
  rules:
    - { path: '/slots/{*rest}', policy: work }
    - { path: '/rate/{*rest}', policy: rate }
    - { path: '/wide/{*rest}', policy: wide }
    - { path: '/both/{*rest}', policies: [wide, rate] }
    - { path: '/chat/{*rest}', policies: [wide, work, tokens], costs: { tokens: 4 }, headers: openai }
    - { path: '/talk/{*rest}', policies: [tokens, rate], costs: { tokens: 2 }, headers: openai }
    - { path: '/all/{*rest}', policy: rate, headers: [draft, structured, legacy] }
    - { path: '/silent/{*rest}', policy: rate, headers: none }
    - { path: '/options/{*rest}', policy: rate, options: true }
    - { path: '/keyed/{*rest}', policy: rate, key: { header: x-api-key } }
    - { path: '/shared/{*rest}', policy: rate, key: { header: x-api-key }, missing: shared }
    - { path: '/strict/{*rest}', policy: rate, key: { header: x-api-key }, missing: reject }
    - { path: '/lenient/{*rest}', policy: rate, key: { header: x-api-key }, missing: skip }
    - { path: '/proxied/{*rest}', policy: rate, clientIp: { trustProxy: [127.0.0.1] } }
    - { path: '/shadow/{*rest}', policy: rate, shadow: true }
    - { path: '/problem/{*rest}', policy: rate, problemJson: true }
    - { path: '/failing/{*rest}', policy: work, dropOn5xx: true }
    - { path: '/patient/{*rest}', policy: work, onDisconnect: ignored }
    - path: '/planned/{*rest}'
      policy: rate
      plans: { from: { trustedHeader: x-plan }, table: { pro: { policy: pro, cost: 2 }, slots: { policies: [pro, work] } } }
    - path: '/customer/{*rest}'
      policy: rate
      key: { header: x-api-key }
      plans: { from: key, table: { pro: { policy: pro, keys: [acme] } } }
    - { path: '/login/{*rest}', policy: login }
    - { path: '/claimed/{*rest}', policy: rate, key: { claim: sub }, missing: reject }
    - { path: '/queried/{*rest}', policy: rate, key: { all: [{ constant: query }, { query: k }] }, missing: reject }
    - { path: '/baked/{*rest}', policy: rate, key: { all: [{ constant: cookie }, { cookie: k }] }, missing: reject }
    - { path: '/parts/{id}/{*rest}', policy: rate, key: { all: [{ constant: path }, { pathParam: id }] } }
    - path: '/hashed/{*rest}'
      policy: rate
      key: { apiKey: { bearer: true, keyId: k1, secret: sixteen bytes or more } }
      missing: reject
    - { path: '/pairs/{*rest}', policy: rate, key: { all: [{ claim: sub }, { query: k }] }, missing: reject }
";

/// Which limits a server has.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    kind: Kind,
    pub(crate) heard: Heard,
    /// Whom the middleware tells.
    observer: Option<Story>,
}

/// What may be told to an observer, of each framework.
pub(crate) trait Observed {
    fn observed(self, observer: Story) -> Self;
}

impl<F: throttlekit_tower::Framework> Observed for throttlekit_tower::FrameworkLayer<F> {
    fn observed(self, observer: Story) -> Self {
        self.observer(observer)
    }
}

impl Observed for throttlekit_actix::Throttle {
    fn observed(self, observer: Story) -> Self {
        self.observer(observer)
    }
}

#[derive(Clone, Debug)]
enum Kind {
    Rules { policies: Policies, options: Options },
    Code(Code),
    Out(FailMode),
}

/// One limit for all requests.
#[derive(Clone, Debug)]
pub(crate) enum Code {
    Limiter(Limiter<FixedWindow, Table<Count>, ManualClock>),
    Guard(Guard<ManualClock>),
    Unified(Unified<ManualClock>),
}

/// What a middleware is told beside its rules.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    own_denials: bool,
    hold_upgrades: bool,
    share: bool,
}

/// What hooks were told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }

    fn hear(&self, what: String) {
        self.0.lock().expect("no panic").push(what);
    }
}

/// A store that cannot be reached.
struct Out;

impl Admit for Out {
    fn admit(&self, _: &Ask<'_>) -> Run<Result<Admission, Error>> {
        Run::wait(async { Err(Error::store_unavailable("it is out")) })
    }
}

impl Setup {
    /// The rules above, at a time that stands still.
    pub(crate) fn rules() -> Self {
        Self::loaded(LoadOptions::new())
    }

    /// The same, loaded with an observer.
    pub(crate) fn rules_told_to(observer: &Story) -> Self {
        Self::loaded(LoadOptions::new().observer(observer.clone()))
    }

    fn loaded(options: LoadOptions) -> Self {
        let policies = Policies::load(RULES, options.clock(ManualClock::new(0.0))).expect("a good text");
        Self::of(Kind::Rules { policies, options: Options::default() })
    }

    /// One limit for all requests.
    pub(crate) fn code(code: Code) -> Self {
        Self::of(Kind::Code(code))
    }

    fn of(kind: Kind) -> Self {
        Self { kind, heard: Heard::default(), observer: None }
    }

    /// The same, with a middleware that is given an observer.
    pub(crate) fn observed(self, observer: &Story) -> Self {
        Self { observer: Some(observer.clone()), ..self }
    }

    /// Loads the rules anew, with more of the rate.
    pub(crate) fn reload(&self) {
        let Kind::Rules { policies, .. } = &self.kind else { panic!("there are no rules") };
        let text =
            RULES.replace("rate: { strategy: fixedWindow, limit: 2,", "rate: { strategy: fixedWindow, limit: 3,");
        assert!(policies.reload(&text).expect("a good text").is_changed());
    }

    /// The same, with denials of the application's own.
    pub(crate) fn own_denials() -> Self {
        Self::rules_with(|options| options.own_denials = true)
    }

    /// The same, where connections may keep the slots of the requests that they came from.
    pub(crate) fn holding_upgrades() -> Self {
        Self::rules_with(|options| options.hold_upgrades = true)
    }

    /// The same, where handlers know how their requests were admitted.
    pub(crate) fn sharing() -> Self {
        Self::rules_with(|options| options.share = true)
    }

    fn rules_with(set: impl FnOnce(&mut Options)) -> Self {
        let mut setup = Self::rules();
        if let Kind::Rules { options, .. } = &mut setup.kind {
            set(options);
        }
        setup
    }

    /// Limits whose store is out.
    pub(crate) fn out(mode: FailMode) -> Self {
        Self::of(Kind::Out(mode))
    }

    /// The middleware for a framework.
    pub(crate) fn layer<D: Door<Layer: Observed>>(&self) -> D::Layer {
        let layer = self.layer_alone::<D>();
        match &self.observer {
            Some(observer) => layer.observed(observer.clone()),
            None => layer,
        }
    }

    fn layer_alone<D: Door>(&self) -> D::Layer {
        let (limited, failed) = (self.heard.clone(), self.heard.clone());
        let limits = match &self.kind {
            Kind::Out(mode) => {
                let builder = Limits::<D>::builder_for(Out, ManualClock::new(0.0));
                return builder.fail_mode(*mode).build().expect("good options");
            }
            Kind::Code(code) => {
                let clock = ManualClock::new(0.0);
                let builder = match code.clone() {
                    Code::Limiter(limiter) => Limits::<D>::builder(limiter),
                    Code::Guard(guard) => Limits::<D>::builder_for(guard, clock),
                    Code::Unified(unified) => Limits::<D>::builder_for(unified, clock),
                };
                return builder.build().expect("good options");
            }
            Kind::Rules { policies, options } => {
                let limits = Limits::<D>::from_config(policies).expect("rules");
                let limits = limits.hold_upgrades(options.hold_upgrades).share(options.share);
                if options.own_denials { limits.reject(teapot::<D>) } else { limits }
            }
        };
        limits
            .skip(|head| head.path().ends_with("/skipped"))
            .on_limited(move |denial| limited.hear(format!("limited {} {}", denial.policy, denial.request.path())))
            .on_error(move |failure| failed.hear(format!("failed {}", failure.policy)))
            .into()
    }

    /// The slots that requests for `/slots` take.
    pub(crate) fn work(&self) -> GuardStats {
        let Kind::Rules { policies, .. } = &self.kind else { panic!("there are no rules") };
        policies.get("work").and_then(|policy| policy.guard_stats()).expect("a guard")
    }
}

/// The usual answer with another status.
fn teapot<'a, D: Door>(rejection: &Rejection<'a, D::Head<'a>>) -> D::Response {
    let mut answer = rejection.answer();
    answer.status = 418;
    D::respond(answer)
}
