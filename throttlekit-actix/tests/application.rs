//! The middleware in applications.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use actix_web::dev::{Service as _, ServiceRequest};
use actix_web::middleware::{Compat, Compress, Condition, DefaultHeaders, Logger, NormalizePath};
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, HttpResponse, HttpServer, ResponseError as _, web};
use common::{ALLOWED, DENIED, Ledger, asking, field, get, text};
use throttlekit::{Admission, DynLimiter, Error, FailMode, Gcra, Limiter, ManualClock, Outcome, Run};
use throttlekit_actix::{Refusal, Rejection, Throttle, Throttled};

async fn hello() -> HttpResponse {
    HttpResponse::Created().insert_header(("x-custom", "yes")).body("hello")
}

/// `limit` per second with a burst as large, at time 0.
fn gcra(limit: u32) -> impl DynLimiter {
    Limiter::builder(Gcra::per_second(limit).expect("a rate")).clock(ManualClock::default()).build()
}

#[actix_web::test]
async fn requests_pass_until_their_peer_reaches_its_limit() {
    let app = init_service(App::new().wrap(Throttle::new(gcra(2))).route("/", web::get().to(hello))).await;
    let response = call_service(&app, get("/").to_request()).await;
    assert_eq!((response.status().as_u16(), field(&response, "x-custom")), (201, "yes"));
    let fields = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"];
    assert_eq!(fields.map(|name| field(&response, name)), ["2", "1", "1", ""]);
    assert_eq!(text(response).await, "hello");

    call_service(&app, get("/").to_request()).await;
    let response = call_service(&app, get("/").to_request()).await;
    assert_eq!(response.status(), 429);
    assert_eq!(fields.map(|name| field(&response, name)), ["2", "0", "1", "1"]);
    assert_eq!(field(&response, "content-type"), "application/json");
    assert_eq!(text(response).await, r#"{"error":"Too Many Requests","retryAfterMs":500}"#);

    let other = get("/").peer_addr(([203, 0, 113, 6], 41_000).into()).to_request();
    assert_eq!(call_service(&app, other).await.status(), 201);
}

#[actix_web::test]
async fn scopes_and_resources_are_wrapped_too() {
    let throttle = Throttle::new(gcra(1));
    let app = App::new()
        .service(web::scope("/scope").wrap(throttle.clone()).route("/a", web::get().to(hello)))
        .service(web::resource("/resource").wrap(throttle).route(web::get().to(hello)))
        .route("/free", web::get().to(hello));
    let app = init_service(app).await;
    assert_eq!(call_service(&app, get("/scope/a").to_request()).await.status(), 201);
    assert_eq!(call_service(&app, get("/resource").to_request()).await.status(), 429, "clones count together");
    assert_eq!(call_service(&app, get("/free").to_request()).await.status(), 201);
}

#[cfg(feature = "config")]
#[actix_web::test]
async fn rules_of_a_file_name_whole_paths() {
    let rules = "
limiters:
  api: { strategy: gcra, limit: 1, period: 1s }
http:
  rules:
    - { path: '/api/{*rest}', policy: api }
";
    let policies = throttlekit::policy::Policies::from_yaml(rules).expect("a good text");
    let throttle = Throttle::from_config(&policies).expect("rules");
    let app = App::new().service(web::scope("/api").wrap(throttle).route("/hello", web::get().to(hello)));
    let app = init_service(app).await;
    assert_eq!(call_service(&app, get("/api/hello").to_request()).await.status(), 201);
    assert_eq!(call_service(&app, get("/api/hello").to_request()).await.status(), 429);
}

#[actix_web::test]
async fn the_middleware_fits_between_others() {
    let ledger = Ledger::default();
    let app = App::new()
        .wrap(DefaultHeaders::new().add(("x-inside", "yes")))
        .wrap(ledger.throttle())
        .wrap(Compat::new(ledger.throttle()))
        .wrap(NormalizePath::trim())
        .wrap(Logger::default())
        .route("/", web::get().to(hello));
    let app = init_service(app).await;
    let response = call_service(&app, get("/").to_request()).await;
    assert_eq!((field(&response, "x-inside"), field(&response, "ratelimit-remaining")), ("yes", "50"));
    assert!(ledger.outcomes().is_empty(), "both hold their slots until the body is taken");
    assert_eq!(text(response).await, "hello");
    assert_eq!(ledger.outcomes(), [Outcome::Completed; 2]);
}

#[actix_web::test]
async fn compressed_responses_hold_their_slot_too() {
    async fn long() -> String {
        "hello ".repeat(1_000)
    }
    for outside in [true, false] {
        let ledger = Ledger::default();
        let compress = |on| Condition::new(on, Compress::default());
        let app = App::new().wrap(compress(!outside)).wrap(ledger.throttle()).wrap(compress(outside));
        let app = init_service(app.route("/", web::get().to(long))).await;
        let request = get("/").insert_header(("accept-encoding", "gzip")).to_request();
        let response = call_service(&app, request).await;
        assert_eq!((field(&response, "content-encoding"), field(&response, "ratelimit-remaining")), ("gzip", "50"));
        assert!(ledger.outcomes().is_empty(), "nobody has read the body");
        let bytes = actix_web::body::to_bytes(response.into_body()).await.expect("a whole body");
        assert!((20..1_000).contains(&bytes.len()), "{} bytes", bytes.len());
        assert_eq!(ledger.outcomes(), [Outcome::Completed]);
    }
}

#[actix_web::test]
async fn handlers_can_see_the_decision() {
    async fn left(throttled: Throttled) -> String {
        throttled.decision().remaining.to_string()
    }
    async fn maybe(decision: Option<Throttled>) -> String {
        decision.is_some().to_string()
    }
    let app = |share| {
        App::new()
            .wrap(Throttle::new(gcra(5)).share(share))
            .route("/left", web::get().to(left))
            .route("/maybe", web::get().to(maybe))
    };
    let sharing = init_service(app(true)).await;
    assert_eq!(text(call_service(&sharing, get("/left").to_request()).await).await, "4");
    assert_eq!(text(call_service(&sharing, get("/maybe").to_request()).await).await, "true");

    let silent = init_service(app(false)).await;
    let response = call_service(&silent, get("/left").to_request()).await;
    assert_eq!(response.status(), 500);
    assert!(text(response).await.contains("share(true)"));
    assert_eq!(text(call_service(&silent, get("/maybe").to_request()).await).await, "false");
}

#[actix_web::test]
async fn a_handler_refuses_as_the_middleware_does() {
    async fn count(throttled: Throttled) -> Result<&'static str, Refusal> {
        let meter = throttled.meter("units").expect("its limit");
        meter.debit(2.0).await?.into_result()?;
        // No cost at all is a mistake of the program.
        meter.debit(0.0).await?;
        Ok("counted")
    }
    let throttle = Throttle::builder(gcra(4)).policy_name("units").build().expect("good options").share(true);
    let app = init_service(App::new().wrap(throttle).route("/", web::get().to(count))).await;
    let failed = call_service(&app, get("/").to_request()).await;
    assert_eq!(failed.status(), 500);
    assert_eq!(text(failed).await, r#"{"error":"rate limiter error","code":"invalid_argument"}"#);
    // The handler wants two of none, and then the door wants one of none.
    for wait in [500, 250] {
        let refused = call_service(&app, get("/").to_request()).await;
        assert_eq!((refused.status().as_u16(), field(&refused, "retry-after")), (429, "1"));
        assert_eq!(field(&refused, "content-type"), "application/json");
        assert_eq!(text(refused).await, format!(r#"{{"error":"Too Many Requests","retryAfterMs":{wait}}}"#));
    }
    let out = Refusal::from(Error::store_unavailable("gone"));
    assert_eq!(out.error_response().status(), 503);
}

#[actix_web::test]
async fn rejections_can_be_made_by_the_application() {
    let denied = || asking(|| Run::ready(Ok(Admission::rate(DENIED))));
    let throttle = denied().reject(|rejection: &Rejection<'_>| {
        HttpResponse::build(actix_web::http::StatusCode::IM_A_TEAPOT)
            .insert_header(("ratelimit-limit", "mine"))
            .body(rejection.status().to_string())
    });
    let app = init_service(App::new().wrap(throttle).route("/", web::get().to(hello))).await;
    let response = call_service(&app, get("/").to_request()).await;
    assert_eq!(response.status(), 418);
    assert_eq!((field(&response, "ratelimit-limit"), field(&response, "retry-after")), ("mine", "3"));
    assert_eq!(text(response).await, "429");

    let throttle = denied().reject(|_: &Rejection<'_>| panic!("a bug"));
    let app = init_service(App::new().wrap(throttle).route("/", web::get().to(hello))).await;
    assert_eq!(call_service(&app, get("/").to_request()).await.status(), 429);
}

#[actix_web::test]
async fn a_store_is_waited_for() {
    let (answer, waiting) = tokio::sync::oneshot::channel::<Admission>();
    let waiting = std::sync::Mutex::new(Some(waiting));
    let throttle = asking(move || {
        let waiting = waiting.lock().expect("no panic").take().expect("asked once");
        Run::wait(async move { waiting.await.map_err(|_| Error::store_unavailable("gone")) })
    });
    let app = init_service(App::new().wrap(throttle.share(true)).route("/", web::get().to(hello))).await;
    let mut call = std::pin::pin!(app.call(get("/").to_request()));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    answer.send(Admission::rate(ALLOWED)).expect("it is waited for");
    let response = call.await.expect("a response");
    assert_eq!((response.status().as_u16(), field(&response, "ratelimit-remaining")), (201, "50"));
}

#[actix_web::test]
async fn a_store_that_fails_is_a_matter_of_the_fail_mode() {
    struct Out;
    impl throttlekit::Admit for Out {
        fn admit(&self, _: &throttlekit::Ask<'_>) -> Run<Result<Admission, Error>> {
            Run::wait(async { Err(Error::store_unavailable("it is out")) })
        }
    }
    for (mode, status) in [(FailMode::Open, 201), (FailMode::Closed, 503)] {
        let throttle =
            Throttle::builder_for(Out, ManualClock::default()).fail_mode(mode).build().expect("good options");
        let app = init_service(App::new().wrap(throttle).route("/", web::get().to(hello))).await;
        let response = call_service(&app, get("/").to_request()).await;
        assert_eq!((response.status().as_u16(), field(&response, "ratelimit-limit")), (status, ""));
    }
}

#[actix_web::test]
async fn a_server_that_reads_the_proxy_protocol_says_who_the_peer_is() {
    // What the connection said of its client, put where actix-web looks for the peer.
    let say = |mut request: ServiceRequest, client: &str| {
        request.head_mut().peer_addr = Some(client.parse().expect("an address"));
        request
    };
    let app = App::new().wrap(Throttle::new(gcra(1))).route("/", web::get().to(hello)).wrap_fn(move |request, next| {
        let client = request.headers().get("x-of-the-connection").expect("a client").to_str().expect("text").to_owned();
        next.call(say(request, &client))
    });
    let app = init_service(app).await;
    for (client, status) in [("198.51.100.1:1", 201), ("198.51.100.1:2", 429), ("198.51.100.2:1", 201)] {
        let request = get("/").insert_header(("x-of-the-connection", client)).to_request();
        assert_eq!(call_service(&app, request).await.status(), status, "{client}");
    }
}

#[actix_web::test]
async fn an_unknown_peer_is_reported_once() {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let throttle = Throttle::new(gcra(2)).on_error(move |failure| {
        let text = failure.error.to_string();
        assert!(text.contains("Unix socket") && !text.contains("into_make_service"), "{text}");
        count.fetch_add(1, Ordering::SeqCst);
    });
    let app = init_service(App::new().wrap(throttle).route("/", web::get().to(hello))).await;
    for status in [201, 201, 429] {
        let nobody = TestRequest::with_uri("/").to_request();
        assert_eq!(call_service(&app, nobody).await.status(), status);
    }
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

fn ask(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("it is read");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a whole response");
    response
}

#[actix_web::test]
async fn all_workers_count_together() {
    const WORKERS: usize = 3;
    let made = Arc::new(AtomicUsize::new(0));
    let throttle = Throttle::new(gcra(4));
    let counted = Arc::clone(&made);
    let server = HttpServer::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        App::new().wrap(throttle.clone()).route("/", web::get().to(hello))
    })
    .workers(WORKERS)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .expect("a free port");
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    let running = actix_web::rt::spawn(server);

    // A connection each, which the server deals out to its workers in turns.
    let client = std::thread::spawn(move || (0..2 * WORKERS).map(|_| ask(address)).collect::<Vec<_>>());
    let responses = tokio::task::spawn_blocking(|| client.join()).await.expect("it ends").expect("no panic");
    let admitted = responses.iter().filter(|response| response.starts_with("HTTP/1.1 201")).count();
    let denied = responses.iter().filter(|response| response.starts_with("HTTP/1.1 429")).count();
    assert_eq!((admitted, denied), (4, 2));
    assert!(made.load(Ordering::SeqCst) >= WORKERS);
    handle.stop(false).await;
    running.await.expect("it ends").expect("it served");
}
