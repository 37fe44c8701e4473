//! Limits as a method of a router.

use axum::Router;

use crate::layer::ThrottleLayer;

/// Puts limits in front of all that a router has so far.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use throttlekit::{Gcra, Limiter};
/// use throttlekit_axum::{RouterExt as _, ThrottleLayer};
///
/// let app: Router = Router::new()
///     .route("/search", get(|| async { "found" }))
///     .throttle(ThrottleLayer::new(Limiter::new(Gcra::per_minute(100)?)))
///     // This one came later, so it is not limited.
///     .route("/health", get(|| async { "ok" }));
/// # let _ = app;
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
pub trait RouterExt: sealed::Sealed + Sized {
    /// Limits the routes and the fallback that there are so far. The same as [`Router::layer`].
    #[must_use]
    fn throttle(self, layer: ThrottleLayer) -> Self;

    /// Limits them by the rules of a configuration's `http` section, as [`ThrottleLayer::from_config`] does.
    ///
    /// # Errors
    ///
    /// `http.rules` if there is no rule: nothing would be limited.
    #[cfg(feature = "config")]
    #[cfg_attr(docsrs, doc(cfg(feature = "config")))]
    fn throttle_by(self, policies: &throttlekit::policy::Policies) -> Result<Self, throttlekit::BuildError> {
        Ok(self.throttle(ThrottleLayer::from_config(policies)?))
    }
}

impl<S: Clone + Send + Sync + 'static> RouterExt for Router<S> {
    fn throttle(self, layer: ThrottleLayer) -> Self {
        self.layer(layer)
    }
}

mod sealed {
    pub trait Sealed {}

    impl<S> Sealed for axum::Router<S> {}
}
