//! The middleware's factory.

use std::future::{Ready, ready};

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use throttlekit::{Admit, Clock, DynLimiter};
use throttlekit_http::Limits;

use crate::body::ResponseBody;
use crate::door::Actix;
use crate::middleware::ThrottleMiddleware;
use crate::request::RequestHead;
use crate::{Failure, Limited, ThrottleBuilder};

/// Puts limits in front of an application, a scope or a resource.
///
/// Everything is shared: a `Throttle` and all its clones count together. The closure that `HttpServer::new` takes runs once
/// for each worker, so make the `Throttle` before it and clone it in it. One that is made within the closure makes each
/// worker count for itself.
///
/// # Examples
///
/// One limit for each peer:
///
/// ```
/// use actix_web::test::{TestRequest, call_service, init_service};
/// use actix_web::{App, web};
/// use throttlekit::{Gcra, Limiter};
/// use throttlekit_actix::Throttle;
///
/// # actix_web::rt::System::new().block_on(async {
/// let throttle = Throttle::new(Limiter::new(Gcra::per_minute(1)?));
/// let app = App::new().wrap(throttle.clone()).route("/", web::get().to(|| async { "hello" }));
///
/// let app = init_service(app).await;
/// let request = || TestRequest::get().peer_addr(([203, 0, 113, 5], 41_000).into()).to_request();
/// let allowed = call_service(&app, request()).await;
/// assert_eq!(allowed.headers().get("ratelimit-remaining").unwrap(), "0");
/// let denied = call_service(&app, request()).await;
/// assert_eq!(denied.status(), 429);
/// assert!(denied.headers().contains_key("retry-after"));
/// # Ok::<(), throttlekit::BuildError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Throttle {
    shared: Limits<Actix>,
}

impl Throttle {
    /// Limits every request by `limiter`: one unit under the peer's address, draft header fields, fail mode open.
    pub fn new(limiter: impl DynLimiter) -> Self {
        Limits::new(limiter).into()
    }

    /// Limits every request by `limiter`, with other options than [`new`](Self::new). The policy is called as the
    /// strategy is, and its window is shown, unless the builder is told otherwise.
    ///
    /// ```
    /// use throttlekit::headers::HeaderFamily;
    /// use throttlekit::{FailMode, Gcra, Limiter, MissingKey};
    /// use throttlekit_actix::Throttle;
    /// use throttlekit_actix::key::{ApiKey, KeyHasher};
    ///
    /// // Of the program's configuration.
    /// let hasher = KeyHasher::new("2026-11", "16 bytes or more")?;
    /// let throttle = Throttle::builder(Limiter::new(Gcra::per_second(100)?))
    ///     .policy_name("uploads")
    ///     .key(ApiKey::header("x-api-key", hasher)?)
    ///     .missing_key(MissingKey::Reject)
    ///     .cost_fn(|request| if request.method() == actix_web::http::Method::POST { 10.0 } else { 1.0 })
    ///     .fail_mode(FailMode::Closed)
    ///     .headers(HeaderFamily::Structured)
    ///     .build()?;
    /// # let _ = throttle;
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    pub fn builder(limiter: impl DynLimiter) -> ThrottleBuilder {
        Limits::builder(limiter)
    }

    /// Limits every request by anything that admits, such as a guard of concurrency. `clock` is the one that it decides
    /// by; header fields tell spans from it. The policy is called `unified` if it joins axes,
    /// `adaptive` if it is a guard, otherwise `default`, unless it is
    /// [named](ThrottleBuilder::policy_name).
    ///
    /// ```
    /// use throttlekit::{Guard, SystemClock};
    /// use throttlekit_actix::Throttle;
    ///
    /// // 50 requests at a time, each until its response has been taken to the end.
    /// let throttle = Throttle::builder_for(Guard::fixed(50)?, SystemClock::new()).build()?;
    /// # let _ = throttle;
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    ///
    /// Several limits that are all charged, or none, and that the client is told of by name:
    ///
    /// ```
    /// use throttlekit::headers::HeaderFamily;
    /// use throttlekit::{FixedWindow, Gcra, Limiter, Multi, SystemClock};
    /// use throttlekit_actix::Throttle;
    ///
    /// let minute = Limiter::new(Gcra::per_minute(60)?);
    /// let day = Limiter::new(FixedWindow::builder().limit(1_000.0).window_ms(86_400_000.0).build()?);
    /// let both = Multi::all().limiter("minute", &minute, 1.0).limiter("day", &day, 1.0).keep_each(true).build()?;
    /// let throttle = Throttle::builder_for(both, SystemClock::new())
    ///     .limit("minute", minute)
    ///     .limit("day", day)
    ///     .headers(HeaderFamily::Structured)
    ///     .build()?;
    /// # let _ = throttle;
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    pub fn builder_for(admit: impl Admit, clock: impl Clock) -> ThrottleBuilder {
        Limits::builder_for(admit, clock)
    }

    /// Limits requests by the rules of a configuration's `http` section.
    ///
    /// The most specific rule that covers path and method counts; a request without one is not limited. Several policies
    /// of one rule are admitted together: all are charged, or none. The structured header fields list them all, the others
    /// show the one that is [binding](throttlekit::headers::binding). A reload of `policies` takes effect with the next
    /// request; asking whether there was one costs an atomic read.
    ///
    /// The path is the whole one, also within a scope, however its letters are percent-encoded.
    ///
    /// # Errors
    ///
    /// `http.rules` if there is no rule: nothing would be limited.
    ///
    /// # Examples
    ///
    /// ```
    /// use throttlekit::policy::Policies;
    /// use throttlekit_actix::Throttle;
    ///
    /// let policies = Policies::from_yaml("
    /// limiters:
    ///   api: { strategy: gcra, limit: 100, period: 1m, burst: 20 }
    /// http:
    ///   rules:
    ///     - { path: '/api/{*rest}', policy: api, key: { header: x-tenant }, missing: reject }
    /// ")?;
    /// let throttle = Throttle::from_config(&policies)?;
    /// # let _ = throttle;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "config")]
    #[cfg_attr(docsrs, doc(cfg(feature = "config")))]
    pub fn from_config(policies: &throttlekit::policy::Policies) -> Result<Self, throttlekit::BuildError> {
        Limits::from_config(policies).map(Self::from)
    }

    throttlekit_http::options_of_limits! {
        Actix, head: RequestHead<'_>, limited: Limited<'_>, failure: Failure<'_>;
        ///
        /// ```
        /// use actix_web::HttpResponse;
        /// use throttlekit::{Gcra, Limiter};
        /// use throttlekit_actix::{Rejection, Throttle};
        ///
        /// let throttle = Throttle::new(Limiter::new(Gcra::per_second(100)?))
        ///     .reject(|rejection: &Rejection<'_>| HttpResponse::ServiceUnavailable().body(rejection.body()));
        /// # let _ = throttle;
        /// # Ok::<(), throttlekit::BuildError>(())
        /// ```
        reject;
        /// Handlers take it as a [`Throttled`](crate::Throttled).
        share;
        /// Handlers take it as a [`Slot`](crate::Slot).
        hold_upgrades;
    }
}

impl From<Limits<Actix>> for Throttle {
    fn from(shared: Limits<Actix>) -> Self {
        Self { shared }
    }
}

impl<S, B> Transform<S, ServiceRequest> for Throttle
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<ResponseBody<B>>;
    type Error = Error;
    type Transform = ThrottleMiddleware<S>;
    type InitError = ();
    type Future = Ready<Result<ThrottleMiddleware<S>, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(ThrottleMiddleware::new(inner, self.shared.clone())))
    }
}
