//! The frameworks, each on real connections.

use std::future::Future;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use actix_web::dev::{ServerHandle, Service as _};
use actix_web::{App, HttpMessage as _, HttpRequest, HttpResponse, HttpServer, web};
use axum::Router;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use throttlekit_axum::Axum;
use throttlekit_http::Door as _;
use throttlekit_tower::{Admitted, PeerAddr, Plain, Tower};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::client::{Client, Version};
use crate::setup::Setup;
use crate::site::{Broken, Parts, Reply, Site};
use crate::{keys, meters, sockets};

/// How long a busy machine may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A framework.
pub(crate) trait Framework {
    /// What its connections speak.
    const VERSION: Version;
    /// Whether a handler that fails leaves its request without a response.
    const FAILURES_ARE_SILENT: bool;
    /// Whether a server learns of a client that has gone away before it sends it something.
    const LISTENS: bool = true;
    /// Whether a response may have trailers, whatever its length.
    const HAS_TRAILERS: bool = false;

    /// Starts a server of `site` behind the limits of `setup`, which ends when `Self` is dropped.
    fn start(setup: &Setup, site: &Site) -> impl Future<Output = (Self, SocketAddr)>
    where
        Self: Sized;
}

/// A server, its limits and what it answers.
pub(crate) struct Server<F> {
    pub(crate) setup: Setup,
    pub(crate) site: Site,
    address: SocketAddr,
    _running: F,
}

impl<F: Framework> Server<F> {
    pub(crate) async fn start(setup: Setup) -> Self {
        let site = Site::default();
        let (running, address) = F::start(&setup, &site).await;
        Self { setup, site, address, _running: running }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address, F::VERSION).await
    }

    pub(crate) async fn client_from(&self, own: [u8; 4]) -> Client {
        Client::connect_from(own.into(), self.address, F::VERSION).await
    }

    /// Waits until so many slots are taken and so many came back as dropped: a server learns of the end of a response on
    /// its own time.
    pub(crate) async fn settles_at(&self, in_flight: u32, dropped: u64) {
        let reached = async {
            loop {
                let stats = self.setup.work();
                if (stats.in_flight, stats.dropped) == (in_flight, dropped) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let stats = || self.setup.work();
        let result = tokio::time::timeout(PATIENCE, reached).await;
        assert!(result.is_ok(), "{in_flight} in flight and {dropped} dropped, but {:?}", stats());
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// What a service of `http`'s types does before it is limited.
fn with_claims<B>(mut request: Request<B>) -> Request<B> {
    if let Some(claims) = keys::verified(request.headers()) {
        request.extensions_mut().insert(claims);
    }
    request
}

/// What a service of `http`'s types answers.
async fn answer(reply: Reply) -> Result<Response<Parts>, Broken> {
    let (status, body) = reply.outcome().await?;
    let told = body.told;
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    if let Some(length) = told {
        response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    }
    response.headers_mut().insert("x-custom", http::HeaderValue::from_static("yes"));
    Ok(response)
}

/// A tower service on hyper. The tasks end with it.
async fn tower(setup: &Setup, site: &Site, version: Version) -> (JoinSet<()>, SocketAddr) {
    let (listener, address) = listener().await;
    let site = site.clone();
    let layer = setup.layer::<Tower<Plain>>();
    let service = layer.layer(service_fn(move |request: Request<Incoming>| {
        let response = answer(site.reply(request.uri().path()));
        async move {
            if request.uri().path().ends_with("/debit") {
                let admitted = request.extensions().get::<Admitted>().expect("it is shared");
                return answer(Reply::Answer(meters::debit(admitted).await, Parts::none())).await;
            }
            if request.uri().path().ends_with("/settle") {
                let admitted = request.extensions().get::<Admitted>().expect("it is shared");
                meters::settle(admitted).await;
                return answer(Reply::Answer(200, Parts::none())).await;
            }
            if request.uri().path().ends_with("/refuse") {
                let admitted = request.extensions().get::<Admitted>().expect("it is shared");
                return Ok(match meters::refuse(admitted).await {
                    Ok(()) => Response::new(Parts::none()),
                    Err(refusal) => Tower::<Plain>::respond(refusal.answer()).map(|_| Parts::none()),
                });
            }
            // What frameworks do for their handlers: over HTTP/2 hyper would send the body.
            let head = request.method() == Method::HEAD;
            response.await.map(|response| response.map(|body| if head { Parts::none() } else { body }))
        }
    }));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, peer)) = listener.accept().await {
            let service = service.clone();
            let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(PeerAddr(peer));
                request = with_claims(request);
                service.clone().oneshot(request)
            });
            let io = TokioIo::new(stream);
            // A connection that breaks off is what some tests are about.
            connections.spawn(async move {
                match version {
                    Version::Http1 => {
                        drop(hyper::server::conn::http1::Builder::new().serve_connection(io, service).await);
                    }
                    Version::Http2 => {
                        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        drop(builder.serve_connection(io, service).await);
                    }
                }
            });
        }
    });
    (tasks, address)
}

