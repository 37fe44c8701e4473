//! Policies of other kinds than plain ones: what they decide, where their keys are, and what a reload leaves of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use throttlekit::policy::{Fate, LoadOptions, Policies, RuleLimit};
use throttlekit::{
    Admission, Admit, Ask, Axis, BoxFuture, Decision, Error, Event, ManualClock, Meter, Observer, Refund, Runtime,
    TaskHandle,
};

use crate::support::outage::{Mood, Opener};
use crate::support::polled;

const STORE: &str = "store: { redis: { url: redis://cache }, breaker: { failures: 2 } }\n";

fn in_memory(text: &str) -> (ManualClock, Policies) {
    let clock = ManualClock::new(1_000_000.0);
    let policies = Policies::load(text, LoadOptions::new().clock(clock.clone())).unwrap();
    (clock, policies)
}

fn over_store(text: &str) -> (Opener, Policies) {
    let clock = ManualClock::new(1_000_000.0);
    let opener = Opener::new(&clock);
    let options = LoadOptions::new().clock(clock).connector(opener.clone());
    (opener, Policies::load(&format!("{STORE}{text}"), options).unwrap())
}

fn check(policies: &Policies, policy: &str, key: &str, cost: f64) -> Result<Decision, Error> {
    polled(policies.get(policy).unwrap().limiter().unwrap().check(key, cost), 1).expect("an answer at once")
}

fn left(policies: &Policies, policy: &str, key: &str, cost: f64) -> (bool, u64) {
    let decision = check(policies, policy, key, cost).unwrap();
    (decision.allowed, decision.remaining)
}

fn admit(policies: &Policies, policy: &str, key: &str, cost: f64) -> Admission {
    let admitted = policies.get(policy).unwrap().admit().admit(&Ask::new(key).cost(cost));
    polled(admitted, 1).expect("an answer at once").unwrap()
}

const FOUR: &str = "
limiters:
  tiers: { strategy: fixedWindow, limit: 10, period: 100s, twoTier: { batch: 4, windowCoupled: true } }
  tokens: { tokenBudget: { budget: 10, windowMs: 100000 } }
  fleet: { fleetBudget: { budget: 10, windowMs: 100000 } }
  fair: { fairEscrow: { limit: 10, windowMs: 100000, weights: { gold: 4 } } }
";

fn each_decides_as_its_kind_does(policies: &Policies) {
    // The last lease has 2 units only.
    let allowed: Vec<_> = (0..11).map(|_| check(policies, "tiers", "k", 1.0).unwrap().allowed).collect();
    assert_eq!(allowed, [[true; 10].as_slice(), &[false]].concat());

    for budget in ["tokens", "fleet"] {
        assert_eq!(left(policies, budget, "a", 9.0), (true, 1));
        assert_eq!(left(policies, budget, "a", 5.0), (true, 0), "what crosses the budget counts in full");
        assert_eq!(left(policies, budget, "b", 1.0), (true, 9));
        let denied = admit(policies, budget, "a", 1.0);
        assert_eq!((denied.binding, denied.decision.retry_after_ms), (Some(Axis::Cost), 100_000));
        assert!(check(policies, budget, "a", 0.5).unwrap_err().code() == "invalid_argument");
    }

    assert_eq!(left(policies, "fair", "gold", 1.0), (true, 9));
    assert_eq!(left(policies, "fair", "basic", 2.0), (true, 0));
    assert!(!check(policies, "fair", "basic", 1.0).unwrap().allowed, "the rest is owed to gold");
    assert_eq!(left(policies, "fair", "gold", 7.0), (true, 0));
}

#[test]
fn each_kind_decides_in_memory() {
    let (_, policies) = in_memory(FOUR);
    each_decides_as_its_kind_does(&policies);
}

#[test]
fn each_kind_decides_over_a_store_which_has_the_keys_of_some() {
    let (opener, policies) = over_store(FOUR);
    each_decides_as_its_kind_does(&policies);
    let keys = opener.store.keys();
    assert_eq!(keys, ["fleet:a", "fleet:b", "tiers:k"]);
}

