//! The layer for routers.

use throttlekit::DynLimiter;
use throttlekit_tower::Throttle;
use tower_layer::Layer;

use crate::framework::Axum;

/// Puts limits in front of a router or a route: [`throttlekit_tower::ThrottleLayer`] that knows [`Axum`].
///
/// For the peer's address to be known the server has to be made by
/// `into_make_service_with_connect_info::<SocketAddr>()`. Without it, requests that are limited by their peer share the
/// key `anon`, and the hook `on_error` is told so once.
///
/// Options and hooks are those of the tower layer, which converts into this one.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use throttlekit::{Gcra, Limiter};
/// use throttlekit_axum::ThrottleLayer;
///
/// let limiter = Limiter::new(Gcra::per_second(100)?);
/// let layer = throttlekit_tower::ThrottleLayer::builder(limiter).cost(2.0).build()?.skip(|request| request.path() == "/health");
///
/// let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(ThrottleLayer::from(layer));
/// # let _ = app;
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ThrottleLayer(throttlekit_tower::ThrottleLayer);

impl ThrottleLayer {
    /// Limits every request by `limiter`: one unit under the peer's address, draft header fields, fail mode open.
    pub fn new(limiter: impl DynLimiter) -> Self {
        throttlekit_tower::ThrottleLayer::new(limiter).into()
    }

    /// Limits requests by the rules of a configuration's `http` section. Paths are whole ones, also in nested routers. A
    /// reload of `policies` takes effect with the next request.
    ///
    /// # Errors
    ///
    /// `http.rules` if there is no rule: the layer would limit nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::Router;
    /// use axum::routing::get;
    /// use throttlekit::policy::Policies;
    /// use throttlekit_axum::ThrottleLayer;
    ///
    /// let policies = Policies::from_yaml("
    /// limiters:
    ///   api: { strategy: gcra, limit: 100, period: 1m, burst: 20 }
    /// http:
    ///   rules:
    ///     - { path: '/api/{*rest}', policy: api }
    /// ")?;
    /// let app: Router = Router::new()
    ///     .route("/api/hello", get(|| async { "hello" }))
    ///     .layer(ThrottleLayer::from_config(&policies)?);
    /// # let _ = app;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "config")]
    #[cfg_attr(docsrs, doc(cfg(feature = "config")))]
    pub fn from_config(policies: &throttlekit::policy::Policies) -> Result<Self, throttlekit::BuildError> {
        throttlekit_tower::ThrottleLayer::from_config(policies).map(Self::from)
    }
}

impl From<throttlekit_tower::ThrottleLayer> for ThrottleLayer {
    /// Tells the layer how axum shows the peer and the path.
    fn from(layer: throttlekit_tower::ThrottleLayer) -> Self {
        Self(layer.framework(Axum))
    }
}

impl<S> Layer<S> for ThrottleLayer {
    type Service = Throttle<S>;

    fn layer(&self, inner: S) -> Throttle<S> {
        self.0.layer(inner)
    }
}
