//! Metrics, and whether the service is up.

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{StatusCode, header};
use throttlekit::Clock;
use throttlekit::prometheus::Metrics;

/// Answers for metrics: `/metrics` in a format of Prometheus, `/healthz` and `/health` with `ok`, each to a `GET`; see
/// [`Metrics::respond`]. Merge it into a router, or serve it on an address of its own, where only those are who need it.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use throttlekit::prometheus::Metrics;
/// use throttlekit::{Gcra, Limiter};
/// use throttlekit_axum::{ThrottleLayer, metrics_router};
///
/// let metrics = Metrics::new();
/// let limiter = Limiter::builder(Gcra::per_minute(100)?).name("search").observer(metrics.clone()).build();
/// let app: Router = Router::new()
///     .route("/search", get(|| async { "found" }).layer(ThrottleLayer::new(limiter)))
///     .merge(metrics_router(metrics));
/// # let _ = app;
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
pub fn metrics_router<S, C>(metrics: Metrics<C>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    C: Clock,
{
    let answer = any(async move |request: Request| respond(&metrics, &request));
    ["/metrics", "/healthz", "/health"]
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, answer.clone()))
}

fn respond<C: Clock>(metrics: &Metrics<C>, request: &Request) -> Response {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let answer = metrics.respond(request.method().as_str(), request.uri().path(), accept);
    // Every status that is given is one.
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let allow = answer.allow.map(|allow| [(header::ALLOW, allow)]);
    (status, [(header::CONTENT_TYPE, answer.content_type)], allow, answer.body).into_response()
}
