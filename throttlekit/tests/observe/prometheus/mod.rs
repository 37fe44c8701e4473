//! The text endpoint: series, escapes, quantiles, answers. A parser of another make reads what is written.

mod gauges;
mod message;

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};

use prometheus_parse::{Sample, Scrape, Value};
use throttlekit::prometheus::{CONTENT_TYPE, Metrics};
use throttlekit::store::Remote;
use throttlekit::unified::Prices;
use throttlekit::{
    AdmissionEvent, Admit, Ask, Clock, Event, Gcra, Guard, Limiter, ManualClock, Meter, Observer, TokenBucket, Unified,
};

use crate::support::{DownStore, polled};

fn gcra(limit: f64) -> Gcra {
    Gcra::builder().limit(limit).period_ms(3_600_000.0).build().unwrap()
}

fn metrics() -> Metrics<ManualClock> {
    Metrics::builder().clock(ManualClock::new(0.0)).build().unwrap()
}

fn check(meter: &impl Meter, times: u32) {
    (0..times).for_each(|_| assert!(meter.debit("user", 1.0).now().is_ok()));
}

fn scrape<C: Clock>(metrics: &Metrics<C>) -> Scrape {
    let text = metrics.render();
    assert!(text.ends_with('\n'));
    Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap()
}

/// The samples of a series, as labels and values.
fn samples(scrape: &Scrape, name: &str) -> Vec<(String, f64)> {
    let labels = |sample: &Sample| {
        let mut labels: Vec<_> = sample.labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
        labels.sort();
        labels.join(" ")
    };
    let value = |sample: &Sample| match sample.value {
        Value::Counter(value) | Value::Gauge(value) => value,
        ref other => panic!("{name} is {other:?}"),
    };
    scrape.samples.iter().filter(|sample| sample.metric == name).map(|s| (labels(s), value(s))).collect()
}

fn is(scrape: &Scrape, name: &str, expected: &[(&str, f64)]) {
    let expected: Vec<_> = expected.iter().map(|(labels, value)| ((*labels).to_owned(), *value)).collect();
    assert_eq!(samples(scrape, name), expected, "{name}");
}

#[test]
fn decisions_are_counted_by_policy() {
    let metrics = metrics();
    let limiter = |name: &str, limit| {
        Limiter::builder(gcra(limit)).name(name).clock(ManualClock::new(0.0)).observer(metrics.clone()).build()
    };
    let (api, web) = (limiter("api", 3.0), limiter("web", 9.0));
    check(&api, 4);
    check(&web, 2);
    api.peek("user").unwrap();
    let scrape = scrape(&metrics);
    is(&scrape, "throttlekit_allowed_total", &[("policy=api", 3.0), ("policy=web", 2.0)]);
    is(&scrape, "throttlekit_denied_total", &[("policy=api", 1.0), ("policy=web", 0.0)]);
    is(&scrape, "throttlekit_limit", &[("policy=api", 3.0), ("policy=web", 9.0)]);
    // A rate has no axes to tell apart.
    is(&scrape, "throttlekit_denied_by_axis_total", &[]);
    is(&scrape, "throttlekit_check_errors_total", &[]);
}

#[test]
fn labels_are_escaped() {
    let metrics = metrics();
    let limiter = Limiter::builder(gcra(3.0)).name("a\"b").observer(metrics.clone()).build();
    check(&limiter, 4);
    metrics.policy("c\\d\ne");
    let text = metrics.render();
    for line in [
        "throttlekit_allowed_total{policy=\"a\\\"b\"} 3",
        "throttlekit_denied_total{policy=\"a\\\"b\"} 1",
        "throttlekit_allowed_total{policy=\"c\\\\d\\ne\"} 0",
    ] {
        assert!(text.lines().any(|of| of == line), "{line} is not in\n{text}");
    }
}

