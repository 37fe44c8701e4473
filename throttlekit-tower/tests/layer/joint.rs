//! Limits that decide together, where what each says does not come to what they say together.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use throttlekit::headers::{HeaderFamily, HeaderSet};
use throttlekit::store::memory::Table;
use throttlekit::{
    Admit, Ask, Axes, Axis, FixedWindow, Guard, Limiter, ManualClock, Multi, MultiBuilder, Program, Unified,
    UnifiedBuilder,
};
use throttlekit_tower::{Admitted, ThrottleLayer};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::common::{around, field, request, send};

type Window = Limiter<FixedWindow, Table<<FixedWindow as Program>::State>, ManualClock>;

fn window(limit: f64, window_ms: f64) -> Window {
    let window = FixedWindow::builder().limit(limit).window_ms(window_ms).build().expect("good options");
    Limiter::builder(window).clock(ManualClock::default()).build()
}

/// What requests to a layer of `requests` and `tokens`, that decide as `asked`, are told: the status, `RateLimit`,
/// `RateLimit-Limit` and `Retry-After`, and the policy that the hook heard of.
async fn told(asked: impl Admit, requests: Window, tokens: Window, count: usize) -> Vec<[String; 5]> {
    let heard: Arc<Mutex<String>> = Arc::default();
    let hook = Arc::clone(&heard);
    let families: HeaderSet = [HeaderFamily::Draft, HeaderFamily::Structured].into_iter().collect();
    let layer = ThrottleLayer::builder_for(asked, ManualClock::default()).headers(families);
    let layer = layer.limit("requests", requests).limit("tokens", tokens).build().expect("good options").share(true);
    let layer = layer.on_limited(move |limited| limited.policy.clone_into(&mut hook.lock().expect("no panic")));
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        let admitted = request.extensions().get::<Admitted>().expect("it is shared");
        assert_eq!(admitted.meters().count(), 2);
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let mut all = Vec::new();
    for _ in 0..count {
        heard.lock().expect("no panic").clear();
        let response = service.clone().oneshot(request()).await.expect("an answer");
        let [limits, limit, wait] = ["ratelimit", "ratelimit-limit", "retry-after"].map(|name| field(&response, name));
        let heard = heard.lock().expect("no panic").clone();
        all.push([response.status().as_str(), limits, limit, wait, &*heard].map(str::to_owned));
    }
    all
}

fn of(multi: MultiBuilder, requests: &Window, tokens: &Window, keep: bool) -> impl Admit {
    let multi = multi.limiter("requests", requests, 1.0).limiter("tokens", tokens, 1.0).keep_each(keep);
    multi.clock(ManualClock::default()).build().expect("good options")
}

