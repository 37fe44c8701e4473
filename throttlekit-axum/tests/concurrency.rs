//! Work in flight, limited by a file, on a real server over loopback.
#![cfg(feature = "config")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use throttlekit::GuardStats;
use throttlekit::policy::Policies;
use throttlekit_axum::ThrottleLayer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// For what takes a moment.
const PATIENCE: Duration = Duration::from_secs(60);

const TEXT: &str = "
limiters:
  work: { concurrency: { limit: 2 } }
http:
  rules:
    - { path: '/{*rest}', policy: work }
";

/// What a handler sends next: a part of the body, or its failure. The end when there is no sender any more.
type Parts = mpsc::UnboundedReceiver<Result<&'static str, &'static str>>;

struct Streamed(Parts);

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let part = std::task::ready!(self.0.poll_recv(cx));
        Poll::Ready(part.map(|part| part.map(|text| Frame::data(Bytes::from_static(text.as_bytes())))))
    }
}

struct Server {
    address: SocketAddr,
    policies: Policies,
    /// The bodies of the responses to come, in the order of the requests.
    bodies: mpsc::UnboundedSender<Parts>,
    tasks: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let policies = Policies::from_yaml(TEXT).expect("a good text");
        let (bodies, waiting) = mpsc::unbounded_channel::<Parts>();
        let waiting = std::sync::Arc::new(tokio::sync::Mutex::new(waiting));
        let stream = move || async move {
            let parts = waiting.lock().await.recv().await.expect("a body for each request");
            Ok::<_, Infallible>(Body::new(Streamed(parts)))
        };
        let app = Router::new()
            .route("/stream", get(stream))
            .route("/short", get(|| async { "short" }))
            .route("/fails", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
            .layer(ThrottleLayer::from_config(&policies).expect("rules"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { address, policies, bodies, tasks }
    }

    /// Lets the next request stream what is sent here.
    fn body(&self) -> mpsc::UnboundedSender<Result<&'static str, &'static str>> {
        let (sender, parts) = mpsc::unbounded_channel();
        self.bodies.send(parts).expect("the server runs");
        sender
    }

    async fn connect(&mut self) -> SendRequest<Empty<Bytes>> {
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("a handshake");
        // One that is dropped, or that the server breaks off, ends with an error.
        self.tasks.spawn(async move { drop(connection.await) });
        sender
    }

    /// One request on a connection of its own, which ends with the response.
    async fn get(&mut self, path: &str) -> Response<Incoming> {
        send(&mut self.connect().await, path).await
    }

    fn stats(&self) -> GuardStats {
        self.policies.get("work").and_then(|policy| policy.guard_stats()).expect("a guard")
    }

    /// Waits until so many requests are in flight: the server learns of the end of a response on its own time.
    async fn settles_at(&self, in_flight: u32) {
        let reached = async {
            while self.stats().in_flight != in_flight {
                tokio::task::yield_now().await;
            }
        };
        let result = tokio::time::timeout(PATIENCE, reached).await;
        assert!(result.is_ok(), "{in_flight} should be in flight, but {:?}", self.stats());
    }
}

async fn send(sender: &mut SendRequest<Empty<Bytes>>, path: &str) -> Response<Incoming> {
    let request = Request::builder().uri(path).header("host", "localhost").body(Empty::new()).expect("a request");
    sender.send_request(request).await.expect("a response")
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.expect("a body").to_bytes().to_vec()).expect("text")
}

#[tokio::test]
async fn a_response_holds_its_slot_until_its_body_has_ended() {
    let mut server = Server::start().await;
    let (one, other) = (server.body(), server.body());
    let first = server.get("/stream").await;
    let second = server.get("/stream").await;
    assert_eq!((first.status(), server.stats().in_flight), (StatusCode::OK, 2));

    let denied = server.get("/short").await;
    assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(denied.headers()["ratelimit-limit"], "2");
    assert!(denied.headers().contains_key("retry-after"));

    one.send(Ok("a")).expect("it is read");
    one.send(Ok("b")).expect("it is read");
    drop(one);
    assert_eq!(text(first).await, "ab");
    server.settles_at(1).await;
    assert_eq!(text(server.get("/short").await).await, "short");
    server.settles_at(1).await;
    drop(other);
    assert_eq!(text(second).await, "");
    server.settles_at(0).await;
    assert_eq!(server.stats().dropped, 0);
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_slot() {
    let mut server = Server::start().await;
    let body = server.body();
    let mut connection = server.connect().await;
    let response = send(&mut connection, "/stream").await;
    assert_eq!(server.stats().in_flight, 1);
    drop((response, connection));
    server.tasks.abort_all();
    // The tasks of the connections end; that of the server too, with the connections that it has taken.
    while server.tasks.join_next().await.is_some() {}
    server.settles_at(0).await;
    assert_eq!(server.stats().dropped, 1);
    drop(body);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_work_that_was_cut_off() {
    let mut server = Server::start().await;
    let body = server.body();
    let response = server.get("/stream").await;
    body.send(Ok("a")).expect("it is read");
    body.send(Err("broken")).expect("it is read");
    assert!(response.into_body().collect().await.is_err());
    server.settles_at(0).await;
    assert_eq!(server.stats().dropped, 1);
}

#[tokio::test]
async fn an_error_that_is_answered_is_work_that_was_done() {
    let mut server = Server::start().await;
    for _ in 0..5 {
        assert_eq!(server.get("/fails").await.status(), StatusCode::INTERNAL_SERVER_ERROR);
        server.settles_at(0).await;
    }
    assert_eq!(server.stats().dropped, 0);
}

#[tokio::test]
async fn a_reload_leaves_what_is_in_flight() {
    let mut server = Server::start().await;
    let body = server.body();
    let response = server.get("/stream").await;
    let text_with_more = TEXT.replace("limiters:", "limiters:\n  other: { strategy: gcra, limit: 1, period: 1s }");
    server.policies.reload(&text_with_more).expect("a good text");
    assert_eq!(server.stats().in_flight, 1);
    let other = server.body();
    let held = server.get("/stream").await;
    assert_eq!(server.get("/short").await.status(), StatusCode::TOO_MANY_REQUESTS);
    drop((body, other));
    assert_eq!((text(response).await, text(held).await), (String::new(), String::new()));
    server.settles_at(0).await;
}
