//! Requests within and beyond a limit, and what the client is told.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use throttlekit::headers::{HeaderFamily, HeaderSet};
use throttlekit::{Admission, Algorithm, Decision, FixedWindow, Guard, Limiter, ManualClock, Multi, Run};
use throttlekit_tower::{Admitted, Rejection, ThrottleLayer};
use tower::{Layer as _, service_fn};

use crate::common::{DENIED, Script, around, field, from_peer, gcra, request, scripted, send, text};

#[tokio::test]
async fn an_admitted_request_is_passed_on_and_told() {
    let (service, hello) = around(&ThrottleLayer::new(gcra(2.0)));
    let response = send(&service, request()).await;
    assert_eq!(hello.calls(), 1);
    assert_eq!(field(&response, "ratelimit-limit"), "2");
    assert_eq!(field(&response, "ratelimit-remaining"), "1");
    assert_eq!(field(&response, "ratelimit-reset"), "1");
    assert!(!response.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn a_denied_request_is_answered_here() {
    let (service, hello) = around(&ThrottleLayer::new(gcra(1.0)));
    send(&service, request()).await;
    let response = send(&service, request()).await;
    assert_eq!(hello.calls(), 1);
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&response, "content-type"), "application/json");
    assert_eq!(field(&response, "retry-after"), "1");
    assert_eq!(field(&response, "ratelimit-remaining"), "0");
    assert_eq!(text(response).await, r#"{"error":"Too Many Requests","retryAfterMs":1000}"#);
}

/// Small numbers, large ones and texts are made in different ways.
#[tokio::test]
async fn fields_are_written_in_their_order() {
    let families: HeaderSet = HeaderFamily::ALL.into_iter().collect();
    let window = FixedWindow::builder().limit(1.0).window_ms(60_000.0).build().expect("good options");
    let limiter = Limiter::builder(window).clock(ManualClock::new(1_700_000_000_000.0)).build();
    let layer = ThrottleLayer::builder(limiter).headers(families).build().expect("good options");
    let (service, _) = around(&layer);
    let mut expected = vec![
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
        "ratelimit",
        "ratelimit-policy",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    ];
    let names = async || {
        let response = send(&service, request()).await;
        let names = response.headers().keys().map(|name| name.as_str().to_owned());
        names.filter(|name| name.contains("ratelimit") || name.starts_with("retry")).collect::<Vec<_>>()
    };
    assert_eq!(names().await, expected);
    expected.extend(["retry-after", "retry-after-ms"]);
    assert_eq!(names().await, expected);
}

#[tokio::test]
async fn the_inner_response_keeps_what_it_has() {
    let (service, _) = around(&ThrottleLayer::new(gcra(2.0)));
    let response = send(&service, request()).await;
    assert_eq!((response.status(), field(&response, "x-custom")), (StatusCode::CREATED, "yes"));
    assert_eq!(text(response).await, "hello");
}

#[tokio::test]
async fn our_fields_replace_those_of_the_inner_response() {
    let inner = service_fn(|_: Request<()>| async {
        let response = Response::builder().header("RateLimit-Limit", "9").header("RateLimit-Limit", "8");
        Ok::<_, std::convert::Infallible>(response.body(http_body_util::Empty::<Bytes>::new()).expect("a response"))
    });
    let response = send(&ThrottleLayer::new(gcra(2.0)).layer(inner), request()).await;
    assert_eq!(response.headers().get_all("ratelimit-limit").iter().collect::<Vec<_>>(), ["2"]);
}

#[tokio::test]
async fn a_denial_response_of_the_user_wins() {
    let layer = ThrottleLayer::new(gcra(1.0)).reject(|rejection: &Rejection<'_>| {
        let mut response = Response::new(Bytes::from_static(b"teapot"));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        if let Rejection::Limited(limited) = rejection {
            assert_eq!((limited.key, limited.policy), ("203.0.113.5", "gcra"));
        }
        response.headers_mut().insert("ratelimit-limit", "mine".parse().expect("a value"));
        response
    });
    let (service, _) = around(&layer);
    send(&service, request()).await;
    let response = send(&service, request()).await;
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!((field(&response, "retry-after"), field(&response, "ratelimit-limit")), ("1", "mine"));
    assert_eq!(text(response).await, "teapot");
}

