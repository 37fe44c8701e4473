//! axum boxes no body that holds nothing.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Response};
use throttlekit::headers::HeaderSet;
use throttlekit::{Gcra, Limiter, ManualClock};
use throttlekit_axum::ThrottleLayer;
use tower::{Layer as _, Service as _, service_fn};

/// With a body that was boxed before.
fn request() -> Request<Body> {
    let mut request = Request::new(Body::from("hello"));
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 4711))));
    request
}

#[test]
fn a_body_that_holds_nothing_is_passed_on_as_it_is() {
    let limiter = Limiter::builder(Gcra::per_minute(2).expect("a limit")).clock(ManualClock::new(0.0)).build();
    let layer = ThrottleLayer::builder(limiter).headers(HeaderSet::EMPTY).build().expect("good options");
    let echo = |request: Request<Body>| ready(Ok::<_, Infallible>(Response::new(request.into_body())));
    let mut service = layer.layer(service_fn(echo));
    let mut statuses = Vec::with_capacity(3);
    let mut count = |request: Request<Body>| {
        let (mut request, mut answer) = (Some(request), None::<Response<Body>>);
        let info = measure(|| {
            let call = service.call(request.take().expect("measured once"));
            let Poll::Ready(Ok(response)) = pin!(call).poll(&mut Context::from_waker(Waker::noop())) else {
                panic!("memory does not wait");
            };
            answer = Some(response);
        });
        statuses.push(answer.expect("an answer").status().as_u16());
        info.count_total
    };
    // The first makes the key's place.
    count(request());
    assert_eq!(count(request()), 0);
    assert!(count(request()) > 0, "a denial has a body of its own, so what is counted here is counted");
    assert_eq!(statuses, [200, 200, 429]);
}