#[test]
fn each_family_has_its_first_lines_also_without_samples() {
    let text = metrics().render();
    let families = [
        ("throttlekit_allowed_total", "counter"),
        ("throttlekit_denied_total", "counter"),
        ("throttlekit_denied_by_axis_total", "counter"),
        ("throttlekit_check_errors_total", "counter"),
        ("throttlekit_limit", "gauge"),
        ("throttlekit_latency_p50_ms", "gauge"),
        ("throttlekit_latency_p99_ms", "gauge"),
        ("throttlekit_decision_latency_seconds", "histogram"),
        ("throttlekit_guard_inflight", "gauge"),
        ("throttlekit_guard_limit", "gauge"),
        ("throttlekit_guard_fenced", "gauge"),
        ("throttlekit_table_keys", "gauge"),
        ("throttlekit_table_max_keys", "gauge"),
        ("throttlekit_table_evictions_total", "counter"),
        ("throttlekit_observer_panics_total", "counter"),
    ];
    let mut lines = text.lines().filter(|line| line.starts_with('#'));
    for (name, kind) in families {
        assert!(lines.next().unwrap().starts_with(&format!("# HELP {name} ")));
        assert_eq!(lines.next().unwrap(), format!("# TYPE {name} {kind}"));
    }
    assert_eq!(lines.next(), None);
    // Only what no policy is needed for has a sample.
    assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 1, "{text}");
}

#[test]
fn a_request_over_several_axes_counts_once() {
    let metrics = metrics();
    let cost = TokenBucket::builder().capacity(10.0).refill_per_sec(1e-9).build().unwrap();
    let unified = Unified::builder()
        .concurrency(Guard::fixed(1).unwrap())
        .rate(Limiter::new(gcra(4.0)))
        .cost(Limiter::new(cost))
        .prices(Prices::new(0.0, 1.0))
        .observer(metrics.clone())
        .name("chat")
        .build()
        .unwrap();
    let ask = |cost: f64, value: f64| unified.admit(&Ask::new("k").cost(cost).value(value)).now().unwrap().unwrap();
    let held = ask(1.0, 9.0);
    drop(ask(1.0, 9.0));
    drop(held);
    drop(ask(3.0, 1.0));
    drop(ask(10.0, 99.0));
    (0..6).for_each(|_| drop(ask(1.0, 9.0)));
    let scrape = scrape(&metrics);
    let total = |name| samples(&scrape, name).iter().map(|sample| sample.1).sum::<f64>();
    assert_eq!(total("throttlekit_allowed_total") + total("throttlekit_denied_total"), 10.0);
    assert_eq!(total("throttlekit_denied_by_axis_total"), total("throttlekit_denied_total"));
    let by_axis = samples(&scrape, "throttlekit_denied_by_axis_total");
    let axes: Vec<_> = by_axis.iter().map(|(labels, denied)| (labels.as_str(), *denied > 0.0)).collect();
    assert_eq!(
        axes,
        [
            ("axis=rate policy=chat", true),
            ("axis=concurrency policy=chat", true),
            ("axis=cost policy=chat", true),
            ("axis=policy policy=chat", true),
        ]
    );
}

#[test]
fn parts_that_tell_alone_do_not_count_twice() {
    let metrics = metrics();
    let guard = Guard::builder().fixed(1).name("chat").observer(metrics.clone()).build().unwrap();
    let rate = Limiter::builder(gcra(2.0)).name("chat").observer(metrics.clone()).build();
    let unified = |observed: bool| {
        let unified = Unified::builder().concurrency(guard.clone()).rate(rate.clone()).name("chat");
        if observed { unified.observer(metrics.clone()) } else { unified }.build().unwrap()
    };
    let counts = || {
        let scrape = scrape(&metrics);
        let names = ["throttlekit_allowed_total", "throttlekit_denied_total"];
        (names.map(|name| samples(&scrape, name)[0].1), samples(&scrape, "throttlekit_limit")[0].1)
    };
    let ask = |unified: &Unified| unified.admit(&Ask::new("k")).now().unwrap().unwrap();
    // Told by the parts alone: one is admitted, one finds no slot.
    let parts = unified(false);
    let held = ask(&parts);
    drop(ask(&parts));
    drop(held);
    assert_eq!(counts().0, [1.0, 1.0]);
    // Told as a whole besides: that counts. The limit is that of the whole, the least of all.
    let whole = unified(true);
    (0..3).for_each(|_| drop(ask(&whole)));
    assert_eq!(counts(), ([1.0, 2.0], 1.0));
}

