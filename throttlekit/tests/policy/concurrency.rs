//! Policies that limit the work in flight: what they decide, and what a reload leaves of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use throttlekit::analytics::{AdmissionAnalytics, Analytics};
use throttlekit::policy::{Entry, Fate, Guarded, LoadOptions, Policies, RuleLimit};
use throttlekit::prometheus::Metrics;
use throttlekit::{Admission, Admit, Ask, Axis, Lane, ManualClock, Outcome, Priority, Run};

use crate::support::Recorder;
use crate::support::outage::ManualRuntime;

fn load(text: &str) -> Policies {
    Policies::load(text, LoadOptions::new().clock(ManualClock::new(1_000.0))).unwrap()
}

/// An answer that is polled by hand.
struct Polled<T>(Run<T>);

impl<T> Polled<T> {
    fn poll(&mut self) -> Poll<T> {
        Pin::new(&mut self.0).poll(&mut Context::from_waker(Waker::noop()))
    }
}

fn admit(policies: &Policies, name: &str, cost: f64) -> Admission {
    policies.get(name).unwrap().admit().admit(&Ask::new("k").cost(cost)).now().unwrap().unwrap()
}

fn in_flight(policies: &Policies, name: &str) -> u32 {
    policies.get(name).unwrap().guard_report().unwrap().in_flight
}

const THREE: &str = "
limiters:
  slots: { concurrency: { limit: 2 } }
  rate: { strategy: fixedWindow, limit: 5, period: 1d }
  both: { strategy: fixedWindow, limit: 5, period: 1d, concurrency: { limit: 3 } }
";

#[test]
fn a_policy_limits_what_it_says() {
    let policies = load(THREE);
    let held: Vec<_> = (0..2).map(|_| admit(&policies, "slots", 9.0)).collect();
    assert!(held.iter().all(|admission| admission.decision.allowed && admission.permit.is_held()));
    let denied = admit(&policies, "slots", 1.0);
    assert_eq!(
        (denied.binding, denied.decision.limit, denied.decision.reset_at_ms),
        (Some(Axis::Concurrency), 2, 1_000)
    );
    drop(held);
    assert_eq!(in_flight(&policies, "slots"), 0);
    let slots = policies.get("slots").unwrap();
    assert!(slots.limiter().is_none());
    assert_eq!(slots.guard_stats().unwrap().limit, 2);

    assert!(!admit(&policies, "rate", 1.0).permit.is_held());
    assert!(policies.get("rate").unwrap().guard_report().is_none());

    // The rate is asked for the units that a request costs, as it is without a guard.
    let mut first = admit(&policies, "both", 3.0);
    assert_eq!((first.axes.rate.unwrap().remaining, first.axes.concurrency.unwrap().remaining), (2, 2));
    assert_eq!((first.decision.limit, first.decision.remaining), (3, 2));
    let denied = admit(&policies, "both", 3.0);
    assert_eq!((denied.binding, denied.permit.is_held(), in_flight(&policies, "both")), (Some(Axis::Rate), false, 1));
    assert_eq!(denied.axes.concurrency.unwrap().remaining, 2, "the slot has gone back");
    first.permit.settle(Outcome::Completed);
    assert_eq!(in_flight(&policies, "both"), 0);
}

#[test]
fn shadow_admits_and_tells() {
    let told = Arc::new(Recorder::default());
    let text = "limiters: { trial: { concurrency: { limit: 1, shadow: true } } }";
    let options = LoadOptions::new().clock(ManualClock::new(0.0)).observer(Arc::clone(&told));
    let policies = Policies::load(text, options).unwrap();
    let held: Vec<_> = (0..3).map(|_| admit(&policies, "trial", 1.0)).collect();
    assert!(held.iter().all(|admission| admission.decision.allowed));
    let events: Vec<_> = told.take().into_iter().map(|event| (event.policy, event.result.unwrap().allowed)).collect();
    assert_eq!(events, [("trial".to_owned(), true), ("trial".to_owned(), false), ("trial".to_owned(), false)]);
}

