//! Metrics, and whether the service is up.

use std::future::ready;

use actix_web::dev::HttpServiceFactory;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use throttlekit::Clock;
use throttlekit::prometheus::Metrics;

/// Answers for metrics: `/metrics` in a format of Prometheus, `/healthz` and `/health` with `ok`, each to a `GET`; see
/// [`Metrics::respond`]. Put it into an application or a scope, or serve it on an address of its own, where only those are who
/// need it.
///
/// ```
/// use actix_web::{App, web};
/// use throttlekit::prometheus::Metrics;
/// use throttlekit::{Gcra, Limiter};
/// use throttlekit_actix::{Throttle, metrics_service};
///
/// let metrics = Metrics::new();
/// let limiter = Limiter::builder(Gcra::per_minute(100)?).name("search").observer(metrics.clone()).build();
/// let search = web::resource("/search").wrap(Throttle::new(limiter)).to(|| async { "found" });
/// let app = App::new().service(search).service(metrics_service(metrics));
/// # let _ = app;
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[allow(clippy::needless_pass_by_value)] // a handle, which others clone too
pub fn metrics_service<C: Clock>(metrics: Metrics<C>) -> impl HttpServiceFactory + 'static {
    // In a scope the path of a request is longer.
    let resource = |path| {
        let metrics = metrics.clone();
        web::resource(path).to(move |request: HttpRequest| ready(respond(&metrics, path, &request)))
    };
    (resource("/metrics"), resource("/healthz"), resource("/health"))
}

fn respond<C: Clock>(metrics: &Metrics<C>, path: &str, request: &HttpRequest) -> HttpResponse {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let answer = metrics.respond(request.method().as_str(), path, accept);
    // Every status that is given is one.
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response.content_type(answer.content_type);
    if let Some(allow) = answer.allow {
        response.insert_header((header::ALLOW, allow));
    }
    response.body(answer.body)
}