#[test]
fn errors_are_counted_by_kind() {
    let metrics = metrics();
    let keys = Remote::new(DownStore);
    let limiter = Limiter::builder(gcra(4.0)).name("api").keyspace(keys).observer(metrics.clone()).build();
    assert!(polled(limiter.check("k"), 9).unwrap().is_err());
    assert!(polled(limiter.check("k"), 9).unwrap().is_err());
    let scrape = scrape(&metrics);
    is(&scrape, "throttlekit_check_errors_total", &[("kind=store_unavailable policy=api", 2.0)]);
    is(&scrape, "throttlekit_allowed_total", &[("policy=api", 0.0)]);
    is(&scrape, "throttlekit_limit", &[]);
}

#[test]
fn panics_are_counted_by_those_that_stand_beside() {
    struct Broken;
    impl Observer for Broken {
        fn observe(&self, _: &Event<'_>) {
            panic!("broken");
        }
    }
    let (beside, alone) = (metrics(), metrics());
    let both = Arc::new((Broken, beside.clone()));
    let limiter = Limiter::builder(gcra(9.0)).clock(ManualClock::new(0.0)).observer(both).build();
    check(&limiter, 3);
    is(&scrape(&beside), "throttlekit_observer_panics_total", &[("", 3.0)]);
    is(&scrape(&alone), "throttlekit_observer_panics_total", &[("", 0.0)]);
}

#[test]
fn latencies_are_a_histogram_and_recent_quantiles() {
    let clock = ManualClock::new(0.0);
    let metrics = Metrics::builder().clock(clock.clone()).build().unwrap();
    is(&scrape(&metrics), "throttlekit_latency_p50_ms", &[]);
    (1..=100).for_each(|i| take(&metrics, f64::from(i)));
    let quantiles = |scrape: &Scrape| {
        ["throttlekit_latency_p50_ms", "throttlekit_latency_p99_ms"].map(|name| samples(scrape, name)[0].1)
    };
    let early = scrape(&metrics);
    let [p50, p99] = quantiles(&early);
    assert!((p50 / 50.0 - 1.0).abs() < 0.09 && (p99 / 99.0 - 1.0).abs() < 0.09, "{p50} {p99}");

    let histogram =
        early.samples.iter().find(|sample| sample.metric == "throttlekit_decision_latency_seconds").unwrap();
    let Value::Histogram(buckets) = &histogram.value else { panic!("{histogram:?}") };
    let below = |bound: f64| buckets.iter().find(|bucket| bucket.less_than == bound).unwrap().count;
    assert_eq!((below(0.015_625), below(0.062_5), below(0.125), below(f64::INFINITY)), (15.0, 62.0, 100.0, 100.0));
    assert!(buckets.windows(2).all(|pair| pair[0].count <= pair[1].count && pair[0].less_than < pair[1].less_than));
    let text = metrics.render();
    assert!(text.contains("throttlekit_decision_latency_seconds_sum{policy=\"api\"} 5.05\n"), "{text}");
    assert!(text.contains("throttlekit_decision_latency_seconds_count{policy=\"api\"} 100\n"));

    // What is old is in the histogram, and no longer in the quantiles.
    clock.advance(60_000.0);
    scrape(&metrics);
    (0..100).for_each(|_| take(&metrics, 500.0));
    clock.advance(60_000.0);
    let [p50, p99] = quantiles(&scrape(&metrics));
    assert!(p50 > 450.0 && p99 > 450.0, "{p50} {p99}");
    clock.advance(60_000.0);
    assert_eq!(samples(&scrape(&metrics), "throttlekit_latency_p50_ms"), []);
    assert!(metrics.render().contains("throttlekit_decision_latency_seconds_count{policy=\"api\"} 200\n"));
}

