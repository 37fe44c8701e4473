//! Rules whose policies no one place holds: all are charged, or none.

use std::sync::Arc;

use throttlekit::analytics::Analytics;
use throttlekit::policy::{LoadOptions, Policies, Rule, RuleLimit};
use throttlekit::prometheus::Metrics;
use throttlekit::{Admission, Admit, Ask, Axis, Decision, Error, ErrorKind, ManualClock, Run};

use crate::support::outage::{Mood, Opener};
use crate::support::polled;

const STORE: &str = "store: { redis: { url: redis://cache }, breaker: { failures: 100 } }";

fn in_memory(text: &str) -> Policies {
    Policies::load(text, LoadOptions::new().clock(ManualClock::new(1_000.0))).unwrap()
}

fn over_store(text: &str) -> (Opener, Policies) {
    let clock = ManualClock::new(1_000.0);
    let opener = Opener::new(&clock);
    let options = LoadOptions::new().clock(clock).connector(opener.clone());
    (opener, Policies::load(&format!("{STORE}\n{text}"), options).unwrap())
}

fn rule(policies: &Policies, index: usize) -> Rule {
    policies.current().rules()[index].clone()
}

fn asked(rule: &Rule, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
    match (rule.guarded(), rule.limit()) {
        (Some(guarded), _) => guarded.enter(ask).map(|entry| entry.result),
        (None, RuleLimit::Joint(limit)) => limit.admit(ask),
        (None, limit) => panic!("{limit:?}"),
    }
}

fn admit(policies: &Policies, index: usize) -> Result<Admission, Error> {
    let rule = rule(policies, index);
    polled(asked(&rule, &Ask::new("k").cost(rule.cost())), 1).expect("an answer at once")
}

fn left(policies: &Policies, name: &str) -> u64 {
    let peeked = policies.get(name).unwrap().limiter().unwrap().peek("k");
    polled(peeked, 1).expect("an answer at once").unwrap().remaining
}

/// Whether it was allowed, and of each limiter of units whether it allows and what is left.
fn shown(admission: &Admission) -> (bool, Vec<(bool, u64)>) {
    let each = admission.each.as_deref().expect("several decided");
    (admission.decision.allowed, each.iter().map(|decision| (decision.allowed, decision.remaining)).collect())
}

const GATEWAY: &str = "
limiters:
  requests: { strategy: gcra, limit: 3, period: 1d }
  tokens: { tokenBudget: { budget: 1000, windowMs: 86400000 } }
  slots: { concurrency: { limit: 4 } }
http:
  rules:
    - { path: /, policies: [requests, slots, tokens], costs: { tokens: 400 } }
";

#[test]
fn requests_tokens_and_slots_are_admitted_together() {
    let policies = in_memory(GATEWAY);
    let admission = admit(&policies, 0).unwrap();
    assert_eq!(shown(&admission), (true, vec![(true, 2), (true, 600)]));
    assert_eq!((admission.axes.rate.unwrap().remaining, admission.axes.cost.unwrap().remaining), (2, 600));
    assert_eq!(admission.axes.concurrency.unwrap().remaining, 3);
    assert!(admission.permit.is_held());
    assert_eq!((left(&policies, "requests"), left(&policies, "tokens")), (2, 600));
}

#[test]
fn a_spent_budget_takes_nothing_from_the_others() {
    let policies = in_memory(GATEWAY);
    policies.get("tokens").unwrap().limiter().unwrap().debit("k", 1_000.0).now().unwrap().unwrap();
    for _ in 0..5 {
        let denied = admit(&policies, 0).unwrap();
        assert_eq!((denied.axes.cost.unwrap().limit, denied.axes.rate), (1_000, None), "the rate is not even asked");
        assert_eq!((denied.binding, denied.permit.is_held()), (Some(Axis::Cost), false));
        assert_eq!(left(&policies, "requests"), 3);
        assert_eq!(policies.get("slots").unwrap().guard_report().unwrap().in_flight, 0);
    }
}

#[test]
fn a_rate_that_refuses_gives_the_tokens_back() {
    let policies = in_memory(GATEWAY);
    policies.get("requests").unwrap().limiter().unwrap().debit("k", 3.0).now().unwrap().unwrap();
    for _ in 0..5 {
        let denied = admit(&policies, 0).unwrap();
        assert_eq!(shown(&denied), (false, vec![(false, 0), (true, 1_000)]), "as it is again");
        assert_eq!((denied.binding, denied.axes.cost.unwrap().remaining), (Some(Axis::Rate), 1_000));
        assert_eq!((left(&policies, "tokens"), denied.permit.is_held()), (1_000, false));
    }
}

