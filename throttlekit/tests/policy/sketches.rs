//! Policies over sketches and behind deny lists: what they decide, and what a reload leaves of them.

use std::sync::{Arc, Mutex};

use throttlekit::policy::{Entry, Fate, LoadOptions, Policies, RuleLimit};
use throttlekit::{Admission, AdmissionEvent, Admit, Ask, Axis, Decision, Event, ManualClock, Observer};

use crate::support::outage::{Mood, Opener};
use crate::support::polled;

fn in_memory(text: &str) -> (ManualClock, Policies) {
    let clock = ManualClock::new(1_000_000.0);
    let policies = Policies::load(text, LoadOptions::new().clock(clock.clone())).unwrap();
    (clock, policies)
}

fn admit(policies: &Policies, policy: &str, key: &str) -> Admission {
    polled(policies.get(policy).unwrap().admit().admit(&Ask::new(key)), 1).expect("an answer at once").unwrap()
}

fn allowed(policies: &Policies, policy: &str, key: &str) -> bool {
    admit(policies, policy, key).decision.allowed
}

/// What the first rule decides; it has slots or a deny list.
fn enter(policies: &Policies, key: &str) -> Entry {
    let rule = policies.current().rules()[0].clone();
    polled(rule.guarded().expect("more than limits").enter(&Ask::new(key)), 1).expect("an answer at once")
}

fn entered(policies: &Policies, key: &str) -> Admission {
    enter(policies, key).result.unwrap()
}

#[test]
fn a_screen_never_admits_more_and_gives_states_to_those_who_are_used_much() {
    let (clock, policies) = in_memory(
        "limiters: { a: { strategy: fixedWindow, limit: 4, period: 1s, maxKeys: 10, screen: { threshold: 2, shards: 1 } } }",
    );
    for id in 0..500 {
        assert!(allowed(&policies, "a", &format!("once-{id}")));
    }
    let counts: Vec<_> = (0..6).map(|_| allowed(&policies, "a", "much")).collect();
    assert_eq!(counts, [true, true, true, true, false, false]);
    clock.advance(1_000.0);
    assert!(allowed(&policies, "a", "much"));
    let limiter = policies.get("a").unwrap().limiter().unwrap().clone();
    assert_eq!((limiter.strategy_name(), limiter.limit()), ("fixedWindow", 4));
    assert!(limiter.reset("much").now().unwrap().is_err(), "a sketch cannot forget one key");
}

#[test]
fn a_sketch_limits_by_window_alone() {
    let (clock, policies) = in_memory(
        "limiters:
  a: { sketch: { limit: 2, windowMs: 1000 } }
  b: { sketch: { limit: 2, windowMs: 1000, sliding: true, width: 500, depth: 3 } }
",
    );
    for policy in ["a", "b"] {
        let counts: Vec<_> = (0..3).map(|_| allowed(&policies, policy, "k")).collect();
        assert_eq!(counts, [true, true, false]);
        assert!(allowed(&policies, policy, "l"));
    }
    clock.advance(1_000.0);
    assert!(allowed(&policies, "a", "k"));
    assert!(!allowed(&policies, "b", "k"), "the half before counts too");
    clock.advance(500.0);
    assert!(allowed(&policies, "b", "k"));
    let limiter = policies.get("b").unwrap().limiter().unwrap().clone();
    assert_eq!((limiter.strategy_name(), limiter.limit(), limiter.window_ms()), ("sketch", 2, Some(1_000.0)));
}

const LISTED: &str = "
limiters:
  a:
    strategy: fixedWindow
    limit: 1
    period: 1s
    denyList: { denials: 3, windowMs: 1000, ttlMs: 60000, places: 64 }
";

