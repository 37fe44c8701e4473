//! What a layer may be told beyond its limit: shadow, problem details, gRPC, what ends a slot.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use throttlekit::prometheus::Metrics;
use throttlekit::{
    Admission, Algorithm, Decision, Disconnect, Error, Event, FailMode, Gauges, Gcra, Guard, Limiter, ManualClock,
    MissingKey, Observer, Outcome, Run, Stage,
};
use throttlekit_tower::{Admitted, Terms, ThrottleLayer, UpgradeSlot};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::common::{Script, around, field, gcra, request, scripted, send, text};

fn guard() -> Guard<ManualClock> {
    Guard::builder().fixed(1).clock(ManualClock::new(0.0)).build().expect("good options")
}

fn guarded(guard: &Guard<ManualClock>) -> throttlekit_tower::ThrottleLayerBuilder {
    ThrottleLayer::builder_for(guard.clone(), ManualClock::new(0.0))
}

/// Answers with `status` and a body of one byte.
fn answering(
    layer: &ThrottleLayer,
    status: StatusCode,
) -> impl tower::Service<
    Request<()>,
    Response = Response<throttlekit_tower::ResponseBody<Full<Bytes>>>,
    Error = Infallible,
    Future: Send,
> + Clone {
    layer.layer(service_fn(move |_: Request<()>| async move {
        let mut response = Response::new(Full::from("x"));
        *response.status_mut() = status;
        Ok(response)
    }))
}

#[tokio::test]
async fn shadow_tells_of_a_missing_key() {
    let told = Arc::new(Mutex::new(Vec::new()));
    for (shadow, status) in [(false, StatusCode::BAD_REQUEST), (true, StatusCode::CREATED)] {
        let log = Arc::clone(&told);
        let layer = ThrottleLayer::builder(gcra(1.0)).key_fn(|_| None).missing_key(MissingKey::Reject).shadow(shadow);
        let layer = layer.build().expect("good options");
        let layer = layer.on_error(move |failure| log.lock().expect("no panic").push(failure.error.to_string()));
        assert_eq!(send(&around(&layer).0, request()).await.status(), status);
    }
    assert_eq!(*told.lock().expect("no panic"), ["the request has no key, which the rule demands"]);
}

#[tokio::test]
async fn shadow_tells_and_lets_pass() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let layer = ThrottleLayer::builder(gcra(1.0)).shadow(true).build().expect("good options");
    let layer = layer.share(true).on_limited(move |limited| log.lock().expect("no panic").push(limited.shadow));
    let (service, inner) = around(&layer);
    for _ in 0..3 {
        let response = send(&service, request()).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!((field(&response, "retry-after"), field(&response, "ratelimit-limit")), ("", ""));
    }
    assert_eq!((inner.calls(), told.lock().expect("no panic").as_slice()), (3, &[true, true][..]));
}

#[tokio::test]
async fn a_rejection_can_be_problem_details() {
    let layer = ThrottleLayer::builder(gcra(1.0)).policy_name("a\"b").problem_json(true).build().expect("good options");
    let (service, _) = around(&layer);
    send(&service, request()).await;
    let denied = send(&service, request()).await;
    assert_eq!(
        (denied.status(), field(&denied, "content-type")),
        (StatusCode::TOO_MANY_REQUESTS, "application/problem+json")
    );
    assert_eq!(field(&denied, "retry-after"), "1");
    let body: serde_json::Value = serde_json::from_str(&text(denied).await).expect("JSON");
    assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(
        (&body["status"], &body["violated-policies"][0], &body["retryAfterMs"]),
        (&429.into(), &"a\"b".into(), &1000.into())
    );
}

/// A call of gRPC.
fn call(content_type: &'static str) -> Request<()> {
    let mut call = request();
    *call.method_mut() = Method::POST;
    call.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
    call
}

#[tokio::test]
async fn a_call_of_grpc_is_refused_as_such() {
    let (service, _) = around(&ThrottleLayer::new(gcra(1.0)));
    send(&service, call("application/grpc+proto")).await;
    let denied = send(&service, call("application/grpc+proto")).await;
    assert_eq!((denied.status(), field(&denied, "content-type")), (StatusCode::OK, "application/grpc"));
    assert_eq!(field(&denied, "grpc-status"), "8");
    assert_eq!(field(&denied, "grpc-message"), "rate limit exceeded; retry after 1000ms");
    assert_eq!((field(&denied, "retry-after"), field(&denied, "ratelimit-remaining")), ("1", "0"));
    assert_eq!(text(denied).await, "");
}

