//! The layer for routers.

use crate::framework::Axum;

/// Puts limits in front of a router or a route: [`throttlekit_tower::ThrottleLayer`] that knows [`Axum`].
///
/// For the peer's address to be known the server has to be made by
/// `into_make_service_with_connect_info::<SocketAddr>()`. Without it, requests that are limited by their peer share the
/// key `anon`, which is told once: to the hook `on_error` or, without one, on standard error. Paths are whole ones, also in
/// nested routers.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use throttlekit::{Gcra, Limiter};
/// use throttlekit_axum::ThrottleLayer;
///
/// let limiter = Limiter::new(Gcra::per_second(100)?);
/// let layer = ThrottleLayer::builder(limiter).cost(2.0).build()?.skip(|request| request.path() == "/health");
///
/// let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(layer);
/// # let _ = app;
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
///
/// With the feature `config` its rules come from a file:
///
/// ```
/// # #[cfg(feature = "config")] {
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
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type ThrottleLayer = throttlekit_tower::FrameworkLayer<Axum>;

/// Builds a [`ThrottleLayer`] with one rule for every request.
pub type ThrottleLayerBuilder = throttlekit_tower::ThrottleLayerBuilder<Axum>;

/// A request without its body, as closures and hooks see it.
pub type RequestHead<'a> = throttlekit_tower::RequestHead<'a, Axum>;

/// A denial, as hooks and responses see it.
pub type Limited<'a> = throttlekit_tower::Limited<'a, Axum>;

/// A request that could not be decided, as hooks and responses see it.
pub type Failure<'a> = throttlekit_tower::Failure<'a, Axum>;

/// Why a request is answered here and not passed on.
pub type Rejection<'a> = throttlekit_tower::Rejection<'a, Axum>;
