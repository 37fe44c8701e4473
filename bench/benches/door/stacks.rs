//! The same service bare and behind each layer, and how one request goes through it.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath};
use bench::clock::TscClock;
use bench::rival::{Limit, SHOWN_COST, gcra, shown};
use governor::clock::QuantaInstant;
use governor::middleware::RateLimitingMiddleware;
use http::header::{HeaderName, HeaderValue};
use http::{Extensions, Request, Response, StatusCode};
use throttlekit::headers::{HeaderFamily, HeaderSet};
use throttlekit::{Admit, Clock, DynLimiter, Limiter, SystemClock};
use throttlekit_tower::PeerAddr;
use throttlekit_tower::{ThrottleLayer, ThrottleLayerBuilder};
use tower::util::MapResponseLayer;
use tower::{Layer, Service, ServiceExt};
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;
use tower_governor::key_extractor::PeerIpKeyExtractor;

use crate::slots::{self, Slots};

/// The name of the bare tower service.
const BARE: &str = "bare";

/// The response with three header fields that are there already: what nobody who writes three can go below.
fn with_fields(mut response: Response<Body>) -> Response<Body> {
    const FIELDS: [(HeaderName, HeaderValue); 3] = [
        (HeaderName::from_static("ratelimit-limit"), HeaderValue::from_static("5000")),
        (HeaderName::from_static("ratelimit-remaining"), HeaderValue::from_static("4999")),
        (HeaderName::from_static("ratelimit-reset"), HeaderValue::from_static("1")),
    ];
    response.headers_mut().extend(FIELDS);
    response
}

/// The name of a bare axum router.
const ROUTER: &str = "axum, no layer";

/// The name of an axum router with a layer that hands requests and responses on: what a layer costs there whatever it does.
const AXUM: &str = "axum, forwarding layer";

/// The service that all layers protect: a short answer, at once. It is not empty, so that a slot goes along with the body.
///
/// It hands the request's extensions back, so that the harness can use them for the next request instead of making new
/// ones: the peer's address is there without an allocation per request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bare;

impl Service<Request<Body>> for Bare {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut response = Response::new(Body::from("hello"));
        *response.extensions_mut() = request.into_parts().0.extensions;
        std::future::ready(Ok(response))
    }
}

/// A way through one stack, its types forgotten.
pub(crate) type Door = Box<dyn FnMut(&mut Extensions) -> bool>;

/// A named stack.
pub(crate) struct Stack {
    /// The name in the tables.
    pub(crate) name: &'static str,
    /// The stack without a layer that it is compared with.
    pub(crate) bare: &'static str,
    /// One request: whether it was admitted.
    pub(crate) door: Door,
}

/// What every request carries: where it comes from, as each side looks for it.
pub(crate) fn extensions() -> Extensions {
    let peer = SocketAddr::from(([192, 0, 2, 7], 4711));
    let mut extensions = Extensions::new();
    extensions.insert(PeerAddr(peer));
    extensions.insert(ConnectInfo(peer));
    extensions
}

/// Sends a request through `service` and reads the answer to its end.
fn door<S, B>(name: &'static str, bare: &'static str, mut service: S) -> Stack
where
    S: Service<Request<Body>, Response = Response<B>> + 'static,
    B: http_body::Body + Unpin,
{
    let door = move |extensions: &mut Extensions| {
        let mut cx = Context::from_waker(Waker::noop());
        let mut request = Request::new(Body::empty());
        std::mem::swap(request.extensions_mut(), extensions);
        let _ = service.poll_ready(&mut cx);
        let Poll::Ready(Ok(mut response)) = pin!(service.call(request)).poll(&mut cx) else { return false };
        while let Poll::Ready(Some(_)) = Pin::new(response.body_mut()).poll_frame(&mut cx) {}
        let admitted = response.status() == StatusCode::OK;
        if admitted {
            std::mem::swap(response.extensions_mut(), extensions);
            // axum would take the route of this request for one around that of the next.
            extensions.remove::<MatchedPath>();
        } else {
            *extensions = self::extensions();
        }
        std::hint::black_box(response);
        admitted
    };
    Stack { name, bare, door: Box::new(door) }
}