#[test]
fn a_shadow_over_its_limit_shows_no_slot_that_there_is_not() {
    for keyed in ["", ", keyed: {}"] {
        // Beside a rate within one policy, and of policies of one rule.
        let text = format!(
            "limiters:\n  both: {{ strategy: fixedWindow, limit: 9, period: 1h, concurrency: {{ limit: 2, shadow: true{keyed} }} }}\n  \
             slots: {{ concurrency: {{ limit: 2, shadow: true{keyed} }} }}\n  \
             rate: {{ strategy: fixedWindow, limit: 9, period: 1h }}\n\
             http: {{ rules: [{{ path: /, policies: [slots, rate] }}] }}\n"
        );
        let policies = load(&text);
        let current = policies.current();
        let guarded = current.rules()[0].guarded().unwrap();
        let of_rule = |cost| guarded.enter(&Ask::new("k").cost(cost)).now().unwrap().result.unwrap();
        let of_policy = |cost| admit(&policies, "both", cost);
        let cases: [&dyn Fn(f64) -> Admission; 2] = [&of_policy, &of_rule];
        for ask in cases {
            let left = |admission: &Admission| admission.axes.concurrency.unwrap().remaining;
            let mut held = vec![ask(1.0)];
            let refused = ask(9.0);
            assert_eq!((left(&held[0]), refused.decision.allowed, left(&refused)), (1, false, 1));
            held.extend([ask(1.0), ask(1.0)]);
            let refused = ask(9.0);
            assert_eq!((left(&held[2]), refused.decision.allowed, left(&refused)), (0, false, 0), "{keyed}");
        }
    }
}

#[test]
fn tenants_have_shares() {
    let policies =
        load("limiters: { a: { concurrency: { limit: 4, keyed: { maxPerKey: 3, weights: { paid: 3 } } } } }");
    let ask = |key: &str| policies.get("a").unwrap().admit().admit(&Ask::new(key)).now().unwrap().unwrap();
    let held: Vec<_> = (0..4).map(|_| ask("free")).collect();
    assert_eq!(held.iter().filter(|admission| admission.decision.allowed).count(), 3);
    assert!(ask("paid").decision.allowed);
    assert_eq!(in_flight(&policies, "a"), 3);
    drop(held);
    assert_eq!(policies.get("a").unwrap().guard_stats().unwrap().in_flight, 0);
}

#[test]
fn low_priorities_are_shed_first() {
    let policies = load("limiters: { a: { concurrency: { limit: 10, priorities: { normal: 0.9, low: 0.5 } } } }");
    let ask =
        |priority| policies.get("a").unwrap().admit().admit(&Ask::new("k").priority(priority)).now().unwrap().unwrap();
    let taken =
        |priority| (0..10).map(|_| ask(priority)).filter(|admission| admission.decision.allowed).collect::<Vec<_>>();
    let low = taken(Priority::Low);
    let normal = taken(Priority::Normal);
    assert_eq!((low.len(), normal.len(), taken(Priority::High).len()), (5, 4, 1));
}

const QUEUED: &str = "
limiters:
  queued: { strategy: fixedWindow, limit: 2, period: 1d, concurrency: { limit: 1, queue: { max: 2, timeoutMs: 100 } } }
  keyed: { concurrency: { limit: 1, keyed: {}, queue: { max: 2, timeoutMs: 100 } } }
http:
  rules:
    - { path: /, policies: [keyed, queued] }
";

#[tokio::test]
async fn requests_wait_for_a_slot() {
    let clock = ManualClock::new(0.0);
    let runtime = ManualRuntime::new(&clock);
    let options = LoadOptions::new().clock(clock.clone()).runtime(runtime);
    let policies = Policies::load(QUEUED, options).unwrap();
    for name in ["queued", "keyed"] {
        let admit = || policies.get(name).unwrap().admit().admit(&Ask::new("k"));
        let held = admit().await.unwrap();
        let mut waiting = Polled(admit());
        let dropped = admit();
        assert!(waiting.poll().is_pending(), "{name}");
        drop(dropped);
        drop(held);
        let Poll::Ready(Ok(next)) = waiting.poll() else { panic!("it has a slot") };
        assert!(next.decision.allowed && next.permit.is_held(), "{name}");
        // At the deadline it is a denial.
        let mut late = Polled(admit());
        assert!(late.poll().is_pending());
        clock.advance(100.0);
        let Poll::Ready(Ok(denied)) = late.poll() else { panic!("its time is up") };
        assert_eq!((denied.binding, denied.axes.rate), (Some(Axis::Concurrency), None), "{name}");
        drop(next);
        assert_eq!(in_flight(&policies, name), 0);
    }
}

