//! How often a request that is admitted in memory allocates.

mod common;

use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use bytes::Bytes;
use common::{from_peer, request};
use http::{HeaderValue, Request, Response};
use http_body_util::Empty;
use throttlekit::headers::{HeaderFamily, HeaderSet};
use throttlekit::{Gcra, Limiter, ManualClock};
use throttlekit_tower::ThrottleLayer;
use throttlekit_tower::key::{ApiKey, ClientIp, CookieKey, KeyHasher, PathParam, QueryKey};
use tower::{Layer as _, Service, service_fn};

/// The allocations of one call, from the request to the response's end.
fn allocations<B>(
    service: &mut impl Service<Request<()>, Response = Response<B>, Error = ()>,
    request: Request<()>,
) -> u64 {
    let mut request = Some(request);
    let mut answer = None;
    let info = measure(|| {
        let request = request.take().expect("measured once");
        let mut call = std::pin::pin!(service.call(request));
        let Poll::Ready(response) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("memory does not wait");
        };
        answer = Some(response);
    });
    assert!(answer.is_some_and(|response| response.is_ok()));
    info.count_total
}

fn empty() -> impl Service<Request<()>, Response = Response<Empty<Bytes>>, Error = (), Future: Send> + Clone {
    service_fn(|_: Request<()>| std::future::ready(Ok(Response::new(Empty::new()))))
}

fn layer(limit: f64, set: impl Into<HeaderSet>) -> ThrottleLayer {
    let limiter = Limiter::builder(Gcra::builder().limit(limit).period_ms(60_000.0).build().expect("good options"));
    let limiter = limiter.clock(ManualClock::new(1_700_000_000_000.0)).build();
    ThrottleLayer::builder(limiter).headers(set).build().expect("good options")
}

fn all() -> HeaderSet {
    HeaderFamily::ALL.into_iter().collect()
}

#[test]
fn the_bare_service_does_not_allocate() {
    assert_eq!(allocations(&mut empty(), request()), 0);
}

#[test]
fn an_allow_without_fields_does_not_allocate() {
    for set in [HeaderSet::NONE, HeaderSet::EMPTY] {
        let mut service = layer(100.0, set).layer(empty());
        for peer in ["203.0.113.5:1", "203.0.113.5:2", "[2001:db8::1]:1", "[2001:db8::2]:1"] {
            let first_of_its_key = peer.ends_with(":1");
            let count = allocations(&mut service, from_peer(peer));
            assert!(count == 0 || first_of_its_key, "{peer}: {count}");
        }
    }
}

#[test]
fn keys_of_clients_do_not_allocate() {
    let hasher = || KeyHasher::new("k1", "sixteen bytes or more").expect("a good secret");
    let client = ClientIp::builder().trust_proxies(["10.0.0.0/8"]).build().expect("a network");
    let limiter = || Limiter::builder(Gcra::per_minute(100).expect("a rate")).clock(ManualClock::default()).build();
    let builder = || ThrottleLayer::builder(limiter()).headers(HeaderSet::NONE);
    let layers = [
        builder().key(client).build(),
        builder().key(ApiKey::bearer(hasher())).build(),
        builder().key(CookieKey::named("k").expect("a name")).build(),
        builder().key(QueryKey::named("k")).build(),
        builder().key(PathParam::of("/{k}", "k").expect("a parameter")).build(),
    ];
    for (index, layer) in layers.into_iter().enumerate() {
        let mut service = layer.expect("good options").layer(empty());
        for first_of_its_key in [true, false] {
            let mut request = from_peer("10.0.0.1:1");
            *request.uri_mut() = "/acme?k=1".parse().expect("a path");
            for (name, value) in [
                ("x-forwarded-for", "6.6.6.6, 2001:db8::1, 10.0.0.5:80"),
                ("authorization", "Bearer sk-1"),
                ("cookie", "a=b; k=1"),
            ] {
                request.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            let count = allocations(&mut service, request);
            assert!(count == 0 || first_of_its_key, "{index}: {count}");
        }
    }
}

#[test]
fn an_allow_with_fields_allocates_four_times_at_most() {
    for (limit, set, most) in [
        (100.0, HeaderSet::default(), 2),
        (1_000_000.0, HeaderSet::default(), 4),
        (100.0, all(), 4),
        (1_000_000.0, all(), 4),
    ] {
        let mut service = layer(limit, set).layer(empty());
        allocations(&mut service, request());
        let count = allocations(&mut service, request());
        assert!(count <= most, "{limit} {set:?}: {count}");
    }
}
