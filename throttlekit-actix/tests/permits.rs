//! What an admission holds is given back exactly once, when the response is over.

mod common;

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody, SizedStream};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, fn_service};
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::http::{Method, StatusCode, Version};
use actix_web::{Error, HttpResponse, error};
use bytes::Bytes;
use common::{Ledger, get};
use throttlekit::Outcome;
use throttlekit_actix::ResponseBody;

/// Chunks of one byte, then a failure or the end.
struct Chunks {
    left: usize,
    fails: bool,
    /// What it says of its length. It goes on saying so while it is polled.
    size: BodySize,
}

impl MessageBody for Chunks {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(self.fails.then(|| Err("broken".into())));
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Bytes::from_static(b"x"))))
    }
}

fn chunks(left: usize, fails: bool, size: BodySize) -> Chunks {
    Chunks { left, fails, size }
}

/// The body of a response through the middleware, with a permit on it.
async fn respond<B: MessageBody + 'static>(
    method: Method,
    status: StatusCode,
    body: B,
) -> (Pin<Box<ResponseBody<B>>>, Ledger) {
    let (body, ledger) = moved(method, status, body).await;
    (Box::pin(body), ledger)
}

async fn moved<B: MessageBody + 'static>(method: Method, status: StatusCode, body: B) -> (ResponseBody<B>, Ledger) {
    let ledger = Ledger::default();
    // Shared, since actix-web asks for closures that can be cloned.
    let body = Rc::new(RefCell::new(Some(body)));
    let inner = fn_service(move |request: ServiceRequest| {
        let body = body.borrow_mut().take().expect("called once");
        let response = HttpResponse::build(status).message_body(body).expect("a good response");
        std::future::ready(Ok::<_, Error>(request.into_response(response)))
    });
    let service = ledger.throttle().new_transform(inner).await.expect("it never fails");
    let response = service.call(get("/").method(method).to_srv_request()).await.expect("a response");
    (response.into_body(), ledger)
}

fn poll<B: MessageBody>(body: &mut Pin<Box<ResponseBody<B>>>) -> Option<Result<Bytes, Box<dyn std::error::Error>>> {
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(part) = body.as_mut().poll_next(&mut cx) else { panic!("it has nothing to wait for") };
    part
}

#[actix_web::test]
async fn the_end_of_a_stream_completes() {
    let (mut body, ledger) = respond(Method::GET, StatusCode::OK, chunks(2, false, BodySize::Stream)).await;
    for _ in 0..2 {
        assert!(poll(&mut body).is_some_and(|part| part.is_ok()));
        assert!(ledger.outcomes().is_empty());
    }
    assert!(poll(&mut body).is_none());
    assert_eq!(ledger.outcomes(), [Outcome::Completed]);
    drop(body);
    assert_eq!(ledger.outcomes(), [Outcome::Completed]);
}

#[actix_web::test]
async fn a_body_of_known_length_completes_with_its_last_byte() {
    let (mut body, ledger) = respond(Method::GET, StatusCode::OK, chunks(2, false, BodySize::Sized(2))).await;
    assert!(poll(&mut body).is_some());
    assert!(ledger.outcomes().is_empty());
    assert!(poll(&mut body).is_some());
    assert_eq!(ledger.outcomes(), [Outcome::Completed], "it was never polled to its end");
    drop(body);
    assert_eq!(ledger.outcomes(), [Outcome::Completed]);

    let (mut body, ledger) = respond(Method::GET, StatusCode::OK, "hello").await;
    assert!(poll(&mut body).is_some());
    drop(body);
    assert_eq!(ledger.outcomes(), [Outcome::Completed]);
}

/// Over HTTP/1 actix-web leaves the field out where it sends chunks, and asks the body until it ends.
#[actix_web::test]
async fn a_length_that_the_server_leaves_out_ends_nothing() {
    for (version, chunked, ends) in
        [(Version::HTTP_11, true, false), (Version::HTTP_11, false, true), (Version::HTTP_2, true, true)]
    {
        let ledger = Ledger::default();
        let inner = fn_service(move |request: ServiceRequest| {
            let mut builder = HttpResponse::Ok();
            if chunked {
                builder.insert_header((CONTENT_LENGTH, "2"));
            } else {
                builder.no_chunking(2);
            }
            let response = builder.message_body(chunks(3, false, BodySize::Stream)).expect("a good response");
            std::future::ready(Ok::<_, Error>(request.into_response(response)))
        });
        let service = ledger.throttle().new_transform(inner).await.expect("it never fails");
        let response = service.call(get("/").version(version).to_srv_request()).await.expect("a response");
        let mut body = Box::pin(response.into_body());
        assert!((0..2).all(|_| poll(&mut body).is_some()));
        assert_eq!(ledger.outcomes() == [Outcome::Completed], ends, "{version:?}, in chunks: {chunked}");
        assert!((0..2).all(|_| poll(&mut body).is_none_or(|part| part.is_ok())));
        assert_eq!(ledger.outcomes(), [Outcome::Completed]);
    }
}

