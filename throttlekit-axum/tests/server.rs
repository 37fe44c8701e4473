//! A real server and a real client over loopback.
#![cfg(feature = "config")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::routing::{get, post};
use axum::{Router, ServiceExt};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::{Gcra, Limiter, ManualClock};
use throttlekit_axum::{ThrottleLayer, Throttled};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::{Layer as _, Service};

/// What axum serves.
trait Served:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> Served for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

/// The server and the connections end with it.
struct Server {
    address: SocketAddr,
    tasks: JoinSet<()>,
}

impl Server {
    async fn start(app: impl Served) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        let service = ServiceExt::<Request<Body>>::into_make_service_with_connect_info::<SocketAddr>(app);
        tasks.spawn(async move { axum::serve(listener, service).await.expect("it serves") });
        Self { address, tasks }
    }

    async fn send(&mut self, method: Method, path: &str) -> Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
        self.tasks.spawn(async move { connection.await.expect("a good connection") });
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        sender.send_request(request.body(Empty::<Bytes>::new()).expect("a request")).await.expect("a response")
    }

    async fn get(&mut self, path: &str) -> Response<Incoming> {
        self.send(Method::GET, path).await
    }
}

fn field<'a>(response: &'a Response<Incoming>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.expect("a body").to_bytes().to_vec()).expect("text")
}

const RULES: &str = "
limiters:
  hello: { strategy: gcra, limit: 2, period: 1s }
  upload: { strategy: fixedWindow, limit: 1, period: 1m }
http:
  rules:
    - { path: /api/hello, methods: [GET], policy: hello }
    - { path: /api/upload, policy: upload }
";

fn policies() -> Policies {
    Policies::load(RULES, LoadOptions::new().clock(ManualClock::new(0.0))).expect("a good text")
}

#[tokio::test]
async fn requests_are_limited_by_their_peer() {
    limits_by_peer(|layer, app| app.layer(layer)).await;
}

#[tokio::test]
async fn around_a_router_a_layer_does_the_same() {
    limits_by_peer(|layer, app| layer.layer(app.with_state(()))).await;
}

async fn limits_by_peer<S: Served>(limit: impl FnOnce(ThrottleLayer, Router) -> S) {
    let unknown = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&unknown);
    let layer = ThrottleLayer::from_config(&policies()).expect("rules");
    let layer = layer.on_error(move |_| told.store(true, Ordering::SeqCst));
    let app =
        Router::new().route("/api/hello", get(|| async { "hello" })).route("/api/upload", post(|| async { "stored" }));
    let mut server = Server::start(limit(layer, app)).await;

    let response = server.get("/api/hello").await;
    assert_eq!((field(&response, "ratelimit-limit"), field(&response, "ratelimit-remaining")), ("2", "1"));
    assert_eq!(field(&response, "content-length"), "5");
    assert_eq!(text(response).await, "hello");
    // `HEAD` runs the handler of `GET`, and counts with it.
    let response = server.send(Method::HEAD, "/api/hello").await;
    assert_eq!((field(&response, "ratelimit-remaining"), field(&response, "content-length")), ("0", "5"));

    let response = server.get("/api/hello").await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((field(&response, "retry-after"), field(&response, "content-length")), ("1", "48"));
    assert_eq!(text(response).await, r#"{"error":"Too Many Requests","retryAfterMs":500}"#);

    assert_eq!(text(server.send(Method::POST, "/api/upload").await).await, "stored");
    assert_eq!(server.send(Method::POST, "/api/upload").await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(server.send(Method::OPTIONS, "/api/upload").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(!unknown.load(Ordering::SeqCst), "the peer is known");
}

#[tokio::test]
async fn rules_name_whole_paths_in_nested_routers() {
    let layer = ThrottleLayer::from_config(&policies()).expect("rules");
    let api = Router::new().route("/hello", get(|| async { "hello" })).layer(layer);
    let mut server = Server::start(Router::new().nest("/api", api)).await;
    assert_eq!(field(&server.get("/api/hello").await, "ratelimit-remaining"), "1");
}

#[tokio::test]
async fn handlers_can_see_the_decision() {
    let limiter = || Limiter::builder(Gcra::per_second(5).expect("a rate")).clock(ManualClock::new(0.0)).build();
    let left = |throttled: Throttled| async move { throttled.decision().remaining.to_string() };
    let maybe = |decision: Option<Throttled>| async move { decision.is_some().to_string() };
    let routes = || Router::new().route("/left", get(left)).route("/maybe", get(maybe));

    let sharing = ThrottleLayer::new(limiter()).share(true);
    let mut server = Server::start(routes().layer(sharing)).await;
    assert_eq!(text(server.get("/left").await).await, "4");
    assert_eq!(text(server.get("/maybe").await).await, "true");

    let mut server = Server::start(routes().layer(ThrottleLayer::new(limiter()))).await;
    let response = server.get("/left").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text(response).await.contains("share(true)"));
    assert_eq!(text(server.get("/maybe").await).await, "false");
}