#[tokio::test]
async fn cost_may_depend_on_the_request() {
    let costly = ThrottleLayer::builder(gcra(10.0)).cost_fn(|_| 10.0).build().expect("good options");
    let (service, _) = around(&costly);
    assert_eq!(send(&service, request()).await.status(), StatusCode::CREATED);
    assert_eq!(send(&service, request()).await.status(), StatusCode::TOO_MANY_REQUESTS);

    let script = Script::default();
    let priced = ThrottleLayer::builder_for(script.clone(), ManualClock::default()).cost(2.5).build();
    send(&around(&priced.expect("good options")).0, request()).await;
    assert_eq!(script.asked(), [("203.0.113.5".to_owned(), 2.5)]);
}

#[test]
fn a_cost_out_of_range_is_refused_when_built() {
    for cost in [0.0, -1.0, f64::NAN, f64::INFINITY, 9_007_199_254_740_992.0] {
        let error = ThrottleLayer::builder(gcra(1.0)).cost(cost).build().expect_err("a bad cost");
        assert_eq!(error.to_string(), format!("throttleLayer.cost is {cost}: must be above 0 and at most 2^53 - 1"));
    }
}

#[tokio::test]
async fn every_family_and_none() {
    let limiter = || {
        Limiter::builder(FixedWindow::builder().limit(5.0).window_ms(60_000.0).build().expect("good options"))
            .clock(ManualClock::default())
            .build()
    };
    let structured = ThrottleLayer::builder(limiter()).headers(HeaderFamily::Structured).build();
    let response = send(&around(&structured.expect("good options")).0, request()).await;
    assert_eq!(field(&response, "ratelimit"), r#""fixedWindow";r=4;t=60"#);
    assert_eq!(field(&response, "ratelimit-policy"), r#""fixedWindow";q=5;w=60"#);
    assert!(!response.headers().contains_key("ratelimit-limit"));

    let all = ThrottleLayer::builder(limiter()).headers(HeaderFamily::ALL.into_iter().collect::<HeaderSet>());
    let all = all.policy_name("\u{fc}ber").quota(300).window_seconds(3_600).build().expect("good options");
    let response = send(&around(&all).0, request()).await;
    assert_eq!(field(&response, "ratelimit-policy"), r#""%C3%BCber";q=300;w=3600"#);
    assert_eq!(field(&response, "x-ratelimit-reset"), "60");
    assert_eq!(field(&response, "x-ratelimit-reset-requests"), "1m0s");
    assert_eq!(response.headers().len(), 12); // with `x-custom`

    for (set, retry_after) in [(HeaderSet::EMPTY, "3"), (HeaderSet::NONE, "")] {
        let script = Script::new([Run::ready(Ok(Admission::rate(DENIED)))]);
        let layer = ThrottleLayer::builder_for(script, ManualClock::default()).headers(set).build();
        let (service, _) = around(&layer.expect("good options"));
        let denied = send(&service, request()).await;
        assert_eq!((denied.headers().len(), field(&denied, "retry-after")), (1 + retry_after.len(), retry_after));
        assert_eq!(send(&service, request()).await.headers().len(), 1);
    }
}

#[tokio::test]
async fn gcra_shows_its_period_as_window() {
    let both = HeaderSet::from_iter([HeaderFamily::Draft, HeaderFamily::Structured]);
    let layer = ThrottleLayer::builder(gcra(5.0)).headers(both).build().expect("good options");
    let response = send(&around(&layer).0, request()).await;
    assert_eq!(field(&response, "ratelimit"), r#""gcra";r=4;t=1"#);
    assert_eq!(field(&response, "ratelimit-policy"), r#""gcra";q=5;w=1"#);
}

#[tokio::test]
async fn values_of_every_length_are_right() {
    for number in [0, 9, 10, 99, 100, 999, 1_000, 123_456, throttlekit::MAX_SAFE - 1] {
        let decision = Decision { allowed: true, limit: number, remaining: number, reset_at_ms: 0, retry_after_ms: 0 };
        let (service, _) = around(&scripted(&Script::new([Run::ready(Ok(Admission::rate(decision)))])));
        let response = send(&service, request()).await;
        assert_eq!(field(&response, "ratelimit-limit"), number.to_string());
        assert_eq!(field(&response, "ratelimit-remaining"), number.to_string());
    }
    let name = "n".repeat(300);
    let layer = ThrottleLayer::builder(gcra(1.0)).headers(HeaderFamily::Structured).policy_name(&name).build();
    let response = send(&around(&layer.expect("good options")).0, request()).await;
    assert_eq!(field(&response, "ratelimit"), format!(r#""{name}";r=0;t=1"#));
}

#[tokio::test]
async fn several_limits_that_decide_together_are_all_told_of() {
    let limiter = |limit, window_ms| {
        let window = FixedWindow::builder().limit(limit).window_ms(window_ms).build().expect("good options");
        Limiter::builder(window).clock(ManualClock::default()).build()
    };
    let (minute, day) = (limiter(2.0, 60_000.0), limiter(5.0, 86_400_000.0));
    let both = Multi::all().limiter("minute", &minute, 1.0).limiter("day", &day, 1.0).keep_each(true);
    let both = Arc::new(both.clock(ManualClock::default()).build().expect("good options"));
    let builder = || {
        let builder = ThrottleLayer::builder_for(Arc::clone(&both), ManualClock::default());
        builder.limit("minute", minute.clone()).limit("day", day.clone())
    };
    let denied: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::clone(&denied);
    let layer = builder().headers([HeaderFamily::Draft, HeaderFamily::Structured].into_iter().collect::<HeaderSet>());
    let layer = layer.build().expect("good options").share(true);
    let layer = layer.on_limited(move |limited| told.lock().expect("no panic").push(limited.policy.to_owned()));
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        let admitted = request.extensions().get::<Admitted>().expect("it is shared");
        let decision = admitted.meter("day").expect("its limit").debit(1.0).await.expect("a decision");
        assert_eq!(admitted.meters().map(|meter| meter.policy().to_owned()).collect::<Vec<_>>(), ["minute", "day"]);
        let left = Full::new(Bytes::from(decision.remaining.to_string()));
        Ok::<_, std::convert::Infallible>(Response::new(left))
    }));
    let first = send(&service, request()).await;
    assert_eq!(field(&first, "ratelimit"), r#""minute";r=1;t=60, "day";r=4;t=86400"#);
    assert_eq!(field(&first, "ratelimit-policy"), r#""minute";q=2;w=60, "day";q=5;w=86400"#);
    assert_eq!(field(&first, "ratelimit-limit"), "2", "the minute binds");
    assert_eq!(text(first).await, "3");
    send(&service, request()).await;
    // The minute refuses, and nothing is taken of the day.
    for _ in 0..2 {
        let refused = send(&service, request()).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(field(&refused, "ratelimit"), r#""minute";r=0;t=60, "day";r=1;t=86400"#);
        assert_eq!(field(&refused, "retry-after"), "60");
    }
    assert_eq!(*denied.lock().expect("no panic"), ["minute"; 2]);

    for (builder, why) in [
        (builder().limit("day", day.clone()), "throttleLayer.limit is day: must be a name of its own"),
        (
            ThrottleLayer::builder(gcra(1.0)).limit("day", day.clone()),
            "throttleLayer.limit is day: must be one of several",
        ),
    ] {
        let error = builder.build().expect_err("not so").to_string();
        assert!(error.starts_with(why), "{error}");
    }
}

#[tokio::test]
async fn a_learnt_limit_on_work_in_flight_is_shown_and_its_wait_is_the_last_latency() {
    const FIELDS: [&str; 4] = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"];
    let clock = ManualClock::default();
    let service = |limit: f64, headers| {
        let guard = Guard::builder().algorithm(Algorithm::Gradient2).min_limit(limit).max_limit(limit);
        let guard = guard.clock(clock.clone()).build().expect("good options");
        let layer = ThrottleLayer::builder_for(guard, clock.clone()).headers(headers).build();
        around(&layer.expect("good options")).0
    };
    let first = send(&service(4.0, HeaderSet::default()), request()).await;
    assert_eq!(FIELDS.map(|name| field(&first, name)), ["4", "3", "0", ""]);
    let silent = send(&service(4.0, HeaderSet::NONE), request()).await;
    assert_eq!(silent.headers().len(), 1);

    let one = service(1.0, HeaderSet::default());
    let first = send(&one, request()).await;
    clock.advance(12.5);
    assert_eq!(text(first).await, "hello");
    let held = send(&one, request()).await;
    let denied = send(&one, request()).await;
    assert_eq!(FIELDS.map(|name| field(&denied, name)), ["1", "0", "0", "1"]);
    assert_eq!(text(denied).await, r#"{"error":"Too Many Requests","retryAfterMs":13}"#);
    drop(held);
}

#[tokio::test]
async fn spans_are_told_from_the_time_of_the_decision() {
    for families in [HeaderSet::default(), HeaderSet::from_iter([HeaderFamily::Draft, HeaderFamily::Structured])] {
        for (shows, reset) in [(false, "60"), (true, "40")] {
            let clock = ManualClock::default();
            let limiter = FixedWindow::builder().limit(5.0).window_ms(60_000.0).build().expect("good options");
            let limiter = Limiter::builder(limiter).clock(clock.clone()).build();
            let layer = ThrottleLayer::builder(limiter).headers(families).build().expect("good options").share(true);
            let service = layer.layer(service_fn(move |request: Request<()>| {
                clock.advance(20_000.0);
                let admitted = request.extensions().get::<Admitted>().expect("it is shared");
                let meter = admitted.meters().next().expect("a limit of units");
                if shows {
                    // A decision of its own: spans are told from when the response was there.
                    meter.show(meter.debit(1.0).now().expect("memory").expect("it is limited only"));
                }
                async { Ok::<_, std::convert::Infallible>(Response::new(http_body_util::Empty::<Bytes>::new())) }
            }));
            assert_eq!(field(&send(&service, request()).await, "ratelimit-reset"), reset);
        }
    }
}

#[tokio::test]
async fn a_denial_that_a_handler_shows_has_a_wait_where_nothing_else_is_told() {
    let layer = ThrottleLayer::builder(gcra(5.0)).headers(HeaderSet::EMPTY).build().expect("good options").share(true);
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        let admitted = request.extensions().get::<Admitted>().expect("it is shared");
        admitted.meters().next().expect("a limit of units").show(DENIED);
        Ok::<_, std::convert::Infallible>(Response::new(http_body_util::Empty::<Bytes>::new()))
    }));
    let response = send(&service, request()).await;
    assert_eq!((response.headers().len(), field(&response, "retry-after")), (1, "3"));
}

#[tokio::test]
async fn hooks_see_each_denial_once() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let layer = ThrottleLayer::new(gcra(1.0)).on_limited(move |limited| {
        log.lock().expect("no panic").push((limited.key.to_owned(), limited.admission.decision.retry_after_ms));
    });
    let (service, _) = around(&layer);
    for _ in 0..3 {
        send(&service, request()).await;
    }
    assert_eq!(*seen.lock().expect("no panic"), vec![("203.0.113.5".to_owned(), 1_000); 2]);
}

#[tokio::test]
async fn skipped_requests_and_options_touch_nothing() {
    let script = Script::default();
    let layer = scripted(&script).skip(|request| request.path() == "/health");
    let (service, hello) = around(&layer);
    let mut health = request();
    *health.uri_mut() = "/health".parse().expect("a path");
    assert!(!send(&service, health).await.headers().contains_key("ratelimit-limit"));
    let mut options = request();
    *options.method_mut() = Method::OPTIONS;
    assert!(!send(&service, options).await.headers().contains_key("ratelimit-limit"));
    assert!(script.asked().is_empty());
    assert_eq!(hello.calls(), 2);

    let layer = ThrottleLayer::builder_for(script.clone(), ManualClock::default()).limit_options(true).build();
    let mut options = request();
    *options.method_mut() = Method::OPTIONS;
    send(&around(&layer.expect("good options")).0, options).await;
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test]
async fn all_services_of_a_layer_count_together() {
    let layer = ThrottleLayer::new(gcra(2.0));
    let (first, _) = around(&layer);
    let (second, _) = around(&layer.clone());
    send(&first, request()).await;
    send(&second, request()).await;
    assert_eq!(send(&first.clone(), request()).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(send(&second, from_peer("203.0.113.6:1")).await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn the_inner_service_can_see_the_decision() {
    let seen = Arc::new(Mutex::new(None));
    let log = Arc::clone(&seen);
    let inner = service_fn(move |request: Request<()>| {
        *log.lock().expect("no panic") = request.extensions().get::<Admitted>().map(|admitted| *admitted.decision());
        async { Ok::<_, std::convert::Infallible>(Response::new(http_body_util::Empty::<Bytes>::new())) }
    });
    send(&ThrottleLayer::new(gcra(2.0)).layer(inner.clone()), request()).await;
    assert_eq!(*seen.lock().expect("no panic"), None);
    send(&ThrottleLayer::new(gcra(2.0)).share(true).layer(inner), request()).await;
    assert_eq!(seen.lock().expect("no panic").map(|decision| decision.remaining), Some(1));
}