#[test]
fn leases_spare_trips() {
    let (opener, policies) = over_store(
        "limiters:
  strict: { strategy: fixedWindow, limit: 8, period: 100s, twoTier: { mode: strict, batch: 4 } }
  denials: { strategy: fixedWindow, limit: 2, period: 100s, twoTier: { mode: cached-deny } }
  leased: { strategy: gcra, limit: 100, period: 100s, twoTier: { batch: 4 } }
  learnt: { strategy: gcra, limit: 100, period: 100s, twoTier: { adaptive: { orderCost: 20, strandPenalty: 1, initialSize: 3 } } }
  guided: { strategy: gcra, limit: 100, period: 100s, twoTier: { batch: 5, adaptive: { orderCost: 20, strandPenalty: 1, predictive: true } } }
  budget: { fleetBudget: { budget: 100, windowMs: 100000, leased: { batch: 6 } } }
",
    );
    for (policy, checks, trips) in
        [("strict", 8, 8), ("denials", 8, 3), ("leased", 8, 2), ("learnt", 9, 3), ("guided", 10, 2), ("budget", 12, 2)]
    {
        let before = opener.store.calls();
        for _ in 0..checks {
            check(&policies, policy, "k", 1.0).unwrap();
        }
        assert_eq!(opener.store.calls() - before, trips, "{policy}");
    }
}

#[test]
fn what_was_counted_too_high_goes_back() {
    let (_, policies) =
        in_memory("limiters: { t: { tokenBudget: { budget: 10, windowMs: 1000, maxDebt: 5, carryDebt: true } } }");
    let limiter = policies.get("t").unwrap().limiter().unwrap().clone();
    assert_eq!(left(&policies, "t", "k", 9.0), (true, 1));
    assert!(limiter.charge("k", 50.0).now().unwrap().unwrap().allowed);
    assert!(!limiter.peek("k").now().unwrap().unwrap().allowed);
    assert!(limiter.refunds());
    assert_eq!(limiter.give_back("k", Refund::new(52.0)).now().unwrap().unwrap().remaining, 3, "59 of 10 less 52");
    assert_eq!(limiter.forecast("k", 1.0).now().unwrap().unwrap().spendable_now, 3);
    let many = limiter.check_many(&["k", "l"], 2.0).now().unwrap().unwrap();
    assert_eq!(many.iter().map(|decision| decision.remaining).collect::<Vec<_>>(), [1, 8]);
    assert_eq!((limiter.limit(), limiter.window_ms(), limiter.strategy_name()), (10, Some(1_000.0), "tokenBudget"));
    limiter.reset("k").now().unwrap().unwrap();
    assert_eq!(left(&policies, "t", "k", 1.0), (true, 9));
}

#[test]
fn shares_are_checked_and_not_peeked_at() {
    let (_, policies) = in_memory("limiters: { f: { fairEscrow: { limit: 10, windowMs: 1000 } } }");
    let limiter = policies.get("f").unwrap().limiter().unwrap().clone();
    let many = limiter.check_many(&["a", "b"], 2.0).now().unwrap().unwrap();
    assert_eq!(many.iter().map(|decision| decision.limit).collect::<Vec<_>>(), [10, 5]);
    assert!(limiter.peek("a").now().unwrap().is_err());
    assert!(limiter.forecast("a", 1.0).now().unwrap().is_err());
    limiter.reset("a").now().unwrap().unwrap();
    assert_eq!(left(&policies, "f", "a", 1.0), (true, 4));
    assert_eq!((limiter.limit(), limiter.window_ms(), limiter.strategy_name()), (10, Some(1_000.0), "fairEscrow"));
}

/// Keeps the name and the axis of every event.
#[derive(Clone, Default)]
struct Axes(Arc<std::sync::Mutex<Vec<(String, Axis)>>>);

impl Observer for Axes {
    fn observe(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push((event.policy.to_owned(), event.axis));
    }
}

