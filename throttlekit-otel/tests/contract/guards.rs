//! How guards are doing, and what they do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use opentelemetry::KeyValue;
#[cfg(feature = "config")]
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::{
    Admit, Algorithm, Ask, Gauges, Guard, GuardReport, GuardStats, KeyedGuard, ManualClock, Observer, Outcome, Priority,
};
use throttlekit_otel::names::metric;
use throttlekit_otel::{Gauged, Reading, Telemetry, buckets};

use crate::support::{Sdk, of, one};
use crate::telemetry;

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

/// The gauges of a guard that a coordinator has fenced off, for as long as somebody holds it.
struct Fenced {
    guard: Weak<Guard>,
    /// Counts the gauges that are kept.
    _kept: Arc<()>,
}

impl Gauges for Fenced {
    fn guards(&self, tell: &mut dyn FnMut(&str, GuardReport, GuardStats)) {
        if let Some(guard) = self.guard.upgrade() {
            let mut report = guard.report();
            report.fenced = true;
            tell("work", report, guard.stats());
        }
    }

    fn is_gone(&self) -> bool {
        self.guard.strong_count() == 0
    }
}

#[test]
fn what_was_attached_is_fenced_as_it_says_and_forgotten_once_it_is_gone() {
    let (sdk, guard) = (Sdk::new(), Arc::new(Guard::fixed(3).unwrap()));
    let (telemetry, kept) = (telemetry(&sdk), Arc::new(()));
    let attach = |guard| telemetry.attach(Arc::new(Fenced { guard, _kept: Arc::clone(&kept) }));
    attach(Arc::downgrade(&guard));
    assert_eq!(of(&sdk.collect(), metric::CONCURRENCY_FENCED), [(r#"policy="work""#, 1.0)]);
    drop(guard);
    (0..1_000).for_each(|_| attach(Weak::new()));
    assert_eq!(Arc::strong_count(&kept), 2, "this one and the last that was attached");
    assert_eq!(of(&sdk.collect(), metric::CONCURRENCY_FENCED), []);
    assert_eq!(Arc::strong_count(&kept), 1, "a collection forgets it too");
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

#[tokio::test(start_paused = true)]
async fn waits_in_vain_are_told_apart() {
    let sdk = Sdk::new();
    let builder = Guard::builder().fixed(1).clock(ManualClock::new(0.0)).observer(telemetry(&sdk));
    let guard = builder.queue(throttlekit::Queue::new(1, 1_000.0), throttlekit::TokioRuntime).build().unwrap();
    let _held = guard.acquire();
    let ask = |priority| guard.admit(&Ask::new("k").priority(priority));
    let (low, high) = (ask(Priority::Low), ask(Priority::High));
    // The queue has one place: who matters more takes it. Nobody gets the slot in time.
    for waiting in [low, high] {
        assert!(!waiting.await.unwrap().decision.allowed);
    }
    let series = sdk.collect();
    let waits = series.iter().filter(|series| series.name == metric::CONCURRENCY_QUEUE_WAIT);
    let waits: Vec<_> = waits.map(|series| (series.attributes.as_str(), series.count)).collect();
    assert_eq!(waits, [(r#"outcome="displaced""#, 1), (r#"outcome="timed_out""#, 1)]);
    assert_eq!(of(&series, metric::CONCURRENCY_SHED), [(r#"priority="high""#, 1.0), (r#"priority="low""#, 1.0)]);
}

#[cfg(feature = "config")]
const POLICIES: &str =
    "limiters: { work: { concurrency: { limit: 8 } }, api: { strategy: gcra, limit: 9, period: 1s } }";

#[cfg(feature = "config")]
#[test]
fn the_guards_and_tables_of_policies_are_shown_by_their_names() {
    let sdk = Sdk::new();
    let telemetry = telemetry(&sdk);
    let policies = Policies::from_yaml(POLICIES).unwrap();
    let shown = telemetry.policies(&policies);
    let limits = |sdk: &Sdk| -> Vec<(String, f64)> {
        let series = sdk.collect();
        of(&series, metric::CONCURRENCY_LIMIT).into_iter().map(|(text, value)| (text.to_owned(), value)).collect()
    };
    assert_eq!(limits(&sdk), [(r#"policy="work""#.to_owned(), 8.0)]);
    policies.get("api").unwrap().limiter().unwrap().check("k", 1.0).now().unwrap().unwrap();
    let series = sdk.collect();
    let table = [metric::TABLE_KEYS, metric::TABLE_MAX_KEYS, metric::TABLE_EVICTIONS].map(|name| of(&series, name));
    assert_eq!(table, [1.0, 1_000_000.0, 0.0].map(|value| [(r#"policy="api""#, value)]));
    policies.reload("limiters: { more: { concurrency: { limit: 3 } } }").unwrap();
    assert_eq!(limits(&sdk), [(r#"policy="more""#.to_owned(), 3.0)]);
    drop(shown);
    assert_eq!(limits(&sdk), []);
}

#[cfg(feature = "config")]
#[test]
fn policies_that_are_loaded_with_it_are_shown_once_and_as_long_as_they_are_held() {
    let sdk = Sdk::new();
    let telemetry = telemetry(&sdk);
    let policies = Policies::load(POLICIES, LoadOptions::new().observer(telemetry.clone())).unwrap();
    let again = telemetry.policies(&policies);
    let held = policies.get("work").unwrap().admit().admit(&Ask::new("k")).now().unwrap().unwrap();
    drop(held);
    let shown = || {
        let series = sdk.collect();
        let count = |name| of(&series, name).len();
        (count(metric::CONCURRENCY_LIMIT), count(metric::CONCURRENCY_DROPPED), count(metric::TABLE_KEYS))
    };
    assert_eq!(shown(), (1, 1, 1));
    drop(again);
    assert_eq!(shown(), (1, 1, 1));
    drop(policies);
    assert_eq!(shown(), (0, 0, 0));
}