#[test]
fn a_full_house_asks_neither() {
    let policies = in_memory(&GATEWAY.replace("limit: 4", "limit: 1"));
    let held = admit(&policies, 0).unwrap();
    let denied = admit(&policies, 0).unwrap();
    assert_eq!((denied.binding, denied.each), (Some(Axis::Concurrency), None));
    assert_eq!((left(&policies, "requests"), left(&policies, "tokens")), (2, 600));
    drop(held);
    assert_eq!(left(&policies, "tokens"), 600, "what was admitted stays taken");
}

#[test]
fn several_in_one_place_are_judged_before_they_are_charged() {
    let policies = in_memory(
        "
limiters:
  minute: { strategy: slidingWindowLog, limit: 2, period: 1m }
  day: { strategy: slidingWindowLog, limit: 5, period: 1d }
  tokens: { tokenBudget: { budget: 10, windowMs: 86400000 } }
  more: { fleetBudget: { budget: 12, windowMs: 86400000 } }
http: { rules: [{ path: /, policies: [tokens, minute, more, day], cost: 2, costs: { minute: 1, day: 1 } }] }
",
    );
    for times in 1..=2_u64 {
        let expected = vec![(true, 10 - 2 * times), (true, 2 - times), (true, 12 - 2 * times), (true, 5 - times)];
        assert_eq!(shown(&admit(&policies, 0).unwrap()), (true, expected));
    }
    let denied = admit(&policies, 0).unwrap();
    assert_eq!(shown(&denied), (false, vec![(true, 6), (false, 0), (true, 8), (true, 3)]));
    assert_eq!(["tokens", "minute", "more", "day"].map(|name| left(&policies, name)), [6, 0, 8, 3]);
}

#[test]
fn the_wait_is_the_longest_of_those_that_one_place_asks() {
    let policies = in_memory(
        "
limiters:
  a: { strategy: fixedWindow, limit: 1, period: 1m }
  b: { strategy: fixedWindow, limit: 1, period: 1d }
  tokens: { tokenBudget: { budget: 10, windowMs: 86400000 } }
http: { rules: [{ path: /, policies: [a, tokens, b] }] }
",
    );
    assert!(admit(&policies, 0).unwrap().decision.allowed);
    let denied = admit(&policies, 0).unwrap();
    assert_eq!((denied.decision.retry_after_ms, denied.decision.reset_at_ms), (86_399_000, 86_400_000));
    assert_eq!(shown(&denied), (false, vec![(false, 0), (true, 9), (false, 0)]));
}

const OVER: &str = "
limiters:
  requests: { strategy: fixedWindow, limit: 2, period: 1d }
  tokens: { tokenBudget: { budget: 10, windowMs: 86400000 } }
http: { rules: [{ path: /, policies: [requests, tokens], costs: { tokens: 4 } }] }
";

#[test]
fn what_this_process_refuses_costs_no_trip_to_the_store() {
    let (opener, policies) = over_store(OVER);
    policies.get("tokens").unwrap().limiter().unwrap().debit("k", 10.0).now().unwrap().unwrap();
    assert_eq!(admit(&policies, 0).unwrap().binding, Some(Axis::Cost));
    assert_eq!(opener.store.calls(), 0);
}

#[test]
fn what_a_store_refuses_is_given_back_here() {
    let (_, policies) = over_store(OVER);
    for expected in [(true, vec![(true, 1), (true, 6)]), (true, vec![(true, 0), (true, 2)])] {
        assert_eq!(shown(&admit(&policies, 0).unwrap()), expected);
    }
    assert_eq!(shown(&admit(&policies, 0).unwrap()), (false, vec![(false, 0), (true, 2)]));
    assert_eq!(left(&policies, "tokens"), 2);
}

#[test]
fn a_request_that_is_dropped_while_the_store_is_asked_gives_back_what_this_process_gave() {
    let (opener, policies) = over_store(OVER);
    opener.store.set(Mood::Hung);
    let rule = rule(&policies, 0);
    let waiting = asked(&rule, &Ask::new("k"));
    assert_eq!(left(&policies, "tokens"), 6);
    drop(waiting);
    assert_eq!(left(&policies, "tokens"), 10);
    assert!(polled(asked(&rule, &Ask::new("k")), 3).is_none());
    assert_eq!(left(&policies, "tokens"), 10);
}

