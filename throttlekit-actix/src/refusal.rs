//! What a handler answers where a limit refuses it more.

use std::error::Error as StdError;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use throttlekit::{Error, RateLimitExceeded};
use throttlekit_http::Door as _;

use crate::door::Actix;

/// Why a handler refuses a request that was admitted, as an error: 429 in JSON, 503 while a store is out,
/// 500 otherwise. `?` makes it of what a [`KeyMeter`](crate::KeyMeter) answers, as in the example of
/// [`Throttled`](crate::Throttled).
///
/// ```
/// use actix_web::ResponseError as _;
/// use throttlekit::Error;
/// use throttlekit_actix::Refusal;
///
/// let refusal = Refusal::from(Error::store_unavailable("connection refused"));
/// assert_eq!(refusal.status_code(), 503);
/// ```
#[derive(Clone, Debug)]
pub struct Refusal(pub throttlekit_http::Refusal);

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

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        Actix::respond(self.0.answer())
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
