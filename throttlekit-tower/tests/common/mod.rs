//! Services, limiters and requests that the tests share.
#![allow(dead_code)] // each test file uses a part

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use throttlekit::{Admission, Admit, Ask, Decision, DynLimiter, Error, Gcra, Limiter, ManualClock, Run};
use throttlekit_tower::PeerAddr;
use throttlekit_tower::{ResponseBody, Throttle, ThrottleLayer};
use tower::{Layer as _, Service, ServiceExt as _};

/// Answers `hello` and counts its calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hello {
    calls: Arc<AtomicUsize>,
}

impl Hello {
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl<B> Service<Request<B>> for Hello {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<B>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let response = Response::builder().status(201).header("x-custom", "yes").body(Full::from("hello"));
        std::future::ready(Ok(response.expect("a good response")))
    }
}

/// `limit` per second with a burst as large, at time 0.
pub(crate) fn gcra(limit: f64) -> impl DynLimiter {
    Limiter::builder(Gcra::builder().limit(limit).period_ms(1_000.0).build().expect("good options"))
        .clock(ManualClock::default())
        .build()
}

/// A request from a peer.
pub(crate) fn from_peer(peer: &str) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(PeerAddr(peer.parse().expect("an address")));
    request
}

/// A request from the peer that most tests use.
pub(crate) fn request() -> Request<()> {
    from_peer("203.0.113.5:41000")
}

/// Sends `request` through a fresh clone of `service`.
pub(crate) async fn send<S, B>(service: &S, request: Request<()>) -> Response<B>
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
{
    match service.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The body as text.
pub(crate) async fn text<B>(response: Response<ResponseBody<B>>) -> String
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The header field as text; empty if it is not there.
pub(crate) fn field<'a, B>(response: &'a Response<B>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

type Answer = Run<Result<Admission, Error>>;

/// Answers what it was given, in order; counts how often it was asked, and under which keys and costs.
#[derive(Clone, Default)]
pub(crate) struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<(String, f64)>>>,
}

impl Script {
    pub(crate) fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), asked: Arc::default() }
    }

    pub(crate) fn failing(error: fn() -> Error) -> Self {
        Self::new((0..8).map(|_| Run::ready(Err(error()))))
    }

    pub(crate) fn asked(&self) -> Vec<(String, f64)> {
        self.asked.lock().expect("no panic").clone()
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.asked().into_iter().map(|(key, _)| key).collect()
    }
}

impl Admit for Script {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        self.asked.lock().expect("no panic").push((ask.key.to_owned(), ask.cost));
        let answer = self.answers.lock().expect("no panic").pop_front();
        answer.unwrap_or_else(|| Run::ready(Ok(Admission::rate(ALLOWED))))
    }
}

pub(crate) const ALLOWED: Decision =
    Decision { allowed: true, limit: 100, remaining: 50, reset_at_ms: 30_000, retry_after_ms: 0 };
pub(crate) const DENIED: Decision =
    Decision { allowed: false, limit: 100, remaining: 0, reset_at_ms: 30_000, retry_after_ms: 2_400 };

/// A layer over a script, at time 0.
pub(crate) fn scripted(script: &Script) -> ThrottleLayer {
    ThrottleLayer::builder_for(script.clone(), ManualClock::default()).build().expect("good options")
}

/// A layer around [`Hello`].
pub(crate) fn around(layer: &ThrottleLayer) -> (Throttle<Hello>, Hello) {
    let hello = Hello::default();
    (layer.layer(hello.clone()), hello)
}
