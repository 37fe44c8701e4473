//! What a handler answers where a limit refuses it more.

use std::error::Error as StdError;
use std::fmt;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use throttlekit::{Error, RateLimitExceeded};
use throttlekit_http::Door as _;
use throttlekit_tower::Tower;

use crate::framework::Axum;

/// Why a handler refuses a request that was admitted, as a response: 429 as the layer has it, 503 while a store is out, 500
/// otherwise. `?` makes it of what a [`KeyMeter`](crate::KeyMeter) answers.
///
/// ```
/// use throttlekit_axum::{Refusal, Throttled};
///
/// /// Costs one unit at the door, and one more for each 1,000 bytes.
/// async fn store(throttled: Throttled, body: String) -> Result<&'static str, Refusal> {
///     let units = (body.len() / 1_000) as f64;
///     if let Some(meter) = throttled.meter("uploads").filter(|_| units > 0.0) {
///         meter.debit(units).await?.into_result()?;
///     }
///     Ok("stored")
/// }
/// # let _ = store;
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