/// A rule waits for one guard after the other, and gives back what it has if it is dropped.
#[test]
fn a_rule_that_waits_keeps_and_gives_back_what_it_has() {
    let clock = ManualClock::new(0.0);
    let options = LoadOptions::new().clock(clock.clone()).runtime(ManualRuntime::new(&clock));
    let policies = Policies::load(QUEUED, options).unwrap();
    let set = policies.current();
    let guarded = set.rules()[0].guarded().unwrap();
    let flight = || ["keyed", "queued"].map(|name| in_flight(&policies, name));

    let second = policies.get("queued").unwrap().admit().admit(&Ask::new("k")).now().unwrap().unwrap();
    let mut waiting = Polled(guarded.enter(&Ask::new("k")));
    assert!(waiting.poll().is_pending());
    assert_eq!(flight(), [1, 1]);
    drop(waiting);
    assert_eq!(flight(), [0, 1]);

    let mut waiting = Polled(guarded.enter(&Ask::new("k")));
    let mut behind = Polled(guarded.enter(&Ask::new("k")));
    assert!(waiting.poll().is_pending() && behind.poll().is_pending());
    drop(second);
    let Poll::Ready(Entry { result: Ok(admission), .. }) = waiting.poll() else { panic!("it has both") };
    assert_eq!((admission.axes.rate.unwrap().remaining, flight()), (0, [1, 1]));
    drop(admission);
    // Of the one behind, the units are refused after the wait.
    let Poll::Ready(Entry { result: Ok(denied), .. }) = behind.poll() else { panic!("it has both") };
    assert_eq!((denied.binding, flight()), (Some(Axis::Rate), [0, 0]));
}

#[test]
fn a_queue_needs_a_runtime() {
    let error = Policies::from_yaml(QUEUED).unwrap_err().to_string();
    assert_eq!(
        error,
        "config.limiters[queued].concurrency.queue: must not be given to a program that has no runtime for those who wait; \
         a program gives it by `LoadOptions::runtime` (found 2)"
    );
}

#[test]
fn what_is_in_flight_survives_a_reload_that_leaves_the_block() {
    let policies = load(THREE);
    let held: Vec<_> = ["slots", "both"].map(|name| admit(&policies, name, 1.0)).into();
    let report = policies.reload(&THREE.replace("limit: 5", "limit: 7")).unwrap();
    assert_eq!((report.fate("slots"), report.fate("both")), (Some(Fate::Unchanged), Some(Fate::Kept)));
    assert_eq!((in_flight(&policies, "slots"), in_flight(&policies, "both")), (1, 1));
    assert_eq!(admit(&policies, "both", 1.0).axes.rate.unwrap().remaining, 5);
    // Keys that start afresh are no reason to forget what is in flight.
    let report = policies.reload(&THREE.replace("period: 1d", "period: 2d")).unwrap();
    assert_eq!(report.fate("both"), Some(Fate::Reset("the window changed")));
    assert_eq!(in_flight(&policies, "both"), 1);
    drop(held);
    assert_eq!((in_flight(&policies, "slots"), in_flight(&policies, "both")), (0, 0));
}

#[test]
fn another_block_is_another_guard() {
    let policies = load(THREE);
    let held = admit(&policies, "both", 2.0);
    let report = policies.reload(&THREE.replace("concurrency: { limit: 3 }", "concurrency: { limit: 1 }")).unwrap();
    assert_eq!(report.fate("both"), Some(Fate::NewSlots));
    assert_eq!(report.to_string(), "version 2\nboth: changed, state kept, but work in flight is counted anew");
    let next = admit(&policies, "both", 1.0);
    assert_eq!((next.decision.limit, next.axes.rate.unwrap().remaining, in_flight(&policies, "both")), (1, 2, 1));
    drop((held, next));
    assert_eq!(in_flight(&policies, "both"), 0);

    // The block comes and goes.
    let without = THREE.replace(", concurrency: { limit: 3 }", "");
    assert_eq!(policies.reload(&without).unwrap().fate("both"), Some(Fate::NewSlots));
    assert_eq!(admit(&policies, "both", 1.0).decision.remaining, 1);
    assert_eq!(policies.reload(THREE).unwrap().fate("both"), Some(Fate::NewSlots));
    assert_eq!(admit(&policies, "both", 1.0).axes.rate.unwrap().remaining, 0);
    let strategy =
        THREE.replace("slots: { concurrency: { limit: 2 } }", "slots: { strategy: gcra, limit: 1, period: 1s }");
    assert_eq!(policies.reload(&strategy).unwrap().fate("slots"), Some(Fate::Reset("the strategy changed")));
}