#[tokio::test]
async fn a_call_of_grpc_hears_of_no_wait_that_does_not_help() {
    let refused = Decision { allowed: false, retry_after_ms: 0, ..Decision::ALLOW_FULL };
    let script = Script::new([Run::ready(Ok(Admission::rate(refused)))]);
    let (service, _) = around(&scripted(&script));
    let response = send(&service, call("application/grpc")).await;
    let [status, message, details] =
        ["grpc-status", "grpc-message", "grpc-status-details-bin"].map(|name| field(&response, name));
    assert_eq!((status, message, details), ("8", "rate limit exceeded", ""));
}

#[tokio::test]
async fn a_call_of_grpc_that_is_not_judged_says_whose_mistake_it_is() {
    let failing = |error| ThrottleLayer::builder_for(Script::failing(error), ManualClock::default());
    let limited = || ThrottleLayer::builder(gcra(1.0));
    for (layer, status, message) in [
        (limited().cost_fn(|_| f64::NAN), "3", "rate limiter error: invalid_argument"),
        (limited().key_fn(|_| None).missing_key(MissingKey::Reject), "3", "rate limit key missing"),
        (failing(|| Error::state_invalid("bad")), "13", "rate limiter error: state_invalid"),
        (failing(|| Error::unsupported("bad")), "13", "rate limiter error: throttlekit_error"),
        (failing(|| Error::store_unavailable("out")).fail_mode(FailMode::Closed), "14", "rate limiter unavailable"),
    ] {
        let (service, hello) = around(&layer.build().expect("good options"));
        let response = send(&service, call("application/grpc")).await;
        assert_eq!((response.status(), field(&response, "grpc-status-details-bin")), (StatusCode::OK, ""), "{message}");
        assert_eq!((field(&response, "grpc-status"), field(&response, "grpc-message")), (status, message));
        assert_eq!(hello.calls(), 0);
    }
}

#[tokio::test]
async fn a_call_of_grpc_is_refused_in_the_dialect_that_it_speaks() {
    let (service, _) = around(&ThrottleLayer::new(gcra(1.0)));
    send(&service, request()).await;
    for (asked, answered) in [
        ("Application/gRPC; charset=utf-8", "application/grpc"),
        ("application/grpc-web+proto", "application/grpc-web"),
        ("application/grpc-web-text", "application/grpc-web-text"),
    ] {
        let denied = send(&service, call(asked)).await;
        assert_eq!((field(&denied, "content-type"), field(&denied, "grpc-status")), (answered, "8"), "{asked}");
    }
}

/// A cache would keep a 200 for everybody.
#[tokio::test]
async fn what_only_looks_like_a_call_of_grpc_is_refused_as_any_request() {
    let (service, _) = around(&ThrottleLayer::new(gcra(1.0)));
    send(&service, request()).await;
    for method in [Method::GET, Method::HEAD, Method::PUT] {
        let mut request = call("application/grpc");
        *request.method_mut() = method.clone();
        let denied = send(&service, request).await;
        assert_eq!((denied.status(), field(&denied, "grpc-status")), (StatusCode::TOO_MANY_REQUESTS, ""), "{method}");
    }
}

#[tokio::test]
async fn a_failing_server_counts_as_told() {
    for (drop, outcome) in [(false, 0), (true, 1)] {
        let guard = guard();
        let layer = guarded(&guard).drop_on_5xx(drop).build().expect("good options");
        let service = answering(&layer, StatusCode::BAD_GATEWAY);
        let response = service.oneshot(request()).await.expect("an answer");
        response.into_body().collect().await.expect("a body");
        assert_eq!((guard.report().in_flight, guard.stats().dropped), (0, outcome));
    }
}

