//! The names of all that is exported.

use std::collections::BTreeSet;

use opentelemetry::KeyValue;
use throttlekit::lease::TwoTier;
use throttlekit::store::TableReport;
use throttlekit::{Admit, Ask, Disconnect, FixedWindow, Guard, Observer, Stage};
use throttlekit_otel::names::{attribute, metric};
use throttlekit_otel::{Reading, Telemetry};

use crate::admissions::{ask, unified};
use crate::support::Sdk;

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
        "throttlekit.table.keys",
        "throttlekit.table.max_keys",
        "throttlekit.table.evictions",
        "throttlekit.observer.panics",
    ];
    assert_eq!(metric::ADDED, added);
}

/// What each is, and its unit: of the frozen ones as much a part of the contract as the name.
const KINDS: [(&str, &str, &str); 19] = [
    (metric::CHECKS, "counter", ""),
    (metric::REMAINING, "histogram", ""),
    (metric::STORE_LATENCY, "histogram", "ms"),
    (metric::CONCURRENCY_LIMIT, "gauge", ""),
    (metric::CONCURRENCY_INFLIGHT, "gauge", ""),
    (metric::CONCURRENCY_RTT_NOLOAD, "gauge", "ms"),
    (metric::DENIES_BY_AXIS, "counter", ""),
    (metric::CHECK_ERRORS, "counter", ""),
    (metric::CONCURRENCY_DROPPED, "counter", ""),
    (metric::CONCURRENCY_FENCED, "gauge", ""),
    (metric::CONCURRENCY_QUEUE_WAIT, "histogram", "ms"),
    (metric::CONCURRENCY_SHED, "counter", ""),
    (metric::CLIENT_DISCONNECTS, "counter", ""),
    (metric::LEASES, "counter", ""),
    (metric::LEASE_LATENCY, "histogram", "ms"),
    (metric::TABLE_KEYS, "gauge", ""),
    (metric::TABLE_MAX_KEYS, "gauge", ""),
    (metric::TABLE_EVICTIONS, "counter", ""),
    (metric::OBSERVER_PANICS, "counter", ""),
];

#[test]
fn every_exported_name_is_documented_and_every_name_is_exported() {
    let sdk = Sdk::new();
    let telemetry = Telemetry::builder(&sdk.meter()).attribute(KeyValue::new("region", "eu-1")).build();
    let stats = Guard::fixed(3).unwrap().stats();
    let _shown = telemetry.guard(move || Some(Reading::new(stats).fenced(false)));
    let _table = telemetry.table("api", || Some(TableReport::new(3, 9)));
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
    let series = sdk.collect();
    let exported: BTreeSet<_> = series.iter().map(|series| series.name.clone()).collect();
    let known: BTreeSet<_> = metric::FROZEN.iter().chain(&metric::ADDED).map(|name| (*name).to_owned()).collect();
    assert_eq!(exported, known);
    let kinds: BTreeSet<_> =
        series.iter().map(|series| (series.name.as_str(), series.kind, series.unit.as_str())).collect();
    assert_eq!(kinds, BTreeSet::from(KINDS));
    for series in &series {
        assert!(series.attributes.contains(r#"region="eu-1""#), "{} lacks a static attribute", series.name);
    }
    let (page, readme) = (include_str!("../../../docs/observability.md"), include_str!("../../README.md"));
    for name in &known {
        assert!(page.contains(&format!("`{name}`")), "docs/observability.md lacks {name}");
        let short = name.replace("throttlekit.concurrency.inflight", ".inflight");
        assert!(readme.contains(&format!("`{short}`")), "the front page lacks {name}");
    }
    for name in attribute::ALL {
        assert!(page.contains(&format!("`{name}`")), "docs/observability.md lacks {name}");
    }
}
