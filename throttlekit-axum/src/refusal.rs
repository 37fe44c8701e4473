//! What a handler answers where a limit refuses it more.

use std::error::Error as StdError;
use std::fmt;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use throttlekit::{Error, RateLimitExceeded};
use throttlekit_http::Door as _;
use throttlekit_tower::Tower;

use crate::framework::Axum;

/// Why a handler refuses a request that was admitted, as a response: 429 in JSON, 503 while a store is out, 500
/// otherwise. `?` makes it of what a [`KeyMeter`](crate::KeyMeter) answers, as in the example of
/// [`Throttled`](crate::Throttled).
///
/// ```
/// use axum::response::IntoResponse as _;
/// use throttlekit::Error;
/// use throttlekit_axum::Refusal;
///
/// let response = Refusal::from(Error::store_unavailable("connection refused")).into_response();
/// assert_eq!(response.status(), 503);
/// ```
#[derive(Clone, Debug)]
pub struct Refusal(pub throttlekit_tower::Refusal);

impl From<RateLimitExceeded> for Refusal {
    fn from(exceeded: RateLimitExceeded) -> Self {
        Self(exceeded.into())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        Tower::<Axum>::respond(self.0.answer()).map(Body::from)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Refusal {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