pub(crate) struct TowerHttp1(#[allow(dead_code)] JoinSet<()>);

impl Framework for TowerHttp1 {
    const VERSION: Version = Version::Http1;
    const FAILURES_ARE_SILENT: bool = true;

    async fn start(setup: &Setup, site: &Site) -> (Self, SocketAddr) {
        let (tasks, address) = tower(setup, site, Self::VERSION).await;
        (Self(tasks), address)
    }
}

pub(crate) struct TowerHttp2(#[allow(dead_code)] JoinSet<()>);

impl Framework for TowerHttp2 {
    const VERSION: Version = Version::Http2;
    const FAILURES_ARE_SILENT: bool = true;
    const HAS_TRAILERS: bool = true;

    async fn start(setup: &Setup, site: &Site) -> (Self, SocketAddr) {
        let (tasks, address) = tower(setup, site, Self::VERSION).await;
        (Self(tasks), address)
    }
}

/// An axum router. It finds out by itself which HTTP is spoken.
async fn axum(setup: &Setup, site: &Site) -> (JoinSet<()>, SocketAddr) {
    let (listener, address) = listener().await;
    let site = site.clone();
    let handler = move |request: axum::extract::Request| async move {
        let response = answer(site.reply(request.uri().path())).await;
        // A handler's failure is a response there.
        response.map(|response| response.map(axum::body::Body::new)).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    };
    let app = Router::new()
        .route("/{rule}/socket", axum::routing::any(sockets::on_axum))
        .route("/{rule}/debit", axum::routing::get(meters::on_axum))
        .route("/{rule}/refuse", axum::routing::get(meters::refuse_on_axum))
        .route("/{rule}/settle", axum::routing::get(meters::settle_on_axum))
        .fallback(handler)
        .layer(setup.layer::<Tower<Axum>>())
        .layer(axum::middleware::map_request(async |request: axum::extract::Request| with_claims(request)));
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, service).await.expect("it serves") });
    (tasks, address)
}

pub(crate) struct AxumHttp1(#[allow(dead_code)] JoinSet<()>);

impl Framework for AxumHttp1 {
    const VERSION: Version = Version::Http1;
    const FAILURES_ARE_SILENT: bool = false;

    async fn start(setup: &Setup, site: &Site) -> (Self, SocketAddr) {
        let (tasks, address) = axum(setup, site).await;
        (Self(tasks), address)
    }
}

pub(crate) struct AxumHttp2(#[allow(dead_code)] JoinSet<()>);

impl Framework for AxumHttp2 {
    const VERSION: Version = Version::Http2;
    const FAILURES_ARE_SILENT: bool = false;
    const HAS_TRAILERS: bool = true;

    async fn start(setup: &Setup, site: &Site) -> (Self, SocketAddr) {
        let (tasks, address) = axum(setup, site).await;
        (Self(tasks), address)
    }
}

/// A server of actix-web that runs until this is dropped.
struct Actix(ServerHandle);

impl Actix {
    async fn start(setup: &Setup, site: &Site, version: Version) -> (Self, SocketAddr) {
        let site = site.clone();
        let throttle = setup.layer::<throttlekit_actix::Actix>();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (sender, started) = tokio::sync::oneshot::channel();
        // It wants a runtime of its own kind; the thread ends when it is stopped.
        thread::spawn(move || {
            let server = HttpServer::new(move || {
                let site = site.clone();
                let handler = move |request: HttpRequest| reply(site.reply(request.path()));
                App::new()
                    .wrap(throttle.clone())
                    .wrap_fn(|request, next| {
                        let user = request.headers().get("x-user").and_then(|user| user.to_str().ok());
                        if let Some(claims) = keys::verified_user(user) {
                            request.extensions_mut().insert(claims);
                        }
                        next.call(request)
                    })
                    .route("/{rule}/socket", web::get().to(sockets::on_actix))
                    .route("/{rule}/debit", web::get().to(meters::on_actix))
                    .route("/{rule}/refuse", web::get().to(meters::refuse_on_actix))
                    .route("/{rule}/settle", web::get().to(meters::settle_on_actix))
                    .default_service(web::to(handler))
            });
            // Otherwise it works on for clients that have gone away.
            let server = server.workers(2).h1_allow_half_closed(false).disable_signals();
            actix_web::rt::System::new().block_on(async move {
                let server = match version {
                    Version::Http1 => server.listen(listener),
                    Version::Http2 => server.listen_auto_h2c(listener),
                };
                let server = server.expect("it listens").run();
                drop(sender.send(server.handle()));
                server.await.expect("it serves");
            });
        });
        (Self(started.await.expect("it runs")), address)
    }
}

impl Drop for Actix {
    fn drop(&mut self) {
        // The command is sent at once; nobody waits for its effect.
        drop(self.0.stop(false));
    }
}

pub(crate) struct ActixHttp1(#[allow(dead_code)] Actix);

impl Framework for ActixHttp1 {
    const VERSION: Version = Version::Http1;
    const FAILURES_ARE_SILENT: bool = false;

    async fn start(setup: &Setup, site: &Site) -> (Self, SocketAddr) {
        let (running, address) = Actix::start(setup, site, Self::VERSION).await;
        (Self(running), address)
    }
}

pub(crate) struct ActixHttp2(#[allow(dead_code)] Actix);

impl Framework for ActixHttp2 {
    const VERSION: Version = Version::Http2;
    const FAILURES_ARE_SILENT: bool = false;
    const LISTENS: bool = false;

    async fn start(setup: &Setup, site: &Site) -> (Self, SocketAddr) {
        let (running, address) = Actix::start(setup, site, Self::VERSION).await;
        (Self(running), address)
    }
}

/// What a handler of actix-web answers.
async fn reply(reply: Reply) -> Result<HttpResponse<Parts>, Broken> {
    let (status, body) = reply.outcome().await?;
    let status = actix_web::http::StatusCode::from_u16(status).expect("a status");
    let mut builder = HttpResponse::build(status);
    if let Some(length) = body.told {
        builder.no_chunking(length);
    }
    let mut response = builder.message_body(body).expect("a response");
    response.headers_mut().insert(
        actix_web::http::header::HeaderName::from_static("x-custom"),
        actix_web::http::header::HeaderValue::from_static("yes"),
    );
    Ok(response)
}