#[test]
fn an_observer_sees_every_kind_under_its_name() {
    let seen = Axes::default();
    let options = LoadOptions::new().clock(ManualClock::new(0.0)).observer(seen.clone());
    let policies = Policies::load(FOUR, options).unwrap();
    for policy in ["tiers", "tiers", "tokens", "fleet", "fair"] {
        check(&policies, policy, "k", 1.0).unwrap();
    }
    let told = |policy: &str, axis| (policy.to_owned(), axis);
    let expected = [
        told("tiers", Axis::Rate),
        told("tiers", Axis::Rate),
        told("tokens", Axis::Cost),
        told("fleet", Axis::Cost),
        told("fair", Axis::Rate),
    ];
    assert_eq!(*seen.0.lock().unwrap(), expected);
}

#[test]
fn fail_modes_apply_where_the_store_does() {
    let (opener, policies) = over_store(
        "limiters:
  tiers: { strategy: fixedWindow, limit: 10, period: 100s, failMode: { local: { share: 0.5 } }, twoTier: { batch: 4 } }
  fleet: { fleetBudget: { budget: 10, windowMs: 100000 }, failMode: { local: { share: 0.2 } } }
  leased: { fleetBudget: { budget: 10, windowMs: 100000, leased: { batch: 4 } }, failMode: { local: { share: 0.2 } } }
  open: { fleetBudget: { budget: 10, windowMs: 100000 } }
  tokens: { tokenBudget: { budget: 10, windowMs: 100000 } }
  fair: { fairEscrow: { limit: 10, windowMs: 100000 } }
http:
  rules:
    - { path: /tokens, policy: tokens, failMode: local }
    - { path: /open, policy: open, failMode: { local: { share: 0.4 } } }
",
    );
    opener.store.set(Mood::Down);
    let decides =
        |policy: &str| check(&policies, policy, "k", 1.0).map(|decision| (decision.limit, decision.remaining));
    assert_eq!(decides("tiers").unwrap(), (5, 4));
    assert_eq!(decides("fleet").unwrap(), (2, 1));
    // What crosses a leased budget is refused, also by what stands in for it.
    assert_eq!(decides("leased").unwrap(), (2, 1));
    assert_eq!(left(&policies, "leased", "k", 2.0), (false, 1));
    assert!(decides("open").unwrap_err().is_store_unavailable());
    assert_eq!((decides("tokens").unwrap(), decides("fair").unwrap()), ((10, 9), (10, 9)), "they need no store");

    let set = policies.current();
    let [tokens, open] = set.rules() else { panic!("two rules") };
    assert!(matches!((tokens.limit(), tokens.standby()), (RuleLimit::One(_), None)), "nothing stands in");
    let standby = open.standby().unwrap().admit(&Ask::new("k")).now().unwrap().unwrap();
    assert_eq!((standby.decision.limit, standby.binding), (4, None));
}

#[test]
fn a_budget_in_the_store_is_charged_with_other_limits_all_or_none() {
    let (_, policies) = over_store(
        "limiters:
  api: { strategy: fixedWindow, limit: 2, period: 100s }
  fleet: { fleetBudget: { budget: 10, windowMs: 100000 } }
http: { rules: [{ path: /, policies: [api, fleet] }] }
",
    );
    let rule = policies.current().rules()[0].clone();
    let RuleLimit::Joint(joint) = rule.limit() else { panic!("two limits") };
    let allowed = || polled(joint.admit(&Ask::new("k")), 1).unwrap().unwrap().decision.allowed;
    assert_eq!([allowed(), allowed(), allowed()], [true, true, false]);
    assert_eq!(left(&policies, "fleet", "k", 1.0), (true, 7), "the denied request took nothing");
}

/// Counts what is spawned, and runs nothing.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicU64>);

impl Runtime for Counting {
    fn spawn(&self, _task: BoxFuture<()>) -> TaskHandle {
        self.0.fetch_add(1, Ordering::SeqCst);
        let tasks = Arc::clone(&self.0);
        TaskHandle::new(move || {
            tasks.fetch_sub(1, Ordering::SeqCst);
        })
    }

    fn sleep(&self, _span: Duration) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
}

