//! A door over a store that goes out: each fail mode, at once and after waiting.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::store::Remote;
use throttlekit::{FailMode, Fallback, FixedWindow, Limiter, ManualClock, Outage, Share};
use throttlekit_tower::{Admitted, PeerAddr, Throttle, ThrottleLayer};
use tokio_test::{assert_pending, assert_ready_ok};
use tower::{Layer as _, Service as _, service_fn};

use crate::common::{Hello, around, field, send, text};
use crate::support::{Flaky, Mood, Opener};

const TEXT: &str = "
store: { redis: { url: redis://cache }, timeout: 100ms, breaker: { failures: 3 } }
limiters:
  api: { strategy: fixedWindow, limit: 4, period: 1m }
  up: { strategy: fixedWindow, limit: 2, period: 1m }
  tight: { strategy: fixedWindow, limit: 2, period: 1m, failMode: { local: { share: 0.5 } } }
  flights: { concurrency: { limit: 4 } }
  tokens: { tokenBudget: { budget: 9, windowMs: 60000 } }
http:
  rules:
    - { path: /open, policy: api }
    - { path: /closed, policy: api, failMode: closed }
    - { path: /local, policy: api, failMode: { local: { share: 0.5 } } }
    - { path: /both, policies: [api, up], failMode: local }
    - { path: /joined, policies: [flights, api], failMode: closed }
    - { path: /mixed, policies: [api, tight], headers: structured }
    - { path: /tokens, policies: [api, tokens, tight], failMode: local, costs: { tokens: 3 } }
    - { path: /held, policies: [flights, tokens, up], failMode: local, cost: 2 }
";

struct Setup {
    clock: ManualClock,
    opener: Opener,
    service: Throttle<Hello>,
    hello: Hello,
    errors: Arc<Mutex<Vec<String>>>,
}

fn setup() -> Setup {
    let clock = ManualClock::new(600_000.0);
    let opener = Opener::new(&clock);
    let options = LoadOptions::new().clock(clock.clone()).connector(opener.clone());
    let policies = Policies::load(TEXT, options).expect("a good text");
    let errors: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::clone(&errors);
    let layer = ThrottleLayer::from_config(&policies).expect("rules");
    let layer = layer.on_error(move |failure| told.lock().expect("no panic").push(failure.error.to_string()));
    let (service, hello) = around(&layer);
    Setup { clock, opener, service, hello, errors }
}

fn request(path: &str) -> Request<()> {
    let mut request = Request::builder().uri(path).body(()).expect("a good request");
    request.extensions_mut().insert(PeerAddr(([203, 0, 113, 5], 41_000).into()));
    request
}

impl Setup {
    async fn status(&self, path: &str) -> u16 {
        send(&self.service, request(path)).await.status().as_u16()
    }

    fn errors(&self) -> usize {
        self.errors.lock().expect("no panic").len()
    }
}

#[tokio::test]
async fn a_store_that_is_there_decides() {
    let setup = setup();
    let response = send(&setup.service, request("/local")).await;
    assert_eq!((field(&response, "ratelimit-limit"), field(&response, "ratelimit-remaining")), ("4", "3"));
    // Half of each is left: the first one is shown.
    let response = send(&setup.service, request("/both")).await;
    assert_eq!((field(&response, "ratelimit-limit"), field(&response, "ratelimit-remaining")), ("4", "2"));
    assert_eq!(setup.status("/both").await, 201);
    assert_eq!(setup.status("/both").await, 429);
    assert_eq!(setup.status("/open").await, 201);
    assert_eq!(setup.status("/closed").await, 429);
    assert_eq!((setup.hello.calls(), setup.errors()), (4, 0));
    assert_eq!(setup.opener.store.keys(), ["api:203.0.113.5", "up:203.0.113.5"]);
}

#[tokio::test]
async fn open_passes_and_closed_refuses() {
    let setup = setup();
    setup.opener.store.set(Mood::Down);
    let response = send(&setup.service, request("/open")).await;
    assert_eq!((response.status(), response.headers().len()), (StatusCode::CREATED, 1));
    let response = send(&setup.service, request("/closed")).await;
    assert_eq!((response.status(), response.headers().len()), (StatusCode::SERVICE_UNAVAILABLE, 1));
    assert_eq!(text(response).await, r#"{"error":"rate limiter unavailable"}"#);
    assert_eq!((setup.hello.calls(), setup.errors()), (1, 2));
    let response = send(&setup.service, request("/joined")).await;
    assert_eq!(text(response).await, r#"{"error":"admission unavailable"}"#);
}

#[tokio::test]
async fn handlers_are_told_the_mode_of_the_rule() {
    let clock = ManualClock::new(600_000.0);
    let opener = Opener::new(&clock);
    let options = LoadOptions::new().clock(clock).connector(opener.clone());
    let layer = ThrottleLayer::from_config(&Policies::load(TEXT, options).expect("a good text")).expect("rules");
    let service = layer.share(true).layer(service_fn(|request: Request<()>| async move {
        let mode = request.extensions().get::<Admitted>().map(Admitted::fail_mode);
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("{mode:?}")))))
    }));
    let half = FailMode::Local(Share::new(0.5).expect("a share"));
    let told = async |path| text(send(&service, request(path)).await).await;
    for (path, mode) in [("/open", FailMode::Open), ("/closed", FailMode::Closed), ("/mixed", half)] {
        assert_eq!(told(path).await, format!("{:?}", Some(mode)), "{path}");
    }
    opener.store.set(Mood::Down);
    assert_eq!(told("/open").await, "Some(Open)");
}

