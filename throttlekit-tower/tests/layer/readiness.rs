//! The contract of `tower::Service`: who is polled ready, who is called, and what is dropped.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use throttlekit::{Admission, Run};
use tokio::sync::oneshot;
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer as _, Service as _, ServiceBuilder, ServiceExt as _};
use tower_test::mock;

use crate::common::{ALLOWED, DENIED, Script, request, scripted};

type Mock = mock::Mock<Request<()>, Response<Full<Bytes>>>;
type Handle = mock::Handle<Request<()>, Response<Full<Bytes>>>;

fn allowed() -> Run<Result<Admission, throttlekit::Error>> {
    Run::ready(Ok(Admission::rate(ALLOWED)))
}

fn denied() -> Run<Result<Admission, throttlekit::Error>> {
    Run::ready(Ok(Admission::rate(DENIED)))
}

fn pair() -> (Mock, Handle) {
    mock::pair()
}

#[test]
fn readiness_is_that_of_the_inner_service() {
    let (inner, mut handle) = pair();
    let mut service = mock::Spawn::new(scripted(&Script::new([denied()])).layer(inner));
    handle.allow(0);
    assert_pending!(service.poll_ready());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
    handle.send_error("gone");
    assert!(assert_ready!(service.poll_ready()).is_err());
}

#[test]
fn the_instance_that_was_ready_is_called_at_once() {
    let (inner, mut handle) = pair();
    let mut service = mock::Spawn::new(scripted(&Script::new([allowed()])).layer(inner));
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call(request()));
    assert_pending!(call.poll());
    let (_, respond) = tokio_test::block_on(handle.next_request()).expect("a request");
    respond.send_response(Response::new(Full::default()));
    assert_eq!(assert_ready_ok!(call.poll()).status(), StatusCode::OK);
}

#[test]
fn the_instance_that_was_ready_is_called_after_waiting() {
    let (sender, receiver) = oneshot::channel();
    let answer = Run::wait(async { Ok(receiver.await.expect("a sender")) });
    let (inner, mut handle) = pair();
    let mut service = mock::Spawn::new(scripted(&Script::new([answer])).layer(inner));
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call(request()));
    assert_pending!(call.poll());
    // The mock panics if an instance is called that was not polled ready itself, as its clones were not.
    sender.send(Admission::rate(ALLOWED)).expect("a receiver");
    assert!(call.is_woken());
    assert_pending!(call.poll());
    let (_, respond) = tokio_test::block_on(handle.next_request()).expect("a request");
    respond.send_response(Response::new(Full::default()));
    assert_eq!(assert_ready_ok!(call.poll()).status(), StatusCode::OK);
}

#[tokio::test]
async fn a_denied_request_leaves_no_reservation() {
    // The concurrency limit takes its only slot when it gets ready.
    let waiting = Run::wait(async { Ok(Admission::rate(DENIED)) });
    for answer in [denied(), waiting] {
        let inner = tower::service_fn(|_: Request<()>| async {
            Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
        });
        let limited = ConcurrencyLimitLayer::new(1).layer(inner);
        let mut service = scripted(&Script::new([answer])).layer(limited.clone());
        let response = service.ready().await.expect("ready").call(request()).await.expect("a response");
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        let mut other = task::spawn(limited);
        assert_ready_ok!(other.enter(|cx, mut service| service.poll_ready(cx)));
    }
}

#[test]
fn a_service_dropped_after_ready_leaves_no_reservation() {
    let inner = tower::service_fn(|_: Request<()>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let limited = ConcurrencyLimitLayer::new(1).layer(inner);
    let script = Script::default();
    let mut service = mock::Spawn::new(scripted(&script).layer(limited.clone()));
    assert_ready_ok!(service.poll_ready());
    drop(service);
    let mut other = mock::Spawn::new(limited);
    assert_ready_ok!(other.poll_ready::<Request<()>>());
    assert!(script.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn other_layers_fit_around_and_inside() {
    let inner = tower::service_fn(|request: Request<tower_http::body::Limited<Full<Bytes>>>| async {
        drop(request);
        Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from("hello")))
    });
    let service = ServiceBuilder::new()
        .layer(tower_http::trace::TraceLayer::new_for_http())
        .layer(tower_http::timeout::TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(1)))
        .layer(scripted(&Script::new([allowed(), Run::wait(std::future::pending()), denied()])))
        .layer(tower_http::limit::RequestBodyLimitLayer::new(10))
        .layer(tower_http::timeout::TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(1)))
        .service(inner);
    let send = async || service.clone().oneshot(Request::new(Full::from("hi"))).await.expect("a response").status();
    assert_eq!(send().await, StatusCode::OK);
    assert_eq!(send().await, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(send().await, StatusCode::TOO_MANY_REQUESTS);
}
