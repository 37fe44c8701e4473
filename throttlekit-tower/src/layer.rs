//! The layer.

use throttlekit::{Admit, Clock, DynLimiter};
use throttlekit_http::Limits;
use tower_layer::Layer;

use crate::door::Tower;
use crate::request::{Framework, Plain, RequestHead};
use crate::service::Throttle;
use crate::{Failure, Limited, ThrottleLayerBuilder};

/// Puts limits in front of services.
///
/// Everything is shared: all services of a layer, and of its clones, count together. The layer has no type parameters,
/// so it can be named in a struct; hooks see a request without its body.
///
/// # Examples
///
/// One limit for each peer:
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use http_body_util::Empty;
/// use bytes::Bytes;
/// use throttlekit::{Gcra, Limiter};
/// use throttlekit_tower::{PeerAddr, ThrottleLayer};
/// use tower::{Layer as _, ServiceExt as _, service_fn};
///
/// # tokio_test::block_on(async {
/// let layer = ThrottleLayer::new(Limiter::new(Gcra::per_minute(1)?));
/// let service = layer.layer(service_fn(|_: Request<()>| async { Ok::<_, std::io::Error>(Response::new(Empty::<Bytes>::new())) }));
///
/// let request = || {
///     let mut request = Request::new(());
///     request.extensions_mut().insert(PeerAddr(([203, 0, 113, 5], 41_000).into()));
///     request
/// };
/// let allowed = service.clone().oneshot(request()).await?;
/// assert_eq!(allowed.headers()["ratelimit-remaining"], "0");
/// let denied = service.clone().oneshot(request()).await?;
/// assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
/// assert!(denied.headers().contains_key("retry-after"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub type ThrottleLayer = FrameworkLayer<Plain>;

/// A [`ThrottleLayer`] within the framework `F`, which knows the peer and the path of its requests.
#[derive(Debug)]
pub struct FrameworkLayer<F: Framework> {
    shared: Shared<F>,
}

/// What a layer and all its services share.
pub(crate) type Shared<F> = Limits<Tower<F>>;

impl<F: Framework> FrameworkLayer<F> {
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
    /// use throttlekit_tower::ThrottleLayer;
    /// use throttlekit_tower::key::{ApiKey, KeyHasher};
    ///
    /// // Of the program's configuration.
    /// let hasher = KeyHasher::new("2026-11", "16 bytes or more")?;
    /// let layer = ThrottleLayer::builder(Limiter::new(Gcra::per_second(100)?))
    ///     .policy_name("uploads")
    ///     .key(ApiKey::header("x-api-key", hasher)?)
    ///     .missing_key(MissingKey::Reject)
    ///     .cost_fn(|request| if request.method() == http::Method::POST { 10.0 } else { 1.0 })
    ///     .fail_mode(FailMode::Closed)
    ///     .headers(HeaderFamily::Structured)
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    pub fn builder(limiter: impl DynLimiter) -> ThrottleLayerBuilder<F> {
        Limits::builder(limiter)
    }

    /// Limits every request by anything that admits, such as a guard of concurrency. `clock` is the one that it decides
    /// by; header fields tell spans from it. The policy is called `unified` if it joins axes,
    /// `adaptive` if it is a guard, otherwise `default`, unless it is
    /// [named](ThrottleLayerBuilder::policy_name).
    ///
    /// Several limits that are all charged, or none, and that the client is told of by name:
    ///
    /// ```
    /// use throttlekit::headers::HeaderFamily;
    /// use throttlekit::{FixedWindow, Gcra, Limiter, Multi, SystemClock};
    /// use throttlekit_tower::ThrottleLayer;
    ///
    /// let minute = Limiter::new(Gcra::per_minute(60)?);
    /// let day = Limiter::new(FixedWindow::builder().limit(1_000.0).window_ms(86_400_000.0).build()?);
    /// let both = Multi::all().limiter("minute", &minute, 1.0).limiter("day", &day, 1.0).keep_each(true).build()?;
    /// let layer = ThrottleLayer::builder_for(both, SystemClock::new())
    ///     .limit("minute", minute)
    ///     .limit("day", day)
    ///     .headers(HeaderFamily::Structured)
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    pub fn builder_for(admit: impl Admit, clock: impl Clock) -> ThrottleLayerBuilder<F> {
        Limits::builder_for(admit, clock)
    }