#[test]
fn what_is_not_measured_is_not_shown() {
    let metrics = Metrics::builder().latency(false).build().unwrap();
    assert_eq!(metrics.stopwatch_ns(), None);
    check(&Limiter::builder(gcra(4.0)).observer(metrics.clone()).build(), 1);
    let unified = Unified::builder().rate(Limiter::new(gcra(4.0))).observer(metrics.clone()).build().unwrap();
    drop(unified.admit(&Ask::new("k")).now().unwrap().unwrap());
    let text = metrics.render();
    assert!(!text.contains("_bucket") && !text.contains("_ms{") && text.contains("{policy=\"gcra\"} 1\n"), "{text}");
}

#[test]
fn a_flood_of_names_does_not_make_a_flood_of_series() {
    let error = Metrics::builder().max_policies(0).build().unwrap_err();
    assert_eq!((error.option(), error.value()), ("metrics.maxPolicies", Some("0")));
    let metrics = Metrics::builder().max_policies(2).build().unwrap();
    (0..1_000).for_each(|i| metrics.policy(&format!("p{i}")));
    check(&Limiter::builder(gcra(4.0)).name("late").observer(metrics.clone()).build(), 3);
    is(
        &scrape(&metrics),
        "throttlekit_allowed_total",
        &[("policy=_other", 3.0), ("policy=p0", 0.0), ("policy=p1", 0.0)],
    );
}