#[tokio::test]
async fn handlers_are_told_nothing_that_a_stand_in_took() {
    let clock = ManualClock::new(600_000.0);
    let opener = Opener::new(&clock);
    let options = LoadOptions::new().clock(clock.clone()).connector(opener.clone());
    let layer = ThrottleLayer::from_config(&Policies::load(TEXT, options).expect("a good text")).expect("rules");
    let service = layer.share(true).layer(service_fn(taken));
    let told = async |path| text(send(&service, request(path)).await).await;
    let cases = [
        ("/local", "[Some(1.0)]", "[None]"),
        ("/both", "[Some(1.0), Some(1.0)]", "[None, None]"),
        ("/mixed", "[Some(1.0), Some(1.0)]", "[None, None]"),
        ("/tokens", "[Some(1.0), Some(3.0), Some(1.0)]", "[None, Some(3.0), None]"),
        ("/held", "[Some(2.0), Some(2.0)]", "[Some(2.0), None]"),
    ];
    for (path, there, out) in cases {
        clock.advance(60_000.0);
        assert_eq!(told(path).await, there, "{path}");
        opener.store.set(Mood::Down);
        assert_eq!(told(path).await, out, "{path}");
        opener.store.set(Mood::Up);
    }
}

/// Answers what the admission of the request took.
async fn taken(request: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    let admitted = request.extensions().get::<Admitted>().expect("it is shared");
    let taken: Vec<_> = admitted.meters().map(|meter| meter.taken().map(|taken| taken.units)).collect();
    Ok(Response::new(Full::new(Bytes::from(format!("{taken:?}")))))
}

