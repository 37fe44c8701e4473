//! Names, units, attributes and values of what is exported.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::trace::{Span, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use support::{Sdk, Ticking, of, one, text_of};
use throttlekit::lease::TwoTier;
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::store::memory::Table;
use throttlekit::store::{Call, Remote, Store};
use throttlekit::unified::Prices;
use throttlekit::{
    Admit, Algorithm, Ask, Axes, Axis, Decision, Disconnect, Error, Event, FixedWindow, Gcra, Guard, KeyedGuard,
    Limiter, ManualClock, Multi, Observer, Outcome, Priority, Stage, TokenBucket, Unified,
};
use throttlekit_otel::names::{attribute, metric};
use throttlekit_otel::{Gauged, Reading, Telemetry, buckets, record_decision, record_unified_admission};

fn gcra(limit: f64) -> Gcra {
    Gcra::builder().limit(limit).period_ms(1_000.0).build().unwrap()
}

fn telemetry(sdk: &Sdk) -> Telemetry<Ticking> {
    Telemetry::builder(&sdk.meter()).clock(Ticking::by_ms(4)).build()
}

#[test]
fn the_frozen_names_are_these() {
    let metrics = [
        "throttlekit.checks",
        "throttlekit.remaining",
        "throttlekit.store.latency",
        "throttlekit.concurrency.limit",
        "throttlekit.concurrency.inflight",
        "throttlekit.concurrency.rtt_noload",
        "throttlekit.denies_by_axis",
    ];
    assert_eq!(metric::FROZEN, metrics);
    let attributes = [
        "throttlekit.strategy",
        "throttlekit.allowed",
        "throttlekit.limit",
        "throttlekit.remaining",
        "throttlekit.retry_after_ms",
        "throttlekit.binding_axis",
    ];
    assert_eq!(attribute::ALL, attributes);
}

#[test]
fn the_added_names_are_these() {
    let added = [
        "throttlekit.check.errors",
        "throttlekit.concurrency.dropped",
        "throttlekit.concurrency.fenced",
        "throttlekit.concurrency.queue_wait",
        "throttlekit.concurrency.shed",
        "throttlekit.client.disconnects",
        "throttlekit.leases",
        "throttlekit.lease.latency",
        "throttlekit.observer.panics",
    ];
    assert_eq!(metric::ADDED, added);
}

