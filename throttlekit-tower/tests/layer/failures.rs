//! Stores that fail, bad arguments, hooks that panic: every request is answered, and none is admitted by accident.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use throttlekit::headers::{HeaderFamily, HeaderSet};
use throttlekit::unified::Tap;
use throttlekit::{Admission, Decision, Error, FailMode, Guard, ManualClock, MissingKey, Run, Unified};
use throttlekit_tower::{Admitted, Lookup, Rejection, Terms, ThrottleLayer, UpgradeSlot};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::common::{DENIED, Script, around, field, gcra, request, scripted, send, text};

fn unavailable() -> Error {
    Error::store_unavailable("connection refused")
}

#[tokio::test]
async fn open_passes_without_fields_and_tells() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let layer = scripted(&Script::failing(unavailable)).on_error(move |failure| {
        log.lock().expect("no panic").push((failure.policy.to_owned(), failure.error.to_string()));
    });
    let (service, hello) = around(&layer);
    let response = send(&service, request()).await;
    assert_eq!((response.status(), hello.calls()), (StatusCode::CREATED, 1));
    assert_eq!(response.headers().len(), 1);
    assert_eq!(
        *told.lock().expect("no panic"),
        [("default".to_owned(), "store is unavailable: connection refused".to_owned())]
    );
}

#[tokio::test]
async fn the_hook_hears_of_which_key_it_is_and_shows_it_to_nobody_unasked() {
    let failing = || ThrottleLayer::builder_for(Script::failing(unavailable), ManualClock::default());
    let lookup = || Lookup::new(|_| async { Err(unavailable()) });
    let unknown = || failing().plan("pro", gcra(5.0)).terms_fn(|_, _| Terms::new().plan("gold"));
    let keyless = || failing().key_fn(|_| None).missing_key(MissingKey::Reject);
    let peer = Some("203.0.113.5".to_owned());
    for (layer, keys) in [
        (failing(), vec![peer.clone()]),
        (failing().cost_fn(|_| panic!("a cost")), vec![peer.clone()]),
        (failing().terms(lookup()), vec![peer.clone()]),
        (unknown(), vec![peer.clone(), peer]),
        (failing().key_fn(|_| panic!("a key")), vec![None]),
        (keyless().shadow(true), vec![None]),
    ] {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        let layer = layer.build().expect("good options").on_error(move |failure| {
            assert!(!format!("{failure:?}").contains(failure.key.unwrap_or("key:")));
            log.lock().expect("no panic").push(failure.key.map(str::to_owned));
        });
        let (service, _) = around(&layer);
        send(&service, request()).await;
        assert_eq!(*told.lock().expect("no panic"), keys);
    }
}

#[tokio::test]
async fn what_is_shared_is_there_where_nobody_decided() {
    let builder = || ThrottleLayer::builder_for(Script::failing(unavailable), ManualClock::default());
    let lookup = || Lookup::new(|_| async { Err(unavailable()) });
    let keyless = || builder().key_fn(|_| None).missing_key(MissingKey::Reject);
    for (layer, key) in [
        (builder(), true),
        (builder().terms(lookup()), true),
        (builder().fail_mode(FailMode::Closed).shadow(true), true),
        (builder().cost_fn(|_| panic!("a cost")).shadow(true), true),
        (keyless().shadow(true), false),
    ] {
        let layer = layer.limit("units", gcra(5.0)).build().expect("good options").share(true).hold_upgrades(true);
        let service = layer.layer(service_fn(move |request: Request<()>| async move {
            let admitted = request.extensions().get::<Admitted>().expect("it is shared");
            assert_eq!((*admitted.decision(), admitted.meter("units").is_some()), (Decision::ALLOW_FULL, key));
            assert!(admitted.meters().all(|meter| meter.key() == "203.0.113.5" && meter.taken().is_none()));
            assert!(request.extensions().get::<UpgradeSlot>().is_some());
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }));
        let response = service.oneshot(request()).await.expect("an answer");
        assert_eq!((response.status(), response.headers().len()), (StatusCode::OK, 0));
    }
}

#[tokio::test]
async fn what_a_handler_shows_is_shown_where_nobody_decided() {
    let builder = || ThrottleLayer::builder_for(Script::failing(unavailable), ManualClock::default());
    let two = || builder().limit("units", gcra(5.0)).limit("more", gcra(5.0));
    for (layer, shown) in [
        (builder().limit("units", gcra(5.0)), ["0", "", "3"]),
        (two(), ["0", "", "3"]),
        (two().headers(HeaderFamily::Structured), ["", r#""units";r=0;t=30"#, "3"]),
        (two().headers(HeaderSet::EMPTY), ["", "", "3"]),
        (two().headers(HeaderSet::NONE), ["", "", ""]),
        (two().shadow(true), ["", "", ""]),
    ] {
        let layer = layer.build().expect("good options").share(true);
        let service = layer.layer(service_fn(|request: Request<()>| async move {
            let admitted = request.extensions().get::<Admitted>().expect("it is shared");
            admitted.meter("units").expect("its limit").show(DENIED);
            let response = Response::builder().status(StatusCode::TOO_MANY_REQUESTS);
            Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).expect("a good response"))
        }));
        let response = service.oneshot(request()).await.expect("an answer");
        assert_eq!(["ratelimit-remaining", "ratelimit", "retry-after"].map(|name| field(&response, name)), shown);
    }
}