#[tokio::test]
async fn a_client_that_goes_away_counts_as_told() {
    for (on_disconnect, dropped) in [(Outcome::Dropped, 2), (Outcome::Ignored, 0)] {
        let guard = guard();
        let layer = guarded(&guard).on_disconnect(on_disconnect).build().expect("good options");
        let never = layer
            .layer(service_fn(|_: Request<()>| std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>()));
        // While the service works.
        let mut call = Box::pin(never.oneshot(request()));
        assert!(futures_util::poll!(&mut call).is_pending());
        assert_eq!(guard.report().in_flight, 1);
        drop(call);
        assert_eq!(guard.report().in_flight, 0);
        // While the response is sent.
        let response = answering(&layer, StatusCode::OK).oneshot(request()).await.expect("an answer");
        assert_eq!(guard.report().in_flight, 1);
        drop(response);
        assert_eq!((guard.report().in_flight, guard.stats().dropped), (0, dropped));
    }
    let refused = guarded(&guard()).on_disconnect(Outcome::Completed).build().expect_err("not a completion");
    assert!(refused.to_string().contains("onDisconnect"), "{refused}");
}

#[tokio::test]
async fn a_service_that_fails_without_a_response_is_dropped_work_in_any_case() {
    let guard = guard();
    let layer = guarded(&guard).on_disconnect(Outcome::Ignored).build().expect("good options");
    let broken = layer.layer(service_fn(|_: Request<()>| async { Err::<Response<Full<Bytes>>, _>("broken") }));
    assert_eq!(broken.oneshot(request()).await.err(), Some("broken"));
    assert_eq!((guard.report().in_flight, guard.stats().dropped), (0, 1));
}

#[derive(Default)]
struct Gone(Mutex<Vec<(String, Stage)>>);