#[test]
fn a_task_runs_where_leases_need_it_and_ends_with_the_policy() {
    let text =
        |block: &str| format!("limiters: {{ a: {{ strategy: gcra, limit: 9, period: 1s, twoTier: {{ {block} }} }} }}");
    let idle = text("batch: 4, returnIdleAfterMs: 100");
    let error = Policies::from_yaml(&idle).unwrap_err().to_string();
    assert_eq!(
        error,
        "config.limiters[a].twoTier.returnIdleAfterMs: must have a runtime that looks for idle keys (found 100)"
    );
    let runtime = Counting::default();
    let tasks = || runtime.0.load(Ordering::SeqCst);
    let load = |text: &str| Policies::load(text, LoadOptions::new().runtime(runtime.clone())).unwrap();
    let policies = load(&text("batch: 4"));
    assert_eq!(tasks(), 0);
    policies.reload(&idle).unwrap();
    assert_eq!(tasks(), 1);
    policies.reload(&text("batch: 4, lowWater: 2")).unwrap();
    assert_eq!(tasks(), 1, "the one before has ended");
    policies.reload("limiters: {}").unwrap();
    assert_eq!(tasks(), 0);
    load("limiters: { b: { fleetBudget: { budget: 9, windowMs: 9, leased: { batch: 4, lowWater: 1 } } } }");
    assert_eq!(tasks(), 0, "it is gone");
}

#[test]
fn a_reload_keeps_what_still_means_the_same() {
    let (_, policies) = in_memory(FOUR);
    for (policy, cost) in [("tiers", 1.0), ("tokens", 3.0), ("fleet", 3.0), ("fair", 3.0)] {
        assert!(check(&policies, policy, "k", cost).unwrap().allowed);
    }
    let before = policies.get("tiers").unwrap();
    let report = policies.reload(&format!("{FOUR}  more: {{ tokenBudget: {{ budget: 1, windowMs: 1 }} }}\n")).unwrap();
    assert_eq!(report.policies.iter().filter(|(_, fate)| *fate == Fate::Unchanged).count(), 4);
    assert!(Arc::ptr_eq(&before, &policies.get("tiers").unwrap()));

    let changed = "
limiters:
  tiers: { strategy: fixedWindow, limit: 9, period: 100s, twoTier: { batch: 2, windowCoupled: true } }
  tokens: { tokenBudget: { budget: 8, windowMs: 100000 } }
  fleet: { fleetBudget: { budget: 8, windowMs: 100000, leased: { batch: 2 } } }
  fair: { fairEscrow: { limit: 10, windowMs: 100000, weights: { gold: 4 }, unit: tokens } }
";
    let report = policies.reload(changed).unwrap();
    let fates = |report: &throttlekit::policy::ReloadReport| {
        ["tiers", "tokens", "fleet", "fair"].map(|policy| report.fate(policy).unwrap())
    };
    assert_eq!(fates(&report), [Fate::Kept; 4]);
    // Of the 4 units that were leased, those that were not used are lost until the window ends.
    assert!(!check(&policies, "tiers", "k", 6.0).unwrap().allowed);
    assert!(check(&policies, "tiers", "k", 5.0).unwrap().allowed);
    assert_eq!(left(&policies, "tokens", "k", 1.0), (true, 4));
    assert!(!check(&policies, "fleet", "k", 6.0).unwrap().allowed);
    assert!(check(&policies, "fleet", "k", 5.0).unwrap().allowed);
    assert_eq!(left(&policies, "fair", "k", 1.0), (true, 6));

    let reset = "
limiters:
  tiers: { strategy: gcra, limit: 9, period: 100s }
  tokens: { tokenBudget: { budget: 8, windowMs: 100000, maxKeys: 5 } }
  fleet: { fleetBudget: { budget: 8, windowMs: 50000 } }
  fair: { fairEscrow: { limit: 10, windowMs: 100000 } }
";
    let report = policies.reload(reset).unwrap();
    let why = [
        "the strategy changed",
        "maxKeys changed",
        "the window changed",
        "the limit, the window or the weights changed",
    ];
    assert_eq!(fates(&report), why.map(Fate::Reset));
    assert_eq!(left(&policies, "fair", "k", 1.0), (true, 9));

    let other = "limiters: { tiers: { tokenBudget: { budget: 8, windowMs: 1 } } }";
    assert_eq!(policies.reload(other).unwrap().fate("tiers"), Some(Fate::Reset("the kind of the limiter changed")));
}