const RULES: &str = "
limiters:
  slots: { concurrency: { limit: 2 } }
  more: { concurrency: { limit: 5 } }
  rate: { strategy: fixedWindow, limit: 3, period: 1d }
  other: { strategy: fixedWindow, limit: 2, period: 1d }
http:
  rules:
    - { path: /slots, policy: slots }
    - { path: /rate, policy: rate }
    - { path: /both, policies: [slots, rate] }
    - { path: /all, policies: [rate, more, other, slots] }
";

fn enter(guarded: &Guarded) -> Admission {
    let Entry { result, permit, .. } = guarded.enter(&Ask::new("k")).now().unwrap();
    assert!(!permit.is_held());
    result.unwrap()
}

#[test]
fn rules_take_slots_before_units() {
    let set = load(RULES).current();
    let rule = |path| &set.rules()[set.rule_for("GET", path).unwrap()];
    assert!(rule("/rate").guarded().is_none() && matches!(rule("/rate").limit(), RuleLimit::One(_)));
    assert!(matches!(rule("/slots").limit(), RuleLimit::None));
    let flight = || ["slots", "more"].map(|name| set.get(name).unwrap().guard_report().unwrap().in_flight);

    // A rule of slots alone.
    let slots = rule("/slots").guarded().unwrap();
    let held = [enter(slots), enter(slots)];
    assert_eq!((enter(slots).binding, flight()), (Some(Axis::Concurrency), [2, 0]));
    // Policies that rules share count together; without a slot no unit is taken.
    let denied = enter(rule("/both").guarded().unwrap());
    assert_eq!((denied.binding, denied.axes.rate), (Some(Axis::Concurrency), None));
    // A slot of one that another one refuses goes back.
    assert_eq!(enter(rule("/all").guarded().unwrap()).binding, Some(Axis::Concurrency));
    assert_eq!(flight(), [2, 0]);
    drop(held);

    let all = rule("/all").guarded().unwrap();
    let mut admitted = enter(all);
    assert!(admitted.decision.allowed);
    assert_eq!((admitted.decision.limit, admitted.decision.remaining, flight()), (2, 1, [1, 1]));
    assert_eq!(admitted.axes.concurrency.unwrap().limit, 2);
    admitted.permit.begin();
    admitted.permit.settle(Outcome::Completed);
    assert_eq!((flight(), set.get("more").unwrap().guard_stats().unwrap().dropped), ([0, 0], 0));

    // Dropped after it began, both guards hear of it; refused by the units, neither does.
    let mut admitted = enter(all);
    admitted.permit.begin();
    drop(admitted);
    let dropped = || ["slots", "more"].map(|name| set.get(name).unwrap().guard_stats().unwrap().dropped);
    assert_eq!((flight(), dropped()), ([0, 0], [1, 1]));
    let denied = enter(all);
    let slots = denied.axes.concurrency.unwrap();
    assert_eq!((denied.binding, slots.allowed, slots.remaining), (Some(Axis::Rate), true, 2), "all slots are there");
    assert_eq!((flight(), dropped()), ([0, 0], [1, 1]));
}

/// The allowed and the denied requests, as each of them counts.
fn counted(
    analytics: &Analytics<ManualClock>,
    admissions: &AdmissionAnalytics<ManualClock>,
    metrics: &Metrics<ManualClock>,
) -> [(u64, u64); 3] {
    let text = metrics.render();
    let sum = |family: &str| {
        let of = |line: &str| line.starts_with(family).then(|| line.rsplit_once(' ')?.1.parse::<u64>().ok()).flatten();
        text.lines().filter_map(of).sum()
    };
    let (decisions, wholes) = (analytics.totals(), admissions.totals());
    [
        (decisions.allowed, decisions.denied),
        (wholes.allowed, wholes.denied),
        (sum("throttlekit_allowed_total{"), sum("throttlekit_denied_total{")),
    ]
}

