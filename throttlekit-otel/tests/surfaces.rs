//! Requests through a door, with a mark in everything that clients send and in what is configured to be secret: no metric,
//! span, log line or `Debug` output has it.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test
#![cfg(all(feature = "config", feature = "tracing"))]

mod support;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use support::{Lines, Sdk};
use throttlekit::analytics::Analytics;
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::prometheus::Metrics;
use throttlekit::{ManualClock, event_channel};
use throttlekit_otel::{Telemetry, TracingObserver, record_decision, record_fields, record_unified_admission};
use throttlekit_tower::{Admitted, PeerAddr, ThrottleLayer};
use tower::{Layer, ServiceExt, service_fn};
use tracing::field::Empty;

/// What clients send.
const MARK: &str = "SENT-MARK";
/// What hashes are made with.
const SECRET: &str = "SECRET-MARK-of-sixteen";
/// Where clients are.
const PEER: ([u8; 4], u16) = ([203, 0, 113, 77], 41_077);
const ADDRESS: &str = "203.0.113.77";

const LIMITS: &str = "
limiters:
  api: { strategy: gcra, limit: 2, period: 60s }
  work: { strategy: fixedWindow, limit: 2, windowMs: 60000, concurrency: { limit: 1 } }
  tiers: { strategy: fixedWindow, limit: 2, windowMs: 60000, twoTier: { mode: leased, batch: 2 } }
  wide: { strategy: slidingWindow, limit: 9, windowMs: 60000 }
  tokens: { tokenBudget: { budget: 2, windowMs: 60000 } }
http:
  rules:
    - { path: /peer, policy: api }
    - { path: /field, policy: work, key: { header: x-user } }
    - { path: /both, policies: [api, wide], key: { query: user } }
    - { path: /tokens, policy: tokens, key: { cookie: session } }
    - path: /hashed
      policy: tiers
      key: { apiKey: { bearer: true, keyId: k1, secret: '${MARKED}' } }
    - { path: /costly, policy: api, key: { header: x-user }, missing: reject }
";

/// A request with marks wherever a key may come from.
fn request(path: &str) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = format!("{path}?user={MARK}-query").parse().unwrap();
    for (name, value) in [
        ("x-user", format!("{MARK}-field")),
        ("authorization", format!("Bearer {MARK}-key")),
        ("cookie", format!("session={MARK}-cookie")),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request.extensions_mut().insert(PeerAddr(PEER.into()));
    request
}

#[test]
fn what_clients_send_is_on_no_surface() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .with_ansi(false)
        .finish();
    let (sdk, spans) = (Sdk::new(), InMemorySpanExporter::default());
    let tracers = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    let (metrics, analytics, debug) = (Metrics::new(), Analytics::new(), Arc::new(Mutex::new(Vec::new())));
    let (sender, receiver) = event_channel(1_000).unwrap();
    let telemetry = Telemetry::new(&sdk.meter());
    let observers = (telemetry.clone(), TracingObserver::new(), metrics.clone(), (analytics.clone(), sender.clone()));
    let env = |name: &str| (name == "MARKED").then(|| SECRET.to_owned());
    let clock = ManualClock::new(0.0);
    let options = LoadOptions::new().clock(clock).env(env).observer(observers);

    tracing::subscriber::with_default(subscriber, || {
        let policies = Policies::load(LIMITS, options).unwrap();
        let seen = Arc::clone(&debug);
        let layer = ThrottleLayer::from_config(&policies).unwrap().share(true).on_limited(move |limited| {
            seen.lock().unwrap().push(format!("{limited:?}"));
        });
        let (tracer, seen) = (tracers.tracer("door"), Arc::clone(&debug));
        let service = layer.layer(service_fn(move |request: Request<()>| {
            let admitted = request.extensions().get::<Admitted>().unwrap().clone();
            let mut span = tracer.start("request");
            record_decision(&mut span, admitted.decision(), "gcra", []);
            record_unified_admission(&mut span, admitted.decision(), admitted.axes(), []);
            span.end();
            let fields = tracing::info_span!("request", throttlekit.allowed = Empty, throttlekit.limit = Empty);
            record_fields(&fields, admitted.decision(), None);
            fields.in_scope(|| tracing::info!("served"));
            seen.lock().unwrap().push(format!("{admitted:?}{:?}", admitted.meters().collect::<Vec<_>>()));
            std::future::ready(Ok::<_, Infallible>(Response::new("served".to_owned())))
        }));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut statuses = Vec::new();
            for path in ["/peer", "/field", "/both", "/tokens", "/hashed", "/costly"] {
                // The first response is held: it has the slot.
                let _held = service.clone().oneshot(request(path)).await.unwrap();
                for _ in 0..3 {
                    statuses.push(service.clone().oneshot(request(path)).await.unwrap().status().as_u16());
                }
            }
            let (two, one) = ([200, 429, 429], [429; 3]);
            assert_eq!(statuses, [two, one, two, two, two, two].concat());
        });
        debug.lock().unwrap().push(format!("{service:?}{policies:?}{telemetry:?}{metrics:?}{analytics:?}{sender:?}"));
    });

    let records: Vec<_> = receiver.try_iter().collect();
    let top = analytics.snapshot();
    // That it was there: who has to know the keys does.
    let known: Vec<_> = top.top_requested.iter().map(|counted| counted.key.as_str()).collect();
    assert!(known.iter().any(|key| key.contains(MARK)) && known.iter().any(|key| key.contains(ADDRESS)), "{known:?}");

    let spans = spans.get_finished_spans().unwrap();
    let lines = lines.text();
    let surfaces = [
        ("metrics", sdk.text(), "throttlekit.denies_by_axis"),
        ("prometheus", metrics.render(), r#"throttlekit_denied_total{policy="api"}"#),
        ("spans", format!("{spans:?}"), "throttlekit.allowed"),
        ("logs", lines, "request denied"),
        ("debug", format!("{:?}{records:?}{receiver:?}{top:?}", debug.lock().unwrap()), "Decision"),
    ];
    for (surface, text, expected) in surfaces {
        assert!(text.contains(expected), "{surface} has the traffic: {text}");
        for mark in [MARK, SECRET, ADDRESS, "203, 0, 113, 77"] {
            assert!(!text.contains(mark), "{surface} shows {mark}: {text}");
        }
    }
}