#[tokio::test]
async fn local_limits_with_its_share_until_the_store_is_back() {
    let setup = setup();
    setup.opener.store.set(Mood::Down);
    let response = send(&setup.service, request("/local")).await;
    assert_eq!((field(&response, "ratelimit-limit"), field(&response, "ratelimit-remaining")), ("2", "1"));
    assert_eq!(setup.status("/local").await, 201);
    let response = send(&setup.service, request("/local")).await;
    assert_eq!((response.status(), field(&response, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, "60"));
    assert_eq!(text(response).await, r#"{"error":"Too Many Requests","retryAfterMs":60000}"#);
    assert_eq!(setup.status("/local").await, 429, "the breaker is open");
    assert_eq!((setup.opener.store.calls(), setup.errors()), (3, 4), "each error is told");

    setup.opener.store.set(Mood::Up);
    setup.clock.advance(200.0);
    let response = send(&setup.service, request("/local")).await;
    assert_eq!((field(&response, "ratelimit-limit"), field(&response, "ratelimit-remaining")), ("4", "3"));
    assert_eq!(setup.errors(), 4);
}

#[tokio::test]
async fn several_policies_are_local_together() {
    let setup = setup();
    setup.opener.store.set(Mood::Down);
    let statuses = [setup.status("/both").await, setup.status("/both").await, setup.status("/both").await];
    assert_eq!(statuses, [201, 201, 429]);
    assert_eq!(setup.hello.calls(), 2);
}

#[tokio::test]
async fn a_policy_that_is_not_local_shows_nothing_while_another_one_is() {
    let setup = setup();
    let response = send(&setup.service, request("/mixed")).await;
    assert_eq!(field(&response, "ratelimit"), r#""tight";r=1;t=60, "api";r=3;t=60"#);
    setup.opener.store.set(Mood::Down);
    let response = send(&setup.service, request("/mixed")).await;
    assert_eq!((response.status(), field(&response, "ratelimit")), (StatusCode::CREATED, r#""tight";r=0;t=60"#));
    let response = send(&setup.service, request("/mixed")).await;
    let denied = (StatusCode::TOO_MANY_REQUESTS, r#""tight";r=0;t=60"#);
    assert_eq!((response.status(), field(&response, "ratelimit")), denied);
}

#[tokio::test]
async fn a_broken_state_is_a_server_error_in_every_mode() {
    let setup = setup();
    setup.opener.store.set(Mood::Broken);
    for path in ["/open", "/closed", "/local", "/both"] {
        assert_eq!(setup.status(path).await, 500, "{path}");
    }
    assert_eq!((setup.hello.calls(), setup.errors()), (0, 4));
}

#[test]
fn a_hung_store_is_waited_for_until_the_timeout() {
    for (path, status) in [("/open", 201), ("/closed", 503), ("/local", 201), ("/both", 201)] {
        let mut setup = setup();
        setup.opener.store.set(Mood::Hung);
        let mut response = tokio_test::task::spawn(setup.service.call(request(path)));
        assert_pending!(response.poll());
        setup.clock.advance(99.0);
        assert_pending!(response.poll());
        setup.clock.advance(1.0);
        assert_eq!(assert_ready_ok!(response.poll()).status(), status, "{path}");
        let told = setup.errors.lock().expect("no panic").clone();
        assert_eq!(told, ["store is unavailable: no answer within 100ms"], "{path}");
    }
}

#[test]
fn requests_dropped_while_they_wait_leave_nothing_behind() {
    let mut setup = setup();
    setup.opener.store.set(Mood::Hung);
    for _ in 0..20 {
        let mut response = tokio_test::task::spawn(setup.service.call(request("/local")));
        assert_pending!(response.poll());
    }
    setup.opener.store.set(Mood::Up);
    let mut response = tokio_test::task::spawn(setup.service.call(request("/local")));
    assert_eq!(field(&assert_ready_ok!(response.poll()), "ratelimit-remaining"), "3");
    assert_eq!((setup.hello.calls(), setup.errors()), (1, 0));
}

#[tokio::test]
async fn a_layer_without_a_file_takes_a_fallback() {
    let limiter =
        |limit| Limiter::new(FixedWindow::builder().limit(limit).window_ms(1e9).build().expect("good options"));
    let down = Flaky::default();
    down.set(Mood::Down);
    let strategy = FixedWindow::builder().limit(9.0).window_ms(1e9).build().expect("good options");
    let shared = Limiter::builder(strategy).keyspace(Remote::new(down)).build();
    let layer = ThrottleLayer::new(Fallback::new(shared, &Outage::new(), move || Ok(Arc::new(limiter(3.0)))));
    let response = send(&layer.layer(Hello::default()), request("/")).await;
    assert_eq!((field(&response, "ratelimit-limit"), field(&response, "ratelimit-remaining")), ("3", "2"));
    let response = send(&layer.share(true).layer(service_fn(taken)), request("/")).await;
    assert_eq!(text(response).await, "[None]");

    let local = FailMode::Local(Share::WHOLE);
    let error = ThrottleLayer::builder(limiter(3.0)).fail_mode(local).build().expect_err("not here");
    assert_eq!(
        error.to_string(),
        "throttleLayer.failMode is local with a share of 1: must be open or closed; for local put the limiter into a \
         `Fallback`"
    );
}
