//! The layer fits above and below each of tower-http's layers: no body or error is in the way of another, and the slot of
//! a request is held until the outermost body has been read.

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, Limited};
use throttlekit::{Admission, Axes, Outcome, Permit, Run, Settle, Slot};
use throttlekit_tower::ThrottleLayer;
use tower::{Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_http::add_extension::AddExtensionLayer;
use tower_http::auth::{AddAuthorizationLayer, AsyncRequireAuthorizationLayer};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::cors::CorsLayer;
use tower_http::decompression::{DecompressionLayer, RequestDecompressionLayer};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::map_request_body::MapRequestBodyLayer;
use tower_http::map_response_body::MapResponseBodyLayer;
use tower_http::metrics::InFlightRequestsLayer;
use tower_http::normalize_path::NormalizePathLayer;
use tower_http::on_early_drop::OnEarlyDropLayer;
use tower_http::propagate_header::PropagateHeaderLayer;
use tower_http::request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::sensitive_headers::SetSensitiveHeadersLayer;
use tower_http::set_header::request::SetMultipleRequestHeadersLayer;
use tower_http::set_header::response::SetMultipleResponseHeadersLayer;
use tower_http::set_header::{HeaderMetadata, SetRequestHeaderLayer, SetResponseHeaderLayer};
use tower_http::set_status::SetStatusLayer;
use tower_http::timeout::{RequestBodyTimeoutLayer, ResponseBodyTimeoutLayer, TimeoutLayer};
use tower_http::trace::TraceLayer;
use tower_http::validate_request::ValidateRequestHeaderLayer;

use crate::common::{ALLOWED, DENIED, Hello, Script, request, scripted};

/// Writes down how the slot was given back.
#[derive(Default)]
struct Ledger(Mutex<Vec<Outcome>>);

impl Settle for Ledger {
    fn settle(&self, _slot: Slot, outcome: Outcome) {
        self.0.lock().expect("no panic").push(outcome);
    }
}

/// A layer that gives one request a slot.
fn ours() -> (ThrottleLayer, Arc<Ledger>) {
    let ledger = Arc::new(Ledger::default());
    let permit = Permit::new(ledger.clone(), Slot { taken_at: 0, detail: 0 });
    (scripted(&Script::new([Run::ready(Ok(Admission::from_axes(Axes::rate(ALLOWED), permit)))])), ledger)
}

/// Sends a request, and reads the response.
async fn check<S, B>(service: S, ledger: Arc<Ledger>)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    S::Error: Debug,
    B: Body,
    B::Error: Debug,
{
    let outcomes = || ledger.0.lock().expect("no panic").clone();
    let mut request = request().map(|()| Full::new(Bytes::from_static(b"a body")));
    request.headers_mut().insert("accept-encoding", HeaderValue::from_static("gzip"));
    let response = service.oneshot(request).await.expect("a response");
    assert_eq!(
        (response.status(), &response.headers()["ratelimit-remaining"]),
        (StatusCode::CREATED, &HeaderValue::from(50))
    );
    assert!(outcomes().is_empty(), "nobody has read the body");
    assert!(response.into_body().collect().await.is_ok());
    assert_eq!(outcomes(), [Outcome::Completed]);
}

/// Each layer around ours, and ours around it.
macro_rules! fits {
    ($($name:ident: $layer:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let (ours, ledger) = self::ours();
            check(ServiceBuilder::new().layer($layer).layer(ours).service(Hello::default()), ledger).await;
            let (ours, ledger) = self::ours();
            check(ServiceBuilder::new().layer(ours).layer($layer).service(Hello::default()), ledger).await;
        }
    )*};
}

fits! {
    add_authorization: AddAuthorizationLayer::bearer("secret");
    add_extension: AddExtensionLayer::new(1_u8);
    async_require_authorization: AsyncRequireAuthorizationLayer::new(authorize);
    catch_panic: CatchPanicLayer::new();
    compression: CompressionLayer::new().compress_when(SizeAbove::new(0));
    cors: CorsLayer::new();
    decompression: DecompressionLayer::new();
    follow_redirect: FollowRedirectLayer::new();
    in_flight_requests: InFlightRequestsLayer::pair().0;
    map_request_body: MapRequestBodyLayer::new(limited);
    map_response_body: MapResponseBodyLayer::new(limited);
    normalize_path: NormalizePathLayer::trim_trailing_slash();
    on_early_drop: OnEarlyDropLayer::builder();
    propagate_header: PropagateHeaderLayer::new(HeaderName::from_static("x-a"));
    propagate_request_id: PropagateRequestIdLayer::x_request_id();
    request_body_limit: RequestBodyLimitLayer::new(1_000);
    request_decompression: RequestDecompressionLayer::new();
    request_body_timeout: RequestBodyTimeoutLayer::new(Duration::from_secs(10));
    response_body_timeout: ResponseBodyTimeoutLayer::new(Duration::from_secs(10));
    set_multiple_request_headers: SetMultipleRequestHeadersLayer::overriding(two_fields());
    set_multiple_response_headers: SetMultipleResponseHeadersLayer::overriding(two_fields());
    set_request_header: SetRequestHeaderLayer::overriding(HeaderName::from_static("x-a"), HeaderValue::from_static("b"));
    set_request_id: SetRequestIdLayer::x_request_id(OneId);
    set_sensitive_headers: SetSensitiveHeadersLayer::new([HeaderName::from_static("authorization")]);
    set_status: SetStatusLayer::new(StatusCode::CREATED);
    set_response_header: SetResponseHeaderLayer::overriding(HeaderName::from_static("x-a"), HeaderValue::from_static("b"));
    timeout: TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(10));
    trace: TraceLayer::new_for_http();
    validate_request: ValidateRequestHeaderLayer::accept("text/plain");
}

