//! What limiters do.

use opentelemetry::KeyValue;
use throttlekit::lease::TwoTier;
use throttlekit::store::memory::Table;
use throttlekit::store::{Call, Remote, Store};
use throttlekit::{Error, Event, FixedWindow, Limiter, ManualClock, Multi, Observer};
use throttlekit_otel::names::metric;
use throttlekit_otel::{Telemetry, buckets};

use crate::support::{Sdk, Ticking, of, one};
use crate::{gcra, telemetry};

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
fn the_bounds_of_buckets_are_these() {
    let latency = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0,
        1_000.0, 2_500.0,
    ];
    assert_eq!(buckets::LATENCY_MS, latency);
    let to_thousands = [0, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 100_000, 1_000_000];
    assert_eq!(buckets::REMAINING, to_thousands.map(f64::from));
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

#[tokio::test]
async fn a_lease_that_nobody_answers_has_failed() {
    let sdk = Sdk::new();
    let window = FixedWindow::builder().limit(6.0).window_ms(60_000.0).build().unwrap();
    let builder = TwoTier::builder(window).batch(4.0).keyspace(Remote::new(Gone)).clock(ManualClock::new(0.0));
    let leased = builder.observer(telemetry(&sdk)).build().unwrap();
    leased.run_check("k", 1.0).await.unwrap_err();
    let series = sdk.collect();
    assert_eq!(of(&series, metric::LEASES), [(r#"outcome="failed" strategy="fixedWindow""#, 1.0)]);
    assert_eq!(of(&series, metric::CHECK_ERRORS), [(r#"kind="store_unavailable" strategy="fixedWindow""#, 1.0)]);
}

/// A store whose answers take longer than a window.
struct Slow(ManualClock);

impl Store for Slow {
    async fn run(&self, call: &mut Call) -> Result<(), Error> {
        let (states, now_ms) = (vec![None; call.keys().len()], call.now_ms());
        call.step(&states, now_ms)?;
        self.0.advance(2_000.0);
        Ok(())
    }
}

#[tokio::test]
async fn a_lease_whose_window_is_over_when_it_comes_is_late() {
    let (sdk, clock) = (Sdk::new(), ManualClock::new(0.0));
    let window = FixedWindow::builder().limit(6.0).window_ms(1_000.0).build().unwrap();
    let builder = TwoTier::builder(window).batch(4.0).window_coupled(true).keyspace(Remote::new(Slow(clock.clone())));
    let leased = builder.clock(clock).observer(telemetry(&sdk)).build().unwrap();
    assert!(!leased.run_check("k", 1.0).await.unwrap().allowed, "no unit ever came in time");
    let late = leased.stats();
    assert_eq!((late.granted, late.late), (12.0, 12.0));
    let series = sdk.collect();
    assert_eq!(of(&series, metric::LEASES), [(r#"outcome="late" strategy="fixedWindow""#, 3.0)]);
    let latency = one(&series, metric::LEASE_LATENCY);
    assert_eq!((latency.count, latency.value), (3, 6_000.0));
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
    assert_eq!(one(&series, metric::OBSERVER_PANICS).value, 1.0, "of the observer beside it");
    assert_eq!(of(&series, metric::CHECKS), [(r#"allowed="true" strategy="gcra""#, 1.0)]);
}
