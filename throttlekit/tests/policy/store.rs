//! Policies over a store that a file names: where their keys are, what decides while it is out, what a reload keeps.

use std::sync::Arc;
use std::time::Duration;

use throttlekit::policy::{Fate, LoadOptions, Policies, Rule, RuleLimit};
use throttlekit::store::BreakerState;
use throttlekit::{Admit, Ask, Decision, Error, FailMode, ManualClock, Share};

use crate::support::outage::{Mood, Opener};
use crate::support::{Recorder, polled};

const STORE: &str = "store: { redis: { url: redis://cache }, breaker: { failures: 2 } }\n";

struct Setup {
    clock: ManualClock,
    opener: Opener,
    policies: Policies,
}

fn options() -> (ManualClock, Opener, LoadOptions) {
    let clock = ManualClock::new(1_000_000.0);
    let opener = Opener::new(&clock);
    let options = LoadOptions::new().clock(clock.clone()).connector(opener.clone());
    (clock, opener, options)
}

fn load(limiters: &str) -> Setup {
    let (clock, opener, options) = options();
    let policies = Policies::load(&format!("{STORE}{limiters}"), options).unwrap();
    Setup { clock, opener, policies }
}

impl Setup {
    fn set(&self, mood: Mood) {
        self.opener.store.set(mood);
    }

    fn check(&self, policy: &str) -> Result<Decision, Error> {
        polled(self.policies.get(policy).unwrap().limiter().unwrap().check("k", 1.0), 1).expect("an answer at once")
    }

    fn rule(&self, index: usize) -> Rule {
        self.policies.current().rules()[index].clone()
    }

    /// Brings the store back, and past the interval of the breaker.
    fn recover(&self) {
        self.set(Mood::Up);
        self.clock.advance(200.0);
    }
}

/// What a door does: asks the rule, and what stands in for it if the store is out.
fn ask(rule: &Rule) -> Result<Decision, Error> {
    let shared = match rule.limit() {
        RuleLimit::One(limiter) => limiter.admit(&Ask::new("k")),
        RuleLimit::Joint(admit) => admit.admit(&Ask::new("k")),
        other => panic!("{other:?}"),
    };
    match (polled(shared, 1).expect("an answer at once"), rule.standby()) {
        (Err(error), Some(standby)) if error.is_store_unavailable() => {
            standby.admit(&Ask::new("k")).now().expect("in memory").map(|admission| admission.decision)
        }
        (answer, _) => answer.map(|admission| admission.decision),
    }
}

#[test]
fn keys_are_below_the_prefixes() {
    let setup = load(
        "defaults: { prefix: shop }\nlimiters:\n  \
         api: { strategy: gcra, limit: 10, period: 1m }\n  \
         exact: { strategy: gcra, limit: 10, period: 1m, exact: true }\n  \
         own: { strategy: fixedWindow, limit: 10, period: 1m, prefix: mine }",
    );
    for policy in ["api", "exact", "own"] {
        assert!(setup.check(policy).unwrap().allowed);
    }
    assert_eq!(setup.opener.store.keys(), ["mine:k", "shop:api:k", "shop:exact:exact:k"]);
    assert_eq!(setup.opener.opened(), 1, "one store for all policies");

    let shared = load(
        "defaults: { prefix: tk }\ncompat: { sharedDefaultsPrefix: true }\nlimiters:\n  \
         api: { strategy: gcra, limit: 10, period: 1m }",
    );
    shared.check("api").unwrap();
    assert_eq!(shared.opener.store.keys(), ["tk:k"]);
}

#[test]
fn a_store_without_a_connector_names_the_crate() {
    let text = "store: { postgres: { url: 'postgres://me:hunter2@db' } }\nlimiters: {}";
    let (_, _, options) = options();
    let errors = Policies::load(text, options).unwrap_err().to_string();
    assert_eq!(
        errors,
        "config.store.postgres: this program cannot reach postgres: it needs the crate throttlekit-postgres with the \
         feature \"config\", and its connector in the options that the file is loaded with"
    );
}

