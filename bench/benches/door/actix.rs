//! actix-web: the same service bare and behind this project's middleware.
//!
//! Its usual rival, `actix-governor`, is under the GPL, which the rules for dependencies exclude.

use std::error::Error as StdError;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform as _};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::test::TestRequest;
use actix_web::{Error, HttpResponse};
use bench::rival::{Limit, SHOWN_COST, gcra, shown};
use throttlekit::headers::{HeaderFamily, HeaderSet};
use throttlekit::{Admit, Limiter, SystemClock};
use throttlekit_actix::Throttle;

use crate::slots::{self, Slots};
use crate::stacks::Stack;

const BARE: &str = "actix bare";

/// Fields that are there already: what nobody who writes three can go below.
const FIELDS: [(HeaderName, HeaderValue); 3] = [
    (HeaderName::from_static("ratelimit-limit"), HeaderValue::from_static("5000")),
    (HeaderName::from_static("ratelimit-remaining"), HeaderValue::from_static("4999")),
    (HeaderName::from_static("ratelimit-reset"), HeaderValue::from_static("1")),
];

/// The service that the middleware protects: a short answer, at once, with or without three fields. It is not empty, so that
/// a slot goes along with the body.
struct Bare {
    fields: bool,
}

impl Service<ServiceRequest> for Bare {
    type Response = ServiceResponse<&'static str>;
    type Error = Error;
    type Future = Ready<Result<Self::Response, Error>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let mut response = HttpResponse::with_body(StatusCode::OK, "hello");
        if self.fields {
            for (name, value) in FIELDS {
                response.headers_mut().insert(name, value);
            }
        }
        ready(Ok(request.into_response(response)))
    }
}

/// Sends a request through `service` and reads the answer to its end. The request is used again for the next one, as
/// actix-web's pool does.
fn door<S, B>(name: &'static str, service: S) -> Stack
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>> + 'static,
    B: MessageBody,
{
    let peer = SocketAddr::from(([192, 0, 2, 7], 4711));
    let mut next = Some(TestRequest::default().peer_addr(peer).to_http_request());
    let door = move |_: &mut _| {
        let Some(request) = next.take() else { return false };
        let mut cx = Context::from_waker(Waker::noop());
        let _ = service.poll_ready(&mut cx);
        let future = pin!(service.call(ServiceRequest::from_request(request)));
        let Poll::Ready(Ok(response)) = future.poll(&mut cx) else { return false };
        let (request, response) = response.into_parts();
        next = Some(request);
        let admitted = response.status() == StatusCode::OK;
        let (head, body) = response.into_parts();
        let mut body = pin!(body);
        while let Poll::Ready(Some(_)) = body.as_mut().poll_next(&mut cx) {}
        std::hint::black_box(head);
        admitted
    };
    Stack { name, bare: BARE, door: Box::new(door) }
}

/// The bare service, and this project's middleware without and with header fields, and with a slot that the body holds.
///
/// # Errors
///
/// If a limit is refused.
pub(crate) fn all() -> Result<Vec<Stack>, Box<dyn StdError>> {
    let headers =
        Throttle::builder(shown(SystemClock::new())?).cost(SHOWN_COST).headers(HeaderFamily::Draft).build()?;
    Ok(vec![
        door(BARE, Bare { fields: false }),
        door("actix bare, three fields", Bare { fields: true }),
        door("actix ThrottleKit", behind(&ours()?)?),
        door("actix ThrottleKit, headers", behind(&headers)?),
        door("actix ThrottleKit, slots", behind(&holding(Slots::along()?)?)?),
        door("actix ThrottleKit, slots back before", behind(&holding(Slots::before()?)?)?),
        door("actix ThrottleKit, rate and slot", behind(&holding(slots::with_rate()?)?)?),
    ])
}

fn ours() -> Result<Throttle, Box<dyn StdError>> {
    let limiter = Limiter::builder(gcra(Limit::GENEROUS)?).clock(SystemClock::new()).build();
    Ok(Throttle::builder(limiter).headers(HeaderSet::EMPTY).build()?)
}

fn holding(admit: impl Admit) -> Result<Throttle, Box<dyn StdError>> {
    Ok(Throttle::builder_for(admit, SystemClock::new()).headers(HeaderSet::EMPTY).build()?)
}

/// The middleware around [`Bare`].
fn behind(throttle: &Throttle) -> Result<throttlekit_actix::ThrottleMiddleware<Bare>, Box<dyn StdError>> {
    let made = throttle.new_transform(Bare { fields: false }).into_inner();
    made.map_err(|()| "the middleware cannot be made".into())
}
