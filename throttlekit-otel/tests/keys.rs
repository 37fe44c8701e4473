//! What clients choose reaches no metric: neither as text nor as a number of series.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod support;

use std::sync::Arc;

use support::Sdk;
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::store::memory::Table;
use throttlekit::{Admit, Ask, Clock, Gcra, Guard, Limiter, ManualClock, Observer, Priority, Unified};
use throttlekit_otel::Telemetry;

/// What every key has in it.
const MARK: &str = "SECRET-MARK";

const POLICIES: &str = "
limiters:
  api: { strategy: gcra, limit: 5, period: 60s }
  tiers: { strategy: fixedWindow, limit: 10, windowMs: 60000, twoTier: { mode: leased, batch: 3 } }
  tokens: { tokenBudget: { budget: 100, windowMs: 60000 } }
  share: { fairEscrow: { limit: 10, windowMs: 60000 } }
  slots: { concurrency: { limit: 1 } }
";

#[test]
fn a_flood_of_distinct_keys_makes_no_series() {
    let sdk = Sdk::new();
    let telemetry = Telemetry::new(&sdk.meter());
    let strategy = Gcra::builder().limit(1.0).period_ms(60_000.0).build().unwrap();
    let limiter = Limiter::builder(strategy)
        .clock(ManualClock::new(0.0))
        .keyspace(Table::bounded(10_000).unwrap())
        .observer(telemetry)
        .build();
    let mut text = String::from(MARK);
    for key in 0..1_000_000_u32 {
        text.truncate(MARK.len());
        text.push_str(&key.to_string());
        limiter.check(&text).unwrap();
        if key % 100 == 0 {
            limiter.check(&text).unwrap();
        }
    }
    let series = sdk.collect();
    let checks: f64 = series.iter().filter(|it| it.name == "throttlekit.checks").map(|it| it.value).sum();
    assert_eq!(checks, 1_010_000.0);
    // Two outcomes, two histograms, and the panics of observers.
    assert_eq!(series.len(), 5, "{series:?}");
    assert!(!sdk.text().contains(MARK));
}

#[test]
fn strategies_that_are_made_up_without_end_share_a_series() {
    let sdk = Sdk::new();
    let telemetry = Telemetry::new(&sdk.meter());
    for number in 0..100 {
        let name: &'static str = Box::leak(format!("made-up-{number}").into_boxed_str());
        for _ in 0..2 {
            let event = throttlekit::Event::new(
                "policy",
                name,
                throttlekit::Axis::Rate,
                1.0,
                0.0,
                Ok(throttlekit::Decision::ALLOW_FULL),
            );
            telemetry.observe(&event);
        }
    }
    let series = sdk.collect();
    let checks: Vec<_> = series.iter().filter(|it| it.name == "throttlekit.checks").collect();
    assert_eq!(checks.len(), 33, "32 of their own and one for the rest");
    let other = checks.iter().find(|it| it.attributes.contains(r#"strategy="other""#)).unwrap();
    assert_eq!(other.value, 2.0 * 68.0);
    assert!(checks.iter().filter(|it| it.value == 2.0).count() == 32);
}

#[test]
fn the_threads_of_a_program_agree_on_the_sets_of_a_strategy() {
    let sdk = Sdk::new();
    let telemetry = Telemetry::new(&sdk.meter());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for name in ["a", "b", "c", "d", "e"] {
                    let decision = Ok(throttlekit::Decision::ALLOW_FULL);
                    let event = throttlekit::Event::new("", name, throttlekit::Axis::Rate, 1.0, 0.0, decision);
                    telemetry.observe(&event);
                }
            });
        }
    });
    let series = sdk.collect();
    let checks: Vec<_> = series.iter().filter(|it| it.name == "throttlekit.checks").map(|it| it.value).collect();
    assert_eq!(checks, [4.0; 5]);
}

#[tokio::test]
async fn no_kind_of_limit_lets_a_key_out() {
    let sdk = Sdk::new();
    let telemetry = Telemetry::new(&sdk.meter());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0.0));
    let options = LoadOptions::new().clock(Arc::clone(&clock)).observer(telemetry.clone());
    let policies = Policies::load(POLICIES, options).unwrap();
    let mut debug = vec![format!("{policies:?}{telemetry:?}")];
    for name in ["api", "tiers", "tokens", "share", "slots"] {
        let policy = policies.get(name).unwrap();
        for attempt in 0..12 {
            let key = format!("{MARK}-{}", attempt % 2);
            let ask = Ask::new(&key).priority(Priority::Low);
            let admission = policy.admit().admit(&ask).await.unwrap();
            debug.push(format!("{admission:?}"));
        }
        let bad = format!("{MARK}-bad");
        let refused = policy.admit().admit(&Ask::new(&bad).cost(f64::NAN)).await;
        debug.push(format!("{refused:?}{policy:?}"));
    }
    let guard = Guard::builder().fixed(1).observer(telemetry.clone()).build().unwrap();
    let unified = Unified::builder().concurrency(guard.clone()).observer(telemetry.clone()).build().unwrap();
    let shown = telemetry.guard(guard);
    let held = unified.admit(&Ask::new(MARK)).await.unwrap();
    debug.push(format!("{:?}{shown:?}{unified:?}", unified.admit(&Ask::new(MARK)).await));
    drop(held);
    let exported = sdk.text();
    for part in ["tokenBudget", "fairEscrow", "fixedWindow", "gcra", "concurrency", "invalid_argument"] {
        assert!(exported.contains(part), "the traffic is in there: {part}");
    }
    assert!(!exported.contains(MARK), "{exported}");
    assert!(!debug.concat().contains(MARK), "{debug:?}");
}
