//! Requests as a whole.

use std::sync::Arc;

use opentelemetry::KeyValue;
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::unified::Prices;
use throttlekit::{
    Admission, Admit, Ask, Axes, Axis, Decision, Disconnect, FixedWindow, Guard, Limiter, ManualClock, Observer, Stage,
    TokenBucket, Unified,
};
use throttlekit_otel::Telemetry;
use throttlekit_otel::names::metric;

use crate::support::{Sdk, of};
use crate::telemetry;

/// An admitter over all axes: one slot, three requests a minute, ten units of cost.
pub(crate) fn unified(telemetry: impl Observer) -> Unified<ManualClock> {
    let clock = ManualClock::new(0.0);
    let rate = FixedWindow::builder().limit(3.0).window_ms(60_000.0).build().unwrap();
    let cost = TokenBucket::builder().capacity(10.0).refill_per_sec(1.0).build().unwrap();
    Unified::builder()
        .concurrency(Guard::builder().fixed(1).clock(clock.clone()).build().unwrap())
        .rate(Limiter::builder(rate).clock(clock.clone()).build())
        .cost(Limiter::builder(cost).clock(clock.clone()).build())
        .prices(Prices::new(0.0, 1.0))
        .clock(clock)
        .observer(telemetry)
        .build()
        .unwrap()
}

pub(crate) fn ask(unified: &Unified<ManualClock>, cost: f64, value: f64) -> Admission {
    unified.admit(&Ask::new("k").cost(cost).value(value)).now().unwrap().unwrap()
}

#[test]
fn a_denied_request_counts_in_the_lane_that_denied_it() {
    let sdk = Sdk::new();
    let fixed = [KeyValue::new("region", "us-east"), KeyValue::new("lane", "mine")];
    let unified = unified(Telemetry::builder(&sdk.meter()).attributes(fixed).build());
    let allowed = ask(&unified, 1.0, 9.0);
    assert!(allowed.decision.allowed);
    assert_eq!(of(&sdk.collect(), metric::DENIES_BY_AXIS), [], "nothing was denied");
    drop(ask(&unified, 1.0, 9.0));
    drop(allowed);
    drop(ask(&unified, 11.0, 99.0));
    drop(ask(&unified, 1.0, 0.5));
    drop(ask(&unified, 1.0, 9.0));
    drop(ask(&unified, 1.0, 9.0));
    drop(ask(&unified, 1.0, 9.0));
    let series = sdk.collect();
    let lanes = ["concurrency", "cost", "policy", "rate"].map(|lane| format!(r#"lane="{lane}" region="us-east""#));
    let counted = of(&series, metric::DENIES_BY_AXIS);
    assert_eq!(counted, lanes.each_ref().map(|lane| (lane.as_str(), 1.0)));
    assert_eq!(of(&series, metric::CHECKS), [], "its axes are no checks of their own");
}

#[test]
fn the_guard_of_an_admitter_counts_what_it_sheds_if_it_has_the_observer() {
    let (sdk, clock) = (Sdk::new(), ManualClock::new(0.0));
    let telemetry = telemetry(&sdk);
    let guard = || Guard::builder().fixed(1).clock(clock.clone());
    let told = guard().observer(telemetry.clone()).build().unwrap();
    let admitter = |guard: Arc<dyn Admit>| {
        Unified::builder().concurrency(guard).clock(clock.clone()).observer(telemetry.clone()).build().unwrap()
    };
    for admitter in [admitter(Arc::new(told)), admitter(Arc::new(guard().build().unwrap()))] {
        let held = ask(&admitter, 1.0, 1.0);
        assert!(held.decision.allowed && !ask(&admitter, 1.0, 1.0).decision.allowed);
    }
    let series = sdk.collect();
    assert_eq!(of(&series, metric::DENIES_BY_AXIS), [(r#"lane="concurrency""#, 2.0)]);
    assert_eq!(of(&series, metric::CONCURRENCY_SHED), [(r#"priority="normal""#, 1.0)]);
}

#[test]
fn the_binding_axis_is_the_first_that_denies() {
    let denied = Decision { allowed: false, remaining: 0, ..Decision::ALLOW_FULL };
    let axes = |concurrency, rate, cost| {
        let mut axes = Axes::default();
        (axes.concurrency, axes.rate, axes.cost) = (concurrency, rate, cost);
        axes.binding()
    };
    let (yes, no) = (Some(Decision::ALLOW_FULL), Some(denied));
    assert_eq!(axes(yes, yes, yes), None);
    assert_eq!(axes(None, None, None), None);
    assert_eq!(axes(yes, yes, no), Some(Axis::Cost));
    assert_eq!(axes(yes, no, no), Some(Axis::Rate));
    assert_eq!(axes(no, no, no), Some(Axis::Concurrency));
}

/// A slot, and two units a minute.
const BOTH: &str = "
limiters:
  api: { strategy: fixedWindow, limit: 2, windowMs: 60000, concurrency: { limit: 1 } }
http:
  rules: [{ path: /, policy: api }]
";

#[test]
fn policies_with_slots_and_units_count_each_part_and_the_whole_once() {
    let sdk = Sdk::new();
    let options = LoadOptions::new().clock(ManualClock::new(0.0)).observer(telemetry(&sdk));
    let policies = Policies::load(BOTH, options).unwrap();
    let policy = policies.get("api").unwrap();
    let current = policies.current();
    let rule = current.rules()[0].guarded().unwrap();
    let held = policy.admit().admit(&Ask::new("a")).now().unwrap().unwrap();
    assert!(!policy.admit().admit(&Ask::new("a")).now().unwrap().unwrap().decision.allowed);
    assert!(!rule.enter(&Ask::new("a")).now().unwrap().result.unwrap().decision.allowed);
    drop(held);
    drop(rule.enter(&Ask::new("a")).now().unwrap().result.unwrap());
    drop(rule.enter(&Ask::new("a")).now().unwrap().result.unwrap());
    let series = sdk.collect();
    let lanes = of(&series, metric::DENIES_BY_AXIS);
    assert_eq!(lanes, [(r#"lane="concurrency""#, 2.0), (r#"lane="rate""#, 1.0)]);
    assert_eq!(of(&series, metric::CONCURRENCY_SHED), [(r#"priority="normal""#, 2.0)]);
    let checks = of(&series, metric::CHECKS);
    let expected =
        [(r#"allowed="false" strategy="fixedWindow""#, 1.0), (r#"allowed="true" strategy="fixedWindow""#, 2.0)];
    assert_eq!(checks, expected);
}

#[test]
fn callers_that_went_away_count_by_stage() {
    let sdk = Sdk::new();
    let telemetry = telemetry(&sdk);
    for stage in [Stage::Answering, Stage::Working, Stage::Working, Stage::Deciding] {
        telemetry.disconnected(&Disconnect::new("api", stage));
    }
    let expected = [(r#"stage="answering""#, 1.0), (r#"stage="deciding""#, 1.0), (r#"stage="working""#, 2.0)];
    assert_eq!(of(&sdk.collect(), metric::CLIENT_DISCONNECTS), expected);
}