#[test]
fn checks_count_with_what_is_left_and_how_long_they_took() {
    let sdk = Sdk::new();
    let limiter = Limiter::builder(gcra(2.0)).clock(ManualClock::new(0.0)).observer(telemetry(&sdk)).build();
    for _ in 0..3 {
        limiter.check("k").unwrap();
    }
    let series = sdk.collect();
    let checks = of(&series, metric::CHECKS);
    assert_eq!(checks, [(r#"allowed="false" strategy="gcra""#, 1.0), (r#"allowed="true" strategy="gcra""#, 2.0)]);
    assert!(series.iter().filter(|series| series.name == metric::CHECKS).all(|series| series.monotonic));
    let remaining = one(&series, metric::REMAINING);
    assert_eq!((remaining.attributes.as_str(), remaining.count, remaining.value), (r#"strategy="gcra""#, 3, 1.0));
    assert_eq!((remaining.unit.as_str(), &remaining.bounds[..]), ("", &buckets::REMAINING[..]));
    assert_eq!(remaining.buckets[..2], [2, 1], "two times 0, once 1");
    let latency = one(&series, metric::STORE_LATENCY);
    assert_eq!((latency.attributes.as_str(), latency.count, latency.value), (r#"strategy="gcra""#, 3, 12.0));
    assert_eq!((latency.unit.as_str(), &latency.bounds[..]), ("ms", &buckets::LATENCY_MS[..]));
}

#[test]
fn static_attributes_are_on_all_and_win_on_limiters() {
    let sdk = Sdk::new();
    let fixed = [("region", "us-east"), ("tier", "free"), ("strategy", "mine")].map(|(k, v)| KeyValue::new(k, v));
    let telemetry = Telemetry::builder(&sdk.meter()).attributes(fixed).build();
    let limiter = Limiter::builder(gcra(2.0)).clock(ManualClock::new(0.0)).observer(telemetry).build();
    limiter.check("k").unwrap();
    limiter.check_cost("k", -1.0).unwrap_err();
    let series = sdk.collect();
    let fixed = r#"region="us-east" strategy="mine" tier="free""#;
    assert_eq!(of(&series, metric::CHECKS)[0].0, format!(r#"allowed="true" {fixed}"#));
    assert_eq!(one(&series, metric::REMAINING).attributes, fixed);
    assert_eq!(one(&series, metric::STORE_LATENCY).attributes, fixed);
    let error = &one(&series, metric::CHECK_ERRORS).attributes;
    assert_eq!(error, r#"kind="invalid_argument" region="us-east" strategy="mine" tier="free""#);
}

/// A store that is gone.
struct Gone;

impl Store for Gone {
    async fn run(&self, _: &mut Call) -> Result<(), Error> {
        Err(Error::store_unavailable("it is gone"))
    }
}

#[tokio::test]
async fn failures_count_as_errors_and_as_nothing_else() {
    let sdk = Sdk::new();
    let builder = Limiter::builder(gcra(2.0)).keyspace(Remote::new(Gone)).clock(ManualClock::new(0.0));
    let limiter = builder.observer(telemetry(&sdk)).build();
    limiter.check("k").await.unwrap_err();
    limiter.check_many(&["a", "b"], 1.0).await.unwrap_err();
    limiter.check_cost("k", 0.0).await.unwrap_err();
    let series = sdk.collect();
    let errors = of(&series, metric::CHECK_ERRORS);
    let expected =
        [(r#"kind="invalid_argument" strategy="gcra""#, 1.0), (r#"kind="store_unavailable" strategy="gcra""#, 3.0)];
    assert_eq!(errors, expected);
    for name in [metric::CHECKS, metric::REMAINING, metric::STORE_LATENCY] {
        assert_eq!(of(&series, name), [], "{name}");
    }
}

#[test]
fn what_a_caller_did_not_wait_for_is_not_measured() {
    let sdk = Sdk::new();
    let builder = Limiter::builder(gcra(2.0)).keyspace(Remote::new(Gone)).clock(ManualClock::new(0.0));
    let limiter = builder.observer(telemetry(&sdk)).build();
    assert!(limiter.run_check("k", 1.0).now().is_err(), "it has to be waited for");
    let series = sdk.collect();
    for name in [metric::CHECKS, metric::REMAINING, metric::STORE_LATENCY, metric::CHECK_ERRORS] {
        assert_eq!(of(&series, name), [], "{name}");
    }
}

#[test]
fn a_batch_has_equal_shares_of_its_time() {
    let sdk = Sdk::new();
    let telemetry = Telemetry::builder(&sdk.meter()).clock(Ticking::by_ms(10)).build();
    let limiter = Limiter::builder(gcra(9.0)).clock(ManualClock::new(0.0)).observer(telemetry).build();
    limiter.check_many(&["a", "b", "c", "d"], 1.0).unwrap();
    let series = sdk.collect();
    assert_eq!(of(&series, metric::CHECKS), [(r#"allowed="true" strategy="gcra""#, 4.0)]);
    let latency = one(&series, metric::STORE_LATENCY);
    assert_eq!((latency.count, latency.value), (4, 10.0));
    let (bucket, _) = latency.bounds.iter().enumerate().find(|(_, bound)| **bound == 2.5).unwrap();
    assert_eq!(latency.buckets[bucket], 4, "2.5 ms each");
    assert!(limiter.check_many(&[], 1.0).unwrap().is_empty());
    assert_eq!(one(&sdk.collect(), metric::STORE_LATENCY).count, 4);
}

#[test]
fn looks_are_not_measured() {
    let sdk = Sdk::new();
    let limiter = Limiter::builder(gcra(3.0)).clock(ManualClock::new(0.0)).observer(telemetry(&sdk)).build();
    assert_eq!(limiter.peek("k").unwrap().remaining, 3);
    assert_eq!(limiter.forecast("k", 1.0).unwrap().spendable_now, 3);
    limiter.reset("k").unwrap();
    assert_eq!(of(&sdk.collect(), metric::CHECKS), []);
}

/// Counts how often it is read.
#[derive(Clone)]
struct Counted(Guard<ManualClock>, Arc<AtomicU64>);

impl Gauged for Counted {
    fn reading(&self) -> Option<Reading> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.reading()
    }
}

#[test]
fn a_guard_is_read_once_for_each_collection() {
    let (sdk, clock) = (Sdk::new(), ManualClock::new(0.0));
    let guard = Guard::builder()
        .algorithm(Algorithm::Gradient2)
        .initial_limit(5.0)
        .min_limit(5.0)
        .max_limit(5.0)
        .clock(clock.clone())
        .build()
        .unwrap();
    let readings = Arc::new(AtomicU64::new(0));
    let shown = telemetry(&sdk).guard(Counted(guard.clone(), Arc::clone(&readings)));
    let mut permit = guard.acquire();
    let gauge = |name| one(&sdk.collect(), name).value;
    let series = sdk.collect();
    assert_eq!(one(&series, metric::CONCURRENCY_LIMIT).value, 5.0);
    assert_eq!(one(&series, metric::CONCURRENCY_INFLIGHT).value, 1.0);
    assert_eq!(one(&series, metric::CONCURRENCY_RTT_NOLOAD).value, 0.0);
    assert_eq!(readings.load(Ordering::Relaxed), 1);

    clock.advance(20.0);
    permit.settle(Outcome::Completed);
    let series = sdk.collect();
    assert_eq!(one(&series, metric::CONCURRENCY_INFLIGHT).value, 0.0);
    let noload = one(&series, metric::CONCURRENCY_RTT_NOLOAD);
    assert_eq!((noload.value, noload.unit.as_str(), noload.attributes.as_str()), (20.0, "ms", ""));
    assert_eq!(one(&series, metric::CONCURRENCY_LIMIT).value, f64::from(guard.stats().limit));
    assert_eq!(readings.load(Ordering::Relaxed), 2);
    assert_eq!(gauge(metric::CONCURRENCY_DROPPED), 0.0);
    guard.acquire().settle(Outcome::Dropped);
    assert_eq!(gauge(metric::CONCURRENCY_DROPPED), 1.0);
    drop(shown);
}

#[test]
fn the_series_of_a_guard_end_with_its_handle() {
    let (sdk, guard) = (Sdk::new(), Guard::fixed(3).unwrap());
    let telemetry = Telemetry::builder(&sdk.meter()).attribute(KeyValue::new("region", "eu-1")).build();
    let pool = |name| telemetry.guard_with(guard.clone(), [KeyValue::new("pool", name)]);
    let (first, second) = (pool("db"), pool("web"));
    let limits = |sdk: &Sdk| -> Vec<String> {
        of(&sdk.collect(), metric::CONCURRENCY_LIMIT).into_iter().map(|(attributes, _)| attributes.to_owned()).collect()
    };
    assert_eq!(limits(&sdk), [r#"pool="db" region="eu-1""#, r#"pool="web" region="eu-1""#]);
    drop(first);
    assert_eq!(limits(&sdk), [r#"pool="web" region="eu-1""#]);
    drop(second);
    assert!(limits(&sdk).is_empty());
    let _again = pool("db");
    assert_eq!(limits(&sdk), [r#"pool="db" region="eu-1""#]);
}

#[test]
fn the_gauges_of_a_guard_have_exactly_its_attributes() {
    let sdk = Sdk::new();
    let keyed = KeyedGuard::builder(Guard::builder().fixed(4)).build().unwrap();
    let telemetry = Telemetry::new(&sdk.meter());
    let _shown = telemetry.guard_with(keyed.clone(), [KeyValue::new("pool", "db")]);
    let _held = keyed.acquire("tenant");
    let series = sdk.collect();
    for name in [metric::CONCURRENCY_LIMIT, metric::CONCURRENCY_INFLIGHT, metric::CONCURRENCY_RTT_NOLOAD] {
        assert_eq!(one(&series, name).attributes, r#"pool="db""#, "{name}");
    }
    assert_eq!(of(&series, metric::CONCURRENCY_FENCED), [], "it has no coordinator");
}

#[test]
fn a_fenced_guard_says_so_and_a_gone_one_nothing() {
    let (sdk, guard) = (Sdk::new(), Guard::fixed(3).unwrap());
    let telemetry = Telemetry::new(&sdk.meter());
    let stats = guard.stats();
    let _fenced = telemetry.guard_with(move || Some(Reading::new(stats).fenced(true)), [KeyValue::new("pool", "a")]);
    let _free = telemetry.guard_with(move || Some(Reading::new(stats).fenced(false)), [KeyValue::new("pool", "b")]);
    let _gone = telemetry.guard_with(|| None, [KeyValue::new("pool", "c")]);
    let series = sdk.collect();
    assert_eq!(of(&series, metric::CONCURRENCY_FENCED), [(r#"pool="a""#, 1.0), (r#"pool="b""#, 0.0)]);
    assert_eq!(of(&series, metric::CONCURRENCY_LIMIT).len(), 2);
}

/// An admitter over all axes: one slot, three requests a minute, ten units of cost.
fn unified(telemetry: impl Observer) -> Unified<ManualClock> {
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

fn ask(unified: &Unified<ManualClock>, cost: f64, value: f64) -> throttlekit::Admission {
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

#[test]
fn guards_count_what_they_shed_by_priority() {
    let sdk = Sdk::new();
    let guard = Guard::builder().fixed(1).observer(telemetry(&sdk)).build().unwrap();
    let held = guard.admit(&Ask::new("k")).now().unwrap().unwrap();
    for priority in [Priority::Low, Priority::Low, Priority::Critical] {
        drop(guard.admit(&Ask::new("k").priority(priority)).now().unwrap().unwrap());
    }
    drop(held);
    let series = sdk.collect();
    assert_eq!(of(&series, metric::CONCURRENCY_SHED), [(r#"priority="critical""#, 1.0), (r#"priority="low""#, 2.0)]);
    assert_eq!(of(&series, metric::CHECKS), [], "a slot is no check");
}

#[tokio::test(start_paused = true)]
async fn waits_for_a_slot_are_measured_by_their_outcome() {
    let (sdk, clock) = (Sdk::new(), ManualClock::new(0.0));
    let queue = throttlekit::Queue::new(4, 1_000.0);
    let builder = Guard::builder().fixed(1).clock(clock.clone()).observer(telemetry(&sdk));
    let guard = builder.queue(queue, throttlekit::TokioRuntime).build().unwrap();
    let held = guard.acquire();
    let waiting = guard.admit(&Ask::new("a"));
    let cancelled = guard.admit(&Ask::new("b"));
    clock.advance(7.0);
    drop(cancelled);
    drop(held);
    assert!(waiting.await.unwrap().decision.allowed);
    let series = sdk.collect();
    let waits = of(&series, metric::CONCURRENCY_QUEUE_WAIT);
    assert_eq!(waits, [(r#"outcome="admitted""#, 7.0), (r#"outcome="cancelled""#, 7.0)]);
    let wait = series.iter().find(|series| series.name == metric::CONCURRENCY_QUEUE_WAIT).unwrap();
    assert_eq!((wait.unit.as_str(), &wait.bounds[..]), ("ms", &buckets::WAIT_MS[..]));
}

#[test]
fn leases_count_by_what_became_of_them() {
    let sdk = Sdk::new();
    let window = FixedWindow::builder().limit(6.0).window_ms(60_000.0).build().unwrap();
    let (store, telemetry) = (Table::new(), telemetry(&sdk));
    let process = || {
        let builder = TwoTier::builder(window).batch(4.0).keyspace(store.clone()).clock(ManualClock::new(0.0));
        builder.observer(telemetry.clone()).build().unwrap()
    };
    let (one_process, other) = (process(), process());
    for _ in 0..6 {
        assert!(one_process.run_check("k", 1.0).now().unwrap().unwrap().allowed);
    }
    assert!(!other.run_check("k", 1.0).now().unwrap().unwrap().allowed);
    let series = sdk.collect();
    let leases = of(&series, metric::LEASES);
    let expected =
        [(r#"outcome="granted" strategy="fixedWindow""#, 2.0), (r#"outcome="refused" strategy="fixedWindow""#, 1.0)];
    assert_eq!(leases, expected);
    let latency = one(&series, metric::LEASE_LATENCY);
    assert_eq!((latency.unit.as_str(), latency.attributes.as_str()), ("ms", r#"strategy="fixedWindow""#));
    assert_eq!(latency.count, 3);
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

#[test]
fn panics_of_observers_are_counted() {
    #[derive(Clone)]
    struct Broken;
    impl Observer for Broken {
        fn observe(&self, _: &Event<'_>) {
            panic!("broken");
        }
    }
    let sdk = Sdk::new();
    let all = (Broken, telemetry(&sdk));
    let limiter = Limiter::builder(gcra(2.0)).clock(ManualClock::new(0.0)).observer(all).build();
    limiter.check("k").unwrap();
    let series = sdk.collect();
    assert!(one(&series, metric::OBSERVER_PANICS).value >= 1.0);
    assert_eq!(of(&series, metric::CHECKS), [(r#"allowed="true" strategy="gcra""#, 1.0)]);
}

#[test]
fn joint_limits_count_under_the_name_of_their_mode() {
    let sdk = Sdk::new();
    let multi = Multi::all().dimension("user", gcra(2.0), 1.0).dimension("global", gcra(9.0), 1.0);
    let multi = multi.clock(ManualClock::new(0.0)).observer(telemetry(&sdk)).build().unwrap();
    multi.check(&["u", "g"]).unwrap();
    let series = sdk.collect();
    assert_eq!(of(&series, metric::CHECKS).len(), 1);
    assert_eq!(one(&series, metric::STORE_LATENCY).value, 4.0);
}

#[cfg(feature = "config")]
#[test]
fn the_guards_of_policies_are_shown_by_their_names() {
    let sdk = Sdk::new();
    let telemetry = telemetry(&sdk);
    let text = "limiters: { work: { concurrency: { limit: 8 } }, api: { strategy: gcra, limit: 9, period: 1s } }";
    let policies = Policies::load(text, LoadOptions::new().observer(telemetry.clone())).unwrap();
    let shown = telemetry.policies(&policies);
    let limits = |sdk: &Sdk| -> Vec<(String, f64)> {
        let series = sdk.collect();
        of(&series, metric::CONCURRENCY_LIMIT).into_iter().map(|(text, value)| (text.to_owned(), value)).collect()
    };
    assert_eq!(limits(&sdk), [(r#"policy="work""#.to_owned(), 8.0)]);
    policies.reload("limiters: { more: { concurrency: { limit: 3 } } }").unwrap();
    assert_eq!(limits(&sdk), [(r#"policy="more""#.to_owned(), 3.0)]);
    drop(shown);
    assert_eq!(limits(&sdk), []);
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

/// What a span has after `record`.
fn recorded(record: impl FnOnce(&mut opentelemetry_sdk::trace::Span)) -> String {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let mut span = provider.tracer("test").start("request");
    record(&mut span);
    span.end();
    text_of(exporter.get_finished_spans().unwrap()[0].attributes.iter())
}

fn denied(limit: u64, retry_after_ms: u64) -> Decision {
    Decision { allowed: false, limit, remaining: 0, reset_at_ms: 0, retry_after_ms }
}

#[test]
fn a_span_has_the_five_attributes_of_a_decision_and_the_extra_ones() {
    let text = recorded(|span| {
        record_decision(span, &denied(100, 500), "gcra", [KeyValue::new("region", "us-east")]);
    });
    let expected = r#"region="us-east" throttlekit.allowed=Bool(false) throttlekit.limit=I64(100) throttlekit.remaining=I64(0) throttlekit.retry_after_ms=I64(500) throttlekit.strategy="gcra""#;
    assert_eq!(text, expected);
    let text = recorded(|span| {
        record_decision(span, &denied(u64::MAX, 1), "gcra", [KeyValue::new(attribute::STRATEGY, "mine")]);
    });
    assert!(text.contains(r#"throttlekit.strategy="mine""#) && text.contains(&format!("I64({})", i64::MAX)), "{text}");
}

#[test]
fn a_span_of_several_axes_has_the_binding_one_and_no_strategy() {
    let mut axes = Axes::default();
    (axes.rate, axes.cost) = (Some(Decision::ALLOW_FULL), Some(denied(1, 100)));
    let text = recorded(|span| record_unified_admission(span, &axes.combined(), &axes, []));
    let expected = r#"throttlekit.allowed=Bool(false) throttlekit.binding_axis="cost" throttlekit.limit=I64(1) throttlekit.remaining=I64(0) throttlekit.retry_after_ms=I64(100)"#;
    assert_eq!(text, expected);
    axes.cost = None;
    for decision in [Decision::ALLOW_FULL, denied(1, 0)] {
        let text = recorded(|span| record_unified_admission(span, &decision, &axes, []));
        assert!(!text.contains("binding_axis"), "an allow, or a denial by prices: {text}");
    }
}

#[test]
fn the_current_span_takes_attributes_too() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let context = Context::current_with_span(provider.tracer("test").start("request"));
    record_decision(&context.span(), &denied(3, 7), "gcra", []);
    context.span().end();
    assert_eq!(exporter.get_finished_spans().unwrap()[0].attributes.len(), 5);
}

#[test]
fn every_exported_name_is_documented_and_every_name_is_exported() {
    let sdk = Sdk::new();
    let telemetry = telemetry(&sdk);
    let stats = Guard::fixed(3).unwrap().stats();
    let _shown = telemetry.guard(move || Some(Reading::new(stats).fenced(false)));
    let guard = Guard::builder().fixed(1).observer(telemetry.clone()).build().unwrap();
    let held = guard.admit(&Ask::new("k")).now().unwrap().unwrap();
    drop(guard.admit(&Ask::new("k")).now().unwrap().unwrap());
    drop(held);
    let window = FixedWindow::builder().limit(6.0).window_ms(60_000.0).build().unwrap();
    let leased = TwoTier::builder(window).batch(4.0).observer(telemetry.clone()).build().unwrap();
    leased.run_check("k", 1.0).now().unwrap().unwrap();
    assert!(leased.run_check("k", -1.0).now().unwrap().is_err());
    drop(ask(&unified(telemetry.clone()), 11.0, 99.0));
    telemetry.disconnected(&Disconnect::new("", Stage::Working));
    let queue = throttlekit::Queue::new(1, 1_000.0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let builder = Guard::builder().fixed(1).observer(telemetry.clone());
        let guard = builder.queue(queue, throttlekit::TokioRuntime).build().unwrap();
        let _held = guard.acquire();
        drop(guard.admit(&Ask::new("k")));
    });
    let exported: BTreeSet<_> = sdk.collect().into_iter().map(|series| series.name).collect();
    let known: BTreeSet<_> = metric::FROZEN.iter().chain(&metric::ADDED).map(|name| (*name).to_owned()).collect();
    assert_eq!(exported, known);
    let (page, readme) = (include_str!("../../docs/observability.md"), include_str!("../README.md"));
    for name in &known {
        assert!(page.contains(&format!("`{name}`")), "docs/observability.md lacks {name}");
        let short = name.replace("throttlekit.concurrency.inflight", ".inflight");
        assert!(readme.contains(&format!("`{short}`")), "the front page lacks {name}");
    }
    for name in attribute::ALL {
        assert!(page.contains(&format!("`{name}`")), "docs/observability.md lacks {name}");
    }
}
