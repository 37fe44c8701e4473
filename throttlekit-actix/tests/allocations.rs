//! How often a request that is admitted in memory allocates.

mod common;

use std::future::{Ready, ready};
use std::task::{Context, Poll, Waker};

use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform as _};
use actix_web::{Error, HttpResponse};
use allocation_counter::measure;
use bytes::Bytes;
use common::get;
use throttlekit::headers::{HeaderFamily, HeaderSet};
use throttlekit::{Gcra, Guard, Limiter, ManualClock};
use throttlekit_actix::Throttle;

struct Hello;

impl Service<ServiceRequest> for Hello {
    type Response = ServiceResponse<Bytes>;
    type Error = Error;
    type Future = Ready<Result<Self::Response, Error>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let response = HttpResponse::Ok().message_body(Bytes::from_static(b"hello")).expect("a good response");
        ready(Ok(request.into_response(response)))
    }
}

/// The allocations of one call, from the request to the end of the body.
fn allocations<B: MessageBody>(
    service: &impl Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
) -> u64 {
    let mut request = Some(get("/").to_srv_request());
    let mut answer = None;
    let info = measure(|| {
        let mut cx = Context::from_waker(Waker::noop());
        let mut call = std::pin::pin!(service.call(request.take().expect("measured once")));
        let Poll::Ready(response) = call.as_mut().poll(&mut cx) else { panic!("memory does not wait") };
        let (request, response) = response.expect("a response").into_parts();
        let (head, body) = response.into_parts();
        let mut body = std::pin::pin!(body);
        while let Poll::Ready(Some(part)) = body.as_mut().poll_next(&mut cx) {
            assert!(part.is_ok());
        }
        answer = Some((request, head));
    });
    assert!(answer.is_some_and(|(_, head)| head.status() == 200));
    info.count_total
}

/// The allocations that `throttle` adds to a request, once its key is known and what actix-web pools is there.
async fn added(throttle: Throttle) -> u64 {
    let service = throttle.new_transform(Hello).await.expect("it never fails");
    let (bare, limited) = (|| allocations(&Hello), || allocations(&service));
    bare();
    limited();
    limited().checked_sub(bare()).expect("not fewer")
}

fn throttle(limit: f64, set: impl Into<HeaderSet>) -> Throttle {
    let limiter = Limiter::builder(Gcra::builder().limit(limit).period_ms(60_000.0).build().expect("good options"));
    let limiter = limiter.clock(ManualClock::new(1_700_000_000_000.0)).build();
    Throttle::builder(limiter).headers(set).build().expect("good options")
}

#[actix_web::test]
async fn an_allow_without_fields_does_not_allocate() {
    for set in [HeaderSet::NONE, HeaderSet::EMPTY] {
        assert_eq!(added(throttle(100.0, set)).await, 0);
    }
}

#[actix_web::test]
async fn an_allow_with_fields_allocates_four_times_at_most() {
    let all: HeaderSet = HeaderFamily::ALL.into_iter().collect();
    for (limit, set, most) in
        [(100.0, HeaderSet::default(), 1), (1_000_000.0, HeaderSet::default(), 3), (100.0, all, 4)]
    {
        let count = added(throttle(limit, set)).await;
        assert!(count <= most, "{limit} {set:?}: {count}");
    }
}

#[actix_web::test]
async fn a_permit_in_the_body_does_not_allocate() {
    let guard = Guard::fixed(1).expect("a limit");
    let throttle = Throttle::builder_for(guard.clone(), ManualClock::default()).headers(HeaderSet::NONE);
    assert_eq!(added(throttle.build().expect("good options")).await, 0);
    assert_eq!(guard.in_flight(), 0);
}
