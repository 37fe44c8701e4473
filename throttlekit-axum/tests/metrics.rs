//! The router of metrics, alone and in an app that is limited.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use throttlekit::prometheus::{CONTENT_TYPE, Metrics};
use throttlekit::{Gcra, Limiter, ManualClock};
use throttlekit_axum::{ThrottleLayer, metrics_router};
use tower::ServiceExt as _;

/// Status, content type, what is allowed, body.
async fn send(app: &Router, method: Method, target: &str) -> (u16, String, Option<String>, String) {
    let request = Request::builder().method(method).uri(target).body(Body::empty()).expect("it is a request");
    let response = app.clone().oneshot(request).await.expect("a router does not fail");
    let field = |name| response.headers().get(name).map(|value| value.to_str().expect("it is text").to_owned());
    let (status, kind) = (response.status().as_u16(), field(header::CONTENT_TYPE).unwrap_or_default());
    let allow = field(header::ALLOW);
    let body = response.into_body().collect().await.expect("there is a body").to_bytes();
    (status, kind, allow, String::from_utf8(body.to_vec()).expect("it is text"))
}

#[tokio::test]
async fn metrics_are_served_beside_what_they_are_of() {
    let metrics = Metrics::new();
    let rate = Gcra::per_hour(2).expect("a rate");
    let limiter = Limiter::builder(rate).clock(ManualClock::new(0.0)).name("search").observer(metrics.clone()).build();
    let layer = ThrottleLayer::new(limiter);
    let app = Router::new().route("/search", get(|| async { "found" }).layer(layer)).merge(metrics_router(metrics));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(send(&app, Method::GET, "/search").await.0);
    }
    assert_eq!(statuses, [200, 200, 429]);
    let (status, kind, _, text) = send(&app, Method::GET, "/metrics?y=1").await;
    assert_eq!((status, kind.as_str()), (200, CONTENT_TYPE));
    assert!(text.contains("throttlekit_allowed_total{policy=\"search\"} 2\n"), "{text}");
    assert!(text.contains("throttlekit_denied_total{policy=\"search\"} 1\n"), "{text}");
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let app = metrics_router(Metrics::new());
    let (status, _, allow, _) = send(&app, Method::POST, "/metrics").await;
    assert_eq!((status, allow.as_deref()), (405, Some("GET")));
    assert_eq!(send(&app, Method::GET, "/x").await.0, 404);
    for path in ["/healthz", "/health"] {
        let (status, _, allow, body) = send(&app, Method::GET, path).await;
        assert_eq!((status, allow, body.as_str()), (200, None, "ok\n"));
    }
    let nested = Router::new().nest("/internal", app);
    assert_eq!(send(&nested, Method::GET, "/internal/metrics").await.0, 200);
}