#[test]
fn observers_count_each_request_once() {
    let clock = ManualClock::new(1_000.0);
    let analytics = Analytics::builder().clock(clock.clone()).build().unwrap();
    let admissions = Analytics::builder().clock(clock.clone()).build_for_admissions().unwrap();
    let metrics = Metrics::builder().clock(clock.clone()).build().unwrap();
    let options = LoadOptions::new().clock(clock);
    let options = options.observer((analytics.clone(), admissions.clone(), metrics.clone()));
    let both = "  api: { strategy: fixedWindow, limit: 2, period: 1d, concurrency: { limit: 1 } }\nhttp:";
    let policies = Policies::load(&RULES.replace("http:", both), options).unwrap();
    let now = || counted(&analytics, &admissions, &metrics);

    // A policy with both: allowed; without a slot; allowed; without units.
    let held = admit(&policies, "api", 1.0);
    assert_eq!(admit(&policies, "api", 1.0).binding, Some(Axis::Concurrency));
    drop(held);
    drop(admit(&policies, "api", 1.0));
    assert_eq!(admit(&policies, "api", 1.0).binding, Some(Axis::Rate));
    assert_eq!(now(), [(2, 2); 3]);
    let snapshot = admissions.snapshot();
    assert_eq!((snapshot.denied_by(Lane::Concurrency), snapshot.denied_by(Lane::Rate)), (1, 1));
    assert_eq!(analytics.snapshot().top_requested[0].count, 4.0);

    // Its limiter alone is asked for no whole.
    let limiter = policies.get("api").unwrap().limiter().unwrap().clone();
    assert!(!limiter.check("k", 1.0).now().unwrap().unwrap().allowed);
    assert_eq!(now(), [(2, 3), (2, 2), (2, 3)], "metrics count what is decided beside wholes");

    // Rules of several policies: two allowed, one without a slot; then by two slots and two limits at once.
    let set = policies.current();
    let rule = |path| set.rules()[set.rule_for("GET", path).unwrap()].guarded().unwrap().clone();
    let held = [enter(&rule("/both")), enter(&rule("/both"))];
    assert_eq!(enter(&rule("/both")).binding, Some(Axis::Concurrency));
    assert_eq!(now(), [(4, 4), (4, 3), (4, 4)]);
    drop(held);
    assert!(enter(&rule("/all")).decision.allowed);
    assert_eq!(enter(&rule("/all")).binding, Some(Axis::Rate));
    assert_eq!(now(), [(5, 5), (5, 4), (5, 5)]);
}

#[test]
fn limits_of_every_kind_are_parts_beside_slots() {
    const WINDOW: &str = "strategy: fixedWindow, limit: 5, windowMs: 1000";
    let tiers = |block: &str| format!("{WINDOW}, twoTier: {{ {block} }}");
    for kind in [
        WINDOW.to_owned(),
        format!("{WINDOW}, screen: {{ threshold: 3 }}"),
        format!("{WINDOW}, denyList: {{ denials: 9, windowMs: 1000, ttlMs: 1000 }}"),
        tiers("mode: strict"),
        tiers("mode: cached-deny"),
        tiers("batch: 2"),
        "tokenBudget: { budget: 5, windowMs: 1000 }".to_owned(),
        "fairEscrow: { limit: 5, windowMs: 1000 }".to_owned(),
        "sketch: { limit: 5, windowMs: 1000 }".to_owned(),
    ] {
        let clock = ManualClock::new(1_000.0);
        let analytics = Analytics::builder().clock(clock.clone()).build().unwrap();
        let limiters = format!("limiters: {{ api: {{ {kind} }}, slots: {{ concurrency: {{ limit: 3 }} }} }}");
        let text = format!("{limiters}\nhttp: {{ rules: [{{ path: /, policies: [slots, api] }}] }}");
        let policies = Policies::load(&text, LoadOptions::new().clock(clock).observer(analytics.clone())).unwrap();
        let rule = policies.current().rules()[0].guarded().unwrap().clone();
        assert!(enter(&rule).decision.allowed, "{kind}");
        assert!(enter(&rule).decision.allowed, "{kind}");
        assert_eq!((analytics.totals().allowed, analytics.totals().denied), (2, 0), "{kind}");
    }
}
