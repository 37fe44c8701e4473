//! The service of metrics, alone and in an application that is limited.

use actix_web::http::{Method, header};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use throttlekit::prometheus::{CONTENT_TYPE, Metrics};
use throttlekit::{Gcra, Limiter, ManualClock};
use throttlekit_actix::{Throttle, metrics_service};

/// Sends a request; gives status, content type, what is allowed, body.
macro_rules! send {
    ($app:expr, $method:expr, $target:expr) => {{
        let response = call_service(&$app, TestRequest::with_uri($target).method($method).to_request()).await;
        let field = |name| response.headers().get(name).map(|value| value.to_str().expect("it is text").to_owned());
        let (status, kind) = (response.status().as_u16(), field(header::CONTENT_TYPE).unwrap_or_default());
        let allow = field(header::ALLOW);
        (status, kind, allow, String::from_utf8(read_body(response).await.to_vec()).expect("it is text"))
    }};
}

#[actix_web::test]
async fn metrics_are_served_beside_what_they_are_of() {
    let metrics = Metrics::new();
    let rate = Gcra::per_hour(2).expect("a rate");
    let limiter = Limiter::builder(rate).clock(ManualClock::new(0.0)).name("search").observer(metrics.clone()).build();
    let search = web::resource("/search").wrap(Throttle::new(limiter)).to(|| async { "found" });
    let app = init_service(App::new().service(search).service(metrics_service(metrics))).await;
    for status in [200, 200, 429] {
        assert_eq!(send!(app, Method::GET, "/search").0, status);
    }
    let (status, kind, _, text) = send!(app, Method::GET, "/metrics?y=1");
    assert_eq!((status, kind.as_str()), (200, CONTENT_TYPE));
    assert!(text.contains("throttlekit_allowed_total{policy=\"search\"} 2\n"), "{text}");
    assert!(text.contains("throttlekit_denied_total{policy=\"search\"} 1\n"), "{text}");
}

#[actix_web::test]
async fn other_methods_and_paths_are_refused() {
    let internal = web::scope("/internal").service(metrics_service(Metrics::new()));
    let app = init_service(App::new().service(internal).service(metrics_service(Metrics::new()))).await;
    for path in ["/metrics", "/internal/metrics"] {
        let (status, _, allow, _) = send!(app, Method::POST, path);
        assert_eq!((status, allow.as_deref()), (405, Some("GET")));
        assert_eq!(send!(app, Method::GET, path).0, 200);
    }
    assert_eq!(send!(app, Method::GET, "/x").0, 404);
    for path in ["/healthz", "/health"] {
        let (status, _, allow, body) = send!(app, Method::GET, path);
        assert_eq!((status, allow, body.as_str()), (200, None, "ok\n"));
    }
}
