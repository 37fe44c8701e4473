//! Routers in process.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use axum::routing::get;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use throttlekit::store::memory::Table;
use throttlekit::{Error, FixedWindow, Gcra, Limiter, ManualClock, Program};
use throttlekit_axum::key::ClientIp;
use throttlekit_axum::{PeerAddr, Refusal, RouterExt as _, ThrottleLayer, Throttled};
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
async fn without_connect_info_no_client_chooses_its_key_behind_a_proxy() {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let limiter = Limiter::builder(Gcra::per_second(1).expect("a rate")).clock(ManualClock::new(0.0)).build();
    let proxy = ClientIp::builder().trust_hops(1).build().expect("good options");
    let layer = ThrottleLayer::builder(limiter).client_ip(proxy).build().expect("good options");
    let layer = layer.on_error(move |failure| {
        let text = failure.error.to_string();
        assert!(text.contains("into_make_service_with_connect_info") && text.contains("peerHidden"), "{text}");
        count.fetch_add(1, Ordering::SeqCst);
    });
    let app = Router::new().route("/", get(|| async { "hello" })).layer(layer);
    let mut statuses = Vec::new();
    for spoofed in 1..=3 {
        let request = Request::get("/").header("x-forwarded-for", format!("6.6.6.{spoofed}, 198.51.100.7"));
        let request = request.body(Body::empty()).expect("a request");
        statuses.push(app.clone().oneshot(request).await.expect("a response").status());
    }
    assert_eq!(statuses, [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS, StatusCode::TOO_MANY_REQUESTS]);
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

/// In a process of its own, whose standard error can be read.
#[test]
fn without_a_hook_it_is_on_standard_error() {
    const OF_ITS_OWN: &str = "THROTTLEKIT_AXUM_TEST_WITHOUT_A_HOOK";
    if std::env::var_os(OF_ITS_OWN).is_some() {
        let limiter = Limiter::new(Gcra::per_second(2).expect("a rate"));
        let app = Router::new().route("/", get(|| async { "hello" })).layer(ThrottleLayer::new(limiter));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        for _ in 0..3 {
            let response = app.clone().oneshot(Request::new(Body::empty()));
            runtime.block_on(response).expect("a response");
        }
        return;
    }
    let mut again = Command::new(std::env::current_exe().expect("this program"));
    again.args(["--exact", "without_a_hook_it_is_on_standard_error"]).env(OF_ITS_OWN, "1");
    let output = again.output().expect("it runs");
    assert!(output.status.success());
    let errors = String::from_utf8(output.stderr).expect("text");
    let lines: Vec<_> = errors.lines().filter(|line| line.starts_with("throttlekit: ")).collect();
    assert!(matches!(&*lines, [line] if line.contains("into_make_service_with_connect_info")), "{errors}");
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

#[tokio::test]
async fn a_router_is_limited_as_far_as_it_has_got() {
    let limiter = Limiter::builder(Gcra::per_second(1).expect("a rate")).clock(ManualClock::new(0.0)).build();
    let app = Router::new()
        .route("/limited", get(|| async { "hello" }))
        .throttle(ThrottleLayer::new(limiter))
        .route("/free", get(|| async { "hello" }));
    let mut statuses = Vec::new();
    for path in ["/limited", "/limited", "/free"] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        statuses.push(app.clone().oneshot(request).await.expect("a response").status().as_u16());
    }
    assert_eq!(statuses, [200, 429, 200]);
}

#[tokio::test]
async fn a_limit_in_the_state_refuses_as_a_layer_does() {
    type Invitations = Limiter<Gcra, Table<<Gcra as Program>::State>, ManualClock>;
    async fn invite(State(invitations): State<Invitations>, Path(team): Path<String>) -> Result<&'static str, Refusal> {
        invitations.check(&team)?.into_result()?;
        Ok("invited")
    }
    let limiter = Limiter::builder(Gcra::per_second(1).expect("a rate")).clock(ManualClock::new(0.0)).build();
    let app = Router::new().route("/{team}", get(invite)).with_state(limiter);
    for (path, status, retry_after) in [("/a", 200, None), ("/a", 429, Some("1")), ("/b", 200, None)] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = app.clone().oneshot(request).await.expect("a response");
        let field = response.headers().get("retry-after").map(|value| value.to_str().expect("text"));
        assert_eq!((response.status().as_u16(), field), (status, retry_after), "{path}");
    }
}

#[tokio::test]
async fn a_handler_refuses_as_the_layer_does() {
    async fn count(throttled: Throttled) -> Result<&'static str, Refusal> {
        let meter = throttled.meter("units").expect("its limit");
        meter.debit(2.0).await?.into_result()?;
        // No cost at all is a mistake of the program.
        meter.debit(0.0).await?;
        Ok("counted")
    }
    let limiter = Limiter::builder(FixedWindow::builder().limit(4.0).window_ms(60_000.0).build().expect("a window"))
        .clock(ManualClock::new(0.0))
        .build();
    let layer = ThrottleLayer::builder(limiter).policy_name("units").build().expect("good options").share(true);
    let app = Router::new().route("/", get(count)).layer(layer);
    let send = async || app.clone().oneshot(Request::new(Body::empty())).await.expect("a response");
    let text = async |response: axum::response::Response| {
        String::from_utf8(response.into_body().collect().await.expect("a body").to_bytes().to_vec()).expect("text")
    };
    let failed = send().await;
    assert_eq!(failed.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(text(failed).await, r#"{"error":"rate limiter error","code":"invalid_argument"}"#);

    let refused = send().await;
    assert_eq!(
        (refused.status(), refused.headers()["retry-after"].as_bytes()),
        (StatusCode::TOO_MANY_REQUESTS, &b"60"[..])
    );
    let by_handler = (refused.headers()["content-type"].clone(), text(refused).await);
    let denied = send().await;
    assert_eq!(
        (denied.status(), denied.headers()["retry-after"].as_bytes()),
        (StatusCode::TOO_MANY_REQUESTS, &b"60"[..])
    );
    assert_eq!((denied.headers()["content-type"].clone(), text(denied).await), by_handler);

    let out = Refusal::from(Error::store_unavailable("gone")).into_response();
    assert_eq!(
        (out.status(), text(out).await.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, r#"{"error":"rate limiter unavailable"}"#)
    );
}