#[test]
fn leased_tokens_come_before_the_store_and_get_back_what_it_refuses() {
    let (opener, policies) = over_store(
        "
limiters:
  requests: { strategy: fixedWindow, limit: 2, period: 1d }
  leased: { fleetBudget: { budget: 12, windowMs: 86400000, leased: { batch: 12 } } }
http: { rules: [{ path: /, policies: [requests, leased], costs: { leased: 4 } }] }
",
    );
    for expected in [vec![(true, 1), (true, 8)], vec![(true, 0), (true, 4)]] {
        assert_eq!(shown(&admit(&policies, 0).unwrap()), (true, expected));
    }
    let trips = opener.store.calls();
    assert_eq!(shown(&admit(&policies, 0).unwrap()), (false, vec![(false, 0), (true, 4)]));
    assert_eq!((left(&policies, "leased"), opener.store.calls()), (4, trips + 1), "given back without a trip");
    policies.get("leased").unwrap().limiter().unwrap().debit("k", 4.0).now().unwrap().unwrap();
    // Once it is known that there are no more, the store is not asked for anything.
    for _ in 0..3 {
        assert!(!admit(&policies, 0).unwrap().each.as_deref().unwrap()[1].allowed);
    }
    assert_eq!(opener.store.calls(), trips + 2);
}

fn stands_in(policies: &Policies) -> Admission {
    let rule = rule(policies, 0);
    let error = polled(asked(&rule, &Ask::new("k").cost(rule.cost())), 1).expect("an answer at once").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
    let standby = rule.standby().expect("somebody who decides").clone();
    standby.admit(&Ask::new("k").cost(rule.cost())).now().unwrap().unwrap()
}

#[test]
fn what_needs_no_store_decides_while_that_is_out() {
    let (opener, policies) = over_store(OVER);
    opener.store.set(Mood::Down);
    for remaining in [6, 2, 0] {
        // The whole rule fails first, and gives back what it took.
        let admission = stands_in(&policies);
        assert_eq!(admission.each.as_deref().unwrap()[0], Decision::ALLOW_FULL, "open: it has no say");
        assert_eq!((shown(&admission).1[1], left(&policies, "tokens")), ((true, remaining), remaining));
        assert!(admission.decision.allowed);
    }
    let denied = admit(&policies, 0).unwrap();
    assert_eq!(denied.binding, Some(Axis::Cost), "for which no store has to be asked");
    opener.store.set(Mood::Up);
    assert_eq!(admit(&policies, 0).unwrap().binding, Some(Axis::Cost), "what was counted meanwhile is not forgotten");
    assert_eq!(left(&policies, "requests"), 2);
}

#[test]
fn a_closed_rule_has_nobody_to_decide_while_its_store_is_out() {
    let (opener, policies) = over_store(&OVER.replace("costs:", "failMode: closed, costs:"));
    opener.store.set(Mood::Down);
    assert!(admit(&policies, 0).unwrap_err().is_store_unavailable());
    assert!(rule(&policies, 0).standby().is_none());
    assert_eq!(left(&policies, "tokens"), 10, "a request that fails takes nothing");
}

#[test]
fn what_stands_in_for_a_store_decides_beside_what_needs_none() {
    let (opener, policies) = over_store(
        "
limiters:
  requests: { strategy: fixedWindow, limit: 4, period: 1d, failMode: { local: { share: 0.5 } } }
  open: { strategy: fixedWindow, limit: 1, period: 1d }
  fleet: { fleetBudget: { budget: 100, windowMs: 86400000 }, failMode: { local: { share: 0.5 } } }
  tokens: { tokenBudget: { budget: 100, windowMs: 86400000 } }
http: { rules: [{ path: /, policies: [open, requests, tokens, fleet], costs: { tokens: 10, fleet: 20 } }] }
",
    );
    opener.store.set(Mood::Down);
    for times in 1..=2_u64 {
        let (allowed, each) = shown(&stands_in(&policies));
        assert!(allowed);
        assert_eq!(each[1..], [(true, 2 - times), (true, 100 - 10 * times), (true, 50 - 20 * times)]);
    }
    let (allowed, each) = shown(&stands_in(&policies));
    assert_eq!((allowed, &each[1..]), (false, &[(false, 0), (true, 80), (true, 10)][..]));
    assert_eq!(left(&policies, "tokens"), 80);
}

