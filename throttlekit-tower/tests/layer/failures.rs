//! Stores that fail, bad arguments, hooks that panic: every request is answered, and none is admitted by accident.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Response, StatusCode};
use throttlekit::unified::Tap;
use throttlekit::{Admission, Error, FailMode, ManualClock, Run, Unified};
use throttlekit_tower::{Rejection, ThrottleLayer};

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
