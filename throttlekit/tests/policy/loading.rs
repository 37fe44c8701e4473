//! Policies from a text and from an object, over one store.

use throttlekit::config::{Config, LimiterSpec, StrategySpec};
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::{Decision, ManualClock};

use crate::support::outage::Opener;
use crate::support::{allow, deny, polled};

/// These policies in one store, at time 0.
fn stored(text: &str) -> Policies {
    let clock = ManualClock::new(0.0);
    let options = LoadOptions::new().clock(clock.clone()).connector(Opener::new(&clock));
    Policies::load(&format!("store: {{ redis: {{ url: redis://cache }} }}\n{text}"), options).unwrap()
}

fn check(policies: &Policies, name: &str) -> Decision {
    let policy = policies.get(name).unwrap();
    polled(policy.limiter().unwrap().check("k", 1.0), 1).expect("an answer at once").unwrap()
}

#[test]
fn policies_of_one_store_do_not_meet() {
    let policies = stored(
        "limiters:\n  \
         api: { strategy: gcra, limit: 3, period: 1m }\n  \
         uploads: { strategy: fixedWindow, limit: 2, period: 1s }\n  \
         monthly: { strategy: quota, limit: 5, resetCadence: calendar-month }",
    );
    assert_eq!(policies.names(), ["api", "uploads", "monthly"]);
    let allowed = |name, n| (0..n).map(|_| check(&policies, name).allowed).collect::<Vec<_>>();
    assert_eq!(allowed("api", 4), [true, true, true, false]);
    assert_eq!(allowed("uploads", 3), [true, true, false], "the same key, another policy");
    assert_eq!(policies.get("monthly").unwrap().limiter().unwrap().limit(), 5);
    assert_eq!(check(&policies, "monthly").remaining, 4);
}

#[test]
fn a_default_prefix_is_a_namespace_and_not_one_record() {
    const TWO: &str = "defaults: { prefix: tk }\nlimiters:\n  \
                       a: { strategy: fixedWindow, limit: 1, period: 1m }\n  \
                       b: { strategy: fixedWindow, limit: 1, period: 1m }\n";
    let policies = stored(TWO);
    assert_eq!(["a", "b"].map(|name| check(&policies, name)), [allow(1, 0, 60_000); 2]);
    assert_eq!(["a", "b"].map(|name| check(&policies, name)), [deny(1, 0, 60_000, 60_000); 2]);

    let shared = stored(&format!("{TWO}compat: {{ sharedDefaultsPrefix: true }}"));
    let expected = [allow(1, 0, 60_000), deny(1, 0, 60_000, 60_000)];
    assert_eq!(["a", "b"].map(|name| check(&shared, name)), expected, "as Node releases of the family do");
}

#[test]
fn policies_come_from_an_object_too() {
    let mut config = Config::default();
    let bucket = StrategySpec::TokenBucket { capacity: 10.0, refill_per_sec: 5.0 };
    let window = StrategySpec::SlidingWindow { limit: 4.0, window_ms: 2_000.0, buckets: 4 };
    config.limiters = [("bucket", bucket), ("window", window)].map(|(name, spec)| LimiterSpec::new(name, spec)).into();
    let policies = Policies::from_config(config, LoadOptions::new().clock(ManualClock::new(0.0))).unwrap();
    let described = policies.names().into_iter().map(|name| {
        let strategy = policies.get(&name).unwrap().limiter().unwrap().strategy_name();
        (strategy, check(&policies, &name).remaining)
    });
    assert_eq!(described.collect::<Vec<_>>(), [("tokenBucket", 9), ("slidingWindow", 3)]);
}

#[test]
fn a_reload_does_not_take_the_last_rule() {
    let limiters = |limit: u32| format!("limiters: {{ x: {{ strategy: gcra, limit: {limit}, period: 1h }} }}");
    let policies =
        Policies::from_yaml(&format!("{}\nhttp: {{ rules: [{{ path: /a, policy: x }}] }}", limiters(2))).unwrap();
    let expected = "config.http.rules: at least one rule is required, since there is 1 now and without any nothing would be \
                    limited (found none); `shadow: true` in http.defaults lets every request pass";
    assert_eq!(policies.reload(&limiters(2)).unwrap_err().to_string(), expected);
    let config = Config::from_yaml(&limiters(2)).unwrap();
    assert_eq!(policies.reload_config(config).unwrap_err().to_string(), expected);
    assert_eq!((policies.version(), policies.current().rule_for("GET", "/a")), (1, Some(0)));

    let unruled = Policies::from_yaml(&limiters(2)).unwrap();
    assert_eq!(unruled.reload(&limiters(3)).unwrap().version, 2, "it never had any");
}