#[test]
fn requests_are_answered() {
    let metrics = metrics();
    let answer = |method: &str, target: &str| {
        let answer = metrics.respond(method, target, None);
        (answer.status, answer.content_type, answer.allow)
    };
    for target in ["/metrics", "/metrics?y=1"] {
        assert_eq!(answer("GET", target), (200, "text/plain; version=0.0.4; charset=utf-8", None));
        assert_eq!(metrics.respond("GET", target, None).body, metrics.render().into_bytes());
    }
    assert_eq!(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    for target in ["/healthz", "/health", "/health?now"] {
        assert_eq!(
            (metrics.respond("GET", target, None).body.as_slice(), answer("GET", target).0),
            (&b"ok\n"[..], 200)
        );
    }
    for target in ["/x", "/", "", "/metrics/", "/metricsx", "metrics"] {
        assert_eq!(answer("GET", target).0, 404, "{target}");
    }
    for method in ["POST", "DELETE", "get", ""] {
        assert_eq!((answer(method, "/metrics").0, answer(method, "/metrics").2), (405, Some("GET")), "{method}");
    }
}

#[test]
fn protobuf_is_for_those_who_ask_for_it() {
    const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let metrics = metrics();
    let is_protobuf = |accept: &str| {
        let kind = metrics.respond("GET", "/metrics", Some(accept)).content_type;
        assert!(kind == CONTENT_TYPE || kind.starts_with("application/vnd.google.protobuf; proto="), "{kind}");
        kind != CONTENT_TYPE
    };
    assert!(is_protobuf(PROTOBUF));
    // What a Prometheus sends that keeps native histograms.
    assert!(is_protobuf(&format!(
        "{PROTOBUF};q=0.6,application/openmetrics-text;q=0.5,text/plain;version=0.0.4;q=0.3,*/*"
    )));
    for text in ["", "*/*", "text/plain", &format!("{PROTOBUF};q=0"), &format!("text/plain,{PROTOBUF};q=0.9")] {
        assert!(!is_protobuf(text), "{text}");
    }
    assert!(!is_protobuf("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text"));
}

/// Tells of one decision that took so long.
fn take(metrics: &Metrics<ManualClock>, ms: f64) {
    let decision = throttlekit::Decision::ALLOW_FULL;
    let mut event = Event::new("api", "gcra", throttlekit::Axis::Rate, 1.0, 0.0, Ok(decision));
    event.took_ms = Some(ms);
    metrics.observe(&event);
}

#[test]
fn protobuf_has_native_histograms() {
    use prost::Message as _;

    let metrics = metrics();
    // Nothing (2^-27 s and less), 2 s and a little less, 8 s, and more than there are buckets for.
    for (ms, times) in [(0.0, 2), (1_999.0, 3), (2_000.0, 1), (8_000.0, 4), (9e6, 1)] {
        (0..times).for_each(|_| take(&metrics, ms));
    }
    let accept = Some("application/vnd.google.protobuf");
    let body = metrics.respond("GET", "/metrics", accept).body;
    let (mut rest, mut families) = (body.as_slice(), Vec::new());
    while !rest.is_empty() {
        families.push(message::Family::decode_length_delimited(&mut rest).unwrap());
    }
    let names: Vec<_> = families.iter().map(|family| (family.name.as_str(), family.kind)).collect();
    assert_eq!(
        names,
        [
            ("throttlekit_allowed_total", 0),
            ("throttlekit_denied_total", 0),
            ("throttlekit_limit", 1),
            ("throttlekit_latency_p50_ms", 1),
            ("throttlekit_latency_p99_ms", 1),
            ("throttlekit_decision_latency_seconds", 4),
            ("throttlekit_observer_panics_total", 0),
        ]
    );
    assert!(families.iter().all(|family| !family.help.is_empty() && family.metric.len() == 1));
    let allowed = &families[0].metric[0];
    assert_eq!((allowed.label[0].name.as_str(), allowed.label[0].value.as_str()), ("policy", "api"));
    assert_eq!((allowed.counter.unwrap().value, families[2].metric[0].gauge.is_some()), (11.0, true));

    let histogram = families[5].metric[0].histogram.clone().unwrap();
    assert_eq!((histogram.count, histogram.schema, histogram.zero_count), (11, 3, 2));
    assert_eq!(histogram.zero_threshold, (-27.0_f64).exp2());
    // In schema 3 the bucket 8 ends with 2 s, 24 with 8 s; 49 is the one after 64 s, the last one.
    let spans: Vec<_> = histogram.positive_span.iter().map(|span| (span.offset, span.length)).collect();
    assert_eq!((spans, histogram.positive_delta), (vec![(8, 1), (15, 1), (24, 1)], vec![4, 0, -3]));
    let below =
        |bound: f64| histogram.bucket.iter().find(|bucket| bucket.upper_bound == bound).unwrap().cumulative_count;
    assert_eq!((below(1.0), below(2.0), below(8.0), below(16.0)), (2, 6, 10, 10));
}

/// The keys of events, and what they look like for debugging.
#[derive(Default)]
struct Shown(Mutex<(Vec<String>, String)>);

impl Shown {
    fn add(&self, key: &str, event: &dyn fmt::Debug) {
        let mut shown = self.0.lock().unwrap();
        shown.0.push(key.to_owned());
        write!(shown.1, "{event:?}").unwrap();
    }
}

impl Observer for Shown {
    fn observe(&self, event: &Event<'_>) {
        self.add(event.key(), event);
    }

    fn admitted(&self, admission: &AdmissionEvent<'_>) {
        self.add(admission.key(), admission);
    }
}

#[test]
fn no_key_is_ever_shown() {
    let metrics = Metrics::new();
    let key = "the-key-itself";
    let limiter = Limiter::builder(gcra(1.0)).observer(metrics.clone()).build();
    let unified = Unified::builder().rate(limiter.clone()).observer(metrics.clone()).build().unwrap();
    for _ in 0..3 {
        limiter.check(key).unwrap();
        drop(unified.admit(&Ask::new(key)).now().unwrap().unwrap());
    }
    let shown = Arc::new(Shown::default());
    let watched = Unified::builder().rate(limiter).observer(Arc::clone(&shown)).build().unwrap();
    drop(watched.admit(&Ask::new(key)).now().unwrap().unwrap());
    let (keys, debug) = shown.0.lock().unwrap().clone();
    assert_eq!((keys, debug.contains("the-key")), (vec![key.to_owned(); 2], false), "{debug}");
    assert!(!format!("{}{metrics:?}", metrics.render()).contains("the-key"));
}