#[test]
fn over_a_store_the_keys_stay_where_they_are() {
    let (_, policies) = over_store(FOUR);
    for policy in ["tokens", "fleet"] {
        assert_eq!(left(&policies, policy, "k", 3.0), (true, 7));
    }
    let window = format!("{STORE}{}", FOUR.replace("100000 } }\n  fair", "50000 } }\n  fair"));
    assert_eq!(policies.reload(&window).unwrap().fate("fleet"), Some(Fate::Stored("the window changed")));
    let prefix = window.replace("windowMs: 50000", "windowMs: 50000, prefix: other");
    assert_eq!(policies.reload(&prefix).unwrap().fate("fleet"), Some(Fate::Reset("the prefix changed")));
    assert_eq!(left(&policies, "fleet", "k", 3.0), (true, 7));
    // Another store does not matter to what is in process.
    let report = policies.reload(&prefix.replace("redis://cache", "redis://other")).unwrap();
    let (other, unchanged) = (Some(Fate::OtherStore), Some(Fate::Unchanged));
    let fates = ["tiers", "tokens", "fleet", "fair"].map(|policy| report.fate(policy));
    assert_eq!(fates, [other, unchanged, other, unchanged]);
    assert_eq!(left(&policies, "tokens", "k", 1.0), (true, 6));
    // Nor do prefixes, and what was counted there goes on.
    let report = policies.reload(&format!("defaults: {{ prefix: tk }}\n{prefix}")).unwrap();
    assert_eq!([report.fate("tokens"), report.fate("fair")], [unchanged; 2]);
    let report = policies.reload(&prefix.replace("tokenBudget: { budget: 10", "tokenBudget: { budget: 9")).unwrap();
    assert_eq!(report.fate("tokens"), Some(Fate::Kept));
    assert_eq!(left(&policies, "tokens", "k", 1.0), (true, 4));
}

#[test]
fn over_a_store_another_kind_reads_what_is_there() {
    const WINDOW: &str = "strategy: fixedWindow, limit: 10, period: 100s, prefix: p";
    const TIERS: &str = "strategy: fixedWindow, limit: 10, period: 100s, prefix: p, twoTier: { batch: 4 }";
    const FLEET: &str = "fleetBudget: { budget: 10, windowMs: 100000, prefix: p }";
    const LOCAL: &str = "tokenBudget: { budget: 10, windowMs: 100000 }";
    const GCRA: &str = "strategy: gcra, limit: 10, period: 100s, prefix: p";
    const EXACT: &str = "strategy: gcra, limit: 10, period: 100s, prefix: p, exact: true";
    let kind = "the kind of the limiter changed";
    let strategy = "the strategy changed";
    for (before, after, fate, error) in [
        (WINDOW, FLEET, Fate::Stored(kind), Some("state_invalid")),
        (TIERS, FLEET, Fate::Stored(kind), Some("state_invalid")),
        (FLEET, WINDOW, Fate::Stored(kind), Some("state_invalid")),
        (GCRA, WINDOW, Fate::Stored(strategy), Some("state_invalid")),
        // These keep keys of their own, there or in process.
        (EXACT, FLEET, Fate::Reset(kind), None),
        (EXACT, GCRA, Fate::Reset(strategy), None),
        (GCRA, EXACT, Fate::Reset(strategy), None),
        (WINDOW, LOCAL, Fate::Reset(kind), None),
        (LOCAL, WINDOW, Fate::Reset(kind), None),
    ] {
        let (_, policies) = over_store(&format!("limiters: {{ x: {{ {before} }} }}"));
        assert!(check(&policies, "x", "k", 9.0).unwrap().allowed);
        let report = policies.reload(&format!("{STORE}limiters: {{ x: {{ {after} }} }}")).unwrap();
        assert_eq!(report.fate("x"), Some(fate), "{before} -> {after}");
        let found = check(&policies, "x", "k", 9.0);
        assert_eq!(found.as_ref().map_err(Error::code).map(|decision| decision.allowed), error.map_or(Ok(true), Err));
    }
}
