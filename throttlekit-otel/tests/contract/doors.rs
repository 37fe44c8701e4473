//! One call on a layer switches all of it on.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use http::{Request, Response};
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::{Admit, Guard, ManualClock, TokioRuntime, Unified};
use throttlekit_otel::names::metric;
use throttlekit_tower::{PeerAddr, ThrottleLayer};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{Sdk, of, one};
use crate::telemetry;

const LIMITS: &str = "
limiters:
  api: { strategy: gcra, limit: 2, period: 1m }
  search: { strategy: fixedWindow, limit: 1, period: 1m, concurrency: {} }
  work: { concurrency: { limit: 1 } }
  patient: { concurrency: { limit: 1, queue: { max: 4, timeoutMs: 60000 } } }
  shared: { strategy: fixedWindow, limit: 9, period: 1m, twoTier: { batch: 4 } }
http:
  rules:
    - { path: /api, policy: api }
    - { path: /search, policy: search }
    - { path: /work, policy: work }
    - { path: /patient, policy: patient }
    - { path: /shared, policy: shared }
";

fn request(path: &str) -> Request<()> {
    let mut request = Request::builder().uri(path).body(()).unwrap();
    request.extensions_mut().insert(PeerAddr(([203, 0, 113, 77], 41_077).into()));
    request
}

#[tokio::test(start_paused = true)]
async fn a_layer_over_a_file_records_all_that_there_is() {
    let sdk = Sdk::new();
    let telemetry = telemetry(&sdk);
    let options = LoadOptions::new().clock(ManualClock::new(0.0)).runtime(TokioRuntime);
    let policies = Policies::load(LIMITS, options).unwrap();
    let layer = ThrottleLayer::from_config(&policies).unwrap().observer(telemetry);

    let service =
        layer.layer(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new("served".to_owned())) }));
    let ask = |path: &str| Box::pin(service.clone().oneshot(request(path)));
    for path in ["/api", "/search", "/shared"] {
        for _ in 0..2 {
            drop(ask(path).await.unwrap());
        }
    }
    let held = ask("/work").await.unwrap();
    assert_eq!(ask("/work").await.unwrap().status(), 429);
    let first = ask("/patient").await.unwrap();
    let mut waits = ask("/patient");
    assert!(Pin::new(&mut waits).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(waits);

    let series = sdk.collect();
    let found = |name: &str| of(&series, name);
    assert_eq!(
        found(metric::CHECKS),
        [
            (r#"allowed="false" strategy="fixedWindow""#, 1.0),
            (r#"allowed="true" strategy="fixedWindow""#, 3.0),
            (r#"allowed="true" strategy="gcra""#, 2.0),
        ]
    );
    for name in metric::FROZEN {
        assert!(!found(name).is_empty(), "{name} is not there");
    }
    assert_eq!(found(metric::DENIES_BY_AXIS), [(r#"lane="concurrency""#, 1.0), (r#"lane="rate""#, 1.0)]);
    assert_eq!(found(metric::CONCURRENCY_SHED), [(r#"priority="normal""#, 1.0)]);
    assert_eq!(found(metric::CONCURRENCY_QUEUE_WAIT), [(r#"outcome="cancelled""#, 0.0)]);
    assert_eq!(found(metric::LEASES), [(r#"outcome="granted" strategy="fixedWindow""#, 1.0)]);
    assert_eq!(one(&series, metric::LEASE_LATENCY).count, 1);
    let inflight = [(r#"policy="patient""#, 1.0), (r#"policy="search""#, 0.0), (r#"policy="work""#, 1.0)];
    assert_eq!(found(metric::CONCURRENCY_INFLIGHT), inflight);
    drop((held, first));
    let stages = [(r#"stage="answering""#, 3.0), (r#"stage="deciding""#, 1.0)];
    assert_eq!(of(&sdk.collect(), metric::CLIENT_DISCONNECTS), stages);
}

#[test]
fn a_layer_shows_the_guard_that_it_is_made_of() {
    let sdk = Sdk::new();
    let guard = Guard::fixed(3).unwrap();
    let unified = Unified::builder().concurrency(guard.clone()).build().unwrap();
    let layer = |admit: Arc<dyn Admit>, name| {
        let builder = ThrottleLayer::builder_for(admit, ManualClock::new(0.0)).policy_name(name);
        builder.build().unwrap().observer(telemetry(&sdk))
    };
    let layers = [layer(Arc::new(guard.clone()), "slots"), layer(Arc::new(unified), "both")];
    let _held = guard.acquire();
    let shown = |name| -> Vec<(String, f64)> {
        of(&sdk.collect(), name).into_iter().map(|(text, value)| (text.to_owned(), value)).collect()
    };
    let both = |value| [(r#"policy="both""#.to_owned(), value), (r#"policy="slots""#.to_owned(), value)];
    assert_eq!(
        (shown(metric::CONCURRENCY_LIMIT), shown(metric::CONCURRENCY_INFLIGHT)),
        (both(3.0).into(), both(1.0).into())
    );
    drop(layers);
    assert_eq!(shown(metric::CONCURRENCY_LIMIT), [], "the guard is there, and no layer shows it");
}