/// The bare service, this project's layer and `tower_governor`'s, each without and with header fields, ours with a slot
/// too; and the same around a route of an axum router.
///
/// # Errors
///
/// If a limit is refused.
pub(crate) fn all() -> Result<Vec<Stack>, Box<dyn Error>> {
    let tower = |name, layer: ThrottleLayer| door(name, BARE, layer.layer(Bare));
    let axum = |name, layer: throttlekit_axum::ThrottleLayer| door(name, AXUM, route().layer(layer));
    Ok(vec![
        door(BARE, BARE, Bare),
        door("bare, three fields", BARE, Bare.map_response(with_fields)),
        tower("ThrottleKit", ours(SystemClock::new())?.headers(HeaderSet::EMPTY).build()?),
        tower(
            "ThrottleKit, headers",
            ThrottleLayer::builder(shown(SystemClock::new())?).cost(SHOWN_COST).headers(HeaderFamily::Draft).build()?,
        ),
        tower("ThrottleKit, slots", holding(Slots::along()?)?),
        tower("ThrottleKit, slots back before", holding(Slots::before()?)?),
        tower("ThrottleKit, rate and slot", holding(slots::with_rate()?)?),
        tower("ThrottleKit, shared clock", ours(TscClock::new())?.headers(HeaderSet::EMPTY).build()?),
        tower(
            "ThrottleKit, shared clock, headers",
            ThrottleLayer::builder(shown(TscClock::new())?).cost(SHOWN_COST).headers(HeaderFamily::Draft).build()?,
        ),
        door("tower_governor", BARE, theirs(&mut config())?.layer(Bare)),
        door("tower_governor, headers", BARE, theirs(&mut config().use_headers())?.layer(Bare)),
        door(ROUTER, ROUTER, route()),
        door(AXUM, ROUTER, route().layer(MapResponseLayer::new(|response: Response<Body>| response))),
        axum(
            "axum, ThrottleKit",
            throttlekit_axum::ThrottleLayer::builder(limiter(SystemClock::new())?).headers(HeaderSet::EMPTY).build()?,
        ),
        axum(
            "axum, ThrottleKit, headers",
            throttlekit_axum::ThrottleLayer::builder(shown(SystemClock::new())?)
                .cost(SHOWN_COST)
                .headers(HeaderFamily::Draft)
                .build()?,
        ),
        door("axum, tower_governor", AXUM, route().layer(theirs(&mut config())?)),
        door("axum, tower_governor, headers", AXUM, route().layer(theirs(&mut config().use_headers())?)),
    ])
}

fn route() -> Router {
    Router::new().route_service("/", Bare)
}

fn holding(admit: impl Admit) -> Result<ThrottleLayer, Box<dyn Error>> {
    Ok(ThrottleLayer::builder_for(admit, SystemClock::new()).headers(HeaderSet::EMPTY).build()?)
}

fn limiter(clock: impl Clock) -> Result<impl DynLimiter, Box<dyn Error>> {
    Ok(Limiter::builder(gcra(Limit::GENEROUS)?).clock(clock).build())
}

fn ours(clock: impl Clock) -> Result<ThrottleLayerBuilder, Box<dyn Error>> {
    Ok(ThrottleLayer::builder(limiter(clock)?))
}

type Config<M> = GovernorConfigBuilder<PeerIpKeyExtractor, M>;

fn config() -> Config<governor::middleware::NoOpMiddleware<QuantaInstant>> {
    let mut config = GovernorConfigBuilder::default();
    config.per_nanosecond(10).burst_size(5_000);
    config
}

fn theirs<M>(config: &mut Config<M>) -> Result<GovernorLayer<PeerIpKeyExtractor, M, Body>, Box<dyn Error>>
where
    M: RateLimitingMiddleware<QuantaInstant>,
{
    Ok(GovernorLayer::new(config.finish().ok_or("the quota is refused")?))
}