    /// Limits requests by the rules of a configuration's `http` section.
    ///
    /// The most specific rule that covers path and method counts; a request without one is not limited. Several policies
    /// of one rule are admitted together: all are charged, or none. The structured header fields list them all, the others
    /// show the one that is [binding](throttlekit::headers::binding). A reload of `policies` takes effect with the next
    /// request; asking whether there was one costs an atomic read.
    ///
    /// The path is the one that the layer sees, however its letters are percent-encoded. The peer's address is the extension
    /// [`PeerAddr`](crate::PeerAddr), unless the framework `F` says otherwise.
    ///
    /// # Errors
    ///
    /// `http.rules` if there is no rule: the layer would limit nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use throttlekit::policy::Policies;
    /// use throttlekit_tower::ThrottleLayer;
    ///
    /// let policies = Policies::from_yaml("
    /// limiters:
    ///   api: { strategy: gcra, limit: 100, period: 1m, burst: 20 }
    /// http:
    ///   rules:
    ///     - { path: '/api/{*rest}', policy: api, key: { header: x-tenant }, missing: reject }
    /// ")?;
    /// let layer = ThrottleLayer::from_config(&policies)?;
    /// # let _ = layer;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "config")]
    #[cfg_attr(docsrs, doc(cfg(feature = "config")))]
    pub fn from_config(policies: &throttlekit::policy::Policies) -> Result<Self, throttlekit::BuildError> {
        Limits::from_config(policies).map(Self::from)
    }

    throttlekit_http::options_of_limits! {
        Tower<F>, head: RequestHead<'_, F>, limited: Limited<'_, F>, failure: Failure<'_, F>;
        reject;
        /// It is an [`Admitted`](crate::Admitted) in the request's extensions.
        share;
        /// It is an [`UpgradeSlot`](crate::UpgradeSlot) in the request's extensions.
        ///
        /// ```
        /// use std::convert::Infallible;
        ///
        /// use bytes::Bytes;
        /// use http::{Request, Response, StatusCode};
        /// use http_body_util::Empty;
        /// use throttlekit::{Guard, SystemClock};
        /// use throttlekit_tower::{ThrottleLayer, UpgradeSlot};
        /// use tower::{Layer as _, ServiceExt as _, service_fn};
        ///
        /// # tokio_test::block_on(async {
        /// let guard = Guard::builder().fixed(1_000).build()?;
        /// let layer = ThrottleLayer::builder_for(guard.clone(), SystemClock::new()).build()?.hold_upgrades(true);
        /// let service = layer.layer(service_fn(|mut request: Request<()>| {
        ///     let slot = request.extensions_mut().remove::<UpgradeSlot>();
        ///     tokio::spawn(async move {
        ///         // Here `hyper::upgrade::on(request)` gives the connection, and the work on it is done.
        ///         drop(slot);
        ///     });
        ///     let mut response = Response::new(Empty::<Bytes>::new());
        ///     *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        ///     async { Ok::<_, Infallible>(response) }
        /// }));
        ///
        /// service.oneshot(Request::new(())).await?;
        /// assert_eq!(guard.in_flight(), 1);
        /// # tokio::task::yield_now().await;
        /// # assert_eq!(guard.in_flight(), 0);
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// # }).unwrap();
        /// ```
        hold_upgrades;
    }
}

impl<F: Framework> From<Limits<Tower<F>>> for FrameworkLayer<F> {
    fn from(shared: Shared<F>) -> Self {
        Self { shared }
    }
}

impl<F: Framework> Clone for FrameworkLayer<F> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<S, F: Framework> Layer<S> for FrameworkLayer<F> {
    type Service = Throttle<S, F>;

    fn layer(&self, inner: S) -> Throttle<S, F> {
        Throttle::new(inner, self.shared.clone())
    }
}
