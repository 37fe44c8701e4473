//! What it costs to be seen: a check that records into OpenTelemetry's SDK, beside the same three recordings made by hand in
//! the same run.
//!
//! One thread, one hot key, medians over the rounds, in each of which every candidate gets a slice. The SDK's provider has a
//! reader that does not collect meanwhile.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bench::args::Args;
use bench::gauge::{FLOOR, Gauge, Goals};
use bench::report::{self, Claims, Table, one};
use bench::turns::{Figures, Turn};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use serde_json::json;
use throttlekit::{Admit, Ask, Clock, FixedWindow, Gcra, Guard, Limiter, Observer, SystemClock, Unified};
use throttlekit_otel::Telemetry;
use throttlekit_otel::buckets::{LATENCY_MS, REMAINING};

/// What a recorded check may take beyond an unseen one and the SDK's part of it, in nanoseconds: two readings of a clock,
/// and what is ours.
const OURS: f64 = 60.0;

const CLOCK: &str = "clock, monotonic";
const SDK: &str = "SDK, three recordings";
const UNSEEN: &str = "check, unseen";
const SEEN: &str = "check, recorded";
const SEEN_DYN: &str = "check, recorded through a pointer";
const DENIED: &str = "denial of two axes, unseen";
const DENIED_SEEN: &str = "denial of two axes, recorded";

/// More than a run takes.
fn plenty() -> Result<Gcra, Box<dyn Error>> {
    Ok(Gcra::builder().limit(1e8).period_ms(1_000_000.0).burst(1e8).build()?)
}

/// What a program that has no limiter of ours would write.
fn by_hand(meter: &Meter) -> Turn {
    let checks = meter.u64_counter("by_hand.checks").build();
    let remaining = meter.u64_histogram("by_hand.remaining").with_boundaries(REMAINING.to_vec()).build();
    let latency = meter.f64_histogram("by_hand.latency").with_boundaries(LATENCY_MS.to_vec()).build();
    let counted = [KeyValue::new("allowed", "true"), KeyValue::new("strategy", "gcra")];
    let plain = [KeyValue::new("strategy", "gcra")];
    Turn::new(SDK, move || {
        checks.add(1, black_box(&counted));
        remaining.record(black_box(1_000), black_box(&plain));
        latency.record(black_box(0.000_1), black_box(&plain));
        true
    })
}

fn check<O: Observer + Clone>(name: &'static str, observer: O) -> Result<Turn, Box<dyn Error>> {
    let limiter = Limiter::builder(plenty()?).observer(observer).build();
    Ok(Turn::new(name, move || black_box(&limiter).check(black_box("user-1")).is_ok_and(|it| it.allowed)))
}

/// A slot is free, the rate is spent.
fn denial(name: &'static str, observer: Option<Telemetry>) -> Result<Turn, Box<dyn Error>> {
    let window = FixedWindow::builder().limit(1.0).window_ms(86_400_000.0).build()?;
    let mut builder = Unified::builder().concurrency(Guard::fixed(9)?).rate(Limiter::new(window));
    if let Some(telemetry) = observer {
        builder = builder.observer(telemetry);
    }
    let unified = builder.build()?;
    let denied = move || {
        let admission = black_box(&unified).admit(&Ask::new(black_box("user-1"))).now();
        admission.is_ok_and(|admission| admission.is_ok_and(|admission| !admission.decision.allowed))
    };
    denied();
    Ok(Turn::new(name, denied))
}

fn turns(meter: &Meter) -> Result<Vec<Turn>, Box<dyn Error>> {
    let (clock, telemetry) = (SystemClock::new(), Telemetry::new(meter));
    let shared: Arc<dyn Observer> = Arc::new(telemetry.clone());
    Ok(vec![
        Gauge::new().turn(),
        Turn::new(CLOCK, move || black_box(&clock).monotonic_ns() > 0),
        by_hand(meter),
        check(UNSEEN, ())?,
        check(SEEN, telemetry.clone())?,
        check(SEEN_DYN, shared)?,
        denial(DENIED, None)?,
        denial(DENIED_SEEN, Some(telemetry))?,
    ])
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env();
    report::header("Telemetry");
    let reader = PeriodicReader::builder(InMemoryMetricExporter::default()).with_interval(Duration::from_secs(3_600));
    let provider = SdkMeterProvider::builder().with_reader(reader.build()).build();
    let figures = Figures::measure(turns(&provider.meter("bench"))?, args.quick);
    let mut table = Table::new(["", "ns"]);
    for (name, ns) in figures.iter() {
        table.row([name.to_owned(), one(ns)]);
    }
    let ours = |seen| figures.beyond(seen, &[UNSEEN, SDK]);
    table.row(["ours: recorded less unseen less SDK".to_owned(), one(ours(SEEN))]);
    table.row(["the same through a pointer".to_owned(), one(ours(SEEN_DYN))]);
    table.print();
    let goals = Goals::at(figures.of(FLOOR));
    println!("{goals}\n");
    let mut claims = Claims::default();
    claims.at_most("beyond the SDK's three recordings, ns", ours(SEEN), goals.ns(OURS));
    claims.print();
    let saved: Vec<_> = figures.iter().map(|(name, ns)| json!({ "name": name, "ns": ns })).collect();
    report::save("telemetry", json!({ "figures": saved, "claims": claims.json() }));
    Ok(())
}