fn authorize<A, B>(request: Request<A>) -> Ready<Result<Request<A>, Response<B>>> {
    ready(Ok(request))
}

fn two_fields<T>() -> Vec<HeaderMetadata<T>> {
    let field = |name| (HeaderName::from_static(name), HeaderValue::from_static("b")).into();
    ["x-a", "x-b"].map(field).into()
}

fn limited<B>(body: B) -> Limited<B> {
    Limited::new(body, 1_000)
}

#[derive(Clone)]
struct OneId;

impl MakeRequestId for OneId {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        Some(RequestId::new(HeaderValue::from_static("1")))
    }
}

#[tokio::test]
async fn scripts_in_browsers_can_read_refusals_through_cors() {
    let denial = || Run::ready(Ok(Admission::rate(DENIED)));
    let cors = CorsLayer::permissive().expose_headers([HeaderName::from_static("retry-after")]);
    let service = ServiceBuilder::new().layer(cors).layer(scripted(&Script::new([denial()]))).service(Hello::default());
    let asked = |method: Method| {
        let mut request = request().map(|()| Full::<Bytes>::default());
        *request.method_mut() = method;
        request.headers_mut().insert("origin", HeaderValue::from_static("https://example.com"));
        request.headers_mut().insert("access-control-request-method", HeaderValue::from_static("GET"));
        request
    };
    // Which a browser sends on its own, and is answered in front of the limit.
    let preflight = service.clone().oneshot(asked(Method::OPTIONS)).await.expect("a response");
    assert_eq!((preflight.status(), preflight.headers().get("ratelimit-limit")), (StatusCode::OK, None));
    let refused = service.oneshot(asked(Method::GET)).await.expect("a response");
    let fields = ["access-control-allow-origin", "access-control-expose-headers", "retry-after"];
    let fields = fields.map(|name| refused.headers().get(name).map_or("", |value| value.to_str().expect("text")));
    assert_eq!((refused.status(), fields), (StatusCode::TOO_MANY_REQUESTS, ["*", "retry-after", "3"]));
}

#[tokio::test]
async fn where_two_limit_a_request_the_outer_one_is_shown() {
    let inner = scripted(&Script::new([Run::ready(Ok(Admission::rate(DENIED)))]));
    let service = ServiceBuilder::new().layer(scripted(&Script::default())).layer(inner).service(Hello::default());
    let response = service.oneshot(request()).await.expect("a response");
    let fields = ["ratelimit-remaining", "retry-after"].map(|name| &response.headers()[name]);
    assert_eq!(
        (response.status(), fields),
        (StatusCode::TOO_MANY_REQUESTS, ["50", "3"].map(HeaderValue::from_static).each_ref())
    );
}

#[tokio::test]
async fn compressed_responses_hold_their_slot_too() {
    let compression = || CompressionLayer::new().compress_when(SizeAbove::new(0));
    let (layer, ledger) = ours();
    let between = ServiceBuilder::new().layer(DecompressionLayer::new()).layer(layer).layer(compression());
    check(between.service(Hello::default()), ledger).await;

    let (layer, _ledger) = ours();
    let service = ServiceBuilder::new().layer(layer).layer(compression()).service(Hello::default());
    let mut request = request().map(|()| Full::new(Bytes::new()));
    request.headers_mut().insert("accept-encoding", HeaderValue::from_static("gzip"));
    let response = service.oneshot(request).await.expect("a response");
    assert_eq!(response.headers()["content-encoding"], "gzip");
}

#[tokio::test(start_paused = true)]
async fn what_a_timeout_cuts_is_dropped_work() {
    let second = Duration::from_secs(1);
    let stuck =
        || service_fn(|_: Request<Full<Bytes>>| std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>());
    let (layer, ledger) = ours();
    let service = ServiceBuilder::new().layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, second));
    let service = service.layer(layer).service(stuck());
    let response = service.oneshot(request().map(|()| Full::default())).await.expect("a response");
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(*ledger.0.lock().expect("no panic"), [Outcome::Dropped]);

    // A timeout within gives a response, which is handed over as any other.
    let (layer, ledger) = ours();
    let service = ServiceBuilder::new().layer(layer);
    let service = service.layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, second)).service(stuck());
    let response = service.oneshot(request().map(|()| Full::default())).await.expect("a response");
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    drop(response.into_body().collect().await);
    assert_eq!(*ledger.0.lock().expect("no panic"), [Outcome::Completed]);
}