#[tokio::test]
async fn rate_and_cost_are_two_limits() {
    let (requests, tokens) = (window(5.0, 60_000.0), window(1.0, 3_600_000.0));
    let axes = Unified::builder().rate(requests.clone()).cost(tokens.clone()).clock(ManualClock::default());
    let told = told(axes.build().expect("good options"), requests, tokens, 2).await;
    assert_eq!(told[0], ["200", r#""tokens";r=0;t=3600, "requests";r=4;t=60"#, "1", "", ""]);
    assert_eq!(told[1], ["429", r#""tokens";r=0;t=3600, "requests";r=4;t=60"#, "1", "3600", "tokens"]);
}

#[tokio::test]
async fn the_service_finds_what_rate_and_cost_took() {
    let (requests, tokens) = (window(5.0, 60_000.0), window(5.0, 60_000.0));
    let axes = Unified::builder().rate(requests.clone()).cost(tokens.clone()).clock(ManualClock::default());
    let layer = ThrottleLayer::builder_for(axes.build().expect("good options"), ManualClock::default());
    let layer = layer.limit("requests", requests).limit("tokens", tokens.clone()).build().expect("good options");
    let service = layer.share(true).layer(service_fn(|request: Request<()>| async move {
        let admitted = request.extensions().get::<Admitted>().expect("it is shared");
        assert!(admitted.meters().all(|meter| meter.taken().is_some()));
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    service.oneshot(request()).await.expect("an answer");
    assert_eq!(tokens.peek("203.0.113.5").expect("memory").remaining, 4);
}

#[tokio::test]
async fn slots_that_are_not_shown_deny_by_the_joint_name() {
    let (requests, tokens) = (window(5.0, 60_000.0), window(5.0, 60_000.0));
    let guard = Guard::builder().fixed(1).clock(ManualClock::default()).build().expect("good options");
    let _held = guard.admit(&Ask::new("other")).now().expect("memory");
    let axes = Unified::builder().concurrency(guard).rate(requests.clone()).cost(tokens.clone());
    let axes = axes.clock(ManualClock::default()).build().expect("good options");
    let told = told(axes, requests, tokens, 1).await;
    assert_eq!(told[0], ["429", r#""unified";r=0;t=0"#, "1", "1", "unified"]);
}

/// What the hook hears of the second of two requests, of which the first holds the only slot.
async fn denied_by_slots(asked: impl Admit) -> (Axes, Option<Axis>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&heard);
    let layer = ThrottleLayer::builder_for(asked, ManualClock::default()).build().expect("good options");
    let layer = layer.on_limited(move |limited| {
        hook.lock().expect("no panic").push((limited.admission.axes, limited.admission.binding));
    });
    let (service, _) = around(&layer);
    let held = send(&service, request()).await;
    let denied = send(&service, request()).await;
    assert_eq!((denied.status(), field(&denied, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    drop(held);
    let heard = heard.lock().expect("no panic");
    assert_eq!(heard.len(), 1);
    heard[0]
}

#[tokio::test]
async fn the_hook_hears_that_slots_denied() {
    let guard = || Guard::builder().fixed(1).clock(ManualClock::default()).build().expect("good options");
    let rate = || window(5.0, 60_000.0);
    let unified = || Unified::builder().concurrency(guard()).clock(ManualClock::default());
    let built = |builder: UnifiedBuilder<ManualClock>| builder.build().expect("good options");
    for (axes, binding) in [
        denied_by_slots(guard()).await,
        denied_by_slots(built(unified())).await,
        denied_by_slots(built(unified().rate(rate()))).await,
        denied_by_slots(built(unified().rate(rate()).cost(rate()))).await,
    ] {
        let slots = axes.concurrency.expect("slots were asked");
        assert_eq!((slots.allowed, slots.limit, slots.remaining, binding), (false, 1, 0, Some(Axis::Concurrency)));
        assert_eq!((axes.rate, axes.cost), (None, None), "what was not asked has nothing to say");
    }
}

#[tokio::test]
async fn where_one_is_enough_no_wait_is_told() {
    let (requests, tokens) = (window(1.0, 60_000.0), window(2.0, 3_600_000.0));
    let any = of(Multi::any(), &requests, &tokens, true);
    let told = told(any, requests, tokens, 3).await;
    assert_eq!(told.iter().map(|[status, ..]| &**status).collect::<Vec<_>>(), ["200", "200", "429"]);
    for [status, _, _, wait, _] in &told {
        assert_eq!(wait.is_empty(), status == "200", "{told:?}");
    }
    // The minute denies, and the request passes: what counts is what they say together.
    assert!(told[1][1].starts_with(r#""default";r="#), "{told:?}");
    assert_eq!(told[2][3], "60", "after the shorter wait one of them admits");
}

#[tokio::test]
async fn a_multi_that_keeps_no_decisions_blames_none() {
    let (requests, tokens) = (window(5.0, 60_000.0), window(1.0, 3_600_000.0));
    let all = of(Multi::all(), &requests, &tokens, false);
    let told = told(all, requests, tokens, 2).await;
    assert_eq!(told[0], ["200", r#""default";r=0;t=3600"#, "1", "", ""]);
    assert_eq!(told[1], ["429", r#""default";r=0;t=3600"#, "1", "3600", "default"]);
}