#[tokio::test]
async fn a_slot_is_there_to_keep_where_a_shadow_has_none() {
    let guard = Guard::fixed(1).expect("good options");
    let _held = guard.acquire();
    let layer = ThrottleLayer::builder_for(guard, ManualClock::default()).shadow(true).build().expect("good options");
    let service = layer.hold_upgrades(true).layer(service_fn(|request: Request<()>| async move {
        assert!(request.extensions().get::<UpgradeSlot>().is_some());
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    assert_eq!(service.oneshot(request()).await.expect("an answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn closed_answers_503_without_fields() {
    let script = Script::failing(unavailable);
    let layer = ThrottleLayer::builder_for(script, ManualClock::default()).fail_mode(FailMode::Closed).build();
    let (service, hello) = around(&layer.expect("good options"));
    let response = send(&service, request()).await;
    assert_eq!((response.status(), hello.calls()), (StatusCode::SERVICE_UNAVAILABLE, 0));
    assert_eq!((response.headers().len(), field(&response, "content-type")), (1, "application/json"));
    assert_eq!(text(response).await, r#"{"error":"rate limiter unavailable"}"#);
}

#[tokio::test]
async fn an_admission_by_several_axes_is_called_so() {
    for (problem, body) in
        [(false, r#"{"error":"admission unavailable"}"#), (true, r#"{"title":"Admission unavailable","status":503}"#)]
    {
        let axes = Unified::builder().concurrency(Script::failing(unavailable)).rate(gcra(5.0)).build();
        let tapped = Tap::new(axes.expect("good options"), |_| {});
        let layer = ThrottleLayer::builder_for(tapped, ManualClock::default()).fail_mode(FailMode::Closed);
        let (service, _) = around(&layer.problem_json(problem).build().expect("good options"));
        let response = send(&service, request()).await;
        assert_eq!((response.status(), &*text(response).await), (StatusCode::SERVICE_UNAVAILABLE, body));
    }
}

#[tokio::test]
async fn no_other_error_is_subject_to_the_fail_mode() {
    for (error, code) in [
        ((|| Error::invalid_argument("bad")) as fn() -> Error, "invalid_argument"),
        (|| Error::state_invalid("bad"), "state_invalid"),
        (|| Error::unsupported("bad"), "throttlekit_error"),
    ] {
        let (service, hello) = around(&scripted(&Script::failing(error)));
        let response = send(&service, request()).await;
        assert_eq!((response.status(), hello.calls()), (StatusCode::INTERNAL_SERVER_ERROR, 0));
        assert_eq!(text(response).await, format!(r#"{{"error":"rate limiter error","code":"{code}"}}"#));
    }
}

#[tokio::test]
async fn a_cost_of_the_request_out_of_range_is_never_an_admit() {
    for cost in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let layer = ThrottleLayer::builder(gcra(10.0)).cost_fn(move |_| cost).build().expect("good options");
        let (service, hello) = around(&layer);
        assert_eq!(send(&service, request()).await.status(), StatusCode::INTERNAL_SERVER_ERROR, "{cost}");
        assert_eq!(hello.calls(), 0);
    }
}

#[tokio::test]
async fn panics_in_hooks_leave_no_request_unanswered() {
    let denial = || Script::new([Run::ready(Ok(Admission::rate(DENIED)))]);
    let (service, _) = around(&scripted(&denial()).on_limited(|_| panic!("on_limited")));
    assert_eq!(send(&service, request()).await.status(), StatusCode::TOO_MANY_REQUESTS);

    let layer = scripted(&denial()).reject(|_: &Rejection<'_>| -> Response<Bytes> { panic!("reject") });
    let (service, _) = around(&layer);
    let response = send(&service, request()).await;
    assert_eq!((response.status(), field(&response, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, "3"));

    let (service, _) = around(&scripted(&Script::failing(unavailable)).on_error(|_| panic!("on_error")));
    assert_eq!(send(&service, request()).await.status(), StatusCode::CREATED);

    let (service, _) = around(&scripted(&denial()).skip(|_| panic!("skip")));
    assert_eq!(send(&service, request()).await.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn panics_in_key_and_cost_are_server_errors() {
    let script = Script::default();
    let builder = || ThrottleLayer::builder_for(script.clone(), ManualClock::default());
    for layer in [builder().key_fn(|_| panic!("key")), builder().cost_fn(|_| panic!("cost"))] {
        let (service, hello) = around(&layer.build().expect("good options"));
        assert_eq!(send(&service, request()).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(hello.calls(), 0);
    }
    assert!(script.asked().is_empty());
}