#[test]
fn a_key_that_only_knocks_is_refused_without_asking() {
    let (clock, policies) = in_memory(LISTED);
    let list = policies.get("a").unwrap().deny_list().unwrap().clone();
    assert!(allowed(&policies, "a", "k"));
    for _ in 0..3 {
        let denied = admit(&policies, "a", "k");
        assert_eq!((denied.decision.limit, denied.decision.retry_after_ms), (1, 1_000));
    }
    let refused = admit(&policies, "a", "k");
    assert_eq!((refused.decision.limit, refused.decision.retry_after_ms), (0, 60_000));
    assert_eq!(refused.binding, Some(Axis::Rate));
    assert!(allowed(&policies, "a", "l"));
    clock.advance(1_000.0);
    assert!(!allowed(&policies, "a", "k"), "also when the limit would let it pass");
    assert!(list.pardon("k"));
    assert!(allowed(&policies, "a", "k"));
    list.deny("m", 0.0, 1_061_000.0);
    assert!(!allowed(&policies, "a", "m"));
    clock.advance(60_000.0);
    assert!(allowed(&policies, "a", "m"));
}

const RULE: &str = "
limiters:
  slots: { concurrency: { limit: 2 } }
  loose: { strategy: fixedWindow, limit: 9, period: 1h }
  tight: { strategy: fixedWindow, limit: 1, period: 1h, denyList: { denials: 2, ttlMs: 1000, places: 64 } }
http: { rules: [{ path: /, policies: [slots, loose, tight] }] }
";

#[test]
fn the_list_of_a_policy_is_in_front_of_its_rule() {
    let (_, policies) = in_memory(RULE);
    let left = |policy: &str, key: &str| {
        policies.get(policy).unwrap().limiter().unwrap().peek(key).now().unwrap().unwrap().remaining
    };
    let first = entered(&policies, "k");
    assert!(first.decision.allowed);
    for _ in 0..2 {
        let denied = entered(&policies, "k");
        let each: Vec<_> = denied.each.unwrap().iter().map(|decision| decision.allowed).collect();
        assert_eq!((denied.decision.allowed, each), (false, vec![true, false]));
    }
    assert_eq!(left("loose", "k"), 8);
    let refused = entered(&policies, "k");
    let each: Vec<_> = refused.each.unwrap().to_vec();
    assert_eq!((refused.decision.limit, each[0].allowed, each[1].limit), (0, true, 0), "it is the second that refuses");
    assert!(!policies.get("tight").unwrap().deny_list().unwrap().is_empty(1_000_000.0));
    // Who is on the list needs no slot, so he is refused for that also while all are taken.
    let second = entered(&policies, "l");
    assert_eq!(entered(&policies, "m").binding, Some(Axis::Concurrency));
    assert_eq!(entered(&policies, "k").binding, Some(Axis::Rate));
    drop((first, second));
    assert!(entered(&policies, "m").decision.allowed, "to want a slot is no offence");
}

#[test]
fn denials_for_want_of_a_slot_put_nobody_on_the_list() {
    let (_, policies) = in_memory(&RULE.replace("limit: 2 }", "limit: 1 }"));
    let held = entered(&policies, "k");
    for _ in 0..5 {
        assert_eq!(entered(&policies, "l").binding, Some(Axis::Concurrency));
    }
    drop(held);
    assert!(entered(&policies, "l").decision.allowed);
}

#[test]
fn over_a_store_the_list_spares_trips() {
    let clock = ManualClock::new(1_000_000.0);
    let opener = Opener::new(&clock);
    let options = LoadOptions::new().clock(clock.clone()).connector(opener.clone());
    let text =
        format!("store: {{ redis: {{ url: redis://cache }} }}{LISTED}http: {{ rules: [{{ path: /, policy: a }}] }}\n");
    let policies = Policies::load(&text, options).unwrap();
    let rule = policies.current().rules()[0].clone();
    assert!(matches!(rule.limit(), RuleLimit::One(_)));
    let counts: Vec<_> = (0..9).map(|_| entered(&policies, "k").decision.allowed).collect();
    assert_eq!(counts, [[true].as_slice(), &[false; 8]].concat());
    assert_eq!(opener.store.calls(), 4, "one that was admitted and three denials");
    // An outage says nothing of a key, and a list goes on in it.
    opener.store.set(Mood::Down);
    for _ in 0..9 {
        assert!(enter(&policies, "l").result.is_err());
    }
    assert!(!entered(&policies, "k").decision.allowed);
    opener.store.set(Mood::Up);
    clock.advance(1_000.0);
    assert!(entered(&policies, "l").decision.allowed);
}

