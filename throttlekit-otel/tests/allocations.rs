//! Recording allocates nothing once a strategy was seen.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod support;

use support::{Sdk, of};
use throttlekit::{Admit, Ask, Gcra, Guard, Limiter, ManualClock, Unified};
use throttlekit_otel::Telemetry;
use throttlekit_otel::names::metric;

fn gcra() -> Gcra {
    Gcra::builder().limit(50.0).period_ms(1_000.0).build().unwrap()
}

/// What 200 runs of `work` allocate, after two that prepare.
fn allocations(mut work: impl FnMut()) -> u64 {
    work();
    work();
    allocation_counter::measure(|| (0..200).for_each(|_| work())).count_total
}

#[test]
fn a_recorded_check_allocates_nothing() {
    let sdk = Sdk::new();
    let fixed = [("region", "eu-1"), ("tier", "free")].map(|(key, value)| opentelemetry::KeyValue::new(key, value));
    let telemetry = Telemetry::builder(&sdk.meter()).attributes(fixed).build();
    let limiter = Limiter::builder(gcra()).clock(ManualClock::new(0.0)).observer(telemetry).build();
    while limiter.check("k").unwrap().allowed {}
    let mut key = 0_u64;
    // A table takes memory for new keys: those are known.
    let keys: Vec<String> = (0..50).map(|key| format!("key-{key}")).collect();
    for key in &keys {
        limiter.check(key).unwrap();
    }
    let counted = allocations(|| {
        key = (key + 1) % 50;
        limiter.check("k").unwrap();
        limiter.check(&keys[usize::try_from(key).unwrap()]).unwrap();
    });
    assert_eq!(counted, 0);
    let total: f64 = of(&sdk.collect(), metric::CHECKS).into_iter().map(|(_, value)| value).sum();
    assert!(total > 400.0, "they were recorded: {total}");
}

#[test]
fn a_recorded_denial_of_several_axes_allocates_nothing() {
    let sdk = Sdk::new();
    let telemetry = Telemetry::new(&sdk.meter());
    let clock = ManualClock::new(0.0);
    let guard = Guard::builder().fixed(1).clock(clock.clone()).observer(telemetry.clone()).build().unwrap();
    let unified = Unified::builder()
        .concurrency(guard.clone())
        .rate(Limiter::builder(gcra()).clock(clock.clone()).build())
        .clock(clock)
        .observer(telemetry)
        .build()
        .unwrap();
    let held = guard.acquire();
    let counted = allocations(|| drop(unified.admit(&Ask::new("k")).now().unwrap().unwrap()));
    assert_eq!(counted, 0);
    assert_eq!(of(&sdk.collect(), metric::DENIES_BY_AXIS), [(r#"lane="concurrency""#, 202.0)]);
    drop(held);
}