#[test]
fn plans_have_budgets_beside_other_limits() {
    let policies = in_memory(
        "
limiters:
  requests: { strategy: fixedWindow, limit: 3, period: 1d }
  tokens: { tokenBudget: { budget: 10, windowMs: 86400000 } }
  more: { tokenBudget: { budget: 100, windowMs: 86400000 } }
http:
  rules:
    - path: /
      policies: [requests, tokens]
      costs: { tokens: 4 }
      plans:
        from: { claim: plan }
        table:
          same: { policies: [requests, tokens], cost: 2 }
          pro: { policies: [requests, more], costs: { more: 30 } }
          only: { policy: more, costs: { more: 30 } }
",
    );
    let rule = rule(&policies, 0);
    let plans: Vec<_> = rule.plans().map(|(name, plan)| (&**name, plan.cost(), plan.spec().costs.clone())).collect();
    let costs = |name: &str, units| vec![(name.to_owned(), units)];
    let expected =
        [("same", 2.0, costs("tokens", 4.0)), ("pro", 1.0, costs("more", 30.0)), ("only", 30.0, costs("more", 30.0))];
    assert_eq!(plans, expected);
    let (_, pro) = rule.plans().nth(1).unwrap();
    assert_eq!(shown(&asked(pro, &Ask::new("k")).now().unwrap().unwrap()), (true, vec![(true, 2), (true, 70)]));
}

/// Each limiter tells of what it decided, as a part, and the rule of the whole.
#[test]
fn observers_are_told_of_one_request() {
    let metrics = Metrics::new();
    let options = LoadOptions::new().clock(ManualClock::new(1_000.0)).observer(metrics.clone());
    let policies = Policies::load(GATEWAY.replace("requests, slots, tokens", "requests, tokens").as_str(), options);
    let policies = policies.unwrap();
    for _ in 0..4 {
        drop(admit(&policies, 0).unwrap());
    }
    let text = metrics.render();
    for (series, count) in [("allowed", 3), ("denied", 1)] {
        let line = format!("throttlekit_{series}_total{{policy=\"requests+tokens\"}} {count}\n");
        assert!(text.contains(&line), "{text}");
    }
    assert_eq!(text.matches("throttlekit_denied_total{").count(), 1, "{text}");
}

#[test]
fn policies_that_one_place_holds_tell_who_asked_and_what_is_refused() {
    let clock = ManualClock::new(1_000.0);
    let (analytics, metrics) = (Analytics::builder().clock(clock.clone()).build().unwrap(), Metrics::new());
    let text = "limiters: { a: { strategy: gcra, limit: 5, period: 1m }, b: { strategy: gcra, limit: 9, period: 1m } }\n\
                http: { rules: [{ path: /, policies: [a, b] }] }";
    let options = LoadOptions::new().clock(clock).observer((analytics.clone(), metrics.clone()));
    let policies = Policies::load(text, options).unwrap();
    let ask = |ask: Ask<'_>| asked(&rule(&policies, 0), &ask).now().expect("memory does not wait");
    assert!(ask(Ask::new("alice")).unwrap().decision.allowed);
    assert_eq!(analytics.snapshot().top_requested[0].key, "alice");
    assert_eq!(ask(Ask::new("alice").cost(f64::NAN)).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let failed = "throttlekit_check_errors_total{policy=\"a+b\",kind=\"invalid_argument\"} 1\n";
    assert!(metrics.render().contains(failed), "{}", metrics.render());
}

#[test]
fn a_bad_cost_takes_nothing() {
    let policies = in_memory(GATEWAY);
    let rule = rule(&policies, 0);
    let error = asked(&rule, &Ask::new("k").cost(f64::NAN)).now().unwrap().unwrap_err();
    assert_eq!(error.code(), "invalid_argument");
    assert_eq!((left(&policies, "requests"), left(&policies, "tokens")), (3, 1_000));
}

#[test]
fn many_threads_share_what_there_is() {
    let text = GATEWAY.replace("limit: 3, period: 1d", "limit: 1000, period: 1d").replace("limit: 4 ", "limit: 4000 ");
    let policies = Arc::new(in_memory(&text.replace("tokens: 400", "tokens: 4")));
    let admitted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..200).filter(|_| admit(&policies, 0).unwrap().decision.allowed).count()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(admitted, 250, "of 1000 tokens");
    assert_eq!((left(&policies, "requests"), left(&policies, "tokens")), (750, 0));
}