#[actix_web::test]
async fn failed_and_abandoned_bodies_are_dropped_work() {
    let (mut body, ledger) = respond(Method::GET, StatusCode::OK, chunks(1, true, BodySize::Stream)).await;
    assert!(poll(&mut body).is_some_and(|part| part.is_ok()));
    assert!(poll(&mut body).is_some_and(|part| part.is_err()));
    assert_eq!(ledger.outcomes(), [Outcome::Dropped]);

    let (mut body, ledger) = respond(Method::GET, StatusCode::OK, chunks(2, false, BodySize::Sized(2))).await;
    assert!(poll(&mut body).is_some());
    drop(body);
    assert_eq!(ledger.outcomes(), [Outcome::Dropped]);
}

#[actix_web::test]
async fn responses_without_a_body_complete_at_once() {
    for (method, status) in
        [(Method::HEAD, StatusCode::OK), (Method::GET, StatusCode::NO_CONTENT), (Method::GET, StatusCode::NOT_MODIFIED)]
    {
        let (_body, ledger) = respond(method, status, chunks(1, false, BodySize::Stream)).await;
        assert_eq!(ledger.outcomes(), [Outcome::Completed], "{status}");
    }
    for size in [BodySize::None, BodySize::Sized(0)] {
        let (_body, ledger) = respond(Method::GET, StatusCode::OK, chunks(0, false, size)).await;
        assert_eq!(ledger.outcomes(), [Outcome::Completed], "{size:?}");
    }
}

#[actix_web::test]
async fn bytes_are_not_taken_past_the_permit() {
    let (body, ledger) = moved(Method::GET, StatusCode::OK, "hello").await;
    let body = body.try_into_bytes().expect_err("the permit stays with the body");
    assert!(ledger.outcomes().is_empty());
    assert_eq!(body.size(), BodySize::Sized(5));
    // Other middleware boxes bodies, and takes the bytes of those that have them.
    let mut boxed: BoxBody = body.boxed();
    assert!(ledger.outcomes().is_empty());
    let mut cx = Context::from_waker(Waker::noop());
    let part = boxed.as_pin_mut().poll_next(&mut cx);
    assert!(matches!(part, Poll::Ready(Some(Ok(bytes))) if bytes == "hello"));
    assert_eq!(ledger.outcomes(), [Outcome::Completed]);

    let (body, ledger) = moved(Method::GET, StatusCode::OK, "hello").await;
    drop(body.boxed());
    assert_eq!(ledger.outcomes(), [Outcome::Dropped], "nobody took the bytes");

    let (body, ledger) = moved(Method::HEAD, StatusCode::OK, "hello").await;
    assert_eq!(ledger.outcomes(), [Outcome::Completed]);
    assert_eq!(body.try_into_bytes().ok(), Some(Bytes::from_static(b"hello")), "no permit is left");
}

#[actix_web::test]
async fn the_body_is_forwarded_as_it_is() {
    let stream = || futures_util::stream::once(std::future::ready(Ok::<_, Infallible>(Bytes::from_static(b"x"))));
    let (body, _) = respond(Method::GET, StatusCode::OK, BodyStream::new(stream())).await;
    assert_eq!(body.size(), BodySize::Stream);
    let (mut body, ledger) = respond(Method::GET, StatusCode::OK, SizedStream::new(1, stream())).await;
    assert_eq!(body.size(), BodySize::Sized(1));
    assert!(poll(&mut body).is_some_and(|part| part.is_ok_and(|bytes| bytes == "x")));
    assert_eq!(ledger.outcomes(), [Outcome::Completed]);
    let (body, _) = respond(Method::GET, StatusCode::OK, ()).await;
    assert_eq!(body.size(), BodySize::Sized(0));
}

#[actix_web::test]
async fn an_error_is_passed_on_and_answered_elsewhere() {
    let ledger = Ledger::default();
    let failing = fn_service(|_: ServiceRequest| {
        std::future::ready(Err::<ServiceResponse, _>(error::ErrorImATeapot("no coffee")))
    });
    let service = ledger.throttle().new_transform(failing).await.expect("it never fails");
    let error = service.call(get("/").to_srv_request()).await.expect_err("it fails");
    assert_eq!(error.as_response_error().status_code(), StatusCode::IM_A_TEAPOT);
    assert_eq!(ledger.outcomes(), [Outcome::Completed]);
}

#[actix_web::test]
async fn a_call_that_is_given_up_is_dropped_work() {
    let ledger = Ledger::default();
    let stuck = fn_service(|_: ServiceRequest| std::future::pending::<Result<ServiceResponse, Error>>());
    let service = ledger.throttle().new_transform(stuck).await.expect("it never fails");
    let mut call = Box::pin(service.call(get("/").to_srv_request()));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(ledger.outcomes().is_empty());
    drop(call);
    assert_eq!(ledger.outcomes(), [Outcome::Dropped]);
}
