//! Routers in process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, StatusCode};
use throttlekit::{Gcra, Limiter, ManualClock};
use throttlekit_axum::{PeerAddr, ThrottleLayer};
use tower::ServiceExt as _;

#[tokio::test]
async fn without_connect_info_requests_share_a_key_and_one_is_reported() {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let limiter = Limiter::builder(Gcra::per_second(2).expect("a rate")).clock(ManualClock::new(0.0)).build();
    let layer = ThrottleLayer::new(limiter).on_error(move |failure| {
        assert!(failure.error.to_string().contains("into_make_service_with_connect_info"), "{}", failure.error);
        count.fetch_add(1, Ordering::SeqCst);
    });
    let app = Router::new().route("/", get(|| async { "hello" })).layer(layer);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let request = Request::new(Body::empty());
        statuses.push(app.clone().oneshot(request).await.expect("a response").status());
    }
    assert_eq!(statuses, [StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS]);
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_server_that_reads_the_proxy_protocol_says_who_the_peer_is() {
    let limiter = Limiter::builder(Gcra::per_second(1).expect("a rate")).clock(ManualClock::new(0.0)).build();
    let app = Router::new().route("/", get(|| async { "hello" })).layer(ThrottleLayer::new(limiter));
    let mut statuses = Vec::new();
    for client in ["198.51.100.1:1", "198.51.100.1:2", "198.51.100.2:1"] {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(PeerAddr(client.parse().expect("an address")));
        statuses.push(app.clone().oneshot(request).await.expect("a response").status());
    }
    assert_eq!(statuses, [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS, StatusCode::OK]);
}

#[tokio::test]
async fn one_route_can_have_a_limit_of_its_own() {
    let limiter = Limiter::builder(Gcra::per_second(1).expect("a rate")).clock(ManualClock::new(0.0)).build();
    let app = Router::new()
        .route("/limited", get(|| async { "hello" }).layer(ThrottleLayer::new(limiter)))
        .route("/free", get(|| async { "hello" }));
    let status = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        app.clone().oneshot(request).await.expect("a response").status()
    };
    assert_eq!((status("/limited").await, status("/limited").await), (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS));
    assert_eq!((status("/free").await, status("/free").await), (StatusCode::OK, StatusCode::OK));
}
