//! The decision as an argument of handlers.

use std::convert::Infallible;
use std::fmt;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use throttlekit::Decision;

/// The decision that admitted the request. The layer has to be told to
/// [share it](throttlekit_tower::ThrottleLayer::share_decision).
///
/// As `Option<Throttled>` it is `None` for a request that was not limited; as `Throttled` such a request is answered with
/// 500.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use throttlekit::{Gcra, Limiter};
/// use throttlekit_axum::{ThrottleLayer, Throttled};
///
/// async fn hello(Throttled(decision): Throttled) -> String {
///     format!("{} left", decision.remaining)
/// }
///
/// let layer = ThrottleLayer::new(Limiter::new(Gcra::per_second(5)?)).share_decision(true);
/// let app: Router = Router::new().route("/", get(hello)).layer(layer);
/// # let _ = app;
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled(pub Decision);

impl<S: Send + Sync> FromRequestParts<S> for Throttled {
    type Rejection = DecisionMissing;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, DecisionMissing> {
        parts.extensions.get().copied().map(Self).ok_or(DecisionMissing(()))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Throttled {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().copied().map(Self))
    }
}

/// The request carries no decision: no layer limited it, or the layer does not share decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionMissing(());

impl DecisionMissing {
    /// 500: the application is put together wrongly.
    pub fn status(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    /// The text of the response.
    pub fn body_text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for DecisionMissing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request carries no rate limit decision: is there a layer with `share_decision(true)`?")
    }
}

impl std::error::Error for DecisionMissing {}

impl IntoResponse for DecisionMissing {
    fn into_response(self) -> Response {
        (self.status(), self.body_text()).into_response()
    }
}