#[test]
fn what_a_connector_refuses_is_said_of_the_block() {
    let (_, opener, options) = options();
    let text = "store: { redis: { url: 'http://:hunter2@cache' } }\nlimiters: {}";
    let errors = Policies::load(text, options).unwrap_err().to_string();
    assert_eq!(errors, "config.store.redis.url: must start with redis:// (found another scheme)");
    assert_eq!(opener.opened(), 0);
}

#[test]
fn variables_come_from_the_options() {
    let (_, opener, options) = options();
    let options = options.env(|name| (name == "URL").then(|| "redis://cache".to_owned()));
    let text = |name: &str| format!("store: {{ redis: {{ url: '${{{name}}}' }} }}\nlimiters: {{}}");
    let policies = Policies::load(&text("URL"), options).unwrap();
    let errors = policies.reload(&text("OTHER")).unwrap_err().to_string();
    assert_eq!(errors, r#"1:24: config.store.redis.url: the environment has no variable "OTHER""#);
    assert_eq!((policies.version(), opener.opened()), (1, 1), "the old ones stay");
}

#[test]
fn each_policy_has_a_fail_mode() {
    let setup = load(
        "limiters:\n  \
         open: { strategy: fixedWindow, limit: 10, period: 1m }\n  \
         closed: { strategy: fixedWindow, limit: 10, period: 1m, failMode: closed }\n  \
         local: { strategy: fixedWindow, limit: 10, period: 1m, failMode: { local: { share: 0.25 } } }",
    );
    setup.set(Mood::Down);
    for policy in ["open", "closed"] {
        assert!(setup.check(policy).unwrap_err().is_store_unavailable(), "{policy}: the caller applies it");
    }
    for remaining in [1, 0] {
        let decision = setup.check("local").unwrap();
        assert_eq!((decision.allowed, decision.limit, decision.remaining), (true, 2, remaining));
    }
    assert!(!setup.check("local").unwrap().allowed);

    let breaker = setup.policies.current().breaker().unwrap().clone();
    assert_eq!((breaker.state(), breaker.stats().failures, breaker.stats().opened), (BreakerState::Open, 2, 1));
    setup.recover();
    assert_eq!(setup.check("open").unwrap().remaining, 9);
    assert_eq!(setup.check("local").unwrap().limit, 10);

    setup.set(Mood::Down);
    assert_eq!(setup.check("local").unwrap().remaining, 1, "empty again, since another policy ended the outage");
}

#[test]
fn every_strategy_stands_in_for_itself() {
    let setup = load(
        "limiters:\n  \
         a: { strategy: gcra, limit: 8, period: 1s, failMode: { local: { share: 0.5 } } }\n  \
         b: { strategy: gcra, limit: 8, period: 1s, exact: true, failMode: { local: { share: 0.5 } } }\n  \
         c: { strategy: tokenBucket, capacity: 8, refillPerSec: 5, failMode: { local: { share: 0.5 } } }\n  \
         d: { strategy: fixedWindow, limit: 8, period: 2s, failMode: { local: { share: 0.5 } } }\n  \
         e: { strategy: slidingWindow, limit: 8, period: 2s, buckets: 4, failMode: { local: { share: 0.5 } } }\n  \
         f: { strategy: slidingWindowLog, limit: 8, period: 2s, failMode: { local: { share: 0.5 } } }\n  \
         g: { strategy: quota, limit: 8, resetCadence: fixed, period: 2s, failMode: { local: { share: 0.5 } } }\n  \
         h: { strategy: quota, limit: 8, resetCadence: rolling, period: 2s, failMode: { local: { share: 0.5 } } }",
    );
    for policy in setup.policies.names() {
        let limiter = setup.policies.get(&policy).unwrap().limiter().unwrap().clone();
        let name = limiter.strategy_name();
        setup.set(Mood::Down);
        let allowed = (0..10).filter(|_| setup.check(&policy).unwrap().allowed).count();
        assert_eq!((allowed, limiter.strategy_name(), limiter.limit()), (4, name, 8), "{policy}");
        setup.recover();
        let allowed = (0..10).filter(|_| setup.check(&policy).unwrap().allowed).count();
        assert_eq!(allowed, 8, "{policy}: the store counts on its own");
    }
}

#[test]
fn the_fail_mode_of_a_rule_comes_before_those_of_its_policies() {
    let setup = load(
        "limiters:\n  \
         open: { strategy: gcra, limit: 10, period: 1m }\n  \
         closed: { strategy: gcra, limit: 10, period: 1m, failMode: closed }\n  \
         half: { strategy: gcra, limit: 10, period: 1m, failMode: { local: { share: 0.5 } } }\n  \
         whole: { strategy: gcra, limit: 10, period: 1m, failMode: local }\n\
         http:\n  rules:\n    \
         - { path: /0, policy: open }\n    \
         - { path: /1, policy: closed }\n    \
         - { path: /2, policy: half }\n    \
         - { path: /3, policies: [open, half] }\n    \
         - { path: /4, policies: [half, whole] }\n    \
         - { path: /5, policies: [half, closed, open] }\n    \
         - { path: /6, policies: [closed, half], failMode: open }\n    \
         - { path: /7, policies: [open, half], failMode: { local: { share: 0.2 } } }\n    \
         - { path: /8, policy: half, failMode: closed }",
    );
    let local = |share| FailMode::Local(Share::new(share).unwrap());
    let modes: Vec<_> = setup.policies.current().rules().iter().map(Rule::fail_mode).collect();
    assert_eq!(
        modes,
        [
            FailMode::Open,
            FailMode::Closed,
            local(0.5),
            local(0.5),
            local(0.5),
            FailMode::Closed,
            FailMode::Open,
            local(0.2),
            FailMode::Closed
        ]
    );
    setup.set(Mood::Down);
    let limits: Vec<_> = (0..9).map(|index| ask(&setup.rule(index)).ok().map(|decision| decision.limit)).collect();
    assert_eq!(limits, [None, None, Some(5), Some(5), Some(5), None, None, Some(2), None]);
}

#[test]
fn several_policies_are_one_call_and_stand_in_together() {
    let setup = load(
        "limiters:\n  \
         small: { strategy: fixedWindow, limit: 2, period: 1m, failMode: local }\n  \
         large: { strategy: fixedWindow, limit: 10, period: 1m, failMode: local }\n\
         http:\n  rules:\n    \
         - { path: /both, policies: [large, small] }\n    \
         - { path: /large, policy: large }",
    );
    let (both, large) = (setup.rule(0), setup.rule(1));
    assert_eq!(ask(&both).unwrap().remaining, 1);
    assert_eq!(setup.opener.store.calls(), 1);
    assert_eq!(setup.opener.store.keys(), ["large:k", "small:k"]);

    setup.set(Mood::Down);
    let allowed: Vec<_> = (0..4).map(|_| ask(&both).unwrap().allowed).collect();
    assert_eq!(allowed, [true, true, false, false]);
    let alone = ask(&large).unwrap();
    assert_eq!((alone.limit, alone.remaining), (10, 7), "two together and one alone; none by what was denied");

    setup.recover();
    assert_eq!(ask(&both).unwrap().remaining, 0);
    setup.set(Mood::Down);
    assert_eq!(ask(&both).unwrap().remaining, 1, "empty again");
}

#[test]
fn rules_and_limiters_share_what_stands_in() {
    let setup = load(
        "limiters:\n  api: { strategy: fixedWindow, limit: 3, period: 1m, failMode: local }\n\
         http:\n  rules:\n    - { path: /, policy: api }",
    );
    setup.set(Mood::Down);
    assert_eq!(ask(&setup.rule(0)).unwrap().remaining, 2);
    assert_eq!(setup.check("api").unwrap().remaining, 1);
}

#[test]
fn in_memory_nothing_stands_in() {
    let text = "limiters:\n  api: { strategy: fixedWindow, limit: 3, period: 1m, failMode: local }\n\
                http:\n  rules:\n    - { path: /, policy: api }";
    let policies = Policies::from_yaml(text).unwrap();
    let set = policies.current();
    assert!(set.breaker().is_none() && set.rules()[0].standby().is_none());
    assert!(ask(&set.rules()[0]).unwrap().allowed);
}

#[test]
fn more_policies_than_decide_together_are_an_error_of_the_rule() {
    let limiters: Vec<_> = (0..17).map(|n| format!("  p{n}x: {{ strategy: gcra, limit: 1, period: 1s }}\n")).collect();
    let limiters = limiters.concat();
    let names: Vec<_> = (0..17).map(|n| format!("p{n}x")).collect();
    let rules = format!("http: {{ rules: [{{ path: /, policies: [{}] }}] }}", names.join(", "));
    let (_, _, options) = options();
    let errors = Policies::load(&format!("{STORE}limiters:\n{limiters}{rules}"), options).unwrap_err().to_string();
    assert_eq!(errors, "config.http.rules[0].policies: must be at most 16 (found 17)");
}

#[test]
fn a_reload_keeps_the_connections_of_an_unchanged_block() {
    const API: &str = "limiters: { api: { strategy: fixedWindow, limit: 5, period: 1m } }";
    let setup = load(API);
    setup.check("api").unwrap();
    let report =
        setup.policies.reload(&format!("{STORE}{}", API.replace("limit: 5", "limit: 9, failMode: closed"))).unwrap();
    assert_eq!((report.fate("api"), setup.opener.opened()), (Some(Fate::Kept), 1));
    assert_eq!(setup.check("api").unwrap().remaining, 7);

    let breaker = setup.policies.current().breaker().unwrap().clone();
    let other = STORE.replace("cache", "other");
    let report = setup.policies.reload(&format!("{other}{API}")).unwrap();
    assert_eq!((report.fate("api"), setup.opener.opened()), (Some(Fate::OtherStore), 2));
    assert!(report.to_string().contains("\napi: changed, what counts is what the other store holds\n"), "{report}");
    assert!(!Arc::ptr_eq(&breaker, setup.policies.current().breaker().unwrap()));

    let report = setup.policies.reload(API).unwrap();
    assert_eq!(report.fate("api"), Some(Fate::Reset("the store changed")));
    assert!(setup.policies.current().breaker().is_none());
    assert_eq!(setup.check("api").unwrap().remaining, 4, "in memory now");
    let report = setup.policies.reload(API).unwrap();
    assert!(!report.is_changed());
}

#[test]
fn another_way_to_the_same_store_leaves_what_it_holds() {
    const API: &str = "limiters: { api: { strategy: fixedWindow, limit: 1, period: 1m } }";
    let setup = load(API);
    assert!(setup.check("api").unwrap().allowed);
    let reload = |block: &str| setup.policies.reload(&format!("store: {{ {block} }}\n{API}")).unwrap();
    let tuned = [
        "redis: { url: redis://cache }, timeout: 300ms",
        "redis: { url: redis://cache }, breaker: { failures: 9 }",
        "redis: { url: redis://cache }, requireAtStart: true",
        "redis: { url: 'redis://me:hunter2@cache', connectTimeout: 1s }",
        "redis: { url: 'redis://me@cache', password: hunter3, ttlFloor: 1s, maxRetries: 1 }",
    ];
    for (block, opened) in tuned.into_iter().zip(2..) {
        let report = reload(block);
        assert_eq!((report.fate("api"), report.store_changed), (Some(Fate::Kept), true), "{block}");
        assert_eq!(setup.opener.opened(), opened, "its connections are new");
        assert!(!setup.check("api").unwrap().allowed, "{block}");
    }
    for url in ["redis://cache/1", "redis://cache:6380", "redis://me:hunter2@other"] {
        assert_eq!(reload(&format!("redis: {{ url: '{url}' }}")).fate("api"), Some(Fate::OtherStore), "{url}");
    }
    assert_eq!(setup.policies.reload(API).unwrap().fate("api"), Some(Fate::Reset("the store changed")));
    assert!(setup.check("api").unwrap().allowed);
    assert_eq!(
        (reload("memory: {}, timeout: 300ms").fate("api"), setup.check("api").unwrap().allowed),
        (Some(Fate::Unchanged), false)
    );
}

#[test]
fn a_reload_tells_when_stored_states_mean_something_else() {
    let setup = load("limiters: { api: { strategy: fixedWindow, limit: 5, period: 1m } }");
    let reload = |limiter: &str| {
        let report = setup.policies.reload(&format!("{STORE}limiters: {{ api: {{ {limiter} }} }}")).unwrap();
        (report.fate("api").unwrap(), report.to_string())
    };
    let window = "the window changed";
    let (fate, text) = reload("strategy: fixedWindow, limit: 5, period: 1h");
    assert_eq!(fate, Fate::Stored(window));
    assert_eq!(
        text,
        "version 2\napi: changed, the states in the store are of the policy as it was: the window changed"
    );
    assert_eq!(reload("strategy: fixedWindow, limit: 5, period: 1h, maxKeys: 10").0, Fate::Kept);
    assert_eq!(reload("strategy: gcra, limit: 5, period: 1h").0, Fate::Stored("the strategy changed"));
    let renamed = reload("strategy: quota, limit: 5, resetCadence: calendar-day, prefix: daily").0;
    assert_eq!(renamed, Fate::Reset("the prefix changed"));
}

#[test]
fn a_reload_tells_when_stored_states_expire_too_early() {
    for (before, after, fate) in [
        (
            "capacity: 10, refillPerSec: 10",
            "capacity: 10, refillPerSec: 0.01",
            Fate::Stored("they expire when it said"),
        ),
        ("capacity: 10, refillPerSec: 10", "capacity: 20, refillPerSec: 20", Fate::Kept),
        ("capacity: 10, refillPerSec: 10", "capacity: 5, refillPerSec: 10", Fate::Kept),
    ] {
        let text = |fields: &str| format!("limiters: {{ api: {{ strategy: tokenBucket, {fields} }} }}");
        let setup = load(&text(before));
        let report = setup.policies.reload(&format!("{STORE}{}", text(after))).unwrap();
        assert_eq!(report.fate("api"), Some(fate), "{after}");
    }
    let log =
        |period: &str| format!("limiters: {{ api: {{ strategy: slidingWindowLog, limit: 5, period: {period} }} }}");
    let setup = load(&log("1m"));
    let fate = |period: &str| setup.policies.reload(&format!("{STORE}{}", log(period))).unwrap().fate("api");
    assert_eq!([fate("30s"), fate("1h")], [Fate::Kept, Fate::Stored("they expire when it said")].map(Some));
    let fleet = |carry: bool| {
        format!("limiters: {{ api: {{ fleetBudget: {{ budget: 9, windowMs: 9, carryDebt: {carry} }} }} }}")
    };
    let setup = load(&fleet(false));
    let fate = |carry: bool| setup.policies.reload(&format!("{STORE}{}", fleet(carry))).unwrap().fate("api");
    assert_eq!([fate(true), fate(false)], [Fate::Stored("they expire when it said"), Fate::Kept].map(Some));
}

#[test]
fn old_policies_go_on_over_the_store_they_had() {
    const API: &str = "limiters: { api: { strategy: fixedWindow, limit: 5, period: 1m, failMode: local } }";
    let setup = load(API);
    let old = setup.policies.get("api").unwrap();
    setup.policies.reload(API).unwrap();
    assert_eq!(polled(old.limiter().unwrap().check("k", 1.0), 1).unwrap().unwrap().remaining, 4);
    setup.set(Mood::Down);
    assert_eq!(polled(old.limiter().unwrap().check("k", 1.0), 1).unwrap().unwrap().remaining, 4);
}

#[test]
fn the_store_is_asked_at_the_start() {
    const NONE: &str = "limiters: {}";
    let ready = |policies: &Policies| polled(policies.ready(), 1).expect("an answer at once");
    let memory = Policies::from_yaml(NONE).unwrap();
    assert!(ready(&memory).unwrap().is_none());

    let setup = load(NONE);
    assert!(ready(&setup.policies).unwrap().is_none());
    assert_eq!(setup.opener.store.keys(), [""; 0], "it writes nothing");
    setup.set(Mood::Down);
    assert_eq!(ready(&setup.policies).unwrap().unwrap().to_string(), "store is unavailable: connection refused");
    let breaker = setup.policies.current().breaker().unwrap().clone();
    assert_eq!(breaker.stats().failures, 0);

    let required = STORE.replace("breaker", "requireAtStart: true, breaker");
    setup.policies.reload(&format!("{required}{NONE}")).unwrap();
    assert!(ready(&setup.policies).unwrap_err().is_store_unavailable());
    setup.set(Mood::Up);
    assert!(ready(&setup.policies).unwrap().is_none());
}

#[test]
fn at_the_start_connecting_may_take_longer_than_a_call() {
    let setup = load("limiters: {}");
    setup.set(Mood::Hung);
    let mut ready = std::pin::pin!(setup.policies.ready());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(ready.as_mut().poll(&mut context).is_pending());
    setup.clock.advance(749.0);
    assert!(ready.as_mut().poll(&mut context).is_pending());
    setup.clock.advance(1.0);
    let std::task::Poll::Ready(Ok(Some(error))) = ready.as_mut().poll(&mut context) else { panic!("a warning") };
    assert_eq!(error.to_string(), "store is unavailable: no answer within 750ms");
}

#[test]
fn the_block_sets_the_limits_of_time() {
    let (clock, opener, options) = options();
    let text = "store: { redis: { url: redis://c }, timeout: 40ms, breaker: { failures: 1, probeInterval: 30ms } }\n\
                limiters: { api: { strategy: gcra, limit: 5, period: 1m } }";
    let policies = Policies::load(text, options).unwrap();
    let setup = Setup { clock, opener, policies };
    let breaker = setup.policies.current().breaker().unwrap().clone();
    assert_eq!(breaker.timeout(), Duration::from_millis(40));
    setup.set(Mood::Down);
    setup.check("api").unwrap_err();
    assert_eq!(breaker.state(), BreakerState::Open);
    setup.set(Mood::Up);
    setup.clock.advance(29.0);
    setup.check("api").unwrap_err();
    setup.clock.advance(1.0);
    setup.check("api").unwrap();
}

#[test]
fn observers_see_each_failure() {
    let (clock, opener, options) = options();
    let observer = Arc::new(Recorder::default());
    let text = format!(
        "{STORE}limiters:\n  a: {{ strategy: gcra, limit: 5, period: 1m, failMode: local }}\n  \
         b: {{ strategy: gcra, limit: 5, period: 1m }}\nhttp:\n  rules:\n    - {{ path: /, policies: [a, b] }}"
    );
    let policies = Policies::load(&text, options.observer(observer.clone())).unwrap();
    let setup = Setup { clock, opener, policies };
    setup.set(Mood::Down);
    for _ in 0..3 {
        ask(&setup.rule(0)).unwrap();
    }
    let seen: Vec<_> = observer.take().into_iter().map(|seen| (seen.policy, seen.result.map(|d| d.allowed))).collect();
    let pair = [("a+b".to_owned(), Err("store_unavailable")), ("a".to_owned(), Ok(true))];
    assert_eq!(seen, [&pair[..], &pair[..], &pair[..]].concat());
}