/// Keeps the name and the decision of every event, and the names of whole requests.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Told>>>);

/// The name, and the limit of the decision if there is one.
type Told = (String, Option<u64>);

impl Observer for Seen {
    fn observe(&self, event: &Event<'_>) {
        let limit = event.result.ok().map(|decision: Decision| decision.limit);
        self.0.lock().unwrap().push((event.policy.to_owned(), limit));
    }

    fn admitted(&self, admission: &AdmissionEvent<'_>) {
        self.0.lock().unwrap().push((format!("whole {}", admission.policy), None));
    }
}

#[test]
fn an_observer_sees_each_request_once() {
    let seen = Seen::default();
    let options = LoadOptions::new().clock(ManualClock::new(0.0)).observer(seen.clone());
    let text = format!("{LISTED}http: {{ rules: [{{ path: /, policy: a }}] }}\n");
    let policies = Policies::load(&text, options).unwrap();
    for _ in 0..5 {
        let _ = entered(&policies, "k");
    }
    let told = |limit| ("a".to_owned(), Some(limit));
    assert_eq!(*seen.0.lock().unwrap(), [told(1), told(1), told(1), told(1), told(0)]);
}

#[test]
fn bans_outlive_a_reload() {
    let (_, policies) = in_memory(LISTED);
    for _ in 0..4 {
        allowed(&policies, "a", "k");
    }
    let fate = |text: &str| policies.reload(text).unwrap().fate("a").unwrap();
    let banned = || admit(&policies, "a", "k").decision.limit == 0;
    assert_eq!(fate(LISTED), Fate::Unchanged);
    assert!(banned());
    assert_eq!(fate(&LISTED.replace("denials: 3", "denials: 4")), Fate::Kept);
    assert!(banned());
    assert_eq!(fate(&LISTED.replace("limit: 1", "limit: 50")), Fate::Kept);
    assert!(banned(), "the limit is another, the ban is not");
    assert_eq!(fate(&LISTED.replace("fixedWindow", "gcra")), Fate::Reset("the strategy changed"));
    assert!(banned());
    assert_eq!(fate(&LISTED.replace("places: 64", "places: 128")), Fate::Reset("the strategy changed"));
    assert!(!banned(), "another list");
    let without = LISTED.replace("denyList: { denials: 3, windowMs: 1000, ttlMs: 60000, places: 64 }", "");
    assert_eq!(fate(&without), Fate::Kept);
    assert!(policies.get("a").unwrap().deny_list().is_none());
}

#[test]
fn a_reload_keeps_sketches_that_stay_as_they_are() {
    let text = "
limiters:
  a: { strategy: fixedWindow, limit: 2, period: 1h, screen: { threshold: 1 } }
  b: { sketch: { limit: 2, windowMs: 3600000 } }
";
    let (_, policies) = in_memory(text);
    for policy in ["a", "b"] {
        assert!(allowed(&policies, policy, "k"));
    }
    let fates = |text: &str| {
        let report = policies.reload(text).unwrap();
        ["a", "b"].map(|policy| report.fate(policy).unwrap())
    };
    assert_eq!(fates(text), [Fate::Unchanged; 2]);
    // What is beside a sketch leaves it alone.
    let listed = text.replace(" } }\n", " }, denyList: {} }\n");
    assert_eq!(fates(&listed), [Fate::Kept; 2]);
    for policy in ["a", "b"] {
        let counts: Vec<_> = (0..2).map(|_| allowed(&policies, policy, "k")).collect();
        assert_eq!(counts, [true, false], "{policy}");
    }
    let reset = Fate::Reset("what a sketch counted is of its limits and its size");
    assert_eq!(fates(&text.replace("limit: 2", "limit: 3")), [reset; 2]);
    assert_eq!(fates(&text.replace("limit: 2", "limit: 3").replace("threshold: 1", "threshold: 2"))[0], reset);
    let plain = "limiters: { a: { strategy: fixedWindow, limit: 2, period: 1h }, b: { sketch: { limit: 3, windowMs: 3600000 } } }";
    assert_eq!(fates(plain), [Fate::Reset("the kind of the limiter changed"), Fate::Unchanged]);
}