impl Observer for Gone {
    fn observe(&self, _: &Event<'_>) {}

    fn disconnected(&self, disconnect: &Disconnect<'_>) {
        self.0.lock().expect("no panic").push((disconnect.policy.to_owned(), disconnect.stage));
    }
}

#[cfg(feature = "config")]
#[tokio::test]
async fn the_observer_of_a_file_is_told_of_clients_that_go_away() {
    use throttlekit::policy::{LoadOptions, Policies};

    let text = "
limiters:
  work: { concurrency: { limit: 8 } }
http:
  rules:
    - { path: /, policy: work }
";
    let gone = Arc::new(Gone::default());
    let policies = Policies::load(text, LoadOptions::new().observer(Arc::clone(&gone))).expect("a good file");
    let layer = ThrottleLayer::from_config(&policies).expect("rules");
    let service = answering(&layer, StatusCode::OK);
    drop(service.oneshot(request()).await.expect("an answer"));
    assert_eq!(*gone.0.lock().expect("no panic"), [("work".to_owned(), Stage::Answering)]);
}

#[test]
fn an_observer_reads_the_guard_of_a_layer_while_it_is_there() {
    let (metrics, guard) = (Metrics::new(), guard());
    let bare = guarded(&guard).policy_name("work").build().expect("good options");
    let layer = bare.clone().observer(metrics.clone());
    let held = guard.acquire();
    assert!(metrics.render().contains("throttlekit_guard_inflight{guard=\"work\"} 1\n"));
    drop((held, layer));
    assert!(!metrics.render().contains("{guard="), "of a layer without it nothing is shown");
    drop(bare.clone().observer(Broken));

    let keeper = Arc::new(Keeper::default());
    let layer = bare.observer(Arc::clone(&keeper));
    let is_gone = || keeper.0.lock().expect("no panic").iter().all(|gauges| gauges.is_gone());
    assert!(!is_gone());
    drop(layer);
    assert!(is_gone(), "it may be forgotten");
}

#[test]
fn an_observer_reads_the_tables_of_a_layer_while_they_are_there() {
    let metrics = Metrics::new();
    let limiter = |limit| Limiter::new(Gcra::per_hour(limit).expect("a rate"));
    let free = limiter(1);
    let layer = ThrottleLayer::builder(free.clone()).policy_name("free").plan("pro", limiter(9));
    let layer = layer.terms_fn(|_, _| Terms::new()).build().expect("good options").observer(metrics.clone());
    assert!(free.check("somebody").is_ok_and(|decision| decision.allowed));
    let shown = || {
        let text = metrics.render();
        let lines = text.lines().filter_map(|line| line.strip_prefix("throttlekit_table_keys{policy="));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(shown(), ["\"free\"} 1", "\"pro\"} 0"]);
    drop(layer);
    assert_eq!(shown(), [""; 0], "the limiter is there, and no layer shows it");
}

/// Keeps what it gets.
#[derive(Default)]
struct Keeper(Mutex<Vec<Arc<dyn Gauges>>>);

impl Observer for Keeper {
    fn observe(&self, _: &Event<'_>) {}

    fn attach(&self, gauges: Arc<dyn Gauges>) {
        self.0.lock().expect("no panic").push(gauges);
    }
}

/// Panics at what it gets, and again where it is told so.
struct Broken;

impl Observer for Broken {
    fn observe(&self, _: &Event<'_>) {}

    fn attach(&self, _: Arc<dyn Gauges>) {
        panic!("attach");
    }

    fn panicked(&self) {
        panic!("panicked");
    }
}

#[tokio::test]
async fn an_observer_is_told_of_clients_that_go_away() {
    let (guard, gone) = (guard(), Arc::new(Gone::default()));
    let layer = guarded(&guard).policy_name("work").build().expect("good options").observer(Arc::clone(&gone));
    let never =
        layer.layer(service_fn(|_: Request<()>| std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>()));
    let mut call = Box::pin(never.oneshot(request()));
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(call);
    let service = answering(&layer, StatusCode::OK);
    drop(service.clone().oneshot(request()).await.expect("an answer"));
    // Whoever stays to the end does not count.
    let response = service.oneshot(request()).await.expect("an answer");
    response.into_body().collect().await.expect("a body");
    let told = [("work".to_owned(), Stage::Working), ("work".to_owned(), Stage::Answering)];
    assert_eq!(*gone.0.lock().expect("no panic"), told);
}

#[tokio::test]
async fn a_slot_goes_back_with_the_handshake_unless_somebody_keeps_it() {
    let guard = guard();
    let kept: Arc<Mutex<Option<UpgradeSlot>>> = Arc::default();
    let keeping = |keep: bool| {
        let kept = Arc::clone(&kept);
        service_fn(move |request: Request<()>| {
            if keep {
                *kept.lock().expect("no panic") = request.extensions().get::<UpgradeSlot>().cloned();
            }
            async {
                let mut response = Response::new(Full::<Bytes>::default());
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                Ok::<_, Infallible>(response)
            }
        })
    };
    let layer = guarded(&guard).build().expect("good options");
    layer.layer(keeping(true)).oneshot(request()).await.expect("an answer");
    assert_eq!(guard.report().in_flight, 0);
    assert!(kept.lock().expect("no panic").is_none());

    let layer = layer.hold_upgrades(true);
    layer.layer(keeping(false)).oneshot(request()).await.expect("an answer");
    assert_eq!(guard.report().in_flight, 0);

    layer.layer(keeping(true)).oneshot(request()).await.expect("an answer");
    assert_eq!(guard.report().in_flight, 1);
    kept.lock().expect("no panic").take();
    assert_eq!((guard.report().in_flight, guard.stats().dropped), (0, 0));

    // Whoever keeps one keeps those of all middlewares around.
    let outer = self::guard();
    let outermost = guarded(&outer).build().expect("good options").hold_upgrades(true);
    outermost.layer(layer.layer(keeping(true))).oneshot(request()).await.expect("an answer");
    assert_eq!((guard.report().in_flight, outer.report().in_flight), (1, 1));
    kept.lock().expect("no panic").take();
    assert_eq!((guard.report().in_flight, outer.report().in_flight), (0, 0));
    assert_eq!((guard.stats().dropped, outer.stats().dropped), (0, 0));

    // Any other response: keeping it holds nothing.
    let inner = Arc::clone(&kept);
    let usual = layer.layer(service_fn(move |request: Request<()>| {
        *inner.lock().expect("no panic") = request.extensions().get::<UpgradeSlot>().cloned();
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("x"))) }
    }));
    let response = usual.oneshot(request()).await.expect("an answer");
    assert!(kept.lock().expect("no panic").is_some());
    response.into_body().collect().await.expect("a body");
    assert_eq!(guard.report().in_flight, 0);
}

#[tokio::test]
async fn how_long_a_kept_connection_lasts_is_no_latency() {
    let (clock, kept) = (ManualClock::new(0.0), Arc::new(Mutex::new(None)));
    let guard = Guard::builder().algorithm(Algorithm::Gradient2).clock(clock.clone()).build().expect("good options");
    let layer = guarded(&guard).build().expect("good options").hold_upgrades(true);
    let switching = |keep: bool| {
        let (kept, clock) = (Arc::clone(&kept), clock.clone());
        layer.layer(service_fn(move |mut request: Request<()>| {
            let slot = request.extensions_mut().remove::<UpgradeSlot>().filter(|_| keep);
            *kept.lock().expect("no panic") = slot;
            clock.advance(20.0);
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            std::future::ready(Ok::<_, Infallible>(response))
        }))
    };
    switching(false).oneshot(request()).await.expect("an answer");
    let handshake = guard.stats();
    assert_eq!(
        (handshake.last_ms, handshake.noload_ms),
        (20.0, 20.0),
        "one that nobody keeps is a request like any other"
    );

    switching(true).oneshot(request()).await.expect("an answer");
    clock.advance(3_600_000.0);
    assert_eq!(guard.report().in_flight, 1);
    kept.lock().expect("no panic").take();
    assert_eq!(guard.stats(), handshake);
}

#[tokio::test]
async fn the_service_can_count_more_under_the_key_of_the_request() {
    let left = Arc::new(Mutex::new(None));
    let log = Arc::clone(&left);
    let layer = ThrottleLayer::builder(gcra(5.0)).policy_name("units").build().expect("good options").share(true);
    let service = layer.layer(service_fn(move |request: Request<()>| {
        let admitted = request.extensions().get::<Admitted>().cloned().expect("shared");
        let log = Arc::clone(&log);
        async move {
            assert!(admitted.meter("others").is_none());
            let meter = admitted.meter("units").expect("its limit");
            assert_eq!((meter.key(), meter.policy()), ("203.0.113.5", "units"));
            assert!(!format!("{admitted:?} {meter:?}").contains("203.0.113.5"));
            *log.lock().expect("no panic") = Some(meter.debit(3.0).await.expect("a decision").remaining);
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }
    }));
    service.oneshot(request()).await.expect("an answer");
    assert_eq!(*left.lock().expect("no panic"), Some(1));
}

#[cfg(feature = "config")]
#[tokio::test]
async fn several_policies_of_a_rule_are_all_listed() {
    use http::Method;
    use throttlekit::policy::{LoadOptions, Policies};
    use throttlekit_tower::PeerAddr;

    let text = "
limiters:
  second: { strategy: gcra, limit: 10, period: 1s }
  work: { concurrency: { limit: 8 } }
  minute: { strategy: fixedWindow, limit: 4, period: 1m }
http:
  rules:
    - { path: /, policies: [second, work, minute], headers: [draft, structured] }
";
    let options = LoadOptions::new().clock(ManualClock::new(0.0));
    let policies = Policies::load(text, options).expect("a good file");
    let layer = ThrottleLayer::from_config(&policies).expect("rules");
    let (service, _) = around(&layer);
    let ask = || {
        let mut request = Request::builder().method(Method::GET).uri("/").body(()).expect("a request");
        request.extensions_mut().insert(PeerAddr(([203, 0, 113, 5], 1).into()));
        request
    };
    let first = send(&service, ask()).await;
    assert_eq!(field(&first, "ratelimit"), r#""minute";r=3;t=60, "second";r=9;t=1, "work";r=7;t=0"#);
    assert_eq!(field(&first, "ratelimit-policy"), r#""minute";q=4;w=60, "second";q=10;w=1, "work";q=8"#);
    assert_eq!((field(&first, "ratelimit-limit"), field(&first, "ratelimit-remaining")), ("4", "3"));
    drop(first);
    for _ in 0..3 {
        send(&service, ask()).await;
    }
    let denied = send(&service, ask()).await;
    assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
    // The others are as the four requests left them: nothing was taken.
    assert_eq!(field(&denied, "ratelimit"), r#""minute";r=0;t=60, "second";r=6;t=1, "work";r=8;t=0"#);
    assert_eq!((field(&denied, "ratelimit-limit"), field(&denied, "retry-after")), ("4", "60"));
}
